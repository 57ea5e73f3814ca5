"""Logs for other programs: a table, and TensorBoard's events."""

from __future__ import annotations

import csv
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gru_native import nn, optim
from gru_native.losses import MSELoss
from gru_native.train import Batches, Checkpoint, CSVLog, Record, TensorBoardLog, Trainer


def fit(callbacks: list[Any], epochs: int = 2, **options: Any) -> list[Record]:
    x = np.random.default_rng(0).standard_normal((12, 2)).astype(np.float32)
    model = nn.Linear(2, 1, seed=0)
    metrics = {"mae": lambda found, wanted: float(np.abs(found - wanted).mean())}
    trainer = Trainer(model, MSELoss(), optim.SGD(model), max_norm=1.0, metrics=metrics, training_metrics=True)
    data = Batches(x, x[:, :1], 4)
    given: dict[str, Any] = {"epochs": epochs, "validation": data, "progress": False} | options
    return trainer.fit(data, callbacks=callbacks, **given)


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def check_table(path: Path, history: list[Record]) -> None:
    table = rows(path)
    assert [int(row["step"]) for row in table] == [record.step for record in history]
    for row, record in zip(table, history, strict=True):
        for name in ("loss", "lr", "grad_norm", "seconds"):
            assert float(row[name]) == getattr(record, name)
        for part in ("validation", "training"):
            for name in ("loss", "mae"):
                figures = getattr(record, part)
                assert row[f"{part}_{name}"] == ("" if figures is None else str(figures[name]))


def test_a_table_has_a_row_for_each_step(tmp_path: Path) -> None:
    path = tmp_path / "run.csv"
    path.write_text("what was there before")
    seen = []
    history = fit([CSVLog(path), lambda record: seen.append(len(rows(path)))])
    assert seen == [1, 2, 3, 4, 5, 6]  # it is complete after each step
    check_table(path, history)
    assert list(tmp_path.iterdir()) == [path]


def test_logs_go_on_with_a_killed_run(tmp_path: Path) -> None:
    def kill(record: Record) -> None:
        if record.step == 5:
            raise KeyboardInterrupt

    path, keeper = tmp_path / "run.csv", Checkpoint(tmp_path / "run.checkpoint")
    with pytest.raises(KeyboardInterrupt):
        fit([CSVLog(path), kill], checkpoint=keeper)
    assert len(rows(path)) == 5
    history = fit([CSVLog(path)], checkpoint=keeper)
    assert len(history) == 6
    check_table(path, history)


def test_a_table_by_hand_needs_no_trainer(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "run.csv")
    for step in (1, 2):
        log(Record(step, 0, 1.0 / step, 4, 0.1, None))
    log.close()
    assert [row["loss"] for row in rows(tmp_path / "run.csv")] == ["1.0", "0.5"]
    with pytest.raises(TypeError, match="^record: expected a Record, got int"):
        log(1)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="^path: there is no folder"):
        CSVLog(tmp_path / "none" / "run.csv")


def scalars(folder: Path) -> Iterator[tuple[str, int, float, str]]:
    """Yield name, step and value of the events in a folder, and what kind of event it is."""
    event = pytest.importorskip("tensorboardX.proto.event_pb2")
    for file in sorted(folder.iterdir()):
        content, place = file.read_bytes(), 0
        while place < len(content):
            (size,) = struct.unpack_from("<Q", content, place)
            found = event.Event.FromString(content[place + 12 : place + 12 + size])
            place += size + 16
            if found.HasField("session_log"):
                yield "", found.step, 0.0, "begins"
            for value in found.summary.value:
                yield value.tag, found.step, value.simple_value, "value"


def test_tensorboard_reads_all_figures(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    history = fit([TensorBoardLog(tmp_path / "run")])
    found = {(name, step): value for name, step, value, kind in scalars(tmp_path / "run") if kind == "value"}
    expected: dict[tuple[str, int], float] = {}
    for record in history:
        expected |= {(name, record.step): getattr(record, name) for name in ("loss", "lr", "grad_norm")}
        for part in ("training", "validation"):
            figures = getattr(record, part) or {}
            expected |= {(f"{part}/{name}", record.step): value for name, value in figures.items()}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-6)


def test_tensorboard_forgets_the_steps_behind_a_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")

    def kill(record: Record) -> None:
        if record.step == 5:
            raise KeyboardInterrupt

    keeper, folder = Checkpoint(tmp_path / "run.checkpoint"), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit([TensorBoardLog(folder), kill], checkpoint=keeper)
    fit([TensorBoardLog(folder)], checkpoint=keeper)
    begins = [step for _, step, _, kind in scalars(folder) if kind == "begins"]
    assert begins == [4]  # of the steps from here on, the later ones count
    steps = sorted(step for name, step, _, _ in scalars(folder) if name == "loss")
    assert steps == [1, 2, 3, 4, 4, 5, 5, 6]


def test_without_the_package_the_command_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", None)
    with pytest.raises(
        ImportError, match=r"^TensorBoardLog needs tensorboardX: pip install 'gru_native\[tensorboard\]'"
    ):
        TensorBoardLog(tmp_path)


def test_callbacks_are_told_what_was_before_and_when_it_is_over(tmp_path: Path) -> None:
    class Watch:
        def __init__(self) -> None:
            self.said: list[Any] = []

        def catch_up(self, history: list[Record]) -> None:
            self.said.append(len(history))

        def __call__(self, record: Record) -> None:
            self.said.append(record.step + 100)

        def close(self) -> None:
            self.said.append("closed")

    first, second = Watch(), Watch()
    fit([first], epochs=1, checkpoint=tmp_path / "run.checkpoint")
    fit([second], epochs=1, checkpoint=tmp_path / "run.checkpoint")
    assert first.said == [0, 101, 102, 103, "closed"]
    assert second.said == [3, "closed"]
