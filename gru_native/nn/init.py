"""The initial values of the parameters: PyTorch's distributions, drawn from a seed.

Values are drawn in float64 and then rounded, so that float32 and float64 models of one seed start alike. `sizes` names,
for messages, the arguments from which a shape comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import prod, sqrt

import numpy as np
from numpy.typing import DTypeLike

from gru_native.nn.module import Array
from gru_native.passes import PIECE, allocated, repeatable


def uniform(rng: np.random.Generator, sizes: str, shape: tuple[int, ...], fan_in: int, dtype: DTypeLike) -> Array:
    """Return values uniform in ±1/√fan_in (zeros when `fan_in` is 0).

    For a weight this is PyTorch's ``kaiming_uniform_(a=sqrt(5))``, for a recurrent layer with its hidden size as
    `fan_in` PyTorch's ``reset_parameters``.
    """
    bound = 1 / sqrt(fan_in) if fan_in else 0.0
    return _filled(lambda size: rng.uniform(-bound, bound, size), sizes, shape, dtype)


def normal(rng: np.random.Generator, sizes: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return standard normal values."""
    return _filled(rng.standard_normal, sizes, shape, dtype)


def constant(value: float, sizes: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return `value` everywhere."""
    return _filled(lambda size: np.full(size, value), sizes, shape, dtype)


def recurrent(
    rng: np.random.Generator,
    gates: int,
    input_size: int,
    hidden_size: int,
    bias: bool,
    dtype: DTypeLike,
    suffix: str = "",
    layer_norm: bool = False,
    peepholes: bool = False,
    proj_size: int = 0,
) -> dict[str, Array]:
    """Return the parameters of one recurrent layer and direction under PyTorch's keys plus `suffix`.

    The gains of layer normalization are ones.
    """
    rows, read = gates * hidden_size, proj_size or hidden_size
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, input_size), "weight_hh": (rows, read)}
    if bias:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    if peepholes:
        shapes["peephole"] = (3, hidden_size)
    if proj_size:
        shapes["weight_hr"] = (proj_size, hidden_size)
    sizes = "input_size, hidden_size"
    arrays = {name + suffix: uniform(rng, sizes, shape, hidden_size, dtype) for name, shape in shapes.items()}
    gains = ("gamma_ih", "gamma_hh") if layer_norm else ()
    return arrays | {name + suffix: constant(1.0, sizes, (rows,), dtype) for name in gains}


@contextmanager
def limited(arrays: Iterable[Array]) -> Iterator[None]:
    """Refuse, within the block, to make much more than what fills these arrays.

    A small file may claim a model of any size: this stops before the memory for it is taken. What is only a little too
    large is let through, for a message that knows more than a sum.
    """
    little = 1 << 16
    token = _room.set(_Room(little + sum(array.size + 1 for array in arrays)))
    try:
        yield
    finally:
        _room.reset(token)


@dataclass
class _Room:
    left: int


_room: ContextVar[_Room | None] = ContextVar("_room", default=None)


def _filled(draw: Callable[[int], Array], sizes: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array with the next values that `draw` gives, drawn in pieces, so that Python sees signals."""
    values = _empty(sizes, shape, dtype)
    flat = values.reshape(-1)
    for start in range(0, flat.size, PIECE):
        piece = flat[start : start + PIECE]
        piece[:] = _drawn(draw, piece.size)
    return values


@repeatable
def _drawn(draw: Callable[[int], Array], size: int) -> Array:
    return draw(size)  # NumPy takes the memory before it draws


def _empty(sizes: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array to be filled; `sizes` names the arguments that its shape comes from."""
    room = _room.get()
    if room is not None:
        room.left -= prod(shape) + 1
        if room.left < 0:
            raise ValueError(f"{sizes}: expected not many more numbers than there are, got an array of shape {shape}")
    return allocated(_allocate, sizes, shape, np.dtype(dtype))


@repeatable
def _allocate(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    return np.empty(shape, dtype)
