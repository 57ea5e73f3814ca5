"""Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from gru_native.activations import ActivationLike
from gru_native.arguments import flag, whole
from gru_native.nn.recurrent import Gated, Recurrent, RecurrentCell
from gru_native.random import Seed


class LSTM(Gated, Recurrent):
    """A stack of LSTM layers, with PyTorch's constructor, parameter names, shapes and results.

    As `GRU`, but a state is a pair: `h_0` stands for ``(h_0, c_0)``, `h_n` for ``(h_n, c_n)``, and so do their
    gradients, each of the two with the shape that `GRU` gives for h. Padding on the left
    belongs into a `mask`, not before a `reset`. Each step computes, with the gates
    i, f, g, o stacked in this order in weights and biases::

        i = σ(W_ii x + b_ii + W_hi h + b_hi)
        f = σ(W_if x + b_if + W_hf h + b_hf)
        g = tanh(W_ig x + b_ig + W_hg h + b_hg)
        o = σ(W_io x + b_io + W_ho h + b_ho)
        c' = f ∘ c + i ∘ g
        h' = o ∘ tanh(c')

    Which options go together stands in docs/layers.md.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As of `GRU`.
    input_dropout, recurrent_dropout, dtype, seed
        As of `GRU`.
    direction, clip
        As of `GRU`. What tanh(c') is given is bounded too, c' itself is not.
    activation, recurrent_activation
        What stands for both tanh and for σ above, as of `GRU`.
    cell_activation
        What stands for the tanh of c', where it is another than that of g (ONNX); ``None`` for `activation`.
    peepholes
        Whether the gates see c (Gers and Schmidhuber 2000): P_i ∘ c is added to the sum of i, P_f ∘ c to that of f, and
        P_o ∘ c' to that of o.
    input_forget
        Whether f = 1 - i (ONNX). The rows of f in weights and biases have no effect then.
    proj_size
        P, the size of a projected h (Sak et al. 2014), less than H; 0 for none. As PyTorch's: h' = W_hr (o ∘ tanh(c')),
        and output, h_0 and h_n have P in place of H, while c_0 and c_n keep H.

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k} : (4 * H, inputs of layer k), (4 * H, H or P)
    bias_ih_l{k}, bias_hh_l{k} : (4 * H,)
    peephole_l{k} : (3, H)
        P_i, P_f and P_o, with `peepholes`.
    weight_hr_l{k} : (P, H)
        With `proj_size`.

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
        direction: str = "forward",
        input_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        cell_activation: ActivationLike | None = None,
        peepholes: bool = False,
        input_forget: bool = False,
        proj_size: int = 0,
        clip: float | None = None,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.peepholes, self.input_forget = flag("peepholes", peepholes), flag("input_forget", input_forget)
        self.proj_size = whole("proj_size", proj_size, 0)
        chosen = self._activate(activation, recurrent_activation, cell_activation)
        self._choose(chosen, clip, self.input_forget)
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
        return "lstm"

    def _config(self) -> dict[str, Any]:
        own = {"peepholes": self.peepholes, "input_forget": self.input_forget, "proj_size": self.proj_size}
        return super()._config() | own | self._chosen()


class LSTMCell(Gated, RecurrentCell):
    """One step of an LSTM, with PyTorch's constructor and parameter names; `LSTM` has the equations.

    ``cell(x, state=None)`` gives the next state ``(h', c')`` from ``state = (h, c)``; ``cell.forward`` and
    ``cell.backward`` are as of `GRUCell`, with pairs for states and their gradients.

    Parameters
    ----------
    input_size, hidden_size, bias, activation, recurrent_activation, cell_activation, peepholes, input_forget, clip
        As of `LSTM`.
    dtype, seed
        As of `LSTM`.

    Attributes
    ----------
    weight_ih, weight_hh : (4 * hidden_size, input_size), (4 * hidden_size, hidden_size)
    bias_ih, bias_hh : (4 * hidden_size,)
    peephole : (3, hidden_size)
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
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        cell_activation: ActivationLike | None = None,
        peepholes: bool = False,
        input_forget: bool = False,
        clip: float | None = None,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.peepholes, self.input_forget = flag("peepholes", peepholes), flag("input_forget", input_forget)
        chosen = self._activate(activation, recurrent_activation, cell_activation)
        self._choose(chosen, clip, self.input_forget)
        super().__init__(input_size, hidden_size, bias, dtype, seed)

    @property
    def cell(self) -> str:
        return "lstm"

    def _config(self) -> dict[str, Any]:
        own = {"peepholes": self.peepholes, "input_forget": self.input_forget}
        return super()._config() | own | self._chosen()
