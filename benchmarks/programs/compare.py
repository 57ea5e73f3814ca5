"""Other people's programs with PyTorch's recurrent modules and with ours: times of the whole, and what they compute.

Both sides take turns, each run in a process of its own. What share of it is in recurrent modules is of other runs,
because their hooks cost time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from gru_bench.calibration import Calibration
from gru_bench.machine import description
from gru_bench.process import COUNTS
from gru_native.io import atomic_write

HERE = Path(__file__).resolve().parent
PROGRAMS = (
    "darts_rnn",
    "darts_block",
    "skorch_gru",
    "text",
    "medaka_model",
    "deepfilter",
    "deepfilter_live",
    "crnn",
    "sb3_cartpole",
    "sb3_pendulum",
    "ppo_update",
)
SIDES = ("torch", "native")


def run(program: str, side: str, threads: int, *more: str) -> dict[str, Any]:
    """Run one side in a process of its own and return what it says."""
    counts = dict.fromkeys(COUNTS, str(threads))
    command = [sys.executable, str(HERE / "side.py"), program, side, str(threads), *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **counts})
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def compare(program: str, threads: int, runs: int, peak: Callable[[], float]) -> dict[str, Any]:
    """Let both sides of a program take turns, and return the medians; `peak` measures the best BLAS, in FLOP/s.

    Raises
    ------
    ValueError
        When the sides compute different things.
    """
    whole = [{side: run(program, side, threads) for side in SIDES} for _ in range(runs)]
    within = [
        {"peak": peak()} | {side: run(program, side, threads, "inside") for side in SIDES} for _ in range(1 + runs // 2)
    ]
    first = whole[0]["torch"]
    entry = {key: first[key] for key in ("title", "mode", "shapes", "tolerance", "packages")}
    entry |= {"program": program, "threads": threads, "runs": runs}
    entry |= {"operations": within[0]["native"]["operations"], "peak": max(one["peak"] for one in within)}
    differences = [_difference(first["figures"], one["native"]["figures"]) for one in whole + within]
    entry["difference"] = float(np.max(differences))
    if not entry["difference"] <= entry["tolerance"]:
        raise ValueError(f"{program}: expected figures within {entry['tolerance']}, got {entry['difference']:.3g}")
    for side in SIDES:
        seconds = [one[side]["seconds"] for one in whole]
        share = median(one[side]["share"] for one in within)
        entry |= {side: median(seconds), f"{side}_least": min(seconds), f"{side}_inside": share * median(seconds)}
    return entry


def _difference(expected: Sequence[float], got: Sequence[float]) -> float:
    """Return the largest difference relative to the largest figure; NaN where there is one."""
    return float(np.max(np.abs(np.subtract(got, expected))) / np.max(np.abs(expected)))


def at_peak(entry: dict[str, Any]) -> float:
    """Return the ratio if recurrent modules computed as fast as the best BLAS, and nothing else took time there."""
    least: float = entry["native"] - entry["native_inside"] + entry["operations"] / entry["peak"]
    return entry["torch"] / least


def line(entry: dict[str, Any]) -> str:
    """Return an entry as a line of text."""
    name = f"{entry['program']:16} {entry['threads']:7}"
    whole, inside = (
        f"{entry['torch' + of]:9.3f} {entry['native' + of]:9.3f} {entry['torch' + of] / entry['native' + of]:6.2f}"
        for of in ("", "_inside")
    )
    return f"{name} {whole} {at_peak(entry):8.2f} {inside} {entry['difference']:11.1e}"


def main() -> None:
    """Run the programs, print a line for each and, when asked to, keep the record of all of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("programs", nargs="*", type=_known, metavar="PROGRAM", help="all, when none is named")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--runs", type=int, default=5, help="of each side")
    parser.add_argument("--json", type=Path, help="where the record goes; what it has of other programs stays")
    options = parser.parse_args()
    print(
        f"{'program':16} threads     torch      ours  ratio  at peak    inside      ours  ratio  difference", flush=True
    )
    with ExitStack() as stack:
        limits = {threads: Calibration(stack, threads, None) for threads in options.threads}
        for program in options.programs or PROGRAMS:
            for threads in options.threads:
                entry = compare(program, threads, options.runs, lambda threads=threads: limits[threads].measure().peak)
                print(line(entry), flush=True)
                if options.json:
                    write(options.json, entry)


def _known(program: str) -> str:
    if program not in PROGRAMS:
        raise argparse.ArgumentTypeError(f"expected one of {', '.join(PROGRAMS)}, got {program}")
    return program


def write(path: Path, new: dict[str, Any]) -> None:
    """Put an entry into a record, in place of that of the same program and threads."""
    record = json.loads(path.read_text()) if path.exists() else {"programs": []}
    known = {(entry["program"], entry["threads"]): entry for entry in record["programs"]}
    known[new["program"], new["threads"]] = new
    machine = description()
    for entry in known.values():
        machine["packages"] |= entry["packages"]
    with atomic_write(path) as file:
        file.write(json.dumps({"machine": machine, "programs": list(known.values())}, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
