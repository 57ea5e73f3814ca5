"""Draws the picture of speed in README: how long other engines take, of what benchmarks/results keeps of a machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import HERE, SHAPES, compared

from gru_bench.cases import Case
from gru_bench.compare import Comparison
from gru_bench.peers import OWN
from gru_bench.plot import COLOURS
from gru_native.io import atomic_write

RESULTS = HERE.parent / "benchmarks" / "results"
MODES = {"train": "A training step", "forward": "Forward"}
TICKS = (1, 2, 5, 10, 20, 50)


def draw(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Draw the shapes of the page on speed, on two threads, as SVG whose text is text."""
    import matplotlib
    from matplotlib.figure import Figure  # without pyplot there is no display

    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    panels = figure.subplots(1, len(MODES), sharey=True)
    for axes, (mode, title) in zip(panels, MODES.items(), strict=True):
        found = {one.case.name: one for one in comparisons if (one.mode, one.threads) == (mode, 2)}
        _panel(axes, [found[name] for name in SHAPES])
        axes.set_title(title, fontsize=11)
    panels[0].set_yticks(range(len(SHAPES)), [_name(Case.named(name)) for name in SHAPES], fontsize=9)
    panels[0].set_ylim(len(SHAPES) - 0.5, -0.5)
    handles = {text: one for axes in panels for one, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9)
    figure.suptitle("Times as long as gru_native takes, two threads of a Zen 4; the numbers are PyTorch's", fontsize=11)
    style = {"svg.fonttype": "none", "svg.hashsalt": "speed", "font.family": "sans-serif"}
    with matplotlib.rc_context(style), atomic_write(path) as file:
        figure.savefig(file, format="svg", metadata={"Date": None})


def _panel(axes: Any, comparisons: Sequence[Comparison]) -> None:
    for y, one in enumerate(comparisons):
        ratios = {timing.peer: timing.seconds / one.seconds for timing in one.timings}
        axes.plot([1, max(ratios.values())], [y, y], color="#dddddd", linewidth=3, zorder=1, solid_capstyle="butt")
        for peer, ratio in ratios.items():
            axes.plot(ratio, y, "o", color=COLOURS[peer], markersize=7, label=peer)
        text = {"textcoords": "offset points", "color": COLOURS["torch"], "fontsize": 9}
        axes.annotate(f"{ratios['torch']:.1f}", (max(ratios.values()), y), (7, -3), **text)
    axes.axvline(1, color=COLOURS[OWN], linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.set_xlim(0.85, 85)
    axes.set_xticks(TICKS, [f"{tick}×" for tick in TICKS])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)


def _name(case: Case) -> str:
    """Return a shape in words; inputs are as many as units in all of these."""
    parts = ((case.steps, "step"), (case.batch, "row"), (case.hidden_size, "unit"))
    return ", ".join(f"{count:,} {word}{'' if count == 1 else 's'}" for count, word in parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE / "speed.svg", metavar="FILE", help="where to write it")
    draw(parser.parse_args().out, compared(RESULTS, "zen4", "grid"))
