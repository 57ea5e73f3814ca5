"""Tables on the command line: train, evaluate and predict, and what they say of a table that is not right."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import assert_same_bits

pytest.importorskip("sklearn")

import gru_native
from gru_native import io
from gru_native.cli import main
from gru_native.tables.fit import prepare
from gru_native.tables.model import TableModel
from gru_native.tables.reading import read_table
from gru_native.tables.settings import settings_of

LONG = ["--id", "who", "--time", "t", "--columns", "a", "b", "--hidden-size", "12"]


def _write(path: Path, columns: dict[str, Any]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables: long.csv of sequences whose rows are mixed, wide.csv of a sequence in each row, series.csv."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    rows = []
    for who in range(60):
        high = rng.random() < 0.5
        for t in range(rng.integers(8, 16)):
            a, b = 300 + 20 * (rng.normal() + (1 if high else -1)), rng.normal()
            rows.append((f"no {who}", t, a, b, "high" if high else "low", 1000 + 50 * high, "up" if b > 0 else "down"))
    mixed = [rows[i] for i in rng.permutation(len(rows))]
    names = ["who", "t", "a", "b", "kind", "level", "way"]
    _write(folder / "long.csv", dict(zip(names, zip(*mixed, strict=True), strict=True)))
    slopes = rng.normal(size=50)
    steps = {f"step {t}": slopes * t + rng.normal(size=50) * 0.1 for t in range(12)}
    _write(folder / "wide.csv", {"slope": slopes, **steps})
    hours = np.arange(300)
    load = 500 + 90 * np.sin(hours / 4) + rng.normal(size=300)
    _write(folder / "series.csv", {"hour": hours, "load": load, "wind": rng.normal(size=300)})
    return folder


def _result(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("result: ")
    return dict(each.split("=") for each in line.split()[1:])


def _run(*arguments: object) -> None:
    assert main([str(argument) for argument in arguments]) == 0


def test_classify(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    model, out = tmp_path / "model", tmp_path / "out.csv"
    table = folder / "long.csv"
    _run(
        "train", table, "--task", "classify", "--target", "kind", *LONG, "--out", model, "--picture", tmp_path / "1.png"
    )
    result = _result(capsys)
    assert [result["task"], result["examples"]] == ["train", "48"]
    assert float(result["val_accuracy"]) > 0.9
    assert not list(tmp_path.glob("*.checkpoint*"))
    _run("evaluate", model, table, "--picture", tmp_path / "2.png")
    result = _result(capsys)
    assert [result["task"], result["examples"]] == ["evaluate", "60"]
    assert float(result["accuracy"]) > 0.9
    _run("predict", model, table, "--out", out, "--picture", tmp_path / "3.png")
    assert _result(capsys)["rows"] == "60"
    found = _rows(out)
    assert list(found[0]) == ["who", "kind", "p(high)", "p(low)"]
    true = {row["who"]: row["kind"] for row in _rows(table)}
    assert [row["who"] for row in found] == list(true)  # in the order of the table
    right = [true[row["who"]] == row["kind"] for row in found]
    assert np.mean(right) == pytest.approx(float(result["accuracy"]), abs=1e-4)
    for row in found:
        assert (float(row["p(high)"]) > 0.5) == (row["kind"] == "high")
        assert float(row["p(high)"]) + float(row["p(low)"]) == pytest.approx(1)
    for picture in ("1.png", "2.png", "3.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    network = gru_native.load(model)  # without the table
    assert network[-1].out_features == 2


def test_regress_rows_that_are_sequences(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out, table = tmp_path / "model", tmp_path / "out.csv", folder / "wide.csv"
    _run("train", table, "--task", "regress", "--target", "slope", "--hidden-size", 12, "--out", model)
    assert float(_result(capsys)["val_r2"]) > 0.9
    _run("evaluate", model, table)
    result = _result(capsys)
    _run("predict", model, table, "--out", out)
    own = np.array([[float(row["slope"]) for row in _rows(path)] for path in (table, out)])
    assert np.abs(own[0] - own[1]).mean() == pytest.approx(float(result["mae"]), rel=1e-3)


def test_label_each_step(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out, table = tmp_path / "model", tmp_path / "out.csv", folder / "long.csv"
    options = ["--task", "label", "--target", "way", *LONG, "--window", 6, "--epochs", 15]
    _run("train", table, *options, "--out", model)
    assert float(_result(capsys)["val_accuracy"]) > 0.9
    _run("evaluate", model, table)
    result = _result(capsys)
    _run("predict", model, table, "--out", out)
    own, found = _rows(table), _rows(out)
    assert [(row["who"], row["t"]) for row in found] == [(row["who"], row["t"]) for row in own]
    right = np.mean([one["way"] == other["way"] for one, other in zip(own, found, strict=True)])
    assert right == pytest.approx(float(result["accuracy"]), abs=1e-4)
    # Without an id the table is one sequence, whose end is held out.
    _run("train", table, "--task", "label", "--target", "way", "--columns", "b", "--window", 20, "--out", model)
    assert float(_result(capsys)["val_accuracy"]) > 0.9


def test_forecast(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, out, table = tmp_path / "model", tmp_path / "out.csv", folder / "series.csv"
    small = tmp_path / "small.toml"
    small.write_text('task = "forecast"\ntarget = "load"\ntime = "hour"\nwindow = 20\nhorizon = 30\nepochs = 10\n')
    _run("train", table, "--settings", small, "--horizon", 3, "--hidden-size", 16, "--out", model)
    result = _result(capsys)
    assert float(result["val_r2"]) > 0.95
    assert int(result["examples"]) == 240 - 20 - 3 + 1
    _run("evaluate", model, table)
    assert int(_result(capsys)["examples"]) == 300 - 20 - 3 + 1
    _run("predict", model, table, "--out", out)
    found = _rows(out)
    assert [row["step"] for row in found] == ["1", "2", "3"]
    expected = 500 + 90 * np.sin(np.arange(300, 303) / 4)
    np.testing.assert_allclose([float(row["load"]) for row in found], expected, atol=25)


def test_forecast_of_several_series(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    model, out, table = tmp_path / "model", tmp_path / "out.csv", tmp_path / "places.csv"
    rows = [("sea", t, 2 + np.sin(t / 3)) for t in range(200)] + [("hill", t, -2 + np.sin(t / 3)) for t in range(120)]
    mixed = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    _write(table, dict(zip(("place", "t", "heat"), zip(*mixed, strict=True), strict=True)))
    options = ["--task", "forecast", "--target", "heat", "--id", "place", "--time", "t", "--window", 10, "--horizon", 4]
    _run("train", table, *options, "--hidden-size", 16, "--epochs", 20, "--out", model)
    result = _result(capsys)
    assert int(result["examples"]) == (160 - 10 - 4 + 1) + (96 - 10 - 4 + 1)
    assert float(result["val_r2"]) > 0.95
    settings = TableModel.load(model).settings
    fit = prepare(read_table(table), replace(settings, scaling="none"))
    for batch in [*fit.data.epoch(0), *fit.validation.epoch(0)]:
        sides = np.sign(np.concatenate([batch[0][..., 0], batch[1]], axis=1))
        assert (sides == sides[:, :1]).all()  # no window and no forecast of two series
    _run("evaluate", model, table, "--picture", tmp_path / "1.png")
    assert int(_result(capsys)["examples"]) == (200 - 10 - 4 + 1) + (120 - 10 - 4 + 1)
    _run("predict", model, table, "--out", out, "--picture", tmp_path / "2.png")
    found = _rows(out)
    order = list(dict.fromkeys(name for name, _, _ in mixed))
    assert [(row["place"], row["step"]) for row in found] == [(name, str(1 + i)) for name in order for i in range(4)]
    ends = {"sea": 2 + np.sin(np.arange(200, 204) / 3), "hill": -2 + np.sin(np.arange(120, 124) / 3)}
    np.testing.assert_allclose([float(row["heat"]) for row in found], [*ends[order[0]], *ends[order[1]]], atol=0.5)


def test_scaling_is_of_the_training_data_alone(folder: Path, tmp_path: Path) -> None:
    settings = settings_of({"task": "forecast", "target": "load", "columns": [], "horizon": 2})
    table = read_table(folder / "series.csv")
    model = prepare(table, settings).model
    load = np.array([float(row["load"]) for row in _rows(folder / "series.csv")])
    np.testing.assert_allclose([*model.inputs.mean, *model.inputs.scale], [load[:240].mean(), load[:240].std()])
    changed = tmp_path / "changed.csv"
    _write(changed, {"load": [*load[:240], *(1e6 + load[240:])]})
    assert_same_bits(prepare(read_table(changed), settings).model.inputs.scale, model.inputs.scale)
    plain = prepare(table, settings_of({"task": "forecast", "target": "load", "columns": [], "scaling": "none"})).model
    assert [*plain.inputs.scale, *plain.inputs.centre] == [1, 0]


@pytest.mark.parametrize("task", ["classify", "label"])
def test_classes_count_the_same_in_sum(task: str, tmp_path: Path) -> None:
    table = tmp_path / "rare.csv"
    kinds = ["often"] * 16 + ["rare"] * 4
    _write(table, {"who": range(20), "a": range(20), "kind": kinds})
    given = {"task": task, "target": "kind", "id": "who", "validation": 0.25, "class_weight": "balanced"}
    fit = prepare(read_table(table), settings_of(given))
    counts = {}
    for batch in fit.data.epoch(0):
        for kind in np.unique(batch[1]):
            counts[kind] = counts.get(kind, 0) + (batch[1] == kind).sum()
    np.testing.assert_allclose(fit.loss.weight * [counts[0], counts[1]], [7.5, 7.5])
    assert prepare(read_table(table), settings_of({**given, "class_weight": "none"})).loss.weight is None


def test_missing_values(tmp_path: Path) -> None:
    table = tmp_path / "gaps.csv"
    _write(table, {"y": [1.0, "", 3, "NA", 5, 6, 7, 8, 9, 10], "x": ["", 2, "", 4, 5, 6, 7, 8, 9, 9]})
    own = {"task": "forecast", "target": "y", "window": 2, "scaling": "none"}
    with pytest.raises(ValueError, match="gaps.csv: column 'x', line 2: expected a number, got none"):
        prepare(read_table(table), settings_of(own))
    for how, expected in (("mean", [5.0, 2, 5, 4]), ("previous", [5.0, 2, 2, 4])):
        model = prepare(read_table(table), settings_of({**own, "missing": how, "columns": ["x"]})).model
        model.inputs.mean[:] = 5
        series = model.sequences(read_table(table)).inputs[0]
        assert model.prepared(series)[:4, 1].tolist() == expected
    fit = prepare(read_table(table), settings_of({**own, "missing": "mean"}))
    (batch,) = fit.data.epoch(0)
    known = dict(zip(batch.targets[:, 0].tolist(), batch.weights[:, 0].tolist(), strict=False))
    assert [known[0.0], known[3.0], known[5.0]] == [0, 1, 1]  # what is missing is no target


def test_flags_are_numbers(tmp_path: Path) -> None:
    _write(tmp_path / "t.csv", {"a": [True, False, ""], "b": ["TRUE", "false", "3"]})
    table = read_table(tmp_path / "t.csv")
    np.testing.assert_array_equal(table.numbers("a"), [1, 0, np.nan])
    np.testing.assert_array_equal(table.numbers("b"), [1, 0, 3])


def test_a_hint_at_columns_stands_where_it_helps(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, model = tmp_path / "t.csv", tmp_path / "model"
    _write(table, {"load": range(4), "wind": ["", "calm", "storm", ""]})
    options = ["--task", "forecast", "--target", "load", "--window", "2", "--epochs", "1", "--out", str(model)]
    assert main(["train", str(table), *options]) == 2
    assert "line 3: expected a number, got 'calm': name it as 'id' or 'time'" in capsys.readouterr().err
    _write(table, {"load": range(4), "wind": [1, "calm", 2, 3]})
    assert main(["train", str(table), *options]) == 2
    assert capsys.readouterr().err.endswith("expected a number, got 'calm'\n")
    _run("train", folder / "series.csv", "--time", "hour", *options)
    _write(table, {"hour": range(4), "load": range(4), "wind": ["calm"] * 4})
    capsys.readouterr()
    assert main(["predict", str(model), str(table), "--out", str(tmp_path / "out.csv")]) == 2
    assert capsys.readouterr().err.endswith("expected a number, got 'calm'\n")


@pytest.mark.parametrize(
    "times",
    [
        ["2018-12-31 09:00", "2018-12-31 10:00", "2019-01-01 08:00"],
        ["2018-12-31 10:30+02:00", "2018-12-31 10:00+01:00", "2019-01-01 00:00+01:00"],
        ["1999-12", "2000-01", "2000-02"],
        ["09:00:00", "10:00:00", "11:00:00"],
        ["9", "10", "1e1000"],
    ],
)
def test_texts_that_order_steps(times: list[str], tmp_path: Path) -> None:
    _write(tmp_path / "t.csv", {"when": times[::-1]})
    assert read_table(tmp_path / "t.csv").places("when").tolist() == [2, 1, 0]


def test_files_of_three_kinds_are_one_table(folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4, 2)), np.array([0, 1, 0, 1, 1])
    np.savez(tmp_path / "cube.npz", x=x, y=y)
    cube = read_table(tmp_path / "cube.npz")
    assert list(cube.columns) == ["id", "time", "x.0", "x.1", "y"]
    _write(tmp_path / "long.csv", cube.columns)
    tables = [cube, read_table(tmp_path / "long.csv")]
    if parquet := pytest.importorskip("pyarrow.parquet", reason="the rest of it is tested without"):
        import pyarrow

        parquet.write_table(pyarrow.table(cube.columns), tmp_path / "cube.parquet")
        tables.append(read_table(tmp_path / "cube.parquet"))
    settings = settings_of({"task": "classify", "target": "y", "id": "id", "time": "time", "validation": 0.4})
    models = [prepare(table, settings) for table in tables]
    for fit in models:
        assert fit.model.classes == ["0", "1"]
        assert_same_bits(fit.model.inputs.mean, models[0].model.inputs.mean)
        found = fit.model.predict(tables[0])
        np.testing.assert_array_equal(found["p(0)"], models[0].model.predict(tables[0])["p(0)"])


@pytest.mark.parametrize("task", ["classify", "label", "forecast"])
def test_an_array_of_sequences_says_itself_which_row_is_whose(task: str, tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(10, 8, 2)), np.arange(10) % 2
    np.savez(tmp_path / "cube.npz", x=x, y=y)
    given = {"task": task, "target": "x.0" if task == "forecast" else "y", "columns": ["x.1"], "window": 2}
    model = prepare(read_table(tmp_path / "cube.npz"), settings_of(given)).model
    assert (model.settings.id, model.settings.time) == ("id", "time")
    assert len(model.sequences(read_table(tmp_path / "cube.npz")).inputs) == 10


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ("a,y\n1,0\n2\n", "", "line 3: expected 2 values, got 1"),
        ("a,a\n1,0\n", "", "column 'a', line 1: expected each name once"),
        ("", "", "expected at least one column and row"),
        ("a,b,y\n1,2,u\n\n3,x,v\n", "", "column 'b', line 4: expected a number, got 'x'"),
        ("a,b,y\n1,2,u\n3,inf,v\n", "", "column 'b', line 3: expected a finite number"),
        ('a,b,y\n1,2,u\n"3,4,v\n', "", "line 3: not CSV"),
        ("a,b,y\n1,2,u\n3,4,u\n3,4,u\n3,4,u\n", "", "expected several classes"),
        ("a,b,y\n1,2,u\n3,4,\n", "", "column 'y', line 3: expected a value, got none"),
        ("a,b,y\n1,2,None\n", "", "line 2: expected a value, got 'None', which stands for a missing one"),
        ("a,y\n1,0\n", "--target z", "expected a column 'z', got 'a', 'y'"),
        ("a,b,y\n1,2,u\n1,3,v\n", "--id a", "column 'y', line 3: expected u as in the rest of the sequence, got v"),
        ("a,b,c,y\n1,2,3,u\n1,2,3,u\n", "--id a --time b", "column 'b', line 3: expected each time once"),
        ("a,t,y\n1,2,0\n", "--time t", "time: expected with id, because without it each row is a sequence, got 't'"),
        ("t,y\n31/12/2018,0\n01/01/2019,1\n", "--task forecast --time t", "column 't', line 2: expected ISO 8601 "
         "(2018-12-31 09:00), or numbers, all in one form, got '31/12/2018'"),
        ("t,y\n10:00,0\n9:00,1\n", "--task forecast --time t", "column 't', line 3: expected ISO 8601"),
        ("t,y\n10-11-12,0\n", "--task forecast --time t", "got '10-11-12'"),
        ("t,y\n1,0\n2018-12-31,1\n", "--task forecast --time t", "or numbers, all in one form, got '2018-12-31'"),
        ("t,y\n2018-12-31,0\n2018-12-31 09:00,1\n", "--task forecast --time t", "got '2018-12-31 09:00'"),
        ("b,c,y\n2,3,u\n2,4,u\n", "--task label --time b", "got 2 again: 'id' says which sequence a row belongs to"),
        ("a,b,y\n1,2,0\n1,2,0\n", "--task forecast", "t.csv: expected at least 25 rows to train on"),
        ("a,y\n1,0\n1,0\n1,0\n2,0\n", "--task forecast --id a --window 1",
         "column 'a', line 5: 2: expected at least 2 rows to train on, for window and horizon, got 0 and 1 to hold"),
        ("a,place,y\n1,Rome,0\n", "", "expected a number, got 'Rome': name it as 'id' or 'time', or"),
        ("a,y\n1,0\n", "--task regress --class-weight balanced", "class_weight: belongs to classify and label, got"),
        ("step,y\n1,0\n", "--task forecast --target step", "target: expected another name than 'step', a column that"),
        ("step,y\n1,0\n", "--task forecast --id step", "id: expected another name than 'step', a column that"),
        ("p(u),a,y\n1,1,u\n2,2,v\n3,3,u\n4,4,v\n", "--task label --time p(u)",
         "time: expected another name than 'p(u)', a column that predictions have themselves"),
        ("a,y\n1,u\n2,v\n3,w\n4,v\n", "", "line 2: expected each of 3 classes in two sequences or more, got u in one"),
        ("a,y\n1,0\n", "--batch-size 0", "batch_size: expected a whole number"),
        ("a,y\n1,0\n", "--horizon 3", "horizon: belongs to forecast"),
        ("a,y\n1,0\n", "--columns a y", "columns: expected each column once, in one role, got 'y' again"),
        ("a,y\n1,0\n", "--settings none.toml", "No such file"),
        ("a,y\n1,0\n", "--settings bad.toml", "bad.toml: not TOML"),
        ("a,y\n1,0\n", "--settings wrong.toml", "wrong.toml: hidden_size: expected a whole number"),
        ("a,y\n1,0\n", "--settings strange.toml", "strange.toml: colour: expected one of the settings task, target"),
    ],
)  # fmt: skip
def test_errors_name_the_place(
    table: str, options: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text(table)
    for name, text in (("bad", "a ="), ("wrong", 'hidden_size = ["many"]'), ("strange", 'colour = "red"')):
        Path(f"{name}.toml").write_text(text)
    assert main(["train", "t.csv", "--task", "classify", "--target", "y", *options.split(), "--out", "model"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"gru-native: error: .*{re.escape(message)}", line), line
    assert not Path("model").exists()


def test_no_file_has_two_uses(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, table = tmp_path / "model", tmp_path / "table.csv"
    content = (folder / "long.csv").read_bytes()
    table.write_bytes(content)
    options = ["--task", "classify", "--target", "kind", *LONG, "--epochs", "1"]
    _run("train", table, *options, "--out", model)
    before = model.read_bytes()
    for command in (
        ["train", table, *options, "--out", table],
        ["train", table, *options, "--out", model, "--picture", model],
        ["predict", model, table, "--out", table],
        ["predict", model, table, "--out", tmp_path / "out", "--picture", model],
        ["evaluate", model, table, "--picture", table],
    ):
        capsys.readouterr()
        assert main([str(each) for each in command]) == 2
        assert "expected another file to write than" in capsys.readouterr().err
    assert (model.read_bytes(), table.read_bytes()) == (before, content)


def test_what_was_not_there_in_training(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, other = tmp_path / "model", tmp_path / "other.csv"
    options = ["--task", "classify", "--target", "kind", *LONG, "--epochs", "1"]
    _run("train", folder / "long.csv", *options, "--out", model)
    _write(other, {"who": [1, 1], "t": [0, 1], "a": [1, 2], "b": [3, 4], "kind": ["odd", "odd"]})
    capsys.readouterr()
    assert main(["evaluate", str(model), str(other)]) == 2
    assert "other.csv: column 'kind', line 2: expected one of high, low, got odd" in capsys.readouterr().err
    _write(other, {"who": [1, 1], "t": [0, 1], "a": [1, 2]})
    assert main(["predict", str(model), str(other), "--out", str(tmp_path / "out")]) == 2
    assert "expected a column 'b'" in capsys.readouterr().err


def test_a_training_that_was_stopped_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = ["--task", "classify", "--target", "kind", *LONG, "--epochs", "4"]
    _run("train", folder / "long.csv", *options, "--out", whole)
    saves = []

    def stop(self: TableModel, path: Path) -> None:
        saves.append(path)
        if len(saves) == 2:
            raise MemoryError("as if it had been killed")
        save(self, path)

    save = TableModel.save
    with monkeypatch.context() as patch:
        patch.setattr(TableModel, "save", stop)
        assert main(["train", str(folder / "long.csv"), *options, "--out", str(parts)]) == 2
    capsys.readouterr()
    _run("train", folder / "long.csv", *options, "--threads", 1, "--out", parts)
    assert "Going on from" in capsys.readouterr().out
    for name, own in io.load_state(whole).items():
        assert_same_bits(io.load_state(parts)[name], own)


def test_a_model_in_a_file_is_checked(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "model"
    settings = settings_of({"task": "forecast", "target": "load", "columns": ["wind"]})
    prepare(read_table(folder / "series.csv"), settings).model.save(model)
    assert TableModel.load(model).settings == settings
    network, known = io.load(model), json.loads(io.load_metadata(model)["table"])
    for name, wrong in (
        ("features", ["load"]), ("features", 3), ("classes", ["b", "a"]), ("settings", {"task": "forecast"}),
        ("inputs", {"mean": [1, 2], "scale": [1, 0], "centre": [0, 0]}), ("outputs", {"mean": [1]}),
    ):  # fmt: skip
        io.save(network, model, {"table": json.dumps({**known, name: wrong})})
        with pytest.raises(io.ModelFileError, match="none that 'train' wrote"):
            TableModel.load(model)
    io.save(network, model)
    assert main(["evaluate", str(model), str(folder / "series.csv")]) == 2
    assert "none that 'train' wrote for tables" in capsys.readouterr().err
