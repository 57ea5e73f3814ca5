"""What the layers beside GRU do: modes, seeds, chains, configurations, and what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import ISAS
from tolerances import assert_close

from gru_native import functional as F
from gru_native import nn, reference
from gru_native.nn.module import Module, Snapshot
from gru_native.random import generator, key, seed_path

F32 = np.float32


# Random numbers


def test_each_seed_has_numbers_of_its_own() -> None:
    """Seeds that differ by trailing zeros do so too: zero is the first place that is appended."""
    seeds = [5, (5, 0), (5, 0, 0), (5, 1), (0, 5), 0, (0, 0), (5, 0, 1), (5, 1, 0), 2**200]
    draws = [generator(seed).integers(0, 2**62, 4).tolist() for seed in seeds]
    assert len({tuple(draw) for draw in draws}) == len(seeds)
    for same in (5, (5,), [5], np.int64(5)):
        assert generator(same).integers(0, 2**62, 4).tolist() == draws[0]
    assert generator(None).integers(0, 2**62) != generator(None).integers(0, 2**62)
    assert isinstance(generator(5).bit_generator, np.random.Philox)


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (-1, ValueError, "seed: expected whole numbers from 0 up, got -1"),
        ((1, -1), ValueError, r"seed: expected whole numbers from 0 up, got \(1, -1\)"),
        ((), ValueError, r"seed: expected whole numbers from 0 up, got \(\)"),
        (0.5, TypeError, "seed: expected a whole number or a tuple of them, got 0.5"),
        (("a",), TypeError, r"seed: expected a whole number or a tuple of them, got \('a',\)"),
    ],
)
def test_bad_seeds(seed: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        seed_path(seed)


def test_large_arrays_are_drawn_like_small_ones() -> None:
    """In pieces, for the sake of signals, from one stream."""
    drawn = generator(3).standard_normal((4001, 2000))
    np.testing.assert_array_equal(nn.Embedding(4001, 2000, seed=3).state_dict()["weight"], drawn.astype(F32))
    layer, rng = nn.Linear(2500, 4001, dtype="float64", seed=3).state_dict(), generator(3)
    np.testing.assert_array_equal(layer["weight"], rng.uniform(-1 / 50, 1 / 50, (4001, 2500)))
    np.testing.assert_array_equal(layer["bias"], rng.uniform(-1 / 50, 1 / 50, 4001))


# Dropout


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(p: float, dtype: str) -> None:
    dropout, x = nn.Dropout(p), np.ones((200, 500), dtype)
    y, tape = dropout.forward(x, seed=1)
    assert y.dtype == dtype
    assert_close(np.unique(y), [0, 1 / (1 - p)], "float32_rounding")
    assert abs(np.mean(y == 0) - p) < 0.01
    d_x, gradients = dropout.backward(tape, x)
    np.testing.assert_array_equal(d_x, y)
    assert gradients == {}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 63, 64, 65, 300_000])
def test_dropout_is_the_references(monkeypatch: pytest.MonkeyPatch, isa: str, size: int) -> None:
    """On every instruction set, whatever the number of threads."""
    monkeypatch.setenv("GRU_NATIVE_ISA", isa)
    x = np.arange(1, size + 1, dtype=np.float64)
    for p in (0.0, 0.3, 1 - 2.0**-40, 1.0):
        expected = x * reference.dropout_mask(size, p, key((3, 4)))
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(F.dropout(x, p, seed=(3, 4), threads=threads), expected)
    assert_close(F.dropout(x.astype(F32), 0.3, seed=5), F.dropout(x, 0.3, seed=5), "float32_rounding")


def test_bad_dropout() -> None:
    for p, error, message in (
        (-0.1, ValueError, "p: expected a number from 0 to 1, got -0.1"),
        (np.nan, ValueError, "p: expected"),
    ):
        with pytest.raises(error, match=message):
            F.dropout(np.ones(3), p, seed=1)
    with pytest.raises(TypeError, match="x: expected dtype float32 or float64, got int64"):
        F.dropout(np.ones(3, int), 0.5, seed=1)
    with pytest.raises(ValueError, match="seed: expected whole numbers from 0 up"):
        F.dropout(np.ones(3), 0.5, seed=-1)


def test_dropout_follows_its_seed() -> None:
    dropout, x = nn.Dropout(0.5), np.ones((8, 8), F32)
    one, same, other = (dropout.forward(x, seed=seed)[0] for seed in ((1, 2), [1, 2], (1, 3)))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_dropout_acts_in_training_only() -> None:
    x = np.ones(4, F32)
    for dropout in (nn.Dropout(0.5).eval(), nn.Dropout(0.0)):
        y, tape = dropout.forward(x)
        assert y is x
        assert dropout.backward(tape, x)[0] is x
    assert nn.Dropout(0.5)(x) is x
    assert not nn.Dropout(1.0).forward(x, seed=1)[0].any()


# Normalisation


def test_batch_norm_moves_its_buffers_by_new_versions(rng: np.random.Generator) -> None:
    norm = nn.BatchNorm1d(3, momentum=0.25, dtype="float64")
    assert list(norm.parameters()) == ["weight", "bias"]
    before = norm.state_dict()
    x = rng.standard_normal((5, 3))
    norm.forward(x)
    after = norm.state_dict()
    np.testing.assert_array_equal(before["running_mean"], np.zeros(3))
    assert_close(after["running_mean"], 0.25 * x.mean(0), "float64")
    assert_close(after["running_var"], 0.75 + 0.25 * x.var(0, ddof=1), "float64")
    assert after["num_batches_tracked"] == 1
    assert after["weight"] is before["weight"]
    norm(x)
    norm.eval().forward(x)
    assert all(norm.state_dict()[name] is array for name, array in after.items())


def test_batch_norm_without_momentum_averages_all_batches(rng: np.random.Generator) -> None:
    norm = nn.BatchNorm1d(2, momentum=None, dtype="float64")
    batches = [rng.standard_normal((4, 2)) for _ in range(3)]
    for batch in batches:
        norm.forward(batch)
    assert_close(norm.state_dict()["running_mean"], np.mean([batch.mean(0) for batch in batches], 0), "float64")


@pytest.mark.parametrize("norm", [nn.LayerNorm(300), nn.BatchNorm1d(300).eval()], ids=["layer", "batch"])
def test_a_row_is_normalised_without_regard_to_others(norm: nn.Module, rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 300)).astype(F32)
    together = norm(x)
    for row in (0, 7, 49):
        np.testing.assert_array_equal(norm(x[row : row + 1])[0], together[row])


def test_normalisation_in_float32_is_that_of_float64(rng: np.random.Generator) -> None:
    """Also far from zero, where mean of squares minus square of mean would have no digit left."""
    x = (1000 + rng.standard_normal((4000, 8))).astype(F32)
    for single, double in [
        (nn.LayerNorm(8), nn.LayerNorm(8, dtype="float64")),
        (nn.BatchNorm1d(8), nn.BatchNorm1d(8, dtype="float64")),
    ]:
        y, _ = single.forward(x)
        expected, _ = double.forward(x.astype(np.float64))
        assert_close(y, expected, "normalised_far_from_zero")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_goes_through_without_a_warning(value: float) -> None:
    x = np.ones((4, 2), F32)
    x[:, 1] = [1, 2, 3, 4]
    clean = nn.BatchNorm1d(2).forward(x)[0][:, 1]
    x[1, 0] = value
    norm = nn.BatchNorm1d(2)
    y, tape = norm.forward(x)
    np.testing.assert_array_equal(y[:, 1], clean)
    assert value == 3e38 or np.isnan(y[1, 0])
    d_x, _ = norm.backward(tape, np.ones_like(y))
    assert np.isfinite(d_x[:, 1]).all()
    norm = nn.LayerNorm(2)
    y, tape = norm.forward(x)
    assert value == 3e38 or np.isnan(y[1]).all()
    d_x, _ = norm.backward(tape, np.ones_like(y))
    assert np.isfinite(y[[0, 2, 3]]).all()
    assert np.isfinite(d_x[[0, 2, 3]]).all()


# Chains


class Spy(Module):
    """Hands its input through and notes the keywords of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def _call(self, snapshot: Snapshot, x: Any, **keywords: Any) -> Any:
        self.seen.append(keywords)
        return x

    def _forward(self, snapshot: Snapshot, x: Any, **keywords: Any) -> Any:
        self.seen.append(keywords)
        return x, "tape"

    def _backward(self, saved: Any, d_output: Any, **keywords: Any) -> Any:
        self.seen.append({"saved": saved, **keywords})
        return d_output, {}


@pytest.mark.parametrize(("seed", "path"), [(3, (3,)), ((3, 4), (3, 4)), (None, None)])
def test_seeds_and_threads_are_handed_on(seed: Any, path: Any) -> None:
    first, inner, last = Spy(), Spy(), Spy()
    model = nn.Sequential(first, nn.Sequential(Spy(), inner), last)
    x = np.ones(2)
    model(x, threads=2)
    _, tape = model.forward(x, seed=seed, threads=3)
    model.backward(tape, x, threads=4)
    for spy, place in ((first, (0,)), (inner, (1, 1)), (last, (2,))):
        assert spy.seen == [
            {"threads": 2},
            {"seed": None if path is None else path + place, "threads": 3},
            {"saved": "tape", "threads": 4},
        ]


def test_a_chain_is_its_layers(rng: np.random.Generator) -> None:
    model = nn.Sequential(
        {
            "embedding": nn.Embedding(9, 4, seed=1),
            "gru": nn.GRU(4, [6, 5], seed=2),
            "encoder": nn.Sequential(nn.GRU(5, 3, bidirectional=True, seed=3)),
            "linear": nn.Linear(6, 2, seed=4),
        }
    )
    assert (len(model), model[-1], next(iter(model))) == (4, model.linear, model.embedding)
    assert model.recurrent
    indices = rng.integers(0, 9, (7, 2))
    states = [
        [rng.standard_normal((1, 2, size)).astype(F32) for size in (6, 5)],
        [rng.standard_normal((2, 2, 3)).astype(F32)],
    ]
    output, final = model(indices, states)
    x, first = model.gru(model.embedding(indices), states[0])
    x, second = model.encoder[0](x, states[1][0])
    np.testing.assert_array_equal(output, model.linear(x))
    for own, expected in zip([*final[0], *final[1]], [*first, second], strict=True):
        np.testing.assert_array_equal(own, expected)
    (forward, _), tape = model.forward(indices, states=states)
    np.testing.assert_array_equal(forward, output)
    (d_x, d_states), _ = model.backward(tape, output, d_states=[None, final[1]])
    assert d_x is None
    assert [[d.shape for d in d_state] for d_state in d_states] == [[(1, 2, 6), (1, 2, 5)], [(2, 2, 3)]]
    assert not np.array_equal(model(indices)[0], output)


def test_a_chain_hands_on_lengths_and_resets(rng: np.random.Generator) -> None:
    inner = nn.Sequential(nn.GRU(4, 5, bidirectional=True, seed=2))
    model = nn.Sequential(nn.GRU(3, 4, seed=1), inner, nn.Linear(10, 2))
    x, lengths, reset = rng.standard_normal((6, 3, 3)).astype(F32), [6, 2, 0], rng.random((6, 3)) < 0.3
    output, _ = model(x, lengths=lengths, reset=reset)
    first, _ = model[0](x, lengths=lengths, reset=reset)
    second, _ = model[1][0](first, lengths=lengths, reset=reset)
    np.testing.assert_array_equal(output, model[2](second))
    (forward, _), _ = model.forward(x, lengths=lengths, reset=reset)
    np.testing.assert_array_equal(forward, output)
    for name in ("lengths", "reset"):
        with pytest.raises(ValueError, match=f"{name}: expected None, because no layer .*, got list"):
            nn.Sequential(nn.Linear(3, 4))(x, **{name: [1]})


def test_a_chain_without_recurrent_layers_has_no_states(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    x = rng.standard_normal((5, 3)).astype(F32)
    y, tape = model.forward(x)
    np.testing.assert_array_equal(y, model(x))
    d_x, gradients = model.backward(tape, y)
    assert d_x.shape == x.shape
    assert list(gradients) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    np.testing.assert_array_equal(nn.Sequential()(x), x)
    with pytest.raises(ValueError, match="states: expected a list of 0, one per recurrent layer, got 1"):
        model(x, [None])


def test_bad_chains() -> None:
    shared = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="layers: the same module stands at two places"):
        nn.Sequential(shared, nn.Sequential(shared))
    with pytest.raises(TypeError, match="layer 1: expected a Module, got the class Linear"):
        nn.Sequential(shared, nn.Linear)
    with pytest.raises(TypeError, match="layer 0: a GRUCell is stepped by hand; a chain takes a GRU"):
        nn.Sequential(nn.GRUCell(2, 2))
    for name in ("training", "forward", "a.b", ""):
        with pytest.raises(ValueError, match=f"layer {name!r}: this name cannot be used for a layer"):
            nn.Sequential({name: shared})
    model, x = nn.Sequential(nn.GRU(2, 2)), np.ones((3, 1, 2), F32)
    with pytest.raises(ValueError, match="states: expected a list of 1, one per recurrent layer, got ndarray"):
        model(x, np.ones((1, 1, 2), F32))
    (output, _), tape = model.forward(x)
    with pytest.raises(ValueError, match="d_states: expected a list of 1, one per recurrent layer, got 2"):
        model.backward(tape, output, [None, None])


# What a chain refuses when it is built

MISFITS: list[tuple[Callable[[], list[nn.Module]], str]] = [
    (
        lambda: [nn.Embedding(9, 64), nn.GRU(64, 32, bidirectional=True), nn.Linear(32, 9)],
        "layer 2 (Linear): expected in_features = 64, which layer 1 (GRU, bidirectional) gives, got 32",
    ),
    (
        lambda: [nn.Embedding(9, 5), nn.LSTM(4, 3)],
        "layer 1 (LSTM): expected input_size = 5, which layer 0 (Embedding) gives, got 4",
    ),
    (
        lambda: [nn.GRU(3, [6, 5]), nn.Dropout(), nn.LayerNorm(6)],
        "layer 2 (LayerNorm): expected normalized_shape[-1] = 5, which layer 0 (GRU) gives, got 6",
    ),
    (
        lambda: [nn.LayerNorm((2, 3)), nn.RNN(2, 4)],
        "layer 1 (RNN): expected input_size = 3, which layer 0 (LayerNorm) gives, got 2",
    ),
    (
        lambda: [nn.GRU(3, 4), nn.AttentionPooling(3)],
        "layer 1 (AttentionPooling): expected features = 4, which layer 0 (GRU) gives, got 3",
    ),
    (
        lambda: [nn.AttentionPooling(3), nn.Linear(4, 1)],
        "layer 1 (Linear): expected in_features = 3, which layer 0 (AttentionPooling) gives, got 4",
    ),
    (
        lambda: [nn.GRU(3, 4), nn.MeanPooling(), nn.BatchNorm1d(3)],
        "layer 2 (BatchNorm1d): expected num_features = 4, which layer 0 (GRU) gives, got 3",
    ),
    (
        lambda: [nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Dropout(), nn.Linear(4, 1))],
        "layer 1.1 (Linear): expected in_features = 3, which layer 0.0 (Linear) gives, got 4",
    ),
    *[
        (
            lambda pooling=pooling: [nn.GRU(3, 4, batch_first=True), nn.Linear(4, 4), pooling],
            f"layer 2 ({type(pooling).__name__}): expected {type(pooling).__name__}(batch_first=True), "
            "because layer 0 (GRU) gives (B, T, ...), got batch_first=False",
        )
        for pooling in (nn.LastPooling(), nn.MeanPooling(), nn.AttentionPooling(4))
    ],
    (
        lambda: [nn.Sequential(nn.RNN(3, 4)), nn.LSTM(4, 4, batch_first=True)],
        "layer 1 (LSTM): expected LSTM(batch_first=False), because layer 0.0 (RNN) gives (T, B, ...), "
        "got batch_first=True",
    ),
    (
        lambda: [nn.GRU(3, 4), nn.LastPooling(), nn.GRU(4, 4)],
        "layer 2 (GRU): expected sequences, got (B, ...) without a time axis from layer 1 (LastPooling)",
    ),
    (
        lambda: [nn.GRU(3, 4, batch_first=True), nn.BatchNorm1d(4)],
        "layer 1 (BatchNorm1d): expected (N, C) or (N, C, L), got (B, T, ...) with the features on the last axis "
        "from layer 0 (GRU); use LayerNorm, or pool first",
    ),
    (
        lambda: [nn.GRU(3, 4), nn.BatchNorm1d(4)],
        "layer 1 (BatchNorm1d): expected (N, C) or (N, C, L), got (T, B, ...) with",
    ),
    (
        lambda: [nn.GRU(3, 4), nn.LayerNorm(4), nn.LastPooling(bidirectional=True)],
        "layer 2 (LastPooling): expected LastPooling(bidirectional=False), because layer 0 (GRU) gives one direction, "
        "got bidirectional=True",
    ),
    (
        lambda: [nn.GRU(3, 4, direction="reverse"), nn.LastPooling()],
        "layer 1 (LastPooling): expected a layer that ends at a row's last step, or a bidirectional one, "
        "got direction='reverse' from layer 0 (GRU, reverse)",
    ),
    (
        lambda: [nn.RNN(3, 4), nn.Sequential(nn.LSTM(4, 2, bidirectional=True)), nn.Dropout(), nn.LastPooling()],
        "layer 3 (LastPooling): expected LastPooling(bidirectional=True), because layer 1.0 (LSTM, bidirectional) "
        "gives two directions, got bidirectional=False",
    ),
    *[
        (
            lambda before=before: [before(), nn.Embedding(9, 2)],
            f"layer 1 (Embedding): expected indices, got {given} from layer 0 ({before().__class__.__name__})",
        )
        for before, given in [
            (lambda: nn.GRU(3, 4), "float32"),
            (lambda: nn.Linear(3, 4, dtype="float64"), "float64"),
            (lambda: nn.Embedding(3, 4), "float32"),
            (lambda: nn.LayerNorm(4), "float32"),
            (lambda: nn.BatchNorm1d(4), "float32"),
            (lambda: nn.AttentionPooling(4, dtype="float64"), "float64"),
            (nn.MeanPooling, "floats"),
            (nn.Dropout, "floats"),
        ]
    ],
    *[
        (
            lambda layers=layers: [*layers(), nn.Linear(4, 1, dtype="float64")],
            f"layer {len(layers())} (Linear): expected dtype = float32, which "
            f"layer 0 ({layers()[0].__class__.__name__}) gives, got float64",
        )
        for layers in [
            lambda: [nn.LSTM(3, 4)],
            lambda: [nn.Embedding(9, 4), nn.Dropout(), nn.MeanPooling()],
            lambda: [nn.LayerNorm(4)],
            lambda: [nn.BatchNorm1d(4)],
            lambda: [nn.AttentionPooling(4)],
        ]
    ],
    *[
        (
            lambda layer=layer: [nn.Linear(3, 4, dtype="float64"), layer()],
            f"layer 1 ({layer().__class__.__name__}): expected dtype = float64, which "
            "layer 0 (Linear) gives, got float32",
        )
        for layer in [
            lambda: nn.GRU(4, 2),
            lambda: nn.LayerNorm(4),
            lambda: nn.AttentionPooling(4),
            lambda: nn.Linear(4, 2),
        ]
    ],
]


@pytest.mark.parametrize(("layers", "message"), MISFITS, ids=[message[:60] for _, message in MISFITS])
def test_layers_that_do_not_fit_are_named(layers: Callable[[], list[nn.Module]], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        nn.Sequential(*layers())


def test_what_a_chain_cannot_know_it_leaves_alone() -> None:
    nn.Sequential(nn.GRU(3, 4), Spy(), nn.Linear(5, 1), Spy(), nn.LastPooling(batch_first=True), Spy(), nn.GRU(7, 2))
    nn.Sequential(nn.BatchNorm1d(3), nn.GRU(3, 4), nn.MeanPooling(), nn.Dropout(), nn.BatchNorm1d(4))
    nn.Sequential(nn.LastPooling(batch_first=True), nn.Linear(4, 1))
    nn.Sequential(nn.GRU(3, 4, bidirectional=True), nn.Linear(8, 4), nn.LastPooling(bidirectional=True))
    nn.Sequential(nn.LastPooling(bidirectional=True), nn.Dropout(), nn.Linear(4, 1, dtype="float64"))
    nn.Sequential(nn.GRU(3, 4), Spy(), nn.Embedding(3, 4), Spy(), nn.Linear(4, 4, dtype="float64"))


# What any layer refuses


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: nn.Linear(-1, 2), ValueError, "in_features: expected a whole number from 0 up, got -1"),
        (lambda: nn.Linear(2, 2.5), TypeError, "out_features: expected a whole number, got 2.5"),
        (lambda: nn.Linear(2, 2, None), TypeError, "bias: expected True or False, got None"),
        (
            lambda: nn.Linear(2, 2, dtype="int32"),
            TypeError,
            "dtype: expected float32 or float64, got 'int32'",
        ),
        (
            lambda: nn.Embedding(-2, 2),
            ValueError,
            "num_embeddings: expected a whole number from 0 up, got -2",
        ),
        (lambda: nn.Embedding(2, "2"), TypeError, "embedding_dim: expected a whole number, got '2'"),
        (lambda: nn.Embedding(2, 2, 2), ValueError, "padding_idx: expected a whole number from -2 to 1, got 2"),
        (
            lambda: nn.Embedding(2, 2, -3),
            ValueError,
            "padding_idx: expected a whole number from -2 to 1, got -3",
        ),
        (lambda: nn.Embedding(2, 2, 0.0), TypeError, "padding_idx: expected a whole number, got 0.0"),
        (lambda: nn.Dropout(-0.1), ValueError, "p: expected a number from 0 to 1, got -0.1"),
        (lambda: nn.Dropout(np.nan), ValueError, "p: expected a number from 0 to 1, got nan"),
        (lambda: nn.BatchNorm1d(0), ValueError, "num_features: expected a whole number from 1 up, got 0"),
        (lambda: nn.BatchNorm1d(2, eps=-1), ValueError, "eps: expected a number from 0 up, got -1"),
        (lambda: nn.BatchNorm1d(2, momentum=2), ValueError, "momentum: expected a number from 0 to 1, got 2"),
        (lambda: nn.BatchNorm1d(2, affine=1), TypeError, "affine: expected True or False, got 1"),
        (lambda: nn.LayerNorm([]), ValueError, "normalized_shape: expected at least one axis, got none"),
        (
            lambda: nn.LayerNorm([2, 0]),
            ValueError,
            "normalized_shape: expected a whole number from 1 up, got 0",
        ),
        (lambda: nn.LayerNorm(2, bias=0), TypeError, "bias: expected True or False, got 0"),
        (
            lambda: nn.Linear(2**40, 2**40),
            ValueError,
            r"in_features, out_features: .* memory can hold, got one of shape \(1099511",
        ),
        (lambda: nn.Linear(10**400, 1), ValueError, "in_features: expected a whole number .* a number of 1329 bits"),
        *[
            (make, error, f"^{sizes}: expected arrays that memory can hold, got one of shape")
            for make, error, sizes in (
                (lambda: nn.Embedding(2**62, 4), ValueError, "num_embeddings, embedding_dim"),
                (lambda: nn.Embedding(2**62, 0), ValueError, "num_embeddings, embedding_dim"),
                (lambda: nn.Embedding(2**40, 2**10), MemoryError, "num_embeddings, embedding_dim"),
                (lambda: F.embedding_backward([0], np.ones((1, 4)), 2**62), ValueError, "num_embeddings"),
                (lambda: F.embedding_backward([0], np.ones((1, 4)), 2**50), MemoryError, "num_embeddings"),
                (lambda: nn.Linear(0, 2**62), ValueError, "in_features, out_features"),
                (lambda: nn.Linear(2**50, 1), MemoryError, "in_features, out_features"),
                (lambda: nn.GRU(2**62, 2), ValueError, "input_size, hidden_size"),
                (lambda: nn.RNN(0, 2**62), ValueError, "input_size, hidden_size"),
                (lambda: nn.LSTM(3, 2**25), MemoryError, "input_size, hidden_size"),
                (lambda: nn.GRUCell(2**62, 1), ValueError, "input_size, hidden_size"),
                (lambda: nn.GRUCell(2**50, 1), MemoryError, "input_size, hidden_size"),
                (lambda: nn.AttentionPooling(2**50, 1), MemoryError, "features, attention_size"),
                (lambda: nn.BatchNorm1d(2**62), ValueError, "num_features"),
                (lambda: nn.BatchNorm1d(2**50), MemoryError, "num_features"),
                (lambda: nn.LayerNorm([2**40, 2**40]), ValueError, "normalized_shape"),
                (lambda: nn.LayerNorm(2**50), MemoryError, "normalized_shape"),
            )
        ],
    ],
)
def test_bad_arguments(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    ("module", "x", "error", "message"),
    [
        (nn.Linear(3, 2), np.ones((4, 2), F32), ValueError, r"x: expected shape \(..., I\) with I = 3"),
        (nn.Linear(3, 2), np.ones((4, 3)), TypeError, "x: expected dtype float32, got float64"),
        (nn.Linear(3, 2), None, TypeError, "x: expected an array, got None"),
        (nn.Embedding(3, 2), np.ones(2), TypeError, "indices: expected an integer dtype, got float64"),
        (nn.Embedding(3, 2), np.array([0, 3]), ValueError, r"indices: expected 0 to 2, got 3 at \(1,\)"),
        (nn.Embedding(3, 2), np.array([[-1]]), ValueError, r"indices: expected 0 to 2, got -1 at \(0, 0\)"),
        (nn.Embedding(3, 2), np.array([True]), TypeError, "indices: expected an integer dtype, got bool"),
        (nn.Embedding(3, 2), np.array([2**64 - 1]), ValueError, "indices: expected 0 to 2, got"),
        (nn.Dropout(0.5), np.ones(2, int), TypeError, "x: expected dtype float32 or float64, got int64"),
        (nn.Dropout(0.5), ["a"], TypeError, "x: expected dtype float32 or float64, got <U1"),
        (
            nn.BatchNorm1d(3),
            np.ones(3, F32),
            ValueError,
            r"x: expected 2 or 3 dimensions \(N, C\) or \(N, C, L\), got 1 with shape \(3,\)",
        ),
        (nn.BatchNorm1d(3), np.ones((3, 2), F32), ValueError, "x: expected 3 channels on axis 1, got shape"),
        (nn.BatchNorm1d(3), np.ones((2, 3)), TypeError, "x: expected dtype float32, got float64"),
        (
            nn.LayerNorm(3),
            np.ones((3, 2), F32),
            ValueError,
            r"x: expected last axes of sizes \(3,\), got shape",
        ),
        (nn.LayerNorm((2, 3)), np.ones(3, F32), ValueError, r"x: expected last axes of sizes \(2, 3\), got"),
        (nn.LayerNorm(3), np.ones((2, 3), complex), TypeError, "x: expected dtype float32, got complex128"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_bad_inputs(module: nn.Module, x: Any, error: type[Exception], message: str) -> None:
    for call in (module, lambda x: module.forward(x, seed=1)):
        with pytest.raises(error, match=message):
            call(x)


each_with_input = pytest.mark.parametrize(
    ("module", "x"),
    [
        (nn.Linear(3, 2), np.ones((4, 3), F32)),
        (nn.Embedding(3, 2), np.array([0, 1, 1, 2])),
        (nn.Dropout(0.5), np.ones((4, 2), F32)),
        (nn.BatchNorm1d(2, affine=False), np.ones((4, 2), F32)),
        (nn.LayerNorm(2, elementwise_affine=False), np.ones((4, 2), F32)),
    ],
    ids=lambda value: type(value).__name__,
)


@each_with_input
def test_bad_gradients(module: nn.Module, x: np.ndarray) -> None:
    y, tape = module.forward(x, seed=1)
    with pytest.raises(ValueError, match="d_output: expected shape"):
        module.backward(tape, y[1:])
    with pytest.raises(TypeError, match="d_output: expected dtype float32"):
        module.backward(tape, y.astype(int))
    module.backward(tape, y)


@each_with_input
def test_the_users_arrays_cannot_spoil_the_gradients(module: nn.Module, x: np.ndarray) -> None:
    x = x.copy()
    y, tape = module.forward(x, seed=1)
    d_x, gradients = module.backward(tape, y)
    x[...] = 0
    with pytest.raises(ValueError, match="read-only"):
        y[...] = 0
    d_x_again, gradients_again = module.backward(tape, y)
    np.testing.assert_equal(d_x_again, d_x)
    np.testing.assert_equal(gradients_again, gradients)


def test_a_batch_needs_two_values_per_channel() -> None:
    message = "x: expected at least 2 values per channel, got 1 with shape"
    with pytest.raises(ValueError, match=message):
        nn.BatchNorm1d(2).forward(np.ones((1, 2), F32))
    with pytest.raises(ValueError, match=message):
        nn.BatchNorm1d(2, track_running_stats=False)(np.ones((1, 2, 1), F32))
    assert nn.BatchNorm1d(2)(np.ones((1, 2), F32)).shape == (1, 2)
    assert nn.BatchNorm1d(2)(np.ones((0, 2), F32)).shape == (0, 2)
    nn.BatchNorm1d(2).forward(np.ones((1, 2, 2), F32))


@pytest.mark.parametrize("tracked", [False, True])
def test_a_batch_without_a_value_leaves_the_running_ones(tracked: bool) -> None:
    norm = nn.BatchNorm1d(2, track_running_stats=tracked)
    before = norm.state_dict()
    y, tape = norm.forward(np.ones((0, 2), F32))
    d_x, gradients = norm.backward(tape, y)
    assert y.shape == d_x.shape == (0, 2)
    np.testing.assert_equal(gradients, {"weight": np.zeros(2, F32), "bias": np.zeros(2, F32)})
    np.testing.assert_equal(norm.state_dict(), before)


@pytest.mark.parametrize("module", [nn.Linear(2, 2), nn.GRU(2, 2), nn.GRUCell(2, 2)], ids=lambda m: type(m).__name__)
def test_bad_threads(module: nn.Module) -> None:
    x = np.ones((1, 2), F32)
    for call in (module, module.forward):
        with pytest.raises(ValueError, match="threads: expected a whole number from 1 to 256, got 0"):
            call(x, threads=0)
        with pytest.raises(TypeError, match="threads: expected a whole number"):
            call(x, threads="2")


# Configurations

LAYERS = [
    nn.Linear(3, 2, bias=False, dtype="float64"),
    nn.Embedding(5, 3, padding_idx=-1),
    nn.Dropout(0.25),
    nn.BatchNorm1d(3, eps=1e-3, momentum=None, affine=False),
    nn.BatchNorm1d(3, track_running_stats=False, dtype="float64"),
    nn.LayerNorm((2, 3), eps=1e-4, bias=False),
    nn.LayerNorm(3, elementwise_affine=False),
    nn.GRUCell(3, 4, bias=False, reset_after=False, dtype="float64"),
    nn.LSTM(3, [4, 2], bidirectional=True),
    nn.LSTMCell(3, 4, dtype="float64"),
    nn.RNN(3, 4, 2, nonlinearity="relu"),
    nn.RNNCell(3, 4, bias=False),
    nn.GRU(3, 4, activation=("linear", 0.5), recurrent_activation=("hard_sigmoid", 0.2, 0.5), direction="reverse"),
    nn.GRUCell(3, 4, activation="relu", clip=1.5),
    nn.LSTM(3, [4, 5], bidirectional=True, peepholes=True, input_forget=True, clip=2),
    nn.LSTM(3, 4, 2, proj_size=2, dtype="float64"),
    nn.LSTMCell(3, 4, peepholes=True, recurrent_activation="hard_sigmoid", cell_activation=("elu", 0.5)),
    nn.RNN(3, 4, direction="reverse", clip=0.5),
    nn.GRU(3, 4, 2, bias=False, batch_first=True, dropout=0.1, bidirectional=True, reset_after=False),
    nn.GRU(3, [4, 5], dtype="float64"),
    nn.Sequential(
        {
            "embedding": nn.Embedding(5, 3),
            "inner": nn.Sequential(nn.GRU(3, [4]), nn.LayerNorm(4)),
            "7": nn.Dropout(),
        }
    ),
]


@pytest.mark.parametrize("module", LAYERS, ids=lambda module: type(module).__name__)
def test_a_configuration_builds_the_same_module(module: nn.Module) -> None:
    config = module.config()
    again = nn.from_config(json.loads(json.dumps(config)))
    assert type(again) is type(module)
    assert again.config() == config
    again.load_state_dict(module.state_dict())
    for name, array in module.state_dict().items():
        assert again.state_dict()[name].dtype == array.dtype
        np.testing.assert_array_equal(again.state_dict()[name], array)


def test_numpy_numbers_make_a_configuration_too() -> None:
    gru = nn.GRU(np.int64(3), (np.int32(4), 5), bias=np.bool_(True), dropout=np.float32(0.5))
    assert nn.from_config(json.loads(json.dumps(gru.config()))).config() == gru.config()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "config: expected a description of one of"),
        ({"type": "Module"}, "config: expected a description of one of"),
        ({"type": ["GRU"]}, "config: expected a description of one of"),
        ({"type": "Sequential"}, "config: expected a description of one of"),
        ({"type": "Sequential", "layers": []}, "config: expected a description of one of"),
        ({"type": "Sequential", "layers": {"0": 1}}, "config: expected a mapping from names to settings, got int"),
        ({"type": "Linear"}, "config: no Linear can be built from {}: .*in_features"),
        ({"type": "Linear", "in_features": 1, "out_features": 1, "size": 2}, "no Linear .*'size'"),
        ({"type": "Linear", "in_features": 1, "out_features": -1}, "no Linear .*out_features: expected"),
        ({"type": "GRU", "input_size": 1, "hidden_size": 1, "dtype": "float16"}, "no GRU .*dtype: expected"),
    ],
)
def test_bad_configurations(config: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        nn.from_config(config)


def test_a_module_as_padding_is_refused() -> None:
    with pytest.raises(TypeError, match="^padding_idx: expected a whole number, got Linear"):
        nn.Embedding(5, 3, padding_idx=nn.Linear(1, 1))  # type: ignore[arg-type]


# What goes together

OPTIONS: dict[str, dict[str, Any]] = {
    "activations": {"activation": "softsign"},
    "clip": {"clip": 0.9},
    "peepholes": {"peepholes": True},
    "input_forget": {"input_forget": True},
    "proj_size": {"proj_size": 3},
    "zoneout": {"zoneout": 0.5},
    "input_dropout": {"input_dropout": 0.5},
    "recurrent_dropout": {"recurrent_dropout": 0.5},
    "layer_norm": {"layer_norm": True},
    "lengths": {},
    "mask": {},
    "reset": {},
    "reverse": {"direction": "reverse"},
}
DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "layers.md").read_text()


def test_the_document_has_all_options() -> None:
    assert [name for name in OPTIONS if f"\n| {name} | " in DOCUMENT] == list(OPTIONS)
    assert f"\n| | {' | '.join(OPTIONS)} |\n" in DOCUMENT


@pytest.mark.parametrize("name", OPTIONS)
def test_options_go_together_as_the_document_says(name: str, rng: np.random.Generator) -> None:
    [row] = [line for line in DOCUMENT.splitlines() if line.startswith(f"| {name} |") and line.count("|") > 9]
    said = dict(zip(OPTIONS, row.strip("| ").split(" | ")[1:], strict=True))
    found = {
        other: "yes" if any(go_together(kind, {name, other}, rng) for kind in RECURRENT) else "no" for other in said
    }
    assert found == said


RECURRENT: list[Callable[..., Any]] = [nn.GRU, nn.LSTM, nn.RNN]


def go_together(kind: Callable[..., Any], names: set[str], rng: np.random.Generator) -> bool:
    """Return whether a kind of layer has all these options and trains with them."""
    options = {key: value for name in names for key, value in OPTIONS[name].items()}
    flags = np.eye(6, 2, dtype=bool)
    steps = {name: own for name, own in {"lengths": [6, 4], "mask": ~flags, "reset": flags}.items() if name in names}
    try:
        stack = kind(3, 5, 2, dtype="float64", seed=1, **options)
        stack(np.zeros((6, 2, 3)), **steps)
    except (TypeError, ValueError):
        return False
    for keep in ("gates", "states"):
        (output, _), tape = stack.forward(rng.standard_normal((6, 2, 3)), **steps, tape=keep, seed=1)
        _, gradients = stack.backward(tape, np.ones_like(output))
        assert gradients.keys() == stack.parameters().keys()
    return True


# Batch normalisation of sequences


@pytest.mark.parametrize("batch_first", [False, True])
def test_batch_norm_of_the_steps_that_count(batch_first: bool, rng: np.random.Generator) -> None:
    """As of those steps side by side, (N, C): outputs, gradients, running values."""
    lengths = np.array([4, 0, 7, 2])
    live = np.arange(7)[:, None] < lengths
    x, d = rng.standard_normal((2, 7, 4, 3))
    live, x, d = (each.swapaxes(0, 1) for each in (live, x, d)) if batch_first else (live, x, d)
    x[~live] = np.nan
    layer = nn.BatchNorm1d(3, channels_last=True, batch_first=batch_first, dtype="float64")
    rows = nn.BatchNorm1d(3, dtype="float64")
    y, tape = layer.forward(x, lengths)
    expected, of_rows = rows.forward(x[live])
    np.testing.assert_array_equal(y[live], expected)
    assert not y[~live].any()
    d_x, gradients = layer.backward(tape, d)
    d_rows, expected_gradients = rows.backward(of_rows, d[live])
    np.testing.assert_array_equal(d_x[live], d_rows)
    assert not d_x[~live].any()
    for name, gradient in expected_gradients.items():
        np.testing.assert_array_equal(gradients[name], gradient)
    for name, value in rows.state_dict().items():
        np.testing.assert_array_equal(layer.state_dict()[name], value)
    layer.eval()
    np.testing.assert_array_equal(layer(x, lengths)[live], rows(x[live]))
    whole = layer.train().forward(np.nan_to_num(x))[0]
    assert_close(whole.mean((0, 1)), np.zeros(3), "float64")


def test_batch_norm_has_keras_formula(rng: np.random.Generator) -> None:
    """Of which the running variance is biased, and the momentum that of what was before."""
    layer = nn.BatchNorm1d(3, eps=1e-3, momentum=0.01, channels_last=True, biased=True, dtype="float64")
    mean, var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = rng.normal(1, 2, (5, 4, 3))
        y, _ = layer.forward(x)
        own = x.reshape(-1, 3)
        assert_close(y, (x - own.mean(0)) / np.sqrt(own.var(0) + 1e-3), "float64")
        mean, var = 0.99 * mean + 0.01 * own.mean(0), 0.99 * var + 0.01 * own.var(0)
    state = layer.state_dict()
    assert_close(state["running_mean"], mean, "float64")
    assert_close(state["running_var"], var, "float64")


def test_batch_norm_between_recurrent_layers(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.GRU(3, 4, seed=1), nn.BatchNorm1d(4, channels_last=True), nn.GRU(4, 2, seed=2))
    assert nn.from_config(model.config()).config() == model.config()
    x, lengths = rng.standard_normal((6, 3, 3)).astype(F32), np.array([6, 2, 4])
    (output, _), tape = model.forward(x, None, lengths)
    _, gradients = model.backward(tape, np.ones_like(output))
    assert gradients.keys() == model.parameters().keys()
    assert not output[4:, 1:].any()
    np.testing.assert_array_equal(model.stream(3).run(x[:2]), model(x[:2])[0])
    for layers, message in (
        ([nn.GRU(3, 4), nn.BatchNorm1d(4)], "BatchNorm1d"),
        ([nn.GRU(3, 4), nn.BatchNorm1d(5, channels_last=True)], "num_features = 4"),
        ([nn.GRU(3, 4), nn.BatchNorm1d(4, channels_last=True, batch_first=True)], "batch_first=False"),
    ):
        with pytest.raises(ValueError, match=message):
            nn.Sequential(*layers)
    with pytest.raises(ValueError, match="lengths: expected channels_last and x with a time axis"):
        nn.BatchNorm1d(3)(np.zeros((2, 3), F32), [1, 2])
    with pytest.raises(ValueError, match="batch_first: expected channels_last"):
        nn.BatchNorm1d(3, batch_first=True)
