"""``gru-native bench``: time forward and training step beside the other engines that are installed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gru_native.bench import report
from gru_native.bench.cases import GRID, QUICK, Case
from gru_native.bench.compare import compare
from gru_native.bench.peers import PEERS, installed
from gru_native.cli.errors import UserError
from gru_native.cli.options import number, whole_number
from gru_native.functional import MAX_THREADS


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench",
        help="time forward and training step beside other engines",
        description="Time one call (forward; training step: forward and backward to the input, the initial state and "
        "all weights, with weights that are new each time) over a grid of shapes, beside the other engines that are "
        "installed. Each engine has a process of its own; blocks of calls take turns, and whoever has no turn is "
        "stopped. The table gives this package's time in milliseconds, its spread (half the distance of the "
        "quartiles), its rate, and the best other engine's time over this package's.",
    )
    parser.add_argument("--quick", action="store_true", help="four shapes, in about a minute")
    parser.add_argument(
        "--case",
        type=_case,
        action="append",
        metavar="T,B,I,H[,L]",
        help="a shape of your own, instead of the grid: steps, batch, inputs, units, layers (may be repeated)",
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
        choices=[name for name in PEERS if name != "gru_native"],
        metavar="NAME",
        help=f"other engines, of {', '.join(name for name in PEERS if name != 'gru_native')} "
        "(default: those that are installed)",
    )
    parser.add_argument(
        "--blocks",
        type=whole_number(2),
        default=9,
        metavar="N",
        help="blocks of calls for each engine and shape (default: 9)",
    )
    parser.add_argument(
        "--block-seconds",
        type=number(0),
        default=0.1,
        metavar="S",
        help="about how long a block takes, in seconds (default: 0.1)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write all figures to")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Compare, and print each line as soon as it is known."""
    peers = ["gru_native", *(arguments.peers or installed()[1:])]
    missing = set(peers) - set(installed())
    if missing:
        raise UserError(f"--peers: not installed: {', '.join(sorted(missing))}")
    cases = arguments.case or (QUICK if arguments.quick else GRID)
    comparisons = []
    print(report.HEADER)
    for threads in arguments.threads:
        for comparison in compare(
            cases, peers, threads, blocks=arguments.blocks, block_seconds=arguments.block_seconds
        ):
            comparisons.append(comparison)
            print(report.row(comparison), flush=True)
    for line in report.summary(comparisons):
        print(line)
    if arguments.json:
        report.write_json(arguments.json, comparisons)


def _case(text: str) -> Case:
    try:
        sizes = [int(size) for size in text.split(",")]
    except ValueError:
        sizes = []
    if not 4 <= len(sizes) <= 5 or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"expected T,B,I,H or T,B,I,H,L from 1 up, got {text!r}")
    steps, batch, input_size, hidden_size, *layers = sizes
    return Case(steps, batch, input_size, hidden_size, num_layers=layers[0] if layers else 1)
