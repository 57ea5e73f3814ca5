"""The process that computes: ``python -m gru_bench.worker THREADS``.

It takes orders on standard input and answers on standard output, a line of JSON each. An order is the name of a method
of `Server` and its arguments.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np

from gru_bench.cases import Case
from gru_bench.peers import PEERS
from gru_bench.peers.base import Peer
from gru_bench.products import product
from gru_native import _core
from gru_native.train.report import memory_status

# What reading the clock twice takes itself: the shortest calls take a few times as much.
_CLOCK = min(-(perf_counter() - perf_counter()) for _ in range(1000))


class Server:
    """Builds a call, and makes it as often as it is told to.

    Parameters
    ----------
    threads
        Threads that a call may use.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._peer: Peer | None = None
        self._call: Callable[[], Any] = lambda: None

    def build(self, peer: str, case: list[Any], mode: str) -> None:
        """Make a mode of a peer the call."""
        self._peer = PEERS[peer](Case(*case), self._threads)
        self._call = getattr(self._peer, mode)

    def product(self, name: str) -> None:
        """Make a matrix product the call."""
        self._call = product(name, self._threads)

    def save(self, file: str) -> float:
        """Call once, write the results to a file, and return the seconds of the call."""
        if self._peer is None:
            raise RuntimeError("save: expected a peer that is built, got none")
        start = perf_counter()
        result = self._call()
        seconds = perf_counter() - start
        np.savez(file, allow_pickle=False, **self._peer.arrays(result))
        return seconds

    def time(self, calls: int, pause: float = 0.0) -> list[float]:
        """Return the seconds of each of some calls, with a pause before each."""
        return _times(self._call, calls, pause)

    def memory(self) -> int:
        """Call once and return by how many bytes the process grew at most meanwhile."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = memory_status("VmRSS")
        result = self._call()
        peak = memory_status("VmHWM")
        del result
        return peak - before

    def series(
        self, peer: str, cases: list[list[Any]], mode: str, passes: int, block_seconds: float
    ) -> list[list[float]]:
        """Time several cases round-robin and return, for each, the median of its block in every pass."""
        calls = [getattr(PEERS[peer](Case(*case), self._threads), mode) for case in cases]
        counts = [max(1, round(block_seconds / _times(call, 2)[-1])) for call in calls]
        blocks: list[list[float]] = [[] for _ in calls]
        for _ in range(passes):
            for call, count, block in zip(calls, counts, blocks, strict=True):
                block.append(median(_times(call, count)))
        return blocks

    def read(self, bytes: int, seconds: float) -> float:
        """Return the bytes per second at which all threads together read buffers of so many bytes each."""
        repeats = max(1, round(seconds / _core.read_seconds(bytes, 1, self._threads)))
        return bytes * repeats * self._threads / _core.read_seconds(bytes, repeats, self._threads)


def _times(call: Callable[[], Any], calls: int, pause: float = 0.0) -> list[float]:
    if calls > 1:  # wakes threads and fills caches, which a single long call does by itself
        call()
    seconds = []
    for _ in range(calls):
        if pause:
            sleep(pause)
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start - _CLOCK)
    return seconds


def main(threads: int) -> None:
    """Serve until standard input ends."""
    # What a library prints goes where error messages go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(threads)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(getattr(server, name)(**arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
