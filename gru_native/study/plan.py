"""What a study trains: a model for each batch size, sequence length and seed, all by one recipe."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gru_native import _core
from gru_native.io import atomic_write, parsed, regular
from gru_native.train.recipe import least_characters

FILE = "plan.json"
RUNS = "runs"

#: The gradients' noise scale, in characters of an update: see `Plan.lr_of`.
NOISE_SCALE = 2048


class StudyError(ValueError):
    """A study that cannot be made, or not in this folder."""


@dataclass(frozen=True)
class Run:
    """One training of a study; its files in the study's folder bear its name."""

    batch_size: int
    window: int
    seed: int

    def __str__(self) -> str:
        return f"batch size {self.batch_size}, window {self.window}, seed {self.seed}"

    def file(self, folder: Path, kind: str) -> Path:
        """Return the path of its file of a kind: ``"json"`` the result, ``"jsonl"`` the log, ``"checkpoint"``."""
        return folder / RUNS / f"batch{self.batch_size}-window{self.window}-seed{self.seed}.{kind}"


@dataclass(frozen=True)
class Plan:
    """The two factors of a study and what is the same for all its runs.

    Attributes
    ----------
    batch_sizes, windows : tuple of int
        The two factors: places of the text that an update reads at once, and characters that it reads at each, through
        which gradients reach back.
    characters : int
        What each run trains on, to within half an update, so that the number of updates differs.
    seeds : int
        Runs of each cell. A seed gives the initial weights; the order of the text is always the same.
    hidden_size, embedding_dim
        Of the model; see `CharacterModel.create`.
    lr : float
        What the highest learning rate comes near to as updates grow; see `lr_of`.
    threads : int
        The most threads to compute with.
    """

    batch_sizes: tuple[int, ...] = (8, 32, 128)
    windows: tuple[int, ...] = (16, 64, 256)
    characters: int = 2_000_000
    seeds: int = 3
    hidden_size: tuple[int, ...] = (192, 128)
    embedding_dim: int = 64
    lr: float = 0.012
    threads: int = 1

    @property
    def runs(self) -> list[Run]:
        """All runs. A seed goes through all cells first, so that a part of a study tells something of each."""
        return [Run(b, w, seed) for seed in range(self.seeds) for b in self.batch_sizes for w in self.windows]

    @property
    def largest_update(self) -> int:
        """The characters of the largest cell's update."""
        return max(self.batch_sizes) * max(self.windows)

    def lr_of(self, run: Run) -> float:
        """Return the highest learning rate of a run: ``lr / sqrt(1 + NOISE_SCALE / (batch_size * window))``.

        It grows with the square root of an update's characters while they are few, as suits Adam, and no more when they
        are so many that their gradients have little noise (the form is that of McCandlish et al., "An empirical model
        of large-batch training", 2018). One rate for all would be too low for large updates or too high for small ones,
        and the root alone too high for the largest. The defaults of `lr` and `NOISE_SCALE` are what did well on
        validation data for the smallest, the middle and the largest of the default cells.
        """
        return self.lr / math.sqrt(1 + NOISE_SCALE / (run.batch_size * run.window))

    def check(self, text: str) -> None:
        """Find out whether every cell can be trained on a text.

        Raises
        ------
        StudyError
            When the text or the number of characters is too small for a cell, which is named.
        """
        cell = f"batch size {max(self.batch_sizes)} with window {max(self.windows)}"
        least = least_characters(max(self.batch_sizes), max(self.windows))
        if len(text) < least:
            raise StudyError(f"the text is too short: {len(text):,} characters; {cell} needs {least:,}")
        if self.characters < self.largest_update:
            raise StudyError(
                f"characters: expected at least {self.largest_update:,}, an update of {cell}, got {self.characters:,}"
            )

    def record(self, folder: Path, text: str) -> None:
        """Write down in a folder what its runs are of, or make sure that it is what stands there.

        Raises
        ------
        StudyError
            When the folder holds another study.
        OSError, ValueError
            When it cannot be read or written.
        """
        own = {**asdict(self), "isa": _core.active_isa(), "text": hashlib.sha256(text.encode()).hexdigest()}
        own = json.loads(json.dumps(own))  # lists for tuples
        file = folder / FILE
        if file.exists():
            _refuse_other(file, own)
        elif (folder / RUNS).exists():
            raise StudyError(f"{folder}: has a folder {RUNS}, but no {FILE} that says what it is of")
        else:
            with atomic_write(file) as new:
                new.write(f"{json.dumps(own, indent=1)}\n".encode())
        (folder / RUNS).mkdir(exist_ok=True)


def read_json(path: Path) -> Any:
    """Return what a JSON file of a study holds."""
    with open(path, encoding="utf-8", opener=regular) as file:
        return parsed(file.read())


def _refuse_other(file: Path, own: dict[str, Any]) -> None:
    try:
        theirs = read_json(file)
        differing = [name for name in own.keys() | theirs.keys() if own.get(name) != theirs.get(name)]
    except (ValueError, AttributeError) as error:
        raise StudyError(f"{file}: not the plan of a study: {error}") from error
    if "text" in differing:
        raise StudyError(f"{file.parent}: holds a study of another text; choose another folder")
    if differing:
        found = ", ".join(f"{name} {theirs.get(name)} instead of {own.get(name)}" for name in sorted(differing))
        raise StudyError(f"{file.parent}: holds another study, with {found}; choose another folder")
