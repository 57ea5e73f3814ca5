"""A fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, DTypeLike

from gru_native import functional as F
from gru_native.arguments import array, flag, float_dtype, whole
from gru_native.nn import init
from gru_native.nn.module import Array, Gradients, Module, Snapshot, Version, frozen, public, sealed
from gru_native.nn.signal import Fact, Signal
from gru_native.random import Seed, generator


class Linear(Module):
    """``y = x @ weight.T + bias`` over the last axis.

    ``linear(x)`` takes (..., in_features) and gives (..., out_features); ``backward(tape, d_output)`` gives
    ``(d_x, {"weight": ..., "bias": ...})``. `x` must have the layer's dtype.

    Parameters
    ----------
    in_features, out_features
        Sizes of the last axis of input and output.
    bias
        Whether to add a bias.
    dtype
        float32 or float64.
    seed
        Of the initial values, uniform in ±1/√in_features as PyTorch's; ``None`` draws fresh entropy.

    Attributes
    ----------
    weight : (out_features, in_features)
    bias : (out_features,)
        Parameters, found in `parameters`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.in_features = whole("in_features", in_features, least=0)
        self.out_features = whole("out_features", out_features, least=0)
        self.dtype = float_dtype(dtype)
        rng = generator(seed)
        sizes = "in_features, out_features"
        arrays = {"weight": init.uniform(rng, sizes, (out_features, in_features), in_features, self.dtype)}
        if flag("bias", bias):
            arrays["bias"] = init.uniform(rng, sizes, (out_features,), in_features, self.dtype)
        super().__init__(arrays)

    def _config(self) -> dict[str, Any]:
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": "bias" in self.parameters(),
            "dtype": self.dtype.name,
        }

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        taken = given.sized(place, "in_features", self.in_features).typed(place, self.dtype.name)
        return taken._replace(features=Fact(self.out_features, place), directions=None)

    def _call(self, snapshot: Snapshot, x: ArrayLike, *, threads: int | None = None) -> Array:
        return F.linear(x, snapshot.version.derive("packed", _packed), threads=threads)

    def _forward(
        self, snapshot: Snapshot, x: ArrayLike, *, seed: Seed | None = None, threads: int | None = None
    ) -> tuple[Array, _Saved]:
        x, weights = array("x", x), snapshot.version.derive("packed", _packed)
        return sealed(F.linear(x, weights, threads=threads)), _Saved(frozen(x), weights)

    def _backward(self, saved: _Saved, d_output: ArrayLike, *, threads: int | None = None) -> tuple[Array, Gradients]:
        return F.linear_backward(saved.x, saved.weights, d_output, threads=threads)

    __call__, forward, backward = public(_call, _forward, _backward)


@dataclass(frozen=True)
class _Saved:
    x: Array
    weights: F.LinearWeights


def _packed(version: Version) -> F.LinearWeights:
    return F.pack_linear(version["weight"], version.arrays.get("bias"))
