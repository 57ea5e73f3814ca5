"""The GRU written down in NumPy float64: the executable specification that everything compiled is held to.

It is short, slow and meant to be read. `gru_forward` and `gru_backward` are one layer in one direction;
`stack_forward` and `stack_backward` compose them into layers and directions under PyTorch's parameter names.
Inputs of any real dtype are taken to float64, and so is every result. Nothing is validated here.

T = time steps, B = batch, I = input size, H = hidden size, D = directions. The cell is that of Cho et al.
2014 (arXiv:1406.1078): version 3 of the paper applies the reset gate before the recurrent product, version 1
after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tape:
    """What one layer's backward pass needs of its forward pass; every array is indexed by time."""

    x: Array  # (T, B, I)
    h: Array  # (T, B, H), the state each step began with
    alive: Bools  # (T, B, 1), whether a row has this step
    fresh: Bools  # (T, B, 1), whether a reset made it begin with zeros
    r: Array  # (T, B, H)
    z: Array  # (T, B, H)
    n: Array  # (T, B, H)
    u: Array  # (T, B, H), U_n h + b_hn: what the reset gate multiplies when it comes after the product
    weight_ih: Array
    weight_hh: Array
    bias_names: tuple[str, ...]
    reset_after: bool
    reverse: bool


def sigmoid(a: Array) -> Array:
    """1 / (1 + exp(-a)); where exp overflows the limit 0 is right."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-a)))


def gru_forward(
    x: npt.ArrayLike,
    h_0: npt.ArrayLike | None,
    weight_ih: npt.ArrayLike,
    weight_hh: npt.ArrayLike,
    bias_ih: npt.ArrayLike | None,
    bias_hh: npt.ArrayLike | None,
    *,
    reset_after: bool = True,
    reverse: bool = False,
    lengths: npt.ArrayLike | None = None,
    reset: npt.ArrayLike | None = None,
) -> tuple[Array, Array, Tape]:
    """Run one GRU layer in one direction.

    Parameters
    ----------
    x : (T, B, I)
    h_0 : (B, H), or None for zeros
    weight_ih : (3H, I), gates stacked r, z, n
    weight_hh : (3H, H)
    bias_ih, bias_hh : (3H), or None
    reset_after : bool
        True: n = tanh(W_n x + b_in + r (U_n h + b_hn)); False: n = tanh(W_n x + b_in + U_n (r h) + b_hn).
    reverse : bool
        Go from the last step to the first; `output` stays in the order of `x`, and `h_n` is the state after
        step 0.
    lengths : (B,), or None
        Steps of each row, 0 to T. What is behind them is padding: it is not read, the output there is zero,
        and the reverse direction begins at the row's own last step.
    reset : (T, B) of bool, or None
        Whether no state passes between steps t - 1 and t, in any direction: it becomes zero there.

    Returns
    -------
    output : (T, B, H)
    h_n : (B, H)
    tape : Tape
    """
    x, weight_ih, weight_hh = _float64(x), _float64(weight_ih), _float64(weight_hh)
    (steps, batch, _), hidden = x.shape, weight_hh.shape[1]
    alive, fresh = _alive_and_fresh(steps, batch, reverse, lengths, reset)
    x[~alive[:, :, 0]] = 0
    biases = {name: bias for name, bias in (("bias_ih", bias_ih), ("bias_hh", bias_hh)) if bias is not None}
    b_i, b_h = (_float64(biases.get(name, np.zeros(3 * hidden))) for name in ("bias_ih", "bias_hh"))
    h = np.zeros((batch, hidden)) if h_0 is None else _float64(h_0)

    u_r, u_z, u_n = np.split(weight_hh, 3)
    b_hr, b_hz, b_hn = np.split(b_h, 3)
    output, h_before, r, z, n, u = (np.empty((steps, batch, hidden)) for _ in range(6))
    for t in _order(steps, reverse):
        x_r, x_z, x_n = np.split(x[t] @ weight_ih.T + b_i, 3, axis=1)
        h_before[t] = h = np.where(fresh[t], 0.0, h)
        r[t] = sigmoid(x_r + h @ u_r.T + b_hr)
        z[t] = sigmoid(x_z + h @ u_z.T + b_hz)
        u[t] = h @ u_n.T + b_hn
        n[t] = np.tanh(x_n + (r[t] * u[t] if reset_after else (r[t] * h) @ u_n.T + b_hn))
        h_after = (1.0 - z[t]) * n[t] + z[t] * h
        output[t] = np.where(alive[t], h_after, 0.0)
        h = np.where(alive[t], h_after, h)
    tape = Tape(x, h_before, alive, fresh, r, z, n, u, weight_ih, weight_hh, tuple(biases), reset_after, reverse)
    return output, h, tape


def gru_backward(tape: Tape, d_output: npt.ArrayLike | None, d_h_n: npt.ArrayLike | None = None) -> dict[str, Array]:
    """Take the gradients of a scalar through `gru_forward`.

    Parameters
    ----------
    tape : Tape
        The third result of `gru_forward`.
    d_output : (T, B, H), or None for zeros
    d_h_n : (B, H), or None for zeros

    Returns
    -------
    dict
        The gradients of ``x``, ``h_0``, ``weight_ih``, ``weight_hh`` and, where there was one, ``bias_ih``
        and ``bias_hh``, each in the shape of its array.
    """
    steps, batch, hidden = tape.r.shape
    u_rz, u_n = tape.weight_hh[: 2 * hidden], tape.weight_hh[2 * hidden :]
    d_output = np.zeros((steps, batch, hidden)) if d_output is None else _float64(d_output)
    d_output[~tape.alive[:, :, 0]] = 0
    d_h = np.zeros((batch, hidden)) if d_h_n is None else _float64(d_h_n)

    d_x, d_weight_ih, d_weight_hh = (np.zeros_like(a) for a in (tape.x, tape.weight_ih, tape.weight_hh))
    d_bias = {"bias_ih": np.zeros(3 * hidden), "bias_hh": np.zeros(3 * hidden)}
    for t in _order(steps, not tape.reverse):
        h, r, z, n = tape.h[t], tape.r[t], tape.z[t], tape.n[t]
        d_h_after, d_h = d_h, np.where(tape.alive[t], d_h + d_output[t], 0.0)
        # d_r, d_z, d_n: of the sums that enter sigmoid and tanh; d_u: of U_n applied to what it saw.
        d_n = d_h * (1.0 - z) * (1.0 - n * n)
        d_z = d_h * (h - n) * z * (1.0 - z)
        if tape.reset_after:
            seen, d_u = h, d_n * r
            d_r = d_n * tape.u[t] * r * (1.0 - r)
            d_h = d_h * z + d_u @ u_n
        else:
            seen, d_u = r * h, d_n
            d_r = (d_u @ u_n) * h * r * (1.0 - r)
            d_h = d_h * z + (d_u @ u_n) * r
        d_rz = np.concatenate([d_r, d_z], axis=1)
        d_h = np.where(tape.alive[t], d_h + d_rz @ u_rz, d_h_after)
        d_h = np.where(tape.fresh[t], 0.0, d_h)

        d_gates = np.concatenate([d_rz, d_n], axis=1)
        d_x[t] = d_gates @ tape.weight_ih
        d_weight_ih += d_gates.T @ tape.x[t]
        d_weight_hh += np.concatenate([d_rz.T @ h, d_u.T @ seen])
        d_bias["bias_ih"] += d_gates.sum(axis=0)
        d_bias["bias_hh"] += np.concatenate([d_rz, d_u], axis=1).sum(axis=0)

    grads = {"x": d_x, "h_0": d_h, "weight_ih": d_weight_ih, "weight_hh": d_weight_hh}
    return grads | {name: d_bias[name] for name in tape.bias_names}


def stack_forward(
    x: npt.ArrayLike,
    h_0: Sequence[npt.ArrayLike] | None,
    state: Mapping[str, npt.ArrayLike],
    *,
    num_layers: int = 1,
    bidirectional: bool = False,
    reset_after: bool = True,
    lengths: npt.ArrayLike | None = None,
    reset: npt.ArrayLike | None = None,
) -> tuple[Array, list[Array], list[list[Tape]]]:
    """Run a stack of GRU layers, each reading the output of the one below.

    Parameters
    ----------
    x : (T, B, I)
    h_0 : a (D, B, H_l) for each layer, or None for zeros
    state : mapping
        The parameters under PyTorch's names: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``,
        ``bias_hh_l0``, ``weight_ih_l0_reverse``, ... A layer whose biases are missing has none.
    num_layers : int
    bidirectional : bool
        With True, D = 2: a layer's output is that of the forward direction beside that of the reverse one.
    reset_after, lengths, reset
        As of `gru_forward`.

    Returns
    -------
    output : (T, B, D * H_last)
    h_n : a (D, B, H_l) for each layer
    tapes : a Tape for each layer and direction
    """
    output, h_n, tapes = _float64(x), [], []
    for layer in range(num_layers):
        runs = [
            gru_forward(
                output,
                None if h_0 is None else _float64(h_0[layer])[direction],
                state["weight_ih" + suffix],
                state["weight_hh" + suffix],
                state.get("bias_ih" + suffix),
                state.get("bias_hh" + suffix),
                reset_after=reset_after,
                reverse=direction == 1,
                lengths=lengths,
                reset=reset,
            )
            for direction, suffix in enumerate(_suffixes(layer, 2 if bidirectional else 1))
        ]
        output = np.concatenate([run[0] for run in runs], axis=2)
        h_n.append(np.stack([run[1] for run in runs]))
        tapes.append([run[2] for run in runs])
    return output, h_n, tapes


def stack_backward(
    tapes: Sequence[Sequence[Tape]],
    d_output: npt.ArrayLike | None,
    d_h_n: Sequence[npt.ArrayLike] | None = None,
) -> tuple[tuple[Array, list[Array]], dict[str, Array]]:
    """Take the gradients of a scalar through `stack_forward`.

    Parameters
    ----------
    tapes : a Tape for each layer and direction
        The third result of `stack_forward`.
    d_output : (T, B, D * H_last), or None for zeros
    d_h_n : a (D, B, H_l) for each layer, or None for zeros

    Returns
    -------
    (d_x, d_h_0) : (T, B, I), and a (D, B, H_l) for each layer
    grads : dict
        The gradients of the parameters, under the names that `stack_forward` read.
    """
    d_h_0: list[Array] = []
    grads: dict[str, Array] = {}
    for layer in reversed(range(len(tapes))):
        count = len(tapes[layer])
        d_own = [None] * count if d_output is None else np.split(_float64(d_output), count, axis=2)
        d_last = [None] * count if d_h_n is None else _float64(d_h_n[layer])
        backs = [gru_backward(*each) for each in zip(tapes[layer], d_own, d_last, strict=True)]
        for suffix, back in zip(_suffixes(layer, count), backs, strict=True):
            grads |= {name + suffix: d for name, d in back.items() if name not in ("x", "h_0")}
        d_h_0.insert(0, np.stack([back["h_0"] for back in backs]))
        d_output = np.sum([back["x"] for back in backs], axis=0)
    return (_float64(d_output), d_h_0), grads


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
