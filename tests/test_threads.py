"""Threads: how many a call takes, the interpreter's lock, calls at once, forks, and what a call leaves.

What counts threads or processor time runs in a process of its own, which nothing else disturbs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import ISAS, assert_same_bits, layer, normal
from processes import python
from test_bits import BY_FEW_PANELS, BY_PANELS, BY_PANELS_FOR_CACHE, BY_ROWS

import gru_native
from gru_native import _core
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


def test_threads_of_calls_that_do_not_say() -> None:
    before = _core.default_threads()
    with ThreadPoolExecutor(1) as other, gru_native.threads(3):
        usual = other.submit(_core.default_threads).result()
        assert _core.default_threads() == 3
        with gru_native.threads(usual + 1):
            assert _core.default_threads() == usual + 1
            assert other.submit(_core.default_threads).result() == usual
        assert _core.default_threads() == 3
    assert _core.default_threads() == before
    for wrong in (0, 257, None, 1.5):
        with pytest.raises((ValueError, TypeError), match="count: expected"), gru_native.threads(wrong):  # type: ignore[arg-type]
            pass


def run(script: str, timeout: float = 60, prelude: str = PRELUDE, **environment: str) -> str:
    return python("-c", prelude + script, timeout=timeout, **environment)


@pytest.fixture(params=["openmp", "threads"])
def team(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose threads compute in the scripts of a test."""
    monkeypatch.setenv("GRU_NATIVE_TEAM", request.param)
    return str(request.param)


every_team = pytest.mark.usefixtures("team")


# ---- How many ----------------------------------------------------------------------------------------------


@every_team
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


@every_team
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


@every_team
def test_fewer_threads_than_asked_for_give_the_same() -> None:
    script = f"""
for sizes in ({BY_ROWS}, {BY_PANELS}):
    x, weights = problem(*sizes)
    assert same(train(x, weights, 7), train(x, weights, 1))
print(len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else "")
"""
    run(script, OMP_THREAD_LIMIT="2")
    run(script, OMP_DYNAMIC="true")


QUOTAS: dict[str, tuple[str, dict[str, str], int]] = {
    "version 2": ("0::/a/b", {"a/b/cpu.max": "250000 100000"}, 2),
    "of the group above": ("0::/a/b", {"a/cpu.max": "100000 100000", "a/b/cpu.max": "max 100000"}, 1),
    "less than a CPU": ("0::/", {"cpu.max": "50000 100000"}, 1),
    "version 1": ("4:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000"}, 3),
    "version 1, seen as the root": ("4:cpu,cpuacct:/docker/x", {"cpu/cpu.cfs_quota_us": "200000"}, 2),
    "none in version 1": ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1"}, 2**31 - 1),
    "none": ("0::/a\n1:name=systemd:/b\n:::\n", {"a/cpu.max": "max 100000"}, 2**31 - 1),
    "nonsense": ("0::/a", {"a/cpu.max": "many few"}, 2**31 - 1),
}


@pytest.mark.parametrize("name", QUOTAS)
def test_the_quota_of_a_container(name: str, tmp_path: Path) -> None:
    groups, files, expected = QUOTAS[name]
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for path, text in files.items():
        file = tmp_path / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if path.endswith("cpu.cfs_quota_us"):
            (file.parent / "cpu.cfs_period_us").write_text("100000")
    assert _core.cpu_quota(str(tmp_path)) == expected


@linux
@every_team
def test_threads_that_the_system_does_not_give() -> None:
    """Where there is no room for more stacks there are fewer threads, or an exception, and always the same bits."""
    script = f"""
import resource
x, weights = problem{BY_ROWS}
expected = train(x, weights, 1)
status = open("/proc/self/status").read().split()
used = int(status[status.index("VmSize:") + 1]) * 1024
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
for room in (0, 4, 12, 30, 80):
    resource.setrlimit(resource.RLIMIT_AS, (used + (room << 20), hard))
    for threads in (2, 7, 64):
        try:
            results = train(x, weights, threads)
        except MemoryError:
            continue
        assert same(results, expected)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
assert same(train(x, weights, 7), expected)
print("done")
"""
    assert run(script) == "done\n"


@pytest.mark.parametrize("wrong", ["", "OpenMP", "pthreads", None, 1, b"threads"])
def test_a_team_that_there_is_not(wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="^team: expected 'openmp' or 'threads', got "):
        gru_native.set_team(wrong)


def test_an_empty_team_in_the_environment_is_none() -> None:
    run("", GRU_NATIVE_TEAM="")


def test_a_wrong_team_in_the_environment_is_named() -> None:
    with pytest.raises(AssertionError, match="ImportError: GRU_NATIVE_TEAM: team: expected .*, got 'none'"):
        run("", GRU_NATIVE_TEAM="none")


def test_the_team_may_change_between_calls() -> None:
    script = f"""
import gru_native
for sizes in ({BY_ROWS}, {BY_PANELS}):
    x, weights = problem(*sizes)
    expected = train(x, weights, 1)
    for team in ("threads", "openmp", "threads"):
        gru_native.set_team(team)
        assert same(train(x, weights, 3), expected)
"""
    run(script)


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


@every_team
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


@every_team
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


@linux
def test_a_forked_child_has_threads_of_its_own() -> None:
    """With OpenMP one, because its threads are gone; of ours as many as the parent."""
    script = f"""
x, weights = problem{BY_ROWS}
train(x, weights, 3)
def count():
    before = len(os.listdir("/proc/self/task"))
    train(x, weights, 3)
    print(before, len(os.listdir("/proc/self/task")), flush=True)
    return True
assert in_child(count)
"""
    assert run(FORK + script, GRU_NATIVE_TEAM="threads") == "1 3\n"
    assert run(FORK + script, GRU_NATIVE_TEAM="openmp") == "1 1\n"


@pytest.fixture
def other_library(tmp_path: Path) -> str:
    """Python that loads a library whose ``team`` has so many threads, in the same OpenMP."""
    if shutil.which("g++") is None:
        pytest.skip("needs a compiler")
    source, library = tmp_path / "other.cpp", tmp_path / "libother.so"
    source.write_text(
        """
        extern "C" int team(int n) {
          int sum = 0;
        #pragma omp parallel num_threads(n) reduction(+ : sum)
          sum += 1;
          return sum;
        }
        """
    )
    subprocess.run(["g++", "-fopenmp", "-shared", "-fPIC", source, "-o", library], check=True)
    return f"import ctypes; other = ctypes.CDLL({str(library)!r})\n"


@linux
@every_team
def test_a_forked_child_of_a_process_in_which_another_library_used_openmp(other_library: str) -> None:
    script = f"""
x, weights = problem{BY_ROWS}
assert other.team(2) == 2
assert in_child(lambda: bool(train(x, weights, 2)))
assert in_child(lambda: in_child(lambda: bool(train(x, weights, 2))))
print("done")
"""
    assert run(FORK + script, prelude=other_library + PRELUDE) == "done\n"


@linux
@every_team
def test_a_forked_child_that_loads_the_package_after_another_library_used_openmp(other_library: str) -> None:
    script = f"""
import os, time
assert other.team(2) == 2

def compute():
    names = {{}}
    exec({PRELUDE!r}, names)
    x, weights = names["problem"]{BY_ROWS}
    return bool(names["train"](x, weights, 2))

assert in_child(compute)
print("done")
"""
    assert run(other_library + FORK + script, prelude="") == "done\n"


# ---- Afterwards --------------------------------------------------------------------------------------------


@every_team
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


@every_team
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


@linux
def test_a_process_that_takes_the_id_of_a_thread_keeps_its_cpus() -> None:
    script = f"""
import subprocess
x, weights = problem{BY_ROWS}
before = set(os.listdir("/proc/self/task"))
train(x, weights, 4)
team = set(os.listdir("/proc/self/task")) - before
train(x, weights, 2)
time.sleep(0.2)
gone = sorted(team - set(os.listdir("/proc/self/task")), key=int)
for attempt in range(50):
    try:
        with open("/proc/sys/kernel/ns_last_pid", "w") as file:
            file.write(str(int(gone[0]) - 1))
    except OSError:
        break
    with subprocess.Popen(["sleep", "60"]) as stranger:
        allowed = os.sched_getaffinity(stranger.pid)
        for _ in range(3 if stranger.pid == int(gone[0]) else 0):
            time.sleep(0.05)
            train(x, weights, 4)
            assert os.sched_getaffinity(stranger.pid) == allowed
        stranger.kill()
    if stranger.pid == int(gone[0]):
        print("done")
        break
"""
    if run(script, GRU_NATIVE_TEAM="openmp") != "done\n":
        pytest.skip("the system does not let a process have the id that it asks for")


NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")


@pytest.mark.parametrize(
    "environment", [{}, {"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "7", "OPENBLAS_NUM_THREADS": "2"}]
)
def test_loading_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    script = f"print([os.environ.get(name) for name in {NAMES}])"
    assert run(script, **environment) == f"{[environment.get(name) for name in NAMES]}\n"


@every_team
@linux
def test_loading_starts_no_thread_beside_numpys() -> None:
    script = """
import os
import shutil
import numpy as np
np.ones((500, 500)) @ np.ones((500, 500))
before = len(os.listdir("/proc/self/task"))
import gru_native
print(len(os.listdir("/proc/self/task")) - before)
"""
    assert run(script, prelude="") == "0\n"


def test_a_subinterpreter_is_refused() -> None:
    script = '''
try:
    import _xxsubinterpreters as interpreters
except ImportError:
    import _interpreters as interpreters
import sys
own = interpreters.create() if sys.version_info >= (3, 13) else interpreters.create(isolated=False)
for module in ("gru_native", "gru_native._core", "gru_native._layer"):
    interpreters.run_string(own, f"""
import sys, warnings
sys.path[:] = {sys.path!r}
warnings.simplefilter("ignore")
try:
    import {module}
except ImportError as error:
    print(error, flush=True)
""")
import gru_native
'''
    assert run(script, prelude="").count("Python's main interpreter only") == 3


@linux
def test_numpy_keeps_its_threads_when_loaded_after() -> None:
    script = """
import os
import shutil
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
