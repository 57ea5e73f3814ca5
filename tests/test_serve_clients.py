"""``gru-native serve`` and clients that are slow, wrong, silent or too many: an answer, and nobody else is hurt."""

from __future__ import annotations

import base64
import json
import os
import re
import select
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import numpy as np
import pytest
from cases import Array, assert_same_bits
from serving import Server, refused

import gru_native as gn
from gru_native import nn
from gru_native.serve.live import Session

WIDE = 4096  # numbers of an output, so that few replies fill a connection
RAW = "application/octet-stream"
LONG = "POST /v1/predict?shape=1,1000,3 HTTP/1.1\r\nHost: here\r\nContent-Length: 12000\r\n"
LONG += f"Content-Type: {RAW}\r\nAccept: {RAW}\r\n\r\n" + 12_000 * "\0"  # whose answer fills a connection, too


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    return nn.Sequential(nn.GRU(3, 6, seed=0), nn.Linear(6, WIDE, seed=0))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: nn.Sequential) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    gn.save(model, folder / "model.safetensors")
    options = ["--timeout", 1, "--connected", 4, "--requests", 1, "--pending", 4, "--deadline", 0.02]
    with Server(folder, folder / "model.safetensors", *options) as own:
        yield own
        own.stop(15)
        assert not [line for line in own.lines() if line["level"] == "error"]


@pytest.fixture
def beside(server: Server, model: nn.Sequential, rng: np.random.Generator) -> Iterator[Callable[[], None]]:
    """What takes a step of a session that was there before, and looks at its bits."""
    x = rng.normal(size=(20, 3)).astype(np.float32)
    expected = model(x)[0]
    with server.session() as live:

        def step() -> None:
            assert_same_bits(live.take(x[live.step]), expected[live.step - 1], f"step {live.step}")

        step()
        yield step
        step()


def raw(server: Server, head: str = "") -> socket.socket:
    """A connection on which little fits that is not read."""
    own = socket.socket()
    own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    own.settimeout(60)
    own.connect((server.host, server.port))
    own.sendall(head.encode())
    return own


def upgraded(server: Server) -> socket.socket:
    """A session of which nothing is read but its greeting."""
    key = base64.b64encode(os.urandom(16)).decode()
    own = raw(
        server,
        "GET /v1/sessions HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
    )
    got = b""
    while b'"y": null}' not in got:
        got += own.recv(4096)
    assert got.startswith(b"HTTP/1.1 101 ")
    return own


def frame(x: Array) -> bytes:
    return struct.pack("!BBI", 0x82, 0x80 | x.nbytes, 0) + x.tobytes()


def ended(own: socket.socket) -> bool:
    """Wait until a connection is over, without reading from it."""
    poll = select.poll()
    poll.register(own, select.POLLRDHUP)
    return bool(poll.poll(30_000))


def peak(server: Server) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def test_giant_frames(server: Server, beside: Callable[[], None]) -> None:
    before = peak(server)
    with upgraded(server) as own:
        own.sendall(struct.pack("!BBQI", 0x82, 0xFF, 100_000_000, 0))
        closing = own.recv(4096)
        assert closing[:1] == b"\x88"
        assert closing[2:4] == struct.pack("!H", 1009)
        with suppress(ConnectionError):
            own.sendall(bytes(100_000_000))
    beside()
    assert peak(server) - before < 20_000_000


@pytest.mark.parametrize("error", [OSError, RuntimeError])
def test_the_end_of_a_connection_that_is_over_hurts_no_others(error: type[Exception]) -> None:
    async def send(message: object) -> None:
        raise error  # as uvicorn does, of a client that is gone, and of one that it has closed itself

    session = Session("name", "owner", 1, 1.0)
    session.connect(send, None)
    session.close(1012, "")
    assert not session.full


def test_frames_of_other_sizes_and_kinds(server: Server, beside: Callable[[], None]) -> None:
    alone = "expected frames with an object that has x alone"
    for query, message, code, reason in (
        ("", bytes(13), 1007, "expected frames of 12 bytes, got 13"),
        ("", b"", 1007, "expected frames of 12 bytes, got 0"),
        ("", "text", 1003, "expected binary frames, got text; ?frames=json is for text"),
        ("frames=json", bytes(12), 1003, "expected text frames, as ?frames=json says, got a binary one"),
        ("frames=json", '{"x": [1, 2]}', 1007, "x: expected a list of 3 numbers, got 2"),
        ("frames=json", '{"x": 7}', 1007, "x: expected a list of 3 numbers, got 7"),
        ("frames=json", '{"x": [1, 2, "3"]}', 1007, "x: expected a list of 3 numbers, got [1, 2, '3']"),
        ("frames=json", '{"x": [1, 2, [3]]}', 1007, "x: expected a list of 3 numbers, got [1, 2, [3]]"),
        ("frames=json", f'{{"x": [1, 2, {10**400}]}}', 1007, "x: expected finite numbers, got a number of 1329 bits"),
        ("frames=json", '{"x": [1, 2, 3], "y": 4}', 1007, f"{alone}, got ['x', 'y']"),
        ("frames=json", '{"foo": [1, 2, 3]}', 1007, f"{alone}, got ['foo']"),
        ("frames=json", "[1, 2, 3]", 1007, f"{alone}, got [1, 2, 3]"),
        ("frames=json", "{", 1007, "expected frames of JSON: Expecting property name"),
        ("frames=json", "[" * 1000, 1007, "expected frames of JSON: "),
    ):
        with server.session(query=query) as live:
            live.socket.send(message)
            got, words = live.closed()
            assert got == code
            assert words.startswith(reason) if "JSON: " in reason else words == reason
    beside()
    assert server.metric('closed_total{code="1003"}') == 2


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("query", ["", "frames=json", "frames=json&show=gates"])
def test_numbers_that_are_none(
    server: Server, model: nn.Sequential, beside: Callable[[], None], number: float, query: str
) -> None:
    x = np.ones(3, np.float32)
    with server.session(query=query) as live:
        live.take(x)
        live.send(np.array([1, number, 1], np.float32))
        beside()  # in the same batch
        assert live.closed() == (1007, f"x: expected finite numbers, got {number} at 1")
    with server.session(live.name) as again:
        assert again.step == 1
        assert_same_bits(again.take(x), model(np.ones((2, 3), np.float32))[0][1], "the state before")


def test_a_client_that_reads_nothing(server: Server, beside: Callable[[], None]) -> None:
    before, x = peak(server), np.ones(3, np.float32)
    with upgraded(server) as own:
        own.settimeout(0.5)
        with suppress(TimeoutError, ConnectionError):  # the server reads no more, or has enough of it
            while True:
                own.sendall(1000 * frame(x))
        beside()
        assert ended(own)
    beside()
    assert peak(server) - before < 20_000_000


def test_a_client_that_is_gone_before_its_replies(server: Server, tmp_path: Path) -> None:
    """Who writes on hears from asyncio, each time again."""
    with Server(tmp_path, server.model, "--pending", 1000) as own:
        for _ in range(5):
            with upgraded(own) as gone:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset
                gone.sendall(1000 * frame(np.ones(3, np.float32)))
        while own.metric("sessions"):
            pass
        assert {line["level"] for line in own.lines()} == {"info"}


def test_warnings_of_others_are_lines_of_the_log() -> None:
    code = "import logging; from gru_native.serve.log import to_standard_error as log; log(); "
    code += "logging.getLogger('asyncio').warning('socket.send() raised exception.')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    line = json.loads(found.stderr)
    assert (line["level"], line["event"]) == ("warning", "socket.send() raised exception.")


@pytest.mark.parametrize("flood", ["pings", "empty parts of a frame"])
def test_floods_of_what_is_no_step(server: Server, beside: Callable[[], None], flood: str) -> None:
    before = peak(server)
    ping, part = struct.pack("!BBI", 0x89, 0x80 | 100, 0) + bytes(100), struct.pack("!BBI", 0, 0x80, 0)
    with upgraded(server) as own:
        own.sendall(b"\x02" + part[1:])  # a frame that goes on
        with pytest.raises(ConnectionError):
            own.sendall(1_000_000 * (ping if flood == "pings" else part))
    beside()
    assert peak(server) - before < 20_000_000


def test_a_client_that_answers_no_pings(server: Server, beside: Callable[[], None]) -> None:
    with upgraded(server) as own:
        own.settimeout(10)
        own.sendall(frame(np.ones(3, np.float32)))
        while own.recv(1 << 16):
            pass
    beside()


@pytest.mark.parametrize("head", ["", "GET / HT", "GET / HTTP/1.1\r\nHost: here\r\nX-Long: "])
def test_half_a_request(server: Server, head: str) -> None:
    with raw(server, head) as own:
        assert own.recv(100) == b""


def test_no_request_at_all(server: Server, beside: Callable[[], None]) -> None:
    with raw(server, "\0\xff garbage\r\n\r\n") as own:
        assert own.recv(100).startswith(b"HTTP/1.1 400 ")
    beside()


@pytest.mark.parametrize("durability", ["none", "each"])
def test_the_end_of_a_server_waits_for_no_client_that_reads_nothing(
    server: Server, tmp_path: Path, durability: str
) -> None:
    own = Server(tmp_path, server.model, "--drain", 4, "--durability", durability)
    with own, ExitStack() as stack, own.session() as live:
        live.take(np.ones(3, np.float32))
        slow = [stack.enter_context(upgraded(own)) for _ in range(15)]
        for client in slow:
            client.sendall(400 * frame(np.ones(3, np.float32)))
        stack.enter_context(raw(own, LONG)).recv(12)
        time.sleep(0.5)
        begun = time.monotonic()
        assert own.stop(signal.SIGTERM) == 0
        assert 2 < time.monotonic() - begun < 4
        assert live.closed()[0] == 1012
        assert {line["level"] for line in own.lines()} == {"info"}
    with closing(sqlite3.connect(tmp_path / "sessions.db")) as store:
        stored = [step for (step,) in store.execute("SELECT step FROM sessions ORDER BY step")]
    assert stored[0] == 1
    assert min(stored[1:]) > 10


def test_heads_without_an_end(server: Server, tmp_path: Path) -> None:
    """Also where there is another parser of HTTP, which would bound nothing: this one cannot even parse."""
    (tmp_path / "httptools.py").touch()
    get, post = (f"{own} HTTP/1.1\r\nHost: here\r\n" for own in ("GET /healthz", "POST /v1/predict"))
    with Server(tmp_path, server.model, PYTHONPATH=str(tmp_path)) as own:
        assert own.request("/healthz").status == 200
        before = peak(own)
        for head, more in (
            (get, b"X-A: b\r\n"),
            (f"{get}X-Long: ", b"long"),
            ("GET /", b"long"),
            (f"{post}Transfer-Encoding: chunked\r\n\r\n5;", b"long"),
            (f"{post}Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: b\r\n"),
        ):
            with raw(own, head) as endless, pytest.raises(ConnectionError):
                endless.sendall(5_000_000 * more)
        assert peak(own) - before < 20_000_000


HALF = "POST /v1/predict HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"


def test_bodies_that_do_not_come_keep_no_batch_from_being_computed(server: Server) -> None:
    with ExitStack() as stack:
        late = [stack.enter_context(raw(server, HALF)) for _ in range(8)]
        for own in late:
            assert own.recv(4096).startswith(b"HTTP/1.1 100 ")  # it waits for the body
        assert server.predict(x=[[[1, 2, 3]]]).status == 200
        for own in late:
            answer = b""
            while b"body: expected all of it within 1 seconds, got a part" not in answer:
                answer += own.recv(4096)
            assert answer.startswith(b"HTTP/1.1 408 ")
    assert server.predict(x=[[[1, 2, 3]]]).status == 200


def test_the_end_of_a_server_waits_for_no_bodies(server: Server, tmp_path: Path) -> None:
    with Server(tmp_path, server.model, "--timeout", 100) as own, raw(own, HALF) as late, raw(own, "GET / HT"):
        assert late.recv(4096).startswith(b"HTTP/1.1 100 ")
        assert own.stop(signal.SIGTERM) == 0
        answer = b""
        while part := late.recv(4096):
            answer += part
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"the server is going down; try again" in answer
        assert {line["level"] for line in own.lines()} == {"info"}


def test_bodies_that_come_slowly_have_a_share_of_memory(server: Server, tmp_path: Path) -> None:
    head = HALF.replace("100\r\nExpect: 100-continue", "1000\r\nContent-Type: application/x-npy") + "x" * 800
    with Server(tmp_path, server.model, "--requests", 1, "--body", 1000) as own:
        with raw(own, head), raw(own, head) as second:
            answer = b""
            while b"body: expected up to 1000 bytes of all bodies and answers that are on their way" not in answer:
                answer += second.recv(4096)
            assert answer.startswith(b"HTTP/1.1 503 ")
        while own.predict(x=[[[1, 2, 3]]]).status != 200:  # the first one is given up, too
            pass


def test_answers_that_are_not_taken(server: Server, beside: Callable[[], None]) -> None:
    """They have a share of memory together, and a time."""
    before = peak(server)
    with ExitStack() as stack:
        slow = [stack.enter_context(raw(server)) for _ in range(10)]
        answers = []
        for own in slow:
            own.sendall(LONG.encode())
            answers.append(own.recv(12))
            beside()
        assert answers[:2] == [b"HTTP/1.1 200", b"HTTP/1.1 503"]
        assert b"are on their way" in slow[1].recv(1000)
        while server.predict(x=[[[1, 2, 3]]]).status != 200:  # until the last one is given up
            pass
        answer = 0
        with suppress(ConnectionError):
            while part := slow[0].recv(1 << 20):
                answer += len(part)
        assert answer < 4 * 1000 * WIDE
    assert peak(server) - before < 100_000_000


def test_too_many_batches(server: Server) -> None:
    """One is computed at a time, and who comes meanwhile is told so."""
    body, kind = np.zeros((1, 500, 3), np.float32).tobytes(), "application/octet-stream"
    answers: list[tuple[int, str | None]] = []

    def send() -> None:
        while len({status for status, _ in answers}) < 2:
            got = server.request("/v1/predict", body, content_type=kind, accept=kind, x_shape="1,500,3")
            answers.append((got.status, got.headers["retry-after"]))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {*answers} == {(200, None), (503, "1")}


def test_a_client_that_goes_away_in_the_middle_of_its_body(server: Server) -> None:
    with raw(server, HALF) as own:
        assert own.recv(4096).startswith(b"HTTP/1.1 100 ")
    while server.metric("batches"):
        pass
    assert not [line for line in server.lines() if line["level"] == "error"]


def test_a_flood_of_sessions(server: Server, beside: Callable[[], None]) -> None:
    with server.session(), server.session(), server.session() as last:
        for _ in range(20):
            assert refused(server) == (503, "connected: expected up to 4 sessions that are connected at a time")
        beside()
    last.__exit__(None, None, None)
    assert server.metric('refused_total{reason="connected"}') == 20


def test_a_flood_of_connections(server: Server, tmp_path: Path) -> None:
    options = ["--timeout", 100, "--connected", 4, "--requests", 1]
    with Server(tmp_path, server.model, *options) as own, ExitStack() as stack, own.session() as live:
        flood = [stack.enter_context(raw(own)) for _ in range(120)]  # 4 sessions, a batch and 100 others may be
        assert ended(flood[-1])
        assert live.take(np.ones(3, np.float32)).size == WIDE


def test_a_flood_of_kept_sessions(server: Server, tmp_path: Path) -> None:
    with Server(tmp_path, server.model, "--kept", 3, "--kept-per-client", 2) as own:
        here, elsewhere = ({"source_address": (f"127.0.0.{own}", 0)} for own in (1, 2))
        for _ in range(2):
            with own.session(**here):
                pass
        limit = "kept_per_client: expected up to 2 sessions in the store that a token, or an address, has"
        assert refused(own, **here) == (429, limit)
        with own.session(**elsewhere):
            pass
        assert refused(own, **elsewhere) == (429, "kept: expected up to 3 sessions in the store")


def test_a_connection_for_a_session_that_others_ask_for_too(server: Server) -> None:
    """Of some that come at once only the last one stays, and none of them steps twice."""
    with server.session() as live:
        live.take(np.ones(3, np.float32))
    steps: list[int] = []

    def one() -> None:
        with suppress(Exception), server.session(live.name) as own:
            own.take(np.ones(3, np.float32))
            steps.append(own.step)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(steps) == sorted({*steps})
    with server.session(live.name) as own:
        assert own.step >= max(steps, default=1)
