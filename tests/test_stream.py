"""Streams: the bits of the model over the whole sequence, and what they refuse with nothing changed."""

from __future__ import annotations

import copy
import os
import pickle
import re
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import ISAS, Array, assert_same_bits
from processes import python

import gru_native as gn
from gru_native import _core, nn
from gru_native.stream import BusyError, Stream

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
f4 = np.float32

# Of input size, hidden size and the arguments of every layer.
Make = Callable[..., nn.Module]
MODELS: dict[str, Make] = {
    "gru": lambda n, h, **own: nn.GRU(n, h, seed=1, **own),
    "gru without bias": lambda n, h, **own: nn.GRU(n, h, bias=False, seed=1, **own),
    "gru reset before": lambda n, h, **own: nn.GRU(n, h, reset_after=False, seed=1, **own),
    "gru layer_norm": lambda n, h, **own: nn.GRU(n, h, layer_norm=True, seed=1, **own),
    "gru zoneout": lambda n, h, **own: nn.GRU(n, [h, 3], zoneout=0.3, seed=1, **own),
    "gru choices": lambda n, h, **own: nn.GRU(
        n, h, activation="softsign", recurrent_activation=("hard_sigmoid", 0.2, 0.5), clip=0.5, seed=1, **own
    ),
    "gru stack": lambda n, h, **own: nn.GRU(n, [h, 9, h], dropout=0.5, seed=1, **own),
    "lstm": lambda n, h, **own: nn.LSTM(n, h, seed=1, **own),
    "lstm peepholes": lambda n, h, **own: nn.LSTM(
        n, [h, h + 1], peepholes=True, activation="elu", recurrent_activation="softplus", clip=2.0, seed=1, **own
    ),
    "lstm input_forget": lambda n, h, **own: nn.LSTM(n, h, input_forget=True, seed=1, **own),
    "lstm proj_size": lambda n, h, **own: nn.LSTM(n, h + 1, 2, proj_size=(h + 1) // 2, seed=1, **own),
    "rnn": lambda n, h, **own: nn.RNN(n, h, 2, seed=1, **own),
    "rnn relu": lambda n, h, **own: nn.RNN(n, h, nonlinearity="relu", seed=1, **own),
    "rnn leaky_relu": lambda n, h, **own: nn.RNN(n, h, nonlinearity="leaky_relu", clip=1.0, seed=1, **own),
    "linear": lambda n, h, **own: nn.Linear(n, h, seed=1, dtype=own["dtype"]),
    "chain": lambda n, h, *, dtype, batch_first=False: nn.Sequential(
        nn.LayerNorm(n, dtype=dtype),
        nn.Linear(n, h, bias=False, dtype=dtype, seed=1),
        nn.Sequential(nn.Dropout(0.5), nn.GRU(h, 5, batch_first=batch_first, zoneout=0.1, dtype=dtype, seed=2)),
        nn.LayerNorm(5, elementwise_affine=False, dtype=dtype),
        nn.LSTM(5, h, batch_first=batch_first, dtype=dtype, seed=3),
    ),
    "chain of functions": lambda n, h, *, dtype, batch_first=False: nn.Sequential(
        nn.Linear(n, h, dtype=dtype, seed=1),
        nn.Activation("relu"),
        nn.GRU(h, h + 3, batch_first=batch_first, dtype=dtype, seed=2),
        nn.Activation(("elu", 0.5)),
        nn.Activation("sigmoid"),
        nn.Softmax(),
    ),
    "chain that normalizes": lambda n, h, *, dtype, batch_first=False: nn.Sequential(
        trained(nn.BatchNorm1d(n, channels_last=True, batch_first=batch_first, dtype=dtype)),
        nn.GRU(n, h, batch_first=batch_first, dtype=dtype, seed=1),
        trained(nn.BatchNorm1d(h, channels_last=True, batch_first=batch_first, dtype=dtype)),
        nn.GRU(h, 3, batch_first=batch_first, dtype=dtype, seed=2),
    ),
    "conv1d": lambda n, h, **own: nn.Conv1d(n, h, 3, padding="causal", dilation=2, seed=1, **own),
    "chain that convolves": lambda n, h, *, dtype, batch_first=False: nn.Sequential(
        nn.Conv1d(n, h, 4, padding="causal", batch_first=batch_first, dtype=dtype, seed=1),
        nn.Conv1d(h, 5, 1, padding="causal", bias=False, batch_first=batch_first, dtype=dtype, seed=1),
        nn.GRU(5, h, batch_first=batch_first, dtype=dtype, seed=2),
    ),
    "chain that pools": lambda n, h, *, dtype, batch_first=False: nn.Sequential(
        nn.RNN(n, h, batch_first=batch_first, dtype=dtype, seed=1),
        nn.MeanPooling(batch_first),
        trained(nn.BatchNorm1d(h, dtype=dtype)),
        nn.Linear(h, 3, dtype=dtype, seed=2),
    ),
    "chain that ends with its last step": lambda n, h, *, dtype, batch_first=False: nn.Sequential(
        nn.GRU(n, h, batch_first=batch_first, dtype=dtype, seed=1),
        nn.LastPooling(batch_first=batch_first),
        trained(nn.BatchNorm1d(h, affine=False, dtype=dtype)),
    ),
}
CELLS: dict[str, Make] = {
    "gru": lambda n, h, dtype: nn.GRUCell(n, h, clip=1.0, dtype=dtype, seed=1),
    "gru reset before": lambda n, h, dtype: nn.GRUCell(n, h, reset_after=False, dtype=dtype, seed=1),
    "gru layer_norm": lambda n, h, dtype: nn.GRUCell(n, h, layer_norm=True, dtype=dtype, seed=1),
    "lstm": lambda n, h, dtype: nn.LSTMCell(n, h, peepholes=True, dtype=dtype, seed=1),
    "rnn": lambda n, h, dtype: nn.RNNCell(n, h, nonlinearity="softplus", dtype=dtype, seed=1),
}


def trained(layer: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """Give the layer running values that are not those of a new one."""
    rng = np.random.default_rng(1)
    for _ in range(3):
        layer.forward(rng.normal(1, 2, (20, layer.num_features)).astype(layer.dtype))
    return layer


def embedded(dtype: str = "float32") -> nn.Sequential:
    layers = (
        nn.Embedding(11, 6, dtype=dtype, seed=0),
        nn.GRU(6, 8, dtype=dtype, seed=1),
        nn.LSTM(8, 4, dtype=dtype, seed=2),
    )
    return nn.Sequential(*layers, nn.MeanPooling(), nn.Linear(4, 3, dtype=dtype, seed=3))


def whole(model: nn.Module, x: Array) -> Array:
    """Return what a model gives of each step of x (T, B, ...), from calls over whole sequences."""

    def output(x: Array) -> Array:
        y = model(x)
        return y[0] if isinstance(y, tuple) else y

    return np.stack([output(x[: step + 1]) for step in range(len(x))]) if model.pools else output(x)


def assert_same_states(stream: Stream, other: Stream) -> None:
    states, others = stream.state, other.state
    assert states.keys() == others.keys()
    for name, state in states.items():
        assert_same_bits(state, others[name], name) if state.dtype != np.int64 else np.testing.assert_array_equal(
            state, others[name]
        )


def check(model: nn.Module, x: Array, expected: Array, rng: np.random.Generator) -> Stream:
    """Compare single steps, a run, and pieces mixed with steps; return a stream behind the last step."""
    steps, batch = x.shape[:2]
    stream = model.stream(batch)
    out = np.empty_like(expected[0])
    for at, each in enumerate(x):
        y = stream.step(each) if at % 2 else stream.step(each, out=out)
        assert_same_bits(y, expected[at], f"step {at}")
    for threads in (1, 2):
        at_once = model.stream(batch)
        assert_same_bits(at_once.run(x, threads=threads), expected, f"a run on {threads} threads")
        assert_same_states(at_once, stream)
    mixed = model.stream(batch)
    for piece in np.split(np.arange(steps), np.sort(rng.integers(0, steps + 1, 4))):
        y = mixed.step(x[piece[0]])[None] if len(piece) == 1 else mixed.run(x[piece])
        assert_same_bits(y, expected[piece], f"piece {piece}")
    assert_same_states(mixed, stream)
    return stream


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRU_NATIVE_ISA", request.param)
    return str(request.param)


def sizes(dtype: str) -> list[tuple[int, int]]:
    """Return hidden sizes around the vectors' width with batches around a block of 64 rows."""
    width = _core.vector_width(dtype == "float64")
    return [(1, 1), (width - 1, 64), (width, 130), (width + 1, 63), (2 * width + 1, 65), (3 * width, 2)]


# ---- Bits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
@both_dtypes
def test_the_bits_of_the_whole_sequence(rng: np.random.Generator, isa: str, dtype: str, name: str) -> None:
    for hidden, batch in sizes(dtype):
        model = MODELS[name](4, hidden, dtype=dtype)
        x = rng.standard_normal((7, batch, 4)).astype(dtype)
        check(model, x, whole(model, x), rng)


@pytest.mark.parametrize("name", CELLS)
@both_dtypes
def test_the_bits_of_a_cell(rng: np.random.Generator, isa: str, dtype: str, name: str) -> None:
    for hidden, batch in sizes(dtype):
        cell = CELLS[name](4, hidden, dtype)
        x = rng.standard_normal((5, batch, 4)).astype(dtype)
        states = []
        for each in x:
            states.append(cell(each, states[-1] if states else None))
        expected = np.stack([state[0] if isinstance(state, tuple) else state for state in states])
        stream = check(cell, x, expected, rng)
        last = states[-1] if isinstance(states[-1], tuple) else (states[-1],)
        for name_of_part, part in zip(("h", "c"), last, strict=False):
            assert_same_bits(stream.state[name_of_part], part)


@both_dtypes
def test_the_bits_behind_an_embedding(rng: np.random.Generator, isa: str, dtype: str) -> None:
    model = embedded(dtype)
    for batch in (1, 65):
        x = rng.integers(0, 11, (6, batch))
        check(model, x, whole(model, x), rng)
        check(model, x.astype(np.uint8), whole(model, x), rng)


@pytest.mark.parametrize(
    "activation", ["linear", "hard_sigmoid", "leaky_relu", "elu", "softsign", "softplus", "scaled_tanh", ("linear", 2)]
)
def test_the_numbers_of_activations(rng: np.random.Generator, activation: Any) -> None:
    x = rng.standard_normal((4, 3, 5)).astype(f4)
    for model in (
        nn.GRU(5, 6, activation=activation, recurrent_activation=activation, clip=1.0, seed=1),
        nn.LSTM(5, 6, activation=activation, recurrent_activation=activation, clip=1.0, seed=1),
        nn.LSTM(5, 6, cell_activation=activation, seed=1),
        nn.RNN(5, 6, nonlinearity=activation, clip=1.0, seed=1),
    ):
        check(model, x, whole(model, x), rng)


# So long that tiles take turns at pieces of them.
@pytest.mark.parametrize(("inputs", "hidden"), [(1500, 5), (3, 700), (1500, 700)])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
def test_the_bits_of_long_rows(rng: np.random.Generator, isa: str, kind: Make, inputs: int, hidden: int) -> None:
    model = kind(inputs, hidden, seed=1)
    x = rng.standard_normal((3, 20, inputs)).astype(f4)
    check(model, x, whole(model, x), rng)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
@pytest.mark.parametrize(("steps", "batch", "hidden"), [(400, 1, 300), (60, 70, 65), (1400, 2, 33)])
def test_long_runs_by_a_team(rng: np.random.Generator, kind: type[nn.GRU], steps: int, batch: int, hidden: int) -> None:
    model = kind(9, hidden, seed=1)
    x = rng.standard_normal((steps, batch, 9)).astype(f4)
    expected = whole(model, x)
    for threads in (None, 1, 2, 3):
        assert_same_bits(model.stream(batch).run(x, threads=threads), expected)
    check(model, x[:40], expected[:40], rng)


def test_the_batch_as_first_axis(rng: np.random.Generator) -> None:
    for name, make in MODELS.items():
        if name == "linear":
            continue
        model, same = make(3, 5, dtype="float32", batch_first=True), make(3, 5, dtype="float32")
        x = rng.standard_normal((4, 6, 3)).astype(f4)
        y = model.stream(4).run(x)
        assert y.flags.c_contiguous
        assert_same_bits(y.swapaxes(0, 1), same.stream(4).run(x.swapaxes(0, 1)))


def test_odd_numbers_stay_in_their_row(rng: np.random.Generator, isa: str) -> None:
    for make in MODELS.values():
        model = make(3, 17, dtype="float32")
        x = rng.standard_normal((5, 5, 3)).astype(f4)
        x[1, 0], x[2, 1, 0], x[:, 2], x[3, 3] = np.nan, np.inf, 1e-41, 1e38
        with np.errstate(all="ignore"):
            check(model, x, whole(model, x), rng)


def test_a_row_does_not_depend_on_the_others(rng: np.random.Generator, isa: str) -> None:
    model = MODELS["chain"](5, 33, dtype="float32")
    x = rng.standard_normal((4, 67, 5)).astype(f4)
    together = model.stream(67).run(x)
    for row in (0, 1, 63, 64, 66):
        alone = model.stream()
        for step, each in enumerate(x[:, row : row + 1]):
            assert_same_bits(alone.step(each), together[step, row : row + 1])


def test_no_steps() -> None:
    for make in MODELS.values():
        stream = make(3, 5, dtype="float32").stream(2)
        before = stream.snapshot()
        y = stream.run(np.zeros((0, 2, 3), f4))
        assert y.shape[:2] == (0, 2)
        assert y.dtype == f4
        assert stream.snapshot() == before


def test_an_embedding_may_be_pooled_at_once(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Embedding(7, 4, seed=0), nn.MeanPooling(), nn.Linear(4, 2, seed=1))
    x = rng.integers(0, 7, (5, 3))
    check(model, x, whole(model, x), rng)


def test_the_weights_of_the_moment_stay(rng: np.random.Generator) -> None:
    model, x = nn.GRU(3, 4, seed=0), rng.standard_normal((2, 1, 3)).astype(f4)
    stream, expected = model.stream(), whole(model, x)
    model.load_state_dict(nn.GRU(3, 4, seed=1).state_dict())
    del model
    assert_same_bits(np.stack([stream.step(each) for each in x]), expected)


# ---- States ---------------------------------------------------------------------------------------------------------


def test_the_names_of_states() -> None:
    chain = nn.Sequential(nn.LSTM(2, [3, 4]), nn.Sequential(nn.GRU(4, 5), nn.MeanPooling()))
    shapes = {name: (state.shape, state.dtype.name) for name, state in chain.stream(2).state.items()}
    f32 = "float32"
    assert shapes == {
        "0.l0.h": ((2, 3), f32),
        "0.l0.c": ((2, 3), f32),
        "0.l1.h": ((2, 4), f32),
        "0.l1.c": ((2, 4), f32),
        "1.0.l0.h": ((2, 5), f32),
        "1.1.sum": ((2, 5), f32),
        "1.1.count": ((2, 1), "int64"),
    }
    assert nn.LSTM(2, 4, proj_size=3).stream().state["l0.h"].shape == (1, 3)
    assert nn.LSTM(2, 4, proj_size=3).stream().state["l0.c"].shape == (1, 4)
    assert list(nn.LSTMCell(2, 3).stream().state) == ["h", "c"]
    assert nn.Linear(2, 3).stream().state == {}


def test_states_can_be_set(rng: np.random.Generator) -> None:
    model = nn.LSTM(3, [17, 5], seed=1)
    x = rng.standard_normal((6, 4, 3)).astype(f4)
    h_0, c_0 = ([rng.standard_normal((1, 4, size)).astype(f4) for size in (17, 5)] for _ in range(2))
    stream = model.stream(4)
    stream.state = {"l0.h": h_0[0][0], "l1.h": h_0[1][0], "l0.c": c_0[0][0], "l1.c": c_0[1][0]}
    layers = [nn.LSTM(3, 17), nn.LSTM(17, 5)]
    for place, layer in enumerate(layers):
        arrays = model.state_dict().items()
        layer.load_state_dict({name[:-1] + "0": array for name, array in arrays if name.endswith(str(place))})
    expected = x
    for place, layer in enumerate(layers):
        expected, (h_n, c_n) = layer(expected, (h_0[place], c_0[place]))
        last = h_n[0], c_n[0]
    assert_same_bits(stream.run(x), expected)
    assert_same_bits(stream.state["l1.h"], last[0])
    assert_same_bits(stream.state["l1.c"], last[1])


def test_states_are_copies() -> None:
    stream = nn.GRU(2, 3, seed=0).stream()
    stream.step(np.ones((1, 2), f4))
    stream.state["l0.h"][:] = 7
    assert (stream.state["l0.h"] != 7).all()


def test_rows_begin_anew(rng: np.random.Generator) -> None:
    model, x = MODELS["chain that pools"](3, 5, dtype="float32"), rng.standard_normal((2, 3, 3)).astype(f4)
    stream = model.stream(3)
    first = stream.step(x[0])
    stream.reset([False, True, False])
    assert_same_bits(stream.step(x[0])[1], first[1])
    stream.reset()
    assert_same_bits(stream.step(x[0]), first)
    assert not np.array_equal(stream.step(x[0]), first)


def test_a_count_of_any_size_does_no_harm() -> None:
    stream = nn.Sequential(nn.Linear(1, 1, seed=0), nn.MeanPooling()).stream(3)
    stream.state = {"1.sum": np.full((3, 1), 1e18, f4)}
    place = list(stream.state).index("1.count")
    stream._set(place, np.array([[2**63 - 1], [-1], [-(2**63)]]))
    with np.errstate(all="ignore"):
        y = stream.step(np.zeros((3, 1), f4))
    assert y[0] > 0


def test_a_count_below_zero_is_refused() -> None:
    stream = nn.Sequential(nn.Linear(1, 1, seed=0), nn.MeanPooling()).stream(2)
    with pytest.raises(ValueError, match=r"^state\['1.count'\]: expected counts of steps, got -2$"):
        stream.state = {"1.sum": np.ones((2, 1), f4), "1.count": np.array([[1], [-2]])}
    assert not stream.state["1.sum"].any()


# ---- Snapshots ------------------------------------------------------------------------------------------------------


def test_a_snapshot_goes_on(rng: np.random.Generator) -> None:
    for make in MODELS.values():
        model, x = make(3, 5, dtype="float32"), rng.standard_normal((4, 2, 3)).astype(f4)
        stream, other = model.stream(2), model.stream(2)
        stream.run(x[:2])
        kept = stream.snapshot()
        expected = stream.run(x[2:])
        other.restore(kept)
        assert other.snapshot() == kept
        assert_same_bits(other.run(x[2:]), expected)
        later = gn.nn.from_config(model.config())
        later.load_state_dict(model.state_dict())
        again = later.stream(2)
        again.restore(kept)
        assert_same_bits(again.run(x[2:]), expected)


def test_a_snapshot_goes_on_with_another_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = nn.LSTM(3, 17, seed=0), np.ones((2, 3), f4)
    stream = model.stream(2)
    stream.step(x)
    for isa in ISAS:
        monkeypatch.setenv("GRU_NATIVE_ISA", isa)
        other = model.stream(2)
        other.restore(stream.snapshot())
        assert_same_states(other, stream)
        assert other.snapshot() == stream.snapshot()
        np.testing.assert_allclose(other.step(x), model(np.stack([x, x]))[0][1], atol=1e-6)


def test_every_damage_to_a_snapshot_is_seen() -> None:
    model = nn.GRU(2, 3, seed=0)
    stream = model.stream()
    stream.step(np.ones((1, 2), f4))
    kept, now = stream.snapshot(), stream.step(np.ones((1, 2), f4))
    before = stream.snapshot()
    for place in range(len(kept)):
        for bits in (1, 0x80, 0xFF):
            damaged = bytearray(kept)
            damaged[place] ^= bits
            with pytest.raises(ValueError, match="^snapshot: expected "):
                stream.restore(bytes(damaged))
    for size in range(len(kept)):
        with pytest.raises(ValueError, match="^snapshot: expected a (whole )?snapshot, got "):
            stream.restore(kept[:size])
    with pytest.raises(ValueError, match="^snapshot: expected "):
        stream.restore(kept + b"\0")
    assert stream.snapshot() == before
    stream.restore(kept)
    assert_same_bits(stream.step(np.ones((1, 2), f4)), now)


def test_snapshots_of_others_are_refused() -> None:
    model = nn.GRU(2, 3, seed=0)
    stream, kept = model.stream(), model.stream().snapshot()
    arrays = model.state_dict()
    one_bit = arrays["weight_hh_l0"].copy()
    one_bit.view(np.uint32)[0, 0] ^= 1
    near = nn.GRU(2, 3)
    near.load_state_dict(arrays | {"weight_hh_l0": one_bit})
    others = [near, nn.GRU(2, 3, seed=1), nn.GRU(2, 3, zoneout=0.1), nn.LSTM(2, 3), nn.GRU(2, 3, dtype="float64")]
    others[2].load_state_dict(arrays)
    for other in others:
        with pytest.raises(ValueError, match="^snapshot: expected one of this model's weights, got one of others"):
            other.stream().restore(kept)
        with pytest.raises(ValueError, match="^snapshot: expected one of this model's weights, got one of others"):
            stream.restore(other.stream().snapshot())
    with pytest.raises(ValueError, match="^snapshot: expected one of 2 sequences, got 1 sequence$"):
        model.stream(2).restore(kept)


def test_arrays_that_change_places_are_other_weights() -> None:
    model = nn.RNN(3, 3, bias=False, seed=0)
    content, arrays = gn.io.content(model), model.state_dict()
    swapped = nn.RNN(3, 3, bias=False)
    swapped.load_state_dict({"weight_ih_l0": arrays["weight_hh_l0"], "weight_hh_l0": arrays["weight_ih_l0"]})
    # The same bytes of arrays in the same order, under the other names.
    other = content.replace(b"weight_ih_l0", b"weight_xx_l0").replace(b"weight_hh_l0", b"weight_ih_l0")
    other = other.replace(b"weight_xx_l0", b"weight_hh_l0")
    models = [gn._session.Model(each) for each in (content, other, gn.io.content(swapped))]
    assert models[0].digest != models[1].digest
    assert models[1].digest == models[2].digest


# ---- New weights ----------------------------------------------------------------------------------------------------


def test_new_weights_from_the_next_step_on(rng: np.random.Generator) -> None:
    model, new = nn.GRU(3, 17, seed=0), nn.GRU(3, 17, seed=1)
    x = rng.standard_normal((4, 2, 3)).astype(f4)
    stream = model.stream(2)
    stream.run(x[:2])
    h = stream.state["l0.h"]
    stream.update(new)
    assert_same_bits(stream.state["l0.h"], h)
    expected, _ = new(x[2:], h[None])
    assert_same_bits(np.stack([stream.step(each) for each in x[2:]]), expected)
    kept = stream.snapshot()
    new.stream(2).restore(kept)
    with pytest.raises(ValueError, match="^snapshot: "):
        model.stream(2).restore(kept)


def test_weights_of_other_sizes_are_refused(rng: np.random.Generator) -> None:
    stream = nn.Sequential(nn.GRU(3, 5, seed=0)).stream()
    x = rng.standard_normal((1, 3)).astype(f4)
    stream.step(x)
    before = stream.snapshot()
    for other in (
        nn.GRU(3, 5),
        nn.Sequential(nn.GRU(3, 6)),
        nn.Sequential(nn.GRU(4, 5)),
        nn.Sequential(nn.LSTM(3, 5)),
        nn.Sequential(nn.RNN(3, 5)),
        nn.Sequential(nn.GRU(3, 5), nn.Linear(5, 5)),
        nn.Sequential(nn.GRU(3, 5, dtype="float64")),
        nn.Sequential(nn.Embedding(4, 3), nn.GRU(3, 5)),
        nn.Sequential(nn.GRU(3, 5, bidirectional=True)),
    ):
        with pytest.raises(ValueError, match="^model: .*expected "):
            stream.update(other)
        assert stream.snapshot() == before


# ---- What is refused ------------------------------------------------------------------------------------------------


class Own(nn.Module):
    """A module of a user's."""

    def _config(self) -> dict[str, Any]:
        return {"in_features": 2, "out_features": 3, "bias": False, "dtype": "float32"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.GRU(2, 3, bidirectional=True), "direction: expected forward"),
        (lambda: nn.LSTM(2, 3, direction="reverse"), "direction: expected forward"),
        (
            lambda: nn.Sequential(nn.GRU(2, 3, bidirectional=True), nn.LastPooling(True)),
            "0.direction: expected forward",
        ),
        (lambda: nn.Sequential(nn.GRU(2, 3), nn.AttentionPooling(3)), "step by step, got AttentionPooling"),
        (lambda: nn.BatchNorm1d(3, track_running_stats=False), "track_running_stats: expected true"),
        (lambda: nn.Sequential(nn.BatchNorm1d(3), nn.GRU(3, 4)), "0.channels_last: expected true before a layer that"),
        (lambda: nn.Sequential(nn.Linear(2, 3), nn.LayerNorm((4, 3))), "1.normalized_shape: expected one axis"),
        (lambda: nn.Dropout(0.5), "expected a layer with weights"),
        (lambda: nn.Sequential(nn.MeanPooling()), "expected a layer with weights"),
        (lambda: nn.Embedding(3, 4), "expected a layer behind the embedding"),
        (lambda: nn.Sequential(nn.LastPooling(True), nn.Linear(2, 3)), "0.bidirectional: expected false"),
        (lambda: nn.Sequential(nn.MeanPooling(), nn.Linear(2, 3)), "before MeanPooling"),
        (Own, "step by step, got Own"),
        (lambda: type("A" + "Ä" * 200, (Own,), {})(), "step by step, got AÄ"),
        (lambda: type("Linear", (Own,), {})(), "expected layers of this package, got test_stream.Linear"),
        (lambda: type("GRU", (nn.GRU,), {})(2, 3), "expected layers of this package, got test_stream.GRU"),
        (lambda: nn.Sequential(nn.Linear(2, 3), type("Dropout", (nn.Dropout,), {})(0.1)), "got test_stream.Dropout"),
    ],
)
def test_what_cannot_go_step_by_step(make: Callable[[], nn.Module], message: str) -> None:
    for go in (nn.Module.stream, lambda model: model.pool(3)):
        with pytest.raises(ValueError, match=f"^model: .*{message}"):
            go(make())


def test_layers_of_several_dtypes_are_refused() -> None:
    before, _, after = gn.io.content(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))).rpartition(b"float32")
    with pytest.raises(ValueError, match="^model: expected layers of one dtype, got float64"):
        gn._session.Model(before + b"float64" + after)


def stream_calls() -> dict[str, Callable[[Stream], Any]]:
    """Return calls of a stream of 2 rows of 3 with an argument that is wrong, by its name and what it is."""
    x, wide = np.zeros((2, 3), f4), np.zeros((2, 10), f4)
    read_only = np.zeros((2, 5), f4)
    read_only.flags.writeable = False
    memory = np.zeros(30, f4)
    inside = memory[:6].reshape(2, 3)
    wrong_x = {
        "None": None,
        "a string": "x",
        "float64": x.astype("f8"),
        "whole numbers": x.astype(int),
        "big-endian": x.astype(">f4"),
        "one row": x[:1],
        "without rows": x[:0],
        "another size": x[:, :2],
        "one axis": x[0],
        "three axes": x[None],
        "objects": x.astype(object),
        "masked": np.ma.masked_array(x),
    }
    wrong_out = {
        "a list": [[0.0] * 5] * 2,
        "float64": np.zeros((2, 5)),
        "another size": np.zeros((2, 4), f4),
        "another batch": np.zeros((3, 5), f4),
        "one axis": np.zeros(10, f4),
        "read-only": read_only,
        "strided": wide[:, ::2],
        "unaligned": np.zeros(41, np.uint8)[1:].view(f4).reshape(2, 5),
        "big-endian": np.zeros((2, 5), ">f4"),
    }
    calls: dict[str, Callable[[Stream], Any]] = {}
    for what, value in wrong_x.items():
        calls[f"x {what} in step"] = lambda s, value=value: s.step(value)
        calls[f"x {what} in run"] = lambda s, value=value: s.run([value])
    for what, value in wrong_out.items():
        calls[f"out {what}"] = lambda s, value=value: s.step(x, value)
    calls["out x itself"] = lambda s: s.step(inside, out=memory[5:15].reshape(2, 5))
    for threads in (0, -1, 257, 1.5, "2"):
        calls[f"threads {threads}"] = lambda s, threads=threads: s.run(np.zeros((1, 2, 3), f4), threads=threads)
    for what, rows in {"one flag": [True], "numbers": [0, 1], "two axes": [[True, False]], "a string": "x"}.items():
        calls[f"rows {what}"] = lambda s, rows=rows: s.reset(rows)
    for what, kept in {"None": None, "a bytearray": bytearray(8), "a string": "x", "no bytes": b""}.items():
        calls[f"snapshot {what}"] = lambda s, kept=kept: s.restore(kept)
    good = np.zeros((2, 5), f4)
    for what, state in {
        "a list": [],
        "another name": {"h": good},
        "another shape": {"l0.h": good, "l1.h": good},
        "another dtype": {"l0.h": good.astype(float)},
        "no array": {"l0.h": None},
        "no name": {0: good},
    }.items():
        calls[f"state {what}"] = lambda s, state=state: setattr(s, "state", state)
    for what, model in {"None": None, "a class": nn.GRU, "a stream": nn.GRU(3, 5).stream()}.items():
        calls[f"model {what}"] = lambda s, model=model: s.update(model)
    return calls


@pytest.mark.parametrize("name", stream_calls())
def test_a_wrong_argument_is_named_and_changes_nothing(name: str) -> None:
    stream = nn.GRU(3, 5, seed=0).stream(2)
    stream.step(np.ones((2, 3), f4))
    before = stream.snapshot()
    with pytest.raises((TypeError, ValueError), match=rf"^{name.split()[0]}\b.*: expected .*, got "):
        stream_calls()[name](stream)
    assert stream.snapshot() == before


def test_what_is_wrong_with_out_is_named() -> None:
    stream, x = nn.Linear(2, 3, seed=0).stream(2), np.zeros((2, 2), f4)
    fixed = np.zeros((2, 3), f4)
    fixed.flags.writeable = False
    memory = np.zeros(8, f4)
    wrong = [
        (x, [[0.0] * 3] * 2, "list"),
        (x, np.zeros((2, 3)), "float64 with shape (2, 3)"),
        (x, np.zeros((3, 2), f4), "float32 with shape (3, 2)"),
        (x, np.zeros((2, 3), ">f4"), ">f4 with shape (2, 3)"),
        (x, np.zeros((3, 2), f4).T, "one that is not contiguous or not aligned"),
        (x, fixed, "a read-only one"),
        (memory[4:].reshape(2, 2), memory[:6].reshape(2, 3), "one that overlaps them"),
    ]
    for given, out, got in wrong:
        with pytest.raises(
            ValueError, match=rf"^out: expected .* apart from the other arguments, got {re.escape(got)}$"
        ):
            stream.step(given, out=out)


@pytest.mark.parametrize("batch", [0, -1, 1.5, "1", None, True, 2**63])
def test_wrong_batches(batch: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="^batch: expected a whole number"):
        nn.GRU(2, 3).stream(batch)


@pytest.mark.parametrize("batch", [2**60, 2**63 - 1])
@pytest.mark.parametrize("model", [nn.GRU(2, 3), nn.Linear(2, 3)], ids=["GRU", "Linear"])
def test_a_batch_for_which_there_is_no_memory(model: nn.Module, batch: int) -> None:
    with pytest.raises(MemoryError):
        model.stream(batch)


def test_indices_outside_are_refused(rng: np.random.Generator) -> None:
    stream = embedded().stream(3)
    x = rng.integers(0, 11, 3)
    stream.step(x)
    before = stream.snapshot()
    for wrong in (-1, 11, 2**40):
        for index in (x * 0 + wrong, np.array([1, 2, wrong]), [1, wrong, 2]):
            with pytest.raises(ValueError, match=f"^x: expected .*0 to 10, got {wrong}"):
                stream.step(index)
            with pytest.raises(ValueError, match=f"^x: expected .*0 to 10, got {wrong}"):
                stream.run(np.stack([x, np.asarray(index)]))
    for index in (x.astype(float), x[:2], x[:, None], [True, False, True], None):
        with pytest.raises((TypeError, ValueError), match="^x: expected "):
            stream.step(index)
    assert stream.snapshot() == before
    # NumPy has two types of the same whole numbers.
    for whole_number in (np.longlong, np.int_):
        stream.restore(before)
        y = stream.step(x.astype(whole_number))
        stream.restore(before)
        assert_same_bits(stream.run(x[None].astype(whole_number))[0], y)


class Subclass(np.ndarray[Any, Any]):
    """Arrays of another kind."""


def test_arrays_of_any_layout_are_taken(rng: np.random.Generator) -> None:
    model = nn.GRU(3, 4, seed=0)
    x = rng.standard_normal((2, 3)).astype(f4)
    expected = model.stream(2).step(x)
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(f4).reshape(x.shape)
    unaligned[:] = x
    read_only = x.copy()
    read_only.flags.writeable = False
    for same in (
        np.asfortranarray(x),
        np.repeat(x, 2, 1)[:, ::2],
        x[::-1][::-1],
        unaligned,
        read_only,
        x.view(Subclass),
    ):
        y = model.stream(2).step(same)
        assert type(y) is np.ndarray
        assert_same_bits(y, expected)
        assert_same_bits(model.stream(2).run(np.asarray(same)[None])[0], expected)


def test_a_stream_is_no_value() -> None:
    stream = nn.GRU(2, 3).stream()
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"a Stream cannot be pickled or copied: snapshot\(\) gives"):
            duplicate(stream)
        with pytest.raises(TypeError, match=r"a StreamPool cannot be pickled or copied: export\(id\) gives"):
            duplicate(nn.GRU(2, 3).pool(1))
    for cls in (gn._session.Session, gn._session.Pool, gn._session.Model):
        with pytest.raises(TypeError):
            cls()


def methods() -> list[Any]:
    kinds = [gn._session.Session, gn._session.Pool, gn._session.Model, gn._layer.RecurrentLayer]
    return [
        getattr(kind, name) for kind in [*kinds, gn._layer.RecurrentStep] for name in vars(kind) if name != "__new__"
    ]


def test_methods_are_of_their_own_objects() -> None:
    """What a method finds in its object is memory: another one must not pass for it."""
    called = [method for method in methods() if callable(method)]
    assert len(called) > 20
    for method in called:
        for other in (None, 3, nn.GRU(2, 3)):
            for arguments in ((), (None,), (None,) * 4):
                with pytest.raises(TypeError):
                    method(other, *arguments)


# ---- Who comes meanwhile --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_who_comes_during_a_call_is_refused() -> None:
    """A signal's handler runs within the call that it interrupts."""
    model = nn.GRU(64, 256, seed=0)
    stream, x = model.stream(16), np.zeros((1500, 16, 64), f4)
    kept, refused = stream.snapshot(), []

    def handler(*_: Any) -> None:
        for call in (
            lambda: stream.step(x[0]),
            lambda: stream.run(x[:2]),
            lambda: stream.state,
            lambda: setattr(stream, "state", {"l0.h": np.zeros((16, 256), f4)}),
            stream.reset,
            stream.snapshot,
            lambda: stream.restore(kept),
            lambda: stream.update(model),
        ):
            with pytest.raises(BusyError, match="^session: expected one thread at a time, got another one$"):
                call()
            refused.append(call)

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        y = stream.run(x, threads=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(refused) == 8
    assert_same_bits(y, whole(model, x))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_run_that_is_given_up_changes_nothing(rng: np.random.Generator) -> None:
    model = nn.GRU(64, [256, 32], seed=0)
    stream, x = model.stream(16), rng.standard_normal((4000, 16, 64)).astype(f4)
    stream.step(x[0])
    kept = stream.snapshot()

    def handler(*_: Any) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(InterruptedError):
            stream.run(x, threads=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert stream.snapshot() == kept


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
def test_a_child_goes_on() -> None:
    script = """
import os
import numpy as np
import gru_native as gn
model, x = gn.nn.GRU(8, 64, seed=0), np.ones((300, 4, 8), "f4")
stream = model.stream(4)
stream.run(x, threads=2)
kept = stream.snapshot()
expected = stream.run(x, threads=2)
stream.restore(kept)
child = os.fork()
same = np.array_equal(stream.run(x, threads=2), expected)
if child == 0:
    os._exit(0 if same else 1)
assert same and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    python("-c", script, GRU_NATIVE_TEAM="threads")
