"""Beside other libraries: who limits threads, who keeps its settings, and a server that forks its workers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from processes import python

from gru_native import _core

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@linux
def test_threadpoolctl_sees_and_limits_the_threads() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")
    mapped = Path("/proc/self/maps").read_text()
    openmp = [each for each in threadpoolctl.threadpool_info() if each["user_api"] == "openmp"]
    assert any(each["filepath"] in mapped for each in openmp)
    before = _core.default_threads()
    with threadpoolctl.threadpool_limits(1):
        assert _core.default_threads() == 1
    assert _core.default_threads() == before
    with threadpoolctl.threadpool_limits(3, user_api="openmp"):
        assert _core.default_threads() == 3


SETTINGS = """
import {first}
import numpy as np
import {second}

def settings():
    found = {{}}
    if "torch" in sys.modules:
        found["torch"] = torch.get_num_threads(), torch.get_num_interop_threads()
    found["numpy"] = np.geterr(), np.get_printoptions()
    found["environment"] = dict(os.environ)
    found["pools"] = [(each["prefix"], each["num_threads"]) for each in threadpoolctl.threadpool_info()]
    return found

def work():
    import gru_native as gn
    gru = gn.nn.GRU(64, 64)
    x = np.ones((50, 16, 64), np.float32)
    for threads in (1, 2):
        output, tape = gru.forward(x, threads=threads)
        gru.backward(tape, output[0], threads=threads)

import os, sys, threadpoolctl
if {loaded}:
    import gru_native
before = settings()
work()
after = settings()
new = [pool for pool in after["pools"] if pool not in before["pools"]]
before.pop("pools"), after.pop("pools")
assert before == after, (before, after)
print(len(new))
"""


@pytest.mark.parametrize("other", ["torch", "sklearn.linear_model"])
def test_settings_of_others_stay(other: str) -> None:
    pytest.importorskip("threadpoolctl")
    pytest.importorskip(other.split(".")[0])
    script = SETTINGS.format(first=other, second=other, loaded=False)
    assert int(python("-W", "error", "-c", script)) <= 1, (
        "our own OpenMP may be new, and nobody else's pool may have changed"
    )


APP = """
import json, os
import numpy as np
import gru_native as gn

gn.set_team("threads")
model = gn.nn.GRU(128, 128, seed=0)
x = np.random.default_rng(0).normal(size=(100, 32, 128)).astype(np.float32)
expected = model(x, threads=2)[0]  # the master computes, too, before it forks


def app(environ, start_response):
    same = bool(np.array_equal(model(x, threads=2)[0], expected))
    answer = json.dumps([os.getpid(), len(os.listdir("/proc/self/task")), same]).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
"""


@linux
def test_workers_of_a_server_compute_on_all_their_threads(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn")
    (tmp_path / "served.py").write_text(APP)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--preload",
        "--workers",
        "2",
        "--bind",
        f"127.0.0.1:{port}",
        "served:app",
    ]
    server = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        answers = [json.loads(answer) for answer in asked(f"http://127.0.0.1:{port}/", 8)]
    finally:
        server.terminate()
        _, said = server.communicate(timeout=30)
    assert all(same for _, _, same in answers), said
    assert all(pid != server.pid and threads >= 2 for pid, threads, _ in answers), said


def asked(url: str, times: int) -> list[bytes]:
    """Return the answers of a server that may not be there yet."""
    answers: list[bytes] = []
    until = time.monotonic() + 60
    while len(answers) < times:
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                answers.append(answer.read())
        except OSError:
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)
    return answers
