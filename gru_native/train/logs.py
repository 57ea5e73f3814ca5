"""Logs for other programs: callbacks of `Trainer.fit`."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from gru_native import arguments
from gru_native.arguments import every
from gru_native.io import StrPath, atomic_write, writable
from gru_native.train.record import Record, checked_record


class CSVLog:
    """Writes a row for each step to a table, with what `Record` has as columns, ``validation_loss`` and so on.

    Columns that come later, as with the first validation, are there from then on; what is not known is empty. A run
    that goes on from a checkpoint writes the steps before anew.

    Parameters
    ----------
    path
        An existing file is replaced.

    Examples
    --------
    ::

        trainer.fit(data, epochs=20, callbacks=[CSVLog("run.csv")])
    """

    first_rank_only = True

    def __init__(self, path: StrPath) -> None:
        self.path = writable("path", path)
        self._rows: list[dict[str, Any]] = []
        self._columns: dict[str, None] = {}
        self._file: TextIO | None = None

    def catch_up(self, history: Sequence[Record]) -> None:
        """Begin the file, with steps that were taken before."""
        self.close()
        self._rows = [_row(record) for record in every("history", history, checked_record)]
        self._columns = {name: None for row in self._rows for name in row}
        self._write_anew()

    def __call__(self, record: Record) -> None:
        """Write a step."""
        row = _row(checked_record("record", record))
        self._rows.append(row)
        if self._file is None or row.keys() - self._columns.keys():
            self._columns |= dict.fromkeys(row)
            self._write_anew()
        else:
            csv.DictWriter(self._file, self._columns).writerow(row)

    def close(self) -> None:
        """Close the file, which is complete after each step."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_anew(self) -> None:
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, self._columns)
        table.writeheader()
        table.writerows(self._rows)
        self.close()
        with atomic_write(self.path) as file:
            file.write(text.getvalue().encode())
        self._file = open(self.path, "a", encoding="utf-8", newline="", buffering=1)  # noqa: SIM115  until `close`


class TensorBoardLog:
    """Writes losses, metrics, the learning rate and the gradients' norm as TensorBoard reads them.

    Of a run that goes on from a checkpoint, steps behind it that were written before do not count.

    Parameters
    ----------
    folder
        Of one run: ``tensorboard --logdir`` of the folder above shows several beside each other.

    Raises
    ------
    ImportError
        Without tensorboardX.
    """

    first_rank_only = True

    def __init__(self, folder: StrPath) -> None:
        self.folder = Path(arguments.path("folder", folder))
        self._kind = _summary_writer()
        self._writer: Any = None

    def catch_up(self, history: Sequence[Record]) -> None:
        """Begin behind steps that were taken before."""
        self.close()
        history = every("history", history, checked_record)
        self._begin(history[-1].step + 1 if history else None)

    def __call__(self, record: Record) -> None:
        """Write a step."""
        checked_record("record", record)
        if self._writer is None:
            self._begin(None)
        for name, value in _scalars(record):
            self._writer.add_scalar(name, value, record.step)

    def close(self) -> None:
        """Bring everything to the disk."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _begin(self, first: int | None) -> None:
        # A name of its own: theirs are of a second, and a file that is there would be replaced.
        self._writer = self._kind(str(self.folder), purge_step=first, filename_suffix=f".{os.urandom(4).hex()}")


def _row(record: Record) -> dict[str, Any]:
    """Return a record without nests."""
    row = dict(vars(record))
    for part in ("validation", "training"):
        row |= {f"{part}_{name}": value for name, value in (row.pop(part) or {}).items()}
    return row


def _scalars(record: Record) -> list[tuple[str, float]]:
    own = [(name, getattr(record, name)) for name in ("loss", "lr", "grad_norm")]
    parts = [(f"{part}/{name}", value) for part in ("training", "validation") for name, value in _of(record, part)]
    return [(name, value) for name, value in [*own, *parts] if value is not None]


def _of(record: Record, part: str) -> list[tuple[str, float]]:
    return list((getattr(record, part) or {}).items())


def _summary_writer() -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ModuleNotFoundError as error:
        if error.name != "tensorboardX":
            raise
        raise ImportError("TensorBoardLog needs tensorboardX: pip install 'gru_native[tensorboard]'") from error
    return SummaryWriter
