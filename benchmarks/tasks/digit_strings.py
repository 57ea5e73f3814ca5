"""Which digits were said one after another: strings of three to seven, by a speaker who was never heard before.

The strings are made of the recordings of the Free Spoken Digit Dataset (six speakers, 8 kHz): digits of one speaker
with pauses of up to 0.3 s between them, in noise of 10 to 30 dB below the voice. Nothing says where a digit begins: the
loss is that of connectionist temporal classification. Speakers go by the alphabet: the last one is the test set, the
one before him the validation set, by which settings and epoch were chosen, and the other four are trained on. So that
four are more, strings for training are played faster or slower, which changes the voice too.

Beside the network stands one without recurrence, which sees half a second around each step, and the same network in
PyTorch, trained on the same batches at the same rates.

    python benchmarks/tasks/digit_strings.py
"""

from __future__ import annotations

import argparse
from itertools import chain
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from common import Bound, finish, given, options
from numpy.lib.stride_tricks import sliding_window_view
from spoken_digits import BANDS, DIGITS, SAMPLE_RATE, log_power
from torch_twin import predicted_in_torch
from training_times import epoch_times

from gru_native import functional as F
from gru_native import losses, nn, optim, schedules
from gru_native.train import Sequences, Trainer, ctc_metrics, label_error

LENGTHS, PAUSE, DECIBELS, SPEED = (3, 7), 0.3, (10, 30), (0.8, 1.25)
FULL, QUICK = (1500, 200, 300), (500, 50, 100)  # strings to train on, to choose by, to test on
TOGETHER = 3  # windows in a step
AROUND = 5  # steps on either side that the network without recurrence sees

HIDDEN_SIZE, DROPOUT = 128, 0.3
EPOCHS, QUICK_EPOCHS, BATCH_SIZE, EVALUATION_BATCH_SIZE = 10, 8, 32, 100
LR, MAX_NORM = 4e-3, 1.0
WIDTH = 16  # of the search
LOSS = losses.CTCLoss(zero_infinity=True)
BOUND = Bound("label_error", 0.7, at_most=True)  # saying nothing gives 1


class Strings(NamedTuple):
    """Features (T, TOGETHER * BANDS) of each string, and its digits from 1 to 10; 0 is the blank."""

    features: list[np.ndarray]
    digits: list[np.ndarray]

    def batches(self) -> Sequences:
        """Return the strings as data to evaluate on."""
        return Sequences(self.features, self.digits, EVALUATION_BATCH_SIZE)


class Voice(NamedTuple):
    """The recordings of a speaker, and which digit each of them is."""

    signals: list[np.ndarray]
    digits: np.ndarray


def voices(path: Path) -> list[Voice]:
    """Read the recordings of each speaker, in the order of their names."""
    with np.load(path) as file:
        signals = np.split(file["samples"] / 32768, np.cumsum(file["length"])[:-1])
        digits, speakers = file["digit"].astype(np.int64), file["speaker"]
    places = [np.flatnonzero(speakers == speaker) for speaker in np.unique(speakers)]
    return [Voice([signals[i] for i in own], digits[own]) for own in places]


def strings(speakers: list[Voice], count: int, seed: int, *, varied: bool = False) -> Strings:
    """Make strings of digits; with `varied` at any speed."""
    rng = np.random.default_rng(seed)
    made = Strings([], [])
    for _ in range(count):
        voice = speakers[rng.integers(len(speakers))]
        chosen = rng.integers(len(voice.signals), size=rng.integers(LENGTHS[0], LENGTHS[1], endpoint=True))
        pieces = [np.zeros(int(rng.uniform(0, PAUSE) * SAMPLE_RATE))]
        for place in chosen:
            pieces += [voice.signals[place], np.zeros(int(rng.uniform(0, PAUSE) * SAMPLE_RATE))]
        signal = np.concatenate(pieces)
        if varied:
            at = np.arange(0, len(signal) - 1, rng.uniform(*SPEED))
            signal = np.interp(at, np.arange(len(signal)), signal)
        loudness = signal.std() * 10 ** (-rng.uniform(*DECIBELS) / 20)
        made.features.append(features(signal + rng.normal(0, loudness, len(signal))))
        made.digits.append(voice.digits[chosen] + 1)
    return made


def features(signal: np.ndarray) -> np.ndarray:
    """Return the power in each band of some windows together, each band scaled to mean 0 and variance 1 in a string."""
    power = log_power(signal * 32768)
    power = (power - power.mean(axis=0)) / power.std(axis=0)
    return power[: len(power) // TOGETHER * TOGETHER].reshape(-1, TOGETHER * BANDS)


def with_surroundings(known: Strings) -> Strings:
    """Return strings in which each step has the features of those around it."""
    padded = [np.pad(each, ((AROUND, AROUND), (0, 0))) for each in known.features]
    windows = [sliding_window_view(each, 2 * AROUND + 1, axis=0) for each in padded]
    return known._replace(features=[np.ascontiguousarray(each.reshape(len(each), -1)) for each in windows])


def network(seed: int) -> nn.Sequential:
    """Return an untrained network."""
    return nn.Sequential(
        nn.Dropout(DROPOUT),
        nn.GRU(TOGETHER * BANDS, HIDDEN_SIZE, bidirectional=True, seed=(seed, 0)),
        nn.Dropout(DROPOUT),
        nn.Linear(2 * HIDDEN_SIZE, DIGITS + 1, seed=(seed, 1)),
    )


def without_recurrence(inputs: int, seed: int) -> nn.Sequential:
    """Return an untrained network that sees a window at each step."""
    return nn.Sequential(
        nn.Dropout(DROPOUT),
        nn.Linear(inputs, 2 * HIDDEN_SIZE, seed=(seed, 0)),
        nn.Activation("relu"),
        nn.Dropout(DROPOUT),
        nn.Linear(2 * HIDDEN_SIZE, DIGITS + 1, seed=(seed, 1)),
    )


def training_batches(training: Strings, seed: int) -> Sequences:
    """Return strings as data to train on."""
    return Sequences(training.features, training.digits, BATCH_SIZE, shuffle=True, seed=(seed, 2))


def trained(
    model: nn.Sequential, training: Strings, validation: Strings, arguments: argparse.Namespace
) -> tuple[Trainer, list[float]]:
    """Return the trainer of a network when it is done, and the rates of its steps."""
    batches, optimizer = training_batches(training, arguments.seed), optim.Adam(model, lr=LR)
    trainer = Trainer(
        model,
        LOSS,
        optimizer,
        schedule=schedules.CosineAnnealingLR(optimizer, T_max=epochs(arguments) * len(batches)),
        max_norm=MAX_NORM,
        metrics=ctc_metrics(),
        seed=(arguments.seed, 3),
        threads=arguments.threads,
    )
    given = {"epochs": epochs(arguments), "validation": validation.batches(), "monitor": "label_error"}
    return trainer, [record.lr for record in trainer.fit(batches, **given)]


def epochs(arguments: argparse.Namespace) -> int:
    """Return how long to train."""
    return QUICK_EPOCHS if arguments.quick else EPOCHS


def error(logits: list[np.ndarray], digits: list[np.ndarray]) -> float:
    """Return the label error of the best labels that a search finds."""
    return round(label_error(F.ctc_beam_search(logits, width=WIDTH)[0], digits), 4)


def error_in_torch(training: Strings, test: Strings, rates: list[float], arguments: argparse.Namespace) -> float | None:
    """Return the label error of PyTorch's network, trained on the same batches, or None when it is not wanted or there.

    It is tested after the last step.
    """
    if arguments.no_torch:
        return None
    batches, data = training_batches(training, arguments.seed), test.batches()
    found = predicted_in_torch(
        network(arguments.seed),
        LOSS,
        chain.from_iterable(map(batches.epoch, range(epochs(arguments)))),
        data.epoch(0),
        rates=rates,
        max_norm=MAX_NORM,
        threads=arguments.threads,
    )
    if found is None:
        return None
    logits = [
        output[:length, row]
        for output, batch in zip(found, data.epoch(0), strict=True)
        for row, length in enumerate(batch.lengths)
    ]
    return error(logits, [test.digits[i] for places in data.places(0) for i in places])


def main() -> None:
    """Train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    began = perf_counter()
    *training_voices, validation_voice, test_voice = voices(given(arguments, "fsdd/fsdd.npz"))
    counts = QUICK if arguments.quick else FULL
    training = strings(training_voices, counts[0], 0, varied=True)
    validation, test = strings([validation_voice], counts[1], 1), strings([test_voice], counts[2], 2)
    trainer, rates = trained(network(arguments.seed), training, validation, arguments)
    wide = [*map(with_surroundings, (training, validation, test))]
    other, _ = trained(without_recurrence(wide[0].features[0].shape[1], arguments.seed), *wide[:2], arguments)
    figures = {
        "label_error": error(trainer.model.predict(test.batches()), test.digits),
        "baseline": error(other.model.predict(wide[2].batches()), test.digits),
        "torch_label_error": error_in_torch(training, test, rates, arguments),
        "seconds": round(perf_counter() - began, 1),
    }
    batches = training_batches(training, arguments.seed)
    figures |= epoch_times(trainer, batches.epoch(0), arguments, network(arguments.seed))
    finish("digit_strings", figures, arguments, BOUND)


if __name__ == "__main__":
    main()
