"""Write the test vectors beside this file: layers in every cell, their results and gradients by the reference.

Whoever implements the cells in another language reads them in a few lines: see `HEAD`. And a model of every kind of
layer that goes step by step, as the package saves it, with what it gives at each step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tolerances import TOLERANCES

from gru_native import nn, reference, save
from gru_native._layer import FUNCTIONS
from gru_native.activations import DEFAULTS, ActivationLike, activation
from gru_native.functional import USUAL
from gru_native.io import save_arrays

Array = np.ndarray[Any, Any]

FOLDER = Path(__file__).parent

HEAD = """\
# Test vectors of the cell {cell}, written by tests/vectors/write.py from gru_native/reference.py in float64.
# Words with blanks or line ends between them; lines that begin with # say nothing. "case NAME" begins a case; all
# else is an array: its name, the count of its numbers, the numbers, row by row. sizes: T B I H D P; arrays and their
# shapes are those of include/gru_native.h, "_reverse" is of the second direction, zoneout a share, activations are
# three numbers each (gn_function, alpha, beta), and an array that is not there was not given. Inputs are the same in
# float32. Results may differ by absolute + relative * the largest magnitude of their array: these two, before the first
# case, for output, h_n and c_n (forward) and for gradients.
"""


@dataclass(frozen=True)
class Case:
    """A layer and what it is called with. The sizes stand around the widths of vectors."""

    steps: int
    batch: int
    inputs: int
    hidden: int
    directions: int = 1
    reverse: bool = False
    biases: bool = True
    lengths: tuple[int, ...] | None = None
    has_resets: bool = False
    has_mask: bool = False
    zoneout: float = 0.0
    activations: tuple[ActivationLike, ...] | None = None
    clip: float = 0.0
    peepholes: bool = False
    input_forget: bool = False
    projection: int = 0

    @property
    def output(self) -> int:
        """The size of h."""
        return self.projection or self.hidden


CASES = {
    "plain": Case(3, 2, 5, 7),
    "one_unit": Case(1, 1, 1, 1),
    "ragged": Case(3, 3, 1, 8, lengths=(2, 0, 3)),
    "resets": Case(3, 2, 0, 9, has_resets=True),
    "reverse": Case(4, 3, 5, 1, reverse=True, lengths=(3, 4, 1), has_resets=True),
    "mask": Case(2, 2, 0, 7, has_mask=True),
    "zoneout": Case(2, 2, 0, 8, zoneout=0.25),
    "no_biases": Case(2, 1, 0, 17, biases=False),
    "both_directions": Case(3, 3, 5, 1, directions=2, lengths=(3, 1, 2), has_resets=True, has_mask=True),
}

CASES_OF_LSTM = {
    "peepholes": Case(3, 2, 2, 9, peepholes=True, lengths=(3, 2), has_resets=True),
    "input_forget": Case(2, 2, 2, 3, input_forget=True, peepholes=True, clip=0.25),
    "projection": Case(3, 3, 2, 9, directions=2, projection=8, lengths=(3, 1, 2), has_resets=True, has_mask=True),
    "projection_and_peepholes": Case(3, 2, 0, 17, projection=1, peepholes=True),
}


def cases(cell: str) -> dict[str, Case]:
    """Return those of a cell: all functions, each of which every gate has once, where they can be chosen."""
    found = {name: case for name, case in CASES.items() if not (case.zoneout and reference.CELLS[cell].states > 1)}
    if cell == "gru_layer_norm":
        return found
    found["clip"] = Case(3, 2, 2, 8, clip=0.25, lengths=(3, 1))
    names, count = list(DEFAULTS), len(USUAL[cell])
    for place, name in enumerate(names):
        chosen = tuple(names[(place + 4 * gate) % len(names)] for gate in range(count))
        found[f"functions_{name}"] = Case(2, 1, 2, 5, activations=chosen)
    return found | CASES_OF_LSTM if cell == "lstm" else found


class Draw:
    """Numbers of the reference's own generator, which no version of NumPy changes: multiples of 1/16."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.drawn = 0

    def __call__(self, *shape: int, bound: float = 1.0) -> Array:
        """Draw within about `bound`."""
        counters = np.arange(self.drawn, self.drawn + int(np.prod(shape)), dtype=np.uint64)
        self.drawn += len(counters)
        top = max(round(16 * bound), 1)
        numbers = reference.philox(counters, self.key)[0] % np.uint64(2 * top + 1)
        return (numbers.astype(np.float64).reshape(shape) - top) / 16


def arrays(cell: str, case: Case, draw: Draw) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of a case under their names."""
    steps, batch, inputs, hidden, directions = case.steps, case.batch, case.inputs, case.hidden, case.directions
    rows = reference.CELLS[cell].gates * hidden
    states = {"h": case.output, "c": hidden} if reference.CELLS[cell].states == 2 else {"h": case.output}
    yield "sizes", np.array([steps, batch, inputs, hidden, directions, case.output])
    yield "reverse", np.array([case.reverse])
    yield "zoneout", np.array([case.zoneout])
    yield "clip", np.array([case.clip])
    yield "input_forget", np.array([case.input_forget])
    activations = [activation("activations", own) for own in case.activations or USUAL[cell]]
    yield "activations", np.array([[1 + FUNCTIONS.index(own.name), own.alpha, own.beta] for own in activations])

    given = {"x": draw(steps, batch, inputs)}
    given |= {f"{part}_0": draw(directions, batch, size) for part, size in states.items()}
    if case.lengths is not None:
        given["lengths"] = np.array(case.lengths)
    if case.has_resets:
        given["reset"] = draw(steps, batch) > 0.5
    if case.has_mask:
        given["mask"] = 1.25 * (draw(directions, batch, case.output) > -0.5)
    given["d_output"] = draw(steps, batch, directions * case.output)
    given |= {f"d_{part}_n": draw(directions, batch, size) for part, size in states.items()}
    yield from given.items()

    outputs, finals, gradients = [], [], []
    for direction, suffix in enumerate(("", "_reverse")[:directions]):
        bound = hidden**-0.5
        parameters = {"weight_ih": draw(rows, inputs, bound=bound), "weight_hh": draw(rows, case.output, bound=bound)}
        if case.biases:
            parameters |= {name: draw(rows, bound=bound) for name in ("bias_ih", "bias_hh")}
        if cell == "gru_layer_norm":
            parameters |= {name: 1 + draw(rows, bound=0.5) for name in ("gamma_ih", "gamma_hh")}
        if case.peepholes:
            parameters["peephole"] = draw(3, hidden)
        if case.projection:
            parameters["weight_hr"] = draw(case.projection, hidden, bound=bound)
        yield from ((name + suffix, array) for name, array in parameters.items())
        output, final, tape = reference.forward(
            given["x"],
            state([given[f"{part}_0"][direction] for part in states]),
            **{"bias_ih": None, "bias_hh": None} | parameters,
            cell=cell,
            reverse=case.reverse or direction == 1,
            lengths=given.get("lengths"),
            reset=given.get("reset"),
            dropout_mask=given["mask"][direction] if case.has_mask else None,
            taken=np.full((steps, batch, hidden), 1 - case.zoneout) if case.zoneout else None,
            activations=case.activations,
            clip=case.clip or None,
            input_forget=case.input_forget,
        )
        own = given["d_output"][:, :, direction * case.output : (direction + 1) * case.output]
        grads = reference.backward(tape, own, state([given[f"d_{part}_n"][direction] for part in states]))
        outputs.append(output)
        finals.append(parts(final))
        gradients.append(grads)
        yield from ((f"d_{name}{suffix}", grads[name]) for name in parameters)

    yield "output", np.concatenate(outputs, axis=2)
    yield "d_x", np.sum([grads["x"] for grads in gradients], axis=0)
    for place, part in enumerate(states):
        yield f"{part}_n", np.stack([final[place] for final in finals])
        yield f"d_{part}_0", np.stack([parts(grads["state"])[place] for grads in gradients])


def state(arrays: list[Array]) -> Any:
    """Return a state as the reference takes it."""
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def parts(state: Any) -> tuple[Array, ...]:
    """Return a state's arrays: of an LSTM two."""
    return state if isinstance(state, tuple) else (state,)


def tolerances(cell: str) -> Iterator[tuple[str, Array]]:
    """Yield those of the test suite for layers as small as these."""
    normalised = "_normalised" if cell == "gru_layer_norm" else ""
    unbounded = "_unbounded" if cell == "rnn_relu" else ""
    for dtype in ("float32", "float64"):
        yield f"{dtype}_forward", np.array(TOLERANCES[f"{dtype}_forward{unbounded}{normalised}"])
        yield f"{dtype}_gradient", np.array(TOLERANCES[f"{dtype}_gradient{normalised}"])


def line(name: str, array: Array) -> str:
    """Write an array so that its float64 numbers are read back as they are."""
    return " ".join([name, str(array.size), *map(repr, array.astype(np.float64).ravel().tolist())])


def text(cell: str) -> str:
    """Return the file of a cell."""
    lines = [line(*item) for item in tolerances(cell)]
    for place, (name, case) in enumerate(cases(cell).items()):
        lines += ["", f"case {name}"]
        lines += [line(*item) for item in arrays(cell, case, Draw(place))]
    return HEAD.format(cell=cell) + "\n".join(lines) + "\n"


def model() -> nn.Sequential:
    """Return a model of every kind of layer that goes step by step."""
    layers = nn.Sequential(
        nn.Embedding(5, 4, dtype="float64"),
        nn.GRU(4, (5, 3), zoneout=0.25, dtype="float64"),
        nn.LayerNorm(3, dtype="float64"),
        nn.Dropout(0.5),
        nn.LSTM(3, 4, peepholes=True, proj_size=2, recurrent_activation=("hard_sigmoid", 0.2, 0.5), dtype="float64"),
        nn.RNN(2, 3, nonlinearity="relu", dtype="float64"),
        nn.MeanPooling(),
        nn.BatchNorm1d(3, dtype="float64"),
        nn.Linear(3, 2, dtype="float64"),
    )
    draw, arrays = Draw(100), {}
    for name, array in layers.state_dict().items():
        if array.dtype == np.float64:
            arrays[name] = draw(*array.shape) + 1.5 * name.endswith("running_var")
    layers.load_state_dict(layers.state_dict() | arrays)
    return layers


def steps(layers: nn.Sequential) -> dict[str, Array]:
    """Return indices x (T, B), and what a model gives of them at each step, y (T, B, O)."""
    x = (8 * (1 + Draw(101)(6, 3))).astype(np.int64) % 5
    return {"x": x, "y": np.stack([layers(x[: step + 1])[0] for step in range(len(x))])}


if __name__ == "__main__":
    save(model(), FOLDER / "model.safetensors")
    save_arrays(FOLDER / "model_steps.safetensors", steps(model()), {})
    for cell in reference.CELLS:
        (FOLDER / f"{cell}.txt").write_text(text(cell))
