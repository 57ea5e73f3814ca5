"""Connectionist temporal classification: the sum over all ways, gradients, edges, and PyTorch beside it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from cases import ISAS, Array, assert_same_bits, central_difference

import gru_native.functional as F
from gru_native.losses import CTCLoss

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def log_softmax(x: Array) -> Array:
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def by_all_ways(logits: Array, labels: list[int], blank: int) -> float:
    """Return the loss of one sequence (T, C) from the probability of each way to write its labels."""
    steps, classes = logits.shape
    logarithms, total = log_softmax(logits), -np.inf
    for way in itertools.product(range(classes), repeat=steps):
        if [label for label, _ in itertools.groupby(way) if label != blank] == labels:
            total = np.logaddexp(total, sum(logarithms[range(steps), way]))
    return -float(total)


def by_logarithms(logits: Array, labels: Array, blank: int) -> float:
    """Return the same by the forward algorithm, in logarithms."""
    states = np.full(2 * len(labels) + 1, blank)
    states[1::2] = labels
    skips = np.r_[[False] * 2, (states[2:] != blank) & (states[2:] != states[:-2])][: len(states)]
    before = np.full(len(states) + 2, -np.inf)
    for t, own in enumerate(log_softmax(logits)):
        stay, one, two = before[2:], before[1:-1], np.where(skips, before[:-2], -np.inf)
        ways = np.logaddexp(np.logaddexp(stay, one), two) if t else np.where(np.arange(len(states)) < 2, 0.0, -np.inf)
        before[2:] = ways + own[states]
    return -float(np.logaddexp.reduce(before[-2:] if len(labels) else before[-1:]))


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRU_NATIVE_ISA", request.param)
    return str(request.param)


def some(rng: np.random.Generator, steps: int, batch: int, classes: int, size: int, blank: int, dtype: str) -> Any:
    """Return logits, targets and lengths; a quarter of the labels repeat the one before."""
    logits = 3 * rng.standard_normal((steps, batch, classes))
    targets = rng.integers(0, classes - 1, (batch, size))
    targets += targets >= blank
    again = rng.random((batch, max(size - 1, 0))) < 0.25
    targets[:, 1:][again] = targets[:, :-1][again]
    return logits.astype(dtype), targets, rng.integers(0, steps + 1, batch), rng.integers(0, size + 1, batch)


@both_dtypes
@pytest.mark.parametrize("blank", [0, 1, 2])
def test_the_sum_over_all_ways(rng: np.random.Generator, isa: str, dtype: str, blank: int) -> None:
    logits, targets, steps, sizes = some(rng, 6, 40, 3, 3, blank, dtype)
    losses, _ = F.ctc(logits, targets, steps, sizes, blank=blank)
    expected = [
        by_all_ways(logits[: steps[b], b], targets[b, : sizes[b]].tolist(), blank) for b in range(logits.shape[1])
    ]
    assert np.isinf(expected).any()
    np.testing.assert_allclose(losses, expected, rtol=1e-5 if dtype == "float32" else 1e-12)


@both_dtypes
@pytest.mark.parametrize(("classes", "size"), [(2, 1), (15, 7), (16, 16), (17, 30), (33, 31), (65, 0)])
def test_the_forward_algorithm(rng: np.random.Generator, isa: str, dtype: str, classes: int, size: int) -> None:
    logits, targets, _, sizes = some(rng, 70, 9, classes, size, classes - 1, dtype)
    steps = np.full(9, 70)
    losses, _ = F.ctc(logits, targets, steps, sizes, blank=classes - 1)
    expected = [by_logarithms(logits[:, b], targets[b, : sizes[b]], classes - 1) for b in range(9)]
    np.testing.assert_allclose(losses, expected, rtol=1e-5 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e8])
def test_ways_that_are_hardly_possible(rng: np.random.Generator, scale: float) -> None:
    logits = scale * rng.standard_normal((50, 4, 6))
    targets = rng.integers(1, 6, (4, 20))
    losses, d_logits = F.ctc(logits, targets, [50] * 4, [20] * 4, gradient=True)
    expected = [by_logarithms(logits[:, b], targets[b], 0) for b in range(4)]
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    assert d_logits is not None
    np.testing.assert_allclose(d_logits.sum(-1), 0.0, atol=1e-9)
    assert abs(d_logits).max() <= 1.0 + 1e-9


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_gradients(rng: np.random.Generator, reduction: Any) -> None:
    loss = CTCLoss(blank=1, reduction=reduction)
    logits, targets, _, sizes = some(rng, 8, 5, 4, 3, 1, "float64")
    steps = np.array([8, 7, 8, 6, 7])
    value, tape = loss.forward(logits, targets, steps, sizes)
    np.testing.assert_array_equal(value, loss(logits, targets, steps, sizes))
    factors = rng.standard_normal(5) if reduction == "none" else 1.7
    d_logits = loss.backward(tape, factors)

    def total() -> float:
        return float(np.sum(factors * np.asarray(loss(logits, targets, steps, sizes))))

    np.testing.assert_allclose(d_logits, central_difference(total, logits), rtol=1e-5, atol=1e-8)
    for b in range(5):
        assert not d_logits[steps[b] :, b].any()


@both_dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_as_pytorch(rng: np.random.Generator, dtype: str, reduction: Any) -> None:
    torch = pytest.importorskip("torch")
    for shape in ((60, 7, 20, 9, 0), (30, 5, 6, 14, 5), (5, 3, 4, 0, 2), (12, 6, 3, 7, 1)):
        logits, targets, steps, sizes = some(rng, *shape, dtype)
        steps = np.maximum(steps, 1)
        x = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
        theirs = torch.nn.CTCLoss(shape[4], reduction, zero_infinity=True)
        value = theirs(x.log_softmax(-1), *map(torch.tensor, (targets, steps, sizes)))
        value.sum().backward()
        loss = CTCLoss(shape[4], reduction, zero_infinity=True)
        own, tape = loss.forward(logits, targets, steps, sizes)
        np.testing.assert_allclose(own, value.detach().numpy(), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(loss.backward(tape), x.grad.numpy(), atol=1e-5)


def test_labels_one_behind_the_other(rng: np.random.Generator) -> None:
    logits, targets, steps, sizes = some(rng, 30, 5, 6, 4, 0, "float32")
    behind = np.concatenate([row[:size] for row, size in zip(targets, sizes, strict=True)])
    assert CTCLoss()(logits, behind, steps, sizes) == CTCLoss()(logits, targets, steps, sizes)


def test_a_row_does_not_depend_on_the_others_or_on_threads(rng: np.random.Generator, isa: str) -> None:
    logits, targets, steps, sizes = some(rng, 40, 30, 20, 9, 0, "float32")
    losses, d_logits = F.ctc(logits, targets, steps, sizes, gradient=True, threads=1)
    for threads in (2, 3):
        other, d_other = F.ctc(logits, targets, steps, sizes, gradient=True, threads=threads)
        np.testing.assert_array_equal(losses, other)
        np.testing.assert_array_equal(d_logits, d_other)
    assert d_logits is not None
    for b in range(0, 30, 7):
        alone, d_alone = F.ctc(logits[: steps[b], [b]], targets[[b], : sizes[b]], steps[[b]], sizes[[b]], gradient=True)
        assert alone[0] == losses[b]
        np.testing.assert_array_equal(d_alone, d_logits[: steps[b], [b]])
    assert_same_bits(F.ctc(logits, targets, steps, sizes)[0], losses)


def test_sequences_that_are_too_short() -> None:
    logits = np.zeros((2, 2, 3), np.float32)
    targets, steps, sizes = [[1, 1], [1, 2]], [2, 2], [2, 2]
    losses, d_logits = F.ctc(logits, targets, steps, sizes, gradient=True)
    assert losses[0] == np.inf
    assert losses[1] == pytest.approx(2 * np.log(3))
    assert d_logits is not None
    assert np.isnan(d_logits[:, 0]).all()
    assert np.isfinite(d_logits[:, 1]).all()
    loss = CTCLoss(reduction="none", zero_infinity=True)
    value, tape = loss.forward(logits, targets, steps, sizes)
    np.testing.assert_array_equal(value, [0.0, losses[1]])
    assert not loss.backward(tape)[:, 0].any()


def test_no_steps_no_labels_no_rows() -> None:
    losses, _ = F.ctc(np.zeros((3, 3, 2)), [[1], [1], [1]], [0, 0, 3], [0, 1, 0])
    np.testing.assert_allclose(losses, [0.0, np.inf, 3 * np.log(2)])
    losses, d_logits = F.ctc(np.zeros((0, 2, 2)), np.zeros((2, 0), int), [0, 0], [0, 0], gradient=True)
    np.testing.assert_array_equal(losses, [0.0, 0.0])
    assert d_logits is not None
    assert d_logits.shape == (0, 2, 2)
    assert CTCLoss()(np.zeros((4, 0, 2)), np.zeros((0, 3), int), np.zeros(0, int), np.zeros(0, int)) == 0.0


@both_dtypes
def test_numbers_that_are_none(rng: np.random.Generator, dtype: str) -> None:
    logits, targets, _, _ = some(rng, 6, 4, 5, 2, 0, dtype)
    logits[1, 0, 2], logits[2, 1, 0], logits[3, 2, :] = np.nan, np.inf, -np.inf
    logits[:, 3, 4] = -np.inf
    targets[3] = 1, 2
    losses, d_logits = F.ctc(logits, targets, [6] * 4, [2] * 4, gradient=True)
    assert d_logits is not None
    np.testing.assert_array_equal(np.isnan(losses), [True, True, True, False])
    assert np.isnan(d_logits[:, :3]).all()
    assert np.isfinite(d_logits[:, 3]).all()
    targets[3] = 1, 4
    assert F.ctc(logits, targets, [6] * 4, [2] * 4)[0][3] == np.inf


def test_what_is_refused(rng: np.random.Generator) -> None:
    logits, targets, steps, sizes = np.zeros((4, 2, 3), np.float32), [[1, 2], [2, 1]], [4, 4], [2, 2]
    wrong: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((logits[0], targets, steps, sizes), {}, r"^logits: expected shape \(T, B, C\)"),
        ((logits[..., :0], targets, steps, sizes), {}, r"^logits: expected shape \(T, B, C\)"),
        ((logits, [[0, 1], [2, 1]], steps, sizes), {}, r"^targets: expected 0 to 3 \(exclusive\), but for .*, got 0"),
        ((logits, [[3, 1], [2, 1]], steps, sizes), {}, r"^targets: expected 0 to 3 \(exclusive\), but for .*, got 3"),
        ((logits, [[-1, 1], [2, 1]], steps, sizes), {}, r"^targets: expected 0 to 3 \(exclusive\), but for .*, got -1"),
        ((logits, targets[:1], steps, sizes), {}, r"^targets: expected shape \(2, S\), got \(1, 2\)"),
        ((logits, targets, [4, 5], sizes), {}, r"^input_lengths: expected .*, got 5"),
        ((logits, targets, [4, -1], sizes), {}, r"^input_lengths: expected .*, got -1"),
        ((logits, targets, [4], sizes), {}, r"^input_lengths: expected shape \(B,\) = \(2,\), got \(1,\)"),
        ((logits, targets, steps, [2, 3]), {}, r"^target_lengths: expected .*, got 3"),
        ((logits, targets, steps, [[2, 2]]), {}, r"^target_lengths: expected shape \(B,\) = \(2,\), got \(1, 2\)"),
        ((logits, targets, steps, sizes), {"blank": 3}, r"^blank: expected a whole number from 0 to 2, got 3"),
    ]
    for arguments, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            F.ctc(*arguments, **options)
    with pytest.raises(TypeError, match=r"^targets: expected an integer dtype, got float64"):
        F.ctc(logits, np.ones((2, 2)), steps, sizes)
    with pytest.raises(ValueError, match=r"^targets: expected 4 labels, as target_lengths say, got 3"):
        CTCLoss()(logits, [1, 2, 1], steps, sizes)
    assert np.isfinite(F.ctc(logits, [[1, 99], [2, -7]], steps, [1, 1])[0]).all()  # behind the lengths
