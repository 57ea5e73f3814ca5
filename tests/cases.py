"""What the tests of the core share: this CPU's instruction sets, and layers with realistic numbers."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gru_native import _core, reference
from gru_native import functional as F
from gru_native.random import key

Array = np.ndarray[Any, Any]
# h (B, H), or of the LSTM a pair (h, c).
State = Any

THREADS = [1, 2, 3, 7]


def isas_of_this_cpu() -> list[str]:
    """Name the instruction sets that should run here, lowest first, as the kernel says and not the build."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return _core.supported_isas()
    if platform.machine() == "aarch64":
        return ["scalar", "neon"]  # which all of them have; in emulation the file is of the machine beneath
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    needed = {
        "scalar": set(),
        "avx2": {"avx2", "fma"},
        "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl"},
    }
    return [isa for isa, names in needed.items() if names <= flags]


# A build without one of these fails every test of it, but one under a sanitizer has fewer.
ISAS = _core.supported_isas() if "GRU_NATIVE_SANITIZED" in os.environ else isas_of_this_cpu()


PACK: dict[str, Callable[..., F.RecurrentWeights]] = {
    "gru_reset_after": F.pack_gru,
    "gru_reset_before": partial(F.pack_gru, reset_after=False),
    "gru_layer_norm": F.pack_gru,
    "lstm": F.pack_lstm,
    "rnn_tanh": F.pack_rnn,
    "rnn_relu": partial(F.pack_rnn, nonlinearity="relu"),
}
KINDS = list(PACK)
every_kind = pytest.mark.parametrize("kind", KINDS)


def pack(kind: str, arrays: Mapping[str, Array | None], **choices: Any) -> F.RecurrentWeights:
    """Pack the weights of a cell, whose choices are those of `reference.forward`."""
    if kind.startswith("rnn") and "activations" in choices:
        [choices["nonlinearity"]] = choices.pop("activations")
    return PACK[kind](**arrays, **choices)


@dataclass(frozen=True)
class Layer:
    """The weights of a layer, uniform in ±1/√H, and with layer normalization gains around 1."""

    weight_ih: Array
    weight_hh: Array
    bias_ih: Array | None
    bias_hh: Array | None
    kind: str
    own: Mapping[str, Array] = field(default_factory=dict)  # gains, peepholes and a projection, by name
    choices: Mapping[str, Any] = field(default_factory=dict)  # activations, clip and input_forget

    @property
    def arrays(self) -> dict[str, Array | None]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return {name: getattr(self, name) for name in names} | dict(self.own)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Those of the state's arrays."""
        rows, read = self.weight_hh.shape
        cell = reference.CELLS[self.kind]
        return (read, rows // cell.gates)[: cell.states]

    def to(self, dtype: Any) -> Layer:
        """Take the same numbers in another dtype."""
        changed = {name: None if array is None else array.astype(dtype) for name, array in self.arrays.items()}
        own = {name: array for name in self.own if (array := changed.pop(name)) is not None}
        return replace(self, **changed, own=own)  # type: ignore[arg-type]

    def pack(self, isa: str) -> F.RecurrentWeights:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GRU_NATIVE_ISA", isa)
            weights = pack(self.kind, self.arrays, **self.choices)
        assert weights.isa == isa
        if "activations" not in self.choices:  # of a plain network they decide which cell it is
            assert weights.cell == self.kind
        return weights

    def reference(self, x: Array, state: State, **steps: Any) -> tuple[Array, State, reference.Tape]:
        """Run the reference; `steps` are its reverse, lengths and reset."""
        arrays: dict[str, Any] = self.arrays
        return reference.forward(x, state, **arrays, cell=self.kind, **self.choices, **steps)

    def state(self, rng: np.random.Generator, batch: int) -> State:
        """Draw one."""
        parts = tuple(normal(rng, batch, size) for size in self.sizes)
        return parts if len(parts) > 1 else parts[0]


def layer(
    rng: np.random.Generator,
    inputs: int,
    hidden: int,
    dtype: Any = np.float32,
    *,
    kind: str = "gru_reset_after",
    bias_ih: bool = True,
    bias_hh: bool = True,
    peepholes: bool = False,
    projection: int = 0,
    **choices: Any,
) -> Layer:
    """Draw a layer."""
    bound = 1.0 / np.sqrt(max(hidden, 1))

    def draw(*shape: int) -> Array:
        return rng.uniform(-bound, bound, shape).astype(dtype)

    rows = reference.CELLS[kind].gates * hidden
    weights = draw(rows, inputs), draw(rows, projection or hidden)
    biases = draw(rows) if bias_ih else None, draw(rows) if bias_hh else None
    own = {}
    if kind == "gru_layer_norm":
        own = {name: rng.uniform(0.5, 1.5, rows).astype(dtype) for name in ("gamma_ih", "gamma_hh")}
    if peepholes:
        own["peephole"] = draw(3, hidden)
    if projection:
        own["weight_hr"] = draw(projection, hidden)
    return Layer(*weights, *biases, kind, own, choices)


def normal(rng: np.random.Generator, *shape: int, dtype: Any = np.float32) -> Array:
    """Draw standard normal numbers."""
    return rng.standard_normal(shape).astype(dtype)


def normal_state(rng: np.random.Generator, kind: str, *shape: int, dtype: Any = np.float32) -> State:
    """Draw a state of a cell."""
    parts = [normal(rng, *shape, dtype=dtype) for _ in range(reference.CELLS[kind].states)]
    return parts[0] if len(parts) == 1 else tuple(parts)


def zoneout_taken(steps: int, batch: int, hidden: int, p: float, seed: Any) -> Array:
    """Return which units take their new state: a group of 64 random numbers begins anew for each step and row."""
    groups = -(-hidden // 64)
    numbers = reference.dropout_mask(steps * batch * groups * 64, p, key(seed)).reshape(steps, batch, groups * 64)
    return (numbers[:, :, :hidden] > 0).astype(np.float64)


def parts_of(state: State) -> tuple[Array, ...]:
    """Return the arrays of a state."""
    return state if isinstance(state, tuple) else (state,)


def each(change: Callable[[Array], Array], state: State) -> State:
    """Apply a function to each array of a state, if there is one."""
    if state is None:
        return None
    return tuple(map(change, state)) if isinstance(state, tuple) else change(state)


def central_difference(loss: Callable[[], float], array: Array) -> Array:
    """Return the gradient of a loss by an array, which it reads afresh at each call and which is moved in place."""
    gradient, step = np.empty_like(array), 1e-6
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = loss()
        array[index] = value - step
        gradient[index] = (above - loss()) / (2.0 * step)
        array[index] = value
    return gradient


def assert_same_bits(actual: Array, expected: Array, what: str = "") -> None:
    """Assert that two arrays hold the same bits, signs of zeros included."""
    assert actual.dtype == expected.dtype
    bits = {4: np.uint32, 8: np.uint64}[actual.itemsize]
    actual, expected = (np.ascontiguousarray(array).view(bits) for array in (actual, expected))
    np.testing.assert_array_equal(actual, expected, err_msg=what)
