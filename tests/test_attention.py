"""Attention: the formulas by hand, PyTorch, finite differences, lengths, heads and bits."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from cases import ISAS, THREADS, Array, assert_same_bits, central_difference

import gru_native as gn
import gru_native.functional as F
from gru_native import nn

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
# query size, memory size, and the options
KINDS: dict[str, tuple[int, int, dict[str, Any]]] = {
    "additive": (5, 6, {}),
    "additive, of its own size, heads": (5, 6, {"attention_size": 9, "heads": 3}),
    "general": (5, 6, {"score_mode": "general"}),
    "general, heads": (34, 66, {"score_mode": "general", "heads": 2}),
    "dot": (37, 37, {"score_mode": "dot"}),
    "dot, heads": (8, 8, {"score_mode": "dot", "heads": 4}),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRU_NATIVE_ISA", request.param)
    return str(request.param)


def made(kind: str, **own: Any) -> nn.Attention:
    query, memory, options = KINDS[kind]
    return nn.Attention(query, memory, **options, **own)


def by_hand(attention: nn.Attention, query: Array, memory: Array) -> tuple[Array, Array]:
    """Return the context and the weights of one query (Q) to one row (S, M)."""
    p = {name: array.astype(np.float64) for name, array in attention.parameters().items()}
    heads, contexts, weights = attention.heads, [], []
    keys = memory @ p["weight_memory"].T if "weight_memory" in p else memory
    own = p["weight_query"] @ query + p["bias"] if "bias" in p else query
    for head in range(heads):
        part = slice(head * keys.shape[1] // heads, (head + 1) * keys.shape[1] // heads)
        if attention.score_mode == "additive":
            scores = np.tanh(keys[:, part] + own[part]) @ p["score_weight"][part]
        else:
            scores = keys[:, part] @ own[part]
        exponentials = np.exp(scores - scores.max(initial=0))
        weights.append(exponentials / exponentials.sum())
        size = memory.shape[1] // heads
        contexts.append(weights[-1] @ memory[:, head * size : (head + 1) * size])
    return np.concatenate(contexts), np.stack(weights)


@both_dtypes
@every_kind
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_formulas(rng: np.random.Generator, isa: str, dtype: str, kind: str, batch_first: bool) -> None:
    attention = made(kind, batch_first=batch_first, dtype=dtype, seed=1)
    lengths = np.array([11, 0, 4, 1])
    queries = rng.standard_normal((3, 4, attention.query_size)).astype(dtype)
    memory = rng.standard_normal((11, 4, attention.memory_size)).astype(dtype)
    for row, length in enumerate(lengths):
        memory[length:, row] = np.nan
    turn = (lambda a: a.swapaxes(0, 1)) if batch_first else (lambda a: a)
    context, weights = attention(turn(queries), turn(memory), lengths)
    assert context.shape == turn(np.empty((3, 4, attention.memory_size))).shape
    assert weights.shape == (*context.shape[:2], attention.heads, 11)
    for row, length in enumerate(lengths):
        for t in range(3):
            own, of_steps = turn(context)[t, row], turn(weights)[t, row]
            assert not of_steps[:, length:].any()
            if length == 0:
                assert not own.any()
                continue
            expected = by_hand(attention, queries[t, row], memory[:length, row].astype(np.float64))
            tolerance = 2e-5 if dtype == "float32" else 1e-12
            np.testing.assert_allclose(own, expected[0], atol=tolerance)
            np.testing.assert_allclose(of_steps[:, :length], expected[1], atol=tolerance)


@every_kind
@pytest.mark.parametrize("batch_first", [False, True])
def test_finite_differences(rng: np.random.Generator, isa: str, kind: str, batch_first: bool) -> None:
    attention = made(kind, batch_first=batch_first, dtype="float64", seed=1)
    lengths = [5, 2, 0]
    shape = (3, 2) if batch_first else (2, 3)
    queries = rng.standard_normal((*shape, attention.query_size))
    memory = rng.standard_normal((3, 5, attention.memory_size) if batch_first else (5, 3, attention.memory_size))
    (context, _), tape = attention.forward(queries, memory, lengths)
    d = rng.standard_normal(context.shape)
    (d_queries, d_memory), gradients = attention.backward(tape, d)
    assert list(gradients) == list(attention.parameters())

    def loss() -> float:
        return float(np.sum(d * attention(queries, memory, lengths)[0]))

    np.testing.assert_allclose(d_queries, central_difference(loss, queries), atol=1e-7)
    np.testing.assert_allclose(d_memory, central_difference(loss, memory), atol=1e-7)
    for name, array in attention.parameters().items():
        moving = array.copy()
        numeric = central_difference(lambda n=name, m=moving: attention.assign({n: m}) or loss(), moving)
        attention.assign({name: array})
        np.testing.assert_allclose(gradients[name], numeric, atol=1e-7, err_msg=name)


def test_pytorch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    attention = nn.Attention(20, 30, attention_size=40, heads=2, seed=1)
    tensors = {name: torch.tensor(own, requires_grad=True) for name, own in attention.parameters().items()}
    queries, memory = (rng.standard_normal(n).astype("float32") for n in ((7, 3, 20), (9, 3, 30)))
    lengths = [9, 4, 1]
    q, m = torch.tensor(queries, requires_grad=True), torch.tensor(memory, requires_grad=True)
    keys = (m @ tensors["weight_memory"].T).unflatten(-1, (2, 20))
    own = (q @ tensors["weight_query"].T + tensors["bias"]).unflatten(-1, (2, 20))
    hidden = torch.tanh(own[:, None] + keys[None])  # (T, S, B, heads, A / heads)
    scores = torch.einsum("tsbha,ha->tbhs", hidden, tensors["score_weight"].unflatten(0, (2, 20)))
    dead = torch.arange(9) >= torch.tensor(lengths)[:, None]
    weights = scores.masked_fill(dead[None, :, None], -torch.inf).softmax(-1)
    context = torch.einsum("tbhs,sbhv->tbhv", weights, m.unflatten(-1, (2, 15))).flatten(-2)
    d = rng.standard_normal(context.shape).astype("float32")
    context.backward(torch.tensor(d))
    (own_context, own_weights), tape = attention.forward(queries, memory, lengths)
    (d_queries, d_memory), gradients = attention.backward(tape, d)
    pairs = [(own_context, context.detach()), (own_weights, weights.detach()), (d_queries, q.grad), (d_memory, m.grad)]
    for found, expected in pairs + [(gradients[name], tensor.grad) for name, tensor in tensors.items()]:
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=2e-5)


@both_dtypes
@every_kind
def test_bits(rng: np.random.Generator, isa: str, dtype: str, kind: str) -> None:
    """Those of any number of threads; and of a row, whatever else is in the batch."""
    attention = made(kind, dtype=dtype, seed=1)
    queries = rng.standard_normal((40, 15, attention.query_size)).astype(dtype)
    memory = rng.standard_normal((50, 15, attention.memory_size)).astype(dtype)
    lengths = rng.integers(1, 51, 15)
    (context, weights), tape = attention.forward(queries, memory, lengths, threads=1)
    d_inputs, gradients = attention.backward(tape, context, threads=1)
    for threads in THREADS[1:]:
        own, own_tape = attention.forward(queries, memory, lengths, threads=threads)
        own_d, own_gradients = attention.backward(own_tape, context, threads=threads)
        for found, expected in zip((*own, *own_d), (context, weights, *d_inputs), strict=True):
            assert_same_bits(found, expected)
        for name, gradient in gradients.items():
            assert_same_bits(own_gradients[name], gradient, name)
    alone, _ = attention(queries[:3, 7:8], memory[: lengths[7], 7:8])
    assert_same_bits(alone, context[:3, 7:8])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: nn.Attention(4, 6, score_mode="dot"),
            "query_size: expected memory_size = 6 for the score 'dot', got 4",
        ),
        (
            lambda: nn.Attention(4, 6, score_mode="cosine"),
            "score_mode: expected 'additive', 'general' or 'dot', got 'cosine'",
        ),
        (lambda: nn.Attention(4, 6, heads=4), "heads: expected a divisor of 6 and 6, got 4"),
        (lambda: nn.Attention(4, 6, "general", 5), "attention_size: expected None for the score 'general', got 5"),
        (
            lambda: nn.Attention(4, 6)(np.ones((2, 3, 5), "f4"), np.ones((2, 3, 6), "f4")),
            "queries: expected shape (T, B, F) with F = 4, got (2, 3, 5)",
        ),
        (
            lambda: nn.Attention(4, 6)(np.ones((2, 3, 4), "f4"), np.ones((2, 2, 6), "f4")),
            "queries: expected 2 rows, as of memory, got shape (2, 3, 4)",
        ),
        (
            lambda: nn.Attention(4, 6)(np.ones((2, 3, 4), "f4"), np.ones((2, 3, 6), "f4"), [3, 1, 1]),
            "lengths: expected 0 to 2, got 3",
        ),
        (
            lambda: F.attention(np.ones((2, 3, 4), "f4"), np.ones((3, 5, 4), "f4"), np.ones((3, 5, 6), "f4"), heads=3),
            "heads: expected a divisor of A = 4 and M = 6, got 3",
        ),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@every_kind
def test_saved(tmp_path: Any, kind: str) -> None:
    attention = made(kind, seed=1)
    gn.save(attention, tmp_path / "a.safetensors")
    loaded = gn.load(tmp_path / "a.safetensors")
    queries, memory = np.ones((2, 1, attention.query_size), "f4"), np.eye(attention.memory_size, dtype="f4")[:, None]
    assert_same_bits(loaded(queries, memory)[0], attention(queries, memory)[0])
    assert repr(loaded).startswith(f"Attention(query_size={attention.query_size}")
