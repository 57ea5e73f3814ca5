"""Which of ten digits was said: 3,000 recordings of six speakers, 0.1 to 2.3 s long (Free Spoken Digit Dataset).

A network reads the power in 40 bands of frequencies over time, in both directions; the last states of both classify the
recording. Takes 0 to 4 of each speaker and digit are the test set, as is usual. Takes 5 to 9 are the validation set, by
which everything is chosen: the settings below had the lowest loss on it of those tried, and in a run the parameters are
taken from the epoch with the lowest. Beside the network stands a logistic regression on mean and standard deviation of
each band over time.

A second question is harder: how well is a speaker understood who was never heard before? For this the same recipe is
trained six times, each time on five speakers, and tested on all recordings of the sixth.

The same network in PyTorch is trained on the same batches at the same rates, without dropout of states, which PyTorch's
GRU does not have. It is tested after the last step.

    python benchmarks/tasks/spoken_digits.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import NamedTuple

import numpy as np
from baseline import Samples, logistic_regression
from common import Bound, finish, given, options
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.preprocessing import StandardScaler
from torch_twin import predicted_in_torch
from training_times import epoch_times

from gru_native import losses, nn, optim, schedules
from gru_native.train import Sequences, Trainer, classification_metrics

SAMPLE_RATE = 8000  # Hz
WINDOW, HOP = 240, 120  # samples: 30 ms, every 15 ms
FFT_SIZE, BANDS = 256, 40
LEAST_POWER = 1e-6  # so that silence has a logarithm
DIGITS = 10
TEST_TAKES, VALIDATION_TAKES = range(5), range(5, 10)

HIDDEN_SIZE = 96
INPUT_DROPOUT, RECURRENT_DROPOUT, DROPOUT = 0.2, 0.3, 0.5
EPOCHS, QUICK_EPOCHS = 20, 4
BATCH_SIZE, EVALUATION_BATCH_SIZE = 32, 256
LR, MAX_NORM = 4e-3, 1.0
LOSS = losses.CrossEntropyLoss()
BOUND = Bound("accuracy", 0.9, at_most=False)  # guessing gives 0.1


class Recordings(NamedTuple):
    """Features (T, BANDS) of each recording, and what is known of it."""

    features: list[np.ndarray]
    digits: np.ndarray
    speakers: np.ndarray
    takes: np.ndarray

    def chosen(self, mask: np.ndarray) -> Recordings:
        """Return those that a mask (N,) marks."""
        features = [self.features[place] for place in np.flatnonzero(mask)]
        return Recordings(features, self.digits[mask], self.speakers[mask], self.takes[mask])

    def summaries(self) -> Samples:
        """Return each band's mean and standard deviation over time, (N, 2 * BANDS), as what to tell digits by."""
        moments = [np.concatenate([each.mean(axis=0), each.std(axis=0)]) for each in self.features]
        return Samples(np.stack(moments), self.digits)

    def batches(self) -> Sequences:
        """Return the recordings as data to evaluate on."""
        return Sequences(self.features, self.digits, EVALUATION_BATCH_SIZE)


class Split(NamedTuple):
    """What is trained on, what choices are made by, and what is looked at once in the end."""

    training: Recordings
    validation: Recordings
    test: Recordings


def recordings(path: Path) -> Recordings:
    """Read the data and compute features."""
    with np.load(path) as file:
        signals = np.split(file["samples"], np.cumsum(file["length"])[:-1])
        return Recordings([*map(log_power, signals)], file["digit"].astype(np.int64), file["speaker"], file["take"])


def log_power(signal: np.ndarray) -> np.ndarray:
    """Return the logarithm of the power in each band over time, (T, BANDS), of samples (N,) of int16."""
    windows = sliding_window_view(signal / 32768, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW), FFT_SIZE)) ** 2
    return np.log(power @ mel_bands() + LEAST_POWER).astype(np.float32)


@cache
def mel_bands() -> np.ndarray:
    """Return the weight of each frequency of the transform in each band, (FFT_SIZE // 2 + 1, BANDS).

    The bands are triangles at equal distances on the mel scale, ``2595 log10(1 + Hz / 700)`` (O'Shaughnessy, "Speech
    communication", 1987); each ends where its neighbours are highest.
    """
    highest = 2595 * np.log10(1 + SAMPLE_RATE / 2 / 700)
    corners = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    hertz = np.fft.rfftfreq(FFT_SIZE, 1 / SAMPLE_RATE)[:, None]
    return np.maximum(0, np.minimum((hertz - left) / (middle - left), (right - hertz) / (right - middle)))


def split_by_take(known: Recordings) -> Split:
    """Return the usual split: all speakers are in all parts."""
    return split(known, np.isin(known.takes, TEST_TAKES))


def splits_by_speaker(known: Recordings) -> Iterator[tuple[str, Split]]:
    """Yield each speaker and the split whose test set are all recordings of that one."""
    for speaker in np.unique(known.speakers):
        yield str(speaker), split(known, known.speakers == speaker)


def split(known: Recordings, test: np.ndarray) -> Split:
    """Return a split with a test set given by a mask, scaled to mean 0 and variance 1 of each band in training."""
    validation = ~test & np.isin(known.takes, VALIDATION_TAKES)
    parts = [known.chosen(mask) for mask in (~test & ~validation, validation, test)]
    scaler = StandardScaler().fit(np.concatenate(parts[0].features))
    return Split(*(part._replace(features=[*map(scaler.transform, part.features)]) for part in parts))


def training_batches(training: Recordings, seed: int) -> Sequences:
    """Return recordings as data to train on."""
    return Sequences(training.features, training.digits, BATCH_SIZE, shuffle=True, seed=(seed, 2))


def network(seed: int) -> nn.Sequential:
    """Return an untrained network."""
    gru = nn.GRU(BANDS, HIDDEN_SIZE, bidirectional=True, recurrent_dropout=RECURRENT_DROPOUT, seed=(seed, 0))
    return nn.Sequential(
        nn.Dropout(INPUT_DROPOUT),
        gru,
        nn.LastPooling(bidirectional=True),
        nn.Dropout(DROPOUT),
        nn.Linear(2 * HIDDEN_SIZE, DIGITS, seed=(seed, 1)),
    )


def epochs(arguments: argparse.Namespace) -> int:
    """Return how long to train."""
    return QUICK_EPOCHS if arguments.quick else EPOCHS


def trained(
    model: nn.Sequential, data: Split, arguments: argparse.Namespace, *, progress: bool = True
) -> tuple[Trainer, list[float]]:
    """Return the trainer of a network when it is done, and the rates of its steps."""
    batches, optimizer = training_batches(data.training, arguments.seed), optim.Adam(model, lr=LR)
    trainer = Trainer(
        model,
        LOSS,
        optimizer,
        schedule=schedules.CosineAnnealingLR(optimizer, T_max=epochs(arguments) * len(batches)),
        max_norm=MAX_NORM,
        metrics=classification_metrics(),
        seed=(arguments.seed, 3),
        threads=arguments.threads,
    )
    given = {"epochs": epochs(arguments), "validation": data.validation.batches(), "progress": progress}
    return trainer, [record.lr for record in trainer.fit(batches, **given)]


def accuracy_in_torch(
    model: nn.Sequential, data: Split, rates: list[float], arguments: argparse.Namespace
) -> float | None:
    """Return the accuracy of an untrained network that PyTorch trains, or None when it is not wanted or there."""
    if arguments.no_torch:
        return None
    batches, test = training_batches(data.training, arguments.seed), data.test.batches()
    found = predicted_in_torch(
        model,
        LOSS,
        chain.from_iterable(map(batches.epoch, range(epochs(arguments)))),
        test.epoch(0),
        rates=rates,
        max_norm=MAX_NORM,
        threads=arguments.threads,
    )
    if found is None:
        return None
    right = [logits.argmax(axis=1) == batch.targets for logits, batch in zip(found, test.epoch(0), strict=True)]
    return round(float(np.concatenate(right).mean()), 4)


def leave_one_speaker_out(
    untrained: Callable[[int], nn.Sequential], known: Recordings, arguments: argparse.Namespace
) -> dict[str, float]:
    """Return the accuracy on speakers who are not in the training set: the mean over all of them, and the lowest."""
    accuracies = []
    for speaker, data in splits_by_speaker(known):
        trainer, _ = trained(untrained(arguments.seed), data, arguments, progress=False)
        accuracies.append(trainer.evaluate(data.test.batches())["accuracy"])
        print(f"trained without {speaker}, tested on {speaker}: accuracy {accuracies[-1]:.4f}", flush=True)
    return {"leave_one_speaker_out": round(mean(accuracies), 4), "lowest_speaker": round(min(accuracies), 4)}


def measured(untrained: Callable[[int], nn.Sequential], arguments: argparse.Namespace) -> dict[str, float | None]:
    """Return the figures of networks that begin with a seed's weights."""
    began = perf_counter()
    known = recordings(given(arguments, "fsdd/fsdd.npz"))
    data = split_by_take(known)
    trainer, rates = trained(untrained(arguments.seed), data, arguments)
    figures = {
        "accuracy": round(trainer.evaluate(data.test.batches())["accuracy"], 4),
        "baseline": round(logistic_regression(StandardScaler(), *(part.summaries() for part in data)), 4),
        "torch_accuracy": accuracy_in_torch(untrained(arguments.seed), data, rates, arguments),
    }
    if not arguments.quick:
        figures |= leave_one_speaker_out(untrained, known, arguments)
    figures["seconds"] = round(perf_counter() - began, 1)
    batches = training_batches(data.training, arguments.seed)
    return figures | epoch_times(trainer, batches.epoch(0), arguments)


def main() -> None:
    """Train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    finish("spoken_digits", measured(network, arguments), arguments, BOUND)


if __name__ == "__main__":
    main()
