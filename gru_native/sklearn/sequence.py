"""What the estimators of whole sequences share: how X is read, held out and predicted on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from gru_native.arguments import Array, flag, number
from gru_native.sklearn.base import RecurrentEstimator
from gru_native.sklearn.inputs import Examples, Inputs, about, is_table, note_features, sequences


@dataclass(eq=False, repr=False, kw_only=True)
class SequenceEstimator(RecurrentEstimator):
    """An estimator of which each sample is a sequence; `GRUClassifier` says what X can be."""

    _table: bool = field(init=False)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    @about("X")
    def _inputs(self, X: Any, *, reset: bool) -> Inputs:
        """Return X as the network takes it, and take note of its features or compare them with those of `fit`."""
        table = is_table(X)
        if table and (reset or self._table):
            found: Inputs = validate_data(self, X, reset=reset, dtype=np.float32)[..., None]
        else:
            found = sequences(check_array(X, dtype=np.float32)[..., None] if table else X)
            if reset or not self._table:
                note_features(self, found if table else X, found, reset=reset)
            elif found[0].shape[1] != 1:
                raise ValueError(f"X: expected sequences of 1 feature, as in fit, got {found[0].shape[1]}")
        if reset:
            self._table = table
        return found

    def _split(self, examples: Examples, stratify: Array | None = None) -> tuple[Examples, Examples | None]:
        """Return what to train on and, with early stopping, what to validate on."""
        if not flag("early_stopping", self.early_stopping):
            return examples, None
        parts = train_test_split(
            np.arange(len(examples.targets)),
            test_size=number("validation_fraction", self.validation_fraction, below=1.0),
            random_state=self._random(),
            stratify=stratify,
        )
        training, held_out = (examples.chosen(part) for part in parts)
        return training, held_out

    def _predicted(self, X: Any) -> Array:
        check_is_fitted(self)
        return self._outputs(self._inputs(X, reset=False))
