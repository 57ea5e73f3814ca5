"""From a model to an ONNX file, layer by layer; no example input is needed, because no shape but the features' is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, defs, helper, numpy_helper

from gru_native import __version__, io, nn
from gru_native.activations import activation
from gru_native.arguments import Array, StrPath, flag, shown, whole
from gru_native.functional import Windows
from gru_native.nn.module import Module, join
from gru_native.onnx.lengths import DOMAIN, function
from gru_native.onnx.recurrent import NAMES, Layer, single, to_operator, to_operator_weights

#: The oldest operators that a file can ask for.
LEAST_OPSET = 18

_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
_RECURRENT = (nn.GRU, nn.LSTM, nn.RNN)
_POOLING = (nn.LastPooling, nn.MeanPooling, nn.AttentionPooling)


def export(model: Any, path: StrPath, *, opset: int = LEAST_OPSET, states: bool = True, lengths: bool = False) -> None:
    """Write a model as an ONNX file, as it computes at inference.

    The graph's axes of batch and time have no fixed sizes. Its input is ``x``, of the axes that the model takes, or
    ``indices`` (int64) where an `Embedding` comes first, and its output ``output``.

    Parameters
    ----------
    model
        A module of `gru_native.nn`: a recurrent layer, or a `Sequential` of recurrent layers, `Embedding`, `Conv1d`,
        `Linear`, `LayerNorm`, `BatchNorm1d`, `Activation`, `Dropout` (nothing at inference) and layers that pool; or a
        recurrent module of `gru_native.torch`.
    path
        By custom ``*.onnx``. An existing file is replaced when the new one is complete on disk.
    opset
        The version of ONNX's operators, from 18 to the installed package's.
    states
        Whether states are inputs and outputs of the graph, in the shapes that the layers have them: ``h_0`` and
        ``h_n``, of the LSTM also ``c_0`` and ``c_n``; with a layer's name and a dot in front, where several are
        recurrent; with ``_l0`` and so on behind it, where layers of a stack differ in size. Otherwise the states
        begin as zeros.
    lengths
        Whether the graph has an input ``lengths`` (B), int32, of the steps of each row. Not beside a `Conv1d`.

    Raises
    ------
    ValueError
        For a layer or an option that ONNX cannot express: the message names it. Nothing is written then.
    TypeError
        When `model` is no module.
    OSError
        When the file cannot be written; what stood at `path` still stands there.
    """
    content = to_model(
        _native(model),
        whole("opset", opset, LEAST_OPSET, defs.onnx_opset_version()),
        flag("states", states),
        flag("lengths", lengths),
    ).SerializeToString(deterministic=True)
    with io.atomic_write(path) as file:
        file.write(content)


def to_model(model: Module, opset: int, states: bool, lengths: bool) -> ModelProto:
    """Return the file's content."""
    layers = [(name, layer) for name, layer in model.named_modules() if not isinstance(layer, nn.Sequential)]
    over_time = [layer for _, layer in layers if isinstance(layer, (*_RECURRENT, *_POOLING, nn.Conv1d))]
    if lengths and not over_time:
        raise ValueError("lengths: expected False, because no layer goes over time, got True")
    graph = _Graph(model.state_dict(), layers, over_time, opset, states, lengths)
    for name, layer in layers:
        graph.add(name, layer)
    return graph.finished()


class _Graph:
    """A graph under way."""

    def __init__(
        self,
        arrays: Mapping[str, Array],
        layers: Sequence[tuple[str, Module]],
        over_time: Sequence[Any],
        opset: int,
        states: bool,
        lengths: bool,
    ) -> None:
        self.arrays, self.opset, self.states = arrays, opset, states
        dtypes = [layer.dtype for _, layer in layers if hasattr(layer, "dtype")]
        self.dtype = dtypes[0] if dtypes else np.dtype("float32")
        self.type = _TYPES[self.dtype.name]
        self.batch_first = bool(over_time) and over_time[0].batch_first
        self.only_one_recurrent = sum(layer.recurrent for layer in over_time) == 1
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self.functions: set[str] = set()
        self.place = ""
        indices = bool(layers) and isinstance(layers[0][1], nn.Embedding)
        self.axes: list[Any] = ["batch"]
        if over_time:
            self.axes = ["batch", "time"] if self.batch_first else ["time", "batch"]
        given = self.axes if indices else [*self.axes, _features(layers)]
        # What the next layer reads, and how its axes lie.
        self.x, self.time_major = "indices" if indices else "x", not self.batch_first
        self.features: Any = None if indices else given[-1]
        self.inputs = [_info(self.x, TensorProto.INT64 if indices else self.type, given)]
        self.lengths = "lengths" if lengths else ""
        if lengths:
            self.inputs.append(_info("lengths", TensorProto.INT32, ["batch"]))
        self.final_states: list[ValueInfoProto] = []

    def add(self, place: str, layer: Module) -> None:
        """Add the nodes of a layer, which stands at this place of the model."""
        self.place = place
        kind = type(layer)
        try:
            if kind not in _WRITERS:
                *first, last = (known.__name__ for known in _WRITERS)
                raise ValueError(f"model: expected {', '.join(first)} or {last}, got {kind.__name__}")
            _WRITERS[kind](self, layer)
        except ValueError as error:
            raise ValueError(f"layer {place} ({kind.__name__}): {error}" if place else str(error)) from error

    def finished(self) -> ModelProto:
        """Return the model, whose result lies as its input does."""
        self.place = ""
        if len(self.axes) > 1:
            self.x = self.turned(to_time_major=not self.batch_first)
        self.node("Identity", self.x, names=["output"])
        output = _info("output", self.type, [*self.axes, self.features])
        graph = helper.make_graph(
            self.nodes, "gru_native", self.inputs, [output, *self.final_states], list(self.constants.values())
        )
        versions = [helper.make_opsetid("", self.opset)]
        if self.functions:
            versions.append(helper.make_opsetid(DOMAIN, 1))
        return helper.make_model(
            graph,
            functions=[function(name, self.opset) for name in sorted(self.functions)],
            opset_imports=versions,
            ir_version=helper.find_min_ir_version_for(versions[:1]),
            producer_name="gru_native",
            producer_version=__version__,
        )

    def node(self, kind: str, *inputs: str, names: Sequence[str] = (), domain: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its first result; `names` are those of the results, by default one."""
        name = join(self.place, f"{kind}_{len(self.nodes)}")
        names = names or [name]
        self.nodes.append(helper.make_node(kind, inputs, names, name=name, domain=domain, **attributes))
        return names[0]

    def constant(self, name: str, array: Any) -> str:
        """Add an array under its name in the layer, and return its full name."""
        full = join(self.place, name)
        self.constants[full] = numpy_helper.from_array(np.asarray(array, order="C"), full)
        return full

    def integers(self, *values: int) -> str:
        """Return the name of a constant (n) of int64."""
        full = f"integers_{'_'.join(map(str, values))}"
        self.constants[full] = numpy_helper.from_array(np.array(values, np.int64), full)
        return full

    def has(self, name: str) -> bool:
        """Whether the layer has such an array."""
        return join(self.place, name) in self.arrays

    def own(self, name: str, usual: Array | None = None) -> str:
        """Add an array of the layer, or the usual one where it has none, and return its full name."""
        return self.constant(name, self.arrays.get(join(self.place, name), usual))

    def turned(self, to_time_major: bool = True) -> str:
        """Return the name of what the next layer reads, with the time or the batch as first axis."""
        if self.time_major != to_time_major:
            self.x, self.time_major = self.node("Transpose", self.x, perm=[1, 0, 2]), to_time_major
        return self.x

    def by_lengths(self, name: str, *constants: str) -> None:
        """Add a function of `gru_native.onnx.lengths`."""
        self.functions.add(name)
        self.x = self.node(name, self.turned(), self.lengths or self.all_steps(), *constants, domain=DOMAIN)

    def all_steps(self) -> str:
        """Return the name of lengths that leave no step out."""
        steps = self.node("Cast", self.node("Shape", self.x, start=0, end=1), to=TensorProto.INT32)
        return self.node("Expand", steps, self.node("Shape", self.x, start=1, end=2))

    def first_states(self, layer: Layer) -> list[list[str]]:
        """Return the names of the states (D, B, H) that each layer of a stack begins with, which become inputs."""
        if not self.states:
            return [[""] * layer.states for _ in range(layer.num_layers)]
        by_part = []
        for part in "hc"[: layer.states]:
            infos = self._states(layer, f"{part}_0")
            self.inputs += infos
            names = [info.name for info in infos]
            if len(infos) < layer.num_layers:
                directions = 2 if layer.bidirectional else 1
                split = [join(self.place, f"{part}_0_of_{place}") for place in range(layer.num_layers)]
                self.node("Split", names[0], self.integers(*[directions] * layer.num_layers), names=split, axis=0)
                names = split
            by_part.append(names)
        return [list(own) for own in zip(*by_part, strict=True)]

    def last_states(self, layer: Layer) -> list[list[str]]:
        """Return the names for the states that each layer of a stack ends with, which become outputs."""
        if not self.states:
            return [[] for _ in range(layer.num_layers)]
        by_part = []
        for part in "hc"[: layer.states]:
            infos = self._states(layer, f"{part}_n")
            self.final_states += infos
            names = [info.name for info in infos]
            if len(infos) < layer.num_layers:
                names = [join(self.place, f"{part}_n_of_{place}") for place in range(layer.num_layers)]
            by_part.append(names)
        return [list(own) for own in zip(*by_part, strict=True)]

    def _states(self, layer: Layer, name: str) -> list[ValueInfoProto]:
        """Return the arrays of one part of the states as the layer has them."""
        place = "" if self.only_one_recurrent else self.place
        directions = 2 if layer.bidirectional else 1
        if isinstance(layer.hidden_size, int):
            shape = [layer.num_layers * directions, "batch", layer.hidden_size]
            return [_info(join(place, name), self.type, shape)]
        return [
            _info(join(place, f"{name}_l{number}"), self.type, [directions, "batch", size])
            for number, size in enumerate(layer.hidden_size)
        ]


def _info(name: str, kind: int, axes: Sequence[Any]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, axes)


def _features(layers: Sequence[tuple[str, Any]]) -> int | str:
    """Return the size of the input's last axis, or a name for it, where no layer says it."""
    for _, layer in layers:
        for name in ("input_size", "in_features", "num_features", "features", "in_channels"):
            if hasattr(layer, name):
                return int(getattr(layer, name))
        if isinstance(layer, nn.LayerNorm):
            return layer.normalized_shape[-1]
    return "features"


# ---- Layers ---------------------------------------------------------------------------------------------------------


def _recurrent(graph: _Graph, layer: Layer) -> None:
    kind, attributes = to_operator(layer)
    directions, x = (2 if layer.bidirectional else 1), graph.turned()
    prefix = join(graph.place, "")
    arrays = {name.removeprefix(prefix): own for name, own in graph.arrays.items() if name.startswith(prefix)}
    first, last = graph.first_states(layer), graph.last_states(layer)
    for place in range(layer.num_layers):
        weights = to_operator_weights(layer, arrays, place)
        named = {name: graph.constant(f"{name}_l{place}", own) for name, own in weights.items()}
        h, *c = first[place]
        inputs = [x, named["W"], named["R"], named.get("B", ""), graph.lengths, h, *c, named.get("P", "")]
        while not inputs[-1]:
            inputs.pop()
        hidden = weights["R"].shape[2]
        y = join(graph.place, f"Y_l{place}")
        graph.node(kind, *inputs, names=[y, *last[place]], hidden_size=hidden, **attributes)
        if directions == 1:
            x = graph.node("Squeeze", y, graph.integers(1))
        else:
            turned = graph.node("Transpose", y, perm=[0, 2, 1, 3])
            x = graph.node("Reshape", turned, graph.integers(0, 0, directions * hidden))
        graph.features = directions * hidden
    for number, info in enumerate(graph.final_states[-layer.states :] if graph.states else ()):
        if layer.num_layers > 1 and isinstance(layer.hidden_size, int):
            graph.node("Concat", *(own[number] for own in last), names=[info.name], axis=0)
    graph.x = x


def _embedding(graph: _Graph, layer: nn.Embedding) -> None:
    graph.x = graph.node("Gather", graph.own("weight"), graph.x, axis=0)
    graph.features = layer.embedding_dim


def _convolution(graph: _Graph, layer: nn.Conv1d) -> None:
    if graph.lengths:
        raise ValueError("lengths: expected False, because ONNX's Conv takes none, got True")
    # The operator has channels on axis 1, and the steps behind them.
    x = graph.node("Transpose", graph.x, perm=[1, 2, 0] if graph.time_major else [0, 2, 1])
    sides = Windows(layer.kernel_size, layer.stride, layer.padding, layer.dilation).sides
    arrays = [graph.own(name) for name in ("weight", "bias") if graph.has(name)]
    x = graph.node("Conv", x, *arrays, strides=[layer.stride], dilations=[layer.dilation], pads=sides)
    graph.x = graph.node("Transpose", x, perm=[2, 0, 1] if graph.time_major else [0, 2, 1])
    graph.axes = [axis if axis == "batch" else f"time_of_{x}" for axis in graph.axes]  # which can be shorter
    graph.features = layer.out_channels


def _linear(graph: _Graph, layer: nn.Linear) -> None:
    graph.x = graph.node("MatMul", graph.x, graph.constant("weight", graph.arrays[join(graph.place, "weight")].T))
    if graph.has("bias"):
        graph.x = graph.node("Add", graph.x, graph.own("bias"))
    graph.features = layer.out_features


def _layer_norm(graph: _Graph, layer: nn.LayerNorm) -> None:
    if len(layer.normalized_shape) > 1:
        raise ValueError(f"normalized_shape: expected one axis, got {layer.normalized_shape}")
    weight = graph.own("weight", np.ones(layer.normalized_shape, layer.dtype))
    bias = [graph.own("bias")] if graph.has("bias") else []
    graph.x = graph.node("LayerNormalization", graph.x, weight, *bias, axis=-1, epsilon=single("eps", layer.eps, layer))


def _batch_norm(graph: _Graph, layer: nn.BatchNorm1d) -> None:
    sequences = layer.channels_last and len(graph.axes) > 1
    if not layer.track_running_stats:
        raise ValueError("track_running_stats: expected True, because a batch's own values are for training, got False")
    ones = np.ones(layer.num_features, layer.dtype)
    affine = graph.own("weight", ones), graph.own("bias", 0 * ones)
    running = graph.own("running_mean"), graph.own("running_var")
    epsilon = single("eps", layer.eps, layer)
    # The operator has channels on axis 1.
    x = graph.node("Transpose", graph.x, perm=[0, 2, 1]) if sequences else graph.x
    x = graph.node("BatchNormalization", x, *affine, *running, epsilon=epsilon)
    graph.x = graph.node("Transpose", x, perm=[0, 2, 1]) if sequences else x
    if sequences and graph.lengths:
        graph.by_lengths("LiveSteps")


def _activation(graph: _Graph, layer: nn.Activation) -> None:
    own = activation("function", layer.function)
    if own.name in ("linear", "scaled_tanh"):
        raise ValueError(f"function: expected one for which ONNX has an operator, got {layer.function!r}")
    numbers: dict[str, Any] = {
        name: single("function", each, graph) for name, each in zip(("alpha", "beta"), own.numbers, strict=False)
    }
    graph.x = graph.node(NAMES[own.name], graph.x, **numbers)


def _softmax(graph: _Graph, layer: nn.Softmax) -> None:
    graph.x = graph.node("Softmax", graph.x, axis=-1)


def _dropout(graph: _Graph, layer: nn.Dropout) -> None:
    """Do nothing, as at inference."""


def _last_pooling(graph: _Graph, layer: nn.LastPooling) -> None:
    if layer.bidirectional:
        graph.by_lengths("BidirectionalLastPooling")
    elif graph.lengths:
        graph.by_lengths("LastPooling")
    else:
        last = graph.constant("last", np.int64(-1))
        graph.x = graph.node("Gather", graph.x, last, axis=0 if graph.time_major else 1)
    graph.axes = ["batch"]


def _mean_pooling(graph: _Graph, layer: nn.MeanPooling) -> None:
    if graph.lengths:
        graph.by_lengths("MeanPooling")
    else:
        time = graph.integers(0 if graph.time_major else 1)
        graph.x = graph.node("ReduceMean", graph.x, time, keepdims=0)
    graph.axes = ["batch"]


def _attention_pooling(graph: _Graph, layer: nn.AttentionPooling) -> None:
    graph.by_lengths("AttentionPooling", *map(graph.own, ("weight", "bias", "query")))
    graph.axes = ["batch"]


_WRITERS: dict[type[Module], Callable[[_Graph, Any], None]] = {
    nn.GRU: _recurrent,
    nn.LSTM: _recurrent,
    nn.RNN: _recurrent,
    nn.Embedding: _embedding,
    nn.Conv1d: _convolution,
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.Activation: _activation,
    nn.Softmax: _softmax,
    nn.Dropout: _dropout,
    nn.LastPooling: _last_pooling,
    nn.MeanPooling: _mean_pooling,
    nn.AttentionPooling: _attention_pooling,
}


# ---- PyTorch's modules ----------------------------------------------------------------------------------------------


def _native(model: Any) -> Module:
    """Return a module of this package's that computes the same."""
    if isinstance(model, Module):
        return model
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.RNNBase):
        expected = "a Module of gru_native.nn, or a GRU, LSTM or RNN of gru_native.torch"
        raise TypeError(f"model: expected {expected}, got {shown(model)}")
    kind, *nonlinearity = model.mode.split("_")
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional")
    options = {name: getattr(model, name) for name in names}
    if kind == "GRU":
        own = {"reset_after": True, "layer_norm": False, "zoneout": 0.0}
        options |= {name: getattr(model, name, usual) for name, usual in own.items()}
    elif kind == "LSTM":
        options["proj_size"] = model.proj_size
    elif getattr(model, "zoneout", 0.0):
        raise ValueError(f"zoneout: expected 0.0, because ONNX's RNN has none, got {model.zoneout}")
    else:
        options["nonlinearity"] = nonlinearity[0].lower()
    state = {name: own.detach().cpu().numpy() for name, own in model.state_dict().items()}
    made: Module = getattr(nn, kind)(**options, dtype=state["weight_ih_l0"].dtype)
    made.load_state_dict(state)
    return made
