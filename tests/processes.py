"""Python in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def python(*arguments: Any, timeout: float = 120, **environment: str) -> str:
    """Return what Python prints in a process of its own, with these variables, that ends well."""
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def mpirun(ranks: int, *arguments: Any) -> list[str]:
    """Return the command for so many processes of Python that MPI joins, on any number of cores."""
    program = Path(sys.executable).with_name("mpirun")
    if not program.exists():
        pytest.skip("there is no mpirun beside Python")
    pytest.importorskip("mpi4py")
    options = ("--allow-run-as-root", "--oversubscribe", "-n", str(ranks))
    return [str(program), *options, sys.executable, *map(str, arguments)]
