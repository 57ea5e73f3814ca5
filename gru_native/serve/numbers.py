"""Arrays as JSON has them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gru_native.arguments import Array


def listed(array: Array) -> Any:
    """Return an array as lists, with null for what JSON has no number for."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        array = array.astype(object)
        array[~np.isfinite(array.astype(np.float64))] = None
    return array.tolist()
