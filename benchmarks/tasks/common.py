"""What the tasks share: options, the data's folder, and what a run ends with."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gru_native.io import atomic_write
from gru_native.train import result_line

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"


def data_folder() -> Path:
    """Return the folder of real data: beside the checkout, or where GRU_NATIVE_SHARED says."""
    shared = Path(os.environ.get("GRU_NATIVE_SHARED", HERE.parents[2] / "shared"))
    return shared / "data"


def options(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that every task has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a short form that fails when learning does not work; writes no results"
    )
    parser.add_argument("--data", type=Path, default=data_folder(), metavar="DIR", help="folder of the data")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of initial values, order and dropout")
    parser.add_argument("--threads", type=int, metavar="N", help="the most threads to compute with")
    parser.add_argument("--no-torch", action="store_true", help="do not time the same training in PyTorch")
    return parser


def given(arguments: argparse.Namespace, name: str) -> Path:
    """Return the path of a file or folder of data; without it the program ends, and says what to get."""
    path: Path = arguments.data / name
    if not path.exists():
        sys.exit(f"there is no {path}: get what benchmarks/tasks/README.md says, and name its folder with --data")
    return path


@dataclass(frozen=True)
class Bound:
    """What a short run must reach to show that learning works."""

    figure: str
    value: float
    at_most: bool

    def met(self, figures: Mapping[str, Any]) -> bool:
        found = float(figures[self.figure])
        return found <= self.value if self.at_most else found >= self.value

    def __str__(self) -> str:
        return f"{self.figure} {'at most' if self.at_most else 'at least'} {self.value:g}"


def finish(name: str, figures: Mapping[str, Any], arguments: argparse.Namespace, bound: Bound) -> None:
    """Print the result. A full run writes its figures to a file; a short one fails when it misses its bound.

    Parameters
    ----------
    name
        The task's.
    figures
        By name: numbers, rounded as they are to be read, or short words without spaces. ``None`` is left out.
    bound
        For ``--quick``.
    """
    known = {key: value for key, value in figures.items() if value is not None}
    print(result_line(name, {key: str(value) for key, value in known.items()}, arguments.threads))
    if not arguments.quick:
        with atomic_write(RESULTS / f"{name}.json") as file:
            file.write((json.dumps({"task": known}, indent=1) + "\n").encode())
    elif not bound.met(known):
        sys.exit(f"{name}: learning does not work: expected {bound}")
