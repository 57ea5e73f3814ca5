"""What the commands for tables share: their options, files, figures and pictures."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gru_native.arguments import Array
from gru_native.cli.errors import UserError
from gru_native.cli.files import check_writable, check_writable_file
from gru_native.io import write_csv
from gru_native.tables.reading import Table
from gru_native.tables.settings import (
    BETWEEN,
    KNOWN,
    TRY,
    Settings,
    TableError,
    checked,
    read_settings,
    settings_of,
)
from gru_native.tables.trials import Changes, Trial, complete

TABLE = "the table: .csv with a heading, .npz with an array for each column, or .parquet"


def add_settings(parser: argparse._ActionsContainer, without: Collection[str] = ()) -> None:
    """Add ``--settings``, and an option for each setting `without` those that the parser has."""
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help='a TOML file with the names of the options below, such as task = "classify"; options go first '
        "(default: none)",
    )
    for name, own in KNOWN.items():
        if name in without:
            continue
        note, default = own.metadata, own.default
        text = note["what"]
        if default is not None and own.name not in ("task", "target"):
            text += f" (default: {' '.join(map(str, default)) if isinstance(default, tuple) else default})"
        option: dict[str, Any] = {"type": note["kind"], "metavar": note["metavar"]}
        if note["kind"] is bool:
            option = {"action": argparse.BooleanOptionalAction}
        if note["many"]:
            option["nargs"] = "*" if name == "columns" else "+"
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, help=text.replace("%", "%%"), **option)


def add_picture(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--picture``."""
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help=f"file to draw {what} to; needs matplotlib (default: none)"
    )


def given_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the small file and the options say, with `try` and `between` of the file; options go first."""
    said = {name: getattr(arguments, name) for name in KNOWN if getattr(arguments, name) is not None}
    return said if arguments.settings is None else {**_from_file(arguments.settings), **said}


def _from_file(path: Path) -> dict[str, Any]:
    """Return what a small file says, with `try` and `between`."""
    file = read_settings(path)
    try:
        for name in (TRY, BETWEEN):
            if not isinstance(file.get(name, {}), dict):
                raise TableError(f"{name}: expected a table [{name}], got {file[name]!r}")
        for name in file.keys() - {TRY, BETWEEN}:
            checked(name, file[name])
    except TableError as error:
        raise TableError(f"{path}: {error}") from None
    return file


def add_try(parser: argparse._ActionsContainer, what: str) -> None:
    """Add ``--try``."""
    parser.add_argument(
        "--try",
        nargs="+",
        action="append",
        default=[],
        metavar=("SETTING", "VALUE"),
        help=f"values {what}, such as --try pooling last mean, or --try hidden_size 64 64,32; may be repeated "
        "(default: none)",
    )


def tried(given: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, list[Any]]:
    """Return the values of each setting that are to be compared, of the small file and of ``--try``."""
    options = getattr(arguments, TRY)
    named = [(name.replace("-", "_"), texts) for name, *texts in options]  # as the option is written, too
    return {**given.get(TRY, {}), **{name: [_value(name, text) for text in texts] for name, texts in named}}


def _value(name: str, text: str) -> Any:
    """Return the value of a setting that a text stands for."""
    if name not in KNOWN:
        raise TableError(f"--try: expected one of the settings {', '.join(KNOWN)}, got {name!r}")
    note = KNOWN[name].metadata
    kind = {"true": True, "false": False}.__getitem__ if note["kind"] is bool else note["kind"]
    try:
        return [kind(part) for part in text.split(",")] if note["many"] else kind(text)
    except (ValueError, KeyError):
        raise TableError(f"--try: {name}: expected values of it, got {text!r}") from None


def final_settings(given: Mapping[str, Any]) -> Settings:
    """Return the settings to train with."""
    return settings_of({name: value for name, value in given.items() if name not in (TRY, BETWEEN)})


@contextmanager
def user_errors() -> Iterator[None]:
    """Let what the user can put right be said in one line."""
    try:
        yield
    except (TableError, ImportError) as error:
        raise UserError(str(error)) from error


def check_outputs(*paths: Path | None, picture: Path | None, inputs: Sequence[str | Path]) -> None:
    """Find out before the work whether files can be written, each another one, and the picture be drawn."""
    outputs = [path for path in (*paths, picture) if path is not None]
    for place, path in enumerate(outputs):
        check_writable_file(path, *inputs, *outputs[:place])
    if picture is not None and not find_spec("matplotlib"):
        raise UserError("--picture: needs matplotlib (pip install matplotlib)")


def progress(unit: str) -> Callable[[range], Iterator[int]]:
    """Return a progress bar on standard error, for `TableModel.run`."""
    from tqdm import tqdm

    def shown(places: range) -> Iterator[int]:
        with tqdm(total=places.stop, unit=unit) as bar:
            for place in places:
                yield place
                bar.update(min(places.step, places.stop - place))

    return shown


def made_folder(path: Path) -> Path:
    """Make a folder, unless it is there, in which files can be written."""
    if not find_spec("matplotlib"):
        raise UserError("--out: needs matplotlib for the picture (pip install matplotlib)")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be made: {error.strerror}") from error
    check_writable(path, path)
    return path


def run_trials(table: Table, settings: Settings, wanted: list[Changes], folder: Path) -> list[Trial]:
    """Do the trainings that a folder has not yet, with a progress bar and a line for each, and return all."""
    from tqdm import tqdm

    trials = []
    try:
        with tqdm(total=len(wanted), unit="training") as bar:
            for trial in complete(table, settings, wanted, folder / "trials.json"):
                trials.append(trial)
                loss = "diverged" if trial.loss is None else f"val_loss={trial.loss:.4g}"
                figures = " ".join(f"{name}={value}" for name, value in rounded(trial.figures).items())
                bar.write(f"{len(trials):>4} {loss} {figures} ({trial.name})", file=sys.stdout)
                bar.update()
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on from here") from None
    return trials


def lowest(trials: list[Trial]) -> Trial:
    """Return the training with the lowest loss."""
    return min(trials, key=lambda trial: math.inf if trial.loss is None else trial.loss)


def rounded(figures: Mapping[str, float]) -> dict[str, str]:
    """Return figures as a result line has them."""
    return {name: f"{value:.4g}" for name, value in figures.items()}


def write_columns(path: Path, columns: Mapping[str, Array]) -> None:
    """Write columns as comma-separated values."""
    write_csv(path, [columns, *zip(*(own.tolist() for own in columns.values()), strict=True)])
