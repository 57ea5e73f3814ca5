"""a text classifier, Embedding and two GRUs."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gru_native.torch import accelerate

SHAPES = "GRU 100,32,128,128,2"
MODE = "training"
TOLERANCE = 1e-4
PACKAGES = ()
TOKENS, STEPS, BATCH, BATCHES = 5000, 100, 32, 25


class Classifier(torch.nn.Module):
    """The last state of the second layer decides."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(TOKENS, 128)
        self.gru = torch.nn.GRU(128, 128, num_layers=2, batch_first=True)
        self.output = torch.nn.Linear(128, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.output(self.gru(self.embedding(tokens))[1][-1])
        return logits


def build(native: bool) -> Callable[[], list[float]]:
    """Train on made-up texts, whose tokens depend on the label."""
    labels = torch.randint(2, (BATCHES, BATCH))
    texts = (TOKENS * torch.rand(BATCHES, BATCH, STEPS) ** (1 + labels[..., None])).long()
    model = Classifier()
    if native:
        accelerate(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def work() -> list[float]:
        losses = []
        for tokens, wanted in zip(texts, labels, strict=True):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(tokens), wanted)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return work
