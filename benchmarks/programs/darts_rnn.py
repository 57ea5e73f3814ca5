"""darts, RNNModel with a GRU."""

from __future__ import annotations

from collections.abc import Callable

from darts.models import RNNModel
from forecasts import fitting

SHAPES = "GRU 48,32,1,25,1"
MODE = "training"
TOLERANCE = 1e-4
PACKAGES = ("darts", "pytorch-lightning")


def build(native: bool) -> Callable[[], list[float]]:
    """Train on a series of 1,200 hours."""
    options = {"input_chunk_length": 24, "training_length": 48, "hidden_dim": 25, "n_epochs": 5}
    return fitting(RNNModel, native, model="GRU", **options)
