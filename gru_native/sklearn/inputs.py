"""What estimators are given: sequences in every form that is taken, and weights, brought to one form each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from gru_native.arguments import Array
from gru_native.train import Batches, Sequences

#: (n, T, f) of float32, or n arrays (T_i, f).
Inputs: TypeAlias = Array | list[Array]


class Examples(NamedTuple):
    """Sequences, and for each a target and perhaps a weight, on the first axis."""

    inputs: Inputs
    targets: Array
    weights: Array | None = None

    def chosen(self, places: Sequence[int]) -> Examples:
        """Return some of them."""
        inputs = self.inputs[places] if isinstance(self.inputs, np.ndarray) else [self.inputs[i] for i in places]
        return Examples(inputs, self.targets[places], None if self.weights is None else self.weights[places])

    def batches(self, size: int, seed: tuple[int, ...] | None = None) -> Batches | Sequences:
        """Return them as data for a `Trainer`, shuffled where there is a seed."""
        order: dict[str, Any] = {} if seed is None else {"shuffle": True, "seed": seed}
        if isinstance(self.inputs, np.ndarray):
            return Batches(self.inputs, self.targets, size, weights=self.weights, **order)
        data = Sequences(self.inputs, self.targets, size, weights=self.weights, batch_first=True, **order)
        data.batches_in_pool = 1  # lengths often tell something of targets, and a batch is to hold all kinds
        return data


@contextmanager
def about(argument: str) -> Iterator[None]:
    """Let a refusal that comes from scikit-learn or NumPy name the argument."""
    try:
        yield
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        if re.search(rf"\b{argument}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{argument}: {error}"[:300]) from None


def dimensions(X: Any) -> int:
    """Return the number of axes of an array, or of what can be made one."""
    known = getattr(X, "ndim", None)
    return np.asarray(X).ndim if known is None else int(known)


def is_table(X: Any) -> bool:
    """Return whether X is (n, T), or anything else that is neither (n, T, f) nor a list of sequences."""
    return not _is_list(X) and dimensions(X) < 3


def sequences(X: Any) -> Inputs:
    """Return what is no table as (n, T, f), or as n arrays (T_i, f), in float32."""
    if not _is_list(X):
        found: Array = check_array(X, dtype=np.float32, allow_nd=True, input_name="X")
        if found.ndim != 3 or 0 in found.shape:
            raise ValueError(f"X: expected (n, T, f) with at least one step and feature, got shape {found.shape}")
        return found
    columns = getattr(_first(X), "columns", None)
    parts = [_as_steps(f"X[{i}]", each, columns) for i, each in enumerate(X)]
    for i, part in enumerate(parts):
        if part.shape[1] != parts[0].shape[1]:
            raise ValueError(f"X[{i}]: expected {parts[0].shape[1]} features as in X[0], got {part.shape[1]}")
    steps = check_array(np.concatenate(parts), dtype=np.float32, input_name="X")
    ends = np.cumsum([len(part) for part in parts])
    return [steps[end - len(part) : end] for part, end in zip(parts, ends, strict=True)]


def note_features(estimator: Any, X: Any, inputs: Inputs, *, reset: bool) -> None:
    """Let an estimator take note of number and names of the features of sequences, or compare them with what it has."""
    first = _first(X) if hasattr(_first(X), "columns") else inputs[0]
    validate_data(estimator, first, reset=reset, skip_check_array=True)


def _first(X: Any) -> Any:
    return next(iter(X))  # a series of pandas has no X[0], but one by its index


def _is_list(X: Any) -> bool:
    """Return whether X is a list of sequences, and no list of numbers or of rows of a table."""
    of_objects = getattr(X, "ndim", None) == 1 and X.dtype == np.dtype("O")
    if not of_objects and not isinstance(X, (list, tuple)):
        return False
    if any(getattr(each, "ndim", 0) > 0 for each in X):
        return True
    try:
        np.shape(X)
    except ValueError:  # lists of several lengths
        return True
    return False


def _as_steps(name: str, sequence: Any, columns: Any) -> Array:
    """Return a sequence as (T, f)."""
    own = getattr(sequence, "columns", None)
    if (columns is None) != (own is None) or (own is not None and list(columns) != list(own)):
        raise ValueError(f"{name}: expected the columns of X[0], {columns}, got {own}")
    try:
        found = np.asarray(sequence)
    except ValueError as error:
        raise ValueError(f"{name}: expected (T, f) or (T,), got a {type(sequence).__name__}: {error}") from None
    if found.ndim not in (1, 2) or len(found) == 0:
        raise ValueError(f"{name}: expected (T, f) or (T,) with at least one step, got shape {found.shape}")
    return found if found.ndim == 2 else found[:, None]


def refuse_other_number(y: Array, inputs: Inputs) -> None:
    """Refuse targets that are not one for each sequence."""
    if len(y) != len(inputs):
        raise ValueError(f"y: expected {len(inputs)} of them, one for each sequence of X, got {len(y)}")


def checked_weights(sample_weight: Any, number: int) -> Array | None:
    """Return the weights of so many samples as float64."""
    if sample_weight is None:
        return None
    with about("sample_weight"):
        found: Array = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if found.shape != (number,):
        raise ValueError(f"sample_weight: expected shape ({number},), one for each sample, got {found.shape}")
    if not (found >= 0).all() or not found.any():
        raise ValueError("sample_weight: expected weights from zero up, not all of them zero")
    return found
