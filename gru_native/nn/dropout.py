"""Dropout (Srivastava et al. 2014), scaled while training so that inference needs nothing."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gru_native import functional as F
from gru_native.arguments import any_float_array, shaped_array
from gru_native.nn.module import Array, Gradients, Module, Snapshot, public, sealed
from gru_native.nn.share import Share
from gru_native.nn.signal import FLOATS, Signal
from gru_native.passes import in_pieces, repeatable
from gru_native.random import Seed


class Dropout(Module):
    """Zero each element with probability `p` and multiply the others by ``1 / (1 - p)``.

    Acts in ``forward`` in training mode only; otherwise the result is the input itself. ``forward(x,
    seed=...)`` needs a seed then, and drops the same elements for the same seed and shape.

    Parameters
    ----------
    p
        Probability of an element to be zeroed, from 0 to 1.
    """

    p = Share()

    def __init__(self, p: float = 0.5) -> None:
        self.p = p
        super().__init__()

    def _config(self) -> dict[str, Any]:
        return {"p": self.p}

    def _passed(self, given: Signal, name: str) -> Signal:
        return given.typed(self._place(name), FLOATS)

    def _call(self, snapshot: Snapshot, x: ArrayLike, *, threads: int | None = None) -> Array:
        return any_float_array("x", x)

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, *, seed: Seed | None = None, threads: int | None = None
    ) -> tuple[Array, _Saved | None]:
        x = any_float_array("x", x)
        if not (self.training and self.p > 0):
            return x, None
        noise = Noise(self.p, seed)
        return sealed(noise(x, threads)), _Saved(noise, x.shape, x.dtype)

    def _backward(
        self, saved: _Saved | None, d_output: ArrayLike, *, threads: int | None = None
    ) -> tuple[Array, Gradients]:
        if saved is None:
            return any_float_array("d_output", d_output), {}
        return saved.noise(shaped_array("d_output", d_output, saved.shape, saved.dtype), threads), {}

    __call__, forward, backward = public(_call, _forward, _backward)


class _Saved(NamedTuple):
    noise: Noise
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Noise:
    """Dropout of a seed's own elements: the same ones in the result and in its gradient."""

    def __init__(self, p: float, seed: Seed | None) -> None:
        if seed is None:
            raise ValueError("seed: dropout in training mode needs one, got None")
        self._p, self._seed = p, seed

    def __call__(self, x: Array, threads: int | None = None) -> Array:
        """Return `x`, or a gradient with respect to the result, under this noise."""
        return F.dropout(x, self._p, seed=self._seed, threads=threads)


class StepwiseNoise(Noise):
    """Dropout of the same features in all steps of a sequence like `x`, (T, B, ...) or (B, T, ...)."""

    def __init__(self, p: float, seed: Seed | None, x: Array, batch_first: bool, threads: int | None) -> None:
        super().__init__(p, seed)
        shape = (len(x), 1, *x.shape[2:]) if batch_first else (1, *x.shape[1:])
        self._mask = super().__call__(np.ones(shape, x.dtype), threads)

    @repeatable
    @np.errstate(all="ignore")
    def __call__(self, x: Array, threads: int | None = None) -> Array:
        (y,) = in_pieces(lambda x, mask: (x * mask,), x, np.broadcast_to(self._mask, x.shape))
        return y
