"""The results of a study in one picture. matplotlib is imported when it is drawn, and needs no display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gru_native.io import atomic_write
from gru_native.study.plan import Plan
from gru_native.study.table import Cells, Result, by_cell, mean_of

CHARACTERS = "characters read"


class Map(NamedTuple):
    """A figure to show over both factors."""

    name: str  # of the figure in a `Result`
    title: str
    format: str
    colours: str
    best: str = ""  # "lowest" or "highest", where one is better
    from_zero: bool = False  # else from the least to the most


MAPS = (
    Map("validation", "Validation loss at the end, bits per character", ".2f", "viridis_r", "lowest"),
    Map("gap", "Generalisation gap: validation less training loss", "+.2f", "cividis"),
    Map("characters_per_second", "Speed: characters per second", ",.0f", "viridis", "highest", from_zero=True),
    Map("peak_mb", "Peak memory, MB", ",.0f", "viridis_r", "lowest", from_zero=True),
)


def draw(path: Path, plan: Plan, results: Sequence[Result]) -> None:
    """Draw a study to a PNG.

    Above, the validation loss over the characters read and over the seconds that took, a panel for each window, a line
    for each batch size: the mean over the seeds, in a band from the least to the most. Below, heat maps of all cells.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    from matplotlib.figure import Figure  # without pyplot there is no display

    cells = by_cell(results)
    figure: Any = Figure(figsize=(max(15.0, 4.2 * len(plan.windows)), 13), layout="constrained")
    figure.suptitle(
        f"What batch size and sequence length do: {len(cells)} settings, each trained on {plan.characters:,} "
        f"characters with {_counted(plan.seeds, 'seed')}",
        fontsize=14,
    )
    first, second, third = figure.subfigures(3, 1, hspace=0.03)
    best = min(cells, key=lambda cell: mean_of(cells[cell], "validation"))
    quickest = min(cells, key=lambda cell: mean_of(cells[cell], "seconds"))
    _curves(first, plan, cells, 0, CHARACTERS)
    first.suptitle(f"The same text: lowest validation loss with {_named(best)}", fontsize=12)
    _curves(second, plan, cells, 1, "seconds of training")
    second.suptitle(f"The same by the clock: soonest through with {_named(quickest)}", fontsize=12)
    for axes, shown in zip(third.subplots(1, len(MAPS)), MAPS, strict=True):
        _map(axes, plan, cells, shown)
    third.suptitle("All settings, means over the seeds; the best is framed where they differ", fontsize=12)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=100)


def _curves(figure: Any, plan: Plan, cells: Cells, x: int, label: str) -> None:
    """Draw the validation loss over a column of the curves."""
    from matplotlib import colormaps
    from matplotlib.ticker import EngFormatter

    colours = colormaps["plasma"](np.linspace(0.05, 0.8, len(plan.batch_sizes)))
    panels = figure.subplots(1, len(plan.windows), sharex=True, sharey=True, squeeze=False)[0]
    for axes, window in zip(panels, plan.windows, strict=True):
        for batch_size, colour in zip(plan.batch_sizes, colours, strict=True):
            curves = np.array([result.curve for result in cells[batch_size, window]])
            where, losses = curves[:, :, x].mean(axis=0), curves[:, :, 2]
            axes.plot(where, losses.mean(axis=0), ".-", color=colour, linewidth=1.5, label=f"batch size {batch_size}")
            axes.fill_between(where, losses.min(axis=0), losses.max(axis=0), color=colour, alpha=0.25, linewidth=0)
        axes.set_title(f"window {window}", fontsize=11)
        axes.set_xlabel(label)
        axes.set_xlim(left=0)
        if label == CHARACTERS:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("validation loss\n(bits per character)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=10)


def _map(axes: Any, plan: Plan, cells: Cells, shown: Map) -> None:
    """Show a figure of each cell, the brighter the better where one is; the best is framed where they differ."""
    from matplotlib.patches import Rectangle

    values = np.array([[mean_of(cells[b, w], shown.name) for w in plan.windows] for b in plan.batch_sizes])
    image = axes.imshow(values, cmap=shown.colours, aspect="auto", vmin=0.0 if shown.from_zero else values.min())
    for (row, column), value in np.ndenumerate(values):
        luminance = np.dot(image.cmap(image.norm(value))[:3], (0.3, 0.6, 0.1))
        colour = "black" if luminance > 0.5 else "white"
        axes.text(column, row, f"{value:{shown.format}}", ha="center", va="center", color=colour, fontsize=12)
    low, high = (f"{value:{shown.format}}" for value in (values.min(), values.max()))
    title = f"from {low} to {high}"
    if low == high:
        title = f"the same for all: {low}"
    elif shown.best:
        place = values.argmin() if shown.best == "lowest" else values.argmax()
        row, column = np.unravel_index(place, values.shape)
        frame = Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, fill=False, edgecolor="#cc0000", linewidth=3)
        axes.add_patch(frame)
        title = f"{shown.best}: {_named((plan.batch_sizes[row], plan.windows[column]))}"
    axes.set_title(f"{shown.title}\n{title}", fontsize=10)
    axes.set_xticks(range(len(plan.windows)), plan.windows)
    axes.set_yticks(range(len(plan.batch_sizes)), plan.batch_sizes)
    axes.set_xlabel("window (sequence length)")
    axes.set_ylabel("batch size")


def _named(cell: tuple[int, int]) -> str:
    return f"batch size {cell[0]}, window {cell[1]}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
