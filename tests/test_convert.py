"""Every convention, written down as its source writes it, computes what its conversion computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

from gru_native import convert, nn, reference
from gru_native.convert import Convention, from_native, to_native

Arrays = dict[str, np.ndarray]
Step = Callable[..., np.ndarray]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-a))


def split(stacked: np.ndarray, axis: int = 0) -> list[np.ndarray]:
    return np.split(stacked, 3, axis=axis)


def beside(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=1)


# A step of each convention as its source has it: x (B, I) and h (B, H), the arrays under their names.


def pytorch(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    (x_r, x_z, x_n), (h_r, h_z, h_n) = (
        split(x @ weight_ih.T + bias_ih, 1),
        split(h @ weight_hh.T + bias_hh, 1),
    )
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


def pytorch_without_bias(x, h, weight_ih, weight_hh):
    return pytorch(x, h, weight_ih, weight_hh, 0.0, 0.0)


def cho(x, h, W, U):
    (W_r, W_z, W_n), (U_r, U_z, U_n) = split(W), split(U)
    r = sigmoid(x @ W_r.T + h @ U_r.T)
    z = sigmoid(x @ W_z.T + h @ U_z.T)
    n = np.tanh(x @ W_n.T + (r * h) @ U_n.T)
    return z * h + (1 - z) * n


def chung(x, h, W, U):
    (W_r, W_z, W_n), (U_r, U_z, U_n) = split(W), split(U)
    r = sigmoid(x @ W_r.T + h @ U_r.T)
    z = sigmoid(x @ W_z.T + h @ U_z.T)
    n = np.tanh(x @ W_n.T + (r * h) @ U_n.T)
    return (1 - z) * h + z * n


def olah(x, h, W):
    W_r, W_z, W_n = split(W)
    r = sigmoid(beside(h, x) @ W_r.T)
    z = sigmoid(beside(h, x) @ W_z.T)
    n = np.tanh(beside(r * h, x) @ W_n.T)
    return (1 - z) * h + z * n


def tensorflow_v1(x, h, kernel, bias):
    (K_r, K_u, K_c), (b_r, b_u, b_c) = split(kernel, 1), split(bias)
    r = sigmoid(beside(x, h) @ K_r + b_r)
    u = sigmoid(beside(x, h) @ K_u + b_u)
    c = np.tanh(beside(x, r * h) @ K_c + b_c)
    return u * h + (1 - u) * c


def one_bias_reset_after(x, h, W, U, b):
    (W_n, W_z, W_r), (U_n, U_z, U_r), (b_n, b_z, b_r) = split(W), split(U), split(b)
    z = sigmoid(x @ W_z.T + h @ U_z.T + b_z)
    r = sigmoid(x @ W_r.T + h @ U_r.T + b_r)
    n = np.tanh(x @ W_n.T + r * (h @ U_n.T) + b_n)
    return (1 - z) * h + z * n


def four_biases(x, h, W, U, b):
    (W_r, W_n, W_z), (U_r, U_n, U_z), (b_r, b_in, b_z, b_hn) = split(W), split(U), np.split(b, 4)
    z = sigmoid(x @ W_z.T + h @ U_z.T + b_z)
    r = sigmoid(x @ W_r.T + h @ U_r.T + b_r)
    n = np.tanh(x @ W_n.T + b_in + r * (h @ U_n.T + b_hn))
    return (1 - z) * n + z * h


def forgetting_before(x, h, W, U, b):
    (W_n, W_z, W_r), (U_n, U_z, U_r), (b_n, b_z, b_r) = split(W), split(U), split(b)
    z = sigmoid(x @ W_z.T + h @ U_z.T + b_z)
    r = sigmoid(x @ W_r.T + h @ U_r.T + b_r)
    n = np.tanh(x @ W_n.T + ((1 - r) * h) @ U_n.T + b_n)
    return z * h + (1 - z) * n


def forgetting_after(x, h, W, U, b_x, b_h):
    (x_n, x_r, x_z), (h_n, h_r, h_z) = split(x @ W + b_x, 1), split(h @ U + b_h, 1)
    z = sigmoid(x_z + h_z)
    r = sigmoid(x_r + h_r)
    n = np.tanh(x_n + (1 - r) * h_n)
    return (1 - z) * h + z * n


def keras(x, h, kernel, recurrent_kernel, bias):
    (x_z, x_r, x_h), (h_z, h_r, h_h) = (
        split(x @ kernel + bias[0], 1),
        split(h @ recurrent_kernel + bias[1], 1),
    )
    z = sigmoid(x_z + h_z)
    r = sigmoid(x_r + h_r)
    hh = np.tanh(x_h + r * h_h)
    return z * h + (1 - z) * hh


def keras_reset_before(x, h, kernel, recurrent_kernel, bias, gate=sigmoid, activation=np.tanh):
    (x_z, x_r, x_h), (U_z, U_r, U_h) = split(x @ kernel + bias, 1), split(recurrent_kernel, 1)
    z = gate(x_z + h @ U_z)
    r = gate(x_r + h @ U_r)
    hh = activation(x_h + (r * h) @ U_h)
    return z * h + (1 - z) * hh


def hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def keras_v1(x, h, kernel, recurrent_kernel, bias):
    return keras_reset_before(x, h, kernel, recurrent_kernel, bias, hard_sigmoid)


def precise(x, h, kernel, recurrent_kernel, bias):
    return keras_reset_before(x, h, kernel, recurrent_kernel, bias, hard_sigmoid, lambda a: a)


def rnnoise(x, h, input_weights, recurrent_weights, bias):
    return keras_reset_before(x, h, input_weights, recurrent_weights, bias, activation=lambda a: np.maximum(a, 0))


def forgetting_hard(x, h, W, U, b):
    (W_r, W_z, W_n), (U_r, U_z, U_n), (b_r, b_z, b_n) = split(W), split(U), split(b)
    z = hard_sigmoid(x @ W_z.T + h @ U_z.T + b_z)
    r = hard_sigmoid(x @ W_r.T + h @ U_r.T + b_r)
    n = np.tanh(x @ W_n.T + ((1 - r) * h) @ U_n.T + b_n)
    return (1 - z) * h + z * n


def rtneural(x, h, W, U, B):
    (W_z, W_r, W_c), (U_z, U_r, U_c) = split(W, 1), split(U, 1)
    (b_z0, b_r0, b_c0), (b_z1, b_r1, b_c1) = split(B[0]), split(B[1])
    z = sigmoid(x @ W_z + h @ U_z + b_z0 + b_z1)
    c = np.tanh(sigmoid(x @ W_r + h @ U_r + b_r0 + b_r1) * (h @ U_c + b_c1) + x @ W_c + b_c0)
    return (1 - z) * c + z * h


def haste(x, h, kernel, recurrent_kernel, bias, recurrent_bias):
    return keras(x, h, kernel, recurrent_kernel, np.stack([bias, recurrent_bias]))


def onnx(x, h, W, R, B, linear_before_reset=0):
    (Wz, Wr, Wh), (Rz, Rr, Rh), (Wbz, Wbr, Wbh, Rbz, Rbr, Rbh) = split(W[0]), split(R[0]), np.split(B[0], 6)
    zt = sigmoid(x @ Wz.T + h @ Rz.T + Wbz + Rbz)
    rt = sigmoid(x @ Wr.T + h @ Rr.T + Wbr + Rbr)
    ht = np.tanh(x @ Wh.T + (rt * (h @ Rh.T + Rbh) if linear_before_reset else (rt * h) @ Rh.T + Rbh) + Wbh)
    return (1 - zt) * ht + zt * h


def onnx_linear_before_reset(x, h, W, R, B):
    return onnx(x, h, W, R, B, linear_before_reset=1)


def openvino(x, h, W, R, B):
    (Wz, Wr, Wh), (Rz, Rr, Rh), (Bz, Br, Bh) = split(W[0]), split(R[0]), split(B[0])
    zt = sigmoid(x @ Wz.T + h @ Rz.T + Bz)
    rt = sigmoid(x @ Wr.T + h @ Rr.T + Br)
    ht = np.tanh(x @ Wh.T + (rt * h) @ Rh.T + Bh)
    return (1 - zt) * ht + zt * h


def openvino_linear_before_reset(x, h, W, R, B):
    (Wz, Wr, Wh), (Rz, Rr, Rh), (Bz, Br, Wbh, Rbh) = split(W[0]), split(R[0]), np.split(B[0], 4)
    zt = sigmoid(x @ Wz.T + h @ Rz.T + Bz)
    rt = sigmoid(x @ Wr.T + h @ Rr.T + Br)
    ht = np.tanh(x @ Wh.T + rt * (h @ Rh.T + Rbh) + Wbh)
    return (1 - zt) * ht + zt * h


ONE_BIAS_RESET_AFTER = Convention(gates="nzr", bias="one", update_keeps=False, names=("W", "U", "b"))
FORMS: dict[Step, Convention] = {
    pytorch: convert.PYTORCH,
    pytorch_without_bias: replace(convert.PYTORCH, bias="none", names=("weight_ih", "weight_hh")),
    cho: convert.CHO_2014,
    chung: convert.CHUNG_2014,
    olah: convert.OLAH_2015,
    tensorflow_v1: convert.TENSORFLOW_V1,
    one_bias_reset_after: ONE_BIAS_RESET_AFTER,
    four_biases: Convention(gates="rnz", bias="four", names=("W", "U", "b")),
    forgetting_before: Convention(gates="nzr", bias="one", reset_after=False, reset_keeps=False, names=("W", "U", "b")),
    forgetting_after: Convention(
        gates="nrz", transposed=True, reset_keeps=False, update_keeps=False, names=("W", "U", "b_x", "b_h")
    ),
    keras: convert.KERAS,
    keras_reset_before: convert.KERAS_RESET_BEFORE,
    keras_v1: convert.KERAS_V1,
    precise: convert.PRECISE,
    rnnoise: convert.RNNOISE,
    forgetting_hard: Convention(
        bias="one",
        reset_after=False,
        reset_keeps=False,
        update_keeps=False,
        recurrent_activation=("hard_sigmoid", 0.2, 0.5),
        names=("W", "U", "b"),
    ),
    rtneural: convert.RTNEURAL,
    haste: convert.HASTE,
    onnx: convert.ONNX,
    onnx_linear_before_reset: convert.ONNX_LINEAR_BEFORE_RESET,
    openvino: convert.OPENVINO,
    openvino_linear_before_reset: convert.OPENVINO_LINEAR_BEFORE_RESET,
}
forms = pytest.mark.parametrize(("step", "convention"), FORMS.items(), ids=[step.__name__ for step in FORMS])


def random_arrays(
    rng: np.random.Generator,
    convention: Convention,
    inputs: int = 3,
    hidden: int = 4,
    dtype: Any = np.float64,
    directions: int = 1,
) -> Arrays:
    """Arrays of the shapes that the convention asks for."""
    matrices = (
        [(3 * hidden, inputs + hidden)] if convention.concatenated else [(3 * hidden, inputs), (3 * hidden, hidden)]
    )
    shapes: list[tuple[int, ...]] = [matrix[::-1] if convention.transposed else matrix for matrix in matrices]
    shapes += {
        "none": [],
        "one": [(3 * hidden,)],
        "two": [(3 * hidden,), (3 * hidden,)],
        "stacked": [(2, 3 * hidden)],
        "concatenated": [(6 * hidden,)],
        "four": [(4 * hidden,)],
    }[convention.bias]
    lead = (directions,) if convention.directions else ()
    return {
        name: rng.standard_normal(lead + shape).astype(dtype)
        for name, shape in zip(convention.names, shapes, strict=True)
    }


def run_loop(step: Step, arrays: Arrays, x: np.ndarray, h_0: np.ndarray) -> np.ndarray:
    states = [h_0]
    for x_t in x:
        states.append(step(x_t, states[-1], **arrays))
    return np.stack(states[1:])


def run_reference(weights: Arrays, convention: Convention, x: np.ndarray, h_0: np.ndarray) -> np.ndarray:
    bias: dict[str, Any] = {"bias_ih": None, "bias_hh": None}
    cell = "gru_reset_after" if convention.reset_after else "gru_reset_before"
    activations = convention.recurrent_activation, convention.activation
    return reference.forward(x, h_0, **(bias | weights), cell=cell, activations=activations)[0]


def expressible(rng: np.random.Generator, convention: Convention) -> Arrays:
    """Native weights with every bias that the convention has a place for."""
    weights = random_arrays(rng, convert.PYTORCH)
    if convention.bias == "none":
        return {name: array for name, array in weights.items() if "bias" not in name}
    if convention.bias == "one" and convention.reset_after:
        weights["bias_hh"][8:] = 0.0
    return weights


def assert_same(actual: Arrays, expected: Arrays) -> None:
    assert list(actual) == list(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        assert actual[name].flags.c_contiguous, name
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@forms
def test_to_native_computes_what_the_textbook_computes(
    rng: np.random.Generator, step: Step, convention: Convention
) -> None:
    arrays = random_arrays(rng, convention)
    x, h_0 = rng.standard_normal((5, 2, 3)), rng.standard_normal((2, 4))
    output = run_reference(to_native(arrays, convention, **convention.options), convention, x, h_0)
    assert_close(output, run_loop(step, arrays, x, h_0), "converted")


@forms
def test_from_native_computes_what_the_reference_computes(
    rng: np.random.Generator, step: Step, convention: Convention
) -> None:
    weights = expressible(rng, convention)
    x, h_0 = rng.standard_normal((5, 2, 3)), rng.standard_normal((2, 4))
    arrays = from_native(weights, convention, **convention.options)
    output = run_reference(weights, convention, x, h_0)
    assert_close(run_loop(step, arrays, x, h_0), output, "converted")


@st.composite
def conventions(draw: st.DrawFn) -> Convention:
    concatenated = draw(st.sampled_from([None, "xh", "hx"]))
    bias = draw(st.sampled_from(["none", "one", "two", "stacked", "concatenated", "four"]))
    count = (1 if concatenated else 2) + {"none": 0, "two": 2}.get(bias, 1)
    flags: dict[str, Any] = {
        name: draw(st.booleans()) for name in ("transposed", "reset_after", "update_keeps", "reset_keeps", "directions")
    }
    flags["activation"] = draw(st.sampled_from(["tanh", "relu", ("elu", 0.5)]))
    flags["recurrent_activation"] = draw(st.sampled_from(["sigmoid", ("hard_sigmoid", 0.2, 0.5)]))
    gates = "".join(draw(st.permutations("rzn")))
    return Convention(gates=gates, concatenated=concatenated, bias=bias, names=tuple("abcd"[:count]), **flags)


@settings(deadline=None)  # the first example pays for imports
@given(
    convention=conventions(),
    inputs=st.integers(0, 3),
    hidden=st.integers(0, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
    bidirectional=st.booleans(),
    layer=st.sampled_from([None, 0, 3]),
    seed=st.integers(0, 2**32),
)
def test_round_trips_are_exact(
    convention: Convention,
    inputs: int,
    hidden: int,
    dtype: Any,
    bidirectional: bool,
    layer: int | None,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    directions = 2 if bidirectional and convention.directions else 1
    arrays = random_arrays(rng, convention, inputs, hidden, dtype, directions)
    native = to_native(arrays, convention, **convention.options, layer=layer)
    again = from_native(native, convention, **convention.options, layer=layer)
    assert_same(again, arrays)
    assert_same(to_native(again, convention, **convention.options, layer=layer), native)
    assert not any(np.shares_memory(a, b) for a in arrays.values() for b in [*native.values(), *again.values()])


def test_gates_are_stacked_in_the_order_named(rng: np.random.Generator) -> None:
    weights = random_arrays(rng, convert.PYTORCH)
    block = dict(zip("rzn", split(weights["bias_ih"]), strict=True))
    for gates in permutations("rzn"):
        bias_ih = from_native(weights, Convention(gates="".join(gates)))["bias_ih"]
        np.testing.assert_array_equal(bias_ih, np.concatenate([block[gate] for gate in gates]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_biases_become_one_with_one_rounding(rng: np.random.Generator, dtype: Any) -> None:
    weights = random_arrays(rng, convert.PYTORCH, dtype=dtype)
    bias_ih, bias_hh = weights["bias_ih"], weights["bias_hh"]
    r, z, n = split(bias_ih + bias_hh)
    keras_bias = from_native(weights, convert.KERAS_RESET_BEFORE, reset_after=False)["bias"]
    np.testing.assert_array_equal(keras_bias, np.concatenate([z, r, n]))
    openvino_bias = from_native(weights, convert.OPENVINO_LINEAR_BEFORE_RESET)["B"][0]
    np.testing.assert_array_equal(openvino_bias, np.concatenate([z, r, bias_ih[8:], bias_hh[8:]]))


@forms
def test_layers_without_biases_stay_so(rng: np.random.Generator, step: Step, convention: Convention) -> None:
    arrays = {name: random_arrays(rng, convention)[name] for name in convention.weight_names}
    weights = to_native(arrays, convention, **convention.options)
    assert list(weights) == ["weight_ih", "weight_hh"]
    assert_same(from_native(weights, convention, **convention.options), arrays)


def test_zero_biases_fit_a_convention_without(rng: np.random.Generator) -> None:
    weights = random_arrays(rng, convert.PYTORCH)
    zeros = {name: np.zeros_like(array) if "bias" in name else array for name, array in weights.items()}
    assert list(from_native(zeros, convert.CHO_2014, reset_after=False)) == ["W", "U"]


def test_a_bidirectional_layer_of_a_state_dict(rng: np.random.Generator) -> None:
    below, convention = random_arrays(rng, convert.PYTORCH), convert.ONNX_LINEAR_BEFORE_RESET
    arrays = random_arrays(rng, convention, inputs=8, directions=2)
    state = {name + "_l0": array for name, array in below.items()} | to_native(arrays, convention, layer=1)
    assert_same(from_native(state, convention, layer=1), arrays)
    assert_same(from_native(state, convert.PYTORCH, layer=0), below)
    for direction, suffix in enumerate(["_l1", "_l1_reverse"]):
        one = {name: array[direction : direction + 1] for name, array in arrays.items()}
        assert_same({name: state[name + suffix] for name in below}, to_native(one, convention))


PAIR = {"weight_ih": np.zeros((6, 3)), "weight_hh": np.zeros((6, 2))}
FULL = PAIR | {"bias_ih": np.zeros(6), "bias_hh": np.full(6, 0.25)}
BOTH = FULL | {name + "_reverse": array for name, array in FULL.items()}
BEFORE = {"reset_after": False}


@pytest.mark.parametrize(
    ("weights", "convention", "kwargs", "message"),
    [
        (
            FULL,
            convert.KERAS_V1,
            {},
            r"reset_after: expected False, which the convention has, got True; no weights make one compute",
        ),
        (
            FULL,
            convert.KERAS,
            BEFORE,
            r"reset_after: expected True, which the convention has, got False",
        ),
        (
            FULL,
            convert.KERAS_V1,
            BEFORE,
            r"recurrent_activation: expected \('hard_sigmoid', 0.2, 0.5\), which the convention has, got 'sigmoid'",
        ),
        (FULL, convert.PYTORCH, {"activation": "relu"}, r"activation: expected 'tanh', which .*, got 'relu'"),
        (
            FULL,
            ONE_BIAS_RESET_AFTER,
            {},
            r"bias_hh: .*no place for b_hn.*expected zeros, got values up to 0\.25",
        ),
        (FULL, convert.CHO_2014, BEFORE, r"bias_ih, bias_hh: the convention has no biases"),
        (BOTH, convert.KERAS, {}, r"weight_ih_reverse: the convention holds one direction"),
        (FULL | {"bias": np.zeros(6)}, convert.KERAS, {}, r"bias: unknown name; expected weight_ih, "),
        (
            PAIR | {"bias_hh": np.zeros(6)},
            convert.KERAS,
            {},
            r"bias_ih: missing; there are weight_ih, weight_hh, ",
        ),
        (FULL, convert.KERAS, {"layer": 1}, r"weight_ih_l1: missing"),
        (FULL, convert.KERAS, {"layer": -1}, r"layer: expected a whole number from 0 up, got -1"),
        ({}, convert.KERAS, {}, r"weight_ih: missing; there are no arrays"),
        (
            PAIR | {"weight_hh": np.zeros((6, 3))},
            convert.KERAS,
            {},
            r"weight_hh: expected shape \(3H, H\), got",
        ),
        (
            PAIR | {"weight_ih": np.zeros((9, 3))},
            convert.KERAS,
            {},
            r"weight_ih: expected shape \(3H, I\) with H = 2",
        ),
        (
            FULL | {"bias_hh": np.zeros(8)},
            convert.KERAS,
            {},
            r"bias_hh: expected shape \(6,\) with H = 2, got",
        ),
        (
            BOTH | {"weight_ih_reverse": np.zeros((6, 4))},
            convert.ONNX,
            BEFORE,
            r"weight_ih_reverse: .* differ",
        ),
        (PAIR | {"weight_hh_reverse": np.zeros((6, 2))}, convert.ONNX, BEFORE, r"weight_ih_reverse: missing"),
    ],
)
def test_from_native_refuses(weights: Arrays, convention: Convention, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_native(weights, convention, **kwargs)


KERAS = {"kernel": np.zeros((3, 6)), "recurrent_kernel": np.zeros((2, 6)), "bias": np.zeros((2, 6))}
ONNX = {"W": np.zeros((2, 6, 3)), "R": np.zeros((2, 6, 2)), "B": np.zeros((2, 12))}


@pytest.mark.parametrize(
    ("arrays", "convention", "message"),
    [
        (
            KERAS | {"bais": KERAS["bias"]},
            convert.KERAS,
            r"bais: unknown name; expected kernel, recurrent_kernel, bias",
        ),
        ({"kernel": KERAS["kernel"]}, convert.KERAS, r"recurrent_kernel: missing; there are kernel"),
        (
            KERAS | {"kernel": np.zeros((6, 3))},
            convert.KERAS,
            r"kernel: expected shape \(I, 3H\) with H = 2, got",
        ),
        (KERAS | {"kernel": np.zeros(6)}, convert.KERAS, r"kernel: expected 2 dimensions, got shape \(6,\)"),
        (
            KERAS | {"recurrent_kernel": np.zeros((6, 2))},
            convert.KERAS,
            r"recurrent_kernel: expected shape \(H, 3H\)",
        ),
        (KERAS, convert.KERAS_V1, r"bias: expected shape \(6,\) with H = 2, got shape \(2, 6\)"),
        (
            ONNX | {"B": np.zeros((2, 8))},
            convert.ONNX,
            r"B: expected shape \(12,\) with H = 2, got shape \(8,\)",
        ),
        (ONNX | {"R": np.zeros((1, 6, 2))}, convert.ONNX, r"R: expected a leading axis of 1 or 2 directions"),
        (ONNX | {"W": np.zeros((3, 6, 3))}, convert.ONNX, r"W: expected a leading axis of 1 or 2 directions"),
        (ONNX | {"B": np.zeros(())}, convert.ONNX, r"W: expected a leading axis of 1 or 2 directions"),
        ({"W": np.zeros((6, 1))}, convert.OLAH_2015, r"W: expected shape \(3H, I \+ H\), got shape \(6, 1\)"),
        ({"W": np.zeros((7, 9))}, convert.OLAH_2015, r"W: expected shape \(3H, I \+ H\), got shape \(7, 9\)"),
    ],
)
def test_to_native_refuses(arrays: Arrays, convention: Convention, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_native(arrays, convention, **convention.options)


@pytest.mark.parametrize(
    ("convention", "options", "message"),
    [
        (convert.ONNX, {}, "reset_after: expected False, which the convention has, got True"),
        (
            convert.KERAS_V1,
            {"reset_after": False},
            r"recurrent_activation: expected \('hard_sigmoid', 0.2, 0.5\), .*'sig",
        ),
        (convert.RNNOISE, {"reset_after": False}, "activation: expected 'relu', which the convention has, got 'tanh'"),
        (
            convert.PRECISE,
            {"reset_after": False, "activation": "linear"},
            r"recurrent_activation: expected \('hard_sig",
        ),
        (convert.KERAS, {"activation": "relu"}, "activation: expected 'tanh', which the convention has, got 'relu'"),
    ],
)
def test_weights_for_another_gru_are_refused(
    rng: np.random.Generator, convention: Convention, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        to_native(random_arrays(rng, convention), convention, **options)


def test_options_build_the_gru_of_the_convention(rng: np.random.Generator) -> None:
    convention = convert.PRECISE
    arrays = random_arrays(rng, convention)
    gru = nn.GRU(3, 4, dtype="float64", **convention.options)
    gru.load_state_dict(to_native(arrays, convention, layer=0, **convention.options))
    x = rng.standard_normal((5, 2, 3))
    assert_close(gru(x)[0], run_loop(precise, arrays, x, np.zeros((2, 4))), "converted")
    assert_same(from_native(gru.state_dict(), convention, layer=0, **convention.options), arrays)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (list(KERAS.values()), r"arrays: expected a mapping from names to arrays, got list"),
        (KERAS | {"kernel": np.zeros((3, 6), int)}, r"kernel: expected dtype float32 or float64, got int64"),
        (KERAS | {"bias": np.zeros((2, 6), object)}, r"bias: expected dtype float32 or float64, got object"),
        (KERAS | {"bias": np.zeros((2, 6), "f4")}, r"bias: expected float64 as kernel has, got float32"),
    ],
)
def test_to_native_refuses_types(arrays: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        to_native(arrays, convert.KERAS)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gates": "rzz"}, r'gates: expected a permutation of "rzn", got \'rzz\''),
        ({"gates": "zrh"}, r'gates: expected a permutation of "rzn", got \'zrh\''),
        ({"concatenated": "h,x"}, r"concatenated: expected 'xh' or 'hx', got 'h,x'"),
        (
            {"bias": "three"},
            r"bias: expected 'none', 'one', .* or 'four', got 'three'",
        ),
        ({"bias": "one"}, r"names: expected 2 \+ 1, all different"),
        ({"activation": "gelu"}, r"activation: expected 'sigmoid', .*, got 'gelu'"),
        ({"recurrent_activation": ("tanh", 1)}, r"recurrent_activation: expected no number for tanh, got \(1,\)"),
        (
            {"recurrent_activation": ("hard_sigmoid", 0.2, 0.4), "update_keeps": False},
            r"recurrent_activation: expected 'sigmoid', or .* with beta 0.5, where a gate .*, got \('hard_sig",
        ),
        ({"names": ("W", "W", "b", "c")}, r"names: expected 2 \+ 2, all different"),
    ],
)
def test_conventions_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Convention(**fields)


def test_gains_of_layer_normalization_are_not_lost() -> None:
    """Neither of a layer by its names, nor of one of a whole state."""
    state = nn.GRU(2, 3, layer_norm=True, seed=0).state_dict()
    with pytest.raises(ValueError, match="gamma_ih_l0: unknown name"):
        convert.from_native(state, convert.KERAS, layer=0)
