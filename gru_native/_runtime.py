"""Loads the compiled core, so that its threads soon sleep after a call.

OpenMP lets idle threads spin for milliseconds after a parallel region, and OpenBLAS starts a team of its own, which
the core never uses. They read the environment once, when their libraries are loaded: it is set for that moment only.
"""

from __future__ import annotations

import os

import numpy  # noqa: F401  its own OpenBLAS must not see what is meant for ours

# For GNU's and LLVM's OpenMP, unless the user says how threads wait: some 40 µs. That spans the gaps between the calls
# of a training step, and waking a thread takes longer. And for OpenBLAS.
WAITING = {"GOMP_SPINCOUNT": "4000", "KMP_BLOCKTIME": "0"}
ALONE = {"OPENBLAS_NUM_THREADS": "1"}


def _load() -> None:
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


_load()
