"""Models that go step by step: a stream for some rows, a pool for many sequences of which any take a step.

Both keep the states in the core, and compute the bits of the model over the whole sequence::

    stream = model.stream()  # one sequence
    y = stream.step(x)  # x (1, I), y (1, O)

    pool = model.pool(100_000)
    id = pool.open()
    y = pool.step([id], x)

They have the weights that the model had when they were made, packed for good; `update` takes over new ones.

A model is a layer or a `Sequential` of them: recurrent layers and cells that run forward, `Linear`, `Conv1d` with
``padding="causal"`` and a stride of 1, `LayerNorm`, `BatchNorm1d` with running values, `Dropout`, which does nothing
here, and an `Embedding` in the first place. Behind another layer `Activation`, `Softmax`, and a `MeanPooling` or
`LastPooling`, of which a step gives what it has of all steps up to the present one.

A stream, and each shard of a pool, is used by one thread at a time. Who comes while another thread is in a call gets
`BusyError` at once. Steps of up to 200,000 multiply-adds keep the GIL, larger ones release it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gru_native import _session, io, nn
from gru_native._session import BusyError as BusyError
from gru_native._session import FullError as FullError
from gru_native.arguments import Array, array, index_array, instance, mapping, shaped_array, typed_array, whole

__all__ = ["BusyError", "FullError", "Stream", "StreamPool"]

_MOST_IDS, _MOST_SHARDS, _MOST_THREADS = 2**64 - 1, 256, 256


def _packed(model: nn.Module) -> _session.Model:
    for _, module in instance("model", model, nn.Module, "a Module").named_modules():
        kind = type(module)
        # By its name alone, the core would take it for the layer that it is not.
        if getattr(nn, kind.__name__, kind) is not kind:
            raise ValueError(f"model: expected layers of this package, got {kind.__module__}.{kind.__qualname__}")
    return _session.Model(io.content(model))


class Stream(_session.Session):
    """Some sequences that go through a model together: see `gru_native.nn.Module.stream`.

    Parameters
    ----------
    model : Module
    batch
        The number of sequences, B.

    Raises
    ------
    ValueError
        For a model that cannot go step by step, such as one with a bidirectional layer.
    """

    def __new__(cls, model: nn.Module, batch: int = 1) -> Stream:
        made: Stream = super().__new__(cls, _packed(model), whole("batch", batch))
        return made

    def __init__(self, model: nn.Module, batch: int = 1) -> None:
        layouts = [module.batch_first for _, module in model.named_modules() if hasattr(module, "batch_first")]
        self._batch_first = bool(layouts and layouts[0])

    def __reduce__(self) -> Any:
        raise TypeError("a Stream cannot be pickled or copied: snapshot() gives its states as bytes")

    def run(self, x: ArrayLike, *, threads: int | None = None) -> Array:
        """Take all sequences some steps further, as single steps would, but faster.

        Parameters
        ----------
        x
            (T, B, I), or (B, T, I) when the model has `batch_first`; behind an `Embedding` integers without the last
            axis.
        threads
            The most threads to compute with; ``None`` for the default.

        Returns
        -------
        y : (T, B, O) or (B, T, O)
        """
        model = self._model
        rows = _indices(model, x) if model.indices else typed_array("x", x, model.dtype)
        batch_axis = 0 if self._batch_first else 1
        expected = (2,) if model.indices else (3, model.input_size)
        if rows.ndim != expected[0] or rows.shape[batch_axis] != self.batch or rows.shape[2:] != expected[1:]:
            sizes = ["T", "T"]
            sizes[batch_axis] = str(self.batch)
            raise ValueError(f"x: expected ({', '.join([*sizes, *map(str, expected[1:])])}), got {rows.shape}")
        major = np.ascontiguousarray(self._turned(rows))
        y = np.empty((*major.shape[:2], model.output_size), model.dtype)
        self._run(major, y, 0 if threads is None else whole("threads", threads, most=_MOST_THREADS))
        return np.ascontiguousarray(self._turned(y))

    @property
    def state(self) -> dict[str, Array]:
        """What the model keeps of its sequences by name, in arrays (B, size), which are copies.

        ``"1.l0.h"`` is h of layer 0 in the module ``"1"``; c is an LSTM's; a mean has its sum and its count. Assign a
        dictionary to set some of them.
        """
        state = {}
        for place, (name, size, is_whole) in enumerate(self._model.states()):
            state[name] = np.empty((self.batch, size), np.int64 if is_whole else self._model.dtype)
            self._get(place, state[name])
        return state

    @state.setter
    def state(self, state: Mapping[str, ArrayLike]) -> None:
        places = {name: place for place, (name, _, _) in enumerate(self._model.states())}
        present, new = self.state, {}
        for name, value in mapping("state", state).items():
            if name not in places:
                raise ValueError(f"state: expected names of {sorted(places)}, got {name!r}")
            own = present[name]
            new[name] = np.ascontiguousarray(shaped_array(f"state[{name!r}]", value, own.shape, own.dtype))
            if own.dtype == np.int64 and (new[name] < 0).any():
                raise ValueError(f"state[{name!r}]: expected counts of steps, got {new[name].min()}")
        for name, value in new.items():
            self._set(places[name], value)

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Begin anew: with `rows`, flags (B,), or all of them."""
        self._reset(None if rows is None else np.ascontiguousarray(shaped_array("rows", rows, (self.batch,), np.bool_)))

    def restore(self, snapshot: bytes) -> None:
        """Go on where `snapshot` was taken.

        Raises
        ------
        ValueError
            When it is damaged, or of other weights or another number of sequences. Nothing is changed then.
        """
        self._restore(instance("snapshot", snapshot, bytes, "bytes"))

    def update(self, model: nn.Module) -> None:
        """Go on with the weights that a model has now; its sizes must be those of the present one."""
        self._update(_packed(model))

    def _converted(self, x: ArrayLike) -> Array:
        return _rows(self._model, x, self.batch)

    def _turned(self, x: Array) -> Array:
        return x.swapaxes(0, 1) if self._batch_first else x


class StreamPool(_session.Pool):
    """Many sequences, of which any take a step together: see `gru_native.nn.Module.pool`.

    What a sequence computes does not depend on the others. Its states stay where they are, however many come. The
    sequences lie in shards; a step of sequences in several shards uses a thread for each, where it pays.

    Parameters
    ----------
    model : Module
    capacity
        The most sequences that are open at a time, in all shards together. Memory is taken as they come.
    shards
        1 to 256. Calls of several threads, whose sequences lie in different shards, may run at the same time.
    """

    def __new__(cls, model: nn.Module, capacity: int, shards: int = 1) -> StreamPool:
        sizes = whole("capacity", capacity), whole("shards", shards, most=_MOST_SHARDS)
        made: StreamPool = super().__new__(cls, _packed(model), *sizes)
        return made

    def __init__(self, model: nn.Module, capacity: int, shards: int = 1) -> None:
        """See the class."""

    def __reduce__(self) -> Any:
        raise TypeError("a StreamPool cannot be pickled or copied: export(id) gives the state of a sequence as bytes")

    def __len__(self) -> int:
        """Return the number of open sequences."""
        return self._info()[1]

    @property
    def capacity(self) -> int:
        """The most sequences that are open at a time."""
        return self._info()[0]

    @property
    def shards(self) -> int:
        """The number of shards."""
        return self._info()[2]

    @property
    def nbytes(self) -> int:
        """Bytes of the memory of all sequences."""
        return self._info()[3]

    def open(self, shard: int | None = None) -> int:
        """Begin a sequence and return its identifier.

        Without a shard it is in the one with the fewest sequences, of those that no thread uses.

        Raises
        ------
        FullError
            When as many sequences are open as the capacity says.
        """
        return self._open(self._shard(shard))

    def close(self, id: int) -> None:
        """End a sequence. Its identifier is never used again.

        Raises
        ------
        BusyError
            While another thread uses its shard: try again.
        """
        self._close(_id(id))

    def reset(self, ids: ArrayLike) -> None:
        """Let some sequences begin anew."""
        self._reset(self._ids(ids))

    def export(self, id: int) -> bytes:
        """Return the state of a sequence as bytes, which `restore` takes, here or in another pool or stream."""
        return self._export(_id(id))

    def restore(self, snapshot: bytes, shard: int | None = None) -> int:
        """Begin a sequence where a snapshot of one sequence was taken, and return its identifier.

        Raises
        ------
        ValueError
            When the snapshot is damaged, or of other weights, as all are that were taken before an `update`.
        FullError
            As `open`.
        """
        return self._restore(instance("snapshot", snapshot, bytes, "bytes"), self._shard(shard))

    def grow(self, capacity: int) -> None:
        """Take up to so many sequences. Nothing moves."""
        self._grow(whole("capacity", capacity, least=self.capacity))

    def update(self, model: nn.Module) -> None:
        """Let all sequences go on with the weights that a model has now; its sizes must be those of the present one."""
        self._update(_packed(model))

    def _shard(self, shard: int | None) -> int:
        return -1 if shard is None else whole("shard", shard, least=0, most=self.shards - 1)

    def _ids(self, ids: ArrayLike) -> Array:
        given = array("ids", ids)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise ValueError(f"ids: expected identifiers (n,), got {given.dtype} with shape {given.shape}")
        return np.ascontiguousarray(given, np.uint64).view(np.uint64)

    def _converted(self, x: ArrayLike, rows: int) -> Array:
        return _rows(self._model, x, rows)


def _id(id: int) -> int:
    return whole("id", id, most=_MOST_IDS)


def _indices(model: _session.Model, x: ArrayLike) -> Array:
    # NumPy has several types of 64 bits: the view is of the one that the core takes.
    return index_array("x", x, model.indices).view(np.int64)


def _rows(model: _session.Model, x: ArrayLike, rows: int) -> Array:
    """Return x as the core takes it: (rows, I), or (rows) indices."""
    if model.indices:
        indices = _indices(model, x)
        if indices.shape != (rows,):
            raise ValueError(f"x: expected shape ({rows},), got {indices.shape}")
        return np.ascontiguousarray(indices)
    return np.require(shaped_array("x", x, (rows, model.input_size), model.dtype), None, ["C", "A"]).view(np.ndarray)
