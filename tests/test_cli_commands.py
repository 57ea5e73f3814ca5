"""The command line: what it does, and what it says when it cannot."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

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
        arguments = ["train-text", text, "--out", path, "--steps", 1000, "--threads", threads, *QUICK]
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
    assert re.match(r"the cat (sees|hears|likes) ", generate("--temperature", "0"))
    assert len(written) == len("the cat ") + 80 + len("\n")
    assert generate("--length", "0") == "the cat \n"


def test_the_demo(tmp_path: Path) -> None:
    run = subprocess.run(
        [*PYTHON, "demo", "--steps", "3"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
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
    command = [
        sys.executable,
        "-c",
        start,
        "train-text",
        str(text),
        "--out",
        str(out),
        "--steps",
        steps,
        *QUICK,
    ]
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
    expected = "best model so far" if validated else r"model after \d+ steps, not yet validated,"
    assert re.fullmatch(rf"gru-native: interrupted; the {expected} is in {out}", rest.splitlines()[-1])
    assert CharacterModel.load(out).vocabulary.startswith("\n .")


def test_ctrl_c_where_nobody_has_a_word_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(path: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("gru_native.cli.train_text.read_text", interrupted)
    assert main(["train-text", "text", "--out", "model"]) == 130
    assert capsys.readouterr().err == "gru-native: interrupted\n"


def test_killed_and_started_again(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command(out: str, *options: str) -> list[str]:
        return ["train-text", str(text), "--out", str(tmp_path / out), "--steps", "600", *QUICK, *options]

    assert main(command("whole")) == 0
    checkpoint = tmp_path / "cut.checkpoint"
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        with subprocess.Popen(
            [*PYTHON, *command("cut")], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        ) as process:
            while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
    capsys.readouterr()
    assert main(command("cut", "--lr", "0.1")) == 2
    assert f"{checkpoint}: left by a training on another text or with other options" in capsys.readouterr().err
    assert main(command("cut", "--threads", "1")) == 0
    assert f"Going on from {checkpoint}." in capsys.readouterr().out
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut", "whole"]


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


def test_help_states_units_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    given = ("out MODEL", "out PNG", "out DIR", "out CSV", "task TASK", "target COLUMN")
    for command in (
        "demo",
        "train",
        "evaluate",
        "predict",
        "tune",
        "train-text",
        "generate",
        "inspect",
        "study",
        "info",
    ):
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        shown = capsys.readouterr().out
        options = re.split(r"\n  --(?=[a-z])", shown)[1:]
        for option in options:
            assert "(default:" in option or option.startswith(given), option
    assert main(["info"]) == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"gru_native {gru_native.__version__}\n"


def test_errors_of_training(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model"
    latin, short = tmp_path / "latin.txt", tmp_path / "short.txt"
    latin.write_bytes("naïve".encode("latin-1"))
    short.write_text("too short")
    os.mkfifo(tmp_path / "pipe")
    missing = tmp_path / "no" / "model"
    cases = [
        (tmp_path / "none.txt", out, f"{tmp_path}/none.txt: No such file or directory"),
        (tmp_path, out, f"{tmp_path}: Is a directory"),
        (tmp_path / "pipe", out, f"{tmp_path}/pipe: Not a regular file"),
        (latin, out, f"{latin}: not a text in UTF-8: invalid continuation byte at byte 2"),
        (
            short,
            out,
            "the text is too short: 9 characters; steps of 32 x 64 (--batch-size x --window) need 2,277",
        ),
        (text, missing, f"{missing}: cannot be written: No such file or directory"),
        (text, tmp_path, f"{tmp_path}: not a regular file"),
        (text, text, f"{text}: expected another file to write than {text}, which this command has besides"),
    ]
    for file, model, message in cases:
        assert _error(capsys, "train-text", file, "--out", model).startswith(message)
    assert not out.exists()
    huge = _error(capsys, "train-text", text, "--out", out, *QUICK, "--hidden-size", 10**6)
    assert huge.startswith("not enough memory: ")
    assert main(["train-text", str(text), "--out", str(out), *QUICK, "--lr", "1e30", "--steps", "9"]) == 2
    assert "gru-native: error: training diverged at step " in capsys.readouterr().err.splitlines()[-1]


def test_errors_of_generate(model: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    other = tmp_path / "other"
    gru_native.save(nn.GRU(3, 4), other)
    cases: list[tuple[list[object], str]] = [
        ([tmp_path / "none"], f"{tmp_path}/none: No such file or directory"),
        ([text], f"{text}: not a safetensors file, or a damaged one: "),
        ([other], f"{other}: a model, but not of characters with their vocabulary"),
        ([model, "--prompt", "the #1"], "--prompt: the model does not know '#', '1'"),
        ([model, "--prompt", ""], "--prompt: expected at least one character, got none"),
    ]
    for arguments, message in cases:
        assert _error(capsys, "generate", *arguments).startswith(message)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--steps", "0", "expected a whole number from 1 up, got '0'"),
        ("--threads", "257", "expected a whole number from 1 to 256, got '257'"),
        ("--dropout", "1", "expected a number from 0 to below 1, got '1'"),
        ("--lr", "nan", "expected a number from 0 up, got 'nan'"),
        ("--hidden-size", "x", "expected a whole number from 1 up, got 'x'"),
    ],
)
def test_errors_of_options(option: str, value: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train-text", "text", "--out", "model", option, value])
    assert end.value.code == 2
    assert capsys.readouterr().err.endswith(f"gru-native train-text: error: argument {option}: {message}\n")


def test_an_unknown_isa_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRU_NATIVE_ISA", "abacus")
    run = subprocess.run([*PYTHON, "info"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.startswith("gru-native: error: GRU_NATIVE_ISA: unknown instruction set 'abacus'")
    assert run.stderr.count("\n") == 1


def test_a_reader_that_has_seen_enough(model: Path, tmp_path: Path) -> None:
    command = [*PYTHON, "generate", str(model), "--length", "100000"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_a_terminal_without_the_characters(model: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    run = subprocess.run(
        [*PYTHON, "generate", str(model), "--prompt", "naïve", "--length", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        check=True,
    )
    assert run.stdout.startswith(rb"na\xefve")
