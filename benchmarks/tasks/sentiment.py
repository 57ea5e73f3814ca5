"""Whether a sentence of a film review is for or against the film: 5,331 of each kind (Pang and Lee 2005).

A network reads the words in both directions, pools its states by attention, and answers with a logit. Of each ten lines
of a file the first is for the test set. The sixth is for the validation set, by which everything is chosen: the
settings below had the lowest loss of those tried, as a mean over three such sets, and in a run the parameters are taken
from the epoch with the lowest. The vocabulary is that of the other lines. Beside the network stands a logistic
regression on which words are there.

Words are made unknown at random in training, others in each epoch. So the network learns what to do about a word that
it does not know, and not to rely on a single one.

    python benchmarks/tasks/sentiment.py
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from baseline import Samples, logistic_regression
from common import Bound, finish, given, options
from sklearn.feature_extraction.text import CountVectorizer
from training_times import epoch_times

from gru_native import losses, nn, optim
from gru_native.random import generator
from gru_native.train import Batch, Data, Sequences, Trainer, classification_metrics

UNKNOWN = 0  # the index of words that are not in the vocabulary
LEAST_COUNT = 2  # of the words that are
EMBEDDING_DIM, HIDDEN_SIZE = 64, 64
EMBEDDING_SCALE = 0.1  # of initial values: a rare word is to say little until it is learned
WORD_DROPOUT, EMBEDDING_DROPOUT, DROPOUT = 0.2, 0.7, 0.5
EPOCHS, QUICK_EPOCHS = 6, 2
BATCH_SIZE, EVALUATION_BATCH_SIZE = 64, 256
LR, MAX_NORM = 2e-3, 1.0
BOUND = Bound("accuracy", 0.7, at_most=False)  # guessing gives 0.5
SHOWN_SENTENCES, SHOWN_WORDS = 3, 4


class Split(NamedTuple):
    """Sentences to train on, to choose by, and to look at once in the end; 1 stands for praise, 0 for blame."""

    training: Samples
    validation: Samples
    test: Samples


def split(folder: Path) -> Split:
    """Read the sentences: one on a line, their words between spaces."""
    lines = []
    for positive, kind in enumerate(("neg", "pos")):
        with open(folder / f"rt-polarity.{kind}", encoding="latin-1") as file:
            lines += [(place % 10, text.strip(), positive) for place, text in enumerate(file)]

    def part(*places: int) -> Samples:
        chosen = [(text, positive) for place, text, positive in lines if place in places]
        return Samples([text for text, _ in chosen], np.array([positive for _, positive in chosen]))

    return Split(part(1, 2, 3, 4, 6, 7, 8, 9), part(5), part(0))


class Vocabulary:
    """Indices of the words that stand in some sentences more than once."""

    def __init__(self, texts: list[str]) -> None:
        counts = Counter(word for text in texts for word in text.split())
        known = sorted(word for word, count in counts.items() if count >= LEAST_COUNT)
        self._indices: Mapping[str, int] = {word: index for index, word in enumerate(known, UNKNOWN + 1)}

    def __len__(self) -> int:
        return len(self._indices) + 1

    def encode(self, text: str) -> np.ndarray:
        """Return the indices of a sentence's words, (T,)."""
        return np.array([self._indices.get(word, UNKNOWN) for word in text.split()])

    def batches(self, samples: Samples, batch_size: int, **keywords: object) -> Sequences:
        """Return sentences as data for a `Trainer`; targets are (N, 1), as the network's logits."""
        targets = samples.targets[:, None].astype(np.float32)
        return Sequences([self.encode(text) for text in samples.inputs], targets, batch_size, **keywords)


class WordDropout:
    """Batches in which words are unknown at random."""

    carries_state = False

    def __init__(self, data: Data, seed: tuple[int, ...]) -> None:
        self.data, self.seed = data, seed

    def __len__(self) -> int:
        return len(self.data)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        rng = generator((*self.seed, number))
        for batch in self.data.epoch(number):
            dropped = rng.random(batch.inputs.shape) < WORD_DROPOUT
            yield batch._replace(inputs=np.where(dropped, UNKNOWN, batch.inputs))


def training_batches(vocabulary: Vocabulary, training: Samples, seed: int) -> WordDropout:
    """Return sentences as data to train on."""
    return WordDropout(vocabulary.batches(training, BATCH_SIZE, shuffle=True, seed=(seed, 4)), seed=(seed, 5))


def network(words: int, seed: int) -> nn.Sequential:
    """Return an untrained network."""
    embedding = nn.Embedding(words, EMBEDDING_DIM, seed=(seed, 0))
    embedding.assign({"weight": embedding.parameters()["weight"] * np.float32(EMBEDDING_SCALE)})
    layers = {
        "embedding": embedding,
        "embedding_dropout": nn.Dropout(EMBEDDING_DROPOUT),
        "gru": nn.GRU(EMBEDDING_DIM, HIDDEN_SIZE, bidirectional=True, seed=(seed, 1)),
        "pooling": nn.AttentionPooling(2 * HIDDEN_SIZE, seed=(seed, 2)),
        "dropout": nn.Dropout(DROPOUT),
        "linear": nn.Linear(2 * HIDDEN_SIZE, 1, seed=(seed, 3)),
    }
    return nn.Sequential(layers)


def trained(data: Split, vocabulary: Vocabulary, arguments: argparse.Namespace) -> Trainer:
    """Return the trainer of a new network when it is done."""
    model = network(len(vocabulary), arguments.seed)
    trainer = Trainer(
        model,
        losses.BCEWithLogitsLoss(),
        optim.Adam(model, lr=LR),
        max_norm=MAX_NORM,
        metrics=classification_metrics("binary"),
        seed=(arguments.seed, 6),
        threads=arguments.threads,
    )
    trainer.fit(
        training_batches(vocabulary, data.training, arguments.seed),
        epochs=QUICK_EPOCHS if arguments.quick else EPOCHS,
        validation=vocabulary.batches(data.validation, EVALUATION_BATCH_SIZE),
    )
    return trainer


def show_attention(model: nn.Sequential, vocabulary: Vocabulary, texts: list[str]) -> None:
    """Print some sentences, the probability of praise, and the words with the highest weights in the pooling."""
    for text in texts[:: len(texts) // SHOWN_SENTENCES][:SHOWN_SENTENCES]:
        indices, words = vocabulary.encode(text), text.split()
        logit, _ = model(indices)
        states, _ = model.gru(model.embedding(indices))
        weights = model.pooling.weights(states)
        highest = np.argsort(-weights)[:SHOWN_WORDS]
        print(f"{text}\n    praise {1 / (1 + np.exp(-logit.item())):.2f}, attention", end=" ")
        print(", ".join(f"{words[place]} {weights[place]:.2f}" for place in highest))


def main() -> None:
    """Train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    began = perf_counter()
    data = split(given(arguments, "rt_polarity"))
    vocabulary = Vocabulary(data.training.inputs)
    trainer = trained(data, vocabulary, arguments)
    tested = trainer.evaluate(vocabulary.batches(data.test, EVALUATION_BATCH_SIZE))
    figures = {name: round(tested[name], 4) for name in ("accuracy", "precision", "recall", "f1")}
    words = CountVectorizer(analyzer=str.split, binary=True)
    figures["baseline"] = round(logistic_regression(words, *data), 4)
    figures["seconds"] = round(perf_counter() - began, 1)
    show_attention(trainer.model, vocabulary, data.test.inputs)
    batches = training_batches(vocabulary, data.training, arguments.seed)
    finish("sentiment", figures | epoch_times(trainer, batches.epoch(0), arguments), arguments, BOUND)


if __name__ == "__main__":
    main()
