"""Which of nine men said two Japanese vowels: sequences of 12 cepstral coefficients, 7 to 29 steps long.

The data is that of Kudo et al. 1999, with its fixed split: 30 utterances of each speaker to train on, 370 to test. The
network reads an utterance in both directions; what classifies it is either the mean of the states or the last of each
direction. Which of the two, how large the network is and how much dropout its states have is chosen in the run, by the
mean loss of a cross-validation of the training set in five parts; the other settings were fixed before by the same
figure. Then five networks that differ in their seed are trained on the whole training set, as long as in the
cross-validation, and tested once. Beside them stands a logistic regression on the mean of each coefficient.

PyTorch's GRU has no dropout of states: its time is that of the same network without.

    python benchmarks/tasks/japanese_vowels.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import NamedTuple

import numpy as np
from common import Bound, finish, given, options
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm
from training_times import epoch_times

from gru_native import losses, nn, optim, schedules
from gru_native.random import Seed
from gru_native.train import Sequences, Trainer, classification_metrics

COEFFICIENTS, SPEAKERS = 12, 9
FOLDS, NETWORKS = 5, 5
BOUND = Bound("accuracy", 0.95, at_most=False)  # guessing gives 0.11


class Utterances(NamedTuple):
    """Sequences (T, 12), and who spoke each, from 0."""

    sequences: list[np.ndarray]
    speakers: np.ndarray

    def batches(self, batch_size: int, *, shuffle: bool = False, seed: Seed = 0) -> Sequences:
        """Return the utterances as data for a `Trainer`."""
        return Sequences(self.sequences, self.speakers, batch_size, shuffle=shuffle, seed=seed)

    def chosen(self, places: Sequence[int]) -> Utterances:
        """Return some of them."""
        return Utterances([self.sequences[place] for place in places], self.speakers[places])


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    pooling: str = "last"
    hidden_size: int = 64
    recurrent_dropout: float = 0.2
    epochs: int = 60
    batch_size: int = 16
    lr: float = 3e-3
    weight_decay: float = 1e-2
    input_dropout: float = 0.2
    dropout: float = 0.5
    max_norm: float = 1.0


CANDIDATES = [Recipe(*choice) for choice in product(("last", "mean"), (64, 128), (0.0, 0.2))]
QUICK = Recipe(epochs=20)


def utterances(path: Path) -> Utterances:
    """Read a file of the .ts format: a line for each utterance, ``1.2,3.4,...:5.6,...:...:speaker``."""
    sequences, speakers = [], []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith(("#", "@")):
            *coefficients, speaker = line.split(":")
            sequences.append(np.array([each.split(",") for each in coefficients], np.float32).T)
            speakers.append(int(speaker) - 1)
    return Utterances(sequences, np.array(speakers))


def standardized(training: Utterances, other: Utterances) -> list[Utterances]:
    """Return both with mean 0 and variance 1 of each coefficient over the training data."""
    scaler = StandardScaler().fit(np.concatenate(training.sequences))
    return [Utterances([*map(scaler.transform, each.sequences)], each.speakers) for each in (training, other)]


def network(recipe: Recipe, seed: tuple[int, ...]) -> nn.Sequential:
    """Return an untrained network."""
    gru = nn.GRU(
        COEFFICIENTS,
        recipe.hidden_size,
        bidirectional=True,
        recurrent_dropout=recipe.recurrent_dropout,
        seed=(*seed, 0),
    )
    return nn.Sequential(
        nn.Dropout(recipe.input_dropout),
        gru,
        nn.LastPooling(bidirectional=True) if recipe.pooling == "last" else nn.MeanPooling(),
        nn.Dropout(recipe.dropout),
        nn.Linear(2 * recipe.hidden_size, SPEAKERS, seed=(*seed, 1)),
    )


def trained(recipe: Recipe, training: Utterances, seed: tuple[int, ...], threads: int | None) -> Trainer:
    """Return the trainer of a new network when it is done."""
    data = training.batches(recipe.batch_size, shuffle=True, seed=(*seed, 2))
    model = network(recipe, seed)
    optimizer = optim.AdamW(model, lr=recipe.lr, weight_decay=recipe.weight_decay)
    trainer = Trainer(
        model,
        losses.CrossEntropyLoss(),
        optimizer,
        schedule=schedules.CosineAnnealingLR(optimizer, T_max=recipe.epochs * len(data)),
        max_norm=recipe.max_norm,
        metrics=classification_metrics(),
        seed=(*seed, 3),
        threads=threads,
    )
    trainer.fit(data, epochs=recipe.epochs, progress=False)
    return trainer


def held_out_loss(recipe: Recipe, training: Utterances, seed: int, threads: int | None) -> float:
    """Return the mean loss on the part that was left out, over all parts."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = []
    for fold, (rest, part) in enumerate(folds.split(training.speakers, training.speakers)):
        kept, left_out = standardized(training.chosen(rest), training.chosen(part))
        trainer = trained(recipe, kept, (seed, 0, fold), threads)
        found.append(trainer.evaluate(left_out.batches(len(part)))["loss"])
    return mean(found)


def choice(training: Utterances, seed: int, threads: int | None) -> Recipe:
    """Return the candidate that does best in cross-validation."""
    bar = tqdm(CANDIDATES, desc="cross-validation")
    scores = {recipe: held_out_loss(recipe, training, seed, threads) for recipe in bar}
    return min(scores, key=scores.__getitem__)


def baseline(training: Utterances, test: Utterances) -> float:
    """Return the accuracy of a logistic regression on means over time."""
    means = [np.stack([sequence.mean(axis=0) for sequence in each.sequences]) for each in (training, test)]
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return float(classifier.fit(means[0], training.speakers).score(means[1], test.speakers))


def main() -> None:
    """Choose, train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    began, seed, threads = perf_counter(), arguments.seed, arguments.threads
    raw, raw_test = (
        utterances(given(arguments, f"japanese_vowels/JapaneseVowels_{part}.ts")) for part in ("TRAIN", "TEST")
    )
    recipe = QUICK if arguments.quick else choice(raw, seed, threads)
    training, test = standardized(raw, raw_test)
    seeds = [(seed, 1, i) for i in range(1 if arguments.quick else NETWORKS)]
    trainers = [trained(recipe, training, each, threads) for each in tqdm(seeds, desc="networks")]
    accuracies = [trainer.evaluate(test.batches(len(test.speakers)))["accuracy"] for trainer in trainers]
    figures = {
        "accuracy": round(median(accuracies), 4),
        "lowest": round(min(accuracies), 4),
        "highest": round(max(accuracies), 4),
        "baseline": round(baseline(raw, raw_test), 4),
        "pooling": recipe.pooling,
        "hidden_size": recipe.hidden_size,
        "recurrent_dropout": recipe.recurrent_dropout,
        "seconds": round(perf_counter() - began, 1),
    }
    times = epoch_times(trainers[0], training.batches(recipe.batch_size, shuffle=True).epoch(0), arguments)
    finish("japanese_vowels", figures | times, arguments, BOUND)


if __name__ == "__main__":
    main()
