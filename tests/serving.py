"""Servers in processes of their own, and a client of their sessions."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import Array

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
client = pytest.importorskip("websockets.sync.client")


@dataclass
class Answer:
    """What an HTTP request got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Server:
    """``gru-native serve`` on a free port, from a folder."""

    def __init__(self, folder: Path, model: Path, *options: object, **environment: str) -> None:
        self.model = model
        self.log = folder / f"{os.urandom(4).hex()}.log"
        command = [sys.executable, "-m", "gru_native", "serve", str(model), "--port", "0", *map(str, options)]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=os.environ | environment, stdout=subprocess.PIPE, stderr=log, text=True
            )
        line = self.process.stdout.readline()
        found = re.search(r"(\w+)://(\S+):(\d+)$", line)
        if not found:
            self.process.communicate()
            pytest.fail(self.log.read_text())
        self.scheme, self.host, self.port = found[1], found[2], int(found[3])
        self.url = f"{self.scheme}://{self.host}:{self.port}"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.send_signal(signal.SIGCONT)  # where a test has stopped it
        self.process.communicate(timeout=60)

    def stop(self, number: signal.Signals) -> int:
        """End it by a signal, and return the exit code."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)
        return self.process.returncode

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def request(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, body, named, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return Answer(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def predict(self, **content: Any) -> Answer:
        return self.request("/v1/predict", json.dumps(content).encode(), content_type="application/json")

    def session(self, name: str = "", query: str = "", **options: Any) -> Live:
        """Begin a session, or go on with one."""
        path = f"/v1/sessions{name and '/'}{name}{query and '?'}{query}"
        return Live(client.connect(f"ws://{self.host}:{self.port}{path}", **options), "json" in query)

    def metric(self, name: str) -> float:
        (value,) = re.findall(rf"^gru_native_{re.escape(name)} (\S+)$", self.request("/metrics").body.decode(), re.M)
        return float(value)


class RedisServer:
    """A server of Redis or Valkey, on a socket in a folder."""

    def __init__(self, folder: Path, settings: str = "appendonly yes\nappendfsync always\n") -> None:
        found = shutil.which("redis-server") or shutil.which("valkey-server")
        if found is None:
            pytest.skip("no redis-server or valkey-server here")
        (folder / "redis.conf").write_text(settings)
        self._command = [found, "redis.conf", "--port", "0", "--unixsocket", "redis.sock", "--save", ""]
        self._folder = folder
        self.url = f"unix://{folder}/redis.sock"
        self.start()

    def start(self) -> None:
        """Start it, again with what it had stored."""
        self.process = subprocess.Popen(self._command, cwd=self._folder, stdout=subprocess.PIPE, text=True)
        assert any("ready to accept connections" in line.lower() for line in self.process.stdout)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.communicate()


class Live:
    """A connected session."""

    def __init__(self, connecting: Any, text: bool) -> None:
        self._connecting, self.text = connecting, text
        self.layers: Any = None

    def __enter__(self) -> Live:
        self.socket = self._connecting.__enter__()
        self.greeting = json.loads(self.socket.recv(60))
        self.name: str = self.greeting["session"]
        self.step: int = self.greeting["step"]
        self.durable: int = self.greeting["durable"]
        return self

    def __exit__(self, *raised: Any) -> None:
        self._connecting.__exit__(*raised)

    def send(self, x: Array) -> None:
        self.socket.send(json.dumps({"x": x.tolist()}) if self.text else x.tobytes())

    def receive(self) -> Array:
        reply = self.socket.recv(60)
        if self.text:
            found = json.loads(reply)
            self.step, self.durable, self.layers = found["step"], found["durable"], found.get("layers")
            return np.array(found["y"], np.float32)
        self.step, self.durable = map(int, np.frombuffer(reply[:16], "<u8"))
        return np.frombuffer(reply[16:], np.float32)

    def take(self, x: Array) -> Array:
        self.send(x)
        return self.receive()

    def closed(self) -> tuple[int, str]:
        """Wait for the end of the connection, and return its code and reason."""
        with suppress(Exception):
            while True:
                self.socket.recv(60)
        return self.socket.close_code, self.socket.close_reason


def refused(server: Server, name: str = "", query: str = "", **options: Any) -> tuple[int, str]:
    """Return status and message of a session that is refused."""
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as caught, server.session(name, query, **options):
        pass
    response = caught.value.response
    return response.status_code, json.loads(response.body)["error"]
