"""`gru-native tune` and `study` of tables: what they draw, what they keep, and that they go on."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from gru_native.cli import main
from gru_native.tables.reading import read_table
from gru_native.tables.settings import TableError, settings_of
from gru_native.tables.trials import complete, draws, grid

SETTINGS = """
task = "forecast"
target = "load"
window = 8
hidden_size = 6
epochs = 2

[try]
batch_size = [16, 48]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a table and a small file."""
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SETTINGS)
    load = 500 + 90 * np.sin(np.arange(200) / 4)
    Path("series.csv").write_text("load\n" + "".join(f"{value}\n" for value in load))
    return tmp_path


def _trials(folder: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((Path(folder) / "trials.json").read_text())["trials"]
    return found


def _untimed(folder: str) -> list[dict[str, object]]:
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in _trials(folder)]


def test_what_is_drawn() -> None:
    ranges = {"learning_rate": (1e-3, 1e-1), "hidden_size": (4, 64), "dropout": (0.0, 0.5)}
    found = draws({"pooling": ["last", "mean"]}, ranges, 200, 3)
    assert found[:20] == draws({"pooling": ["last", "mean"]}, ranges, 20, 3)  # more add to fewer
    assert found != draws({"pooling": ["last", "mean"]}, ranges, 200, 4)
    rates = np.array([each["learning_rate"] for each in found])
    assert 1e-3 <= rates.min() < 2e-3
    assert abs(np.median(np.log10(rates)) + 2) < 0.2
    assert 0.2 < np.median([each["dropout"] for each in found]) < 0.3
    assert {each["pooling"] for each in found} == {"last", "mean"}
    assert all(4 <= each["hidden_size"][0] <= 64 and type(each["hidden_size"][0]) is int for each in found)
    all_there_is = draws({"pooling": ["last", "mean"], "cell": ["gru", "rnn"]}, {}, 9, 0)
    assert len({json.dumps(each) for each in all_there_is}) == len(all_there_is) == 4
    assert grid({"window": [3, 4], "cell": ["gru"]}, [5, 6])[1] == {"window": 4, "cell": "gru", "seed": 5}


def test_tune(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tune", "series.csv", "--settings", "small.toml", "--between", "learning-rate", "1e-4", "1e-1"]
    assert main([*command, "--trials", "4", "--out", "found"]) == 0
    *lines, best, result = capsys.readouterr().out.splitlines()
    trials = _trials("found")
    assert len(lines) == len(trials) == 4
    losses = [float(trial["loss"]) for trial in trials]  # type: ignore[arg-type]
    assert f"val_loss={min(losses):.4g} " in result
    assert best.startswith("Best: ")
    assert "batch_size" in best
    assert Path("found/tune.png").read_bytes().startswith(b"\x89PNG")
    # Training with the best settings comes to the figures of the search.
    assert main(["train", "series.csv", "--settings", "found/best.toml", "--out", "model"]) == 0
    trained = capsys.readouterr().out.splitlines()[-1]
    assert trained.split("val_r2=")[1].split()[0] == result.split("val_r2=")[1].split()[0]
    # What is finished is not done again.
    before = _trials("found")
    assert main([*command, "--trials", "5", "--threads", "1", "--out", "found"]) == 0
    assert _trials("found")[:4] == before
    assert main([*command, "--trials", "5", "--epochs", "3", "--out", "found"]) == 2
    assert "found/trials.json: has trainings with another epochs; choose" in capsys.readouterr().err


def test_a_search_goes_on_after_sigkill(folder: Path) -> None:
    options = ["series.csv", "--settings", "small.toml", "--between", "learning_rate", "1e-4", "1e-1", "--trials", "12"]
    command = [sys.executable, "-m", "gru_native", "tune", *options]
    with subprocess.Popen([*command, "--epochs", "20", "--out", "killed"], stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not Path("killed/trials.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
    some = _trials("killed")
    assert 0 < len(some) < 12
    for out in ("killed", "whole"):
        assert main(["tune", *options, "--epochs", "20", "--out", out]) == 0
    assert _trials("killed")[: len(some)] == some
    assert _untimed("killed") == _untimed("whole")


def test_a_training_that_diverges_does_not_end_a_search() -> None:
    table = read_table(Path("series.csv"))
    settings = settings_of({"task": "forecast", "target": "load", "columns": [], "epochs": 2})
    wanted = [{"learning_rate": 1e38, "max_norm": 1e38}, {"learning_rate": 1e-2}]
    first, second = complete(table, settings, wanted, Path("trials.json"))
    assert (first.loss, first.figures) == (None, {})
    assert second.loss is not None


def test_study_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["study", "series.csv", "--settings", "small.toml", "--try", "window", "6", "12", "--seeds", "2"]
    assert main([*command, "--out", "found"]) == 0
    *_, heading, _, _, _, last, _, result = capsys.readouterr().out.splitlines()
    assert heading.split()[:5] == ["batch_size", "window", "updates", "seconds", "val_loss"]
    assert last.split()[:2] == ["48", "12"]
    with open("found/study.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["batch_size"], row["window"], row["seed"]) for row in rows][:2] == [
        ("16", "6", "0"),
        ("16", "12", "0"),
    ]
    assert [len(rows), len({row["seed"] for row in rows})] == [8, 2]
    of_cells: dict[str, list[float]] = {}
    for row in rows:
        of_cells.setdefault(f"batch_size:{row['batch_size']},window:{row['window']}", []).append(float(row["val_loss"]))
    best = min(of_cells, key=lambda cell: np.mean(of_cells[cell]))
    assert f"result: task=study runs=8 best={best} val_loss=" in result
    assert Path("found/study.png").read_bytes().startswith(b"\x89PNG")
    before = _trials("found")
    assert main([*command, "--out", "found"]) == 0
    settings = "--task forecast --target load --window 8 --hidden-size 6 --epochs 2 --threads 1"
    same = f"study series.csv {settings} --try batch-size 16 48 --try window 6 12 --seeds 2 --out found"
    assert main(same.split()) == 0
    assert _trials("found") == before


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("study series.csv --out x --try window 3", "task: expected what to learn: classify, regress, "),
        ("study book.txt --out x --try window 3", "--try: belongs to a study of a table, which ends in .csv, "),
        ("study book.txt --out x --settings small.toml", "--settings: belongs to a study of a table, which ends in"),
        ("study book.txt --out x --batch-size 8", "--batch-size: belongs to a study of a table, which ends in .csv"),
        ("study series.csv --out x --settings small.toml --lr 3", "--lr: belongs to a study of a text"),
        ("study series.csv --out x --settings small.toml --try seed 3", "--seeds in place of seed"),
        ("study series.csv --out x --settings small.toml --try horizon 1 9", "got horizon, which changes what"),
        ("tune series.csv --out x --settings small.toml --try scaling none", "got scaling, which changes what"),
        ("tune series.csv --out x --settings small.toml --try seed 1 2", "got seed, which changes what is held out"),
        ("tune series.csv --out x --settings small.toml --between validation 0.1 0.5", "got validation, which"),
        ("study series.csv --out x --settings small.toml --try window 199", "expected at least 200 rows to train on"),
        ("tune series.csv --out x --settings small.toml --try colour red", "--try: expected one of the settings task"),
        ("tune series.csv --out x --settings small.toml --try window many", "--try: window: expected values of it"),
        ("tune series.csv --out x --settings small.toml --try window", "try: window: expected a list of values"),
        ("tune series.csv --out x --settings small.toml --try cell cnn", "cell: expected"),
        (
            "tune series.csv --out x --settings small.toml --between cell 1 2",
            "between: expected a setting that is a num",
        ),
        ("tune series.csv --out x --settings small.toml --between epochs 9 2", "the lower one first, got ['9', '2']"),
        ("tune series.csv --out x --settings small.toml --between dropout 0 2", "dropout: expected"),
        ("tune series.csv --out x --settings wrong.toml", "wrong.toml: try: expected a table [try], got 3"),
    ],
)
def test_errors(command: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.toml").write_text("try = 3\n")
    assert main(command.split()) == 2
    assert message in capsys.readouterr().err
    assert not Path("x/trials.json").exists()


def test_a_file_of_something_else_is_refused() -> None:
    table, settings = read_table(Path("series.csv")), settings_of({"task": "forecast", "target": "load", "columns": []})
    for content in ("[", "3", '{"of": {}, "trials": [3]}'):
        Path("trials.json").write_text(content)
        with pytest.raises(TableError, match="trials.json: not a file of finished trainings"):
            next(complete(table, settings, [{"window": 5}], Path("trials.json")))
