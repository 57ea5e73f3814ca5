"""Losses: values by hand, gradients by finite differences, PyTorch's results, defined results for NaN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import central_difference
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tolerances import assert_close, assert_gradient

from gru_native import passes
from gru_native.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss

Case = tuple[Any, np.ndarray, np.ndarray]

WEIGHTS = [0.5, 1.0, 2.0, 0.0, 3.0]
LOSSES: dict[str, Callable[..., Any]] = {
    "cross-entropy": CrossEntropyLoss,
    "cross-entropy, smoothed": lambda **k: CrossEntropyLoss(label_smoothing=0.2, **k),
    "cross-entropy, padding 1": lambda **k: CrossEntropyLoss(ignore_index=1, **k),
    "cross-entropy, smoothed, padding 1": lambda **k: CrossEntropyLoss(ignore_index=1, label_smoothing=1.0, **k),
    "cross-entropy, of classes with weights": lambda **k: CrossEntropyLoss(weight=WEIGHTS, **k),
    "cross-entropy, of classes with weights, smoothed": lambda **k: CrossEntropyLoss(
        weight=WEIGHTS, label_smoothing=0.3, **k
    ),
    "cross-entropy of probabilities": CrossEntropyLoss,
    "cross-entropy of probabilities, of classes with weights, smoothed": lambda **k: CrossEntropyLoss(
        weight=WEIGHTS, label_smoothing=0.3, **k
    ),
    "mean squared error": MSELoss,
    "binary cross-entropy": BCEWithLogitsLoss,
    "binary cross-entropy, weighted": lambda **k: BCEWithLogitsLoss(pos_weight=[0.5, 1.0, 2.0, 0.0, 9.0], **k),
}
every_loss = pytest.mark.parametrize("name", LOSSES)
every_reduction = pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def case(name: str, reduction: str, dtype: type, rng: np.random.Generator) -> Case:
    """A loss with predictions (4, 3, 5) and targets; where the classes are integers a few are ignored."""
    predictions = (3 * rng.standard_normal((4, 3, 5))).astype(dtype)
    if "probabilities" in name:
        targets = rng.dirichlet(np.ones(5), (4, 3)).astype(dtype)
    elif name.startswith("cross"):
        targets = rng.integers(0, 5, (4, 3))
        targets[0, :2] = 1 if "padding" in name else -100
    else:
        targets = rng.uniform(0.0, 1.0, (4, 3, 5)).astype(dtype)
    return LOSSES[name](reduction=reduction), predictions, targets


@pytest.mark.parametrize(
    ("loss", "predictions", "targets", "expected"),
    [
        (CrossEntropyLoss(), np.zeros((2, 8)), np.array([0, 7]), math.log(8)),
        (CrossEntropyLoss(reduction="sum"), np.zeros((2, 8)), np.array([0, 7]), 2 * math.log(8)),
        (CrossEntropyLoss(), np.log([[1.0, 2.0, 5.0]]), np.array([2]), math.log(8 / 5)),
        (CrossEntropyLoss(), np.log([[1.0, 3.0]] * 3), np.array([1, -100, -100]), math.log(4 / 3)),
        (CrossEntropyLoss(ignore_index=0), np.log([[1.0, 3.0]] * 2), np.array([1, 0]), math.log(4 / 3)),
        (
            CrossEntropyLoss(label_smoothing=0.5),
            np.log([[1.0, 3.0]]),
            np.array([1]),
            0.75 * math.log(4 / 3) + 0.25 * math.log(4),
        ),
        (MSELoss(), np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]]), 2.5),
        (MSELoss(reduction="sum"), np.array([[1.0, 2.0]]), np.array([[3.0, 1.0]]), 5.0),
        (BCEWithLogitsLoss(), np.zeros(3), np.array([0.0, 0.5, 1.0]), math.log(2)),
        (BCEWithLogitsLoss(), np.log([3.0]), np.array([1.0]), math.log(4 / 3)),
        (
            BCEWithLogitsLoss(pos_weight=2.0),
            np.log([3.0]),
            np.array([0.5]),
            math.log(4 / 3) + 0.5 * math.log(4),
        ),
    ],
)
def test_values_by_hand(loss: Any, predictions: np.ndarray, targets: np.ndarray, expected: float) -> None:
    for dtype, tolerance in [(np.float32, "float32_softmax"), (np.float64, "float64")]:
        given = targets if isinstance(loss, CrossEntropyLoss) else targets.astype(dtype)
        result = loss(predictions.astype(dtype), given)
        assert type(result) is float
        assert_close(result, expected, tolerance)
        assert loss.forward(predictions.astype(dtype), given)[0] == result


@every_loss
@every_reduction
def test_gradient_by_finite_differences(name: str, reduction: str, rng: np.random.Generator) -> None:
    loss, predictions, targets = case(name, reduction, np.float64, rng)
    value, tape = loss.forward(predictions, targets)
    d_loss = rng.standard_normal(np.shape(value)) if reduction == "none" else 0.7
    numeric = central_difference(lambda: float(np.sum(d_loss * loss(predictions, targets))), predictions)
    assert_close(loss.backward(tape, d_loss), numeric, "finite_difference")


@every_loss
@every_reduction
@both_dtypes
def test_agrees_with_torch(name: str, reduction: str, dtype: type, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    loss, predictions, targets = case(name, reduction, dtype, rng)
    theirs = torch.tensor(predictions, dtype=torch.float64, requires_grad=True)
    their_targets = torch.from_numpy(targets)
    if isinstance(loss, CrossEntropyLoss):
        their_loss = torch.nn.CrossEntropyLoss(
            weight=None if loss.weight is None else torch.tensor(loss.weight),
            ignore_index=loss.ignore_index,
            label_smoothing=loss.label_smoothing,
            reduction=reduction,
        )
        if "probabilities" in name:
            their_targets = their_targets.double().movedim(-1, 1)
        their_value = their_loss(theirs.movedim(-1, 1), their_targets)
    else:
        options = {"pos_weight": torch.tensor(loss.pos_weight)} if "binary" in name else {}
        their_loss = getattr(torch.nn, type(loss).__name__)(reduction=reduction, **options)
        their_value = their_loss(theirs, their_targets.double())
    value, tape = loss.forward(predictions, targets)
    d_loss = rng.standard_normal(np.shape(value)) if reduction == "none" else 0.7
    gradient = loss.backward(tape, d_loss)
    their_value.backward(torch.tensor(d_loss, dtype=torch.float64))
    dtype_name = np.dtype(dtype).name
    assert np.asarray(value).dtype == np.float64
    assert_gradient(value, their_value.detach().numpy(), f"{dtype_name}_gradient")
    assert gradient.dtype == dtype
    assert_gradient(gradient, theirs.grad.numpy(), f"{dtype_name}_gradient")


@every_loss
@both_dtypes
def test_arguments_are_left_alone(name: str, dtype: type, rng: np.random.Generator) -> None:
    loss, predictions, targets = case(name, "mean", dtype, rng)
    expected_value, tape = loss.forward(predictions, targets)
    expected = loss.backward(tape)
    # Neither contiguous nor writeable.
    spread = np.repeat(predictions, 2, axis=-1)[..., ::2].swapaxes(0, 1)
    spread.flags.writeable = False
    kept = spread.copy()
    value, tape = loss.forward(spread, targets.swapaxes(0, 1))
    gradient = loss.backward(tape)
    assert_close(value, expected_value, "float64")
    assert np.array_equal(gradient, expected.swapaxes(0, 1))
    assert np.array_equal(spread, kept)
    assert not np.shares_memory(gradient, spread)


@every_loss
@both_dtypes
def test_large_arrays_are_computed_in_pieces(
    name: str, dtype: type, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same bits."""
    loss, predictions, targets = case(name, "none", dtype, rng)
    value, tape = loss.forward(predictions, targets)
    gradient = loss.backward(tape)
    monkeypatch.setattr(passes, "LARGE", 20)
    monkeypatch.setattr(passes, "PIECE", 30)
    again, tape = loss.forward(predictions, targets)
    np.testing.assert_array_equal(again, value)
    np.testing.assert_array_equal(loss(predictions, targets), value)
    np.testing.assert_array_equal(loss.backward(tape), gradient)


@every_loss
@every_reduction
def test_empty(name: str, reduction: str, rng: np.random.Generator) -> None:
    loss, predictions, targets = case(name, reduction, np.float64, rng)
    value, tape = loss.forward(predictions[:0], targets[:0])
    assert loss.backward(tape).shape == (0, 3, 5)
    if reduction == "none":
        assert value.shape == (0, 3, 5)[: value.ndim]
        assert value.ndim == (3 if "squared" in name or "binary" in name else 2)
    else:
        assert value == loss(predictions[:0], targets[:0]) == 0.0


@every_loss
def test_the_tape_serves_once(name: str, rng: np.random.Generator) -> None:
    loss, predictions, targets = case(name, "mean", np.float64, rng)
    _, tape = loss.forward(predictions, targets)
    loss.backward(tape)
    with pytest.raises(ValueError, match="tape: backward has used it"):
        loss.backward(tape)


@every_loss
def test_a_tape_belongs_to_its_loss(name: str, rng: np.random.Generator) -> None:
    loss, predictions, targets = case(name, "mean", np.float64, rng)
    _, tape = loss.forward(predictions, targets)
    for other in (MSELoss(), LOSSES[name](reduction="sum")):
        with pytest.raises(ValueError, match=f"tape: comes from another loss, a {type(loss).__name__}"):
            other.backward(tape)
    loss.backward(tape)  # no refusal has used it


@every_loss
def test_the_shape_of_d_loss(name: str, rng: np.random.Generator) -> None:
    for reduction, message in [
        ("mean", r"a number, got shape \(4,\)"),
        ("none", r"a number or shape \(4, 3.*\(4,\)"),
    ]:
        loss, predictions, targets = case(name, reduction, np.float64, rng)
        _, tape = loss.forward(predictions, targets)
        with pytest.raises(ValueError, match=f"d_loss: expected {message}"):
            loss.backward(tape, np.ones(4))
        doubled = loss.backward(tape, 2.0)  # the refusal has not used the tape
        assert np.array_equal(doubled, 2 * loss.backward(loss.forward(predictions, targets)[1]))


def test_sums_are_taken_in_float64() -> None:
    predictions = np.concatenate([[4096.0], np.full(1 << 12, 2.0**-8)]).astype(np.float32)
    assert MSELoss(reduction="sum")(predictions, np.zeros_like(predictions)) == 2.0**24 + 2.0**-4
    logits = np.full((1 << 12, 2), 0.0, np.float32)
    logits[0, 1] = 2.0**24
    expected = 2.0**24 + (len(logits) - 1) * math.log(2)
    assert_close(CrossEntropyLoss(reduction="sum")(logits, np.zeros(len(logits), int)), expected, "float32_softmax")


@both_dtypes
def test_huge_logits_do_not_overflow(dtype: type) -> None:
    big = dtype(1e4)
    logits = np.array([[big, -big, 0], [big, big, big]], dtype)
    loss = CrossEntropyLoss(reduction="none")
    value, tape = loss.forward(logits, np.array([1, 2]))
    assert_close(value, [2e4, math.log(3)], "float32_softmax")
    assert_close(loss.backward(tape), [[1, -1, 0], [1 / 3, 1 / 3, -2 / 3]], "float32_softmax")

    binary = BCEWithLogitsLoss(reduction="none")
    value, tape = binary.forward(np.array([big, big, -big, -big]), np.array([0, 1, 0, 1], dtype))
    assert_close(value, [1e4, 0, 0, 1e4], "float32_softmax")
    assert_close(binary.backward(tape), [1, 0, 0, -1], "float32_softmax")


def test_the_tail_of_the_sigmoid_is_kept() -> None:
    loss = BCEWithLogitsLoss(reduction="sum")
    value, tape = loss.forward(np.array([60.0]), np.array([1.0]))
    assert_close(value, math.exp(-60), "float64_rounding")
    assert_close(loss.backward(tape), [-math.exp(-60)], "float64_rounding")


@given(
    arrays(np.float64, (3, 4), elements=st.floats(-300, 300)),
    st.lists(st.integers(0, 3), min_size=3, max_size=3),
    st.floats(0, 1),
    st.floats(-300, 300),
)
def test_cross_entropy_properties(logits: np.ndarray, targets: list[int], smoothing: float, shift: float) -> None:
    loss = CrossEntropyLoss(label_smoothing=smoothing, reduction="none")
    value, tape = loss.forward(logits, np.array(targets))
    gradient = loss.backward(tape)
    wanted = np.full((3, 4), smoothing / 4) + (1 - smoothing) * np.eye(4)[targets]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert_close(gradient, shares - wanted, "float64")
    assert_close(value, -(wanted * (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))).sum(axis=1), "float64")
    assert_close(gradient.sum(axis=1), np.zeros(3), "float64")
    assert_close(loss(logits + shift, np.array(targets)), value, "float64")


@pytest.mark.parametrize("dtype", list("bBhHiIlLqQ"))
def test_any_integer_type_of_target(dtype: str) -> None:
    logits, targets = np.log([[1.0, 3.0]] * 2), np.array([1, 0], dtype)
    assert_close(CrossEntropyLoss(reduction="none")(logits, targets), [math.log(4 / 3), math.log(4)], "float64")
    assert_close(CrossEntropyLoss(ignore_index=1)(logits, targets), math.log(4), "float64")
    wrong = np.array([1, np.iinfo(dtype).max], dtype)
    with pytest.raises(ValueError, match=rf"got {wrong[1]} at \(1,\)"):
        CrossEntropyLoss()(logits, wrong)


def test_one_target_without_batch() -> None:
    loss = CrossEntropyLoss()
    value, tape = loss.forward(np.log([1.0, 3.0]), np.int32(1))
    assert_close(value, math.log(4 / 3), "float64")
    assert_close(loss.backward(tape), [0.25, -0.25], "float64")
    for scalar in (MSELoss(), BCEWithLogitsLoss()):
        _, tape = scalar.forward(np.float32(0.5), np.float32(1.0))
        assert scalar.backward(tape).shape == ()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_targets_ignored(smoothing: float) -> None:
    for reduction, expected in [("mean", 0.0), ("sum", 0.0), ("none", np.zeros((2, 3)))]:
        loss = CrossEntropyLoss(reduction=reduction, label_smoothing=smoothing)
        value, tape = loss.forward(np.full((2, 3, 4), np.nan), np.full((2, 3), -100))
        assert np.array_equal(value, expected)
        assert np.array_equal(loss.backward(tape), np.zeros((2, 3, 4)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@both_dtypes
def test_cross_entropy_of_nan_and_infinity(smoothing: float, dtype: type) -> None:
    nan, inf = math.nan, math.inf
    logits = np.array([[nan, 0, 0], [inf, 0, 0], [-inf, 0, 0], [-inf, 0, 0], [-inf] * 3, [0, 0, 0]], dtype)
    targets = np.array([1, 0, 0, 1, 0, 2])
    loss = CrossEntropyLoss(reduction="none", label_smoothing=smoothing)
    value, tape = loss.forward(logits, targets)
    gradient = loss.backward(tape)
    assert np.isnan(value[[0, 1, 4]]).all()
    assert np.isnan(gradient[[0, 1, 4]]).all()
    assert value[2] == inf
    if smoothing:
        assert value[3] == inf
    else:
        assert_close(value[3], math.log(2), "float32_softmax")
    share = np.array([0.0, 0.5, 0.5])
    for row, target in [(2, 0), (3, 1)]:
        expected = share - smoothing / 3 - (1 - smoothing) * np.eye(3)[target]
        assert_close(gradient[row], expected, "float32_softmax")
    assert_close(value[5], math.log(3), "float32_softmax")  # a row among odd ones is as it is alone


def test_other_losses_of_nan_and_infinity() -> None:
    nan, inf = math.nan, math.inf
    loss = MSELoss(reduction="none")
    value, tape = loss.forward(np.array([nan, inf, inf, 1e300]), np.array([0.0, 0.0, inf, 0.0]))
    assert np.array_equal(value, [nan, inf, nan, inf], equal_nan=True)
    assert np.array_equal(loss.backward(tape), [nan, inf, nan, 2e300], equal_nan=True)

    binary = BCEWithLogitsLoss(reduction="none")
    logits, targets = np.array([nan, inf, -inf, inf, -inf, inf, 0]), np.array([0.5, 0.0, 1.0, 1.0, 0.0, 0.5, nan])
    value, tape = binary.forward(logits, targets)
    assert np.array_equal(value, [nan, inf, inf, nan, nan, inf, nan], equal_nan=True)
    assert np.array_equal(binary.backward(tape), [nan, 1, -1, 0, 0, 0.5, nan], equal_nan=True)


ints = np.zeros(2, int)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: CrossEntropyLoss(reduction="avg"),
            ValueError,
            "reduction: expected 'mean', 'sum' or 'none', got 'avg'",
        ),
        (
            lambda: CrossEntropyLoss(label_smoothing=1.5),
            ValueError,
            "label_smoothing: .* from 0 to 1, got 1.5",
        ),
        (lambda: CrossEntropyLoss(label_smoothing=math.nan), ValueError, "label_smoothing: .* got nan"),
        (
            lambda: CrossEntropyLoss(ignore_index=-1.0),
            TypeError,
            "ignore_index: expected a whole number, got -1.0",
        ),
        (
            lambda: CrossEntropyLoss(ignore_index=1 << 63),
            ValueError,
            "ignore_index: expected a whole number from -9223.* to 9223.*, got 9223",
        ),
        (
            lambda: CrossEntropyLoss()(np.zeros((2, 3), int), ints),
            TypeError,
            "predictions: expected dtype float32 or float64, got int64",
        ),
        (lambda: CrossEntropyLoss()(np.zeros((2, 3), "f2"), ints), TypeError, "predictions: .* got float16"),
        (lambda: CrossEntropyLoss()(np.zeros((2, 3), object), ints), TypeError, "predictions: .* got object"),
        (
            lambda: CrossEntropyLoss()(np.zeros((2, 0)), ints),
            ValueError,
            r"predictions: expected shape .* got \(2, 0\)",
        ),
        (
            lambda: CrossEntropyLoss()(np.float64(1.0), ints),
            ValueError,
            r"predictions: expected shape .* got \(\)",
        ),
        (
            lambda: CrossEntropyLoss()(np.zeros((2, 3)), np.zeros(2)),
            TypeError,
            "targets: expected an integer dtype, or probabilities",
        ),
        (
            lambda: CrossEntropyLoss()(np.zeros((2, 3)), np.zeros(2, bool)),
            TypeError,
            "targets: expected an integer dtype, got bool",
        ),
        (
            lambda: CrossEntropyLoss()(np.zeros((2, 3, 4)), np.zeros((2, 4), int)),
            ValueError,
            r"targets: expected shape \(2, 3\) beside predictions \(2, 3, 4\), got \(2, 4\)",
        ),
        (
            lambda: CrossEntropyLoss()(np.zeros((2, 3)), np.eye(2, 3, dtype=int)),
            ValueError,
            r"targets: expected shape \(2,\) .*, got \(2, 3\); give probabilities as floats of the logits' dtype",
        ),
        (
            lambda: CrossEntropyLoss()(np.zeros((2, 2, 5)), np.array([[0, -100], [4, 5]])),
            ValueError,
            r"targets: expected 0 to 4 or -100, got 5 at \(1, 1\)",
        ),
        (
            lambda: CrossEntropyLoss()(np.zeros((2, 5)), np.array([-1, 9])),
            ValueError,
            r"got -1 at \(0,\)",
        ),
        (  # to int64 it would be -100, the ignored index
            lambda: CrossEntropyLoss()(np.zeros((1, 5)), np.array([2**64 - 100], np.uint64)),
            ValueError,
            r"got 18446744073709551516 at \(0,\)",
        ),
        (
            lambda: MSELoss()(np.zeros(2), np.zeros((2, 1))),
            ValueError,
            r"targets: expected shape \(2,\), got \(2, 1\)",
        ),
        (
            lambda: MSELoss()(np.zeros(2), np.zeros(2, "f4")),
            TypeError,
            "targets: expected dtype float64, got float32",
        ),
        (lambda: MSELoss()(ints, ints), TypeError, "predictions: expected dtype float32 or float64, got int64"),
        (
            lambda: BCEWithLogitsLoss()(np.zeros(2), ints),
            TypeError,
            "targets: expected dtype float64, got int64",
        ),
        (
            lambda: BCEWithLogitsLoss(pos_weight=[1, 2, 3])(np.zeros((3, 2)), np.zeros((3, 2))),
            ValueError,
            r"pos_weight: expected a shape that broadcasts to \(3, 2\), got \(3,\)",
        ),
        (
            lambda: BCEWithLogitsLoss(pos_weight="heavy"),
            TypeError,
            "pos_weight: expected numbers, got dtype <U5",
        ),
        (lambda: BCEWithLogitsLoss(pos_weight=-1), ValueError, r"pos_weight: expected numbers from 0 up, got -1\.0"),
        (lambda: BCEWithLogitsLoss(pos_weight=[[1, math.nan]]), ValueError, "pos_weight: .* got nan"),
        *[
            (
                lambda wrong=wrong: BCEWithLogitsLoss().forward(
                    np.zeros((2, 2)), np.array([[0, math.nan], [1, wrong]])
                ),
                ValueError,
                rf"targets: expected numbers from 0 to 1, got {wrong}",
            )
            for wrong in (-0.5, 2.0, math.inf, -math.inf)
        ],
        (
            lambda: BCEWithLogitsLoss()(np.float32(0), np.float32(1.5)),
            ValueError,
            r"targets: expected numbers from 0 to 1, got 1\.5",
        ),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@every_loss
@both_dtypes
def test_weights_of_targets(name: str, dtype: type, rng: np.random.Generator) -> None:
    """A weight multiplies its loss and gradient; a mean is divided by the sum of what counts."""
    loss, predictions, targets = case(name, "none", dtype, rng)
    mean, total = (LOSSES[name](reduction=reduction) for reduction in ("mean", "sum"))
    single, _ = loss.forward(predictions, targets)
    for axes in (1, 2):
        weights = rng.uniform(0, 3, targets.shape[:axes])
        weights[0] = 0.0
        factors = np.broadcast_to(weights.reshape(weights.shape + (1,) * (single.ndim - axes)), single.shape)
        found, own = loss.forward(predictions, targets, weights=weights)
        assert_close(found, single * factors, "float64")
        gradient = loss.backward(own)
        _, again = loss.forward(predictions, targets)
        expected = loss.backward(again, factors)
        assert_gradient(gradient, expected, f"{np.dtype(dtype).name}_gradient")
        assert_close(total(predictions, targets, weights=weights), np.sum(single * factors), "float64")
        count = mean.count(targets, weights)
        assert_close(mean(predictions, targets, weights=weights), np.sum(single * factors) / count, "float64")
        assert_close(count, np.sum(np.broadcast_to(mean._target_weights(targets), single.shape) * factors), "float64")
    assert_close(mean.count(targets) * mean(predictions, targets), np.sum(single), "float64_softmax")
    ones = np.ones(targets.shape[:1])
    assert mean(predictions, targets, weights=ones) == pytest.approx(mean(predictions, targets), rel=1e-14)


@pytest.mark.parametrize("target", [-1, 2])
def test_classes_that_there_are_not_have_no_weight_to_count(target: int) -> None:
    with pytest.raises(ValueError, match=rf"^targets: expected 0 to 1 or -100, got {target} at \(1,\)"):
        CrossEntropyLoss(weight=[1.0, 2.0]).count([0, target])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"weights: expected the first axes of the targets' shape \(4, 3\), got \(3,\)"),
        (-np.ones(4), "weights: expected finite numbers from 0 up, got -1.0"),
        (np.full(4, np.inf), "weights: expected finite numbers from 0 up, got inf"),
        (["a"] * 4, "weights: expected numbers, got dtype"),
    ],
)
def test_weights_that_are_none(weights: Any, message: str, rng: np.random.Generator) -> None:
    loss, predictions, targets = case("cross-entropy", "mean", np.float32, rng)
    for call in (loss, loss.forward):
        with pytest.raises((ValueError, TypeError), match=message):
            call(predictions, targets, weights=weights)


def test_classes_with_wrong_weights(rng: np.random.Generator) -> None:
    for weight, message in (
        ([[1.0]], r"weight: expected shape \(C,\), got \(1, 1\)"),
        ([-1.0, 0.0], "weight: expected finite numbers from 0 up, got -1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            CrossEntropyLoss(weight=weight)
    with pytest.raises(ValueError, match="weight: expected 5 numbers, one for each class, got 2"):
        CrossEntropyLoss(weight=[1.0, 2.0])(np.zeros((1, 5)), np.array([0]))
    for wrong in (1.5, -0.1):
        with pytest.raises(ValueError, match=f"targets: expected probabilities from 0 to 1, got {wrong}"):
            CrossEntropyLoss()(np.zeros((1, 2)), np.array([[wrong, 0.5]]))
