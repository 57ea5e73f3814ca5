"""What a pass of NumPy over large arrays does not do by itself: ask for the memory that is kept, and see signals."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from gru_native import _core

P = ParamSpec("P")
R = TypeVar("R")

# Of the elements that NumPy goes over in one call: some hundredths of a second.
PIECE = 1 << 22


def repeatable(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function that found no memory give back what is kept for later calls, and run once more.

    The core does so itself, NumPy knows nothing of it. The function must have changed nothing when it fails.
    """

    @wraps(function)
    def run(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except MemoryError as error:
            # What the first run had made would otherwise stay as long as the error.
            traceback.clear_frames(error.__traceback__)
            if not _core.release_memory():
                raise
        return function(*arguments, **keywords)

    return run
