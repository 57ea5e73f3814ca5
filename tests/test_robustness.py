"""Nothing that Python hands in crashes the process: sizes beyond memory, odd numbers, wrong things."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import ISAS, KINDS, Array, State, assert_same_bits, every_kind, layer, normal, normal_state, parts_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

from gru_native import _core, reference
from gru_native import functional as F
from gru_native._layer import RecurrentLayer, RecurrentStep, RecurrentWeights, Unfit

every_isa = pytest.mark.parametrize("isa", ISAS)

f4 = np.float32
# Of 4 bytes each this is no size of memory, but an axis may have it when another has none.
HUGE = 2**56


def weights_of(inputs: int, hidden: int) -> F.RecurrentWeights:
    return F.pack_gru(np.zeros((3 * hidden, inputs), f4), np.zeros((3 * hidden, hidden), f4))


# ---- Sizes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_an_empty_batch_of_endless_sequences(batch_first: bool, reverse: bool) -> None:
    shape = (0, HUGE) if batch_first else (HUGE, 0)
    x = np.empty((*shape, 3), f4)
    (output, h_n), tape = F.recurrent_forward(x, weights_of(3, 4), reverse=reverse, batch_first=batch_first, threads=2)
    assert (output.shape, h_n.shape) == ((*shape, 4), (0, 4))
    (d_x, d_h_0), gradients = F.recurrent_backward(tape, output, h_n, threads=2)
    assert (d_x.shape, d_h_0.shape) == (x.shape, (0, 4))
    assert not any(gradient.any() for gradient in gradients.values())


def test_endless_sequences_without_units() -> None:
    x = np.broadcast_to(np.zeros((1, 1, 3), f4), (HUGE, 2, 3))
    output, h_n = F.recurrent(x, weights_of(3, 0))
    assert (output.shape, h_n.shape) == ((HUGE, 2, 0), (2, 0))
    x = np.empty((HUGE, 2, 0), f4)
    (output, h_n), tape = F.recurrent_forward(x, weights_of(0, 0))
    (d_x, _), _ = F.recurrent_backward(tape, output, h_n)
    assert d_x.shape == (HUGE, 2, 0)


def test_a_batch_beyond_memory_without_units() -> None:
    (output, h_n), tape = F.recurrent_forward(np.empty((0, HUGE, 3), f4), weights_of(3, 0))
    assert (output.shape, h_n.shape) == ((0, HUGE, 0), (HUGE, 0))
    assert F.recurrent_backward(tape)[0][1].shape == (HUGE, 0)


def test_without_units_the_gradient_of_x_is_zero() -> None:
    _, tape = F.recurrent_forward(np.ones((3, 2, 4), f4), weights_of(4, 0))
    d_x = np.full((3, 2, 4), 7, f4)
    F.recurrent_backward(tape, d_x=d_x)
    assert not d_x.any()
    _, tape = F.recurrent_forward(np.ones((3, 2, 4), f4), weights_of(4, 0))
    d_x[...] = 7
    F.recurrent_backward(tape, d_x=d_x, accumulate_d_x=True)
    assert np.all(d_x == 7)


def test_an_input_size_beyond_memory_without_units() -> None:
    x = np.empty((2, 0, HUGE), f4)
    (output, _), tape = F.recurrent_forward(x, weights_of(HUGE, 0))
    assert output.shape == (2, 0, 0)
    (d_x, _), gradients = F.recurrent_backward(tape)
    assert (d_x.shape, gradients["weight_ih"].shape) == ((2, 0, HUGE), (0, HUGE))


@pytest.mark.parametrize(("inputs", "outputs", "rows"), [(0, 0, HUGE), (HUGE, 0, 0), (0, HUGE, 0)])
def test_linear_layers_beyond_memory(inputs: int, outputs: int, rows: int) -> None:
    weights = F.pack_linear(np.empty((outputs, inputs), f4))
    x = np.empty((rows, inputs), f4)
    y = F.linear(x, weights)
    assert y.shape == (rows, outputs)
    d_x, gradients = F.linear_backward(x, weights, y)
    assert (d_x.shape, gradients["weight"].shape) == (x.shape, (outputs, inputs))


def test_other_functions_beyond_memory() -> None:
    indices = np.zeros(0, np.int64)
    assert F.embedding(indices, np.empty((HUGE, 0), f4)).shape == (0, 0)
    assert F.embedding_backward(indices, np.empty((0, 0), f4), HUGE).shape == (HUGE, 0)
    losses, d_logits = F.softmax_cross_entropy(np.empty((0, HUGE), f4), indices, gradient=True)
    assert d_logits is not None
    assert (losses.shape, d_logits.shape) == ((0,), (0, HUGE))
    assert F.softmax_cross_entropy(np.empty((0, HUGE), f4), indices)[0].shape == (0,)


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.recurrent(np.broadcast_to(np.zeros((1, 1, 3), f4), (HUGE, 1, 3)), weights_of(3, 2)),
        lambda: F.recurrent(np.empty((0, HUGE, 3), f4), weights_of(3, 2)),
        lambda: F.linear(np.broadcast_to(np.zeros((1, 3), f4), (HUGE, 3)), F.pack_linear(np.zeros((2, 3), f4))),
        lambda: F.embedding_backward(np.zeros(1, int), np.zeros((1, 3), f4), HUGE),
        lambda: F.embedding(np.broadcast_to(np.int64(0), (HUGE,)), np.zeros((1, 3), f4)),
        lambda: F.tanh(np.broadcast_to(f4(0), (HUGE,))),
    ],
)
def test_results_beyond_memory_are_memory_errors(call: Callable[[], Any]) -> None:
    with pytest.raises(MemoryError, match="Unable to allocate|expected arrays that memory can hold"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: F.recurrent(np.empty((2**58, 0, 3), f4), weights_of(3, 16)),
        lambda: F.embedding_backward(np.zeros(0, int), np.zeros((0, 3), f4), 2**62),
    ],
)
def test_sizes_that_no_array_has_are_value_errors(call: Callable[[], Any]) -> None:
    with pytest.raises(
        ValueError,
        match="array is too big|[Mm]aximum (allowed dimension|supported size)|expected arrays that memory can hold",
    ):
        call()


# ---- NaN and infinity --------------------------------------------------------------------------------------


def assert_same_numbers(actual: Array, expected: Array, what: str) -> None:
    """Assert NaN and infinities in the same places, and the rest close."""
    for question in (np.isnan, np.isposinf, np.isneginf):
        np.testing.assert_array_equal(question(actual), question(expected), err_msg=f"{question.__name__} of {what}")
    finite = np.isfinite(expected)
    assert_close(actual[finite], expected[finite], "float64", what)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@every_kind
@every_isa
def test_odd_numbers_stay_in_their_row(rng: np.random.Generator, isa: str, kind: str, value: float) -> None:
    """They give what the reference gives, and every other row has the bits that it has without them."""
    hidden, batch = 19, 11
    cell = layer(rng, 5, hidden, np.float64, kind=kind)
    weights = cell.pack(isa)

    def draw(*shape: int) -> Array:
        return normal(rng, *shape, dtype=np.float64)

    clean = {
        "x": draw(6, batch, 5),
        "h_0": draw(batch, hidden),
        "d_output": draw(6, batch, hidden),
        "d_h_n": draw(batch, hidden),
    }
    c_0, d_c_n = draw(batch, hidden), draw(batch, hidden)

    def inputs(x: Array, h_0: Array, d_output: Array, d_h_n: Array) -> tuple[Array, State, Array, State]:
        return (x, (h_0, c_0), d_output, (d_h_n, d_c_n)) if kind == "lstm" else (x, h_0, d_output, d_h_n)

    def results(output: Array, final: State, gradients: dict[str, Any]) -> dict[str, Array]:
        """Name all arrays; those of rows have their batch axis before the last one."""
        states = {"final": final, "d_state": gradients["state"]}
        parts = {f"{name}_{i}": part for name, state in states.items() for i, part in enumerate(parts_of(state))}
        return parts | {"output": output} | {f"d_{name}": d for name, d in gradients.items() if name != "state"}

    def run(**arrays: Array) -> dict[str, Array]:
        x, state, d_output, d_final = inputs(**arrays)
        (output, final), tape = F.recurrent_forward(x, weights, state)
        assert_same_bits(F.recurrent(x, weights, state)[0], output)
        (d_x, d_state), gradients = F.recurrent_backward(tape, d_output, d_final)
        return results(output, final, {"x": d_x, "state": d_state} | gradients)

    before = run(**clean)
    others = np.arange(batch) != 4
    for name in clean:
        arrays = {key: array.copy() for key, array in clean.items()}
        arrays[name][(3, 4, 2) if arrays[name].ndim == 3 else (4, 2)] = value
        actual = run(**arrays)
        x, state, d_output, d_final = inputs(**arrays)
        with np.errstate(invalid="ignore"):
            output, final, tape = cell.reference(x, state)
            expected = results(output, final, reference.backward(tape, d_output, d_final))
        for key, wanted in expected.items():
            assert_same_numbers(actual[key], wanted, f"{key} with {value} in {name}")
            if not key.startswith(("d_weight", "d_bias", "d_gamma")):
                rows = [array.take(np.flatnonzero(others), axis=-2) for array in (actual[key], before[key])]
                assert_same_bits(*rows, f"{key} with {value} in {name}")
        # What does not reach a unit of relu is dropped there.
        assert kind == "rnn_relu" or not all(np.isfinite(array).all() for array in actual.values())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@every_kind
@every_isa
def test_odd_numbers_in_weights(rng: np.random.Generator, isa: str, kind: str, value: float) -> None:
    x, state = normal(rng, 5, 3, 5, dtype=np.float64), normal_state(rng, kind, 3, 19, dtype=np.float64)
    for name in layer(rng, 5, 19, kind=kind).arrays:
        cell = layer(rng, 5, 19, np.float64, kind=kind)
        array = cell.arrays[name]
        assert array is not None
        array[rng.integers(0, array.shape[0])] = value
        output, final = F.recurrent(x, cell.pack(isa), state)
        with np.errstate(invalid="ignore"):
            expected, last, _ = cell.reference(x, state)
        assert_same_numbers(output, expected, f"output with {value} in {name}")
        for part, wanted in zip(parts_of(final), parts_of(last), strict=True):
            assert_same_numbers(part, wanted, f"the last state with {value} in {name}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rnn_relu"])
@every_isa
def test_enormous_numbers_saturate(rng: np.random.Generator, isa: str, kind: str) -> None:
    cell = layer(rng, 5, 19, kind=kind)
    # Layer normalization takes their squares.
    x = f4(1e15 if kind == "gru_layer_norm" else 1e30) * normal(rng, 5, 3, 5)
    output, _ = F.recurrent(x, cell.pack(isa))
    assert_close(output, cell.reference(x, None)[0], "float32_forward")


@every_kind
@every_isa
def test_subnormal_numbers_count_as_zero(rng: np.random.Generator, isa: str, kind: str) -> None:
    weights = layer(rng, 5, 19, kind=kind).pack(isa)
    x, h_0 = f4(1e-40) * np.ones((5, 3, 5), f4), f4(-1e-40) * np.ones((3, 19), f4)
    assert x.all()
    state = (h_0, h_0) if kind == "lstm" else h_0
    for tiny, zero in (
        (F.recurrent(x, weights), F.recurrent(0 * x, weights)),
        (F.recurrent(x, weights, state), F.recurrent(x, weights)),
    ):
        np.testing.assert_array_equal(tiny[0], zero[0])


# ---- The core's own doors ----------------------------------------------------------------------------------


def test_objects_of_the_core_come_from_the_core_alone() -> None:
    """One without a value behind it would be a dangling pointer."""
    kind = _core.LinearWeights
    for make in (kind, lambda: kind.__new__(kind), lambda: type("Own", (kind,), {})):
        with pytest.raises(TypeError, match="LinearWeights"):
            make()
    weights = weights_of(3, 4)
    for make in (RecurrentWeights, lambda: RecurrentWeights.__new__(RecurrentWeights)):
        with pytest.raises(TypeError, match="at least 2 positional arguments"):
            make()
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Own", (RecurrentWeights,), {})
    for cell, parameters in (("gru", (None,) * 8), ("lstm", (None,) * 8), ("lstm", ())):
        with pytest.raises(ValueError, match="cell: expected one of|parameters: expected"):
            RecurrentWeights(cell, parameters)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="pickl|__reduce__"):
            duplicate(weights)
    with pytest.raises(TypeError, match="exactly 1 positional argument"):
        RecurrentStep.__new__(RecurrentStep)
    (_, _, tape) = RecurrentLayer((weights,), False).forward(np.zeros((1, 1, 3), f4), *[None] * 5, "gates", 1)
    with pytest.raises(ValueError, match="^tape: expected what forward returned, got an empty one"):
        type(tape)().backward(None, None, (), 1)
    for names in (("a",), ("a", "a"), ("a", "b", "c")):
        with pytest.raises(ValueError, match="^names: expected 2 different ones, got "):
            tape.backward(None, None, names, 1)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="pickling"):
            duplicate(tape)
    with pytest.raises(TypeError, match="RecurrentLayer"):
        RecurrentStep(None)  # type: ignore[arg-type]
    for nothing in (None, 1, F.pack_linear(np.zeros((2, 3)))):
        with pytest.raises(TypeError, match="RecurrentWeights|weights: expected what a pack function returned"):
            RecurrentLayer((nothing,), False)  # type: ignore[arg-type]
    doubles = F.pack_gru(np.zeros((12, 3)), np.zeros((12, 4)))
    for wrong in ((), (weights,) * 3, (weights, weights_of(3, 5)), (weights, doubles)):
        with pytest.raises(ValueError, match="^weights: expected"):
            RecurrentLayer(wrong, False)
    projected = F.pack_lstm(np.zeros((12, 3)), np.zeros((12, 2)), weight_hr=np.zeros((2, 3)))
    for several in ((weights, weights), (projected,)):
        with pytest.raises(ValueError, match="^layer: expected one of one direction and without a projection"):
            RecurrentStep(RecurrentLayer(several, False))


def test_a_tape_takes_what_fits_it(rng: np.random.Generator) -> None:
    x = normal(rng, 3, 2, 4)
    (output, h_n), tape = F.recurrent_forward(x, weights_of(4, 5))
    for d_output, d_final in ((output[1:], None), (output[..., :4], None), (None, h_n[:1]), (None, h_n[:, :4])):
        with pytest.raises(ValueError, match=r"^d_(output|final): expected shape"):
            F.recurrent_backward(tape, d_output, d_final)
        with pytest.raises(Unfit, match=r"^d_(output|final): expected"):
            tape.core.backward(
                d_output, d_final if d_final is None else d_final[None], tape.core.weights[0].parameters, 1
            )
    assert F.recurrent_backward(tape, output)[1]["weight_hh"].shape == (15, 5)


def test_a_tape_holds_its_weights(rng: np.random.Generator) -> None:
    cell, x = layer(rng, 4, 5), normal(rng, 3, 2, 4)
    (output, _), tape = F.recurrent_forward(x, cell.pack(ISAS[-1]))
    expected = F.recurrent_backward(F.recurrent_forward(x, cell.pack(ISAS[-1]))[1], output)[0][0]
    others = [layer(rng, 4, 5).pack(ISAS[-1]) for _ in range(50)]  # one of them might stand where the first was
    assert_same_bits(F.recurrent_backward(tape, output)[0][0], expected)
    del others


@pytest.mark.parametrize("padding", [-1, 0, 5])
@pytest.mark.parametrize("index", [0, -7, 3, 2**40])
def test_indices_outside_are_refused_by_the_core(index: int, padding: int) -> None:
    entries = 0 if index == 0 else 3
    d_weight = np.zeros((entries, 4), f4)
    if index == padding:
        _core.embedding_backward(np.array([index]), np.ones((1, 4), f4), d_weight, padding, 1)
        return
    with pytest.raises(ValueError, match=f"^indices: expected 0 to {entries} .exclusive., got {index}"):
        _core.embedding_backward(np.array([index]), np.ones((1, 4), f4), d_weight, padding, 1)


def core_calls() -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    """Each function of the core with arguments that are right."""
    rng = np.random.default_rng(0)
    T, B, I, H, N = 3, 2, 4, 5, 6  # noqa: E741
    weights = layer(rng, I, H, kind="lstm").pack(ISAS[-1])
    linear = F.pack_linear(normal(rng, H, I), normal(rng, H))
    windowed = F.pack_conv1d(normal(rng, H, I // 2, 2), normal(rng, H))

    def zeros(*shape: int) -> Array:
        return np.zeros(shape, f4)

    shapes = ((12, 6), (12, 4), (12,), (12,), (3, 4), (3,), (3,), (4, 10))
    decoder_arrays = [normal(rng, *shape) for shape in shapes]
    decoder = _core.pack_decoder(decoder_arrays, 1)
    decoded = [zeros(B, 7, 3), zeros(B, 7, 6), np.array([7, 3])]
    tape = F.empty((_core.decoder_tape_size(decoder, zeros(T, B, 2), np.array([3, 1]), 7),), np.dtype(np.uint8))
    tape[:] = 0
    attended = [zeros(B, 7, 4), zeros(B, 7, 6), zeros(4), np.array([7, 3]), 2]
    x, output = normal(rng, T, B, I), zeros(T, B, H)
    state = (zeros(1, B, H), zeros(1, B, H))
    steps = [np.array([3, 1]), np.eye(T, B, dtype=bool)]
    compiled = RecurrentLayer((weights,), False)
    names = tuple("abcdefghij"[: len(weights.parameters)])

    def backward(*arguments: Any) -> Any:
        return compiled.forward(x, state, *steps, None, None, "gates", 1)[2].backward(*arguments)

    return {
        "weights": (
            RecurrentWeights,
            [
                "lstm",
                (zeros(4 * H, I), zeros(4 * H, H), zeros(4 * H), zeros(4 * H), None, None, zeros(3, H), None),
                (("hard_sigmoid", 0.2, 0.5), ("elu", 1.0, 0.0), ("tanh", 0.0, 0.0)),
                0.5,
                True,
            ],
        ),
        "weights with gains": (
            RecurrentWeights,
            ["gru_layer_norm", (zeros(3 * H, I), zeros(3 * H, H), None, *[zeros(3 * H) for _ in range(3)], None, None)],
        ),
        "weights with a projection": (
            RecurrentWeights,
            ["lstm", (zeros(4 * H, I), zeros(4 * H, 2), None, None, None, None, None, zeros(2, H)), (), 0.0, False],
        ),
        "layer": (RecurrentLayer, [(weights, weights), True, 0.0, False]),
        "call": (compiled, [x, state, *steps, 2, zeros(1, B, H), output, state]),
        "forward": (
            compiled.forward,
            [x, state, *steps, zeros(1, B, H), (1,), "states", 2, zeros(T, B, H), (zeros(1, B, H), zeros(1, B, H))],
        ),
        "backward": (backward, [zeros(T, B, H), state, names, 2, zeros(T, B, I), True]),
        "pack_linear": (_core.pack_linear, [zeros(H, I), zeros(H)]),
        "linear_forward": (_core.linear_forward, [linear, zeros(N, I), zeros(N, H), 2]),
        "linear_backward": (
            _core.linear_backward,
            [linear, zeros(N, I), zeros(N, H), zeros(N, I), zeros(H, I), zeros(H), 2],
        ),
        "convolution_forward": (
            _core.convolution_forward,
            [windowed, zeros(T, B, I // 2), (2, 1, 1, 1, 0), np.array([3, 1]), False, zeros(T, B, H), 2],
        ),
        "convolution_backward": (
            _core.convolution_backward,
            [
                windowed,
                zeros(T, B, I // 2),
                (2, 1, 1, 1, 0),
                np.array([3, 1]),
                False,
                zeros(T, B, H),
                zeros(T, B, I // 2),
                zeros(H, 2 * (I // 2)),
                zeros(H),
                2,
            ],
        ),
        "attention_forward": (
            _core.attention_forward,
            [*attended, zeros(T, B, 4), zeros(T, B, 2, 7), zeros(T, B, 6), 2],
        ),
        "attention_backward": (
            _core.attention_backward,
            [
                *attended,
                zeros(T, B, 4),
                zeros(T, B, 2, 7),
                zeros(T, B, 6),
                zeros(T, B, 4),
                zeros(B, 7, 4),
                zeros(B, 7, 6),
                zeros(4),
                2,
            ],
        ),
        "pack_decoder": (_core.pack_decoder, [decoder_arrays, 1]),
        "decoder_tape_size": (_core.decoder_tape_size, [decoder, zeros(T, B, 2), np.array([3, 1]), 7]),
        "decoder_forward": (
            _core.decoder_forward,
            [
                decoder,
                zeros(T, B, 2),
                np.array([3, 1]),
                zeros(B, 4),
                zeros(B, 4),
                *decoded,
                zeros(T, B, 4),
                zeros(B, 4),
                zeros(T, B, 1, 7),
                tape,
                2,
            ],
        ),
        "decoder_backward": (
            _core.decoder_backward,
            [
                decoder,
                zeros(T, B, 2),
                np.array([3, 1]),
                zeros(B, 4),
                *decoded,
                zeros(T, B, 4),
                tape,
                zeros(T, B, 4),
                zeros(T, B, 2),
                zeros(B, 4),
                zeros(B, 7, 3),
                zeros(B, 7, 6),
                [zeros(*own.shape) for own in decoder_arrays],
                2,
            ],
        ),
        "embedding_backward": (
            _core.embedding_backward,
            [np.arange(N) % B, zeros(N, H), zeros(B, H), -1, 2],
        ),
        "softmax_cross_entropy": (
            _core.softmax_cross_entropy,
            [zeros(N, H), np.arange(N) % H, -100, 0.1, np.zeros(N), zeros(N, H), 2],
        ),
        "ctc": (
            _core.ctc,
            [
                zeros(T, B, H),
                np.ones((B, 2), int),
                np.full(B, T),
                np.full(B, 2),
                0,
                np.zeros(B),
                zeros(T, B, H),
                2,
            ],
        ),
        "ctc_decode": (
            _core.ctc_decode,
            [
                zeros(T, B, H),
                np.full(B, T),
                0,
                3,
                lambda prefixes: np.zeros((len(prefixes), H)),
                0.5,
                0.1,
                np.zeros((B, T), int),
                np.zeros(B, int),
                np.zeros(B),
                2,
            ],
        ),
        "dropout": (_core.dropout, [zeros(N), zeros(N), 2**63, 0.3, 2]),
        "sigmoid": (_core.sigmoid, [zeros(N), zeros(N)]),
        "tanh": (_core.tanh, [zeros(N), zeros(N)]),
    }


def wrong_things() -> list[Any]:
    rng = np.random.default_rng(1)
    things: list[Any] = [
        None,
        True,
        0,
        -1,
        3,
        2**40,
        2**70,
        0.5,
        np.nan,
        "x",
        b"x",
        [1.0],
        {},
        object,
        np.float32(1),
    ]
    things += [layer(rng, 4, 5, np.float64).pack(ISAS[0]), layer(rng, 2, 3).pack(ISAS[0]), weights_of(0, 0)]
    things += [F.pack_linear(np.zeros((2, 3))), F.pack_linear(np.zeros((5, 4), f4))]
    for shape in (
        (),
        (0,),
        (6,),
        (15,),
        (0, 0),
        (6, 4),
        (2, 5),
        (HUGE, 0),
        (0, HUGE),
        (3, 2, 4),
        (3, 2, 5),
        (1,) * 9,
    ):
        for dtype in ("f4", "f8", ">f4", "i8", "i4", "f2", "O", "S4", "M8[s]", "f4,f4"):
            things.append(np.zeros(shape, dtype))
    wide = np.zeros((9, 12, 15), f4)
    for view in (
        wide[:3, :2, :4],
        wide[:6, :4, 0],
        wide[::-1][:3, :2, :5],
        wide[:6, 0, :4][:, ::-1],
        wide[0, :2, :5],
    ):
        things.append(view)
        read_only = view.view()
        read_only.flags.writeable = False
        things.append(read_only)
    things += [np.broadcast_to(f4(0), shape) for shape in ((3, 2, 4), (3, 2, 5), (2, 5), (6, 4), (HUGE, 4))]
    things.append(np.zeros(4 * 24 + 1, np.uint8)[1:].view(f4).reshape(3, 2, 4))
    things += [np.array(lengths) for lengths in ([3, 0], [4, 0], [-1, 2], [2**62, 2**62], [1, 2, 3])]
    things += [np.array([3, 9, 1, 9])[::2], np.ones((3, 2), bool), np.ones((6, 4), bool)[::-2, ::2]]
    return things


@settings(max_examples=1000, deadline=None)
@given(data=st.data())
def test_wrong_things_are_refused_or_do_no_harm(data: st.DataObject) -> None:
    calls = core_calls()
    function, arguments = calls[data.draw(st.sampled_from(sorted(calls)), label="function")]
    things = wrong_things()
    for _ in range(data.draw(st.integers(1, 3), label="how many")):
        place = data.draw(st.integers(0, len(arguments) - 1), label="place")
        thing = data.draw(st.integers(0, len(things) - 1), label="thing")
        given_there = arguments[place]
        if isinstance(given_there, tuple) and given_there and data.draw(st.booleans(), label="inside"):
            parts = list(given_there)
            parts[data.draw(st.integers(0, len(parts) - 1), label="part")] = things[thing]
            arguments[place] = tuple(parts)
        else:
            arguments[place] = things[thing]
    for given_arguments in (arguments, arguments[:-1], [*arguments, None]):
        with contextlib.suppress(TypeError, ValueError, RuntimeError, MemoryError):
            function(*given_arguments)


def test_right_things_are_taken_by_the_core() -> None:
    """The test above begins from calls that succeed."""
    for function, arguments in core_calls().values():
        function(*arguments)


def test_every_wrong_thing_as_input_of_a_step() -> None:
    """A step takes what fits and refuses the rest."""
    step = RecurrentStep(RecurrentLayer((weights_of(4, 5),), False))
    x, h_0 = np.zeros((6, 4), f4), np.zeros((6, 5), f4)
    assert step(x, h_0).shape == (6, 5)
    for thing in wrong_things():
        fits = isinstance(thing, np.ndarray) and thing.dtype == f4 and thing.shape == (6, 4)
        assert taken_by(step, thing, h_0) == (fits and thing.flags.c_contiguous)
        assert not taken_by(step, x, thing)
    assert step(np.empty((0, 4), f4), np.empty((0, 5), f4)).shape == (0, 5)


def taken_by(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        function(*arguments)
    except ValueError:  # also for lengths that the core refuses by name
        return False
    return True


def test_every_wrong_thing_as_input_of_a_layer() -> None:
    compiled = RecurrentLayer((weights_of(4, 5),), False)
    given: list[Any] = [np.ones((3, 2, 4), f4), np.zeros((1, 2, 5), f4), np.array([3, 1]), np.eye(3, 2, dtype=bool)]
    assert taken_by(compiled, *given, 1)
    for thing in wrong_things():
        for place in range(4):
            arguments = [*given]
            arguments[place] = thing
            taken = (
                taken_by(compiled, *arguments, 1),
                taken_by(compiled.forward, *arguments, None, None, "gates", 1),
            )
            assert taken[0] == taken[1]
            taken_by(compiled.forward, *given, thing, None, "states", 1)
            if place == 2 and taken[0]:
                assert thing is None or thing.tolist() == [3, 0]
            if place == 3 and taken[0]:
                assert thing is None or (thing.dtype == bool and thing.shape == (3, 2))


def test_memory_that_overlaps_does_no_harm_in_the_core() -> None:
    """functional refuses it; here the numbers are undefined, but nothing else happens."""
    weights = weights_of(5, 5)
    memory = np.ones(200, f4)
    for offset in range(8):
        x, output = memory[:30].reshape(3, 2, 5), memory[offset : offset + 30].reshape(3, 2, 5)
        h_0, h_n = memory[:10].reshape(1, 2, 5), memory[5:15].reshape(1, 2, 5)
        RecurrentLayer((weights,), False)(x, h_0, None, None, 2, None, output, h_n)
    assert np.isfinite(memory).all()
    assert np.all(memory[40:] == 1)
