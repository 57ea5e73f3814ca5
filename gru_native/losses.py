"""Loss functions, as PyTorch defines them, but the classes stand on the last axis and the mean over no target is 0.

Every loss has three methods; those of `CTCLoss` take lengths behind the targets:

- ``loss(predictions, targets)`` is the value;
- ``loss.forward(predictions, targets)`` is ``(value, tape)``;
- ``loss.backward(tape, d_loss=1.0)`` is the gradient with respect to the predictions, in their dtype.

With ``reduction="mean"`` or ``"sum"`` the value is a Python float, summed in float64, and `d_loss` a number.
The mean over no target at all is 0, as its gradient is, where PyTorch has NaN: such a batch teaches nothing.
With ``"none"`` the value is a float64 array with one loss for each target, and `d_loss` a number or an array
of that shape. NaN and infinity give what IEEE arithmetic makes of the formula, without a warning.

The first two methods take ``weights=None``, numbers from 0 up for the targets, on all of their axes or on the first
ones: each loss is multiplied by its own, and a mean is divided by their sum. And ``threads=None``, the most threads to
compute with (``None`` for the default). A fourth method, ``loss.count(targets, weights=None)``, is what a mean is
divided by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from gru_native import functional
from gru_native.arguments import (
    LARGEST,
    Array,
    any_float_array,
    array,
    flag,
    index_array,
    instance,
    number,
    one_of,
    real_array,
    shaped_array,
    typed_array,
    whole,
)
from gru_native.passes import in_pieces, repeatable

Reduction = Literal["mean", "sum", "none"]

__all__ = ["BCEWithLogitsLoss", "CTCLoss", "CrossEntropyLoss", "LossTape", "MSELoss"]


@dataclass
class LossTape:
    """What `backward` of the same loss needs: the gradient of the single losses, and their count. It serves once."""

    loss: _Loss = field(repr=False)
    gradient: Array | None
    shape: tuple[int, ...]
    count: float


class _Loss:
    """Reduction and backward pass, common to all losses."""

    def __init__(self, reduction: Reduction) -> None:
        self.reduction = one_of("reduction", reduction, ("mean", "sum", "none"))

    @repeatable
    def backward(self, tape: LossTape, d_loss: float | Array = 1.0) -> Array:
        """Return the gradient with respect to the predictions.

        Parameters
        ----------
        tape : LossTape
            From this loss's `forward`; the gradient is made in its memory, so it serves once.
        d_loss : float or array
            Gradient with respect to the loss.
        """
        instance("tape", tape, LossTape, "what forward returned")
        if tape.loss is not self:
            raise ValueError(f"tape: comes from another loss, a {type(tape.loss).__name__}")
        gradient = tape.gradient
        if gradient is None:
            raise ValueError("tape: backward has used it; each call of forward makes a new one")
        scale = real_array("d_loss", d_loss).astype(np.float64)
        if scale.ndim and (self.reduction != "none" or scale.shape != tape.shape):
            expected = f"a number or shape {tape.shape}" if self.reduction == "none" else "a number"
            raise ValueError(f"d_loss: expected {expected}, got shape {scale.shape}")
        if self.reduction == "mean" and tape.count:
            scale = scale / tape.count
        scale = scale.astype(gradient.dtype)
        if scale.ndim:
            scale = self._spread(scale, gradient)
        tape.gradient = None
        with np.errstate(all="ignore"):
            return np.multiply(gradient, scale, out=gradient)

    def _spread(self, scale: Array, gradient: Array) -> Array:
        """Return what each loss is multiplied by, for all of its gradient."""
        spread: Array = scale.reshape(scale.shape + (1,) * (gradient.ndim - scale.ndim))
        return spread

    def _reduce(self, losses: Array, count: float) -> float | Array:
        if self.reduction == "none":
            return losses
        with np.errstate(all="ignore"):
            total = float(losses.sum())
        if self.reduction == "sum":
            return total
        return total / count if count else 0.0


class _TargetLoss(_Loss):
    """The calls of a loss of predictions and targets; a subclass gives the single losses (`_evaluate`)."""

    @repeatable
    def __call__(
        self,
        predictions: ArrayLike,
        targets: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        threads: int | None = None,
    ) -> float | Array:
        """Return the loss."""
        losses, _, count = self._weighted(predictions, targets, weights, gradient=False, threads=threads)
        return self._reduce(losses, count)

    @repeatable
    def forward(
        self,
        predictions: ArrayLike,
        targets: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        threads: int | None = None,
    ) -> tuple[float | Array, LossTape]:
        """Return the loss and the tape for `backward`."""
        losses, gradient, count = self._weighted(predictions, targets, weights, gradient=True, threads=threads)
        return self._reduce(losses, count), LossTape(self, gradient, losses.shape, count)

    def count(self, targets: ArrayLike, weights: ArrayLike | None = None) -> float:
        """Return what the mean over these targets is divided by: their number, or the sum of their weights."""
        own = self._target_weights(array("targets", targets))
        if weights is not None:
            own = own * _on_first_axes(weights, own.shape)
        return float(own.sum())

    def _target_weights(self, targets: Array) -> Array:
        """Return what each target counts in a mean, as far as the loss says, (...) in float64."""
        return np.broadcast_to(np.float64(1.0), targets.shape)

    def _weighted(
        self,
        predictions: ArrayLike,
        targets: ArrayLike,
        weights: ArrayLike | None,
        *,
        gradient: bool,
        threads: int | None,
    ) -> tuple[Array, Array | None, float]:
        """Return what `_evaluate` does, each loss times its weight."""
        losses, d, count = self._evaluate(predictions, targets, gradient=gradient, threads=threads)
        if weights is None:
            return losses, d, count
        factors = _on_first_axes(weights, losses.shape)
        with np.errstate(all="ignore"):
            if d is not None:
                d *= factors.reshape(factors.shape + (1,) * (d.ndim - factors.ndim)).astype(d.dtype)
            return losses * factors, d, self.count(targets, weights)

    def _evaluate(
        self, predictions: ArrayLike, targets: ArrayLike, *, gradient: bool, threads: int | None
    ) -> tuple[Array, Array | None, float]:
        """Return single losses (float64), their gradient (a new array, or None), and their `count`."""
        raise NotImplementedError


class CrossEntropyLoss(_TargetLoss):
    """Cross-entropy from logits, with the classes on the last axis of the logits.

    ``-sum_c weight_c q_c log softmax(logits)_c``. Of a class as target, q is 1 - label_smoothing there plus
    label_smoothing / C everywhere (Szegedy et al., "Rethinking the Inception architecture for computer vision",
    2016). The logits are (..., C), float32 or float64. Targets are (...), of any integer type, or probabilities
    (..., C) of the logits' dtype, which are smoothed too; PyTorch has classes on axis 1.

    Parameters
    ----------
    weight : (C,) array, optional
        Of each class, from 0 up. A mean over classes as targets is divided by the sum of theirs; one over
        probabilities by their number, as in PyTorch.
    ignore_index : int
        Targets of this value give loss 0 and gradient 0 and do not count in the mean.
    label_smoothing : float
        From 0 to 1.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    TypeError
        When the logits are not float32 or float64, or the targets neither integers nor of the logits' dtype.
    ValueError
        When shapes do not fit, a target is neither a class nor `ignore_index`, or a probability is not from 0 to 1.

    Notes
    -----
    A NaN or +inf among the logits of a target makes its loss and gradient NaN; -inf is a class of probability
    0 (loss inf when it is the target, or with label smoothing).
    """

    def __init__(
        self,
        *,
        weight: ArrayLike | None = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction)
        self.weight = None if weight is None else _weights("weight", weight)
        if self.weight is not None and self.weight.ndim != 1:
            raise ValueError(f"weight: expected shape (C,), got {self.weight.shape}")
        self.ignore_index = whole("ignore_index", ignore_index, -LARGEST - 1)
        self.label_smoothing = number("label_smoothing", label_smoothing, most=1.0)

    def count(self, targets: ArrayLike, weights: ArrayLike | None = None) -> float:
        given = array("targets", targets)
        if self.weight is not None and given.dtype.kind != "f":
            given = index_array("targets", given, len(self.weight), exempt=self.ignore_index)
        return super().count(given, weights)

    def _target_weights(self, targets: Array) -> Array:
        if targets.dtype.kind == "f":
            return np.broadcast_to(np.float64(1.0), targets.shape[:-1])
        counted: Array = np.asarray(targets != self.ignore_index)
        if self.weight is None:
            return counted.astype(np.float64)
        weights: Array = np.where(counted, self.weight[np.where(counted, targets, 0)], 0.0)
        return weights

    def _evaluate(
        self, predictions: ArrayLike, targets: ArrayLike, *, gradient: bool, threads: int | None
    ) -> tuple[Array, Array | None, float]:
        logits = any_float_array("predictions", predictions)
        if logits.ndim == 0 or logits.shape[-1] == 0:
            raise ValueError(f"predictions: expected shape (..., C) with C of at least 1, got {logits.shape}")
        if self.weight is not None and len(self.weight) != logits.shape[-1]:
            raise ValueError(f"weight: expected {logits.shape[-1]} numbers, one for each class, got {len(self.weight)}")
        given = array("targets", targets)
        if given.dtype.kind == "f":
            return self._of_probabilities(logits, self._probabilities(given, logits), gradient)
        indices = self._indices(given, logits.shape)
        counted = self._target_weights(indices)
        if self.weight is not None and self.label_smoothing > 0:
            certain = np.zeros(logits.shape, logits.dtype)
            kept = indices != self.ignore_index
            certain[kept, indices[kept]] = 1.0
            losses, d, _ = self._of_probabilities(logits, certain, gradient, kept[..., None])
            return losses, d, float(counted.sum())
        losses, d_logits = functional.softmax_cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            indices.reshape(-1),
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            gradient=gradient,
            threads=threads,
        )
        losses, d = losses.reshape(indices.shape), None if d_logits is None else d_logits.reshape(logits.shape)
        if self.weight is not None:
            with np.errstate(all="ignore"):
                losses = losses * counted
                if d is not None:
                    d *= counted[..., None].astype(d.dtype)
        return losses, d, float(counted.sum())

    def _of_probabilities(
        self, logits: Array, probabilities: Array, gradient: bool, kept: Array | float = 1.0
    ) -> tuple[Array, Array | None, float]:
        """Return what `_evaluate` does; the rows that are not kept give zeros."""
        classes = logits.shape[-1]
        share = np.broadcast_to(self.label_smoothing / classes * kept, logits.shape)
        weight = np.ones(classes) if self.weight is None else self.weight
        compute = partial(_soft_cross_entropy, keep=1.0 - self.label_smoothing, weight=weight, gradient=gradient)
        rows = (each.reshape(-1, classes) for each in (logits, probabilities, share))
        with np.errstate(all="ignore"):
            losses, *d = in_pieces(compute, *rows)
        count = float(losses.size)
        return losses.reshape(logits.shape[:-1]), d[0].reshape(logits.shape) if d else None, count

    def _probabilities(self, targets: Array, logits: Array) -> Array:
        if targets.shape != logits.shape:
            raise TypeError(
                f"targets: expected an integer dtype, or probabilities {logits.shape}, got {targets.dtype} with shape "
                f"{targets.shape}"
            )
        found = typed_array("targets", targets, logits.dtype)
        wrong = found[(found < 0.0) | (found > 1.0)]
        if wrong.size:
            raise ValueError(f"targets: expected probabilities from 0 to 1, got {wrong[0]}")
        return found

    def _indices(self, targets: Array, shape: tuple[int, ...]) -> Array:
        """Return the targets as int64."""
        found = index_array("targets", targets, shape[-1], exempt=self.ignore_index)
        if found.shape != shape[:-1]:
            message = f"targets: expected shape {shape[:-1]} beside predictions {shape}, got {found.shape}"
            hint = "; give probabilities as floats of the logits' dtype" if found.shape == shape else ""
            raise ValueError(message + hint)
        return found


class MSELoss(_TargetLoss):
    """Mean squared error, ``(predictions - targets)²``.

    Predictions and targets have one shape and one dtype, float32 or float64; nothing is broadcast.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)

    def _evaluate(
        self, predictions: ArrayLike, targets: ArrayLike, *, gradient: bool, threads: int | None
    ) -> tuple[Array, Array | None, float]:
        predictions, targets = _pair(predictions, targets)
        return _elementwise(partial(_squared_error, gradient=gradient), predictions, targets)


class BCEWithLogitsLoss(_TargetLoss):
    """Binary cross-entropy from logits.

    ``-(pos_weight * y * log sigmoid(x) + (1 - y) * log sigmoid(-x))`` with logits x and targets y of one
    shape and one dtype, float32 or float64, computed in float64 by way of softplus so that no logit
    overflows.

    Parameters
    ----------
    pos_weight : array, optional
        Weight of the positive answer, from 0 up, as PyTorch has it; it is broadcast against the last axes of the
        logits.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    TypeError
        When logits and targets are not of one dtype, float32 or float64.
    ValueError
        When shapes do not fit, or a target is not from 0 to 1. NaN goes through.

    Notes
    -----
    An infinite logit gives loss inf when the target has weight on the other side, and NaN (0 * inf)
    otherwise; its gradient is the limit, a finite number.
    """

    def __init__(self, *, pos_weight: ArrayLike | None = None, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)
        self.pos_weight = real_array("pos_weight", 1.0 if pos_weight is None else pos_weight).astype(np.float64)
        wrong = self.pos_weight[~(self.pos_weight >= 0.0)]
        if wrong.size:
            raise ValueError(f"pos_weight: expected numbers from 0 up, got {wrong[0]}")

    def _evaluate(
        self, predictions: ArrayLike, targets: ArrayLike, *, gradient: bool, threads: int | None
    ) -> tuple[Array, Array | None, float]:
        logits, targets = _pair(predictions, targets)
        # fmin and fmax pass over NaN, and take no memory.
        least, most = np.fmin.reduce(targets, None, initial=0.0), np.fmax.reduce(targets, None, initial=1.0)
        if least < 0.0 or most > 1.0:
            raise ValueError(f"targets: expected numbers from 0 to 1, got {least if least < 0.0 else most}")
        weights = self._weights(logits.shape)
        return _elementwise(partial(_binary_cross_entropy, gradient=gradient), logits, targets, weights)

    def _weights(self, shape: tuple[int, ...]) -> Array:
        """Return the weight of the positive answer for each target."""
        try:
            return np.broadcast_to(self.pos_weight, shape)
        except ValueError:
            raise ValueError(
                f"pos_weight: expected a shape that broadcasts to {shape}, got {self.pos_weight.shape}"
            ) from None


class CTCLoss(_Loss):
    """Connectionist temporal classification from logits: labels of a sequence whose places are not known.

    -log of the probability of all ways to write the targets, with repeats and blanks, in the steps of the logits
    (Graves et al., "Connectionist temporal classification", 2006). The calls take ``(logits, targets, input_lengths,
    target_lengths, *, weights=None, threads=None)``:

    - logits (T, B, C), or (B, T, C) with `batch_first`, float32 or float64; PyTorch has log-probabilities there;
    - targets (B, S), or all labels one behind the other, of any integer type: 0 to C - 1, and not `blank`;
    - input_lengths and target_lengths (B), of any integer type: the steps and labels of each sequence;
    - weights (B), numbers from 0 up: of each sequence.

    The mean is PyTorch's: each loss is divided by the number of its labels, or by 1, and then the mean over B is taken,
    with weights the weighted mean. A `Trainer` gives the lengths: see `gru_native.train.Batches` and `Sequences`.

    Parameters
    ----------
    blank : int
        The class between labels.
    reduction : {"mean", "sum", "none"}
    zero_infinity : bool
        Whether a sequence of too few steps for its labels gives loss and gradient 0. Its loss is infinite otherwise,
        and its gradient NaN.
    batch_first : bool
        Whether logits are (B, T, C).

    Raises
    ------
    TypeError
        When the logits are not float32 or float64, or others not integers.
    ValueError
        When shapes do not fit, a length is too large, or a target is no label.
    """

    def __init__(
        self, blank: int = 0, reduction: Reduction = "mean", zero_infinity: bool = False, batch_first: bool = False
    ) -> None:
        super().__init__(reduction)
        self.blank = whole("blank", blank, 0)
        self.zero_infinity = flag("zero_infinity", zero_infinity)
        self.batch_first = flag("batch_first", batch_first)

    @repeatable
    def __call__(
        self,
        logits: ArrayLike,
        targets: ArrayLike,
        input_lengths: ArrayLike,
        target_lengths: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        threads: int | None = None,
    ) -> float | Array:
        """Return the loss."""
        losses, _, count = self._losses(logits, targets, input_lengths, target_lengths, weights, False, threads)
        return self._reduce(losses, count)

    @repeatable
    def forward(
        self,
        logits: ArrayLike,
        targets: ArrayLike,
        input_lengths: ArrayLike,
        target_lengths: ArrayLike,
        *,
        weights: ArrayLike | None = None,
        threads: int | None = None,
    ) -> tuple[float | Array, LossTape]:
        """Return the loss and the tape for `backward`."""
        losses, d_logits, count = self._losses(logits, targets, input_lengths, target_lengths, weights, True, threads)
        return self._reduce(losses, count), LossTape(self, d_logits, losses.shape, count)

    def count(self, targets: ArrayLike, target_lengths: ArrayLike, weights: ArrayLike | None = None) -> float:
        """Return what the mean over these sequences is divided by: their number, or the sum of their weights."""
        rows = array("target_lengths", target_lengths).shape
        return float(np.prod(rows) if weights is None else _on_first_axes(weights, rows).sum())

    def _losses(
        self,
        logits: ArrayLike,
        targets: ArrayLike,
        input_lengths: ArrayLike,
        target_lengths: ArrayLike,
        weights: ArrayLike | None,
        gradient: bool,
        threads: int | None,
    ) -> tuple[Array, Array | None, float]:
        """Return single losses (B), of a mean divided by their labels, their gradient, and their `count`."""
        sizes = index_array("target_lengths", target_lengths, LARGEST)
        losses, d_logits = functional.ctc(
            self._by_steps(logits),
            _in_rows(array("targets", targets), sizes),
            input_lengths,
            sizes,
            blank=self.blank,
            gradient=gradient,
            threads=threads,
        )
        factors = 1.0 / np.maximum(sizes, 1) if self.reduction == "mean" else np.ones(len(losses))
        if weights is not None:
            factors *= _on_first_axes(weights, losses.shape)
        endless = np.isposinf(losses)
        if self.zero_infinity and endless.any():
            losses[endless] = 0.0
            if d_logits is not None:
                d_logits[:, endless] = 0.0
        with np.errstate(all="ignore"):
            losses *= factors
            if d_logits is not None and (self.reduction == "mean" or weights is not None):
                d_logits *= factors[:, None].astype(d_logits.dtype)
        if d_logits is not None and self.batch_first:
            d_logits = d_logits.swapaxes(0, 1)
        return losses, d_logits, self.count(targets, sizes, weights)

    def _by_steps(self, logits: ArrayLike) -> Array:
        """Return logits as (T, B, C)."""
        found = any_float_array("logits", logits)
        if self.batch_first and found.ndim != 3:
            raise ValueError(f"logits: expected shape (B, T, C), got {found.shape}")
        return found.swapaxes(0, 1) if self.batch_first else found

    def _spread(self, scale: Array, gradient: Array) -> Array:
        return scale[:, None, None] if self.batch_first else scale[:, None]


def _in_rows(labels: Array, sizes: Array) -> Array:
    """Return labels that stand one behind the other as (B, S); others as they are."""
    if labels.ndim != 1 or sizes.ndim != 1:
        return labels
    if labels.size != sizes.sum():
        raise ValueError(f"targets: expected {sizes.sum()} labels, as target_lengths say, got {labels.size}")
    rows = np.zeros((len(sizes), sizes.max(initial=0)), labels.dtype)
    rows[np.arange(rows.shape[1]) < sizes[:, None]] = labels
    return rows


def _elementwise(compute: Callable[..., tuple[Array, ...]], *arrays: Array) -> tuple[Array, Array | None, float]:
    """Return what `_Loss._evaluate` does, from a function that gives the losses and perhaps the gradient of a piece."""
    with np.errstate(all="ignore"):
        losses, *d = map(np.asarray, in_pieces(compute, *arrays))
    return losses, d[0] if d else None, losses.size


def _soft_cross_entropy(
    logits: Array, probabilities: Array, share: Array, *, keep: float, weight: Array, gradient: bool
) -> tuple[Array, ...]:
    x = logits.astype(np.float64, copy=False)
    exponentials = np.exp(x - x.max(-1, keepdims=True))
    total = exponentials.sum(-1, keepdims=True)
    logarithms = x - x.max(-1, keepdims=True) - np.log(total)
    q = weight * (keep * probabilities + share)
    losses = -np.where((q == 0.0) & np.isneginf(logarithms), 0.0, q * logarithms).sum(-1)
    if not gradient:
        return (losses,)
    d = exponentials / total * q.sum(-1, keepdims=True) - q
    return losses, d.astype(logits.dtype)


def _squared_error(predictions: Array, targets: Array, *, gradient: bool) -> tuple[Array, ...]:
    difference = predictions - targets
    losses = np.square(difference, dtype=np.float64)
    if not gradient:
        return (losses,)
    difference *= 2.0
    return losses, difference


def _binary_cross_entropy(logits: Array, targets: Array, weights: Array, *, gradient: bool) -> tuple[Array, ...]:
    x, y = logits.astype(np.float64, copy=False), targets.astype(np.float64, copy=False)
    positive, negative = weights * y, 1.0 - y
    e = np.exp(-np.abs(x))
    tail = np.log1p(e)
    losses = positive * (np.maximum(-x, 0.0) + tail) + negative * (np.maximum(x, 0.0) + tail)
    if not gradient:
        return (losses,)
    # sigmoid(x) and sigmoid(-x), each on its own: one minus the other would lose the small one.
    right, left = np.where(x >= 0.0, 1.0, e) / (1.0 + e), np.where(x >= 0.0, e, 1.0) / (1.0 + e)
    return losses, (negative * right - positive * left).astype(logits.dtype)


def _weights(name: str, value: ArrayLike) -> Array:
    """Return numbers from 0 up as float64."""
    found = real_array(name, value).astype(np.float64)
    wrong = found[~((found >= 0.0) & (found < np.inf))]
    if wrong.size:
        raise ValueError(f"{name}: expected finite numbers from 0 up, got {wrong[0]}")
    return found


def _on_first_axes(weights: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return weights of targets, given on all of their axes or on the first ones, on all."""
    found = _weights("weights", weights)
    if found.shape != shape[: found.ndim]:
        raise ValueError(f"weights: expected the first axes of the targets' shape {shape}, got {found.shape}")
    return np.broadcast_to(found.reshape(found.shape + (1,) * (len(shape) - found.ndim)), shape)


def _pair(predictions: ArrayLike, targets: ArrayLike) -> tuple[Array, Array]:
    """Return predictions and targets, once it is sure that they go together element by element."""
    found = any_float_array("predictions", predictions)
    return found, shaped_array("targets", targets, found.shape, found.dtype)
