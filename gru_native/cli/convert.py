"""``gru-native convert``: a model of another library as a file of this package."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any

from gru_native import io
from gru_native.cli.errors import UserError
from gru_native.cli.files import check_writable_file


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "convert",
        help="take over a model of another library",
        description="Read a model that another library saved, and write it as a file for gru_native.load. What it is "
        f"follows from the end of its name: {', '.join(io.READERS)}.",
    )
    parser.add_argument("input", type=Path, help="the other library's file")
    parser.add_argument("output", type=Path, help="where to write the model, by custom *.safetensors")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Convert the file, and say which layers it has."""
    reader = io.READERS.get(arguments.input.suffix.lower())
    if reader is None:
        raise UserError(f"{arguments.input}: expected a name that ends in {', '.join(io.READERS)}")
    check_writable_file(arguments.output, arguments.input)
    try:
        model = import_module(reader).load(arguments.input)
    except ImportError as error:
        raise UserError(str(error)) from error
    io.save(model, arguments.output)
    for name, layer in model.children().items():
        options = ", ".join(f"{option}={value!r}" for option, value in layer.config().items() if option != "type")
        print(f"{name:>3} {type(layer).__name__}({options})")
