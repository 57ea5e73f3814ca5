"""Hashes of what 200 random calls give: two builds that compute the same bits print the same lines.

Each line has the instruction set, the number of the call, the SHA-256 of all outputs, states and gradients, and the
call. Only what users call is used, so the script also runs with a build of another commit.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from gru_native import losses, nn

CALLS = 200
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 40, 64, 65, 130, 200)


def main() -> None:
    if len(sys.argv) > 1:
        for call in range(CALLS):
            digest, said = made(np.random.default_rng(call))
            print(sys.argv[1], call, digest, said, flush=True)
        return
    for isa in isas():
        subprocess.run([sys.executable, __file__, isa], check=True, env={**os.environ, "GRU_NATIVE_ISA": isa})


def isas() -> list[str]:
    """Return the instruction sets that this machine runs, as `gru-native info` has them."""
    command = [sys.executable, "-m", "gru_native", "info"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return next(line for line in said.splitlines() if line.startswith("ISAs supported")).split()[2:]


def made(rng: np.random.Generator) -> tuple[str, str]:
    """Return the hash of a random call and a description of it."""
    kind = rng.choice([recurrent, recurrent, recurrent, recurrent, cell, others])
    digest, said = hashlib.sha256(), []
    for part in kind(rng, said):
        array = np.asarray(part)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest(), " ".join(said)


def recurrent(rng: np.random.Generator, said: list[str]) -> Iterator[Any]:
    """Call a layer with whatever it takes, once for inference and once for gradients."""
    steps, batch, inputs, hidden = (int(rng.choice(SIZES)) for _ in range(4))
    steps = min(steps, 65)
    options = {"bias": chance(rng, 0.8), "bidirectional": chance(rng), "num_layers": 2 if chance(rng, 0.3) else 1}
    options |= {"batch_first": chance(rng), "dtype": dtype(rng), "recurrent_dropout": 0.3 if chance(rng, 0.3) else 0.0}
    options["dropout"] = 0.2 if options["num_layers"] == 2 and chance(rng) else 0.0
    layer_type = rng.choice([nn.GRU, nn.GRU, nn.LSTM, nn.RNN])
    if layer_type is nn.GRU:
        reset_after = chance(rng, 0.6)
        options |= {"reset_after": reset_after, "layer_norm": reset_after and chance(rng, 0.4)}
        options["zoneout"] = 0.25 if chance(rng, 0.3) else 0.0
    elif layer_type is nn.RNN:
        options["nonlinearity"] = str(rng.choice(["tanh", "relu"]))
    threads, tape = int(rng.choice([1, 2, 3, 5])), str(rng.choice(["gates", "states"]))
    said += [layer_type.__name__, f"{(steps, batch, inputs, hidden)} threads={threads} tape={tape}", f"{options}"]
    layer = layer_type(inputs, hidden, seed=1, **options)
    x = normal(rng, (batch, steps, inputs) if options["batch_first"] else (steps, batch, inputs), options["dtype"])
    lengths = rng.integers(0, steps + 1, batch) if chance(rng, 0.4) else None
    reset = rng.random(x.shape[:2]) < 0.1 if chance(rng, 0.3) else None
    said.append(f"lengths={lengths is not None} reset={reset is not None}")
    shape = (options["num_layers"] * (1 + options["bidirectional"]), batch, hidden)
    state = states(rng, layer, shape, options["dtype"])
    (output, final), taped = layer.forward(x, state, lengths, reset, tape=tape, seed=3, threads=threads)
    d_state = states(rng, layer, shape, options["dtype"])
    d_output = normal(rng, output.shape, options["dtype"])
    (d_x, d_initial), gradients = layer.backward(taped, d_output, d_state, threads=threads)
    yield from (output, d_x, *pair(final), *pair(d_initial), *(gradients[name] for name in sorted(gradients)))
    layer.eval()
    output, final = layer(x, state, lengths, reset, threads=threads)
    yield from (output, *pair(final))


def cell(rng: np.random.Generator, said: list[str]) -> Iterator[Any]:
    """Call a cell, once for inference and once for gradients."""
    batch, inputs, hidden = (int(rng.choice(SIZES)) for _ in range(3))
    options: dict[str, Any] = {"dtype": dtype(rng)}
    cell_type = rng.choice([nn.GRUCell, nn.LSTMCell, nn.RNNCell])
    said += [cell_type.__name__, f"{(batch, inputs, hidden)}", f"{options}"]
    own = cell_type(inputs, hidden, seed=1, **options)
    x, state = normal(rng, (batch, inputs), options["dtype"]), states(rng, own, (batch, hidden), options["dtype"])
    new, taped = own.forward(x, state)
    (d_x, d_state), gradients = own.backward(taped, states(rng, own, (batch, hidden), options["dtype"]))
    yield from (*pair(own(x, state)), *pair(new), d_x, *pair(d_state), *(gradients[n] for n in sorted(gradients)))


def others(rng: np.random.Generator, said: list[str]) -> Iterator[Any]:
    """Call a chain of the other layers, and a loss."""
    rows, size, classes = (int(rng.choice(SIZES)) for _ in range(3))
    threads = int(rng.choice([1, 2, 3, 5]))
    said.append(f"Embedding, Dropout, Linear, CrossEntropyLoss {(rows, size, classes)} threads={threads}")
    model = nn.Sequential(nn.Embedding(50, size, seed=1), nn.Dropout(0.3), nn.Linear(size, classes, seed=2))
    loss = losses.CrossEntropyLoss(label_smoothing=0.1)
    y, tape = model.forward(rng.integers(0, 50, (rows, 3)), seed=4, threads=threads)
    value, loss_tape = loss.forward(y, rng.integers(0, classes, (rows, 3)), threads=threads)
    d_y = loss.backward(loss_tape)
    _, gradients = model.backward(tape, d_y, threads=threads)
    yield from (y, value, d_y, *(gradients[name] for name in sorted(gradients)))


def chance(rng: np.random.Generator, p: float = 0.5) -> bool:
    return bool(rng.random() < p)


def dtype(rng: np.random.Generator) -> str:
    return "float64" if chance(rng, 0.3) else "float32"


def normal(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> Any:
    return rng.standard_normal(shape).astype(kind)


def states(rng: np.random.Generator, layer: Any, shape: tuple[int, ...], kind: str) -> Any:
    """Return what the layer takes for a state."""
    one, other = normal(rng, shape, kind), normal(rng, shape, kind)
    return (one, other) if isinstance(layer, (nn.LSTM, nn.LSTMCell)) else one


def pair(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


if __name__ == "__main__":
    main()
