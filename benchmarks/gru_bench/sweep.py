"""Looks for cliffs: shapes that take longer than the next larger one.

A sweep is a line of shapes that differ in one size. Neighbours are timed in one process, round-robin, so that drift of
the machine meets them alike; a pair that looks like a cliff is timed again, alone and longer, before it is called one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from gru_bench.cases import Case
from gru_bench.peers import OWN
from gru_bench.process import Worker

STEPS = (1, 2, 7, 100)
ALLOWED = 1.1  # times that a shape may take of what the next larger one takes

WINDOW = 12  # neighbours that are timed together; the next window begins with the last of them
PASSES, BLOCK_SECONDS = 3, 0.002
AGAIN_PASSES, AGAIN_BLOCK_SECONDS = 15, 0.01


@dataclass(frozen=True)
class Sweep:
    """Shapes that grow in one size.

    Attributes
    ----------
    axis
        The size that grows: "H", "B" or "T".
    name
        The sizes that stay.
    """

    axis: str
    name: str
    cases: tuple[Case, ...]

    @property
    def sizes(self) -> list[int]:
        """The sizes along the axis."""
        return [size_of(case, self.axis) for case in self.cases]


@dataclass(frozen=True)
class Line:
    """What a sweep took: the least seconds of each shape, a thread count and a mode."""

    sweep: Sweep
    mode: str
    threads: int
    seconds: list[float]


@dataclass(frozen=True)
class Step:
    """From a shape to the next larger one.

    Attributes
    ----------
    ratio
        The time of the smaller over that of the larger.
    """

    axis: str
    mode: str
    threads: int
    smaller: Case
    larger: Case
    ratio: float

    @property
    def is_cliff(self) -> bool:
        """Whether the smaller shape takes too long."""
        return self.ratio > ALLOWED


def size_of(case: Case, axis: str) -> int:
    """Return a case's size along an axis."""
    return {"H": case.hidden_size, "B": case.batch, "T": case.steps}[axis]


def sweeps(axes: Sequence[str], *, quick: bool = False) -> list[Sweep]:
    """Return the sweeps along "H" (as many inputs as units), "B" and "T".

    With `quick` there are fewer: multiples of 16 units with their neighbours, and T = 7 alone.
    """
    steps = (7,) if quick else STEPS
    hidden = [size for size in range(1, 301) if not quick or size % 16 in (15, 0, 1)]
    found = []
    if "H" in axes:
        found += [
            Sweep("H", f"T = {T}, B = {B}", tuple(Case(T, B, H, H) for H in hidden)) for T in steps for B in (1, 8, 32)
        ]
    if "B" in axes:
        found += [
            Sweep("B", f"T = {T}, H = {H}", tuple(Case(T, B, H, H) for B in range(1, 41)))
            for T in steps
            for H in (64, 256)
        ]
    if "T" in axes:
        found += [
            Sweep("T", f"B = {B}, H = {H}", tuple(Case(T, B, H, H) for T in STEPS))
            for B in (1, 8, 32)
            for H in (64, 256)
        ]
    return found


def run(
    sweeps: Sequence[Sweep], threads: int, *, modes: Sequence[str] = ("forward", "train"), isa: str | None = None
) -> Iterator[tuple[Line, list[Step]]]:
    """Time every sweep in every mode, and yield its line and its steps when it is done."""
    with Worker(OWN, threads, isa) as worker:
        for sweep in sweeps:
            for mode in modes:
                seconds, steps = _time_sweep(worker, sweep, mode, threads)
                yield Line(sweep, mode, threads, seconds), steps


def _time_sweep(worker: Worker, sweep: Sweep, mode: str, threads: int) -> tuple[list[float], list[Step]]:
    seconds = [float("inf")] * len(sweep.cases)
    ratios: list[float] = []
    for first in range(0, len(sweep.cases) - 1, WINDOW - 1):
        window = sweep.cases[first : first + WINDOW]
        blocks = _blocks(worker, window, mode, PASSES, BLOCK_SECONDS)
        best = [min(block) for block in blocks]  # what disturbs a call only ever makes it longer
        for i, value in enumerate(best):
            seconds[first + i] = min(seconds[first + i], value)
        ratios += [one / other for one, other in pairwise(best)]
    steps = []
    for i, (smaller, larger) in enumerate(pairwise(sweep.cases)):
        if ratios[i] > ALLOWED:
            one, other = _blocks(worker, (smaller, larger), mode, AGAIN_PASSES, AGAIN_BLOCK_SECONDS)
            ratios[i] = median(one) / median(other)
            seconds[i : i + 2] = min(*one, seconds[i]), min(*other, seconds[i + 1])
        steps.append(Step(sweep.axis, mode, threads, smaller, larger, ratios[i]))
    return seconds, steps


def _blocks(worker: Worker, cases: Sequence[Case], mode: str, passes: int, block_seconds: float) -> list[list[float]]:
    answer: list[list[float]] = worker.order(
        "series",
        peer=OWN,
        cases=[astuple(case) for case in cases],
        mode=mode,
        passes=passes,
        block_seconds=block_seconds,
    )
    return answer


def row(line: Line, steps: Sequence[Step]) -> str:
    """Return a line of the table: a sweep's range of times, and its worst step."""
    worst = max(steps, key=lambda step: step.ratio)
    cliffs = sum(step.is_cliff for step in steps)
    low, high = line.sweep.sizes[0], line.sweep.sizes[-1]
    return (
        f"{f'{line.sweep.axis} = {low} to {high}, {line.sweep.name}':32} {line.mode:8} {line.threads:7} "
        f"{1e3 * line.seconds[0]:10.4f} {1e3 * line.seconds[-1]:10.4f}  {worst.ratio:5.2f} at {worst.smaller.name:16} "
        f"{f'{cliffs} cliffs' if cliffs else ''}".rstrip()
    )


def figures(line: Line) -> dict[str, Any]:
    """Return a line's figures, for JSON."""
    return {
        "axis": line.sweep.axis,
        "name": line.sweep.name,
        "mode": line.mode,
        "threads": line.threads,
        "sizes": line.sweep.sizes,
        "seconds": line.seconds,
    }


HEADER = f"{'sweep':32} {'mode':8} {'threads':>7} {'first ms':>10} {'last ms':>10}  worst step"


def summary(steps: Sequence[Step], most: int = 20) -> list[str]:
    """Return how many cliffs there are, and the worst of them."""
    cliffs = sorted((step for step in steps if step.is_cliff), key=lambda step: -step.ratio)
    lines = [
        f"{len(cliffs)} of {len(steps)} times a shape takes more than {ALLOWED:g} times what the next larger one takes"
        + (f"; the worst {most}:" if len(cliffs) > most else ":" if cliffs else "")
    ]
    for cliff in cliffs[:most]:
        shapes = f"{cliff.smaller.name} over {cliff.larger.name}"
        lines.append(f"  {cliff.ratio:5.2f}  {cliff.mode}, threads {cliff.threads}: {shapes}")
    return lines
