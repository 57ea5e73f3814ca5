"""Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000)."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import DTypeLike

from gru_native.nn.recurrent import Recurrent, RecurrentCell
from gru_native.random import Seed


class LSTM(Recurrent):
    """A stack of LSTM layers, with PyTorch's constructor, parameter names, shapes and results.

    As `GRU`, but a state is a pair: `h_0` stands for ``(h_0, c_0)``, `h_n` for ``(h_n, c_n)``, and so do their
    gradients, each of the two with the shape that `GRU` gives for h. Rows padded on the left
    are no better served by `reset`: padding belongs on the right, with `lengths`. Each step computes, with the gates
    i, f, g, o stacked in this order in weights and biases::

        i = σ(W_ii x + b_ii + W_hi h + b_hi)
        f = σ(W_if x + b_if + W_hf h + b_hf)
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)
        o = σ(W_io x + b_io + W_ho h + b_ho)
        c' = f ∘ c + i ∘ g
        h' = o ∘ tanh(c')

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, recurrent_dropout, dtype, seed
        As of `GRU`.

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k} : (4 * H, inputs of layer k), (4 * H, H)
    bias_ih_l{k}, bias_hh_l{k} : (4 * H,)
        Parameters, found in `parameters`; with ``_reverse`` behind the name for the other direction.
    """

    gates = 4
    states = 2
    gate_names = ("i", "f", "g", "o")

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
        recurrent_dropout: float = 0.0,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            recurrent_dropout,
            dtype,
            seed,
        )

    @property
    def cell(self) -> str:
        return "lstm"


class LSTMCell(RecurrentCell):
    """One step of an LSTM, with PyTorch's constructor and parameter names; `LSTM` has the equations.

    ``cell(x, state=None)`` gives the next state ``(h', c')`` from ``state = (h, c)``; ``cell.forward`` and
    ``cell.backward`` are as of `GRUCell`, with pairs for states and their gradients.

    Parameters
    ----------
    input_size, hidden_size, bias, dtype, seed
        As of `LSTM`.

    Attributes
    ----------
    weight_ih, weight_hh : (4 * hidden_size, input_size), (4 * hidden_size, hidden_size)
    bias_ih, bias_hh : (4 * hidden_size,)
        Parameters, found in `parameters`.
    """

    gates = 4
    states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, dtype, seed)

    @property
    def cell(self) -> str:
        return "lstm"
