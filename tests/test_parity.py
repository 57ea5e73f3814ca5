"""The compiled GRU beside the float64 reference: results and every gradient, on every instruction set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from cases import ISAS, THREADS, Array, Layer, assert_same_bits, layer, normal
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
    h_0: Array | None
    d_output: Array | None
    d_h_n: Array | None
    output: Array
    h_n: Array
    gradients: dict[str, Array]


def problem(
    rng: np.random.Generator,
    cell: Layer,
    steps: int,
    batch: int,
    *,
    reverse: bool = False,
    ragged: bool = False,
    resets: bool = False,
    h_0: bool = True,
    d_output: bool = True,
    d_h_n: bool = True,
) -> Problem:
    hidden, inputs = cell.weight_hh.shape[1], cell.weight_ih.shape[1]
    x = normal(rng, steps, batch, inputs)
    start = normal(rng, batch, hidden) if h_0 else None
    d_out = normal(rng, steps, batch, hidden) if d_output else None
    d_last = normal(rng, batch, hidden) if d_h_n else None
    lengths = rng.integers(0, steps + 1, batch) if ragged else None
    reset = rng.random((steps, batch)) < 0.3 if resets else None
    if lengths is not None:
        for array in (x, d_out):
            if array is not None:
                array[np.arange(steps)[:, None] >= lengths] = np.nan
    how = {"reverse": reverse, "lengths": lengths, "reset": reset}
    output, h_n, tape = cell.reference(x, start, **how)
    gradients = reference.gru_backward(tape, d_out, d_last)
    return Problem(cell, how, x, start, d_out, d_last, output, h_n, gradients)


def check(
    p: Problem,
    isa: str,
    dtype: Any = np.float32,
    *,
    batch_first: bool = False,
    accumulate: bool = False,
    layout: Layout = np.ascontiguousarray,
    threads: int = 1,
) -> None:
    """Compare inference, forward and backward with the reference."""
    precision = np.dtype(dtype).name

    def turned(array: Array) -> Array:
        return array.swapaxes(0, 1) if batch_first and array.ndim > 2 else array

    def laid_out(array: Array | None) -> Array | None:
        return None if array is None else layout(turned(array.astype(dtype)))

    weights = p.cell.to(dtype).pack(isa)
    options: dict[str, Any] = {**p.steps, "batch_first": batch_first, "threads": threads}
    if batch_first and p.steps["reset"] is not None:
        options["reset"] = p.steps["reset"].T
    arguments = laid_out(p.x), weights, laid_out(p.h_0)
    plain = F.gru(*arguments, **options)
    taped, tape = F.gru_forward(*arguments, **options)
    for name, actual, with_tape in zip(("output", "h_n"), plain, taped, strict=True):
        assert actual.dtype == dtype
        assert_same_bits(with_tape, actual, name)
        assert_close(turned(actual), getattr(p, name), f"{precision}_forward", f"{isa} {name}")

    expected = dict(p.gradients)
    given_d_x = None
    if accumulate:
        before = np.cos(np.nan_to_num(p.x))
        given_d_x = laid_out(before)
        expected["x"] = expected["x"] + before
    (d_x, d_h_0), gradients = F.gru_backward(
        tape,
        laid_out(p.d_output),
        laid_out(p.d_h_n),
        d_x=given_d_x,
        accumulate_d_x=accumulate,
        threads=threads,
    )
    assert given_d_x is None or d_x is given_d_x
    actual_gradients = {"x": turned(d_x), "h_0": d_h_0} | gradients
    assert actual_gradients.keys() == expected.keys()
    for name, actual in actual_gradients.items():
        assert actual.dtype == dtype
        assert_gradient(actual, expected[name], f"{precision}_gradient", f"{isa} {name}")


both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
both_resets = pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
every_isa = pytest.mark.parametrize("isa", ISAS)


@pytest.mark.parametrize("hidden", SIZES)
@both_resets
@both_dtypes
@every_isa
def test_around_every_boundary_of_the_tile(
    rng: np.random.Generator, isa: str, dtype: type, reset_after: bool, hidden: int
) -> None:
    # Each hidden size meets each batch, with input sizes and lengths that go round.
    for i, batch in enumerate(BATCHES):
        inputs = SIZES[(7 * i + 3 * hidden) % len(SIZES)]
        cell = layer(rng, inputs, hidden, reset_after=reset_after)
        check(problem(rng, cell, 1 + (i + hidden) % 3, batch, reverse=bool(i % 2)), isa, dtype)


@pytest.mark.parametrize("sizes", list(np.ndindex(2, 2, 2, 2)), ids=str)
@both_resets
@both_dtypes
@every_isa
def test_sizes_of_zero_and_one(
    rng: np.random.Generator, isa: str, dtype: type, reset_after: bool, sizes: tuple[int, int, int, int]
) -> None:
    steps, batch, inputs, hidden = sizes
    cell = layer(rng, inputs, hidden, reset_after=reset_after)
    for h_0 in (True, False):
        check(problem(rng, cell, steps, batch, h_0=h_0), isa, dtype)
    check(problem(rng, cell, 3 * steps, 3 * batch), isa, dtype, batch_first=True, accumulate=True)
    check(problem(rng, cell, 3 * steps, 3 * batch, d_output=False, d_h_n=False), isa, dtype)


@functools.cache
def large_problem(steps: int, batch: int, inputs: int, hidden: int, reset_after: bool) -> Problem:
    rng = np.random.default_rng([steps, batch, inputs, hidden])
    return problem(rng, layer(rng, inputs, hidden, reset_after=reset_after), steps, batch)


@pytest.mark.parametrize(
    ("sizes", "threads"),
    [((200, 2, 64, 512), 2), ((200, 3, 130, 65), 1), ((100, 17, 31, 257), 3), ((60, 33, 129, 100), 7)],
    ids=lambda value: "_".join(map(str, value)) if isinstance(value, tuple) else f"{value}_threads",
)
@both_resets
@both_dtypes
@every_isa
def test_large_layers_and_long_sequences(
    isa: str, dtype: type, reset_after: bool, sizes: tuple[int, int, int, int], threads: int
) -> None:
    check(large_problem(*sizes, reset_after), isa, dtype, threads=threads)


@pytest.mark.parametrize("rows", [127, 128, 129, 255, 256, 257])
@both_resets
@both_dtypes
@every_isa
def test_around_every_boundary_of_the_sums_over_rows(isa: str, dtype: type, reset_after: bool, rows: int) -> None:
    """Weight gradients sum over windows of 128 rows; of inputs as wide as these a chunk holds no more of them."""
    rng = np.random.default_rng(rows)
    cell = layer(rng, 1030, 9, reset_after=reset_after)
    # So many inputs would else drive the gates to their ends.
    check(problem(rng, replace(cell, weight_ih=cell.weight_ih / 16), rows, 1), isa, dtype)


@pytest.mark.parametrize("batch", [63, 64, 65, 72, 73, 129])
@both_resets
@both_dtypes
@every_isa
def test_around_every_boundary_of_blocks_of_rows(isa: str, dtype: type, reset_after: bool, batch: int) -> None:
    """With more than one piece of k, and an odd number of panels."""
    check(large_problem(2, batch, 131, 145, reset_after), isa, dtype)


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
    cell = layer(rng, inputs, hidden, **flags("reset_after", "bias_ih", "bias_hh"))
    check(
        problem(rng, cell, steps, batch, **flags("reverse", "ragged", "resets", "h_0", "d_output", "d_h_n")),
        draw("isa", st.sampled_from(ISAS)),
        draw("dtype", st.sampled_from([np.float32, np.float64])),
        layout=LAYOUTS[draw("layout", st.sampled_from(sorted(LAYOUTS)))],
        threads=draw("threads", st.sampled_from(THREADS)),
        **flags("batch_first"),
    )


@pytest.mark.parametrize("batch", [1, 2, 7, 8, 9, 17, 63, 65, 130])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@both_resets
@both_dtypes
@every_isa
def test_ragged_batches_with_resets(
    rng: np.random.Generator, isa: str, dtype: type, reset_after: bool, reverse: bool, batch: int
) -> None:
    """Padding holds NaN, and the lengths come in any order."""
    cell = layer(rng, 19, 33, reset_after=reset_after)
    for options in ({"ragged": True}, {"resets": True}, {"ragged": True, "resets": True}):
        p = problem(rng, cell, 9, batch, reverse=reverse, **options)
        check(p, isa, dtype, batch_first=bool(batch % 2), accumulate=reverse, threads=1 + batch % 3)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@both_resets
def test_ragged_batches_cut_by_panels(reset_after: bool, reverse: bool, threads: int) -> None:
    rng = np.random.default_rng(5)
    cell = layer(rng, 32, 256, reset_after=reset_after)
    check(problem(rng, cell, 40, 3, reverse=reverse, ragged=True, resets=True), ISAS[-1], threads=threads)


@pytest.mark.parametrize("layout", ["contiguous", "padded", "reversed_rows", "every_second_row"])
@pytest.mark.parametrize("batch_first", [False, True])
@both_resets
@every_isa
def test_gradients_are_added_to_d_x_in_any_layout(
    rng: np.random.Generator, isa: str, reset_after: bool, batch_first: bool, layout: str
) -> None:
    cell = layer(rng, 19, 21, reset_after=reset_after)
    check(problem(rng, cell, 4, 5), isa, batch_first=batch_first, accumulate=True, layout=LAYOUTS[layout])
