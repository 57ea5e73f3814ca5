"""What came out of a benchmark: a table for people, JSON with the machine's description for everything else."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from gru_native import _core
from gru_native.bench.compare import Comparison
from gru_native.bench.peers import PEERS
from gru_native.io import atomic_write

HEADER = f"{'T,B,I,H,L':18} {'mode':8} {'threads':>7} {'ms':>10} {'±%':>5}  {'GFLOP/s':>8}  best other"


def row(comparison: Comparison) -> str:
    """Return a line of the table: this package's time, its spread and rate, and the best other peer."""
    first, *others = comparison.timings
    passes = 1 if comparison.mode == "forward" else 3
    rate = 2e-9 * passes * comparison.case.multiply_adds / first.seconds
    spread = 50 * (first.high - first.low) / first.seconds
    text = (
        f"{comparison.case.name:18} {comparison.mode:8} {comparison.threads:7} "
        f"{1e3 * first.seconds:10.4f} {spread:5.1f}  {rate:8.1f}"
    )
    if others:
        best = min(others, key=lambda timing: timing.seconds)
        text += f"  {comparison.ratio:6.2f} x  {best.peer} {1e3 * best.seconds:.4f} (±{best.error:.0e})"
    return text


def summary(comparisons: Iterable[Comparison]) -> list[str]:
    """Return the geometric mean and the least of the ratios, for each mode and number of threads."""
    groups: dict[tuple[str, int], list[Comparison]] = {}
    for comparison in comparisons:
        if len(comparison.timings) > 1:
            groups.setdefault((comparison.mode, comparison.threads), []).append(comparison)
    lines = []
    for (mode, threads), members in groups.items():
        least = min(members, key=lambda comparison: comparison.ratio)
        mean = geometric_mean(comparison.ratio for comparison in members)
        lines.append(
            f"{mode}, threads {threads}: {mean:.2f} times the best other in the geometric mean, "
            f"at least {least.ratio:.2f} ({least.case.name})"
        )
    return lines


def machine() -> dict[str, Any]:
    """Return what the figures depend on: CPU, instruction set, versions."""
    return {
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
        "isa": _core.active_isa(),
        "blas": _core.blas(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {package: found for package in ("numpy", *_packages()) if (found := _version(package)) is not None},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_json(path: Path, comparisons: Iterable[Comparison]) -> None:
    """Write all figures and the machine's description."""
    figures = {"machine": machine(), "comparisons": [asdict(comparison) for comparison in comparisons]}
    with atomic_write(path) as file:
        file.write((json.dumps(figures, indent=1) + "\n").encode())


def _packages() -> list[str]:
    return [peer.package for peer in PEERS.values()]


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
