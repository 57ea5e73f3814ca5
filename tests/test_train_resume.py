"""A run that is killed and started again is the same run, to the bit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gru_native import ModelFileError, nn, optim
from gru_native.losses import CrossEntropyLoss
from gru_native.schedules import ExponentialLR, ReduceLROnPlateau, Schedule
from gru_native.train import (
    Batches,
    Checkpoint,
    Data,
    OtherRunError,
    Record,
    Sequences,
    Stream,
    Trainer,
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
    assert not list(cut.glob("*.tmp"))


def _wait_for_a_step(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the process has written to the log, which it begins by rewriting."""
    log = folder / "log.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    while not log.exists() or log.stat().st_mtime_ns == before:
        assert process.poll() is None
        time.sleep(0.005)


def test_killed_while_it_saves(tmp_path: Path) -> None:
    """Whenever the process dies, the file is the old one or the new one."""
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
        model = nn.Linear(400, 400)
        trainer = Trainer(model, CrossEntropyLoss(), optim.Adam(model, lr=1e-3))
        if path.exists():
            with pytest.raises(OtherRunError):  # the loss is another; so the file was whole, and was read
                trainer.fit(_batches(), steps=1, progress=False, checkpoint=path)
            steps.append(path.stat().st_size)
    assert steps
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


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    _fit(_batches(), tmp_path)
    for change, message in [
        ({"steps": 26}, "belongs to another run, whose total is 25, expected 26"),
        ({"plateau": True}, "whose schedule is 'ExponentialLR', expected 'ReduceLROnPlateau'"),
        ({"accumulate": 2}, "whose accumulate is 1, expected 2"),
    ]:
        with pytest.raises(OtherRunError, match=message):
            _fit(_batches(), tmp_path, **change)
    with pytest.raises(OtherRunError, match="whose model is"):
        _fit(_stream(), tmp_path)
    model = nn.Linear(2, 2)
    trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.1))
    data = Batches(np.ones((3, 2), "f4"), np.zeros(3, int), 3)
    trainer.fit(data, steps=1, progress=False, checkpoint=Checkpoint(tmp_path / "named", identity="one"))
    model = nn.Linear(2, 2)
    trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.1))
    with pytest.raises(OtherRunError, match="whose identity is 'one', expected 'other'"):
        trainer.fit(data, steps=1, progress=False, checkpoint=Checkpoint(tmp_path / "named", identity="other"))


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        _fit(_batches(), tmp_path)
    from gru_native import save

    save(nn.Linear(2, 2), path)
    with pytest.raises(ModelFileError, match="not a checkpoint of a training run"):
        _fit(_batches(), tmp_path)


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
