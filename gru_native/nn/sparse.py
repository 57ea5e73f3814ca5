"""Gradients of which a few rows are not zero."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gru_native.arguments import Array, any_float_array, index_array, wholes


@dataclass(frozen=True, eq=False)
class SparseGradient:
    """The gradient of a table, of which only some rows are not zero; `Embedding` with ``sparse=True`` gives it.

    Two of them can be added, and one multiplied by a number.

    Attributes
    ----------
    rows : (K,) of int64
        Which rows, each once, in rising order.
    values : (K, E)
        The gradients of these rows.
    shape : (V, E)
        That of the table.
    """

    rows: Array
    values: Array
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        shape = wholes("shape", self.shape, least=0)
        values = any_float_array("values", self.values)
        rows = index_array("rows", self.rows, shape[0] if shape else 0)
        if rows.ndim != 1 or (rows[1:] <= rows[:-1]).any():
            raise ValueError(f"rows: expected each row once in rising order, (K,), got shape {rows.shape}")
        if values.shape != (len(rows), *shape[1:]):
            raise ValueError(f"values: expected shape {(len(rows), *shape[1:])}, got {values.shape}")
        for name, found in (("rows", rows), ("values", values), ("shape", shape)):
            object.__setattr__(self, name, found)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the values."""
        found: np.dtype[Any] = self.values.dtype
        return found

    def dense(self) -> Array:
        """Return the gradient with all rows."""
        whole = np.zeros(self.shape, self.dtype)
        whole[self.rows] = self.values
        return whole

    def __mul__(self, factor: float) -> SparseGradient:
        return replace(self, values=self.values * factor)

    def __add__(self, other: SparseGradient) -> SparseGradient:
        rows = np.union1d(self.rows, other.rows)
        values = np.zeros((len(rows), *self.shape[1:]), self.dtype)
        for part in (self, other):
            values[np.searchsorted(rows, part.rows)] += part.values
        return SparseGradient(rows, values, self.shape)
