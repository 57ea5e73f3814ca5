"""The results of a study: a row for each run, as a file and, in means over the seeds, as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from gru_native.io import write_csv


@dataclass(frozen=True)
class Result:
    """What came of a run; losses are in bits per character.

    Attributes
    ----------
    batch_size, window, seed
        Of the run.
    updates, characters : int
        That it took, and was trained on.
    validation, best_validation : float
        Loss on the held-out text at the end, and the lowest of all validations.
    training : float
        Mean loss of the last twentieth of the updates, each before it was made.
    gap : float
        ``validation - training``, the generalisation gap.
    seconds, characters_per_second : float
        Time of the training, without validations, and speed.
    peak_mb : float
        Largest resident memory of its process, in megabytes.
    lr : float
        Highest learning rate.
    curve : sequence of (characters, seconds, validation)
        All validations.
    """

    batch_size: int
    window: int
    seed: int
    updates: int
    characters: int
    validation: float
    best_validation: float
    training: float
    gap: float
    seconds: float
    characters_per_second: float
    peak_mb: float
    lr: float
    curve: Sequence[Sequence[float]]

    @property
    def cell(self) -> tuple[int, int]:
        """The batch size and the window."""
        return self.batch_size, self.window


Cells = dict[tuple[int, int], list[Result]]

COLUMNS = [field.name for field in fields(Result) if field.name != "curve"]


def by_cell(results: Sequence[Result]) -> Cells:
    """Return the results of each cell, in order."""
    cells: Cells = {cell: [] for cell in sorted({result.cell for result in results})}
    for result in results:
        cells[result.cell].append(result)
    return cells


def mean_of(results: Sequence[Result], name: str) -> float:
    """Return the mean of a figure over some runs."""
    return float(mean(getattr(result, name) for result in results))


def write_table(path: Path, results: Sequence[Result]) -> None:
    """Write all figures as comma-separated values, a line for each run."""
    rows = [asdict(result) for result in sorted(results, key=lambda result: (*result.cell, result.seed))]
    write_csv(path, [COLUMNS, *([_rounded(name, row[name]) for name in COLUMNS] for row in rows)])


def _rounded(name: str, value: Any) -> Any:
    digits = {"seconds": 3, "characters_per_second": 1, "peak_mb": 1}.get(name, 6)
    return round(value, digits) if isinstance(value, float) else value


def summary(results: Sequence[Result]) -> list[str]:
    """Return the lines of a table of means over the seeds; losses are in bits per character."""
    lines = [
        f"{'batch':>6}{'window':>8}{'updates':>9}{'lr':>10}{'validation':>18}{'training':>10}{'gap':>8}"
        f"{'seconds':>10}{'char/s':>10}{'peak MB':>9}"
    ]
    for (batch_size, window), runs in by_cell(results).items():
        spread = f" ± {stdev(run.validation for run in runs):.3f}" if len(runs) > 1 else ""
        validation = f"{mean_of(runs, 'validation'):.3f}{spread}"
        lines.append(
            f"{batch_size:>6}{window:>8}{runs[0].updates:>9,}{runs[0].lr:>10.2g}{validation:>18}"
            f"{mean_of(runs, 'training'):>10.3f}{mean_of(runs, 'gap'):>8.3f}{mean_of(runs, 'seconds'):>10.1f}"
            f"{mean_of(runs, 'characters_per_second'):>10,.0f}{mean_of(runs, 'peak_mb'):>9.0f}"
        )
    return lines
