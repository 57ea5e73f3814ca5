"""Every convention, written down as its source writes it, computes what its conversion computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import parts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

from gru_native import convert, nn, reference
from gru_native.convert import Convention, from_native, to_native

Arrays = dict[str, np.ndarray]
Step = Callable[..., np.ndarray]


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-a))


def split(stacked: np.ndarray, axis: int = 0, gates: int = 3) -> list[np.ndarray]:
    return np.split(stacked, gates, axis=axis)


def beside(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=1)


# A step of each convention as its source has it: x (B, I) and h (B, H), of an LSTM h and c; arrays under their names.


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


def flax(x, h, kernel, recurrent_kernel, bias):
    (W_r, W_z, W_n), (U_r, U_z, U_n), (b_r, b_z, b_n, b_hn) = (
        split(kernel, 1),
        split(recurrent_kernel, 1),
        np.split(bias, 4),
    )
    r = sigmoid(x @ W_r + b_r + h @ U_r)
    z = sigmoid(x @ W_z + b_z + h @ U_z)
    n = np.tanh(x @ W_n + b_n + r * (h @ U_n + b_hn))
    return (1 - z) * n + z * h


def pytorch_lstm(x, state, weight_ih, weight_hh, bias_ih, bias_hh):
    h, c = state
    i, f, g, o = split(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh, 1, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def keras_lstm(x, state, kernel, recurrent_kernel, bias, gate=sigmoid):
    h_tm1, c_tm1 = state
    z0, z1, z2, z3 = split(x @ kernel + h_tm1 @ recurrent_kernel + bias, 1, 4)
    c = gate(z1) * c_tm1 + gate(z0) * np.tanh(z2)
    return gate(z3) * np.tanh(c), c


def keras_v1_lstm(x, state, kernel, recurrent_kernel, bias):
    return keras_lstm(x, state, kernel, recurrent_kernel, bias, hard_sigmoid)


def rtneural_lstm(x, state, W, U, B):
    return keras_lstm(x, state, W, U, B)


def flax_lstm(x, state, kernel, recurrent_kernel, bias):
    (W_i, W_f, W_g, W_o), (U_i, U_f, U_g, U_o) = split(kernel, 1, 4), split(recurrent_kernel, 1, 4)
    (h, c), (b_i, b_f, b_g, b_o) = state, split(bias, 0, 4)
    i, f = sigmoid(x @ W_i + h @ U_i + b_i), sigmoid(x @ W_f + h @ U_f + b_f)
    g, o = np.tanh(x @ W_g + h @ U_g + b_g), sigmoid(x @ W_o + h @ U_o + b_o)
    c = f * c + i * g
    return o * np.tanh(c), c


def onnx_lstm(x, state, W, R, B, P):
    (Ht, Ct), (Pi, Po, Pf) = state, split(P[0])
    it, ot, ft, ct = split(x @ W[0].T + Ht @ R[0].T + B[0, : len(W[0])] + B[0, len(W[0]) :], 1, 4)
    C = sigmoid(ft + Pf * Ct) * Ct + sigmoid(it + Pi * Ct) * np.tanh(ct)
    return sigmoid(ot + Po * C) * np.tanh(C), C


def openvino_lstm(x, state, W, R, B):
    h, c = state
    f, i, g, o = split(x @ W[0].T + h @ R[0].T + B[0], 1, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def concatenated_lstm(x, state, W, b):
    (W_o, W_g, W_f, W_i), (b_o, b_g, b_f, b_i), (h, c) = split(W, 0, 4), split(b, 0, 4), state
    xh = beside(x, h)
    c = sigmoid(xh @ W_f.T + b_f) * c + sigmoid(xh @ W_i.T + b_i) * np.tanh(xh @ W_g.T + b_g)
    return sigmoid(xh @ W_o.T + b_o) * np.tanh(c), c


def pytorch_rnn(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    return np.tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)


def keras_rnn(x, h, kernel, recurrent_kernel, bias):
    return np.tanh(x @ kernel + bias + h @ recurrent_kernel)


def flax_rnn(x, h, kernel, recurrent_kernel, bias):
    return keras_rnn(x, h, kernel, recurrent_kernel, bias)


def onnx_rnn(x, h, W, R, B):
    Wbi, Rbi = np.split(B[0], 2)
    return np.tanh(x @ W[0].T + h @ R[0].T + Wbi + Rbi)


def openvino_rnn(x, h, W, R, B):
    return np.tanh(x @ W[0].T + h @ R[0].T + B[0])


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
    flax: convert.FLAX,
    pytorch_lstm: convert.PYTORCH_LSTM,
    keras_lstm: convert.KERAS_LSTM,
    keras_v1_lstm: convert.KERAS_V1_LSTM,
    rtneural_lstm: convert.RTNEURAL_LSTM,
    flax_lstm: convert.FLAX_LSTM,
    onnx_lstm: convert.ONNX_LSTM,
    openvino_lstm: convert.OPENVINO_LSTM,
    concatenated_lstm: Convention(gates="ogfi", concatenated="xh", bias="one", names=("W", "b")),
    pytorch_rnn: convert.PYTORCH_RNN,
    keras_rnn: convert.KERAS_RNN,
    flax_rnn: convert.FLAX_RNN,
    onnx_rnn: convert.ONNX_RNN,
    openvino_rnn: convert.OPENVINO_RNN,
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
    rows = len(convention.gates) * hidden
    matrices = [(rows, inputs + hidden)] if convention.concatenated else [(rows, inputs), (rows, hidden)]
    shapes: list[tuple[int, ...]] = [matrix[::-1] if convention.transposed else matrix for matrix in matrices]
    shapes += {
        "none": [],
        "one": [(rows,)],
        "two": [(rows,), (rows,)],
        "stacked": [(2, rows)],
        "concatenated": [(2 * rows,)],
        "four": [(rows + hidden,)],
    }[convention.bias]
    shapes += [(3 * hidden,)] if convention.peepholes else []
    lead = (directions,) if convention.directions else ()
    return {
        name: rng.standard_normal(lead + shape).astype(dtype)
        for name, shape in zip(convention.names, shapes, strict=True)
    }


def first_state(rng: np.random.Generator, convention: Convention) -> Any:
    state = tuple(rng.standard_normal((2, 4)) for _ in range(2))
    return state if convention.cell == "lstm" else state[0]


def run_loop(step: Step, arrays: Arrays, x: np.ndarray, state: Any) -> np.ndarray:
    output = []
    for x_t in x:
        state = step(x_t, state, **arrays)
        output.append(parts_of(state)[0])
    return np.stack(output)


def run_reference(weights: Arrays, convention: Convention, x: np.ndarray, state: Any) -> np.ndarray:
    bias: dict[str, Any] = {"bias_ih": None, "bias_hh": None}
    reset = "gru_reset_after" if convention.reset_after else "gru_reset_before"
    gate, own = convention.recurrent_activation, convention.activation
    cell, activations = {
        "gru": (reset, (gate, own)),
        "lstm": ("lstm", (gate, own, own)),
        "rnn": ("rnn_tanh", (own,)),
    }[convention.cell]
    return reference.forward(x, state, **(bias | weights), cell=cell, activations=activations)[0]


NATIVE = {"gru": convert.PYTORCH, "lstm": convert.PYTORCH_LSTM, "rnn": convert.PYTORCH_RNN}


def expressible(rng: np.random.Generator, convention: Convention) -> Arrays:
    """Native weights with every bias that the convention has a place for."""
    weights = random_arrays(rng, NATIVE[convention.cell])
    if convention.peepholes:
        weights["peephole"] = rng.standard_normal((3, 4))
    if convention.bias == "none":
        return {name: array for name, array in weights.items() if "bias" not in name}
    if convention.cell == "gru" and convention.bias == "one" and convention.reset_after:
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
    x, state = rng.standard_normal((5, 2, 3)), first_state(rng, convention)
    output = run_reference(to_native(arrays, convention, **convention.options), convention, x, state)
    assert_close(output, run_loop(step, arrays, x, state), "converted")


@forms
def test_from_native_computes_what_the_reference_computes(
    rng: np.random.Generator, step: Step, convention: Convention
) -> None:
    weights = expressible(rng, convention)
    x, state = rng.standard_normal((5, 2, 3)), first_state(rng, convention)
    arrays = from_native(weights, convention, **convention.options)
    output = run_reference(weights, convention, x, state)
    assert_close(run_loop(step, arrays, x, state), output, "converted")


@st.composite
def conventions(draw: st.DrawFn) -> Convention:
    concatenated = draw(st.sampled_from([None, "xh", "hx"]))
    own = draw(st.sampled_from(["rzn", "ifgo", "h"]))
    bias = draw(st.sampled_from(["none", "one", "two", "stacked", "concatenated", *(["four"] if own == "rzn" else [])]))
    flags: dict[str, Any] = {name: draw(st.booleans()) for name in ("transposed", "directions")}
    flags["activation"] = draw(st.sampled_from(["tanh", "relu", ("elu", 0.5)]))
    if own == "rzn":
        flags |= {name: draw(st.booleans()) for name in ("reset_after", "update_keeps", "reset_keeps")}
    if own == "ifgo":
        flags["peepholes"] = draw(st.sampled_from(["", *map("".join, permutations("ifo"))]))
    if own != "h":
        flags["recurrent_activation"] = draw(st.sampled_from(["sigmoid", ("hard_sigmoid", 0.2, 0.5)]))
    gates = "".join(draw(st.permutations(own)))
    count = (1 if concatenated else 2) + {"none": 0, "two": 2}.get(bias, 1) + bool(flags.get("peepholes"))
    return Convention(gates=gates, concatenated=concatenated, bias=bias, names=tuple("abcde"[:count]), **flags)


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


@pytest.mark.parametrize("own", ["rzn", "ifgo"])
def test_gates_are_stacked_in_the_order_named(rng: np.random.Generator, own: str) -> None:
    weights = random_arrays(rng, Convention(gates=own))
    block = dict(zip(own, np.split(weights["bias_ih"], len(own)), strict=True))
    for gates in permutations(own):
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
        (convert.KERAS_V1_LSTM, {}, r"recurrent_activation: expected \('hard_sigmoid', 0.2, 0.5\)"),
        (convert.KERAS_LSTM, {"reset_after": False}, "reset_after: expected True"),
        (
            convert.KERAS_RNN,
            {"nonlinearity": "relu"},
            "nonlinearity: expected 'tanh', which the convention has, got 'relu'",
        ),
        (convert.KERAS_RNN, {"activation": "relu"}, "activation: expected 'tanh'"),
    ],
)
def test_weights_for_another_layer_are_refused(
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
        ({"gates": "rzz"}, r'gates: expected "h" or a permutation of "rzn" or "ifgo", got \'rzz\''),
        ({"gates": "zrh"}, r'gates: expected "h" or .*, got \'zrh\''),
        ({"gates": "ifog", "reset_after": False}, r"reset_after: expected True for gates 'ifog', got False"),
        ({"gates": "ifgo", "bias": "four"}, r"bias: expected 'two' for gates 'ifgo', got 'four'"),
        ({"gates": "h", "recurrent_activation": "relu"}, r"recurrent_activation: expected 'sigmoid' for gates 'h'"),
        ({"peepholes": "ifo"}, r"peepholes: expected '' for gates 'rzn', got 'ifo'"),
        ({"gates": "ifgo", "peepholes": "ifg"}, r'peepholes: expected "" or a permutation of "ifo", got \'ifg\''),
        ({"gates": "ifgo", "peepholes": "ifo"}, r"names: expected 2 \+ 2 \+ 1, all different"),
        ({"concatenated": "h,x"}, r"concatenated: expected 'xh' or 'hx', got 'h,x'"),
        (
            {"bias": "three"},
            r"bias: expected 'none', 'one', .* or 'four', got 'three'",
        ),
        ({"bias": "one"}, r"names: expected 2 \+ 1 \+ 0, all different"),
        ({"activation": "gelu"}, r"activation: expected 'sigmoid', .*, got 'gelu'"),
        ({"recurrent_activation": ("tanh", 1)}, r"recurrent_activation: expected no number for tanh, got \(1,\)"),
        (
            {"recurrent_activation": ("hard_sigmoid", 0.2, 0.4), "update_keeps": False},
            r"recurrent_activation: expected 'sigmoid', or .* with beta 0.5, where a gate .*, got \('hard_sig",
        ),
        ({"names": ("W", "W", "b", "c")}, r"names: expected 2 \+ 2 \+ 0, all different"),
    ],
)
def test_conventions_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Convention(**fields)


@pytest.mark.parametrize(
    ("layer", "convention", "message"),
    [
        (nn.LSTM(2, 3, peepholes=True, seed=0), convert.KERAS_LSTM, "peephole_l0: unknown name"),
        (nn.LSTM(2, 3, proj_size=1, seed=0), convert.PYTORCH_LSTM, "weight_hr_l0: unknown name"),
        (nn.LSTM(2, 3, seed=0), convert.KERAS, r"weight_hh_l0: expected shape \(3H, H\), got shape \(12, 3\)"),
        (nn.RNN(2, 3, seed=0), convert.ONNX_LSTM, r"weight_hh_l0: expected shape \(4H, H\), got shape \(3, 3\)"),
        (nn.GRU(2, 3, seed=0), convert.KERAS_RNN, r"weight_hh_l0: expected shape \(H, H\), got shape \(9, 3\)"),
    ],
)
def test_what_a_convention_has_no_place_for(layer: nn.Module, convention: Convention, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_native(layer.state_dict(), convention, layer=0)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent / "conventions").glob("*.npz")), ids=lambda path: path.stem
)
def test_what_a_peer_computed(path: Path) -> None:
    """Flax and OpenVINO, as tests/conventions/write.py ran them."""
    with np.load(path) as stored:
        case = dict(stored)
    convention = getattr(convert, path.stem)
    x, expected, *state = (case.pop(name) for name in ("x", "y", "h", "c") if name in case)
    weights = to_native(case, convention, **convention.options)
    output = run_reference(weights, convention, x, tuple(state) if len(state) > 1 else state[0])
    assert_close(output, expected, "golden")


def test_gains_of_layer_normalization_are_not_lost() -> None:
    """Neither of a layer by its names, nor of one of a whole state."""
    state = nn.GRU(2, 3, layer_norm=True, seed=0).state_dict()
    with pytest.raises(ValueError, match="gamma_ih_l0: unknown name"):
        convert.from_native(state, convert.KERAS, layer=0)
