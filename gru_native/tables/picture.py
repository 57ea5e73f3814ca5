"""Predictions beside what a table says, in a picture. matplotlib is imported when it is drawn, and needs no display."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gru_native.arguments import Array
from gru_native.io import atomic_write
from gru_native.tables.model import TableModel
from gru_native.tables.settings import CLASSES

SHOWN = 300  # forecasts


def draw_comparison(path: Path, model: TableModel, expected: Array, found: Array) -> None:
    """Draw what came of `TableModel.compared`: classes against classes, numbers against numbers, or a series."""
    if model.settings.task in CLASSES:
        _drawn(path, 1, lambda axes: _confusion(axes[0], model.classes, expected, found.argmax(1)))
    elif model.settings.task == "regress":
        _drawn(path, len(model.settings.target), lambda axes: _scatter(axes, model.settings.target, expected, found))
    else:
        _drawn(path, len(model.settings.target), lambda axes: _forecasts(axes, model.settings.target, expected, found))


def draw_predictions(path: Path, model: TableModel, columns: dict[str, Array], inputs: list[Array]) -> None:
    """Draw what came of `TableModel.predict` for the sequences of these inputs; forecasts behind what they go on."""
    targets = model.settings.target
    if model.settings.task == "forecast":
        _drawn(path, len(targets), lambda axes: _continuations(axes, targets, inputs, columns))
    elif model.settings.task in CLASSES:
        _drawn(path, 1, lambda axes: _counts(axes[0], model.classes, columns[targets[0]]))
    else:
        _drawn(path, len(targets), lambda axes: _histograms(axes, targets, columns))


def _drawn(path: Path, panels: int, draw: Callable[[Sequence[Any]], None]) -> None:
    from matplotlib.figure import Figure  # without pyplot there is no display

    figure = Figure(figsize=(8, max(5.0, 3.2 * panels)), layout="constrained")
    axes = list(figure.subplots(panels, 1, squeeze=False)[:, 0])
    draw(axes)
    for own in axes:
        own.spines[["top", "right"]].set_visible(False)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _confusion(axes: Any, classes: list[str], expected: Array, found: Array) -> None:
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (expected, found), 1)
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(classes) <= 20:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(classes)), classes, rotation=90 if max(map(len, classes)) > 4 else 0)
        axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted")
    axes.set_ylabel("in the table")
    axes.set_title(f"{np.trace(counts):,} of {counts.sum():,} are right")


def _scatter(panels: Sequence[Any], targets: Sequence[str], expected: Array, found: Array) -> None:
    for axes, name, own, predicted in zip(panels, targets, expected.T, found.T, strict=True):
        axes.plot(own, predicted, ".", color="#2e86ab", markersize=4)
        ends = [min(own.min(), predicted.min()), max(own.max(), predicted.max())]
        axes.plot(ends, ends, color="#bbbbbb", linewidth=1)
        axes.set_xlabel(f"{name} in the table")
        axes.set_ylabel("predicted")


def _forecasts(panels: Sequence[Any], targets: Sequence[str], expected: Array, found: Array) -> None:
    """Show the last windows: the values, and the forecasts of them by the first and by the last step ahead."""
    expected, found = expected[-SHOWN:], found[-SHOWN:]
    steps = np.arange(len(expected))
    for place, (axes, name) in enumerate(zip(panels, targets, strict=True)):
        axes.plot(steps, expected[:, 0, place], color="#bbbbbb", linewidth=2, label="in the table")
        for step in sorted({0, found.shape[1] - 1}):
            label = f"forecast, {step + 1} {'step' if step == 0 else 'steps'} ahead"
            axes.plot(steps + step, found[:, step, place], linewidth=1, label=label)
        axes.set_ylabel(name)
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    panels[-1].set_xlabel(f"steps: the last {len(expected)} windows")


def _continuations(panels: Sequence[Any], targets: Sequence[str], past: list[Array], columns: dict[str, Array]) -> None:
    for place, (axes, name) in enumerate(zip(panels, targets, strict=True)):
        for own, forecast in zip(past, columns[name].reshape(len(past), -1), strict=True):
            shown = own[-SHOWN:, place]
            axes.plot(np.arange(1 - len(shown), 1), shown, color="#777777")
            axes.plot(np.arange(1, len(forecast) + 1), forecast, ".-", color="#e4572e")
        axes.set_ylabel(name)
        labels = ["in the table", "forecast"]
        axes.legend(labels, frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    panels[-1].set_xlabel("steps from the end")


def _counts(axes: Any, classes: list[str], labels: Array) -> None:
    counts = [int((labels == name).sum()) for name in classes]
    axes.barh(classes, counts, color="#2e86ab")
    axes.invert_yaxis()
    axes.set_xlabel("predictions")


def _histograms(panels: Sequence[Any], targets: Sequence[str], columns: dict[str, Array]) -> None:
    for axes, name in zip(panels, targets, strict=True):
        axes.hist(columns[name], bins=30, color="#2e86ab")
        axes.set_xlabel(f"{name}, predicted")
        axes.set_ylabel("sequences")
