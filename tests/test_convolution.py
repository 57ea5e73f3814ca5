"""Convolution over time: a sum written by hand, PyTorch, finite differences, lengths, chains and bits."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from cases import ISAS, THREADS, Array, assert_same_bits

import gru_native as gn
import gru_native.functional as F
from gru_native import losses, nn, optim
from gru_native.train import Sequences, Trainer

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
F64: dict[str, Any] = {"dtype": "float64", "seed": 0}

# C, O, kernel, stride, padding, dilation
SHAPES = [
    (4, 5, 3, 1, "same", 1),
    (4, 5, 4, 1, "same", 3),
    (3, 17, 4, 2, "causal", 1),
    (3, 17, 3, 3, "causal", 2),
    (1, 33, 5, 3, 2, 2),
    (2, 3, 2, 4, 1, 3),
    (5, 6, 9, 1, 3, 1),
    (16, 40, 1, 1, 0, 1),
]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRU_NATIVE_ISA", request.param)
    return str(request.param)


def layer(shape: tuple[Any, ...], **own: Any) -> nn.Conv1d:
    channels, outputs, kernel, stride, padding, dilation = shape
    return nn.Conv1d(channels, outputs, kernel, stride=stride, padding=padding, dilation=dilation, **own)


def by_hand(conv: nn.Conv1d, x: Array) -> Array:
    """Return the convolution of one row (T, C)."""
    weight, bias = (conv.parameters()[name].astype(np.float64) for name in ("weight", "bias"))
    reach = (conv.kernel_size - 1) * conv.dilation
    left = {"causal": reach, "same": reach // 2}.get(str(conv.padding), conv.padding)
    right = left if isinstance(conv.padding, int) else reach - int(left)
    padded = np.pad(x.astype(np.float64), ((int(left), int(right)), (0, 0)))
    starts = range(0, len(padded) - reach if len(x) else 0, conv.stride)
    windows = [padded[at : at + reach + 1 : conv.dilation] for at in starts]
    return np.array([bias + np.einsum("ock,kc->o", weight, own) for own in windows]).reshape(-1, len(bias))


@both_dtypes
@shapes
@pytest.mark.parametrize("steps", [0, 1, 2, 11, 150])
def test_the_sum(rng: np.random.Generator, isa: str, dtype: str, shape: tuple[Any, ...], steps: int) -> None:
    conv = layer(shape, dtype=dtype, seed=1)
    x = rng.standard_normal((steps, 3, shape[0])).astype(dtype)
    expected = np.stack([by_hand(conv, row) for row in x.swapaxes(0, 1)], axis=1)
    y = conv(x)
    assert y.shape == expected.shape
    assert conv.output_lengths(steps) == len(expected)
    np.testing.assert_allclose(y, expected, atol=2e-5 if dtype == "float32" else 1e-12)
    if steps:
        assert_same_bits(conv(x[:, 1]), y[:, 1])
    turned = layer(shape, batch_first=True, dtype=dtype, seed=1)
    assert_same_bits(turned(x.swapaxes(0, 1)), y.swapaxes(0, 1).copy())


@shapes
def test_pytorch(rng: np.random.Generator, shape: tuple[Any, ...]) -> None:
    torch = pytest.importorskip("torch")
    channels, outputs, kernel, stride, padding, dilation = shape
    reach = (kernel - 1) * dilation
    theirs = torch.nn.Conv1d(channels, outputs, kernel, stride, padding if isinstance(padding, int) else 0, dilation)
    conv = layer(shape, seed=1)
    conv.load_state_dict(theirs.state_dict())
    x = rng.standard_normal((40, 5, channels)).astype("float32")
    given = torch.tensor(x.transpose(1, 2, 0), requires_grad=True)
    left = {"causal": reach, "same": reach // 2}.get(str(padding), 0)
    sides = (left, reach - left) if isinstance(padding, str) else (0, 0)
    y = theirs(torch.nn.functional.pad(given, sides))
    d = rng.standard_normal(y.shape).astype("float32")
    y.backward(torch.tensor(d))
    own, tape = conv.forward(x)
    d_x, gradients = conv.backward(tape, d.transpose(2, 0, 1))
    for found, expected in (
        (own, y.detach().permute(2, 0, 1)),
        (d_x, given.grad.permute(2, 0, 1)),
        (gradients["weight"], theirs.weight.grad),
        (gradients["bias"], theirs.bias.grad),
    ):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


@both_dtypes
@shapes
@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_counts_as_zeros(
    rng: np.random.Generator, isa: str, dtype: str, shape: tuple[Any, ...], batch_first: bool
) -> None:
    lengths = np.array([7, 0, 20, 1, 13])
    x = np.full((20, 5, shape[0]), np.nan, dtype)
    for row, length in enumerate(lengths):
        x[:length, row] = rng.standard_normal((length, shape[0]))
    turn = (lambda a: a.swapaxes(0, 1)) if batch_first else (lambda a: a)
    conv = layer(shape, batch_first=batch_first, dtype=dtype, seed=1)
    y, tape = conv.forward(turn(x), lengths)
    assert_same_bits(conv(turn(x), lengths), y)
    d = rng.standard_normal(y.shape).astype(dtype)
    d_x, gradients = conv.backward(tape, d)
    sums = {name: np.zeros(array.shape) for name, array in gradients.items()}
    for row, (length, outputs) in enumerate(zip(lengths, conv.output_lengths(lengths), strict=True)):
        alone, own_tape = conv.forward(x[:length, row])
        assert len(alone) == outputs
        assert_same_bits(turn(y)[:outputs, row], alone)
        assert not turn(y)[outputs:, row].any()
        own_d_x, own = conv.backward(own_tape, turn(d)[:outputs, row])
        assert_same_bits(turn(d_x)[:length, row], own_d_x)
        assert not turn(d_x)[length:, row].any()
        sums = {name: total + own[name] for name, total in sums.items()}
    for name, total in sums.items():
        np.testing.assert_allclose(gradients[name], total, atol=1e-4 if dtype == "float32" else 1e-12)


@both_dtypes
@shapes
def test_bits_on_any_number_of_threads(rng: np.random.Generator, isa: str, dtype: str, shape: tuple[Any, ...]) -> None:
    conv = layer(shape, dtype=dtype, seed=1)
    x = rng.standard_normal((500, 20, shape[0])).astype(dtype)
    lengths = rng.integers(0, 501, 20)
    y, tape = conv.forward(x, lengths, threads=1)
    d_x, gradients = conv.backward(tape, y, threads=1)
    for threads in THREADS[1:]:
        own, own_tape = conv.forward(x, lengths, threads=threads)
        assert_same_bits(own, y)
        own_d_x, own_gradients = conv.backward(own_tape, own, threads=threads)
        assert_same_bits(own_d_x, d_x)
        for name, gradient in gradients.items():
            assert_same_bits(own_gradients[name], gradient, name)


def test_a_chain_hands_on_the_lengths(rng: np.random.Generator) -> None:
    conv, gru = nn.Conv1d(3, 4, 3, stride=2, padding="same", **F64), nn.GRU(4, 5, bidirectional=True, **F64)
    chain = nn.Sequential(conv, nn.Activation("relu"), nn.Sequential(nn.Dropout(0.5)), gru)
    x, lengths = rng.standard_normal((9, 3, 3)), [9, 4, 1]
    expected, h_n = gru(np.maximum(conv(x, lengths), 0), None, conv.output_lengths(lengths))
    output, (own_h_n,) = chain(x, None, lengths)
    assert_same_bits(output, expected)
    assert_same_bits(own_h_n, h_n)
    chain.eval()
    assert_same_bits(chain.forward(x, None, lengths)[0][0], expected)
    assert chain.output_lengths(lengths).tolist() == [5, 2, 1]
    pooled = nn.Sequential(conv, nn.MeanPooling())
    np.testing.assert_allclose(pooled(x, lengths=lengths)[1], conv(x[:4, 1]).mean(0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.Sequential(nn.GRU(2, 3), nn.Conv1d(4, 2, 3)),
            "layer 1 (Conv1d): expected in_channels = 3, which layer 0 (GRU) gives, got 4",
        ),
        (
            lambda: nn.Sequential(nn.Conv1d(4, 2, 3), nn.GRU(3, 3)),
            "layer 1 (GRU): expected input_size = 2, which layer 0 (Conv1d) gives, got 3",
        ),
        (
            lambda: nn.Sequential(nn.Conv1d(4, 2, 3, batch_first=True), nn.GRU(2, 3)),
            "layer 1 (GRU): expected GRU(batch_first=True), because layer 0 (Conv1d) gives (B, T, ...)",
        ),
        (
            lambda: nn.Sequential(nn.Conv1d(2, 2, 3), nn.GRU(2, 3))(np.ones((4, 1, 2), "f4"), reset=np.eye(4, 1) > 0),
            "reset: expected None, because layer 0 (Conv1d) sees steps of other episodes",
        ),
        (
            lambda: nn.Sequential(nn.Conv1d(2, 2, 3), nn.GRU(2, 3))(np.ones((4, 1, 2), "f4"), mask=np.eye(4, 1) > 0),
            "mask: expected None, because a Conv1d changes the number of steps",
        ),
        (lambda: nn.Conv1d(2, 3, 0), "kernel_size: expected a whole number from 1 to 2147483647, got 0"),
        (lambda: nn.Conv1d(2, 3, 3, padding="valid"), "padding: expected 'same' or 'causal', got 'valid'"),
        (lambda: nn.Conv1d(2, 3, 3, padding=-1), "padding: expected a whole number from 0"),
        (lambda: nn.Conv1d(2, 3, 2**20, dilation=2**20), "dilation: expected windows of up to 2147483647 steps"),
        (
            lambda: nn.Conv1d(2, 3, 3)(np.ones((4, 1, 3), "f4")),
            "x: expected shape (T, B, C) or (T, C) with C = 2, got (4, 1, 3)",
        ),
        (
            lambda: nn.Conv1d(2, 3, 3)(np.ones((4, 2), "f4"), [4]),
            "lengths: expected x with a batch axis",
        ),
        (lambda: nn.Conv1d(2, 3, 3)(np.ones((4, 1, 2), "f4"), [5]), "lengths: expected 0 to 4, got 5"),
        (
            lambda: F.conv1d(np.ones((4, 1, 2), "f4"), F.pack_conv1d(np.ones((3, 2, 3), "f4")), F.Windows(5)),
            "windows: expected a kernel_size of which 6 is a multiple, got 5",
        ),
        (lambda: nn.Conv1d(2, 3, 3).stream(), "padding: expected causal, because a step knows nothing of later ones"),
        (
            lambda: nn.Conv1d(2, 3, 3, stride=2, padding="causal").stream(),
            "stride: expected 1, because each step gives an output, got 2",
        ),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_a_mask_in_front_of_a_convolution_that_keeps_the_steps(rng: np.random.Generator) -> None:
    """What counts stands together."""
    conv, gru = nn.Conv1d(3, 4, 3, padding="causal", **F64), nn.GRU(4, 5, **F64)
    x, mask = rng.standard_normal((6, 1, 3)), np.array([[0], [1], [0], [1], [1], [0]], bool)
    output, _ = nn.Sequential(conv, gru)(x, mask=mask)
    expected, _ = gru(conv(x[mask[:, 0]]))
    assert_same_bits(output[mask[:, 0]], expected)


def test_saved_and_shown(tmp_path: Any) -> None:
    model = nn.Sequential(nn.Conv1d(3, 4, 5, stride=2, padding="same", dilation=2, bias=False, seed=1), nn.GRU(4, 2))
    gn.save(model, tmp_path / "model.safetensors")
    loaded = gn.load(tmp_path / "model.safetensors")
    x = np.ones((7, 2, 3), "f4")
    assert_same_bits(loaded(x)[0], model(x)[0])
    assert "Conv1d(in_channels=3, out_channels=4, kernel_size=5, stride=2, padding='same', dilation=2" in repr(loaded)
    assert "(4, 2, 4)" in str(model.summary(x))


def test_trained_and_predicted(rng: np.random.Generator) -> None:
    """Which of two patterns stands somewhere in noise, which no single step tells."""
    patterns = [[1, 1, -1, -1, 1, 1], [1, -1, 1, -1, 1, -1]]
    kinds, rows = rng.integers(2, size=200), []
    for kind in kinds:
        row = rng.normal(0, 0.3, rng.integers(8, 30))
        at = rng.integers(len(row) - 6)
        row[at : at + 6] += patterns[kind]
        rows.append(row[:, None].astype("float32"))
    model = nn.Sequential(
        nn.Conv1d(1, 8, 5, stride=2, padding="same", seed=0),
        nn.GRU(8, 8, seed=0),
        nn.LastPooling(),
        nn.Linear(8, 2, seed=0),
    )
    trainer = Trainer(model, losses.CrossEntropyLoss(), optim.Adam(model, lr=1e-2))
    trainer.fit(Sequences(rows[:150], kinds[:150], batch_size=10, shuffle=True), epochs=12)
    assert (model.predict(rows[150:]).argmax(1) == kinds[150:]).mean() > 0.8
    steps = nn.Sequential(*itertools.islice(model, 2)).predict(rows[:20])
    assert [len(own) for own in steps] == [(len(row) - 1) // 2 + 1 for row in rows[:20]]
