"""Figures of merit for `Trainer`, computed by scikit-learn when they are asked for, or of labels of any number.

Each is a function of all predictions and all targets of the data that it is computed on. All axes before the last, such
as steps and rows, are samples to scikit-learn; a last axis of K labels or outputs stays one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from gru_native import functional
from gru_native.arguments import Array, array, every, index_array, one_of, whole

Metric: TypeAlias = Callable[[Any, Any], float]

_TWO, _MORE, _LABELS = "two classes", "more than two classes", "labels"
# What each average is there for.
_AVERAGES = {
    "binary": {_TWO},
    "macro": {_TWO, _MORE, _LABELS},
    "micro": {_TWO, _MORE, _LABELS},
    "samples": {_LABELS},
    "weighted": {_TWO, _MORE, _LABELS},
}


@dataclass
class Tally:
    """Losses, predictions and targets, from which figures are made.

    Those of rows with lengths of their own stand one behind the other, and with them how long both are, (B, 2).
    """

    total: float = 0.0
    count: float = 0.0
    seen: list[tuple[Array, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, parts: Sequence[Tally]) -> Tally:
        """Return what has been seen in all parts."""
        seen = [pair for part in parts for pair in part.seen]
        return cls(sum(part.total for part in parts), sum(part.count for part in parts), seen)

    def add(self, loss: float, count: float) -> None:
        """Take in the mean loss of so many targets."""
        self.total += loss * count
        self.count += count

    def figures(self, metrics: Mapping[str, Metric]) -> dict[str, float]:
        """Return ``loss``, the mean over all targets, and the metrics; all NaN where no target counts."""
        loss = self.total / self.count if self.count else math.nan
        if math.isnan(loss):
            return dict.fromkeys(["loss", *metrics], math.nan)
        if not metrics:
            return {"loss": loss}
        seen: list[Any] = list(map(np.concatenate, zip(*self.seen, strict=True)))
        if len(seen) > 2:
            seen = [np.split(own, ends[:-1]) for own, ends in zip(seen, seen[2].cumsum(axis=0).T, strict=False)]
        return {"loss": loss, **{name: float(metric(*seen)) for name, metric in metrics.items()}}


def classification_metrics(average: str = "macro") -> dict[str, Metric]:
    """Return ``accuracy``, ``precision``, ``recall`` and ``f1`` of classes or labels.

    Predictions and targets are one of

    - logits (..., C) beside class numbers (...), as for `CrossEntropyLoss`;
    - logits beside 0 and 1 of the same shape (N,) or (..., 1), as for `BCEWithLogitsLoss`: two classes;
    - logits beside 0 and 1 of the same shape (..., K): K labels, of which a sample has any number. Its accuracy is
      scikit-learn's, the share of samples with all K labels right.

    Parameters
    ----------
    average : {"binary", "macro", "micro", "samples", "weighted"}
        How the last three are averaged over classes or labels: see scikit-learn's
        ``precision_recall_fscore_support``. As there, "samples" is for labels, and "binary" for two classes.

    Raises
    ------
    ValueError
        For another average. The functions raise it for shapes that do not fit, for no prediction at all or NaN among
        them, for targets that are none of the classes, and for an average that there is not for so many classes.
    ImportError
        Without scikit-learn.
    """
    one_of("average", average, [*_AVERAGES])
    metrics = _scikit_learn()

    def accuracy(predictions: Array, targets: Array) -> float:
        return float(metrics.accuracy_score(*_classes(predictions, targets)[:2]))

    def averaged(score: Callable[..., float], predictions: Array, targets: Array) -> float:
        expected, found, kind = _classes(predictions, targets)
        one_of(f"average of {kind}", average, [name for name, kinds in _AVERAGES.items() if kind in kinds])
        return float(score(expected, found, average=average, zero_division=0))

    scores = {"precision": metrics.precision_score, "recall": metrics.recall_score, "f1": metrics.f1_score}
    return {"accuracy": accuracy, **{name: partial(averaged, score) for name, score in scores.items()}}


def regression_metrics() -> dict[str, Metric]:
    """Return ``mae``, ``rmse`` and ``r2``: mean absolute error, root of the mean squared error, and R².

    Of predictions and targets (..., K) each is the mean over the K outputs, as in scikit-learn. All are NaN when a
    value is not finite.

    Raises
    ------
    ImportError
        Without scikit-learn.
    """
    metrics = _scikit_learn()

    def scored(score: Callable[..., float], predictions: Array, targets: Array) -> float:
        predictions, targets = _numbers("predictions", predictions), _numbers("targets", targets)
        expected, found = _samples(targets), _samples(predictions)
        if found.shape != expected.shape:
            raise ValueError(f"predictions: expected one for each of targets {targets.shape}, got {predictions.shape}")
        return float(score(expected, found)) if np.isfinite(found).all() and np.isfinite(expected).all() else math.nan

    scores = {
        "mae": metrics.mean_absolute_error,
        "rmse": metrics.root_mean_squared_error,
        "r2": metrics.r2_score,
    }
    return {name: partial(scored, score) for name, score in scores.items()}


def ctc_metrics(blank: int = 0) -> dict[str, Metric]:
    """Return ``label_error``: that of `label_error`, of the labels that `gru_native.functional.ctc_greedy` finds.

    Predictions and targets are lists with an array for each sequence: logits (T_i, C) and labels (S_i,), which a
    `Trainer` with a loss that takes lengths gives.

    Parameters
    ----------
    blank
        The class between labels.
    """
    blank = whole("blank", blank, 0)

    def error(predictions: list[Array], targets: list[Array]) -> float:
        found, _ = functional.ctc_greedy(predictions, blank=blank)
        targets = every("targets", targets, _labels)
        if len(found) != len(targets):
            raise ValueError(f"predictions: expected logits of {len(targets)}, as many as targets, got {len(found)}")
        return label_error(found, targets)

    return {"label_error": error}


def label_error(found: Sequence[ArrayLike], targets: Sequence[ArrayLike]) -> float:
    """Return how many labels must be put in, left out or exchanged for those found to be the targets, per target.

    With words as labels it is the word error rate, with characters that of characters; 0 is none, and it can be more
    than 1. NaN without any target.

    Parameters
    ----------
    found, targets
        Lists of as many sequences (S_i,) of integers.
    """
    pairs = [every(name, own, _labels) for name, own in (("found", found), ("targets", targets))]
    if len(pairs[0]) != len(pairs[1]):
        raise ValueError(f"found: expected {len(pairs[1])} of them, as many as targets, got {len(pairs[0])}")
    total = sum(len(own) for own in pairs[1])
    return sum(map(_distance, *pairs)) / total if total else math.nan


def _distance(found: Array, target: Array) -> int:
    """Return Levenshtein's distance, row by row of its table."""
    steps = np.arange(len(target) + 1)
    row = steps
    for label in found:
        exchanged = row[:-1] + (target != label)
        row = np.concatenate([row[:1] + 1, np.minimum(exchanged, row[1:] + 1)])
        row = np.minimum.accumulate(row - steps) + steps  # and those that are put in
    return int(row[-1])


def _labels(name: str, value: Any) -> Array:
    found = array(name, value)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise ValueError(f"{name}: expected labels (S,) of an integer dtype, got {found.shape} of {found.dtype}")
    return found


def _numbers(name: str, value: Array) -> Array:
    found = array(name, value)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected numbers, got dtype {found.dtype}")
    if not found.size:
        raise ValueError(f"{name}: expected at least one, got none: shape {found.shape}")
    return found


def _classes(predictions: Array, targets: Array) -> tuple[Array, Array, str]:
    """Return the targets and what is predicted, as scikit-learn takes them, and which of the three kinds they are."""
    predictions, targets = _numbers("predictions", predictions), _numbers("targets", targets)
    if np.isnan(predictions).any():
        where = tuple(int(i) for i in np.argwhere(np.isnan(predictions))[0])
        raise ValueError(f"predictions: expected numbers, got nan at {where}")
    if predictions.shape == targets.shape:
        wrong = (targets != 0) & (targets != 1)
        if wrong.any():
            raise ValueError(f"targets: expected 0 and 1 beside predictions of their shape, got {targets[wrong][0]}")
        expected = _samples(targets).astype(np.int64)
        return expected, _samples(predictions > 0).astype(np.int64), _LABELS if expected.ndim > 1 else _TWO
    if predictions.ndim == 0 or predictions.shape[:-1] != targets.shape or predictions.shape[-1] == 1:
        raise ValueError(
            f"targets: expected the shape of the predictions {predictions.shape}, or without their axis of classes, "
            f"got {targets.shape}"
        )
    classes = predictions.shape[-1]
    expected = index_array("targets", targets, classes).reshape(-1)
    return expected, np.asarray(predictions.argmax(axis=-1)).reshape(-1), _MORE if classes > 2 else _TWO


def _samples(array: Array) -> Array:
    """Return (N, K), or (N,) where there is one value for each sample."""
    columns = array.shape[-1] if array.ndim > 1 else 1
    return array.reshape(-1, columns) if columns > 1 else array.reshape(-1)


def _scikit_learn() -> Any:
    try:
        import sklearn.metrics
    except ModuleNotFoundError as error:
        if error.name not in ("sklearn", "sklearn.metrics"):
            raise
        raise ImportError("metrics need scikit-learn: pip install scikit-learn") from error
    return sklearn.metrics
