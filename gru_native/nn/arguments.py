"""Checks of what a layer is built from and of the arrays that layers written in NumPy are given."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native.nn.module import Array


def size(name: str, value: int, least: int = 1) -> int:
    """Return `value` as a whole number of at least `least`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{name}: expected a whole number from {least} up, got {value!r}")
    return index(value)


def flag(name: str, value: bool) -> bool:
    """Return `value`, which must be true or false."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def number(name: str, value: float, least: float = 0.0, most: float = np.inf) -> float:
    """Return `value` as a float within ``least <= value <= most``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{name}: expected a number, got {value!r}")
    if not least <= value <= most:
        raise ValueError(f"{name}: expected a number from {least:g} to {most:g}, got {value!r}")
    return float(value)


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as float32 or float64, the two that the layers compute in."""
    # NumPy takes None, also in comparisons, for float64.
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or found not in (np.float32, np.float64):
        raise TypeError(f"dtype: expected float32 or float64, got {dtype!r}")
    return found


def float_array(name: str, value: ArrayLike, dtype: DTypeLike | None = None) -> Array:
    """Return `value` as an array of `dtype` (``None``: of either dtype that the layers compute in)."""
    array = np.asarray(value)
    if dtype is None and array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")
    if dtype is not None and array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {np.dtype(dtype)}, got {array.dtype}")
    return array


def shaped_array(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return `value` as an array of just this shape and dtype."""
    array = float_array(name, value, dtype)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    return array
