"""The operators GRU, LSTM and RNN as layers: what others wrote down of them is what the layers compute."""

from __future__ import annotations

import ast
import json
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import helper, numpy_helper  # noqa: E402
from onnx.backend.test.case import node as backend  # noqa: E402
from onnx_cases import Case, case, check  # noqa: E402

from gru_native import nn  # noqa: E402
from gru_native import onnx as ours  # noqa: E402

engines = pytest.mark.parametrize("engine", ["reference", "float32", "float64"])

for operator in ("gru", "lstm", "rnn"):
    import_module(f"{backend.__name__}.{operator}")
OF_ONNX = {
    each.name: each for each in backend._NodeTestCases if each.model.graph.node[0].op_type in ("GRU", "LSTM", "RNN")
}


@engines
@pytest.mark.parametrize("name", OF_ONNX)
def test_the_operators_own_tests(name: str, engine: str) -> None:
    (node,), ((inputs, outputs),) = OF_ONNX[name].model.graph.node, OF_ONNX[name].data_sets
    given = dict(zip(filter(None, node.input), inputs, strict=True))
    expected = dict(zip(filter(None, node.output), outputs, strict=True))
    check(Case(node, given, expected), engine, "golden_onnx")


def test_there_are_tests_of_the_operators() -> None:
    assert len(OF_ONNX) >= 18


# onnxruntime's own tests, and nodes of trained networks.

ONNX_CALLS = {"GRU": 56, "LSTM": 58, "RNN": 19}

# Of what it expects in these, the installed onnxruntime itself is 6.1e-5 off.
STALE = {"ONNXRuntime_TestLSTMZeroSeqInMiddle", "ONNXRuntime_TestLSTMShorterSeqInMiddle"}

# Their directions have activations of their own.
ALONE = {"RNN_bidirectional_with_sequence_lens", "ONNXRuntime_TestGRUPositiveActivationAlphaBeta"}


@cache
def onnxruntime_calls(folder: Path, operator: str) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = json.loads((folder / f"{operator.lower()}.json").read_text())
    return calls


@pytest.mark.shared
@engines
@pytest.mark.parametrize(
    ("operator", "number"), [(operator, number) for operator, count in ONNX_CALLS.items() for number in range(count)]
)
def test_onnxruntimes_own_tests(shared: Path, operator: str, number: int, engine: str) -> None:
    calls = onnxruntime_calls(shared / "golden" / "onnxruntime", operator)
    assert len(calls) == ONNX_CALLS[operator]
    call = calls[number]
    given, expected = (
        {name: np.array(values, np.float32).reshape(shape) for name, (shape, values) in call[side].items()}
        for side in ("in", "out")
    )
    attributes = {name: float(value) if name == "clip" else value for name, value in call["attrs"].items()}
    own = case(operator, attributes, given, expected)
    tolerance = "golden_onnxruntime_stale" if call["test"] in STALE else "golden_onnxruntime"
    check(own, engine, tolerance, alone=call["test"] in ALONE)
    if call["test"] in ALONE:
        with pytest.raises(ValueError, match="activations: expected the same in both directions"):
            check(own, engine, tolerance)
    elif attributes.get("direction") == "bidirectional":
        check(own, engine, tolerance, alone=True)


@pytest.mark.shared
@engines
@pytest.mark.parametrize(
    "name", ["batchwise", "bidirectional", "defaults", "reverse", "seq_length", "with_initial_bias"]
)
def test_stored_tests_of_the_operator(shared: Path, name: str, engine: str) -> None:
    with np.load(shared / "golden" / "onnx_gru" / f"test_gru_{name}.npz") as stored:
        given = {key.removeprefix("in_"): stored[key] for key in stored if key.startswith("in_")}
        expected = {key.removeprefix("out_"): stored[key] for key in stored if key.startswith("out_")}
        attributes = ast.literal_eval(str(stored["attrs"]))
    check(case("GRU", attributes, given, expected), engine, "golden")


@cache
def gtcrn_nodes(folder: Path) -> list[dict[str, np.ndarray]]:
    nodes: dict[str, dict[str, np.ndarray]] = {}
    with np.load(folder / "gru_nodes.npz") as stored:
        for key in stored:
            node, field = key.split("_", 1)
            nodes.setdefault(node, {})[field] = stored[key]
    return list(nodes.values())


@pytest.mark.shared
@engines
@pytest.mark.parametrize("number", range(14))
def test_nodes_of_gtcrn(shared: Path, number: int, engine: str) -> None:
    stored = gtcrn_nodes(shared / "golden" / "gtcrn")[number]
    weights = {name: stored[name] for name in ("W", "R", "B")}
    attributes = {name: stored[name].item() for name in ("linear_before_reset", "direction")}
    assert len(stored["X"]) == 40
    for x, h_0, y in zip(stored["X"], stored["h0"], stored["Y"], strict=True):
        check(case("GRU", attributes, weights | {"X": x, "initial_h": h_0}, {"Y": y}), engine, "golden_gtcrn")
    if attributes["direction"] == "forward":  # one step a frame, each from the state of the last: one sequence
        given = weights | {"X": stored["X"][:, 0], "initial_h": stored["h0"][0]}
        check(case("GRU", attributes, given, {"Y": stored["Y"][:, 0]}), engine, "golden_gtcrn")


@pytest.mark.shared
def test_nodes_of_files_name_their_weights(shared: Path) -> None:
    graph = onnx.load(shared / "golden" / "gtcrn" / "gtcrn_simple.onnx").graph
    nodes = [node for node in graph.node if node.op_type == "GRU"]
    layers = [ours.layer(node, graph.initializer) for node in nodes]
    assert len(layers) == 14
    assert all(isinstance(layer, nn.GRU) and layer.reset_after for layer in layers)


# What a layer has of a node, and what is refused.


def arrays(gates: int, directions: int = 1, **others: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"W": (gates * 3, 2), "R": (gates * 3, 3), "B": (gates * 6,), "P": (9,)}
    made = {name: rng.standard_normal((directions, *shape)).astype(np.float32) for name, shape in shapes.items()}
    return {name: made[name] for name in "WRB"} | others


NODE = ("X", "W", "R", "B")


def test_activations_take_the_numbers_in_order() -> None:
    words = ["Affine", "hardsigmoid", "LeakyRelu"]
    node = helper.make_node(
        "LSTM", NODE, ["Y"], activations=words, activation_alpha=[0.5, 0.3], activation_beta=[0.1], clip=0.75
    )
    layer = ours.layer(node, arrays(4))
    assert isinstance(layer, nn.LSTM)
    assert layer.recurrent_activation == ("linear", 0.5, 0.1)
    assert layer.activation == ("hard_sigmoid", 0.3, 0.5)
    assert layer.cell_activation == "leaky_relu"
    assert layer.clip == 0.75
    usual = ours.layer(helper.make_node("RNN", NODE, ["Y"], activations=["HardSigmoid"]), arrays(1))
    assert isinstance(usual, nn.RNN)
    assert usual.nonlinearity == ("hard_sigmoid", 0.2, 0.5)


def test_weights_may_be_tensors_of_a_graph() -> None:
    own = arrays(3, initial_h=np.zeros((1, 1, 3), np.float32))
    node = helper.make_node("GRU", [*NODE, "", "initial_h"], ["Y"], layout=1, name="encoder")
    layer = ours.layer(node, [numpy_helper.from_array(array, name) for name, array in own.items()])
    assert layer.batch_first
    same = ours.layer(node, own)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, same.state_dict()[name])
    assert layer(np.zeros((2, 4, 2), np.float32))[0].shape == (2, 4, 3)


@pytest.mark.parametrize(
    ("kind", "attributes", "changes", "message"),
    [
        ("Conv", {}, {}, "Conv 'n': op_type: expected 'GRU', 'LSTM' or 'RNN', got 'Conv'"),
        ("GRU", {"activations": ["Sigmoid", "Gelu"]}, {}, "GRU 'n': activations: expected .*, got 'gelu'"),
        ("GRU", {"activations": ["Sigmoid"]}, {}, "activations: expected 2, got 1"),
        ("GRU", {"activations": ["Sigmoid", "Affine"]}, {}, "activations: expected alpha and beta for Affine"),
        ("GRU", {"activation_alpha": [0.5]}, {}, "activation_alpha: expected a number for each .*, got 1 more"),
        ("GRU", {"direction": "both"}, {}, "direction: expected 'forward', 'reverse' or 'bidirectional', got 'both'"),
        ("GRU", {"direction": "bidirectional"}, {}, r"W: expected shape \(2, 9, 2\), got \(1, 9, 2\)"),
        ("GRU", {"hidden_size": 4}, {}, "hidden_size: expected 3, which R has, got 4"),
        ("GRU", {"rhythm": 4}, {}, "rhythm: unknown attribute"),
        ("GRU", {"clip": -1.0}, {}, "clip: expected a .*number .*, got -1"),
        ("GRU", {}, {"R": None}, "R: expected an array 'R' among the initializers, got none"),
        ("GRU", {}, {"R": np.zeros((9, 3), np.float32)}, r"R: expected 3 dimensions, got shape \(9, 3\)"),
        ("GRU", {}, {"B": np.zeros((1, 9), np.float32)}, r"B: expected shape \(1, 18\), got \(1, 9\)"),
        ("GRU", {}, {"initial_h": np.ones((1, 1, 3), np.float32)}, "initial_h: expected no initializer"),
        ("GRU", {}, {"sequence_lens": np.ones(1, np.float32)}, "sequence_lens: expected no initializer"),
    ],
)
def test_what_no_layer_computes(kind: str, attributes: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    own = {name: array for name, array in (arrays(3) | changes).items() if array is not None}
    node = helper.make_node(kind, [*NODE, "sequence_lens", "initial_h"], ["Y"], name="n", **attributes)
    with pytest.raises(ValueError, match=message):
        ours.layer(node, own)


def test_wrong_arguments() -> None:
    node, own = helper.make_node("GRU", NODE, ["Y"], name="n"), arrays(3)
    with pytest.raises(TypeError, match="node: expected a NodeProto of onnx, got str"):
        ours.layer("GRU", own)
    with pytest.raises(TypeError, match="initializers: expected a mapping to arrays or a list of TensorProto, got int"):
        ours.layer(node, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="GRU 'n': W: expected dtype float32 or float64, got float16"):
        ours.layer(node, own | {"W": own["W"].astype(np.float16)})
    with pytest.raises(TypeError, match="GRU 'n': R: expected float32 as W has, got float64"):
        ours.layer(node, own | {"R": own["R"].astype(np.float64)})
    with pytest.raises(ValueError, match="direction: expected 'forward' or 'reverse', got 'both'"):
        ours.layer(node, own, direction="both")
    with pytest.raises(ValueError, match="direction: expected 'forward', which the node has, got 'reverse'"):
        ours.layer(node, own, direction="reverse")
