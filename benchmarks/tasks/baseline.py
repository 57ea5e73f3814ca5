"""What a classifier reaches that knows nothing of order: logistic regression, by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from threadpoolctl import threadpool_limits

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


class Samples(NamedTuple):
    """Samples and the class of each, (N,)."""

    inputs: Sequence[Any] | np.ndarray
    targets: np.ndarray


def logistic_regression(features: Any, training: Samples, validation: Samples, test: Samples) -> float:
    """Return the accuracy on the test set, with the C of `STRENGTHS` that does best on the validation set.

    Parameters
    ----------
    features
        A transformer of scikit-learn, which makes features of inputs. It is fitted to the training set.
    """

    def fitted(c: float) -> Any:
        return make_pipeline(features, LogisticRegression(C=c, max_iter=1000)).fit(*training)

    # The steps are so small that threads would wait for each other most of the time.
    with threadpool_limits(1):
        best = max(map(fitted, STRENGTHS), key=lambda model: model.score(*validation))
        return float(best.score(*test))
