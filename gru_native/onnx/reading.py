"""From an ONNX file to a model: the graph is gone through once, node by node, and each value is one of `values`.

Where a value is of no such kind, the reason is kept, and becomes the error if the graph's output depends on it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from onnx import (
    ModelProto,
    NodeProto,
    ValueInfoProto,
    checker,
    external_data_helper,
    helper,
    inliner,
    load_from_string,
    numpy_helper,
)
from onnx.reference import ReferenceEvaluator

from gru_native import arguments, nn
from gru_native.arguments import StrPath
from gru_native.io import ModelFileError, regular
from gru_native.onnx.lengths import DOMAIN
from gru_native.onnx.nodes import Node, read
from gru_native.onnx.recurrent import shown
from gru_native.onnx.values import LastStates, NoChain, Refused, Signal, signal


def load(source: StrPath | bytes | ModelProto) -> nn.Sequential:
    """Return the model of a graph that is a chain of layers.

    Layers are GRU, LSTM and RNN nodes with what exporters put around them, MatMul with Add and Gemm (`Linear`), Gather
    from a table (`Embedding`), Conv over time (`Conv1d`), LayerNormalization, BatchNormalization, Relu, Softmax and
    others (`Activation`), Dropout (nothing), the last step or the last states (`LastPooling`), the mean over time
    (`MeanPooling`), and what `export` writes. Each recurrent node becomes a layer of its own.

    The model takes what the graph's layers begin with, and gives the graph's output. First and last states are those of
    a `Sequential`: a list with a state (D, B, H) for each recurrent layer. Where the graph begins with zeros, so does
    the model without states.

    Parameters
    ----------
    source
        A file, its content, or a ModelProto. Arrays in files beside the file are read too.

    Raises
    ------
    ModelFileError
        When the file is damaged, or no ONNX file, or when the graph is no chain of layers: the message names the node.
    OSError
        When the file cannot be read.
    """
    name, model = _model(source)
    try:
        return _chain(model)
    except (NoChain, ValueError) as why:
        raise ModelFileError(f"{name}: {why}") from None


def _chain(model: ModelProto) -> nn.Sequential:
    graph = model.graph
    values: dict[str, Any] = {"": None}
    values |= {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    values |= {each.name: _input(each) for each in graph.input if each.name not in values}
    versions = {each.domain: each.version for each in model.opset_import}
    axis_of_time: list[str] = []
    for node in graph.node:
        results = _results(node, [values[name] for name in node.input], versions, axis_of_time)
        values |= {name: value for name, value in zip(node.output, results, strict=False) if name}
    name, value = _main({each.name: values[each.name] for each in graph.output})
    try:
        return _finished(signal(value), batch_first=axis_of_time == ["1"])
    except NoChain as why:
        raise NoChain(f"output {name!r}: {why}") from None


def _model(source: Any) -> tuple[str, ModelProto]:
    """Return what messages name, and a valid model whose functions, but for those of `lengths`, are in the graph."""
    model, name = source, "source"
    try:
        if isinstance(source, bytes):
            model = load_from_string(source)
        elif not isinstance(source, ModelProto):
            name = arguments.path("source", source)
            with open(name, "rb", opener=regular) as file:
                model = load_from_string(file.read())
            external_data_helper.load_external_data_for_model(model, os.path.dirname(name))
        checker.check_model(model)
    except (DecodeError, checker.ValidationError) as error:
        raise ModelFileError(f"{name}: not an ONNX model, or a damaged one: {error}") from error
    own = [(each.domain, each.name) for each in model.functions if each.domain == DOMAIN]
    if len(model.functions) == len(own):
        return name, model
    return name, inliner.inline_selected_functions(model, own, exclude=True)


def _input(info: ValueInfoProto) -> Any:
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return Refused(f"input {info.name!r}: expected a shape, got none")
    sizes = tuple(size.dim_value or None for size in kind.shape.dim)
    axes = tuple(map(str, range(len(sizes))))
    if axes and np.issubdtype(helper.tensor_dtype_to_np_dtype(kind.elem_type), np.floating):
        return Signal(info.name, sizes, (*axes[:-1], "F"), sizes[-1])
    return Signal(info.name, sizes, axes)


def _results(node: NodeProto, given: Sequence[Any], versions: dict[str, int], axis_of_time: list[str]) -> Sequence[Any]:
    """Return the values of a node's results."""
    refused = [value for value in given if isinstance(value, Refused)]
    if refused:
        return refused[:1] * len(node.output)
    try:
        if all(value is None or isinstance(value, np.ndarray) for value in given):
            return _computed(node, given, versions)
        results = read(Node(node, given, axis_of_time))
    except (NoChain, ValueError, TypeError, LookupError, ArithmeticError) as why:  # the last of axes that are not there
        return [Refused(f"{shown(node)}: {why}")] * len(node.output)
    return results if isinstance(results, tuple) else [results] * len(node.output)


def _computed(node: NodeProto, given: Sequence[Any], versions: dict[str, int]) -> Sequence[Any]:
    """Return what a node makes of constants."""
    named = {name: value for name, value in zip(node.input, given, strict=True) if name}
    inputs, outputs = ([ValueInfoProto(name=name) for name in names if name] for names in (named, node.output))
    try:
        graph = helper.make_graph([node], "constants", inputs, outputs)
        found = iter(ReferenceEvaluator(graph, opsets=versions).run(None, named))
    except Exception as error:  # of whatever onnx does not compute
        raise NoChain(f"cannot be computed: {error}") from None
    return [next(found) if name else None for name in node.output]


def _main(outputs: dict[str, Any]) -> tuple[str, Any]:
    """Return the output that is no state, or where there are states only, the one of them; and its name."""
    for name, value in outputs.items():
        if isinstance(value, Refused):
            raise NoChain(f"output {name!r}: {value.why}")
    found = [each for each in outputs.items() if isinstance(each[1], Signal)]
    found = found or [each for each in outputs.items() if isinstance(each[1], LastStates)]
    if len(found) != 1:
        names = ", ".join(name for name, _ in found) or "none"
        raise NoChain(f"expected a graph with one output beside states, got {names}")
    return found[0]


def _finished(found: Signal, batch_first: bool) -> nn.Sequential:
    *others, last = found.axes
    if last != "F" or others != sorted(others) or not {"0", "1"}.issuperset(others):
        raise NoChain(f"expected axes as those of {found.source!r}, and features, with all directions, on the last one")
    if not found.layers:
        raise NoChain("expected a layer before it, got none")
    if len(set(found.ragged)) > 1:
        raise NoChain("expected that all layers go by lengths, or none, got some that do")
    for layer in found.layers:
        if isinstance(layer, nn.BatchNorm1d) and layer.channels_last:  # whose node does not know the axis of time
            layer.batch_first = batch_first
    return nn.Sequential(*found.layers)
