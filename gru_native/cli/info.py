"""``gru-native info``: what this build is, and what it runs on here."""

from __future__ import annotations

import argparse
from typing import Any

from gru_native import __version__, _core


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "info",
        help="show version, instruction sets, BLAS and threads",
        description="Show the version of gru_native; the instruction sets that it was built for, that this "
        "CPU supports and that is active (GRU_NATIVE_ISA lowers it); the BLAS library, or none; and the most threads "
        "that a call uses (OMP_NUM_THREADS sets them) and whose they are (GRU_NATIVE_TEAM).",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the facts, one a line."""
    facts = {
        "version": __version__,
        "ISAs built": " ".join(_core.built_isas()),
        "ISAs supported": " ".join(_core.supported_isas()),
        "ISA active": _core.active_isa(),
        "BLAS": _core.blas(),
        "threads": _core.default_threads(),
        "team": _core.team(),
    }
    for name, fact in facts.items():
        print(f"{name:<16}{fact}")
