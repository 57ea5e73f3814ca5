"""The parts of the task that says words: n-grams of letters with phonemes, its split, its errors, PyTorch's network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Array = np.ndarray[Any, Any]

LINES = (
    "abbe AE1 B IY0",
    "abbe(2) AE0 B EY1 # french",
    "abbe(3) AE2 B IY1",
    "abbe's AE1 B IY0 Z",
    "bee B IY1",
    "sea S IY1",
)


@pytest.fixture(autouse=True)
def _tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "benchmarks" / "tasks"))


def spelled(rng: np.random.Generator, count: int) -> tuple[list[Array], list[Array]]:
    """Return words of four letters, of which one is silent, two have a phoneme, and one has two."""
    sounds = [(), (0,), (1,), (2, 0)]
    spellings = [rng.integers(0, 4, rng.integers(2, 7)) for _ in range(count)]
    return spellings, [np.array([s for letter in word for s in sounds[letter]], int) for word in spellings]


def test_letters_find_their_phonemes(rng: np.random.Generator) -> None:
    import joint_ngrams

    spellings, sounds = spelled(rng, 300)
    known = [(tuple(word), own) for word, own in zip(spellings, sounds, strict=True) if len(own)]
    pairs, said = joint_ngrams.Pairs(4, 3), [(), (0,), (1,), (2, 0)]
    too_many = np.array([1]), np.array([0, 0, 0])
    found = joint_ngrams.aligned(pairs, *zip(*known, too_many, strict=True))
    assert sorted(tuple(own // pairs.of_a_letter) for own in found) == sorted(word for word, _ in known)
    for own in found:
        assert [pairs.sounds(pair) for pair in own] == [said[letter] for letter in own // pairs.of_a_letter]


def test_all_alignments_are_expected_as_often_as_they_are_probable() -> None:
    import joint_ngrams

    pairs = joint_ngrams.Pairs(2, 2)
    (words,) = pairs.of([np.array([0, 1])], [np.array([0, 1])])
    weights = np.ones(pairs.none + 1)
    weights[pairs.none] = 0
    number = {pairs.sounds(i): i for i in range(pairs.of_a_letter)}
    other = {sounds: i + pairs.of_a_letter for sounds, i in number.items()}
    weights[number[0,]] = 6  # of three alignments, the middle one is six times as probable as each other
    counts = joint_ngrams.expected(words, weights)
    expected = {number[()]: 1, other[0, 1]: 1, number[0,]: 6, other[1,]: 6, number[0, 1]: 1, other[()]: 1}
    np.testing.assert_allclose(counts, [expected.get(i, 0) / 8 for i in range(len(weights))], atol=1e-12)
    assert joint_ngrams.best(words, weights).tolist() == [[number[0,], other[1,]]]


def kneser_ney(sequences: Sequence[Array], tokens: int, order: int) -> Any:
    """Return p(token, context) of an interpolated Kneser-Ney model, as it is written down."""
    ngrams = [Counter[tuple[int, ...]]() for _ in range(order + 1)]
    for own in sequences:
        for size in range(1, order + 1):
            ngrams[size].update(tuple(own[i : i + size].tolist()) for i in range(size == 1, len(own) - size + 1))
    counts = [dict(own) for own in ngrams]
    starts = {tuple(own[:size].tolist()) for own in sequences for size in range(2, order)}
    for size in range(1, order):
        for ngram in counts[size]:
            if ngram not in starts:
                counts[size][ngram] = sum(longer[1:] == ngram for longer in ngrams[size + 1])

    def p(token: int, context: tuple[int, ...]) -> float:
        own = counts[len(context) + 1]
        discount = (sum(c == 1 for c in own.values()) + 1) / (
            sum(c == 1 for c in own.values()) + 2 * sum(c == 2 for c in own.values()) + 2
        )
        lower = p(token, context[1:]) if context else 1 / tokens
        behind = {ngram[-1]: count for ngram, count in own.items() if ngram[:-1] == context}
        total = sum(behind.values())
        if not total:
            return lower
        left = sum(min(count, discount) for count in behind.values()) / total
        return max(behind.get(token, 0) - discount, 0) / total + left * lower

    return p


def test_ngrams_are_those_of_kneser_and_ney(rng: np.random.Generator) -> None:
    import joint_ngrams

    tokens, order = 5, 3
    sequences = [np.pad(rng.integers(1, tokens, rng.integers(1, 6)), 1) for _ in range(30)]
    ngrams = joint_ngrams.Ngrams(sequences, tokens, order)
    p = kneser_ney(sequences, tokens, order)
    for own in [*sequences, np.array([0, 4, 4, 4, 4, 0])]:
        node = 0
        for place in range(1, len(own)):
            context = tuple(own[max(place - order + 1, 0) : place].tolist())
            found, nodes = ngrams.following(node, 0, tokens)
            np.testing.assert_allclose(found, [p(token, context) for token in range(tokens)], rtol=1e-12)
            assert found.sum() == pytest.approx(1)
            part, _ = ngrams.following(node, 2, 4)
            np.testing.assert_array_equal(part, found[2:4])
            node = nodes[own[place]]


def test_ngrams_say_words_by_their_context(rng: np.random.Generator) -> None:
    """The letter 0 is said as 0 before the letter 1, and otherwise as 2."""
    import joint_ngrams

    def said(word: Array) -> Array:
        after = np.append(word[1:], 0)
        return np.where(word == 0, np.where(after == 1, 0, 2), word)

    words = [rng.integers(0, 3, rng.integers(2, 8)) for _ in range(400)]
    model = joint_ngrams.JointNgrams(words[:300], [said(word) + (word == 2) for word in words[:300]])
    for word in words[300:]:
        np.testing.assert_array_equal(model.say(word), said(word) + (word == 2))


def test_no_word_is_in_two_sets() -> None:
    import pronunciation

    words = pronunciation.dictionary(LINES)
    assert words == {
        "abbe": [("AE", "B", "IY"), ("AE", "B", "EY")],
        "bee": [("B", "IY")],
        "sea": [("S", "IY")],
    }
    many = {f"{first}{second}": [("B",)] for first in "abcdefghijklmnopqrst" for second in "abcdefghijklmnopqrst"}
    found = pronunciation.split(many, ["aa", "zz"])
    assert sorted(word for part in found for word in part) == sorted(many)
    assert [*found.asked] == ["aa"]
    assert 0.8 * 400 < len(found.training) < 0.95 * 400
    assert len(found.test) > 2 * len(found.validation) > 0


def test_any_pronunciation_is_right() -> None:
    import pronunciation

    words = pronunciation.dictionary(LINES)
    phonemes = pronunciation.Phonemes(words)
    found = [phonemes.encode(said) for said in (("AE", "B", "EY"), ("B",), ("S", "EY", "B"))]
    errors = pronunciation.errors("own_", found, words, phonemes)
    assert errors == {"own_word_error": round(2 / 3, 4), "own_phoneme_error": round(3 / 7, 4)}


def test_the_network_of_pytorch_is_the_same() -> None:
    pytest.importorskip("torch")
    import pronunciation
    import torch_twin

    words = pronunciation.dictionary(LINES)
    phonemes = pronunciation.Phonemes(words)
    data = pronunciation.pairs(words, phonemes, 3)
    model = pronunciation.network(len(phonemes), 0).eval()
    given = (pronunciation.LOSS, [], data.epoch(0))
    found = torch_twin.predicted_in_torch(model, *given, rates=[])
    for logits, batch in zip(found, data.epoch(0), strict=True):
        own = model(**batch.inputs, lengths=batch.lengths)
        live = np.arange(len(own))[:, None] < batch.target_lengths
        np.testing.assert_allclose(own[live], logits[live], rtol=1e-4, atol=1e-5)
    weights = torch_twin.trained_in_torch(model, pronunciation.LOSS, data.epoch(0), rates=[1e-2] * 2)
    before = model.parameters()
    assert weights.keys() == before.keys()
    assert not any(np.array_equal(weights[name], before[name]) for name in before)
