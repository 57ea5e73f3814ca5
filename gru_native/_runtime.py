"""Loads the compiled core, so that its threads soon sleep after a call, and sets what holds for the whole process.

OpenMP lets idle threads spin for milliseconds after a parallel region, and OpenBLAS starts a team of its own, which
the core never uses. They read the environment once, when their libraries are loaded: it is set for that moment only.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# For GNU's and LLVM's OpenMP, unless the user says how threads wait: some 40 µs. That spans the gaps between the calls
# of a training step, and waking a thread takes longer. And for OpenBLAS.
WAITING = {"GOMP_SPINCOUNT": "4000", "KMP_BLOCKTIME": "0"}
ALONE = {"OPENBLAS_NUM_THREADS": "1"}
_LIBRARY = "libgru_native.dylib" if sys.platform == "darwin" else "libgru_native.so"


def _refuse_subinterpreter() -> None:
    api = ctypes.pythonapi
    api.PyInterpreterState_Get.restype = api.PyInterpreterState_Main.restype = ctypes.c_void_p
    if api.PyInterpreterState_Get() != api.PyInterpreterState_Main():
        raise ImportError("gru_native works in Python's main interpreter only, and this is a subinterpreter")


def _load() -> None:
    import numpy  # noqa: F401  its own OpenBLAS must not see what is meant for ours

    chosen = {*WAITING, "OMP_WAIT_POLICY"} & os.environ.keys()
    quiet = ALONE if chosen else {**WAITING, **ALONE}
    before = {name: os.environ.get(name) for name in quiet}
    os.environ.update(quiet)
    try:
        from gru_native import _core  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"gru_native's compiled core cannot be loaded ({error}). In a checkout, did you forget to build it? "
            "`make` does."
        ) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _watch_signals() -> None:
    _core.watch_signals(threading.main_thread().ident or 0)


def set_team(team: str) -> None:
    """Choose whose threads compute, for all calls that begin later.

    Parameters
    ----------
    team
        ``"openmp"``: those of OpenMP, the default. A child forked from a process in which OpenMP may have had threads
        computes on one. ``"threads"``: those of this package. A forked child has them anew, and where the system gives
        no more threads there are fewer. The environment variable ``GRU_NATIVE_TEAM`` chooses when the package is
        loaded.

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    if not isinstance(team, str):
        raise TypeError(f"team: expected 'openmp' or 'threads', got {type(team).__name__}")
    _core.set_team(team)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let calls of this thread that say no `threads` use so many: ``with gn.threads(2): ...``.

    It is about a thread: a coroutine must not be suspended within it.

    Parameters
    ----------
    count
        1 to 256.
    """
    from gru_native._layer import MAX_THREADS
    from gru_native.arguments import whole

    before = _core.use_threads(whole("count", count, 1, MAX_THREADS))
    try:
        yield
    finally:
        _core.use_threads(before)


def release_memory() -> int:
    """Give the memory that is kept for later calls back to the system, and return how many bytes that was.

    Large buffers and results that are freed are kept: never more than once were in use at a time, and a quarter of the
    machine's memory at the most. All of it is given back before a request of this package fails.
    """
    return _core.release_memory()


def get_include() -> str:
    """Return the folder of ``gru_native.h``, the core's interface in C, and of ``gru_native.hpp``, for C++20.

    With it and `get_library`, programs in other languages use the core: see docs/embed.md.
    """
    return os.path.join(os.path.dirname(_core.__file__), "include")


def get_library() -> str:
    """Return the path of the core's shared library, to link with or to load: the one that this package itself uses.

    It needs nothing of Python. What it needs besides lies in its folder.
    """
    return os.path.join(os.path.dirname(_core.__file__), _LIBRARY)


_refuse_subinterpreter()
_load()

from gru_native import _core  # noqa: E402

try:
    set_team(os.environ.get("GRU_NATIVE_TEAM") or "openmp")
except ValueError as error:
    raise ImportError(f"GRU_NATIVE_TEAM: {error}") from error
_watch_signals()
os.register_at_fork(after_in_child=_watch_signals)
