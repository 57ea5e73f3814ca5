"""Trainings of a grid, each cell with several seeds, as columns and, in means over the seeds, as text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

from gru_native.arguments import Array
from gru_native.tables.trials import Changes, Trial, shown_value


@dataclass(frozen=True)
class Cell:
    """The trainings that differ in their seed alone."""

    changes: Changes
    trials: list[Trial]

    @property
    def loss(self) -> float:
        """The mean of their losses; infinite if one diverged."""
        return mean(math.inf if trial.loss is None else trial.loss for trial in self.trials)

    @property
    def key(self) -> str:
        """The changes without a blank."""
        return ",".join(f"{name}:{shown_value(value)}" for name, value in self.changes.items())


def cells(trials: Sequence[Trial]) -> list[Cell]:
    """Return the cells, in the order in which they come first."""
    found: dict[str, Cell] = {}
    for trial in trials:
        own = Cell({name: value for name, value in trial.changes.items() if name != "seed"}, [])
        found.setdefault(own.key, own).trials.append(trial)
    return list(found.values())


def columns_of(trials: Sequence[Trial]) -> dict[str, Array]:
    """Return a row for each training; where one diverged there is nothing."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.figures))
    columns = {name: [shown_value(trial.changes[name]) for trial in trials] for name in trials[0].changes}
    columns["updates"] = [str(trial.updates) for trial in trials]
    columns["seconds"] = [f"{trial.seconds:.3f}" for trial in trials]
    columns["val_loss"] = ["" if trial.loss is None else f"{trial.loss:.6g}" for trial in trials]
    for name in names:
        columns[f"val_{name}"] = [f"{trial.figures[name]:.6g}" if trial.figures else "" for trial in trials]
    return {name: np.array(values) for name, values in columns.items()}


def table_of(trials: Sequence[Trial]) -> list[str]:
    """Return the lines of a table of means over the seeds."""
    found = cells(trials)
    figures = list(dict.fromkeys(name for trial in trials for name in trial.figures))
    head = [*found[0].changes, "updates", "seconds", "val_loss", *(f"val_{name}" for name in figures)]
    rows = [head]
    for cell in found:
        spread = f" ± {stdev(own):.2g}" if len(own := [t.loss for t in cell.trials if t.loss is not None]) > 1 else ""
        row = [shown_value(value) for value in cell.changes.values()]
        row += [f"{mean(t.updates for t in cell.trials):,.0f}", f"{mean(t.seconds for t in cell.trials):.2f}"]
        row.append(f"{cell.loss:.4g}{spread}")
        row += [f"{mean(t.figures.get(name, math.nan) for t in cell.trials):.4g}" for name in figures]
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
