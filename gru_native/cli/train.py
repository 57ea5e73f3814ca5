"""``gru-native train``: train a network on the sequences of a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gru_native.cli.runs import complete
from gru_native.cli.tables import (
    TABLE,
    add_picture,
    add_settings,
    check_outputs,
    final_settings,
    given_settings,
    rounded,
    user_errors,
)
from gru_native.tables.fit import prepare
from gru_native.tables.reading import read_table
from gru_native.train import ProgressBar, result_line


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="train on a table: classify, regress, label each step, forecast",
        description="Train a network on the sequences of a table. A share of them is held out, and the epoch that does "
        "best on it is kept in MODEL, with all that evaluate and predict need: columns, scaling, classes, windows. "
        "Scaling is fitted on the rest alone. Ctrl-C ends the training early and leaves the best model so far. "
        "Interrupted or killed, the same command goes on from MODEL.checkpoint, which goes when the training is over. "
        "The same table, settings and machine give the same model.",
    )
    parser.add_argument("table", metavar="TABLE", type=Path, help=TABLE)
    parser.add_argument(
        "--out", metavar="MODEL", type=Path, required=True, help="safetensors file to write the model to"
    )
    add_picture(parser, "the curves of the training")
    add_settings(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train on the table and print the result."""
    with user_errors():
        settings = final_settings(given_settings(arguments))
        check_outputs(arguments.out, picture=arguments.picture, inputs=[arguments.table])
        fit = prepare(read_table(arguments.table), settings)
    complete(
        fit.trainer,
        fit.data,
        fit.model.save,
        arguments.out,
        "table",
        epochs=settings.epochs,
        validation=fit.validation,
        patience=settings.patience,
        progress=ProgressBar(settings.epochs * len(fit.data)),
        curves=arguments.picture,
    )
    print(f"The model is in {arguments.out}.")
    figures = {"examples": str(fit.examples), **{f"val_{n}": v for n, v in rounded(fit.figures()).items()}}
    print(result_line("train", figures, settings.threads))
