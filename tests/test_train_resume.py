"""A run that is killed and started again is the same run, to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import assert_same_bits

from gru_native import ModelFileError, io, nn, optim, save
from gru_native.losses import CrossEntropyLoss, MSELoss
from gru_native.nn.share import shares
from gru_native.schedules import ExponentialLR, ReduceLROnPlateau, Schedule, StepLR
from gru_native.train import (
    Batches,
    Checkpoint,
    Data,
    OtherRunError,
    Record,
    Sequences,
    Stream,
    Trainer,
    checkpoint,
    plot_history,
    read_log,
    written_log,
)

# What a process of its own runs: a stream with carried states of a GRU and an LSTM, dropout, zoneout, a schedule that
# looks at the validation, clipping, several batches a step, and early stopping that never comes.
RUN = """
import sys
import numpy as np
from gru_native import nn, optim, save
from gru_native.losses import CrossEntropyLoss
from gru_native.schedules import ReduceLROnPlateau
from gru_native.train import Checkpoint, Stream, Trainer

folder, pause = sys.argv[1], float(sys.argv[2])
rng = np.random.default_rng(0)
ids = rng.integers(0, 6, 2000)
model = nn.Sequential(
    nn.Embedding(6, 8, seed=1),
    nn.GRU(8, [12, 10], dropout=0.2, zoneout=0.1, seed=2),
    nn.LSTM(10, 9, seed=3),
    nn.Dropout(0.2),
    nn.Linear(9, 6, seed=4),
)
optimizer = optim.AdamW(model, lr=1e-2)
trainer = Trainer(
    model, CrossEntropyLoss(), optimizer, schedule=ReduceLROnPlateau(optimizer, patience=0), max_norm=1.0, seed=5
)
data, held_out = Stream(ids[:1500], ids[1:1501], 5, 11), Stream(ids[1500:-1], ids[1501:], 4, 20)
trainer.fit(
    data, steps=60, validation=held_out, validate_every=7, patience=100, accumulate=2, progress=False,
    callbacks=[lambda record: __import__("time").sleep(pause)],
    checkpoint=Checkpoint(folder + "/run.checkpoint", every=3), log=folder + "/log.jsonl",
)
save(model, folder + "/model.safetensors")
"""


def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    subprocess.run([sys.executable, "-c", RUN, str(whole), "0"], check=True, timeout=120)
    kills, chance = 0, random.Random(1)
    while not (cut / "model.safetensors").exists():
        with subprocess.Popen([sys.executable, "-c", RUN, str(cut), "0.02" if kills < 10 else "0"]) as process:
            if kills < 10:
                _wait_for_a_step(cut, process)
                time.sleep(chance.uniform(0.0, 0.12))
                assert process.poll() is None, "the run was over before it was killed"
                process.send_signal(signal.SIGKILL)
                kills += 1
    assert kills == 10
    assert (cut / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert read_log(cut / "log.jsonl") == read_log(whole / "log.jsonl")
    assert [record.step for record in read_log(cut / "log.jsonl")] == list(range(1, 61))
    assert read_log(cut / "run.checkpoint.log") == read_log(whole / "log.jsonl")
    assert not list(cut.glob("*.tmp"))


def _wait_for_a_step(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has written to the log, which it begins by rewriting."""
    log = folder / "log.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    while not log.exists() or log.stat().st_mtime_ns == before:
        assert process.poll() is None
        time.sleep(0.005)


def test_killed_while_it_saves(tmp_path: Path) -> None:
    """Whenever the process dies, the file is the old one or the new one, and its log is there."""
    program = """
import sys
import numpy as np
from gru_native import nn, optim
from gru_native.losses import MSELoss
from gru_native.train import Checkpoint, Batches, Trainer

model = nn.Linear(400, 400, seed=1)
trainer = Trainer(model, MSELoss(), optim.Adam(model, lr=1e-3))
x = np.ones((4, 400), np.float32)
print("ready", flush=True)
trainer.fit(Batches(x, x, 4), steps=100000, progress=False, checkpoint=Checkpoint(sys.argv[1], every=1))
"""
    path, chance, steps = tmp_path / "run.checkpoint", random.Random(2), []
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(chance.uniform(0.05, 0.15))
            process.send_signal(signal.SIGKILL)
        if path.exists():
            model, x = nn.Linear(400, 400), np.ones((4, 400), np.float32)
            trainer = Trainer(model, MSELoss(), optim.Adam(model, lr=1e-3))
            keeper = Checkpoint(path, changes=["steps"])
            history = trainer.fit(Batches(x, x, 4), steps=1, progress=False, checkpoint=keeper)  # no step more
            steps.append(len(history))
    assert steps
    assert steps == sorted(steps)
    assert not list(tmp_path.glob("*.tmp"))


# ---- In one process: what a checkpoint brings back -------------------------------------------------------------------


def _batches() -> Batches:
    rng = np.random.default_rng(0)
    return Batches(rng.standard_normal((30, 4)).astype("f4"), rng.integers(0, 3, 30), 4, shuffle=True)


def _sequences(seed: int = 0) -> Sequences:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((length, 4)).astype("f4") for length in rng.integers(1, 9, 30)]
    return Sequences(inputs, [rng.integers(0, 3, len(x)) for x in inputs], 4, per_step=True, shuffle=True, seed=seed)


def _stream() -> Stream:
    rng = np.random.default_rng(0)
    return Stream(rng.standard_normal((200, 4)).astype("f4"), rng.integers(0, 3, 200), 4, 9)


class _Stopped(Exception):
    pass


def _fit(
    data: Data,
    folder: Path | None,
    *,
    stop_at: int | None = None,
    steps: int = 25,
    plateau: bool = False,
    **keywords: Any,
) -> tuple[list[Record], dict[str, bytes], Trainer]:
    """Train a model; with `stop_at`, until that step has been taken."""
    recurrent = not isinstance(data, Batches)
    first: nn.Module = nn.GRU(4, 5, seed=1) if recurrent else nn.Linear(4, 5, seed=1)
    model = nn.Sequential(first, nn.Dropout(0.2), nn.LayerNorm(5), nn.Linear(5, 3, seed=2))
    optimizer = optim.SGD(model, lr=0.1, momentum=0.9)
    schedule: Schedule | ReduceLROnPlateau = ExponentialLR(optimizer, 0.98)
    if plateau:
        schedule = ReduceLROnPlateau(optimizer, patience=0)
    trainer = Trainer(model, CrossEntropyLoss(), optimizer, schedule=schedule, seed=3)

    def stop(record: Record) -> None:
        if record.step == stop_at:
            raise _Stopped

    checkpoint = None if folder is None else Checkpoint(folder / "run.checkpoint", every=2)
    history = trainer.fit(
        data,
        steps=steps,
        validation=_batches() if isinstance(data, Batches) else data,
        validate_every=6,
        callbacks=[stop],
        progress=False,
        checkpoint=checkpoint,
        **keywords,
    )
    return history, {name: array.tobytes() for name, array in model.state_dict().items()}, trainer


@pytest.mark.parametrize("plateau", [False, True])
@pytest.mark.parametrize("data", [_batches(), _sequences(), _stream()], ids=lambda data: type(data).__name__)
def test_stopped_anywhere(data: Data, plateau: bool, tmp_path: Path) -> None:
    expected, weights, _ = _fit(data, None, plateau=plateau)
    for stop_at in (1, 2, 7, 8, 12, 19, 24):  # within an epoch, at its end, before and after a validation
        with pytest.raises(_Stopped):
            _fit(data, tmp_path, stop_at=stop_at, plateau=plateau)
    history, resumed, trainer = _fit(data, tmp_path, plateau=plateau)
    assert history == expected
    assert resumed == weights
    assert trainer.best == max((record for record in expected if record.best), key=lambda record: record.step)
    # Once more: the run is over, and its result is there.
    again, restored, _ = _fit(data, tmp_path, plateau=plateau)
    assert again == expected
    assert restored == weights


def test_early_stopping_goes_on_counting(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    noise = Batches(rng.standard_normal((30, 4)).astype("f4"), rng.integers(0, 3, 30), 4, shuffle=True)
    expected, weights, _ = _fit(noise, None, steps=500, patience=2)
    assert len(expected) < 500
    for stop_at in range(3, len(expected), 5):
        with pytest.raises(_Stopped):
            _fit(noise, tmp_path, steps=500, patience=2, stop_at=stop_at)
    history, resumed, _ = _fit(noise, tmp_path, steps=500, patience=2)
    assert history == expected
    assert resumed == weights


def test_seconds_go_on(tmp_path: Path) -> None:
    with pytest.raises(_Stopped):
        _fit(_batches(), tmp_path, stop_at=20)
    history, *_ = _fit(_batches(), tmp_path)
    seconds = [record.seconds for record in history]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


# ---- What a run is ---------------------------------------------------------------------------------------------------

DATA = np.random.default_rng(0).standard_normal((32, 4)).astype("f4")
LABELS = np.random.default_rng(1).integers(0, 3, 32)


def _accuracy(predictions: Any, targets: Any) -> float:
    return float(np.mean(predictions.argmax(-1) == targets))


@dataclass
class Setup:
    """A small run, each part of which can be another; 4 batches in an epoch."""

    inputs: Any = field(default_factory=lambda: DATA)
    targets: Any = field(default_factory=lambda: LABELS)
    held_out: Any = field(default_factory=lambda: DATA[::2])
    batch_size: int = 8
    order: int = 0
    optimizer: Callable[..., optim.Optimizer] = optim.SGD
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: Callable[[optim.Optimizer], Any] | None = None
    label_smoothing: float = 0.0
    dropout: float = 0.2
    max_norm: float | None = None
    metrics: tuple[str, ...] = ()
    seed: int = 3
    epochs: int = 2
    validate_every: int = 3
    patience: int | None = None
    accumulate: int = 1

    def trainer(self) -> Trainer:
        model = nn.Sequential(nn.Linear(4, 5, seed=1), nn.Dropout(self.dropout), nn.Linear(5, 3, seed=2))
        optimizer = self.optimizer(model, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        return Trainer(
            model,
            CrossEntropyLoss(label_smoothing=self.label_smoothing),
            optimizer,
            schedule=None if self.schedule is None else self.schedule(optimizer),
            max_norm=self.max_norm,
            metrics=dict.fromkeys(self.metrics, _accuracy),
            seed=self.seed,
        )

    def fit(self, checkpoint: Checkpoint | None, trainer: Trainer | None = None, stop_at: int = 0) -> Trainer:
        def stop(record: Record) -> None:
            if record.step == stop_at:
                raise _Stopped

        trainer = trainer or self.trainer()
        trainer.fit(
            Batches(self.inputs, self.targets, self.batch_size, shuffle=True, seed=self.order),
            epochs=self.epochs,
            validation=Batches(self.held_out, LABELS[::2], 16),
            validate_every=self.validate_every,
            patience=self.patience,
            accumulate=self.accumulate,
            callbacks=[stop],
            progress=False,
            checkpoint=checkpoint,
        )
        return trainer


def _all_of(trainer: Trainer) -> dict[str, Any]:
    """Return whatever a checkpoint brings back, to be compared."""
    arrays = {**trainer.model.state_dict(), **trainer.optimizer.state_dict()}
    state = {name: np.asarray(value).tobytes() for name, value in arrays.items()}
    schedule = trainer.schedule and trainer.schedule.state_dict()
    return {**state, "schedule": schedule, "step": trainer.step, "epoch": trainer.epoch, "best": trainer.best}


def _flipped(labels: Any) -> Any:
    return np.where(np.arange(len(labels)) == 20, (labels + 1) % 3, labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 1e-3}, "whose optimizer.lr is 0.1, expected 0.001"),
        ({"momentum": 0.5}, "whose optimizer.momentum is 0.9, expected 0.5"),
        ({"weight_decay": 0.5}, "whose optimizer.weight_decay is 0.0, expected 0.5"),
        ({"optimizer": optim.RMSprop}, "whose optimizer is 'SGD', expected 'RMSprop'"),
        ({"schedule": lambda optimizer: StepLR(optimizer, 3)}, "whose schedule is None, expected {'type': 'StepLR'"),
        ({"label_smoothing": 0.1}, "whose loss.label_smoothing is 0.0, expected 0.1"),
        ({"dropout": 0.3}, "whose model.layers.1.p is 0.2, expected 0.3"),
        ({"max_norm": 1.0}, "whose max_norm is None, expected 1.0"),
        ({"metrics": ("accuracy",)}, r"whose metrics is \[\], expected \['accuracy'\]"),
        ({"seed": 4}, r"whose seed is \[3\], expected \[4\]"),
        ({"inputs": DATA + 1}, "whose data.fingerprint is '[0-9a-f]{40}', expected '[0-9a-f]{40}'"),
        ({"targets": _flipped(LABELS)}, "whose data.fingerprint is"),
        ({"order": 1}, "whose data.fingerprint is"),
        ({"held_out": DATA[1::2]}, "whose validation.fingerprint is"),
        ({"batch_size": 4}, "data.batches is 4, expected 8"),
        ({"epochs": 3}, "whose steps is 8, expected 12"),
        ({"accumulate": 2}, "whose steps is 8, expected 4 and accumulate is 1, expected 2"),
        ({"validate_every": 4}, "whose validate_every is 3, expected 4"),
        ({"patience": 9}, "whose patience is None, expected 9"),
    ],
)
def test_another_run_is_refused_by_name(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint")
    Setup().fit(keeper)
    other = Setup(**change)
    trainer = other.trainer()
    before = _all_of(trainer)
    with pytest.raises(OtherRunError, match=message):
        other.fit(keeper, trainer)
    assert _all_of(trainer) == before
    assert _all_of(Setup().fit(keeper)) == _all_of(Setup().fit(None))


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"lr": 1e-3, "epochs": 3}, r"begun with, allow it by changes=\['optimizer', 'steps'\], or remove it"),
        ({"lr": 1e-3, "seed": 4}, "begun with, or remove it"),
        ({"optimizer": optim.RMSprop}, "begun with, or remove it"),
    ],
)
def test_what_may_be_changed_is_named(change: dict[str, Any], advice: str, tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint")
    Setup().fit(keeper)
    with pytest.raises(OtherRunError, match=advice):
        Setup(**change).fit(keeper)


def test_a_run_goes_on_in_its_mode(tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint")
    Setup().fit(keeper)
    trainer = Setup().trainer()
    trainer.model.eval()
    with pytest.raises(OtherRunError, match=r"whose training is 'on', expected 'off'; model.train\(\) and"):
        Setup().fit(keeper, trainer)


def test_changes_hold_also_when_there_is_nothing_left_to_do(tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint")
    Setup().fit(keeper)
    Setup(patience=9).fit(Checkpoint(keeper.path, changes=["patience"]))
    Setup(patience=9).fit(keeper)
    with pytest.raises(OtherRunError, match="whose patience is 9, expected None"):
        Setup().fit(keeper)


def test_only_files_are_removed(tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint")
    Setup().fit(keeper)
    keeper.log.unlink()
    os.mkfifo(keeper.log)
    with pytest.raises(ValueError, match="expected the name of a regular file"):
        keeper.remove()
    assert keeper.exists()


def test_one_run_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    keeper = Checkpoint(tmp_path / "run.checkpoint", every=1)
    other = Setup()
    trainer = Setup().trainer()

    def begin_another(_: Record) -> None:
        with pytest.raises(OtherRunError, match="another run is at work on"):
            other.fit(keeper)

    trainer.fit(Batches(DATA, LABELS, 8), steps=2, progress=False, checkpoint=keeper, callbacks=[begin_another])
    trainer = Setup().trainer()
    assert len(trainer.fit(Batches(DATA, LABELS, 8), steps=2, progress=False, checkpoint=keeper)) == 2
    assert keeper.log.stat().st_mode & 0o111 == 0


def test_a_source_without_a_fingerprint_is_compared_by_its_number_of_batches(tmp_path: Path) -> None:
    class Own:
        carries_state = False

        def __init__(self, batches: int, offset: float) -> None:
            self.batches, self.offset = batches, offset

        def __len__(self) -> int:
            return self.batches

        def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
            yield from [(DATA[:8] + self.offset, LABELS[:8])] * self.batches

    def fit(data: Data) -> list[Record]:
        return Setup().trainer().fit(data, steps=5, progress=False, checkpoint=tmp_path / "run.checkpoint")

    history = fit(Own(4, 0.0))
    assert fit(Own(4, 1.0)) == history  # as the documentation warns
    with pytest.raises(OtherRunError, match="data.batches is 4, expected 3"):
        fit(Own(3, 0.0))
    named = Own(4, 0.0)
    named.fingerprint = "mine"  # type: ignore[attr-defined]
    with pytest.raises(OtherRunError, match="data.fingerprint is None, expected 'mine'"):
        fit(named)


def test_more_epochs_are_as_one_run(tmp_path: Path) -> None:
    Setup(epochs=3).fit(Checkpoint(tmp_path / "run.checkpoint"))
    longer = Setup(epochs=6).fit(Checkpoint(tmp_path / "run.checkpoint", changes=["steps"]))
    assert _all_of(longer) == _all_of(Setup(epochs=6).fit(None))
    # What it has become is what the file says from now on.
    assert _all_of(Setup(epochs=6).fit(Checkpoint(tmp_path / "run.checkpoint"))) == _all_of(longer)
    assert len(read_log(tmp_path / "run.checkpoint.log")) == 24


@pytest.mark.parametrize(
    ("first", "then", "rates"),
    [
        ({}, {"lr": 0.01, "weight_decay": 0.5}, 2 * [0.1] + 6 * [0.01]),
        ({}, {"weight_decay": 0.5}, 8 * [0.1]),
        # A schedule of the same kind goes on at its step, here from another rate and with another factor.
        (
            {"schedule": lambda optimizer: StepLR(optimizer, 3, 0.5)},
            {"schedule": lambda optimizer: StepLR(optimizer, 3, 0.1), "lr": 1.0},
            [0.1, 0.1, 1.0, *3 * [0.1], *2 * [0.01]],
        ),
        # One of another kind begins, and with none the rate is the optimizer's.
        (
            {},
            {"schedule": lambda optimizer: ExponentialLR(optimizer, 0.5)},
            [0.1, 0.1, *(0.1 * 0.5**i for i in range(6))],
        ),
        ({"schedule": lambda optimizer: ExponentialLR(optimizer, 0.5)}, {}, [0.1, 0.05, *6 * [0.1]]),
    ],
)
def test_what_is_named_may_change(
    first: dict[str, Any], then: dict[str, Any], rates: list[float], tmp_path: Path
) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint", every=2, changes=["optimizer", "schedule"])
    with pytest.raises(_Stopped):
        Setup(**first).fit(keeper, stop_at=3)
    trainer = Setup(**then).fit(keeper)
    assert [record.lr for record in read_log(keeper.log)] == pytest.approx(rates)
    assert trainer.optimizer.weight_decay == then.get("weight_decay", 0.0)
    with pytest.raises(OtherRunError):
        Setup(**first).fit(Checkpoint(keeper.path))


def test_a_rate_that_was_lowered_stays_so(tmp_path: Path) -> None:
    """Another weight decay is no reason to go back to the rate of the beginning."""
    plateau = {
        "schedule": lambda optimizer: ReduceLROnPlateau(optimizer, patience=0, threshold=1e9),
        "validate_every": 1,
    }
    keeper = Checkpoint(tmp_path / "run.checkpoint", every=2, changes=["optimizer"])
    with pytest.raises(_Stopped):
        Setup(**plateau).fit(keeper, stop_at=5)
    Setup(**plateau, weight_decay=0.1).fit(keeper)
    rates = [record.lr for record in read_log(keeper.log)]
    assert rates == pytest.approx([0.1 * 0.1**step for step in range(8)])


def test_other_data_begin_with_a_new_epoch(tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint", every=2, changes=["data", "steps"])
    with pytest.raises(_Stopped):
        Setup().fit(keeper, stop_at=3)
    Setup(batch_size=16, epochs=4).fit(keeper)
    records = read_log(keeper.log)
    assert [record.targets for record in records] == [8, 8, *6 * [16]]
    assert [record.epoch for record in records] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_changes_that_cannot_be(tmp_path: Path) -> None:
    for names, error in (("steps", TypeError), (["model"], ValueError), (["lr"], ValueError)):
        with pytest.raises(error, match="changes: expected (names out of steps, data, .*|a list), got"):
            Checkpoint(tmp_path / "run.checkpoint", changes=names)
    Setup().fit(Checkpoint(tmp_path / "run.checkpoint"))
    keeper = Checkpoint(tmp_path / "run.checkpoint", changes=["optimizer"])
    with pytest.raises(OtherRunError, match="whose optimizer is 'SGD', expected 'RMSprop'"):
        Setup(optimizer=optim.RMSprop).fit(keeper)
    other = Setup(momentum=0.0)
    trainer = other.trainer()
    before = _all_of(trainer)
    with pytest.raises(OtherRunError, match="unknown entry '0.bias.momentum_buffer' for SGD"):
        other.fit(keeper, trainer)
    assert _all_of(trainer) == before


def test_another_fit_after_a_finished_checkpoint_begins_a_new_epoch(tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint")
    Setup().fit(keeper)
    read_back, never_left = Setup().fit(keeper), Setup().fit(None)
    assert (read_back.step, read_back.epoch) == (never_left.step, never_left.epoch) == (8, 2)
    assert _all_of(Setup().fit(None, read_back)) == _all_of(Setup().fit(None, never_left))


# ---- Damage ----------------------------------------------------------------------------------------------------------


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        _fit(_batches(), tmp_path)
    save(nn.Linear(2, 2), path)
    with pytest.raises(ModelFileError, match="not a checkpoint of a training run"):
        _fit(_batches(), tmp_path)
    # As the first version wrote them, with the history inside.
    io.save_arrays(path, {"history/step": np.arange(3)}, {"checkpoint": {"plan": {}, "step": 3, "epoch": 0}})
    with pytest.raises(ModelFileError, match="written by gru_native 0.1.0 or older, whose checkpoints this version"):
        _fit(_batches(), tmp_path)
    deep = reduce(lambda nest, _: [nest], range(900), [])
    io.save_arrays(path, {}, {"checkpoint": {"version": 3, "plan": deep}})
    with pytest.raises(ModelFileError, match="run.checkpoint: "):
        _fit(_batches(), tmp_path)
    io.save_arrays(path, {}, {"checkpoint": {"version": 4}})
    with pytest.raises(ModelFileError, match="expected version 3, got 4"):
        _fit(_batches(), tmp_path)


SCHEDULED = {"schedule": lambda optimizer: ExponentialLR(optimizer, 0.9)}


@pytest.fixture
def kept(tmp_path: Path) -> Checkpoint:
    """A checkpoint of a whole run with a schedule, states and a best model."""
    keeper = Checkpoint(tmp_path / "run.checkpoint")
    _recurrent(keeper)
    return keeper


def _recurrent(keeper: Checkpoint | None, trainer: Trainer | None = None, steps: int = 6) -> Trainer:
    trainer = trainer or _recurrent_trainer()
    stream = Stream(DATA, LABELS, 2, 5)
    trainer.fit(stream, steps=steps, validation=stream, validate_every=2, progress=False, checkpoint=keeper)
    return trainer


def _recurrent_trainer() -> Trainer:
    model = nn.Sequential(nn.LSTM(4, 3, seed=1), nn.Linear(3, 3, seed=2))
    optimizer = optim.Adam(model, lr=1e-2)
    return Trainer(model, CrossEntropyLoss(), optimizer, schedule=ExponentialLR(optimizer, 0.9))


def _refused_or_the_same(keeper: Checkpoint, expected: dict[str, Any]) -> bool:
    """Go on from a file, and see that the trainer has all of the run or nothing."""
    trainer = _recurrent_trainer()
    before = _all_of(trainer)
    try:
        _recurrent(keeper, trainer)
    except ModelFileError:
        assert _all_of(trainer) == before
        return True
    assert _all_of(trainer) == expected
    return False


def test_any_damage_is_noticed_before_anything_is_changed(kept: Checkpoint) -> None:
    whole, expected, chance = kept.path.read_bytes(), _all_of(_recurrent(None)), random.Random(1)
    header_end = 8 + int.from_bytes(whole[:8], "little")
    places = [chance.randrange(header_end) for _ in range(400)] + [chance.randrange(len(whole)) for _ in range(100)]
    refused = 0
    for place in places:
        kept.path.write_bytes(whole[:place] + bytes([chance.randrange(256)]) + whole[place + 1 :])
        refused += _refused_or_the_same(kept, expected)
    assert refused > 480  # a byte may become itself
    for cut in range(0, len(whole), 97):
        kept.path.write_bytes(whole[:cut])
        assert _refused_or_the_same(kept, expected)


NESTS: list[Any] = [None, -1, "x", 1.5, [], {}, [1], {"list": 3}, {"list": [0]}, {"list": "0"}, {"set": [0]}, True, 99]
HEADERS = [
    *(("batches", value) for value in (None, 0, -1, "1", 1.5, [], True)),
    *(("epoch", value) for value in (None, -1, 0, 7, "1", 1.5, [], True)),
    *(("states", value) for value in [*NESTS, reduce(lambda nest, _: {"list": [nest]}, range(400), {"tuple": [0, 1]})]),
    *(
        ("schedule", value)
        for value in (None, 3, {}, {"last_epoch": -1, "base_lr": 0.1}, {"last_epoch": 1.5, "base_lr": 1})
    ),
    *(
        ("log", value)
        for value in (None, 3, {}, {"bytes": -1, "hash": ""}, {"bytes": 10**30, "hash": ""}, {"bytes": "1"})
    ),
]


@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_a_header_that_cannot_be_is_refused_whole(name: str, value: Any, kept: Checkpoint) -> None:
    arrays, outer = io.load_arrays(kept.path)
    _rewrite(kept, arrays, {**outer["checkpoint"], name: value})
    assert _refused_or_the_same(kept, {})
    header = {key: entry for key, entry in outer["checkpoint"].items() if key != name}
    _rewrite(kept, arrays, header)
    assert _refused_or_the_same(kept, {})


def _rewrite(keeper: Checkpoint, arrays: dict[str, Any], header: dict[str, Any]) -> None:
    """Write a checkpoint with a hash that is right, so that only what it says can be wrong."""
    io.save_arrays(keeper.path, arrays, {"checkpoint": header, "hash": checkpoint._hash(header, arrays)})


def test_arrays_that_do_not_fit_are_refused_whole(kept: Checkpoint) -> None:
    arrays, outer = io.load_arrays(kept.path)
    expected, changes = _all_of(_recurrent(None)), list[tuple[str, Any]]()
    for name, array in arrays.items():
        renamed = [name + "x", name.replace("/", "_"), name.replace("/", "x/"), "best/" + name, "model/" + name]
        changes += [(name, None), *((new, array) for new in renamed)]
        if not name.startswith("states/"):  # of which the model alone knows what fits
            changes += [(name, array[..., None]), *([(name, array.astype("f2"))] if array.ndim else [])]
    for name, array in changes:
        others = {key: value for key, value in arrays.items() if key != name}
        _rewrite(kept, others if array is None else {**others, name: array}, outer["checkpoint"])
        assert (
            _refused_or_the_same(kept, expected) or name == "optimizer/initial_lr"
        )  # which the schedule knows as well


# ---- The log beside the checkpoint -----------------------------------------------------------------------------------


def test_what_is_beyond_the_checkpoint_in_the_log_does_not_count(tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint", every=2)
    with pytest.raises(_Stopped):
        Setup().fit(keeper, stop_at=5)
    assert len(read_log(keeper.log)) == 4
    with keeper.log.open("ab") as log:
        log.write(b'{"step": 5, "epo')
    assert _all_of(Setup().fit(keeper)) == _all_of(Setup().fit(None))
    assert [record.step for record in read_log(keeper.log)] == list(range(1, 9))


def test_ended_between_the_log_and_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is on the disk before the checkpoint that counts on it; the older one still finds what it needs."""
    keeper, save_arrays, synced = Checkpoint(tmp_path / "run.checkpoint", every=2), io.save_arrays, []

    def fail_late(path: Path, arrays: Any, header: Any) -> None:
        synced.append(len(read_log(keeper.log)))
        if len(synced) == 3:
            raise _Stopped
        save_arrays(path, arrays, header)

    with monkeypatch.context() as patch:
        patch.setattr(io, "save_arrays", fail_late)
        with pytest.raises(_Stopped):
            Setup().fit(keeper)
    assert synced == [2, 4, 6]
    assert _all_of(Setup().fit(keeper)) == _all_of(Setup().fit(None))
    assert [record.step for record in read_log(keeper.log)] == list(range(1, 9))


@pytest.mark.parametrize("damage", [lambda log: log[:-1], lambda log: log.replace(b'"step": 2', b'"step": 7'), None])
def test_a_log_that_does_not_belong_to_the_checkpoint(
    damage: Callable[[bytes], bytes] | None, kept: Checkpoint
) -> None:
    content = kept.log.read_bytes()
    kept.log.unlink()
    if damage is not None:
        kept.log.write_bytes(damage(content))
    trainer = _recurrent_trainer()
    before = _all_of(trainer)
    for keeper in (kept, Checkpoint(kept.path, changes=["steps"])):
        with pytest.raises(ModelFileError, match=r"run\.checkpoint: .*run\.checkpoint\.log"):
            _recurrent(keeper, trainer, steps=6 + len(keeper.changes))
    assert _all_of(trainer) == before


def test_records_that_are_those_of_no_run(kept: Checkpoint) -> None:
    arrays, outer = io.load_arrays(kept.path)
    lines = kept.log.read_text().splitlines(keepends=True)
    first = json.loads(lines[0])
    wrong: list[Any] = [{**first, name: "x"} for name in first]
    wrong += [{**first, "step": 2}, {**first, "epoch": 5}, {**first, "loss": 1}, {**first, "best": True}, {}, [], None]
    wrong += [{**first, "validation": {"loss": "1"}}, {**first, "more": 1}, {**first, "step": True}]
    contents = [json.dumps(each) + "\n" + "".join(lines[1:]) for each in wrong]
    for content in [*contents, "", "[" * 100_000, "".join(lines[1:]), "\xff\n"]:
        data = content.encode("latin-1")
        kept.log.write_bytes(data)
        log = checkpoint.Log()
        log._count(data, 0)
        _rewrite(kept, arrays, {**outer["checkpoint"], "log": log.mark})
        assert _refused_or_the_same(kept, {}), content[:200]


def test_a_save_costs_the_same_however_long_the_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper, written = Checkpoint(tmp_path / "run.checkpoint", every=50), []
    extend = checkpoint.Log.extend

    def counted(log: checkpoint.Log, path: Path, history: list[Record]) -> None:
        before = log.size
        extend(log, path, history)
        written.append((log.size - before, len(history)))

    monkeypatch.setattr(checkpoint.Log, "extend", counted)
    sizes = []
    Setup(epochs=100).trainer().fit(
        Batches(DATA, LABELS, 8),
        steps=400,
        progress=False,
        checkpoint=keeper,
        callbacks=[lambda record: sizes.append(keeper.path.stat().st_size if record.step > 50 else None)],
    )
    assert max(size for size, _ in written) < 1.1 * written[0][0]
    assert max(sizes[50:]) - min(sizes[50:]) < 100
    assert keeper.log.stat().st_size == sum(size for size, _ in written)


def test_checkpoints_are_saved_at_validations_by_default(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    model = nn.Linear(4, 3, seed=1)
    trainer, saved = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.1)), []

    def look(record: Record) -> None:
        saved.append(path.stat().st_mtime_ns if path.exists() else None)

    trainer.fit(_batches(), epochs=2, progress=False, callbacks=[look], checkpoint=path)
    assert len(_batches()) == 8
    assert [stamp is not None for stamp in saved] == 8 * [False] + 8 * [True]
    assert path.stat().st_mtime_ns > saved[-1]


# ---- Logs and curves -------------------------------------------------------------------------------------------------


def test_a_log_is_the_history(tmp_path: Path) -> None:
    history, *_ = _fit(_batches(), None, log=tmp_path / "log.jsonl")
    assert read_log(tmp_path / "log.jsonl") == history
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert list(first) == [field.name for field in fields(Record)]
    assert [json.loads(line)["validation"] is not None for line in lines] == [
        (step % 6 == 0 or step == 25) for step in range(1, 26)
    ]


def test_a_log_can_be_read_while_it_grows(tmp_path: Path) -> None:
    record = Record(1, 0, 0.5, 3, 0.1, None)
    with written_log(tmp_path / "log.jsonl", [record]) as write:
        write(replace(record, step=2))
        assert [line.step for line in read_log(tmp_path / "log.jsonl")] == [1, 2]


def test_curves(tmp_path: Path) -> None:
    def accuracy(predictions: Any, targets: Any) -> float:
        return float(np.mean(predictions.argmax(-1) == targets))

    model = nn.Linear(4, 3, seed=1)
    trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.1), metrics={"accuracy": accuracy})
    trainer.fit(_batches(), epochs=3, validation=_batches(), progress=False, curves=tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    plot_history([Record(1, 0, 0.5, 3, 0.1, None)], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 1000
    plot_history([], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


class _Noisier:
    """Raises a model's shares by the step."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, record: Record) -> None:
        for module in self.model.children().values():
            for name in ("p", "dropout", "input_dropout", "recurrent_dropout", "zoneout", "scheduled_sampling"):
                if getattr(module, name, 0) > 0:
                    setattr(module, name, 0.1 + 0.05 * record.step)


def test_shares_that_a_callback_changes_are_kept(tmp_path: Path) -> None:
    def fit(steps: int, path: Path) -> Trainer:
        noise = {"dropout": 0.1, "input_dropout": 0.1, "recurrent_dropout": 0.1, "zoneout": 0.1}
        gru = nn.GRU(3, 4, num_layers=2, batch_first=True, **noise, seed=0)
        model = nn.Sequential(gru, nn.Dropout(0.1), nn.Linear(4, 2, seed=1))
        trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.1))
        x = np.random.default_rng(0).standard_normal((8, 5, 3)).astype("f4")
        data = Batches(x, (x[..., 0] > 0).astype(int), 4, per_step=True)
        keeper = Checkpoint(path, changes=("steps",))
        trainer.fit(data, steps=steps, progress=False, checkpoint=keeper, callbacks=[_Noisier(model)])
        return trainer

    whole = fit(7, tmp_path / "whole")
    fit(4, tmp_path / "cut")
    cut = fit(7, tmp_path / "cut")
    assert cut.model.config() == whole.model.config()
    for name, parameter in whole.model.parameters().items():
        assert_same_bits(cut.model.parameters()[name], parameter)


def test_a_share_is_a_number_from_0_to_1() -> None:
    for module in (nn.GRU(3, 4, num_layers=2), nn.LSTM(3, 4, num_layers=2), nn.Dropout()):
        for name in shares(module)[""]:
            for value in (-1, 2, np.nan, "a"):
                with pytest.raises((ValueError, TypeError), match=f"^{name}: expected a number"):
                    setattr(module, name, value)
