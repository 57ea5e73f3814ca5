"""Sequence to sequence: PyTorch written by hand, finite differences, lengths, bits, choices of labels, training."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from cases import ISAS, THREADS, Array, assert_same_bits, central_difference

import gru_native as gn
from gru_native import losses, nn, optim
from gru_native.nn import search, seq2seq
from gru_native.train import Batches, Sequences, Trainer

SCORES = ["additive", "general", "dot"]


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("GRU_NATIVE_ISA", request.param)
    return str(request.param)


def encoder(dtype: str = "float32", batch_first: bool = False, **own: Any) -> nn.Sequential:
    """Return one that gives 6 features."""
    gru = nn.GRU(4, 3, bidirectional=True, batch_first=batch_first, dtype=dtype, seed=2)
    return nn.Sequential(nn.Embedding(9, 4, dtype=dtype, seed=1), gru, **own)


def model(score: str = "additive", dtype: str = "float32", batch_first: bool = False, **own: Any) -> nn.Seq2Seq:
    options = {"heads": 2, "start": 1, "end": 2, "seed": 3} | own
    return nn.Seq2Seq(encoder(dtype, batch_first), 7, 5, 6, score_mode=score, dtype=dtype, **options)


def some(rng: np.random.Generator, source: int = 5, target: int = 4, batch: int = 3) -> tuple[Array, ...]:
    lengths, target_lengths = (rng.integers(1, most + 1, batch) for most in (source, target))
    lengths[0], target_lengths[-1] = source, target
    return (
        rng.integers(0, 9, (source, batch)),
        rng.integers(0, 7, (target, batch)),
        lengths,
        target_lengths,
    )


def by_torch(own: nn.Seq2Seq, source: Array, target: Array, lengths: Array) -> Any:
    """Return logits and the parameters' tensors, of the formulas in PyTorch, a loop over the steps."""
    torch = pytest.importorskip("torch")
    p = {name: torch.tensor(array, requires_grad=True) for name, array in own.parameters().items()}
    gru = torch.nn.GRU(4, 3, bidirectional=True, dtype=p["combine.weight"].dtype)
    names = {name: p[f"encoder.1.{name}"] for name in dict(gru.named_parameters())}
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        p["encoder.0.weight"][torch.tensor(source)], lengths.tolist(), enforce_sorted=False
    )
    memory, _ = torch.nn.utils.rnn.pad_packed_sequence(torch.func.functional_call(gru, names, (packed,))[0])
    live = torch.arange(len(memory))[:, None] < torch.tensor(lengths)
    mean = memory.sum(0) / torch.tensor(lengths)[:, None]
    h = torch.tanh(mean @ p["bridge.weight"].T + p["bridge.bias"])
    fed, heads, score = torch.zeros_like(h), own.attention.heads, own.attention.score_mode
    keys = memory @ p["attention.weight_memory"].T if score != "dot" else memory
    labels = np.concatenate([np.full((1, target.shape[1]), own.start), target[:-1]])
    outputs = []
    for t in range(len(labels)):
        x = torch.cat([p["embedding.weight"][torch.tensor(labels[t])], fed], 1)
        arrays = [p[f"decoder.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        h = torch._VF.gru_cell(x, h, *arrays)
        if score == "additive":
            query = h @ p["attention.weight_query"].T + p["attention.bias"]
            each = torch.tanh(keys + query) * p["attention.score_weight"]
        else:
            each = keys * h
        scores = each.unflatten(-1, (heads, -1)).sum(-1).masked_fill(~live[..., None], -torch.inf)
        weights = scores.softmax(0)
        context = (weights[..., None] * memory.unflatten(-1, (heads, -1))).sum(0).flatten(1)
        fed = torch.tanh(torch.cat([context, h], 1) @ p["combine.weight"].T)
        outputs.append(fed @ p["output.weight"].T + p["output.bias"])
    return torch.stack(outputs), p


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pytorch(rng: np.random.Generator, isa: str, score: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    own = model(score, dtype)
    source, target, lengths, target_lengths = some(rng, 9, 8, 5)
    live = np.arange(8)[:, None] < target_lengths
    logits, tape = own.forward(source, target, lengths, target_lengths)
    expected, tensors = by_torch(own, source, target, lengths)
    tolerance = {"rtol": 1e-4, "atol": 2e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-11}
    np.testing.assert_allclose(logits[live], expected.detach().numpy()[live], **tolerance)
    d = rng.standard_normal(logits.shape).astype(dtype)
    expected.backward(torch.tensor(np.where(live[..., None], d, 0)))
    _, gradients = own.backward(tape, d)
    assert list(gradients) == list(own.parameters())
    for name, tensor in tensors.items():
        np.testing.assert_allclose(gradients[name], tensor.grad.numpy(), **tolerance, err_msg=name)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("score", SCORES)
def test_finite_differences(rng: np.random.Generator, score: str, batch_first: bool) -> None:
    """Also of a source of numbers, behind a convolution, which has a gradient too."""
    turn = (lambda a: a.T) if batch_first else (lambda a: a)
    conv = nn.Conv1d(2, 3, 3, stride=2, padding="same", batch_first=batch_first, dtype="float64", seed=1)
    front = nn.Sequential(conv, nn.GRU(3, 4, batch_first=batch_first, dtype="float64", seed=1))
    own = nn.Seq2Seq(front, 5, 3, 4, score_mode=score, dtype="float64", seed=1)
    source = rng.standard_normal((2, 6, 2) if batch_first else (6, 2, 2))
    target, lengths, target_lengths = turn(rng.integers(0, 5, (3, 2))), [6, 3], [2, 3]
    logits, tape = own.forward(source, target, lengths, target_lengths)
    d = rng.standard_normal(logits.shape)
    live = turn(np.arange(3)[:, None] < target_lengths)[..., None]
    (d_source, nothing), gradients = own.backward(tape, d)
    assert nothing is None

    def loss() -> float:
        return float(np.sum((d * own(source, target, lengths, target_lengths))[np.broadcast_to(live, d.shape)]))

    np.testing.assert_allclose(d_source, central_difference(loss, source), atol=1e-7)
    for name, array in own.parameters().items():
        moving = array.copy()
        numeric = central_difference(lambda n=name, m=moving: own.assign({n: m}) or loss(), moving)
        own.assign({name: array})
        np.testing.assert_allclose(gradients[name], numeric, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("score", SCORES)
def test_bits(rng: np.random.Generator, isa: str, score: str, dtype: str) -> None:
    """Those of any number of threads; and of a row, whatever else is in the batch."""
    own = model(score, dtype)
    source, target, lengths, target_lengths = some(rng, 30, 20, 40)
    logits, tape = own.forward(source, target, lengths, target_lengths, threads=1)
    _, gradients = own.backward(tape, logits, threads=1)
    for threads in THREADS[1:]:
        found, own_tape = own.forward(source, target, lengths, target_lengths, threads=threads)
        assert_same_bits(found, logits)
        for name, gradient in own.backward(own_tape, logits, threads=threads)[1].items():
            assert_same_bits(gradient, gradients[name], name)
    for row in (0, 7):
        alone = own(source[: lengths[row], row : row + 1], target[: target_lengths[row], row : row + 1])
        assert_same_bits(alone, logits[: target_lengths[row], row : row + 1])


@pytest.mark.parametrize(("source", "target", "batch"), [(0, 4, 2), (3, 0, 2), (3, 4, 0), (3, 1, 1)])
def test_no_steps_and_no_rows(source: int, target: int, batch: int) -> None:
    own = model()
    logits, tape = own.forward(np.ones((source, batch), int), np.ones((target, batch), int))
    assert logits.shape == (target, batch, 7)
    assert np.isfinite(logits).all()
    _, gradients = own.backward(tape, np.ones_like(logits))
    assert all(np.isfinite(gradient).all() for gradient in gradients.values())
    assert [len(labels) for labels in own.greedy(np.ones((source, batch), int), steps=0)] == [0] * batch


def test_a_tape_serves_once(rng: np.random.Generator) -> None:
    own = model()
    logits, tape = own.forward(*some(rng)[:2])
    own.backward(tape, logits)
    with pytest.raises(RuntimeError, match="^tape: it was used by an earlier backward"):
        own.backward(tape, logits)


def probabilities(own: nn.Seq2Seq, source: Array, labels: tuple[int, ...]) -> float:
    """Return the logarithm of the probability of some labels for one row."""
    logits = own(source, np.array(labels)[:, None])
    return float(search.log_softmax(logits[:, 0])[np.arange(len(labels)), labels].sum())


def test_greedy_and_beam(rng: np.random.Generator) -> None:
    own = model()
    own.assign({name: 3 * array for name, array in own.parameters().items()})  # far from uniform
    source, _, lengths, _ = some(rng)
    best = own.greedy(source, lengths, steps=4)
    for row, labels in enumerate(best):
        given = source[: lengths[row], row : row + 1]
        written = [*labels, 2][:4]
        logits = own(given, np.array(written)[:, None])
        assert logits[:, 0].argmax(-1).tolist() == written
    narrow, _ = own.beam_search(source, lengths, steps=4, width=1)
    assert [labels.tolist() for labels in narrow] == [labels.tolist() for labels in best]
    ways = [way for size in range(4) for way in itertools.product((0, 1, 3, 4, 5, 6), repeat=size)]
    ways = [(*way, 2) for way in ways if len(way) < 3] + [way for way in ways if len(way) == 3]
    ways += [(*way, 2) for way in itertools.product((0, 1, 3, 4, 5, 6), repeat=2)]
    for penalty in (0.0, 1.0):
        labels, scores = own.beam_search(source, lengths, steps=3, width=200, length_penalty=penalty)
        for row in range(3):
            given = source[: lengths[row], row : row + 1]
            all_scores = {
                way: probabilities(own, given, way) / ((5 + len(way)) / 6) ** penalty for way in dict.fromkeys(ways)
            }
            wanted = max(all_scores, key=lambda way: all_scores[way])
            assert labels[row].tolist() == [label for label in wanted if label != 2]
            assert abs(scores[row] - all_scores[wanted]) < 1e-5


def test_sampling(rng: np.random.Generator) -> None:
    own = model()
    source = np.broadcast_to(rng.integers(0, 9, (5, 1)), (5, 4000))
    labels = own.sample(source, steps=1, seed=1)
    found = np.bincount([row[0] if len(row) else 2 for row in labels], minlength=7) / 4000
    expected = np.exp(search.log_softmax(own(source[:, :1], np.zeros((1, 1), int))[0, 0]))
    np.testing.assert_allclose(found, expected, atol=0.03)
    again = own.sample(source, steps=1, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(labels, again, strict=True))
    cold = own.sample(source[:, :20], steps=4, temperature=1e-6, seed=2)
    assert [row.tolist() for row in cold] == [row.tolist() for row in own.greedy(source[:, :20], steps=4)]


def test_scheduled_sampling(rng: np.random.Generator) -> None:
    own = model()
    source, target, lengths, target_lengths = some(rng)
    plain = own(source, target, lengths, target_lengths)
    own.scheduled_sampling = 1.0
    logits, tape = own.forward(source, target, lengths, target_lengths, seed=4)
    drawn = np.concatenate([tape.saved.inputs[1:], np.zeros((1, 3), int)])
    assert not np.array_equal(drawn[:-1], target[:-1])
    own.scheduled_sampling = 0.0
    assert_same_bits(own(source, drawn, lengths, target_lengths), logits)  # its own labels, taught
    own.scheduled_sampling = 1.0
    assert_same_bits(own.forward(source, target, lengths, target_lengths, seed=4)[0], logits)
    own.eval()
    assert_same_bits(own.forward(source, target, lengths, target_lengths)[0], plain)


def test_learns_to_turn_sequences_round(rng: np.random.Generator, tmp_path: Any) -> None:
    front = nn.Sequential(nn.Embedding(8, 16, seed=0), nn.GRU(16, 16, bidirectional=True, seed=1))
    own = nn.Seq2Seq(front, 8, 16, 32, end=0, seed=2)
    loss, step = losses.CrossEntropyLoss(), optim.Adam(own, lr=1e-2)
    for _ in range(150):
        source = rng.integers(1, 8, (6, 32))
        target = np.concatenate([source[::-1], np.zeros((1, 32), int)])
        logits, tape = own.forward(source, target)
        _, of_loss = loss.forward(logits, target)
        _, gradients = own.backward(tape, loss.backward(of_loss))
        step.step(gradients)
    gn.save(own, tmp_path / "model.safetensors")
    loaded = gn.load(tmp_path / "model.safetensors")
    source = rng.integers(1, 8, (6, 50))
    found = loaded.greedy(source, steps=10)
    assert np.mean([row.tolist() == source[::-1, i].tolist() for i, row in enumerate(found)]) > 0.9
    shown = repr(loaded)
    assert shown.startswith("Seq2Seq(target_size=8, embedding_dim=16, hidden_size=32\n  (encoder): Sequential(")
    assert "(6, 50), (6, 50)" in str(loaded.summary(source, source))
    assert "Seq2Seq  (6, 50, 8)" in str(loaded.summary(source, source))


@pytest.mark.parametrize("batch_first", [False, True])
def test_many_rows_are_written_in_parts(
    batch_first: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, (source, _, lengths, _) = model(batch_first=batch_first), some(rng, batch=11)
    source = source.T if batch_first else source
    whole = own.beam_search(source, lengths, steps=6, width=3), own.greedy(source, lengths, steps=6)
    monkeypatch.setattr(seq2seq, "TOGETHER", 10)
    parts = own.beam_search(source, lengths, steps=6, width=3), own.greedy(source, lengths, steps=6)
    assert_same_bits(parts[0][1], whole[0][1])
    for found, expected in ((parts[0][0], whole[0][0]), (parts[1], whole[1])):
        assert [row.tolist() for row in found] == [row.tolist() for row in expected]
    assert len(own.sample(source, lengths, steps=6, seed=0)) == 11
    rows = source if batch_first else source.T
    found, scores = own.beam_search([row[:n] for row, n in zip(rows, lengths, strict=True)], steps=6, width=3)
    assert_same_bits(scores, whole[0][1])
    assert [row.tolist() for row in found] == [row.tolist() for row in whole[0][0]]
    with pytest.raises(ValueError, match="lengths: expected None beside sequences with lengths of their own"):
        own.greedy([*rows], lengths, steps=6)


@pytest.mark.parametrize("batch_first", [False, True])
def test_training_from_lists_leaves_padding_out(batch_first: bool, rng: np.random.Generator) -> None:
    sources = [rng.integers(0, 9, length) for length in (3, 1, 5, 4, 2, 5)]
    targets = [rng.integers(0, 7, length) for length in (2, 4, 1, 3, 3, 1)]
    weights = rng.random(6)
    x, y, of_loss = np.zeros((6, 5), int), np.zeros((6, 4), int), np.full((6, 4), -100)
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        x[row, : len(source)] = source
        y[row, : len(target)] = of_loss[row, : len(target)] = target
    lengths = np.array([len(source) for source in sources])

    def trained(data: Any, batch_first: bool) -> nn.Seq2Seq:
        own = model("general", "float64", batch_first)
        trainer = Trainer(own, losses.CrossEntropyLoss(), optim.SGD(own, lr=0.5))
        before = trainer.evaluate(data)["loss"]
        (record,) = trainer.fit(data, epochs=1, progress=False)
        assert record.loss == pytest.approx(before)
        return own

    expected = trained(Batches((x, y), of_loss, 6, lengths=lengths, weights=weights), True).parameters()
    whole = Batches((x, y), y, 6, lengths=lengths, target_lengths=[len(own) for own in targets], weights=weights)
    lists = Sequences((sources, targets), targets, 6, batch_first=batch_first, weights=weights)
    for found in (trained(whole, True), trained(lists, batch_first)):
        for name, parameter in found.parameters().items():
            np.testing.assert_allclose(parameter, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_what_does_not_fit_a_model_that_writes_is_refused(rng: np.random.Generator) -> None:
    sources, targets = [rng.integers(0, 9, n) for n in (3, 4)], [rng.integers(1, 7, n) for n in (3, 2)]
    own = model()
    for loss, of_loss, message in (
        (losses.CTCLoss(), targets, "loss: expected one that compares each label, such as CrossEntropyLoss, for a m"),
        (losses.CrossEntropyLoss(), [one[:1] for one in targets], "targets: expected one for each of the predictions,"),
        (losses.CrossEntropyLoss(), np.zeros(2, int), "targets: expected shape (3, 2) beside predictions (3, 2, 7)"),
    ):
        data = Sequences((sources, targets), of_loss, 2)
        with pytest.raises(ValueError, match=re.escape(message)):
            Trainer(own, loss, optim.SGD(own, lr=0.1)).fit(data, epochs=1, progress=False)


def test_lists_of_labels_that_are_equally_long_are_labels(rng: np.random.Generator) -> None:
    sources, targets = [rng.integers(0, 9, n) for n in (3, 4)], [rng.integers(0, 7, 3) for _ in range(2)]
    own = model()
    trainer = Trainer(own, losses.CrossEntropyLoss(), optim.SGD(own, lr=0.1))
    (record,) = trainer.fit(Sequences({"source": sources, "target": targets}, targets, 2), epochs=1, progress=False)
    assert record.targets == 6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nn.Seq2Seq(nn.MeanPooling(), 3, 4, 5), "encoder: expected a module that gives features for each step"),
        (lambda: nn.Seq2Seq(nn.Linear(3, 4), 3, 4, 5), "such as a GRU or a Conv1d, got another one"),
        (lambda: nn.Sequential(model()), "layer 0: a Seq2Seq takes a target too, which a chain does not have"),
        (lambda: setattr(model(), "scheduled_sampling", 2), "scheduled_sampling: expected a number from 0 to 1"),
        (lambda: model()(np.zeros(4, int), np.zeros(3, int)), "source: expected a batch of sequences (T, B, ...), got"),
        (lambda: model().greedy(np.zeros(4, int), steps=3), "source: expected a batch of sequences (T, B, ...), got"),
        (lambda: model().predict(np.zeros((4, 2), int)), "model: expected one that takes no target, got a Seq2Seq"),
        (
            lambda: nn.Seq2Seq(nn.GRU(2, 3), 3, 4, 5, dtype="float64"),
            "expected dtype = float32, which layer encoder (GRU) gives",
        ),
        (lambda: nn.Seq2Seq(nn.GRU(2, 3), 3, 4, 5, end=3), "end: expected a whole number from 0 to 2, got 3"),
        (lambda: nn.Seq2Seq(nn.GRU(2, 3), 3, 4, 5, score_mode="dot"), "query_size: expected memory_size = 3"),
        (
            lambda: model()(np.zeros((4, 2), int), np.full((3, 2), 7)),
            "target: expected 0 to 6, got 7 at (0, 0)",
        ),
        (lambda: model()(np.zeros((4, 2), int), np.zeros((3, 1), int)), "target: expected 2 rows of labels"),
        (lambda: model()(np.zeros((4, 2), int), np.zeros((3, 2), int), [5, 1]), "lengths: expected 0 to 4, got 5"),
        (
            lambda: model(scheduled_sampling=0.5).forward(np.zeros((4, 2), int), np.zeros((3, 2), int)),
            "seed: expected one for scheduled_sampling in training mode, got None",
        ),
        (
            lambda: model().sample(np.zeros((4, 2), int), steps=2, temperature=0),
            "temperature: expected a finite number",
        ),
        (lambda: model().beam_search(np.zeros((4, 2), int), steps=2, width=0), "width: expected a whole number from 1"),
        (lambda: model().beam_search(np.zeros((4, 2), int), steps=2, width=5000), "width: expected a whole number"),
    ],
)
def test_what_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
