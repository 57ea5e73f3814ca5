"""``gru-native serve``: batches over HTTP, steps over WebSocket, and what surrounds them."""

from __future__ import annotations

import asyncio
import copy
import gzip
import io
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from unittest.mock import Mock
from urllib.parse import quote

import numpy as np
import pytest
from cases import assert_same_bits
from serving import Server, refused
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import connect

import gru_native as gn
from gru_native import nn
from gru_native.cli import main
from gru_native.io import ModelFileError
from gru_native.serve.app import Service
from gru_native.serve.errors import Refused
from gru_native.serve.gates import Gates
from gru_native.serve.model import Served
from gru_native.serve.numbers import listed
from gru_native.serve.settings import OPTIONS, Settings, SettingsError, level_of, settings_of, steps_of
from gru_native.serve.sqlite import SQLiteStore
from gru_native.serve.store import open_store
from gru_native.train import CharacterModel

JSON, NPY, RAW = "application/json", "application/x-npy", "application/octet-stream"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return nn.Sequential(nn.GRU(3, (8, 5), seed=0), nn.LSTM(5, 6, seed=0), nn.Linear(6, 2, seed=0))


@pytest.fixture(scope="module")
def server(folder: Path, model: nn.Sequential) -> Iterator[Server]:
    gn.save(model, folder / "model.safetensors")
    with Server(
        folder, folder / "model.safetensors", "--steps", 1000, "--body", 100_000, "--json", 60_000, "--kept", 40
    ) as own:
        yield own


@pytest.fixture(scope="module")
def characters(folder: Path) -> Iterator[tuple[Server, CharacterModel]]:
    model = CharacterModel.create("abc é", hidden_size=(7,), embedding_dim=4)
    model.save(folder / "text.safetensors")
    with Server(folder, folder / "text.safetensors", "--store", "text.db") as own:
        yield own, model


def npy_header(content: str) -> bytes:
    """An array's file up to its numbers."""
    return b"\x93NUMPY\1\0" + len(content).to_bytes(2, "little") + content.encode()


# ---- Batches --------------------------------------------------------------------------------------------------------


def test_batches_in_all_kinds(server: Server, model: nn.Sequential, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 9, 3)).astype(np.float32)
    expected = np.stack(model.predict(list(x)))
    file = io.BytesIO()
    np.save(file, x)
    bodies = {JSON: json.dumps({"x": x.tolist()}).encode(), NPY: file.getvalue(), RAW: x.tobytes()}
    for kind, body in bodies.items():
        shape = {"x_shape": "4,9,3"} if kind == RAW else {}
        for accepted in bodies:
            got = server.request("/v1/predict", body, content_type=kind, accept=accepted, **shape)
            assert got.status == 200, got.body
            assert got.headers["content-type"] == accepted
            if accepted == JSON:
                y = np.array(got.json()["y"], np.float32)
            elif accepted == NPY:
                y = np.load(io.BytesIO(got.body))
            else:
                y = np.frombuffer(got.body, np.float32).reshape([*map(int, got.headers["x-shape"].split(","))])
            assert_same_bits(y, expected, f"{kind} to {accepted}")
    raw = server.request("/v1/predict?shape=4,9,3", x.tobytes(), content_type=RAW)
    assert_same_bits(np.array(raw.json()["y"], np.float32), expected, "the shape in the query")


def test_sequences_of_any_lengths(server: Server, model: nn.Sequential, rng: np.random.Generator) -> None:
    parts = [rng.normal(size=(length, 3)).astype(np.float32) for length in (5, 1, 8)]
    y = server.predict(x=[part.tolist() for part in parts]).json()["y"]
    for own, expected in zip(y, model.predict(parts), strict=True):
        assert_same_bits(np.array(own, np.float32), expected, f"{len(own)} steps")
    npy = server.request(
        "/v1/predict", json.dumps({"x": [part.tolist() for part in parts]}).encode(), content_type=JSON, accept=NPY
    )
    assert npy.status == 406
    assert "differ in length" in npy.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "message"),
    [
        (b"{", JSON, 400, "expected JSON"),
        (b'{"x": [[[1, 2, 3]]], "x": []}', JSON, 400, "twice"),
        (b"[" * 50_000, JSON, 400, "expected JSON"),
        (b'{"y": 1}', JSON, 400, r"expected an object with one of x, text and columns, got \['y'\]"),
        (b'{"x": [], "text": []}', JSON, 400, r"x, text and columns, got \['x', 'text'\]"),
        (b"7", JSON, 400, "x, text and columns, got 7"),
        (b'{"x": []}', JSON, 400, r"x: expected a list of sequences, at least one, got \[\]"),
        (b'{"x": 7}', JSON, 400, "at least one, got 7"),
        (b'{"x": [[[1, 2]]]}', JSON, 400, "expected last axis|input_size|I|numbers"),
        (b'{"x": [[[1, 2, 3], [1, 2]]]}', JSON, 400, r"x\[0\]: .* as many numbers, got \[\[1, 2, 3\], \[1, 2\]\]"),
        (b'{"x": [[["a", "b", "c"]]]}', JSON, 400, r"2 axes of numbers, got <U1 of shape \(1, 3\)"),
        (b'{"x": [[1, 2, 3]]}', JSON, 400, r"2 axes of numbers, got int64 of shape \(3,\)"),
        (b'{"x": [[[1, 2, 3], [1, true, 3]]]}', JSON, 400, "x: expected numbers alone, got true"),
        (b'{"x": [[[1, 2, NaN]]]}', JSON, 400, r"finite numbers of float32, got nan at \(0, 2\)"),
        (b'{"x": [[[1, 2, 3], [1, 1e39, 3]]]}', JSON, 400, r"finite numbers of float32, got 1e\+39 at \(1, 1\)"),
        (b'{"x": [[[1, 2, 3]], []]}', JSON, 400, r"x\[1\]: expected some numbers, got none"),
        (b'{"x": [[[]]]}', JSON, 400, r"x\[0\]: expected some numbers, got none"),
        (b'{"text": ["a"]}', JSON, 400, "no vocabulary"),
        (b'{"columns": {"a": [1]}}', JSON, 400, "not of tables"),
        (b"\x93NUMPY", NPY, 400, "one array as numpy.save writes it, got another content: EOF"),
        (b"garbage!", NPY, 400, "got another content: the magic string is not correct"),
        (npy_header("(" * 500), NPY, 400, "got another content: "),
        (npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30},)}}"), NPY, 400, "another content"),
        (
            npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3)}"),
            NPY,
            400,
            r"got one of shape \(0, 3\)",
        ),
        (
            npy_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**12}, 0)}}"),
            NPY,
            400,
            r"got one of shape \(1000000000000, 0\)",
        ),
        (b"\0" * 12, RAW, 400, "expected that of 12 bytes"),
        (b"\0" * 12, "text/plain", 415, "content-type: expected"),
        (json.dumps({"x": [[[0, 0, 0]] * 1001]}).encode(), JSON, 413, "expected up to 1000 steps"),
        (b" " * 60_001, JSON, 413, "expected up to 60000 bytes"),
        (b" " * 100_001, RAW, 413, "expected up to 100000 bytes"),
    ],
)
def test_wrong_batches_get_a_clear_answer(server: Server, body: bytes, kind: str, status: int, message: str) -> None:
    got = server.request("/v1/predict", body, content_type=kind, x_request_id="of-mine")
    assert got.status == status
    assert re.search(message, got.json()["error"]), got.json()
    assert got.json()["request"] == got.headers["x-request-id"] == "of-mine"


def test_compressed_bodies_are_refused(server: Server) -> None:
    body = json.dumps({"x": [[[1, 2, 3]]]}).encode()
    got = server.request("/v1/predict", gzip.compress(body), content_type=JSON, content_encoding="gzip")
    assert (got.status, got.json()["error"]) == (415, "content-encoding: expected none, got gzip")
    assert server.request("/v1/predict", body, content_type=JSON, content_encoding="identity").status == 200


def test_what_is_given_twice_or_too_much_is_refused(server: Server) -> None:
    """Otherwise one of two would be taken, and the client would not know which."""
    file = io.BytesIO()
    np.save(file, np.zeros((1, 1, 3), np.float32))
    npy, raw = file.getvalue(), bytes(12)
    for query, body, kind, shape, message in (
        ("shape=1,1,3&shape=1,1,3", raw, RAW, None, "shape: expected it once in the query, got '1,1,3' and '1,1,3'"),
        ("shape=1,1,3", raw, RAW, "1,1,3", "shape: expected one, got 1,1,3 and 1,1,3"),
        ("shape=1,1,3", npy, NPY, None, f"shape: expected none beside {NPY}, got 1,1,3"),
        ("", b'{"x": [[[1, 2, 3]]]}', JSON, "1,1,3", f"shape: expected none beside {JSON}, got 1,1,3"),
        ("colour=red", raw, RAW, "1,1,3", "query: expected 'shape', got 'colour'"),
        ("", npy + npy, NPY, None, f"body: expected one array as numpy.save writes it, got {len(npy)} bytes more"),
    ):
        headers = {} if shape is None else {"x_shape": shape}
        got = server.request(f"/v1/predict?{query}", body, content_type=kind, **headers)
        assert (got.status, got.json()["error"]) == (400, message)
    assert refused(server, query="frames=json&frames=binary") == (
        400,
        "frames: expected it once in the query, got 'json' and 'binary'",
    )


@pytest.mark.parametrize(
    ("accepted", "kind"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/html, application/*;q=0.8", JSON),
        (f"{NPY}, {JSON}", NPY),
        (f"{JSON};q=0.5, {RAW}", RAW),
        (f"{JSON}; Q=0.5 , {NPY}; q=0.700, */*;q=0.1", NPY),
        (f"*/*;q=0.5, {JSON};q=0", NPY),
        (f"{JSON};q=0", None),
        ("text/html", None),
        (f"{JSON};q=2", "q from 0 to 1"),
        (f"{JSON};q=nan", "q from 0 to 1"),
    ],
)
def test_answers_are_of_the_kind_that_is_liked_best(server: Server, accepted: str, kind: str | None) -> None:
    got = server.request("/v1/predict", b'{"x": [[[1, 2, 3]]]}', content_type=JSON, accept=accepted)
    if kind in (JSON, NPY, RAW):
        assert (got.status, got.headers["content-type"]) == (200, kind)
    else:
        assert got.status == (406 if kind is None else 400)
        assert f"accept: expected {kind or JSON}" in got.json()["error"]


def test_long_answers_are_not_written_as_json(folder: Path, server: Server) -> None:
    got = server.request("/v1/predict?shape=1,1000,3", bytes(12_000), content_type=RAW)
    assert got.status == 200
    with Server(folder, server.model, "--store", "long.db", "--json", 39_999) as own:
        got = own.request("/v1/predict?shape=1,1000,3", bytes(12_000), content_type=RAW)
        assert got.status == 413
        assert got.json()["error"] == f"accept: expected {NPY} or {RAW} for an answer of more than 39999 bytes"
        assert own.request("/v1/predict?shape=1,1000,3", bytes(12_000), content_type=RAW, accept=NPY).status == 200


def test_arrays_of_objects_are_not_read(server: Server) -> None:
    file = io.BytesIO()
    np.save(file, np.array([{}], object), allow_pickle=True)
    got = server.request("/v1/predict", file.getvalue(), content_type=NPY)
    assert got.status == 400
    assert "pickle" in got.json()["error"]


def test_a_model_of_characters(characters: tuple[Server, CharacterModel]) -> None:
    server, model = characters
    described = server.request("/v1/model").json()
    assert described["kind"] == "characters"
    assert described["vocabulary"] == list("abc é")
    logits = np.array(server.predict(text=["abé"]).json()["y"][0], np.float32)
    expected = model.network(model.encode("abé")[:, None])[0][:, 0]
    assert_same_bits(logits, expected, "a text")
    for given, message in (
        ({"text": ["a", "az"]}, "text[1]: the model does not know 'z'"),
        ({"text": ["a", 7]}, "text[1]: expected a string, got int"),
        ({"text": ["a", ""]}, "text[1]: expected some indices, got none"),
        ({"text": "a"}, "text: expected a list of sequences, at least one, got 'a'"),
        ({"x": [[1, True]]}, "x: expected numbers alone, got true"),
        ({"x": [[0, 5]]}, "x[0]: expected from 0 to 4, got 5 at (1,)"),
        ({"x": [[0, -1]]}, "x[0]: expected from 0 to 4, got -1 at (1,)"),
    ):
        assert server.predict(**given).json()["error"] == message
    for query in ("", "frames=json"):
        with server.session(query=query) as live:
            for row, index in zip(expected, model.encode("abé"), strict=True):
                assert_same_bits(live.take(np.array(index)), row, query)
            live.socket.send('{"x": 5}' if query else np.int64(5).tobytes())
            assert live.closed() == (1007, "x: expected a whole number from 0 to 4, got 5")


def test_a_bidirectional_model_has_batches_only(folder: Path, rng: np.random.Generator) -> None:
    x = rng.normal(size=(4, 3)).astype(np.float32)
    gn.save(model := nn.GRU(3, 5, bidirectional=True, seed=0), folder / "both.safetensors")
    with Server(folder, folder / "both.safetensors", "--store", "both.db") as server:
        assert_same_bits(np.array(server.predict(x=[x.tolist()]).json()["y"][0], np.float32), model(x)[0], "a batch")
        described = server.request("/v1/model").json()
        assert not described["sessions"]
        assert "direction: expected forward, because a step knows nothing of later ones" in described["why"]
        assert refused(server) == (409, f"the model has no sessions: {described['why']}")


@pytest.mark.parametrize("kind", ["a cell", "float64", "no steps"])
def test_other_models(folder: Path, rng: np.random.Generator, kind: str) -> None:
    x = rng.normal(size=(4, 3))
    models = {
        "a cell": nn.LSTMCell(3, 5, seed=0),
        "float64": nn.GRU(3, 5, dtype="float64", seed=0),
        "no steps": nn.Linear(3, 5, seed=0),
    }
    gn.save(model := models[kind], folder / "other.safetensors")
    with Server(folder, folder / "other.safetensors", "--store", "other.db") as server:
        if kind == "float64":
            expected = model(x)[0]
            (y,) = server.predict(x=[x.tolist()]).json()["y"]
            assert_same_bits(np.array(y), expected, "a batch")
            with server.session() as live:
                live.socket.send(x[0].tobytes())
                assert_same_bits(np.frombuffer(live.socket.recv(60)[16:]), expected[0], "a frame")
            return
        x = x.astype(np.float32)
        expected = model(x)[0] if kind == "a cell" else model(x)
        with server.session() as live:
            assert_same_bits(live.take(x[0]), expected[0], "a frame")
        assert server.request("/v1/model").json()["show"] == ["outputs"]
        assert "recurrent layers beside gates" in refused(server, query="frames=json&show=gates")[1]
        got = server.predict(x=x.tolist())
        if kind == "a cell":
            assert got.status == 409
        else:
            assert_same_bits(np.array(got.json()["y"], np.float32), expected, "rows")


@pytest.mark.parametrize("kind", ["numbers", "indices"])
def test_a_model_of_single_steps_takes_sequences_too(tmp_path: Path, rng: np.random.Generator, kind: str) -> None:
    first = nn.Linear(3, 8, seed=0) if kind == "numbers" else nn.Embedding(5, 8, seed=0)
    gn.save(model := nn.Sequential(first, nn.Linear(8, 2, seed=0)), tmp_path / "model.safetensors")
    x = rng.normal(size=(4, 10, 3)).astype(np.float32) if kind == "numbers" else rng.integers(0, 5, (4, 10))
    expected = np.concatenate([model.predict([own]) for own in x])
    with Server(tmp_path, tmp_path / "model.safetensors", "--steps", 40) as server:
        assert_same_bits(np.array(server.predict(x=x.tolist()).json()["y"], np.float32), expected, "JSON")
        single = server.predict(x=[own.tolist() for own in x[:, 0]]).json()["y"]
        assert_same_bits(np.array(single, np.float32), expected[:, 0], "single steps")
        *parts, alone = server.predict(x=[x[0].tolist(), x[1, :4].tolist(), x[2, 0].tolist()]).json()["y"]
        for own, length, part in zip(expected, (10, 4), parts, strict=False):
            assert_same_bits(np.array(part, np.float32), own[:length], f"{length} steps")
        assert_same_bits(np.array(alone, np.float32), expected[2, 0], "one step")
        np.save(tmp_path / "x.npy", x)
        bodies = {NPY: (tmp_path / "x.npy").read_bytes(), RAW: x.tobytes()}
        shape = {NPY: {}, RAW: {"x_shape": ",".join(map(str, x.shape))}}
        for own, body in bodies.items():
            got = server.request("/v1/predict", body, content_type=own, accept=RAW, **shape[own])
            assert got.headers["x-shape"] == "4,10,2"
            assert_same_bits(np.frombuffer(got.body, np.float32).reshape(4, 10, 2), expected, own)
        assert server.predict(x=[*x.tolist(), x[0, :1].tolist()]).status == 413


def test_numbers_that_json_has_not() -> None:
    assert listed(np.array([[1, np.nan], [np.inf, -np.inf]], np.float32)) == [[1.0, None], [None, None]]
    assert listed(np.array([1, None], object)) == [1, None]


def test_a_model_with_a_vocabulary_of_its_users(folder: Path, model: nn.Sequential) -> None:
    path = folder / "own.safetensors"
    gn.save(model, path, {"vocabulary": "abc"})
    assert Served.load(str(path)).description()["kind"] == "network"


def test_a_model_of_tables(folder: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("sklearn")
    series = rng.normal(size=60).cumsum()
    (folder / "series.csv").write_text("load\n" + "\n".join(map(str, series)))
    series_csv, table, out = (str(folder / own) for own in ("series.csv", "table.safetensors", "next.csv"))
    options = "--task forecast --target load --horizon 2 --window 8 --epochs 1 --hidden-size 4"
    assert main(["train", series_csv, *options.split(), "--out", table]) == 0
    assert main(["predict", table, series_csv, "--out", out]) == 0
    expected = np.loadtxt(out, delimiter=",", skiprows=1)
    with Server(folder, Path(table), "--store", "table.db") as server:
        found = server.predict(columns={"load": series.tolist()}).json()["columns"]
        np.testing.assert_allclose(found["load"], expected[:, 1])
        assert server.request("/v1/model").json()["table"]["features"] == ["load"]
        for wrong, message in (
            ({"load": [1.0]}, "expected at least 8 rows"),
            ({"other": [1.0]}, "expected a column 'load'"),
            ({"load": [[1.0]]}, "columns: load: expected a list of numbers, texts or null, got one with [1.0]"),
            ({"load": 1.0}, "columns: load: expected a list of numbers, texts or null, got 1.0"),
            ({"load": [10**400]}, "expected numbers that a float can hold, got a number of 1329 bits"),
            ({"load": [1.0], "b": []}, "as many in each column, got 0 and 1"),
            ({"\ud800": 1.0}, "columns: ?: expected a list"),
            ([1.0], "columns: expected lists by the name of the column, got [1.0]"),
        ):
            got = server.predict(columns=wrong)
            assert got.status == 400
            assert message in got.json()["error"]
        assert "x: expected columns in JSON" in server.predict(x=[[1.0]]).json()["error"]
        assert refused(server) == (
            409,
            "the model has no sessions: a model of tables takes whole tables: POST /v1/predict",
        )


# ---- Steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["", "frames=json", "durability=each", "durability=none"])
def test_steps_have_the_bits_of_a_stream(
    server: Server, model: nn.Sequential, rng: np.random.Generator, query: str
) -> None:
    x = rng.normal(size=(6, 3)).astype(np.float32)
    stream = model.stream()
    with server.session(query=query) as live:
        assert live.greeting["model"] == server.request("/v1/model").json()["digest"]
        for step, row in enumerate(x[:4], 1):
            assert_same_bits(live.take(row), stream.step(row[None])[0], query)
            assert live.step == step
            assert live.durable == (step if query == "durability=each" else 0)
    with server.session(live.name, "frames=json" if "json" in query else "") as live:
        assert (live.step, live.durable) == (4, 4)
        assert_same_bits(np.array(live.greeting["y"], np.float32), model(x[:4])[0][-1], "the last output")
        for row in x[4:]:  # sent at once, they queue
            live.send(row)
        for row in x[4:]:
            assert_same_bits(live.receive(), stream.step(row[None])[0], query)
    assert server.request(f"/v1/sessions/{live.name}", method="DELETE").status == 204
    assert server.request(f"/v1/sessions/{live.name}", method="DELETE").status == 404
    assert refused(server, live.name)[0] == 404


def test_many_sessions_step_together(server: Server, model: nn.Sequential, rng: np.random.Generator) -> None:
    x = rng.normal(size=(20, 30, 3)).astype(np.float32)
    expected = model.predict(list(x))

    def one(sequence: int) -> str:
        with server.session() as live:
            for row, y in zip(x[sequence], expected[sequence], strict=True):
                assert_same_bits(live.take(row), y, f"sequence {sequence}")
        return live.name

    before = server.metric("steps_total")
    with ThreadPoolExecutor(20) as threads:
        names = [*threads.map(one, range(20))]
    assert server.metric("steps_total") - before == 600
    assert server.metric("batch_steps_count") < server.metric("batch_steps_sum")  # some were together
    for name in names:
        server.request(f"/v1/sessions/{name}", method="DELETE")


def test_whole_and_divided_frames_stay_in_order(server: Server, model: nn.Sequential, rng: np.random.Generator) -> None:
    x = rng.normal(size=(200, 3)).astype(np.float32)
    with server.session() as live:
        for place, row in enumerate(x):  # more at once than may wait
            frame = row.tobytes()
            live.socket.send([frame[:5], frame[5:]] if place % 3 == 1 else frame)
        for y in model.predict([x])[0]:
            assert_same_bits(live.receive(), y, f"step {live.step}")
    assert live.step == 200
    server.request(f"/v1/sessions/{live.name}", method="DELETE")


def test_gates_and_states_come_with_the_steps(server: Server, model: nn.Sequential, rng: np.random.Generator) -> None:
    x = rng.normal(size=(3, 3)).astype(np.float32)
    gru, lstm, _ = model
    hidden, _, gates = gru(x, return_gates=True)
    inner, _, inner_gates = lstm(hidden, return_gates=True)
    assert server.request("/v1/model").json()["show"] == ["outputs", "gates"]
    with server.session(query="frames=json&show=gates") as live:
        for step, row in enumerate(x):
            live.take(row)
            assert [layer["name"] for layer in live.layers] == ["0.l0", "0.l1", "1.l0"]
            for layer, part, names in zip(
                live.layers, (gates, gates, inner_gates), ("rzn", "rzn", "ifgo"), strict=True
            ):
                assert [*layer["gates"]] == list(names)
                for name in names:
                    own = part[f"{name}_{layer['name'].split('.')[1]}"]
                    assert_same_bits(np.array(layer["gates"][name], np.float32), own[step], name)
            assert_same_bits(np.array(live.layers[1]["state"]["h"], np.float32), hidden[step], "h")
            assert_same_bits(np.array(live.layers[2]["state"]["h"], np.float32), inner[step], "h of the LSTM")
            assert len(live.layers[2]["state"]["c"]) == 6
    server.request(f"/v1/sessions/{live.name}", method="DELETE")


def test_wrong_wishes_are_refused(server: Server) -> None:
    for query, message in (
        ("frames=xml", "frames: expected 'binary' or 'json'"),
        ("colour=red", "query: expected"),
        ("show=gates", "expected frames=json beside gates"),
        ("durability=often", "none, each or a whole number"),
    ):
        status, error = refused(server, query=query)
        assert status == 400
        assert message in error
    with server.session() as live:
        name = live.name
    assert refused(server, name, "durability=each") == (400, "durability: belongs to a new session")


# ---- Around them ----------------------------------------------------------------------------------------------------


def test_health_metrics_page_and_log(server: Server) -> None:
    assert server.request("/healthz").status == server.request("/readyz").status == 200
    assert "html" in server.request("/").body.decode()
    assert server.request("/nothing").status == 404
    assert server.request("/metrics").headers["content-type"].startswith("text/plain")
    request = server.request("/v1/model", x_request_id="weird id!").headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", request)
    server.request("/healthz")  # by the end of which the line of the one before is there
    noted = [line for line in server.lines() if line.get("request") == request]
    assert [line["endpoint"] for line in noted] == ["model"]
    assert noted[0]["status"] == 200


def test_wrong_paths_and_methods_are_refused_in_json(server: Server) -> None:
    expected = "path: expected one of those that /openapi.json describes, got "
    for method, path, allowed in (
        ("GET", "/nothing", None),
        ("GET", "/v1/model/", None),
        ("GET", "/page.css%00", None),
        ("POST", "/v1/model", {"GET", "HEAD"}),
        ("GET", "/v1/predict", {"POST"}),
        ("PUT", "/v1/sessions", {"GET", "HEAD"}),
        ("POST", "/v1/sessions/name", {"GET", "HEAD", "DELETE"}),
        ("POST", "/", {"GET", "HEAD"}),
        ("PUT", "/", {"GET", "HEAD"}),
    ):
        got = server.request(path, method=method, x_request_id="of-mine")
        assert got.status == (405 if allowed else 404), path
        assert got.json()["request"] == "of-mine"
        if allowed:
            assert {*got.headers["allow"].split(", ")} == allowed
            assert got.json()["error"] == f"method: expected {got.headers['allow']}, got {method}"
        else:
            assert got.json()["error"] == expected + path.replace("%00", "\0")
    for path in ("/v1/sessions", "/v1/sessions/name"):
        got = server.request(path)
        assert (got.status, got.headers["upgrade"]) == (426, "websocket")
        assert "upgrade" in got.headers.get_all("connection")
        assert "expected Upgrade: websocket and Connection: Upgrade" in got.json()["error"]
    for name in ("a/b", ""):
        elsewhere = f"ws://{server.host}:{server.port}/v1/sessions/{name}"
        with pytest.raises(InvalidStatus) as caught, connect(elsewhere):
            pass
        assert caught.value.response.status_code == 404
        assert json.loads(caught.value.response.body)["error"] == f"{expected}/v1/sessions/{name}"
        with connect(elsewhere, subprotocols=["gru-native"]) as browser, pytest.raises(ConnectionClosedError) as closed:
            browser.recv(60)
        assert closed.value.rcvd.code == 4404


def test_gates_behind_layers_that_remember(rng: np.random.Generator) -> None:
    embedding, convolution = nn.Embedding(9, 4, seed=0), nn.Conv1d(4, 5, 3, padding="causal", seed=1)
    model = nn.Sequential(embedding, convolution, nn.GRU(5, 6, seed=2), nn.LayerNorm(6), nn.LSTM(6, 3, seed=3)).eval()
    live, gates = model.stream(), Gates(model)
    for index in rng.integers(0, 9, (7, 1)):
        gru, lstm = gates.at(live.snapshot(), index)
        live.step(index)
        for layer, name in ((gru, "2.l0.h"), (lstm, "4.l0.h")):
            assert_same_bits(np.array(layer["state"]["h"], np.float32), live.state[name][0], name)


def test_a_session_that_cannot_be_deleted(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SQLiteStore(Settings(store=str(tmp_path / "store.db")))
    store.create("name", "owner", "model", "each")
    monkeypatch.setattr(store, "delete", Mock(side_effect=OSError("no room")))

    async def end() -> None:
        service = Service(str(server.model), Served.load(str(server.model)), store, Settings())
        try:
            await service.sessions.end("name", "owner")
        finally:
            await service.keeper.close()

    with pytest.raises(Refused, match="the store failed; try again"):
        asyncio.run(end())


def test_openapi_describes_the_routes(server: Server, tmp_path: Path) -> None:
    document = server.request("/openapi.json").json()
    described = {(path, method) for path, item in document["paths"].items() for method in item}
    store = SQLiteStore(Settings(store=str(tmp_path / "store.db")))
    service = Service(str(server.model), Served.load(str(server.model)), store, Settings())
    store.close()
    routes = {
        (route.path, method.lower())
        for route in service.app().routes
        for method in (getattr(route, "methods", None) or {"GET"}) - {"HEAD"}
    }
    assert described == routes


def test_tokens(folder: Path, server: Server) -> None:
    tokens = {"ann": "a/(=" * 4, "bob": "b" * 16}
    given = ",".join(f"{name}={token}" for name, token in tokens.items())
    options = ["--store", "tokens.db", "--kept-per-client", "2"]
    with Server(folder, server.model, *options, GRU_NATIVE_SERVE_TOKENS=given) as own:
        assert own.request("/healthz").status == 200
        for path in ("/v1/model", "/v1/predict", "/admin/reload"):
            got = own.request(path, b"" if path != "/v1/model" else None)
            assert got.status == 401
            assert got.headers["www-authenticate"] == "Bearer"
        assert own.request("/v1/model", authorization=f"Bearer {'c' * 16}").status == 401
        assert own.request("/v1/model", authorization=f"Bearer {tokens['ann']}").status == 200
        assert own.request("/admin/reload", b"", authorization=f"Bearer {tokens['ann']}").status == 403
        assert refused(own)[0] == 401
        ann = {"additional_headers": {"Authorization": f"Bearer {tokens['ann']}"}}
        with own.session(**ann) as live:
            pass
        bob = {"additional_headers": {"Authorization": f"Bearer {tokens['bob']}"}}
        assert refused(own, live.name, **bob)[0] == 404
        with own.session(live.name, subprotocols=["gru-native", f"bearer.{quote(tokens['ann'], '')}"]) as again:
            assert again.socket.subprotocol == "gru-native"
        with own.session(**ann):
            assert refused(own, **ann)[0] == 429  # ann has two
        with own.session(**bob):
            pass
        assert tokens["ann"] not in own.log.read_text()


def test_pages_of_other_servers_need_a_token(server: Server) -> None:
    for origin in ("http://elsewhere.example", "http://[", "null"):
        status, message = refused(server, origin=origin)
        assert status == 403
        assert "origin: expected a page of this server" in message
        assert server.request("/v1/model", origin=origin).status == 403
    with server.session(origin=server.url) as live:
        name = live.name
    server.request(f"/v1/sessions/{name}", method="DELETE")


def test_names_that_others_can_own_need_a_token(folder: Path, server: Server) -> None:
    """A page whose own name leads to this server is one of this server's for a browser."""
    for host in ("evil.example", "localhost.", "127.0.0.1.evil.example", "[", "a.b:c:d", "127.1"):
        for path, body in (("/v1/model", None), ("/v1/predict", b"{}")):
            got = server.request(path, body, host=host, content_type=JSON)
            assert got.status == 403
            assert re.match("host: expected an address, a name without a dot, .* got ", got.json()["error"])
        assert server.request("/healthz", host=host).status == 200
    for host in ("localhost", f"LOCALHOST:{server.port}", "gru", "127.0.0.1:1", "[::1]:80", "10.0.0.1"):
        assert server.request("/v1/model", host=host).status == 200, host
    named = copy.copy(server)
    named.host = "evil.example"
    sock = socket.create_connection((server.host, server.port))
    status, message = refused(named, sock=sock, origin=f"http://evil.example:{server.port}")
    assert (status, message.partition(":")[0]) == (403, "host")
    with Server(folder, server.model, "--store", "named.db", "--host", "127.1") as own:
        assert own.request("/v1/model", host=f"127.1:{own.port}").status == 200


def test_browsers_see_why_they_are_refused(server: Server) -> None:
    """They get no status, so that it comes as a code."""
    for name, query, code, reason in (
        ("x" * 32, "", 4404, "there is no such session"),
        ("", "show=gates", 4400, "show: expected frames=json beside gates"),
        (
            "",
            f"frames={quote('é' * 60)}",
            4400,
            f"frames: expected 'binary' or 'json', got '{'é' * 39}",
        ),  # of 120 bytes
    ):
        with pytest.raises(ConnectionClosedError) as caught, server.session(name, query, subprotocols=["gru-native"]):
            pass
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, reason)
    assert server.metric('refused_total{reason="unknown"}') >= 1


def certified(folder: Path) -> None:
    """Write a key and its certificate."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True, capture_output=True
    )


def test_tls(folder: Path, server: Server) -> None:
    certified(folder)
    options = ["--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem", "--store", "tls.db"]
    with Server(folder, server.model, *options) as own:
        assert own.scheme == "https"
        context = ssl.create_default_context(cafile=folder / "cert.pem")
        with urllib.request.urlopen(f"{own.url}/healthz", context=context, timeout=60) as reply:
            assert reply.status == 200


def test_a_reload_waits_until_the_model_is_served(tmp_path: Path) -> None:
    """The command stands still between model and server, where it opens a certificate that is a pipe."""
    certified(tmp_path)
    certificate = (tmp_path / "cert.pem").read_bytes()
    (tmp_path / "cert.pem").unlink()
    os.mkfifo(tmp_path / "cert.pem")
    gn.save(nn.GRU(3, 4, seed=0), tmp_path / "model.safetensors")
    options = "model.safetensors --port 0 --ssl-certfile cert.pem --ssl-keyfile key.pem"
    with subprocess.Popen(
        [sys.executable, "-m", "gru_native", "serve", *options.split()], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as process:
        with open(tmp_path / "cert.pem", "wb") as pipe:  # once the other end is open
            gn.save(model := nn.GRU(3, 4, seed=1), tmp_path / "model.safetensors")
            process.send_signal(signal.SIGHUP)
            pipe.write(certificate)
        lines = [json.loads(process.stderr.readline())]
        process.terminate()
    digest = sha256(gn.io.content(model)).hexdigest()
    assert [(line["event"], line.get("model")) for line in lines] == [("reloaded", digest)]
    assert process.returncode == 0


# ---- Settings -------------------------------------------------------------------------------------------------------


def test_settings_come_from_a_file_the_environment_and_options(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text('port = 1\nidle = 5\nkeep = 7\ndurability = "each"\n[tokens]\nann = "0123456789abcdef"\n')
    environment = {"GRU_NATIVE_SERVE_IDLE": "6", "GRU_NATIVE_SERVE_DURABILITY": "12", "OTHER": "1"}
    found = settings_of(config, environment, {"durability": "none"})
    assert (found.port, found.idle, found.keep, found.durability) == (1, 6.0, 7.0, "none")
    assert found.tokens == {"ann": "0123456789abcdef"}
    assert settings_of(None, {"GRU_NATIVE_SERVE_TOKENS": "a=0123456789abcdef, b=0123456789abcde="}, {}).tokens == {
        "a": "0123456789abcdef",
        "b": "0123456789abcde=",
    }
    assert "tokens" not in OPTIONS


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    for content, message in (
        ("port = 70000", "port: expected a whole number from 0 to 65535"),
        ("prot = 1", "expected one of the settings .* got 'prot'"),
        ("port =", "not TOML"),
        ('durability = "often"', "durability: expected none, each or a whole number"),
        ("keep = 1", "keep: expected at least idle, 300 seconds, got 1"),
        ('ssl_keyfile = "a"', "ssl_keyfile: expected ssl_certfile"),
        ('tokens = {a = "short"}', "tokens.a: expected 16 or more"),
        ("[tokens]", "tokens: expected at least one, got an empty table"),
        ('tokens = {a = "0123456789abcdef", b = "0123456789abcdef"}', "another token for each name"),
    ):
        config.write_text(content)
        with pytest.raises(SettingsError, match=message):
            settings_of(config, {}, {})
    for name, message in (
        ("PORT", "PORT: expected a whole number, got 'x'"),
        ("TOKENS", "NAME=TOKEN"),
        ("IDLE", "IDLE: expected a number, got 'x'"),
        ("PROT", "GRU_NATIVE_SERVE_PROT: expected one of the settings host, .*, got 'prot'"),
    ):
        with pytest.raises(SettingsError, match=message):
            settings_of(None, {f"GRU_NATIVE_SERVE_{name}": "x"}, {})
    address = "tcp://10.0.0.1:8000"
    of_kubernetes = {f"GRU_NATIVE_SERVE_{name}": address for name in ("SERVICE_PORT", "PORT_8000_TCP", "PORT")}
    with pytest.raises(SettingsError, match=f"^GRU_NATIVE_SERVE_PORT: expected a whole number, got '{address}'"):
        settings_of(None, of_kubernetes, {})


def test_durability_levels() -> None:
    assert [steps_of("d", level) for level in ("none", "each", "1", 1, "12")] == [0, 1, 1, 1, 12]
    assert [level_of(steps_of("d", level)) for level in ("none", "each", 7)] == ["none", "each", "7"]
    for wrong in ("0", 0, "-1", "²", "", True, 1.5, None, []):
        with pytest.raises(ValueError, match="d: expected none, each or a whole number"):
            steps_of("d", wrong)


def test_the_command_says_in_a_line_what_is_wrong(
    folder: Path,
    tmp_path: Path,
    server: Server,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    taken = ["--port", str(server.port)]
    own = [str(server.model), "--port", "0", "--store", str(tmp_path / "own.db")]
    for arguments, message in (
        ([str(folder / "none")], "none: No such file"),
        ([str(server.model), *taken], f"127.0.0.1:{server.port}: Address already in use"),
        (
            [str(server.model), "--port", "0"],
            "database is locked; another server has it, and several share a store of Redis",
        ),
        ([str(server.model), "--port", "0", "--store", "redis://127.0.0.1:1"], "store: Error 111 connecting to 127"),
        ([str(server.model), "--port", "0", "--store", "redis://here:1/abc"], "store: expected a URL such as redis:"),
        ([str(server.model), "--port", "0", "--store", "http://here"], "store: expected a file, or a URL of redis"),
        ([str(server.model), "--config", str(server.model)], "not TOML"),
        ([*own, "--ssl-certfile", "none.pem"], "ssl_certfile, ssl_keyfile: none.pem, none.pem: No such file"),
    ):
        assert main(["serve", *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_model_that_takes_targets_is_refused(tmp_path: Path) -> None:
    """At the start, and at a reload."""
    encoder = nn.GRU(3, 4, bidirectional=True, seed=0)
    gn.save(nn.Seq2Seq(encoder, 5, 4, hidden_size=6, seed=0), path := tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match="expected a model that takes inputs alone, got Seq2Seq"):
        Served.load(str(path))


def test_a_store_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    for name, table in (("others", "users (id)"), ("namesake", "sessions (id, owner)")):
        with closing(sqlite3.connect(tmp_path / name)) as file:
            file.execute(f"CREATE TABLE {table}")
        before = (tmp_path / name).read_bytes()
        message = f"{name}: expected a file of this server's, got one of another program, with {table.split()[0]}"
        with pytest.raises(SettingsError, match=message):
            open_store(Settings(store=str(tmp_path / name)))
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    "store",
    [
        "redis://:secret@127.0.0.1:1",
        "redis://127.0.0.1:1?password=secret",
        "redis://127.0.0.1:1?password=a@secret",
        "redis://127.0.0.1:1?password=a&secret=b",
        "redis://127.0.0.1:1?passwd=secret",
        "redis://:a/secret@127.0.0.1:1",
        "redis://:secret#a@127.0.0.1:1",
        "redis://127.0.0.1:secret",
        "redis:/:secret@127.0.0.1:1",
        "unix:///none?password=secret",
        "http://:secret@127.0.0.1:1",
    ],
)
def test_no_message_has_a_password(store: str) -> None:
    pytest.importorskip("redis")
    with pytest.raises(SettingsError, match=r"^store: ") as caught:
        open_store(Settings(store=store))
    assert "secret" not in str(caught.value)


def test_a_store_of_redis_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gru_native.serve.redis", None)
    with pytest.raises(SettingsError, match=r"store: needs redis \(pip install"):
        open_store(Settings(store="redis://here"))


def test_sigint_ends_it_too(folder: Path, server: Server) -> None:
    with Server(folder, server.model, "--store", "interrupted.db") as own:
        assert own.stop(signal.SIGINT) in (0, 130)
