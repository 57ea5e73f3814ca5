"""The promise about bits: a row's results do not depend on its company, on threads or on how it is fed."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from cases import (
    ISAS,
    THREADS,
    Array,
    Layer,
    State,
    assert_same_bits,
    each,
    every_kind,
    layer,
    normal,
    normal_state,
    parts_of,
)
from tolerances import assert_gradient

from gru_native import functional as F
from gru_native._layer import RecurrentLayer, RecurrentStep

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
every_isa = pytest.mark.parametrize("isa", ISAS)

# (steps, batch, inputs, hidden), and how such a call is cut; test_threads.py counts the threads. Each takes a team even
# when it stands alone, plain networks too.
BY_ROWS = (60, 17, 33, 65)
BY_PANELS = (110, 1, 32, 256)
BY_FEW_PANELS = (50, 2, 40, 260)
# The weights exceed a core's cache: cut by panels although there are rows enough.
BY_PANELS_FOR_CACHE = (6, 9, 16, 400)

Results = dict[str, Array]
OF_PARAMETERS = ("d_weight", "d_bias", "d_gamma")


class Problem:
    """A layer, and inputs and gradients of a batch, of which rows can be taken."""

    def __init__(self, rng: np.random.Generator, sizes: tuple[int, int, int, int], dtype: Any, kind: str) -> None:
        steps, batch, inputs, hidden = sizes
        self.cell: Layer = layer(rng, inputs, hidden, dtype, kind=kind)
        self.x = normal(rng, steps, batch, inputs, dtype=dtype)
        self.state, self.d_final = (normal_state(rng, kind, batch, hidden, dtype=dtype) for _ in range(2))
        self.d_output = normal(rng, steps, batch, hidden, dtype=dtype)

    def run(
        self,
        weights: F.RecurrentWeights,
        rows: Any = slice(None),
        *,
        threads: int = 1,
        batch_first: bool = False,
        reverse: bool = False,
        steps: Any = slice(None),
        lengths: Array | None = None,
        reset: Array | None = None,
        dropout_mask: Array | None = None,
        zoneout: dict[str, Any] | None = None,
        tape: str = "gates",
    ) -> Results:
        """Run forward and backward of some rows and steps and return all results, time-major."""

        def turned(array: Array) -> Array:
            return array.swapaxes(0, 1) if batch_first else array

        (output, final), record = F.recurrent_forward(
            turned(self.x[steps, rows]),
            weights,
            each(lambda part: part[rows], self.state),
            lengths=None if lengths is None else lengths[rows],
            reset=None if reset is None else turned(reset[steps, rows]),
            dropout_mask=None if dropout_mask is None else dropout_mask[rows],
            batch_first=batch_first,
            reverse=reverse,
            tape=tape,
            threads=threads,
            **(zoneout or {}),
        )
        (d_x, d_state), gradients = F.recurrent_backward(
            record,
            turned(self.d_output[steps, rows]),
            each(lambda part: part[rows], self.d_final),
            threads=threads,
        )
        rowwise = {"output": turned(output), "d_x": turned(d_x)} | named("final", final) | named("d_state", d_state)
        return rowwise | {f"d_{name}": gradient for name, gradient in gradients.items()}


def named(name: str, state: State) -> Results:
    return {f"{name}_{place}": part for place, part in enumerate(parts_of(state))}


def rows_of(results: Results, rows: Any) -> Results:
    """Take rows of what belongs to rows."""
    return {
        name: array[:, rows] if array.ndim == 3 else array[rows]
        for name, array in results.items()
        if not name.startswith(OF_PARAMETERS)
    }


def assert_all_same(actual: Results, expected: Results, what: str) -> None:
    for name, wanted in expected.items():
        assert_same_bits(actual[name], wanted, f"{name} {what}")


@pytest.mark.parametrize("sizes", [BY_ROWS, BY_PANELS, BY_FEW_PANELS, BY_PANELS_FOR_CACHE], ids=str)
@every_kind
@both_dtypes
@every_isa
def test_the_number_of_threads(
    rng: np.random.Generator, isa: str, dtype: type, kind: str, sizes: tuple[int, int, int, int]
) -> None:
    problem = Problem(rng, sizes, dtype, kind)
    weights = problem.cell.pack(isa)
    expected = problem.run(weights)
    assert len(expected) == 2 + len(weights.parameters) + 2 * len(parts_of(problem.state))
    for threads in THREADS:
        for batch_first in (False, True):
            actual = problem.run(weights, threads=threads, batch_first=batch_first)
            assert_all_same(actual, expected, f"with {threads} threads, batch_first={batch_first}")
        output, final = F.recurrent(problem.x, weights, problem.state, threads=threads)
        for name, array in ({"output": output} | named("final", final)).items():
            assert_same_bits(array, expected[name], f"{name} without a tape, {threads} threads")


@pytest.mark.parametrize("hidden", [5, 16, 37, 70])
@every_kind
@both_dtypes
@every_isa
def test_the_other_rows_of_the_batch(rng: np.random.Generator, isa: str, dtype: type, kind: str, hidden: int) -> None:
    most = 37
    problem = Problem(rng, (4, most, 13, hidden), dtype, kind)
    weights = problem.cell.pack(isa)
    whole = problem.run(weights)
    for batch in range(1, most + 1):
        rows = rng.permutation(most)[:batch]
        actual = problem.run(weights, rows, batch_first=bool(batch % 2))
        assert_all_same(actual, rows_of(whole, rows), f"in a batch of {batch}")


@pytest.mark.parametrize("batch", [63, 64, 65, 128, 129])
@pytest.mark.parametrize("hidden", [37, 370])
@every_kind
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_rows(rng: np.random.Generator, threads: int, kind: str, hidden: int, batch: int) -> None:
    """A slice is computed in blocks of 64 rows, also where units are cut because the weights exceed a cache."""
    problem = Problem(rng, (3, batch, 13, hidden), np.float32, kind)
    weights = problem.cell.pack(ISAS[-1])
    whole = problem.run(weights, threads=threads)
    for rows in (slice(0, 1), slice(30, 67), slice(batch - 1, batch)):
        actual = problem.run(weights, rows, threads=threads)
        assert_all_same(actual, rows_of(whole, rows), f"rows {rows} of {batch}")


@every_kind
@both_dtypes
@every_isa
def test_every_row_alone(rng: np.random.Generator, isa: str, dtype: type, kind: str) -> None:
    """One row is cut by panels, the batch by rows."""
    problem = Problem(rng, (20, 9, 24, 130), dtype, kind)
    weights = problem.cell.pack(isa)
    for threads in (1, 3):
        whole = problem.run(weights, threads=threads)
        for row in range(9):
            alone = problem.run(weights, [row], threads=threads)
            assert_all_same(alone, rows_of(whole, [row]), f"of row {row} alone, {threads} threads")


@pytest.mark.parametrize("sizes", [(1, 1, 140, 401), (1, 5, 257, 16), (1, 64, 20, 100), (1, 65, 20, 100)], ids=str)
@pytest.mark.parametrize("features", [False, True], ids=["plain", "mask and zoneout"])
@every_kind
@both_dtypes
@every_isa
def test_the_first_call_of_new_weights(
    rng: np.random.Generator, isa: str, dtype: type, kind: str, features: bool, sizes: tuple[int, int, int, int]
) -> None:
    """Of one step it fills the panels as they are read; the calls after it find them packed."""
    problem, (_, batch, _, hidden) = Problem(rng, sizes, dtype, kind), sizes
    options: dict[str, Any] = {}
    if features:
        options["dropout_mask"] = normal(rng, batch, hidden, dtype=dtype)
        options["zoneout"] = {} if kind == "lstm" else {"zoneout": 0.3, "zoneout_seed": 5}
    packed = problem.cell.pack(isa)
    expected = [problem.run(packed, **options) for _ in range(3)][-1]
    for threads in (1, 2, 3, 7):
        results = problem.run(problem.cell.pack(isa), threads=threads, **options)
        assert_all_same(results, expected, f"with {threads} threads")


@pytest.mark.parametrize("sizes", [(1400, 1, 3, 130), (90, 16, 20, 65), (150, 2, 9, 17)], ids=str)
@every_kind
@both_dtypes
@every_isa
def test_pieces_and_single_steps(
    rng: np.random.Generator, isa: str, dtype: type, kind: str, sizes: tuple[int, int, int, int]
) -> None:
    """The longer ones exceed the chunk of steps whose projections are computed ahead."""
    problem = Problem(rng, sizes, dtype, kind)
    weights = problem.cell.pack(isa)
    output, final = F.recurrent(problem.x, weights, problem.state, threads=2)
    cuts = np.sort(rng.integers(0, sizes[0], 5))
    step = RecurrentStep(RecurrentLayer((weights,), False))

    def one_step(x: Array, state: State) -> tuple[Array, State]:
        state = step(x[0], state)
        return parts_of(state)[0][None], state

    ways = {
        "pieces": (np.split(problem.x, cuts), lambda x, h: F.recurrent(x, weights, h, threads=3)),
        "pieces with a tape": (np.split(problem.x, cuts), lambda x, h: F.recurrent_forward(x, weights, h)[0]),
        "steps": (np.split(problem.x, sizes[0]), lambda x, h: F.recurrent(x, weights, h)),
        "steps of RecurrentStep": (np.split(problem.x, sizes[0]), one_step),
    }
    for name, (pieces, run) in ways.items():
        state, outputs = problem.state, []
        for piece in pieces:
            part, state = run(piece, state)
            outputs.append(part)
        assert_same_bits(np.concatenate(outputs), output, name)
        for last, expected in zip(parts_of(state), parts_of(final), strict=True):
            assert_same_bits(last, expected, name)


@every_kind
@both_dtypes
@every_isa
def test_pieces_in_reverse(rng: np.random.Generator, isa: str, dtype: type, kind: str) -> None:
    problem = Problem(rng, (31, 3, 5, 19), dtype, kind)
    weights = problem.cell.pack(isa)
    output, final = F.recurrent(problem.x, weights, problem.state, reverse=True)
    late, state = F.recurrent(problem.x[12:], weights, problem.state, reverse=True)
    early, state = F.recurrent(problem.x[:12], weights, state, reverse=True)
    assert_same_bits(np.concatenate([early, late]), output)
    for last, expected in zip(parts_of(state), parts_of(final), strict=True):
        assert_same_bits(last, expected)


@pytest.mark.parametrize("sizes", [BY_ROWS, BY_PANELS, BY_FEW_PANELS, BY_PANELS_FOR_CACHE], ids=str)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@every_kind
@every_isa
def test_ragged_rows_and_threads(
    rng: np.random.Generator, isa: str, kind: str, reverse: bool, sizes: tuple[int, int, int, int]
) -> None:
    """A row of a ragged batch has the bits of the row alone, without padding; and nothing depends on threads."""
    problem = Problem(rng, sizes, np.float32, kind)
    weights = problem.cell.pack(isa)
    steps, batch, *_ = sizes
    lengths, reset = rng.integers(0, steps + 1, batch), rng.random((steps, batch)) < 0.1
    options: dict[str, Any] = {"reverse": reverse, "lengths": lengths, "reset": reset}
    whole = problem.run(weights, **options)
    for threads in THREADS[1:]:
        assert_all_same(problem.run(weights, threads=threads, **options), whole, f"with {threads} threads")
    for row, length in enumerate(lengths):
        live = slice(0, length)
        alone = problem.run(weights, [row], steps=live, reverse=reverse, reset=reset, threads=2)
        of_whole = rows_of(whole, [row])
        for name in ("output", "d_x"):
            assert not of_whole[name][length:].any(), f"{name} in padding"
            of_whole[name] = of_whole[name][live]
        assert_all_same({name: alone[name] for name in of_whole}, of_whole, f"of row {row} alone")


@pytest.mark.parametrize("tape", ["gates", "states"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@every_kind
@every_isa
def test_ragged_rows_with_masks_and_without_gates(
    rng: np.random.Generator, isa: str, kind: str, reverse: bool, tape: str
) -> None:
    """Rows of a ragged batch have the bits of the rows alone with masks too, and with gates that are computed again."""
    lengths = np.array([2, 40, 11, 0, 9, 40, 17, 1, 1, 20, 0, 3])
    steps, batch, hidden = 40, len(lengths), 33
    problem = Problem(rng, (steps, batch, 7, hidden), np.float32, kind)
    weights = problem.cell.pack(isa)
    for mask in (None, rng.choice([0.0, 2.0], (batch, hidden)).astype(np.float32)):
        options: dict[str, Any] = {"reverse": reverse, "lengths": lengths, "dropout_mask": mask, "tape": tape}
        whole = problem.run(weights, **options)
        for threads in THREADS[1:]:
            assert_all_same(problem.run(weights, threads=threads, **options), whole, f"with {threads} threads")
        for row in range(batch):
            alone = problem.run(weights, [row], **options)
            of_whole = rows_of(whole, [row])
            assert_all_same({name: alone[name] for name in of_whole}, of_whole, f"of row {row} alone")


@every_kind
def test_threads_without_rows(rng: np.random.Generator, kind: str) -> None:
    """One row takes longer than all others together, and its few units cannot be cut."""
    lengths = np.array([0, 1, 800, 0, 2, 0])
    problem = Problem(rng, (800, len(lengths), 300, 7), np.float32, kind)
    weights = problem.cell.pack(ISAS[-1])
    whole = problem.run(weights, lengths=lengths)
    for threads in THREADS[1:]:
        assert_all_same(problem.run(weights, threads=threads, lengths=lengths), whole, f"with {threads} threads")


@pytest.mark.parametrize("sizes", [BY_ROWS, BY_PANELS, BY_FEW_PANELS, BY_PANELS_FOR_CACHE], ids=str)
@every_kind
@every_isa
def test_masks_rows_and_threads(
    rng: np.random.Generator, isa: str, kind: str, sizes: tuple[int, int, int, int]
) -> None:
    problem = Problem(rng, sizes, np.float32, kind)
    weights = problem.cell.pack(isa)
    _, batch, _, hidden = sizes
    mask = rng.choice([0.0, 2.0], (batch, hidden)).astype(np.float32)
    whole = problem.run(weights, dropout_mask=mask)
    for threads in THREADS[1:]:
        assert_all_same(problem.run(weights, dropout_mask=mask, threads=threads), whole, f"with {threads} threads")
    for row in range(batch):
        alone = problem.run(weights, [row], dropout_mask=mask, threads=2)
        of_whole = rows_of(whole, [row])
        assert_all_same({name: alone[name] for name in of_whole}, of_whole, f"of row {row} alone")
    # A mask of ones changes nothing in the forward pass.
    ones, none = (problem.run(weights, dropout_mask=mask) for mask in (np.ones_like(mask), None))
    assert_same_bits(ones["output"], none["output"])


@pytest.mark.parametrize("sizes", [BY_ROWS, BY_PANELS, BY_FEW_PANELS, BY_PANELS_FOR_CACHE], ids=str)
@pytest.mark.parametrize("kind", ["gru_reset_after", "gru_reset_before"])
@every_isa
def test_zoneout_and_threads(rng: np.random.Generator, isa: str, kind: str, sizes: tuple[int, int, int, int]) -> None:
    problem = Problem(rng, sizes, np.float32, kind)
    weights = problem.cell.pack(isa)
    ragged = rng.integers(0, sizes[0] + 1, sizes[1])
    for options, lengths in product(({"zoneout": 0.3}, {"zoneout": 0.3, "zoneout_seed": 7}), (None, ragged)):
        whole = problem.run(weights, zoneout=options, lengths=lengths)
        for threads in THREADS[1:]:
            actual = problem.run(weights, zoneout=options, lengths=lengths, threads=threads)
            assert_all_same(actual, whole, f"with {threads} threads, {options}")
        again = problem.run(weights, zoneout=options, lengths=lengths, tape="states")
        assert_all_same(rows_of(again, slice(None)), rows_of(whole, slice(None)), f"computed again, {options}")
    everything_stays = problem.run(weights, zoneout={"zoneout": 1.0, "zoneout_seed": 7})
    assert_same_bits(everything_stays["final_0"], problem.state)


@pytest.mark.parametrize("sizes", [(90, 16, 20, 65), (400, 1, 20, 130), BY_PANELS_FOR_CACHE], ids=str)
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@every_kind
@every_isa
def test_gates_computed_again(
    rng: np.random.Generator, isa: str, kind: str, ragged: bool, sizes: tuple[int, int, int, int]
) -> None:
    """Without the gates on the tape, what belongs to rows has the same bits, and nothing depends on threads.

    Gradients of weights are the same sums in another order.
    """
    problem = Problem(rng, sizes, np.float32, kind)
    weights = problem.cell.pack(isa)
    steps, batch, *_ = sizes
    options: dict[str, Any] = {"reverse": ragged}
    if ragged:
        options |= {"lengths": rng.integers(0, steps + 1, batch), "reset": rng.random((steps, batch)) < 0.1}
    with_gates = problem.run(weights, **options)
    again = problem.run(weights, tape="states", **options)
    every_row = slice(None)
    assert_all_same(rows_of(again, every_row), rows_of(with_gates, every_row), "computed again")
    for name in with_gates.keys() - rows_of(with_gates, every_row).keys():
        assert_gradient(again[name], with_gates[name], "float32_gradient", name)
    for threads in THREADS[1:]:
        assert_all_same(problem.run(weights, tape="states", threads=threads, **options), again, f"{threads} threads")


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@every_kind
@both_dtypes
@every_isa
def test_resets_are_cuts(rng: np.random.Generator, isa: str, dtype: type, kind: str, reverse: bool) -> None:
    """The output is that of sequences cut by hand, to the bit; gradients are too but for the sign of a zero."""
    steps, batch = 13, 6
    problem = Problem(rng, (steps, batch, 9, 37), dtype, kind)
    weights = problem.cell.pack(isa)
    reset = rng.random((steps, batch)) < 0.3
    whole = problem.run(weights, reverse=reverse, reset=reset)
    for row in range(batch):
        cuts = [0, *(t for t in range(1, steps) if reset[t, row]), steps]
        for first, last in pairwise(cuts):
            # The state that is given belongs to the piece that is computed first, unless that too begins anew.
            given = (last == steps) if reverse else (first == 0 and not reset[0, row])
            state = each(lambda part, row=row: part[[row]], problem.state) if given else None
            (output, final), tape = F.recurrent_forward(problem.x[first:last, [row]], weights, state, reverse=reverse)
            assert_same_bits(output, whole["output"][first:last, [row]], f"row {row}, steps {first} to {last}")
            ends = first == 0 if reverse else last == steps
            if ends:
                for name, part in named("final", final).items():
                    assert_same_bits(part, whole[name][[row]], f"{name} of row {row}")
            d_final = each(lambda part, row=row: part[[row]], problem.d_final) if ends else None
            (d_x, d_state), _ = F.recurrent_backward(tape, problem.d_output[first:last, [row]], d_final)
            np.testing.assert_array_equal(d_x, whole["d_x"][first:last, [row]])
            if given:
                for name, part in named("d_state", d_state).items():
                    np.testing.assert_array_equal(part, whole[name][[row]])
        if not reverse and reset[0, row]:
            assert not whole["d_state_0"][row].any()


@every_kind
@both_dtypes
@every_isa
def test_where_the_arrays_lie(rng: np.random.Generator, isa: str, dtype: type, kind: str) -> None:
    problem = Problem(rng, (6, 5, 21, 35), dtype, kind)
    weights = problem.cell.pack(isa)
    expected = problem.run(weights)
    for offset in range(1, 9):

        def moved(array: Array, offset: int = offset) -> Array:
            memory = np.zeros(array.size + 16, dtype)
            view = memory[offset : offset + array.size].reshape(array.shape)
            view[...] = array
            return view

        for name in ("x", "state", "d_output", "d_final"):
            setattr(problem, name, each(moved, getattr(problem, name)))
        assert_all_same(problem.run(weights), expected, f"moved by {offset} elements")


@both_dtypes
@every_isa
def test_rows_of_a_linear_layer(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, isa: str, dtype: type
) -> None:
    monkeypatch.setenv("GRU_NATIVE_ISA", isa)
    most = 37
    for inputs, outputs in [(1, 1), (19, 5), (40, 16), (33, 70), (70, 33)]:
        weights = F.pack_linear(normal(rng, outputs, inputs, dtype=dtype), normal(rng, outputs, dtype=dtype))
        x, d_y = normal(rng, most, inputs, dtype=dtype), normal(rng, most, outputs, dtype=dtype)
        y, d_x = F.linear(x, weights), F.linear_backward(x, weights, d_y)[0]
        for batch in range(1, most + 1):
            rows = rng.permutation(most)[:batch]
            assert_same_bits(F.linear(x[rows], weights), y[rows])
            assert_same_bits(F.linear_backward(x[rows], weights, d_y[rows])[0], d_x[rows])


@both_dtypes
@every_isa
def test_threads_of_the_other_layers(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, isa: str, dtype: type
) -> None:
    monkeypatch.setenv("GRU_NATIVE_ISA", isa)
    rows, inputs, outputs = 300, 150, 200
    weights = F.pack_linear(normal(rng, outputs, inputs, dtype=dtype), normal(rng, outputs, dtype=dtype))
    x, d_y = normal(rng, rows, inputs, dtype=dtype), normal(rng, rows, outputs, dtype=dtype)
    targets = rng.integers(0, outputs, rows)
    indices = rng.integers(0, 50, 5000)
    d_embedded = normal(rng, 5000, inputs, dtype=dtype)

    def run(threads: int) -> Results:
        d_x, gradients = F.linear_backward(x, weights, d_y, threads=threads)
        losses, d_logits = F.softmax_cross_entropy(d_y, targets, label_smoothing=0.1, gradient=True, threads=threads)
        assert d_logits is not None
        return gradients | {
            "linear": F.linear(x, weights, threads=threads),
            "d_x": d_x,
            "embedding": F.embedding_backward(indices, d_embedded, 50, threads=threads),
            "losses": losses,
            "d_logits": d_logits,
        }

    expected = run(1)
    for threads in THREADS:
        assert_all_same(run(threads), expected, f"with {threads} threads")
