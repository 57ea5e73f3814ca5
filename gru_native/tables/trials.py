"""Trainings that differ in some settings, drawn at random or in a grid. A file keeps those that are finished."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from gru_native.io import atomic_write, parsed, regular
from gru_native.tables.fit import prepare
from gru_native.tables.reading import Table
from gru_native.tables.settings import CLASSES, KNOWN, Settings, TableError, checked

#: What is drawn from where nobody says it.
USUAL: dict[str, tuple[float, float]] = {"learning_rate": (1e-3, 5e-2), "hidden_size": (16, 128), "batch_size": (8, 64)}

#: What cannot be compared by the loss on what is held out, and what it changes.
INCOMPARABLE = {
    **dict.fromkeys(("task", "target", "horizon", "class_weight"), "what the loss measures"),
    **dict.fromkeys(("id", "time", "validation", "seed"), "what is held out"),
}

Changes = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A training that is finished.

    Attributes
    ----------
    changes : dict
        The settings in which it differs from others.
    updates : int
    seconds : float
        Of the training, with its validations.
    loss : float or None
        The lowest loss on what is held out; ``None`` of a training that diverged.
    figures : dict of str to float
        What the model does on what is held out, in the units of the table.
    """

    changes: Changes
    updates: int
    seconds: float
    loss: float | None
    figures: dict[str, float]

    @property
    def name(self) -> str:
        """The changes in a line."""
        return ", ".join(f"{name} {shown_value(value)}" for name, value in self.changes.items())


def shown_value(value: Any) -> str:
    """Return the value of a setting in few characters."""
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def check_comparable(names: Iterable[str], settings: Settings) -> None:
    """Raise TableError for a setting that cannot be compared by the loss."""
    scaling = {} if settings.task in CLASSES else {"scaling": "what the loss of numbers measures"}
    for name in names:
        if why := {**INCOMPARABLE, **scaling}.get(name):
            raise TableError(f"try, between: expected settings to compare by the loss, got {name}, which changes {why}")


def grid(choices: Mapping[str, list[Any]], seeds: list[int]) -> list[Changes]:
    """Return all combinations of some values, the whole grid for one seed after the other."""
    known = _checked_choices(choices)
    cells = [dict(zip(known, values, strict=True)) for values in product(*known.values())]
    return [{**cell, "seed": seed} for seed in seeds for cell in cells]


def draws(
    choices: Mapping[str, list[Any]], ranges: Mapping[str, tuple[float, float]], number: int, seed: int
) -> list[Changes]:
    """Return random combinations of values and of numbers within ranges, the same for the same seed.

    Ranges from above 0 are drawn from evenly on a log scale. There are fewer where values have fewer combinations.
    """
    from scipy.stats import loguniform, uniform
    from sklearn.model_selection import ParameterGrid, ParameterSampler

    space: dict[str, Any] = dict(_checked_choices(choices))
    for name, (low, high) in ranges.items():
        for end in (low, high):
            checked(name, round(end) if KNOWN[name].metadata["kind"] is int else end)
        space[name] = loguniform(low, high) if low > 0 else uniform(low, high - low)
    if not ranges:
        number = min(number, len(ParameterGrid(space)))
    return [
        {name: _drawn(name, value) if name in ranges else value for name, value in each.items()}
        for each in ParameterSampler(space, number, random_state=seed)
    ]


def checked_range(name: str, ends: Any) -> tuple[float, float]:
    """Return a range of a setting, or raise TableError."""
    if name not in KNOWN or KNOWN[name].metadata["kind"] not in (int, float):
        raise TableError(f"between: expected a setting that is a number, got {name!r}")
    try:
        low, high = map(float, ends)
    except (TypeError, ValueError):
        low, high = 0.0, 0.0
    if not 0 <= low < high:
        raise TableError(f"between: {name}: expected two numbers, the lower one first, got {ends}")
    return low, high


def _checked_choices(choices: Mapping[str, Any]) -> dict[str, list[Any]]:
    for name, values in choices.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise TableError(f"try: {name}: expected a list of values, got {values!r}")
    return {name: [checked(name, value) for value in values] for name, values in choices.items()}


def _drawn(name: str, value: Any) -> Any:
    return checked(name, round(value) if KNOWN[name].metadata["kind"] is int else float(value))


def complete(table: Table, settings: Settings, wanted: list[Changes], path: Path) -> Iterator[Trial]:
    """Yield all trainings that are wanted, in order, those that the file has at once; the others are added to it.

    A call that was killed leaves a file from which the same call goes on.

    Raises
    ------
    TableError
        For settings that do not go together or with the table, before anything is trained; and for a file of other
        trainings.
    """
    all_settings = [replace(settings, **changes) for changes in wanted]
    for own in all_settings:
        prepare(table, own)
    origin = _origin(table, settings)
    trials = _read(path, origin)
    finished = {_key(trial.changes): trial for trial in trials}
    for changes, own in zip(wanted, all_settings, strict=True):
        if (key := _key(changes)) not in finished:
            finished[key] = _train(table, own, changes)
            trials.append(finished[key])
            with atomic_write(path) as file:
                file.write(json.dumps({"of": origin, "trials": list(map(asdict, trials))}, indent=1).encode())
        yield finished[key]


def _train(table: Table, settings: Settings, changes: Changes) -> Trial:
    fit, began = prepare(table, settings), time.perf_counter()
    trainer = fit.trainer
    try:
        history = trainer.fit(
            fit.data,
            epochs=settings.epochs,
            validation=fit.validation,
            patience=settings.patience,
            progress=False,
        )
    except FloatingPointError:
        return Trial(changes, trainer.step, time.perf_counter() - began, None, {})
    seconds = time.perf_counter() - began
    best = min(record.validation["loss"] for record in history if record.validation is not None)
    return Trial(changes, len(history), seconds, best, fit.figures())


def _key(changes: Changes) -> str:
    return json.dumps(changes, sort_keys=True)


def _origin(table: Table, settings: Settings) -> dict[str, Any]:
    """Return what the trainings of a file have in common, as JSON has it."""
    with open(table.path, "rb", opener=regular) as file:
        content = hashlib.sha256(file.read()).hexdigest()
    known: dict[str, Any] = json.loads(json.dumps({**asdict(replace(settings, threads=None)), "table": content}))
    return known


def _read(path: Path, origin: dict[str, Any]) -> list[Trial]:
    if not path.exists():
        return []
    try:
        with open(path, encoding="utf-8", opener=regular) as file:
            known = parsed(file.read())
        theirs, trials = known["of"], [Trial(**trial) for trial in known["trials"]]
        differing = sorted(name for name in origin.keys() | theirs.keys() if origin.get(name) != theirs.get(name))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise TableError(f"{path}: not a file of finished trainings: {error}") from error
    if differing:
        raise TableError(f"{path}: has trainings with another {', '.join(differing)}; choose another folder")
    return trials
