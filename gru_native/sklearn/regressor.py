"""Numbers that belong to sequences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d

from gru_native import losses
from gru_native.arguments import Array
from gru_native.sklearn.inputs import Examples, about, checked_weights, refuse_other_number
from gru_native.sklearn.sequence import SequenceEstimator


@dataclass(eq=False, repr=False, kw_only=True)
class GRURegressor(RegressorMixin, SequenceEstimator):
    """A recurrent network that gives a number, or several, for a sequence, by the mean squared error.

    X, parameters and attributes are as those of `GRUClassifier`, without the classes. It learns best where targets are
    neither far from zero nor large: ``TransformedTargetRegressor(GRURegressor(), transformer=StandardScaler())``.
    """

    _target_shape: tuple[int, ...] = field(init=False)

    _loss = losses.MSELoss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> GRURegressor:
        """Train on sequences and their targets.

        Parameters
        ----------
        X : array, list or data frame
            n sequences: see `GRUClassifier`.
        y : (n,) or (n, k)
            Numbers.
        sample_weight : (n,), optional
            From 0 up.

        Raises
        ------
        ValueError, TypeError
            For arguments that do not go together, and for parameters that are not what they should be.
        FloatingPointError
            When training diverges; the estimator is left as it was.
        """
        return self._fit(X, y, sample_weight, more=self._continues)

    def partial_fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> GRURegressor:
        """Train for one more epoch, on these samples; parameters are as those of `fit`."""
        return self._fit(X, y, sample_weight, more=hasattr(self, "model_"), once=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, more: bool, once: bool = False) -> GRURegressor:
        inputs, targets = self._inputs(X, reset=not more), _targets(self, y)
        refuse_other_number(targets, inputs)
        examples = Examples(inputs, targets.reshape(len(targets), -1), checked_weights(sample_weight, len(targets)))
        training, held_out = (examples, None) if once else self._split(examples)
        self._learn(training, held_out, examples.targets.shape[1], more=more, once=once)
        self._target_shape = targets.shape[1:]
        return self

    def predict(self, X: Any) -> Array:
        """Return the predictions, (n,) or (n, k) as the targets were."""
        found = self._predicted(X)
        return found.reshape(len(found), *self._target_shape)


@about("y")
def _targets(estimator: Any, y: Any) -> Array:
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    found = check_array(y, ensure_2d=False, dtype=np.float32, input_name="y")
    return column_or_1d(found, warn=True) if found.ndim == 2 and found.shape[1] == 1 else found
