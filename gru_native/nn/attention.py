"""Attention of queries to the steps of sequences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import functional as F
from gru_native.arguments import flag, float_dtype, one_of, typed_array, whole
from gru_native.nn import init
from gru_native.nn.module import Array, Gradients, Module, Snapshot, Version, public, sealed
from gru_native.passes import repeatable
from gru_native.random import Seed, generator


class Attention(Module):
    """Means over the steps of a memory, weighted by how well each step answers a query.

    ``attention(queries, memory, lengths=None)`` takes queries (T, B, Q) and a memory (S, B, M), or (B, T, Q) and
    (B, S, M) with `batch_first`, and gives ``(context, weights)``: the means (T, B, M) or (B, T, M), and the weights
    (T, B, heads, S) or (B, T, heads, S), which are not negative and have a sum of 1. `lengths` (B,), whole numbers from
    0 to S, are the steps of the memory: what is behind them is not read and has a weight of 0; a row without a step
    gives zeros. ``backward(tape, d_context)`` gives ``((d_queries, d_memory), gradients)``; no gradient flows through
    the weights alone.

    Parameters
    ----------
    query_size, memory_size
        Q and M.
    score_mode
        What the weights are the softmax of: "additive" ``score · tanh(weight_query q + bias + weight_memory m)``
        (Bahdanau et al. 2015, arXiv:1409.0473), "general" ``q · weight_memory m``, or "dot" ``q · m``, for which Q must
        be M (Luong et al. 2015, arXiv:1508.04025).
    attention_size
        A, the units of the additive score; ``None`` for M.
    heads
        Into so many parts are cut what is scored and the memory; each part has weights of its own. A divisor of M, and
        of A or Q.
    batch_first
        Whether queries and memory have the batch as first axis.
    dtype
        float32 or float64.
    seed
        Of the initial values, uniform in ±1/√Q, ±1/√M and of the score ±1/√A; ``None`` draws fresh entropy.

    Attributes
    ----------
    weight_query, weight_memory : (A, Q), (A, M) or for "general" (Q, M)
    bias, score_weight : (A,)
        Parameters, found in `parameters`: all of them for "additive", `weight_memory` for "general".
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        score_mode: str = "additive",
        attention_size: int | None = None,
        heads: int = 1,
        batch_first: bool = False,
        *,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.query_size = whole("query_size", query_size)
        self.memory_size = whole("memory_size", memory_size)
        self.score_mode = one_of("score_mode", score_mode, ("additive", "general", "dot"))
        self.heads = whole("heads", heads)
        self.batch_first = flag("batch_first", batch_first)
        self.dtype = float_dtype(dtype)
        units = self.query_size
        if self.score_mode == "additive":
            units = self.memory_size if attention_size is None else whole("attention_size", attention_size)
        elif attention_size is not None:
            raise ValueError(f"attention_size: expected None for the score {self.score_mode!r}, got {attention_size}")
        if self.score_mode == "dot" and self.query_size != self.memory_size:
            expected = f"memory_size = {self.memory_size} for the score 'dot'"
            raise ValueError(f"query_size: expected {expected}, got {self.query_size}")
        if units % self.heads or self.memory_size % self.heads:
            raise ValueError(f"heads: expected a divisor of {units} and {self.memory_size}, got {self.heads}")
        self.attention_size = units
        rng, sizes = generator(seed), "query_size, memory_size, attention_size"
        shapes: dict[str, tuple[tuple[int, ...], int]] = {
            "weight_query": ((units, self.query_size), self.query_size),
            "weight_memory": ((units, self.memory_size), self.memory_size),
            "bias": ((units,), self.query_size),
            "score_weight": ((units,), units),
        }
        names = {"additive": tuple(shapes), "general": ("weight_memory",), "dot": ()}[self.score_mode]
        super().__init__({name: init.uniform(rng, sizes, *shapes[name], self.dtype) for name in names})

    def _config(self) -> dict[str, Any]:
        usual = self.memory_size if self.score_mode == "additive" else self.query_size
        return {
            "query_size": self.query_size,
            "memory_size": self.memory_size,
            "score_mode": self.score_mode,
            "attention_size": None if self.attention_size == usual else self.attention_size,
            "heads": self.heads,
            "batch_first": self.batch_first,
            "dtype": self.dtype.name,
        }

    def _call(
        self,
        snapshot: Snapshot,
        queries: ArrayLike,
        memory: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        threads: int | None = None,
    ) -> tuple[Array, Array]:
        return self._run(snapshot.version, queries, memory, lengths, threads)[0]

    def _forward(
        self,
        snapshot: Snapshot,
        queries: ArrayLike,
        memory: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[tuple[Array, Array], _Saved]:
        (context, weights), saved = self._run(snapshot.version, queries, memory, lengths, threads)
        return (sealed(context), sealed(weights)), saved

    @repeatable
    def _backward(
        self, saved: _Saved, d_context: ArrayLike, *, threads: int | None = None
    ) -> tuple[tuple[Array, Array], Gradients]:
        version, queries, projected, memory, keys, weights, lengths = saved
        d = typed_array("d_context", d_context, self.dtype)
        expected = (*self._turned(queries).shape[:2], self.memory_size)
        if d.shape != expected:
            raise ValueError(f"d_context: expected shape {expected}, got {d.shape}")
        d_queries, d_keys, d_memory, d_score = F.attention_backward(
            projected,
            keys,
            memory,
            weights,
            self._turned(d),
            version.arrays.get("score_weight"),
            lengths=lengths,
            heads=self.heads,
            threads=threads,
        )
        gradients: Gradients = {}
        if self.score_mode == "additive":
            packed = version.derive("query", _packed_query)
            d_queries, own = F.linear_backward(queries, packed, d_queries, threads=threads)
            gradients |= {"weight_query": own["weight"], "bias": own["bias"], "score_weight": d_score}
        d_of_keys, of_keys = self._keys_backward(version, memory, d_keys, threads)
        gradients |= of_keys
        d_memory = d_memory + d_of_keys
        ordered = {name: gradients[name] for name in version.arrays}
        return (self._turned(d_queries), d_memory if self.batch_first else d_memory.swapaxes(0, 1)), ordered

    __call__, forward, backward = public(_call, _forward, _backward)

    @repeatable
    def _run(
        self,
        version: Version,
        queries: ArrayLike,
        memory: ArrayLike,
        lengths: ArrayLike | None,
        threads: int | None,
    ) -> tuple[tuple[Array, Array], _Saved]:
        given, held = typed_array("queries", queries, self.dtype), typed_array("memory", memory, self.dtype)
        for name, own, size in (("queries", given, self.query_size), ("memory", held, self.memory_size)):
            if own.ndim != 3 or own.shape[2] != size:
                axes = "(B, T, F)" if self.batch_first else "(T, B, F)"
                raise ValueError(f"{name}: expected shape {axes} with F = {size}, got {own.shape}")
        rows = held.shape[int(not self.batch_first)]
        if given.shape[int(not self.batch_first)] != rows:
            raise ValueError(f"queries: expected {rows} rows, as of memory, got shape {given.shape}")
        own_lengths = F.sequence_lengths(lengths, held.shape[int(self.batch_first)], rows)
        major = np.array(self._turned(given), order="C")
        batch = laid_out(held if self.batch_first else held.swapaxes(0, 1), own_lengths)
        projected = major
        if self.score_mode == "additive":
            projected = F.linear(major, version.derive("query", _packed_query), threads=threads)
        keys = self._keys(version, batch, threads)
        context, weights = F.attention(
            projected,
            keys,
            batch,
            version.arrays.get("score_weight"),
            lengths=own_lengths,
            heads=self.heads,
            threads=threads,
        )
        saved = _Saved(version, major, projected, batch, keys, weights, own_lengths)
        return (self._turned(context), self._turned(weights)), saved

    def _keys(self, version: Version, memory: Array, threads: int | None) -> Array:
        """Return what queries are compared with, (B, S, A), from a memory (B, S, M)."""
        if self.score_mode == "dot":
            return memory
        return F.linear(memory, version.derive("memory", _packed_memory), threads=threads)

    def _keys_backward(
        self, version: Version, memory: Array, d_keys: Array, threads: int | None
    ) -> tuple[Array, Gradients]:
        """Return the gradient of the memory by its keys, and those of the parameters that make these."""
        if self.score_mode == "dot":
            return d_keys, {}
        packed = version.derive("memory", _packed_memory)
        d_memory, own = F.linear_backward(memory, packed, d_keys, threads=threads)
        return d_memory, {"weight_memory": own["weight"]}

    def _turned(self, array: Array) -> Array:
        return array.swapaxes(0, 1) if self.batch_first else array


class _Saved(NamedTuple):
    version: Version
    queries: Array
    projected: Array
    memory: Array
    keys: Array
    weights: Array
    lengths: Array | None


def laid_out(memory: Array, lengths: Array | None) -> Array:
    """Return a copy of a memory (B, S, M), contiguous, with zeros behind the lengths."""
    copy = np.array(memory, order="C")
    if lengths is not None:
        copy[np.arange(memory.shape[1]) >= lengths[:, None]] = 0
    return copy


def _packed_query(version: Version) -> F.LinearWeights:
    return F.pack_linear(version["weight_query"], version["bias"])


def _packed_memory(version: Version) -> F.LinearWeights:
    return F.pack_linear(version["weight_memory"])
