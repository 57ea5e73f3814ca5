"""The Python of the documents runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def run_page(name: str, least: int) -> None:
    """Run a page's blocks of Python, at least so many, one after the other."""
    page = (DOCS / name).read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= least
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, f"docs/{name}", "exec"), names)


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
