"""A study of batch size and sequence length: its figures, and that it goes on wherever it was stopped."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from gru_native.cli import main
from gru_native.study import worker
from gru_native.study.plan import Plan, Run, StudyError
from gru_native.study.table import COLUMNS, Result
from gru_native.train import Stream, read_log

PLAN = Plan((4, 16), (8, 20), characters=6000, seeds=1, hidden_size=(12,), embedding_dim=6, lr=0.1, threads=1)
OPTIONS = "--batch-sizes 16 4 --windows 8 20 --characters 6000 --hidden-size 12 --embedding-dim 6 --lr 0.1 --threads 1"
TIMED = {"seconds", "characters_per_second", "peak_mb"}
TEXT = "".join(f"{i} and {i + 1} are {2 * i + 1}.\n" for i in range(400))
STUDY = [sys.executable, "-m", "gru_native", "study"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text(TEXT)
    return path


def _arguments(text: Path, out: Path, *more: object) -> list[str]:
    return [str(text), "--out", str(out), *OPTIONS.split(), *map(str, more)]


def _rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "study.csv", newline="") as file:
        return list(csv.DictReader(file))


def _untimed(folder: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name not in TIMED} for row in _rows(folder)]


@pytest.fixture(scope="module")
def whole(text: Path) -> Path:
    """A study that was not disturbed."""
    pytest.importorskip("matplotlib")
    folder = text.with_name("whole")
    assert main(["study", *_arguments(text, folder, "--seeds", 2)]) == 0
    return folder


def test_a_study(whole: Path, text: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows = _rows(whole)
    assert list(rows[0]) == COLUMNS
    expected = [(b, w, seed) for b in (4, 16) for w in (8, 20) for seed in (0, 1)]
    assert [(int(row["batch_size"]), int(row["window"]), int(row["seed"])) for row in rows] == expected
    for row in rows:
        run = Run(int(row["batch_size"]), int(row["window"]), int(row["seed"]))
        update = run.batch_size * run.window
        figures = {name: float(value) for name, value in row.items()}
        assert abs(figures["characters"] - PLAN.characters) <= update / 2
        assert figures["updates"] == pytest.approx(PLAN.characters / update, rel=0.1)
        assert figures["best_validation"] <= figures["validation"] < 3.5  # of a vocabulary of some 4.3 bits
        assert figures["gap"] == pytest.approx(figures["validation"] - figures["training"], abs=2e-6)
        assert figures["characters_per_second"] * figures["seconds"] == pytest.approx(figures["characters"], rel=0.05)
        assert 20 < figures["peak_mb"] < 500
        assert figures["lr"] == pytest.approx(PLAN.lr / (1 + 2048 / update) ** 0.5, abs=1e-6)

        history = read_log(run.file(whole, "jsonl"))
        assert len(history) == figures["updates"]
        assert sum(record.targets for record in history) == figures["characters"]
        assert max(record.lr for record in history) == pytest.approx(figures["lr"], abs=1e-6)
        result = Result(**json.loads(run.file(whole, "json").read_text()))
        assert [len(result.curve), result.curve[-1][0]] == [10, figures["characters"]]
        assert all(np.diff([point[1] for point in result.curve]) > 0)
    assert (whole / "study.png").read_bytes().startswith(b"\x89PNG")
    assert not list(whole.rglob("*.checkpoint"))

    table = (whole / "study.csv").read_bytes()
    assert main(["study", *_arguments(text, whole, "--seeds", 2)]) == 0  # all is done
    *_, heading, first, _, _, _, note, line = capfd.readouterr().out.splitlines()
    assert re.split(r" +", heading)[1:5] == ["batch", "window", "updates", "lr"]
    assert first.split()[:3] == ["4", "8", rows[0]["updates"]]
    assert str(whole) in note
    pattern = r"result: task=study runs=8 best=\d+x\d+ val_bpc=\d\.\d{3} fastest=\d+x\d+ chars_per_s=\d+ .*"
    assert re.fullmatch(pattern, line)
    assert (whole / "study.csv").read_bytes() == table


def _some(folder: Path, pattern: str, number: int = 1) -> Callable[[], bool]:
    return lambda: len(list(folder.glob(pattern))) >= number


@pytest.mark.parametrize(("pattern", "number"), [("plan.json", 1), ("runs/*.checkpoint", 1), ("runs/*.json", 2)])
def test_it_goes_on_after_sigkill(pattern: str, number: int, whole: Path, text: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    command = [*STUDY, *_arguments(text, folder, "--seeds", 1)]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(_some(folder, pattern, number))
            children = _children(process.pid)
        finally:
            process.kill()
    assert not (folder / "study.csv").exists()
    _wait(lambda: not any(map(_alive, children)))  # a run does not outlive the study
    done = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*.json")}
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    assert _untimed(folder) == [row for row in _untimed(whole) if row["seed"] == "0"]
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert f"({len(done) + 1} of 4)" in run.stderr


def _wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(("after", "first"), [(1, 32), (3500, 3008 + 32), (5984, 5408 + 32)])
def test_a_run_goes_on_from_its_checkpoint(after: int, first: int, whole: Path, tmp_path: Path) -> None:
    """Stopped at its first update, in the middle, and at its last; the validations are near to multiples of 600."""
    PLAN.record(tmp_path, TEXT)
    run = Run(4, 8, 0)
    reports: list[int] = []

    def stop(characters: int) -> None:
        reports.append(characters)
        if characters >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        worker.do(PLAN, run, TEXT, tmp_path, stop)
    assert not run.file(tmp_path, "json").exists()
    begun = len(reports)
    result = worker.do(PLAN, run, TEXT, tmp_path, reports.append)
    assert reports[begun] == first
    (expected,) = (row for row in _rows(whole) if (row["batch_size"], row["window"], row["seed"]) == ("4", "8", "0"))
    for name, value in expected.items():
        if name not in TIMED:
            assert getattr(result, name) == pytest.approx(float(value), abs=1e-6)


def test_a_run_without_its_result_is_repeated(whole: Path, tmp_path: Path) -> None:
    PLAN.record(tmp_path, TEXT)
    run, counts = Run(16, 20, 0), list[int]()
    first = worker.do(PLAN, run, TEXT, tmp_path, lambda _: None)
    run.file(tmp_path, "json").unlink()
    second = worker.do(PLAN, run, TEXT, tmp_path, counts.append)
    assert counts[0] == 320
    assert [point[::2] for point in second.curve] == [point[::2] for point in first.curve]


@pytest.mark.parametrize(("batch_size", "window"), [(1, 1), (7, 13), (4, 100), (50, 3)])
def test_validations_are_where_they_are_nearest(batch_size: int, window: int) -> None:
    data = Stream(np.arange(1010), np.arange(1010), batch_size, window)
    counts = worker.characters_after(data, 4000)
    taken = np.cumsum([targets.size for epoch in range(9) for _, targets in data.epoch(epoch)])
    np.testing.assert_array_equal(counts, taken[: len(counts)])
    assert counts[-1] >= 4000
    steps = worker.nearest(counts, 4000, 5)
    for part, step in zip((800, 1600, 2400, 3200, 4000), steps, strict=True):
        assert abs(taken[step - 1] - part) == min(abs(taken - part))


def test_errors(whole: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, other, foreign = tmp_path / "file", tmp_path / "other.txt", tmp_path / "foreign"
    file.write_text("")
    other.write_text(TEXT.replace("and", "und"))
    (foreign / "runs").mkdir(parents=True)
    large = "batch size 16 with window"
    length = f"{len(TEXT):,}"
    cases = [
        (text, file, [], f"{file}: cannot be made: File exists"),
        (text, file / "study", [], f"{file}/study: cannot be made: Not a directory"),
        (text, foreign, [], f"{foreign}: has a folder runs, but no plan.json that says what it is of"),
        (other, whole, ["--seeds", 2], f"{whole}: holds a study of another text; choose another folder"),
        (
            text,
            whole,
            ["--lr", 0.2],
            f"{whole}: holds another study, with lr 0.1 instead of 0.2, seeds 2 instead of 3",
        ),
        (
            text,
            tmp_path / "a",
            ["--windows", 999],
            f"the text is too short: {length} characters; {large} 999 needs 17,762",
        ),
        (
            text,
            tmp_path / "a",
            ["--characters", 99],
            f"characters: expected at least 320, an update of {large} 20, got 99",
        ),
    ]
    for source, folder, options, message in cases:
        assert main(["study", *_arguments(source, folder, *options)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"gru-native: error: {message}")
    assert not (tmp_path / "a").exists()


def test_a_run_that_fails_is_named(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", *_arguments(text, tmp_path, "--lr", 1e30)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("gru-native: error: batch size 4, window 8, seed 0: the training ended with exit code 1: ")
    assert "training diverged at step" in error


def test_ctrl_c(text: Path, tmp_path: Path) -> None:
    start = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from gru_native.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", start, "study", *_arguments(text, tmp_path / "study")]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            _wait(_some(tmp_path, "study/runs/*.jsonl"))
            os.killpg(process.pid, signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert error.splitlines()[-1] == "gru-native: interrupted; the same command goes on from here"
    assert "Traceback" not in error


def test_a_plan_is_written_once(tmp_path: Path) -> None:
    PLAN.record(tmp_path, TEXT)
    before = (tmp_path / "plan.json").stat()
    PLAN.record(tmp_path, TEXT)
    after = (tmp_path / "plan.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert json.loads((tmp_path / "plan.json").read_text()).keys() == {*asdict(PLAN), "isa", "text"}
    (tmp_path / "plan.json").write_text("?")
    with pytest.raises(StudyError, match=r"plan.json: not the plan of a study: Expecting value"):
        PLAN.record(tmp_path, TEXT)
