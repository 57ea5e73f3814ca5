"""Lengths, masks and resets on their way from data to the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

from gru_native import nn, optim
from gru_native.losses import CrossEntropyLoss, MSELoss
from gru_native.train import Batch, Batches, Sequences, Stream, Trainer

N, T = 6, 5
F64: dict[str, Any] = {"dtype": "float64", "seed": 1}


def tagger() -> nn.Sequential:
    return nn.Sequential(nn.GRU(3, 4, batch_first=True, bidirectional=True, **F64), nn.Linear(8, 3, **F64))


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((N, T, 3))


@pytest.fixture
def mask(rng: np.random.Generator) -> np.ndarray:
    mask = rng.random((N, T)) < 0.6
    mask[0] = False
    mask[1, 0] = True
    return mask


def of_each_row(x: np.ndarray, targets: np.ndarray, chosen: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """Return the mean loss over chosen steps and its gradients, from the rows one by one."""
    model, loss, total, grads = tagger(), CrossEntropyLoss(reduction="sum"), 0.0, {}
    for row, own, live in zip(x, targets, chosen, strict=True):
        if live.any():
            (logits, _), tape = model.forward(row[live][None])
            value, loss_tape = loss.forward(logits[0], own[live])
            _, found = model.backward(tape, loss.backward(loss_tape)[None])
            total += value
            grads = {name: grads.get(name, 0) + array for name, array in found.items()}
    return total / chosen.sum(), {name: array / chosen.sum() for name, array in grads.items()}


def step(data: Any) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss of a step and its gradients."""
    model = tagger()
    before = model.parameters()
    [record] = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=1.0)).fit(data, epochs=1, progress=False)
    return record.loss, {name: before[name] - array for name, array in model.parameters().items()}


@pytest.mark.parametrize("kind", ["lengths", "mask"])
def test_the_loss_is_of_the_steps_that_count(
    kind: str, x: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> None:
    lengths, targets = rng.integers(0, T + 1, N), rng.integers(0, 3, (N, T))
    live = mask if kind == "mask" else np.arange(T) < lengths[:, None]
    x[~live], targets[~live] = np.nan, 77
    given = {"mask": mask} if kind == "mask" else {"lengths": lengths}
    loss, grads = step(Batches(x, targets, N, per_step=True, **given))
    expected, expected_grads = of_each_row(x, targets, live)
    assert_close(loss, expected, "float64")
    for name, gradient in expected_grads.items():
        assert_close(grads[name], gradient, "float64")


def test_weights_of_rows_and_of_steps(x: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    targets, rows = rng.integers(0, 3, (N, T)), rng.integers(1, 4, N).astype(float)
    of_rows = step(Batches(x, targets, N, mask=mask, per_step=True, weights=rows))
    of_steps = step(Batches(x, targets, N, mask=mask, per_step=True, weights=np.repeat(rows[:, None], T, 1)))
    assert of_rows[0] == of_steps[0]
    assert of_rows[0] != step(Batches(x, targets, N, mask=mask, per_step=True))[0]


def test_rows_of_pooled_models_keep_their_targets(x: np.ndarray, mask: np.ndarray) -> None:
    model = nn.Sequential(
        nn.GRU(3, 4, batch_first=True, **F64), nn.MeanPooling(batch_first=True), nn.Linear(4, 2, **F64)
    )
    targets = np.arange(N) % 2
    data = Batches(x, targets, 4, shuffle=True, mask=mask)
    trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model))
    logits, _ = model(x, mask=mask)
    assert_close(trainer.evaluate(data)["loss"], CrossEntropyLoss()(logits, targets), "float64")
    assert_close(model.predict(data), logits, "float64")


def starts(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.random(shape) < 0.4


def test_resets_of_samples(x: np.ndarray, rng: np.random.Generator) -> None:
    gru, reset = nn.GRU(3, 2, batch_first=True, **F64), starts(rng, N, T)
    data = Batches(x, np.zeros((N, T, 2)), 4, shuffle=True, reset=reset)
    expected, _ = gru(x, reset=reset)
    assert not np.allclose(expected, gru(x)[0])
    np.testing.assert_array_equal(gru.predict(data), expected)
    loss = Trainer(gru, MSELoss(), optim.SGD(gru)).evaluate(data)["loss"]
    assert_close(loss, (expected**2).mean(), "float64")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("per_step", [False, True])
def test_resets_of_sequences(batch_first: bool, per_step: bool, rng: np.random.Generator) -> None:
    inputs = [rng.standard_normal((length, 3)) for length in (4, 1, 6, 3)]
    flags = [starts(rng, len(own)) for own in inputs]
    gru = nn.GRU(3, 2, batch_first=batch_first, **F64)
    targets = [np.zeros((len(own), 2)) for own in inputs] if per_step else np.zeros((4, 2))
    data = Sequences(inputs, targets, 2, per_step=per_step, batch_first=batch_first, reset=flags)
    for found, own, reset in zip(gru.predict(data), inputs, flags, strict=True):
        assert_close(found, gru(own, reset=reset)[0], "float64")
    if per_step:
        Trainer(gru, MSELoss(), optim.SGD(gru)).fit(data, epochs=1, progress=False)


def test_resets_of_a_stream_end_what_is_carried(rng: np.random.Generator) -> None:
    x, reset = rng.standard_normal((26, 3)), starts(rng, 26)
    gru = nn.GRU(3, 2, **F64)
    found = gru.predict(Stream(x, np.zeros((26, 2)), 4, 5, reset=reset))
    rows = [gru(x[own], reset=reset[own])[0] for own in (slice(start, start + 6) for start in range(0, 24, 6))]
    assert_close(found, np.concatenate(rows), "float64")


def test_fingerprints_know_of_them(x: np.ndarray, mask: np.ndarray) -> None:
    y = np.zeros((N, T))
    given: list[dict[str, Any]] = [{}, {"mask": mask}, {"reset": mask}, {"lengths": [T] * N}, {"per_step": True}]
    assert len({Batches(x, y, 2, **own).fingerprint for own in given}) == len(given)
    sequences = [Sequences(list(x), y, 2, per_step=True, reset=own).fingerprint for own in (None, list(mask))]
    streams = [Stream(x[0], y[0], 1, 2, reset=own).fingerprint for own in (None, mask[0])]
    assert len({*sequences, *streams}) == 4


def test_what_is_masked_is_not_blamed(x: np.ndarray, mask: np.ndarray) -> None:
    """The value that is not finite is looked for where the model reads."""
    x[~mask] = np.nan
    row, own = np.argwhere(mask)[-1]
    x[row, own, 1] = np.inf
    model = tagger()
    data = Batches(x, np.zeros((N, T), int), N, mask=mask, per_step=True)
    with pytest.raises(
        FloatingPointError, match=rf"the inputs of batch 0 of epoch 0 hold inf at index \({row}, {own}, 1\)"
    ):
        Trainer(model, CrossEntropyLoss(), optim.SGD(model)).fit(data, epochs=1, progress=False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mask": np.ones((N, T)), "lengths": None}, "mask: expected dtype bool, got float64"),
        ({"mask": np.ones((T, N), bool)}, r"mask: expected shape \(N, T\) = \(6, 5\), got \(5, 6\)"),
        ({"reset": np.ones(N, bool)}, r"reset: expected shape \(N, T\) = \(6, 5\), got \(6,\)"),
        ({"lengths": [T + 1] * N}, "lengths: expected 0 to 5, got 6 at"),
        ({"lengths": [1] * N, "mask": np.ones((N, T), bool)}, "lengths: expected None beside mask, got lengths"),
        (
            {"per_step": True, "targets": np.zeros(N)},
            r"targets: expected one for each of the steps \(6, 5\), got shape",
        ),
        ({"per_step": 1}, "per_step: expected True or False, got 1"),
    ],
)
def test_what_batches_refuse(given: dict[str, Any], message: str) -> None:
    arguments = {"inputs": np.zeros((N, T, 3)), "targets": np.zeros((N, T)), "batch_size": 2} | given
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        Batches(**arguments)


def test_lengths_and_flags_need_steps() -> None:
    for name, own in (("lengths", [1] * N), ("mask", np.ones((N, T), bool)), ("reset", np.ones((N, T), bool))):
        with pytest.raises(ValueError, match=f"^{name}: expected inputs with steps, "):
            Batches(np.zeros(N), np.zeros(N), 2, **{name: own})
    with pytest.raises(ValueError, match=r"^reset\[1\]: expected shape \(2,\), got \(3,\)"):
        Sequences([np.zeros((3, 1)), np.zeros((2, 1))], [0, 1], 2, reset=[np.zeros(3, bool)] * 2)
    with pytest.raises(ValueError, match="^reset: expected 2 of them, as many as inputs, got 1"):
        Sequences([np.zeros((3, 1)), np.zeros((2, 1))], [0, 1], 2, reset=[np.zeros(3, bool)])
    with pytest.raises(ValueError, match=r"^reset: expected shape \(N,\) = \(8,\), got \(7,\)"):
        Stream(np.zeros((8, 1)), np.zeros(8), 2, 2, reset=np.zeros(7, bool))


def test_a_source_of_ones_own_gives_them_too(x: np.ndarray, mask: np.ndarray) -> None:
    class Own:
        carries_state = False
        batch_first = True

        def __len__(self) -> int:
            return 1

        def epoch(self, number: int) -> Any:
            yield Batch(x, np.zeros((N, T, 2)), mask=mask, reset=~mask)

    gru = nn.GRU(3, 2, batch_first=True, **F64)
    expected, _ = gru(x, mask=mask, reset=~mask)
    assert_close(Trainer(gru, MSELoss(), optim.SGD(gru)).evaluate(Own())["loss"], (expected**2).mean(), "float64")
