"""Gradients of a few rows of a table: `Embedding(sparse=True)`, and optimizers that change these rows alone."""

from __future__ import annotations

import copy
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

from gru_native import nn, optim, twins
from gru_native.losses import CrossEntropyLoss
from gru_native.nn import SparseGradient
from gru_native.train import Batches, Trainer

V, E = 50, 4
F64: dict[str, Any] = {"dtype": "float64", "seed": 1}
OPTIMIZERS = [
    (optim.SGD, {"lr": 0.1}),
    (optim.Adam, {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3}),
    (optim.AdamW, {"lr": 0.05, "weight_decay": 0.0}),
]
optimizers = pytest.mark.parametrize(("kind", "options"), OPTIMIZERS, ids=lambda own: getattr(own, "__name__", ""))


def gradient(rng: np.random.Generator, rows: list[int], scale: float = 1.0) -> SparseGradient:
    return SparseGradient(np.array(rows), scale * rng.standard_normal((len(rows), E)), (V, E))


# ---- The gradient ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding_idx", [None, 3])
def test_it_has_the_bits_of_the_dense_one(padding_idx: int | None, rng: np.random.Generator) -> None:
    indices = rng.integers(0, 8, (6, 5))
    d = rng.standard_normal((6, 5, E)).astype(np.float32)
    found = []
    for sparse in (False, True):
        embedding = nn.Embedding(V, E, padding_idx, sparse=sparse, seed=1)
        _, tape = embedding.forward(indices)
        found.append(embedding.backward(tape, d)[1]["weight"])
    dense, sparse_one = found
    np.testing.assert_array_equal(sparse_one.dense(), dense)
    assert sparse_one.rows.tolist() == sorted(set(indices.ravel().tolist()) - {padding_idx})
    assert sparse_one.values.shape == (len(sparse_one.rows), E)
    assert nn.from_config(embedding.config()).sparse


def test_no_index_gives_no_row() -> None:
    embedding = nn.Embedding(V, E, sparse=True, **F64)
    before = embedding.parameters()["weight"]
    _, tape = embedding.forward(np.zeros((0, 2), int))
    _, grads = embedding.backward(tape, np.zeros((0, 2, E)))
    assert grads["weight"].rows.size == 0
    optim.Adam(embedding).step(grads)
    np.testing.assert_array_equal(embedding.parameters()["weight"], before)


def test_sums_and_multiples(rng: np.random.Generator) -> None:
    one, other = gradient(rng, [1, 4, 9]), gradient(rng, [0, 4, 5, 49])
    np.testing.assert_array_equal((one + other).dense(), one.dense() + other.dense())
    np.testing.assert_array_equal((one * 0.5).dense(), one.dense() * 0.5)


@pytest.mark.parametrize(
    ("rows", "values", "message"),
    [
        ([1, 1], np.zeros((2, E)), "rows: expected each row once in rising order"),
        ([2, 1], np.zeros((2, E)), "rows: expected each row once in rising order"),
        ([1, V], np.zeros((2, E)), f"rows: expected 0 to {V - 1}, got {V} at"),
        ([1, 2], np.zeros((3, E)), r"values: expected shape \(2, 4\), got \(3, 4\)"),
        ([1, 2], np.zeros((2, E), int), "values: expected dtype float32 or float64, got int64"),
    ],
)
def test_what_is_no_gradient(rows: list[int], values: np.ndarray, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        SparseGradient(np.array(rows), values, (V, E))


# ---- Steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adam", [False, True])
def test_the_trajectory_of_pytorch(adam: bool, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    embedding = nn.Embedding(V, E, sparse=True, **F64)
    theirs = torch.nn.Embedding(V, E, sparse=True, dtype=torch.float64)
    theirs.load_state_dict({"weight": torch.from_numpy(embedding.parameters()["weight"].copy())})
    options: dict[str, Any] = {"lr": 0.05} | ({"betas": (0.8, 0.9), "eps": 1e-3} if adam else {})
    ours = (optim.Adam if adam else optim.SGD)(embedding, **options)
    their_steps = (torch.optim.SparseAdam if adam else torch.optim.SGD)(theirs.parameters(), **options)
    for _ in range(8):
        indices, d = rng.integers(0, 12, (3, 5)), rng.standard_normal((3, 5, E))
        _, tape = embedding.forward(indices)
        ours.step(embedding.backward(tape, d)[1])
        their_steps.zero_grad()
        theirs(torch.from_numpy(indices)).backward(torch.from_numpy(d))
        their_steps.step()
        assert_close(embedding.parameters()["weight"], theirs.weight.detach().numpy(), "float64")


def test_a_step_of_all_rows_is_the_dense_step(rng: np.random.Generator) -> None:
    found = []
    every = gradient(rng, list(range(V)))
    for sparse in (False, True):
        embedding = nn.Embedding(V, E, **F64)
        optimizer = optim.SGD(embedding, lr=0.1)
        for _ in range(3):
            optimizer.step({"weight": every if sparse else every.dense()})
        found.append(embedding.parameters()["weight"])
    np.testing.assert_array_equal(*found)


@optimizers
def test_only_rows_are_written_and_nothing_that_others_have(
    kind: Any, options: dict[str, Any], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps that begin from a copy are those after somebody took hold of the weights, and the first two."""
    copies = []
    monkeypatch.setattr(twins.np, "copyto", lambda to, of, own=np.copyto: (copies.append(1), own(to, of)))
    embedding, plain = (nn.Embedding(V, E, **F64) for _ in range(2))
    optimizer, reference = kind(embedding, **options), kind(plain, **options)
    held: list[tuple[np.ndarray, np.ndarray]] = []
    arrays = 1 if kind is optim.SGD else 3
    for step in range(12):
        grads = {"weight": gradient(rng, sorted(set(rng.integers(0, V, 6).tolist())))}
        if step in (4, 8):
            weight = embedding.state_dict()["weight"]
            held.append((weight, weight.copy()))
            del weight
        before = len(copies)
        optimizer.step(grads)
        expected = arrays if step == 0 else 1 if step in (5, 9) else 0
        assert len(copies) - before == expected, step
        reference._states = {name: one._replace(twins=None) for name, one in reference._states.items()}
        reference.step(grads)  # from copies in each step
        np.testing.assert_array_equal(embedding.parameters()["weight"], plain.parameters()["weight"])
        for weight, was in held:
            np.testing.assert_array_equal(weight, was)
        assert not embedding.parameters()["weight"].flags.writeable
    for name, value in optimizer.state_dict().items():
        np.testing.assert_array_equal(value, reference.state_dict()[name])


@optimizers
def test_a_call_under_way_keeps_its_weights(kind: Any, options: dict[str, Any], rng: np.random.Generator) -> None:
    embedding = nn.Embedding(V, E, **F64)
    optimizer = kind(embedding, **options)
    snapshots = []
    for _ in range(5):
        snapshot = embedding.snapshot()
        snapshots.append((snapshot, snapshot.version["weight"].copy()))
        optimizer.step({"weight": gradient(rng, [0, 7, 9])})
    for snapshot, weight in snapshots:
        np.testing.assert_array_equal(snapshot.version["weight"], weight)


def test_another_thread_sees_the_weights_of_one_step() -> None:
    """All rows have one value after each step, so they have one in each call of another thread, too."""
    embedding = nn.Embedding(2000, E, **F64)
    embedding.assign({"weight": np.zeros((2000, E))})
    optimizer, indices = optim.SGD(embedding, lr=1.0), np.arange(2000)
    every = SparseGradient(indices, np.ones((2000, E)), (2000, E))
    mixed, over = [], threading.Event()

    def read() -> None:
        while not over.is_set():
            found = embedding(indices)
            if (found != found[0, 0]).any():
                mixed.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(400):
        optimizer.step({"weight": every})
    over.set()
    reader.join()
    assert not mixed
    assert (embedding.parameters()["weight"] == -400).all()


@optimizers
def test_a_step_that_is_not_made_leaves_nothing(kind: Any, options: dict[str, Any], rng: np.random.Generator) -> None:
    embedding, plain = (nn.Embedding(V, E, **F64) for _ in range(2))
    optimizer, reference = kind(embedding, **options), kind(plain, **options)
    for step in range(6):
        grads = {"weight": gradient(rng, [step, step + 1, 20])}
        optimizer.prepare_step({"weight": gradient(rng, [2, 30 + step])})
        optimizer.step(grads)
        reference.step(grads)
        np.testing.assert_array_equal(embedding.parameters()["weight"], plain.parameters()["weight"])


@optimizers
def test_other_weights_and_a_saved_state_are_gone_on_from(
    kind: Any, options: dict[str, Any], rng: np.random.Generator
) -> None:
    embedding, again = (nn.Embedding(V, E, **F64) for _ in range(2))
    optimizer, loaded = kind(embedding, **options), kind(again, **options)
    grads = [{"weight": gradient(rng, [step, step + 5])} for step in range(6)]
    for own in grads[:3]:
        optimizer.step(own)
    again.load_state_dict(embedding.state_dict())
    loaded.load_state_dict(optimizer.state_dict())
    for own in grads[3:]:
        optimizer.step(own)
        loaded.step(own)
    np.testing.assert_array_equal(embedding.parameters()["weight"], again.parameters()["weight"])
    copied = copy.deepcopy(optimizer)
    copied.step(grads[1])
    np.testing.assert_array_equal(embedding.parameters()["weight"], again.parameters()["weight"])
    embedding.assign({"weight": np.zeros((V, E))})
    optimizer.step(grads[0])
    changed = np.flatnonzero(embedding.parameters()["weight"].any(1))
    assert set(changed.tolist()) <= {0, 5}


def test_clipping(rng: np.random.Generator) -> None:
    grads = {"weight": gradient(rng, [1, 9], 10.0), "bias": rng.standard_normal(3)}
    dense = {"weight": grads["weight"].dense(), "bias": grads["bias"]}
    clipped, norm = optim.clip_grad_norm(grads, 1.5)
    expected, dense_norm = optim.clip_grad_norm(dense, 1.5)
    assert math.isclose(norm, dense_norm, rel_tol=1e-15)
    np.testing.assert_allclose(clipped["weight"].dense(), expected["weight"], rtol=1e-15)
    bounded = optim.clip_grad_value(grads, 0.5)
    np.testing.assert_array_equal(bounded["weight"].dense(), optim.clip_grad_value(dense, 0.5)["weight"])


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (optim.SGD, {"momentum": 0.9}),
        (optim.SGD, {"weight_decay": 0.1}),
        (optim.Adam, {"weight_decay": 0.1}),
        (optim.AdamW, {}),
        (optim.RMSprop, {}),
    ],
)
def test_optimizers_that_change_all_rows_refuse(kind: Any, options: dict[str, Any], rng: np.random.Generator) -> None:
    embedding = nn.Embedding(V, E, sparse=True, **F64)
    message = rf"^grads\['weight'\]: expected a dense gradient, because {kind.__name__} changes all rows, got a sparse"
    optimizer = kind(embedding, **options)
    with pytest.raises(ValueError, match=message):
        optimizer.step({"weight": gradient(rng, [1])})
    if "weight_decay" in options or kind is optim.AdamW:
        kind(embedding, **options, groups={"weight": {"weight_decay": 0.0}}).step({"weight": gradient(rng, [1])})


def test_a_gradient_of_another_table_is_refused(rng: np.random.Generator) -> None:
    optimizer = optim.SGD(nn.Embedding(V + 1, E, **F64))
    with pytest.raises(
        ValueError, match=r"^grads\['weight'\]: expected \(51, 4\) of float64, got a gradient of \(50, 4\)"
    ):
        optimizer.step({"weight": gradient(rng, [1])})
    with pytest.raises(ValueError, match=r"^grads\['other'\]: expected no such parameter"):
        optimizer.step({"other": gradient(rng, [1])})


# ---- In a Trainer ---------------------------------------------------------------------------------------------------


def run(sparse: bool, kind: Any, path: Path | None = None, stop_at: int | None = None, **options: Any) -> nn.Module:
    rng = np.random.default_rng(0)
    data = Batches(rng.integers(0, V, (40, 6)), rng.integers(0, 3, 40), 8, shuffle=True)
    model = nn.Sequential(
        nn.Embedding(V, E, sparse=sparse, seed=0),
        nn.GRU(E, 5, batch_first=True, seed=1),
        nn.LastPooling(batch_first=True),
        nn.Linear(5, 3, seed=2),
    )
    trainer = Trainer(model, CrossEntropyLoss(), kind(model, lr=0.05), **options)
    watch = [] if stop_at is None else [lambda record: _stop(record.step == stop_at)]
    arguments: dict[str, Any] = {"epochs": 4, "progress": False, "accumulate": 2}
    trainer.fit(data, validation=data, callbacks=watch, checkpoint=path, **arguments)
    return model


def _stop(now: bool) -> None:
    if now:
        raise KeyboardInterrupt


@pytest.mark.parametrize("options", [{"max_norm": 0.1}, {"clip_value": 0.01}, {}], ids=str)
def test_a_run_is_the_dense_run(options: dict[str, Any]) -> None:
    dense, sparse = (run(each, optim.SGD, **options).parameters() for each in (False, True))
    for name, array in dense.items():
        assert_close(sparse[name], array, "float32_forward")


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_a_killed_run_goes_on_to_the_same_bits(kind: Any, tmp_path: Path) -> None:
    whole, path = run(True, kind).parameters(), tmp_path / "run.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(True, kind, path, stop_at=8)
    resumed = run(True, kind, path).parameters()
    for name, array in whole.items():
        np.testing.assert_array_equal(resumed[name], array)
