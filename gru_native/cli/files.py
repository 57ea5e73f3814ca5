"""Files and folders that the user names."""

from __future__ import annotations

import tempfile
from pathlib import Path

from gru_native.cli.errors import UserError
from gru_native.io import regular


def read_text(path: Path) -> str:
    """Return the text of a file."""
    try:
        with open(path, encoding="utf-8-sig", opener=regular) as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text in UTF-8: {error.reason} at byte {error.start}") from error


def check_writable_file(path: Path, *others: str | Path) -> None:
    """Find out before the work whether a file can be written after it, and is none of the others that a command has."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path}: not a regular file")
    for other in map(Path, others):
        if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
            raise UserError(f"{path}: expected another file to write than {other}, which this command has besides")
    check_writable(path, path.resolve().parent)


def check_writable(path: Path, folder: Path) -> None:
    """Find out before the work whether `path`, which is this folder or in it, can be written after it."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
