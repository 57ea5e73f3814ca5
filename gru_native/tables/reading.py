"""Tables in files: CSV, NumPy's .npz, and Parquet. What is wrong is named by file, column and line."""

from __future__ import annotations

import csv
import math
import zipfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gru_native.arguments import Array
from gru_native.io import regular
from gru_native.tables.settings import TableError
from gru_native.tables.times import times_of

ENDS = (".csv", ".npz", ".parquet")
NOTHING = {"", "na", "n/a", "nan", "null", "none", "?"}  # how a missing value is written, in small letters
FLAGS = {"true": 1.0, "false": 0.0}  # the same of flags


@dataclass(frozen=True)
class Table:
    """The columns of a file, as they stand there.

    Attributes
    ----------
    lines : (N,), optional
        Where each row ends in the file, if it has lines.
    sequences : bool
        Whether its rows come from an array of sequences: columns ``id`` and ``time`` then say which row is whose.
    """

    path: Path
    columns: dict[str, Array]
    lines: Array | None = None
    sequences: bool = False
    _numbers: dict[str, Array] = field(default_factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def error(self, column: str, row: int, problem: str) -> TableError:
        """Return an error that names the place."""
        place = f"row {row + 1}" if self.lines is None else f"line {self.lines[row]}"
        return TableError(f"{self.path}: column {column!r}, {place}: {problem}")

    def column(self, name: str) -> Array:
        """Return a column as it stands in the file."""
        if name not in self.columns:
            raise TableError(f"{self.path}: expected a column {name!r}, got {', '.join(map(repr, self.columns))}")
        return self.columns[name]

    def numbers(self, name: str) -> Array:
        """Return a column in float64, with NaN for missing values."""
        if name not in self._numbers:
            self._numbers[name] = self._as_numbers(name)
        return self._numbers[name]

    def _as_numbers(self, name: str) -> Array:
        column = self.column(name)
        if column.dtype.kind in "biuf":
            found = column.astype(np.float64)
        else:
            found = np.empty(len(column))
            for row, value in enumerate(column):
                if (number := _number(value)) is None:
                    raise self.error(name, row, f"expected a number, got {value!r}")
                found[row] = number
        if np.isinf(found).any():
            row = int(np.isinf(found).argmax())
            raise self.error(name, row, f"expected a finite number, got {found[row]}")
        return found

    def check_some_numbers(self, name: str, hint: str) -> None:
        """Raise TableError, with a hint, for a column in which all values are something else than numbers."""
        column = self.column(name)
        others = []
        for row, value in enumerate(column if column.dtype.kind not in "biuf" else ()):
            if (number := _number(value)) is None:
                others.append(row)
            elif not math.isnan(number):
                return
        if others:
            raise self.error(name, others[0], f"expected a number, got {column[others[0]]!r}: {hint}")

    def texts(self, name: str) -> Array:
        """Return a column as texts, of which none may be missing."""
        column = self.column(name)
        for row, value in enumerate(column):
            if _is_missing(value):
                written = isinstance(value, str) and value.strip()
                got = f"{value!r}, which stands for a missing one" if written else "none"
                raise self.error(name, row, f"expected a value, got {got}")
        return np.array([str(value) for value in column])

    def places(self, name: str) -> Array:
        """Return for each value its place among all in a column, of numbers or dates."""
        column, texts = self.column(name), self.texts(name)
        if column.dtype.kind not in "biufMm":
            column = times_of(texts, partial(self.error, name))
        places: Array = np.unique(column, return_inverse=True)[1]
        return places


def read_table(path: Path) -> Table:
    """Read a table, of the kind that the end of its name says.

    Raises
    ------
    TableError
        For a file that is no such table, with the line where it has one.
    ImportError
        For Parquet without pyarrow.
    OSError
        When the file cannot be read.
    """
    readers = dict(zip(ENDS, (_read_csv, _read_npz, _read_parquet), strict=True))
    if path.suffix.lower() not in readers:
        raise TableError(f"{path}: expected a name that ends in {', '.join(ENDS)}")
    table = readers[path.suffix.lower()](path)
    if not table.columns or not len(table):
        raise TableError(f"{path}: expected at least one column and row, got none")
    return table


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in NOTHING
    return value is None or bool(value != value)  # NaN, and no date


def _number(value: Any) -> float | None:
    """Return a value as a number, NaN for a missing one, ``None`` for what is none."""
    if _is_missing(value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return FLAGS.get(str(value).strip().lower())


def _read_csv(path: Path) -> Table:
    try:
        with open(path, encoding="utf-8-sig", newline="", opener=regular) as file:
            heading = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=heading.count), strict=True)
            names = [name.strip() for name in next(reader, [])]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise TableError(f"{path}: column {twice!r}, line 1: expected each name once, got it again")
            rows, lines = [], []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(names):
                    raise TableError(f"{path}: line {reader.line_num}: expected {len(names)} values, got {len(row)}")
                rows.append(row)
                lines.append(reader.line_num)
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: not a text in UTF-8: {error.reason} at byte {error.start}") from error
    except csv.Error as error:
        raise TableError(f"{path}: line {reader.line_num}: not CSV: {error}") from error
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return Table(path, {n: np.array(own, object) for n, own in zip(names, columns, strict=True)}, np.array(lines))


def _read_npz(path: Path) -> Table:
    """Read arrays: (N,) is a column; beside one (n, T, f), axes n and T become rows, with columns id and time."""
    try:
        with open(path, "rb", opener=regular) as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {name: loaded[name] for name in loaded.files}
    except (ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise TableError(f"{path}: not a .npz file of arrays: {error}") from error
    cubes = [own.shape[:2] for own in arrays.values() if own.ndim == 3]
    if not cubes:
        return Table(path, _split(path, arrays))
    rows, steps = cubes[0]
    grid = np.indices((rows, steps)).reshape(2, -1)
    long = {}
    for name, own in arrays.items():
        if own.shape[:2] == (rows, steps):
            long[name] = own.reshape(rows * steps, *own.shape[2:])
        elif own.shape == (rows,):
            long[name] = np.repeat(own, steps)
        else:
            raise TableError(f"{path}: {name}: expected ({rows},) or ({rows}, {steps}, ...), got shape {own.shape}")
    return Table(path, {"id": grid[0], "time": grid[1], **_split(path, long)}, sequences=True)


def _split(path: Path, arrays: dict[str, Array]) -> dict[str, Array]:
    """Return columns of arrays (N,), and (N, k) as k columns ``name.0``, ``name.1``, ..."""
    columns: dict[str, Array] = {}
    for name, own in arrays.items():
        if own.ndim not in (1, 2):
            raise TableError(f"{path}: {name}: expected (N,) or (N, k), got shape {own.shape}")
        columns |= {name: own} if own.ndim == 1 else {f"{name}.{i}": own[:, i] for i in range(own.shape[1])}
    if len({len(own) for own in columns.values()}) > 1:
        sizes = ", ".join(f"{name} {len(own)}" for name, own in columns.items())
        raise TableError(f"{path}: expected arrays of one length, got {sizes}")
    return columns


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise ImportError("Parquet needs pyarrow: pip install 'gru_native[parquet]'") from error
    try:
        with open(path, "rb", opener=regular) as file:
            found = parquet.read_table(file)
    except ArrowException as error:
        raise TableError(f"{path}: not a Parquet file: {error}") from error
    columns = zip(found.column_names, found.columns, strict=True)
    return Table(path, {name: own.to_numpy() for name, own in columns})
