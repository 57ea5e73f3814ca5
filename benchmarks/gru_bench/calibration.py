"""Measures the limits of the machine, in processes of their own."""

from __future__ import annotations

from contextlib import ExitStack

from gru_bench import products
from gru_bench.limits import Limits, levels
from gru_bench.process import Worker

CALLS = 5
TRIALS = 3  # of each product, to know the fastest
SECONDS = 0.003  # that a level is read for, about


class Calibration:
    """The best matrix product of this machine and the reading of its memory, ready to be measured again and again.

    Parameters
    ----------
    stack
        Ends the processes.
    threads, isa
        As of `Worker`.
    """

    def __init__(self, stack: ExitStack, threads: int, isa: str | None) -> None:
        self._threads = threads
        self._reader = stack.enter_context(Worker("bandwidth", threads, isa))
        workers = [stack.enter_context(Worker(name, threads, isa)) for name in products.installed()]
        for worker in workers:
            worker.order("product", name=worker.name)
        self._product = max(workers, key=lambda worker: max(self._peak(worker) for _ in range(TRIALS)))
        self._levels = levels()
        self._capacity = {level.name: level.capacity for level in self._levels}

    @property
    def blas(self) -> str:
        """The name of the product that was the fastest."""
        return self._product.name

    def measure(self) -> Limits:
        """Return what the machine does now: the best of a few products, and of every level."""
        bandwidth = {
            level.name: self._reader.order("read", bytes=level.measured, seconds=SECONDS) for level in self._levels
        }
        return Limits(self._threads, self._peak(self._product), bandwidth, self._capacity)

    @staticmethod
    def _peak(worker: Worker) -> float:
        seconds: list[float] = worker.order("time", calls=CALLS)
        return products.FLOPS / min(seconds)
