"""What figures depend on: the CPU, its caches, the instruction set, versions."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from gru_bench.limits import levels
from gru_bench.peers import PEERS
from gru_native import _core


def description(isa: str | None = None) -> dict[str, Any]:
    """Return the description of this machine that goes with every figure; `isa` as of `Worker`."""
    packages = ["numpy", *(package for peer in PEERS.values() for package in peer.packages), "mkl"]
    return {
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "isa": isa or _core.active_isa(),
        "levels": {level.name: level.capacity for level in levels()},
        "blas": _core.blas(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {package: found for package in packages if (found := _version(package)) is not None},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
