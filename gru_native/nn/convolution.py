"""Convolution over time, in front of recurrent layers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import functional as F
from gru_native.arguments import flag, float_dtype, typed_array, whole
from gru_native.nn import init
from gru_native.nn.module import Array, Gradients, Module, Snapshot, Version, frozen, public, sealed
from gru_native.nn.signal import Fact, Signal
from gru_native.random import Seed, generator


class Conv1d(Module):
    """A convolution of sequences over time, with PyTorch's parameters; the channels are the last axis.

    ``conv(x, lengths=None)`` takes (T, B, C), (B, T, C) with `batch_first`, or (T, C), and gives (T', B, O), (B, T', O)
    or (T', O); ``backward(tape, d_output)`` gives ``(d_x, {"weight": ..., "bias": ...})``. `lengths` (B,), whole
    numbers from 0 to T, are the steps of each row: what is behind them counts as zeros, whatever it holds, and is not
    read. ``conv.output_lengths(lengths)`` are the steps of the output, behind which it is zero; a `Sequential` gives
    them to the layers that follow. A row without a step has none.

    A convolution looks beyond the bounds of episodes, so a `Sequential` with one refuses `reset`. A sequence in pieces
    is not the whole one: each piece begins with zeros. A stream of steps (`gru_native.stream`) keeps what a convolution
    with ``padding="causal"`` and a `stride` of 1 has seen; others are refused there.

    Parameters
    ----------
    in_channels, out_channels
        C and O.
    kernel_size
        K, the steps of a window.
    stride
        The steps from a window to the next one.
    padding
        The zeros before and behind each row: a number for either side, "causal", for which an output step sees no later
        step, or "same", for which it sees steps on both sides. These two give ``(T - 1) // stride + 1`` output steps,
        a number p ``(T + 2 p - dilation (K - 1) - 1) // stride + 1``.
    dilation
        The steps from a step of a window to the next one.
    bias
        Whether to add a bias.
    batch_first
        Whether x has the batch as first axis.
    dtype
        float32 or float64.
    seed
        Of the initial values, uniform in ±1/√(C K) as PyTorch's; ``None`` draws fresh entropy.

    Attributes
    ----------
    weight : (out_channels, in_channels, kernel_size)
    bias : (out_channels,)
        Parameters, found in `parameters`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: F.Padding = 0,
        dilation: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.in_channels = whole("in_channels", in_channels)
        self.out_channels = whole("out_channels", out_channels)
        self._windows = F.Windows(kernel_size, stride, padding, dilation)
        self.batch_first = flag("batch_first", batch_first)
        self.dtype = float_dtype(dtype)
        rng, sizes = generator(seed), "in_channels, out_channels, kernel_size"
        shape = self.out_channels, self.in_channels, self.kernel_size
        arrays = {"weight": init.uniform(rng, sizes, shape, shape[1] * shape[2], self.dtype)}
        if flag("bias", bias):
            arrays["bias"] = init.uniform(rng, sizes, shape[:1], shape[1] * shape[2], self.dtype)
        super().__init__(arrays)

    @property
    def kernel_size(self) -> int:
        return self._windows.kernel_size

    @property
    def stride(self) -> int:
        return self._windows.stride

    @property
    def padding(self) -> F.Padding:
        return self._windows.padding

    @property
    def dilation(self) -> int:
        return self._windows.dilation

    def _config(self) -> dict[str, Any]:
        return {
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "bias": "bias" in self.parameters(),
            "batch_first": self.batch_first,
            "dtype": self.dtype.name,
        }

    @property
    def takes_lengths(self) -> bool:
        return True

    def output_lengths(self, lengths: ArrayLike) -> Array:
        return self._windows.outputs(lengths)

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        taken = given.ordered(place, type(self).__name__, self.batch_first)
        taken = taken.sized(place, "in_channels", self.in_channels).typed(place, self.dtype.name)
        return taken._replace(features=Fact(self.out_channels, place), directions=None)

    def _call(
        self, snapshot: Snapshot, x: ArrayLike, lengths: ArrayLike | None = None, *, threads: int | None = None
    ) -> Array:
        x = self._checked(x, lengths)
        packed = snapshot.version.derive("packed", _packed)
        y = F.conv1d(
            self._batched(x), packed, self._windows, lengths=lengths, batch_first=self.batch_first, threads=threads
        )
        return y.reshape(self._like(x, y))

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[Array, _Saved]:
        x = frozen(self._checked(x, lengths))
        batch = x.shape[1 - self.batch_first] if x.ndim == 3 else 1
        own = None if lengths is None else F.sequence_lengths(lengths, x.shape[int(self.batch_first)], batch)
        y = self._call(snapshot, x, own, threads=threads)
        return sealed(y), _Saved(x, own, snapshot.version.derive("packed", _packed))

    def _backward(self, saved: _Saved, d_output: ArrayLike, *, threads: int | None = None) -> tuple[Array, Gradients]:
        x, lengths, packed = saved
        d_y = typed_array("d_output", d_output, self.dtype)
        if d_y.ndim != x.ndim:
            raise ValueError(f"d_output: expected {x.ndim} dimensions, as of x, got shape {d_y.shape}")
        d_x, gradients = F.conv1d_backward(
            self._batched(x),
            packed,
            self._windows,
            self._batched(d_y),
            lengths=lengths,
            batch_first=self.batch_first,
            threads=threads,
        )
        return d_x.reshape(x.shape), gradients

    __call__, forward, backward = public(_call, _forward, _backward)

    def _checked(self, x: ArrayLike, lengths: ArrayLike | None) -> Array:
        x = typed_array("x", x, self.dtype)
        if x.ndim not in (2, 3) or x.shape[-1] != self.in_channels:
            axes = "(B, T, C)" if self.batch_first else "(T, B, C)"
            raise ValueError(f"x: expected shape {axes} or (T, C) with C = {self.in_channels}, got {x.shape}")
        if x.ndim == 2 and lengths is not None:
            raise ValueError("lengths: expected x with a batch axis, got x without one")
        return x

    def _batched(self, sequences: Array) -> Array:
        return sequences if sequences.ndim == 3 else np.expand_dims(sequences, 1 - self.batch_first)

    def _like(self, x: Array, y: Array) -> tuple[int, ...]:
        return y.shape if x.ndim == 3 else (y.size // self.out_channels, self.out_channels)


class _Saved(NamedTuple):
    x: Array
    lengths: Array | None
    packed: F.LinearWeights


def _packed(version: Version) -> F.LinearWeights:
    return F.pack_conv1d(version["weight"], version.arrays.get("bias"))
