"""Sources of data that users write."""

from __future__ import annotations

from typing import Any


class Unknown:
    """A user's source, which says nothing of its layout or where its rows belong."""

    carries_state = False

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def epoch(self, number: int) -> Any:
        return self.data.epoch(number)
