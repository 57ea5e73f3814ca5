"""What a loss is given of lengths when it asks for them: those of the predictions and those of the targets."""

from __future__ import annotations

from collections.abc import Set
from inspect import signature
from typing import Any

import numpy as np

from gru_native.arguments import Array
from gru_native.nn import Module
from gru_native.train.data import Batch, Data
from gru_native.train.prediction import batch_first

NAMES = frozenset(["input_lengths", "target_lengths"])
LAYOUTS = {True: "(B, T, ...)", False: "(T, B, ...)"}


def asked(loss: Any) -> Set[str]:
    """Return which lengths the ``forward`` of a loss names among its arguments."""
    return NAMES & signature(loss.forward).parameters.keys()


def refuse_lengths(names: Set[str], loss: Any, model: Module, name: str, data: Data) -> None:
    """Refuse data or a model that cannot give a loss the lengths that it asks for, and lengths that it does not."""
    kind = type(loss).__name__
    batch = Batch(*next(iter(data.epoch(0)))) if names else None
    if batch is None:
        if not model.writes and _leaves_some_out(data):
            hint = "targets of all steps of the inputs need per_step=True"
            raise ValueError(f"loss: expected one that takes target_lengths, as {name} has, got {kind}; {hint}")
        return
    if model.writes:
        expected = "one that compares each label, such as CrossEntropyLoss, for a model that writes labels"
        raise ValueError(f"loss: expected {expected}, got {kind}")
    because = f"because {kind} takes lengths"
    if model.pools:
        raise ValueError(f"model: expected an output for each step, {because}, got one that pools")
    for argument, own in (("per_step", batch.live), ("mask", batch.mask)):
        if own is not None:
            raise ValueError(f"{name}: expected no {argument}, {because}, got it")
    if data.carries_state:
        raise ValueError(f"{name}: expected sequences of their own, {because}, got data that carries states")
    if getattr(data, "batch_first", False) is None:
        raise ValueError(f"{name}: expected sequences, {because}, got inputs without a time axis")
    layout = getattr(loss, "batch_first", None)
    if layout is not None and layout != batch_first(data):
        expected = f"{kind}(batch_first={batch_first(data)}), because {name} gives {LAYOUTS[batch_first(data)]}"
        raise ValueError(f"loss: expected {expected}, got batch_first={layout}")
    if batch.targets.ndim < 2:
        raise ValueError(f"{name}: expected targets (N, S, ...), {because}, got batches of {batch.targets.shape}")


def _leaves_some_out(data: Data) -> bool:
    """Return whether there are lengths of targets, and not all labels count."""
    sizes, targets = getattr(data, "target_lengths", None), getattr(data, "targets", None)
    if sizes is None or not isinstance(targets, np.ndarray):
        return sizes is not None
    return not np.array_equal(sizes, np.full(*targets.shape[:2]))


def input_lengths(model: Module, predictions: Array, batch: Batch, data: Data) -> Array:
    """Return the steps of each row of the predictions: all, where the batch has no lengths."""
    if batch.lengths is not None:
        return model.output_lengths(batch.lengths)
    rows, steps = predictions.shape[:2] if batch_first(data) else predictions.shape[1::-1]
    return np.full(rows, steps)


def target_lengths(batch: Batch) -> Array:
    """Return the labels of each row: all, where the batch has no lengths of targets."""
    return np.full(*batch.targets.shape[:2]) if batch.target_lengths is None else batch.target_lengths


def labels_that_count(model: Module, batch: Batch, data: Data) -> Batch:
    """Return a batch whose targets are one behind the other, without padding, where a model writes labels."""
    if not model.writes or batch.target_lengths is None:
        return batch
    axes = (0, 1) if batch_first(data) else (1, 0)
    live = (np.arange(batch.targets.shape[1]) < batch.target_lengths[:, None]).transpose(axes)
    found = batch._replace(targets=batch.targets.transpose(axes)[live], live=live, target_lengths=None)
    if batch.weights is None:
        return found
    of_rows = batch.weights if batch.weights.ndim > 1 else batch.weights[:, None]
    return found._replace(weights=np.broadcast_to(of_rows, batch.targets.shape).transpose(axes)[live])


def without_padding(model: Module, predictions: Array, batch: Batch, data: Data) -> tuple[Array, Array, Array]:
    """Return the rows of predictions and those of targets one behind the other, and how long both are, (B, 2)."""
    rows = predictions if batch_first(data) else predictions.swapaxes(0, 1)
    lengths = np.stack([input_lengths(model, predictions, batch, data), target_lengths(batch)], axis=1)
    found, targets = (
        own[np.arange(own.shape[1]) < sizes[:, None]]
        for own, sizes in zip((rows, batch.targets), lengths.T, strict=True)
    )
    return found, targets, lengths
