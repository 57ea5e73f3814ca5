"""Recurrent nodes with inputs and results that others wrote down, and what our layers make of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from cases import parts_of
from onnx import NodeProto, helper
from tolerances import assert_close

from gru_native import nn, reference
from gru_native import onnx as ours
from gru_native.activations import activation

Arrays = Mapping[str, np.ndarray]

INPUTS = {
    "GRU": ("X", "W", "R", "B", "sequence_lens", "initial_h"),
    "LSTM": ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"),
}
INPUTS["RNN"] = INPUTS["GRU"]


class Case(NamedTuple):
    """A node, its inputs and its results, each under the operator's names."""

    node: NodeProto
    given: Arrays
    expected: Arrays


def case(operator: str, attributes: Mapping[str, Any], given: Arrays, expected: Arrays) -> Case:
    """Make a node of its attributes and inputs."""
    inputs = [name if name in given else "" for name in INPUTS[operator]]
    return Case(helper.make_node(operator, inputs, ["Y", "Y_h", "Y_c"], **attributes), given, expected)


def check(case: Case, engine: str, tolerance: str, *, alone: bool = False) -> None:
    """Assert that our layer has a node's results; with `alone` a layer for each direction."""
    weights = {name: case.given[name] for name in ("W", "R", "B", "P") if name in case.given}
    if engine != "reference":
        weights = {name: array.astype(engine) for name, array in weights.items()}
    sides = ("forward", "reverse") if alone else (None,)
    layers = [ours.layer(case.node, weights, direction=side) for side in sides]
    found = joined([run(layer, case.given, place, engine) for place, layer in enumerate(layers)])
    if layers[0].batch_first:
        found = {"Y": found["Y"].transpose(2, 0, 1, 3)} | {
            name: array.swapaxes(0, 1) for name, array in found.items() if name != "Y"
        }
    for name, array in case.expected.items():
        assert_close(found[name], array, tolerance, name)


def joined(runs: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Put directions one behind the other."""
    return {name: np.concatenate([own[name] for own in runs], 1 if name == "Y" else 0) for name in runs[0]}


def run(layer: Any, given: Arrays, first: int, engine: str) -> dict[str, np.ndarray]:
    """Return Y (T, D, B, H) and last states (D, B, H) of a layer, whose first direction has this place in the node."""
    count = 2 if layer.bidirectional else 1
    turn = layer.batch_first
    states = [given[name] for name in ("initial_h", "initial_c")[: layer.states] if name in given]
    states = [(own.swapaxes(0, 1) if turn else own)[first : first + count] for own in states]
    lengths = given["sequence_lens"].astype(int) if "sequence_lens" in given else None
    x = given["X"].swapaxes(0, 1) if turn else given["X"]
    if layer.states == 2 and len(states) == 1:
        states.append(np.zeros_like(states[0]))
    if engine == "reference":
        return of_reference(layer, x, states, lengths)
    cast = [own.astype(engine) for own in states]
    output, final = layer(
        given["X"].astype(engine), (cast[0] if len(cast) == 1 else tuple(cast)) if cast else None, lengths
    )
    assert {output.dtype, *(part.dtype for part in parts_of(final))} == {np.dtype(engine)}
    output = output.swapaxes(0, 1) if turn else output
    y = output.reshape(*output.shape[:2], count, -1).transpose(0, 2, 1, 3)
    return {"Y": y} | dict(zip(("Y_h", "Y_c"), parts_of(final), strict=False))


def of_reference(layer: Any, x: np.ndarray, states: list[np.ndarray], lengths: Any) -> dict[str, np.ndarray]:
    """Run a layer's arrays and options by the reference."""
    runs = []
    for direction, suffix in enumerate(("_l0", "_l0_reverse")[: 2 if layer.bidirectional else 1]):
        arrays = {name.removesuffix(suffix): own for name, own in layer.parameters().items() if name.endswith(suffix)}
        state = tuple(own[direction] for own in states)
        output, final, _ = reference.forward(
            x,
            None if not state else state if len(state) > 1 else state[0],
            **{"bias_ih": None, "bias_hh": None, **arrays},
            **options_of(layer),
            reverse=direction == 1 or layer.direction == "reverse",
            lengths=lengths,
        )
        named = zip(("Y_h", "Y_c"), parts_of(final), strict=False)
        runs.append({"Y": output[:, None]} | {name: part[None] for name, part in named})
    return joined(runs)


def options_of(layer: Any) -> dict[str, Any]:
    """Return what the reference takes of a layer's options."""
    options: dict[str, Any] = {"cell": layer.cell, "clip": layer.clip}
    own = [layer.nonlinearity] if isinstance(layer, nn.RNN) else [layer.recurrent_activation, layer.activation]
    if isinstance(layer, nn.LSTM):
        own.append(layer.cell_activation or layer.activation)
        options["input_forget"] = layer.input_forget
    return options | {"activations": [activation("activation", each) for each in own]}
