"""The recurrent layers written down in NumPy float64: the executable specification of everything compiled.

It is short, slow and meant to be read. `forward` and `backward` are one layer in one direction, of any of the
`CELLS`; `stack_forward` and `stack_backward` compose them into layers and directions under PyTorch's names.
Inputs of any real dtype are taken to float64, and so is every result. Nothing is validated here.

T = time steps, B = batch, I = input size, H = hidden size, D = directions, G = gates of the cell, P = size of h: H, or
with a projection what it makes of H. A state is a tuple of arrays: (h,), or of the LSTM (h, c), (B, P) and (B, H).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from gru_native.activations import Activation, ActivationLike, activation

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
State = tuple[Array, ...]
Weights = Mapping[str, Array]


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)); where exp overflows the limit 0 is right."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-a)))


def dropout_mask(size: int, p: float, key: int) -> Array:
    """Return what dropout multiplies each of `size` elements by: 0, or 1 / (1 - p).

    Philox4x32-10 (Salmon et al. 2011); see `gru_native.functional.dropout` for which word belongs to which element.
    """
    groups = -(-size // 64)
    words = philox(np.arange(16 * groups, dtype=np.uint64), key)  # (4, blocks)
    numbers = words.reshape(4, groups, 16).swapaxes(0, 1).reshape(-1)[:size]
    return np.where(numbers < np.ceil(p * 2.0**32), 0.0, 1.0 / (1.0 - p) if p < 1 else 0.0)


def philox(counters: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """Return of Philox4x32-10 the four words (4, N) of the blocks whose counters are the lower half of 128 bits."""
    low = np.uint64(0xFFFFFFFF)
    half = np.uint64(32)
    c_0, c_1, c_2, c_3 = counters & low, counters >> half, np.zeros_like(counters), np.zeros_like(counters)
    key_0, key_1 = np.uint64(key & 0xFFFFFFFF), np.uint64(key >> 32)
    for _ in range(10):
        a, b = np.uint64(0xD2511F53) * c_0, np.uint64(0xCD9E8D57) * c_2
        c_0, c_1, c_2, c_3 = (b >> half) ^ c_1 ^ key_0, b & low, (a >> half) ^ c_3 ^ key_1, a & low
        key_0, key_1 = (key_0 + np.uint64(0x9E3779B9)) & low, (key_1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c_0, c_1, c_2, c_3])


# ---- Activations -------------------------------------------------------------------------------------------


class Function(NamedTuple):
    """A function of x and its numbers alpha and beta, and its slope, of x, the function's value y and the numbers."""

    value: Callable[..., Any]
    slope: Callable[..., Any]


# Where a function has a corner its slope there is torch's.
FUNCTIONS: dict[str, Function] = {
    "sigmoid": Function(sigmoid, lambda x, y: y * (1.0 - y)),
    "tanh": Function(np.tanh, lambda x, y: 1.0 - y * y),
    "relu": Function(lambda x: np.maximum(x, 0.0), lambda x, y: x > 0),
    "linear": Function(lambda x, alpha, beta: alpha * x + beta, lambda x, y, alpha, beta: alpha),
    "hard_sigmoid": Function(
        lambda x, alpha, beta: np.clip(alpha * x + beta, 0.0, 1.0),
        lambda x, y, alpha, beta: np.where((y > 0) & (y < 1), alpha, 0.0),
    ),
    "leaky_relu": Function(
        lambda x, alpha: np.where(x > 0, x, alpha * x), lambda x, y, alpha: np.where(x > 0, 1, alpha)
    ),
    "elu": Function(
        lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
        lambda x, y, alpha: np.where(x > 0, 1.0, y + alpha),
    ),
    "softsign": Function(lambda x: x / (1.0 + np.abs(x)), lambda x, y: 1.0 / (1.0 + np.abs(x)) ** 2),
    "softplus": Function(lambda x: np.logaddexp(0.0, x), lambda x, y: sigmoid(x)),
    "scaled_tanh": Function(
        lambda x, alpha, beta: alpha * np.tanh(beta * x),
        lambda x, y, alpha, beta: alpha * beta * (1.0 - np.tanh(beta * x) ** 2),
    ),
    "thresholded_relu": Function(lambda x, alpha: np.where(x > alpha, x, 0.0), lambda x, y, alpha: x > alpha),
}

SIGMOID, TANH, RELU = (Activation(name) for name in ("sigmoid", "tanh", "relu"))


# ---- Cells -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One step, and the gradients of one step.

    Parameters
    ----------
    activations : tuple of Activation
        In ONNX's order: of a GRU's gates and its candidate; of an LSTM's gates, of g and of c'; of a plain network.
    clip : float
        What an activation is given lies within this of zero (ONNX).
    """

    activations: tuple[Activation, ...]
    clip: float = math.inf

    gates: ClassVar[int]
    states: ClassVar[int] = 1

    def step(self, a: Array, state: State, weights: Weights, mask: Array) -> tuple[State, Any]:
        """Return the next state, and what `back` needs: the state, the gates' values, and what else.

        Parameters
        ----------
        a : (B, G * H), W x + b_ih
        state : of the step before
        weights : weight_hh (G * H, P), bias_hh (G * H) and those that only this cell has
        mask : (B, P), what h is multiplied by where weight_hh reads it
        """
        raise NotImplementedError

    def back(self, saved: Any, d_state: State, weights: Weights, mask: Array) -> tuple[Array, State, dict[str, Array]]:
        """Return the gradients of `a`, of the state before and of the weights from that of the next state."""
        raise NotImplementedError

    def activate(self, which: int, a: Array) -> tuple[Array, Array]:
        """Return one of the activations of `a`, and its slope."""
        own = self.activations[which]
        function, bounded = FUNCTIONS[own.name], np.clip(a, -self.clip, self.clip)
        value = function.value(bounded, *own.numbers)
        return value, np.where(np.abs(a) > self.clip, 0.0, function.slope(bounded, value, *own.numbers))


@dataclass(frozen=True)
class GRU(Cell):
    """Cho et al. 2014 (arXiv:1406.1078): in version 3 the reset gate comes before the recurrent product, in 1 after."""

    activations: tuple[Activation, ...] = (SIGMOID, TANH)
    reset_after: bool = True
    gates = 3

    def step(self, a: Array, state: State, weights: Weights, mask: Array) -> tuple[State, Any]:
        (h,) = state
        (a_r, a_z, a_n), u, b = (np.split(a, 3, axis=1), *(np.split(weights[n], 3) for n in ("weight_hh", "bias_hh")))
        read = mask * h
        r, r_slope = self.activate(0, a_r + read @ u[0].T + b[0])
        z, z_slope = self.activate(0, a_z + read @ u[1].T + b[1])
        m = read @ u[2].T + b[2]  # what the reset gate multiplies when it comes after the product
        n, n_slope = self.activate(1, a_n + (r * m if self.reset_after else (r * read) @ u[2].T + b[2]))
        return ((1.0 - z) * n + z * h,), (h, r, z, n, m, r_slope, z_slope, n_slope)

    def back(self, saved: Any, d_state: State, weights: Weights, mask: Array) -> tuple[Array, State, dict[str, Array]]:
        (h, r, z, n, m, r_slope, z_slope, n_slope), (d_h,) = saved, d_state
        u_rz, u_n = np.split(weights["weight_hh"], [2 * h.shape[1]])
        read = mask * h
        # d_r, d_z, d_n: of the sums that the activations are given; d_m: of U_n applied to what it saw.
        d_n = d_h * (1.0 - z) * n_slope
        d_z = d_h * (h - n) * z_slope
        if self.reset_after:
            seen, d_m = read, d_n * r
            d_r = d_n * m * r_slope
            d_read = d_m @ u_n
        else:
            seen, d_m = r * read, d_n
            d_r = (d_m @ u_n) * read * r_slope
            d_read = (d_m @ u_n) * r
        d_rz = np.concatenate([d_r, d_z], axis=1)
        d_u, d_b = np.concatenate([d_rz.T @ read, d_m.T @ seen]), np.concatenate([d_rz, d_m], axis=1).sum(axis=0)
        d_before = d_h * z + mask * (d_read + d_rz @ u_rz)
        return np.concatenate([d_rz, d_n], axis=1), (d_before,), {"weight_hh": d_u, "bias_hh": d_b}


@dataclass(frozen=True)
class LayerNormGRU(Cell):
    """Ba et al. 2016 (arXiv:1607.06450) in haste's form: statistics over all gates, before any gate, reset after.

    `forward` normalizes W x.
    """

    activations: tuple[Activation, ...] = (SIGMOID, TANH)
    gates = 3

    def step(self, a: Array, state: State, weights: Weights, mask: Array) -> tuple[State, Any]:
        (h,) = state
        hat, spread = normalize((mask * h) @ weights["weight_hh"].T)
        m_r, m_z, m = np.split(weights["gamma_hh"] * hat + weights["bias_hh"], 3, axis=1)
        a_r, a_z, a_n = np.split(a, 3, axis=1)
        (r, r_slope), (z, z_slope) = self.activate(0, a_r + m_r), self.activate(0, a_z + m_z)
        n, n_slope = self.activate(1, a_n + r * m)
        return ((1.0 - z) * n + z * h,), (h, r, z, n, m, r_slope, z_slope, n_slope, hat, spread)

    def back(self, saved: Any, d_state: State, weights: Weights, mask: Array) -> tuple[Array, State, dict[str, Array]]:
        (h, r, z, n, m, r_slope, z_slope, n_slope, hat, spread), (d_h,) = saved, d_state
        d_n = d_h * (1.0 - z) * n_slope
        d_z = d_h * (h - n) * z_slope
        d_r = d_n * m * r_slope
        d_m = np.concatenate([d_r, d_z, d_n * r], axis=1)
        d_u = normalize_back(weights["gamma_hh"] * d_m, hat, spread)
        grads = {"weight_hh": d_u.T @ (mask * h), "bias_hh": d_m.sum(axis=0), "gamma_hh": (d_m * hat).sum(axis=0)}
        before = d_h * z + mask * (d_u @ weights["weight_hh"])
        return np.concatenate([d_r, d_z, d_n], axis=1), (before,), grads


def normalize(a: Array) -> tuple[Array, Array]:
    """Return rows with mean 0 and variance 1, and what they were divided by."""
    if not a.shape[-1]:
        return a, a
    spread = np.sqrt(a.var(axis=-1, keepdims=True) + 1e-5)
    return (a - a.mean(axis=-1, keepdims=True)) / spread, spread


def normalize_back(d: Array, hat: Array, spread: Array) -> Array:
    """Return the gradient of what `normalize` was given."""
    if not d.shape[-1]:
        return d
    return np.asarray((d - d.mean(axis=-1, keepdims=True) - hat * (d * hat).mean(axis=-1, keepdims=True)) / spread)


@dataclass(frozen=True)
class LSTM(Cell):
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; gates i, f, g, o as in PyTorch.

    Of the weights peephole (3, H), of the gates i, f and o (Gers and Schmidhuber 2000), and weight_hr (P, H), the
    projection of h (Sak et al. 2014), may be there. With `input_forget` f is 1 - i (ONNX).
    """

    activations: tuple[Activation, ...] = (SIGMOID, TANH, TANH)
    input_forget: bool = False
    gates, states = 4, 2

    def step(self, a: Array, state: State, weights: Weights, mask: Array) -> tuple[State, Any]:
        h, c = state
        a_i, a_f, a_g, a_o = np.split(a + (mask * h) @ weights["weight_hh"].T + weights["bias_hh"], 4, axis=1)
        i, i_slope = self.activate(0, a_i + peep(weights, 0, c))
        f, f_slope = self.activate(0, a_f + peep(weights, 1, c))
        if self.input_forget:
            f, f_slope = 1.0 - i, np.zeros_like(i)
        g, g_slope = self.activate(1, a_g)
        c_next = f * c + i * g
        o, o_slope = self.activate(0, a_o + peep(weights, 2, c_next))
        shown, shown_slope = self.activate(2, c_next)
        h_next = o * shown
        if "weight_hr" in weights:
            h_next = h_next @ weights["weight_hr"].T
        slopes = i_slope, f_slope, g_slope, o_slope, shown_slope
        return (h_next, c_next), (h, c, i, f, g, o, c_next, shown, slopes)

    def back(self, saved: Any, d_state: State, weights: Weights, mask: Array) -> tuple[Array, State, dict[str, Array]]:
        (h, c, i, f, g, o, c_next, shown, slopes), (d_h, d_c) = saved, d_state
        i_slope, f_slope, g_slope, o_slope, shown_slope = slopes
        grads = {}
        if "weight_hr" in weights:
            grads["weight_hr"] = d_h.T @ (o * shown)
            d_h = d_h @ weights["weight_hr"]
        d_o = d_h * shown * o_slope
        d_c = d_c + d_h * o * shown_slope + peep(weights, 2, d_o)
        d_i = d_c * (g - c if self.input_forget else g) * i_slope
        d_f = d_c * c * f_slope
        d_a = np.concatenate([d_i, d_f, d_c * i * g_slope, d_o], axis=1)
        if "peephole" in weights:
            grads["peephole"] = np.stack([(d * seen).sum(axis=0) for d, seen in ((d_i, c), (d_f, c), (d_o, c_next))])
        grads |= {"weight_hh": d_a.T @ (mask * h), "bias_hh": d_a.sum(axis=0)}
        return (
            d_a,
            (mask * (d_a @ weights["weight_hh"]), d_c * f + peep(weights, 0, d_i) + peep(weights, 1, d_f)),
            grads,
        )


def peep(weights: Weights, gate: int, seen: Array) -> Array | float:
    """Return what one of the peepholes makes of c, or of a gradient on its way to c; 0 without peepholes."""
    return weights["peephole"][gate] * seen if "peephole" in weights else 0.0


@dataclass(frozen=True)
class RNN(Cell):
    """Elman 1990."""

    gates = 1

    def step(self, a: Array, state: State, weights: Weights, mask: Array) -> tuple[State, Any]:
        (h,) = state
        h_next, slope = self.activate(0, a + (mask * h) @ weights["weight_hh"].T + weights["bias_hh"])
        return (h_next,), (h, slope)

    def back(self, saved: Any, d_state: State, weights: Weights, mask: Array) -> tuple[Array, State, dict[str, Array]]:
        (h, slope), (d_h,) = saved, d_state
        # A ReLU lets nothing through where it is 0, not even NaN.
        d_a = np.multiply(d_h, slope, out=np.zeros_like(d_h), where=slope != 0)
        grads = {"weight_hh": d_a.T @ (mask * h), "bias_hh": d_a.sum(axis=0)}
        return d_a, (mask * (d_a @ weights["weight_hh"]),), grads


CELLS: dict[str, Cell] = {
    "gru_reset_after": GRU(),
    "gru_reset_before": GRU(reset_after=False),
    "gru_layer_norm": LayerNormGRU(),
    "lstm": LSTM(),
    "rnn_tanh": RNN((TANH,)),
    "rnn_relu": RNN((RELU,)),
}


# ---- A layer -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tape:
    """What one layer's backward pass needs of its forward pass."""

    cell: Cell
    x: Array  # (T, B, I)
    projections: list[Any]  # by time: of layer normalization, what `normalize` made of W x
    alive: Bools  # (T, B, 1), whether a row has this step
    fresh: Bools  # (T, B, 1), whether a reset made it begin with zeros
    saved: list[Any]  # by time
    mask: Array  # (B, P)
    taken: Array | None  # (T, B, P)
    weight_ih: Array
    gamma_ih: Array | None
    weights: Weights  # of the cell
    biases: tuple[str, ...]  # the names of those that were given
    reverse: bool


def forward(
    x: npt.ArrayLike,
    state: Any,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike,
    bias_ih: npt.ArrayLike | None,
    bias_hh: npt.ArrayLike | None,
    *,
    cell: str = "gru_reset_after",
    gamma_ih: npt.ArrayLike | None = None,
    gamma_hh: npt.ArrayLike | None = None,
    activations: Sequence[ActivationLike] | None = None,
    clip: float | None = None,
    peephole: npt.ArrayLike | None = None,
    input_forget: bool = False,
    weight_hr: npt.ArrayLike | None = None,
    reverse: bool = False,
    lengths: npt.ArrayLike | None = None,
    reset: npt.ArrayLike | None = None,
    dropout_mask: npt.ArrayLike | None = None,
    taken: npt.ArrayLike | None = None,
) -> tuple[Array, Any, Tape]:
    """Run one layer in one direction.

    Parameters
    ----------
    x : (T, B, I)
    state : h_0 (B, P), of the LSTM (h_0, c_0), or None for zeros
    weight_ih : (G * H, I)
    weight_hh : (G * H, P)
    bias_ih, bias_hh : (G * H), or None
    cell : str
        A key of `CELLS`.
    gamma_ih, gamma_hh : (G * H)
        The gains of layer normalization, for its cell.
    activations : of a GRU (gates, candidate), of the LSTM (gates, g, c'), of a plain network (one,)
        Names, or tuples of a name and numbers; None for the cell's own.
    clip : float, or None
        What an activation is given is brought to within this of zero (ONNX). No gradient flows from beyond it.
    peephole : (3, H), or None
        Of the LSTM: what c is multiplied by for the gates i and f, and c' for o.
    input_forget : bool
        Of the LSTM: f is 1 - i, and the weights of f have no effect.
    weight_hr : (P, H), or None
        Of the LSTM: h' is ``weight_hr (o * tanh(c'))``, as in PyTorch with a proj_size.
    reverse : bool
        Go from the last step to the first; `output` stays in the order of `x`, and the last state is that after
        step 0.
    lengths : (B,), or None
        Steps of each row, 0 to T. What is behind them is padding: it is not read, the output there is zero,
        and the reverse direction begins at the row's own last step.
    reset : (T, B) of bool, or None
        Whether no state passes between steps t - 1 and t, in any direction: it becomes zero there.
    dropout_mask : (B, P), or None for ones
        What h is multiplied by where the hidden weights read it, in every step.
    taken : (T, B, P), or None for ones
        Zoneout (Krueger et al. 2017): how much of each unit's new h is taken; the rest stays what it was.

    Returns
    -------
    output : (T, B, P)
    final : as `state`
    tape : Tape
    """
    kind = replace(CELLS[cell], **_options(activations, clip, input_forget))
    x, weight_ih = _float64(x), _float64(weight_ih)
    given = {"weight_hh": weight_hh, "bias_hh": bias_hh, "gamma_hh": gamma_hh}
    given |= {"peephole": peephole, "weight_hr": weight_hr}
    weights = {name: _float64(array) for name, array in given.items() if array is not None}
    (steps, batch, _), (rows, hidden) = x.shape, weights["weight_hh"].shape
    alive, fresh = _alive_and_fresh(steps, batch, reverse, lengths, reset)
    x[~alive[:, :, 0]] = 0
    biases = tuple(name for name, bias in (("bias_ih", bias_ih), ("bias_hh", bias_hh)) if bias is not None)
    b_i = np.zeros(rows) if bias_ih is None else _float64(bias_ih)
    weights.setdefault("bias_hh", np.zeros(rows))
    gamma_ih = None if gamma_ih is None else _float64(gamma_ih)
    present = _parts(kind, state, batch, weights)
    mask = np.ones((batch, hidden)) if dropout_mask is None else _float64(dropout_mask)
    taken = None if taken is None else _float64(taken)

    output = np.empty((steps, batch, hidden))
    saved: list[Any] = [None] * steps
    projections: list[Any] = [None] * steps
    for t in _order(steps, reverse):
        present = tuple(np.where(fresh[t], 0.0, part) for part in present)
        a = x[t] @ weight_ih.T
        if gamma_ih is not None:
            projections[t] = normalize(a)
            a = gamma_ih * projections[t][0]
        after, saved[t] = kind.step(a + b_i, present, weights, mask)
        if taken is not None:
            after = (taken[t] * after[0] + (1.0 - taken[t]) * present[0], *after[1:])
        output[t] = np.where(alive[t], after[0], 0.0)
        present = tuple(np.where(alive[t], new, old) for new, old in zip(after, present, strict=True))
    arrays = x, projections, alive, fresh, saved, mask, taken, weight_ih, gamma_ih, weights
    tape = Tape(kind, *arrays, biases, reverse)
    return output, _whole(present), tape


def backward(tape: Tape, d_output: npt.ArrayLike | None, d_final: Any = None) -> dict[str, Any]:
    """Take the gradients of a scalar through `forward`.

    Parameters
    ----------
    tape : Tape
        The third result of `forward`.
    d_output : (T, B, P), or None for zeros
    d_final : as the last state, or None for zeros

    Returns
    -------
    dict
        The gradients of ``x``, ``state``, ``weight_ih``, ``weight_hh`` and, where there was one, ``bias_ih``,
        ``bias_hh``, ``gamma_ih``, ``gamma_hh``, ``peephole`` and ``weight_hr``, each in the shape of its array.
    """
    (steps, batch, _), (rows, hidden) = tape.x.shape, tape.weights["weight_hh"].shape
    d_output = np.zeros((steps, batch, hidden)) if d_output is None else _float64(d_output)
    d_output[~tape.alive[:, :, 0]] = 0
    d_state = _parts(tape.cell, d_final, batch, tape.weights)

    d_x, d_weight_ih, d_b_i, d_gamma_ih = (np.zeros(a) for a in (tape.x.shape, tape.weight_ih.shape, rows, rows))
    d_weights = {name: np.zeros_like(array) for name, array in tape.weights.items()}
    for t in _order(steps, not tape.reverse):
        # What a row does not have contributes nothing, and passes on what comes from later.
        d_after = tuple(np.where(tape.alive[t], part, 0.0) for part in (d_state[0] + d_output[t], *d_state[1:]))
        taken = 1.0 if tape.taken is None else tape.taken[t]
        d_new = (taken * d_after[0], *d_after[1:])
        d_a, d_before, d_own = tape.cell.back(tape.saved[t], d_new, tape.weights, tape.mask)
        if tape.taken is not None:
            d_before = (d_before[0] + (1.0 - taken) * d_after[0], *d_before[1:])
        d_state = tuple(
            np.where(tape.fresh[t], 0.0, np.where(tape.alive[t], new, old))
            for new, old in zip(d_before, d_state, strict=True)
        )
        d_b_i += d_a.sum(axis=0)
        if tape.gamma_ih is not None:
            d_gamma_ih += (d_a * tape.projections[t][0]).sum(axis=0)
            d_a = normalize_back(tape.gamma_ih * d_a, *tape.projections[t])
        d_x[t] = d_a @ tape.weight_ih
        d_weight_ih += d_a.T @ tape.x[t]
        for name, d in d_own.items():
            d_weights[name] += d

    grads = {"x": d_x, "state": _whole(d_state), "weight_ih": d_weight_ih, "bias_ih": d_b_i, **d_weights}
    if tape.gamma_ih is not None:
        grads["gamma_ih"] = d_gamma_ih
    absent = {"bias_ih", "bias_hh"}.difference(tape.biases)
    return {name: d for name, d in grads.items() if name not in absent}


# ---- A stack -----------------------------------------------------------------------------------------------

# Parameters that not every cell has.
OWN = ("gamma_ih", "gamma_hh", "peephole", "weight_hr")


def stack_forward(
    x: npt.ArrayLike,
    states: Sequence[Any] | None,
    parameters: Mapping[str, npt.ArrayLike],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    cell: str = "gru_reset_after",
    activations: Sequence[ActivationLike] | None = None,
    clip: float | None = None,
    input_forget: bool = False,
    lengths: npt.ArrayLike | None = None,
    reset: npt.ArrayLike | None = None,
) -> tuple[Array, list[Any], list[list[Tape]]]:
    """Run a stack of layers, each reading the output of the one below.

    Parameters
    ----------
    x : (T, B, I)
    states : for each layer (D, B, P_l), of the LSTM a pair, h and c (D, B, H_l); or None for zeros
    parameters : mapping
        The parameters under PyTorch's names: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``,
        ``bias_hh_l0``, ``weight_ih_l0_reverse``, ..., and ``gamma_ih_l0``, ``peephole_l0``, ``weight_hr_l0``, ... A
        layer whose biases are missing has none.
    num_layers : int
    bidirectional : bool
        With True, D = 2: a layer's output is that of the forward direction beside that of the reverse one.
    activations
        As of `forward`, for both directions, or those of the one and then of the other (ONNX).
    cell, clip, input_forget, lengths, reset
        As of `forward`.

    Returns
    -------
    output : (T, B, D * P_last)
    final : as `states`
    tapes : a Tape for each layer and direction
    """
    output, final, tapes = _float64(x), [], []
    count = len(CELLS[cell].activations)
    by_direction = [activations and (activations[first : first + count] or activations) for first in (0, count)]
    for layer in range(num_layers):
        runs = [
            forward(
                output,
                None if states is None else _part(CELLS[cell], states[layer], direction),
                parameters["weight_ih" + suffix],
                parameters["weight_hh" + suffix],
                parameters.get("bias_ih" + suffix),
                parameters.get("bias_hh" + suffix),
                cell=cell,
                **{name: parameters.get(name + suffix) for name in OWN},
                activations=by_direction[direction],
                clip=clip,
                input_forget=input_forget,
                reverse=direction == 1,
                lengths=lengths,
                reset=reset,
            )
            for direction, suffix in enumerate(_suffixes(layer, 2 if bidirectional else 1))
        ]
        output = np.concatenate([run[0] for run in runs], axis=2)
        final.append(_both(CELLS[cell], [run[1] for run in runs]))
        tapes.append([run[2] for run in runs])
    return output, final, tapes


def stack_backward(
    tapes: Sequence[Sequence[Tape]],
    d_output: npt.ArrayLike | None,
    d_final: Sequence[Any] | None = None,
) -> tuple[tuple[Array, list[Any]], dict[str, Array]]:
    """Take the gradients of a scalar through `stack_forward`.

    Parameters
    ----------
    tapes : a Tape for each layer and direction
        The third result of `stack_forward`.
    d_output : (T, B, D * P_last), or None for zeros
    d_final : as the last states, or None for zeros

    Returns
    -------
    (d_x, d_states) : (T, B, I), and as `states`
    grads : dict
        The gradients of the parameters, under the names that `stack_forward` read.
    """
    d_states: list[Any] = []
    grads: dict[str, Array] = {}
    for layer in reversed(range(len(tapes))):
        count, name = len(tapes[layer]), tapes[layer][0].cell
        d_own = [None] * count if d_output is None else np.split(_float64(d_output), count, axis=2)
        d_last = [None] * count if d_final is None else [_part(name, d_final[layer], d) for d in range(count)]
        backs = [backward(*each) for each in zip(tapes[layer], d_own, d_last, strict=True)]
        for suffix, back in zip(_suffixes(layer, count), backs, strict=True):
            grads |= {key + suffix: d for key, d in back.items() if key not in ("x", "state")}
        d_states.insert(0, _both(name, [back["state"] for back in backs]))
        d_output = np.sum([back["x"] for back in backs], axis=0)
    return (_float64(d_output), d_states), grads


def _options(activations: Sequence[ActivationLike] | None, clip: float | None, input_forget: bool) -> dict[str, Any]:
    """Return those in which a cell differs from that of `CELLS`."""
    options: dict[str, Any] = {} if clip is None else {"clip": clip}
    if activations is not None:
        options["activations"] = tuple(activation("activations", each) for each in activations)
    return options | {"input_forget": True} if input_forget else options


def _parts(cell: Cell, state: Any, batch: int, weights: Weights) -> State:
    if state is None:
        rows, hidden = weights["weight_hh"].shape
        return tuple(np.zeros((batch, size)) for size in (hidden, rows // cell.gates)[: cell.states])
    return (_float64(state),) if cell.states == 1 else tuple(map(_float64, state))


def _whole(state: State) -> Any:
    return state[0] if len(state) == 1 else state


def _part(cell: Cell, states: Any, direction: int) -> Any:
    """Return the state of one direction, from (D, B, H) or a pair of them."""
    return states[direction] if cell.states == 1 else tuple(part[direction] for part in states)


def _both(cell: Cell, states: Sequence[Any]) -> Any:
    """Undo `_part` for all directions."""
    return np.stack(states) if cell.states == 1 else tuple(map(np.stack, zip(*states, strict=True)))


def _float64(array: Any) -> Array:
    """Copy, so that a tape does not change with the caller's arrays."""
    return np.array(array, dtype=np.float64)


def _alive_and_fresh(
    steps: int, batch: int, reverse: bool, lengths: npt.ArrayLike | None, reset: npt.ArrayLike | None
) -> tuple[Bools, Bools]:
    """Return for each step (T, B, 1) whether a row has it, and whether a reset makes the row begin it with zeros."""
    alive = np.arange(steps)[:, None] < (np.full(batch, steps) if lengths is None else np.asarray(lengths))
    cut = alive & (np.zeros((steps, batch), bool) if reset is None else np.asarray(reset))
    # In reverse, what stands between t and t + 1 is met on the way to t.
    fresh = np.concatenate([cut[1:], np.zeros((min(steps, 1), batch), bool)]) if reverse else cut
    return alive[:, :, None], fresh[:, :, None]


def _order(steps: int, backwards: bool) -> Iterator[int]:
    return reversed(range(steps)) if backwards else iter(range(steps))


def _suffixes(layer: int, directions: int) -> list[str]:
    return [f"_l{layer}", f"_l{layer}_reverse"][:directions]
