"""``gru-native evaluate``: compare what a model predicts with what a table says."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from gru_native.cli.options import add_threads
from gru_native.cli.tables import TABLE, add_picture, check_outputs, progress, rounded, user_errors
from gru_native.tables.model import TableModel
from gru_native.tables.picture import draw_comparison
from gru_native.tables.reading import read_table
from gru_native.train import result_line

UNITS = {"forecast": "window"}


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="compare what a model of 'train' predicts with what a table says",
        description="Predict all of a table with its targets, and print accuracy, precision, recall and F1 (means over "
        "the classes), or mean absolute error, root of the mean squared error and R²; of forecasts for all windows.",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that train has written")
    parser.add_argument("table", metavar="TABLE", type=Path, help=TABLE)
    add_picture(parser, "predictions beside the table's values")
    add_threads(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Predict, compare, and print the figures."""
    model = load(arguments)
    with user_errors():
        check_outputs(picture=arguments.picture, inputs=[arguments.model, arguments.table])
        table = read_table(arguments.table)
        expected, found = model.compared(table, progress(UNITS.get(model.settings.task, "sequence")))
        figures = {"examples": str(len(found)), **rounded(model.figures(expected, found))}
    if arguments.picture is not None:
        draw_comparison(arguments.picture, model, expected, found)
    print(result_line("evaluate", figures, arguments.threads))


def load(arguments: argparse.Namespace) -> TableModel:
    """Return the model, with the threads that are asked for."""
    model = TableModel.load(arguments.model)
    return replace(model, settings=replace(model.settings, threads=arguments.threads))
