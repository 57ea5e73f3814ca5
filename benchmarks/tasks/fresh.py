"""Training data without end: batches that are drawn at random when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np

from gru_native.random import generator

Drawn: TypeAlias = tuple[np.ndarray, np.ndarray]


class Fresh:
    """Batches for a `Trainer`, new ones in each epoch: a function of the seed and of the epoch's number.

    Parameters
    ----------
    draw
        ``draw(rng, epoch)`` returns inputs and targets of a batch.
    batches
        Of an epoch.
    """

    carries_state = False

    def __init__(self, draw: Callable[[np.random.Generator, int], Drawn], batches: int, seed: tuple[int, ...]) -> None:
        self.draw, self.batches, self.seed = draw, batches, seed

    def __len__(self) -> int:
        return self.batches

    def epoch(self, number: int) -> Iterator[Drawn]:
        rng = generator((*self.seed, number))
        for _ in range(self.batches):
            yield self.draw(rng, number)
