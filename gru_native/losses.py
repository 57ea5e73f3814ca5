"""Loss functions, as PyTorch defines them, but the classes stand on the last axis and the mean over no target is 0.

Every loss has three methods:

- ``loss(predictions, targets)`` is the value;
- ``loss.forward(predictions, targets)`` is ``(value, tape)``;
- ``loss.backward(tape, d_loss=1.0)`` is the gradient with respect to the predictions, in their dtype.

With ``reduction="mean"`` or ``"sum"`` the value is a Python float, summed in float64, and `d_loss` a number.
The mean over no target at all is 0, as its gradient is, where PyTorch has NaN: such a batch teaches nothing.
With ``"none"`` the value is a float64 array with one loss for each target, and `d_loss` a number or an array
of that shape. NaN and infinity give what IEEE arithmetic makes of the formula, without a warning.

The first two take ``threads=None``, the most threads to compute with (``None`` for the default).
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
    index_array,
    instance,
    number,
    one_of,
    real_array,
    shaped_array,
    whole,
)
from gru_native.passes import in_pieces, repeatable

Reduction = Literal["mean", "sum", "none"]

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "LossTape", "MSELoss"]


@dataclass
class LossTape:
    """What `backward` of the same loss needs: the gradient of the single losses, and their number. It serves once."""

    loss: _Loss = field(repr=False)
    gradient: Array | None
    shape: tuple[int, ...]
    count: int


class _Loss:
    """Reduction and backward pass, common to all losses; a subclass gives the single losses (`_evaluate`)."""

    def __init__(self, reduction: Reduction) -> None:
        self.reduction = one_of("reduction", reduction, ("mean", "sum", "none"))

    @repeatable
    def __call__(self, predictions: Array, targets: Array, *, threads: int | None = None) -> float | Array:
        """Return the loss."""
        losses, _, count = self._evaluate(predictions, targets, gradient=False, threads=threads)
        return self._reduce(losses, count)

    @repeatable
    def forward(
        self, predictions: Array, targets: Array, *, threads: int | None = None
    ) -> tuple[float | Array, LossTape]:
        """Return the loss and the tape for `backward`."""
        losses, gradient, count = self._evaluate(predictions, targets, gradient=True, threads=threads)
        return self._reduce(losses, count), LossTape(self, gradient, losses.shape, count)

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
            scale = scale.reshape(scale.shape + (1,) * (gradient.ndim - scale.ndim))
        tape.gradient = None
        with np.errstate(all="ignore"):
            return np.multiply(gradient, scale, out=gradient)

    def _evaluate(
        self, predictions: Array, targets: Array, *, gradient: bool, threads: int | None
    ) -> tuple[Array, Array | None, int]:
        """Return single losses (float64), their gradient (a new array, or None), their number in a mean."""
        raise NotImplementedError

    def _reduce(self, losses: Array, count: int) -> float | Array:
        if self.reduction == "none":
            return losses
        with np.errstate(all="ignore"):
            total = float(losses.sum())
        if self.reduction == "sum":
            return total
        return total / count if count else 0.0


class CrossEntropyLoss(_Loss):
    """Cross-entropy from logits and integer targets, with the classes on the last axis of the logits.

    ``-sum_c q_c log softmax(logits)_c`` where q is 1 - label_smoothing at the target plus label_smoothing / C
    everywhere (Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016). The logits
    are (..., C), float32 or float64, the targets (...), of any integer type; PyTorch has classes on axis 1.

    Parameters
    ----------
    ignore_index : int
        Targets of this value give loss 0 and gradient 0 and do not count in the mean.
    label_smoothing : float
        From 0 to 1.
    reduction : {"mean", "sum", "none"}

    Raises
    ------
    TypeError
        When the logits are not float32 or float64 or the targets not integers.
    ValueError
        When shapes do not fit or a target is neither a class nor `ignore_index`.

    Notes
    -----
    A NaN or +inf among the logits of a target makes its loss and gradient NaN; -inf is a class of probability
    0 (loss inf when it is the target, or with label smoothing).
    """

    def __init__(
        self, *, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: Reduction = "mean"
    ) -> None:
        super().__init__(reduction)
        self.ignore_index = whole("ignore_index", ignore_index, -LARGEST - 1)
        self.label_smoothing = number("label_smoothing", label_smoothing, most=1.0)

    def _evaluate(
        self, predictions: Array, targets: Array, *, gradient: bool, threads: int | None
    ) -> tuple[Array, Array | None, int]:
        logits = any_float_array("predictions", predictions)
        if logits.ndim == 0 or logits.shape[-1] == 0:
            raise ValueError(f"predictions: expected shape (..., C) with C of at least 1, got {logits.shape}")
        indices, count = self._indices(targets, logits.shape)
        losses, d_logits = functional.softmax_cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            indices.reshape(-1),
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            gradient=gradient,
            threads=threads,
        )
        return (
            losses.reshape(indices.shape),
            None if d_logits is None else d_logits.reshape(logits.shape),
            count,
        )

    def _indices(self, targets: Array, shape: tuple[int, ...]) -> tuple[Array, int]:
        """Return the targets as int64 and how many of them are not ignored."""
        found = index_array("targets", targets, shape[-1], exempt=self.ignore_index)
        if found.shape != shape[:-1]:
            raise ValueError(f"targets: expected shape {shape[:-1]} beside predictions {shape}, got {found.shape}")
        return found, int(np.count_nonzero(found != self.ignore_index))


class MSELoss(_Loss):
    """Mean squared error, ``(predictions - targets)²``.

    Predictions and targets have one shape and one dtype, float32 or float64; nothing is broadcast.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        super().__init__(reduction)

    def _evaluate(
        self, predictions: Array, targets: Array, *, gradient: bool, threads: int | None
    ) -> tuple[Array, Array | None, int]:
        predictions, targets = _pair(predictions, targets)
        return _elementwise(partial(_squared_error, gradient=gradient), predictions, targets)


class BCEWithLogitsLoss(_Loss):
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
        self, predictions: Array, targets: Array, *, gradient: bool, threads: int | None
    ) -> tuple[Array, Array | None, int]:
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


def _elementwise(compute: Callable[..., tuple[Array, ...]], *arrays: Array) -> tuple[Array, Array | None, int]:
    """Return what `_Loss._evaluate` does, from a function that gives the losses and perhaps the gradient of a piece."""
    with np.errstate(all="ignore"):
        losses, *d = map(np.asarray, in_pieces(compute, *arrays))
    return losses, d[0] if d else None, losses.size


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


def _pair(predictions: ArrayLike, targets: ArrayLike) -> tuple[Array, Array]:
    """Return predictions and targets, once it is sure that they go together element by element."""
    found = any_float_array("predictions", predictions)
    return found, shaped_array("targets", targets, found.shape, found.dtype)
