"""A training run in two files, from which it goes on as if nothing had happened.

A checkpoint holds the model's parameters, buffers and shares, the optimizer's and the schedule's state, the best model
so far, the place in the data and the states that are carried there, and what the run is. The records so far lie beside
it, in a log that only grows, so that a save costs the same however long the run is. Random numbers need no place: they
are a function of the seed and of the step.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from gru_native import arguments, io
from gru_native.changes import Change
from gru_native.nn.share import changes as changes_of_shares
from gru_native.nn.share import shares
from gru_native.schedules import Schedule
from gru_native.train.data import Array
from gru_native.train.identity import differences, fingerprint
from gru_native.train.metrics import Tally
from gru_native.train.record import Record, line_of, record_of

if TYPE_CHECKING:
    from gru_native.train.loop import Trainer

VERSION = 3
CHANGEABLE = ("steps", "data", "optimizer", "schedule", "max_norm", "accumulate", "validate_every", "patience")
DEEPEST = 32  # nest of states
GROUPS = ("model", "optimizer", "best", "states", "seen")
RATES = ("lr", "initial_lr")
SEEN = ("predictions", "targets", "lengths")


class OtherRunError(ValueError):
    """A checkpoint belongs to another run than the one that wants to go on."""


@dataclass
class Log:
    """The file with the records of a run, as far as it is written: what comes after that does not count."""

    records: int = 0
    size: int = 0
    digest: Any = field(default_factory=lambda: hashlib.sha1(usedforsecurity=False))

    @property
    def mark(self) -> dict[str, Any]:
        """What tells whether a file begins with this log."""
        return {"bytes": self.size, "hash": self.digest.hexdigest()}

    def extend(self, path: Path, history: list[Record]) -> None:
        """Bring the records that are new to the disk."""
        new = "".join(map(line_of, history[self.records :])).encode()
        with open(path, "r+b" if self.size else "wb") as file:
            file.truncate(self.size)
            file.seek(self.size)
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        self._count(new, len(history))

    @classmethod
    def read(cls, path: Path, mark: Mapping[str, Any]) -> tuple[Log, list[Record]]:
        """Return the log that bears a mark, and its records."""
        with open(path, "rb", opener=io.regular) as file:
            content = file.read()[: mark["bytes"]]
        log = cls()
        log._count(content, content.count(b"\n"))
        if log.mark != mark:
            raise ValueError(f"{path} is not the log that belongs to it")
        return log, [record_of(line) for line in content.decode().splitlines()]

    def _count(self, content: bytes, records: int) -> None:
        self.records, self.size = records, self.size + len(content)
        self.digest.update(content)


@dataclass
class Run:
    """How far a `Trainer.fit` has come."""

    epoch: int  # and the batches of it that have been used
    batches: int = 0
    states: dict[int, Any] = field(default_factory=dict)  # by shard, that the next batch goes on from
    history: list[Record] = field(default_factory=list)
    failures: int = 0  # validations in a row that were no better
    stopped: bool = False  # by a callback
    best_state: dict[str, Array] | None = None
    tally: Tally = field(default_factory=Tally)  # of the training since the last figures
    log: Log = field(default_factory=Log)

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

    What a run is stands in the file, and another one is refused, by the names of what differs: the model's
    configuration, the loss, the optimizer and the schedule with their settings, ``max_norm``, ``seed``, the names of
    the metrics, the arguments of `fit`, and the data and the validation data by their `fingerprint` (see
    `gru_native.train.data` for sources without one). Not compared are the initial weights, which differ from process to
    process unless the layers have seeds, what functions and objects of your own do, and ``threads``.

    Parameters
    ----------
    path
        The file, by custom ``*.checkpoint``. The records of the steps are in the file `log` beside it: keep both or
        `remove` both.
    every
        Steps from one save to the next; ``None`` for those from one validation to the next (without validation, for an
        epoch). The end is always saved.
    changes
        What may be other than in the file, from there on: names out of ``"steps"`` (the length of the run, also when it
        is given in epochs), ``"data"``, ``"optimizer"``, ``"schedule"``, ``"max_norm"``, ``"accumulate"``,
        ``"validate_every"`` and ``"patience"``. Other data begin with a new epoch. An optimizer has to be of the same
        kind, and keeps what it remembers of the gradients. A schedule of the same kind stays at its step, one of
        another kind begins. Where neither learning rate nor kind of schedule are changed, the rate of the file holds.

    Examples
    --------
    Ten epochs more, at a lower rate::

        optimizer = optim.AdamW(model, lr=1e-4)
        keeper = Checkpoint("run.checkpoint", changes=("steps", "optimizer"))
        Trainer(model, loss, optimizer).fit(data, epochs=30, checkpoint=keeper)
    """

    def __init__(
        self, path: str | os.PathLike[str], every: int | None = None, *, changes: Collection[str] = ()
    ) -> None:
        self.path = Path(arguments.path("path", path))
        self.every = None if every is None else arguments.whole("every", every)
        self.changes = frozenset(arguments.every("changes", changes, arguments.text))
        if not self.changes.issubset(CHANGEABLE):
            raise ValueError(f"changes: expected names out of {', '.join(CHANGEABLE)}, got {changes!r}")

    @property
    def log(self) -> Path:
        """The file with the records, for `read_log`; after a kill it may have more than the checkpoint knows of."""
        return self.path.with_name(f"{self.path.name}.log")

    def absolute(self) -> Checkpoint:
        """Return the same checkpoint, whatever becomes of the current folder."""
        found = copy(self)
        found.path = self.path.absolute()
        return found

    def refuse_foreign_log(self) -> None:
        """Refuse to begin a run where a file that is no log of a run stands in the place of its log."""
        if self.exists() or not self.log.exists():
            return
        with open(self.log, "rb", opener=io.regular) as file:
            first = file.readline()
        try:
            if first:
                record_of(first.decode())
        except ValueError:
            raise ValueError(
                f"checkpoint: expected the log of a run in {self.log}, or no file there, got another file"
            ) from None

    def exists(self) -> bool:
        """Return whether there is a checkpoint at `path`."""
        return self.path.exists()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep both files for one run while the block lasts, where the system has locks.

        Raises
        ------
        OtherRunError
            When another run has them.
        """
        with open(self.log, "ab", opener=io.regular) as file:
            try:
                _lock(file)
            except BlockingIOError:
                raise OtherRunError(f"checkpoint: another run is at work on {self.path}") from None
            yield

    def remove(self) -> None:
        """Remove both files, if they are there.

        Raises
        ------
        ValueError
            For anything else than files. Nothing is removed then.
        """
        for file in (self.path, self.log):
            io.writable("path", file)
        for file in (self.path, self.log):
            file.unlink(missing_ok=True)

    def save(self, trainer: Trainer, run: Run, plan: Mapping[str, Any]) -> None:
        """Write the files; `plan` is what a call that wants to go on must agree with."""
        run.log.extend(self.log, run.history)
        kept: list[Array] = []
        nest = _flatten([run.states[shard] for shard in sorted(run.states)], kept)
        groups: dict[str, Mapping[str, Any]] = {
            "model": trainer.model.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "best": run.best_state or {},
            "states": {str(i): array for i, array in enumerate(kept)},
            "seen": dict(zip(SEEN, map(np.concatenate, zip(*run.tally.seen, strict=True)), strict=False)),
        }
        header = {
            "version": VERSION,
            "plan": plan,
            "epoch": run.epoch,
            "stopped": run.stopped,
            "batches": run.batches,
            "states": nest,
            "tally": [run.tally.total, run.tally.count],
            "schedule": None if trainer.schedule is None else trainer.schedule.state_dict(),
            "shares": shares(trainer.model),
            "log": run.log.mark,
        }
        arrays = {f"{group}/{name}": np.asarray(value) for group, own in groups.items() for name, value in own.items()}
        io.save_arrays(self.path, arrays, {"checkpoint": header, "hash": _hash(header, arrays)})

    def restore(self, trainer: Trainer, plan: Mapping[str, Any]) -> Run:
        """Bring a trainer to where the files say, and return the run. After an error the trainer is as it was.

        Raises
        ------
        ModelFileError
            When a file is damaged, missing or of another version, or no checkpoint.
        OtherRunError
            When it belongs to another run.
        """
        header, groups = self._read()
        differing = {place: (found, own) for place, found, own in differences(header.get("plan"), plan)}
        self._refuse_other(differing)
        changed = {_head(place) for place in differing}
        with self._refusing(io.ModelFileError):
            log, history = Log.read(self.log, header["log"])
            _check_order(history, plan)
            run = _run(header, groups, history, "data" in changed)
            run.log = log
            present = trainer.model.state_dict()
            _check_like("model", groups["model"], present)
            _check_like("best", groups["best"], present if run.best else {})
            of_model = changes_of_shares(trainer.model, header["shares"])
        with self._refusing(OtherRunError if changed else io.ModelFileError):
            state, schedule = _with_changes(trainer, groups["optimizer"], header["schedule"], differing)
            changes = trainer.optimizer.prepare_load(state)
            if trainer.schedule is not None:
                changes += trainer.schedule.prepare_load(schedule)
        place = {"step": history[-1].step, "epoch": history[-1].epoch + 1}
        trainer.model._assign(groups["model"], [*changes, *of_model, Change(trainer, place)])
        return run

    def _read(self) -> tuple[dict[str, Any], dict[str, dict[str, Array]]]:
        """Return the header and the arrays by group, once it is sure that they are what was saved."""
        arrays, outer = io.load_arrays(self.path)
        header = outer.get("checkpoint")
        if not isinstance(header, dict):
            raise io.ModelFileError(f"{self.path}: not a checkpoint of a training run")
        if "version" not in header:
            raise io.ModelFileError(
                f"{self.path}: written by gru_native 0.1.0 or older, whose checkpoints this version does not read; "
                "end the run with the version that began it, or remove the file"
            )
        if type(header["version"]) is not int or header["version"] != VERSION:
            raise io.ModelFileError(f"{self.path}: expected version {VERSION}, got {header['version']!r}")
        with self._refusing(io.ModelFileError):
            if outer.get("hash") != _hash(header, arrays):
                raise ValueError("it is not what its hash was made of")
        groups: dict[str, dict[str, Array]] = {group: {} for group in GROUPS}
        for name, array in arrays.items():
            group, _, own = name.partition("/")
            if group not in groups:
                raise io.ModelFileError(f"{self.path}: an array that belongs to no checkpoint: {name!r}")
            groups[group][own] = array
        return header, groups

    @contextmanager
    def _refusing(self, kind: type[ValueError]) -> Iterator[None]:
        """Say of whatever is found wrong within the block that it is the checkpoint's fault."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError, FileNotFoundError) as error:
            raise kind(f"{self.path}: the checkpoint cannot be taken over: {error}") from error

    def _refuse_other(self, differing: Mapping[str, tuple[Any, Any]]) -> None:
        refused = [place for place in differing if place == "optimizer" or _head(place) not in self.changes]
        if refused:
            found = " and ".join("{} is {!r}, expected {!r}".format(place, *differing[place]) for place in refused)
            names = {_head(place) for place in refused}
            may_change = names.issubset(CHANGEABLE) and "optimizer" not in refused
            allow = f"allow it by changes={sorted(names | self.changes)}, " if may_change else ""
            mode = "model.train() and model.eval() set the mode; " if "training" in names else ""
            raise OtherRunError(
                f"checkpoint: {self.path} belongs to another run, whose {found}; {mode}"
                f"go on with what it was begun with, {allow}or remove it"
            )


def _lock(file: BinaryIO) -> None:
    """Take hold of a file until it is closed."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _head(place: str) -> str:
    return place.partition(".")[0]


def _hash(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> str:
    return fingerprint(header, *chain.from_iterable(sorted(arrays.items())))


def _check_order(history: list[Record], plan: Mapping[str, Any]) -> None:
    """Make sure that the records are those of a run from its first step on."""
    steps, epochs = [record.step for record in history], [record.epoch for record in history]
    first = plan["first_step"] + 1
    if steps != list(range(first, first + len(steps))) or epochs[0] != plan["first_epoch"] or epochs != sorted(epochs):
        raise ValueError("the records are not those of a run")


def _run(header: Mapping[str, Any], groups: Mapping[str, dict[str, Array]], history: list[Record], anew: bool) -> Run:
    """Return where the run stood; `anew` at the beginning of an epoch of other data."""
    run = Run(arguments.whole("epoch", header["epoch"], 0), arguments.whole("batches", header["batches"], 0))
    run.history, run.stopped = history, arguments.flag("stopped", header["stopped"])
    kept = dict(groups["states"])
    run.states = dict(enumerate(_unflatten(header["states"], kept)))
    if len(run.states) != header["plan"]["shards"]:
        raise ValueError(f"expected the states of {header['plan']['shards']} shards, got {len(run.states)}")
    if kept:
        raise ValueError(f"arrays that belong to no state: {sorted(kept)}")
    total, count = (arguments.number(f"tally[{place}]", own, -math.inf) for place, own in enumerate(header["tally"]))
    seen = groups["seen"]
    run.tally = Tally(total, count, [tuple(seen[name] for name in SEEN if name in seen)] if seen else [])
    if run.epoch != history[-1].epoch + (run.batches == 0):
        raise ValueError("the epoch is not that of the records")
    if anew:
        run.epoch, run.batches, run.states, run.tally = run.epoch + 1, 0, {}, Tally()
    since_best = takewhile(lambda record: not record.best, reversed(history))
    run.failures = sum(record.validation is not None for record in since_best)
    run.best_state = groups["best"] if run.best else None
    return run


def _check_like(group: str, arrays: Mapping[str, Array], present: Mapping[str, Array]) -> None:
    if strangers := arrays.keys() ^ present.keys():
        raise ValueError(f"{group}: arrays without a place, or places without an array: {sorted(strangers)}")
    for name, array in arrays.items():
        if (array.shape, array.dtype) != (present[name].shape, present[name].dtype):
            raise ValueError(f"{group}: {name} is {array.shape} of {array.dtype}")


def _with_changes(
    trainer: Trainer, state: Mapping[str, Any], schedule: Any, differing: Collection[str]
) -> tuple[Mapping[str, Any], Any]:
    """Return the optimizer's and the schedule's state, with the rates of the trainer where it brings new ones."""
    own = trainer.schedule
    if "schedule" in differing or "optimizer.lr" in differing:
        rates = {name: rate for name in RATES if (rate := getattr(trainer.optimizer, name)) is not None}
        state = {**{name: value for name, value in state.items() if name not in RATES}, **rates}
        if isinstance(own, Schedule):
            schedule = {**(schedule or {}), "base_lr": own.base_lr}
    if "schedule" in differing:
        schedule = None if own is None else own.state_dict()
    return state, schedule


def _flatten(nest: Any, arrays: list[Array]) -> Any:
    """Return a nest of lists, tuples, None and arrays as JSON has it, the arrays by their place in `arrays`."""
    if nest is None:
        return None
    if isinstance(nest, (list, tuple)):
        return {"list" if isinstance(nest, list) else "tuple": [_flatten(each, arrays) for each in nest]}
    arrays.append(nest)
    return len(arrays) - 1


def _unflatten(nest: Any, arrays: dict[str, Array], depth: int = 0) -> Any:
    """Return the nest, with arrays that are taken out of `arrays`."""
    if nest is None:
        return None
    if not isinstance(nest, dict):
        return arrays.pop(str(nest))
    ((kind, parts),) = nest.items()
    if not isinstance(parts, list) or depth == DEEPEST:
        raise ValueError("the states are no nest of lists and tuples")
    return {"list": list, "tuple": tuple}[kind](_unflatten(part, arrays, depth + 1) for part in parts)
