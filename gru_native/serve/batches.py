"""Batches over HTTP: what a body stands for, and the answer in the kind that the client accepts."""

from __future__ import annotations

import io as streams
import json
import math
import re
from typing import Any

import numpy as np

from gru_native import io
from gru_native.arguments import Array, shown
from gru_native.serve.errors import Refused
from gru_native.serve.model import Served
from gru_native.serve.numbers import listed

JSON, NPY, RAW = "application/json", "application/x-npy", "application/octet-stream"
SHAPE = "x-shape"
_QUALITY = re.compile(r"0(\.\d{0,3})?|1(\.0{0,3})?", re.ASCII)
_TRUTH = re.compile(rb"true|false")
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
    wanted, name = _wanted(accepted), "x"
    if shape and kind != RAW:
        raise Refused(400, f"shape: expected none beside {kind or 'no content-type'}, got {shape}", "input")
    if kind == JSON:
        given = _object(body)
        if "columns" in given:
            return _table(model, given["columns"], wanted, steps)
        name, sequences = next(iter(given.items()))
        sequences = _list(name, sequences)
        if name == "text":
            sequences = model.encoded(sequences)
        elif found := _TRUTH.search(body):  # which NumPy takes for 1 or 0 beside numbers
            raise Refused(400, f"{name}: expected numbers alone, got {found[0].decode()}", "input")
    elif kind in (NPY, RAW):
        array = _npy(body) if kind == NPY else _raw(model, body, shape)
        _limit(name, max(len(array), model.steps(array)), steps)  # before there is an object for each sequence
        sequences = [*array]
    else:
        raise Refused(415, f"content-type: expected {JSON}, {NPY} or {RAW}, got {kind or 'none'}", "input")
    if model.table is not None:
        raise Refused(400, f"{name}: expected columns in JSON, because the model is of tables, got {name}", "input")
    prepared = model.sequences(name, sequences)
    _limit(name, sum(map(model.steps, prepared)), steps)
    return _encoded(model.predict(prepared, threads), wanted, most)


def _wanted(accepted: str) -> str:
    """Return the kind of answer that the client likes best: of equals the one that it names first, or JSON."""
    liked: dict[str, float] = {}
    for own in filter(None, map(str.strip, accepted.lower().split(","))):
        kind, *parameters = map(str.strip, own.split(";"))
        qualities = [part.removeprefix("q=") for part in parameters if part.startswith("q=")] or ["1"]
        if not _QUALITY.fullmatch(qualities[0]):
            raise Refused(400, f"accept: expected q from 0 to 1, such as q=0.5, got {own}", "input")
        liked[kind] = float(qualities[0])

    def quality(kind: str) -> float:
        return liked.get(kind, liked.get("application/*", liked.get("*/*", float(not liked))))

    kinds = JSON, NPY, RAW
    best = max([*(own for own in liked if own in kinds), *kinds], key=quality)
    if not quality(best):
        raise Refused(406, f"accept: expected {JSON}, {NPY} or {RAW}, got {accepted}", "input")
    return best


def _limit(name: str, count: int, steps: int) -> None:
    if count > steps:
        raise Refused(413, f"{name}: expected up to {steps} steps over all sequences, got {count}", "size")


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = io.parsed(body.decode())
    except ValueError as error:
        raise Refused(400, f"body: expected JSON: {error}", "input") from None
    if not isinstance(given, dict) or len(given.keys() & {"x", "text", "columns"}) != 1 or len(given) != 1:
        got = shown([*given] if isinstance(given, dict) else given)
        raise Refused(400, f"body: expected an object with one of x, text and columns, got {got}", "input")
    return given


def _list(name: str, given: Any) -> list[Any]:
    if not isinstance(given, list) or not given:
        raise Refused(400, f"{name}: expected a list of sequences, at least one, got {shown(given)}", "input")
    return given


def _npy(body: bytes) -> Array:
    expected, file = "body: expected one array as numpy.save writes it", streams.BytesIO(body)
    try:
        found: Array = np.lib.format.read_array(file, allow_pickle=False)
    except Exception as error:  # NumPy, and the Python that reads a header, have many of them for what is no array
        raise Refused(400, f"{expected}, got another content: {error}", "input") from None
    if rest := len(body) - file.tell():
        raise Refused(400, f"{expected}, got {rest} bytes more", "input")
    if not found.size or not found.ndim:
        raise Refused(400, f"body: expected an array of some sequences, got one of shape {found.shape}", "input")
    return found


def _raw(model: Served, body: bytes, shape: str) -> Array:
    dtype = np.dtype("<i8" if model.indices else "<f4")
    try:
        sizes = [int(own) for own in shape.split(",")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1 or len(sizes) > 3 or math.prod(sizes) * dtype.itemsize != len(body):
        expected = f"that of {len(body)} bytes of {dtype}, such as 8,100,40"
        raise Refused(400, f"shape: expected {expected}, got {shape or 'none'}", "input")
    return np.frombuffer(body, dtype).reshape(sizes)


def _table(model: Served, columns: Any, wanted: str, steps: int) -> tuple[bytes, dict[str, str]]:
    if wanted != JSON:
        raise Refused(406, f"accept: expected {JSON}, because predictions for a table have names", "input")
    if not isinstance(columns, dict) or not columns:
        raise Refused(400, f"columns: expected lists by the name of the column, got {shown(columns)}", "input")
    _limit("columns", max((len(own) for own in columns.values() if isinstance(own, list)), default=0), steps)
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
