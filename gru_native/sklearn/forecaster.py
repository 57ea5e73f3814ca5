"""The next values of a series."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.validation import check_is_fitted, validate_data

from gru_native import losses
from gru_native.arguments import Array, flag, number, whole
from gru_native.sklearn.base import RecurrentEstimator
from gru_native.sklearn.inputs import Examples, about, checked_weights, dimensions


@dataclass(eq=False, repr=False, kw_only=True)
class GRUForecaster(RecurrentEstimator):
    """A recurrent network that goes on with a series, several steps ahead at once.

    X of its methods is the series: (N,), or (N, c) with a column for each quantity, in equal steps of time, the oldest
    first. Some columns, or all, are forecast; the others are exogenous: the network sees them in its window. What is
    known ahead of time, such as the hour, is moved up by `horizon` rows, so that a row knows that of its forecast.

    Each window of X is an example. All columns are brought to mean 0 and variance 1 by what is trained on, and
    forecasts are in the units of X. The other parameters and attributes are as those of `GRUClassifier`.

    Parameters
    ----------
    window : int
        Rows that the network sees for a forecast.
    horizon : int
        Steps that it forecasts.
    target : int, str, list of them, or None
        Which columns are forecast: by place, or by name if X is a data frame; ``None`` for all.
    early_stopping : bool
        Whether to hold out the last windows, none of whose forecasts overlaps with those that are trained on.

    Attributes
    ----------
    scaler_ : StandardScaler
        Of the columns.

    Examples
    --------
    ::

        forecaster = GRUForecaster(window=48, horizon=6, target="pollution", random_state=0).fit(table[:-1000])
        forecaster.predict(table)  # the six hours after its end
        cross_val_score(forecaster, table, cv=TimeSeriesSplit())
    """

    window: int = 24
    horizon: int = 1
    target: int | str | Sequence[int | str] | None = None

    scaler_: StandardScaler = field(init=False)
    _forecast: list[int] = field(init=False)
    _single: bool = field(init=False)

    _loss = losses.MSELoss

    def fit(self, X: Any, y: None = None, sample_weight: ArrayLike | None = None) -> GRUForecaster:
        """Train on the windows of a series.

        Parameters
        ----------
        X : (N,) or (N, c)
            At least `window` + `horizon` rows.
        y
            Not read: scikit-learn's interface has it.
        sample_weight : (N,), optional
            From 0 up, of each row where it is forecast.

        Raises
        ------
        ValueError, TypeError
            For arguments that do not go together, and for parameters that are not what they should be.
        FloatingPointError
            When training diverges; the estimator is left as it was.
        """
        return self._fit(X, y, sample_weight, more=self._continues)

    def partial_fit(self, X: Any, y: None = None, sample_weight: ArrayLike | None = None) -> GRUForecaster:
        """Train for one more epoch, on the windows of these rows; parameters are as those of `fit`.

        The columns are scaled as in the first call.
        """
        return self._fit(X, y, sample_weight, more=hasattr(self, "model_"), once=True)

    def _fit(self, X: Any, y: Any, sample_weight: Any, *, more: bool, once: bool = False) -> GRUForecaster:
        if y is not None:
            warnings.warn("y: expected None, because what is forecast are columns of X: see target", stacklevel=3)
        window, horizon = whole("window", self.window), whole("horizon", self.horizon)
        series = self._series(X, window + horizon, reset=not more)
        weights, columns = checked_weights(sample_weight, len(series)), self._columns()
        held_out = 0 if once else self._held_out(len(series) - window - horizon + 1)
        rows = len(series) - held_out - (horizon - 1 if held_out else 0)
        scaler = self.scaler_ if more else StandardScaler().fit(series[:rows])
        scaled = scaler.transform(series)
        parts = [slice(rows), slice(rows - window, None)] if held_out else [slice(rows)]
        examples = [self._examples(scaled[part], columns, None if weights is None else weights[part]) for part in parts]
        validation = examples[1] if held_out else None
        self._learn(examples[0], validation, horizon * len(columns), more=more, once=once)
        self.scaler_, self._forecast = scaler, columns
        self._single = dimensions(X) == 1 or not isinstance(self.target, (list, tuple, type(None)))
        return self

    def predict(self, X: Any) -> Array:
        """Return the next steps after the end of X, (horizon,), or (horizon, k) if several columns are forecast.

        X has at least `window` rows.
        """
        check_is_fitted(self)
        return self._forecasts(self._series(X, self.window, reset=False)[-self.window :])[0]

    def predict_windows(self, X: Any) -> Array:
        """Return the forecast after each window of X, (N - window + 1, horizon) or (..., k): the first is row `window`.

        The last one is that of `predict`.
        """
        check_is_fitted(self)
        return self._forecasts(self._series(X, self.window, reset=False))

    def score(self, X: Any, y: None = None) -> float:
        """Return R² of the forecasts of all windows of X: the mean over steps and columns, as scikit-learn's.

        X has more than `window` + `horizon` rows.
        """
        check_is_fitted(self)
        series = self._series(X, self.window + self.horizon + 1, reset=False)
        found = self._forecasts(series[: -self.horizon])
        expected = self._targets(series, self._forecast)
        return float(r2_score(expected, found.reshape(expected.shape)))

    def _forecasts(self, series: Array) -> Array:
        """Return what follows each window of a series."""
        windows = self._windows(self.scaler_.transform(series))
        found = self._outputs(windows).reshape(len(windows), -1, len(self._forecast))
        found = found * self.scaler_.scale_[self._forecast] + self.scaler_.mean_[self._forecast]
        return found[..., 0] if self._single else found

    def _examples(self, series: Array, columns: list[int], weights: Array | None) -> Examples:
        targets = self._targets(series, columns).astype(np.float32)
        if weights is not None:
            weights = np.repeat(sliding_window_view(weights[self.window :], self.horizon), len(columns), axis=1)
        return Examples(self._windows(series)[: -self.horizon], targets, weights)

    def _windows(self, series: Array) -> Array:
        """Return each window of a series (N, c), (N - window + 1, window, c)."""
        return sliding_window_view(series.astype(np.float32), self.window, axis=0).swapaxes(1, 2)

    def _targets(self, series: Array, columns: list[int]) -> Array:
        """Return what follows each window, (N - window - horizon + 1, horizon * k)."""
        found = sliding_window_view(series[self.window :, columns], self.horizon, axis=0).swapaxes(1, 2)
        return found.reshape(len(found), -1)

    def _held_out(self, windows: int) -> int:
        """Return how many of the windows are held out: those of the forecasts before them that overlap are left out."""
        if not flag("early_stopping", self.early_stopping):
            return 0
        share = number("validation_fraction", self.validation_fraction, below=1.0)
        held_out = max(1, round(share * windows))
        if held_out + self.horizon > windows:
            raise ValueError(f"validation_fraction: expected less for {windows} windows, got {share}")
        return held_out

    @about("X")
    def _series(self, X: Any, rows: int, *, reset: bool) -> Array:
        """Return X as (N, c) in float64."""
        alone = dimensions(X) == 1 and (reset or self.n_features_in_ == 1)
        table = np.asarray(X)[:, None] if alone else X
        series: Array = validate_data(self, table, reset=reset, dtype=np.float64)
        if len(series) < rows:
            raise ValueError(f"X: expected at least {rows} rows for window and horizon, got n_samples = {len(series)}")
        return series

    def _columns(self) -> list[int]:
        """Return the places of the columns that are forecast."""
        if self.target is None:
            return list(range(self.n_features_in_))
        wanted = self.target if isinstance(self.target, (list, tuple)) else [self.target]
        return [self._place(each) for each in wanted]

    def _place(self, column: Any) -> int:
        if not isinstance(column, str):
            return whole("target", column, 0, self.n_features_in_ - 1)
        names = list(getattr(self, "feature_names_in_", ()))
        if column not in names:
            raise ValueError(f"target: expected one of the columns {names}, got {column!r}")
        return names.index(column)
