"""``gru-native export`` and ``gru-native convert`` of ONNX files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from cases import assert_same_bits

onnx = pytest.importorskip("onnx")

from gru_native import load, nn, save  # noqa: E402
from gru_native.cli import main  # noqa: E402


def test_there_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str], rng: np.random.Generator) -> None:
    model = nn.Sequential(
        nn.LSTM(3, 5, batch_first=True, bidirectional=True), nn.LastPooling(True, True), nn.Linear(10, 2)
    )
    first, graph, second = tmp_path / "a.safetensors", tmp_path / "b.onnx", tmp_path / "c.safetensors"
    save(model, first)
    assert main(["export", str(first), str(graph), "--opset", "20", "--lengths", "--no-states"]) == 0
    written = onnx.load(graph)
    assert written.opset_import[0].version == 20
    assert [each.name for each in written.graph.input] == ["x", "lengths"]
    assert main(["convert", str(graph), str(second)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r"\W+", line)[2] for line in lines] == ["LSTM", "LastPooling", "Linear"]
    x = rng.standard_normal((2, 6, 3)).astype(np.float32)
    assert_same_bits(load(second)(x, lengths=[6, 2])[0], model(x, lengths=[6, 2])[0])


def test_what_cannot_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    save(nn.GRUCell(3, 4), tmp_path / "cell.safetensors")
    text = '<ir_version: 8, opset_import: ["": 18]> g (float[T, B, 3] x) => (float[T, B, 3] y) { y = Neg (x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "neg.onnx")
    for command, message in (
        (["export", "cell.safetensors"], "got GRUCell"),
        (["export", "cell.safetensors", "--opset", "3"], "opset: expected a whole number from 18"),
        (["convert", "neg.onnx"], "Neg 'y'"),
        (["convert", "cell.safetensors"], "expected a name that ends in .*.onnx"),
        (["convert", "none.onnx"], "No such file"),
    ):
        name, source, *options = command
        assert main([name, str(tmp_path / source), str(out), *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert re.match(f"gru-native: error: .*{message}", line), line
        assert not out.exists()
