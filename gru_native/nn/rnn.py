"""Plain recurrent networks (Elman 1990)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from gru_native import functional as F
from gru_native.activations import ActivationLike, activation
from gru_native.nn.recurrent import Recurrent, RecurrentCell
from gru_native.random import Seed


class RNN(Recurrent):
    """A stack of plain recurrent layers, with PyTorch's parameter names, shapes and results.

    As `GRU`, but each step computes ``h' = tanh(W_ih x + b_ih + W_hh h + b_hh)``, or with
    ``nonlinearity="relu"`` the larger of the same sum and 0. Padding on the left belongs into a `mask`, not
    before a `reset`. Which options go together stands in docs/layers.md.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As of `GRU`.
    input_dropout, recurrent_dropout, dtype, seed
        As of `GRU`.
    nonlinearity
        "tanh" or "relu", or any other activation, as of `GRU`.
    direction, clip
        As of `GRU`.

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k} : (H, inputs of layer k), (H, H)
    bias_ih_l{k}, bias_hh_l{k} : (H,)
        Parameters, found in `parameters`; with ``_reverse`` behind the name for the other direction.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        direction: str = "forward",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        nonlinearity: ActivationLike = "tanh",
        clip: float | None = None,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        own = activation("nonlinearity", nonlinearity)
        self.nonlinearity, self._cell = own.short, F.rnn_cell(own)
        self._choose([own], clip)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            direction,
            input_dropout,
            recurrent_dropout,
            dtype,
            seed,
        )

    @property
    def cell(self) -> str:
        return self._cell

    def _config(self) -> dict[str, Any]:
        return super()._config() | {"nonlinearity": self.nonlinearity, "clip": self.clip}


class RNNCell(RecurrentCell):
    """One step of a plain recurrent layer, with PyTorch's parameter names; called as `GRUCell`.

    Parameters
    ----------
    input_size, hidden_size, bias, nonlinearity, clip, dtype, seed
        As of `RNN`.

    Attributes
    ----------
    weight_ih, weight_hh : (hidden_size, input_size), (hidden_size, hidden_size)
    bias_ih, bias_hh : (hidden_size,)
        Parameters, found in `parameters`.
    """

    gates = 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        nonlinearity: ActivationLike = "tanh",
        clip: float | None = None,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        own = activation("nonlinearity", nonlinearity)
        self.nonlinearity, self._cell = own.short, F.rnn_cell(own)
        self._choose([own], clip)
        super().__init__(input_size, hidden_size, bias, dtype, seed)

    @property
    def cell(self) -> str:
        return self._cell

    def _config(self) -> dict[str, Any]:
        return super()._config() | {"nonlinearity": self.nonlinearity, "clip": self.clip}
