"""``python -m gru_bench``: time gru_native beside the other engines that are installed and the machine's limit."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gru_bench import plot, report, suites, sweep
from gru_bench.cases import GRID, QUICK, Case
from gru_bench.compare import compare
from gru_bench.machine import description
from gru_bench.peers import OWN, PEERS, installed
from gru_bench.process import HELD_PEERS, HELD_TO
from gru_native.cli.errors import UserError
from gru_native.cli.options import number, whole_number
from gru_native.functional import MAX_THREADS
from gru_native.io import atomic_write

OTHERS = [name for name in PEERS if name != OWN]

# Options that not every suite has.
BELONGS = {
    "case": ("grid",),
    "quick": ("grid", "sweeps"),
    "axes": ("sweeps",),
    "png": ("grid", "sweeps"),
    "peers": ("grid", *suites.SUITES),
    "blocks": ("grid", *suites.SUITES),
    "block_seconds": ("grid", *suites.SUITES),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, or 2 after an error of the user's."""
    try:
        run(_parser().parse_args(argv))
    except UserError as error:
        print(f"gru_bench: error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gru_bench",
        description="Time one call (forward; training step: forward and backward to the input, the initial state and "
        "all weights, with weights that are new each time) over a grid of shapes, beside the other engines that are "
        "installed. Each engine has a process of its own; blocks of calls take turns, and whoever has no turn is "
        "stopped. The table gives this package's time in milliseconds, its spread (half the distance of the "
        "quartiles), its rate, the share of the machine's limit, which is measured in between, and the best other "
        "engine's time over this package's.",
    )
    parser.add_argument(
        "--suite",
        choices=MEASURES,
        default="grid",
        help="grid (default): shapes beside other engines; sweeps: shapes that grow in one size, looking for those "
        "that take longer than the next larger one; growth: time and memory of long sequences; overheads: the "
        "smallest calls; idling: calls after a pause; sequences: ragged batches, and tapes without gates; cells: "
        "LSTM and plain networks; streams: steps of live sequences",
    )
    parser.add_argument("--quick", action="store_true", default=None, help="fewer shapes, in a minute or two")
    parser.add_argument(
        "--case",
        type=_case,
        action="append",
        metavar="T,B,I,H[,L]",
        help="a shape of your own, instead of the grid: steps, batch, inputs, units, layers (may be repeated)",
    )
    parser.add_argument(
        "--axes", nargs="+", choices=("H", "B", "T"), metavar="AXIS", help="of the sweeps only these: H, B, T"
    )
    parser.add_argument(
        "--threads",
        type=whole_number(1, MAX_THREADS),
        nargs="+",
        default=[1, 2],
        metavar="N",
        help="numbers of threads (default: 1 2)",
    )
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=OTHERS,
        metavar="NAME",
        help=f"other engines, of {', '.join(OTHERS)} (default: those that are installed)",
    )
    parser.add_argument(
        "--isa",
        choices=HELD_TO,
        help=f"hold this package, {', '.join(HELD_PEERS)} and the limits to this instruction set",
    )
    parser.add_argument(
        "--blocks",
        type=whole_number(2),
        metavar="N",
        help="blocks of calls for each engine and shape (default: 9)",
    )
    parser.add_argument(
        "--block-seconds",
        type=number(0),
        metavar="S",
        help="about how long a block takes, in seconds (default: 0.1)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write all figures to")
    parser.add_argument("--png", type=Path, metavar="FILE", help="file to draw the figures in; needs matplotlib")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print each line as soon as it is known."""
    for option, owners in BELONGS.items():
        if getattr(arguments, option) is not None and arguments.suite not in owners:
            raise UserError(f"--{option.replace('_', '-')}: belongs to --suite {' or '.join(owners)}")
    if arguments.png and not find_spec("matplotlib"):
        raise UserError("--png: needs matplotlib (pip install matplotlib)")
    for file in filter(None, (arguments.json, arguments.png)):
        if not file.parent.is_dir():  # before the work, not after it
            raise UserError(f"{file}: there is no folder {file.parent}")
    machine = description(arguments.isa)
    figures = MEASURES[arguments.suite](arguments, machine)
    if arguments.json:
        text = json.dumps({"suite": arguments.suite, "machine": machine, **figures}, indent=1)
        with atomic_write(arguments.json) as file:
            file.write(f"{text}\n".encode())


def _grid(arguments: argparse.Namespace, machine: dict[str, Any]) -> dict[str, Any]:
    cases = arguments.case or (QUICK if arguments.quick else GRID)
    comparisons = []
    print(report.HEADER)
    for threads in arguments.threads:
        for comparison in compare(cases, _peers(arguments), threads, isa=arguments.isa, **_blocks(arguments)):
            comparisons.append(comparison)
            print(report.row(comparison), flush=True)
    print(*report.summary(comparisons), sep="\n")
    if arguments.png:
        plot.grid(arguments.png, machine, comparisons)
    return {"comparisons": report.figures(comparisons)}


def _sweeps(arguments: argparse.Namespace, machine: dict[str, Any]) -> dict[str, Any]:
    chosen = sweep.sweeps(arguments.axes or ("H", "B", "T"), quick=bool(arguments.quick))
    lines, steps = [], []
    print(sweep.HEADER)
    for threads in arguments.threads:
        for line, own_steps in sweep.run(chosen, threads, isa=arguments.isa):
            lines.append(line)
            steps += own_steps
            print(sweep.row(line, own_steps), flush=True)
    print(*sweep.summary(steps), sep="\n")
    if arguments.png:
        plot.sweeps(arguments.png, machine, lines, steps)
    return {
        "lines": [sweep.figures(line) for line in lines],
        "cliffs": [asdict(step) for step in steps if step.is_cliff],
    }


def _suite(arguments: argparse.Namespace, machine: dict[str, Any]) -> dict[str, Any]:
    figures = []
    print(suites.HEADER)
    for threads in arguments.threads:
        settings = suites.Settings(_peers(arguments), threads, isa=arguments.isa, **_blocks(arguments))
        for figure in suites.SUITES[arguments.suite](settings):
            figures.append(figure)
            print(suites.row(figure), flush=True)
    return {"figures": [asdict(figure) for figure in figures]}


MEASURES = {"grid": _grid, "sweeps": _sweeps, **dict.fromkeys(suites.SUITES, _suite)}


def _peers(arguments: argparse.Namespace) -> list[str]:
    able = [name for name in OTHERS if not arguments.isa or name in HELD_PEERS]
    chosen = arguments.peers or [name for name in able if name in installed()]
    if wrong := set(chosen) - set(able):
        raise UserError(f"--peers: cannot be held to an instruction set: {', '.join(sorted(wrong))}")
    if missing := set(chosen) - set(installed()):
        raise UserError(f"--peers: not installed: {', '.join(sorted(missing))}")
    return [OWN, *chosen]


def _blocks(arguments: argparse.Namespace) -> dict[str, Any]:
    given = {"blocks": arguments.blocks, "block_seconds": arguments.block_seconds}
    return {name: value for name, value in given.items() if value is not None}


def _case(text: str) -> Case:
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError:
        sizes = []
    if not 4 <= len(sizes) <= 5 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"expected T,B,I,H or T,B,I,H,L from 1 up, got {text!r}")
    steps, batch, input_size, hidden_size, *layers = sizes
    return Case(steps, batch, input_size, hidden_size, num_layers=layers[0] if layers else 1)


if __name__ == "__main__":
    sys.exit(main())
