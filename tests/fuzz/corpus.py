"""Old crashes, each as small as it gets: they run first."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kinds
import numpy as np
from calls import World

import gru_native as gn
from gru_native import functional as F

CASES: dict[str, Callable[[], None]] = {}


def case(function: Callable[[], None]) -> Callable[[], None]:
    CASES[function.__name__] = function
    return function


def while_written(array: Any, right: int, wrong: int, call: Callable[[], Any]) -> None:
    """Call again and again while another thread writes to the end of an array."""
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.0003):
            array[-1] = wrong if array[-1] == right else right

    sys.setswitchinterval(1e-4)
    writer = threading.Thread(target=write)
    writer.start()
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        with kinds.findings.refusals("a call while another thread writes"):
            call()
    over.set()
    writer.join()


@case
def lengths_written_during_a_bidirectional_call() -> None:
    layer, x = gn.nn.GRU(16, 64, bidirectional=True, seed=0), np.ones((100, 32, 16), "f4")
    lengths = np.full(32, 100)
    while_written(lengths, 100, 10**7, lambda: layer(x, None, lengths, threads=1))


@case
def targets_written_during_a_loss() -> None:
    logits, targets = np.ones((20_000, 50), "f4"), np.zeros(20_000, int)
    while_written(targets, 0, 2**40, lambda: F.softmax_cross_entropy(logits, targets, gradient=True, threads=1))


@case
def indices_written_during_an_embeddings_backward() -> None:
    indices, d = np.zeros(20_000, int), np.ones((20_000, 64), "f4")
    while_written(indices, 0, 2**40, lambda: F.embedding_backward(indices, d, 50, threads=1))


@case
def lengths_written_between_forward_and_backward() -> None:
    layer, x = gn.nn.GRU(64, 64, bidirectional=True, seed=0), np.ones((50, 16, 64), "f4")
    lengths = np.full(16, 50)
    view = lengths[:]
    lengths.flags.writeable = False
    (output, _), tape = layer.forward(x, None, lengths)
    view[:] = 10**7
    layer.backward(tape, np.ones_like(output))


@case
def the_id_of_an_ended_thread_is_another_process() -> None:
    work = kinds.Work(np.random.default_rng(0), kinds.SIZES[0])
    before = set(os.listdir("/proc/self/task"))
    work(4)
    team = set(os.listdir("/proc/self/task")) - before
    work(2)
    time.sleep(0.1)
    gone = sorted(map(int, team - set(os.listdir("/proc/self/task"))))
    for _ in range(20 if gone else 0):
        try:
            Path("/proc/sys/kernel/ns_last_pid").write_text(str(gone[0] - 1))
        except OSError:
            return  # not for us
        with subprocess.Popen(["sleep", "60"]) as stranger:
            allowed = os.sched_getaffinity(stranger.pid)
            if stranger.pid == gone[0]:
                work(4)
            narrowed = os.sched_getaffinity(stranger.pid) != allowed
            stranger.kill()
        assert not narrowed, "another process was kept from a CPU"
        if stranger.pid == gone[0]:
            return


@case
def a_fork_after_another_library_had_a_team() -> None:
    if not shutil.which("g++"):
        return
    folder = Path(tempfile.mkdtemp())
    source = 'extern "C" void team() {\n#pragma omp parallel num_threads(2)\n  {}\n}\n'
    (folder / "other.cpp").write_text(source)
    quiet = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    compile_it = ["g++", "-fopenmp", "-shared", "-fPIC", folder / "other.cpp", "-o", folder / "libother.so"]
    subprocess.run(compile_it, check=True, env=quiet)
    ctypes.CDLL(str(folder / "libother.so")).team()
    work = kinds.Work(np.random.default_rng(0))
    kinds.in_child(lambda: work(2) and None, "a child of a process in which OpenMP had a team", 20)


@case
def threads_that_there_is_no_room_for() -> None:
    work = kinds.Work(np.random.default_rng(0), kinds.SIZES[0])
    expected = work(1)
    with kinds.room_for(30 << 20), contextlib.suppress(MemoryError):
        kinds.same(work(64), expected)


@case
def kept_memory_and_a_request_that_do_not_fit_together() -> None:
    with kinds.room_for(1600 << 20):
        F.empty(900 << 20, np.dtype(np.uint8))
        F.empty(1000 << 20, np.dtype(np.uint8))


@case
def checkpoints_with_other_names_and_places() -> None:
    """Model tensors that are missing or renamed, places of any type, a name without a group."""
    world = World(np.random.default_rng(0))
    path = world.folder / "run"
    run = gn.train.Checkpoint(path)
    trainer = world.trainer()
    run.save(trainer, gn.train.checkpoint.Run(1, 2), {"a": 1})
    arrays, header = gn.io.load_arrays(path)
    name = next(each for each in arrays if each.startswith("model/"))
    others = {each: array for each, array in arrays.items() if each != name}
    deep = np.zeros((1,) * 64, "f4")
    for changed in (others, {**others, f"{name}x": arrays[name]}, {**arrays, "x": deep}, {**arrays, name: deep}):
        gn.io.save_arrays(path, changed, header)
        refused(world, path)
    for place in ("step", "epoch", "batches", "failures"):
        for wrong in (None, -1, 1.5, "x", [], 10**30):
            changed = {**header["checkpoint"], place: wrong}
            gn.io.save_arrays(path, arrays, {"checkpoint": changed})
            refused(world, path)


def refused(world: World, path: Path) -> None:
    trainer = world.trainer()
    before = kinds.everything(trainer)
    try:
        gn.train.Checkpoint(path).restore(trainer, {"a": 1})
    except gn.ModelFileError:
        assert kinds.everything(trainer) == before, "half of a damaged file was taken over"
        return
    raise AssertionError("a damaged checkpoint was taken")


@case
def an_import_in_a_subinterpreter() -> None:
    try:
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]
    except ImportError:
        import _interpreters as interpreters  # type: ignore[import-not-found]
    own = interpreters.create() if sys.version_info >= (3, 13) else interpreters.create(isolated=False)
    script = f"import sys\nsys.path[:] = {sys.path!r}\ntry:\n    import gru_native\nexcept ImportError:\n    pass"
    interpreters.run_string(own, script)
