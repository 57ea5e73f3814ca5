"""``GRUCell``, ``LSTMCell`` and ``RNNCell`` of PyTorch, computed by this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from gru_native._layer import Unfit
from gru_native.torch.gru import OfGRU
from gru_native.torch.module import Accelerated, pair


class _Cell(Accelerated):
    """One step; a subclass stands before PyTorch's."""

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        if isinstance(input, Proxy):
            return self._traced(input, hx)
        try:
            return self._step(input, hx)
        except Unfit as error:
            why = str(error)
        return self._leave_to_torch(why, input, hx)

    def _step(self, x: Tensor, hx: Any) -> Any:
        h, c = (hx, None) if hx is None or self._cell != "lstm" else pair(hx)
        options = *self._of_weights(), -1, 0 if x.dim() == 2 else -1, 0.0, 0.0, 0.0
        h_next, _, c_next = self._run((x, h, c, None, None, None), options)
        return (h_next, c_next) if self._cell == "lstm" else h_next

    @property
    def _flat_weights_names(self) -> Sequence[str]:
        return ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]

    def _of_weights(self) -> tuple[str, int, bool, bool]:
        return self._cell, 1, False, self.bias


class GRUCell(OfGRU, _Cell, torch.nn.GRUCell):
    """`torch.nn.GRUCell`, computed by this package.

    Parameters
    ----------
    input_size, hidden_size, bias, device, dtype
        Those of `torch.nn.GRUCell`.
    layer_norm, reset_after
        As of `GRU`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        layer_norm: bool = False,
        reset_after: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self._choose(layer_norm, reset_after)


class LSTMCell(_Cell, torch.nn.LSTMCell):
    """`torch.nn.LSTMCell`, computed by this package."""

    @property
    def _cell(self) -> str:
        return "lstm"


class RNNCell(_Cell, torch.nn.RNNCell):
    """`torch.nn.RNNCell`, computed by this package."""

    @property
    def _cell(self) -> str:
        return "rnn_relu" if self.nonlinearity == "relu" else "rnn_tanh"
