"""The command line: what it does, and what it says when it cannot."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gru_native
from gru_native import _core, nn
from gru_native.cli import main
from gru_native.train import CharacterModel

QUICK = ["--batch-size", "4", "--window", "16", "--hidden-size", "24", "--embedding-dim", "8"]
PYTHON = [sys.executable, "-m", "gru_native"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences of a few words, with a character beyond ASCII."""
    rng = np.random.default_rng(0)
    subject, verb = ["the cat", "a dog", "the old naïve man"], ["sees", "hears", "likes"]
    sentences = (f"{rng.choice(subject)} {rng.choice(verb)} {rng.choice(subject)}." for _ in range(300))
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(sentences), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def model(text: Path) -> Path:
    path = text.with_name("model.safetensors")
    assert main(["train-text", str(text), "--out", str(path), "--steps", "200", *QUICK]) == 0
    return path


def _error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail, and return its one line."""
    assert main([str(argument) for argument in arguments]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("gru-native: error: ")
    return line.removeprefix("gru-native: error: ")


def _result(output: str) -> dict[str, str]:
    """Return the entries of the last line."""
    pattern = r"result: task=(\S+) val_bpc=(\d\.\d{3}) chars_per_s=(\d+) isa=(\w+) threads=(\d+) peak_mb=(\d+)"
    match = re.fullmatch(pattern, output.splitlines()[-1])
    assert match, output
    return dict(zip(("task", "val_bpc", "chars_per_s", "isa", "threads", "peak_mb"), match.groups(), strict=True))


def _unigram_bpc(text: str) -> float:
    _, counts = np.unique(list(text), return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


def test_train_and_generate(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    for path, threads in ((first, 1), (second, 2)):
        arguments = ["train-text", text, "--out", path, "--steps", 200, "--threads", threads, *QUICK]
        assert main([str(argument) for argument in arguments]) == 0
        result = _result(capsys.readouterr().out)
        assert result["task"] == "train-text"
        assert result["isa"] == _core.active_isa()
        assert result["threads"] == str(threads)
        assert float(result["val_bpc"]) < 0.5 * _unigram_bpc(text.read_text(encoding="utf-8"))
        assert int(result["peak_mb"]) > 20
    assert first.read_bytes() == second.read_bytes()

    def generate(*options: str) -> str:
        assert main(["generate", str(first), "--prompt", "the cat ", "--length", "80", *options]) == 0
        return capsys.readouterr().out

    written = generate("--seed", "1")
    assert written == generate("--seed", "1")
    assert written != generate("--seed", "2")
    assert generate("--temperature", "0") == generate("--temperature", "0")
    assert re.match(r"the cat (sees|hears|likes) ", written)
    assert len(written) == len("the cat ") + 80 + len("\n")
    assert generate("--length", "0") == "the cat \n"


def test_the_demo(tmp_path: Path) -> None:
    run = subprocess.run(
        [*PYTHON, "demo", "--steps", "3"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )
    assert "bpc=" in run.stderr
    assert "char/s=" in run.stderr
    result = _result(run.stdout)
    assert result["task"] == "demo"
    assert 3.0 < float(result["val_bpc"]) < 7.0  # 103 characters, hardly trained
    assert "prompt:\n\nThe " in run.stdout
    assert len(CharacterModel.load(tmp_path / "demo.safetensors").vocabulary) > 90


@pytest.mark.parametrize("validated", [True, False])
def test_ctrl_c_keeps_the_model(validated: bool, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    steps = "3000" if validated else "3000000"  # the first validation comes after a tenth
    # Started in the background, a process ignores SIGINT unless it asks for it, and so do its children.
    start = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from gru_native.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", start, "train-text", str(text), "--out", str(out), "--steps", steps, *QUICK]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            seen = ""
            while ("val_bpc=" if validated else "bpc=") not in seen:
                character = process.stderr.read(1)
                assert character, seen
                seen += character
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Traceback" not in rest
    expected = r"best model so far, with val_bpc=\d" if validated else "model after .* not yet validated"
    assert re.fullmatch(rf"gru-native: interrupted; the {expected}.*, is in {out}", rest.splitlines()[-1])
    assert len("".join(zip_take(CharacterModel.load(out), 30))) == 30


@pytest.mark.parametrize("command", [PYTHON, ["gru-native"]])
def test_info_from_both_entry_points(command: list[str], tmp_path: Path) -> None:
    if command == ["gru-native"]:
        command = [str(Path(sys.executable).with_name("gru-native"))]
    run = subprocess.run([*command, "info"], cwd=tmp_path, capture_output=True, text=True, check=True)
    facts = dict(re.split(r"  +", line) for line in run.stdout.splitlines())
    assert facts["version"] == gru_native.__version__
    assert facts["ISAs built"].split() == _core.built_isas()
    assert facts["ISAs supported"].split() == _core.supported_isas()
    assert facts["ISA active"] == _core.active_isa()
    assert facts["BLAS"] == _core.blas()
    assert facts["threads"] == str(_core.default_threads())
