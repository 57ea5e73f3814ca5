"""What a model gives for data of any size: `predict` and `predict_proba`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from sources import Unknown
from tolerances import assert_close

from gru_native import nn
from gru_native.train import Batches, Sequences, Stream

F64: dict[str, Any] = {"dtype": "float64", "seed": 1}
LENGTHS = (2, 9, 4, 7, 1, 4, 3)


def chain(batch_first: bool, *end: nn.Module) -> nn.Sequential:
    gru = nn.GRU(3, 5, batch_first=batch_first, bidirectional=True, **F64)
    return nn.Sequential(gru, nn.Dropout(0.5), *end, nn.Linear(10, 2, **F64))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_come_in_their_order(batch_first: bool, shuffle: bool, rng: np.random.Generator) -> None:
    inputs = [rng.standard_normal((length, 3)) for length in LENGTHS]
    data = Sequences(inputs, np.zeros((7, 2)), 3, batch_first=batch_first, shuffle=shuffle)
    model, pooled = chain(batch_first), chain(batch_first, nn.MeanPooling(batch_first))
    stack, _, head = model
    expected = [head(stack(x)[0]) for x in inputs]
    for given in (data, inputs):
        steps, means = model.predict(given), pooled.predict(given)
        assert isinstance(steps, list)
        assert [step.shape for step in steps] == [(length, 2) for length in LENGTHS]
        for found, wanted in zip(steps, expected, strict=True):
            assert_close(found, wanted, "float64")
        assert isinstance(means, np.ndarray)
        assert_close(means, np.stack([head(stack(x)[0].mean(axis=0)) for x in inputs]), "float64")


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
def test_an_array_gives_what_one_call_gives(batch_first: bool, pooled: bool, rng: np.random.Generator) -> None:
    axes = (11, 4) if batch_first else (4, 11)
    x, mask, lengths = rng.standard_normal((*axes, 3)), rng.random(axes) < 0.5, rng.integers(0, 5, 11)
    model = chain(batch_first, *([nn.MeanPooling(batch_first)] if pooled else []))
    for given in ({}, {"lengths": lengths}, {"mask": mask}):
        expected, _ = model(x, **given)
        for size in (None, 1, 4, 11, 100):
            found = model.predict(x, **given, batch_size=size, threads=1)
            np.testing.assert_array_equal(found, expected)
    gru = nn.GRU(3, 5, batch_first=batch_first, **F64)
    np.testing.assert_array_equal(gru.predict(x, batch_size=3), gru(x)[0])
    none = x[:0] if batch_first else x[:, :0]
    assert model.predict(none).shape == model(none)[0].shape


def test_samples_and_indices_come_in_their_order(rng: np.random.Generator) -> None:
    x = rng.standard_normal((11, 4, 3))
    gru, linear = nn.GRU(3, 2, batch_first=True, **F64), nn.Linear(3, 2, **F64)
    assert_close(gru.predict(Batches(x, np.zeros((11, 4, 2)), 4, shuffle=True)), gru(x)[0], "float64")
    found = linear.predict(Batches(x[:, 0], np.zeros((11, 2)), 4, shuffle=True, seed=5))
    assert_close(found, linear(x[:, 0]), "float64")
    np.testing.assert_array_equal(linear.predict(x[:, 0], batch_size=2), linear(x[:, 0]))
    np.testing.assert_array_equal(linear.predict([[1.0, 2.0, 3.0]]), linear([[1.0, 2.0, 3.0]]))
    words, indices = nn.Sequential(nn.Embedding(9, 3, **F64), gru), rng.integers(0, 9, (5, 4))
    np.testing.assert_array_equal(words.predict(indices, batch_size=2), words(indices)[0])


def test_a_stream_gives_what_its_rows_give_as_sequences(rng: np.random.Generator) -> None:
    """Four streams of six elements, the states of each carried over windows; two elements are left out."""
    x, gru = rng.standard_normal((26, 3)), nn.GRU(3, 2, **F64)
    found = gru.predict(Stream(x, np.zeros((26, 2)), 4, 5))
    assert_close(found, np.concatenate([gru(x[start : start + 6])[0] for start in range(0, 24, 6)]), "float64")


def test_nothing_changes_also_in_training_mode(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Linear(3, 4, **F64), nn.BatchNorm1d(4, dtype="float64"), nn.Dropout(0.5)).train()
    before, x = model.state_dict(), rng.standard_normal((5, 3))
    np.testing.assert_array_equal(model.predict(x, batch_size=2), model.eval()(x))
    assert all(array is before[name] for name, array in model.state_dict().items())


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_probabilities(classes: int, rng: np.random.Generator) -> None:
    x, linear = rng.standard_normal((6, 3)), nn.Linear(3, classes, **F64)
    logits = linear(x)
    found = linear.predict_proba(x, batch_size=4)
    labels = linear.predict_proba(x, labels=True)
    assert_close(labels, 1 / (1 + np.exp(-logits)), "float64")
    if classes == 1:
        expected = np.concatenate([1 - labels, labels], 1)
    else:
        expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert_close(found, expected, "float64")
    soft, sigmoid = (nn.Sequential(linear, end) for end in (nn.Softmax(), nn.Activation("sigmoid")))
    if classes > 1:
        assert_close(soft.predict_proba(x), expected, "float64")
        np.testing.assert_array_equal(sigmoid.predict_proba(x), labels)
    else:
        assert_close(sigmoid.predict_proba(x), expected, "float64")
    with pytest.raises(ValueError, match="^labels: expected False for a model that ends in Softmax, got True$"):
        soft.predict_proba(x, labels=True)


def test_probabilities_of_each_step(rng: np.random.Generator) -> None:
    model, inputs = chain(True), [rng.standard_normal((length, 3)) for length in LENGTHS]
    for found, logits in zip(model.predict_proba(inputs), model.predict(inputs), strict=True):
        assert_close(found, np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), "float64")


X = np.zeros((4, 3))


@pytest.mark.parametrize(
    ("layers", "inputs", "given", "message"),
    [
        ([nn.Linear(3, 1, **F64)], Unknown(Batches(X, X, 2)), {}, "inputs: expected a source with places, which give"),
        (
            [nn.GRU(3, 2, **F64), nn.LastPooling()],
            Stream(np.zeros((8, 3)), np.zeros(8), 2, 2),
            {},
            "model: expected an output for each of the inputs (2, 2), got shape",
        ),
        ([nn.Linear(3, 1, **F64)], Batches(X, X, 2), {"batch_size": 3}, "batch_size: expected None beside a source"),
        ([nn.GRU(3, 1, **F64)], [X, X], {"lengths": [1, 2]}, "lengths: expected None beside inputs with lengths of"),
        ([nn.GRU(3, 1, **F64)], [X, X[:, :2]], {}, "inputs[1]: expected shape (T, ...) as inputs[0]'s (4, 3), got"),
        ([nn.GRU(3, 1, **F64)], X, {}, "inputs: expected shape (T, N, ...), got (4, 3)"),
        ([nn.GRU(3, 1, batch_first=True, **F64)], X, {}, "inputs: expected shape (N, T, ...), got (4, 3)"),
        ([nn.Linear(3, 1, **F64)], X[0], {}, "inputs: expected shape (N, ...), got (3,)"),
        (
            [nn.Embedding(5, 3, **F64), nn.GRU(3, 1, **F64)],
            X,
            {},
            "inputs: expected shape (T, N, ...), got (4, 3) of float64; indices have an integer dtype",
        ),
        ([nn.Linear(3, 1, **F64)], X, {"lengths": [1] * 4}, "lengths: expected None, because no layer takes sequences"),
        ([nn.GRU(3, 1, **F64)], X[:, None], {"lengths": [5]}, "lengths: expected 0 to 4, got 5 at (0,)"),
        ([nn.GRU(3, 1, **F64)], X[:, None], {"mask": X[:1] > 0}, "mask: expected shape (4, 1), got (1, 3)"),
        ([nn.GRU(3, 1, **F64)], X[:, None], {"batch_size": 0}, "batch_size: expected a whole number from 1 up, got 0"),
    ],
    ids=str,
)
def test_what_is_refused(layers: list[nn.Module], inputs: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}"):
        nn.Sequential(*layers).predict(inputs, **given)
