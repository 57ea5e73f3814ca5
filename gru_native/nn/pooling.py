"""From a sequence to one vector: what a classifier stands on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import functional as F
from gru_native.arguments import any_float_array, flag, float_dtype, shaped_array, typed_array, whole
from gru_native.nn import init
from gru_native.nn.module import Array, Gradients, Module, Snapshot, Version, public, sealed
from gru_native.nn.signal import FLOATS, Fact, Signal
from gru_native.passes import in_pieces, repeatable
from gru_native.random import Seed, generator


class _Steps(NamedTuple):
    """Which steps of a batch are real."""

    lengths: Array  # (B,)
    live: Array  # (T, B, 1) of bool


class _Saved(NamedTuple):
    steps: _Steps
    shape: tuple[int, ...]  # of x as it was given
    dtype: np.dtype[Any]
    own: Any


class _Pooling(Module):
    """Takes the time axis out; a subclass says how, for time-major x (T, B, F) without padding."""

    batch_first: bool

    @property
    def pools(self) -> bool:
        return True

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        taken = given.ordered(place, type(self).__name__, self.batch_first)
        return taken.typed(place, FLOATS)._replace(batch_first=Fact(None, place), directions=None)

    def _pool(self, version: Version, x: Array, steps: _Steps, threads: int | None) -> tuple[Array, Any]:
        """Return y (B, F), and what `_spread` needs."""
        raise NotImplementedError

    def _spread(self, saved: Any, steps: _Steps, d_y: Array, threads: int | None) -> tuple[Array, Gradients]:
        """Return the gradient of x (T, B, F), and those of the parameters."""
        raise NotImplementedError

    def _call(
        self, snapshot: Snapshot, x: ArrayLike, lengths: ArrayLike | None = None, *, threads: int | None = None
    ) -> Array:
        return self._run(snapshot, x, lengths, threads)[0]

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[Array, _Saved]:
        y, saved = self._run(snapshot, x, lengths, threads)
        return sealed(y), saved

    @repeatable
    def _backward(self, saved: _Saved, d_output: ArrayLike, *, threads: int | None = None) -> tuple[Array, Gradients]:
        batched = len(saved.shape) == 3
        rows, features = saved.steps.live.shape[1], saved.shape[-1]
        d_y = shaped_array("d_output", d_output, (rows, features) if batched else (features,), saved.dtype)
        d_x, gradients = self._spread(saved.own, saved.steps, d_y.reshape(rows, features), threads)
        live, d_x = (self._turned(each) if batched else each for each in (saved.steps.live, d_x))
        return np.ascontiguousarray(_cleared(live, d_x)).reshape(saved.shape), gradients

    __call__, forward, backward = public(_call, _forward, _backward)

    @repeatable
    def _run(
        self, snapshot: Snapshot, x: ArrayLike, lengths: ArrayLike | None, threads: int | None
    ) -> tuple[Array, _Saved]:
        x = self._checked(x)
        major = self._turned(x) if x.ndim == 3 else x[:, None]
        steps = _steps(lengths, *major.shape[:2])
        if lengths is not None:
            major = _cleared(steps.live, major)
        y, own = self._pool(snapshot.version, major, steps, threads)
        return (y if x.ndim == 3 else y[0]), _Saved(steps, x.shape, x.dtype, own)

    def _checked(self, x: ArrayLike) -> Array:
        x = any_float_array("x", x)
        if x.ndim not in (2, 3):
            axes = "(B, T, F)" if self.batch_first else "(T, B, F)"
            raise ValueError(f"x: expected 3 dimensions {axes}, or 2 (T, F), got {x.ndim} with shape {x.shape}")
        return x

    def _turned(self, x: Array) -> Array:
        return x.swapaxes(0, 1) if self.batch_first else x


class MeanPooling(_Pooling):
    """The mean over the real steps of each row.

    ``pooling(x, lengths=None)`` takes (T, B, F), (B, T, F) with `batch_first`, or (T, F), and gives (B, F) or (F,); a
    row without a step gives zeros. `lengths` (B,), whole numbers from 0 to T, are the steps of each row; what is behind
    them is not read. ``backward(tape, d_output)`` gives ``(d_x, {})``.

    Parameters
    ----------
    batch_first
        Whether x has the batch as first axis.
    """

    def __init__(self, batch_first: bool = False) -> None:
        self.batch_first = flag("batch_first", batch_first)
        super().__init__()

    def _config(self) -> dict[str, Any]:
        return {"batch_first": self.batch_first}

    def _pool(self, version: Version, x: Array, steps: _Steps, threads: int | None) -> tuple[Array, Any]:
        # Step after step, as a model that goes step by step adds.
        sums = np.cumsum(x, axis=0)[-1] + 0 if len(x) else np.zeros(x.shape[1:], x.dtype)
        return sums / _divisor(steps, x.dtype), None

    def _spread(self, saved: Any, steps: _Steps, d_y: Array, threads: int | None) -> tuple[Array, Gradients]:
        return np.broadcast_to(d_y / _divisor(steps, d_y.dtype), (len(steps.live), *d_y.shape)), {}


class LastPooling(_Pooling):
    """The features at the last real step of each row.

    Calls are as those of `MeanPooling`.

    Parameters
    ----------
    bidirectional
        Whether x is the output of a bidirectional layer: the second half of its features then comes from step 0, where
        the reverse direction ends.
    batch_first
        Whether x has the batch as first axis.
    """

    def __init__(self, bidirectional: bool = False, batch_first: bool = False) -> None:
        self.bidirectional = flag("bidirectional", bidirectional)
        self.batch_first = flag("batch_first", batch_first)
        super().__init__()

    def _config(self) -> dict[str, Any]:
        return {"bidirectional": self.bidirectional, "batch_first": self.batch_first}

    def _passed(self, given: Signal, name: str) -> Signal:
        given.directed(self._place(name), type(self).__name__, self.bidirectional)
        return super()._passed(given, name)

    def _checked(self, x: ArrayLike) -> Array:
        x = super()._checked(x)
        if self.bidirectional and x.shape[-1] % 2:
            raise ValueError(f"x: expected an even number of features, of two directions, got shape {x.shape}")
        return x

    def _pool(self, version: Version, x: Array, steps: _Steps, threads: int | None) -> tuple[Array, Any]:
        y, forward = np.zeros(x.shape[1:], x.dtype), self._forward_features(x.shape[-1])
        rows, last = _last(steps)
        y[rows, :forward] = x[last, rows, :forward]
        y[rows, forward:] = x[0, rows, forward:] if len(x) else 0
        return y, None

    def _spread(self, saved: Any, steps: _Steps, d_y: Array, threads: int | None) -> tuple[Array, Gradients]:
        d_x, forward = np.zeros((len(steps.live), *d_y.shape), d_y.dtype), self._forward_features(d_y.shape[-1])
        rows, last = _last(steps)
        d_x[last, rows, :forward] = d_y[rows, :forward]
        if len(d_x):
            d_x[0, rows, forward:] = d_y[rows, forward:]
        return d_x, {}

    def _forward_features(self, features: int) -> int:
        return features // 2 if self.bidirectional else features


class AttentionPooling(_Pooling):
    """A weighted mean over the real steps of each row, by additive attention with a learned query.

    ``a = softmax over t of query · tanh(weight x_t + bias)``, ``y = Σ a_t x_t`` (Bahdanau et al. 2015,
    arXiv:1409.0473; with one query for all, Yang et al. 2016). Calls are as those of `MeanPooling`, and
    ``pooling.weights(x, lengths=None)`` gives a, of x's shape without F.

    Parameters
    ----------
    features
        F, size of x's last axis.
    attention_size
        A, the units of the hidden layer; ``None`` for F.
    batch_first
        Whether x has the batch as first axis.
    dtype
        float32 or float64.
    seed
        Of the initial values, uniform in ±1/√F and of the query ±1/√A; ``None`` draws fresh entropy.

    Attributes
    ----------
    weight : (attention_size, features)
    bias, query : (attention_size,)
        Parameters, found in `parameters`.
    """

    def __init__(
        self,
        features: int,
        attention_size: int | None = None,
        batch_first: bool = False,
        *,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.features = whole("features", features)
        self.attention_size = self.features if attention_size is None else whole("attention_size", attention_size)
        self.batch_first = flag("batch_first", batch_first)
        self.dtype = float_dtype(dtype)
        rng, units, sizes = generator(seed), self.attention_size, "features, attention_size"
        super().__init__(
            {
                "weight": init.uniform(rng, sizes, (units, self.features), self.features, self.dtype),
                "bias": init.uniform(rng, sizes, (units,), self.features, self.dtype),
                "query": init.uniform(rng, sizes, (units,), units, self.dtype),
            }
        )

    def _config(self) -> dict[str, Any]:
        return {
            "features": self.features,
            "attention_size": self.attention_size,
            "batch_first": self.batch_first,
            "dtype": self.dtype.name,
        }

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        return super()._passed(given, name).sized(place, "features", self.features).typed(place, self.dtype.name)

    def weights(self, x: ArrayLike, lengths: ArrayLike | None = None, *, threads: int | None = None) -> Array:
        """Return the weight of each step: 0 in padding, and a sum of 1 over the steps of a row that has any."""
        _, saved = self._run(self.snapshot(), x, lengths, threads)
        attention: Array = saved.own[2]
        return self._turned(attention) if len(saved.shape) == 3 else attention[:, 0]

    def _checked(self, x: ArrayLike) -> Array:
        x = typed_array("x", super()._checked(x), self.dtype)
        if x.shape[-1] != self.features:
            raise ValueError(f"x: expected a last axis of features = {self.features}, got shape {x.shape}")
        return x

    def _pool(self, version: Version, x: Array, steps: _Steps, threads: int | None) -> tuple[Array, Any]:
        packed = version.derive("packed", _packed)
        hidden = F.tanh(F.linear(x, packed, threads=threads))
        attention = _softmax(np.einsum("tba,a->tb", hidden, version["query"]), steps.live[:, :, 0])
        return np.einsum("tb,tbf->bf", attention, x), (x, hidden, attention, packed, version["query"])

    def _spread(self, saved: Any, steps: _Steps, d_y: Array, threads: int | None) -> tuple[Array, Gradients]:
        x, hidden, attention, packed, query = saved
        d_attention = np.einsum("bf,tbf->tb", d_y, x)
        d_scores = attention * (d_attention - np.sum(attention * d_attention, axis=0))
        (d_hidden,) = in_pieces(lambda d, h: (d[:, :, None] * query * (1 - h * h),), d_scores, hidden)
        d_x, gradients = F.linear_backward(x, packed, d_hidden, threads=threads)
        gradients["query"] = np.einsum("tb,tba->a", d_scores, hidden)
        (d_x,) = in_pieces(lambda d, a: (d + a[:, :, None] * d_y,), d_x, attention)
        return d_x, gradients


def _cleared(live: Array, x: Array) -> Array:
    """Return `x` where there is a step, and zeros in padding."""
    (cleared,) = in_pieces(lambda live, x: (np.where(live, x, x.dtype.type(0)),), live, x)
    return cleared


def _packed(version: Version) -> F.LinearWeights:
    return F.pack_linear(version["weight"], version["bias"])


def _steps(lengths: ArrayLike | None, steps: int, rows: int) -> _Steps:
    given = F.sequence_lengths(lengths, steps, rows)
    counts = np.full(rows, steps) if given is None else given
    return _Steps(counts, (np.arange(steps)[:, None] < counts)[:, :, None])


def _divisor(steps: _Steps, dtype: DTypeLike) -> Array:
    return np.maximum(steps.lengths, 1).astype(dtype)[:, None]


def _last(steps: _Steps) -> tuple[Array, Array]:
    """Return the rows that have a step, and the last step of each."""
    rows = np.flatnonzero(steps.lengths)
    return rows, steps.lengths[rows] - 1


def _softmax(scores: Array, live: Array) -> Array:
    """Return the softmax over the live steps, (T, B); zeros elsewhere."""
    highest = np.max(scores, axis=0, initial=-np.inf, where=live)
    powers = np.exp(np.where(live, scores - np.where(np.isfinite(highest), highest, 0), -np.inf))
    total = np.sum(powers, axis=0)
    weights: Array = powers / np.where(total > 0, total, total.dtype.type(1))
    return weights
