"""Sequences out of a table: which rows are whose, what is read of them, and what is to be predicted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from gru_native.arguments import Array
from gru_native.tables.reading import Table
from gru_native.tables.settings import Settings, TableError

FORECAST_WINDOW = 24


@dataclass(frozen=True)
class Sequences:
    """The sequences of a table: the rows of each in order of time, and what is read of each, (T, f) in float64."""

    rows: list[Array]
    inputs: list[Array]

    def chosen(self, places: Array) -> Sequences:
        """Return some of them."""
        return Sequences([self.rows[i] for i in places], [self.inputs[i] for i in places])


def error_of(table: Table, settings: Settings, rows: Array, problem: str) -> TableError:
    """Return an error of a sequence, which has these rows."""
    if settings.id is None:
        return TableError(f"{table.path}: {problem}")
    return table.error(settings.id, rows[0], f"{table.column(settings.id)[rows[0]]}: {problem}")


def features_of(table: Table, settings: Settings) -> list[str]:
    """Return the names of the columns that are read, in order; a forecast reads its targets first."""
    own = {*settings.target, settings.id, settings.time}
    others = [name for name in table.columns if name not in own] if settings.columns is None else [*settings.columns]
    if settings.columns is None:
        for name in others:
            table.check_some_numbers(name, "name it as 'id' or 'time', or what to read as 'columns'")
    features = [*settings.target, *others] if settings.task == "forecast" else others
    if not features:
        raise TableError(f"{table.path}: columns: expected at least one beside {', '.join(settings.target)}, got none")
    return features


def sequences_of(table: Table, settings: Settings, features: list[str]) -> Sequences:
    """Return the sequences of a table, in the order in which the first row of each stands there."""
    values = np.column_stack([table.numbers(name) for name in features])
    if settings.missing == "refuse" and np.isnan(values).any():
        row, column = np.argwhere(np.isnan(values))[0]
        raise table.error(features[column], row, "expected a number, got none; 'missing' says what to do")
    if settings.wide:
        inputs = list(values[..., None])
        rows = list(np.arange(len(table))[:, None])
    else:
        rows = _rows(table, settings)
        inputs = [values[own] for own in rows]
    if settings.window is not None and settings.task in ("classify", "regress"):
        inputs = [own[-settings.window :] for own in inputs]
    return Sequences(rows, inputs)


def _rows(table: Table, settings: Settings) -> list[Array]:
    ids = np.zeros(len(table), np.int64)
    if settings.id is not None:
        _, first, place = np.unique(table.texts(settings.id), return_index=True, return_inverse=True)
        ids = np.argsort(np.argsort(first))[place]
    times = np.arange(len(table)) if settings.time is None else table.places(settings.time)
    order = np.lexsort((times, ids))
    ids, times = ids[order], times[order]
    again = (ids[1:] == ids[:-1]) & (times[1:] == times[:-1])
    if settings.time is not None and again.any():
        row = int(order[1:][again][0])
        value = table.column(settings.time)[row]
        hint = ": 'id' says which sequence a row belongs to" if settings.id is None else ""
        raise table.error(settings.time, row, f"expected each time once in a sequence, got {value} again{hint}")
    return np.split(order, np.flatnonzero(np.diff(ids)) + 1)


def labels_of(table: Table, settings: Settings, sequences: Sequences) -> list[Array]:
    """Return the label of each step of each sequence, or (1,) of each sequence, as texts."""
    (target,) = settings.target
    labels = table.texts(target)
    if settings.task == "label":
        return [labels[rows] for rows in sequences.rows]
    return [_one(table, target, labels, rows) for rows in sequences.rows]


def numbers_of(table: Table, settings: Settings, sequences: Sequences) -> Array:
    """Return the numbers that belong to each sequence, (n, k)."""
    columns = []
    for name in settings.target:
        column = table.numbers(name)
        if np.isnan(column).any():
            raise table.error(name, int(np.isnan(column).argmax()), "expected a number, got none")
        columns.append(np.concatenate([_one(table, name, column, rows) for rows in sequences.rows]))
    return np.column_stack(columns)


def _one(table: Table, name: str, values: Array, rows: Array) -> Array:
    """Return the one value that all rows of a sequence have, (1,)."""
    own = values[rows]
    if (differs := own != own[0]).any():
        row = int(rows[differs][0])
        raise table.error(name, row, f"expected {own[0]} as in the rest of the sequence, got {values[row]}")
    return own[:1]


def window_of(settings: Settings) -> int:
    """Return the steps that are read for a forecast."""
    return FORECAST_WINDOW if settings.window is None else settings.window


def windows_of(series: list[Array], window: int, horizon: int = 0) -> Array:
    """Return each window of some series (N_i, f) that so many steps follow, all of a series together.

    They are (n, window, f) in float32.
    """
    found: list[Array] = [
        sliding_window_view(own[: len(own) - horizon].astype(np.float32), window, axis=0).swapaxes(1, 2)
        for own in series
    ]
    return found[0] if len(found) == 1 else np.concatenate(found)  # those of one are no copy


def following(series: list[Array], window: int, horizon: int) -> Array:
    """Return the steps after each of these windows, of series (N_i, k) as (n, horizon, k)."""
    return np.concatenate([sliding_window_view(own[window:], horizon, axis=0).swapaxes(1, 2) for own in series])
