"""The model of a file as it is served: what it is, what it gives for a batch, and its pool for live sessions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from gru_native import io, nn
from gru_native.arguments import Array, every, shown
from gru_native.nn.recurrent import Recurrent, RecurrentCell
from gru_native.nn.signal import layout_of
from gru_native.serve.errors import Refused
from gru_native.serve.gates import leaves
from gru_native.stream import StreamPool
from gru_native.tables.model import ENTRY, TableModel
from gru_native.tables.reading import Table
from gru_native.train import CharacterModel

_ENTRIES = {int, float, str, bool, type(None)}  # of a table's column


@dataclass(frozen=True)
class Served:
    """A model, and what it takes.

    Attributes
    ----------
    network : Module
    characters : CharacterModel, optional
        Where the file has a vocabulary.
    table : TableModel, optional
        Where `gru-native train` wrote the file.
    dtype : dtype
        Of inputs and outputs.
    indices
        How many indices an `Embedding` in the first place knows; 0 where inputs are numbers.
    digest
        SHA-256 of the network, which snapshots of its sessions carry.
    """

    network: nn.Module
    characters: CharacterModel | None
    table: TableModel | None
    dtype: np.dtype[Any]
    indices: int
    digest: str

    @classmethod
    def load(cls, path: str) -> Served:
        """Read a file that `gru_native.save`, `train` or `train-text` wrote.

        Raises
        ------
        ModelFileError
            When it is damaged or holds no model, or one that cannot be served.
        OSError
            When it cannot be read.
        """
        network, characters = io.load(path), None
        if getattr(network, "writes", isinstance(network, nn.Seq2Seq)):
            got = f"{type(network).__name__}, which takes targets too"
            raise io.ModelFileError(f"{path}: expected a model that takes inputs alone, got {got}")
        table = TableModel.load(path) if ENTRY in io.load_metadata(path) else None
        with suppress(io.ModelFileError):
            characters = CharacterModel.load(path)
        _, first = next(leaves(network), ("", network))
        dtypes = [own.dtype for own in network.parameters().values()]
        return cls(
            network,
            characters,
            table,
            dtypes[0] if dtypes else np.dtype(np.float32),
            first.num_embeddings if isinstance(first, nn.Embedding) else 0,
            sha256(io.content(network)).hexdigest(),
        )

    def pool(self, capacity: int, shards: int) -> StreamPool:
        """Return a pool for live sessions.

        Raises
        ------
        ValueError
            For a model that cannot go step by step, and one of tables, whose steps are scaled.
        """
        if self.table is not None:
            raise ValueError("a model of tables takes whole tables: POST /v1/predict")
        return self.network.pool(capacity, shards)

    @property
    def shown(self) -> list[str]:
        """What a step of a session can show."""
        recurrent = any(isinstance(own, Recurrent) for _, own in leaves(self.network))
        return ["outputs", "gates"] if recurrent else ["outputs"]

    def description(self) -> dict[str, Any]:
        """Return what a client has to know, as JSON can hold it."""
        kind = "characters" if self.characters else "table" if self.table else "network"
        found: dict[str, Any] = {
            "kind": kind,
            "digest": self.digest,
            "dtype": self.dtype.name,
            "indices": self.indices,
            "layers": [
                {"name": name, "type": type(layer).__name__, **_sizes(layer)} for name, layer in leaves(self.network)
            ],
        }
        if self.characters:
            found["vocabulary"] = list(self.characters.vocabulary)
        if self.table:
            settings = self.table.settings
            found["table"] = {
                "task": settings.task,
                "target": list(settings.target),
                "features": self.table.features,
                "classes": self.table.classes,
                "id": settings.id,
                "time": settings.time,
            }
        return found

    def sequences(self, name: str, given: list[Any]) -> list[Array]:
        """Return sequences as the network takes them.

        Raises
        ------
        Refused
            For what is not finite numbers, or indices within the model's.
        """
        return [self._sequence(f"{name}[{place}]", own) for place, own in enumerate(given)]

    def _sequence(self, name: str, given: Any) -> Array:
        kind = "indices" if self.indices else "numbers"
        try:
            found = np.asarray(given)
        except (ValueError, OverflowError):
            raise Refused(400, f"{name}: expected all steps with as many {kind}, got {shown(given)}", "input") from None
        most = 1 + (not self.indices)
        axes = range(most - (layout_of(self.network) is None), most + 1)  # what looks at single steps takes one, too
        if not found.size:
            raise Refused(400, f"{name}: expected some {kind}, got none", "input")
        if found.dtype.kind not in ("iu" if self.indices else "iuf") or found.ndim not in axes:
            got = f"{found.dtype} of shape {found.shape}"
            raise Refused(400, f"{name}: expected {' or '.join(map(str, axes))} axes of {kind}, got {got}", "input")
        if self.indices:
            _refuse_where(
                (found < 0) | (found >= self.indices), found, f"{name}: expected from 0 to {self.indices - 1}"
            )
            return found.astype(np.int64)
        with np.errstate(over="ignore"):
            converted = found.astype(self.dtype)
        _refuse_where(~np.isfinite(converted), found, f"{name}: expected finite numbers of {self.dtype}")
        return converted

    def encoded(self, texts: list[Any]) -> list[Array]:
        """Return the indices of the characters of texts."""
        if self.characters is None:
            raise Refused(400, "text: expected x, because the model has no vocabulary, got text", "input")
        indices = self.characters._indices
        return _refusing(lambda: every("text", texts, indices))

    def predict(self, sequences: list[Array], threads: int | None) -> list[Array]:
        """Return what the network gives for each of some sequences."""
        if isinstance(self.network, RecurrentCell):
            raise Refused(409, "the model is a cell, which takes one step: it has sessions alone", "model")
        if layout_of(self.network) is not None:
            return _refusing(lambda: list(self.network.predict(sequences, threads=threads)))
        # What looks at single steps takes those of all sequences as rows.
        rows = [own.reshape(-1, *own.shape[len(self._axes(own)) :]) for own in sequences]
        found = _refusing(lambda: self.network.predict(np.concatenate(rows), threads=threads))
        parts = np.split(found, np.cumsum([*map(len, rows)])[:-1])
        return [part.reshape(*self._axes(own), *found.shape[1:]) for own, part in zip(sequences, parts, strict=True)]

    def _axes(self, given: Array) -> tuple[int, ...]:
        """Return the shape of inputs but for what a step has."""
        return given.shape[: given.ndim - (not self.indices)]

    def steps(self, given: Array) -> int:
        """Return how many steps there are in a sequence, or in an array of some."""
        return math.prod(self._axes(given))

    def predict_table(self, columns: Mapping[str, Any]) -> dict[str, Array]:
        """Return the columns of predictions for the columns of a table."""
        if self.table is None:
            raise Refused(400, "columns: expected x, because the model is not of tables, got columns", "input")
        table = Table(Path("columns"), {name: _column(name, own) for name, own in columns.items()})
        rows = {len(own) for own in table.columns.values()}
        if len(rows) != 1 or not len(table):
            got = " and ".join(map(str, sorted(rows)))
            raise Refused(400, f"columns: expected some rows, and as many in each column, got {got}", "input")
        return _refusing(lambda: self.table.predict(table))  # type: ignore[union-attr]


def _refusing(run: Callable[[], Any]) -> Any:
    """Return what a function gives, whose errors are of what the client sent."""
    try:
        return run()
    except (TypeError, ValueError, LookupError) as error:
        raise Refused(400, " ".join(str(error).split()), "input") from None


def _refuse_where(wrong: Array, found: Array, expected: str) -> None:
    if wrong.any():
        place = tuple(map(int, np.argwhere(wrong)[0]))
        raise Refused(400, f"{expected}, got {found[place]} at {place}", "input")


def _column(name: str, values: Any) -> Array:
    expected = f"columns: {name}: expected a list of numbers, texts or null"
    if not isinstance(values, list):
        raise Refused(400, f"{expected}, got {shown(values)}", "input")
    kinds = {type(own) for own in values}
    if kinds - _ENTRIES:
        wrong = next(own for own in values if type(own) not in _ENTRIES)
        raise Refused(400, f"{expected}, got one with {shown(wrong)}", "input")
    if kinds - {int, float}:
        return np.array(values, object)
    try:
        return np.array(values, np.float64)
    except OverflowError:
        got = shown(max(values, key=abs))
        raise Refused(400, f"columns: {name}: expected numbers that a float can hold, got {got}", "input") from None


def _sizes(layer: nn.Module) -> dict[str, Any]:
    """Return what a picture of a layer needs."""
    if not isinstance(layer, Recurrent):
        return {}
    return {"hidden_size": layer.hidden_size, "num_layers": layer.num_layers, "gates": list(layer.gate_names)}
