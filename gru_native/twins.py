"""Arrays of which a step changes a few rows, without a copy of the whole array in every step."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np

from gru_native._layer import empty_like
from gru_native.arguments import Array


@dataclass
class Twin:
    """An array to write to that is another one but for some rows.

    The two take turns: after a step the new array is in use, and the one before it becomes the twin, unless somebody
    else still has it.
    """

    of: Array
    array: Array
    stale: list[Array] = field(default_factory=list)  # rows in which they differ

    def replaced(self, rows: Array, values: Array) -> Array:
        """Return `of` with other values in some rows. The twin is that array then, until `passed_on` is."""
        self.array.flags.writeable = True
        outdated = self.stale
        self.stale = [*outdated, rows]  # first: an interrupted step leaves rows that are written
        for own in outdated:
            self.array[own] = self.of[own]
        self.array[rows] = values
        self.array.flags.writeable = False
        return self.array

    def passed_on(self, rows: Array) -> Twin:
        """Return the twin of the array that `replaced` returned."""
        return Twin(self.array, self.of, [rows])


def twin_of(present: Array, before: Twin | None) -> Twin:
    """Return the twin of an array: the one before, if it is that array's and nobody else has it, or a copy."""
    if before is not None and before.of is present and _references(before) == _ALONE:
        return before
    copy = empty_like(present)
    np.copyto(copy, present)
    return Twin(present, copy)


def _references(twin: Twin) -> int:
    """Return how many there are to the array that would be written to."""
    return sys.getrefcount(twin.array)


# Of an array that only a twin has, counted as above, because Python's versions differ in what they count.
_ALONE = _references(Twin(np.empty(0), np.empty(0)))
