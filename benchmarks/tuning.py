"""A grid search of 20 settings on Japanese vowels, by scikit-learn: with our estimator, and with skorch and PyTorch.

Both sides have the same network, optimizer, number of epochs, folds and scores, and one thread. They take turns, each
time in a process of its own, which reads the data and imports before the clock starts. Seconds are those of the CPU,
which other programs on the machine do not prolong by running.

    make tuning
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

ROOT = Path(__file__).resolve().parents[1]
SIDES = ("skorch", "native")
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
GRID: dict[str, list[Any]] = {
    "hidden_size": [32, 64],
    "dropout": [0.0, 0.3],
    "learning_rate": [1e-3, 2e-3, 5e-3, 1e-2, 2e-2],
}
COEFFICIENTS, SPEAKERS = 12, 9
EPOCHS, BATCH_SIZE, FOLDS = 15, 32, 3
#: How far the best and the mean accuracy of both sides may be apart: random numbers differ, and so does training.
TOLERANCE = 0.05


def utterances(folder: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the training set: sequences (T, 12), and who spoke each."""
    sequences, speakers = [], []
    for line in (folder / "japanese_vowels" / "JapaneseVowels_TRAIN.ts").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "@")):
            *coefficients, speaker = line.split(":")
            sequences.append(np.array([each.split(",") for each in coefficients], np.float32).T)
            speakers.append(int(speaker) - 1)
    return sequences, np.array(speakers)


def of_skorch(sequences: list[np.ndarray]) -> tuple[Any, dict[str, list[Any]], Any]:
    """Return the estimator, what is searched, and X: sequences of any lengths are padded, and each has its length."""
    import torch
    from skorch import NeuralNetClassifier
    from skorch.helper import SliceDict

    class Network(torch.nn.Module):
        def __init__(self, hidden_size: int = 64, dropout: float = 0.0) -> None:
            super().__init__()
            self.gru = torch.nn.GRU(COEFFICIENTS, hidden_size, batch_first=True)
            self.dropout = torch.nn.Dropout(dropout)
            self.output = torch.nn.Linear(hidden_size, SPEAKERS)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
            states, _ = self.gru(x[:, : int(lengths.max())])
            last = states[torch.arange(len(states)), lengths - 1]
            return self.output(self.dropout(last))

    lengths = np.array([*map(len, sequences)])
    padded = np.zeros((len(sequences), lengths.max(), COEFFICIENTS), np.float32)
    for row, sequence in zip(padded, sequences, strict=True):
        row[: len(sequence)] = sequence
    torch.manual_seed(0)
    estimator = NeuralNetClassifier(
        Network,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        max_epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    names = {"hidden_size": "module__hidden_size", "dropout": "module__dropout", "learning_rate": "lr"}
    return estimator, {names[name]: values for name, values in GRID.items()}, SliceDict(x=padded, lengths=lengths)


def of_native(sequences: list[np.ndarray]) -> tuple[Any, dict[str, list[Any]], Any]:
    """Return the estimator, what is searched, and X."""
    from gru_native.sklearn import GRUClassifier

    estimator = GRUClassifier(epochs=EPOCHS, batch_size=BATCH_SIZE, max_norm=None, random_state=0, n_jobs=1)
    return estimator, GRID, sequences


def timed(side: str, data: Path) -> dict[str, Any]:
    """Search, and return the seconds of CPU time and the mean accuracy of each setting."""
    sequences, speakers = utterances(data)
    estimator, grid, X = {"skorch": of_skorch, "native": of_native}[side](sequences)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    search = GridSearchCV(estimator, grid, scoring="accuracy", cv=folds, refit=False)
    began = process_time()
    search.fit(X, speakers)
    seconds = process_time() - began
    return {"seconds": seconds, "scores": search.cv_results_["mean_test_score"].tolist()}


def run(side: str, data: Path) -> dict[str, Any]:
    """Let one side search in a process of its own."""
    command = [sys.executable, str(Path(__file__)), "--side", side, "--data", str(data)]
    environment = {**os.environ, **dict.fromkeys(COUNTS, "1")}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def record(runs: Sequence[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the figures of all runs.

    Raises
    ------
    ValueError
        When the sides do not learn alike.
    """
    figures: dict[str, Any] = {"settings": len(runs[0]["native"]["scores"]), "epochs": EPOCHS, "folds": FOLDS}
    for side in SIDES:
        seconds = [each[side]["seconds"] for each in runs]
        scores = [each[side]["scores"] for each in runs]
        figures[side] = {
            "seconds": median(seconds),
            "least": min(seconds),
            "best": median(max(each) for each in scores),
            "mean": median(float(np.mean(each)) for each in scores),
        }
    figures["ratio"] = figures["skorch"]["seconds"] / figures["native"]["seconds"]
    for score in ("best", "mean"):
        apart = abs(figures["skorch"][score] - figures["native"][score])
        if not apart <= TOLERANCE:
            raise ValueError(f"{score}: expected accuracies within {TOLERANCE} of each other, got {apart:.3f}")
    return figures


def main() -> None:
    """Let both sides search in turns, print what they took, and write it."""
    shared = Path(os.environ.get("GRU_NATIVE_SHARED", ROOT.parent / "shared"))
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared / "data", metavar="DIR", help="folder of the data")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the record goes")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(timed(options.side, options.data)))
        return

    from gru_bench.machine import description
    from gru_native.io import atomic_write

    figures = record([{side: run(side, options.data) for side in SIDES} for _ in range(options.runs)])
    for side in SIDES:
        print(f"{side:7}", " ".join(f"{name} {value:.3f}" for name, value in figures[side].items()))
    print(f"ratio {figures['ratio']:.2f}")
    if options.json:
        machine = description()
        machine["packages"] |= {name: version(name) for name in ("scikit-learn", "skorch")}
        found = {"machine": machine, "tuning": figures}
        with atomic_write(options.json) as file:
            file.write((json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
