"""Lets the peers take turns: a process for each, blocks of calls A B A B, everyone else stopped meanwhile."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median, quantiles
from types import TracebackType
from typing import Any

import numpy as np

from gru_native.bench.cases import Case


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
    """All peers' timings of one case, this package's first."""

    case: Case
    mode: str
    threads: int
    timings: list[Timing]

    @property
    def ratio(self) -> float:
        """The best other peer's time over the first one's; NaN when there is no other."""
        first, *others = self.timings
        return min((timing.seconds for timing in others), default=float("nan")) / first.seconds


class Worker:
    """A peer's process, stopped unless it has an order: threads of it that spin cost the others nothing."""

    def __init__(self, peer: str, threads: int) -> None:
        self.peer = peer
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gru_native.bench.worker", peer, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def order(self, **order: Any) -> Any:
        """Hand in an order and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGCONT)
        print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        self._process.send_signal(signal.SIGSTOP)
        if not answer:
            raise RuntimeError(f"{self.peer}: its process ended; its own message stands above")
        return json.loads(answer)


def compare(
    cases: Sequence[Case],
    peers: Sequence[str],
    threads: int,
    *,
    modes: Sequence[str] = ("forward", "train"),
    blocks: int = 9,
    block_seconds: float = 0.1,
) -> Iterator[Comparison]:
    """Time every case in every mode, and yield each comparison when it is done.

    Parameters
    ----------
    cases, peers, threads
        What to compute, with which engines, on how many threads.
    modes
        "forward" and "train".
    blocks
        Blocks of calls for each peer.
    block_seconds
        About how long a block takes; a block has at least one measured call.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = [stack.enter_context(Worker(peer, threads)) for peer in peers]
        for case in cases:
            for mode in modes:
                calls = {}
                for worker in workers:
                    results = str(folder / f"{worker.peer}.npz")
                    seconds = worker.order(case=astuple(case), mode=mode, results=results)
                    calls[worker] = max(1, round(block_seconds / seconds))
                medians: dict[Worker, list[float]] = {worker: [] for worker in workers}
                for _ in range(blocks):
                    for worker in workers:
                        medians[worker].append(median(worker.order(calls=calls[worker])))
                errors = [_difference(folder / f"{peers[0]}.npz", folder / f"{peer}.npz") for peer in peers]
                timings = [
                    _timing(worker.peer, medians[worker], error) for worker, error in zip(workers, errors, strict=True)
                ]
                yield Comparison(case, mode, threads, timings)


def _timing(peer: str, medians: list[float], error: float) -> Timing:
    low, middle, high = quantiles(medians, n=4, method="inclusive")
    return Timing(peer, middle, low, high, error)


def _difference(first: Path, other: Path) -> float:
    with np.load(first) as a, np.load(other) as b:
        return max(float(np.max(np.abs(a[name] - b[name])) / np.max(np.abs(a[name]))) for name in b.files)
