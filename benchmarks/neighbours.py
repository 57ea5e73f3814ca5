"""What others in the process lose, and what threads gain: ``python benchmarks/neighbours.py --json FILE``.

Work of NumPy, PyTorch and scikit-learn is timed in processes that do nothing else, and in others that call a GRU of
this package before each time; so is the GRU, alone and after their work. The processes take turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from threading import Barrier
from time import perf_counter, sleep

import numpy as np

RUNS = 5
OTHERS = ("numpy", "torch", "scikit-learn")
THREADS = (1, 2, 4, 8)
SECONDS = 1.0


def of_numpy() -> Callable[[], object]:
    """Return a product of matrices."""
    a = np.random.default_rng(0).standard_normal((768, 768)).astype(np.float32)
    return lambda: a @ a


def of_torch() -> Callable[[], object]:
    """Return a training step of two linear layers."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512))
    x = torch.randn(256, 512)
    return lambda: model(x).sum().backward()


def of_sklearn() -> Callable[[], object]:
    """Return a clustering."""
    from sklearn.cluster import KMeans

    x = np.random.default_rng(0).standard_normal((4000, 32))
    return lambda: KMeans(16, n_init=1, max_iter=10, random_state=0).fit(x)


def of_gru() -> Callable[[], object]:
    """Return a forward call that uses all threads."""
    import gru_native as gn

    gru, x = gn.nn.GRU(128, 128, seed=0), np.zeros((50, 32, 128), np.float32)
    return lambda: gru(x)


WORK = {"numpy": of_numpy, "torch": of_torch, "scikit-learn": of_sklearn, "gru_native": of_gru}


def timed(what: str, after: str | None) -> float:
    """Return the median time of some work, in ms, after other work each time."""
    work = WORK[what]()
    other = WORK[after]() if after else None
    times: list[float] = []
    end = perf_counter() + 2 * SECONDS  # of which the first half is for the system to find a CPU for each thread
    while (now := perf_counter()) < end:
        if other:
            other()
        start = perf_counter()
        work()
        if now > end - SECONDS:
            times.append(perf_counter() - start)
    return 1e3 * median(times)


def rates() -> dict[str, dict[int, float]]:
    """Return calls a second from so many threads of Python at once, of calls and steps on one thread each."""
    import gru_native as gn

    gru, x = gn.nn.GRU(64, 64, seed=0), np.zeros((50, 4, 64), np.float32)
    model = gn.nn.GRU(256, 256, seed=0)

    def call() -> Callable[[], object]:
        return lambda: gru(x)

    def step() -> Callable[[], object]:
        stream, row = model.stream(), np.zeros((1, 256), np.float32)
        return lambda: stream.step(row)

    def count(make: Callable[[], Callable[[], object]], start: Barrier) -> int:
        with gn.threads(1):
            work = make()
            work()
            start.wait()
            end, calls = perf_counter() + SECONDS, 0
            while perf_counter() < end:
                work()
                calls += 1
            return calls

    found: dict[str, dict[int, float]] = {}
    for what, make in {"forward": call, "step of a stream": step}.items():
        for threads in THREADS:
            start = Barrier(threads)
            with ThreadPoolExecutor(threads) as pool:
                counts = [pool.submit(count, make, start) for _ in range(threads)]
                found.setdefault(what, {})[threads] = sum(future.result() for future in counts) / SECONDS
            sleep(0.1)
    return found


def main() -> None:
    """Measure, print and write."""
    from gru_bench.machine import description

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()

    def run(*names: str) -> float:
        return float(subprocess.check_output([sys.executable, __file__, "--timed", *names], text=True))

    pairs = [(what, after) for other in OTHERS for what, after in ((other, "gru_native"), ("gru_native", other))]
    times: dict[tuple[str, str | None], list[float]] = {}
    for _ in range(RUNS):
        for key in dict.fromkeys([*((what, None) for what, _ in pairs), *pairs]):
            times.setdefault(key, []).append(run(*filter(None, key)))
    beside = [
        {"what": what, "after": after, "alone": median(times[what, None]), "beside": median(times[what, after])}
        for what, after in pairs
    ]
    figures = {"machine": description(), "beside": beside, "threads": rates()}
    print(json.dumps(figures, indent=1))
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timed"]:
        print(timed(sys.argv[2], *sys.argv[3:] or [None]))
    else:
        main()
