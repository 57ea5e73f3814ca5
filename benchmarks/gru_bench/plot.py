"""The figures as pictures. matplotlib is imported when one is drawn, and needs no display."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from gru_bench.compare import Comparison
from gru_bench.peers import OWN, PEERS
from gru_bench.sweep import Line, Step, size_of
from gru_native.io import atomic_write

COLOURS = dict(zip(PEERS, ("#222222", "#e4572e", "#2e86ab", "#7b4ea3", "#3a9d5d"), strict=True))
MODES = {"forward": "Forward", "train": "Training step"}


def grid(path: Path, machine: dict[str, Any], comparisons: Sequence[Comparison]) -> None:
    """Draw, for every shape, how much faster this package is than the best other, and how near to the limit."""
    cases = list(dict.fromkeys(comparison.case for comparison in comparisons))
    threads = sorted({comparison.threads for comparison in comparisons})
    modes = [mode for mode in MODES if any(comparison.mode == mode for comparison in comparisons)]
    figure = _figure(4 + 4.5 * len(modes), 2.2 + 0.27 * len(cases))
    panels = figure.subplots(1, 2 * len(modes), sharey=True, squeeze=False)[0]
    for i, mode in enumerate(modes):
        own = [comparison for comparison in comparisons if comparison.mode == mode]
        rows = [cases.index(comparison.case) + _offset(comparison.threads, threads) for comparison in own]
        fills = [_fill(comparison.threads, threads) for comparison in own]
        _ratios(panels[i], MODES[mode], own, rows, fills)
        _fractions(panels[len(modes) + i], MODES[mode], own, rows, fills)
    for axes in panels:
        axes.axvline(1, color="#cc0000", linewidth=1)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(len(cases)), [case.name.replace(",", ", ") for case in cases], fontsize=8)
    panels[0].set_ylim(len(cases) - 0.5, -0.5)
    panels[0].set_ylabel("T, B, I, H, L")
    _legend(figure, comparisons, threads)
    _save(figure, machine, path)


def _offset(count: int, threads: Sequence[int]) -> float:
    """Return how far from the middle of its row a number of threads is drawn."""
    return 0.34 * (threads.index(count) / (len(threads) - 1) - 0.5) if len(threads) > 1 else 0.0


def _fill(count: int, threads: Sequence[int]) -> str | None:
    """Return the colour inside a dot: white for the fewest threads of several, else the dot's own."""
    return "white" if len(threads) > 1 and count == threads[0] else None


def _ratios(
    axes: Any, name: str, comparisons: Sequence[Comparison], rows: Sequence[float], fills: Sequence[str | None]
) -> None:
    means: dict[int, list[float]] = {}
    for comparison, y, fill in zip(comparisons, rows, fills, strict=True):
        if comparison.best_other:
            _bar(axes, y, 1, comparison.ratio, COLOURS[comparison.best_other.peer], fill)
            means.setdefault(comparison.threads, []).append(comparison.ratio)
    text = ", ".join(f"{geometric_mean(ratios):.2f}× ({_threads(count)})" for count, ratios in means.items())
    axes.set_title(f"{name}: speed over the best other's\n{f'mean {text}' if means else 'no other engine'}", fontsize=9)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in (0.2, 0.5, 1, 1.5, 2, 3, 5, 10, 20, 50) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}×" for tick in ticks])
    axes.minorticks_off()


def _fractions(
    axes: Any, name: str, comparisons: Sequence[Comparison], rows: Sequence[float], fills: Sequence[str | None]
) -> None:
    for comparison, y, fill in zip(comparisons, rows, fills, strict=True):
        _bar(axes, y, 0, comparison.fraction, COLOURS[OWN], fill)
    axes.set_title(f"{name}:\nshare of the machine's limit", fontsize=9)
    axes.set_xlim(0, max(1.0, *(comparison.fraction for comparison in comparisons)) + 0.05)
    axes.xaxis.set_major_formatter("{x:.0%}")


def _bar(axes: Any, y: float, start: float, end: float, colour: str, fill: str | None) -> None:
    axes.plot([start, end], [y, y], color=colour, linewidth=1.2, alpha=0.45, solid_capstyle="butt")
    axes.plot(end, y, "o", color=colour, markersize=4.5, markerfacecolor=fill or colour)


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _legend(figure: Any, comparisons: Sequence[Comparison], threads: Sequence[int]) -> None:
    from matplotlib.lines import Line2D

    best = {comparison.best_other.peer for comparison in comparisons if comparison.best_other}
    handles = [
        Line2D([], [], color=COLOURS[peer], marker="o", markersize=4.5, label=f"best other: {peer}")
        for peer in PEERS
        if peer in best
    ]
    style: dict[str, Any] = {"color": "#222222", "marker": "o", "markersize": 4.5, "linestyle": ""}
    for count in threads:
        handles.append(Line2D([], [], **style, markerfacecolor=_fill(count, threads), label=_threads(count)))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, frameon=False)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure  # without pyplot there is no display

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, machine: dict[str, Any], path: Path) -> None:
    figure.suptitle(
        f"gru_native on {machine['cpu']}, {machine['cpus']} CPUs, {machine['isa']}, {machine['date'][:10]}", fontsize=11
    )
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    with atomic_write(path) as file:
        file.write(image.getvalue())


def sweeps(path: Path, machine: dict[str, Any], lines: Sequence[Line], steps: Sequence[Step]) -> None:
    """Draw the time over the size, a panel for each axis and mode, and mark the cliffs."""
    axes_of = [axis for axis in "HBT" if any(line.sweep.axis == axis for line in lines)]
    modes = [mode for mode in MODES if any(line.mode == mode for line in lines)]
    names = {axis: list({line.sweep.name: None for line in lines if line.sweep.axis == axis}) for axis in axes_of}
    figure = _figure(8 * len(modes), 1 + 4.5 * len(axes_of))
    panels = figure.subplots(len(axes_of), len(modes), squeeze=False)
    where = {(axis, mode): panels[i][j] for i, axis in enumerate(axes_of) for j, mode in enumerate(modes)}
    most = max(line.threads for line in lines)
    legend = _threads(most) + ("; dotted: fewer" if any(line.threads < most for line in lines) else "")
    for line in lines:
        axis = line.sweep.axis
        colour = f"C{names[axis].index(line.sweep.name) % 10}"
        where[axis, line.mode].plot(
            line.sweep.sizes,
            [1e3 * seconds for seconds in line.seconds],
            color=colour,
            linewidth=1.3 if line.threads == most else 0.7,
            linestyle="-" if line.threads == most else ":",
            label=line.sweep.name if line.threads == most else None,
        )
    taken = {
        (line.sweep.axis, line.mode, line.threads, case): seconds
        for line in lines
        for case, seconds in zip(line.sweep.cases, line.seconds, strict=True)
    }
    for step in steps:
        if step.is_cliff:
            seconds = taken[step.axis, step.mode, step.threads, step.smaller]
            where[step.axis, step.mode].plot(size_of(step.smaller, step.axis), 1e3 * seconds, "v", color="#cc0000")
    for (axis, mode), panel in where.items():
        cliffs = sum(step.is_cliff for step in steps if (step.axis, step.mode) == (axis, mode))
        panel.set_title(f"{MODES[mode]} over {axis}: {cliffs or 'no'} cliff{'' if cliffs == 1 else 's'}", fontsize=10)
        panel.set(yscale="log", xlabel=axis, ylabel="ms")
        if axis == "T":
            panel.set_xscale("log")
        panel.grid(color="#dddddd", linewidth=0.6)
        panel.legend(fontsize=7, ncols=2, title=legend, title_fontsize=7)
    _save(figure, machine, path)
