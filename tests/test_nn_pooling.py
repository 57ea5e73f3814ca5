"""Pooling layers: results beside a loop over rows, gradients by finite differences, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_nn_gradients import check_gradients
from tolerances import assert_close

from gru_native import load, nn, passes, save

LENGTHS = [3, 0, 5, 1]


def pooled_by_hand(layer: nn.Module, row: np.ndarray) -> np.ndarray:
    """Pool one row (T, F) without padding."""
    if len(row) == 0:
        return np.zeros(row.shape[1])
    if isinstance(layer, nn.MeanPooling):
        return row.mean(axis=0)
    if isinstance(layer, nn.LastPooling):
        half = row.shape[1] // 2 if layer.bidirectional else row.shape[1]
        return np.concatenate([row[-1, :half], row[0, half:]])
    p = layer.parameters()
    scores = np.exp(np.tanh(row @ p["weight"].T + p["bias"]) @ p["query"])
    return scores / scores.sum() @ row


def layers(batch_first: bool = False) -> list[nn.Module]:
    return [
        nn.MeanPooling(batch_first),
        nn.LastPooling(batch_first=batch_first),
        nn.LastPooling(bidirectional=True, batch_first=batch_first),
        nn.AttentionPooling(6, 4, batch_first, dtype="float64", seed=1),
    ]


def name_of(layer: nn.Module) -> str:
    return f"{layer.config()}"


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("layer", layers() + layers(True), ids=name_of)
def test_rows_are_pooled_one_by_one(layer: Any, ragged: bool, rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 4, 6))
    lengths = LENGTHS if ragged else None
    expected = np.stack([pooled_by_hand(layer, x[:length, row]) for row, length in enumerate(lengths or [5] * 4)])
    if ragged:
        for row, length in enumerate(LENGTHS):
            x[length:, row] = np.nan
    given = x.swapaxes(0, 1) if layer.batch_first else x
    called = layer(given, lengths)
    output, tape = layer.forward(given, lengths)
    assert_close(called, expected, "float64")
    np.testing.assert_array_equal(called, output)
    d_x, _ = layer.backward(tape, rng.standard_normal(output.shape))
    assert d_x.shape == given.shape
    padding = np.isnan(given)
    assert not d_x[padding].any()
    assert np.isfinite(d_x).all()


@pytest.mark.parametrize("layer", layers() + layers(True), ids=name_of)
def test_gradients(layer: Any, rng: np.random.Generator) -> None:
    check_gradients(layer, (rng.standard_normal((5, 4, 6)),), rng)
    x = rng.standard_normal((4, 5, 6) if layer.batch_first else (5, 4, 6))
    check_gradients(layer, (x, np.array(LENGTHS)), rng)
    check_gradients(layer, (rng.standard_normal((5, 6)),), rng)


@pytest.mark.parametrize("layer", layers() + layers(True), ids=name_of)
def test_large_sequences_are_pooled_in_pieces(
    layer: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the same bits."""
    x, d_y = rng.standard_normal((5, 4, 6)), rng.standard_normal((4, 6))
    x = x.swapaxes(0, 1) if layer.batch_first else x
    y, tape = layer.forward(x, LENGTHS)
    d_x, gradients = layer.backward(tape, d_y)
    monkeypatch.setattr(passes, "LARGE", 20)
    monkeypatch.setattr(passes, "PIECE", 48)
    again, tape = layer.forward(x, LENGTHS)
    np.testing.assert_array_equal(again, y)
    d_x_again, gradients_again = layer.backward(tape, d_y)
    np.testing.assert_array_equal(d_x_again, d_x)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradients_again[name], gradient)


def test_weights_of_attention(rng: np.random.Generator) -> None:
    layer = nn.AttentionPooling(6, dtype="float64", batch_first=True, seed=1)
    x = rng.standard_normal((4, 5, 6))
    weights = layer.weights(x, LENGTHS)
    assert weights.shape == (4, 5)
    np.testing.assert_array_equal(weights > 0, np.arange(5) < np.array(LENGTHS)[:, None])
    assert_close(weights.sum(axis=1), [1, 0, 1, 1], "float64")
    assert_close(layer(x, LENGTHS), np.einsum("bt,btf->bf", weights, x), "float64")
    assert layer.weights(x[0]).shape == (5,)


def test_large_scores_do_not_overflow() -> None:
    layer = nn.AttentionPooling(2, 3, seed=1)
    layer.assign({"query": np.full(3, 1e4, np.float32)})
    x = np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 1, 2)
    assert np.isfinite(layer(x)).all()


def test_no_steps() -> None:
    for layer in layers():
        output, tape = layer.forward(np.empty((0, 3, 6)))
        assert not output.any()
        assert layer.backward(tape, np.ones((3, 6)))[0].shape == (0, 3, 6)


@pytest.mark.parametrize("layer", layers(), ids=name_of)
def test_in_a_chain(layer: Any, rng: np.random.Generator, tmp_path: Any) -> None:
    """A chain hands the lengths to recurrent layers and to those that pool, however deep."""
    both = getattr(layer, "bidirectional", True)
    model = nn.Sequential(
        nn.GRU(3, 3 if both else 6, bidirectional=both, dtype="float64", seed=1),
        nn.Sequential(nn.Dropout(0.0), layer),
        nn.Linear(6, 2, dtype="float64", seed=2),
    )
    x, lengths = rng.standard_normal((5, 4, 3)), np.array(LENGTHS)
    logits, states = model(x, lengths=lengths)
    for row, length in enumerate(LENGTHS):
        alone, _ = model(x[:length, row : row + 1])
        assert_close(logits[row], alone[0], "float64")
    (again, _), tape = model.forward(x, lengths=lengths)
    np.testing.assert_array_equal(again, logits)
    (d_x, d_states), gradients = model.backward(tape, np.ones_like(again))
    assert d_x.shape == x.shape
    assert d_states[0].shape == states[0].shape
    assert list(gradients) == list(model.parameters())
    save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "model.safetensors")(x, lengths=lengths)[0], logits)


def test_a_chain_that_only_pools(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.MeanPooling(), nn.Linear(6, 2, dtype="float64"))
    x = rng.standard_normal((5, 4, 6))
    assert model(x, lengths=LENGTHS).shape == (4, 2)
    assert model.pools
    assert not model.recurrent


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.AttentionPooling(0), ValueError, "features: expected a whole number from 1 up, got 0"),
        (lambda: nn.AttentionPooling(2, 0), ValueError, "attention_size: expected a whole number from 1 up, got 0"),
        (lambda: nn.MeanPooling(1), TypeError, "batch_first: expected True or False, got 1"),
        (lambda: nn.LastPooling("yes"), TypeError, "bidirectional: expected True or False, got 'yes'"),
    ],
)
def test_bad_arguments(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "inputs", "error", "message"),
    [
        (nn.MeanPooling(), [np.ones(6)], ValueError, r"x: expected 3 dimensions \(T, B, F\), or 2 \(T, F\), got 1"),
        (nn.MeanPooling(), [np.ones((5, 4, 6), int)], TypeError, "x: expected dtype float32 or float64, got int64"),
        (nn.MeanPooling(), [np.ones((5, 4, 6)), [6, 1, 1, 1]], ValueError, "lengths: expected"),
        (nn.MeanPooling(), [np.ones((5, 4, 6)), [1, 1]], ValueError, "lengths: expected"),
        (nn.LastPooling(True), [np.ones((5, 4, 3))], ValueError, "x: expected an even number of features"),
        (nn.AttentionPooling(6), [np.ones((5, 4, 6))], TypeError, "x: expected dtype float32, got float64"),
        (nn.AttentionPooling(6), [np.ones((5, 4, 3), "f4")], ValueError, "x: expected a last axis of features = 6"),
    ],
)
def test_bad_inputs(layer: Any, inputs: list[Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        layer(*inputs)


def test_bad_gradients() -> None:
    layer = nn.MeanPooling()
    _, tape = layer.forward(np.ones((5, 4, 6)))
    with pytest.raises(ValueError, match=r"d_output: expected shape \(4, 6\), got \(5, 4, 6\)"):
        layer.backward(tape, np.ones((5, 4, 6)))
