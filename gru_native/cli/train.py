"""``gru-native train``: train a network on the sequences of a table."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gru_native.cli.errors import UserError
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
from gru_native.tables.fit import Fit, prepare
from gru_native.tables.reading import read_table
from gru_native.train import Checkpoint, OtherRunError, ProgressBar, Record, result_line


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
        check_outputs(arguments.out, picture=arguments.picture)
        fit = prepare(read_table(arguments.table), settings)
    _train(fit, arguments.out, arguments.picture)
    print(f"The model is in {arguments.out}.")
    figures = {"examples": str(fit.examples), **{f"val_{n}": v for n, v in rounded(fit.figures()).items()}}
    print(result_line("train", figures, settings.threads))


def _train(fit: Fit, out: Path, picture: Path | None) -> None:
    """Train, and keep the best model in a file."""
    settings, trainer = fit.model.settings, fit.trainer
    checkpoint = Checkpoint(out.with_name(f"{out.name}.checkpoint"))
    if checkpoint.exists():
        print(f"Going on from {checkpoint.path}.", flush=True)

    def keep(record: Record) -> None:
        if record.best:
            fit.model.save(out)

    try:
        trainer.fit(
            fit.data,
            epochs=settings.epochs,
            validation=fit.validation,
            patience=settings.patience,
            callbacks=[keep],
            progress=ProgressBar(settings.epochs * len(fit.data)),
            checkpoint=checkpoint,
            curves=picture,
        )
    except KeyboardInterrupt:
        if trainer.best is None:
            raise KeyboardInterrupt("interrupted before the first validation; there is no model yet") from None
        fit.model.save(out)
        raise KeyboardInterrupt(f"interrupted; the best model so far is in {out}") from None
    except OtherRunError as error:
        raise UserError(
            f"{checkpoint.path}: left by a training on another table or with other settings; "
            "train with those to go on, or remove it"
        ) from error
    fit.model.save(out)
    checkpoint.remove()
