"""``gru-native export``: a model as a file for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gru_native import io
from gru_native.cli.errors import UserError
from gru_native.cli.files import check_writable_file
from gru_native.cli.options import whole_number


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "export",
        help="write a model as an ONNX file",
        description="Write a model of this package as an ONNX file, with any batch and any number of steps.",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that 'save' has written")
    parser.add_argument("out", type=Path, metavar="OUT.onnx", help="the file to write")
    parser.add_argument(
        "--opset",
        type=whole_number(1),
        default=18,
        metavar="N",
        help="the version of ONNX's operators (default: %(default)s)",
    )
    parser.add_argument(
        "--no-states",
        action="store_false",
        dest="states",
        help="begin with zeros; otherwise first states are inputs, and last states outputs",
    )
    parser.add_argument("--lengths", action="store_true", help="take the steps of each row as an input")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write the file."""
    model = io.load(arguments.model)
    check_writable_file(arguments.out, arguments.model)
    try:
        from gru_native import onnx

        onnx.export(model, arguments.out, opset=arguments.opset, states=arguments.states, lengths=arguments.lengths)
    except (ImportError, ValueError) as error:
        raise UserError(str(error)) from error
