"""What a pass of NumPy over large arrays does not do by itself: ask for the memory that is kept, and see signals."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from math import prod
from typing import Any, ParamSpec, TypeVar

import numpy as np

from gru_native import _core
from gru_native.arguments import Array

P = ParamSpec("P")
R = TypeVar("R")

# Over more numbers a call of NumPy takes too long for Ctrl-C: they are cut into pieces that the caches hold.
LARGE, PIECE = 1 << 24, 1 << 18


def repeatable(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function that found no memory give back what is kept for later calls, and run once more.

    The core does so itself, NumPy knows nothing of it. The function must have changed nothing when it fails.
    """

    @wraps(function)
    def run(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except MemoryError as error:
            # What the first run had made would otherwise stay as long as the error.
            traceback.clear_frames(error.__traceback__)
            if not _core.release_memory():
                raise
        return function(*arguments, **keywords)

    return run


def allocated(
    allocate: Callable[[tuple[int, ...], np.dtype[Any]], Array],
    sizes: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Array:
    """Return ``allocate(shape, dtype)``; what no memory can hold is refused by `sizes`, the arguments it comes from."""
    message = f"{sizes}: expected arrays that memory can hold, got one of shape {shape}"
    if prod(size or 1 for size in shape) > sys.maxsize // 8:  # NumPy counts an axis of no size as one
        raise ValueError(message)
    try:
        return allocate(shape, dtype)
    except MemoryError:
        raise MemoryError(message) from None


def in_pieces(compute: Callable[..., tuple[Array, ...]], *arrays: Array) -> tuple[Array, ...]:
    """Return ``compute(*arrays)``, of large arrays piece by piece along their first axis.

    Python runs the handlers of signals between the pieces. A row of each result must depend on no other row of the
    arrays.
    """
    largest = max([array.size for array in arrays])
    if largest <= LARGE:
        return compute(*arrays)
    rows = len(arrays[0])
    step = max(1, PIECE * rows // largest)
    results: tuple[Array, ...] = ()
    for start in range(0, rows, step):
        part = slice(start, start + step)
        made = compute(*(array[part] for array in arrays))
        results = results or tuple(np.empty((rows, *each.shape[1:]), each.dtype) for each in made)
        for whole, each in zip(results, made, strict=True):
            whole[part] = each
    return results
