"""The recurrent layers written down in NumPy float64: the executable specification of everything compiled.

It is short, slow and meant to be read. `forward` and `backward` are one layer in one direction, of any of the
`CELLS`; `stack_forward` and `stack_backward` compose them into layers and directions under PyTorch's names.
Inputs of any real dtype are taken to float64, and so is every result. Nothing is validated here.

T = time steps, B = batch, I = input size, H = hidden size, D = directions, G = gates of the cell. A state is a tuple of
arrays (B, H): (h,), or of the LSTM (h, c).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
State = tuple[Array, ...]


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


# ---- Cells -------------------------------------------------------------------------------------------------


class Cell(Protocol):
    """One step, and the gradients of one step."""

    gates: int
    states: int

    def step(self, a: Array, state: State, u: Array, b: Array, mask: Array) -> tuple[State, Any]:
        """Return the next state, and what `back` needs.

        Parameters
        ----------
        a : (B, G * H), W x + b_ih
        state : of the step before
        u, b : weight_hh (G * H, H), bias_hh (G * H); see also `LayerNormGRU`
        mask : (B, H), what h is multiplied by where `u` reads it
        """

    def back(self, saved: Any, d_state: State, u: Array, mask: Array) -> tuple[Array, State, Array, Array]:
        """Return the gradients of `a`, of the state before, of `u` and of `b` from that of the next state."""


class GRU:
    """Cho et al. 2014 (arXiv:1406.1078): in version 3 the reset gate comes before the recurrent product, in 1 after."""

    gates, states = 3, 1

    def __init__(self, reset_after: bool) -> None:
        self.reset_after = reset_after

    def step(self, a: Array, state: State, u: Array, b: Array, mask: Array) -> tuple[State, Any]:
        (h,) = state
        (a_r, a_z, a_n), (u_r, u_z, u_n), (b_r, b_z, b_n) = np.split(a, 3, axis=1), np.split(u, 3), np.split(b, 3)
        read = mask * h
        r = sigmoid(a_r + read @ u_r.T + b_r)
        z = sigmoid(a_z + read @ u_z.T + b_z)
        m = read @ u_n.T + b_n  # what the reset gate multiplies when it comes after the product
        n = np.tanh(a_n + (r * m if self.reset_after else (r * read) @ u_n.T + b_n))
        return ((1.0 - z) * n + z * h,), (h, r, z, n, m)

    def back(self, saved: Any, d_state: State, u: Array, mask: Array) -> tuple[Array, State, Array, Array]:
        (h, r, z, n, m), (d_h,), (u_rz, u_n) = saved, d_state, np.split(u, [2 * saved[0].shape[1]])
        read = mask * h
        # d_r, d_z, d_n: of the sums that enter sigmoid and tanh; d_m: of U_n applied to what it saw.
        d_n = d_h * (1.0 - z) * (1.0 - n * n)
        d_z = d_h * (h - n) * z * (1.0 - z)
        if self.reset_after:
            seen, d_m = read, d_n * r
            d_r = d_n * m * r * (1.0 - r)
            d_read = d_m @ u_n
        else:
            seen, d_m = r * read, d_n
            d_r = (d_m @ u_n) * read * r * (1.0 - r)
            d_read = (d_m @ u_n) * r
        d_rz = np.concatenate([d_r, d_z], axis=1)
        d_u, d_b = np.concatenate([d_rz.T @ read, d_m.T @ seen]), np.concatenate([d_rz, d_m], axis=1).sum(axis=0)
        d_before = d_h * z + mask * (d_read + d_rz @ u_rz)
        return np.concatenate([d_rz, d_n], axis=1), (d_before,), d_u, d_b


class LayerNormGRU:
    """Ba et al. 2016 (arXiv:1607.06450) in haste's form: statistics over all gates, before any gate, reset after.

    `b` is (2, 3 * H): bias_hh and gamma_hh. `forward` normalizes W x.
    """

    gates, states = 3, 1

    def step(self, a: Array, state: State, u: Array, b: Array, mask: Array) -> tuple[State, Any]:
        (h,), (bias, gamma) = state, b
        read = mask * h
        hat, spread = normalize(read @ u.T)
        (a_r, a_z, a_n), (m_r, m_z, m) = np.split(a, 3, axis=1), np.split(gamma * hat + bias, 3, axis=1)
        r, z = sigmoid(a_r + m_r), sigmoid(a_z + m_z)
        n = np.tanh(a_n + r * m)
        return ((1.0 - z) * n + z * h,), (h, r, z, n, m, hat, spread, gamma)

    def back(self, saved: Any, d_state: State, u: Array, mask: Array) -> tuple[Array, State, Array, Array]:
        (h, r, z, n, m, hat, spread, gamma), (d_h,) = saved, d_state
        d_n = d_h * (1.0 - z) * (1.0 - n * n)
        d_z = d_h * (h - n) * z * (1.0 - z)
        d_r = d_n * m * r * (1.0 - r)
        d_m = np.concatenate([d_r, d_z, d_n * r], axis=1)
        d_u = normalize_back(gamma * d_m, hat, spread)
        d_b = np.stack([d_m.sum(axis=0), (d_m * hat).sum(axis=0)])
        return np.concatenate([d_r, d_z, d_n], axis=1), (d_h * z + mask * (d_u @ u),), d_u.T @ (mask * h), d_b


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


class LSTM:
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000; gates i, f, g, o as in PyTorch."""

    gates, states = 4, 2

    def step(self, a: Array, state: State, u: Array, b: Array, mask: Array) -> tuple[State, Any]:
        h, c = state
        a_i, a_f, a_g, a_o = np.split(a + (mask * h) @ u.T + b, 4, axis=1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c_next = f * c + i * g
        return (o * np.tanh(c_next), c_next), (h, c, i, f, g, o, np.tanh(c_next))

    def back(self, saved: Any, d_state: State, u: Array, mask: Array) -> tuple[Array, State, Array, Array]:
        (h, c, i, f, g, o, t), (d_h, d_c) = saved, d_state
        d_c = d_c + d_h * o * (1.0 - t * t)
        d_gates = d_c * g * i * (1.0 - i), d_c * c * f * (1.0 - f), d_c * i * (1.0 - g * g), d_h * t * o * (1.0 - o)
        d_a = np.concatenate(d_gates, axis=1)
        return d_a, (mask * (d_a @ u), d_c * f), d_a.T @ (mask * h), d_a.sum(axis=0)


class RNN:
    """Elman 1990."""

    gates, states = 1, 1

    def __init__(self, nonlinearity: str) -> None:
        self.nonlinearity = nonlinearity

    def step(self, a: Array, state: State, u: Array, b: Array, mask: Array) -> tuple[State, Any]:
        (h,) = state
        s = a + (mask * h) @ u.T + b
        h_next = np.tanh(s) if self.nonlinearity == "tanh" else np.maximum(s, 0.0)
        return (h_next,), (h, h_next)

    def back(self, saved: Any, d_state: State, u: Array, mask: Array) -> tuple[Array, State, Array, Array]:
        (h, h_next), (d_h,) = saved, d_state
        d_a = d_h * (1.0 - h_next * h_next) if self.nonlinearity == "tanh" else np.where(h_next > 0, d_h, 0.0)
        return d_a, (mask * (d_a @ u),), d_a.T @ (mask * h), d_a.sum(axis=0)


CELLS: dict[str, Cell] = {
    "gru_reset_after": GRU(reset_after=True),
    "gru_reset_before": GRU(reset_after=False),
    "gru_layer_norm": LayerNormGRU(),
    "lstm": LSTM(),
    "rnn_tanh": RNN("tanh"),
    "rnn_relu": RNN("relu"),
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
    mask: Array  # (B, H)
    taken: Array | None  # (T, B, H)
    weight_ih: Array
    weight_hh: Array
    gamma_ih: Array | None
    bias_names: tuple[str, ...]
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
    reverse: bool = False,
    lengths: npt.ArrayLike | None = None,
    reset: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    taken: npt.ArrayLike | None = None,
) -> tuple[Array, Any, Tape]:
    """Run one layer in one direction.

    Parameters
    ----------
    x : (T, B, I)
    state : h_0 (B, H), of the LSTM (h_0, c_0), or None for zeros
    weight_ih : (G * H, I)
    weight_hh : (G * H, H)
    bias_ih, bias_hh : (G * H), or None
    cell : str
        A key of `CELLS`.
    gamma_ih, gamma_hh : (G * H)
        The gains of layer normalization, for its cell.
    reverse : bool
        Go from the last step to the first; `output` stays in the order of `x`, and the last state is that after
        step 0.
    lengths : (B,), or None
        Steps of each row, 0 to T. What is behind them is padding: it is not read, the output there is zero,
        and the reverse direction begins at the row's own last step.
    reset : (T, B) of bool, or None
        Whether no state passes between steps t - 1 and t, in any direction: it becomes zero there.
    mask : (B, H), or None for ones
        What h is multiplied by where the hidden weights read it, in every step.
    taken : (T, B, H), or None for ones
        Zoneout (Krueger et al. 2017): how much of each unit's new h is taken; the rest stays what it was.

    Returns
    -------
    output : (T, B, H)
    final : as `state`
    tape : Tape
    """
    kind = CELLS[cell]
    x, weight_ih, weight_hh = _float64(x), _float64(weight_ih), _float64(weight_hh)
    (steps, batch, _), (rows, hidden) = x.shape, weight_hh.shape
    alive, fresh = _alive_and_fresh(steps, batch, reverse, lengths, reset)
    x[~alive[:, :, 0]] = 0
    biases = {name: bias for name, bias in (("bias_ih", bias_ih), ("bias_hh", bias_hh)) if bias is not None}
    b_i, b_h = (_float64(biases.get(name, np.zeros(rows))) for name in ("bias_ih", "bias_hh"))
    if gamma_hh is not None:
        b_h = np.stack([b_h, _float64(gamma_hh)])
    gamma_ih = None if gamma_ih is None else _float64(gamma_ih)
    present = _parts(kind, state, (batch, hidden))
    mask = np.ones((batch, hidden)) if mask is None else _float64(mask)
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
        after, saved[t] = kind.step(a + b_i, present, weight_hh, b_h, mask)
        if taken is not None:
            after = (taken[t] * after[0] + (1.0 - taken[t]) * present[0], *after[1:])
        output[t] = np.where(alive[t], after[0], 0.0)
        present = tuple(np.where(alive[t], new, old) for new, old in zip(after, present, strict=True))
    arrays = x, projections, alive, fresh, saved, mask, taken, weight_ih, weight_hh, gamma_ih
    tape = Tape(kind, *arrays, tuple(biases), reverse)
    return output, _whole(present), tape


def backward(tape: Tape, d_output: npt.ArrayLike | None, d_final: Any = None) -> dict[str, Any]:
    """Take the gradients of a scalar through `forward`.

    Parameters
    ----------
    tape : Tape
        The third result of `forward`.
    d_output : (T, B, H), or None for zeros
    d_final : as the last state, or None for zeros

    Returns
    -------
    dict
        The gradients of ``x``, ``state``, ``weight_ih``, ``weight_hh`` and, where there was one, ``bias_ih``,
        ``bias_hh``, ``gamma_ih`` and ``gamma_hh``, each in the shape of its array.
    """
    (steps, batch, _), hidden = tape.x.shape, tape.weight_hh.shape[1]
    d_output = np.zeros((steps, batch, hidden)) if d_output is None else _float64(d_output)
    d_output[~tape.alive[:, :, 0]] = 0
    d_state = _parts(tape.cell, d_final, (batch, hidden))

    d_x, d_weight_ih, d_weight_hh = (np.zeros_like(a) for a in (tape.x, tape.weight_ih, tape.weight_hh))
    rows = len(tape.weight_hh)
    d_b_i, d_b_h, d_gamma_ih = (
        np.zeros(rows),
        np.zeros((2, rows) if tape.gamma_ih is not None else rows),
        np.zeros(rows),
    )
    for t in _order(steps, not tape.reverse):
        # What a row does not have contributes nothing, and passes on what comes from later.
        d_after = tuple(np.where(tape.alive[t], part, 0.0) for part in (d_state[0] + d_output[t], *d_state[1:]))
        taken = 1.0 if tape.taken is None else tape.taken[t]
        d_new = (taken * d_after[0], *d_after[1:])
        d_a, d_before, d_u, d_b = tape.cell.back(tape.saved[t], d_new, tape.weight_hh, tape.mask)
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
        d_weight_hh += d_u
        d_b_h += d_b

    grads = {"x": d_x, "state": _whole(d_state), "weight_ih": d_weight_ih, "weight_hh": d_weight_hh}
    d_bias = {"bias_ih": d_b_i, "bias_hh": d_b_h}
    if tape.gamma_ih is not None:
        d_bias["bias_hh"], d_gamma_hh = d_b_h
        grads |= {"gamma_ih": d_gamma_ih, "gamma_hh": d_gamma_hh}
    return grads | {name: d_bias[name] for name in tape.bias_names}


# ---- A stack -----------------------------------------------------------------------------------------------


def stack_forward(
    x: npt.ArrayLike,
    states: Sequence[Any] | None,
    parameters: Mapping[str, npt.ArrayLike],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    cell: str = "gru_reset_after",
    lengths: npt.ArrayLike | None = None,
    reset: npt.ArrayLike | None = None,
) -> tuple[Array, list[Any], list[list[Tape]]]:
    """Run a stack of layers, each reading the output of the one below.

    Parameters
    ----------
    x : (T, B, I)
    states : for each layer (D, B, H_l), of the LSTM a pair of them; or None for zeros
    parameters : mapping
        The parameters under PyTorch's names: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``,
        ``bias_hh_l0``, ``weight_ih_l0_reverse``, ... A layer whose biases are missing has none.
    num_layers : int
    bidirectional : bool
        With True, D = 2: a layer's output is that of the forward direction beside that of the reverse one.
    cell, lengths, reset
        As of `forward`.

    Returns
    -------
    output : (T, B, D * H_last)
    final : as `states`
    tapes : a Tape for each layer and direction
    """
    output, final, tapes = _float64(x), [], []
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
                gamma_ih=parameters.get("gamma_ih" + suffix),
                gamma_hh=parameters.get("gamma_hh" + suffix),
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
    d_output : (T, B, D * H_last), or None for zeros
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


def _parts(cell: Cell, state: Any, shape: tuple[int, int]) -> State:
    if state is None:
        return (np.zeros(shape),) * cell.states
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
