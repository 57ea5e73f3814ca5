"""Training that MPI shares out: the same bits on any number of processes, also after some of them were killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from processes import mpirun

from gru_native.train import read_log

# Streams with carried states of a GRU and an LSTM, a sparse table, dropout, zoneout, batch statistics, a schedule that
# looks at the validation, clipping, several batches a step, metrics of both data, and layers without a seed.
RUN = """
import hashlib, os, sys, time
import numpy as np
from gru_native import nn, optim, save
from gru_native.losses import CrossEntropyLoss
from gru_native.schedules import ReduceLROnPlateau
from gru_native.train import Checkpoint, Stream, Trainer

folder, pause, alone = sys.argv[1], float(sys.argv[2]), sys.argv[3:] == ["alone"]
communicator = None
if not alone:
    from mpi4py import MPI
    communicator = MPI.COMM_WORLD
first = alone or communicator.rank == 0
open(f"{folder}/pid-{0 if alone else communicator.rank}", "w").write(str(os.getpid()))
ids = np.random.default_rng(0).integers(0, 6, 2000)
model = nn.Sequential(
    nn.Embedding(6, 8, seed=1 if first else None, sparse=True),
    nn.GRU(8, [12, 10], dropout=0.2, zoneout=0.1, seed=2 if first else None),
    nn.BatchNorm1d(10, channels_last=True),
    nn.LSTM(10, 9, seed=3 if first else None),
    nn.Dropout(0.2),
    nn.Linear(9, 6, seed=4 if first else None),
)
optimizer = optim.Adam(model, lr=1e-2)
trainer = Trainer(
    model,
    CrossEntropyLoss(),
    optimizer,
    schedule=ReduceLROnPlateau(optimizer, patience=0),
    max_norm=1.0,
    metrics={"right": lambda logits, targets: float(np.mean(logits.argmax(-1) == targets))},
    training_metrics=True,
    seed=5,
    shards=4,
    communicator=communicator,
)
data, held_out = Stream(ids[:1500], ids[1:1501], 6, 11), Stream(ids[1500:-1], ids[1501:], 5, 20)
history = trainer.fit(
    data, steps=40, validation=held_out, validate_every=7, patience=100, accumulate=2, progress=False,
    callbacks=[lambda record: time.sleep(pause)],
    checkpoint=Checkpoint(folder + "/run.checkpoint", every=3), log=folder + "/log.jsonl",
)
if first:
    save(model, folder + "/model.safetensors")
state = {**model.state_dict(), **optimizer.state_dict()}
bits = b"".join(np.asarray(state[name]).tobytes() for name in sorted(state))
print(hashlib.sha1(bits).hexdigest(), trainer.evaluate(held_out), [record.loss for record in history])
"""


def folder_of(parent: Path, name: str) -> Path:
    found = parent / name
    found.mkdir()
    return found


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return what one process without MPI leaves, and what it says."""
    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, "-c", RUN, str(folder), "0", "alone"]
    said = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout
    return folder, said.strip()


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_the_same_bits_on_any_number_of_ranks(ranks: int, alone: tuple[Path, str], tmp_path: Path) -> None:
    command = mpirun(ranks, "-c", RUN, tmp_path, 0)
    said = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout
    assert said.splitlines() == [alone[1]] * ranks
    assert (tmp_path / "model.safetensors").read_bytes() == (alone[0] / "model.safetensors").read_bytes()
    assert read_log(tmp_path / "log.jsonl") == read_log(alone[0] / "log.jsonl")


def test_killed_at_random_moments_and_resumed_on_other_numbers_of_ranks(
    alone: tuple[Path, str], tmp_path: Path
) -> None:
    """A random rank is killed; three times, or as often as GRU_NATIVE_KILLS says."""
    kills, chance = int(os.environ.get("GRU_NATIVE_KILLS", "3")), random.Random(1)
    for kill in range(kills + 1):
        ranks = (2, 4, 1, 3)[kill % 4]
        command = mpirun(ranks, "-c", RUN, tmp_path, 0.06 if kill < kills else 0)
        for file in tmp_path.glob("pid-*"):
            file.unlink()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as job:
            if kill == kills:
                assert job.wait(timeout=120) == 0
                continue
            _wait_for_a_step(tmp_path / "log.jsonl", job)
            time.sleep(chance.uniform(0.0, 0.2))
            victim = chance.randrange(ranks)
            os.kill(int((tmp_path / f"pid-{victim}").read_text()), signal.SIGKILL)
            said = job.communicate(timeout=60)[1]
        assert job.returncode != 0
        if ranks > 1:
            assert f"rank {victim}" in said, said
            advice = f"Run the same command again, on any number of ranks: it goes on from {tmp_path}/run.checkpoint"
            assert f"gru_native: the job of {ranks} ranks was ended: " in said, said
            assert advice in said, said
    assert (tmp_path / "model.safetensors").read_bytes() == (alone[0] / "model.safetensors").read_bytes()
    assert read_log(tmp_path / "log.jsonl") == read_log(alone[0] / "log.jsonl")
    assert read_log(tmp_path / "run.checkpoint.log") == read_log(alone[0] / "log.jsonl")


def _wait_for_a_step(log: Path, job: subprocess.Popen[str]) -> None:
    """Wait until rank 0 has written to the log, which it begins by rewriting."""
    before = log.stat().st_mtime_ns if log.exists() else 0
    while not log.exists() or log.stat().st_mtime_ns == before:
        assert job.poll() is None, job.communicate()[1]
        time.sleep(0.005)


# What one rank does differently, and what all of them have to say of it.
DIFFERENT = """
import sys
import numpy as np
from mpi4py import MPI
from gru_native import nn, optim
from gru_native.losses import MSELoss
from gru_native.train import Batches, Checkpoint, CSVLog, Trainer, rate_range

world, folder = MPI.COMM_WORLD, sys.argv[1]
last = world.rank == world.size - 1
x = np.ones((8, 3), np.float32)

class Failing(MSELoss):
    _fails = False
    def forward(self, *given, **named):
        if self._fails:
            raise ValueError("targets: this rank does not like them")
        return super().forward(*given, **named)

def trainer(loss=None, **given):
    model = nn.Linear(3, 3, seed=1)
    given = {"shards": 4, "communicator": world, **given}
    return Trainer(model, loss or MSELoss(), optim.SGD(model, lr=0.1), **given)

def say(what, call):
    try:
        found = call()
    except BaseException as error:
        found = f"{type(error).__name__}: {error}"
    world.Barrier()
    for rank in range(world.size):
        if rank == world.rank:
            print(what, "|", found, flush=True)
        world.Barrier()

def fit(own, data=x, **given):
    return lambda: own.fit(Batches(data, data, 8), **{"steps": 2, "progress": False, **given}) and own.step

say("few shards", lambda: trainer(shards=1))
say("seed", fit(trainer(seed=int(last))))
say("data", fit(trainer(), x + last))
say("steps", fit(trainer(), steps=2 + last))
say("checkpoint", fit(trainer(), checkpoint=folder + "/one.checkpoint" if last else None))
say("folder", fit(trainer(), checkpoint="/nowhere/at.all"))
failing = trainer(Failing())
failing.loss._fails = last
say("loss", fit(failing))
say("step", lambda: failing.step)
failing.loss._fails = False
say("again", fit(failing))
def strange(record):
    if last:
        raise KeyError("a callback's")
say("callback", fit(trainer(), callbacks=[strange]))
class Unsendable(Exception):
    def __init__(self, one, two):
        super().__init__(one)
def odd(record):
    if not last:
        raise Unsendable("it", 2)
say("odd", fit(trainer(), callbacks=[odd]))
def steps_of(callback):
    return lambda: len(trainer().fit(Batches(x, x, 8), steps=9, progress=False, callbacks=[callback]))
say("stop", steps_of(lambda record: last and record.step == 3))
def slower(ranks):
    own = trainer()
    def callback(record):
        if world.rank in ranks:
            own.optimizer.lr *= 0.5
    return lambda: [record.lr for record in own.fit(Batches(x, x, 8), steps=3, progress=False, callbacks=[callback])]
say("lr", slower([0, 1]))
say("lr of one", slower([0]))
class First:
    first_rank_only = True
    def __call__(self, record):
        return world.rank > 0
say("first", steps_of(First()))
say("table", fit(trainer(), callbacks=[CSVLog(folder + "/table.csv")]))
say("range", lambda: len(rate_range(trainer(), Batches(x, x, 8), steps=4).rates))
say("written", lambda: trainer().fit(Batches(x, x, 8), steps=1, progress=False, log=folder + "/log") and world.rank)
"""


def test_what_one_rank_meets_all_of_them_say(tmp_path: Path) -> None:
    command = mpirun(2, "-c", DIFFERENT, tmp_path)
    done = subprocess.run(command, timeout=120, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        what, found = line.split(" | ")
        said.setdefault(what, []).append(found)
    expected: dict[str, Any] = {
        "few shards": "ValueError: shards: expected at least 2, one for each rank, got 1",
        "seed": "ValueError: seed: expected the same on all ranks, got [0] on 0 and [1] on 1",
        "data": "ValueError: data.fingerprint: expected the same on all ranks, got ",
        "steps": "ValueError: steps: expected the same on all ranks, got 2 on 0 and 3 on 1",
        "checkpoint": "ValueError: checkpoint: expected the same on all ranks, got None on 0 and {'every': None} on 1",
        "folder": "FileNotFoundError: ",
        "loss": "ValueError: targets: this rank does not like them",
        "step": "0",
        "again": "2",
        "callback": 'KeyError: "a callback\'s"',
        "stop": "3",
        "lr": "[0.1, 0.05, 0.025]",
        "lr of one": "ValueError: optimizer: expected the same on all ranks, got 'SGD(lr=0.05, ",
        "first": "9",
        "table": "2",
        "range": "4",
    }
    for what, begin in expected.items():
        assert len(said[what]) == 2
        assert all(found.startswith(begin) for found in said[what]), said[what]
    # mpirun may turn round what two processes say.
    assert sorted(said["odd"]) == ["RuntimeError: Unsendable: it", "Unsendable: it"]
    assert sorted(said["written"]) == ["0", "1"]
    assert len(read_log(tmp_path / "log")) == 1


def test_a_communicator_of_one_is_none() -> None:
    """Without mpirun there is one rank, and the same script runs."""
    pytest.importorskip("mpi4py")
    program = """
from mpi4py import MPI
import numpy as np
from gru_native import nn, optim
from gru_native.losses import MSELoss
from gru_native.train import Batches, Trainer

model, x = nn.Linear(3, 3), np.ones((8, 3), np.float32)
trainer = Trainer(model, MSELoss(), optim.SGD(model), communicator=MPI.COMM_WORLD)
print(len(trainer.fit(Batches(x, x, 8), steps=2, progress=False)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "2\n", done.stderr
