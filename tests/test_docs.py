"""The Python of the documents runs."""

from __future__ import annotations

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

import gru_native
from gru_native import nn
from gru_native.cli import main

DOCS = Path(__file__).parent.parent / "docs"


def run_page(name: str, least: int) -> None:
    """Run the blocks of Python of a page in docs, at least so many, one after the other."""
    page = (DOCS / name).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= least
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, f"docs/{name}", "exec"), names)


def test_all_pages_with_python_run() -> None:
    pages = [*DOCS.glob("**/*.md"), DOCS.parent / "README.md", DOCS.parent / "CONTRIBUTING.md"]
    with_python = {os.path.relpath(page, DOCS) for page in pages if "```python" in page.read_text()}
    run = re.findall(r'run_page\("(.+?)"', Path(__file__).read_text())
    assert with_python == {*run, "embed.md"}  # which test_c_library.py runs


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
    (small,) = re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    Path("power.toml").write_text(small)
    blocks = re.findall(r"^```console\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines()]
    assert len(lines) == 12
    for line in lines:
        command, *arguments = shlex.split(line)
        assert command == "gru-native"
        assert main(arguments) == 0, line
    for file in ("power.png", "next.csv", "gaits.csv", "search/tune.png", "compared/study.png", "compared/study.csv"):
        assert Path(file).exists()
