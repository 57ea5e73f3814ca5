"""Figures of merit for `Trainer`, computed by scikit-learn when they are asked for.

Each is a function of all predictions and all targets of the data that it is computed on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]
Metric: TypeAlias = Callable[[Array, Array], float]


def classification_metrics(average: str = "macro") -> dict[str, Metric]:
    """Return ``accuracy``, ``precision``, ``recall`` and ``f1`` of classes.

    Predictions are logits (..., C) beside targets (...) of class numbers; or logits of 0 and 1 of the targets' own
    shape, as for `BCEWithLogitsLoss`.

    Parameters
    ----------
    average
        How the last three are averaged over classes: see scikit-learn's ``precision_recall_fscore_support``.

    Raises
    ------
    ImportError
        Without scikit-learn.
    """
    metrics = _scikit_learn()

    def scored(score: Callable[..., float], predictions: Array, targets: Array) -> float:
        return float(score(targets.reshape(-1), _classes(predictions, targets)))

    averaged = {"average": average, "zero_division": 0}
    scores = {
        "accuracy": metrics.accuracy_score,
        "precision": partial(metrics.precision_score, **averaged),
        "recall": partial(metrics.recall_score, **averaged),
        "f1": partial(metrics.f1_score, **averaged),
    }
    return {name: partial(scored, score) for name, score in scores.items()}


def regression_metrics() -> dict[str, Metric]:
    """Return ``mae``, ``rmse`` and ``r2``: mean absolute error, root of the mean squared error, and R².

    Raises
    ------
    ImportError
        Without scikit-learn.
    """
    metrics = _scikit_learn()

    def scored(score: Callable[..., float], predictions: Array, targets: Array) -> float:
        return float(score(targets.reshape(-1), predictions.reshape(-1)))

    scores = {
        "mae": metrics.mean_absolute_error,
        "rmse": metrics.root_mean_squared_error,
        "r2": metrics.r2_score,
    }
    return {name: partial(scored, score) for name, score in scores.items()}


def _classes(predictions: Array, targets: Array) -> Array:
    if predictions.shape == targets.shape:
        return (predictions.reshape(-1) > 0).astype(targets.dtype)
    return np.asarray(predictions.argmax(axis=-1)).reshape(-1)


def _scikit_learn() -> Any:
    try:
        import sklearn.metrics
    except ImportError as error:
        raise ImportError("metrics need scikit-learn: pip install scikit-learn") from error
    return sklearn.metrics
