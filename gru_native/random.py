"""Random numbers as a function of a seed and of nothing else: counter-based Philox, NumPy's and the core's.

A seed is a path of whole numbers. Whoever hands it on appends one number (the epoch, the place of a layer),
so that every consumer draws numbers of its own and no generator has to be kept or saved.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from gru_native.arguments import shown, wholes

Seed: TypeAlias = int | tuple[int, ...]


def seed_path(seed: Seed, name: str = "seed") -> tuple[int, ...]:
    """Return a seed as a tuple: ``(*seed_path(seed), place)`` is the seed for the consumer at `place`.

    Errors call the argument `name`.

    Raises
    ------
    TypeError
        For a seed that is neither a whole number nor a tuple of them.
    ValueError
        For a negative number or an empty tuple.
    """
    if type(seed) is int and seed >= 0:  # most are, and each call of dropout brings one
        return (seed,)
    try:
        path = wholes(name, seed if isinstance(seed, (list, tuple)) else (seed,), -math.inf, math.inf)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number or a tuple of them, got {shown(seed)}") from None
    if not path or min(path) < 0:
        raise ValueError(f"{name}: expected whole numbers from 0 up, got {shown(seed)}")
    return path


def generator(seed: Seed | None) -> np.random.Generator:
    """Return the generator that belongs to `seed`; ``None`` draws fresh entropy from the system."""
    if seed is None:
        return np.random.Generator(np.random.Philox())
    return np.random.Generator(np.random.Philox(_sequence(seed_path(seed))))


def key(seed: Seed, name: str = "seed") -> int:
    """Return the 64 bits that belong to `seed`, for the core's generator. Errors call the argument `name`."""
    return int(_sequence(seed_path(seed, name)).generate_state(1, np.uint64)[0])


def _sequence(path: tuple[int, ...]) -> np.random.SeedSequence:
    first, *rest = path
    # The rest is the spawn key: plain entropy is padded with zeros, so that (5,) and (5, 0) would be one.
    return np.random.SeedSequence(first, spawn_key=rest)
