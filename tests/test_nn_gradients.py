"""The gradients of every layer, in every mode, are those of finite differences (float64)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from cases import central_difference
from tolerances import assert_close

from gru_native import nn
from gru_native.activations import DEFAULTS


def arrays_of(values: Any) -> Iterator[np.ndarray]:
    """Go through the floating-point arrays in a nest of lists and tuples."""
    if isinstance(values, (list, tuple)):
        for value in values:
            yield from arrays_of(value)
    elif values is not None and np.issubdtype(values.dtype, np.floating):
        yield values


def nested_like(values: Any, rng: np.random.Generator) -> Any:
    """Return standard normal numbers in the nest of lists and tuples that `values` is."""
    if isinstance(values, (list, tuple)):
        return type(values)(nested_like(value, rng) for value in values)
    return rng.standard_normal(values.shape)


def check_gradients(module: nn.Module, inputs: tuple[Any, ...], rng: np.random.Generator, **keywords: Any) -> None:
    """Compare backward, under random gradients of all results, with central differences in every number."""
    for name, array in module.state_dict().items():
        if array.dtype == np.float64:
            least = 0.5 if name.endswith("running_var") else -1.0
            module.assign({name: rng.uniform(least, 1, array.shape)})
    result, tape = module.forward(*inputs, **keywords)
    d_result = nested_like(result, rng)
    d_inputs, gradients = module.backward(tape, *(d_result if isinstance(d_result, tuple) else (d_result,)))

    def loss() -> float:
        result, _ = module.forward(*inputs, **keywords)
        return sum(float(np.sum(d * r)) for d, r in zip(arrays_of(d_result), arrays_of(result), strict=True))

    for array, d_array in zip(arrays_of(inputs), arrays_of(d_inputs), strict=True):
        assert_close(d_array, central_difference(loss, array), "finite_difference", "input")
    assert list(gradients) == list(module.parameters())
    for name, array in module.parameters().items():
        moving = array.copy()
        numeric = central_difference(lambda name=name, moving=moving: module.assign({name: moving}) or loss(), moving)
        module.assign({name: array})
        assert_close(gradients[name], numeric, "finite_difference", name)


GRUS: dict[str, dict[str, Any]] = {
    "plain": {"hidden_size": 3},
    "no bias": {"hidden_size": 3, "bias": False},
    "reset before": {"hidden_size": 3, "reset_after": False},
    "reset before, no bias": {"hidden_size": 3, "reset_after": False, "bias": False},
    "batch first": {"hidden_size": 3, "batch_first": True},
    "bidirectional": {"hidden_size": 3, "bidirectional": True},
    "stacked": {"hidden_size": 2, "num_layers": 3},
    "stacked, both, batch first": {
        "hidden_size": 2,
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": True,
    },
    "a size per layer": {"hidden_size": [4, 2, 3]},
    "a size per layer, both, before": {"hidden_size": [3, 2], "bidirectional": True, "reset_after": False},
    "dropout": {"hidden_size": 3, "num_layers": 3, "dropout": 0.4},
    "dropout, both, a size per layer": {"hidden_size": [3, 2], "bidirectional": True, "dropout": 0.5},
}


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.parametrize("options", GRUS.values(), ids=GRUS.keys())
def test_gru(options: dict[str, Any], batched: bool, rng: np.random.Generator) -> None:
    gru = nn.GRU(2, **options, dtype="float64")
    shape = (4, 2) if not batched else (3, 4, 2) if gru.batch_first else (4, 3, 2)
    x = rng.standard_normal(shape)
    _, h_n = gru(x)
    check_gradients(gru, (x, nested_like(h_n, rng)), rng, seed=(5, 6))


@pytest.mark.parametrize(
    "stack",
    [
        nn.LSTM(2, 3, dtype="float64"),
        nn.LSTM(2, [3, 2], bidirectional=True, dropout=0.5, dtype="float64"),
        nn.LSTM(2, 2, 2, bias=False, batch_first=True, dtype="float64"),
        nn.RNN(2, 3, 2, bidirectional=True, dtype="float64"),
        nn.RNN(2, [3, 2], nonlinearity="relu", dtype="float64"),
        nn.LSTM(2, [3, 2], bidirectional=True, recurrent_dropout=0.4, dtype="float64"),
        nn.GRU(2, 3, 2, recurrent_dropout=0.4, dropout=0.3, dtype="float64"),
        nn.GRU(2, 3, input_dropout=0.4, batch_first=True, dtype="float64"),
        nn.LSTM(2, [3, 2], bidirectional=True, dropout=0.3, input_dropout=0.4, recurrent_dropout=0.3, dtype="float64"),
        nn.RNN(2, 3, direction="reverse", input_dropout=0.4, dtype="float64"),
        nn.GRU(2, 4, recurrent_dropout=0.4, reset_after=False, dtype="float64"),
        nn.GRU(2, [3, 2], bidirectional=True, zoneout=0.4, recurrent_dropout=0.3, dtype="float64"),
        nn.GRU(2, 4, zoneout=0.4, reset_after=False, dtype="float64").eval(),
        nn.GRU(2, 4, activation="softsign", clip=0.9, zoneout=0.4, recurrent_dropout=0.3, dtype="float64"),
        nn.LSTM(2, [4, 3], recurrent_activation="softsign", peepholes=True, bidirectional=True, dtype="float64"),
        nn.LSTM(2, 4, 2, peepholes=True, input_forget=True, proj_size=3, recurrent_dropout=0.3, dtype="float64"),
        nn.LSTM(2, [4, 3], proj_size=2, bidirectional=True, batch_first=True, dtype="float64"),
        nn.RNN(2, 3, 2, nonlinearity=("elu", 0.5), direction="reverse", clip=0.9, dtype="float64"),
    ],
    ids=lambda stack: stack.cell,
)
def test_other_cells(stack: Any, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 4, 2))
    _, final = stack(x)
    state = tuple(nested_like(part, rng) for part in final) if stack.states == 2 else nested_like(final, rng)
    check_gradients(stack, (x, state), rng, seed=(5, 6))


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.parametrize("options", [{}, {"bias": False}, {"reset_after": False}], ids=str)
def test_gru_cell(options: dict[str, Any], batched: bool, rng: np.random.Generator) -> None:
    batch = (3,) if batched else ()
    cell = nn.GRUCell(2, 4, **options, dtype="float64")
    x, h = rng.standard_normal((*batch, 2)), rng.standard_normal((*batch, 4))
    check_gradients(cell, (x, h), rng)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(3, 2, dtype="float64"), (4, 3)),
        (nn.Linear(3, 2, bias=False, dtype="float64"), (2, 2, 3)),
        (nn.Linear(3, 2, dtype="float64"), (3,)),
        (nn.Dropout(0.3), (3, 4)),
        (nn.Dropout(0.0), (3, 4)),
        (nn.Dropout(1.0), (3, 4)),
        (nn.Dropout(0.3).eval(), (3, 4)),
        *((nn.Activation(name), (3, 7)) for name in DEFAULTS),
        (nn.Activation(("scaled_tanh", 0.7, 2.0)), (33,)),
        (nn.Softmax(), (2, 3, 5)),
        (nn.Conv1d(3, 2, 3, stride=2, padding=1, dilation=2, dtype="float64"), (7, 2, 3)),
        (nn.Conv1d(3, 2, 4, padding="same", bias=False, batch_first=True, dtype="float64"), (2, 5, 3)),
        (nn.Conv1d(3, 2, 2, padding="causal", dtype="float64"), (4, 3)),
        (nn.BatchNorm1d(3, dtype="float64"), (5, 3)),
        (nn.BatchNorm1d(3, dtype="float64"), (2, 3, 4)),
        (nn.BatchNorm1d(3, dtype="float64").eval(), (2, 3, 4)),
        (nn.BatchNorm1d(3, affine=False, dtype="float64"), (5, 3)),
        (nn.BatchNorm1d(3, track_running_stats=False, dtype="float64").eval(), (5, 3)),
        (nn.LayerNorm(4, dtype="float64"), (3, 4)),
        (nn.LayerNorm((2, 3), dtype="float64"), (4, 2, 3)),
        (nn.LayerNorm((2, 3), dtype="float64"), (2, 3)),
        (nn.LayerNorm(4, bias=False, dtype="float64"), (2, 3, 4)),
        (nn.LayerNorm(4, elementwise_affine=False, dtype="float64"), (2, 3, 4)),
    ],
    ids=lambda value: f"{value.config()}{value.training}" if isinstance(value, nn.Module) else str(value),
)
def test_layer(module: nn.Module, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    check_gradients(module, (rng.standard_normal(shape),), rng, seed=1)


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding(padding_idx: int | None, rng: np.random.Generator) -> None:
    embedding = nn.Embedding(4, 3, padding_idx, dtype="float64")
    indices = np.array([[0, 1, 1], [3, 0, 1]]) if padding_idx != -1 else np.array([0, 1, 1])
    check_gradients(embedding, (indices,), rng)


def test_sequential(rng: np.random.Generator) -> None:
    """Two recurrent layers apart, one of them in a nested chain, dropout, normalisation, states given."""
    model = nn.Sequential(
        nn.Embedding(5, 3, dtype="float64"),
        nn.GRU(3, [3, 2], dropout=0.5, dtype="float64"),
        nn.Dropout(0.3),
        nn.Sequential(nn.LayerNorm(2, dtype="float64"), nn.GRU(2, 2, bidirectional=True, dtype="float64")),
        nn.Linear(4, 2, dtype="float64"),
    )
    indices = rng.integers(0, 5, (3, 2))
    _, states = model(indices)
    check_gradients(model, (indices, nested_like(states, rng)), rng, seed=7)


def test_sequential_without_states(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Linear(3, 4, dtype="float64"), nn.BatchNorm1d(4, dtype="float64"), nn.Dropout(0.2))
    check_gradients(model, (rng.standard_normal((5, 3)),), rng, seed=2)
