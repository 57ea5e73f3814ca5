"""Batches over HTTP: what a body stands for, and the answer in the kind that the client accepts."""

from __future__ import annotations

import io as streams
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from gru_native import io
from gru_native.arguments import Array
from gru_native.serve.errors import Refused
from gru_native.serve.model import Served
from gru_native.serve.numbers import listed

JSON, NPY, RAW = "application/json", "application/x-npy", "application/octet-stream"
SHAPE = "x-shape"
_DIGITS = 20  # bytes of a number in JSON, about


def answer_to(
    model: Served, body: bytes, kind: str, shape: str, accepted: str, steps: int, most: int, threads: int | None
) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of the answer to a batch.

    Parameters
    ----------
    model : Served
    body, kind
        What the client sent, and its type.
    shape
        Of a body of raw numbers, such as "8,100,40".
    accepted
        The types that the client accepts.
    steps
        The most time steps, over all sequences.
    most
        The most bytes of an answer in JSON.
    threads
        The most threads to compute with.

    Raises
    ------
    Refused
    """
    wanted = _wanted(accepted)
    if kind == JSON:
        given = _object(body)
        if "columns" in given:
            return _table(model, given["columns"], wanted, steps)
        sequences = model.encoded(_list("text", given["text"])) if "text" in given else _list("x", given.get("x"))
    elif kind == NPY:
        sequences = [*_npy(body)]
    elif kind == RAW:
        sequences = [*_raw(model, body, shape)]
    else:
        raise Refused(415, f"content-type: expected {JSON}, {NPY} or {RAW}, got {kind or 'none'}"[:300], "input")
    if model.table is not None:
        raise Refused(400, "x: expected JSON with columns, because the model is of tables, got others", "input")
    prepared = model.sequences(sequences)
    _limit(sum(map(len, prepared)), steps)
    return _encoded(model.predict(prepared, threads), wanted, most)


def _wanted(accepted: str) -> str:
    kinds = [own.split(";")[0].strip().lower() for own in accepted.split(",")]
    for own in kinds:
        if own in (JSON, NPY, RAW):
            return own
    if accepted and not {"*/*", "application/*"} & {*kinds}:
        raise Refused(406, f"accept: expected {JSON}, {NPY} or {RAW}, got {accepted}"[:300], "input")
    return JSON


def _limit(count: int, steps: int) -> None:
    if count > steps:
        raise Refused(413, f"x: expected up to {steps} steps over all sequences, got {count}", "size")


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = io.parsed(body.decode())
    except ValueError as error:
        raise Refused(400, f"body: expected JSON: {error}"[:300], "input") from None
    if not isinstance(given, dict) or len(given.keys() & {"x", "text", "columns"}) != 1 or len(given) != 1:
        raise Refused(400, "body: expected an object with one of x, text and columns", "input")
    return given


def _list(name: str, given: Any) -> list[Any]:
    if not isinstance(given, list) or not given:
        raise Refused(400, f"{name}: expected a list of sequences, at least one, got others", "input")
    return given


def _npy(body: bytes) -> Array:
    try:
        found: Array = np.load(streams.BytesIO(body), allow_pickle=False)
    except (ValueError, EOFError, OSError, MemoryError) as error:
        raise Refused(400, f"body: expected an array of NumPy's: {error}"[:300], "input") from None
    if not isinstance(found, np.ndarray) or found.ndim == 0 or not len(found):
        raise Refused(400, "body: expected an array of some sequences, got others", "input")
    return found


def _raw(model: Served, body: bytes, shape: str) -> Array:
    dtype = np.dtype("<i8" if model.indices else "<f4")
    try:
        sizes = [int(own) for own in shape.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1 or len(sizes) > 3 or _product(sizes) * dtype.itemsize != len(body):
        expected = f"that of {len(body)} bytes of {dtype}, such as 8,100,40"
        raise Refused(400, f"shape: expected {expected}, got {shape or 'none'}"[:300], "input")
    return np.frombuffer(body, dtype).reshape(sizes)


def _product(sizes: Iterable[int]) -> int:
    found = 1
    for own in sizes:
        found *= own
    return found


def _table(model: Served, columns: Any, wanted: str, steps: int) -> tuple[bytes, dict[str, str]]:
    if wanted != JSON:
        raise Refused(406, f"accept: expected {JSON}, because predictions for a table have names", "input")
    if not isinstance(columns, dict) or not columns:
        raise Refused(400, "columns: expected lists by the name of the column, got others", "input")
    _limit(max((len(own) for own in columns.values() if isinstance(own, list)), default=0), steps)
    found = {name: listed(own) for name, own in model.predict_table(columns).items()}
    return json.dumps({"columns": found}).encode(), {"content-type": JSON}


def _encoded(found: list[Array], wanted: str, most: int) -> tuple[bytes, dict[str, str]]:
    if wanted == JSON:
        if _DIGITS * sum(own.size for own in found) > most:
            raise Refused(413, f"accept: expected {NPY} or {RAW} for an answer of more than {most} bytes", "size")
        return json.dumps({"y": [listed(own) for own in found]}).encode(), {"content-type": JSON}
    if len({own.shape for own in found}) > 1:
        raise Refused(406, f"accept: expected {JSON}, because the sequences differ in length", "input")
    y = np.stack(found)
    headers = {"content-type": wanted, SHAPE: ",".join(map(str, y.shape))}
    if wanted == RAW:
        return y.astype("<f4").tobytes(), headers
    file = streams.BytesIO()
    np.save(file, y)
    return file.getvalue(), headers
