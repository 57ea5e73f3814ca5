"""Loads the compiled core, so that its threads sleep between calls.

GNU OpenMP lets idle threads spin for milliseconds after a parallel region, on cores that the caller may want for something
else. How long is read from the environment once, when its library is loaded: it is set for that moment only.
"""

from __future__ import annotations

import os

_SPIN = "GOMP_SPINCOUNT"


def _load() -> None:
    own = _SPIN not in os.environ and "OMP_WAIT_POLICY" not in os.environ
    if own:
        os.environ[_SPIN] = "1000"
    try:
        from gru_native import _core  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"gru_native's compiled core cannot be loaded ({error}). In a checkout, did you forget to build it? "
            "`make` does; run Python from another folder than the checkout's top."
        ) from error
    finally:
        if own:
            del os.environ[_SPIN]


_load()
