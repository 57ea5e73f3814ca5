"""Memory that is kept for later calls: given back before a request fails, and when somebody asks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from processes import python

from gru_native import _core, losses, nn

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

PRELUDE = """
import gc, resource
import numpy as np
import gru_native as gn
from gru_native import functional as F

def vm():
    "Bytes of address space."
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

MB = 1 << 20
hard = resource.getrlimit(resource.RLIMIT_AS)[1]

def limit(megabytes):
    resource.setrlimit(resource.RLIMIT_AS, (vm() + megabytes * MB, hard))

def keep(megabytes):
    "Have so much memory kept, in one block."
    F.empty(megabytes * MB, np.dtype(np.uint8))[:] = 1
"""


def run(script: str) -> str:
    return python("-c", PRELUDE + script)


def weights(hidden: int, inputs: int) -> str:
    return f"F.pack_gru(np.zeros((3 * {hidden}, {inputs}), 'f4'), np.zeros((3 * {hidden}, {hidden}), 'f4'))"


# A request for some 500 MB by each way that there is.
ROUTES = {
    "an array of results": "F.empty(500 * MB, np.dtype(np.uint8))",
    "a result": "F.sigmoid(np.broadcast_to(np.float32(1), (125 * MB,)))",
    "a tape": f"F.recurrent_forward(np.zeros((4000, 32, 1), 'f4'), {weights(224, 1)}, threads=1)",
    "a copy of x": "F.recurrent_forward(np.broadcast_to(np.float32(1), (1_250_000, 1, 100)), "
    f"{weights(1, 100)}, tape='states', threads=1)",
    "a copy of weights": "F.pack_linear(np.broadcast_to(np.float32(1), (1, 125 * MB)))",
    "tables of rows": f"F.recurrent(np.zeros((1, 14_000_000, 1), 'f4'), {weights(1, 1)}, threads=1)",
    "packed weights": "F.recurrent(np.zeros((1, 65, 1), 'f4'), F.pack_gru(*large), threads=1)",
}


@linux
@pytest.mark.parametrize("route", ROUTES)
def test_kept_memory_serves_another_request(route: str) -> None:
    """What is kept and what is asked for do not fit together, each alone does."""
    script = f"""
code = compile({ROUTES[route]!r}, "route", "eval")
large = np.zeros((18_000, 1), "f4"), np.zeros((18_000, 6000), "f4")
for matrix in large:
    matrix.flags.writeable = False  # or it would be copied
before = vm()
made = eval(code)
del made
gn.release_memory()
gc.collect()
keep(1500)
limit(300)
eval(code)
print("done")
"""
    assert run(script) == "done\n"


@linux
def test_a_request_beyond_all_memory_fails_and_leaves_everything_usable() -> None:
    script = """
keep(300)
limit(400)
for _ in range(3):
    try:
        F.empty(2000 * MB, np.dtype(np.uint8))
        print("got it")
    except MemoryError:
        pass
x = np.ones((20, 4, 3), "f4")
layer = gn.nn.GRU(3, 5, seed=0)
assert np.array_equal(layer(x)[0], layer(x)[0])
keep(300)
print(gn.release_memory() >= 300 * MB)
"""
    assert run(script) == "True\n"


@linux
@pytest.mark.skipif(_core.blas() != "none", reason="OpenBLAS ends the process where it finds no memory")
def test_gradients_of_linear_without_memory_are_a_memory_error() -> None:
    script = """
x, d_y, weights = np.ones((200, 1024), "f4"), np.ones((200, 256), "f4"), F.pack_linear(np.ones((256, 1024), "f4"))
outcomes = []
for quarter in range(24):
    gn.release_memory()
    resource.setrlimit(resource.RLIMIT_AS, (vm() + quarter * MB // 4, hard))
    try:
        gradients = F.linear_backward(x, weights, d_y, threads=1)[1]
        assert np.all(gradients["weight"] == 200)
        outcomes.append("computed")
    except MemoryError:
        outcomes.append("refused")
    gradients = None
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
print(*dict.fromkeys(outcomes))
"""
    assert run(script) == "refused computed\n"


@linux
def test_memory_is_released_on_request() -> None:
    script = """
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = resident()
keep(400)
assert resident() > before + 350 * MB
released = gn.release_memory()
assert released >= 400 * MB, released
assert resident() < before + 50 * MB
print(gn.release_memory())
"""
    assert run(script) == "0\n"


@linux
def test_no_more_is_kept_than_a_quarter_of_the_memory() -> None:
    script = """
import os
quarter = os.sysconf("SC_PHYS_PAGES") // 4 * os.sysconf("SC_PAGE_SIZE")
blocks = [F.empty(quarter // 3, np.dtype(np.uint8)) for _ in range(7)]  # not touched, so not there
del blocks
released = gn.release_memory()
print(quarter // 2 < released <= quarter)
"""
    assert run(script) == "True\n"


def test_blocks_beyond_counting_are_kept_without_an_allocation() -> None:
    script = """
blocks = [F.empty(100_000, np.dtype(np.uint8)) for _ in range(10_000)]
del blocks
print(gn.release_memory() > 4000 * 100_000)
"""
    assert run(script) == "True\n"


# Every layer and loss, and the inputs of its calls, of which the largest has 40 MB: more than what malloc keeps.
TAKERS = {
    "Activation": ("gn.nn.Activation('tanh')", "x"),
    "Attention": ("gn.nn.Attention(64, 64)", "turned[:20], turned"),
    "AttentionPooling": ("gn.nn.AttentionPooling(64)", "x"),
    "BatchNorm1d": ("gn.nn.BatchNorm1d(64)", "flat"),
    "Conv1d": ("gn.nn.Conv1d(64, 8, 3)", "turned"),
    "Dropout": ("gn.nn.Dropout()", "x"),
    "Embedding": ("gn.nn.Embedding(9, 8)", "indices"),
    "GRU": ("gn.nn.GRU(64, 8, 2, recurrent_dropout=0.5)", "turned"),
    "GRUCell": ("gn.nn.GRUCell(64, 8)", "flat"),
    "LSTM": ("gn.nn.LSTM(64, 8, 2)", "turned"),
    "LSTMCell": ("gn.nn.LSTMCell(64, 8)", "flat"),
    "LastPooling": ("gn.nn.LastPooling()", "x"),
    "LayerNorm": ("gn.nn.LayerNorm(64)", "x"),
    "Linear": ("gn.nn.Linear(64, 8)", "turned"),
    "MeanPooling": ("gn.nn.MeanPooling(batch_first=True)", "x"),
    "RNN": ("gn.nn.RNN(64, 8, 2)", "turned"),
    "RNNCell": ("gn.nn.RNNCell(64, 8)", "flat"),
    "Sequential": ("gn.nn.Sequential(gn.nn.Linear(64, 64), gn.nn.Dropout(), gn.nn.LayerNorm(64))", "x"),
    "Seq2Seq": ("gn.nn.Seq2Seq(gn.nn.GRU(64, 8), 9, 8, 8)", "turned, indices[:, :200, 0].T"),
    "Softmax": ("gn.nn.Softmax()", "x"),
    "BCEWithLogitsLoss": ("gn.losses.BCEWithLogitsLoss()", "x, x"),
    "CTCLoss": ("gn.losses.CTCLoss()", "turned, np.ones((len(x), 1), int), [len(turned)] * len(x), [1] * len(x)"),
    "CrossEntropyLoss": ("gn.losses.CrossEntropyLoss()", "flat, np.zeros(len(flat), int)"),
    "MSELoss": ("gn.losses.MSELoss()", "x, x"),
}


def test_these_are_all_layers_and_losses() -> None:
    assert TAKERS.keys() == {*nn._LAYERS, "Sequential", *losses.__all__} - {"LossTape"}


@linux
@pytest.mark.parametrize("taker", TAKERS)
def test_kept_memory_serves_numpy(taker: str) -> None:
    """Blocks of just the size of the results are kept: those are had from the core, and nothing else is left."""
    made, inputs = TAKERS[taker]
    square = "np.ones((256, 256), 'f4')"  # a BLAS takes its own memory late
    warm = "" if _core.blas() == "none" else f"F.linear_backward({square}, F.pack_linear({square}), {square})"
    script = f"""
np.random.default_rng()  # NumPy loads it late
{warm}
x = np.ones((40, 4000, 64), "f4")
flat, turned, indices = x.reshape(-1, 64), x.swapaxes(0, 1), np.zeros((40, 4000, 32), int)
taker = {made}
keywords = {{"seed": 1}} if isinstance(taker, gn.nn.Module) else {{}}

def keep_and_limit():
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    blocks = [F.empty(x.nbytes, np.dtype(np.uint8)) for _ in range(30)]
    del blocks
    limit(2)

keep_and_limit()
taker({inputs})
keep_and_limit()
result, tape = taker.forward({inputs}, **keywords)
if keywords:
    output = result[0] if isinstance(result, tuple) else result
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    gradient = np.ones_like(output), np.ones_like(output)
    gradient = gradient if isinstance(taker, gn.nn.LSTMCell) else gradient[0]
keep_and_limit()
taker.backward(tape, gradient) if keywords else taker.backward(tape)
print("done")
"""
    assert run(script) == "done\n"


@linux
def test_kept_memory_serves_new_layers_and_states() -> None:
    script = """
layer = gn.nn.Linear(4000, 4000)
state = {name: np.array(array) for name, array in layer.state_dict().items()}
keep(1000)
limit(2)
layer.load_state_dict(state)
for kind in (gn.nn.GRU, gn.nn.LSTMCell, gn.nn.Linear, gn.nn.Embedding, gn.nn.AttentionPooling):
    keep(1000)
    limit(2)
    made = kind(2000, 2000)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    del made
print("done")
"""
    assert run(script) == "done\n"


@linux
def test_files_take_no_more_memory_than_their_arrays(tmp_path: Path) -> None:
    """A library that ends the process where there is no memory is asked only when there is enough."""
    script = f"""
path = {str(tmp_path / "model.safetensors")!r}
arrays = {{"a": np.ones((10, 1_000_000), "f4"), "b": np.ones((1_000_000, 10), "f4")}}
limit(10)
gn.io.save_arrays(path, arrays, {{}})
refused = 0
for megabytes in (1, 50, 78, 90, 120, 140, 150, 155, 200):
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    limit(megabytes)
    try:
        loaded = gn.load_state(path)
        assert all(np.array_equal(loaded.pop(name), arrays[name]) for name in arrays)
    except MemoryError:
        refused += 1
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
keep(1000)
limit(2)
gn.load_state(path)
print(refused)
"""
    assert run(script) == "8\n"


# What NumPy allocates outside of layers and losses.
OTHERS = {
    "slots": "gn.optim.SGD(layer, momentum=0.9).step(grads)",
    "the state of an optimizer": "adam.state_dict()",
    "loading that state": "adam.load_state_dict(state)",
    "clip_grad_norm": "gn.optim.clip_grad_norm(grads, 1e-9)",
    "Batches": "next(shuffled.epoch(0))",
    "Sequences": "next(sequences.epoch(0))",
    "Sequences with targets per step": "next(per_step.epoch(0))",
    "Stream": "gn.train.Stream(x, x, 4, 5)",
}


@linux
@pytest.mark.parametrize("other", OTHERS)
def test_kept_memory_serves_training(other: str) -> None:
    script = f"""
layer = gn.nn.Linear(2000, 2000, bias=False)
grads = {{"weight": np.full((2000, 2000), 1e-3, "f4")}}
adam = gn.optim.Adam(layer)
adam.step(grads)
state = adam.state_dict()
x = np.ones((2000, 2000), "f4")
shuffled = gn.train.Batches(x, x, 1000, shuffle=True)
sequences = gn.train.Sequences(list(x[None].repeat(2, 0)), [1, 2], 2)
per_step = gn.train.Sequences(list(x[None].repeat(2, 0)), list(x[None].repeat(2, 0)), 2, per_step=True)
next(gn.train.Batches(x[:2], x[:2], 1, shuffle=True).epoch(0))
keep(1500)
limit(2)
{OTHERS[other]}
print("done")
"""
    assert run(script) == "done\n"


@linux
def test_the_norm_of_gradients_takes_no_memory() -> None:
    script = """
grads = {"w": np.ones((25, 1_000_000), "f4")}
limit(20)
print(gn.optim.clip_grad_norm(grads, np.inf)[1])
"""
    assert run(script) == "5000.0\n"


@linux
def test_a_failed_call_leaves_the_running_values_of_a_batch() -> None:
    script = """
x = np.ones((160_000, 64), "f4")
norm = gn.nn.BatchNorm1d(64)
before = norm.state_dict()
for megabytes in range(20, 400, 20):
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    limit(megabytes)
    try:
        norm.forward(x)
        print(megabytes > 100)
        break
    except MemoryError:
        assert norm.state_dict() == before
"""
    assert run(script) == "True\n"


def test_what_fails_for_another_reason_runs_once() -> None:
    """And with nothing kept a MemoryError too: a second run would find no more."""
    script = """
from gru_native.passes import repeatable
gn.release_memory()
for error in (ValueError, MemoryError):
    runs = []
    @repeatable
    def fails():
        runs.append(1)
        raise error
    try:
        fails()
    except error:
        print(len(runs))
"""
    assert run(script) == "1\n1\n"


@linux
def test_a_thread_that_comes_first_when_memory_has_run_out() -> None:
    """Neither what the core keeps for each thread nor the search for kept memory needs any then."""
    script = """
import _thread, ctypes
malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
layer, x, said = gn.nn.GRU(4, 4), np.ones((2, 1, 4), "f4"), []
layer(x)
over = _thread.allocate_lock()
over.acquire()

def use():
    malloc(1)  # so that the thread has a heap of its own
    resource.setrlimit(resource.RLIMIT_AS, (MB, hard))
    try:
        for size in (1 << 16, 1 << 12, 256, 112):
            while malloc(size):
                pass
        layer(x)
    except MemoryError:
        said.append("no memory")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        over.release()

_thread.start_new_thread(use, ())
over.acquire()
print(said)
"""
    assert run(script) == "['no memory']\n"
