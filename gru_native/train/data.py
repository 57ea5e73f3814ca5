"""Training data: batches of separate samples, of sequences of any lengths, and windows of one long stream.

A source of batches has three things:

``len(data)``
    the number of batches in an epoch;
``data.epoch(number)``
    an iterator over the batches of that epoch, the same for the same number: ``(inputs, targets)``, or a `Batch`
    that says more;
``data.carries_state``
    whether each batch goes on where the one before it ended, so that a recurrent model's states are handed
    on.

`Trainer` uses four more where they are there; the sources of this module have all:

``data.batch_first``
    whether inputs are sequences (B, T, ...), or (T, B, ...); ``None`` for inputs without a time axis. A model that
    takes another layout is refused, and the row of a value that is not finite is named. Without this attribute
    nothing is checked.
``data.places(number)``
    beside ``data.epoch(number)``, for each batch an array of whole numbers that says for each row
    (B,), or for each step (T, B), which of the source's inputs it is: each from 0 up once. `Module.predict` needs
    it; where batches have lengths it reads outputs for each step as (T, B, ...), unless `batch_first` is true.
``data.shard(number, count)``
    a source of the same batches with the rows number, number + count, ... of each, which may be none. `Trainer` needs
    it for more than one shard.
``data.fingerprint``
    a hash of its content and settings, any string, which a `Checkpoint` keeps. It is computed when it is first asked
    for, once, at 1 to 2 GB/s, so do not write to the arrays after that. Without it, a run that goes on from a
    checkpoint does not notice that it has other data of as many batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from copy import copy
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike

from gru_native import functional as F
from gru_native.arguments import (
    EXACT,
    T,
    array,
    every,
    flag,
    function,
    index_array,
    instance,
    magnitude,
    shaped_array,
    whole,
)
from gru_native.arguments import Array as Array
from gru_native.passes import repeatable
from gru_native.random import Seed, generator, seed_path
from gru_native.train.identity import fingerprint
from gru_native.train.several import as_parts, checked, each, first, holds_arrays, named

if TYPE_CHECKING:
    from typing_extensions import Self


#: An input of `Sequences`: a list of sequences, or an array with a row for each.
Column: TypeAlias = Sequence[ArrayLike] | Array


class Batch(NamedTuple):
    """What a step trains on.

    Attributes
    ----------
    inputs : array, or tuple or dict of arrays
        What the model takes: several inputs by place or by name. The first one says which rows and steps there are.
    targets : array
        What the loss takes.
    lengths : (B,) or None
        Handed to the model: the steps of each row.
    live : array of bool, or None
        Which of the model's predictions have a target, on their first axes: the loss sees ``predictions[live]``, and
        the targets are as many.
    weights : array, or None
        Of the targets, on all of their axes or on the first ones, for the loss.
    reset, mask : array of bool, or None
        Handed to the model, in the layout of its sequences: where episodes begin, and in place of lengths which steps
        count.
    target_lengths : (B,) or None
        The labels of each row of targets (B, S, ...): handed to a loss that asks for them, and to a model that writes.
    """

    inputs: Any
    targets: Array
    lengths: Array | None = None
    live: Array | None = None
    weights: Array | None = None
    reset: Array | None = None
    mask: Array | None = None
    target_lengths: Array | None = None


@runtime_checkable
class Data(Protocol):
    """A source of batches; see the module."""

    carries_state: bool

    def __len__(self) -> int: ...

    def epoch(self, number: int) -> Iterator[tuple[Any, ...]]:
        """Yield the batches of an epoch: each what `Batch` takes."""


class _Source:
    """What the sources of this module have in common: of each batch they give some rows, at first all."""

    _rows = slice(None)

    def shard(self, number: int, count: int) -> Self:
        """Return a source of the rows number, number + count, ... of each batch.

        Neighbours in a batch have like lengths, so the shards have, too.
        """
        count, found = whole("count", count), copy(self)
        found._rows = slice(whole("number", number, 0, count - 1), None, count)
        return found


class Batches(_Source):
    """Mini-batches of separate samples, with the samples on the first axis as in PyTorch's ``DataLoader``.

    Parameters
    ----------
    inputs
        (N, ...); sequences as (N, T, I), for a model with ``batch_first=True``. A tuple or a dictionary of arrays is
        several inputs, which the model's calls take by place or by name.
    targets
        (N, ...).
    batch_size
        Samples in a batch; the last one of an epoch may have fewer.
    shuffle
        Whether each epoch has an order of its own, drawn from `seed` and the epoch's number.
    seed
        A whole number or a tuple of them.
    weights
        (N, ...), of the targets, from 0 up: see `gru_native.losses`.
    lengths, mask, reset
        Of sequences (N, T, ...): the steps of each, (N,), or in their place which steps count, (N, T) of bool; and
        where new episodes begin, (N, T) of bool. A model takes them as `gru_native.nn.GRU` does.
    per_step
        Whether there is a target for each step, (N, T, ...): those of steps that do not count are left out.
    target_lengths
        Of targets (N, S, ...): the labels of each, (N,), for a model that writes labels, such as `Seq2Seq`, or a loss
        that asks for them, as `CTCLoss` does.

    Raises
    ------
    TypeError
        When inputs, targets or weights are not numbers, or flags not of bool.
    ValueError
        When inputs, targets and weights differ in number, or there are none; for lengths beside a mask, and lengths of
        targets beside `per_step`.
    """

    carries_state = False

    def __init__(
        self,
        inputs: ArrayLike | tuple[ArrayLike, ...] | Mapping[str, ArrayLike],
        targets: ArrayLike,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: Seed = 0,
        weights: ArrayLike | None = None,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        per_step: bool = False,
        target_lengths: ArrayLike | None = None,
    ) -> None:
        several = isinstance(inputs, Mapping) or (isinstance(inputs, tuple) and holds_arrays(inputs))
        self.inputs = checked(inputs, _numbers) if several else _numbers("inputs", inputs)
        self._first, self.targets = _pair(first(self.inputs), targets)
        for name, own in named(self.inputs):
            _refuse_other_number(name, self._first, own)
        self.weights = None if weights is None else _numbers("weights", weights)
        if self.weights is not None:
            _refuse_other_number("weights", self._first, self.weights)
        self.per_step = flag("per_step", per_step)
        axes = self._first.shape[:2]
        for name, own in (("lengths", lengths), ("mask", mask), ("reset", reset)):
            if own is not None and len(axes) < 2:
                raise ValueError(f"{name}: expected inputs with steps, (N, T, ...), got {self._first.shape}")
        if self.per_step and self.targets.shape[:2] != axes:
            raise ValueError(f"targets: expected one for each of the steps {axes}, got shape {self.targets.shape}")
        if lengths is not None and mask is not None:
            raise ValueError("lengths: expected None beside mask, got lengths")
        self.lengths = None if lengths is None else F.sequence_lengths(lengths, *axes[::-1])
        self.mask = None if mask is None else shaped_array("mask", mask, axes, np.bool_, "(N, T)")
        self.reset = None if reset is None else shaped_array("reset", reset, axes, np.bool_, "(N, T)")
        if self.per_step and target_lengths is not None:
            raise ValueError("target_lengths: expected None beside per_step, got target_lengths")
        self.target_lengths = None if target_lengths is None else _lengths_of(self.targets, target_lengths)
        self.batch_size = whole("batch_size", batch_size)
        self.shuffle = flag("shuffle", shuffle)
        self.seed = seed_path(seed)

    @property
    def batch_first(self) -> bool | None:
        """Whether inputs are sequences: (N, T, ...) of numbers with features last, or of indices without them."""
        axes = self._first.ndim + (self._first.dtype.kind in "iu")
        return True if axes > 2 else None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content and the settings: see the module."""
        given = (self.batch_size, self.shuffle, self.seed, self.per_step)
        steps = (self.weights, self.lengths, self.mask, self.reset)
        sizes = () if self.target_lengths is None else (self.target_lengths,)
        return fingerprint(type(self).__name__, *given, as_parts(self.inputs), self.targets, *steps, *sizes)

    def __len__(self) -> int:
        return -(-len(self._first) // self.batch_size)

    def epoch(self, number: int) -> Iterator[tuple[Array, Array] | Batch]:
        """Yield the batches of an epoch: inputs and targets, or where there is more a `Batch`."""
        for chosen in self.places(number):
            yield self._batch(chosen)

    @repeatable
    def _batch(self, chosen: Array) -> tuple[Array, Array] | Batch:
        inputs, targets = each(lambda _, own: own[chosen], self.inputs), self.targets[chosen]
        given = (self.weights, self.lengths, self.mask, self.reset, self.target_lengths)
        if all(own is None for own in given):
            return inputs, targets
        weights, lengths, live, reset, sizes = (None if own is None else own[chosen] for own in given)
        batch = Batch(inputs, targets, lengths, weights=weights, reset=reset, mask=live, target_lengths=sizes)
        if lengths is not None:
            live = np.arange(self._first.shape[1]) < lengths[:, None]
        if not self.per_step or live is None:
            return batch
        if weights is not None:
            weights = (weights if weights.ndim > 1 else np.broadcast_to(weights[:, None], live.shape))[live]
        return batch._replace(targets=targets[live], live=live, weights=weights)

    def places(self, number: int) -> Iterator[Array]:
        """Yield which samples are in each batch."""
        samples, number = len(self._first), whole("number", number, 0)
        order = generator((*self.seed, number)).permutation(samples) if self.shuffle else np.arange(samples)
        for start in range(0, samples, self.batch_size):
            yield order[start : start + self.batch_size][self._rows]


class Sequences(_Source):
    """Mini-batches of sequences of different lengths, those of like length together, padded with zeros.

    Arrays of several types are brought to the one type that holds all their values.

    Parameters
    ----------
    inputs
        A list of N arrays (T_i, ...), alike but for their lengths. A tuple or a dictionary is several inputs, which the
        model's calls take by place or by name: the first a list of N arrays, whose lengths count, others such a list,
        or an array (N, ...) with a row for each sequence.
    targets
        (N, ...), one for each sequence; a list of N arrays (S_i, ...) that differ in length, for a model that writes
        labels, such as `Seq2Seq`, or a loss that asks for ``target_lengths``, as `CTCLoss` does; with `per_step` N
        arrays (T_i, ...), one for each step.
    batch_size
        Sequences in a batch; one batch of an epoch may have fewer.
    per_step
        Whether there is a target for each step.
    batch_first
        Whether batches are (B, T, ...) instead of (T, B, ...).
    shuffle
        Whether each epoch has an order of its own, drawn from `seed` and the epoch's number: sequences are shuffled,
        some batches full of them at a time sorted by length, and the batches shuffled again. Otherwise all sequences
        are sorted, the longest first.
    seed
        A whole number or a tuple of them.
    weights
        (N, ...), of the targets of each sequence, from 0 up: see `gru_native.losses`. With `per_step` (N,), each for
        all steps of a sequence.
    reset
        N arrays (T_i,) of bool: where new episodes begin.

    Raises
    ------
    TypeError
        When one of the arrays does not hold numbers.
    ValueError
        When inputs and targets differ in number or lengths, or there are none; when arrays differ in more than their
        lengths, or no type holds the values of all.
    """

    carries_state = False

    #: Batches that are filled from sequences sorted by length together.
    batches_in_pool = 20

    def __init__(
        self,
        inputs: Sequence[ArrayLike] | tuple[Column, ...] | Mapping[str, Column],
        targets: ArrayLike | Sequence[ArrayLike],
        batch_size: int,
        *,
        per_step: bool = False,
        batch_first: bool = False,
        shuffle: bool = False,
        seed: Seed = 0,
        weights: ArrayLike | None = None,
        reset: Sequence[ArrayLike] | None = None,
    ) -> None:
        self.per_step = flag("per_step", per_step)
        self.inputs = _columns(inputs)
        self._first: list[Array] = first(self.inputs)
        for name, own in named(self.inputs):
            _refuse_other_number(name, self._first, own)
        self.lengths = np.array([len(sequence) for sequence in self._first])
        given: Any = targets
        apart = self.per_step or _differ_in_length(given)
        self.targets: Any = _alike("targets", given) if apart else _numbers("targets", given)
        of_rows = not self.per_step and (apart or _are_labels(given))
        self.target_lengths = np.array([len(own) for own in self.targets]) if of_rows else None
        _refuse_other_number("targets", self._first, self.targets)
        self.weights = None if weights is None else _numbers("weights", weights)
        if self.weights is not None:
            _refuse_other_number("weights", self._first, self.weights)
            if self.per_step and self.weights.ndim > 1:
                raise ValueError(f"weights: expected one for each sequence, got shape {self.weights.shape}")
        if self.per_step:
            for i, (length, own) in enumerate(zip(self.lengths, self.targets, strict=True)):
                if len(own) != length:
                    raise ValueError(f"targets[{i}]: expected {length} steps, as many as inputs[{i}], got {own.shape}")
        self.reset = None if reset is None else every("reset", reset, array)
        if self.reset is not None:
            _refuse_other_number("reset", self._first, self.reset)
            for i, (length, flags) in enumerate(zip(self.lengths, self.reset, strict=True)):
                shaped_array(f"reset[{i}]", flags, (int(length),), np.bool_)
        self.batch_size = whole("batch_size", batch_size)
        self.batch_first = flag("batch_first", batch_first)
        self.shuffle = flag("shuffle", shuffle)
        self.seed = seed_path(seed)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content and the settings: see the module."""
        given = (self.batch_size, self.per_step, self.batch_first, self.shuffle, self.batches_in_pool, self.seed)
        return fingerprint(type(self).__name__, given, as_parts(self.inputs), self.targets, self.weights, self.reset)

    def __len__(self) -> int:
        return -(-len(self._first) // self.batch_size)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        for chosen in self.places(number):
            yield self._batch(chosen)

    @repeatable
    def _batch(self, chosen: Array) -> Batch:
        lengths, inputs = self.lengths[chosen], each(lambda _, own: self._chosen(own, chosen), self.inputs)
        weights = None if self.weights is None else self.weights[chosen]
        reset = None if self.reset is None else self._chosen(self.reset, chosen)
        if self.target_lengths is not None:
            batch = Batch(inputs, _padded(self.targets, chosen), lengths, weights=weights, reset=reset)
            return batch._replace(target_lengths=self.target_lengths[chosen])
        if not self.per_step:
            return Batch(inputs, self.targets[chosen], lengths, weights=weights, reset=reset)
        live = np.arange(max(lengths, default=0))[:, None] < lengths
        if weights is not None:
            weights = np.broadcast_to(weights, live.shape)
        if self.batch_first:
            live, weights = live.T, None if weights is None else weights.T
        targets = self._chosen(self.targets, chosen)[live]
        return Batch(inputs, targets, lengths, live, None if weights is None else weights[live], reset)

    def places(self, number: int) -> list[Array]:
        """Return which sequences are in each batch."""
        size, number = self.batch_size, whole("number", number, 0)
        if not self.shuffle:
            order = np.argsort(-self.lengths, kind="stable")
            return [order[start : start + size][self._rows] for start in range(0, len(order), size)]
        rng = generator((*self.seed, number))
        order = rng.permutation(len(self._first))
        pool = size * self.batches_in_pool
        pools = [order[start : start + pool] for start in range(0, len(order), pool)]
        sorted_pools = [each[np.argsort(self.lengths[each], kind="stable")] for each in pools]
        batches = [each[start : start + size] for each in sorted_pools for start in range(0, len(each), size)]
        return [batches[i][self._rows] for i in rng.permutation(len(batches))]

    def _chosen(self, column: list[Array] | Array, places: Array) -> Array:
        if isinstance(column, np.ndarray):
            return column[places]
        together = _padded(column, places)
        return together if self.batch_first else np.ascontiguousarray(together.swapaxes(0, 1))


class Stream(_Source):
    """One long sequence, cut into parallel streams that are read window by window: truncated BPTT.

    The sequence is cut into `batch_size` streams of equal length, which lie side by side as the rows of the
    batch. Each batch is the next window of all of them, time-major, and the states at the end of a window are
    those at the start of the next. So the states see the whole past, while gradients reach back to the start
    of the window (Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories", 1990).

    Parameters
    ----------
    inputs, targets
        (N, ...) each, with time on the first axis. To predict the next element of `ids`, give ``ids[:-1]``
        and ``ids[1:]``.
    batch_size
        B, the number of streams. The last ``N % B`` elements are left out.
    window
        T, the time steps of a batch; the last one of an epoch may have fewer. Batches are (T, B, ...).
    reset
        (N,) of bool: where new episodes begin, as where one text ends and another follows.

    Raises
    ------
    TypeError
        When inputs or targets are not numbers, or `reset` is not of bool.
    ValueError
        When inputs and targets differ in length, or are shorter than `batch_size`.
    """

    carries_state = True
    batch_first = False

    def __init__(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        batch_size: int,
        window: int,
        *,
        reset: ArrayLike | None = None,
    ) -> None:
        self.batch_size = whole("batch_size", batch_size)
        self.window = whole("window", window)
        inputs, targets = _pair(inputs, targets)
        if len(inputs) < batch_size:
            raise ValueError(f"inputs: expected at least batch_size = {batch_size} elements, got {len(inputs)}")
        flags = None if reset is None else shaped_array("reset", reset, inputs.shape[:1], np.bool_, "(N,)")
        self.inputs, self.targets = self._side_by_side(inputs), self._side_by_side(targets)
        self.reset = None if flags is None else self._side_by_side(flags)

    @repeatable
    def _side_by_side(self, sequence: Array) -> Array:
        length = len(sequence) // self.batch_size
        streams = sequence[: length * self.batch_size].reshape(self.batch_size, length, *sequence.shape[1:])
        return np.ascontiguousarray(streams.swapaxes(0, 1))

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content and the settings: see the module."""
        return fingerprint(type(self).__name__, self.batch_size, self.window, self.inputs, self.targets, self.reset)

    def __len__(self) -> int:
        return -(-len(self.inputs) // self.window)

    def epoch(self, number: int) -> Iterator[tuple[Array, Array] | Batch]:
        """Yield the windows in order; every epoch is the same."""
        for window in self._windows():
            inputs, targets = self.inputs[window], self.targets[window]
            yield (inputs, targets) if self.reset is None else Batch(inputs, targets, reset=self.reset[window])

    def places(self, number: int) -> Iterator[Array]:
        """Yield which elements of the sequence are in each window, (T, B)."""
        elements = self._side_by_side(np.arange(self.inputs.shape[0] * self.batch_size))
        for window in self._windows():
            yield elements[window]

    def _windows(self) -> list[tuple[slice, slice]]:
        return [(slice(start, start + self.window), self._rows) for start in range(0, len(self.inputs), self.window)]


def placed(data: Any, results: Iterable[tuple[Batch, T]]) -> Iterator[tuple[Array, Batch, T]]:
    """Yield what belongs to each batch of the first epoch: its places, the batch, and what was made of it.

    Parameters
    ----------
    data
        A source with ``places``.
    results
        The batches of ``data.epoch(0)`` in order, and what was made of each.

    Raises
    ------
    TypeError, ValueError
        Before the first result is asked for, when ``data.places(0)`` are not arrays of whole numbers, one for each
        batch, with each number from 0 up just once. Later, when one does not fit the rows or steps of its batch, or
        there are not as many batches.
    """
    places = _checked_places(data)
    for number, (own, result) in enumerate(zip_longest(places, results)):
        if own is None or result is None:
            found = "more" if own is None else number
            raise ValueError(f"data.epoch: expected {len(places)} batches, the length of the data, got {found}")
        batch, made = result
        steps = np.shape(first(batch.inputs))[:2]  # or rows, or both, as the layout is
        of_inputs = {steps, steps[:1], steps[1:]} - {()}
        fitting = of_inputs if batch.lengths is None else {np.shape(batch.lengths)}
        if own.shape not in fitting:
            expected = " or ".join(map(str, sorted(fitting)))
            raise ValueError(f"data.places[{number}]: expected shape {expected}, got {own.shape}")
        yield own, batch, made


def _checked_places(data: Any) -> list[Array]:
    given = every("data.places", function("data.places", data.places)(0), array)
    if len(given) != len(data):
        raise ValueError(f"data.places: expected {len(data)} arrays, one for each batch, got {len(given)}")
    total = sum(own.size for own in given)
    places = [index_array(f"data.places[{number}]", own, total) for number, own in enumerate(given)]
    again = np.flatnonzero(np.bincount(np.concatenate([own.reshape(-1) for own in places])) > 1)
    if again.size:
        raise ValueError(f"data.places: expected each of 0 to {total - 1} once, got {again[0]} again")
    return places


def _numbers(name: str, given: Any) -> Array:
    """Return an array of numbers with an axis for the samples or steps."""
    found = array(name, given)
    if found.dtype.kind not in "biuf":
        raise TypeError(f"{name}: expected an array of numbers, got {found.dtype}")
    if found.ndim == 0:
        raise ValueError(f"{name}: expected at least 1 dimension, got a single number")
    return found


def _alike(name: str, given: Iterable[Any]) -> list[Array]:
    """Return sequences that may differ in length, all of the one type that holds their values."""
    arrays = every(name, given, _numbers)
    if not arrays:
        raise ValueError(f"{name}: expected at least one, got none")
    first = arrays[0]
    dtypes = {own.dtype for own in arrays if own.size} or {first.dtype}  # an empty list says nothing of its type
    common = np.result_type(*dtypes)
    if common.kind == "f" and all(dtype.kind != "f" for dtype in dtypes):
        found = " and ".join(sorted(map(str, dtypes)))
        raise ValueError(f"{name}: expected one type that holds all values, got {found}")
    for i, own in enumerate(arrays):
        if own.shape[1:] != first.shape[1:]:
            raise ValueError(f"{name}[{i}]: expected shape (T, ...) as {name}[0]'s {first.shape}, got {own.shape}")
        if common.kind == "f" and own.dtype.kind in "iu" and magnitude(own) > EXACT:
            raise ValueError(f"{name}[{i}]: expected integers up to 2**53 beside {common}, got {magnitude(own)}")
    return [own.astype(common, copy=False) for own in arrays]


def _columns(inputs: Any) -> Any:
    """Return a list of sequences, or several inputs of which the first is one."""
    if not isinstance(inputs, Mapping) and not (isinstance(inputs, tuple) and any(map(_is_column, inputs))):
        return _alike("inputs", inputs)
    found = checked(inputs, _column)
    instance(*next(named(found)), list, "a list of sequences, whose lengths count")
    return found


def _is_column(part: Any) -> bool:
    return isinstance(part, list) and holds_arrays(part)


def _column(name: str, given: Any) -> list[Array] | Array:
    return _numbers(name, given) if isinstance(given, np.ndarray) else _alike(name, given)


def _differ_in_length(given: Any) -> bool:
    """Return whether there is a list of parts whose lengths are not one and the same."""
    parts = given if isinstance(given, (list, tuple)) else ()
    lengths = {len(own) if isinstance(own, (list, tuple)) else next(iter(np.shape(own)), None) for own in parts}
    return len(lengths) > 1 and None not in lengths


def _are_labels(given: Any) -> bool:
    """Return whether there is a list of arrays of whole numbers."""
    return isinstance(given, (list, tuple)) and all(
        isinstance(own, np.ndarray) and own.ndim == 1 and own.dtype.kind in "iu" for own in given
    )


def _padded(arrays: list[Array], chosen: Array) -> Array:
    """Return some of the arrays with zeros behind the shorter ones, (B, T, ...); of none (0, 0, ...)."""
    shape, dtype = arrays[0].shape[1:], arrays[0].dtype
    together = np.zeros((len(chosen), max((len(arrays[i]) for i in chosen), default=0), *shape), dtype)
    for row, i in zip(together, chosen, strict=True):
        row[: len(arrays[i])] = arrays[i]
    return together


def _lengths_of(targets: Array, lengths: ArrayLike) -> Array:
    """Return how many of the labels of each row count."""
    if targets.ndim < 2:
        raise ValueError(f"target_lengths: expected targets (N, S, ...), got shape {targets.shape}")
    found = index_array("target_lengths", lengths, targets.shape[1] + 1)
    if found.shape != targets.shape[:1]:
        raise ValueError(f"target_lengths: expected shape {targets.shape[:1]}, got {found.shape}")
    return found


def _pair(inputs: ArrayLike, targets: ArrayLike) -> tuple[Array, Array]:
    inputs, targets = _numbers("inputs", inputs), _numbers("targets", targets)
    _refuse_other_number("targets", inputs, targets)
    if len(inputs) == 0:
        raise ValueError("inputs: expected at least one, got none")
    return inputs, targets


def _refuse_other_number(name: str, inputs: Sized, others: Sized) -> None:
    if len(others) != len(inputs):
        raise ValueError(f"{name}: expected {len(inputs)} of them, as many as inputs, got {len(others)}")
