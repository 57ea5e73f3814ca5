"""sigmoid and tanh as the kernels compute them: the error over all exponents, saturation, special values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import ISAS, Array, assert_same_bits
from tolerances import ULPS, assert_close

from gru_native import functional as F
from gru_native import reference
from gru_native.activations import DEFAULTS

# Each function, and what a wider type makes of it.
FUNCTIONS: dict[str, tuple[Callable[[Any], Array], Callable[[Any], Any]]] = {
    "sigmoid": (F.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (F.tanh, np.tanh),
}
WIDER = {np.float32: np.float64, np.float64: np.longdouble}

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
both_functions = pytest.mark.parametrize("name", FUNCTIONS)


@pytest.fixture(autouse=True, params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRU_NATIVE_ISA", request.param)
    return request.param


def sweep(rng: np.random.Generator, dtype: Any, mantissas: int) -> Array:
    """Take every normal exponent with random mantissas, and dense samples of where something happens."""
    info = np.finfo(dtype)
    fractions = rng.uniform(1, 2, (info.maxexp - info.minexp, mantissas)).astype(dtype)
    fractions[:, 0] = 1
    fractions[:, 1] = np.nextafter(dtype(2), dtype(1))
    powers = np.ldexp(fractions, np.arange(info.minexp, info.maxexp)[:, None]).ravel()
    end = 1.1 * -np.log(float(info.tiny))
    dense = [rng.uniform(-bound, bound, 200 * mantissas).astype(dtype) for bound in (1, 20, end)]
    # Every float32 where a run over all of them, from 2^-8 to 2^7, found the largest errors.
    worst = [every_float32(*bounds) for bounds in ((0.015, 0.016), (0.2, 0.22), (16, 17))]
    if dtype is np.float32:
        dense += worst + [-x for x in worst]
    return np.concatenate([powers, -powers, *dense])


def every_float32(least: float, most: float) -> Array:
    """Count through the bits of positive numbers."""
    first, last = np.array([least, most], np.float32).view(np.int32)
    return np.arange(first, last + 1, dtype=np.int32).view(np.float32)


@both_functions
@both_dtypes
def test_error_over_all_exponents(rng: np.random.Generator, isa: str, dtype: type, name: str) -> None:
    if np.finfo(WIDER[dtype]).nmant <= np.finfo(dtype).nmant + 3:
        pytest.skip("this platform has no wider type to compare with")
    function, oracle = FUNCTIONS[name]
    x = sweep(rng, dtype, 2000 if dtype is np.float32 else 200)
    with np.errstate(over="ignore", under="ignore"):
        exact = oracle(x.astype(WIDER[dtype]))
    actual = function(x)
    assert actual.dtype == dtype
    tiny = np.finfo(dtype).tiny
    normal = np.abs(exact) >= tiny
    with np.errstate(under="ignore"):
        unit = np.spacing(np.abs(exact).astype(dtype)).astype(WIDER[dtype])
    errors = np.where(normal, np.abs(actual - exact) / unit, 0)
    worst = np.argmax(errors)
    limit = ULPS[f"{np.dtype(dtype).name}_activation" + ("_scalar" if isa == "scalar" else "")]
    assert errors[worst] <= limit, f"{name}({x[worst]!r})"
    # A result that would be subnormal is zero; next to the smallest normal number it may be either.
    np.testing.assert_array_equal(actual[np.abs(exact) < tiny * (1 - 4 * np.finfo(dtype).eps)], 0)
    assert (name == "sigmoid") == (not normal.all())


@both_dtypes
def test_values_that_are_exact(dtype: type) -> None:
    info = np.finfo(dtype)
    subnormal = info.smallest_subnormal
    huge = [40, 100, 1e5, info.max, np.inf]
    zeros = np.array([0.0, -0.0, subnormal, -subnormal, info.tiny / 2], dtype)
    np.testing.assert_array_equal(F.sigmoid(zeros), 0.5)
    assert_same_bits(F.tanh(zeros), np.array([0.0, -0.0, 0.0, -0.0, 0.0], dtype))
    np.testing.assert_array_equal(F.sigmoid(np.array(huge, dtype)), 1)
    np.testing.assert_array_equal(F.tanh(np.array(huge, dtype)), 1)
    np.testing.assert_array_equal(F.tanh(-np.array(huge, dtype)), -1)
    np.testing.assert_array_equal(F.sigmoid(-np.array(huge[2:], dtype)), 0)
    assert_same_bits(F.tanh(np.array([info.tiny], dtype)), np.array([info.tiny], dtype))


@both_functions
@both_dtypes
def test_nan_in_gives_nan_out_and_touches_nothing_else(rng: np.random.Generator, dtype: type, name: str) -> None:
    function, _ = FUNCTIONS[name]
    x = rng.standard_normal(67).astype(dtype)
    clean = function(x)
    where = rng.random(67) < 0.3
    where[[0, 66]] = True
    x[where] = np.nan
    x[66] = -np.nan
    actual = function(x)
    np.testing.assert_array_equal(np.isnan(actual), where)
    assert_same_bits(actual[~where], clean[~where])


@both_dtypes
def test_symmetry_bounds_and_order(rng: np.random.Generator, dtype: type) -> None:
    x = sweep(rng, dtype, 50)
    assert_same_bits(F.tanh(-x), -F.tanh(x))
    assert np.abs(F.tanh(x)).max() == 1
    sigmoid = F.sigmoid(x)
    assert (sigmoid.min(), sigmoid.max()) == (0, 1)
    for function, bound in ((F.tanh, 25), (F.sigmoid, 800)):
        y = function(np.linspace(-bound, bound, 100_001).astype(dtype))
        # Where the function is flatter than its error, results may fall by that.
        assert np.all(np.diff(y) >= -2 * np.spacing(np.abs(y[1:])))
        assert np.all(np.diff(y[::2000]) >= 0)


@both_functions
@both_dtypes
def test_every_length_and_shape(rng: np.random.Generator, dtype: type, name: str) -> None:
    """An element's bits do not depend on its place."""
    function, _ = FUNCTIONS[name]
    x = 5 * rng.standard_normal(50).astype(dtype)
    expected = np.array([function(value) for value in x])
    for size in range(51):
        assert_same_bits(function(x[:size]), expected[:size])
    assert_same_bits(function(x[::-3]), expected[::-3])
    assert_same_bits(function(x.reshape(5, 2, 5).T), expected.reshape(5, 2, 5).T)
    assert function(x[0]).shape == ()
    assert function(np.empty((3, 0, 2), dtype)).shape == (3, 0, 2)
    read_only = x.copy()
    read_only.flags.writeable = False
    assert_same_bits(function(read_only), expected)
    assert_same_bits(read_only, x)


@both_functions
@pytest.mark.parametrize("dtype", ["float16", "int64", "complex64", "object", ">f4", "bool"])
def test_other_dtypes_are_refused(dtype: str, name: str) -> None:
    with pytest.raises(TypeError, match="x: expected dtype float32 or float64, got "):
        FUNCTIONS[name][0](np.zeros(3, dtype))


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 1000])
@pytest.mark.parametrize("name", DEFAULTS)
@both_dtypes
def test_every_function_and_its_slope(rng: np.random.Generator, dtype: type, name: str, size: int) -> None:
    numbers = [1.5 * number + 0.25 for number in DEFAULTS[name]]
    x = (3 * rng.standard_normal((size, 1))).astype(dtype)
    value, slope = F.activate(x, (name, *numbers), slope=True)
    function, wide = reference.FUNCTIONS[name], x.astype(np.float64)
    y = function.value(wide, *numbers)
    for found, expected in (value, y), (slope, function.slope(wide, y, *numbers)):
        assert (found.shape, found.dtype) == (x.shape, dtype)
        assert_close(found, np.broadcast_to(expected, x.shape), f"{np.dtype(dtype).name}_forward_unbounded")
    assert_same_bits(F.activate(x, (name, *numbers)), value)
    assert np.isnan(F.activate(np.full(size, np.nan, dtype), (name, *numbers))).all()


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 15, 16, 17, 100])
@both_dtypes
def test_softmax(rng: np.random.Generator, dtype: type, size: int) -> None:
    x = (10 * rng.standard_normal((3, 5, size))).astype(dtype)
    x[0, 0] += 1000
    x[0, 1, 1:] = -np.inf
    wide = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True).astype(np.float64))
    y = F.softmax(x)
    assert_close(y, wide / wide.sum(-1, keepdims=True), f"{np.dtype(dtype).name}_softmax")
    for threads in (1, 2):
        assert_same_bits(F.softmax(x[1, 2:4], threads=threads), y[1, 2:4])
    x[2, 3, 0] = np.nan
    assert np.isnan(F.softmax(x)[2, 3]).all()


def test_softmax_of_nothing() -> None:
    assert F.softmax(np.zeros((0, 3), np.float32)).shape == (0, 3)
    assert F.softmax(np.zeros((3, 0))).shape == (3, 0)
    with pytest.raises(ValueError, match=r"x: expected shape \(..., C\), got a single number"):
        F.softmax(np.float32(1))
