"""Lets the engines take turns: a process for each, blocks of calls A B A B, everyone else stopped meanwhile."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from gru_bench.calibration import Calibration
from gru_bench.cases import Case
from gru_bench.limits import Limits, limit_seconds, typical
from gru_bench.peers import PEERS
from gru_bench.process import Worker


@dataclass(frozen=True)
class Timing:
    """What one peer took for a call of one case: seconds.

    Attributes
    ----------
    seconds
        The median of the blocks' medians.
    low, high
        The quartiles of the blocks' medians.
    error
        The largest difference to the first peer's results, relative to the largest value of each array.
    """

    peer: str
    seconds: float
    low: float
    high: float
    error: float


@dataclass(frozen=True)
class Comparison:
    """All peers' timings of one case, this package's first, and the machine's limits at that time.

    Attributes
    ----------
    limit_seconds
        The least that a call can take.
    """

    case: Case
    mode: str
    threads: int
    timings: list[Timing]
    limits: Limits
    limit_seconds: float

    @property
    def seconds(self) -> float:
        """The time of this package."""
        return self.timings[0].seconds

    @property
    def best_other(self) -> Timing | None:
        """The fastest of the other peers, if there are any."""
        return min(self.timings[1:], key=lambda timing: timing.seconds, default=None)

    @property
    def ratio(self) -> float:
        """The best other peer's time over this package's; NaN when there is no other."""
        return self.best_other.seconds / self.seconds if self.best_other else float("nan")

    @property
    def fraction(self) -> float:
        """The limit over this package's time: 1 cannot be beaten."""
        return self.limit_seconds / self.seconds

    @property
    def ratio_at_limit(self) -> float:
        """What the ratio would be if this package took the limit's time, where it takes longer."""
        return self.ratio / min(self.fraction, 1.0)


def compare(
    cases: Sequence[Case],
    peers: Sequence[str],
    threads: int,
    *,
    modes: Sequence[str] = ("forward", "train"),
    blocks: int = 9,
    block_seconds: float = 0.1,
    isa: str | None = None,
) -> Iterator[Comparison]:
    """Time every case in every mode, and yield each comparison when it is done.

    Parameters
    ----------
    cases, peers, threads
        What to compute, with which engines, on how many threads.
    modes
        "forward" and "train"; an engine that has no such mode has no part in it.
    blocks
        Blocks of calls for each peer. After each round the limits are measured, too.
    block_seconds
        About how long a block takes; a block has at least one measured call.
    isa
        As of `Worker`.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = [stack.enter_context(Worker(peer, threads, isa)) for peer in peers]
        calibration = Calibration(stack, threads, isa)
        for case in cases:
            for mode in modes:
                able = [worker for worker in workers if mode in PEERS[worker.name].modes]
                calls = {}
                for worker in able:
                    worker.order("build", peer=worker.name, case=astuple(case), mode=mode)
                    worker.order("save", file=str(folder / f"{worker.name}.npz"))
                    calls[worker] = calls_in(worker, block_seconds)
                limits: list[Limits] = []
                medians: dict[Worker, list[float]] = {worker: [] for worker in able}
                for _ in range(blocks):
                    take_turn(calls, medians)
                    limits.append(calibration.measure())
                first = folder / f"{able[0].name}.npz"
                timings = [
                    _timing(worker.name, medians[worker], _difference(first, folder / f"{worker.name}.npz"))
                    for worker in able
                ]
                found = typical(limits)
                yield Comparison(case, mode, threads, timings, found, limit_seconds(case, mode, found))


def calls_in(worker: Worker, block_seconds: float) -> int:
    """Return how many of a worker's calls make a block."""
    (seconds,) = worker.order("time", calls=1)
    if seconds < block_seconds:
        *_, seconds = worker.order("time", calls=3)
    return max(1, round(block_seconds / float(seconds)))


def take_turn(calls: Mapping[Worker, int], medians: Mapping[Worker, list[float]]) -> None:
    """Have every worker compute a block and add the median of its calls."""
    for worker, count in calls.items():
        medians[worker].append(median(worker.order("time", calls=count)))


def _timing(peer: str, medians: list[float], error: float) -> Timing:
    low, middle, high = quantiles(medians, n=4, method="inclusive")
    return Timing(peer, middle, low, high, error)


def _difference(first: Path, other: Path) -> float:
    with np.load(first) as a, np.load(other) as b:
        return max(float(np.max(np.abs(a[name] - b[name])) / np.max(np.abs(a[name]))) for name in b.files)
