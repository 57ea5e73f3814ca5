"""Losses that ask for lengths: what the trainer gives them, and all that it does besides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sources import Unknown
from tolerances import assert_close

from gru_native import nn, optim
from gru_native.losses import CrossEntropyLoss, CTCLoss
from gru_native.train import Batches, Checkpoint, Data, Record, Sequences, Stream, Trainer, rate_range

Array = np.ndarray[Any, Any]


class EverySecond(nn.Module):
    """Leaves out every second step of sequences."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.places = (slice(None), slice(None, None, 2)) if batch_first else (slice(None, None, 2),)

    def _config(self) -> dict[str, Any]:
        return {}

    def output_lengths(self, lengths: Any) -> Array:
        return -(-super().output_lengths(lengths) // 2)

    def _call(self, snapshot: Any, x: Array, *, threads: int | None = None) -> Array:
        return np.ascontiguousarray(x[self.places])

    def _forward(self, snapshot: Any, x: Array, *, seed: Any = None, threads: int | None = None) -> Any:
        return self._call(snapshot, x), x.shape

    def _backward(self, saved: Any, d_output: Array, *, threads: int | None = None) -> Any:
        d_x = np.zeros(saved, d_output.dtype)
        d_x[self.places] = d_output
        return d_x, {}


def sequences(count: int = 24) -> tuple[list[Array], list[Array]]:
    """Return noisy steps, of which some show a label for two to four steps, and these labels."""
    rng = np.random.default_rng(0)
    inputs, targets = [], []
    for _ in range(count):
        labels = rng.integers(1, 4, rng.integers(1, 5))
        way = np.concatenate([np.r_[np.repeat(label, rng.integers(2, 5)), [0, 0]] for label in labels])
        inputs.append((np.eye(4)[way] + rng.normal(0, 0.1, (len(way), 4))).astype("f4"))
        targets.append(labels)
    return inputs, targets


def padded(inputs: list[Array], targets: list[Array]) -> dict[str, Array]:
    """Return what `Batches` takes; the padding is such that nothing may read it."""
    sizes, lengths = (np.array([len(own) for own in arrays]) for arrays in (targets, inputs))
    x = np.full((len(inputs), lengths.max(), 4), np.nan, "f4")
    y = np.full((len(inputs), sizes.max()), 99)
    for row, (own, labels) in enumerate(zip(inputs, targets, strict=True)):
        x[row, : len(own)], y[row, : len(labels)] = own, labels
    return {"inputs": x, "targets": y, "lengths": lengths, "target_lengths": sizes}


def model_of(batch_first: bool = False, *, strided: bool = True, dtype: str = "float32") -> nn.Sequential:
    gru = nn.GRU(4, 12, batch_first=batch_first, bidirectional=True, seed=1, dtype=dtype)
    front = [EverySecond(batch_first)] if strided else []
    return nn.Sequential(nn.LayerNorm(4, dtype=dtype), *front, gru, nn.Linear(24, 4, seed=2, dtype=dtype))


def trainer_of(model: nn.Module, lr: float = 2e-2, batch_first: bool = False, **keywords: Any) -> Trainer:
    return Trainer(model, CTCLoss(batch_first=batch_first), optim.Adam(model, lr=lr), max_norm=1.0, **keywords)


def error(logits: list[Array], targets: list[Array]) -> float:
    """Return the share of sequences whose best way is not their labels."""
    wrong = 0
    for own, labels in zip(logits, targets, strict=True):
        way = own.argmax(-1)
        found = way[(way != 0) & (way != np.r_[0, way[:-1]])]
        wrong += found.tolist() != labels.tolist()
    return wrong / len(logits)


def test_the_loss_is_given_the_lengths_that_the_model_gives() -> None:
    """With a learning rate of 0 the loss of each step is that of its sequences, one by one."""
    inputs, targets = sequences()
    for batch_first in (False, True):
        model = model_of(batch_first)
        trainer = trainer_of(model, lr=0.0, batch_first=batch_first)
        data = Sequences(inputs, targets, 5, batch_first=batch_first)
        history = trainer.fit(data, epochs=1, progress=False)
        single = CTCLoss(reduction="sum")
        losses = []
        for x, y in zip(inputs, targets, strict=True):
            logits, _ = model_of()(x[:, None])
            assert logits.shape[0] == -(-len(x) // 2)
            losses.append(single(logits, y[None], [len(logits)], [len(y)]) / len(y))
        for record, places in zip(history, data.places(0), strict=True):
            assert_close(record.loss, np.mean([losses[i] for i in places]), "float32_softmax")
            assert record.targets == sum(len(targets[i]) for i in places)
        assert_close(trainer.evaluate(data)["loss"], np.mean(losses), "float32_softmax")


def test_lengths_go_through_a_strided_convolution() -> None:
    """Rows together have the loss that they have alone."""
    inputs, targets = sequences(9)
    model = nn.Sequential(
        nn.Conv1d(4, 8, 3, stride=2, padding=1, seed=0),
        nn.GRU(8, 12, bidirectional=True, seed=1),
        nn.Linear(24, 4, seed=2),
    )
    trainer = trainer_of(model, metrics={"error": error})
    alone = [trainer.evaluate(Sequences([x], [y], 1))["loss"] for x, y in zip(inputs, targets, strict=True)]
    data = Sequences(inputs, targets, 4)
    assert_close(trainer.evaluate(data)["loss"], np.mean(alone), "float32_softmax")
    assert [len(own) for own in model.predict(data)] == [-(-len(x) // 2) for x in inputs]
    first, *_, last = trainer.fit(data, epochs=10, validation=data, progress=False)
    assert last.loss < first.loss


def test_padded_batches_are_as_sequences() -> None:
    inputs, targets = sequences()
    rows = Batches(**padded(inputs, targets), batch_size=24)
    lists = Sequences(inputs, targets, 24, batch_first=True)
    found, expected = (trainer_of(model_of(True), batch_first=True).evaluate(data)["loss"] for data in (rows, lists))
    assert_close(found, expected, "float32_softmax")
    model = model_of(True)
    for own, other in zip(model.predict(rows), model.predict(lists), strict=True):
        np.testing.assert_array_equal(own, other)


def test_without_lengths_all_steps_and_labels_count(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((6, 9, 4)).astype("f4"), rng.integers(1, 4, (6, 2))
    model = model_of(True)
    logits, _ = model(x)
    expected = CTCLoss(batch_first=True)(logits, y, [5] * 6, [2] * 6)
    assert trainer_of(model, batch_first=True).evaluate(Batches(x, y, 6))["loss"] == expected
    timewise = trainer_of(model_of()).evaluate(Sequences(list(x), list(y), 6))["loss"]
    assert_close(timewise, expected, "float32_softmax")


@pytest.mark.parametrize("shuffle", [False, True])
def test_it_learns_and_metrics_see_no_padding(shuffle: bool) -> None:
    inputs, targets = sequences(60)
    seen: list[tuple[list[int], list[int]]] = []

    def metric(logits: list[Array], labels: list[Array]) -> float:
        seen.append(([len(own) for own in logits], [len(own) for own in labels]))
        return error(logits, labels)

    trainer = trainer_of(model_of(), metrics={"error": metric}, training_metrics=True)
    data, held_out = Sequences(inputs[:40], targets[:40], 8, shuffle=shuffle), Sequences(inputs[40:], targets[40:], 7)
    history = trainer.fit(data, epochs=12, validation=held_out, monitor="error", progress=False)
    assert trainer.best is not None
    assert trainer.best.validation is not None
    assert trainer.best.validation["error"] < 0.2
    assert history[-1].training is not None
    assert history[-1].training["error"] < 0.2
    steps, sizes = seen[-1]  # of the validation, the longest first
    assert steps == [-(-len(inputs[40 + i]) // 2) for places in held_out.places(0) for i in places]
    assert sizes == [len(targets[40 + i]) for places in held_out.places(0) for i in places]


def test_accumulated_batches_are_one_large_batch() -> None:
    inputs, targets = sequences(22)

    def run(batch_size: int, accumulate: int) -> tuple[list[Record], dict[str, Array]]:
        given = padded(inputs, targets)
        given["inputs"] = np.nan_to_num(given["inputs"].astype("f8"))
        model = model_of(True, dtype="float64")
        data = Batches(**given, batch_size=batch_size, weights=np.arange(22) % 3)
        history = trainer_of(model, batch_first=True).fit(data, epochs=2, accumulate=accumulate, progress=False)
        return history, model.parameters()

    parts, weights = run(4, 3)
    whole, expected = run(12, 1)
    assert len(parts) == len(whole) == 4
    for part, one in zip(parts, whole, strict=True):
        assert (part.step, part.epoch, part.targets) == (one.step, one.epoch, one.targets)
        assert_close([part.loss, part.grad_norm], [one.loss, one.grad_norm], "float64")
    for name, array in expected.items():
        np.testing.assert_allclose(weights[name], array, rtol=1e-6, atol=1e-9)


def test_a_weight_of_two_is_the_sequence_twice() -> None:
    inputs, targets = sequences(6)
    weights = np.array([1.0, 2.0, 0.0, 1.0, 2.0, 1.0])
    chosen = [i for i, weight in enumerate(weights) for _ in range(int(weight))]

    def run(data: Data) -> tuple[float, float]:
        trainer = trainer_of(model_of(dtype="float64"), lr=0.0)
        (record,) = trainer.fit(data, steps=1, validation=data, progress=False)
        assert record.validation is not None
        assert record.grad_norm is not None
        assert_close(record.validation["loss"], record.loss, "float64")
        return record.loss, record.grad_norm

    wide = [own.astype("f8") for own in inputs]
    weighted = run(Sequences(wide, targets, 6, weights=weights))
    assert_close(weighted, run(Sequences([wide[i] for i in chosen], [targets[i] for i in chosen], 7)), "float64")
    loss = CTCLoss(reduction="none", batch_first=True)
    logits, labels = np.zeros((2, 5, 3)), np.array([[1, 2], [2, 1]])
    single, tape = loss.forward(logits, labels, [5, 5], [2, 2], weights=[0.5, 3.0])
    np.testing.assert_allclose(single, loss(logits, labels, [5, 5], [2, 2]) * np.array([0.5, 3.0]))
    once = loss.backward(loss.forward(logits, labels, [5, 5], [2, 2])[1], np.array([0.5, 3.0]))
    np.testing.assert_allclose(loss.backward(tape), once)
    assert loss.count(labels, [2, 2], [0.5, 3.0]) == 3.5
    assert loss.count(labels, [2, 2]) == 2.0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_batch_first_is_the_same_loss(rng: np.random.Generator, reduction: Any) -> None:
    logits, labels = rng.standard_normal((7, 3, 4)), rng.integers(1, 4, (3, 2))
    given = labels, [7, 6, 5], [2, 1, 0]
    factors = rng.standard_normal(3) if reduction == "none" else 1.5
    one, other = CTCLoss(reduction=reduction), CTCLoss(reduction=reduction, batch_first=True)
    (value, tape), (same, its) = one.forward(logits, *given), other.forward(logits.swapaxes(0, 1), *given)
    np.testing.assert_array_equal(value, same)
    np.testing.assert_array_equal(one.backward(tape, factors), other.backward(its, factors).swapaxes(0, 1))
    with pytest.raises(ValueError, match=r"^logits: expected shape \(B, T, C\), got \(7, 3\)"):
        other(logits[..., 0], *given)


@pytest.mark.parametrize("killed", [1, 3, 4, 6])
def test_a_killed_run_goes_on_to_the_same_bits(killed: int, tmp_path: Path) -> None:
    inputs, targets = sequences(20)
    data, held_out = Sequences(inputs[:14], targets[:14], 3, shuffle=True), Sequences(inputs[14:], targets[14:], 4)

    def run(threads: int | None, **keywords: Any) -> tuple[list[Record], dict[str, bytes]]:
        model = model_of()
        trainer = trainer_of(model, metrics={"error": error}, training_metrics=True, threads=threads)
        history = trainer.fit(data, epochs=3, validation=held_out, accumulate=2, progress=False, **keywords)
        return history, {name: array.tobytes() for name, array in model.state_dict().items()}

    def kill(record: Record) -> None:
        if record.step == killed:
            raise KeyboardInterrupt

    keeper = Checkpoint(tmp_path / "run.checkpoint", every=1)
    with pytest.raises(KeyboardInterrupt):
        run(2, checkpoint=keeper, callbacks=[kill])
    whole = run(1)
    assert run(2, checkpoint=keeper) == whole
    assert sum(record.training is not None for record in whole[0]) == 3


def test_rate_range_and_sources_of_ones_own() -> None:
    data = Sequences(*sequences(), 6)
    trainer = trainer_of(model_of())
    assert len(rate_range(trainer, data, steps=5).losses) == 5
    assert trainer.evaluate(Unknown(data)) == trainer.evaluate(data)


def test_a_loss_of_ones_own_is_given_what_it_names() -> None:
    class Counts:
        def __init__(self) -> None:
            self.given: list[Any] = []

        def __call__(self, predictions: Array, targets: Array, **given: Any) -> float:
            return self.forward(predictions, targets, **given)[0]

        def forward(self, predictions: Array, targets: Array, *, input_lengths: Array, threads: Any = None) -> Any:
            self.given.append(input_lengths.tolist())
            return 0.0, predictions

        def backward(self, tape: Array) -> Array:
            return np.zeros_like(tape)

        def count(self, targets: Array) -> float:
            return float(len(targets))

    inputs, _ = sequences(4)
    model, loss = model_of(), Counts()
    trainer = Trainer(model, loss, optim.SGD(model))
    trainer.fit(Sequences(inputs, np.zeros((4, 1)), 4), steps=1, progress=False)
    assert loss.given == [sorted((-(-len(own) // 2) for own in inputs), reverse=True)]


def test_fingerprints_know_of_them() -> None:
    inputs, targets = sequences(4)
    given = padded(inputs, targets)
    other = given["target_lengths"].copy()
    other[0] -= 1
    prints = {
        Batches(**given, batch_size=2).fingerprint,
        Batches(**(given | {"target_lengths": other}), batch_size=2).fingerprint,
    }
    assert len(prints) == 2


@pytest.mark.parametrize(("strided", "labels", "steps"), [(False, [1, 2, 2], 4), (True, [1, 2], 2)])
def test_too_few_steps_are_named(strided: bool, labels: list[int], steps: int) -> None:
    inputs, targets = sequences(5)
    inputs[3], targets[3] = np.ones((steps - (not strided), 4), "f4"), np.array(labels)
    model = model_of(strided=strided)
    said = f"; in batch 0 of epoch 0 the {len(labels)} labels of row 4 need {steps} steps and have {steps - 1}; CTCLoss"
    trainer = trainer_of(model, batch_first=False)
    with pytest.raises(FloatingPointError, match=said):
        trainer.fit(Sequences(inputs, targets, 5), steps=1, progress=False)
    assert trainer.step == 0


@pytest.mark.parametrize(
    ("data", "loss", "message"),
    [
        (
            {"per_step": True, "targets": np.ones((3, 6), int)},
            CTCLoss(batch_first=True),
            "data: expected no per_step, because CTCLoss takes lengths, got it",
        ),
        (
            {"mask": np.ones((3, 6), bool)},
            CTCLoss(batch_first=True),
            "data: expected no mask, because CTCLoss takes lengths, got it",
        ),
        (
            {"targets": np.ones(3, int)},
            CTCLoss(batch_first=True),
            r"data: expected targets \(N, S, ...\), because CTCLoss takes lengths, got .* \(2,\)",
        ),
        (
            {},
            CTCLoss(),
            r"loss: expected CTCLoss\(batch_first=True\), because data gives \(B, T, ...\), got batch_first=False",
        ),
        (
            {"target_lengths": [2, 1, 2]},
            CrossEntropyLoss(),
            "loss: expected one that takes target_lengths, as data has, got CrossEntropyLoss",
        ),
        (
            {"target_lengths": [1, 1, 1]},
            CrossEntropyLoss(),
            "loss: expected one that takes target_lengths, as data has, got CrossEntropyLoss",
        ),
    ],
)
def test_what_does_not_go_together(data: dict[str, Any], loss: Any, message: str, tmp_path: Path) -> None:
    given = {"inputs": np.zeros((3, 6, 4), "f4"), "targets": np.ones((3, 2), int), "batch_size": 2} | data
    model = model_of(True)
    weights = model.state_dict()
    trainer = Trainer(model, loss, optim.Adam(model))
    source = Batches(**given, lengths=[6, 6, 5]) if data.get("per_step") else Batches(**given)
    for call in (
        lambda: trainer.fit(source, epochs=1, checkpoint=tmp_path / "run", log=tmp_path / "log", progress=False),
        lambda: trainer.evaluate(source),
        lambda: rate_range(trainer, source),
    ):
        with pytest.raises(ValueError, match=f"^{message}"):
            call()
    fitting = Batches(
        np.zeros((3, 6, 4), "f4"), np.ones((3, 6) if message.startswith("loss: expected one") else (3, 2), int), 2
    )
    with pytest.raises(ValueError, match=f"^({message.replace('data', 'validation')}|{message})"):
        trainer.fit(fitting, epochs=1, validation=source, progress=False)
    assert (trainer.step, trainer.epoch, list(tmp_path.iterdir())) == (0, 0, [])
    assert all(array is weights[name] for name, array in model.state_dict().items())


def test_a_chain_of_single_steps_needs_no_lengths() -> None:
    inputs, targets = sequences(8)
    model = nn.Sequential(nn.Linear(4, 4, seed=0))
    data = Sequences(inputs, targets, 8)
    single = CTCLoss(reduction="sum")
    alone = [
        single(model(x[:, None]), y[None], [len(x)], [len(y)]) / len(y) for x, y in zip(inputs, targets, strict=True)
    ]
    assert_close(trainer_of(model).evaluate(data)["loss"], np.mean(alone), "float32_softmax")
    assert [own.shape for own in model.predict(data)] == [(len(x), 4) for x in inputs]


def test_models_and_data_without_steps_are_refused() -> None:
    pooled = nn.Sequential(nn.GRU(4, 4), nn.LastPooling())
    inputs, targets = sequences(4)
    with pytest.raises(ValueError, match=r"^model: expected an output for each step, because CTCLoss takes lengths"):
        trainer_of(pooled).evaluate(Sequences(inputs, targets, 2))
    linear = nn.Linear(4, 4)
    with pytest.raises(
        ValueError, match=r"^data: expected sequences, because CTCLoss takes lengths, got inputs without"
    ):
        trainer_of(linear).evaluate(Batches(np.zeros((3, 4), "f4"), np.ones((3, 2), int), 2))
    with pytest.raises(ValueError, match=r"^data: expected sequences of their own, because CTCLoss takes lengths, got"):
        trainer_of(nn.Sequential(nn.GRU(4, 4))).evaluate(Stream(np.zeros((9, 4), "f4"), np.zeros(9, int), 1, 3))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"target_lengths": [1, 3]}, r"target_lengths: expected 0 to 2, got 3 at \(1,\)"),
        ({"target_lengths": [1]}, r"target_lengths: expected shape \(2,\), got \(1,\)"),
        (
            {"target_lengths": [1, 1], "targets": [1, 2]},
            r"target_lengths: expected targets \(N, S, ...\), got shape \(2,\)",
        ),
        ({"target_lengths": [1, 1], "per_step": True}, r"target_lengths: expected None beside per_step, got target_l"),
    ],
)
def test_what_batches_refuse(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        Batches(**({"inputs": np.zeros((2, 2, 4)), "targets": np.ones((2, 2), int), "batch_size": 1} | given))
