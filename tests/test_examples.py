"""The short examples run, learn, and get their data."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "public_data")

pytestmark = pytest.mark.skipif(not PROGRAMS, reason="the examples are in a checkout")


def figures(name: str, *arguments: object, **shorter: tuple[int, int]) -> list[float]:
    """Run an example with some numbers replaced, and return the first one of each of the last lines, from the last."""
    program = (FOLDER / f"{name}.py").read_text()
    for argument, (own, less) in shorter.items():
        assert f"{argument}={own}" in program
        program = program.replace(f"{argument}={own}", f"{argument}={less}")
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(FOLDER)}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    found = (re.search(r"-?\d+\.\d+(e-?\d+)?", line) for line in reversed(run.stdout.splitlines()[-3:]))
    return [float(match[0]) for match in found if match]


@pytest.mark.shared
def test_classify(shared: Path) -> None:
    baseline, accuracy = figures("classify", "--data", shared / "data", epochs=(60, 10))
    assert accuracy > 0.93
    assert baseline == pytest.approx(0.957, abs=0.01)


@pytest.mark.shared
def test_forecast(shared: Path) -> None:
    baseline, error = figures("forecast", "--data", shared / "data", epochs=(6, 1))
    assert error < 0.95 * baseline
    assert baseline == pytest.approx(79, abs=2)


def test_label_steps() -> None:
    baseline, accuracy, *_ = figures("label_steps", steps=(600, 60))
    assert accuracy > baseline > 0.5


def test_transcribe() -> None:
    baseline, error, *_ = figures("transcribe", "--epochs", 10)
    assert error < 0.1
    assert baseline > 0.3


def test_translate() -> None:
    baseline, accuracy, *_ = figures("translate", epochs=(6, 3))
    assert accuracy > 0.9
    assert 0.1 < baseline < 0.5


def test_write_text() -> None:
    baseline, bits, *_ = figures("write_text", steps=(1200, 60), T_max=(1200, 60))
    assert bits < 4  # of an alphabet whose frequencies alone take 4.7
    assert 2 < baseline < 3


def test_from_pytorch() -> None:
    pytest.importorskip("torch")
    difference, theirs, ours = figures("from_pytorch")
    assert difference < 1e-5
    assert ours == theirs > 0.5


def test_from_keras() -> None:
    pytest.importorskip("torch")
    if importlib.util.find_spec("keras") is None:  # whose import wants a backend
        pytest.skip("needs keras")
    difference, theirs, ours = figures("from_keras", epochs=(10, 2))
    assert difference < 1e-5
    assert ours == theirs > 0.5


@pytest.mark.shared
def test_tune(shared: Path) -> None:
    pytest.importorskip("sklearn")
    usual, accuracy, *_ = figures("tune", "--data", shared / "data", epochs=(30, 15), n_iter=(12, 2))
    assert accuracy > 0.8
    assert usual > 0.8


def test_all_are_run_here() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert set(PROGRAMS) <= tests


# ---- Data ----

NAME = "timeseries/pollution.csv"
CONTENT = b"No,year\n"


@pytest.fixture
def public_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return importlib.import_module("public_data")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server that has `CONTENT` as pollution.csv."""
    (tmp_path / "pollution.csv").write_bytes(CONTENT)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}/pollution.csv"
        serving.shutdown()
        thread.join()


def test_a_folder_of_ones_own(public_data: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / NAME
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert public_data.fetch(NAME, tmp_path) == path
    message = rf"there is no {tmp_path}/no/{NAME}: get https://.*pollution.csv as FOLDER/{NAME}, and say --data FOLDER"
    with pytest.raises(SystemExit, match=message):
        public_data.fetch(NAME, tmp_path / "no")


def test_a_download(public_data: ModuleType, server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("pooch")
    monkeypatch.setitem(public_data.SOURCES, NAME, (server, hashlib.sha256(CONTENT).hexdigest()))
    path = public_data.fetch(NAME)
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(tmp_path / "cache")
    (tmp_path / "pollution.csv").unlink()  # it is not asked for again
    assert public_data.fetch(NAME) == path


def test_a_download_of_something_else(public_data: ModuleType, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pooch")
    monkeypatch.setitem(public_data.SOURCES, NAME, (server, "0" * 64))
    with pytest.raises(ValueError, match="SHA256 hash of downloaded file"):
        public_data.fetch(NAME)


def test_without_network_or_pooch(public_data: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand = rf"get http://127.0.0.1:9/x as FOLDER/{NAME}, and say --data FOLDER"
    monkeypatch.setitem(public_data.SOURCES, NAME, ("http://127.0.0.1:9/x", "0" * 64))
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pooch", None)
        with pytest.raises(SystemExit, match=f"downloads need pooch: pip install pooch; or {by_hand}"):
            public_data.fetch(NAME)
    pytest.importorskip("pooch")
    with pytest.raises(SystemExit, match=by_hand):
        public_data.fetch(NAME)


@pytest.mark.shared
def test_the_checksums_are_those_of_the_files(public_data: ModuleType, shared: Path) -> None:
    for name, (_, sha256) in public_data.SOURCES.items():
        assert hashlib.sha256((shared / "data" / name).read_bytes()).hexdigest() == sha256, name


def test_the_ts_format(public_data: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "two.ts"
    path.write_text("# a comment\n@data\n1,2,3:4,5,6:2\n7:8:1\n")
    sequences, classes = public_data.read_ts(path)
    np.testing.assert_array_equal(sequences[0], [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(sequences[1], [[7, 8]])
    np.testing.assert_array_equal(classes, [1, 0])
