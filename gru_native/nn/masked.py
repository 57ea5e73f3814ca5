"""Sequences of which only some steps count, wherever these stand."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike

from gru_native.arguments import Array, array, one_of, shaped_array

MaskedOutput = Literal["zero", "last"]


class MaskedSaved(NamedTuple):
    """What a forward pass over some of the steps keeps."""

    steps: Counted
    own: Any


class Counted:
    """Which steps of a batch count. They are brought together at the beginning of each row, and run by lengths.

    Parameters
    ----------
    mask
        (T, B) of bool, or (B, T) with `batch_first`.
    masked_output
        What stands in the output where a step does not count: zeros, or the output of the last step before it that
        does, in the order in which a direction runs.
    batch_first
        Whether sequences are (B, T, ...).
    reverse
        Where the features of the reverse direction begin in the output.

    Attributes
    ----------
    lengths : (B,)
    """

    def __init__(
        self, x: ArrayLike, mask: ArrayLike, masked_output: str, batch_first: bool, reverse: int | None
    ) -> None:
        found = array("x", x)
        if found.ndim < 3 and not (found.ndim == 2 and found.dtype.kind in "iu"):
            raise ValueError(f"mask: expected x with a batch axis, got shape {found.shape}")
        axes = found.shape[:2]
        given = shaped_array("mask", mask, axes, np.bool_, "(B, T)" if batch_first else "(T, B)").copy()
        self._repeats = one_of("masked_output", masked_output, get_args(MaskedOutput)) == "last"
        self._batch_first, self._reverse = batch_first, reverse
        self._mask = given.T if batch_first else given
        self._place = np.cumsum(self._mask, 0) - 1  # of the last step that counts, among those
        self.lengths = self._mask.sum(0)
        self._order = np.argsort(~self._mask, 0, kind="stable")[: self.lengths.max(initial=0)]

    def together(self, x: ArrayLike) -> Array:
        """Return the steps that count of (T, B, ...), with anything behind them."""
        major = self._turned(array("x", x))
        index = self._order.reshape(self._order.shape + (1,) * (major.ndim - 2))
        return self._turned(np.take_along_axis(major, index, 0))

    def resets(self, reset: ArrayLike | None) -> Array | None:
        """Return the flags of those steps: a flag of a step that does not count is that of the next one that does."""
        if reset is None:
            return None
        given = self._turned(array("reset", reset))
        flags = shaped_array("reset", given, self._mask.shape, np.bool_)
        seen = np.take_along_axis(np.cumsum(flags, 0), self._order, 0)
        return self._turned(np.diff(seen, axis=0, prepend=0) > 0)

    def apart(self, output: Array) -> Array:
        """Return what a model gives for those steps where they stood."""
        major = self._turned(output)
        whole = np.zeros((*self._mask.shape, *major.shape[2:]), major.dtype)
        for features, place, known in self._parts(major.shape[-1]):
            index = np.where(known, place, 0)[..., None] if len(major) else np.zeros(known.shape, int)[..., None]
            if len(major):
                whole[..., features] = np.take_along_axis(major[..., features], index, 0) * known[..., None]
        return np.ascontiguousarray(self._turned(whole))

    def gathered(self, d_output: Array) -> Array:
        """Return the gradient of what `apart` was given."""
        major = self._turned(d_output)
        if major.shape[:2] != self._mask.shape:
            raise ValueError(f"d_output: expected the output's first axes, got shape {d_output.shape}")
        d = np.zeros((len(self._order), *major.shape[1:]), major.dtype)
        rows = np.broadcast_to(np.arange(major.shape[1]), self._mask.shape)
        for features, place, known in self._parts(major.shape[-1]):
            np.add.at(d[..., features], (place[known], rows[known]), major[known][..., features])
        return np.ascontiguousarray(self._turned(d))

    def scattered(self, d_x: Array) -> Array:
        """Return the gradient of x from that of what `together` returned."""
        major = self._turned(d_x)
        whole = np.zeros((*self._mask.shape, *major.shape[2:]), major.dtype)
        whole.swapaxes(0, 1)[self._mask.T] = major.swapaxes(0, 1)[self._live]
        return np.ascontiguousarray(self._turned(whole))

    @property
    def _live(self) -> Array:
        live: Array = np.arange(len(self._order)) < self.lengths[:, None]
        return live

    def _parts(self, features: int) -> list[tuple[slice, Array, Array]]:
        """Return for the features of each direction which step's output stands where, and where one does."""
        if not self._repeats:
            return [(slice(None), self._place, self._mask)]
        forward = self._place, self._place >= 0
        later = self._place + ~self._mask
        backward = later, later < self.lengths
        if self._reverse is None:
            return [(slice(None), *forward)]
        return [(slice(0, self._reverse), *forward), (slice(self._reverse, features), *backward)]

    def _turned(self, array: Array) -> Array:
        return array.swapaxes(0, 1) if self._batch_first else array
