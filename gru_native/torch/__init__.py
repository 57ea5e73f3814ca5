"""Recurrent modules for PyTorch: its own classes, computed by this package.

``GRU``, ``LSTM``, ``RNN`` and their cells take the places of `torch.nn`'s; `accelerate` puts them into a model that is
there.
"""

from __future__ import annotations

try:
    import torch as _torch
except ImportError as error:
    raise ImportError(f"gru_native.torch needs PyTorch ({error}): pip install 'gru_native[torch]'") from error

#: The oldest version of PyTorch that has what is used here.
OLDEST_TORCH = "2.10"
if tuple(map(int, _torch.__version__.split(".")[:2])) < tuple(map(int, OLDEST_TORCH.split("."))):
    raise ImportError(f"gru_native.torch needs PyTorch {OLDEST_TORCH} or later, and this is {_torch.__version__}")

from gru_native.torch import transforms as _transforms  # noqa: E402, F401  registers itself
from gru_native.torch.cells import GRUCell, LSTMCell, RNNCell  # noqa: E402
from gru_native.torch.layers import GRU, LSTM, RNN  # noqa: E402
from gru_native.torch.swap import Report, accelerate, restore  # noqa: E402

__all__ = ["GRU", "LSTM", "OLDEST_TORCH", "RNN", "GRUCell", "LSTMCell", "RNNCell", "Report", "accelerate", "restore"]
