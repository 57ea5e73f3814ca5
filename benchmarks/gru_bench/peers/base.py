"""What every engine of the benchmark offers: a case, built once and then computed again and again."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from gru_bench.cases import Array, Case

#: The live sequences of which the mode `pool` steps as many as a case has rows.
POOL_SIZE = 1000


def subsets(rows: int) -> Iterator[Array]:
    """Yield which of the `POOL_SIZE` sequences take a step, again and again."""
    rng = np.random.default_rng(0)
    yield from itertools.cycle([rng.permutation(POOL_SIZE)[:rows] for _ in range(64)])


class Peer(ABC):
    """An engine with the weights and the input of one case.

    Each of its `modes` is a method without arguments that computes, and returns when the result is there.

    Parameters
    ----------
    case
        What to compute.
    threads
        Threads that the engine may use. The process is bound to as many CPUs before this is called.
    """

    #: The distributions that have to be installed.
    packages: ClassVar[tuple[str, ...]]

    #: What the engine can do: forward, train, and modes of its own.
    modes: ClassVar[tuple[str, ...]] = ("forward", "train")

    @abstractmethod
    def __init__(self, case: Case, threads: int) -> None: ...

    @abstractmethod
    def forward(self) -> Any:
        """Return output (T, B, D * H) and h_n (L * D, B, H), without keeping anything for a backward pass."""

    def train(self) -> dict[str, Any]:
        """Run forward and backward with weights that are new to the engine.

        Returns
        -------
        dict
            The gradients of ``x``, ``h_0`` and of every parameter.
        """
        raise NotImplementedError

    def arrays(self, result: Any) -> dict[str, Array]:
        """Return what a mode returned by its names."""
        named = result if isinstance(result, dict) else dict(zip(("output", "h_n"), result, strict=True))
        return {name: np.asarray(array) for name, array in named.items()}
