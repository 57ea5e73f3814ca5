"""Values of options, checked while the command line is read."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, TypeVar

from gru_native.functional import MAX_THREADS

T = TypeVar("T", int, float)


def whole_number(least: int, most: float = math.inf) -> Callable[[str], int]:
    """Return a type of option: whole numbers from `least` to `most`, both included."""
    expected = f"a whole number from {least} {'up' if most == math.inf else f'to {most}'}"
    return _converter(int, lambda value: least <= value <= most, expected)


def number(least: float, below: float = math.inf) -> Callable[[str], float]:
    """Return a type of option: finite numbers from `least` up to, not including, `below`."""
    expected = f"a number from {least:g} {'up' if below == math.inf else f'to below {below:g}'}"
    return _converter(float, lambda value: least <= value < below, expected)


def _converter(kind: Callable[[str], T], fits: Callable[[T], bool], expected: str) -> Callable[[str], T]:
    def convert(text: str) -> T:
        try:
            if fits(value := kind(text)):
                return value
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")

    return convert


def adder(parser: argparse._ActionsContainer, default: Any) -> Callable[..., None]:
    """Return ``add(name, convert, metavar, what, **keywords)``, which adds an option for an attribute of `default`."""

    def add(name: str, convert: Callable[[str], Any], metavar: str, what: str, **keywords: Any) -> None:
        value = getattr(default, name)
        shown = " ".join(map(str, value)) if isinstance(value, tuple) else value
        parser.add_argument(
            "--" + name.replace("_", "-"),
            type=convert,
            default=value,
            metavar=metavar,
            help=f"{what} (default: {shown})",
            **keywords,
        )

    return add


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add ``--threads``."""
    parser.add_argument(
        "--threads",
        type=whole_number(1, MAX_THREADS),
        metavar="N",
        help="the most threads to compute with; the result does not depend on it "
        "(default: OMP_NUM_THREADS, or the CPUs of the process)",
    )
