"""Estimators for scikit-learn: recurrent networks with ``fit`` and ``predict``.

`GRUClassifier` and `GRURegressor` learn from sequences with a target each, `GRUForecaster` goes on with a series,
`to_sequences` makes sequences of a long table, and `on_dask` takes a search to a cluster. They need scikit-learn: ``pip
install 'gru_native[sklearn]'``. docs/sklearn.md shows them at work.
"""

from __future__ import annotations

try:
    from sklearn.utils.validation import validate_data as _  # noqa: F401  of scikit-learn 1.6
except ImportError as error:
    raise ImportError(
        f"gru_native.sklearn needs scikit-learn 1.6 or later ({error}): pip install 'gru_native[sklearn]'"
    ) from error

from gru_native.sklearn.classifier import GRUClassifier
from gru_native.sklearn.cluster import on_dask
from gru_native.sklearn.forecaster import GRUForecaster
from gru_native.sklearn.frames import to_sequences
from gru_native.sklearn.regressor import GRURegressor

__all__ = ["GRUClassifier", "GRUForecaster", "GRURegressor", "on_dask", "to_sequences"]
