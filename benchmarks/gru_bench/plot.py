"""The figures as pictures. matplotlib is imported when one is drawn, and needs no display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from gru_bench.compare import Comparison
from gru_bench.peers import OWN, PEERS
from gru_bench.sweep import Line, Step
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
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=110)


def sweeps(path: Path, machine: dict[str, Any], lines: Sequence[Line], steps: Sequence[Step]) -> None:
    """Draw the time over the size and mark the cliffs: a picture NAME-AXIS.png for each axis of a path NAME.png."""
    for axis in "HBT":
        chosen = [line for line in lines if line.sweep.axis == axis]
        if chosen:
            own = path.with_stem(f"{path.stem}-{axis}")
            _along(axis, own, machine, chosen, [step for step in steps if step.axis == axis and step.is_cliff])


def _along(axis: str, path: Path, machine: dict[str, Any], lines: Sequence[Line], cliffs: Sequence[Step]) -> None:
    """Draw a row of panels for each value of the first size that stays, a panel for each mode, a line for the other."""
    names = [line.sweep.name.split(", ") for line in lines]
    rows, others = (list(dict.fromkeys(name[part] for name in names)) for part in (0, 1))
    modes = [mode for mode in MODES if any(line.mode == mode for line in lines)]
    figure = _figure(7 * len(modes), 1 + 2.8 * len(rows))
    panels = figure.subplots(len(rows), len(modes), squeeze=False, sharex=True)
    most = max(line.threads for line in lines)
    for line, (row, other) in zip(lines, names, strict=True):
        panel = panels[rows.index(row)][modes.index(line.mode)]
        milliseconds = [1e3 * seconds for seconds in line.seconds]
        many = line.threads == most
        style: dict[str, Any] = {"linewidth": 1.3, "label": other} if many else {"linewidth": 0.8, "linestyle": ":"}
        panel.plot(line.sweep.sizes, milliseconds, color=f"C{others.index(other)}", **style)
        for step in cliffs:
            if (step.mode, step.threads) == (line.mode, line.threads) and step.smaller in line.sweep.cases:
                place = line.sweep.cases.index(step.smaller)
                panel.plot(line.sweep.sizes[place], milliseconds[place], "v", color="#cc0000")
    title = _threads(most) + ("; dotted: fewer" if any(line.threads < most for line in lines) else "")
    for row, across in zip(rows, panels, strict=True):
        for mode, panel in zip(modes, across, strict=True):
            panel.set_title(f"{MODES[mode]}, {row}", fontsize=10)
            panel.set(yscale="log", xscale="log" if axis == "T" else "linear", ylabel="ms")
            panel.grid(color="#dddddd", linewidth=0.6)
    for panel in panels[-1]:
        panel.set_xlabel(axis)
    panels[0][0].legend(fontsize=8, title=title, title_fontsize=8)
    _save(figure, machine, path)
