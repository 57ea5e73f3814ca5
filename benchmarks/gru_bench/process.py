"""A worker's process as its owner sees it: orders and answers, and stopped in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

# What holds this package, PyTorch and the BLAS libraries to an instruction set.
HELD_TO = {
    "avx2": {
        "GRU_NATIVE_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    }
}
HELD_PEERS = ("torch",)  # which of the other engines these hold
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Worker:
    """A process that is stopped unless it has an order: threads of it that spin cost the others nothing.

    It is bound to as many CPUs as it may use threads, before any engine is loaded.

    Parameters
    ----------
    name
        What it computes, for messages.
    threads
        The threads it may use.
    isa
        A key of `HELD_TO`, or ``None`` for what the CPU has.
    """

    def __init__(self, name: str, threads: int, isa: str | None = None) -> None:
        self.name = name
        with _bound_to(threads):
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gru_bench.worker", str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**_findable(), **dict.fromkeys(COUNTS, str(threads)), **(HELD_TO[isa] if isa else {})},
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

    def order(self, method: str, /, **arguments: Any) -> Any:
        """Have a method of the worker's `Server` called, and return the answer.

        Raises
        ------
        ChildProcessError
            When the process ends instead.
        """
        # There are both, as they are pipes.
        stdin, stdout = cast(TextIO, self._process.stdin), cast(TextIO, self._process.stdout)
        self._process.send_signal(signal.SIGCONT)
        try:
            print(json.dumps([method, arguments]), file=stdin, flush=True)
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        self._process.send_signal(signal.SIGSTOP)
        if not answer:
            raise ChildProcessError(f"{self.name}: its process ended; its own message stands above")
        return json.loads(answer)


def _findable() -> dict[str, str]:
    """Return this process's environment, in which Python also finds this package: it is not installed."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@contextmanager
def _bound_to(cpus: int) -> Iterator[None]:
    """Bind this thread, and so what it starts, to the first of the process's CPUs."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(own)[:cpus])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)
