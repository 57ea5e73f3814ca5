"""A table of vectors, looked up by index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import functional as F
from gru_native.arguments import array, flag, float_dtype, whole
from gru_native.nn import init
from gru_native.nn.module import Array, Gradients, Module, Snapshot, frozen, public, sealed
from gru_native.nn.signal import Fact, Signal
from gru_native.nn.sparse import SparseGradient
from gru_native.passes import repeatable
from gru_native.random import Seed, generator


class Embedding(Module):
    """``output[...] = weight[indices[...]]``.

    ``embedding(indices)`` takes integers (...) and gives (..., embedding_dim). ``backward(tape, d_output)``
    gives ``(None, {"weight": ...})``: indices have no gradient.

    Parameters
    ----------
    num_embeddings
        Number of rows; indices run from 0 to ``num_embeddings - 1``.
    embedding_dim
        Size of a row.
    padding_idx
        An index whose row starts as zeros and whose gradient is zero, so that it is never trained. A negative
        one counts from the end.
    sparse
        Whether the gradient is a `SparseGradient`, of the rows that were read. A step of `SGD` without momentum, `Adam`
        or `AdamW`, without weight decay, then takes the time of these rows and not that of the whole table. Such an
        optimizer keeps a second copy of the table, and of what it remembers of it.
    dtype
        float32 or float64.
    seed
        Of the initial values, standard normal as PyTorch's; ``None`` draws fresh entropy.

    Attributes
    ----------
    weight : (num_embeddings, embedding_dim)
        A parameter, found in `parameters`.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        sparse: bool = False,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.num_embeddings = whole("num_embeddings", num_embeddings, least=0)
        self.embedding_dim = whole("embedding_dim", embedding_dim, least=0)
        self.sparse = flag("sparse", sparse)
        self.dtype = float_dtype(dtype)
        shape = self.num_embeddings, self.embedding_dim
        weight = init.normal(generator(seed), "num_embeddings, embedding_dim", shape, self.dtype)
        self.padding_idx: int | None = None
        if padding_idx is not None:
            row = whole("padding_idx", padding_idx, -self.num_embeddings, self.num_embeddings - 1)
            self.padding_idx = row % self.num_embeddings
            weight[self.padding_idx] = 0
        super().__init__({"weight": weight})

    def _config(self) -> dict[str, Any]:
        return {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
            "padding_idx": self.padding_idx,
            "sparse": self.sparse,
            "dtype": self.dtype.name,
        }

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        given = given.indexing(place).typed(place, self.dtype.name)
        return given._replace(features=Fact(self.embedding_dim, place))

    def _call(self, snapshot: Snapshot, indices: ArrayLike, *, threads: int | None = None) -> Array:
        return F.embedding(indices, snapshot.version["weight"])

    @repeatable
    def _forward(
        self, snapshot: Snapshot, indices: ArrayLike, *, seed: Seed | None = None, threads: int | None = None
    ) -> tuple[Array, Array]:
        indices = frozen(array("indices", indices).copy())
        return sealed(F.embedding(indices, snapshot.version["weight"])), indices

    def _backward(self, indices: Array, d_output: ArrayLike, *, threads: int | None = None) -> tuple[None, Gradients]:
        if self.sparse:
            return None, {"weight": self._sparse_gradient(indices, d_output, threads)}
        d_weight = F.embedding_backward(
            indices, d_output, self.num_embeddings, padding_idx=self.padding_idx, threads=threads
        )
        return None, {"weight": d_weight}

    __call__, forward, backward = public(_call, _forward, _backward)

    @repeatable
    def _sparse_gradient(self, indices: Array, d_output: ArrayLike, threads: int | None) -> SparseGradient:
        rows, places = np.unique(indices, return_inverse=True)
        values = F.embedding_backward(places.reshape(indices.shape), d_output, len(rows), threads=threads)
        if self.padding_idx is not None:
            values, rows = values[rows != self.padding_idx], rows[rows != self.padding_idx]
        return SparseGradient(rows, values, (self.num_embeddings, self.embedding_dim))
