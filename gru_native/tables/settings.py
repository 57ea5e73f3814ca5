"""What is to be learnt of a table, and how: the same names on the command line, in a small file and in a model."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from gru_native.arguments import flag, number, one_of, text, whole
from gru_native.functional import MAX_THREADS
from gru_native.io import regular
from gru_native.train.network import CELLS, POOLINGS

TASKS = ("classify", "regress", "label", "forecast")
CLASSES = ("classify", "label")  # the tasks whose targets are classes

#: Tables of a small file beside the settings: values to compare, and ranges to draw from.
TRY, BETWEEN = "try", "between"


class TableError(ValueError):
    """Settings, a table or a search that is not what it should be, in a line for the user."""


def _setting(
    default: Any, check: Callable[[str, Any], Any], what: str, kind: type = str, metavar: str = "X", many: bool = False
) -> Any:
    note = {"check": check, "what": what, "kind": kind, "metavar": metavar, "many": many}
    return field(default=default, metadata=note)


def _among(choices: Iterable[str]) -> Callable[[str, Any], str]:
    return lambda name, value: one_of(name, value, [*choices])


def _from(least: int, most: int = 2**31 - 1) -> Callable[[str, Any], int]:
    return lambda name, value: whole(name, value, least, most)


def _share(name: str, value: Any) -> float:
    return number(name, value, below=1.0)


def _finite(name: str, value: Any) -> float:
    return number(name, value, below=math.inf)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is to be learnt of a table, and how; each field says in its metadata what it is, and how it is checked.

    Raises
    ------
    TableError
        For a value that is not what it should be, or that does not go with another one.
    """

    task: str = _setting(
        MISSING, _among(TASKS), f"what to learn: {', '.join(TASKS)}; 'label' gives a class to each step", metavar="TASK"
    )
    target: tuple[str, ...] = _setting(MISSING, text, "columns to predict", metavar="COLUMN", many=True)
    columns: tuple[str, ...] | None = _setting(
        None, text, "columns to read, of numbers, in this order (default: all others)", metavar="COLUMN", many=True
    )
    id: str | None = _setting(
        None,
        text,
        "column that says which sequence a row belongs to (default: each row is a sequence, and its columns are the "
        "steps; for 'label' and 'forecast' the table is one sequence)",
        metavar="COLUMN",
    )
    time: str | None = _setting(
        None,
        text,
        "column that orders the rows of a sequence: of numbers, dates, or texts of ISO 8601 such as 2018-12-31 09:00 "
        "(default: their order in the file)",
        metavar="COLUMN",
    )
    window: int | None = _setting(
        None,
        _from(1),
        "steps that are read for a forecast, or at most of the end of a sequence; for 'label' the pieces that it "
        "is trained on (default: 24 for a forecast, else all)",
        int,
        "N",
    )
    horizon: int = _setting(1, _from(1), "steps to forecast", int, "N")
    missing: str = _setting(
        "refuse",
        _among(("refuse", "mean", "previous")),
        "what becomes of missing values that are read: refuse; mean, "
        "of the training data; or previous, of the sequence",
        metavar="HOW",
    )
    scaling: str = _setting(
        "standard",
        _among(("standard", "none")),
        "standard: mean 0 and variance 1 on the training data; or none",
        metavar="HOW",
    )
    validation: float = _setting(
        0.2,
        _share,
        "share that is held out, on which the best epoch is chosen: of the sequences, or the end of each series",
        float,
        "P",
    )
    hidden_size: tuple[int, ...] = _setting((64,), _from(1), "units of each layer, a number for each", int, "N", True)
    cell: str = _setting("gru", _among(CELLS), f"kind of layer: {', '.join(CELLS)}", metavar="CELL")
    bidirectional: bool = _setting(False, flag, "read each sequence from its end too", bool)
    pooling: str = _setting(
        "last", _among(POOLINGS), f"what decides on a sequence: {', '.join(POOLINGS)}", metavar="HOW"
    )
    class_weight: str = _setting(
        "none",
        _among(("none", "balanced")),
        "what a class counts in training: the same (none), or the less the more often it is there (balanced)",
        metavar="HOW",
    )
    dropout: float = _setting(0.0, _share, "share of outputs of layers that is dropped while training", float, "P")
    recurrent_dropout: float = _setting(0.0, _share, "the same of states", float, "P")
    learning_rate: float = _setting(1e-2, _finite, "of AdamW", float)
    weight_decay: float = _setting(0.0, _finite, "of AdamW", float)
    max_norm: float = _setting(1.0, number, "to which the norm of the gradients is clipped", float)
    batch_size: int = _setting(32, _from(1), "sequences or windows of a training step", int, "N")
    epochs: int = _setting(50, _from(1), "how often all is seen in training, at most", int, "N")
    patience: int = _setting(10, _from(1), "epochs without a better validation after which to stop", int, "N")
    seed: int = _setting(0, _from(0), "of the held-out share, initial weights, order and dropout", int, "N")
    threads: int | None = _setting(
        None,
        _from(1, MAX_THREADS),
        "the most threads; the result does not depend on it (default: OMP_NUM_THREADS, or the CPUs of the process)",
        int,
        "N",
    )

    def __post_init__(self) -> None:
        for own in fields(self):
            value = getattr(self, own.name)
            if value is not None or own.default is not None:
                object.__setattr__(self, own.name, checked(own.name, value))
        if self.task in CLASSES and len(self.target) > 1:
            raise TableError(f"target: expected one column for {self.task}, got {len(self.target)}")
        if self.wide and self.time is not None:
            raise TableError(f"time: expected with id, because without it each row is a sequence, got {self.time!r}")
        if self.task != "forecast" and self.horizon != 1:
            raise TableError(f"horizon: belongs to forecast, got it for {self.task}")
        if self.task not in CLASSES and self.class_weight != "none":
            raise TableError(f"class_weight: belongs to {' and '.join(CLASSES)}, got it for {self.task}")
        if self.validation == 0:
            raise TableError("validation: expected a share above 0, got 0")
        if self.task == "forecast" and "step" in (*self.target, self.id):
            role = "id" if self.id == "step" else "target"
            raise TableError(f"{role}: expected another name than 'step', a column that forecasts have themselves")
        own_columns = [*self.target, *(each for each in (self.id, self.time) if each is not None)]
        if twice := [name for name in {*own_columns, *(self.columns or ())} if self._named(name) > 1]:
            raise TableError(f"columns: expected each column once, in one role, got {sorted(twice)[0]!r} again")

    @property
    def wide(self) -> bool:
        """Whether each row is a sequence, and its columns are the steps."""
        return self.task in ("classify", "regress") and self.id is None

    def _named(self, column: str) -> int:
        return [*self.target, *(self.columns or ()), self.id, self.time].count(column)


KNOWN = {own.name: own for own in fields(Settings)}


def checked(name: str, value: Any) -> Any:
    """Return the value of a setting, or raise TableError."""
    if name not in KNOWN:
        raise TableError(f"{name}: expected one of the settings {', '.join(KNOWN)}")
    note = KNOWN[name].metadata
    try:
        if note["many"]:
            values = value if isinstance(value, (list, tuple)) else [value]
            if not values and name != "columns":
                raise ValueError(f"{name}: expected at least one, got none")
            return tuple(note["check"](name, each) for each in values)
        return note["check"](name, value)
    except (TypeError, ValueError) as error:
        raise TableError(str(error)) from None


def settings_of(given: Mapping[str, Any]) -> Settings:
    """Return settings, those that are not given by default, or raise TableError."""
    for name in given:
        if name not in KNOWN:
            raise TableError(f"{name}: expected one of the settings {', '.join(KNOWN)}")
    for name in ("task", "target"):
        if name not in given:
            raise TableError(f"{name}: expected {KNOWN[name].metadata['what']}; got none")
    return Settings(**given)


def read_settings(path: Path) -> dict[str, Any]:
    """Return what a TOML file says, or raise TableError for what is no TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        try:
            import tomli as tomllib
        except ImportError as error:
            raise ImportError("TOML needs tomli before Python 3.11: pip install 'gru_native[train]'") from error
    try:
        with open(path, "rb", opener=regular) as file:
            found: dict[str, Any] = tomllib.load(file)
            return found
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TableError(f"{path}: not TOML: {error}") from error


def toml_of(settings: Settings) -> str:
    """Return settings as the small file, without those that have no value."""
    # JSON's strings, numbers, flags and lists are TOML's too.
    known = {name: value for name, value in asdict(settings).items() if value is not None}
    return "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in known.items())
