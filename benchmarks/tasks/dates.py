"""Dates as people write them, in English or French, into ISO 8601: the problem of examples/translate.py.

A bidirectional GRU reads the characters, and a decoder that attends to them writes the ten of ISO 8601. The dates are
those of two centuries, each in a style of chance; those of the test set are in no other set. Beside the network stand
the numbers that a text has, in the usual order, and the same network in PyTorch, trained on the same batches at the
same rates; its weights come back, so that both write alike.

    python benchmarks/tasks/dates.py
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from datetime import date
from itertools import chain
from time import perf_counter

import numpy as np
from common import Bound, finish, options
from torch_twin import trained_in_torch
from training_times import epoch_times

from gru_native import losses, nn, optim, schedules
from gru_native.train import Sequences, Trainer

ENGLISH = " January February March April May June July August September October November December"
FRENCH = " janvier février mars avril mai juin juillet août septembre octobre novembre décembre"
STYLES = "{english} {d}, {y}", "{n}/{d}/{y}", "{d} {english} {y}", "le {d} {french} {y}", "{d}.{n}.{y}"
FIRST, LAST = date(1900, 1, 1).toordinal(), date(2099, 12, 31).toordinal()
CHARACTERS = 256
SYMBOLS = "\0-0123456789"  # of ISO 8601; the first one ends a date
TEST = 1000
FULL, QUICK = 10_000, 3500  # dates to train on

EMBEDDING_DIM, ENCODER_SIZE, HIDDEN_SIZE = 32, 64, 128
EPOCHS, BATCH_SIZE = 5, 64
LR, MAX_NORM = 3e-3, 1.0
LOSS = losses.CrossEntropyLoss()
BOUND = Bound("accuracy", 0.8, at_most=False)


def as_people_write(days: Sequence[date], rng: np.random.Generator) -> list[str]:
    """Return each date in one of the styles."""
    english, french = ENGLISH.split(" "), FRENCH.split(" ")
    return [
        rng.choice(STYLES).format(
            d=day.day, n=day.month, y=day.year, english=english[day.month], french=french[day.month]
        )
        for day in days
    ]


def characters(text: str) -> np.ndarray:
    """Return the numbers of characters, (T,)."""
    return np.frombuffer(text.encode("latin-1"), np.uint8).astype(np.int64)


def pairs(texts: Sequence[str], days: Sequence[date], seed: int) -> Sequences:
    """Return dates as people write them, and the same in ISO 8601, as data to train on."""
    target = [np.array([SYMBOLS.index(symbol) for symbol in f"{day}\0"]) for day in days]
    inputs = {"source": [*map(characters, texts)], "target": target}
    return Sequences(inputs, target, BATCH_SIZE, shuffle=True, seed=(seed, 3))


def network(seed: int) -> nn.Seq2Seq:
    """Return an untrained network."""
    encoder = nn.Sequential(
        nn.Embedding(CHARACTERS, EMBEDDING_DIM, seed=(seed, 0)),
        nn.GRU(EMBEDDING_DIM, ENCODER_SIZE, bidirectional=True, seed=(seed, 1)),
    )
    return nn.Seq2Seq(encoder, len(SYMBOLS), EMBEDDING_DIM, HIDDEN_SIZE, seed=(seed, 2))


def trained(model: nn.Seq2Seq, training: Sequences, arguments: argparse.Namespace) -> tuple[Trainer, list[float]]:
    """Return the trainer of a network when it is done, and the rates of its steps."""
    optimizer = optim.Adam(model, lr=LR)
    schedule = schedules.CosineAnnealingLR(optimizer, T_max=EPOCHS * len(training))
    trainer = Trainer(model, LOSS, optimizer, schedule=schedule, max_norm=MAX_NORM, threads=arguments.threads)
    return trainer, [record.lr for record in trainer.fit(training, epochs=EPOCHS)]


def trained_by_torch(training: Sequences, rates: list[float], arguments: argparse.Namespace) -> nn.Seq2Seq | None:
    """Return the network as PyTorch trains it on the same batches, or None when it is not wanted or there."""
    if arguments.no_torch:
        return None
    model = network(arguments.seed)
    batches = chain.from_iterable(map(training.epoch, range(EPOCHS)))
    weights = trained_in_torch(model, LOSS, batches, rates=rates, max_norm=MAX_NORM, threads=arguments.threads)
    if weights is None:
        return None
    model.assign(weights)
    return model


def written_by(model: nn.Seq2Seq, texts: Sequence[str]) -> list[str]:
    """Return what a network writes for each text."""
    found = model.greedy([*map(characters, texts)], steps=len("1900-01-01"))
    return ["".join(SYMBOLS[label] for label in labels) for labels in found]


def by_order(text: str) -> str:
    """Return the first number of a text as day, the last ones as month and year."""
    numbers = re.findall(r"\d+", text)
    return f"{numbers[-1]}-{numbers[-2]:0>2}-{numbers[0]:0>2}"


def main() -> None:
    """Train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    began, rng = perf_counter(), np.random.default_rng(arguments.seed)
    count = QUICK if arguments.quick else FULL
    days = [*map(date.fromordinal, rng.permutation(np.arange(FIRST, LAST + 1))[: TEST + count].tolist())]
    texts = as_people_write(days, rng)
    training = pairs(texts[TEST:], days[TEST:], arguments.seed)
    trainer, rates = trained(network(arguments.seed), training, arguments)

    def share(found: Sequence[str]) -> float:
        return round(float(np.mean([own == str(day) for own, day in zip(found, days, strict=False)])), 4)

    figures = {
        "accuracy": share(written_by(trainer.model, texts[:TEST])),
        "baseline": share([*map(by_order, texts[:TEST])]),
    }
    if twin := trained_by_torch(training, rates, arguments):
        figures["torch_accuracy"] = share(written_by(twin, texts[:TEST]))
    figures["seconds"] = round(perf_counter() - began, 1)
    finish("dates", figures | epoch_times(trainer, training.epoch(0), arguments), arguments, BOUND)


if __name__ == "__main__":
    main()
