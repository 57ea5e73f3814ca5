"""Python in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any


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
