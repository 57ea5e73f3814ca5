"""``gru-native tune``: search for good settings at random."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from gru_native.cli.errors import UserError
from gru_native.cli.options import whole_number
from gru_native.cli.tables import (
    TABLE,
    add_settings,
    add_try,
    final_settings,
    given_settings,
    lowest,
    made_folder,
    rounded,
    run_trials,
    tried,
    user_errors,
)
from gru_native.io import atomic_write
from gru_native.tables.curves import draw_trials
from gru_native.tables.reading import read_table
from gru_native.tables.settings import BETWEEN, toml_of
from gru_native.tables.trials import USUAL, check_comparable, checked_range, draws
from gru_native.train import result_line


def register(commands: Any) -> None:
    """Add the command to the parser."""
    usual = ", ".join(f"{name} {low:g} {high:g}" for name, (low, high) in USUAL.items())
    parser = commands.add_parser(
        "tune",
        help="search for good settings of 'train' at random",
        description="Train with settings that are drawn at random, each as train does, and keep the best of them, by "
        "the loss on what is held out. DIR receives best.toml, which train takes as --settings, tune.png, and "
        "trials.json with all that are finished. The same command goes on where it was stopped, even if it was killed, "
        "and with more --trials it adds some. Without --try and --between, and without [try] and [between] in the "
        f"small file, it draws between {usual}.",
    )
    parser.add_argument("table", metavar="TABLE", type=Path, help=TABLE)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to keep the search in")
    parser.add_argument(
        "--trials", type=whole_number(1), default=20, metavar="N", help="trainings (default: %(default)s)"
    )
    add_try(parser, "to draw from")
    parser.add_argument(
        "--between",
        nargs=3,
        action="append",
        default=[],
        metavar=("SETTING", "LOW", "HIGH"),
        help="a range to draw numbers from, evenly on a log scale unless LOW is 0; may be repeated (default: none)",
    )
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Complete the search, and print each training and the best."""
    with user_errors():
        given = given_settings(arguments)
        settings, choices = final_settings(given), tried(given, arguments)
        ranges = {**given.get(BETWEEN, {}), **{name.replace("-", "_"): ends for name, *ends in arguments.between}}
        if not choices and not ranges:
            ranges = dict(USUAL)
        check_comparable([*choices, *ranges], settings)
        ranges = {name: checked_range(name, ends) for name, ends in ranges.items()}
        wanted = draws(choices, ranges, arguments.trials, settings.seed)
        folder = made_folder(arguments.out)
        trials = run_trials(read_table(arguments.table), settings, wanted, folder)
    draw_trials(folder / "tune.png", trials)
    best = lowest(trials)
    if best.loss is None:
        raise UserError("all trainings diverged: draw lower learning rates")
    with atomic_write(folder / "best.toml") as file:
        file.write(toml_of(replace(settings, **best.changes)).encode())
    print(f"Best: {best.name}. {folder} has best.toml and tune.png.")
    figures = {"trials": str(len(trials)), "val_loss": f"{best.loss:.4g}"}
    figures |= {f"val_{name}": value for name, value in rounded(best.figures).items()}
    print(result_line("tune", figures, settings.threads))
