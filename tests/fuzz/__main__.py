"""Random calls of everything public, valid and hostile, until the time is over: `make fuzz`.

First runs the old crashes of `corpus.py`, then cases of `kinds.py` by turns, each in a process of its own under one
team and one instruction set. A process that a signal ends, that takes too long, or that reports a wrong result or
exception is a finding, shown with the command that repeats it. Everything random follows from the seed, except when
threads meet.
"""

from __future__ import annotations

import argparse
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import corpus
import kinds
import numpy as np

from gru_native import _core

TEAMS = ("openmp", "threads")


def run_case(name: str) -> None:
    """Run a case in this process: ``corpus:NAME``, or ``KIND:SEED``."""
    kind, what = name.split(":")
    if kind == "corpus":
        corpus.CASES[what]()
    else:
        getattr(kinds, kind)(np.random.default_rng(int(what)))
    kinds.findings.end()


def run_process(name: str, environment: dict[str, str], patience: float, folder: str) -> str:
    """Run a case in a process of its own, which may write to the folder, and return what is wrong, if anything is."""
    command = [sys.executable, "-X", "faulthandler", Path(__file__).resolve(), "--case", name]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired as slow:
        return f"did not end within {patience:.0f} s\n{_tail(slow.stdout)}"
    if done.returncode == 0:
        return ""
    return f"ended with {done.returncode}\n{_tail(done.stdout)}{_tail(done.stderr)}"


def _tail(output: str | bytes | None, lines: int = 40) -> str:
    text = output.decode(errors="replace") if isinstance(output, bytes) else output or ""
    return "".join(f"    {line}\n" for line in text.splitlines()[-lines:])


def cases(seed: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the names of cases and the environment of each, without end."""
    for name in corpus.CASES:
        for team in TEAMS:
            yield f"corpus:{name}", {"GRU_NATIVE_TEAM": team}
    isas = _core.supported_isas()
    for i in count():
        # Both counters go round at their own pace, so that all combinations come.
        for j, kind in enumerate(kinds.KINDS):
            team, isa = TEAMS[(i + j) % 2], isas[(i // 2 + j) % len(isas)]
            yield f"{kind}:{seed + i * len(kinds.KINDS) + j}", {"GRU_NATIVE_TEAM": team, "GRU_NATIVE_ISA": isa}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the first case")
    parser.add_argument("--seconds", type=float, default=300, help="when to stop; the old crashes are always run")
    parser.add_argument("--patience", type=float, default=120, help="seconds that a case may take")
    parser.add_argument("--case", help="run this one here, as a finding says")
    arguments = parser.parse_args()
    if arguments.case:
        run_case(arguments.case)
        return 0
    print(f"seed {arguments.seed}", flush=True)
    begin, found, done = time.monotonic(), 0, 0
    for name, environment in cases(arguments.seed):
        if not name.startswith("corpus:") and time.monotonic() - begin > arguments.seconds:
            break
        done += 1
        with tempfile.TemporaryDirectory() as folder:
            wrong = run_process(name, environment, arguments.patience, folder)
        if wrong:
            found += 1
            settings = " ".join(f"{key}={value}" for key, value in environment.items())
            after = time.monotonic() - begin
            print(f"\nafter {after:.0f} s: {settings} python tests/fuzz --case {name}\n{wrong}", flush=True)
    print(f"{done} cases in {time.monotonic() - begin:.0f} s, {found} with findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
