"""The compiled GRU beside the float64 reference: results and every gradient, on every instruction set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from cases import (
    ISAS,
    KINDS,
    THREADS,
    Array,
    Layer,
    State,
    assert_same_bits,
    each,
    every_kind,
    layer,
    normal,
    parts_of,
    zoneout_taken,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close, assert_gradient

from gru_native import functional as F
from gru_native import reference

# One below, at and one above the widths 2, 4, 8 and 16, and the same around several panels.
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 97, 127, 128, 129]
# Every height of a tile, and heights that are cut into two and three tiles.
BATCHES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17]

Layout = Callable[[Array], Array]


def padded(array: Array) -> Array:
    """Copy into the middle of something larger: rows stand apart, the address is no multiple of a vector."""
    larger = np.full([size + 3 for size in array.shape], np.nan, array.dtype)
    view = larger[tuple(slice(1, size + 1) for size in array.shape)]
    view[...] = array
    return view


def reversed_rows(array: Array) -> Array:
    """Copy into memory where the axes before the last run backwards."""
    flip = (slice(None, None, -1),) * (array.ndim - 1)
    return np.ascontiguousarray(array[flip])[flip]


def every_second_row(array: Array) -> Array:
    """Copy into the even rows of something twice as large."""
    larger = np.full((array.shape[0], 2 * array.shape[1], *array.shape[2:]), np.nan, array.dtype)
    larger[:, ::2] = array
    return larger[:, ::2]


def columns_first(array: Array) -> Array:
    """Copy into Fortran's order, where the last axis is not contiguous."""
    return np.asfortranarray(array)


LAYOUTS: dict[str, Layout] = {
    "contiguous": np.ascontiguousarray,
    "padded": padded,
    "reversed_rows": reversed_rows,
    "every_second_row": every_second_row,
    "columns_first": columns_first,
}


@dataclass(frozen=True)
class Problem:
    """Arguments in float32 numbers, and what the reference makes of them."""

    cell: Layer
    steps: dict[str, Any]  # reverse, lengths and reset
    x: Array
    state: State
    d_output: Array | None
    d_final: State
    output: Array
    final: State
    gradients: dict[str, Any]


def problem(
    rng: np.random.Generator,
    cell: Layer,
    steps: int,
    batch: int,
    *,
    reverse: bool = False,
    ragged: bool = False,
    resets: bool = False,
    masked: bool = False,
    zoneout: float = 0.0,
    zoneout_seed: Any = None,
    state: bool = True,
    d_output: bool = True,
    d_final: bool = True,
) -> Problem:
    hidden, inputs = cell.weight_hh.shape[1], cell.weight_ih.shape[1]
    x = normal(rng, steps, batch, inputs)
    start = cell.state(rng, batch) if state else None
    d_out = normal(rng, steps, batch, hidden) if d_output else None
    d_last = cell.state(rng, batch) if d_final else None
    lengths = rng.integers(0, steps + 1, batch) if ragged else None
    reset = rng.random((steps, batch)) < 0.3 if resets else None
    if lengths is not None:
        for array in (x, d_out):
            if array is not None:
                array[np.arange(steps)[:, None] >= lengths] = np.nan
    mask = rng.choice([0.0, 1.25], (batch, hidden)).astype(np.float32) if masked else None
    how: dict[str, Any] = {"reverse": reverse, "lengths": lengths, "reset": reset, "dropout_mask": mask}
    taken = None
    if zoneout_seed is not None:
        taken = zoneout_taken(steps, batch, hidden, zoneout, zoneout_seed)
    elif zoneout > 0:
        taken = np.full((steps, batch, hidden), 1 - zoneout)
    output, final, tape = cell.reference(x, start, **how, taken=taken)
    how |= {"zoneout": zoneout, "zoneout_seed": zoneout_seed}
    gradients = reference.backward(tape, d_out, d_last)
    return Problem(cell, how, x, start, d_out, d_last, output, final, gradients)


def check(
    p: Problem,
    isa: str,
    dtype: Any = np.float32,
    *,
    batch_first: bool = False,
    accumulate: bool = False,
    layout: Layout = np.ascontiguousarray,
    tape: str = "gates",
    threads: int = 1,
) -> None:
    """Compare inference, forward and backward with the reference."""
    precision = np.dtype(dtype).name
    unbounded = "_unbounded" if p.cell.kind == "rnn_relu" or "activations" in p.cell.choices else ""
    normalised = "_normalised" if p.cell.kind == "gru_layer_norm" else ""

    def turned(array: Array) -> Array:
        return array.swapaxes(0, 1) if batch_first and array.ndim > 2 else array

    def laid_out(array: Array | None) -> Array | None:
        return None if array is None else layout(turned(array.astype(dtype)))

    weights = p.cell.to(dtype).pack(isa)
    options: dict[str, Any] = {**p.steps, "batch_first": batch_first, "threads": threads}
    options["dropout_mask"] = laid_out(p.steps["dropout_mask"])
    if batch_first and p.steps["reset"] is not None:
        options["reset"] = p.steps["reset"].T
    arguments = laid_out(p.x), weights, each(laid_out, p.state)
    seed = options.pop("zoneout_seed")
    plain = F.recurrent(*arguments, **options)
    options["zoneout_seed"] = seed
    taped, record = F.recurrent_forward(*arguments, tape=tape, **options)
    # Random zoneout acts with a tape only.
    results = zip(*([output, *parts_of(final)] for output, final in (plain, taped, (p.output, p.final))), strict=True)
    for place, (actual, with_tape, expected) in enumerate(results):
        assert actual.dtype == dtype
        if seed is None:
            assert_same_bits(with_tape, actual, f"result {place}")
        actual = with_tape
        assert_close(turned(actual), expected, f"{precision}_forward{unbounded}{normalised}", f"{isa} result {place}")

    gradients_expected = dict(p.gradients)
    given_d_x = None
    if accumulate:
        before = np.cos(np.nan_to_num(p.x))
        given_d_x = laid_out(before)
        gradients_expected["x"] = gradients_expected["x"] + before
    (d_x, d_state), gradients = F.recurrent_backward(
        record,
        laid_out(p.d_output),
        each(laid_out, p.d_final),
        d_x=given_d_x,
        accumulate_d_x=accumulate,
        threads=threads,
    )
    assert given_d_x is None or d_x is given_d_x
    actual_gradients = {"x": turned(d_x), "state": d_state} | gradients
    assert actual_gradients.keys() == gradients_expected.keys()
    for name, actual in actual_gradients.items():
        for part, expected in zip(parts_of(actual), parts_of(gradients_expected[name]), strict=True):
            assert part.dtype == dtype
            assert_gradient(part, expected, f"{precision}_gradient{normalised}", f"{isa} {name}")


both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
every_isa = pytest.mark.parametrize("isa", ISAS)


@pytest.mark.parametrize("hidden", SIZES)
@every_kind
@both_dtypes
@every_isa
def test_around_every_boundary_of_the_tile(
    rng: np.random.Generator, isa: str, dtype: type, kind: str, hidden: int
) -> None:
    # Each hidden size meets each batch, with input sizes and lengths that go round.
    for i, batch in enumerate(BATCHES):
        inputs = SIZES[(7 * i + 3 * hidden) % len(SIZES)]
        cell = layer(rng, inputs, hidden, kind=kind)
        check(problem(rng, cell, 1 + (i + hidden) % 3, batch, reverse=bool(i % 2)), isa, dtype)


@pytest.mark.parametrize("sizes", list(np.ndindex(2, 2, 2, 2)), ids=str)
@every_kind
@both_dtypes
@every_isa
def test_sizes_of_zero_and_one(
    rng: np.random.Generator, isa: str, dtype: type, kind: str, sizes: tuple[int, int, int, int]
) -> None:
    steps, batch, inputs, hidden = sizes
    cell = layer(rng, inputs, hidden, kind=kind)
    for state in (True, False):
        check(problem(rng, cell, steps, batch, state=state), isa, dtype)
    check(problem(rng, cell, 3 * steps, 3 * batch), isa, dtype, batch_first=True, accumulate=True)
    check(problem(rng, cell, 3 * steps, 3 * batch, d_output=False, d_final=False), isa, dtype)


@functools.cache
def large_problem(steps: int, batch: int, inputs: int, hidden: int, kind: str) -> Problem:
    rng = np.random.default_rng([steps, batch, inputs, hidden])
    return problem(rng, layer(rng, inputs, hidden, kind=kind), steps, batch)


@pytest.mark.parametrize(
    ("sizes", "threads"),
    [((200, 2, 64, 512), 2), ((200, 3, 130, 65), 1), ((100, 17, 31, 257), 3), ((60, 33, 129, 100), 7)],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, tuple) else f"{value}_threads",
)
@every_kind
@both_dtypes
@every_isa
def test_large_layers_and_long_sequences(
    isa: str, dtype: type, kind: str, sizes: tuple[int, int, int, int], threads: int
) -> None:
    check(large_problem(*sizes, kind), isa, dtype, threads=threads)


@pytest.mark.parametrize("rows", [127, 128, 129, 255, 256, 257])
@every_kind
@both_dtypes
@every_isa
def test_around_every_boundary_of_the_sums_over_rows(isa: str, dtype: type, kind: str, rows: int) -> None:
    """Weight gradients sum over windows of 128 rows; of inputs as wide as these a chunk holds no more of them."""
    rng = np.random.default_rng(rows)
    cell = layer(rng, 1030, 9, kind=kind)
    # So many inputs would else drive the gates to their ends.
    check(problem(rng, replace(cell, weight_ih=cell.weight_ih / 16), rows, 1), isa, dtype)


@pytest.mark.parametrize("batch", [63, 64, 65, 72, 73, 129])
@every_kind
@both_dtypes
@every_isa
def test_around_every_boundary_of_blocks_of_rows(isa: str, dtype: type, kind: str, batch: int) -> None:
    """With more than one piece of k, and an odd number of panels."""
    check(large_problem(2, batch, 131, 145, kind), isa, dtype)


# Each with numbers of its own, where it has some; those of gates stay near 0 to 1.
GATES: list[Any] = ["sigmoid", "hard_sigmoid", ("hard_sigmoid", 0.2, 0.5)]
ACTIVATIONS: list[Any] = [
    *GATES,
    "tanh",
    "relu",
    ("linear", 0.7, -0.2),
    ("leaky_relu", 0.2),
    ("elu", 0.6),
    "softsign",
    "softplus",
    ("scaled_tanh", 1.2, 0.6),
    ("thresholded_relu", 0.3),
]


@st.composite
def choices_of(draw: st.DrawFn, kind: str, hidden: int) -> dict[str, Any]:
    """Draw what can be chosen of a cell."""
    count = len(reference.CELLS[kind].activations)
    candidates = [draw(st.sampled_from(ACTIVATIONS)) for _ in range(max(count - 1, 1))]
    choices: dict[str, Any] = {"activations": [draw(st.sampled_from(GATES)), *candidates][-count:]}
    choices["clip"] = draw(st.sampled_from([None, 0.7]))
    if kind == "lstm":
        choices |= {"peepholes": draw(st.booleans()), "input_forget": draw(st.booleans())}
        choices["projection"] = draw(st.integers(0, hidden))
    return choices


@pytest.mark.parametrize("clip", [None, 0.9])
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@both_dtypes
@every_isa
def test_activations(rng: np.random.Generator, isa: str, dtype: type, activation: Any, clip: float | None) -> None:
    for kind in sorted(set(KINDS) - {"gru_layer_norm", "rnn_relu"}):
        usual = reference.CELLS[kind].activations
        for place in range(len(usual)):
            own = [*usual[:place], activation, *usual[place + 1 :]]
            cell = layer(rng, 5, 19, kind=kind, activations=own, clip=clip)
            check(problem(rng, cell, 4, 3, ragged=True, resets=True), isa, dtype, tape=("gates", "states")[place % 2])


@pytest.mark.parametrize("tape", ["gates", "states"])
@pytest.mark.parametrize(
    "choices",
    [
        {"peepholes": True},
        {"input_forget": True},
        {"projection": 1},
        {"projection": 17},
        {"peepholes": True, "input_forget": True, "clip": 0.8},
        {"peepholes": True, "projection": 9, "clip": 0.8, "activations": ["hard_sigmoid", "softsign", "relu"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("sizes", [(7, 9, 19, 33), (60, 5, 7, 130), (3, 66, 4, 17)], ids=str)
@both_dtypes
@every_isa
def test_choices_of_the_lstm(
    rng: np.random.Generator,
    isa: str,
    dtype: type,
    sizes: tuple[int, int, int, int],
    choices: dict[str, Any],
    tape: str,
) -> None:
    steps, batch, inputs, hidden = sizes
    cell = layer(rng, inputs, hidden, kind="lstm", **choices)
    for options in ({}, {"masked": True, "ragged": True, "resets": True, "reverse": True}):
        check(problem(rng, cell, steps, batch, **options), isa, dtype, tape=tape, threads=2)


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_combination_of_options(data: st.DataObject) -> None:
    def draw(name: str, strategy: st.SearchStrategy[Any]) -> Any:
        return data.draw(strategy, label=name)

    def flags(*names: str) -> dict[str, bool]:
        return {name: draw(name, st.booleans()) for name in names}

    rng = np.random.default_rng(draw("seed", st.integers(0, 2**32)))
    inputs, hidden = draw("inputs", st.integers(0, 40)), draw("hidden", st.integers(0, 70))
    steps, batch = draw("steps", st.integers(0, 12)), draw("batch", st.integers(0, 20))
    kind = draw("kind", st.sampled_from(KINDS))
    zoneout = draw("zoneout", st.sampled_from([0.0, 0.3, 1.0])) if kind != "lstm" else 0.0
    zoneout_seed = draw("zoneout_seed", st.sampled_from([None, 1]))
    chosen = kind != "gru_layer_norm" and draw("chosen", st.booleans())
    choices = draw("choices", choices_of(kind, hidden)) if chosen else {}
    cell = layer(rng, inputs, hidden, kind=kind, **flags("bias_ih", "bias_hh"), **choices)
    # Rounding to float32 would now and then move a sum across a corner of an activation.
    dtype = np.float64 if chosen else draw("dtype", st.sampled_from([np.float32, np.float64]))
    check(
        problem(
            rng,
            cell,
            steps,
            batch,
            zoneout=zoneout,
            zoneout_seed=zoneout_seed,
            **flags("reverse", "ragged", "resets", "masked", "state", "d_output", "d_final"),
        ),
        draw("isa", st.sampled_from(ISAS)),
        dtype,
        layout=LAYOUTS[draw("layout", st.sampled_from(sorted(LAYOUTS)))],
        tape=draw("tape", st.sampled_from(["gates", "states"])),
        threads=draw("threads", st.sampled_from(THREADS)),
        **flags("batch_first"),
    )


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 9, 17, 63, 65, 130])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@every_kind
@both_dtypes
@every_isa
def test_ragged_batches_with_resets(
    rng: np.random.Generator, isa: str, dtype: type, kind: str, reverse: bool, batch: int
) -> None:
    """Padding holds NaN, and the lengths come in any order."""
    cell = layer(rng, 19, 33, kind=kind)
    for options in ({"ragged": True}, {"resets": True}, {"ragged": True, "resets": True}):
        p = problem(rng, cell, 9, batch, reverse=reverse, **options)
        check(p, isa, dtype, batch_first=bool(batch % 2), accumulate=reverse, threads=1 + batch % 3)


@pytest.mark.parametrize(
    ("sizes", "threads"),
    [((200, 4, 9, 130), 2), ((90, 33, 20, 65), 3), ((300, 1, 5, 16), 1), ((0, 3, 5, 7), 1)],
    ids=str,
)
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@every_kind
@both_dtypes
@every_isa
def test_gates_computed_again_from_the_states(
    rng: np.random.Generator,
    isa: str,
    dtype: type,
    kind: str,
    reverse: bool,
    sizes: tuple[int, int, int, int],
    threads: int,
) -> None:
    """The longer ones take several chunks of steps."""
    steps, batch, inputs, hidden = sizes
    p = problem(rng, layer(rng, inputs, hidden, kind=kind), steps, batch, reverse=reverse, ragged=reverse, resets=True)
    check(p, isa, dtype, tape="states", threads=threads)


@pytest.mark.parametrize("tape", ["gates", "states"])
@pytest.mark.parametrize("seed", [None, (5, 6)], ids=["share", "random"])
@pytest.mark.parametrize("sizes", [(7, 9, 19, 33), (40, 3, 7, 130), (3, 66, 4, 63)], ids=str)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "lstm"])
@both_dtypes
@every_isa
def test_zoneout(
    rng: np.random.Generator,
    isa: str,
    dtype: type,
    kind: str,
    sizes: tuple[int, int, int, int],
    seed: Any,
    tape: str,
) -> None:
    steps, batch, inputs, hidden = sizes
    cell = layer(rng, inputs, hidden, kind=kind)
    for options in ({}, {"ragged": True, "resets": True, "reverse": True}, {"masked": True}):
        p = problem(rng, cell, steps, batch, zoneout=0.25, zoneout_seed=seed, **options)
        check(p, isa, dtype, tape=tape, threads=2)


@pytest.mark.parametrize("tape", ["gates", "states"])
@pytest.mark.parametrize("sizes", [(7, 9, 19, 33), (60, 5, 7, 130), (3, 66, 4, 17)], ids=str)
@every_kind
@both_dtypes
@every_isa
def test_masked_states(
    rng: np.random.Generator, isa: str, dtype: type, kind: str, sizes: tuple[int, int, int, int], tape: str
) -> None:
    steps, batch, inputs, hidden = sizes
    cell = layer(rng, inputs, hidden, kind=kind)
    for options in ({"masked": True}, {"masked": True, "ragged": True, "resets": True, "reverse": True}):
        check(problem(rng, cell, steps, batch, **options), isa, dtype, tape=tape, threads=2)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@every_kind
def test_ragged_batches_cut_by_panels(kind: str, reverse: bool, threads: int) -> None:
    rng = np.random.default_rng(5)
    cell = layer(rng, 32, 256, kind=kind)
    check(problem(rng, cell, 40, 3, reverse=reverse, ragged=True, resets=True), ISAS[-1], threads=threads)


@pytest.mark.parametrize("layout", ["contiguous", "padded", "reversed_rows", "every_second_row"])
@pytest.mark.parametrize("batch_first", [False, True])
@every_kind
@every_isa
def test_gradients_are_added_to_d_x_in_any_layout(
    rng: np.random.Generator, isa: str, kind: str, batch_first: bool, layout: str
) -> None:
    cell = layer(rng, 19, 21, kind=kind)
    check(problem(rng, cell, 4, 5), isa, batch_first=batch_first, accumulate=True, layout=LAYOUTS[layout])
