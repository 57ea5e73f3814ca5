"""What is wrong when a loss is not finite: the first such value in the data or the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gru_native.nn import Module
from gru_native.train.data import Array, Batch
from gru_native.train.several import first, named


def advice(batches: Iterable[tuple[str, Batch]], row_axis: int | None, model: Module) -> str:
    """Return in words where the first value stands that is not finite; if there is none, what can be tried.

    Parameters
    ----------
    batches
        What the loss was computed on, each with its name.
    row_axis
        The axis of the inputs that has a place for each row; ``None`` when it is not known.
    model
        What the loss was computed with.
    """
    for name, batch in batches:
        places = [(what, _in_inputs(batch, own, row_axis)) for what, own in named(batch.inputs)]
        for what, found in (*places, ("targets", _in_targets(batch, row_axis))):
            if found is not None:
                return f"the {what} of {name} hold {found}"
        short = _too_short(batch, model)
        if short is not None:
            return f"in {name} {short}; CTCLoss(zero_infinity=True) takes the loss of such a row for 0"
    for name, array in model.state_dict().items():
        place = _first(array)
        if place is not None:
            found = _described(array[place], place, None)
            return f"the model's {name} holds {found}: load other weights, or try a lower learning rate"
    return "try a lower learning rate"


def _too_short(batch: Batch, model: Module) -> str | None:
    """Look for a row of fewer steps than its labels need, with a blank between two that are alike."""
    if batch.lengths is None or batch.target_lengths is None:
        return None
    steps, sizes = model.output_lengths(batch.lengths), batch.target_lengths
    alike = batch.targets[:, 1:] == batch.targets[:, :-1]
    needed = sizes + (alike & (np.arange(1, batch.targets.shape[1]) < sizes[:, None])).sum(axis=1)
    short = np.flatnonzero(steps < needed)
    if not len(short):
        return None
    row = short[0]
    return f"the {sizes[row]} labels of row {row} need {needed[row]} steps and have {steps[row]}"


def _in_inputs(batch: Batch, own: Any, row_axis: int | None) -> str | None:
    """Look where the model reads: not in the padding, if it is known on which axis the rows are."""
    inputs, read = np.asarray(own), batch.mask
    if inputs.shape[:2] != np.shape(first(batch.inputs))[:2]:  # its steps, if it has any, are others
        place = _first(inputs)
        return None if place is None else _described(inputs[place], place, None)
    if batch.lengths is not None and row_axis is not None:
        read = np.arange(inputs.shape[1 - row_axis])[:, None] < batch.lengths
        read = read if row_axis else read.T
    place = _first(inputs, read)
    return None if place is None else _described(inputs[place], place, row_axis)


def _in_targets(batch: Batch, row_axis: int | None) -> str | None:
    """Give a target the place of its prediction, which is on the axes of `live`, where there are any."""
    targets = np.asarray(batch.targets)
    found = _first(targets)
    if found is None:
        return None
    axes, place = targets.shape, found
    if batch.live is not None:
        axes, place = batch.live.shape, (*np.argwhere(batch.live)[found[0]].tolist(), *found[1:])
    per_step = axes[:2] == np.shape(first(batch.inputs))[:2]
    return _described(targets[found], place, row_axis if per_step else 0)


def _first(array: Array, read: Array | None = None) -> tuple[int, ...] | None:
    """Return the place of the first value that is not finite, among those that are read."""
    if array.dtype.kind != "f":
        return None
    wrong = ~np.isfinite(array)
    if read is not None:
        wrong[~read] = False
    places = np.argwhere(wrong)
    return tuple(places[0].tolist()) if len(places) else None


def _described(value: float, place: tuple[int, ...], row_axis: int | None) -> str:
    return f"{value:g} at index {place}" + (
        "" if row_axis is None or row_axis >= len(place) else f", in row {place[row_axis]}"
    )
