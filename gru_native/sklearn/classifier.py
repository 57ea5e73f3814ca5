"""Classes of sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin
from sklearn.utils import check_array, column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from gru_native import functional as F
from gru_native import losses
from gru_native.arguments import Array, shown
from gru_native.sklearn.inputs import Examples, about, checked_weights, refuse_other_number
from gru_native.sklearn.sequence import SequenceEstimator


@dataclass(eq=False, repr=False, kw_only=True)
class GRUClassifier(ClassifierMixin, SequenceEstimator):
    """A recurrent network that says of which class a sequence is.

    X of its methods is one of

    - an array (n, T, f): n sequences of T steps with f features;
    - a list of n sequences (T_i, f), or (T_i,) of one feature, of any lengths: arrays, or data frames with names of
      features. Padding is neither read nor computed;
    - a table (n, T), as scikit-learn has it: one feature, and the columns are the steps. Its number of columns is
      fixed, and sequences of other lengths are given in one of the other forms.

    It is converted to float32. An array of objects that are sequences, as scikit-learn's splits make, is a list.

    Parameters
    ----------
    hidden_size : int or list of int
        Units of each recurrent layer, or a size for each.
    num_layers : int
        Recurrent layers, one on top of the other.
    bidirectional : bool
        Whether each layer also runs from the last step to the first.
    cell : {"gru", "lstm", "rnn"}
    pooling : {"last", "mean", "attention"}
        What decides: the output of the last step (in reverse of the first), the mean of all, or one that is learned.
    dropout : float
        Probability of dropout on the output of each recurrent layer, and on what is pooled.
    recurrent_dropout : float
        Of dropout on the states, with one mask for all steps.
    learning_rate, weight_decay : float
        Of `gru_native.optim.AdamW`.
    max_norm : float or None
        The norm of the gradients is clipped to it; ``None`` for no bound.
    batch_size : int
        Sequences in a training step.
    epochs : int
        How often each sequence is seen in training.
    early_stopping : bool
        Whether to hold out a part of the samples, to stop when the loss on it has not improved, and to keep the
        parameters that did best on it.
    validation_fraction : float
        How large that part is; a classifier's has the shares of its classes.
    n_iter_no_change : int
        Epochs in a row without an improvement after which to stop.
    tol : float
        By how much the loss must be lower to count.
    warm_start : bool
        Whether `fit` goes on with the network of the last one, its optimizer and its scaling, if there are any. The
        sizes of the network must be the same.
    random_state : int, RandomState or None
        Of initial values, order, dropout, and the part that is held out. With the same number all bits are the same,
        for any `n_jobs`, on one machine.
    n_jobs : int or None
        The most threads to compute with; -1 for all CPUs, ``None`` for the package's default: see `gru_native.threads`.
    callbacks : list of functions, or None
        Each is called with the `gru_native.train.Record` of each step. When one returns True, training ends.
    verbose : bool or int
        Whether to show a progress bar: 0 is False, any number from 1 up True.
    checkpoint : path or None
        A folder in which each training is kept, in files that are named by what it is. A `fit` that was killed goes on
        from there, and one that is over is taken from there, also by another process, in a search for example. It is
        for new networks alone, and needs a `random_state`. Nothing there is removed.
    class_weight : dict, "balanced" or None
        What the samples of a class count, as in scikit-learn.

    Attributes
    ----------
    classes_ : (C,)
        The labels.
    model_ : Sequential
        The network, for `gru_native.save`, `gru_native.onnx.export` and all else that takes one. It gives ``(logits,
        states)`` for batches (B, T, f).
    n_features_in_ : int
        Features of a step, or columns of a table.
    feature_names_in_ : (n_features_in_,)
        Their names; there only if they are all strings.
    n_iter_ : int
        Epochs so far.
    loss_curve_ : list of float
        The mean training loss of each epoch of the last call.
    validation_curve_ : list of float
        The loss on the part that was held out, after each epoch.

    Examples
    --------
    ::

        classifier = GRUClassifier(hidden_size=32, random_state=0, n_jobs=1).fit(X, y)
        classifier.predict_proba(X_new)
    """

    class_weight: Mapping[Any, float] | str | None = None

    classes_: Array = field(init=False)

    _loss = losses.CrossEntropyLoss

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> GRUClassifier:
        """Train on sequences and their labels.

        Parameters
        ----------
        X : array, list or data frame
            n sequences: see the class.
        y : (n,)
            Labels of any type.
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

    def partial_fit(
        self, X: Any, y: ArrayLike, classes: ArrayLike | None = None, sample_weight: ArrayLike | None = None
    ) -> GRUClassifier:
        """Train for one more epoch, on these samples; parameters are as those of `fit`.

        Parameters
        ----------
        classes : (C,), optional
            All labels that will ever come; without them those of the first call are all.
        """
        if isinstance(self.class_weight, str):
            raise ValueError("class_weight: expected weights by class for partial_fit, got 'balanced'")
        return self._fit(X, y, sample_weight, more=hasattr(self, "model_"), once=True, classes=classes)

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, *, more: bool, once: bool = False, classes: Any = None
    ) -> GRUClassifier:
        inputs, labels = self._inputs(X, reset=not more), _labels(self, y)
        refuse_other_number(labels, inputs)
        known = self.classes_ if more else np.unique(labels if classes is None else column_or_1d(classes))
        if len(strangers := np.setdiff1d(labels, known)):
            raise ValueError(f"y: expected labels among the classes {known}, got {strangers[0]!r}")
        weights = checked_weights(sample_weight, len(labels))
        if (own := self._class_weight()) is not None:
            of_classes = compute_sample_weight(own, labels)
            weights = of_classes if weights is None else weights * of_classes
        examples = Examples(inputs, np.searchsorted(known, labels), weights)
        training, held_out = (examples, None) if once else self._split(examples, labels)
        self._learn(training, held_out, len(known), more=more, once=once)
        self.classes_ = known
        return self

    def _class_weight(self) -> Mapping[Any, float] | str | None:
        given = self.class_weight
        if given is None or isinstance(given, Mapping) or (isinstance(given, str) and given == "balanced"):
            return given
        raise ValueError(f"class_weight: expected a dict, 'balanced' or None, got {shown(given)}")

    def predict(self, X: Any) -> Array:
        """Return the most likely label of each sequence, (n,)."""
        logits = self._predicted(X)
        return self.classes_[logits.argmax(1)]

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes, (n, C) in the order of `classes_`."""
        return F.softmax(self._predicted(X))


@about("y")
def _labels(estimator: Any, y: Any) -> Array:
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    found = column_or_1d(check_array(y, ensure_2d=False, dtype=None, input_name="y"), warn=True)
    check_classification_targets(found)
    return found
