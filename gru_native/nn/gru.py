"""Gated recurrent units (Cho et al. 2014)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import DTypeLike

from gru_native import functional as F
from gru_native.activations import ActivationLike
from gru_native.arguments import flag
from gru_native.nn.recurrent import Gated, Recurrent, RecurrentCell
from gru_native.random import Seed


class GRU(Gated, Recurrent):
    """A stack of GRU layers, with PyTorch's constructor, parameter names, shapes and results.

    ``gru(x, h_0=None, lengths=None, reset=None, *, mask=None)`` gives ``(output, h_n)``; ``gru.forward`` takes the
    same, a `seed` and `tape`, and gives ``((output, h_n), tape)``; ``gru.backward(tape, d_output, d_h_n=None)`` gives
    ``((d_x, d_h_0), gradients)``. An `h_0` or gradient that is ``None`` stands for zeros. With T time steps, B
    rows in the batch, L layers, D directions (1 or 2), H = `hidden_size`:

    =========  ==========================  ====================================  ===============
    array      time-major                  `batch_first`                         unbatched
    =========  ==========================  ====================================  ===============
    x          (T, B, input_size)          (B, T, input_size)                    (T, input_size)
    output     (T, B, D * H)               (B, T, D * H)                         (T, D * H)
    h_0, h_n   (L * D, B, H)               (L * D, B, H)                         (L * D, H)
    lengths    (B,)                        (B,)
    reset      (T, B)                      (B, T)                                (T,)
    mask       (T, B)                      (B, T)
    =========  ==========================  ====================================  ===============

    ``gru(x, ..., return_gates=True)`` gives ``(output, h_n, gates)``: a dictionary of the gates r, z and n over
    all steps, ``r_l{k}``, ``z_l{k}``, ``n_l{k}`` (``..._reverse``), each of output's shape with H in place of
    D * H, zero in padding.

    With ``tape="states"`` the tape of ``forward`` holds no gates: backward computes them again from the states,
    which takes a fraction of the memory and a third more of arithmetic. Gradients of x and h_0 have the same bits;
    those of the weights are the same sums in another order and differ by rounding.

    `lengths`, whole numbers from 0 to T in any order, are the steps of each row. What is behind them is
    padding: x and the gradient of output are not read there, output and the gradient of x are zero, h_n is
    the state after the row's own last step, and the reverse direction begins there. `reset`, of bool, marks
    the first steps of new episodes: between such a step and the one before it no state passes in either
    direction (it becomes zero), and no gradient. It does not end a row: the reverse direction still runs on to step 0,
    and with padding on the left and a reset behind it the reverse h_n is a state of that padding. Only `lengths` and
    `mask` keep padding out of every result.

    `mask`, of bool, stands in the place of lengths: which steps count, anywhere. The state passes over the others: x is
    not read there, and its gradient is zero. So is output, or with ``masked_output="last"`` it is the one of the last
    step before that counts, in the order of each direction.

    With a size per layer `h_0`, `h_n` and their gradients are lists of an array for each layer, (D, B, H_l)
    or (D, H_l). Layer and direction are ordered as in PyTorch: layer 0, layer 0 in reverse, layer 1, ... All
    arrays have the module's dtype.

    Each step computes, with the gates r, z, n stacked in this order in weights and biases::

        r = σ(W_ir x + b_ir + W_hr h + b_hr)
        z = σ(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r ∘ (W_hn h + b_hn))       reset after
        n = tanh(W_in x + b_in + W_hn (r ∘ h) + b_hn)       reset before
        h' = (1 - z) ∘ n + z ∘ h

    Which options go together stands in docs/layers.md.

    Parameters
    ----------
    input_size
        Size of the last axis of x.
    hidden_size
        H, or a list or tuple with a size for each layer.
    num_layers
        L; with several sizes it can be left out.
    bias
        Whether there are biases.
    batch_first
        Whether batched x and output have the batch as first axis.
    dropout
        Probability of dropout on the output of each layer but the last, in ``forward`` in training mode. It
        needs a `seed` then.
    input_dropout
        Probability of variational dropout on the input of each layer (Gal and Ghahramani 2016, Keras' ``dropout``), in
        ``forward`` in training mode: one mask for all steps of a sequence and both directions (Keras' Bidirectional
        has one for each direction), drawn from the `seed`.
    recurrent_dropout
        Probability of variational dropout (Gal and Ghahramani 2016, as in Keras) on the states where the hidden
        weights read them, in ``forward`` in training mode: one mask for all steps of a sequence, drawn from the
        `seed`. Pieces of a sequence that are given the same seed have the same mask.
    bidirectional
        Whether each layer also runs from the last step to the first; its output follows that of the forward
        direction on the last axis.
    direction
        "forward", or "reverse" for layers that run from the last step to the first; output stays in the order of x.
        Not with `bidirectional`.
    zoneout
        Probability (Krueger et al. 2017) with which a unit keeps its state of the step before, in ``forward`` in
        training mode, drawn from the `seed`; otherwise each step keeps this share of the state.
    reset_after
        Which of the two forms of n is computed: PyTorch's and cuDNN's, or that of Cho et al.
    layer_norm
        Whether W x and W h, rows of 3 * H each (of all gates, without biases), are normalized in each step (Ba et
        al. 2016, arXiv:1607.06450, in the form of the library haste): the mean is taken from a row, it is
        divided by the root of its variance plus 1e-5 and multiplied by gains. For reset after.
    activation, recurrent_activation
        What stands for tanh and for σ above: a name or a tuple (name, alpha, beta), as `gru_native.activations` lists
        them. Keras 1, and Keras 2 up to 2.2, have ``recurrent_activation=("hard_sigmoid", 0.2, 0.5)`` by default.
        Others than these two are not for `layer_norm`.
    clip
        What activations are given is brought to within this of zero first (ONNX), and no gradient flows from beyond
        it; ``None`` for no bounds. Not for `layer_norm`.
    dtype
        float32 or float64.
    seed
        Of the initial values, uniform in ±1/√H as PyTorch's; ``None`` draws fresh entropy.

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k} : (3 * H, inputs of layer k), (3 * H, H)
    bias_ih_l{k}, bias_hh_l{k} : (3 * H,)
    gamma_ih_l{k}, gamma_hh_l{k} : (3 * H,)
        Parameters, found in `parameters`; with ``_reverse`` behind the name for the other direction. The gains
        gamma, ones at first, are there with `layer_norm`.
    """

    gates = 3
    gate_names = ("r", "z", "n")

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
        zoneout: float = 0.0,
        reset_after: bool = True,
        layer_norm: bool = False,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        clip: float | None = None,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.reset_after, self.layer_norm = flag("reset_after", reset_after), flag("layer_norm", layer_norm)
        self._choose(self._activate(activation, recurrent_activation), clip)
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
        self.zoneout = zoneout

    @property
    def cell(self) -> str:
        return F.gru_cell(self.reset_after, self.layer_norm)

    def _config(self) -> dict[str, Any]:
        own = {"zoneout": self.zoneout, "reset_after": self.reset_after, "layer_norm": self.layer_norm}
        return super()._config() | own | self._chosen()


class GRUCell(Gated, RecurrentCell):
    """One step of a GRU, with PyTorch's constructor and parameter names; `GRU` has the equations.

    ``cell(x, h=None)`` gives the next state h'; ``cell.forward(x, h=None)`` gives ``(h', tape)``;
    ``cell.backward(tape, d_h)`` gives ``((d_x, d_h_0), gradients)`` with ``d_h_0`` for the state given. x is
    (B, input_size) and the states are (B, hidden_size), or without B both; a state that is ``None`` stands
    for zeros.

    Parameters
    ----------
    input_size, hidden_size, bias, reset_after, layer_norm, activation, recurrent_activation, clip, dtype, seed
        As of `GRU`.

    Attributes
    ----------
    weight_ih, weight_hh : (3 * hidden_size, input_size), (3 * hidden_size, hidden_size)
    bias_ih, bias_hh, gamma_ih, gamma_hh : (3 * hidden_size,)
        Parameters, found in `parameters`.
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        layer_norm: bool = False,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        clip: float | None = None,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.reset_after, self.layer_norm = flag("reset_after", reset_after), flag("layer_norm", layer_norm)
        self._choose(self._activate(activation, recurrent_activation), clip)
        super().__init__(input_size, hidden_size, bias, dtype, seed)

    @property
    def cell(self) -> str:
        return F.gru_cell(self.reset_after, self.layer_norm)

    def _config(self) -> dict[str, Any]:
        own = {"reset_after": self.reset_after, "layer_norm": self.layer_norm}
        return super()._config() | own | self._chosen()
