"""Threads: how many a call takes, the interpreter's lock, calls at once, forks, and what a call leaves.

What counts threads or processor time runs in a process of its own, which nothing else disturbs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from cases import ISAS, assert_same_bits, layer, normal
from test_bits import BY_FEW_PANELS, BY_PANELS, BY_PANELS_FOR_CACHE, BY_ROWS

from gru_native import functional as F

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# What each script below begins with: a layer whose calls take as many threads as they are given.
PRELUDE = """
import os, sys, threading, time
import numpy as np
from gru_native import functional as F

rng = np.random.default_rng(0)

def problem(T, B, I, H):
    bound = H ** -0.5
    draw = lambda *shape: rng.uniform(-bound, bound, shape).astype(np.float32)
    weights = F.pack_gru(draw(3 * H, I), draw(3 * H, H), draw(3 * H), draw(3 * H))
    return rng.standard_normal((T, B, I)).astype(np.float32), weights

def train(x, weights, threads):
    (output, h_n), tape = F.recurrent_forward(x, weights, threads=threads)
    (d_x, d_h_0), gradients = F.recurrent_backward(tape, output, threads=threads)
    return [output, d_x, d_h_0, *gradients.values()]

def same(a, b):
    return all(np.array_equal(one, other) for one, other in zip(a, b, strict=True))
"""


def run(script: str, timeout: float = 60, prelude: str = PRELUDE, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", prelude + script],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- How many ----------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("sizes", [BY_ROWS, BY_PANELS, BY_FEW_PANELS, BY_PANELS_FOR_CACHE], ids=str)
def test_large_calls_take_the_threads_that_they_are_given(sizes: tuple[int, ...]) -> None:
    """Otherwise test_bits.py would compare one thread with one thread."""
    script = f"""
x, weights = problem{sizes}
before = len(os.listdir("/proc/self/task"))
for threads in (1, 2, 3, 7):
    F.recurrent(x, weights, threads=threads)
    print(1 + len(os.listdir("/proc/self/task")) - before)
"""
    assert run(script).split() == ["1", "2", "3", "7"]


@linux
def test_small_calls_stay_on_one_thread() -> None:
    script = """
x, weights = problem(10, 4, 16, 16)
before = len(os.listdir("/proc/self/task"))
train(x, weights, 7)
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert run(script) == "0\n"


@linux
def test_the_default_is_openmps() -> None:
    script = f"""
x, weights = problem{BY_ROWS}
before = len(os.listdir("/proc/self/task"))
F.recurrent(x, weights)
print(1 + len(os.listdir("/proc/self/task")) - before)
"""
    assert run(script, OMP_NUM_THREADS="3") == "3\n"
    assert run(script, OMP_NUM_THREADS="1") == "1\n"


def test_fewer_threads_than_asked_for_give_the_same() -> None:
    script = f"""
for sizes in ({BY_ROWS}, {BY_PANELS}):
    x, weights = problem(*sizes)
    assert same(train(x, weights, 7), train(x, weights, 1))
print(len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else "")
"""
    run(script, OMP_THREAD_LIMIT="2")
    run(script, OMP_DYNAMIC="true")


# ---- The interpreter's lock and calls at once --------------------------------------------------------------


def test_other_python_threads_run_during_a_call(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call is one long stay in the core: with the lock held the counter would stand still."""
    monkeypatch.setenv("GRU_NATIVE_ISA", "scalar")
    weights, x = layer(rng, 64, 256).pack("scalar"), normal(rng, 100, 16, 64)
    linear_weights, rows = F.pack_linear(normal(rng, 1000, 1000)), normal(rng, 1000, 1000)
    logits, targets = normal(rng, 2000, 5000), np.zeros(2000, np.int64)
    output, _ = F.recurrent(x, weights, threads=1)
    tapes = [F.recurrent_forward(x, weights, threads=1)[1] for _ in range(3)]
    indices, d_embedded = np.zeros(100_000, np.int64), np.broadcast_to(logits[0, :1000], (100_000, 1000))
    calls: dict[str, Callable[[], Any]] = {
        "gru": lambda: F.recurrent(x, weights, threads=1),
        "gru_forward": lambda: F.recurrent_forward(x, weights, threads=1),
        "gru_backward": lambda: F.recurrent_backward(tapes.pop(), output, threads=1),
        "linear": lambda: F.linear(rows, linear_weights, threads=1),
        "linear_backward": lambda: F.linear_backward(rows, linear_weights, rows, threads=1),
        "embedding_backward": lambda: F.embedding_backward(indices, d_embedded, 3, threads=1),
        "softmax_cross_entropy": lambda: F.softmax_cross_entropy(logits, targets, threads=1),
        "sigmoid": lambda: F.sigmoid(logits),
        "tanh": lambda: F.tanh(logits),
    }

    def longest_stop(call: Callable[[], Any]) -> float:
        """Say for which part of the call this thread stood still."""
        worker = threading.Thread(target=call)
        times = [time.perf_counter()]
        worker.start()
        while worker.is_alive():
            time.sleep(0.0002)
            times.append(time.perf_counter())
        return float(np.diff(times).max() / (times[-1] - times[0]))

    for name, call in calls.items():
        # A busy machine stops a thread too, but not every time.
        assert min(longest_stop(call) for _ in range(3)) < 0.3, name


@pytest.mark.parametrize("threads", [1, 2])
def test_calls_at_once_on_the_same_weights(rng: np.random.Generator, threads: int) -> None:
    """Also the first backward of new weights, which packs for all."""
    sizes = [BY_ROWS, BY_PANELS, (3, 2, 5, 7)]
    cells = [layer(rng, inputs, hidden) for _, _, inputs, hidden in sizes]
    inputs = [normal(rng, *size[:3]) for size in sizes]

    def train(i: int, weights: F.RecurrentWeights) -> list[Any]:
        (output, h_n), tape = F.recurrent_forward(inputs[i], weights, threads=threads)
        (d_x, d_h_0), gradients = F.recurrent_backward(tape, output, threads=threads)
        return [output, h_n, d_x, d_h_0, *gradients.values()]

    expected = [train(i, cell.pack(ISAS[-1])) for i, cell in enumerate(cells)]
    for _ in range(3):
        packs = [cell.pack(ISAS[-1]) for cell in cells]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda i, packs=packs: (i, train(i, packs[i])), [0, 1, 2] * 8))
        for i, actual in results:
            for one, other in zip(actual, expected[i], strict=True):
                assert_same_bits(one, other)


def test_a_tape_is_taken_by_one_of_many_threads(rng: np.random.Generator) -> None:
    weights = layer(rng, 8, 64).pack(ISAS[-1])
    x = normal(rng, 20, 8, 8)
    (output, _), tape = F.recurrent_forward(x, weights)
    expected = F.recurrent_backward(F.recurrent_forward(x, weights)[1], output)[1]["weight_hh"]

    def backward(_: int) -> Any:
        try:
            return F.recurrent_backward(tape, output)[1]["weight_hh"]
        except RuntimeError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(backward, range(16)))
    (gradient,) = [result for result in results if not isinstance(result, str)]
    assert_same_bits(gradient, expected)


def test_threads_that_come_and_go(rng: np.random.Generator) -> None:
    weights, x = layer(rng, 32, 256).pack(ISAS[-1]), normal(rng, *BY_PANELS[:3])
    expected = F.recurrent(x, weights, threads=1)[0]
    results: list[Any] = []
    for _ in range(20):
        thread = threading.Thread(target=lambda: results.append(F.recurrent(x, weights, threads=2)[0]))
        thread.start()
        thread.join()
    assert len(results) == 20
    for result in results:
        assert_same_bits(result, expected)


def test_beside_numpys_own_threads(rng: np.random.Generator) -> None:
    """NumPy's BLAS multiplies with its pool while ours computes: both are right, and neither hangs."""
    weights, x = layer(rng, 32, 256).pack(ISAS[-1]), normal(rng, *BY_PANELS[:3])
    a = normal(rng, 300, 300)
    product, output = a @ a, F.recurrent(x, weights, threads=2)[0]
    stop, products = threading.Event(), []

    def multiply() -> None:
        while not stop.is_set():
            products.append(np.array_equal(a @ a, product))

    worker = threading.Thread(target=multiply)
    worker.start()
    try:
        for _ in range(20):
            assert_same_bits(F.recurrent(x, weights, threads=2)[0], output)
            np.testing.assert_array_equal(a @ a, product)
    finally:
        stop.set()
        worker.join()
    assert products
    assert all(products)


# ---- Forks -------------------------------------------------------------------------------------------------

FORK = """
def in_child(compute, seconds=20):
    "Run in a fork and say whether it returned True in time; a hanging child is ended."
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if compute() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("sizes", [BY_ROWS, BY_PANELS], ids=str)
@pytest.mark.parametrize("before", ["nothing", "one thread", "two threads", "a team in another thread"])
def test_a_forked_child_computes(before: str, sizes: tuple[int, ...]) -> None:
    script = f"""
x, weights = problem{sizes}
linear_weights = F.pack_linear(rng.standard_normal((300, 300)).astype(np.float32))
rows = rng.standard_normal((500, 300)).astype(np.float32)

def compute(threads):
    d_x, gradients = F.linear_backward(rows, linear_weights, rows, threads=threads)
    losses, d_logits = F.softmax_cross_entropy(rows, np.zeros(500, int), gradient=True, threads=threads)
    return [*train(x, weights, threads), d_x, gradients["weight"], losses, d_logits]

before = {before!r}
expected = None
if before in ("one thread", "two threads"):
    expected = compute(1 if before == "one thread" else 2)
elif before == "a team in another thread":
    thread = threading.Thread(target=compute, args=(2,))
    thread.start()
    thread.join()

def right():
    "In the child: with several threads asked for, and again in a child of its own."
    return same(compute(2), wanted) and in_child(lambda: same(compute(3), wanted))

if expected is None:
    # The parent computes after its children, so that it starts no team before.
    wanted = compute(1)
else:
    wanted = expected
assert in_child(right)
assert same(compute(2), wanted), "the parent, after"
assert in_child(right), "a second child"
print("done")
"""
    assert run(FORK + script, timeout=120) == "done\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_pool_of_forked_processes_computes() -> None:
    script = """
import multiprocessing, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of forks beside threads

x, weights = problem(30, 17, 33, 65)

def task(seed):
    return train(x, weights, 2)[0].sum()

expected = task(0)
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(task, range(4)).get(timeout=40) == [expected] * 4
print("done")
"""
    assert run(FORK + script) == "done\n"


# ---- Afterwards --------------------------------------------------------------------------------------------


def test_nothing_spins_after_a_call() -> None:
    """Spinning threads would use the cores that the caller wants for something else."""
    script = f"""
for sizes in ({BY_ROWS}, {BY_PANELS}):
    x, weights = problem(*sizes)
    train(x, weights, 2)
    linear_weights = F.pack_linear(rng.standard_normal((300, 300)).astype(np.float32))
    rows = rng.standard_normal((500, 300)).astype(np.float32)
    F.linear_backward(rows, linear_weights, rows, threads=2)
    before = time.process_time()
    time.sleep(0.3)
    print(time.process_time() - before)
"""
    for used in map(float, run(script).split()):
        assert used < 0.02


@linux
def test_threads_may_run_where_they_might_before() -> None:
    """A thread that sleeps is kept from its caller's CPU until it runs, and from nothing else."""
    script = f"""
x, weights = problem{BY_ROWS}
allowed = os.sched_getaffinity(0)
for pause in (0, 0.001, 0.02, 0.02, 0):
    time.sleep(pause)
    train(x, weights, 2)
    for task in os.listdir("/proc/self/task"):
        assert os.sched_getaffinity(int(task)) == allowed
own = min(allowed)
for task in os.listdir("/proc/self/task"):
    os.sched_setaffinity(int(task), {{own}})
time.sleep(0.02)
train(x, weights, 2)
for task in os.listdir("/proc/self/task"):
    assert os.sched_getaffinity(int(task)) == {{own}}
print("done")
"""
    assert run(script) == "done\n"


NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")


@pytest.mark.parametrize(
    "environment", [{}, {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "7", "OPENBLAS_NUM_THREADS": "2"}]
)
def test_loading_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    script = f"print([os.environ.get(name) for name in {NAMES}])"
    assert run(script, **environment) == f"{[environment.get(name) for name in NAMES]}\n"


@linux
def test_loading_starts_no_thread_beside_numpys() -> None:
    script = """
import os
import numpy as np
np.ones((500, 500)) @ np.ones((500, 500))
before = len(os.listdir("/proc/self/task"))
import gru_native
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert run(script, prelude="") == "0\n"


@linux
def test_numpy_keeps_its_threads_when_loaded_after() -> None:
    script = """
import os
import %s
import numpy as np
np.ones((500, 500)) @ np.ones((500, 500))
print(len(os.listdir("/proc/self/task")))
"""
    assert run(script % "gru_native", prelude="") == run(script % "numpy", prelude="")


@pytest.mark.parametrize("threads", [1, 2])
def test_subnormal_numbers_work_again_after_a_call(rng: np.random.Generator, threads: int) -> None:
    """Within a call they count as zero; the caller's arithmetic is as it was, also after a refused call."""
    x, weights = normal(rng, *BY_ROWS[:3]), layer(rng, *BY_ROWS[2:]).pack(ISAS[-1])
    subnormal = np.full(100, 1e-40, np.float32)

    def assert_normal_arithmetic() -> None:
        assert np.all(subnormal * np.float32(1) == subnormal)
        assert np.all(subnormal + subnormal > subnormal)
        assert sys.float_info.min / 2 > 0

    (output, _), tape = F.recurrent_forward(x, weights, threads=threads)
    assert_normal_arithmetic()
    F.recurrent_backward(tape, output, threads=threads)
    assert_normal_arithmetic()
    F.linear_backward(x[0], F.pack_linear(normal(rng, 40, BY_ROWS[2])), normal(rng, 17, 40), threads=threads)
    assert_normal_arithmetic()
    np.testing.assert_array_equal(F.tanh(subnormal), 0)
    assert_normal_arithmetic()
    with pytest.raises(RuntimeError, match="tape: it was used"):
        F.recurrent_backward(tape, output, threads=threads)
    assert_normal_arithmetic()
