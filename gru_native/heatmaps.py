"""The picture of an `Inspection`. matplotlib is imported when one is drawn, and needs no display."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from gru_native import arguments
from gru_native.arguments import every, instance, real_array, text, whole
from gru_native.inspection import Inspection
from gru_native.io import StrPath, atomic_write
from gru_native.nn.module import Array

DPI = 110
# In inches: the time axis, on which a step has a pixel at least, and with a label room for it; a heat map and its rows.
LEAST_WIDTH, WIDTH, LABEL_WIDTH = 8.0, 20.0, 0.12
LEAST_HEIGHT, HEIGHT, ROW_HEIGHT = 0.8, 2.4, 0.02
UNIT_HEIGHT, GUESS_HEIGHT = 0.06, 0.18
MAX_STEPS = int(WIDTH * DPI)
MAX_LABELS = int(WIDTH / LABEL_WIDTH)
MAX_LINES = 4  # features; more of them are a heat map too
MAX_UNITS = 32
MAX_GUESSES = 5  # classes at each step
DECADES = 6  # of the saliency, below the largest

TITLES = {
    "r": "reset gate r (1: the candidate sees the whole state)",
    "z": "update gate z (1: the state is kept, 0: the candidate replaces it)",
    "n": "candidate n",
    "i": "input gate i (1: the candidate is added to the cell)",
    "f": "forget gate f (1: the cell is kept)",
    "g": "candidate g",
    "o": "output gate o (1: the cell is shown)",
    "h": "state h",
}
SIGMOIDS = "rzifo"
BARS, MARK = "#2e86ab", "#e4572e"


def draw(
    inspection: Inspection,
    path: StrPath,
    *,
    labels: Sequence[str] | None = None,
    output: str | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Draw an inspection to a PNG: input, outputs, saliency, and maps of gates and states, over a shared time axis.

    Gates are drawn from 0 to 1, candidates and states from -1 to 1 (further where a plain network with relu goes
    further). All maps of a direction show the same units in the same order: the `MAX_UNITS` that are `most_active`,
    from `slow_to_fast`. The saliency has a logarithmic axis, and ends `DECADES` below its largest value.

    Parameters
    ----------
    inspection
        Of at most `MAX_STEPS` steps.
    path
        The file. An existing one is replaced when the new one is complete.
    labels
        A short text for each step, such as its character; ``None`` for its number. More than `MAX_LABELS` have no room.
    output
        What to call the output that the saliency is of; ``None`` for `Inspection.output_name`.
    classes
        A short text for each output, of a model whose outputs (T, F) are logits of F classes, such as the next
        character's: the `MAX_GUESSES` likeliest at each step are drawn with their probabilities. ``None`` to draw none.

    Raises
    ------
    ValueError
        For too many steps, or labels or classes of another number.
    ImportError
        Without matplotlib.
    """
    steps = len(instance("inspection", inspection, Inspection, "what inspect returned").gradient)
    path = arguments.path("path", path)
    labels = None if labels is None else every("labels", labels, text)
    if steps > MAX_STEPS:
        raise ValueError(f"inspection: expected at most {MAX_STEPS:,} steps, got {steps:,}")
    if labels is not None and len(labels) != steps:
        raise ValueError(f"labels: expected one for each of {steps:,} steps, got {len(labels):,}")
    saliency = _saliency(inspection, inspection.output_name if output is None else text("output", output))
    guesses = () if classes is None else _guesses(inspection.outputs, every("classes", classes, text))
    panels = [*_input(inspection), *guesses, saliency, *_gradient(inspection), *_units(inspection)]
    figure = _figure(panels, steps, labels if steps <= MAX_LABELS else None)
    figure.suptitle(inspection.layer_name)
    with warnings.catch_warnings(), atomic_write(path) as file:
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # a box stands for it
        figure.savefig(file, format="png")


def slow_to_fast(h: Array) -> Array:
    """Return the units of `h` (T, H) in the order of the maps, (H,).

    The order is that of the von Neumann ratio (1941): the sum of the squared changes of h from step to step over the
    sum of its squared deviations from the mean; of a unit that never changes, 0.
    """
    h = _states(h)
    changes, spread = np.square(np.diff(h, axis=0)).sum(axis=0), np.square(h - h.mean(axis=0)).sum(axis=0)
    ratio = np.divide(changes, spread, out=np.zeros_like(spread), where=spread > 0)
    return np.argsort(ratio, kind="stable")


def most_active(h: Array, count: int) -> Array:
    """Return the `count` units of `h` (T, H) whose states vary most, in rising order; all where H is less.

    That is those with the largest standard deviation over the steps.
    """
    h = _states(h)
    return np.sort(np.argsort(-h.std(axis=0), kind="stable")[: whole("count", count)])


def _states(h: Array) -> Array:
    h = real_array("h", h)
    if h.ndim != 2:
        raise ValueError(f"h: expected shape (T, H), got {h.shape}")
    return h


class _Panel(NamedTuple):
    title: str
    height: float  # inches
    paint: Callable[[Any], None]  # on its axes


def _input(inspection: Inspection) -> Iterator[_Panel]:
    x = inspection.x
    if x.ndim == 2 and x.shape[1] <= MAX_LINES:
        yield _Panel("input", 1.3, partial(_lines, x))
    elif x.ndim == 2:
        yield _heat_map("input", x, "features", "Greys", float(x.min()), float(x.max()))


def _guesses(outputs: Array, classes: Sequence[str]) -> Iterator[_Panel]:
    if outputs.ndim != 2:
        raise ValueError("classes: expected None, because the model's output has no steps")
    if len(classes) != outputs.shape[1]:
        raise ValueError(f"classes: expected one for each of {outputs.shape[1]:,} outputs, got {len(classes):,}")
    odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    order = np.argsort(-odds, axis=1, kind="stable")[:, :MAX_GUESSES]
    likeliest = np.take_along_axis(odds / odds.sum(axis=1, keepdims=True), order, axis=1)
    names = [[classes[place] for place in places] for places in order]
    title = "what is expected after each step: the likeliest, coloured by probability"
    yield _Panel(title, GUESS_HEIGHT * likeliest.shape[1], partial(_named_heat, likeliest, names))


def _saliency(inspection: Inspection, output: str) -> _Panel:
    step = inspection.output[0] if inspection.outputs.ndim == 2 else None
    title = f"saliency: norm of the gradient of {output} with respect to the input of each step"
    return _Panel(title, 1.2, partial(_bars, inspection.saliency, step))


def _gradient(inspection: Inspection) -> Iterator[_Panel]:
    if inspection.x.ndim == 2 and inspection.x.shape[1] > 1:
        most = float(np.abs(inspection.gradient).max())
        yield _heat_map("the same gradient by feature", inspection.gradient, "features", "PuOr_r", -most, most)


def _units(inspection: Inspection) -> Iterator[_Panel]:
    for state, h in inspection.states.items():
        suffix, active = state[1:], most_active(h, MAX_UNITS)
        order = active[slow_to_fast(h[:, active])]
        rows = "units" if len(order) == h.shape[1] else f"of {h.shape[1]} units"
        gates = {name: gate for name, gate in inspection.gates.items() if name[1:] == suffix}
        for name, values in {**gates, state: h}.items():
            title = TITLES[name[0]] + (", reverse direction" if suffix else "")
            if name[0] in SIGMOIDS:
                yield _heat_map(title, values[:, order], rows, "viridis", 0.0, 1.0, UNIT_HEIGHT)
            else:
                most = max(1.0, float(np.abs(values[:, order]).max()))
                yield _heat_map(title, values[:, order], rows, "RdBu_r", -most, most, UNIT_HEIGHT)


def _heat_map(
    title: str, values: Array, rows: str, colours: str, low: float, high: float, row_height: float = ROW_HEIGHT
) -> _Panel:
    height = min(max(LEAST_HEIGHT, values.shape[1] * row_height), HEIGHT)
    return _Panel(title, height, partial(_heat, values, rows, colours, low, high))


def _heat(values: Array, rows: str, colours: str, low: float, high: float, axes: Any) -> None:
    count = values.shape[1]
    # matplotlib takes means where rows have less than a pixel, but else it would blur what can be sharp.
    sharp = "nearest" if count <= HEIGHT * DPI else None
    image = axes.imshow(values.T, aspect="auto", interpolation=sharp, cmap=colours, vmin=low, vmax=high)
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, aspect=10, ticks=[low, (low + high) / 2, high])
    bar.ax.yaxis.set_major_formatter("{x:.3g}")
    bar.ax.tick_params(labelsize=8)
    axes.set_ylabel(f"{count} {rows}", fontsize=8)
    if rows.endswith("units"):
        axes.set_yticks([0, count - 1], ["slow", "fast"], fontsize=8)
    else:
        axes.tick_params(labelsize=8)


def _named_heat(values: Array, names: Sequence[Sequence[str]], axes: Any) -> None:
    _heat(values, "likeliest", "Blues", 0.0, 1.0, axes)
    axes.set_yticks([])
    room = axes.figure.get_figwidth() / len(values) / LABEL_WIDTH
    style = {"fontsize": 8, "ha": "center", "va": "center", "parse_math": False, "in_layout": False}
    for (step, rank), probability in np.ndenumerate(values):
        if len(name := names[step][rank]) <= room:
            axes.text(step, rank, name, color="white" if probability > 0.6 else "black", **style)


def _bars(values: Array, step: int | None, axes: Any) -> None:
    most = float(values.max())
    if least := most / 10**DECADES:
        least = max(least, float(values[values > 0].min()) / 2)
        axes.set_yscale("log")
        axes.set_ylim(least, 2 * most)
        axes.stairs(np.maximum(values, least), np.arange(len(values) + 1) - 0.5, baseline=least, fill=True, color=BARS)
    if step is not None:
        axes.axvline(step, color=MARK, linewidth=1.5, linestyle=":")
    _open(axes)


def _lines(x: Array, axes: Any) -> None:
    for feature, values in enumerate(x.T):
        axes.plot(values, linewidth=1, label=str(feature))
    if x.shape[1] > 1:
        # Where the maps have their colour bars.
        legend = axes.legend(
            title="feature", fontsize=8, title_fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
        )
        legend.set_in_layout(False)
    _open(axes)


def _open(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _figure(panels: Sequence[_Panel], steps: int, labels: Sequence[str] | None) -> Any:
    from matplotlib.figure import Figure  # an extra: not needed before somebody asks for a picture

    heights = [panel.height for panel in panels]
    width = max(LEAST_WIDTH, steps * (LABEL_WIDTH if labels else 1 / DPI))
    margins = 1.5, 1.0 + 0.4 * len(panels)
    figure = Figure((width + margins[0], sum(heights) + margins[1]), dpi=DPI, layout="constrained")
    all_axes = figure.subplots(len(panels), sharex=True, height_ratios=heights, squeeze=False)[:, 0].tolist()
    for axes, panel in zip(all_axes, panels, strict=True):
        axes.set_title(panel.title, loc="left", fontsize=10, parse_math=False)
        panel.paint(axes)
    _steps(all_axes, steps, labels)
    return figure


def _steps(all_axes: Sequence[Any], steps: int, labels: Sequence[str] | None) -> None:
    """Label the shared axis, above the first panel and below the last."""
    all_axes[-1].set_xlim(-0.5, steps - 0.5)
    if labels:
        all_axes[-1].set_xticks(range(steps), labels, parse_math=False)
        turned = 90 if max(map(len, labels)) > 1 else 0
    else:
        turned = 0
        all_axes[-1].set_xlabel("step", fontsize=8)
    for axes in all_axes:
        axes.tick_params(axis="x", labelsize=8, length=2, labelrotation=turned)
    all_axes[0].tick_params(axis="x", labeltop=True, top=True)
