"""Changes of several objects that are made together: a training step, or the return to a checkpoint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


class Change(NamedTuple):
    """Attributes that an object is to have."""

    of: object
    to: Mapping[str, Any]


def make(changes: Iterable[Change]) -> None:
    """Make all changes, in their order, or none, also when Ctrl-C comes meanwhile."""
    present, new = [], []
    for change in changes:
        present.append(vars(change.of))
        new.append(change.to)
    # A single call: Python looks for signals between its instructions, of which there are none here.
    deque(map(dict.update, present, new), maxlen=0)
