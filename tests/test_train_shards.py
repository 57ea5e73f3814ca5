"""Batches that are cut into shards: what they are, and that a step of many is one of the whole batch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import python
from tolerances import assert_close

from gru_native import nn, optim
from gru_native.losses import CrossEntropyLoss, CTCLoss, MSELoss
from gru_native.train import (
    Batch,
    Batches,
    Checkpoint,
    Data,
    OtherRunError,
    Sequences,
    Stream,
    Trainer,
    classification_metrics,
)

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 7, 22)
SEQUENCES = [RNG.standard_normal((length, 3)) for length in LENGTHS]
TAGS = [RNG.integers(0, 4, length) for length in LENGTHS]
LABELS = [RNG.integers(1, 4, length // 2 + 1) for length in LENGTHS]
CLASSES = RNG.integers(0, 4, 22)
X, MASK = RNG.standard_normal((22, 6, 3)), RNG.random((22, 6)) < 0.7
ALL_TAGS = RNG.integers(0, 4, (22, 6))

# All have batches of 5 rows, the last one of 2: fewer than there are shards.
SOURCES: dict[str, Callable[[], Any]] = {
    "rows": lambda: Batches(X[:, 0], CLASSES, 5, shuffle=True, weights=LENGTHS),
    "steps": lambda: Batches(X, ALL_TAGS, 5, mask=MASK, per_step=True),
    "sequences": lambda: Sequences(SEQUENCES, CLASSES, 5, shuffle=True),
    "batch first": lambda: Sequences(SEQUENCES, TAGS, 5, per_step=True, batch_first=True, shuffle=True),
    "tags": lambda: Sequences(SEQUENCES, TAGS, 5, per_step=True, reset=[tags == 0 for tags in TAGS]),
    "labels": lambda: Sequences(SEQUENCES, LABELS, 5),  # for a loss that takes lengths
    "stream": lambda: Stream(X.reshape(-1, 3), ALL_TAGS.ravel(), 2, 7),
}


def axis_of(data: Any) -> int:
    return 0 if data.batch_first in (None, True) else 1


@pytest.mark.parametrize("kind", SOURCES)
def test_shards_have_each_row_once(kind: str) -> None:
    data = SOURCES[kind]()
    shards = [data.shard(number, 3) for number in range(3)]
    assert [len(shard) for shard in shards] == [len(data)] * 3
    for item, *parts in zip(data.epoch(1), *(shard.epoch(1) for shard in shards), strict=True):
        whole, axis = Batch(*item), axis_of(data)
        for number, part in enumerate(Batch(*own) for own in parts):
            rows = np.moveaxis(whole.inputs, axis, 0)[number::3]
            steps = rows.shape[1] if part.lengths is None else max(part.lengths, default=0)
            expected = rows if part.lengths is None else rows[:, :steps]
            np.testing.assert_array_equal(np.moveaxis(part.inputs, axis, 0), expected)
            if whole.lengths is not None:
                np.testing.assert_array_equal(part.lengths, whole.lengths[number::3])
        assert sum(len(Batch(*own).targets.reshape(-1)) for own in parts) == whole.targets.size


def model_of(kind: str) -> nn.Sequential:
    first, f64 = kind in ("steps", "batch first"), {"dtype": "float64", "seed": 1}
    if kind == "rows":
        return nn.Sequential(nn.Linear(3, 4, **f64))
    pooling = [nn.LastPooling(batch_first=first)] if kind == "sequences" else []
    return nn.Sequential(nn.GRU(3, 5, batch_first=first, **f64), *pooling, nn.Linear(5, 4, **f64))


def measured(predictions: list[Any], targets: list[Any]) -> float:
    return sum(own.sum() for own in predictions) + sum(own.sum() for own in targets)


def fitted(kind: str, shards: int, **given: Any) -> tuple[list[Any], dict[str, Any]]:
    data, model = SOURCES[kind](), model_of(kind)
    trainer = Trainer(
        model,
        CTCLoss() if kind == "labels" else CrossEntropyLoss(ignore_index=3),
        optim.SGD(model, lr=0.5),
        metrics={"size": measured} if kind == "labels" else classification_metrics(),
        training_metrics=True,
        shards=shards,
    )
    history = trainer.fit(data, epochs=2, validation=data, validate_every=3, progress=False, **given)
    return history, model.state_dict()


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("kind", SOURCES)
def test_a_step_of_shards_is_one_of_the_whole_batch(kind: str, accumulate: int) -> None:
    """Of targets some do not count, so that shards of like many rows have means over different numbers."""
    whole, expected = fitted(kind, 1, accumulate=accumulate)
    cut, found = fitted(kind, 3, accumulate=accumulate)
    for name, array in expected.items():
        assert_close(found[name], array, "training_run", name)
    for one, other in zip(cut, whole, strict=True):
        assert (one.step, one.epoch, one.targets) == (other.step, other.epoch, other.targets)
        assert one.loss == pytest.approx(other.loss)
        assert (one.validation or {}) == pytest.approx(other.validation or {})
        assert (one.training or {}) == pytest.approx(other.training or {})


def test_rows_that_a_sparse_embedding_reads() -> None:
    ids, classes = RNG.integers(0, 9, (12, 5)), RNG.integers(0, 2, 12)
    found = []
    for shards in (1, 4):
        pooling = nn.MeanPooling(batch_first=True)
        table = nn.Embedding(9, 3, sparse=True, dtype="float64", seed=1)
        model = nn.Sequential(table, pooling, nn.Linear(3, 2, dtype="float64", seed=2))
        trainer = Trainer(model, CrossEntropyLoss(), optim.Adam(model, lr=0.1), shards=shards)
        trainer.fit(Batches(ids, classes, 6), epochs=3, progress=False)
        found.append(model.state_dict()["0.weight"])
    assert_close(found[1], found[0], "trajectory")


def test_batch_statistics_are_of_each_shard() -> None:
    x = RNG.standard_normal((6, 4))
    model = nn.BatchNorm1d(4, dtype="float64")
    trainer = Trainer(model, MSELoss(), optim.SGD(model, lr=0.0), shards=2)
    trainer.fit(Batches(x, x, 6), steps=1, progress=False)
    means = [0.1 * x[shard::2].mean(axis=0) for shard in range(2)]
    variances = [0.9 + 0.1 * x[shard::2].var(axis=0, ddof=1) for shard in range(2)]
    assert_close(model.buffers()["running_mean"], np.mean(means, axis=0), "float64_gradient")
    assert_close(model.buffers()["running_var"], np.mean(variances, axis=0), "float64_gradient")
    assert model.buffers()["num_batches_tracked"] == 1


def test_each_shard_has_dropout_of_its_own() -> None:
    x = np.ones((2, 50), np.float32)
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 1, bias=False, seed=0))
    before = model.parameters()["1.weight"]
    trainer = Trainer(model, MSELoss(), optim.SGD(model, lr=1.0), shards=2)
    trainer.fit(Batches(x, np.full((2, 1), 1e3, np.float32), 2), steps=1, progress=False)
    moved = model.parameters()["1.weight"] - before
    assert len(np.unique(np.round(moved / moved.max(), 2))) == 3  # dropped by none, by one and by both


def test_states_of_all_shards_are_kept(tmp_path: Path) -> None:
    def fit(steps: int, **given: Any) -> dict[str, Any]:
        data = Stream(X.reshape(-1, 3), CLASSES.repeat(6), 4, 5)
        model = model_of("stream")
        trainer = Trainer(model, CrossEntropyLoss(), optim.Adam(model), shards=3)
        trainer.fit(data, steps=steps, progress=False, **given)
        return model.state_dict()

    path = tmp_path / "run.checkpoint"
    expected, _ = fit(9), fit(4, checkpoint=path)
    found = fit(9, checkpoint=Checkpoint(path, changes=["steps"]))
    assert all(np.array_equal(found[name], array) for name, array in expected.items())


def test_another_number_of_shards_is_another_run(tmp_path: Path) -> None:
    data = SOURCES["rows"]()
    for shards in (2, 3):
        model = model_of("rows")
        trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model), shards=shards)
        if shards == 2:
            trainer.fit(data, steps=1, progress=False, checkpoint=tmp_path / "run.checkpoint")
        else:
            with pytest.raises(OtherRunError, match="whose shards is 2, expected 3"):
                trainer.fit(data, steps=1, progress=False, checkpoint=tmp_path / "run.checkpoint")


class Own:
    """A source that gives batches, and no shards."""

    carries_state = False

    def __len__(self) -> int:
        return 1

    def epoch(self, number: int) -> Any:
        yield X[:, 0], CLASSES


def test_what_cannot_be_cut_is_refused_before_anything_changes() -> None:
    model, data = model_of("rows"), SOURCES["rows"]()
    trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model), shards=2)
    said = "expected a source that can be cut into shards, such as Batches, got Own without shard"
    own: Data = Own()
    with pytest.raises(TypeError, match=f"^data: {said}"):
        trainer.fit(own, steps=1)
    with pytest.raises(TypeError, match=f"^validation: {said}"):
        trainer.fit(data, steps=1, validation=own)
    with pytest.raises(TypeError, match=f"^data: {said}"):
        trainer.evaluate(own)
    assert trainer.step == 0
    Trainer(model, CrossEntropyLoss(), optim.SGD(model)).fit(own, steps=1, progress=False)


def test_more_shards_than_a_step_can_compute_are_refused() -> None:
    model = model_of("rows")
    with pytest.raises(ValueError, match="^shards: expected a whole number from 1 to 4096, got 1000000"):
        Trainer(model, CrossEntropyLoss(), optim.SGD(model), shards=10**6)


def test_what_is_not_finite_is_named_in_the_whole_batch() -> None:
    x, model = X[:, 0].copy(), model_of("rows")
    x[8, 1] = np.nan
    trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model), shards=3)
    with pytest.raises(FloatingPointError, match=r"the inputs of batch 1 of epoch 0 hold nan at index \(3, 1\)"):
        trainer.fit(Batches(x, CLASSES, 5), epochs=1, progress=False)
    assert trainer.step == 1


def test_mpi_is_imported_only_when_asked_for() -> None:
    assert python("-c", "import sys, gru_native.train; print('mpi4py' in sys.modules)") == "False\n"


def test_a_communicator_needs_mpi4py(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("rows")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "mpi4py", None)
        with pytest.raises(ImportError, match=r"^communicator needs mpi4py .*pip install 'gru_native\[mpi\]'"):
            Trainer(model, CrossEntropyLoss(), optim.SGD(model), communicator=object())
    pytest.importorskip("mpi4py")
    with pytest.raises(TypeError, match="^communicator: expected a communicator of mpi4py, such as MPI.COMM_WORLD"):
        Trainer(model, CrossEntropyLoss(), optim.SGD(model), communicator=4)
