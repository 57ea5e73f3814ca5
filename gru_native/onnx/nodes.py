"""What each operator makes of the values that a chain of layers has: a function an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from onnx import NodeProto, numpy_helper

from gru_native import nn
from gru_native.arguments import Array
from gru_native.functional import Padding, Windows
from gru_native.onnx.lengths import DOMAIN
from gru_native.onnx.recurrent import INPUTS, NAMES, NUMBERS, WEIGHTS, attributes_of, from_operator
from gru_native.onnx.values import (
    LastStates,
    NoChain,
    OfInput,
    OfStates,
    Signal,
    Sizes,
    Zeros,
    constant,
    is_input,
    signal,
)

_END = 2**31 - 1  # what is at least so large stands for the end of an axis


class Node:
    """A node, with its inputs' values.

    Attributes
    ----------
    kind
        The operator.
    given
        The inputs' values, ``None`` for those that are left out.
    attributes
        By name.
    axis_of_time
        The name of the axis that other nodes take for that of time, in a list that has one or none.
    """

    def __init__(self, node: NodeProto, given: Sequence[Any], axis_of_time: list[str]) -> None:
        self.kind, self.domain = node.op_type, node.domain
        self.given, self.attributes, self.axis_of_time = given, attributes_of(node), axis_of_time

    def input(self, place: int) -> Any:
        """Return an input's value, or ``None``."""
        return self.given[place] if place < len(self.given) else None

    def over_time(self, axis: str) -> bool:
        """Take an axis for that of time, and return whether it is the second of the graph's input."""
        if axis not in ("0", "1") or self.axis_of_time not in ([], [axis]):
            raise NoChain("expected the axis of time where other nodes have it")
        self.axis_of_time[:] = [axis]
        return axis == "1"

    def numbers(self, name: str, place: int) -> list[int] | None:
        """Return whole numbers that are an attribute or, in newer operators, an input."""
        if name in self.attributes:
            return list(self.attributes[name])
        value = self.input(place)
        return None if value is None else [int(each) for each in constant(value, name).reshape(-1)]

    def axes(self, value: Any, place: int = 1) -> list[int]:
        """Return the axes of a value that the node is about, counted from the first."""
        found = self.numbers("axes", place)
        if found is None:
            raise NoChain("axes: expected some, got none")
        return [axis % len(value.axes) for axis in found]

    def axis(self, value: Any, usual: int) -> int:
        """Return the one axis of a value that the node is about."""
        return int(self.attributes.get("axis", usual)) % len(value.axes)


def read(node: Node) -> Any:
    """Return the value of a node's results, or a tuple with that of each.

    Raises
    ------
    NoChain, ValueError, TypeError
        When it is no part of a chain of layers.
    """
    readers = _FUNCTIONS if node.domain == DOMAIN else _OPERATORS if node.domain in ("", "ai.onnx") else {}
    if node.kind in readers:
        return readers[node.kind](node)
    if any(isinstance(value, Sizes) for value in node.given):
        return Sizes((None,))
    raise NoChain("this operator is no layer of this package")


# ---- Layers ---------------------------------------------------------------------------------------------------------


def _recurrent(node: Node) -> Any:
    named = dict(zip(INPUTS, node.given, strict=False))
    x = signal(named["X"])
    if len(x.axes) != 3 or x.axes[2] != "F":
        raise NoChain("X: expected sequences with features on the last axis")
    batch_major = bool(node.attributes.get("layout", 0))
    batch, time = x.axes[:2] if batch_major else x.axes[1::-1]
    weights = {name: constant(named[name], name) for name in WEIGHTS if named.get(name) is not None}
    for name in ("initial_h", "initial_c"):
        _check_first_state(name, named.get(name))
    lengths = named.get("sequence_lens")
    if lengths is not None and not is_input(lengths):
        raise NoChain("sequence_lens: expected an input of the graph")
    layer = from_operator(node.kind, node.attributes | {"layout": int(node.over_time(time))}, weights)
    axes = (batch, time, "D", "F") if batch_major else (time, "D", batch, "F")
    hidden = weights["R"].shape[2]
    output = x.through(layer, axes=axes, features=hidden, ragged=(*x.ragged, lengths is not None))
    of_last = tuple(axis for axis in axes if axis != time)
    h, c = (LastStates(tuple((output, part, d) for d in range(output.directions)), of_last) for part in "hc")
    return output, h, c


def _check_first_state(name: str, value: Any) -> None:
    zeros = value is None or isinstance(value, Zeros) or (isinstance(value, np.ndarray) and not value.any())
    if not zeros and not is_input(value):
        raise NoChain(f"{name}: expected zeros or an input of the graph")


def _gather(node: Node) -> Any:
    data, indices = node.given
    if isinstance(data, np.ndarray):
        return _embedding(data, indices, node.attributes.get("axis", 0))
    if isinstance(data, Zeros):
        return data
    places = constant(indices, "indices")
    if isinstance(data, Sizes):
        return Sizes(tuple(data.entries[int(place)] for place in places.reshape(-1)))
    if is_input(data):
        return OfInput()
    axis = node.axis(data, 0)
    if isinstance(data, LastStates) and data.axes[axis] == "D":
        parts = tuple(data.parts[int(place)] for place in places.reshape(-1))
        return replace(data, parts=parts, axes=data.axes if places.ndim else _without(data.axes, axis))
    if places.shape == () and places == -1:
        return _last_step(node, signal(data), axis)
    raise NoChain("expected a table, or the last step of a sequence")


def _embedding(table: Array, indices: Any, axis: int) -> Signal:
    if not isinstance(indices, Signal) or indices.layers or "F" in indices.axes or axis != 0 or table.ndim != 2:
        raise NoChain("expected rows of a table at indices that are an input of the graph")
    layer = nn.Embedding(*table.shape, dtype=table.dtype, seed=0)
    layer.assign({"weight": table})
    return indices.through(layer, axes=(*indices.axes, "F"), features=table.shape[1])


def _last_step(node: Node, x: Signal, axis: int) -> Signal:
    """Return the last step of a sequence, whose axis of time goes."""
    if x.directions == 2 or getattr(x.layers[-1], "direction", "forward") == "reverse":
        raise NoChain("expected the last states, Y_h, got the last step of Y, where the reverse direction begins")
    pooling = nn.LastPooling(batch_first=node.over_time(x.axes[axis]))
    return x.through(pooling, axes=_without(x.axes, axis), ragged=(*x.ragged, False))


def _convolution(node: Node) -> Signal:
    x, weight = signal(node.given[0]), constant(node.given[1], "W")
    if weight.ndim != 3:
        raise NoChain(f"W: expected one axis of windows, behind two of channels, got shape {weight.shape}")
    if len(x.axes) != 3 or x.axes[1] != "F":
        raise NoChain("X: expected sequences with channels on axis 1 and steps on axis 2, as a Transpose gives")
    outputs, inputs, kernel = weight.shape
    for name, wanted in (("group", 1), ("auto_pad", "NOTSET"), ("kernel_shape", [kernel])):
        if (found := node.attributes.get(name, wanted)) != wanted:
            raise NoChain(f"{name}: expected {wanted!r}, got {found!r}")
    (stride,), (dilation,) = (node.attributes.get(name, [1]) for name in ("strides", "dilations"))
    bias = None if node.input(2) is None else constant(node.input(2), "B")
    layer = nn.Conv1d(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=_padding(kernel, stride, dilation, tuple(node.attributes.get("pads", [0, 0]))),
        dilation=dilation,
        bias=bias is not None,
        batch_first=node.over_time(x.axes[2]),
        dtype=weight.dtype,
        seed=0,
    )
    layer.assign({"weight": weight} | ({} if bias is None else {"bias": bias}))
    sizes, time = list(x.sizes), int(x.axes[2])
    if steps := sizes[time]:
        sizes[time] = int(layer.output_lengths(steps))
    return x.through(layer, features=outputs, sizes=tuple(sizes), ragged=(*x.ragged, False))


def _padding(kernel: int, stride: int, dilation: int, sides: tuple[int, ...]) -> Padding:
    """Return the padding of a `Conv1d` that has so many zeros before and behind each row."""
    paddings: tuple[Padding, ...] = (sides[0], "causal", "same")
    for padding in paddings:
        if Windows(kernel, stride, padding, dilation).sides == sides:
            return padding
    raise NoChain(f"pads: expected as many on both sides, or those of a Conv1d that is causal or same, got {sides}")


def _mat_mul(node: Node) -> Signal:
    weight = constant(node.given[1], "B")
    if weight.ndim != 2:
        raise NoChain(f"B: expected a matrix, got shape {weight.shape}")
    return _linear(signal(node.given[0]), weight, None)


def _gemm(node: Node) -> Signal:
    alone = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    for name, wanted in alone.items():
        if node.attributes.get(name, wanted) != wanted:
            raise NoChain(f"{name}: expected {wanted}, got {node.attributes[name]}")
    weight = constant(node.given[1], "B")
    bias = None if node.input(2) is None else constant(node.input(2), "C")
    return _linear(signal(node.given[0]), weight.T if node.attributes.get("transB", 0) else weight, bias)


def _linear(x: Signal, weight: Array, bias: Array | None) -> Signal:
    """Return what a `Linear` gives with a weight (I, O)."""
    if x.axes[-1] != "F" or "D" in x.axes:
        raise NoChain("expected features on the last axis")
    inputs, outputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias is not None, dtype=weight.dtype, seed=0)
    layer.assign({"weight": weight.T} | ({} if bias is None else {"bias": bias.reshape(-1)}))
    return x.through(layer, features=outputs)


def _add(node: Node) -> Signal:
    """Add the bias of the `Linear` before."""
    first, second = node.given
    x, bias = (second, first) if isinstance(first, np.ndarray) else (first, second)
    linear = x.layers[-1] if isinstance(x, Signal) and x.layers else None
    if not isinstance(bias, np.ndarray) or not isinstance(linear, nn.Linear) or "bias" in linear.parameters():
        raise NoChain("expected a MatMul and its bias")
    if bias.shape[-1:] != (linear.out_features,) or bias.size != linear.out_features:
        raise NoChain(f"expected a bias of shape ({linear.out_features},), got {bias.shape}")
    before = replace(x, layers=x.layers[:-1])
    return _linear(before, linear.parameters()["weight"].T, bias)


def _layer_normalization(node: Node) -> Signal:
    x, weight = signal(node.given[0]), constant(node.given[1], "Scale")
    if x.axes[-1] != "F" or node.axis(x, -1) != len(x.axes) - 1 or weight.ndim != 1:
        raise NoChain("expected to normalize over the features, on the last axis")
    bias = None if node.input(2) is None else constant(node.input(2), "B")
    layer = nn.LayerNorm(weight.size, node.attributes.get("epsilon", 1e-5), bias=bias is not None, dtype=weight.dtype)
    layer.assign({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return x.through(layer)


def _batch_normalization(node: Node) -> Signal:
    x = signal(node.given[0])
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = {name: constant(value, name) for name, value in zip(names, node.given[1:], strict=True)}
    if len(x.axes) not in (2, 3) or x.axes[1] != "F" or node.attributes.get("training_mode", 0):
        raise NoChain("expected channels on axis 1, and running values")
    layer = nn.BatchNorm1d(
        arrays["weight"].size,
        node.attributes.get("epsilon", 1e-5),
        channels_last=len(x.axes) == 3,
        dtype=arrays["weight"].dtype,
    )
    layer.assign(arrays)
    return x.through(layer)


def _activation(node: Node) -> Signal:
    (name,) = (own for own, kind in NAMES.items() if kind == node.kind)
    given = zip(("alpha", "beta"), NUMBERS[name], strict=False)
    return _result(node).through(nn.Activation((name, *(node.attributes.get(which, usual) for which, usual in given))))


def _softmax(node: Node) -> Signal:
    x = _result(node)
    # Where no axis is said, old operators take all axes but the first.
    if x.axes[-1] != "F" or ("axis" not in node.attributes and len(x.axes) > 2) or node.axis(x, -1) != len(x.axes) - 1:
        raise NoChain("axis: expected that of the features, the last one")
    return x.through(nn.Softmax())


def _result(node: Node) -> Signal:
    """Return the input of a function of each number, whose directions are side by side."""
    x = signal(node.given[0])
    if "D" in x.axes:
        raise NoChain("expected features on the last axis")
    return x


def _dropout(node: Node) -> Any:
    training = node.input(2)
    if training is not None and constant(training, "training_mode"):
        raise NoChain("training_mode: expected false")
    return node.given[0]


def _reduce_mean(node: Node) -> Signal:
    x = signal(node.given[0])
    axes = node.axes(x)
    if len(axes) != 1 or node.attributes.get("keepdims", 1):
        raise NoChain("expected the mean over time, with keepdims=0")
    pooling = nn.MeanPooling(batch_first=node.over_time(x.axes[axes[0]]))
    return x.through(pooling, axes=_without(x.axes, axes[0]), ragged=(*x.ragged, False))


def _by_lengths(node: Node) -> Signal:
    """Read a function that `export` writes."""
    x, lengths = signal(node.given[0]), node.given[1]
    if len(x.axes) != 3 or x.axes[2] != "F":
        raise NoChain("x: expected sequences with features on the last axis")
    batch_first = node.over_time(x.axes[0])
    if node.kind == "LiveSteps":
        if not x.layers or not isinstance(x.layers[-1], nn.BatchNorm1d) or not is_input(lengths):
            raise NoChain("expected a BatchNormalization before it, and lengths that are an input of the graph")
        return replace(x, ragged=(*x.ragged, True))
    if node.kind == "AttentionPooling":
        arrays = dict(zip(("weight", "bias", "query"), node.given[2:], strict=True))
        units, features = constant(arrays["weight"], "weight").shape
        layer: nn.Module = nn.AttentionPooling(features, units, batch_first, dtype=arrays["weight"].dtype, seed=0)
        layer.assign({name: constant(array, name) for name, array in arrays.items()})
    elif node.kind == "MeanPooling":
        layer = nn.MeanPooling(batch_first)
    else:
        layer = nn.LastPooling(node.kind == "BidirectionalLastPooling", batch_first)
    if not is_input(lengths) and lengths != Sizes((x.size(x.axes[0]),)):
        raise NoChain("lengths: expected an input of the graph, or all steps")
    return x.through(layer, axes=x.axes[1:], ragged=(*x.ragged, is_input(lengths)))


# ---- What stands between layers -------------------------------------------------------------------------------------


def _identity(node: Node) -> Any:
    return node.given[0]


def _cast(node: Node) -> Any:
    value = node.given[0]
    if isinstance(value, (Sizes, Zeros)) or is_input(value):
        return value
    raise NoChain("expected no change of the dtype that layers compute in")


def _transpose(node: Node) -> Any:
    value = node.given[0]
    if not isinstance(value, (Signal, LastStates)):
        return _part_of_input(value)
    order = node.attributes.get("perm", range(len(value.axes))[::-1])
    return replace(value, axes=tuple(value.axes[axis] for axis in order))


def _squeeze(node: Node) -> Any:
    value = node.given[0]
    if isinstance(value, Sizes):
        return value
    if not isinstance(value, (Signal, LastStates)) or is_input(value):
        return _part_of_input(value)
    axes = node.axes(value)
    if isinstance(value, Signal) and [value.axes[axis] for axis in axes] == ["last"]:
        (axis,) = axes
        return _last_step(node, replace(value, axes=_named(value.axes, axis, node.axis_of_time[0])), axis)
    if any(value.axes[axis] != "D" or value.directions != 1 for axis in axes):
        raise NoChain("expected the axis of one direction")
    return replace(value, axes=tuple(name for name in value.axes if name != "D"))


def _reshape(node: Node) -> Any:
    """Take directions and features together, or a single direction out."""
    value, shape = node.given
    if isinstance(value, Sizes):
        return value
    if not isinstance(value, (Signal, LastStates)) or is_input(value):
        return _part_of_input(value)
    entries = shape.entries if isinstance(shape, Sizes) else tuple(map(int, constant(shape, "shape")))
    joined = value.axes[-2:] == ("D", "F")
    axes = tuple(name for name in value.axes if name != "D")
    if not joined and "D" in value.axes and value.directions != 1:
        raise NoChain("expected directions before features")
    features = value.features * value.directions if joined and value.features else value.features
    sizes = [features if name == "F" else value.size(name) for name in axes]
    kept = [place < len(value.axes) and name == value.axes[place] for place, name in enumerate(axes)]
    if not _fit(entries, sizes, kept):
        raise NoChain("expected a shape with directions and features together")
    return replace(value, axes=axes, features=features) if isinstance(value, Signal) else replace(value, axes=axes)


def _fit(entries: Sequence[Any], sizes: Sequence[Any], kept: Sequence[bool]) -> bool:
    """Whether entries of a shape give these sizes: -1 stands for any, and 0 for one that stays in its place."""
    if len(entries) != len(sizes):
        return False
    each = zip(entries, sizes, kept, strict=True)
    return all(entry in (-1, size) or (entry == 0 and stays) for entry, size, stays in each)


def _unsqueeze(node: Node) -> Any:
    value = node.given[0]
    if isinstance(value, (LastStates, OfStates)):
        return OfStates()
    return value if isinstance(value, Sizes) else _part_of_input(value)


def _slice(node: Node) -> Any:
    value = node.given[0]
    starts, ends = node.numbers("starts", 1), node.numbers("ends", 2)
    if starts is None or ends is None or set(node.numbers("steps", 4) or [1]) != {1}:
        raise NoChain("expected steps of 1")
    if isinstance(value, Sizes):
        return Sizes(value.entries[starts[0] : ends[0]])
    if all(start == 0 for start in starts) and all(end >= _END for end in ends):
        return value
    if not isinstance(value, (Signal, LastStates)) or is_input(value):
        return _part_of_input(value)
    axes = node.numbers("axes", 3) or list(range(len(starts)))
    if len(axes) == 1:
        axis, start, end = axes[0] % len(value.axes), starts[0], ends[0]
        if isinstance(value, LastStates) and value.axes[axis] == "D":
            return replace(value, parts=value.parts[start:end])
        if isinstance(value, Signal) and start == -1 and end >= _END:
            node.over_time(value.axes[axis])
            return replace(value, axes=_named(value.axes, axis, "last"))
    raise NoChain("expected the last step of a sequence")


def _split(node: Node) -> Any:
    return _part_of_input(node.given[0])


def _concat(node: Node) -> Any:
    given = node.given
    if all(isinstance(value, (Sizes, np.ndarray)) for value in given):
        entries = [value.entries if isinstance(value, Sizes) else tuple(value.reshape(-1).tolist()) for value in given]
        return Sizes(tuple(entry for own in entries for entry in own))
    first = given[0]
    of_states = all(isinstance(value, LastStates) and value.axes == first.axes for value in given)
    if of_states and first.axes[node.axis(first, 0)] == ("D" if "D" in first.axes else "F"):
        return replace(first, parts=tuple(part for value in given for part in value.parts))
    if all(isinstance(value, (LastStates, OfStates)) for value in given):
        return OfStates()
    if all(isinstance(value, Zeros) for value in given):
        return first
    raise NoChain("expected last states of recurrent layers")


def _part_of_input(value: Any) -> Any:
    """Return what becomes of zeros, and of an input of the graph that is no layer's."""
    if isinstance(value, Zeros):
        return value
    if is_input(value):
        return OfInput()
    raise NoChain("expected an input of the graph, such as first states")


def _without(axes: tuple[str, ...], axis: int) -> tuple[str, ...]:
    return axes[:axis] + axes[axis + 1 :]


def _named(axes: tuple[str, ...], axis: int, name: str) -> tuple[str, ...]:
    return (*axes[:axis], name, *axes[axis + 1 :])


# ---- Shapes, and zeros of them --------------------------------------------------------------------------------------


def _shape(node: Node) -> Sizes:
    value = node.given[0]
    if not isinstance(value, (Signal, LastStates)):
        return Sizes((None,))
    entries = tuple(value.size(name) for name in value.axes)
    return Sizes(entries[node.attributes.get("start", 0) : node.attributes.get("end")])


def _constant_of_shape(node: Node) -> Any:
    filling = node.attributes.get("value")
    if filling is None or not numpy_helper.to_array(filling).any():
        return Zeros()
    return Sizes((None,))


def _expand(node: Node) -> Any:
    value = node.given[0]
    if isinstance(value, Zeros) or (isinstance(value, np.ndarray) and not value.any()):
        return Zeros()
    if isinstance(value, Sizes):  # such as one size for each row
        return value if len(value.entries) == 1 else Sizes((None,))
    raise NoChain("expected zeros")


def _mul(node: Node) -> Any:
    sizes = [value.entries if isinstance(value, Sizes) else () for value in node.given]
    if len(sizes[0]) != len(sizes[1]) or not sizes[0]:
        raise NoChain("this operator is no layer of this package")
    pairs = zip(*sizes, strict=True)
    return Sizes(tuple(a * b if isinstance(a, int) and isinstance(b, int) else None for a, b in pairs))


_OPERATORS: Mapping[str, Callable[[Node], Any]] = {
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "RNN": _recurrent,
    "Gather": _gather,
    "Conv": _convolution,
    "MatMul": _mat_mul,
    "Gemm": _gemm,
    "Add": _add,
    "LayerNormalization": _layer_normalization,
    "BatchNormalization": _batch_normalization,
    "Softmax": _softmax,
    **{kind: _activation for name, kind in NAMES.items() if name not in ("linear", "scaled_tanh")},
    "Dropout": _dropout,
    "ReduceMean": _reduce_mean,
    "Identity": _identity,
    "Cast": _cast,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Unsqueeze": _unsqueeze,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Shape": _shape,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Mul": _mul,
}
_FUNCTIONS = dict.fromkeys(
    ("LiveSteps", "LastPooling", "BidirectionalLastPooling", "MeanPooling", "AttentionPooling"), _by_lengths
)
