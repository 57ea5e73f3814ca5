"""Training data: batches of separate samples, and windows of one long stream.

A source of batches has three things, and `Trainer` asks for nothing else:

``len(data)``
    the number of batches in an epoch;
``data.epoch(number)``
    an iterator over the batches ``(inputs, targets)`` of that epoch, the same for the same number;
``data.carries_state``
    whether each batch goes on where the one before it ended, so that a recurrent model's states are handed
    on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from gru_native.random import Seed, generator, seed_path

Array: TypeAlias = np.ndarray[Any, Any]
Batch: TypeAlias = tuple[Array, Array]


class Data(Protocol):
    """A source of batches; see the module."""

    carries_state: bool

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""


class Batches:
    """Mini-batches of separate samples, with the samples on the first axis as in PyTorch's ``DataLoader``.

    Parameters
    ----------
    inputs, targets
        (N, ...) each; sequences as (N, T, I), for a model with ``batch_first=True``.
    batch_size
        Samples in a batch; the last one of an epoch may have fewer.
    shuffle
        Whether each epoch has an order of its own, drawn from `seed` and the epoch's number.
    seed
        A whole number or a tuple of them.

    Raises
    ------
    ValueError
        When inputs and targets differ in number, or there are none.
    """

    carries_state = False

    def __init__(
        self, inputs: ArrayLike, targets: ArrayLike, batch_size: int, *, shuffle: bool = False, seed: Seed = 0
    ) -> None:
        self.inputs, self.targets = _pair(inputs, targets)
        self.batch_size = at_least_one("batch_size", batch_size)
        self.shuffle = shuffle
        self.seed = seed_path(seed)

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        samples = len(self.inputs)
        order = generator((*self.seed, number)).permutation(samples) if self.shuffle else np.arange(samples)
        for start in range(0, samples, self.batch_size):
            chosen = order[start : start + self.batch_size]
            yield self.inputs[chosen], self.targets[chosen]


class Stream:
    """One long sequence, cut into parallel streams that are read window by window: truncated BPTT.

    The sequence is cut into `batch_size` streams of equal length, which lie side by side as the rows of the
    batch. Each batch is the next window of all of them, time-major, and the states at the end of a window are
    those at the start of the next. So the states see the whole past, while gradients reach back to the start
    of the window (Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories", 1990).

    Parameters
    ----------
    inputs, targets
        (N, ...) each, with time on the first axis. To predict the next element of `ids`, give ``ids[:-1]``
        and ``ids[1:]``.
    batch_size
        B, the number of streams. The last ``N % B`` elements are left out.
    window
        T, the time steps of a batch; the last one of an epoch may have fewer. Batches are (T, B, ...).

    Raises
    ------
    ValueError
        When inputs and targets differ in length, or are shorter than `batch_size`.
    """

    carries_state = True

    def __init__(self, inputs: ArrayLike, targets: ArrayLike, batch_size: int, window: int) -> None:
        self.batch_size = at_least_one("batch_size", batch_size)
        self.window = at_least_one("window", window)
        inputs, targets = _pair(inputs, targets)
        if len(inputs) < batch_size:
            raise ValueError(f"inputs: expected at least batch_size = {batch_size} elements, got {len(inputs)}")
        self.inputs, self.targets = self._side_by_side(inputs), self._side_by_side(targets)

    def _side_by_side(self, sequence: Array) -> Array:
        length = len(sequence) // self.batch_size
        streams = sequence[: length * self.batch_size].reshape(self.batch_size, length, *sequence.shape[1:])
        return np.ascontiguousarray(streams.swapaxes(0, 1))

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.window)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the windows in order; every epoch is the same."""
        for start in range(0, len(self.inputs), self.window):
            window = slice(start, start + self.window)
            yield self.inputs[window], self.targets[window]


def _pair(inputs: ArrayLike, targets: ArrayLike) -> tuple[Array, Array]:
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    for name, array in (("inputs", inputs), ("targets", targets)):
        if array.ndim == 0:
            raise ValueError(f"{name}: expected at least 1 dimension, got a single number")
    if len(targets) != len(inputs):
        raise ValueError(f"targets: expected {len(inputs)} of them, as many as inputs, got {len(targets)}")
    if len(inputs) == 0:
        raise ValueError("inputs: expected at least one, got none")
    return inputs, targets


def at_least_one(name: str, value: Any) -> int:
    """Return `value` as a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name}: expected a whole number, got {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")
    return int(value)
