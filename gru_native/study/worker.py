"""The process of a run: ``python -m gru_native.study.worker``, so that its peak memory is that of one run.

It takes the job from standard input, a line of JSON, and writes to standard output how many characters it has been
trained on, a line from time to time. It ends when standard input does: with whoever started it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gru_native.io import atomic_write
from gru_native.study.plan import Plan, Run
from gru_native.study.table import Result
from gru_native.train import CharacterModel, Checkpoint, Record, Stream, bits, peak_memory_mb, vocabulary_of
from gru_native.train.data import Array
from gru_native.train.recipe import VALIDATION_STREAMS, character_trainer, held_out_split

VALIDATION_WINDOW = 64
VALIDATIONS = 10
WARM_UP = 0.05  # of the updates
LAST = 0.05  # of the updates, over which the training loss is averaged
REPORT_SECONDS = 0.2

Report = Callable[[int], object]


def do(plan: Plan, run: Run, text: str, folder: Path, report: Report) -> Result:
    """Train a model, from its checkpoint if there is one, and write and return the result.

    Parameters
    ----------
    plan, run, text, folder
        The study, one of its runs, its text, and the folder of its files.
    report
        Called after each update with the characters trained on so far.
    """
    training, held_out = held_out_split(text)
    model = CharacterModel.create(
        vocabulary_of(text), embedding_dim=plan.embedding_dim, hidden_size=plan.hidden_size, seed=run.seed
    )
    data = model.stream(training, run.batch_size, run.window)
    counts = characters_after(data, plan.characters)
    validated = nearest(counts, plan.characters, min(VALIDATIONS, plan.characters // plan.largest_update))
    steps = validated[-1]
    lr = plan.lr_of(run)
    warm_up = max(1, round(WARM_UP * steps))
    trainer = character_trainer(model, lr=lr, steps=steps, warm_up=warm_up, seed=run.seed, threads=plan.threads)
    checkpoint = Checkpoint(run.file(folder, "checkpoint"))
    first: list[int] = []

    def watch(record: Record) -> None:
        first[:] = first or [record.step]
        report(int(counts[record.step - 1]))

    history = trainer.fit(
        data,
        steps=steps,
        validation=model.stream(held_out, VALIDATION_STREAMS, VALIDATION_WINDOW),
        validate_every=validated,
        callbacks=[watch],
        progress=False,
        checkpoint=checkpoint,
        log=run.file(folder, "jsonl"),
    )
    if not first:
        # All was done but for the result: the memory that it took was that of a process that is gone.
        checkpoint.remove()
        return do(plan, run, text, folder, report)
    result = _result(run, history, lr)
    with atomic_write(run.file(folder, "json")) as file:
        file.write(f"{json.dumps(asdict(result))}\n".encode())
    return result


def characters_after(data: Stream, characters: int) -> Array:
    """Return how many characters have been trained on after each update, until they are at least so many."""
    rows, batch_size = data.inputs.shape
    epoch = np.minimum(np.arange(1, len(data) + 1) * data.window, rows) * batch_size
    epochs = np.arange(-(-characters // epoch[-1]))
    counts: Array = (epochs[:, None] * epoch[-1] + epoch).reshape(-1)
    return counts


def nearest(counts: Array, characters: int, parts: int) -> list[int]:
    """Return the updates, from 1, after which the counts come nearest to equal parts of the characters."""
    wanted = characters * np.arange(1, parts + 1) / parts
    middles = (counts[1:] + counts[:-1]) / 2
    steps: list[int] = (np.searchsorted(middles, wanted) + 1).tolist()
    return steps


def _result(run: Run, history: list[Record], lr: float) -> Result:
    counts = np.cumsum([record.targets for record in history])
    # Each record's time since the beginning, without the validations until then.
    seconds = np.array([r.seconds for r in history]) - np.cumsum([r.validation_seconds for r in history])
    curve = [
        (int(counts[i]), float(seconds[i]), bits(record.validation["loss"]))
        for i, record in enumerate(history)
        if record.validation is not None
    ]
    last = history[-max(1, round(LAST * len(history))) :]
    training = bits(float(np.average([r.loss for r in last], weights=[r.targets for r in last])))
    validation = curve[-1][2]
    return Result(
        **asdict(run),
        updates=len(history),
        characters=int(counts[-1]),
        validation=validation,
        best_validation=min(loss for *_, loss in curve),
        training=training,
        gap=validation - training,
        seconds=float(seconds[-1]),
        characters_per_second=float(counts[-1] / seconds[-1]),
        peak_mb=peak_memory_mb(),
        lr=lr,
        curve=curve,
    )


def _reporter() -> Report:
    """Return a report that writes a line, but not too often: a run is to be timed, not its messages."""
    last = 0.0

    def report(characters: int) -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            print(characters, flush=True)

    return report


def _end_with_owner() -> None:
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read, whose lock would be missed when the interpreter ends
    os._exit(1)


def main() -> None:
    """Do the job that standard input says."""
    job: dict[str, Any] = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_owner, daemon=True).start()
    do(Plan(**job["plan"]), Run(**job["run"]), job["text"], Path(job["folder"]), _reporter())


if __name__ == "__main__":
    main()
