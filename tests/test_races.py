"""Another thread writes to an array while a call reads it: values may be any of those written, memory stays whole.

The functions are found in the modules: whatever takes an array that decides where memory is touched. Each runs in a
process of its own, which a fault would end.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from processes import python

from gru_native import functional, losses, nn, stream

DECISIVE = {"lengths", "input_lengths", "mask", "reset", "indices", "targets"}
# And of streams, where x may be the indices of an embedding.
DECISIVE_OF_STREAMS = {"x", "rows", "ids"}

# Each call with the names of its decisive arrays in place of a loop's variable: what is written to them is valid at
# one moment and far outside at the next.
CALLS = {
    "functional.recurrent": "F.recurrent(x, gru, lengths=lengths, reset=reset, threads=2)",
    "functional.recurrent_forward": "both(*F.recurrent_forward(x, gru, lengths=lengths, reset=reset, threads=2))",
    "functional.conv1d": "F.conv1d(x, convolution, F.Windows(3), lengths=lengths)",
    "functional.conv1d_backward": "F.conv1d_backward(x, convolution, F.Windows(3), x[2:, :, :9], lengths=lengths)",
    "functional.attention": "F.attention(x, attended, attended, lengths=lengths)",
    "functional.attention_backward": "F.attention_backward(x, attended, attended, np.ones((T, B, 1, T), 'f4'), x, "
    "lengths=lengths)",
    "functional.embedding": "F.embedding(indices, table)",
    "functional.embedding_backward": "F.embedding_backward(indices, d_embedded, 50, threads=2)",
    "functional.ctc": "F.ctc(x, labels(), np.full(B, T), np.full(B, 10), blank=2, gradient=True, threads=2)",
    "functional.ctc_beam_search": "F.ctc_beam_search(x, lengths, width=4, threads=2)",
    "functional.ctc_greedy": "F.ctc_greedy(x, lengths, threads=2)",
    "functional.softmax_cross_entropy": "F.softmax_cross_entropy(logits, targets, gradient=True, threads=2)",
    "functional.sequence_lengths": "F.sequence_lengths(lengths, T, B)",
    "functional.reset_flags": "F.reset_flags(reset, T, B, False)",
    "losses.BCEWithLogitsLoss": "through(L.BCEWithLogitsLoss(), logits[:, 0], targets.astype('f4'))",
    "losses.CTCLoss": "L.CTCLoss(2).forward(x, labels(), np.full(B, T), np.full(B, 10))",
    "losses.CrossEntropyLoss": "through(L.CrossEntropyLoss(), logits, targets)",
    "losses.MSELoss": "through(L.MSELoss(), logits[:, 0], targets.astype('f4'))",
    "nn.GRU": "through(gn.nn.GRU(I, H, 2, bidirectional=True, seed=0), x, None, lengths, reset)",
    "nn.LSTM": "through(gn.nn.LSTM(I, H, bidirectional=True, seed=0), x, None, lengths, reset, tape='states')",
    "nn.RNN": "through(gn.nn.RNN(I, H, bidirectional=True, seed=0), x, None, lengths, reset); "
    "through(gn.nn.RNN(I, H, bidirectional=True, seed=0), x, mask=reset, masked_output='last')",
    "nn.Attention": "attend(gn.nn.Attention(I, I, seed=0), x, x, lengths)",
    "nn.Seq2Seq": "attend(writer_of_labels, x, labels().T, lengths, lengths // 10); "
    "writer_of_labels.greedy(x, lengths, steps=3); writer_of_labels.beam_search(x, lengths, steps=3)",
    "nn.Conv1d": "through(gn.nn.Conv1d(I, 9, 3, seed=0), x, lengths)",
    "nn.BatchNorm1d": "through(gn.nn.BatchNorm1d(I, channels_last=True), x, lengths)",
    "nn.Sequential": "through(gn.nn.Sequential(gn.nn.GRU(I, H, bidirectional=True, seed=0), gn.nn.LastPooling(True)), "
    "x, None, lengths, reset); through(gn.nn.Sequential(gn.nn.GRU(I, H, seed=0), gn.nn.MeanPooling()), x, mask=reset)",
    "nn.Embedding": "through(gn.nn.Embedding(50, 64, seed=0), indices)",
    "nn.AttentionPooling": "through(gn.nn.AttentionPooling(I, 8, seed=0), x, lengths)",
    "nn.LastPooling": "through(gn.nn.LastPooling(), x, lengths)",
    "nn.MeanPooling": "through(gn.nn.MeanPooling(), x, lengths)",
    "stream.Stream.step": "stream.step(indices)",
    "stream.Stream.run": "stream.run(indices[None])",
    "stream.Stream.reset": "stream.reset(rows)",
    "stream.StreamPool.step": "pool.step(ids, indices)",
    "stream.StreamPool.reset": "pool.reset(ids)",
}

SCRIPT = """
import sys, threading, time
import numpy as np
import gru_native as gn
from gru_native import functional as F, losses as L

sys.setswitchinterval(1e-4)
NAMES = "lengths", "input_lengths", "target_lengths", "indices", "targets", "target", "x", "ids"
rng = np.random.default_rng(0)
T, B, I, H, N = 60, 32, 16, 64, 4000
x = rng.standard_normal((T, B, I)).astype("f4")
gru = F.pack_gru(*(rng.uniform(-.1, .1, (3 * H, n)).astype("f4") for n in (I, H)))
convolution = F.pack_conv1d(np.ones((9, I, 3), "f4"))
attended = x.swapaxes(0, 1).copy()
writer_of_labels = gn.nn.Seq2Seq(gn.nn.GRU(I, 8, seed=0), 50, 8, 8, seed=0)
table, d_embedded = np.ones((50, 64), "f4"), np.ones((N, 64), "f4")
logits = rng.standard_normal((N, 50)).astype("f4")
lengths, indices, targets = np.full(B, T), np.zeros(N, int), np.zeros(N, int)
reset, rows = np.zeros((T, B), bool), np.zeros(N, bool)
words = gn.nn.Sequential(gn.nn.Embedding(50, 64, seed=0), gn.nn.GRU(64, 16, seed=0))
stream, pool = words.stream(N), words.pool(N, shards=2)
ids = np.array([pool.open() for _ in range(N)], np.uint64)
right_id = ids[-1]

def labels():
    return targets[-10 * B :].reshape(B, 10)

def both(results, tape):
    F.recurrent_backward(tape, results[0], threads=2)

def through(module, *arguments, **keywords):
    module(*arguments)
    result, tape = module.forward(*arguments, **keywords)
    if isinstance(module, (L.CrossEntropyLoss, L.MSELoss, L.BCEWithLogitsLoss)):
        return module.backward(tape)
    module.backward(tape, np.ones_like(result[0] if module.recurrent else result))

def attend(module, *arguments):
    module(*arguments)
    result, tape = module.forward(*arguments)
    module.backward(tape, np.ones_like(result[0] if isinstance(result, tuple) else result))

def write():
    flip = False
    while not over:
        flip = not flip
        lengths[B // 2 :] = 10**7 if flip else T
        indices[-1] = targets[-1] = 2**40 if flip else 1
        reset.view("u1")[:] = rows.view("u1")[:] = 7 if flip else 0
        ids[-1] = 2**40 if flip else right_id
        time.sleep(0.0002)

over, done, refused = False, 0, 0
writer = threading.Thread(target=write)
writer.start()
try:
    end = time.monotonic() + 0.5
    while time.monotonic() < end or done + refused < 20:
        try:
            %s
            done += 1
        except ValueError as error:
            assert str(error).split(":")[0] in NAMES, error
            refused += 1
finally:
    over = True
    writer.join()
print(done + refused)
"""


def decisive() -> set[str]:
    """Return the names of all public functions, layers and losses that take such an array."""
    found = set()
    for module, method in ((functional, None), (losses, "forward"), (nn, "_call")):
        for name, item in vars(module).items():
            if name.startswith("_") or not callable(item) or not item.__module__.startswith("gru_native"):
                continue
            if "._" in item.__module__:  # of a private module
                continue
            taker: Callable[..., Any] | None = item if method is None else getattr(item, method, None)
            if taker is not None and DECISIVE & inspect.signature(taker).parameters.keys():
                found.add(f"{module.__name__.removeprefix('gru_native.')}.{name}")
    for kind in (stream.Stream, stream.StreamPool):
        for name, method in inspect.getmembers(kind, callable):
            if not name.startswith("_") and DECISIVE_OF_STREAMS & inspect.signature(method).parameters.keys():
                found.add(f"stream.{kind.__name__}.{name}")
    return found


def test_every_function_that_takes_such_an_array_is_tried() -> None:
    assert decisive() == CALLS.keys()


@pytest.mark.parametrize("name", CALLS)
def test_a_writing_thread_breaks_nothing(name: str) -> None:
    assert int(python("-X", "faulthandler", "-c", SCRIPT % CALLS[name])) >= 20


@pytest.mark.parametrize("write", ["older_view[:] = 10**7", "lengths.flags.writeable = True; lengths[:] = 10**7"])
def test_lengths_that_change_before_backward(write: str) -> None:
    script = f"""
import numpy as np
import gru_native as gn
layer, x = gn.nn.GRU(64, 64, bidirectional=True, seed=0), np.ones((50, 16, 64), "f4")
lengths = np.full(16, 50)
older_view = lengths[:]
lengths.flags.writeable = False
(output, _), tape = layer.forward(x, None, lengths)
expected = layer.backward(layer.forward(x)[1], np.ones_like(output))[0][0]
{write}
assert np.array_equal(layer.backward(tape, np.ones_like(output))[0][0], expected)
"""
    python("-c", script)
