"""The decoder with attention, step by step and over whole sequences, on plain arrays in the core's layout."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gru_native import _core
from gru_native import functional as F
from gru_native._layer import empty
from gru_native.arguments import Array

# In the core's order.
ARRAYS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "query", "query_bias", "score", "combine")


class Memory(NamedTuple):
    """What a decoder attends to, the batch first: keys (B, S, A), values (B, S, M), and their steps (B,) or None."""

    keys: Array
    values: Array
    lengths: Array | None

    def chosen(self, rows: Any) -> Memory:
        """Return the memory of some rows."""
        lengths = None if self.lengths is None else self.lengths[rows]
        return Memory(self.keys[rows], self.values[rows], lengths)


class DecoderTape:
    """What `Decoder.backward` needs of a forward pass. It serves once, because backward overwrites it."""

    def __init__(self, x: Array, lengths: Array | None, h_0: Array, memory: Memory, y: Array, kept: Array) -> None:
        self.x, self.lengths, self.h_0, self.memory, self.y = x, lengths, h_0, memory, y
        self._kept = [kept]

    def take(self) -> Array:
        try:
            return self._kept.pop()  # at once, for one of several threads
        except IndexError:
            # In the words of the core, whose tapes say so themselves.
            used = "tape: it was used by an earlier backward, which overwrites it; run forward again"
            raise RuntimeError(used) from None


class Decoder:
    """The weights of a decoder, packed: a GRU whose inputs are x and its own output before, attention, and a layer.

    Parameters
    ----------
    arrays
        By the names in `ARRAYS`; those that are missing are not there.
    """

    def __init__(self, arrays: dict[str, Array], heads: int) -> None:
        self._arrays = [arrays.get(name) for name in ARRAYS]
        self._weights = _core.pack_decoder(self._arrays, heads)

    def forward(
        self, x: Array, lengths: Array | None, h_0: Array, memory: Memory, threads: int | None, keep: bool
    ) -> tuple[Array, DecoderTape | None]:
        """Return the outputs (T, B, H) for x (T, B, E), and a tape if it is to be kept."""
        y = empty((*x.shape[:2], h_0.shape[1]), x.dtype)
        kept = None
        if keep:
            size = _core.decoder_tape_size(self._weights, x, lengths, memory.keys.shape[1])
            kept = empty((size,), np.dtype(np.uint8))
        self._decode(x, lengths, h_0, None, memory, y, None, None, kept, threads)
        return y, None if kept is None else DecoderTape(x, lengths, h_0, memory, y, kept)

    def step(self, x: Array, h: Array, y: Array, memory: Memory, threads: int | None) -> tuple[Array, Array, Array]:
        """Return output, state and weights (B, heads, S) of one step from x (B, E), state and output (B, H)."""
        output, h_n = (empty(h.shape, h.dtype) for _ in range(2))
        attention = empty((1, len(x), self._weights.heads, memory.keys.shape[1]), x.dtype)
        self._decode(x[None], None, h, y, memory, output[None], h_n, attention, None, threads)
        return output, h_n, attention[0]

    def backward(
        self, tape: DecoderTape, d_y: Array, threads: int | None
    ) -> tuple[Array, Array, Array, Array, dict[str, Array]]:
        """Return the gradients of x, h_0, keys and values, and those of the weights by name."""
        kept, (keys, values, source_lengths) = tape.take(), tape.memory
        d_x, d_h_0, d_keys, d_values = (empty(own.shape, own.dtype) for own in (tape.x, tape.h_0, keys, values))
        gradients = [None if own is None else empty(own.shape, own.dtype) for own in self._arrays]
        _core.decoder_backward(
            self._weights,
            tape.x,
            tape.lengths,
            tape.h_0,
            keys,
            values,
            source_lengths,
            tape.y,
            kept,
            d_y,
            d_x,
            d_h_0,
            d_keys,
            d_values,
            gradients,
            F.thread_count(threads),
        )
        named = {name: own for name, own in zip(ARRAYS, gradients, strict=True) if own is not None}
        return d_x, d_h_0, d_keys, d_values, named

    def _decode(
        self,
        x: Array,
        lengths: Array | None,
        h_0: Array,
        y_0: Array | None,
        memory: Memory,
        y: Array,
        h_n: Array | None,
        attention: Array | None,
        kept: Array | None,
        threads: int | None,
    ) -> None:
        count = F.thread_count(threads)
        _core.decoder_forward(self._weights, x, lengths, h_0, y_0, *memory, y, h_n, attention, kept, count)
