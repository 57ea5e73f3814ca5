"""Layers that bring their input to mean 0 and variance 1, over the batch or within each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import _core
from gru_native import functional as F
from gru_native.arguments import flag, float_dtype, number, shaped_array, typed_array, whole, wholes
from gru_native.nn import init
from gru_native.nn.module import Array, Gradients, Module, Snapshot, Version, public, sealed
from gru_native.nn.signal import Signal
from gru_native.passes import repeatable
from gru_native.random import Seed

Axes = tuple[int, ...]


class _Normalization(Module):
    """``y = (x - mean) / sqrt(var + eps) * weight + bias``; a subclass says whose mean, over which axes."""

    eps: float
    dtype: np.dtype[Any]

    def _checked(self, x: ArrayLike) -> Array:
        raise NotImplementedError

    def _normalise(self, version: Version, x: Array, training: bool) -> _Normalised:
        raise NotImplementedError

    def _shared_axes(self, x: Array) -> Axes:
        """Return the axes of `x` along which weight and bias are the same."""
        raise NotImplementedError

    @repeatable
    def _call(self, snapshot: Snapshot, x: ArrayLike, *, threads: int | None = None) -> Array:
        x = self._checked(x)
        normalised = self._normalise(snapshot.version, x, training=False)
        return self._affine(snapshot.version, x, normalised)

    @repeatable
    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, *, seed: Seed | None = None, threads: int | None = None
    ) -> tuple[Array, Any]:
        x = self._checked(x)
        normalised = self._normalise(snapshot.version, x, self.training)
        return sealed(self._affine(snapshot.version, x, normalised)), _Saved(normalised, snapshot.version)

    @repeatable
    @np.errstate(invalid="ignore", over="ignore")
    def _backward(self, saved: Any, d_output: ArrayLike, *, threads: int | None = None) -> tuple[Array, Gradients]:
        values = saved.normalised.values
        d = shaped_array("d_output", d_output, values.shape, self.dtype)
        shared = self._shared_axes(d)
        gradients = {}
        if "weight" in saved.version.arrays:
            gradients["weight"] = np.sum(d * values, shared, np.float64).astype(self.dtype)
        if "bias" in saved.version.arrays:
            gradients["bias"] = np.sum(d, shared, np.float64).astype(self.dtype)
        if "weight" in saved.version.arrays:
            d = d * np.expand_dims(saved.version["weight"], shared)
        return saved.normalised.backward(d), gradients

    __call__, forward, backward = public(_call, _forward, _backward)

    @np.errstate(invalid="ignore", over="ignore")
    def _affine(self, version: Version, x: Array, normalised: _Normalised) -> Array:
        y, shared = normalised.values, self._shared_axes(x)
        if "weight" in version.arrays:
            y = y * np.expand_dims(version["weight"], shared)
        if "bias" in version.arrays:
            y = y + np.expand_dims(version["bias"], shared)
        return y


class BatchNorm1d(_Normalization):
    """Batch normalisation (Ioffe and Szegedy 2015) of the channels of x (N, C) or (N, C, L), as PyTorch's.

    With `channels_last` x is (N, C), or sequences (T, B, C), or (B, T, C) with `batch_first`, beside which the calls
    take `lengths` (B,): steps behind them count for nothing, and give zeros.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``. In ``forward`` in training mode mean and (biased)
    variance are the batch's own, and the running ones move towards them (towards the unbiased variance) by a
    new version of the buffers; otherwise they are the running ones. A batch without a value leaves them as they are.

    A `Sequential` refuses it without `channels_last` behind a layer that gives sequences, because an equal size could
    hide that their features are not on axis 1.

    Parameters
    ----------
    num_features
        C, the number of channels.
    eps
        Added to the variance.
    momentum
        The batch's share in the new running values; ``None`` keeps the average of all batches.
    affine
        Whether there are `weight` and `bias`.
    track_running_stats
        Whether there are running values; without them the batch's own are used always.
    channels_last
        Whether the channels are the last axis of sequences.
    batch_first
        Whether these are (B, T, C).
    biased
        Whether the running variance moves towards the biased one, as Keras' does.
    dtype
        float32 or float64.

    Attributes
    ----------
    weight, bias : (C,)
        Parameters, at first ones and zeros.
    running_mean, running_var : (C,)
        Buffers, at first zeros and ones.
    num_batches_tracked : ()
        A buffer, int64.

    Raises
    ------
    ValueError
        Also when the batch's own values are needed and there is only one value per channel.
    """

    batch_first: bool

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        channels_last: bool = False,
        batch_first: bool = False,
        biased: bool = False,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.num_features = whole("num_features", num_features)
        self.eps = number("eps", eps)
        self.momentum = None if momentum is None else number("momentum", momentum, most=1.0)
        self.affine = flag("affine", affine)
        self.track_running_stats = flag("track_running_stats", track_running_stats)
        self.channels_last = flag("channels_last", channels_last)
        if flag("batch_first", batch_first) and not channels_last:
            raise ValueError("batch_first: expected channels_last, got batch_first alone")
        if channels_last:  # what has it takes sequences
            self.batch_first = batch_first
        self.biased = flag("biased", biased)
        self.dtype = float_dtype(dtype)
        arrays = {"weight": self._constant(1), "bias": self._constant(0)} if affine else {}
        if track_running_stats:
            buffers = {
                "running_mean": self._constant(0),
                "running_var": self._constant(1),
                "num_batches_tracked": np.array(0, np.int64),
            }
            self.buffer_names = tuple(buffers)
            arrays |= buffers
        super().__init__(arrays)

    def _constant(self, value: float) -> Array:
        return init.constant(value, "num_features", (self.num_features,), self.dtype)

    def _config(self) -> dict[str, Any]:
        return {
            "num_features": self.num_features,
            "eps": self.eps,
            "momentum": self.momentum,
            "affine": self.affine,
            "track_running_stats": self.track_running_stats,
            "channels_last": self.channels_last,
            "batch_first": self.channels_last and self.batch_first,
            "biased": self.biased,
            "dtype": self.dtype.name,
        }

    @property
    def takes_lengths(self) -> bool:
        return self.channels_last

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        if not self.channels_last:
            return given.normalized(place, self.num_features).typed(place, self.dtype.name)
        if given.batch_first is not None and given.batch_first.value is not None:
            given = given.ordered(place, type(self).__name__, self.batch_first)
        return given.sized(place, "num_features", self.num_features).typed(place, self.dtype.name)

    def _checked(self, x: ArrayLike) -> Array:
        x = typed_array("x", x, self.dtype)
        axis = x.ndim - 1 if self.channels_last else 1
        if x.ndim not in (2, 3):
            axes = "(N, C) or (N, C, L)"
            if self.channels_last:
                axes = "(N, C) or (B, T, C)" if self.batch_first else "(N, C) or (T, B, C)"
            raise ValueError(f"x: expected 2 or 3 dimensions {axes}, got {x.ndim} with shape {x.shape}")
        if x.shape[axis] != self.num_features:
            raise ValueError(f"x: expected {self.num_features} channels on axis {axis}, got shape {x.shape}")
        return x

    def _shared_axes(self, x: Array) -> Axes:
        if x.ndim == 2:
            return (0,)
        return (0, 1) if self.channels_last else (0, 2)

    def _live(self, x: ArrayLike, lengths: ArrayLike | None) -> tuple[Array, Array | None]:
        """Return x, and which of its steps count where not all do."""
        x = self._checked(x)
        if lengths is None:
            return x, None
        if not self.channels_last or x.ndim != 3:
            raise ValueError("lengths: expected channels_last and x with a time axis, got lengths without them")
        steps, rows = reversed(x.shape[:2]) if self.batch_first else x.shape[:2]
        live = np.arange(steps)[:, None] < F.sequence_lengths(lengths, steps, rows)
        return x, live.T if self.batch_first else live

    def _call(
        self, snapshot: Snapshot, x: ArrayLike, lengths: ArrayLike | None = None, *, threads: int | None = None
    ) -> Array:
        x, live = self._live(x, lengths)
        if live is None:
            return super()._call(snapshot, x, threads=threads)
        return _scattered(super()._call(snapshot, x[live], threads=threads), live)

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[Array, Any]:
        x, live = self._live(x, lengths)
        y, saved = super()._forward(snapshot, x if live is None else x[live], seed=seed, threads=threads)
        moments = saved.normalised.moments
        if self.track_running_stats and moments is not None:
            mean, var = moments
            self._track(mean, var, y.size // self.num_features)
        return (y if live is None else sealed(_scattered(y, live))), _SavedSteps(saved, live)

    def _backward(self, saved: Any, d_output: ArrayLike, *, threads: int | None = None) -> tuple[Array, Gradients]:
        if saved.live is None:
            return super()._backward(saved.rows, d_output, threads=threads)
        d = shaped_array("d_output", d_output, (*saved.live.shape, self.num_features), self.dtype)
        d_rows, gradients = super()._backward(saved.rows, d[saved.live], threads=threads)
        return _scattered(d_rows, saved.live), gradients

    __call__, forward, backward = public(_call, _forward, _backward)

    def _normalise(self, version: Version, x: Array, training: bool) -> _Normalised:
        axes = self._shared_axes(x)
        if self.track_running_stats and not training:
            mean, var = (np.expand_dims(version[name], axes) for name in ("running_mean", "running_var"))
            return _normalised(x, mean, var, self.eps, axes=())
        count = x.size // self.num_features
        if count == 0:
            return _Normalised(x.copy(), np.ones_like(x), axes=())
        if count == 1:
            raise ValueError(f"x: expected at least 2 values per channel, got 1 with shape {x.shape}")
        mean, var = _moments(x, axes)
        return _normalised(x, mean, var, self.eps, axes)._replace(moments=(mean, var))

    def _track(self, mean: Array, var: Array, count: int) -> None:
        """Move the running values towards those of a batch with so many values per channel."""
        mean, var = mean.reshape(-1), var.reshape(-1) * (1 if self.biased else count / (count - 1))

        def moved(present: Version) -> dict[str, Array]:
            batches = present["num_batches_tracked"] + 1
            share = 1 / float(batches) if self.momentum is None else self.momentum
            return {
                "running_mean": ((1 - share) * present["running_mean"] + share * mean).astype(self.dtype),
                "running_var": ((1 - share) * present["running_var"] + share * var).astype(self.dtype),
                "num_batches_tracked": np.asarray(batches),
            }

        self._amend(moved)


class LayerNorm(_Normalization):
    """Layer normalisation (Ba et al. 2016) over the last axes, as PyTorch's.

    ``y = (x - mean) / sqrt(var + eps) * weight + bias`` with mean and (biased) variance over the last
    ``len(normalized_shape)`` axes of x, ``(..., *normalized_shape)``.

    Parameters
    ----------
    normalized_shape
        Sizes of the axes to normalise over; a single number for the last axis alone.
    eps
        Added to the variance.
    elementwise_affine
        Whether there is a `weight`, and, with `bias`, a `bias`.
    bias
        Whether there is a `bias`.
    dtype
        float32 or float64.

    Attributes
    ----------
    weight, bias : normalized_shape
        Parameters, at first ones and zeros.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: DTypeLike = "float32",
    ) -> None:
        shape = normalized_shape if isinstance(normalized_shape, (list, tuple)) else (normalized_shape,)
        self.normalized_shape = wholes("normalized_shape", shape)
        if not self.normalized_shape:
            raise ValueError("normalized_shape: expected at least one axis, got none")
        self.eps = number("eps", eps)
        self.dtype = float_dtype(dtype)
        arrays, bias = {}, flag("bias", bias)
        if flag("elementwise_affine", elementwise_affine):
            arrays["weight"] = init.constant(1, "normalized_shape", self.normalized_shape, self.dtype)
            if bias:
                arrays["bias"] = init.constant(0, "normalized_shape", self.normalized_shape, self.dtype)
        super().__init__(arrays)

    def _config(self) -> dict[str, Any]:
        parameters = self.parameters()
        return {
            "normalized_shape": list(self.normalized_shape),
            "eps": self.eps,
            "elementwise_affine": "weight" in parameters,
            "bias": "bias" in parameters,
            "dtype": self.dtype.name,
        }

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        taken = given.sized(place, "normalized_shape[-1]", self.normalized_shape[-1])
        return taken.typed(place, self.dtype.name)

    def _checked(self, x: ArrayLike) -> Array:
        x = typed_array("x", x, self.dtype)
        if x.shape[-len(self.normalized_shape) :] != self.normalized_shape:
            raise ValueError(f"x: expected last axes of sizes {self.normalized_shape}, got shape {x.shape}")
        return x

    def _shared_axes(self, x: Array) -> Axes:
        return tuple(range(x.ndim - len(self.normalized_shape)))

    def _normalise(self, version: Version, x: Array, training: bool) -> _Normalised:
        axes = tuple(range(-len(self.normalized_shape), 0))
        return _normalised(x, *_row_moments(x, axes), self.eps, axes)


class _Normalised(NamedTuple):
    """``values = (x - mean) * scale``, with both taken over `axes` of x; without axes they are constants."""

    values: Array
    scale: Array
    axes: Axes
    moments: tuple[Array, Array] | None = None  # mean and variance of a batch

    def backward(self, d: Array) -> Array:
        """Return the gradient of x from that of the values."""
        if not self.axes:
            return d * self.scale
        # The gradients of mean and scale take out of d what is constant and what goes along with the values.
        constant = d.mean(self.axes, np.float64, keepdims=True).astype(d.dtype)
        along = np.mean(d * self.values, self.axes, np.float64, keepdims=True).astype(d.dtype)
        d_x: Array = (d - constant - self.values * along) * self.scale
        return d_x


@dataclass(frozen=True)
class _Saved:
    normalised: _Normalised
    version: Version


class _SavedSteps(NamedTuple):
    rows: _Saved  # of the steps that count
    live: Array | None  # which these are, of bool, or None for all


def _scattered(rows: Array, live: Array) -> Array:
    """Return an array with rows where `live` is true, and zeros elsewhere."""
    whole = np.zeros((*live.shape, *rows.shape[1:]), rows.dtype)
    whole[live] = rows
    return whole


@np.errstate(invalid="ignore", over="ignore")
def _moments(x: Array, axes: Axes) -> tuple[Array, Array]:
    """Return mean and biased variance over `axes`, summed and kept in float64."""
    mean: Array = x.mean(axes, np.float64, keepdims=True)
    var: Array = np.square(x - mean.astype(x.dtype)).mean(axes, np.float64, keepdims=True)
    return mean, var


def _row_moments(x: Array, axes: Axes) -> tuple[Array, Array]:
    """Return the same over the last axes, as a model that goes step by step computes them."""
    shape = *x.shape[: len(x.shape) - len(axes)], *(1 for _ in axes)
    mean, var = np.empty((2, math.prod(shape)))
    _core.moments(np.ascontiguousarray(x).reshape(len(mean), -1), mean, var)
    return mean.reshape(shape), var.reshape(shape)


@np.errstate(invalid="ignore", over="ignore", divide="ignore")
def _normalised(x: Array, mean: Array, var: Array, eps: float, axes: Axes) -> _Normalised:
    scale = (1 / np.sqrt(var + eps)).astype(x.dtype)
    return _Normalised((x - mean.astype(x.dtype)) * scale, scale, axes)
