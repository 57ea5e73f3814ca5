"""medaka's model, two bidirectional GRUs over pile-ups of reads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from medaka.architectures.gru import GRUModel
from repeated import running

SHAPES = "GRU, bidirectional, 1000,100,10,128,2"
MODE = "inference"
TOLERANCE = 1e-5
PACKAGES = ("medaka",)


def build(native: bool) -> Callable[[], list[float]]:
    """Run batches of its size, 100 chunks of 1,000 positions, with weights as at first."""
    model = GRUModel(num_features=10, gru_size=128, n_layers=2)
    counts = torch.rand(100, 1000, 10)
    return running(model, native, 3, lambda: model(counts))
