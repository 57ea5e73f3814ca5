"""The command ``gru-native``: a file a command."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from gru_native import __version__, _core
from gru_native.cli import (
    bench,
    convert,
    demo,
    evaluate,
    export,
    generate,
    info,
    inspect,
    predict,
    serve,
    study,
    train,
    train_text,
    tune,
)
from gru_native.cli.errors import UserError
from gru_native.io import ModelFileError

COMMANDS = (
    demo,
    train,
    evaluate,
    predict,
    tune,
    train_text,
    generate,
    inspect,
    serve,
    study,
    convert,
    export,
    info,
    bench,
)

INTERRUPTED = 130  # as a shell reports a process that Ctrl-C has ended
FAILED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 2 after an error of the user's, 130 after Ctrl-C.

    Parameters
    ----------
    argv
        The arguments; ``None`` for those of the process.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a model may write what the terminal cannot show
    arguments = _parser().parse_args(argv)
    try:
        _check_isa()
        arguments.run(arguments)
    except KeyboardInterrupt as interrupt:
        print(f"gru-native: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; nor must Python's own last flush fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (UserError, ModelFileError, OSError, MemoryError, FloatingPointError) as error:
        print(f"gru-native: error: {_in_one_line(error)}", file=sys.stderr)
        return FAILED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gru-native",
        description="Gated recurrent networks on CPUs.",
        epilog="'gru-native COMMAND --help' explains the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"gru_native {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.register(commands)
    return parser


def _check_isa() -> None:
    try:
        _core.active_isa()
    except ValueError as error:
        raise UserError(str(error)) from error


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MemoryError):
        return f"not enough memory: {error}"
    return " ".join(str(error).split())
