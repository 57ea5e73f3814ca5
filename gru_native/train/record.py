"""What a training run leaves behind: a record of each step, as lines of JSON and as a picture."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gru_native import arguments
from gru_native.arguments import every, instance
from gru_native.io import StrPath, atomic_write, parsed, regular


@dataclass(frozen=True)
class Record:
    """One training step.

    Attributes
    ----------
    step, epoch : int
        Steps taken so far, this one included; the number of the epoch, from 0.
    loss : float
        Of what this step was trained on, before the update.
    targets : int
        Number of targets that it was trained on.
    lr : float
        The learning rate of the update.
    grad_norm : float or None
        Before clipping; ``None`` without `max_norm`.
    seconds : float
        Since the run began, without the time between its processes.
    validation : dict of str to float, or None
        ``loss`` and the metrics on the validation data, after the update; ``None`` for a step without.
    best : bool
        Whether the validation is the best so far: see `Trainer.fit`.
    validation_seconds : float
        How long the validation of this step took; they are part of `seconds`.
    training : dict of str to float, or None
        ``loss`` and the metrics on the training data since the step that had them last: see `Trainer`'s
        `training_metrics`; ``None`` for a step without.
    """

    step: int
    epoch: int
    loss: float
    targets: int
    lr: float
    grad_norm: float | None
    seconds: float = field(default=0.0, compare=False)
    validation: dict[str, float] | None = None
    best: bool = False
    validation_seconds: float = field(default=0.0, compare=False)
    training: dict[str, float] | None = None


@contextmanager
def written_log(path: StrPath, history: Sequence[Record] = ()) -> Iterator[Callable[[Record], object]]:
    """Keep a file with a line of JSON for each step, in which stands what `Record` says of it.

    Yields a function to call with each record.

    Parameters
    ----------
    path
        An existing file is replaced.
    history
        Steps that have been taken already.
    """
    history = every("history", history, checked_record)
    with atomic_write(path) as new:
        new.write("".join(map(line_of, history)).encode())
    with open(path, "a", encoding="utf-8", buffering=1) as file:
        yield lambda record: file.write(line_of(record))


def read_log(path: StrPath) -> list[Record]:
    """Return the records of a `written_log`.

    Raises
    ------
    ValueError
        When a line is no record.
    OSError
        When the file cannot be read.
    """
    with open(arguments.path("path", path), encoding="utf-8", opener=regular) as file:
        try:
            return [record_of(line) for line in file]
        except ValueError as error:
            raise ValueError(f"path: expected the log of a training run, got {path}: {error}") from error


def checked_record(name: str, value: Any) -> Record:
    """Return `value`, which must be a Record."""
    return instance(name, value, Record, "a Record")


def line_of(record: Record) -> str:
    """Return a record as a line of JSON."""
    return json.dumps(vars(record)) + "\n"


def record_of(line: str) -> Record:
    """Return the record of a line, or raise ValueError."""
    found = parsed(line)
    if not isinstance(found, dict) or found.keys() != _TYPES.keys():
        raise ValueError(f"log: expected lines of JSON with {', '.join(_TYPES)}, got {line[:200]!r}")
    for name, value in found.items():
        if type(value) not in _TYPES[name]:
            raise ValueError(f"log: {name} is {value!r} in {line[:200]!r}")
    for name in ("training", "validation"):
        needed = name == "validation" and found["best"]
        figures = found[name] or {}
        if (needed and "loss" not in figures) or not all(type(value) is float for value in figures.values()):
            raise ValueError(f"log: {name} is {found[name]!r} in {line[:200]!r}")
    return Record(**found)


_TYPES: dict[str, tuple[type, ...]] = {
    "step": (int,),
    "epoch": (int,),
    "loss": (float,),
    "targets": (int,),
    "lr": (float,),
    "grad_norm": (float, type(None)),
    "seconds": (float,),
    "validation": (dict, type(None)),
    "best": (bool,),
    "validation_seconds": (float,),
    "training": (dict, type(None)),
}


def plot_history(history: Sequence[Record], path: StrPath) -> None:
    """Draw the curves of a run to a PNG: losses, the metrics, and the learning rate, over the steps.

    An axis is logarithmic where the values span two decades and half of them lie below a quarter of the largest.
    Without a step nothing is drawn.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    arguments.path("path", path)
    if not (history := every("history", history, checked_record)):
        return
    from matplotlib.figure import Figure  # an extra: not needed before somebody asks for a picture

    validated = [record for record in history if record.validation is not None]
    measured = [record for record in history if record.training is not None]
    known = {**(measured[0].training or {} if measured else {}), **(validated[0].validation or {} if validated else {})}
    names = [name for name in known if name != "loss"]
    figure = Figure(figsize=(8, 2.6 * (2 + bool(names))), layout="constrained")
    panels = figure.subplots(2 + bool(names), 1, sharex=True)
    steps, losses = _series(history, lambda record: record.loss)
    smooth = _smoothed(losses)
    panels[0].plot(steps, losses, color="#bbbbbb", linewidth=0.8, label="training, each step")
    panels[0].plot(steps, smooth, color="#2e86ab", linewidth=1.4, label="training, running mean")
    _set_scale(panels[0], smooth + _plot_validated(panels[0], validated, "loss", "#e4572e", _validation_label(history)))
    panels[0].set_ylabel("loss")
    if names:
        values = []
        for place, name in enumerate(names):
            values += _plot_validated(panels[1], validated, name, f"C{place}", name)
            values += _plot_trained(panels[1], measured, name, f"C{place}", f"{name}, training")
        _set_scale(panels[1], values)
        panels[1].set_ylabel("metrics")
    steps, rates = _series(history, lambda record: record.lr)
    panels[-1].plot(steps, rates, color="#7b4ea3")
    _set_scale(panels[-1], rates)
    panels[-1].set_ylabel("learning rate")
    panels[-1].set_xlabel("step")
    for axes in panels:
        axes.grid(color="#e5e5e5", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[:-1]:
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize=8)
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _series(history: Sequence[Record], value: Any) -> tuple[list[int], list[float]]:
    return [record.step for record in history], [value(record) for record in history]


def _plot_validated(axes: Any, validated: Sequence[Record], name: str, colour: str, label: str) -> list[float]:
    """Draw a figure of the validations, if there are any, and return its values."""
    steps, values = _series(validated, lambda record: record.validation[name])
    if validated:
        axes.plot(steps, values, marker=".", color=colour, label=label)
    return values


def _plot_trained(axes: Any, measured: Sequence[Record], name: str, colour: str, label: str) -> list[float]:
    steps, values = _series(measured, lambda record: record.training[name])
    if measured:
        axes.plot(steps, values, color=colour, linestyle=":", label=label)
    return values


def _validation_label(history: Sequence[Record]) -> str:
    best = next((record for record in reversed(history) if record.best), None)
    if best is None or best.validation is None:
        return "validation"
    return f"validation, {best.validation['loss']:.4g} at the best step, {best.step:,}"


def _set_scale(axes: Any, values: Sequence[float]) -> None:
    """Give the axis of these values a logarithmic scale where that shows more."""
    least, most = min(values), max(values)
    if 0 < least <= most / 100 and np.median(values) <= most / 4:
        axes.set_yscale("log")


def _smoothed(values: Sequence[float]) -> list[float]:
    """Return the mean of up to 50 values around each, fewer for a short run."""
    width = max(1, min(50, len(values) // 10))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.clip(np.arange(len(values)) + width // 2 + 1, 1, len(values))
    starts = np.clip(ends - width, 0, None)
    smooth: list[float] = ((sums[ends] - sums[starts]) / (ends - starts)).tolist()
    return smooth
