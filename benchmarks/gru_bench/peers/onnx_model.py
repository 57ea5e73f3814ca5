"""A case as an ONNX model: a chain of GRU operators, for the engines that run such models.

Source of the operator: https://onnx.ai/onnx/operators/onnx__GRU.html
"""

from __future__ import annotations

import numpy as np

from gru_bench.cases import Array, Case
from gru_native.convert import ONNX_LINEAR_BEFORE_RESET, from_native

OPSET = 14


def onnx_model(case: Case) -> bytes:
    """Return the model of a case.

    Its inputs are those of `inputs`. Its outputs are ``output`` in the order of (T, B, D * H), with an axis of 1
    somewhere when there is one direction, and the ``h_n_{layer}`` (D, B, H).
    """
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, *shape: int) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    steps, batch, hidden, directions = case.steps, case.batch, case.hidden_size, case.directions
    nodes = []
    constants = []
    for layer, weights in enumerate(_weights_by_layer(case)):
        arrays = from_native(weights, ONNX_LINEAR_BEFORE_RESET, layer=layer)
        constants += [numpy_helper.from_array(array, f"{name}_{layer}") for name, array in arrays.items()]
        last = layer == case.num_layers - 1
        sequence = "x" if layer == 0 else f"sequence_{layer - 1}"
        # One direction needs no transpose, and the last sequence no reshape.
        output = "output" if last and directions == 1 else f"output_{layer}"
        nodes.append(
            helper.make_node(
                "GRU",
                [sequence, f"W_{layer}", f"R_{layer}", f"B_{layer}", "", f"h_0_{layer}"],
                [output, f"h_n_{layer}"],
                direction="bidirectional" if case.bidirectional else "forward",
                hidden_size=hidden,
                linear_before_reset=1,
            )
        )
        if directions == 2:
            nodes.append(helper.make_node("Transpose", [output], [f"rows_{layer}"], perm=[0, 2, 1, 3]))
            output = f"rows_{layer}"
        if not last or directions == 2:
            shape = np.array([steps, batch, -1], np.int64)
            constants.append(numpy_helper.from_array(shape, f"shape_{layer}"))
            reshaped = "output" if last else f"sequence_{layer}"
            nodes.append(helper.make_node("Reshape", [output, f"shape_{layer}"], [reshaped]))
    output_shape = (steps, batch, 2 * hidden) if directions == 2 else (steps, 1, batch, hidden)
    states = [(layer, (directions, batch, hidden)) for layer in range(case.num_layers)]
    graph = helper.make_graph(
        nodes,
        "gru",
        [value("x", steps, batch, case.input_size), *(value(f"h_0_{layer}", *size) for layer, size in states)],
        [value("output", *output_shape), *(value(f"h_n_{layer}", *size) for layer, size in states)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = helper.find_min_ir_version_for(model.opset_import)  # engines lag behind the newest
    return model.SerializeToString()  # type: ignore[no-any-return]


def inputs(case: Case) -> dict[str, Array]:
    """Return the model's inputs: ``x``, and the ``h_0_{layer}`` (D, B, H)."""
    states = np.split(case.h_0(), case.num_layers)
    return {"x": case.x(), **{f"h_0_{layer}": np.ascontiguousarray(state) for layer, state in enumerate(states)}}


def results(case: Case, outputs: list[Array]) -> dict[str, Array]:
    """Return the model's outputs as the other peers have them."""
    output, *states = outputs
    return {"output": output.reshape(case.steps, case.batch, -1), "h_n": np.concatenate(states)}


def _weights_by_layer(case: Case) -> list[dict[str, Array]]:
    weights = case.weights()
    suffixes = [(f"_l{layer}", f"_l{layer}_reverse") for layer in range(case.num_layers)]
    return [{name: array for name, array in weights.items() if name.endswith(ends)} for ends in suffixes]
