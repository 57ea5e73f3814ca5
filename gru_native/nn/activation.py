"""Layers that apply a function to each value, or to each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gru_native import functional as F
from gru_native.activations import ActivationLike, activation
from gru_native.arguments import shaped_array
from gru_native.nn.module import Array, Gradients, Module, Snapshot, public, sealed
from gru_native.nn.signal import FLOATS, Signal
from gru_native.passes import repeatable
from gru_native.random import Seed


class _Function(Module):
    """A layer without parameters that takes float32 and float64."""

    def _passed(self, given: Signal, name: str) -> Signal:
        return given.typed(self._place(name), FLOATS)


class Activation(_Function):
    """``y = function(x)``, for x of any shape, float32 or float64.

    Parameters
    ----------
    function
        A name, or a tuple of a name and numbers: see `gru_native.activations`. PyTorch's ReLU is ``"relu"``.
    """

    def __init__(self, function: ActivationLike) -> None:
        self.function = activation("function", function).short
        super().__init__()

    def _config(self) -> dict[str, Any]:
        return {"function": self.function}

    def _call(self, snapshot: Snapshot, x: ArrayLike, *, threads: int | None = None) -> Array:
        F.thread_count(threads)
        return F.activate(x, self.function)

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, *, seed: Seed | None = None, threads: int | None = None
    ) -> tuple[Array, Array]:
        F.thread_count(threads)
        y, slope = F.activate(x, self.function, slope=True)
        return sealed(y), slope

    @repeatable
    @np.errstate(all="ignore")
    def _backward(self, saved: Array, d_output: ArrayLike, *, threads: int | None = None) -> tuple[Array, Gradients]:
        d_x: Array = shaped_array("d_output", d_output, saved.shape, saved.dtype) * saved
        return d_x, {}

    __call__, forward, backward = public(_call, _forward, _backward)


class Softmax(_Function):
    """``y = exp(x) / sum of exp(x)`` over the last axis of x, float32 or float64.

    For training give the logits in front of it to `CrossEntropyLoss`.
    """

    def __init__(self) -> None:
        super().__init__()

    def _config(self) -> dict[str, Any]:
        return {}

    def _call(self, snapshot: Snapshot, x: ArrayLike, *, threads: int | None = None) -> Array:
        return F.softmax(x, threads=threads)

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, *, seed: Seed | None = None, threads: int | None = None
    ) -> tuple[Array, Array]:
        y = sealed(F.softmax(x, threads=threads))
        return y, y

    @repeatable
    @np.errstate(all="ignore")
    def _backward(self, saved: Array, d_output: ArrayLike, *, threads: int | None = None) -> tuple[Array, Gradients]:
        d = shaped_array("d_output", d_output, saved.shape, saved.dtype)
        along = np.sum(d * saved, -1, np.float64, keepdims=True).astype(saved.dtype)
        d_x: Array = saved * (d - along)
        return d_x, {}

    __call__, forward, backward = public(_call, _forward, _backward)
