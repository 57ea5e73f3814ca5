"""What is said of a spelling by n-grams of letters together with their phonemes (Bisani and Ney 2008).

Each letter makes none, one or two phonemes. Which ones is found by EM over all alignments; the best one makes of a word
a sequence of pairs, each a letter and its phonemes. Over these goes an n-gram model with interpolated Kneser-Ney
smoothing (Chen and Goodman 1998), and a beam finds the pairs of a word whose letters alone are known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

MOST = 2  # phonemes of a letter
ITERATIONS = 15  # of EM
ORDER = 8
WIDTH = 20  # of the beam
REMEMBERED = 1 << 17  # continuations
BOUNDARY = 0  # the token before the first pair and behind the last one


class Pairs:
    """Numbers of pairs of a letter and up to two phonemes, those of a letter one behind the other."""

    def __init__(self, letters: int, phonemes: int) -> None:
        self.phonemes = phonemes
        self.of_a_letter = 1 + phonemes + phonemes**MOST
        self.none = letters * self.of_a_letter

    def sounds(self, pair: int) -> tuple[int, ...]:
        """Return the phonemes of a pair."""
        number = pair % self.of_a_letter - 1
        if number < 0:
            return ()
        return (number,) if number < self.phonemes else divmod(number - self.phonemes, self.phonemes)

    def of(self, spellings: Sequence[np.ndarray], sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return all pairs that words may have; those with too many phonemes for their letters are left out.

        Words of equally many letters L and phonemes S are an array (MOST + 1, N, L, S + 1): the pair of a letter with
        so many phonemes, of which the first is that at the last axis. Where a word has not as many, it is `none`.
        """
        sizes = defaultdict(list)
        for word in zip(spellings, sounds, strict=True):
            sizes[tuple(map(len, word))].append(word)
        groups = (map(np.stack, zip(*words, strict=True)) for (L, S), words in sizes.items() if S <= MOST * L)
        return [self._of_words(*words) for words in groups]

    def _of_words(self, letters: np.ndarray, phonemes: np.ndarray) -> np.ndarray:
        chunks = np.full((MOST + 1, len(phonemes), phonemes.shape[1] + 1), -1)
        chunks[0] = 0
        chunks[1, :, :-1] = 1 + phonemes
        chunks[2, :, :-2] = 1 + self.phonemes + phonemes[:, :-1] * self.phonemes + phonemes[:, 1:]
        pairs = letters[None, :, :, None] * self.of_a_letter + chunks[:, :, None]
        return np.where(chunks[:, :, None] < 0, self.none, pairs).astype(np.int32)


def aligned(pairs: Pairs, spellings: Sequence[np.ndarray], sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the pairs (L,) of the best alignment of each word that has one, in any order."""
    groups = pairs.of(spellings, sounds)
    weights = np.ones(pairs.none + 1)
    for _ in range(ITERATIONS):
        weights[pairs.none] = 0
        weights = sum(expected(words, weights) for words in groups)
        weights /= weights.sum()
    return [word for words in groups for word in best(words, weights)]


def expected(words: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return how often each pair is expected, over all alignments of words."""
    _, count, length, width = words.shape
    factors, after = weights[words], _after(words, weights, np.add)
    before = np.zeros((count, width + MOST))
    before[:, 0] = 1 / after[0, :, 0]
    shares = np.zeros(words.shape)
    for i in range(length):
        now, before = before[:, :width], np.zeros_like(before)
        for k in range(MOST + 1):
            way = now * factors[k, :, i]
            shares[k, :, i] = way * after[i + 1, :, k : k + width]
            before[:, k : k + width] += way
    return np.bincount(words.ravel(), shares.ravel(), len(weights))


def best(words: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the pairs (N, L) of the most probable alignments."""
    _, count, length, _ = words.shape
    factors, after = weights[words], _after(words, weights, np.maximum)
    rows, at = np.arange(count), np.zeros(count, int)
    found = np.empty((count, length), int)
    for i in range(length):
        ways = [factors[k, rows, i, at] * after[i + 1, rows, at + k] for k in range(MOST + 1)]
        chosen = np.argmax(ways, axis=0)
        found[:, i] = words[chosen, rows, i, at]
        at += chosen
    return found


def _after(words: np.ndarray, weights: np.ndarray, put_together: np.ufunc) -> np.ndarray:
    """Return what all ways from a letter and a phoneme to the end of a word are worth, (L + 1, N, S + 1 + MOST)."""
    _, count, length, width = words.shape
    found = np.zeros((length + 1, count, width + MOST))
    found[length, :, width - 1] = 1
    for i in reversed(range(length)):
        ways = [weights[words[k, :, i]] * found[i + 1, :, k : k + width] for k in range(MOST + 1)]
        found[i, :, :width] = put_together.reduce(ways)
    return found


class Ngrams:
    """An n-gram model over sequences of tokens, smoothed.

    A node is an n-gram of any order: the first ones are the tokens, and those of an order stand sorted by what they
    continue, and by the token that they end with.

    Parameters
    ----------
    sequences
        Of tokens, each with `BOUNDARY` first and last.
    tokens
        Their number.
    """

    def __init__(self, sequences: Sequence[np.ndarray], tokens: int, order: int = ORDER) -> None:
        self.tokens = tokens
        stream = np.concatenate(sequences)
        places = np.concatenate([np.arange(len(own)) for own in sequences])
        at, offset = stream, 0  # the node that ends at each place of the stream, and the first one of its order
        orders = [(np.arange(tokens), np.full(tokens, -1), np.zeros(tokens, bool), np.zeros(tokens, int))]
        for size in range(2, order + 1):
            chosen = places >= size - 1
            keys = (np.roll(at, 1) * tokens + stream)[chosen]
            keys, first, nodes, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
            orders.append((keys, at[chosen][first], places[chosen][first] == size - 1, counts))
            offset += len(orders[-2][0])
            at = np.where(chosen, 0, -1)
            at[chosen] = nodes + offset
        self.top = offset  # the first node that is too long to be continued
        self.keys = np.concatenate([keys for keys, *_ in orders[1:]])
        self.suffixes = np.concatenate([suffixes for _, suffixes, *_ in orders])
        self.probabilities = np.empty(len(self.suffixes))
        self.left = np.ones(len(self.suffixes))  # of the probability, for what was not seen behind a node
        begin = 0
        continued = np.bincount(self.suffixes[tokens:], minlength=len(self.suffixes))
        for keys, suffixes, starts, counts in orders:
            own = slice(begin, begin + len(keys))
            counts = np.where(starts | (begin == self.top), counts, continued[own])
            self._smooth(own, keys // tokens, suffixes, counts)
            begin += len(keys)

    def _smooth(self, own: slice, contexts: np.ndarray, suffixes: np.ndarray, counts: np.ndarray) -> None:
        """Make the probabilities of an order from counts and from the order below."""
        once, twice = ((counts == number).sum() for number in (1, 2))
        discount = (once + 1) / (once + 2 * twice + 2)  # neither 0 nor 1, however few there are
        seen, total = np.minimum(counts, discount), np.bincount(contexts, counts)
        left = np.bincount(contexts, seen) / np.maximum(total, 1)
        if own.start == 0:
            lower: np.ndarray | float = 1 / self.tokens
        else:
            self.left[: len(left)] = np.where(total > 0, left, self.left[: len(left)])
            lower = self.probabilities[suffixes]
        self.probabilities[own] = (counts - seen) / np.maximum(total, 1)[contexts] + left[contexts] * lower

    def following(self, node: int, first: int, behind: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the probabilities of the tokens from `first` to before `behind`, and the nodes that they lead to."""
        if node < 0:
            return self.probabilities[first:behind], np.arange(first, behind)
        probabilities, nodes = (own.copy() for own in self.following(self.suffixes[node], first, behind))
        start, end = np.searchsorted(self.keys, node * self.tokens + np.array([first, behind]))
        seen = self.keys[start:end] - (node * self.tokens + first)
        probabilities *= self.left[node]
        own = np.arange(start, end) + self.tokens
        probabilities[seen] = self.probabilities[own]
        nodes[seen] = np.where(own < self.top, own, self.suffixes[own])
        return probabilities, nodes


class JointNgrams:
    """A model that knows how words are said.

    Parameters
    ----------
    spellings, sounds
        Words as letters and as phonemes, both from 0.
    """

    def __init__(self, spellings: Sequence[np.ndarray], sounds: Sequence[np.ndarray], order: int = ORDER) -> None:
        letters, phonemes = (1 + max(own.max() for own in words) for words in (spellings, sounds))
        pairs = Pairs(letters, phonemes)
        words = aligned(pairs, spellings, sounds)
        known, tokens = np.unique(np.concatenate(words), return_inverse=True)
        parts = np.split(tokens + 1, np.cumsum([len(word) for word in words])[:-1])
        self._sounds = [(), *map(pairs.sounds, known)]
        bounds = 1 + np.searchsorted(known, np.arange(letters + 1) * pairs.of_a_letter)
        self._tokens = [*zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]  # of each letter
        ngrams = Ngrams([np.pad(part, 1, constant_values=BOUNDARY) for part in parts], 1 + len(known), order)
        self._following = lru_cache(REMEMBERED)(ngrams.following)

    def say(self, spelling: np.ndarray) -> np.ndarray:
        """Return the most probable phonemes that a beam finds."""
        beam: dict[tuple[int, tuple[int, ...]], float] = {(BOUNDARY, ()): 1.0}
        for letter in spelling:
            beam = self._step(beam, *self._tokens[letter])
        found: dict[tuple[int, ...], float] = defaultdict(float)
        for (_, sounds), probability in self._step(beam, BOUNDARY, BOUNDARY + 1).items():
            found[sounds] += probability
        return np.array(max(found, key=lambda sounds: found[sounds]), int)

    def _step(
        self, beam: dict[tuple[int, tuple[int, ...]], float], first: int, behind: int
    ) -> dict[tuple[int, tuple[int, ...]], float]:
        """Return the best beginnings that go on with one of these tokens; those that are the same are added up."""
        ways = [self._following(node, first, behind) for node, _ in beam]
        scores = np.concatenate([score * way[0] for score, way in zip(beam.values(), ways, strict=True)])
        beginnings, more = [*beam], defaultdict(float)
        for place in np.argsort(-scores, kind="stable")[:WIDTH].tolist():
            which, token = divmod(place, behind - first)
            key = int(ways[which][1][token]), beginnings[which][1] + self._sounds[first + token]
            more[key] += float(scores[place])
        return more
