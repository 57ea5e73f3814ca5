"""Sequences out of a long table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gru_native.arguments import Array, every, shown, text
from gru_native.tables.times import times_of


def to_sequences(df: Any, id: str, time: str, columns: Sequence[str] | None = None) -> list[Array]:
    """Return the sequences of a table that has a row for each step of each.

    They are in ascending order of `id`, as in ``df.groupby(id, observed=True)``: so the label that belongs to each is
    ``df.groupby(id, observed=True)["label"].first()``. Categories have an order of their own.

    Parameters
    ----------
    df : data frame
        Of pandas, polars, or anything else that gives a column by its name, and knows its ``columns``.
    id : str
        The column that says which sequence a row belongs to.
    time : str
        The column that orders the rows of a sequence: numbers, dates, or texts of ISO 8601, all in one form, such as
        ``2018-12-31 09:00``. They can stand in any order in `df`.
    columns : list of str, optional
        Which columns are features, all of numbers; without them all others.

    Returns
    -------
    list of (T_i, f) arrays
        Of the one dtype that holds all columns.

    Raises
    ------
    ValueError
        For a column that is not there, that has no value in `id` or `time`, for texts in `time` that are no times, and
        for two rows of one sequence and time.
    TypeError
        For features that are not numbers.
    """
    if not hasattr(df, "columns"):
        raise TypeError(f"df: expected a data frame, got {shown(df)}")
    names, own = list(df.columns), (text("id", id), text("time", time))
    features = [name for name in names if name not in own] if columns is None else every("columns", columns, text)
    for argument, wanted in (("id", [id]), ("time", [time]), ("columns", features)):
        if missing := [name for name in wanted if name not in names]:
            raise ValueError(f"{argument}: expected one of the columns {names}, got {missing[0]!r}")
    if not features:
        raise ValueError("columns: expected at least one, got none")
    ids, times = _places("id", _ids(df[id])), _places("time", _times(time, df[time]))
    order = np.lexsort((times, ids))
    ids, times = ids[order], times[order]
    again = (ids[1:] == ids[:-1]) & (times[1:] == times[:-1])
    if again.any():
        row = order[1:][again][0]
        raise ValueError(f"time: expected each once in a sequence, got one again in row {row}")
    steps = np.column_stack([_numbers(name, df[name]) for name in features])[order]
    return np.split(steps, np.flatnonzero(np.diff(ids)) + 1) if len(steps) else []


def _ids(column: Any) -> Array:
    """Return what orders the sequences; of categories of pandas, their own order."""
    codes = getattr(getattr(column, "cat", None), "codes", None)
    return np.asarray(column) if codes is None else np.where(codes < 0, np.nan, codes)


def _times(name: str, column: Any) -> Array:
    values = np.asarray(column)
    if not any(isinstance(each, str) for each in values):
        return values
    return times_of(values, lambda row, problem: ValueError(f"time: column {name!r}, row {row}: {problem}"))


def _places(argument: str, values: Array) -> Array:
    """Return for each value its place among all that there are."""
    try:
        places: Array = np.unique(values, return_inverse=True)[1]
    except TypeError as error:  # of several kinds, or None
        raise ValueError(
            f"{argument}: expected a column that can be ordered, without missing values: {error}"
        ) from None
    if (values != values).any():
        raise ValueError(f"{argument}: expected a column without missing values, got {values[values != values][0]}")
    return places


def _numbers(name: str, column: Any) -> Array:
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"columns: expected numbers, got dtype {values.dtype} in {name!r}")
    return values
