"""What orders the steps of a sequence where a table has texts: numbers, dates and times of day."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from gru_native.arguments import Array

DATE = re.compile(r"\d{4}-\d\d")  # NumPy would also take 10-11-12, as the year 10


def times_of(texts: Array, error: Callable[[int, str], Exception]) -> Array:
    """Return texts as numbers, or those of ISO 8601 as `numpy.datetime64`; the first one says which of the two.

    Raises
    ------
    Exception
        What `error` makes of the first row that is neither, or a date in another form than the first, and the problem.
    """
    found, dates = [], not _is_number(texts[0])
    for row, text in enumerate(texts):
        try:
            if dates and len(text) != len(texts[0]):
                raise ValueError
            found.append(_instant(text) if dates else float(text))
        except (TypeError, ValueError):
            expected = "ISO 8601 (2018-12-31 09:00), or numbers, all in one form"
            raise error(row, f"expected {expected}, got {str(text)!r}") from None
    return np.array(found)


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def _instant(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that NumPy keeps no time zone: what it returns is in UTC
        return np.datetime64(text if DATE.match(text) else f"2000-01-01 {text}")
