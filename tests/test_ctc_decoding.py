"""Labels of logits: the best way, the sum over all ways, a search beside one written in dictionaries, and edges."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import ISAS, Array

import gru_native.functional as F
from gru_native.train import ctc_metrics, label_error

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
Prefix = tuple[int, ...]


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRU_NATIVE_ISA", request.param)
    return str(request.param)


def log_softmax(x: Array) -> Array:
    x = x.astype(np.float64) - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def collapsed(way: Any, blank: int) -> Prefix:
    return tuple(int(label) for label, _ in itertools.groupby(way) if label != blank)


def by_all_ways(logits: Array, blank: int) -> dict[Prefix, float]:
    """Return the logarithm of the probability of all labels that a sequence (T, C) can stand for."""
    steps, classes = logits.shape
    logarithms = log_softmax(logits)
    found: dict[Prefix, float] = {}
    for way in itertools.product(range(classes), repeat=steps):
        labels = collapsed(way, blank)
        found[labels] = float(np.logaddexp(found.get(labels, -np.inf), sum(logarithms[range(steps), way])))
    return found


def by_dictionaries(
    logits: Array, blank: int, width: int, scorer: Any = None, alpha: float = 1.0, beta: float = 0.0
) -> tuple[Prefix, float]:
    """Return labels and score of a sequence (T, C) by the search of Hannun et al., figure 2."""

    def bonus(prefix: Prefix) -> float:
        total = beta * len(prefix)
        for end in range(len(prefix)) if scorer else ():
            total += alpha * float(np.asarray(scorer([np.array(prefix[:end], np.int64)]))[0, prefix[end]])
        return total

    beam: dict[Prefix, tuple[float, float]] = {(): (0.0, -np.inf)}  # of the ways that end with a blank, and the others
    for own in log_softmax(logits):
        ways: dict[Prefix, tuple[float, float]] = {}

        def add(prefix: Prefix, place: int, more: float, ways: dict[Prefix, tuple[float, float]] = ways) -> None:
            before = list(ways.get(prefix, (-np.inf, -np.inf)))
            before[place] = float(np.logaddexp(before[place], more))
            ways[prefix] = before[0], before[1]

        for prefix, (in_blank, in_label) in beam.items():
            total = np.logaddexp(in_blank, in_label)
            for c, logarithm in enumerate(own):
                if c == blank:
                    add(prefix, 0, total + logarithm)
                elif prefix and prefix[-1] == c:
                    add(prefix, 1, in_label + logarithm)
                    add((*prefix, c), 1, in_blank + logarithm)
                else:
                    add((*prefix, c), 1, total + logarithm)
        scores = {prefix: np.logaddexp(*own) + bonus(prefix) for prefix, own in ways.items()}
        best = sorted((prefix for prefix in ways if scores[prefix] > -np.inf), key=lambda prefix: -scores[prefix])
        beam = {prefix: ways[prefix] for prefix in best[:width]}
    if not beam:
        return (), -np.inf
    prefix = max(beam, key=lambda prefix: np.logaddexp(*beam[prefix]) + bonus(prefix))
    return prefix, float(np.logaddexp(*beam[prefix]) + bonus(prefix))


def bigrams(classes: int, seed: int = 0) -> Callable[[list[Array]], Array]:
    """Return a scorer by the label before."""
    table = log_softmax(2 * np.random.default_rng(seed).standard_normal((classes + 1, classes)))
    return lambda prefixes: table[[int(own[-1]) if len(own) else classes for own in prefixes]]


@both_dtypes
@pytest.mark.parametrize("blank", [0, 1, 2])
def test_the_sum_over_all_ways(rng: np.random.Generator, isa: str, dtype: str, blank: int) -> None:
    logits, steps = rng.standard_normal((6, 30, 3)).astype(dtype), rng.integers(0, 7, 30)
    for scorer, alpha, beta in ((None, 1.0, 0.0), (None, 1.0, 0.7), (bigrams(3), 0.8, -0.3)):
        labels, scores = F.ctc_beam_search(logits, steps, width=200, blank=blank, scorer=scorer, alpha=alpha, beta=beta)
        for b in range(30):
            exact = by_all_ways(logits[: steps[b], b], blank)
            for own in exact:
                for end in range(len(own)) if scorer else ():
                    exact[own] += alpha * float(scorer([np.array(own[:end], np.int64)])[0, own[end]])  # type: ignore[misc]
                exact[own] += beta * len(own)
            best = max(exact, key=lambda own: exact[own])
            assert tuple(labels[b].tolist()) == best
            assert scores[b] == pytest.approx(exact[best], rel=1e-5 if dtype == "float32" else 1e-12, abs=1e-6)


@pytest.mark.parametrize(("width", "classes", "scale"), [(1, 4, 1), (2, 5, 2), (4, 8, 3), (8, 30, 4), (25, 12, 2)])
@pytest.mark.parametrize("scored", [False, True])
def test_the_search(rng: np.random.Generator, isa: str, width: int, classes: int, scale: float, scored: bool) -> None:
    logits, steps = scale * rng.standard_normal((25, 8, classes)), rng.integers(10, 26, 8)
    given: dict[str, Any] = {"scorer": bigrams(classes), "alpha": 0.5, "beta": 0.6} if scored else {"beta": 0.1}
    blank = classes - 1
    labels, scores = F.ctc_beam_search(logits, steps, width=width, blank=blank, **given)
    for b in range(8):
        expected, score = by_dictionaries(logits[: steps[b], b], blank, width, **given)
        assert tuple(labels[b].tolist()) == expected
        assert scores[b] == pytest.approx(score, rel=1e-9)


@both_dtypes
@pytest.mark.parametrize("classes", [2, 15, 16, 17, 65])
def test_the_best_way(rng: np.random.Generator, isa: str, dtype: str, classes: int) -> None:
    logits, steps = 3 * rng.standard_normal((40, 9, classes)).astype(dtype), rng.integers(0, 41, 9)
    labels, scores = F.ctc_greedy(logits, steps, blank=1)
    for b in range(9):
        own = logits[: steps[b], b]
        assert tuple(labels[b].tolist()) == collapsed(own.argmax(-1), 1)
        assert labels[b].dtype == np.int64
        total = log_softmax(own).max(-1, initial=-np.inf).sum() if len(own) else 0.0
        assert scores[b] == pytest.approx(total, rel=1e-4 if dtype == "float32" else 1e-12)


def test_the_score_is_the_loss(rng: np.random.Generator) -> None:
    """A wide search has all ways of the best labels: its score is minus the loss of these."""
    logits = rng.standard_normal((5, 4, 3))
    labels, scores = F.ctc_beam_search(logits, width=200)
    for b in range(4):
        losses, _ = F.ctc(logits[:, [b]], labels[b][None], [5], [len(labels[b])])
        assert scores[b] == pytest.approx(-losses[0], rel=1e-12)


@pytest.mark.parametrize("scored", [False, True])
def test_a_row_does_not_depend_on_the_others_or_on_threads(rng: np.random.Generator, isa: str, scored: bool) -> None:
    logits, steps = rng.standard_normal((60, 40, 20)).astype("f4"), rng.integers(0, 61, 40)
    given: dict[str, Any] = {"width": 12, "scorer": bigrams(20) if scored else None}
    labels, scores = F.ctc_beam_search(logits, steps, threads=1, **given)
    best, of_best = F.ctc_greedy(logits, steps, threads=1)
    for threads in (2, 3):
        for found, other in (
            ((labels, scores), F.ctc_beam_search(logits, steps, threads=threads, **given)),
            ((best, of_best), F.ctc_greedy(logits, steps, threads=threads)),
        ):
            np.testing.assert_array_equal(found[1], other[1])
            for own, its in zip(found[0], other[0], strict=True):
                np.testing.assert_array_equal(own, its)
    for b in range(0, 40, 7):
        (alone,), score = F.ctc_beam_search(logits[: steps[b], [b]], **given)
        np.testing.assert_array_equal(alone, labels[b])
        assert score[0] == scores[b]
    lists, same = F.ctc_beam_search([logits[: steps[b], b] for b in range(40)], **given)
    np.testing.assert_array_equal(same, scores)
    for own, its in zip(lists, labels, strict=True):
        np.testing.assert_array_equal(own, its)


def test_a_prefix_that_comes_back_is_the_same() -> None:
    """With two places "a" is thrown out by "ab", and comes back from nothing, while "ab" has stayed."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        logits = 2 * rng.standard_normal((12, 1, 3))
        (labels,), (score,) = F.ctc_beam_search(logits, width=3)
        expected, its = by_dictionaries(logits[:, 0], 0, 3)
        assert (tuple(labels.tolist()), score) == (expected, pytest.approx(its, rel=1e-9))


def test_no_steps_no_rows_no_labels() -> None:
    for decode in (F.ctc_greedy, F.ctc_beam_search):
        labels, scores = decode(np.zeros((0, 2, 3)))
        assert [own.tolist() for own in labels] == [[], []]
        assert scores.tolist() == [0.0, 0.0]
        labels, scores = decode(np.zeros((4, 0, 3)))
        assert labels == []
        assert scores.shape == (0,)
        labels, _ = decode(np.zeros((3, 2, 3)), [0, 3])
        assert labels[0].tolist() == []
        blanks = np.zeros((4, 1, 3))
        blanks[..., 0] = 50.0
        labels, scores = decode(blanks)
        assert labels[0].tolist() == []
        assert scores[0] == pytest.approx(0.0, abs=1e-12)
        labels, scores = decode(np.zeros((4, 1, 1)))  # nothing but the blank
        assert labels[0].tolist() == []
        assert scores[0] == 0.0


def test_ties_go_to_the_lowest() -> None:
    logits = np.zeros((3, 1, 4))
    assert F.ctc_greedy(logits, blank=3)[0][0].tolist() == [0]
    logits[..., 3] = -100.0  # with labels alone, that all are as probable
    logits[1, :, 3] = 0.0
    labels, _ = F.ctc_beam_search(logits[:1], blank=3, width=2)
    assert labels[0].tolist() == [0]


@both_dtypes
def test_numbers_that_are_none(rng: np.random.Generator, dtype: str) -> None:
    logits = rng.standard_normal((6, 5, 4)).astype(dtype)
    logits[1, 0, 2], logits[2, 1, 0], logits[3, 2, :] = np.nan, np.inf, -np.inf
    logits[:, 3, 1] = -np.inf
    logits[:, 4, 0], logits[2:4, 4, 2:] = -np.inf, -np.inf  # no blank
    for decode in (F.ctc_greedy, F.ctc_beam_search):
        labels, scores = decode(logits)
        assert [own.tolist() for own in labels[:3]] == [[], [], []]
        np.testing.assert_array_equal(np.isnan(scores), [True, True, True, False, False])
        assert 1 not in labels[3]
        assert scores[3] == pytest.approx(by_dictionaries(logits[:, 3], 0, 16)[1], rel=1e-5) or decode is F.ctc_greedy
        assert np.isfinite(scores[4])
    assert F.ctc_greedy(logits, [1, 2, 3, 6, 6])[1][:3] == pytest.approx(
        F.ctc_greedy(logits[:3], [1, 2, 3, 3, 3])[1][:3]
    )


def test_a_scorer_may_forbid_and_is_asked_once_a_step(rng: np.random.Generator) -> None:
    logits = rng.standard_normal((9, 6, 5))
    asked: list[int] = []

    def never_two(prefixes: list[Array]) -> Array:
        asked.append(len(prefixes))
        scores = np.zeros((len(prefixes), 5))
        scores[:, 2] = -np.inf
        scores[:, 0] = np.nan  # of the blank, which is not read
        return scores

    labels, _ = F.ctc_beam_search(logits, width=8, scorer=never_two)
    assert all(2 not in own for own in labels)
    assert 1 <= len(asked) <= 9
    assert asked[0] == 6
    logits[..., 0] = -np.inf
    labels, scores = F.ctc_beam_search(logits, scorer=lambda prefixes: np.full((len(prefixes), 5), -np.inf))
    assert scores.tolist() == [-np.inf] * 6
    assert all(len(own) == 0 for own in labels)


def test_what_a_scorer_raises_comes_through() -> None:
    def broken(prefixes: list[Array]) -> Array:
        raise LookupError("no such word")

    logits = np.zeros((4, 2, 3), np.float32)
    with pytest.raises(LookupError, match="no such word"):
        F.ctc_beam_search(logits, scorer=broken)
    for scores, kind, message in (
        (np.zeros((2, 2)), ValueError, r"^scorer: expected shape \(n, C\) = \(2, 3\), got \(2, 2\)"),
        (np.array([[0, 1, np.nan]] * 2), ValueError, "^scorer: expected logarithms of probabilities, got nan"),
        (np.array([[0, 1, np.inf]] * 2), ValueError, "^scorer: expected logarithms of probabilities, got inf"),
        (np.array([["a", "b", "c"]] * 2), TypeError, "^scorer: expected numbers, got dtype <U1"),
        (None, TypeError, "^scorer: expected "),
    ):
        with pytest.raises(kind, match=message):
            F.ctc_beam_search(logits, scorer=lambda prefixes, scores=scores: scores)


def test_what_is_refused() -> None:
    logits = np.zeros((4, 2, 3), np.float32)
    wrong: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
        ((logits[0],), {}, ValueError, r"^logits: expected shape \(T, B, C\) with C of at least 1, got \(2, 3\)"),
        ((logits[..., :0],), {}, ValueError, r"^logits: expected shape \(T, B, C\)"),
        ((logits.astype(int),), {}, TypeError, r"^logits: expected dtype float32 or float64, got int64"),
        (([],), {}, ValueError, r"^logits: expected at least one array, got none"),
        (
            ([logits[0], logits[0, :, :2]],),
            {},
            ValueError,
            r"^logits\[1\]: expected shape \(T, C\) and dtype of logits\[0",
        ),
        (([logits[0]], [2]), {}, ValueError, r"^input_lengths: expected None beside a list of logits, got lengths"),
        ((logits, [4, 5]), {}, ValueError, r"^input_lengths: expected 0 to 4, got 5"),
        ((logits, [4]), {}, ValueError, r"^input_lengths: expected shape \(B,\) = \(2,\), got \(1,\)"),
        ((logits,), {"blank": 3}, ValueError, r"^blank: expected a whole number from 0 to 2, got 3"),
    ]
    for arguments, options, kind, message in wrong:
        for decode in (F.ctc_greedy, F.ctc_beam_search):
            with pytest.raises(kind, match=message):
                decode(*arguments, **options)
    for name, value, kind, message in (
        ("width", 0, ValueError, "^width: expected a whole number from 1 up, got 0"),
        ("alpha", -1.0, ValueError, "^alpha: expected a finite number from 0 up"),
        ("beta", np.inf, ValueError, "^beta: expected a finite number, got inf"),
        ("scorer", 3, TypeError, "^scorer: expected a function, got 3"),
    ):
        given: dict[str, Any] = {name: value}
        with pytest.raises(kind, match=message):
            F.ctc_beam_search(logits, **given)


def distance(found: Prefix, target: Prefix) -> int:
    """Return the least number of labels to put in, to leave out or to exchange."""
    if not found or not target:
        return len(found) + len(target)
    exchanged = distance(found[:-1], target[:-1]) + (found[-1] != target[-1])
    return min(exchanged, distance(found[:-1], target) + 1, distance(found, target[:-1]) + 1)


def test_errors_of_labels(rng: np.random.Generator) -> None:
    found, targets = ([rng.integers(1, 4, rng.integers(0, 6)) for _ in range(40)] for _ in range(2))
    wrong = [distance(tuple(own), tuple(target)) for own, target in zip(found, targets, strict=True)]
    for own, target, expected in zip(found, targets, wrong, strict=True):
        if len(target):
            assert label_error([own], [target]) == expected / len(target)
    assert label_error(found, targets) == sum(wrong) / sum(map(len, targets))
    assert label_error(targets, targets) == 0.0
    assert np.isnan(label_error([[1]], [[]]))
    logits = [rng.standard_normal((9, 4)).astype("f4") for _ in targets]
    assert ctc_metrics(1)["label_error"](logits, targets) == label_error(F.ctc_greedy(logits, blank=1)[0], targets)
    for given, message in (
        (([[1]], [[1], [2]]), "^found: expected 2 of them, as many as targets, got 1"),
        (([[1.5]], [[1]]), r"^found\[0\]: expected labels \(S,\) of an integer dtype, got \(1,\) of float64"),
        (([[1]], [[[1]]]), r"^targets\[0\]: expected labels \(S,\) of an integer dtype, got \(1, 1\) of int64"),
    ):
        with pytest.raises(ValueError, match=message):
            label_error(*given)
