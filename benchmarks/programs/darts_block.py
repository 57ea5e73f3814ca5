"""darts, BlockRNNModel with an LSTM."""

from __future__ import annotations

from collections.abc import Callable

from darts.models import BlockRNNModel
from forecasts import fitting

SHAPES = "LSTM 120,32,1,64,2"
MODE = "training"
TOLERANCE = 1e-4
PACKAGES = ("darts", "pytorch-lightning")


def build(native: bool) -> Callable[[], list[float]]:
    """Train on a series of 1,200 hours."""
    options = {"input_chunk_length": 120, "output_chunk_length": 12, "hidden_dim": 64, "n_rnn_layers": 2}
    return fitting(BlockRNNModel, native, model="LSTM", n_epochs=3, **options)
