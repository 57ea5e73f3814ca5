"""gru_native.functional: what the arguments do, and what is said when they are wrong."""

from __future__ import annotations

import pickle
import re
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import ISAS, KINDS, Array, assert_same_bits, central_difference, each, layer, normal, parts_of
from tolerances import assert_close, assert_gradient

from gru_native import functional as F
from gru_native import reference

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
# Around the vectors' widths and several of them.
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 50]


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRU_NATIVE_ISA", request.param)
    return request.param


# ---- GRU: results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("function", ["recurrent", "recurrent_forward"])
def test_results_land_in_the_arrays_that_are_given(rng: np.random.Generator, function: str, batch_first: bool) -> None:
    weights = layer(rng, 5, 19).pack(ISAS[-1])
    x, h_0 = normal(rng, 4, 3, 5), normal(rng, 4 if batch_first else 3, 19)
    run = getattr(F, function)
    first = (lambda result: result) if function == "recurrent" else (lambda result: result[0])
    wanted = first(run(x, weights, h_0, batch_first=batch_first))

    # In the middle of larger arrays, of which nothing else may be touched.
    around_output, around_h_n = (
        np.full((6, 5, 30), 7, np.float32),
        np.full((h_0.shape[0] + 2, 30), 7, np.float32),
    )
    output, h_n = around_output[1:-1, 1:-1, 4:23], around_h_n[1:-1, 4:23]
    actual = first(run(x, weights, h_0, batch_first=batch_first, output=output, final=h_n))
    assert actual[0] is output
    assert actual[1] is h_n
    assert output.flags.writeable
    for array, inside, expected in ((around_output, output, wanted[0]), (around_h_n, h_n, wanted[1])):
        assert_same_bits(inside, expected)
        inside[...] = 7
        assert np.all(array == 7)


def test_memory_of_large_results_is_kept(rng: np.random.Generator) -> None:
    weights, x = layer(rng, 8, 64).pack(ISAS[-1]), normal(rng, 40, 16, 8)
    output, _ = F.recurrent(x, weights)
    address, expected = output.ctypes.data, output.copy()
    del output
    again, _ = F.recurrent(x, weights)
    assert again.ctypes.data == address
    assert_same_bits(again, expected)
    # It is an array like any other: it owns its data, and may grow, be copied, and be freed by another thread.
    assert again.flags.owndata
    again.resize((80, 16, 64), refcheck=False)
    assert_same_bits(again[:40], expected)
    assert not again[40:].any()
    again.resize((20, 16, 64), refcheck=False)
    assert_same_bits(pickle.loads(pickle.dumps(again)), expected[:20])
    held, shape, address = [again], again.shape, again.ctypes.data
    del again
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert np.empty(shape, np.float32).ctypes.data != address  # what is kept is not NumPy's own allocator's
    assert F.empty(shape, np.dtype(np.float32)).ctypes.data == address


def test_given_arrays_save_the_allocation(rng: np.random.Generator) -> None:
    weights = layer(rng, 8, 64).pack(ISAS[-1])
    x, h = normal(rng, 100, 4, 8), normal(rng, 4, 64)
    output, h_n = np.empty((100, 4, 64), np.float32), np.empty((4, 64), np.float32)

    def peak(**arguments: Any) -> int:
        tracemalloc.start()
        F.recurrent(x, weights, h, **arguments)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak() > output.nbytes
    assert peak(output=output) < 10_000
    assert peak(output=output, final=h_n) < 10_000
    assert peak(output=output, final=h) < 10_000


@pytest.mark.parametrize(
    ("kind", "projection"), [*((kind, 0) for kind in KINDS), ("lstm", 3)], ids=lambda value: str(value or "")
)
@pytest.mark.parametrize("sizes", [(3, 5, 9), (40, 1, 256), (0, 3, 4)], ids=str)
def test_the_state_may_be_updated_in_place(
    rng: np.random.Generator, sizes: tuple[int, int, int], kind: str, projection: int
) -> None:
    steps, batch, hidden = sizes
    cell = layer(rng, 4, hidden, kind=kind, projection=projection)
    weights, x, state = cell.pack(ISAS[-1]), normal(rng, steps, batch, 4), cell.state(rng, batch)
    output, final = F.recurrent(x, weights, state)
    assert_same_bits(parts_of(final)[0], output[-1] if steps else parts_of(state)[0])
    for threads in (1, 3):
        own = each(np.copy, state)
        assert F.recurrent(x, weights, own, final=own, threads=threads)[1] is own
        for part, expected in zip(parts_of(own), parts_of(final), strict=True):
            assert_same_bits(part, expected)
    # The tape has the state from before.
    own = each(np.copy, state)
    _, tape = F.recurrent_forward(x, weights, own, final=own)
    _, expected = F.recurrent_backward(F.recurrent_forward(x, weights, state)[1], output)
    _, gradients = F.recurrent_backward(tape, output)
    for name, gradient in expected.items():
        assert_same_bits(gradients[name], gradient, name)


def test_single_steps_equal_the_whole(rng: np.random.Generator) -> None:
    weights = layer(rng, 4, 21).pack(ISAS[-1])
    x, h = normal(rng, 9, 2, 4), np.zeros((2, 21), np.float32)
    output, h_n = F.recurrent(x, weights)
    step = np.empty((1, 2, 21), np.float32)
    for t in range(9):
        F.recurrent(x[t : t + 1], weights, h, output=step, final=h)
        assert_same_bits(step[0], output[t])
    assert_same_bits(h, h_n)


def test_weights_describe_themselves(rng: np.random.Generator) -> None:
    cell = layer(rng, 4, 21, np.float64, kind="gru_reset_before", bias_hh=False)
    weights = cell.pack(ISAS[0])
    names = ("input_size", "hidden_size", "output_size", "dtype", "cell", "gates", "isa", "parameters")
    values = [getattr(weights, name) for name in names]
    parameters = ("weight_ih", "weight_hh", "bias_ih")
    assert values == [4, 21, 21, np.float64, "gru_reset_before", 3, ISAS[0], parameters]
    weights = layer(rng, 4, 21, kind="lstm", peepholes=True, projection=5).pack(ISAS[0])
    assert (weights.hidden_size, weights.output_size) == (21, 5)
    assert weights.parameters == (*parameters, "bias_hh", "peephole", "weight_hr")


def test_a_projection_has_sizes_of_its_own(rng: np.random.Generator) -> None:
    cell = layer(rng, 4, 7, kind="lstm", projection=3)
    weights, x, state = cell.pack(ISAS[-1]), normal(rng, 5, 2, 4), cell.state(rng, 2)
    assert [part.shape for part in state] == [(2, 3), (2, 7)]
    given, mask = np.empty((5, 2, 3), np.float32), np.ones((2, 3), np.float32)
    output, final = F.recurrent(x, weights, state, dropout_mask=mask, output=given)
    assert output is given
    assert [part.shape for part in final] == [(2, 3), (2, 7)]
    for name, value, message in (
        ("state", state[::-1], r"state\[0\]: expected shape \(B, H\) = \(2, 3\), got \(2, 7\)"),
        ("final", final[::-1], r"final\[0\]: expected shape \(2, 3\), got \(2, 7\)"),
        ("dropout_mask", np.ones((2, 7), np.float32), r"dropout_mask: expected shape \(B, H\) = \(2, 3\), got"),
        ("output", np.empty((5, 2, 7), np.float32), r"output: expected shape \(5, 2, 3\), got \(5, 2, 7\)"),
    ):
        with pytest.raises(ValueError, match=message):
            F.recurrent(x, weights, **{name: value})


def test_packed_weights_are_a_copy(rng: np.random.Generator) -> None:
    cell = layer(rng, 4, 5)
    weights, x = cell.pack(ISAS[-1]), normal(rng, 3, 2, 4)
    (output, _), tape = F.recurrent_forward(x, weights)
    _, expected = F.recurrent_backward(tape, output)
    for array in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh):
        assert array is not None
        array[...] = np.nan
    (again, _), tape = F.recurrent_forward(x, weights)
    assert_same_bits(again, output)
    assert_same_bits(F.recurrent_backward(tape, output)[1]["weight_hh"], expected["weight_hh"])


def test_weights_of_any_layout(rng: np.random.Generator) -> None:
    cell, x = layer(rng, 4, 5), normal(rng, 3, 2, 4)
    arrays = [np.asfortranarray(cell.weight_ih), np.repeat(cell.weight_hh, 2, axis=0)[::2]]
    arrays += [np.repeat(bias, 2)[::2] for bias in (cell.bias_ih, cell.bias_hh)]
    for array in arrays:
        array.flags.writeable = False
    assert_same_bits(F.recurrent(x, F.pack_gru(*arrays))[0], F.recurrent(x, cell.pack(ISAS[-1]))[0])


# ---- GRU: the tape -----------------------------------------------------------------------------------------


def test_a_tape_serves_once(rng: np.random.Generator) -> None:
    (output, _), tape = F.recurrent_forward(normal(rng, 3, 2, 4), layer(rng, 4, 5).pack(ISAS[-1]))
    F.recurrent_backward(tape, output)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="^tape: it was used by an earlier backward"):
            F.recurrent_backward(tape, output)


def test_a_refused_call_leaves_the_tape(rng: np.random.Generator) -> None:
    (output, _), tape = F.recurrent_forward(normal(rng, 3, 2, 4), layer(rng, 4, 5).pack(ISAS[-1]))
    with pytest.raises(ValueError, match=r"^d_output: expected shape \(T, B, H\) = \(3, 2, 5\), got \(3, 2, 4\)"):
        F.recurrent_backward(tape, output[..., 1:])
    assert np.any(F.recurrent_backward(tape, output)[1]["weight_hh"])


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_tape_does_not_change_with_the_callers_arrays(rng: np.random.Generator, batch_first: bool) -> None:
    weights = layer(rng, 4, 5).pack(ISAS[-1])
    x, h_0, d_output = normal(rng, 3, 3, 4), normal(rng, 3, 5), normal(rng, 3, 3, 5)

    def backward(tape: F.RecurrentTape) -> list[Array]:
        (d_x, d_h_0), gradients = F.recurrent_backward(tape, d_output)
        return [d_x, d_h_0, *gradients.values()]

    expected = backward(F.recurrent_forward(x, weights, h_0, batch_first=batch_first)[1])
    (output, h_n), tape = F.recurrent_forward(x, weights, h_0, batch_first=batch_first)
    with pytest.raises(ValueError, match="read-only"):
        output += 1
    for array in (x, h_0, h_n):
        array[...] = np.nan
    for actual, wanted in zip(backward(tape), expected, strict=True):
        assert_same_bits(actual, wanted)


def test_a_constant_input_is_not_copied(rng: np.random.Generator) -> None:
    weights = layer(rng, 4, 5).pack(ISAS[-1])
    x = normal(rng, 3, 2, 4)
    assert not np.shares_memory(F.recurrent_forward(x, weights)[1].core.x, x)
    view = x[:]
    view.flags.writeable = False
    assert not np.shares_memory(F.recurrent_forward(view, weights)[1].core.x, x)
    x.flags.writeable = False
    assert np.shares_memory(F.recurrent_forward(x, weights)[1].core.x, x)
    assert np.shares_memory(F.recurrent_forward(x[1:], weights)[1].core.x, x)


def test_a_tape_says_how_large_it_is(rng: np.random.Generator) -> None:
    weights = layer(rng, 4, 64).pack(ISAS[-1])
    _, tape = F.recurrent_forward(normal(rng, 30, 20, 4), weights)
    gates = 4 * 30 * 20 * 64 * 4
    assert gates <= tape.nbytes <= 1.01 * gates


@pytest.mark.parametrize("batch_first", [False, True])
def test_gradients_of_none_are_zeros(rng: np.random.Generator, batch_first: bool) -> None:
    weights = layer(rng, 4, 5).pack(ISAS[-1])
    x, d_output, d_h_n = normal(rng, 3, 3, 4), normal(rng, 3, 3, 5), normal(rng, 3, 5)

    def backward(*gradients: Array | None) -> list[Array]:
        _, tape = F.recurrent_forward(x, weights, batch_first=batch_first)
        (d_x, d_h_0), grads = F.recurrent_backward(tape, *gradients)
        return [d_x, d_h_0, *grads.values()]

    zeros = np.zeros_like
    for given, explicit in (
        ((None, d_h_n), (zeros(d_output), d_h_n)),
        ((d_output,), (d_output, zeros(d_h_n))),
        ((), (zeros(d_output), zeros(d_h_n))),
    ):
        for actual, wanted in zip(backward(*given), backward(*explicit), strict=True):
            np.testing.assert_array_equal(actual, wanted)
            assert np.any(actual) == bool(given)


@pytest.mark.parametrize("batch_first", [False, True])
def test_d_x_lands_in_the_array_that_is_given(rng: np.random.Generator, batch_first: bool) -> None:
    weights = layer(rng, 19, 5).pack(ISAS[-1])
    x, d_output = normal(rng, 4, 3, 19), normal(rng, 4, 3, 5)

    def backward(**arguments: Any) -> Array:
        return F.recurrent_backward(F.recurrent_forward(x, weights, batch_first=batch_first)[1], d_output, **arguments)[
            0
        ][0]

    expected = backward()
    around = np.full((6, 5, 30), 7, np.float32)
    inside = around[1:-1, 1:-1, 4:23]
    assert backward(d_x=inside) is inside
    assert_same_bits(inside, expected)
    assert backward(d_x=inside, accumulate_d_x=True) is inside
    assert_close(inside, 2 * expected, "float32_rounding_of_sum")
    inside[...] = 7
    assert np.all(around == 7)


# ---- GRU: wrong arguments ----------------------------------------------------------------------------------


def gru_arguments() -> dict[str, Any]:
    weights = F.pack_gru(np.ones((6, 3), np.float32), np.ones((6, 2), np.float32))
    return {"x": np.ones((5, 4, 3), np.float32), "weights": weights, "state": np.ones((4, 2), np.float32)}


def read_only(array: Array) -> Array:
    array.flags.writeable = False
    return array


def misaligned(*shape: int) -> Array:
    memory = np.zeros(4 * int(np.prod(shape)) + 1, np.uint8)
    return memory[1:].view(np.float32).reshape(shape)


def overlapping_rows(*shape: int) -> Array:
    """Return rows that begin before the last one ends."""
    strides = (*(4 * (size - 1) for size in shape[1:]), 4)
    return np.lib.stride_tricks.as_strided(np.zeros(100, np.float32), shape, strides)


ones = np.ones


def f4(*shape: int) -> Array:
    return np.ones(shape, np.float32)


def assert_refused(call: Callable[..., Any], arguments: dict[str, Any], name: str, value: Any, message: str) -> None:
    """Assert that one wrong argument is refused with a message like "ValueError: expected ..., got ..."."""
    kind, _, text = message.partition(": ")
    error = {"TypeError": TypeError, "ValueError": ValueError}[kind]
    with pytest.raises(error, match=f"^{name}: {re.escape(text)}"):
        call(**(arguments | {name: value}))


@pytest.mark.parametrize("function", [F.recurrent, F.recurrent_forward])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", f4(5, 4), "ValueError: expected 3 dimensions (T, B, I), got 2 with shape (5, 4)"),
        ("x", f4(5, 4, 3, 1), "ValueError: expected 3 dimensions (T, B, I), got 4 with shape (5, 4, 3, 1)"),
        ("x", np.float32(1), "ValueError: expected 3 dimensions (T, B, I), got 0 with shape ()"),
        ("x", f4(5, 4, 2), "ValueError: expected (T, B, I) with I = 3, got shape (5, 4, 2)"),
        ("x", ones((5, 4, 3)), "TypeError: expected dtype float32, got float64"),
        ("x", ones((5, 4, 3), "f2"), "TypeError: expected dtype float32, got float16"),
        ("x", ones((5, 4, 3), "i4"), "TypeError: expected dtype float32, got int32"),
        ("x", ones((5, 4, 3), "c8"), "TypeError: expected dtype float32, got complex64"),
        ("x", ones((5, 4, 3), ">f4"), "TypeError: expected dtype float32, got >f4"),
        ("x", ones((5, 4, 3), object), "TypeError: expected dtype float32, got object"),
        ("x", ones((5, 4, 3)).tolist(), "TypeError: expected dtype float32, got float64"),
        ("x", None, "TypeError: expected an array, got None"),
        ("x", "text", "TypeError: expected dtype float32, got <U4"),
        ("state", f4(4, 3), "ValueError: expected shape (B, H) = (4, 2), got (4, 3)"),
        ("state", f4(3, 2), "ValueError: expected shape (B, H) = (4, 2), got (3, 2)"),
        ("state", f4(1, 4, 2), "ValueError: expected shape (B, H) = (4, 2), got (1, 4, 2)"),
        ("state", ones((4, 2)), "TypeError: expected dtype float32, got float64"),
        ("state", 0, "TypeError: expected dtype float32, got int64"),
        ("weights", ones((6, 3)), "TypeError: expected what a pack function returned, got ndarray"),
        ("weights", None, "TypeError: expected what a pack function returned, got NoneType"),
        (
            "weights",
            F.pack_linear(f4(6, 3)),
            "TypeError: expected what a pack function returned, got LinearWeights",
        ),
        ("output", f4(5, 4, 3), "ValueError: expected shape (5, 4, 2), got (5, 4, 3)"),
        ("output", f4(4, 5, 2), "ValueError: expected shape (5, 4, 2), got (4, 5, 2)"),
        ("output", ones((5, 4, 2)), "TypeError: expected dtype float32, got float64"),
        ("output", ones((5, 4, 2)).tolist(), "TypeError: expected an array to write to, got list"),
        ("output", read_only(f4(5, 4, 2)), "ValueError: expected a writable array, got a read-only one"),
        (
            "output",
            f4(5, 4, 4)[..., ::2],
            "ValueError: expected a contiguous last axis, got strides (64, 16, 8)",
        ),
        ("output", f4(5, 2, 4).swapaxes(1, 2), "ValueError: expected a contiguous last axis, got strides"),
        ("output", misaligned(5, 4, 2), "ValueError: expected aligned memory"),
        (
            "output",
            overlapping_rows(5, 4, 2),
            "ValueError: expected elements of their own, got an array that overlaps",
        ),
        (
            "output",
            np.broadcast_to(f4(2), (5, 4, 2)),
            "ValueError: expected a writable array, got a read-only",
        ),
        ("final", f4(4, 1), "ValueError: expected shape (4, 2), got (4, 1)"),
        ("final", ones((4, 2)), "TypeError: expected dtype float32, got float64"),
        ("final", read_only(f4(4, 2)), "ValueError: expected a writable array, got a read-only one"),
        ("final", misaligned(4, 2), "ValueError: expected aligned memory"),
        ("final", overlapping_rows(4, 2), "ValueError: expected elements of their own"),
        ("lengths", [5, 5, 6, 5], "ValueError: expected 0 to 5, got 6 at (2,)"),
        ("lengths", [5, -1, 5, 5], "ValueError: expected 0 to 5, got -1 at (1,)"),
        ("lengths", [5, 5, 5], "ValueError: expected shape (B,) = (4,), got (3,)"),
        ("lengths", 5, "ValueError: expected shape (B,) = (4,), got ()"),
        ("lengths", [5.0, 5, 5, 5], "TypeError: expected an integer dtype, got float64"),
        ("lengths", "5555", "TypeError: expected an integer dtype, got <U4"),
        ("reset", ones((5, 4)), "TypeError: expected dtype bool, got float64"),
        ("reset", np.zeros((4, 5), bool), "ValueError: expected shape (T, B) = (5, 4), got (4, 5)"),
        ("reset", True, "ValueError: expected shape (T, B) = (5, 4), got ()"),
        ("dropout_mask", f4(4, 3), "ValueError: expected shape (B, H) = (4, 2), got (4, 3)"),
        ("dropout_mask", ones((4, 2)), "TypeError: expected dtype float32, got float64"),
        ("zoneout", 1.5, "ValueError: expected a number from 0 to 1, got 1.5"),
        ("threads", 0, "ValueError: expected a whole number from 1 to 256, got 0"),
        ("threads", -1, "ValueError: expected a whole number from 1 to 256, got -1"),
        ("threads", 1000, "ValueError: expected a whole number from 1 to 256, got 1000"),
        ("threads", 2**70, f"ValueError: expected a whole number from 1 to 256, got {2**70}"),
        ("threads", True, "TypeError: expected a whole number, got True"),
        ("threads", 2.5, "TypeError: expected a whole number, got 2.5"),
        ("threads", "2", "TypeError: expected a whole number, got '2'"),
    ],
)
def test_wrong_arguments_of_recurrent(function: Callable[..., Any], name: str, value: Any, message: str) -> None:
    assert_refused(function, gru_arguments(), name, value, message)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (f4(5, 3), r"^x: expected 3 dimensions \(B, T, I\), got 2"),
        (f4(4, 5, 2), r"^x: expected \(B, T, I\) with I = 3, got shape \(4, 5, 2\)"),
        (f4(5, 4, 3), r"^state: expected shape \(B, H\) = \(5, 2\), got \(4, 2\)"),
    ],
)
def test_batch_first_is_said(x: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        F.recurrent(**(gru_arguments() | {"x": x}), batch_first=True)


def test_arrays_that_are_written_overlap_no_other() -> None:
    weights = F.pack_gru(f4(6, 2), f4(6, 2))
    memory = f4(200)

    def part(start: int, *shape: int) -> Array:
        return memory[start : start + int(np.prod(shape))].reshape(shape)

    x, h_0, output = part(0, 5, 4, 2), part(40, 4, 2), part(60, 5, 4, 2)
    message = "expected memory of its own, got an array that overlaps"
    for wrong, name in ((x, "x"), (part(39, 5, 4, 2), "x"), (part(47, 5, 4, 2), "state")):
        with pytest.raises(ValueError, match=f"^output: {message} {name}$"):
            F.recurrent(x, weights, h_0, output=wrong)
    for wrong, name in (
        (part(38, 4, 2), "x"),
        (part(41, 4, 2), "state"),
        (h_0[::-1], "state"),
        (part(99, 4, 2), "output"),
    ):
        with pytest.raises(ValueError, match=f"^final: {message} {name}$"):
            F.recurrent(x, weights, h_0, output=output, final=wrong)
    with pytest.raises(ValueError, match=f"^output: {message} dropout_mask$"):
        F.recurrent(x, weights, h_0, dropout_mask=part(60, 4, 2), output=output)
    # Resets are copied.
    F.recurrent(x, weights, reset=memory[150:155].view(bool).reshape(5, 4), final=part(150, 4, 2))
    # Memory that interleaves without touching is fine.
    both = f4(5, 8, 2)
    expected = F.recurrent(both[:, ::2].copy(), weights)[0]
    assert_same_bits(F.recurrent(both[:, ::2], weights, output=both[:, 1::2])[0], expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_ih", ones((6, 3), "i4"), "TypeError: expected dtype float32 or float64, got int32"),
        ("weight_ih", ones((6, 3), ">f8"), "TypeError: expected dtype float32 or float64, got >f8"),
        ("weight_ih", None, "TypeError: expected an array, got None"),
        ("weight_ih", f4(7, 3), "ValueError: expected shape (3H, I) with 3H = 6, got (7, 3)"),
        ("weight_ih", f4(6), "ValueError: expected shape (3H, I) with 3H = 6, got (6,)"),
        ("weight_hh", f4(6, 3), "ValueError: expected shape (3H, H), got (6, 3)"),
        ("weight_hh", f4(2, 6), "ValueError: expected shape (3H, H), got (2, 6)"),
        ("weight_hh", f4(6, 2, 1), "ValueError: expected shape (3H, H), got (6, 2, 1)"),
        ("weight_hh", np.empty((0, 2**58), "f4"), f"ValueError: expected shape (3H, H), got (0, {2**58})"),
        ("weight_hh", ones((6, 2)), "TypeError: expected dtype float32, got float64"),
        ("bias_ih", f4(5), "ValueError: expected shape (6,), got (5,)"),
        ("bias_ih", f4(6, 1), "ValueError: expected shape (6,), got (6, 1)"),
        ("bias_hh", ones(6), "TypeError: expected dtype float32, got float64"),
        ("bias_hh", 0.0, "TypeError: expected dtype float32, got float64"),
        ("gamma_hh", f4(5), "ValueError: expected shape (6,), got (5,)"),
        ("gamma_ih", ones(6), "TypeError: expected dtype float32, got float64"),
        ("gamma_ih", None, "ValueError: expected both gains or none, got None"),
        ("reset_after", False, "ValueError: expected True with layer normalization"),
    ],
)
def test_wrong_arguments_of_pack_gru(name: str, value: Any, message: str) -> None:
    arguments = {"weight_ih": f4(6, 3), "weight_hh": f4(6, 2), "gamma_ih": f4(6), "gamma_hh": f4(6)}
    assert_refused(F.pack_gru, arguments, name, value, message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("activations", "tanh", "TypeError: expected a list, got 'tanh'"),
        ("activations", ["sigmoid", "tanh"], "ValueError: expected 3 for the cell lstm, got 2"),
        ("clip", 0.0, "ValueError: expected a finite number above 0, or None for no bounds, got 0.0"),
        ("clip", np.inf, "ValueError: expected a finite number above 0, or None for no bounds, got inf"),
        ("input_forget", 1, "TypeError: expected True or False, got 1"),
        ("peephole", f4(2, 2), "ValueError: expected shape (3, 2), got (2, 2)"),
        ("peephole", f4(6), "ValueError: expected shape (3, 2), got (6,)"),
        ("peephole", ones((3, 2)), "TypeError: expected dtype float32, got float64"),
        ("weight_hr", f4(2, 1), "ValueError: expected shape (1, 2), got (2, 1)"),
        ("weight_hr", ones((1, 2)), "TypeError: expected dtype float32, got float64"),
        ("weight_hr", f4(3, 2), "ValueError: expected shape (1, 2), got (3, 2)"),
        ("weight_hh", f4(9, 1), "ValueError: expected shape (4H, P), got (9, 1)"),
    ],
)
def test_wrong_arguments_of_pack_lstm(name: str, value: Any, message: str) -> None:
    arguments = {"weight_ih": f4(8, 3), "weight_hh": f4(8, 1), "peephole": f4(3, 2), "weight_hr": f4(1, 2)}
    assert_refused(F.pack_lstm, arguments, name, value, message)


def test_a_projection_is_not_larger_than_what_it_is_of() -> None:
    with pytest.raises(ValueError, match=r"weight_hr: expected shape \(P, H\) with P from 1 to H = 2, got P = 3"):
        F.pack_lstm(f4(8, 3), f4(8, 3), weight_hr=f4(3, 2))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("tape", None, "TypeError: expected what recurrent_forward returned, got NoneType"),
        (
            "tape",
            gru_arguments()["weights"],
            "TypeError: expected what recurrent_forward returned, got RecurrentWeights",
        ),
        ("d_output", f4(4, 5, 2), "ValueError: expected shape (T, B, H) = (5, 4, 2), got (4, 5, 2)"),
        ("d_output", ones((5, 4, 2)), "TypeError: expected dtype float32, got float64"),
        ("d_output", 1.0, "TypeError: expected dtype float32, got float64"),
        ("d_final", f4(1, 4, 2), "ValueError: expected shape (B, H) = (4, 2), got (1, 4, 2)"),
        ("d_final", ones((4, 2), object), "TypeError: expected dtype float32, got object"),
        ("d_x", f4(5, 4, 2), "ValueError: expected shape (5, 4, 3), got (5, 4, 2)"),
        ("d_x", ones((5, 4, 3)), "TypeError: expected dtype float32, got float64"),
        ("d_x", [0.0], "TypeError: expected an array to write to, got list"),
        ("d_x", read_only(f4(5, 4, 3)), "ValueError: expected a writable array, got a read-only one"),
        ("d_x", np.asfortranarray(f4(5, 4, 3)), "ValueError: expected a contiguous last axis, got strides"),
        ("d_x", misaligned(5, 4, 3), "ValueError: expected aligned memory"),
        ("d_x", overlapping_rows(5, 4, 3), "ValueError: expected elements of their own"),
        ("threads", 0, "ValueError: expected a whole number from 1 to 256, got 0"),
        ("threads", 1.0, "TypeError: expected a whole number, got 1.0"),
    ],
)
def test_wrong_arguments_of_recurrent_backward(name: str, value: Any, message: str) -> None:
    _, tape = F.recurrent_forward(**gru_arguments())
    assert_refused(F.recurrent_backward, {"tape": tape}, name, value, message)


def test_d_x_overlaps_no_other(rng: np.random.Generator) -> None:
    weights = layer(rng, 3, 3).pack(ISAS[-1])
    x, d_output, d_h_n = normal(rng, 5, 4, 3), normal(rng, 5, 4, 3), normal(rng, 5, 3)
    x.flags.writeable = False
    output = np.empty((5, 4, 3), np.float32)
    _, tape = F.recurrent_forward(x, weights, output=output)
    for d_x, name in ((output, "output"), (d_output, "d_output"), (d_output[::-1], "d_output")):
        with pytest.raises(ValueError, match=f"^d_x: expected memory of its own, got .* overlaps {name}$"):
            F.recurrent_backward(tape, d_output, d_x=d_x)
    with pytest.raises(ValueError, match="^d_x: expected an array to accumulate into, got None$"):
        F.recurrent_backward(tape, d_output, accumulate_d_x=True)
    with pytest.raises(ValueError, match=r"^d_final: expected shape \(B, H\) = \(4, 3\), got \(5, 3\)"):
        F.recurrent_backward(tape, d_output, d_h_n)


def test_what_is_read_may_have_any_memory(rng: np.random.Generator) -> None:
    """Read-only, misaligned, overlapping itself, or in steps: the values count."""
    weights = layer(rng, 3, 5).pack(ISAS[-1])
    row = normal(rng, 3)
    x = np.broadcast_to(row, (5, 4, 3))
    expected = F.recurrent(x.copy(), weights)[0]
    moved = misaligned(5, 4, 3)
    moved[...] = x
    window = np.lib.stride_tricks.sliding_window_view(np.tile(row, 8), 3)[: 5 * 3 : 3][:, None]
    for other in (x, read_only(x.copy()), moved, np.asfortranarray(x), np.repeat(x, 2, axis=2)[..., ::2]):
        assert_same_bits(F.recurrent(other, weights)[0], expected)
        _, tape = F.recurrent_forward(other, weights)
        assert np.any(F.recurrent_backward(tape, expected)[1]["weight_ih"])
    assert_same_bits(F.recurrent(window, weights)[0], expected[:, :1])


# ---- Linear ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@both_dtypes
def test_linear_beside_numpy(rng: np.random.Generator, isa: str, dtype: type, bias: bool) -> None:
    precision = np.dtype(dtype).name
    for i, outputs in enumerate([0, *SIZES]):
        inputs, batch = [0, *SIZES][(5 * i) % 15], [1, 2, 9, 17, 40, 0][i % 6]
        weight, x = normal(rng, outputs, inputs, dtype=dtype), normal(rng, batch, inputs, dtype=dtype)
        b = normal(rng, outputs, dtype=dtype) if bias else None
        d_output = normal(rng, batch, outputs, dtype=dtype)
        weights = F.pack_linear(weight, b)
        x64, weight64, d64 = (array.astype(np.float64) for array in (x, weight, d_output))
        expected = x64 @ weight64.T + (0 if b is None else b.astype(np.float64))
        y = F.linear(x, weights, threads=2)
        assert y.dtype == dtype
        assert_gradient(y, expected, f"{precision}_product", "y")
        d_x, gradients = F.linear_backward(x, weights, d_output, threads=2)
        assert_gradient(d_x, d64 @ weight64, f"{precision}_product", "d_x")
        assert gradients.keys() == {"weight", "bias"} if bias else {"weight"}
        assert_gradient(gradients["weight"], d64.T @ x64, f"{precision}_product", "weight")
        if bias:
            assert_gradient(gradients["bias"], d64.sum(axis=0), f"{precision}_product", "bias")


def test_gradients_of_linear_are_finite_differences(rng: np.random.Generator) -> None:
    x, weight, bias, d_y = (normal(rng, *s, dtype=np.float64) for s in [(2, 3, 4), (5, 4), (5,), (2, 3, 5)])

    def loss() -> float:
        return float(np.sum(F.linear(x, F.pack_linear(weight, bias)) * d_y))

    d_x, gradients = F.linear_backward(x, F.pack_linear(weight, bias), d_y)
    for actual, array in ((d_x, x), (gradients["weight"], weight), (gradients["bias"], bias)):
        assert_close(actual, central_difference(loss, array), "finite_difference")


def test_many_rows_of_linear(rng: np.random.Generator) -> None:
    """More than is multiplied at once, in outputs and rows."""
    weight, x, d_y = normal(rng, 300, 300), normal(rng, 300, 300), normal(rng, 300, 300)
    weights = F.pack_linear(weight)
    assert_gradient(F.linear(x, weights), x.astype(np.float64) @ weight.T, "float32_product")
    d_x, gradients = F.linear_backward(x, weights, d_y)
    assert_gradient(d_x, d_y.astype(np.float64) @ weight, "float32_product")
    assert_gradient(gradients["weight"], d_y.T.astype(np.float64) @ x, "float32_product")


def test_shapes_and_memory_of_linear(rng: np.random.Generator) -> None:
    weights = F.pack_linear(normal(rng, 3, 4), normal(rng, 3))
    x, d_y = normal(rng, 2, 5, 4), normal(rng, 2, 5, 3)
    y = F.linear(x, weights)
    d_x, gradients = F.linear_backward(x, weights, d_y)
    assert_same_bits(F.linear(x[1, 2], weights), y[1, 2])
    assert_same_bits(F.linear_backward(x[1, 2], weights, d_y[1, 2])[0], d_x[1, 2])
    layouts = (np.asfortranarray, lambda a: np.repeat(a, 2, axis=1)[:, ::2], lambda a: a[::-1].copy()[::-1])
    for layout in layouts:
        assert_same_bits(F.linear(layout(x), weights), y)
        moved_d_x, moved = F.linear_backward(layout(x), weights, layout(d_y))
        assert_same_bits(moved_d_x, d_x)
        assert_same_bits(moved["weight"], gradients["weight"])
    output = np.full((4, 5, 3), 7, np.float32)
    assert F.linear(x, weights, output=output[1:3]).base is output
    assert_same_bits(output[1:3], y)
    assert np.all(output[[0, 3]] == 7)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", f4(5, 2), "ValueError: expected shape (..., I) with I = 3, got (5, 2)"),
        ("x", np.float32(1), "ValueError: expected shape (..., I) with I = 3, got ()"),
        ("x", ones((5, 3)), "TypeError: expected dtype float32, got float64"),
        ("x", None, "TypeError: expected an array, got None"),
        ("weights", f4(2, 3), "TypeError: expected what pack_linear returned, got ndarray"),
        (
            "weights",
            gru_arguments()["weights"],
            "TypeError: expected what pack_linear returned, got RecurrentWeights",
        ),
        ("output", f4(5, 3), "ValueError: expected shape (5, 2), got (5, 3)"),
        ("output", ones((5, 2)), "TypeError: expected dtype float32, got float64"),
        ("output", f4(5, 3)[:, :2], "ValueError: expected a C-contiguous array, got strides (12, 4)"),
        ("output", read_only(f4(5, 2)), "ValueError: expected a writable array, got a read-only one"),
        ("output", (), "TypeError: expected an array to write to, got tuple"),
        ("threads", 0, "ValueError: expected a whole number from 1 to 256, got 0"),
    ],
)
def test_wrong_arguments_of_linear(name: str, value: Any, message: str) -> None:
    arguments = {"x": f4(5, 3), "weights": F.pack_linear(f4(2, 3))}
    assert_refused(F.linear, arguments, name, value, message)


def test_more_wrong_arguments_of_linear() -> None:
    square, x = F.pack_linear(f4(3, 3)), f4(5, 3)
    with pytest.raises(ValueError, match="^output: expected memory of its own, got an array that overlaps x$"):
        F.linear(x, square, output=x)
    with pytest.raises(ValueError, match=r"^d_output: expected shape \(..., O\) = \(5, 3\), got \(5, 2\)"):
        F.linear_backward(x, square, f4(5, 2))
    with pytest.raises(TypeError, match="^d_output: expected an array, got None$"):
        F.linear_backward(x, square, None)
    with pytest.raises(ValueError, match=r"^weight: expected shape \(O, I\), got \(3,\)"):
        F.pack_linear(f4(3))
    with pytest.raises(TypeError, match="^weight: expected dtype float32 or float64, got int64"):
        F.pack_linear([[1, 2]])
    with pytest.raises(ValueError, match=r"^bias: expected shape \(2,\), got \(3,\)"):
        F.pack_linear(f4(2, 3), f4(3))
    with pytest.raises(TypeError, match="^bias: expected dtype float32, got float64"):
        F.pack_linear(f4(2, 3), ones(2))


# ---- Embedding ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index_dtype", ["int8", "uint8", "int32", "int64", "uint64"])
@both_dtypes
def test_embedding_beside_numpy(rng: np.random.Generator, dtype: type, index_dtype: str) -> None:
    for shape, size in (((), 3), ((7,), 1), ((4, 5), 40), ((2, 0), 5), ((3,), 0)):
        weight = normal(rng, 9, size, dtype=dtype)
        indices = rng.integers(0, 9, shape).astype(index_dtype)
        assert_same_bits(F.embedding(indices, weight), weight[indices])
        output = np.zeros((*shape, size), dtype)
        assert F.embedding(indices, weight, output=output) is output
        assert_same_bits(output, weight[indices])
        d_output = normal(rng, *shape, size, dtype=dtype)
        expected = np.zeros((9, size), dtype)
        np.add.at(expected, indices, d_output)
        assert_same_bits(F.embedding_backward(indices, d_output, 9, threads=2), expected)
        expected[4] = 0
        actual = F.embedding_backward(indices, d_output, 9, padding_idx=4, threads=2)
        assert_same_bits(actual, expected)


def test_gradient_of_embedding_is_a_finite_difference(rng: np.random.Generator) -> None:
    weight, d_output = normal(rng, 4, 3, dtype=np.float64), normal(rng, 5, 3, dtype=np.float64)
    indices = [3, 0, 3, 1, 3]
    expected = central_difference(lambda: float(np.sum(F.embedding(indices, weight) * d_output)), weight)
    assert_close(F.embedding_backward(indices, d_output, 4), expected, "finite_difference")


@pytest.mark.parametrize("shape", [(), (1, 300), (3, 100), (1000,)])
def test_pieces_of_a_large_embedding(rng: np.random.Generator, shape: tuple[int, ...], monkeypatch: Any) -> None:
    monkeypatch.setattr(F, "LARGE", 7)
    monkeypatch.setattr(F, "PIECE", 30)
    weight, indices = rng.random((50, 8)), rng.integers(0, 50, shape)
    np.testing.assert_array_equal(F.embedding(indices, weight), weight[indices])
    if len(shape) == 2:
        output = np.zeros((shape[1], shape[0], 8)).swapaxes(0, 1)
        np.testing.assert_array_equal(F.embedding(indices, weight, output=output), weight[indices])


def test_embedding_of_nothing() -> None:
    """An output array that is given is returned even when it is empty."""
    for vocabulary, size, count in ((0, 3, 0), (5, 0, 2), (5, 3, 0)):
        output = np.empty((count, size), np.float32)
        indices = np.zeros(count, np.int64)
        assert F.embedding(indices, np.empty((vocabulary, size), np.float32), output=output) is output
        assert F.embedding_backward(indices, output, vocabulary).shape == (vocabulary, size)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("indices", [0, 4], "ValueError: expected 0 to 3, got 4 at (1,)"),
        ("indices", [[0], [-1]], "ValueError: expected 0 to 3, got -1 at (1, 0)"),
        (
            "indices",
            np.array([2**64 - 1], np.uint64),
            f"ValueError: expected 0 to 3, got {2**64 - 1} at (0,)",
        ),
        ("indices", [0.0], "TypeError: expected an integer dtype, got float64"),
        ("indices", [True], "TypeError: expected an integer dtype, got bool"),
        ("indices", [2**70], f"TypeError: expected an array, got [{2**70}]"),
        ("indices", None, "TypeError: expected an array, got None"),
        ("weight", ones(4), "ValueError: expected shape (V, E), got (4,)"),
        ("weight", ones((4, 3), "i4"), "TypeError: expected dtype float32 or float64, got int32"),
        ("output", ones((2, 2)), "ValueError: expected shape (2, 3), got (2, 2)"),
        ("output", f4(2, 3), "TypeError: expected dtype float64, got float32"),
        ("output", read_only(ones((2, 3))), "ValueError: expected a writable array, got a read-only one"),
    ],
)
def test_wrong_arguments_of_embedding(name: str, value: Any, message: str) -> None:
    assert_refused(F.embedding, {"indices": [0, 3], "weight": ones((4, 3))}, name, value, message)


def test_output_of_embedding_overlaps_no_other() -> None:
    weight = ones((4, 3))
    with pytest.raises(ValueError, match="^output: expected memory of its own, got .* overlaps weight$"):
        F.embedding([0, 3], weight, output=weight[1:3])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("indices", [0, 4], "ValueError: expected 0 to 3, got 4 at (1,)"),
        ("d_output", ones((3, 3)), "ValueError: expected shape (2, 'E'), got (3, 3)"),
        ("d_output", ones(2), "ValueError: expected shape (2, 'E'), got (2,)"),
        ("d_output", ones((2, 3), "i8"), "TypeError: expected dtype float32 or float64, got int64"),
        ("num_embeddings", -1, "ValueError: expected a whole number from 0 up, got -1"),
        ("num_embeddings", 2**70, f"ValueError: expected a whole number from 0 to {2**63 - 1}, got {2**70}"),
        ("num_embeddings", 4.0, "TypeError: expected a whole number, got 4.0"),
        ("num_embeddings", None, "TypeError: expected a whole number, got None"),
        ("padding_idx", 4, "ValueError: expected a whole number from 0 to 3, got 4"),
        ("padding_idx", -1, "ValueError: expected a whole number from 0 to 3, got -1"),
        ("padding_idx", 0.5, "TypeError: expected a whole number, got 0.5"),
        ("threads", 0, "ValueError: expected a whole number from 1 to 256, got 0"),
    ],
)
def test_wrong_arguments_of_embedding_backward(name: str, value: Any, message: str) -> None:
    arguments = {"indices": [0, 3], "d_output": ones((2, 3)), "num_embeddings": 4}
    assert_refused(F.embedding_backward, arguments, name, value, message)


# ---- Cross-entropy -----------------------------------------------------------------------------------------


def cross_entropy(logits: Array, targets: Array, smoothing: float, ignore_index: int) -> tuple[Array, Array]:
    logits = logits.astype(np.float64)
    classes = logits.shape[1]
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    kept = targets != ignore_index
    wanted = np.full(logits.shape, smoothing / classes)
    wanted[np.arange(len(targets))[kept], targets[kept]] += 1 - smoothing
    losses = np.where(kept, -np.sum(wanted * log_softmax, axis=1), 0)
    return losses, np.where(kept[:, None], np.exp(log_softmax) - wanted, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@both_dtypes
def test_cross_entropy_beside_numpy(rng: np.random.Generator, isa: str, dtype: type, smoothing: float) -> None:
    precision = np.dtype(dtype).name
    for classes in SIZES:
        for scale in (0.1, 3, 40):
            logits = scale * normal(rng, 9, classes, dtype=dtype)
            targets = rng.integers(0, classes, 9)
            targets[[2, 8]] = -100
            losses, d_logits = F.softmax_cross_entropy(
                logits, targets, label_smoothing=smoothing, gradient=True, threads=2
            )
            expected, d_expected = cross_entropy(logits, targets, smoothing, -100)
            assert losses.dtype == np.float64
            assert d_logits.dtype == dtype
            assert_close(losses, expected, f"{precision}_softmax", "losses")
            assert_close(d_logits, d_expected, f"{precision}_softmax", "d_logits")
            assert not np.any(d_logits[[2, 8]])
            alone, none = F.softmax_cross_entropy(logits, targets, label_smoothing=smoothing)
            assert none is None
            assert_same_bits(alone, losses)


def test_gradient_of_cross_entropy_is_a_finite_difference(rng: np.random.Generator) -> None:
    logits, targets = normal(rng, 4, 5, dtype=np.float64), np.array([1, 4, -1, 0])
    options: dict[str, Any] = {"ignore_index": -1, "label_smoothing": 0.2}
    _, actual = F.softmax_cross_entropy(logits, targets, gradient=True, **options)

    def loss() -> float:
        return float(F.softmax_cross_entropy(logits, targets, **options)[0].sum())

    assert_close(actual, central_difference(loss, logits), "finite_difference")


@both_dtypes
def test_extreme_logits(isa: str, dtype: type) -> None:
    """No overflow, and where a probability is zero the loss is what the logits say."""
    largest = np.finfo(dtype).max / 4
    logits = np.array([[1e4, 0, -1e4], [largest, 0, -largest], [-1e4, -1e4, -1e4], [0, -np.inf, 3]], dtype)
    losses, d_logits = F.softmax_cross_entropy(logits, [1, 2, 0, 2], gradient=True)
    expected = [1e4, 2.0 * float(largest), np.log(3), np.log1p(np.exp(-3))]
    assert_close(losses, expected, f"{np.dtype(dtype).name}_softmax")
    third = 1 / 3
    rest = 1 / (1 + np.exp(3))
    assert_close(
        d_logits,
        [[1, -1, 0], [1, 0, -1], [third - 1, third, third], [rest, 0, -rest]],
        f"{np.dtype(dtype).name}_softmax",
    )
    # Logits of which nothing can be said give NaN, in their own row only.
    logits = np.array([[0, 1, 2], [np.nan, 1, 2], [np.inf, 1, 2], [-np.inf] * 3, [0, 1, 2]], dtype)
    losses, d_logits = F.softmax_cross_entropy(logits, [0] * 5, gradient=True)
    assert np.isnan(losses).tolist() == [False, True, True, True, False]
    np.testing.assert_array_equal(np.isnan(d_logits).any(axis=1), np.isnan(losses))
    assert_same_bits(d_logits[0], d_logits[4])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("logits", ones(3), "ValueError: expected shape (N, C), got (3,)"),
        ("logits", ones((2, 3), "i4"), "TypeError: expected dtype float32 or float64, got int32"),
        ("targets", [0, 3], "ValueError: expected 0 to 2 or -100, got 3 at (1,)"),
        ("targets", [-1, 0], "ValueError: expected 0 to 2 or -100, got -1 at (0,)"),
        ("targets", [0], "ValueError: expected shape (2,), got (1,)"),
        ("targets", [[0, 1]], "ValueError: expected shape (2,), got (1, 2)"),
        ("targets", [0.0, 1.0], "TypeError: expected an integer dtype, got float64"),
        ("ignore_index", 1.5, "TypeError: expected a whole number, got 1.5"),
        ("ignore_index", 2**63, f"ValueError: expected a whole number from {-(2**63)} to {2**63 - 1}, got {2**63}"),
        ("label_smoothing", 1.5, "ValueError: expected a number from 0 to 1, got 1.5"),
        ("label_smoothing", -0.1, "ValueError: expected a number from 0 to 1, got -0.1"),
        ("label_smoothing", np.nan, "ValueError: expected a number from 0 to 1, got nan"),
        ("threads", 257, "ValueError: expected a whole number from 1 to 256, got 257"),
    ],
)
def test_wrong_arguments_of_cross_entropy(name: str, value: Any, message: str) -> None:
    assert_refused(F.softmax_cross_entropy, {"logits": ones((2, 3)), "targets": [0, 2]}, name, value, message)


def test_threads_default_to_openmps() -> None:
    """None and any number give the same results as one: see test_bits.py. NumPy's integers count as whole."""
    arguments = gru_arguments()
    expected = F.recurrent(**arguments, threads=1)[0]
    for threads in (None, 256, np.int64(2), np.uint8(3)):
        assert_same_bits(F.recurrent(**arguments, threads=threads)[0], expected)


def test_the_reference_is_what_functional_computes(rng: np.random.Generator) -> None:
    """The two faces agree in names and shapes: see test_parity.py for the numbers."""
    cell = layer(rng, 4, 5, np.float64)
    x, d_output = normal(rng, 3, 2, 4, dtype=np.float64), normal(rng, 3, 2, 5, dtype=np.float64)
    (_, _), tape = F.recurrent_forward(x, cell.pack(ISAS[-1]))
    (d_x, d_h_0), gradients = F.recurrent_backward(tape, d_output)
    expected = reference.backward(cell.reference(x, None)[2], d_output)
    ours = {"x": d_x, "state": d_h_0} | gradients
    assert {name: array.shape for name, array in ours.items()} == {
        name: array.shape for name, array in expected.items()
    }


@pytest.mark.parametrize("wrong", [np.ones((2, 3), np.float32), 1.5, True, "3", None])
def test_wrong_sizes_beside_lengths_and_resets(wrong: Any) -> None:
    for name, call in (
        ("steps", lambda: F.sequence_lengths([1], wrong, 1)),
        ("batch", lambda: F.sequence_lengths([1], 3, wrong)),
        ("steps", lambda: F.reset_flags(np.ones((3, 1), bool), wrong, 1, False)),
        ("batch", lambda: F.reset_flags(np.ones((3, 1), bool), 3, wrong, False)),
    ):
        with pytest.raises(TypeError, match=f"^{name}: expected a whole number, got "):
            call()


@pytest.mark.parametrize("x", [-1e-6, -1.0, -16.0, -40.0])
def test_the_slope_of_elu_keeps_its_digits(x: float) -> None:
    """It is exp(x) below zero, however small."""
    one, zero = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    weights = F.pack_rnn(one, zero, nonlinearity="elu")
    _, tape = F.recurrent_forward(np.full((1, 1, 1), x, np.float32), weights)
    (d_x, _), _ = F.recurrent_backward(tape, np.ones((1, 1, 1), np.float32))
    np.testing.assert_allclose(d_x[0, 0, 0], np.exp(x), rtol=1e-6)
