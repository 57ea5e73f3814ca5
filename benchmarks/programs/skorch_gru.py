"""skorch, a classifier of sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from skorch import NeuralNetClassifier

from gru_native.torch import accelerate

SHAPES = "GRU 26,32,12,64,1"
MODE = "training"
TOLERANCE = 1e-4
PACKAGES = ("skorch",)
ROWS, STEPS, CHANNELS, CLASSES = 270, 26, 12, 9


class Classifier(torch.nn.Module):
    """The last state of a GRU decides."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(CHANNELS, 64, batch_first=True)
        self.output = torch.nn.Linear(64, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.output(self.gru(x)[1][-1]), dim=-1)


def build(native: bool) -> Callable[[], list[float]]:
    """Train on noisy waves, whose frequency is the class."""
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % CLASSES
    phases = np.arange(STEPS)[:, None] * (1 + labels[:, None, None]) / 8 + rng.uniform(0, 6, CHANNELS)
    x = (np.sin(phases) + rng.standard_normal(phases.shape)).astype(np.float32)

    net = NeuralNetClassifier(
        Classifier,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        max_epochs=20,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    net.initialize()
    if native:
        accelerate(net.module_)

    def work() -> list[float]:
        net.partial_fit(x, labels)
        losses: list[float] = net.history[:, "train_loss"]
        return losses

    return work
