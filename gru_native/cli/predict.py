"""``gru-native predict``: what a model says of a table without targets."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gru_native.cli.evaluate import UNITS, load
from gru_native.cli.options import add_threads
from gru_native.cli.tables import TABLE, add_picture, check_outputs, progress, user_errors, write_columns
from gru_native.tables.picture import draw_predictions
from gru_native.tables.reading import read_table
from gru_native.train import result_line


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "predict",
        help="write what a model of 'train' predicts for a table",
        description="Predict from a table, which needs no targets but for a forecast, and write a CSV: a row for each "
        "sequence, or to label steps for each row of the table, with the probability of each class; or the steps "
        "after the end of each series.",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that train has written")
    parser.add_argument("table", metavar="TABLE", type=Path, help=TABLE)
    parser.add_argument("--out", metavar="CSV", type=Path, required=True, help="file to write the predictions to")
    add_picture(parser, "the predictions")
    add_threads(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Predict, and write what comes of it."""
    model = load(arguments)
    with user_errors():
        check_outputs(arguments.out, picture=arguments.picture, inputs=[arguments.model, arguments.table])
        table = read_table(arguments.table)
        columns = model.predict(table, progress(UNITS.get(model.settings.task, "sequence")))
    write_columns(arguments.out, columns)
    if arguments.picture is not None:
        draw_predictions(arguments.picture, model, columns, model.sequences(table).inputs)
    print(f"The predictions are in {arguments.out}.")
    print(result_line("predict", {"rows": str(len(next(iter(columns.values()))))}, arguments.threads))
