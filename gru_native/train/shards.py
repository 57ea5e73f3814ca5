"""Batches that are cut into shards, and the fixed tree by which their gradients are summed.

How many shards there are is part of what a run is; how many processes share them out is not. A rank has shards that
follow each other. It sums the largest subtrees of which all shards are its own; then each rank takes a part of the
numbers, adds what all ranks have of it by the rest of the tree, and gives the sum to all. So the additions are the same
ones on any number of ranks, and each rank sends and receives about twice the bytes of the gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import chain
from operator import add
from typing import Any

import numpy as np

from gru_native.arguments import Array, T, whole
from gru_native.nn import SparseGradient
from gru_native.nn.module import Gradients
from gru_native.train.data import Data
from gru_native.train.ranks import Ranks

MOST = 4096  # shards: each costs a call of the model in each step, and more than a batch has rows are empty
Span = tuple[int, int]  # of shards: the first one, and the one behind the last


class Shards:
    """The shards of a `Trainer`, and which of them are this rank's.

    Attributes
    ----------
    count : int
    ranks : Ranks
    own : range
    """

    def __init__(self, count: int, communicator: Any) -> None:
        self.count, self.ranks = whole("shards", count, most=MOST), Ranks(communicator)
        if self.count < self.ranks.size:
            raise ValueError(f"shards: expected at least {self.ranks.size}, one for each rank, got {self.count}")
        self.own = self._of(self.ranks.rank)

    def _of(self, rank: int) -> range:
        return range(self.count * rank // self.ranks.size, self.count * (rank + 1) // self.ranks.size)

    def cut(self, name: str, data: Data) -> list[Data]:
        """Return the sources of this rank's shards."""
        if self.count == 1:
            return [data]
        if not hasattr(data, "shard"):
            expected = "a source that can be cut into shards, such as Batches"
            raise TypeError(f"{name}: expected {expected}, got {type(data).__name__} without shard(number, count)")
        return [data.shard(number, self.count) for number in self.own]

    def gathered(self, own: Sequence[T]) -> list[T]:
        """Return what there is for each shard, of all ranks; `own` is for this rank's."""
        return [found for of_rank in self.ranks.gathered(own) for found in of_rank]

    def summed(self, own: Sequence[Gradients]) -> Gradients:
        """Return the sum over all shards of arrays that have the same names and shapes for each."""
        if self.count == 1:
            return own[0]
        everything = (0, self.count)
        leaves = {(shard, shard + 1): leaf for shard, leaf in zip(self.own, own, strict=True)}
        spans = [_subtrees(everything, self._of(rank)) for rank in range(self.ranks.size)]
        sums = [_sum(span, leaves) for span in spans[self.ranks.rank]]
        if self.ranks.size == 1:
            return sums[0]
        names: dict[Any, list[str]] = {}
        for name, array in sums[0].items():
            names.setdefault(SparseGradient if isinstance(array, SparseGradient) else array.dtype, []).append(name)
        found: Gradients = {}
        for kind, alike in names.items():
            parts = [{name: each[name] for name in alike} for each in sums]
            if kind is SparseGradient:  # of which rows differ: all go to all
                of_ranks = self.ranks.gathered(parts)
                found |= _sum(everything, dict(zip(chain(*spans), chain(*of_ranks), strict=True)))
            else:
                found |= self._exchanged(parts, spans)
        return {name: found[name] for name in sums[0]}

    def _exchanged(self, parts: list[dict[str, Array]], spans: list[list[Span]]) -> dict[str, Array]:
        """Return the sum over all ranks of arrays of one dtype; `parts` are those of this rank's spans."""
        size = sum(array.size for array in parts[0].values())
        vectors = np.empty((len(parts), size), next(iter(parts[0].values())).dtype)
        for vector, part in zip(vectors, parts, strict=True):
            np.concatenate([array.ravel() for array in part.values()], out=vector)
        ranks = range(self.ranks.size)
        pieces = [slice(size * rank // len(ranks), size * (rank + 1) // len(ranks)) for rank in ranks]
        width = vectors[:, pieces[self.ranks.rank]].shape[1]
        taken = [np.empty((len(spans[rank]), width), vectors.dtype) for rank in ranks]
        self.ranks.exchange([np.ascontiguousarray(vectors[:, piece]) for piece in pieces], taken)
        rows = [{"": row} for own in taken for row in own]
        found = _sum((0, self.count), dict(zip(chain(*spans), rows, strict=True)))[""]
        total = np.empty(size, vectors.dtype)
        self.ranks.exchange([found for _ in ranks], [total[piece] for piece in pieces])
        ends = np.cumsum([array.size for array in parts[0].values()])
        cut = zip(parts[0].items(), np.split(total, ends[:-1]), strict=True)
        return {name: own.reshape(array.shape) for (name, array), own in cut}


def weighted(found: Sequence[Gradients], shares: Sequence[float]) -> Gradients:
    """Return the sum of gradients, each times its share."""
    if shares == [1.0]:
        return found[0]
    pairs = [*zip(found, shares, strict=True)]
    return {
        name: reduce(add, [grads[name] * grad.dtype.type(share) for grads, share in pairs])
        for name, grad in found[0].items()
    }


def average(buffers: Sequence[Array]) -> Array:
    """Return the mean of running values; of counts, which differ where a shard had no rows, the largest."""
    if buffers[0].dtype.kind != "f":
        return np.asarray(np.max(buffers, axis=0))
    with np.errstate(all="ignore"):
        return np.asarray(np.mean(buffers, axis=0))


def _halves(span: Span) -> tuple[Span, Span]:
    middle = sum(span) // 2
    return (span[0], middle), (middle, span[1])


def _subtrees(span: Span, own: range) -> list[Span]:
    """Return the largest subtrees of which all shards are among these."""
    first, end = span
    if first in own and end - 1 in own:
        return [span]
    return [] if end - first == 1 else [found for half in _halves(span) for found in _subtrees(half, own)]


def _sum(span: Span, known: Mapping[Span, Gradients]) -> Gradients:
    """Return the sum over a subtree, of the sums that are known."""
    if span in known:
        return known[span]
    left, right = (_sum(half, known) for half in _halves(span))
    return {name: array + right[name] for name, array in left.items()}
