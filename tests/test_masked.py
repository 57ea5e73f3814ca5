"""`mask`: steps that count, anywhere in a sequence, beside the same steps brought together by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

from gru_native import nn

T, B, IN, H = 7, 5, 3, 4
LAYERS = {"GRU": nn.GRU, "LSTM": nn.LSTM, "RNN": nn.RNN}
F64: dict[str, Any] = {"dtype": "float64", "seed": 1}
every_layer = pytest.mark.parametrize("name", LAYERS)
both_layouts = pytest.mark.parametrize("batch_first", [False, True])


@pytest.fixture
def mask(rng: np.random.Generator) -> np.ndarray:
    """Rows with holes, on the left, on the right, with all steps, and with none."""
    mask = rng.random((T, B)) < 0.5
    mask[:, 1] = np.arange(T) >= 3
    mask[:, 2] = np.arange(T) < 3
    mask[:, 3], mask[:, 4] = True, False
    return mask


def turned(array: np.ndarray, batch_first: bool) -> np.ndarray:
    return np.ascontiguousarray(array.swapaxes(0, 1)) if batch_first else array


def by_rows(layer: nn.Module, x: np.ndarray, mask: np.ndarray, repeats: bool) -> tuple[np.ndarray, np.ndarray]:
    """Run the steps that count of each row alone; return output (T, B, F) and h_n."""
    features = H * (1 + layer.bidirectional)
    outputs, finals = np.zeros((T, B, features)), []
    for b in range(B):
        own = x[mask[:, b], b]
        output, state = layer(own[None] if layer.batch_first else own[:, None])
        output = output[0] if layer.batch_first else output[:, 0]
        finals.append((state[0] if isinstance(state, tuple) else state)[:, 0])
        outputs[mask[:, b], b] = output
        places = np.flatnonzero(mask[:, b])
        if repeats:
            for t in np.flatnonzero(~mask[:, b]):
                before, after = np.flatnonzero(places < t), np.flatnonzero(places > t)
                if layer.direction == "forward" and before.size:
                    outputs[t, b, :H] = output[before[-1], :H]
                if (layer.bidirectional or layer.direction == "reverse") and after.size:
                    outputs[t, b, -H:] = output[after[0], -H:]
    return outputs, np.stack(finals, 1)


@every_layer
@both_layouts
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"direction": "reverse"}, {"num_layers": 2}], ids=str)
@pytest.mark.parametrize("masked_output", ["zero", "last"])
def test_the_steps_that_count_alone(
    name: str, batch_first: bool, options: Any, masked_output: Any, mask: np.ndarray, rng: np.random.Generator
) -> None:
    layer = LAYERS[name](IN, H, batch_first=batch_first, **options, **F64)
    x = rng.standard_normal((T, B, IN))
    x[~mask] = np.nan  # is not read
    given, own = turned(x, batch_first), turned(mask, batch_first)
    output, state = layer(given, mask=own, masked_output=masked_output)
    expected, h_n = by_rows(layer, x, mask, masked_output == "last")
    assert_close(turned(output, batch_first), expected, "float64")
    assert_close((state[0] if name == "LSTM" else state), h_n, "float64")
    (trained, _), _ = layer.forward(given, mask=own, masked_output=masked_output)
    np.testing.assert_array_equal(trained, output)


@every_layer
@both_layouts
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"direction": "reverse"}], ids=str)
@pytest.mark.parametrize("masked_output", ["zero", "last"])
def test_gradients_by_finite_differences(
    name: str, batch_first: bool, options: Any, masked_output: Any, mask: np.ndarray, rng: np.random.Generator
) -> None:
    layer = LAYERS[name](IN, H, batch_first=batch_first, **options, **F64)
    x, own = turned(rng.standard_normal((T, B, IN)), batch_first), turned(mask, batch_first)
    (output, _), tape = layer.forward(x, mask=own, masked_output=masked_output)
    d = rng.standard_normal(output.shape)
    (d_x, _), gradients = layer.backward(tape, d)
    assert not d_x[~own].any()

    def loss(x: np.ndarray) -> float:
        return float(np.sum(d * layer(x, mask=own, masked_output=masked_output)[0]))

    for index in [tuple(rng.integers(size) for size in x.shape) for _ in range(12)]:
        up, down = x.copy(), x.copy()
        up[index] += 1e-6
        down[index] -= 1e-6
        assert_close(d_x[index], (loss(up) - loss(down)) / 2e-6, "finite_difference")
    weights = layer.state_dict()
    for parameter, gradient in gradients.items():
        index = tuple(rng.integers(size) for size in gradient.shape)
        values = []
        for step in (1e-6, -1e-6):
            changed = {key: value.copy() for key, value in weights.items()}
            changed[parameter][index] += step
            layer.assign(changed)
            values.append(loss(x))
        layer.assign(weights)
        assert_close(gradient[index], (values[0] - values[1]) / 2e-6, "finite_difference")


def test_a_prefix_has_the_bits_of_lengths(rng: np.random.Generator) -> None:
    layer, x = nn.GRU(IN, H, bidirectional=True, seed=1), rng.standard_normal((T, B, IN)).astype(np.float32)
    lengths = np.array([7, 3, 0, 1, 5])
    for one, other in zip(layer(x, mask=np.arange(T)[:, None] < lengths), layer(x, None, lengths), strict=True):
        np.testing.assert_array_equal(one, other)


def test_resets_go_on_to_the_next_step_that_counts(mask: np.ndarray, rng: np.random.Generator) -> None:
    layer, x = nn.GRU(IN, H, **F64), rng.standard_normal((T, B, IN))
    reset = rng.random((T, B)) < 0.4
    output, _ = layer(x, None, None, reset, mask=mask)
    for b in range(B):
        h = np.zeros((1, 1, H))
        for t in range(T):
            if reset[t, b]:
                h = np.zeros((1, 1, H))
            if mask[t, b]:
                expected, h = layer(x[t : t + 1, b : b + 1], h)
                assert_close(output[t, b], expected[0, 0], "float64")


def test_a_chain_with_pooling_and_norms(mask: np.ndarray, rng: np.random.Generator) -> None:
    indices = rng.integers(0, 9, (T, B))
    layers = nn.Embedding(9, IN, **F64), nn.GRU(IN, H, **F64), nn.BatchNorm1d(H, channels_last=True, dtype="float64")
    model = nn.Sequential(*layers)
    (output, _), tape = model.forward(indices, mask=mask)
    live = output[mask]
    assert_close(live.mean(0), np.zeros(H), "float64")
    assert not output[~mask].any()
    d = rng.standard_normal(output.shape)
    (d_x, _), gradients = model.backward(tape, d)
    assert d_x is None or not np.any(d_x)
    assert gradients.keys() == model.parameters().keys()
    pooled = nn.Sequential(layers[0], layers[1], nn.MeanPooling())
    y, _ = pooled(indices, mask=mask[:, :4] if False else mask)
    states = layers[1](layers[0](indices), mask=mask)[0]
    counts = np.maximum(mask.sum(0), 1)[:, None]
    assert_close(y, states.sum(0) / counts, "float64")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"mask": np.ones((T, B))}, "mask: expected dtype bool, got float64"),
        ({"mask": np.ones((B, T), bool)}, r"mask: expected shape \(T, B\) = \(7, 5\), got \(5, 7\)"),
        ({"mask": np.ones((T, B), bool), "lengths": [1] * B}, "lengths: expected None beside mask, got lengths"),
        ({"mask": np.ones((T, B), bool), "masked_output": "first"}, "masked_output: expected 'zero' or 'last', got"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        nn.GRU(IN, H, **F64)(np.zeros((T, B, IN)), **given)
