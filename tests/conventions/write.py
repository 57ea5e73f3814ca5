"""Writes what peers compute from their own weights: ``python tests/conventions/write.py``.

Of each peer that is installed, of flax and openvino, a layer of each cell: ``NAME.npz`` for the convention of that name
holds the arrays under its names, x (T, B, I), the first state (h and c), and the outputs of all steps.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
STEPS, ROWS, INPUTS, UNITS = 5, 2, 3, 4

Case = dict[str, np.ndarray]


def flax(rng: np.random.Generator) -> dict[str, Case]:
    """Step by step, as its cells are called."""
    import jax
    from flax import linen

    found = {}
    for name, kind, gates, biases in (
        ("FLAX", linen.GRUCell, "rzn", ["ir", "iz", "in", "hn"]),
        ("FLAX_LSTM", linen.OptimizedLSTMCell, "ifgo", ["hi", "hf", "hg", "ho"]),
        ("FLAX_RNN", linen.SimpleCell, "", ["i"]),
    ):
        cell, x, state = kind(UNITS), *given(rng, name)
        carry = tuple(reversed(state)) if len(state) > 1 else state[0]  # theirs is (c, h)
        params = cell.init(jax.random.key(0), carry, x[0])
        params = jax.tree.map(lambda each: rng.uniform(-0.7, 0.7, each.shape).astype("f4"), params)
        own, outputs = params["params"], []
        for x_t in x:
            carry, y = cell.apply(params, carry, x_t)
            outputs.append(y)
        kernels = [[own[side + gate]["kernel"] for gate in gates or [""]] for side in "ih"]
        bias = np.concatenate([own[each]["bias"] for each in biases])
        arrays = {"kernel": np.concatenate(kernels[0], 1), "recurrent_kernel": np.concatenate(kernels[1], 1)}
        found[name] = {**arrays, "bias": bias, "x": x, **dict(zip("hc", state, strict=False)), "y": np.stack(outputs)}
    return found


def openvino(rng: np.random.Generator) -> dict[str, Case]:
    """Whole sequences, of one direction."""
    import openvino
    import openvino.opset5 as ops

    found = {}
    for name, make, gates, biases, options in (
        ("OPENVINO", ops.gru_sequence, 3, 3, {"linear_before_reset": False}),
        ("OPENVINO_LINEAR_BEFORE_RESET", ops.gru_sequence, 3, 4, {"linear_before_reset": True}),
        ("OPENVINO_LSTM", ops.lstm_sequence, 4, 4, {}),
        ("OPENVINO_RNN", ops.rnn_sequence, 1, 1, {}),
    ):
        x, state = given(rng, name)
        shapes = {"W": (1, gates * UNITS, INPUTS), "R": (1, gates * UNITS, UNITS), "B": (1, biases * UNITS)}
        arrays = {each: rng.uniform(-0.7, 0.7, shape).astype("f4") for each, shape in shapes.items()}
        first = ops.parameter([ROWS, STEPS, INPUTS], np.float32)
        states = [ops.constant(each[:, None]) for each in state]
        lengths, weights = ops.constant(np.full(ROWS, STEPS, np.int32)), map(ops.constant, arrays.values())
        node = make(first, *states, lengths, *weights, UNITS, "forward", **options)
        run = openvino.Core().compile_model(
            openvino.Model([node.output(0)], [first]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
        y = run([x.swapaxes(0, 1)])[0][:, 0].swapaxes(0, 1)
        found[name] = {**arrays, "x": x, **dict(zip("hc", state, strict=False)), "y": y}
    return found


def given(rng: np.random.Generator, name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return an input and a first state."""
    states = 2 if name.endswith("LSTM") else 1
    x, *state = (
        rng.standard_normal(shape).astype("f4") for shape in ((STEPS, ROWS, INPUTS), *[(ROWS, UNITS)] * states)
    )
    return x, state


PEERS: dict[str, Callable[[np.random.Generator], dict[str, Any]]] = {"flax": flax, "openvino": openvino}

if __name__ == "__main__":
    for peer, run in PEERS.items():
        if find_spec(peer) is None:
            print(f"without {peer}: its files stay as they are")
            continue
        for name, case in run(np.random.default_rng(0)).items():
            np.savez(HERE / f"{name}.npz", **case)
