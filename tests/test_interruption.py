"""Ctrl-C, and whatever else a signal handler does, during a long call."""

from __future__ import annotations

import os

import pytest
from processes import python

pytestmark = pytest.mark.skipif(not hasattr(os, "kill"), reason="this system has no signals")

# Calls that take seconds, each by a name. Their results are the same before and after one that was given up.
CALLS = """
import os, signal, sys, threading, time
import numpy as np
import gru_native as gn
from gru_native import functional as F

rng = np.random.default_rng(0)
draw = lambda *shape: np.float32(0.1) * rng.random(shape, np.float32) - np.float32(0.05)

def recurrent(cell, T, B, I, H, tape):
    rows = {"gru": 3, "lstm": 4}[cell] * H
    weights = getattr(F, f"pack_{cell}")(draw(rows, I), draw(rows, H))
    x = draw(T, B, I)
    def forward():
        return F.recurrent_forward(x, weights, threads=2, tape=tape)
    return forward, lambda made: F.recurrent_backward(made[1], made[0][0], threads=2)

def of_layer(layer, x, *arguments):
    return lambda: None, lambda _: layer(x, *arguments, threads=2)

def of_function(function, *arguments, **keywords):
    return lambda: None, lambda _: function(*arguments, **keywords)

CALLS = {
    "backward by rows": lambda: recurrent("gru", 3000, 64, 64, 256, "gates"),
    "backward by panels": lambda: recurrent("gru", 60_000, 1, 64, 256, "gates"),
    "backward from states": lambda: recurrent("gru", 3000, 64, 64, 256, "states"),
    "backward of an LSTM from states": lambda: recurrent("lstm", 2000, 64, 64, 256, "states"),
    "forward by rows": lambda: of_layer(gn.nn.GRU(64, 256, seed=0), draw(8000, 64, 64)),
    "forward by panels": lambda: of_layer(gn.nn.GRU(64, 512, seed=0), draw(60_000, 1, 64)),
    "a wide projection": lambda: of_layer(gn.nn.GRU(4096, 16, seed=0), draw(1500, 64, 4096)),
    "linear": lambda: of_function(F.linear, draw(60_000, 2048), F.pack_linear(draw(2048, 2048)), threads=2),
    "linear_backward": lambda: of_function(
        F.linear_backward, draw(60_000, 1024), F.pack_linear(draw(1024, 1024)), draw(60_000, 1024), threads=2
    ),
    "conv1d": lambda: of_function(
        F.conv1d, draw(40_000, 16, 64), F.pack_conv1d(draw(256, 64, 9)), F.Windows(9, padding="same"), threads=2
    ),
    "conv1d_backward": lambda: of_function(
        F.conv1d_backward, draw(10_000, 16, 64), F.pack_conv1d(draw(256, 64, 9)), F.Windows(9), draw(9992, 16, 256)
    ),
    "attention": lambda: of_function(
        F.attention, draw(1500, 16, 512), draw(16, 1000, 512), draw(16, 1000, 64), draw(512), threads=1
    ),
    "attention_backward": lambda: of_function(
        F.attention_backward, draw(1000, 16, 512), draw(16, 1000, 512), draw(16, 1000, 64), draw(1000, 16, 1, 1000),
        draw(1000, 16, 64), draw(512), threads=2
    ),
    "a decoder": lambda: of_function(
        gn.nn.Seq2Seq(gn.nn.GRU(8, 8, seed=0), 9, 512, 512, seed=0), draw(3, 64, 8), np.ones((3000, 64), int), threads=2
    ),
    "ctc": lambda: of_function(
        F.ctc, draw(2000, 16, 500), np.ones((16, 900), int), [2000] * 16, [900] * 16, gradient=True, threads=1
    ),
    "ctc_beam_search": lambda: of_function(F.ctc_beam_search, draw(2000, 16, 500), width=300, threads=2),
    "softmax_cross_entropy": lambda: of_function(
        F.softmax_cross_entropy, draw(10_000, 50_000), np.zeros(10_000, int), threads=1, label_smoothing=0.1
    ),
    "embedding_backward": lambda: of_function(
        F.embedding_backward, np.arange(6 * 10**7) % 7, np.broadcast_to(draw(1, 512), (6 * 10**7, 512)), 7, threads=2
    ),
    "embedding": lambda: of_function(F.embedding, rng.integers(0, 5000, (1, 1_200_000)), draw(5000, 512)),
    "dropout": lambda: of_function(F.dropout, draw(200_000_000), 0.5, seed=0, threads=1),
    "tanh": lambda: of_function(F.tanh, draw(300_000_000)),
    "a new layer": lambda: of_function(gn.nn.Embedding, 100_000, 1000),
}
"""


def run(script: str, **environment: str) -> str:
    return python("-c", CALLS + script, **environment)


# Their arrays would fill the memory before the call took long with a faster instruction set.
SLOW = {"a wide projection", "softmax_cross_entropy", "dropout", "tanh"}


@pytest.mark.parametrize(
    ("name", "team"),
    [
        ("backward by rows", "openmp"),
        ("backward by panels", "openmp"),
        ("backward by panels", "threads"),
        ("backward from states", "threads"),
        ("backward of an LSTM from states", "openmp"),
        ("forward by rows", "threads"),
        ("forward by panels", "openmp"),
        ("a wide projection", "openmp"),
        ("linear", "openmp"),
        ("linear_backward", "threads"),
        ("conv1d", "openmp"),
        ("conv1d_backward", "threads"),
        ("attention", "openmp"),
        ("attention_backward", "threads"),
        ("a decoder", "openmp"),
        ("ctc", "openmp"),
        ("ctc_beam_search", "openmp"),
        ("softmax_cross_entropy", "openmp"),
        ("embedding_backward", "openmp"),
        ("embedding", "openmp"),
        ("dropout", "openmp"),
        ("tanh", "openmp"),
        ("a new layer", "openmp"),
    ],
)
def test_ctrl_c_ends_a_call(name: str, team: str) -> None:
    script = f"""
prepare, call = CALLS[{name!r}]()
made = prepare()
sent = []
def interrupt():
    time.sleep(0.1)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    call(made)
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0])
# The module computes on.
x = draw(40, 33, 20)
layer = gn.nn.GRU(20, 64, seed=0)
assert np.array_equal(layer(x, threads=2)[0], layer(x, threads=1)[0])
"""
    # Some hundreds of milliseconds more on a busy machine; to its end each call takes a second and more.
    isa = {"GRU_NATIVE_ISA": "scalar"} if name in SLOW else {}
    assert float(run(script, GRU_NATIVE_TEAM=team, **isa)) < 0.6


@pytest.mark.parametrize("team", ["openmp", "threads"])
def test_a_handler_may_compute_and_raise_what_it_likes(team: str) -> None:
    script = """
small = gn.nn.GRU(20, 64, seed=0)
x = draw(40, 33, 20)
expected = small(x, threads=1)[0]
seen = []
class Enough(Exception): pass
def handler(*_):
    seen.append(np.array_equal(small(x, threads=2)[0], expected))
    if len(seen) == 3:
        raise Enough
signal.signal(signal.SIGALRM, handler)
prepare, call = CALLS["forward by rows"]()
signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
try:
    call(None)
except Enough:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(all(seen))
"""
    assert run(script, GRU_NATIVE_TEAM=team) == "True\n"


def test_a_call_that_nothing_raises_in_goes_on() -> None:
    """Signals whose handler returns change nothing, and other threads are not disturbed."""
    script = """
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
layer, x = gn.nn.GRU(64, 256, seed=0), draw(1500, 64, 64)
expected = layer(x, threads=1)[0]
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
results = []
other = threading.Thread(target=lambda: results.append(layer(x, threads=2)[0]))
other.start()
results.append(layer(x, threads=2)[0])
other.join()
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(seen) > 3, all(np.array_equal(result, expected) for result in results))
"""
    assert run(script) == "True True\n"


STEPS = """
import sys
import numpy as np
import gru_native as gn
from gru_native.train import Batches, Trainer

x, y = np.ones((12, 3), np.float32), np.zeros((12, 2), np.float32)
data = Batches(x, y, 4)

def made():
    model = gn.nn.Sequential(gn.nn.Linear(3, 4, seed=0), gn.nn.BatchNorm1d(4), gn.nn.Linear(4, 2, seed=1))
    adam = gn.optim.Adam(model, lr=0.1)
    return Trainer(model, gn.losses.MSELoss(), adam, schedule=gn.schedules.ExponentialLR(adam, 0.9))

def state(trainer):
    dicts = [part.state_dict() for part in (trainer.model, trainer.optimizer, trainer.schedule)]
    return trainer.step, [(name, np.asarray(value).tobytes()) for each in dicts for name, value in each.items()]

class Watch:
    "Raises KeyboardInterrupt before the instruction of this number, of those that a fit runs in this package."
    def __init__(self, at):
        self.at, self.seen = at, 0

    def __call__(self, frame, event, _):
        if "gru_native" not in frame.f_code.co_filename:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.seen += 1
            if self.seen == self.at:
                raise KeyboardInterrupt
        return self

def fit(trainer, at=None):
    watch = Watch(at)
    sys.settrace(watch)
    try:
        trainer.fit(data, steps=3, progress=False)
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    return watch.seen

whole = []
trainer = made()
trainer.fit(data, steps=3, progress=False, callbacks=[lambda _: whole.append(state(trainer))])
whole.insert(0, state(made()))
instructions = fit(made())
"""


def test_ctrl_c_leaves_a_whole_step_or_none() -> None:
    """Whatever instruction it comes at: parameters, running values, optimizer, schedule and step go together."""
    script = """
for at in range(1, instructions, 23):
    trainer = made()
    fit(trainer, at)
    assert state(trainer) in whole, at
print(instructions > 5000)
"""
    assert run(STEPS + script) == "True\n"


def test_passes_of_numpy_leave_room_for_signals() -> None:
    """The handler of a timer runs nearly all the time: a mean over the time, as the machine may do something else."""
    script = """
x = np.ones((64, 20_000, 64), "f4")
times = [time.perf_counter()]
signal.signal(signal.SIGALRM, lambda *_: times.append(time.perf_counter()))
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
gn.losses.BCEWithLogitsLoss().forward(x, x)
signal.setitimer(signal.ITIMER_REAL, 0)
times.append(time.perf_counter())
print(np.square(np.diff(times)).sum() / (times[-1] - times[0]))
"""
    assert float(run(script)) < 0.2
