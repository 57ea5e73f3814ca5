"""Metrics on training data, in records, logs, checkpoints and pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gru_native import nn, optim
from gru_native.losses import CrossEntropyLoss
from gru_native.train import Batches, Checkpoint, Record, Trainer, classification_metrics, plot_history, read_log


def samples(count: int, seed: int) -> Batches:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, 3)).astype(np.float32)
    return Batches(x, (x.sum(1) > 0).astype(np.int64), 8, shuffle=True)


def trainer(**options: Any) -> Trainer:
    model = nn.Sequential(nn.Linear(3, 4, seed=1), nn.Dropout(0.2), nn.Linear(4, 2, seed=2))
    return Trainer(model, CrossEntropyLoss(), optim.Adam(model, lr=0.05), training_metrics=True, **options)


def accuracy(predictions: np.ndarray, targets: np.ndarray) -> float:
    return float((predictions.argmax(1) == targets).mean())


def test_they_are_of_what_the_steps_predicted(tmp_path: Path) -> None:
    """A model that cannot change predicts the same in all steps."""
    data, seen = samples(30, 0), trainer(metrics={"accuracy": accuracy})
    seen.model.eval()
    seen.optimizer.lr = 0.0
    history = seen.fit(data, epochs=2, validation=data, progress=False, log=tmp_path / "log")
    expected = seen.evaluate(data)
    assert [record.step for record in history if record.training] == [4, 8]
    for record in (history[3], history[7]):
        assert record.training is not None
        assert record.training.keys() == expected.keys()
        for name, value in expected.items():
            assert math.isclose(record.training[name], value, rel_tol=1e-6)
    assert read_log(tmp_path / "log") == history


def test_without_validation_data_they_are_of_an_epoch() -> None:
    history = trainer().fit(samples(30, 0), epochs=3, progress=False)
    assert [record.step for record in history if record.training] == [4, 8, 12]
    assert history[3].training is not None
    assert history[3].training.keys() == {"loss"}
    losses, counts = [record.loss for record in history[:4]], [8, 8, 8, 6]
    assert math.isclose(history[3].training["loss"], float(np.average(losses, weights=counts)), rel_tol=1e-12)
    assert not any(record.training for record in _plain().fit(samples(30, 0), epochs=1, progress=False))


def _plain() -> Trainer:
    model = nn.Linear(3, 2, seed=1)
    return Trainer(model, CrossEntropyLoss(), optim.Adam(model))


@pytest.mark.parametrize("killed", [1, 3, 4, 6])
def test_a_killed_run_goes_on_to_the_same_figures(killed: int, tmp_path: Path) -> None:
    keeper = Checkpoint(tmp_path / "run.checkpoint", every=1)

    def kill(record: Record) -> None:
        if record.step == killed:
            raise KeyboardInterrupt

    given: dict[str, Any] = {"epochs": 2, "validation": samples(9, 1), "progress": False, "accumulate": 2}
    whole = trainer(metrics=classification_metrics()).fit(samples(50, 0), **given)
    with pytest.raises(KeyboardInterrupt):
        trainer(metrics=classification_metrics()).fit(samples(50, 0), checkpoint=keeper, callbacks=[kill], **given)
    history = trainer(metrics=classification_metrics()).fit(samples(50, 0), checkpoint=keeper, **given)
    assert history == whole
    assert sum(record.training is not None for record in history) == 2


def test_targets_that_do_not_count_are_left_out() -> None:
    inputs, targets = np.zeros((8, 3), np.float32), np.array([0, 1, -100, -100, 1, 1, -100, 0])
    found: list[int] = []

    def count(predictions: np.ndarray, targets: np.ndarray) -> float:
        found.append(len(targets))
        return float(len(predictions))

    history = trainer(metrics={"count": count}).fit(Batches(inputs, targets, 3), epochs=1, progress=False)
    assert found == [5]
    assert history[-1].training is not None
    assert history[-1].training["count"] == 5.0


def test_the_picture_shows_both(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    history = trainer(metrics={"accuracy": accuracy}).fit(samples(30, 0), epochs=2, progress=False)
    plot_history(history, tmp_path / "training.png")
    assert (tmp_path / "training.png").stat().st_size > 10_000
