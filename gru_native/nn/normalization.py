"""Layers that bring their input to mean 0 and variance 1, over the batch or within each row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import _core
from gru_native.arguments import flag, float_dtype, number, shaped_array, typed_array, whole, wholes
from gru_native.nn import init
from gru_native.nn.module import Array, Gradients, Module, Snapshot, Version, sealed
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
    ) -> tuple[Array, _Saved]:
        x = self._checked(x)
        normalised = self._normalise(snapshot.version, x, self.training)
        return sealed(self._affine(snapshot.version, x, normalised)), _Saved(normalised, snapshot.version)

    @repeatable
    @np.errstate(invalid="ignore", over="ignore")
    def _backward(self, saved: _Saved, d_output: ArrayLike, *, threads: int | None = None) -> tuple[Array, Gradients]:
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

    ``y = (x - mean) / sqrt(var + eps) * weight + bias``. In ``forward`` in training mode mean and (biased)
    variance are the batch's own, and the running ones move towards them (towards the unbiased variance) by a
    new version of the buffers; otherwise they are the running ones. A batch without a value leaves them as they are.

    A `Sequential` refuses it behind a layer that gives sequences, because an equal size could hide that their features
    are not on axis 1: `LayerNorm` takes these.

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

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: DTypeLike = "float32",
    ) -> None:
        self.num_features = whole("num_features", num_features)
        self.eps = number("eps", eps)
        self.momentum = None if momentum is None else number("momentum", momentum, most=1.0)
        self.affine = flag("affine", affine)
        self.track_running_stats = flag("track_running_stats", track_running_stats)
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
            "dtype": self.dtype.name,
        }

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        return given.normalized(place, self.num_features).typed(place, self.dtype.name)

    def _checked(self, x: ArrayLike) -> Array:
        x = typed_array("x", x, self.dtype)
        if x.ndim not in (2, 3):
            raise ValueError(f"x: expected 2 or 3 dimensions (N, C) or (N, C, L), got {x.ndim} with shape {x.shape}")
        if x.shape[1] != self.num_features:
            raise ValueError(f"x: expected {self.num_features} channels on axis 1, got shape {x.shape}")
        return x

    def _shared_axes(self, x: Array) -> Axes:
        return (0,) if x.ndim == 2 else (0, 2)

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, *, seed: Seed | None = None, threads: int | None = None
    ) -> tuple[Array, _Saved]:
        y, saved = super()._forward(snapshot, x, seed=seed, threads=threads)
        moments = saved.normalised.moments
        if self.track_running_stats and moments is not None:
            self._track(*moments, y.size // self.num_features)
        return y, saved

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
        mean, var = mean.reshape(-1), var.reshape(-1) * (count / (count - 1))

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
    ``len(normalized_shape)`` axes of x (..., *normalized_shape).

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
