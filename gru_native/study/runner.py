"""A study from beginning to end: the runs that are missing, one after the other, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TextIO, cast

from tqdm import tqdm

from gru_native.study.plan import Plan, Run, StudyError, read_json
from gru_native.study.table import Result
from gru_native.train import Checkpoint


def complete(plan: Plan, text: str, folder: Path) -> list[Result]:
    """Do what is missing of a study, with a progress bar on standard error, and return all results.

    A call that was killed at any moment, with all its processes or without, leaves a folder from which the same call
    goes on: runs that are done are not repeated, and the one under way goes on from its last validation.

    Parameters
    ----------
    plan, text
        What to train, and on what.
    folder
        Where the study is kept: its plan, and the log and the result of each run.

    Raises
    ------
    StudyError
        When text or plan do not fit, the folder holds another study, or a run fails.
    OSError
        When the folder cannot be written.
    """
    plan.check(text)
    plan.record(folder, text)
    runs, size = plan.runs, plan.characters
    done = sum(run.file(folder, "json").exists() for run in runs)
    with tqdm(total=len(runs) * size, initial=done * size, unit="char", unit_scale=True) as bar:
        for place, run in enumerate(runs):
            if not run.file(folder, "json").exists():
                bar.set_description(f"{run} ({place + 1} of {len(runs)})")
                for characters in _train(plan, run, text, folder):
                    bar.update(place * size + min(characters, size) - bar.n)
                bar.update((place + 1) * size - bar.n)
            Checkpoint(run.file(folder, "checkpoint")).remove()
    return [Result(**read_json(run.file(folder, "json"))) for run in runs]


def _train(plan: Plan, run: Run, text: str, folder: Path) -> Iterator[int]:
    """Make a run, and yield from time to time how many characters it has been trained on."""
    job = {"plan": asdict(plan), "run": asdict(run), "folder": str(folder), "text": text}
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "gru_native.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=messages,
            text=True,
        )
        # There are both, as they are pipes.
        stdin, stdout = cast(TextIO, process.stdin), cast(TextIO, process.stdout)
        try:
            with suppress(BrokenPipeError):  # it ended before it read: its message says why
                print(json.dumps(job), file=stdin, flush=True)
            yield from map(int, stdout)
            process.wait()
        finally:
            process.kill()
            process.wait()
            stdout.close()
            with suppress(BrokenPipeError):
                stdin.close()
        if process.returncode:
            messages.seek(0)
            *_, message = ["it left no message", *messages.read().splitlines()]
            raise StudyError(f"{run}: the training ended with exit code {process.returncode}: {message}")
