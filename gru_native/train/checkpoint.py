"""A training run in one file, from which it goes on as if nothing had happened.

A checkpoint holds the model's parameters and buffers, the optimizer's and the schedule's state, the records so far, the
best model so far, the place in the data and the states that are carried there. Random numbers need no place: they are
a function of the seed and of the step.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gru_native import io
from gru_native.train.data import Array
from gru_native.train.record import Record

if TYPE_CHECKING:
    from gru_native.train.loop import Trainer


class OtherRunError(ValueError):
    """A checkpoint belongs to another run than the one that wants to go on."""


@dataclass
class Run:
    """How far a `Trainer.fit` has come."""

    epoch: int  # and the batches of it that have been used
    batches: int = 0
    states: Any = None  # that the next batch goes on from
    history: list[Record] = field(default_factory=list)
    failures: int = 0  # validations in a row that were no better
    best_state: dict[str, Array] | None = None

    @property
    def seconds(self) -> float:
        return self.history[-1].seconds if self.history else 0.0

    @property
    def best(self) -> Record | None:
        return next((record for record in reversed(self.history) if record.best), None)


class Checkpoint:
    """Where a run is kept, and how often.

    With one, a `Trainer.fit` that was killed, even while it wrote this file, goes on when it is called again with the
    same arguments, and ends with the same bits as if it had run through. The file stays when the run is over; then the
    same call returns at once, with the run's result.

    Parameters
    ----------
    path
        The file, by custom ``*.checkpoint``.
    every
        Steps from one save to the next; ``None`` for those from one validation to the next (without validation, for an
        epoch). The end is always saved.
    identity
        Anything that tells this run from others with the same model and data of the same size, such as a hash of the
        data.
    """

    def __init__(self, path: str | os.PathLike[str], every: int | None = None, identity: str = "") -> None:
        self.path = Path(path)
        self.every = every
        self.identity = identity

    def exists(self) -> bool:
        return self.path.exists()

    def save(self, trainer: Trainer, run: Run, plan: Mapping[str, Any]) -> None:
        """Write the file; `plan` is what a call that wants to go on must agree with."""
        kept: list[Array] = []
        nest = _flatten(run.states, kept)
        optimizer = {name: np.asarray(value) for name, value in trainer.optimizer.state_dict().items()}
        groups: dict[str, Mapping[str, Array]] = {
            "model": trainer.model.state_dict(),
            "optimizer": optimizer,
            "best": run.best_state or {},
            "states": {str(i): array for i, array in enumerate(kept)},
            "history": _columns(run.history),
        }
        header = {
            "plan": {**plan, "identity": self.identity},
            "step": trainer.step,
            "epoch": run.epoch,
            "batches": run.batches,
            "states": nest,
            "failures": run.failures,
            "validations": [[i, r.validation, r.best] for i, r in enumerate(run.history) if r.validation is not None],
            "schedule": None if trainer.schedule is None else trainer.schedule.state_dict(),
            "has_best": run.best_state is not None,
        }
        arrays = {f"{group}/{name}": array for group, own in groups.items() for name, array in own.items()}
        io.save_arrays(self.path, arrays, {"checkpoint": header})

    def restore(self, trainer: Trainer, plan: Mapping[str, Any]) -> Run:
        """Bring a trainer to where the file says, and return the run.

        Raises
        ------
        ModelFileError
            When the file is damaged, or no checkpoint.
        OtherRunError
            When it belongs to another run.
        """
        arrays, outer = io.load_arrays(self.path)
        header = outer.get("checkpoint")
        if not isinstance(header, dict):
            raise io.ModelFileError(f"{self.path}: not a checkpoint of a training run")
        self._refuse_other(header.get("plan"), {**plan, "identity": self.identity})
        groups: dict[str, dict[str, Array]] = {}
        for name, array in arrays.items():
            group, own = name.split("/", 1)
            groups.setdefault(group, {})[own] = array
        try:
            run = Run(header["epoch"], header["batches"], failures=header["failures"])
            run.states = _unflatten(header["states"], groups.get("states", {}))
            run.history = _records(groups["history"], header["validations"])
            run.best_state = groups.get("best", {}) if header["has_best"] else None
            trainer.model.assign(groups.get("model", {}))
            trainer.optimizer.load_state_dict(groups["optimizer"])
            if trainer.schedule is not None:
                trainer.schedule.load_state_dict(header["schedule"])
            trainer.step = header["step"]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise io.ModelFileError(f"{self.path}: the checkpoint is not complete: {error}") from error
        return run

    def _refuse_other(self, theirs: Any, ours: Mapping[str, Any]) -> None:
        for name, value in ours.items():
            found = theirs.get(name) if isinstance(theirs, dict) else None
            if found != value:
                raise OtherRunError(
                    f"checkpoint: {self.path} belongs to another run, whose {name} is {found!r}, "
                    f"expected {value!r}; go on with what it was begun with, or remove it"
                )


_VALIDATED = ("validation", "best")
_COLUMNS = [column.name for column in fields(Record) if column.name not in _VALIDATED]


def _columns(history: Sequence[Record]) -> dict[str, Array]:
    rows = [asdict(record) for record in history]
    return {name: np.array([np.nan if row[name] is None else row[name] for row in rows]) for name in _COLUMNS}


def _records(columns: Mapping[str, Array], validations: Sequence[Sequence[Any]]) -> list[Record]:
    rows: list[dict[str, Any]] = [
        dict(zip(_COLUMNS, row, strict=True))
        for row in zip(*(columns[name].tolist() for name in _COLUMNS), strict=True)
    ]
    for row in rows:
        row["grad_norm"] = None if np.isnan(row["grad_norm"]) else row["grad_norm"]
    for i, validation, best in validations:
        rows[i] |= {"validation": validation, "best": best}
    return [Record(**row) for row in rows]


def _flatten(nest: Any, arrays: list[Array]) -> Any:
    """Return a nest of lists, tuples, None and arrays as JSON has it, the arrays by their place in `arrays`."""
    if nest is None:
        return None
    if isinstance(nest, (list, tuple)):
        return {"list" if isinstance(nest, list) else "tuple": [_flatten(each, arrays) for each in nest]}
    arrays.append(nest)
    return len(arrays) - 1


def _unflatten(nest: Any, arrays: Mapping[str, Array]) -> Any:
    if nest is None:
        return None
    if isinstance(nest, dict):
        ((kind, parts),) = nest.items()
        return {"list": list, "tuple": tuple}[kind](_unflatten(part, arrays) for part in parts)
    return arrays[str(nest)]
