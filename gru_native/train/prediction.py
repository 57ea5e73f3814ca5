"""What a model gives for data of any size, batch by batch, as at inference."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gru_native import functional as F
from gru_native.arguments import Array, array, flag, instance, shaped_array, whole
from gru_native.nn import Activation, Embedding, Module, Sequential, Softmax
from gru_native.nn.signal import layout_of, trace
from gru_native.passes import repeatable
from gru_native.train.data import Batch, Data, Sequences, placed
from gru_native.train.several import as_arguments, first, is_several

ROWS = 256  # of a batch, where nobody says how many


def outputs(model: Module, data: Data, threads: int | None) -> Iterator[tuple[Batch, Array]]:
    """Yield each batch of the first epoch with what the model gives for it."""
    states = None
    for item in data.epoch(0):
        batch = Batch(*item)
        inputs, given = called_with(model, data, batch, states)
        result = model(*inputs, **given, threads=threads)
        output, states = result if model.recurrent else (result, None)
        yield batch, output


def called_with(model: Module, data: Data, batch: Batch, states: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the named arguments that a model is given for a batch.

    A chain of layers that look at single steps has no use for lengths, which its loss may have.
    """
    single = isinstance(model, Sequential) and not (model.recurrent or model.takes_lengths)
    steps = {"lengths": None if single else batch.lengths, "mask": batch.mask, "reset": batch.reset}
    if model.writes:
        steps["target_lengths"] = batch.target_lengths
    positional, given = as_arguments(batch.inputs)
    if data.carries_state and is_several(batch.inputs):
        raise ValueError("data: expected one input where states are carried from batch to batch, got several")
    if model.recurrent and not is_several(batch.inputs):
        positional += (states if data.carries_state else None,)
    return positional, given | {name: own for name, own in steps.items() if own is not None}


def batch_first(data: Data) -> bool:
    """Return whether sequences of a source are (B, T, ...); one that does not say so gives (T, B, ...)."""
    return bool(getattr(data, "batch_first", False))


def refuse_misfit(model: Module, name: str, data: Data) -> None:
    """Refuse data without a batch, or in another layout than the model takes."""
    expected = "a source of batches, such as Batches(x, y, batch_size)"
    if len(instance(name, data, Data, expected)) == 0:  # type: ignore[type-abstract]
        raise ValueError(f"{name}: expected at least one batch, got none")
    if hasattr(data, "batch_first"):
        found = None if data.batch_first is None else flag(f"{name}.batch_first", data.batch_first)
        trace(model, found, type(data).__name__)


def last_of(model: Module) -> Module:
    """Return the layer at the end of a chain, or the model itself."""
    while isinstance(model, Sequential) and len(model):
        model = model[-1]
    return model


def gives_probabilities(last: Module) -> bool:
    """Return whether a layer makes probabilities of logits."""
    return isinstance(last, Softmax) or (isinstance(last, Activation) and last.function == "sigmoid")


def predict(
    model: Module,
    inputs: Data | ArrayLike,
    lengths: ArrayLike | None,
    mask: ArrayLike | None,
    batch_size: int | None,
    threads: int | None,
) -> Array | list[Array]:
    """Return what `Module.predict` does."""
    if model.writes:
        written = "greedy, sample and beam_search of a Seq2Seq write without one"
        raise ValueError(f"model: expected one that takes no target, got a {model._kind}; {written}")
    layout = layout_of(model)
    parts: Any = inputs if isinstance(inputs, (list, tuple)) else ()
    ragged = layout is not None and len(parts) > 0 and all(isinstance(part, np.ndarray) for part in parts)
    if not (ragged or isinstance(inputs, Data)):
        return _of_array(model, array("inputs", inputs), lengths, mask, _rows(batch_size), threads)
    for name, value in (("lengths", lengths), ("mask", mask)):
        if value is not None:
            raise ValueError(f"{name}: expected None beside inputs with lengths of their own, got {name}")
    if isinstance(inputs, Data):
        if batch_size is not None:
            raise ValueError(f"batch_size: expected None beside a source of batches, got {batch_size}")
        return _of_source(model, inputs, threads)
    source = Sequences(parts, np.zeros(len(parts)), _rows(batch_size), batch_first=bool(layout))
    return _of_source(model, source, threads)


def predict_proba(
    model: Module,
    inputs: Data | ArrayLike,
    lengths: ArrayLike | None,
    mask: ArrayLike | None,
    labels: bool,
    batch_size: int | None,
    threads: int | None,
) -> Array | list[Array]:
    """Return what `Module.predict_proba` does."""
    labels, last = flag("labels", labels), last_of(model)
    if labels and isinstance(last, Softmax):
        raise ValueError("labels: expected False for a model that ends in Softmax, got True")
    found = predict(model, inputs, lengths, mask, batch_size, threads)
    if isinstance(found, list):
        return [_probabilities(last, one, labels, threads) for one in found]
    return _probabilities(last, found, labels, threads)


@repeatable
def _probabilities(last: Module, given: Array, labels: bool, threads: int | None) -> Array:
    """Return probabilities of what a model gives that has this layer at its end."""
    if isinstance(last, Softmax):
        return given
    if gives_probabilities(last):
        yes, no = given, 1 - given
    elif labels or given.shape[-1] == 1:
        yes, no = F.sigmoid(given), F.sigmoid(-given)
    else:
        return F.softmax(given, threads=threads)
    return np.concatenate([no, yes], -1) if given.shape[-1] == 1 and not labels else yes


def _of_array(
    model: Module,
    inputs: Array,
    lengths: ArrayLike | None,
    mask: ArrayLike | None,
    size: int,
    threads: int | None,
) -> Array:
    layout = layout_of(model)
    axes = inputs.ndim + (inputs.dtype.kind in "iu")  # indices have no features
    if axes < (2 if layout is None else 3):
        expected = "(N, ...)" if layout is None else "(N, T, ...)" if layout else "(T, N, ...)"
        indexed = any(isinstance(module, Embedding) for _, module in model.named_modules())
        hint = f" of {inputs.dtype}; indices have an integer dtype" if indexed and inputs.dtype.kind == "f" else ""
        raise ValueError(f"inputs: expected shape {expected}, got {inputs.shape}{hint}")
    axis = int(layout is False)
    rows = inputs.shape[axis]
    given: dict[str, tuple[Any, int]] = {}  # and the axis of the rows
    if lengths is not None:
        if layout is None:
            raise ValueError("lengths: expected None, because no layer takes sequences, got lengths")
        given["lengths"] = F.sequence_lengths(lengths, inputs.shape[1 - axis], rows), 0
    if mask is not None:
        given["mask"] = shaped_array("mask", mask, inputs.shape[:2], np.bool_), axis
    parts = []
    for start in range(0, max(rows, 1), size):
        chosen = slice(start, start + size)
        own = {name: array[(slice(None),) * place + (chosen,)] for name, (array, place) in given.items()}
        result = model(inputs[(slice(None),) * axis + (chosen,)], **own, threads=threads)
        parts.append(result[0] if model.recurrent else result)
    return _joined(parts, 0 if model.pools else axis)


@repeatable
def _joined(parts: list[Array], axis: int) -> Array:
    return np.concatenate(parts, axis)


def _of_source(model: Module, data: Data, threads: int | None) -> Array | list[Array]:
    refuse_misfit(model, "inputs", data)
    if not hasattr(data, "places"):
        raise TypeError(f"inputs: expected a source with places, which give the order, got {type(data).__name__}")
    places: list[Array] = []
    parts: list[Array] = []
    lengths = None
    for own, batch, output in placed(data, outputs(model, data, threads)):
        lengths = None if model.pools or batch.lengths is None else model.output_lengths(batch.lengths)
        axes = own.shape if lengths is None else _axes_behind(model, data, np.shape(first(batch.inputs)))
        if output.shape[: len(axes)] != axes or (model.pools and own.ndim > 1):
            raise ValueError(f"model: expected an output for each of the inputs {axes}, got shape {output.shape}")
        places.append(own.reshape(-1))
        if lengths is None:
            parts.append(output.reshape(own.size, *output.shape[own.ndim :]))
        else:
            rows = output if batch_first(data) else output.swapaxes(0, 1)
            parts += [row[:length].copy() for row, length in zip(rows, lengths, strict=True)]
    order = np.argsort(np.concatenate(places))
    return _joined(parts, 0)[order] if lengths is None else [parts[i] for i in order]


def _axes_behind(model: Module, data: Data, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the first two axes of what a model gives for sequences of this shape."""
    if batch_first(data):
        return shape[0], int(model.output_lengths(shape[1]))
    return int(model.output_lengths(shape[0])), shape[1]


def _rows(batch_size: int | None) -> int:
    return ROWS if batch_size is None else whole("batch_size", batch_size)
