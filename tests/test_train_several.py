"""Models of several inputs, by place and by name: trained as one whose input holds all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sources import Unknown

from gru_native import nn, optim
from gru_native.losses import CrossEntropyLoss, MSELoss
from gru_native.train import Batch, Batches, Data, Record, Sequences, Stream, Trainer, rate_range

Array = np.ndarray[Any, Any]


class Joined(nn.Module):
    """A model of one input given in two parts, of which the second may be the same for all steps."""

    def __init__(self, model: nn.Sequential, batch_first: bool) -> None:
        super().__init__()
        self.model, self.axis = model, 1 if batch_first else 0

    @property
    def pools(self) -> bool:
        return self.model.pools

    def _config(self) -> dict[str, Any]:
        return {"model": self.model.config()}

    def _together(self, left: Array, right: Array) -> Array:
        if right.ndim < left.ndim:
            right = np.repeat(np.expand_dims(right, self.axis), left.shape[self.axis], self.axis)
        return np.concatenate([left, right], -1)

    def _call(self, snapshot: Any, left: Array, right: Array, **given: Any) -> Array:
        output, _ = self.model._call(snapshot["model"], self._together(left, right), **given)
        return np.asarray(output)

    def _forward(self, snapshot: Any, left: Array, right: Array, **given: Any) -> Any:
        (output, _), tape = self.model._forward(snapshot["model"], self._together(left, right), **given)
        return output, tape

    def _backward(self, saved: Any, d_output: Array, **given: Any) -> Any:
        _, gradients = self.model._backward(saved, d_output, **given)
        return None, {f"model.{name}": gradient for name, gradient in gradients.items()}


def chain(batch_first: bool = True, *, pooled: bool = True) -> nn.Sequential:
    pooling = [nn.MeanPooling(batch_first=batch_first)] if pooled else []
    gru = nn.GRU(5, 6, batch_first=batch_first, seed=1)
    return nn.Sequential(gru, nn.Dropout(0.2), *pooling, nn.Linear(6, 3, seed=2))


def trained(model: nn.Module, data: Data, **keywords: Any) -> tuple[list[Record], dict[str, bytes], Trainer]:
    trainer = Trainer(model, CrossEntropyLoss(), optim.Adam(model, lr=1e-2), max_norm=1.0, metrics={"right": right})
    history = trainer.fit(data, epochs=3, validation=data, accumulate=2, progress=False, **keywords)
    weights = {name.removeprefix("model."): array.tobytes() for name, array in model.state_dict().items()}
    return history, weights, trainer


def right(predictions: Array, targets: Array) -> float:
    return float((predictions.argmax(-1) == targets).mean())


def forms(left: Any, right: Any) -> list[Any]:
    return [(left, right), {"left": left, "right": right}, {"right": right, "left": left}]


@pytest.fixture
def x(rng: np.random.Generator) -> Array:
    return rng.standard_normal((11, 7, 5)).astype("f4")


@pytest.mark.parametrize("form", range(2))
@pytest.mark.parametrize("per_step", [False, True])
def test_batches_of_two_inputs_are_batches_of_one(x: Array, form: int, per_step: bool, rng: Any) -> None:
    y = rng.integers(0, 3, (11, 7) if per_step else 11)
    given: dict[str, Any] = {
        "shuffle": True,
        "lengths": rng.integers(1, 8, 11),
        "weights": rng.random(11),
        "per_step": per_step,
    }
    inputs = forms(x[..., :2], x[..., 2:])[form]
    history, weights, trainer = trained(Joined(chain(pooled=not per_step), True), Batches(inputs, y, 4, **given))
    expected, theirs, one = trained(chain(pooled=not per_step), Batches(x, y, 4, **given))
    assert history == expected
    assert weights == theirs
    data, plain = Batches(inputs, y, 4, **given), Batches(x, y, 4, **given)
    assert trainer.evaluate(data) == one.evaluate(plain)
    for own, other in zip(trainer.model.predict(data), one.model.predict(plain), strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("form", range(2))
@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_of_two_inputs_are_sequences_of_one(x: Array, form: int, batch_first: bool, rng: Any) -> None:
    sequences = [own[: rng.integers(1, 8)] for own in x]
    y = rng.integers(0, 3, 11)
    given: dict[str, Any] = {"shuffle": True, "batch_first": batch_first}
    inputs = forms([own[:, :2] for own in sequences], [own[:, 2:] for own in sequences])[form]
    data, plain = Sequences(inputs, y, 4, **given), Sequences(sequences, y, 4, **given)
    history, weights, trainer = trained(Joined(chain(batch_first), batch_first), data)
    expected, theirs, one = trained(chain(batch_first), plain)
    assert history == expected
    assert weights == theirs
    np.testing.assert_array_equal(trainer.model.predict(data), one.model.predict(plain))


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_array_beside_sequences_has_a_row_for_each(x: Array, batch_first: bool, rng: Any) -> None:
    of_all = rng.standard_normal((11, 3)).astype("f4")
    sequences = [own[: rng.integers(1, 8), :2] for own in x]
    y = rng.integers(0, 3, 11)
    repeated = [np.repeat(own[None], len(of), 0) for own, of in zip(of_all, sequences, strict=True)]
    given: dict[str, Any] = {"shuffle": True, "batch_first": batch_first}
    history, weights, _ = trained(
        Joined(chain(batch_first), batch_first), Sequences((sequences, of_all), y, 4, **given)
    )
    expected, theirs, _ = trained(
        Joined(chain(batch_first), batch_first), Sequences((sequences, repeated), y, 4, **given)
    )
    assert history == expected
    assert weights == theirs


def test_a_run_goes_on_to_the_same_bits(x: Array, tmp_path: Path, rng: Any) -> None:
    data = Batches({"left": x[..., :2], "right": x[..., 2:]}, rng.integers(0, 3, 11), 3, shuffle=True)
    expected, weights, _ = trained(Joined(chain(), True), data)

    def stop(record: Record) -> None:
        if record.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(Joined(chain(), True), data, checkpoint=tmp_path / "run", callbacks=[stop])
    history, resumed, _ = trained(Joined(chain(), True), data, checkpoint=tmp_path / "run")
    assert history == expected
    assert resumed == weights


def test_rate_range_and_sources_of_ones_own(x: Array, rng: Any) -> None:
    data = Batches((x[..., :2], x[..., 2:]), rng.integers(0, 3, 11), 3)
    model = Joined(chain(), True)
    trainer = Trainer(model, CrossEntropyLoss(), optim.Adam(model))
    assert len(rate_range(trainer, data, steps=4).losses) == 4
    assert trainer.evaluate(Unknown(data)) == trainer.evaluate(data)


def test_a_sequence_of_sequences_is_no_tuple_of_inputs(x: Array) -> None:
    y = np.zeros(11, int)
    assert len(Sequences(tuple(x), y, 4).inputs) == 11
    assert len(Sequences(tuple(own.tolist() for own in x), y, 4).inputs) == 11
    assert Batches(((1.0, 2.0), (3.0, 4.0)), [0, 1], 2).inputs.shape == (2, 2)


def test_fingerprints_know_of_names_and_contents(x: Array) -> None:
    y = np.zeros(11, int)
    left, right = x[..., :2], x[..., 2:]
    inputs = [x, *forms(left, right)[:2], (right, left), {"left": left, "other": right}, (left, right + 1)]
    assert len({Batches(own, y, 4).fingerprint for own in inputs}) == len(inputs)
    lists: list[Any] = [list(x), (list(left), list(right)), (list(left), right), {"a": list(left), "b": list(right)}]
    assert len({Sequences(own, y, 4).fingerprint for own in lists}) == len(lists)


@pytest.mark.parametrize("place", [0, 1])
def test_the_input_that_is_not_finite_is_named(x: Array, place: int, rng: Any) -> None:
    parts = [x[..., :2].copy(), x[:, 0, 2:].copy()]
    parts[place][(6, 1) if place else (6, 3, 1)] = np.nan
    model = Joined(chain(), True)
    trainer = Trainer(model, CrossEntropyLoss(), optim.Adam(model))
    found = r"inputs\[1\] of batch 1 of epoch 0 hold nan at index \(2, 1\)"
    if place == 0:
        found = r"inputs\[0\] of batch 1 of epoch 0 hold nan at index \(2, 3, 1\), in row 2"
    with pytest.raises(FloatingPointError, match=f"the {found}$"):
        trainer.fit(Batches(tuple(parts), rng.integers(0, 3, 11), 4), epochs=1, progress=False)
    assert trainer.step == 1


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, ValueError, r"inputs: expected at least one, got none"),
        ({"lengths": np.zeros((2, 3))}, ValueError, r"inputs: expected other names than lengths, .*, got 'lengths'"),
        ({1: np.zeros((2, 3))}, TypeError, r"inputs: expected strings for names, got 1"),
        ((np.zeros((2, 3)), np.zeros(3)), ValueError, r"inputs\[1\]: expected 2 of them, as many as inputs, got 3"),
        ((np.zeros((2, 3)), ["a", "b"]), TypeError, r"inputs\[1\]: expected an array of numbers, got <U1"),
        ({"x": np.zeros((2, 3)), "y": 1.0}, ValueError, r"inputs\['y'\]: expected at least 1 dimension, got a single"),
    ],
)
def test_inputs_that_are_refused(inputs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        Batches(inputs, [0, 1], 2)


def test_sequences_that_are_refused(x: Array) -> None:
    with pytest.raises(
        TypeError, match=r"^inputs\['a'\]: expected a list of sequences, whose lengths count, got ndarray"
    ):
        Sequences({"a": x, "b": list(x)}, np.zeros(11), 2)
    with pytest.raises(ValueError, match=r"^inputs\[1\]: expected 11 of them, as many as inputs, got 10"):
        Sequences((list(x), list(x[1:])), np.zeros(11), 2)


def test_states_go_with_one_input(x: Array) -> None:
    class Pairs(Unknown):
        carries_state = True

        def epoch(self, number: int) -> Any:
            for item in self.data.epoch(number):
                yield Batch((item[0], item[0]), *item[1:])

    model = nn.Sequential(nn.GRU(5, 5, seed=0))
    trainer = Trainer(model, MSELoss(), optim.SGD(model))
    with pytest.raises(ValueError, match="^data: expected one input where states are carried from batch to batch"):
        trainer.fit(Pairs(Stream(x[0], x[0], 1, 3)), epochs=1, progress=False)
    assert trainer.step == 0
