"""From the configuration of a model of Keras to our layers, or a refusal that names the layer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from gru_native import arguments
from gru_native.arguments import shown
from gru_native.keras.weights import Paths, paths

Config = dict[str, Any]
Shape = tuple[int | None, ...]  # of an array, without the batch


class Found(NamedTuple):
    """A layer of Keras: ours for it, and where a file has its variables, if it has any."""

    native: list[Config]
    group: Paths | None


def chain(config: Any, major: int) -> list[Found]:
    """Return what the layers of a model become, first to last.

    Parameters
    ----------
    config
        As the file has it, which may be anything.
    major
        The first number of Keras' version.

    Raises
    ------
    ValueError
        For no chain, or a layer that has no counterpart.
    """
    entries, shape = _entries(config)
    found: list[Found] = []
    counts = Counter[str]()
    for entry in entries:
        layer = _Layer.of(entry, major)
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", layer.kind).lower()
        if layer.kind == "InputLayer":
            shape = _shape(layer.config)
            continue
        if layer.kind == "Masking" and found:
            layer.refuse("expected it in front of all layers: a mask here is one of the model's input")
        if layer.kind not in _LAYERS:
            layer.refuse(f"has no counterpart; there are {', '.join(_LAYERS)}")
        shape = shape or _shape(layer.config) or ((None,) if layer.kind == "Embedding" else None)
        if shape is None:
            layer.refuse("expected a model that knows the shape of its input")
        native, shape = _LAYERS[layer.kind](layer, shape)
        found.append(Found(native, paths(kind, counts[kind]) if _numbers(native) else None))
        counts[kind] += 1
    return found


def numbers(found: Sequence[Found]) -> int:
    """Return how many numbers layers have in their arrays."""
    return sum(_numbers(layer.native) for layer in found)


def _numbers(native: Sequence[Config]) -> int:
    return sum(_SIZES[own["type"]](own) for own in native if own["type"] in _SIZES)


def _stacked(gates: int) -> Callable[[Config], int]:
    def size(own: Config) -> int:
        hidden, directions = own["hidden_size"], 1 + own["bidirectional"]
        return int(gates * hidden * (own["input_size"] + hidden + 2 * own["bias"]) * directions)

    return size


_SIZES: dict[str, Callable[[Config], int]] = {
    "GRU": _stacked(3),
    "LSTM": _stacked(4),
    "RNN": _stacked(1),
    "Linear": lambda own: own["out_features"] * (own["in_features"] + own["bias"]),
    "Conv1d": lambda own: own["out_channels"] * (own["in_channels"] * own["kernel_size"] + own["bias"]),
    "Embedding": lambda own: own["num_embeddings"] * own["embedding_dim"],
    "BatchNorm1d": lambda own: (2 + 2 * own["affine"]) * own["num_features"],
    "LayerNorm": lambda own: own["normalized_shape"][0] * (own["elementwise_affine"] + own["bias"]),
}


# ---- Models ---------------------------------------------------------------------------------------------------------


def _entries(model: Any) -> tuple[list[Any], Shape | None]:
    """Return the layers of a model in order, and the shape that it was built for, if it says so."""
    kind, config = _member(model, "class_name", str), _member(model, "config", (dict, list))
    if kind == "Sequential":
        layers = config if isinstance(config, list) else _member(config, "layers", list)
        built = config.get("build_input_shape") if isinstance(config, dict) else None
        built = built or (model.get("build_config") or {}).get("input_shape")
        return layers, _shape({"batch_shape": built})
    if kind not in ("Functional", "Model"):
        raise ValueError(f"expected a Sequential or a functional model, got {shown(kind)}")
    layers = _chained(_member(config, "layers", list))
    ends = [[(layers[place]["name"], 0, 0)] if layers else [] for place in (0, -1)]
    if [_ends(config.get(each)) for each in ("input_layers", "output_layers")] != ends:
        raise ValueError(
            f"expected one input and one output, the first and the last layer, got others than {ends}"[:300]
        )
    return layers, None


def _chained(entries: list[Any]) -> list[Any]:
    """Return the layers of a graph in which each takes what the one before it gives, and perhaps its mask.

    Keras 3 writes down how it makes the mask of `Masking` or of an embedding: x != value, and whether any of these
    holds. Keras 2 does not.
    """
    found: list[Any] = []
    masks: dict[str, Any] = {}  # of what, beside which value
    masked: Any = None
    for entry in entries:
        kind, name, config = (_member(entry, *each) for each in (("class_name", str), ("name", str), ("config", dict)))
        given, options = _call(name, _member(entry, "inbound_nodes", list))
        if kind in ("NotEqual", "Any"):
            source = _tensor(given[0])
            masks[name] = (source, given[1]) if kind == "NotEqual" else masks.get(source[0])
            continue
        before = [(found[-1]["name"], 0, 0)] if found else []
        if list(map(_tensor, given)) != before:
            raise ValueError(f"layer {name} ({kind}): expected one call with what the layer before it gives")
        mask = _tensor(options.pop("mask", None))
        if mask is not None and (masked is None or masks.get(mask[0]) != masked):
            raise ValueError(f"layer {name} ({kind}): expected the mask of the layers before it, got another one")
        if others := [option for option, value in options.items() if value not in (None, False)]:
            raise ValueError(f"layer {name} ({kind}): expected a call without arguments, got {', '.join(others)}")
        if kind == "Masking" or config.get("mask_zero"):
            masked = (*before, config.get("mask_value", 0))
        found.append(entry)
    return found


def _call(name: str, nodes: list[Any]) -> tuple[list[Any], Config]:
    """Return what a layer of a graph is called with, by place and by name."""
    if len(nodes) > 1:
        raise ValueError(f"layer {name}: expected one call, got {len(nodes)}")
    if not nodes:
        return [], {}
    (node,) = nodes
    if isinstance(node, dict):
        return _member(node, "args", list), dict(_member(node, "kwargs", dict))
    return [tensor[:3] for tensor in node], {key: value for tensor in node for key, value in dict(*tensor[3:]).items()}


def _tensor(value: Any) -> Any:
    """Return which tensor an argument is: its layer, the layer's call, and place among the results; or None."""
    history = value["config"]["keras_history"] if isinstance(value, dict) else value
    return tuple(history) if isinstance(history, list) else None


def _ends(value: Any) -> list[Any]:
    return list(map(_tensor, [value] if isinstance(value, list) and isinstance(value[0], str) else value))


def _member(value: Any, key: str, kind: type | tuple[type, ...]) -> Any:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise ValueError(f"{key}: expected it in the configuration of the model and of each layer, got {shown(found)}")
    return found


def _shape(config: Config) -> Shape | None:
    """Return the shape of the input that a layer says, without the batch."""
    shape = config.get("batch_shape") or config.get("batch_input_shape")
    if shape is None:
        return None
    sizes = arguments.every("batch_shape", shape, lambda name, each: each and arguments.whole(name, each))
    return tuple(size or None for size in sizes[1:])


# ---- Layers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Layer:
    """A layer as Keras describes it."""

    kind: str
    config: Config
    major: int

    @classmethod
    def of(cls, entry: Any, major: int) -> _Layer:
        return cls(_member(entry, "class_name", str), _member(entry, "config", dict), major)

    def refuse(self, why: str) -> NoReturn:
        raise ValueError(f"layer {self.config.get('name', 'without a name')} ({self.kind}): {why}"[:600])

    def check(self, **expected: Any) -> None:
        """Refuse options that are there with other values."""
        for name, value in expected.items():
            if (got := self.config.get(name, value)) != value:
                self.refuse(f"expected {name}={value!r}, got {shown(got)}")

    def whole(self, name: str) -> int:
        return arguments.whole(f"{self.kind}: {name}", self.config.get(name))

    def over_time(self, name: str) -> int:
        """Return a whole number that Keras has in a list, of one axis."""
        found = self.config.get(name, 1)
        single = found[0] if isinstance(found, list) and len(found) == 1 else found
        return arguments.whole(f"{self.kind}: {name}", single)

    def flag(self, name: str, default: bool) -> bool:
        return arguments.flag(f"{self.kind}: {name}", self.config.get(name, default))

    def number(self, name: str, default: float) -> float:
        return arguments.number(f"{self.kind}: {name}", self.config.get(name, default))

    @property
    def inner(self) -> _Layer:
        """The layer that a wrapper wraps."""
        return _Layer.of(self.config.get("layer"), self.major)

    @property
    def dtype(self) -> str:
        found = self.config.get("dtype") or "float32"
        name = (found.get("config") or {}).get("name") if isinstance(found, dict) else found
        if name not in ("float32", "float64"):
            self.refuse(f"expected dtype float32 or float64, got {shown(name)}")
        return str(name)

    def activation(self, name: str = "activation") -> Any:
        """Return an activation in our words."""
        found = self.config.get(name) or "linear"
        own: dict[str, Any] = {"hard_sigmoid": "hard_sigmoid" if self.major > 2 else ("hard_sigmoid", 0.2, 0.5)}
        if self.major > 2:
            own["leaky_relu"] = ("leaky_relu", 0.2)
        known = own | {each: each for each in _SAME}
        if not isinstance(found, str) or found not in known:
            self.refuse(f"expected {name} to be one of {', '.join(known)}, got {shown(found)}")
        return known[found]

    def features(self, shape: Shape, axes: int | None = None) -> int:
        """Return the size of the last axis of an input, which has so many axes."""
        if not shape or shape[-1] is None or len(shape) != (axes or len(shape)):
            wanted = "(batch, steps, features)" if axes == 2 else "with a known size of the last axis"
            self.refuse(f"expected an input {wanted}, got {(None, *shape)}")
        return shape[-1]

    def check_last_axis(self, shape: Shape) -> None:
        axis = self.config.get("axis", -1)
        if axis not in (-1, len(shape), [-1], [len(shape)]):
            self.refuse(f"expected the last axis, got axis={shown(axis)}")


# Keras has these by the same names, with the same formulas, and numbers that are our defaults.
_SAME = ("linear", "tanh", "sigmoid", "relu", "elu", "softsign", "softplus")

Native = tuple[list[Config], Shape]


def _embedding(layer: _Layer, shape: Shape) -> Native:
    size = layer.whole("output_dim")
    own = {"type": "Embedding", "num_embeddings": layer.whole("input_dim"), "embedding_dim": size}
    return [own | {"dtype": layer.dtype}], (*shape, size)


def _recurrent(layer: _Layer, shape: Shape) -> Native:
    layer.check(go_backwards=False)
    return _with_end(layer, _cell(layer, shape), False)


def _bidirectional(layer: _Layer, shape: Shape) -> Native:
    inner = layer.inner
    layer.check(merge_mode="concat")
    if inner.kind not in _CELLS:
        layer.refuse(f"expected one of {', '.join(_CELLS)} in it, got {inner.kind}")
    inner.check(go_backwards=False)
    own = _cell(inner, shape)
    if "backward_layer" in layer.config:
        backward = _Layer.of(layer.config["backward_layer"], layer.major)
        backward.check(go_backwards=True)
        if backward.kind != inner.kind or _cell(backward, shape) != own:
            layer.refuse("expected both directions to be the same but for their weights")
        backward.check(return_sequences=inner.flag("return_sequences", False))
    return _with_end(inner, own, True)


def _with_end(layer: _Layer, own: Config, bidirectional: bool) -> Native:
    """Return a recurrent layer with what it returns: all steps, or the last."""
    own, size = own | {"bidirectional": bidirectional}, own["hidden_size"] * (1 + bidirectional)
    if layer.flag("return_sequences", False):
        return [own], (None, size)
    return [own, {"type": "LastPooling", "bidirectional": bidirectional, "batch_first": True}], (size,)


def _cell(layer: _Layer, shape: Shape) -> Config:
    layer.check(return_state=False, time_major=False)
    own: Config = {"type": _CELLS[layer.kind], "input_size": layer.features(shape, axes=2)}
    own |= {"hidden_size": layer.whole("units"), "bias": layer.flag("use_bias", True), "batch_first": True}
    own |= {"input_dropout": layer.number("dropout", 0.0), "dtype": layer.dtype}
    own |= {"recurrent_dropout": layer.number("recurrent_dropout", 0.0)}
    if layer.kind == "SimpleRNN":
        return own | {"nonlinearity": layer.activation()}
    own |= {"activation": layer.activation(), "recurrent_activation": layer.activation("recurrent_activation")}
    return own | ({"reset_after": layer.flag("reset_after", False)} if layer.kind == "GRU" else {})


_CELLS = {"GRU": "GRU", "LSTM": "LSTM", "SimpleRNN": "RNN"}


def _dense(layer: _Layer, shape: Shape) -> Native:
    size = layer.whole("units")
    own = {"type": "Linear", "in_features": layer.features(shape), "out_features": size}
    own |= {"bias": layer.flag("use_bias", True), "dtype": layer.dtype}
    return [own, *_activated(layer)], (*shape[:-1], size)


def _convolution(layer: _Layer, shape: Shape) -> Native:
    layer.check(data_format="channels_last", groups=1)
    size, stride = layer.whole("filters"), layer.over_time("strides")
    own = {"type": "Conv1d", "in_channels": layer.features(shape, axes=2), "out_channels": size, "stride": stride}
    own |= {"kernel_size": layer.over_time("kernel_size"), "dilation": layer.over_time("dilation_rate")}
    padding = layer.config.get("padding", "valid")
    if padding not in ("valid", "same", "causal"):
        layer.refuse(f"expected padding to be one of valid, same, causal, got {shown(padding)}")
    if padding == "same" and stride > 1:
        layer.refuse(f"expected strides=1 where padding='same', because zeros go by the length then, got {stride}")
    own |= {"padding": 0 if padding == "valid" else padding, "bias": layer.flag("use_bias", True), "batch_first": True}
    return [own | {"dtype": layer.dtype}, *_activated(layer)], (None, size)


def _activated(layer: _Layer) -> list[Config]:
    name = layer.config.get("activation")
    if name == "softmax":
        return [{"type": "Softmax"}]
    function = layer.activation()
    return [] if function == "linear" else [{"type": "Activation", "function": function}]


def _activation(layer: _Layer, shape: Shape) -> Native:
    return _activated(layer), shape


def _softmax(layer: _Layer, shape: Shape) -> Native:
    layer.check_last_axis(shape)
    return [{"type": "Softmax"}], shape


def _dropout(layer: _Layer, shape: Shape) -> Native:
    layer.check(noise_shape=None)
    return [{"type": "Dropout", "p": layer.number("rate", 0.0)}], shape


def _batch_normalization(layer: _Layer, shape: Shape) -> Native:
    layer.check_last_axis(shape)
    layer.check(renorm=False, virtual_batch_size=None)
    affine = layer.flag("scale", True)
    layer.check(center=affine)
    own = {"type": "BatchNorm1d", "num_features": layer.features(shape), "eps": layer.number("epsilon", 1e-3)}
    own |= {"momentum": 1 - layer.number("momentum", 0.99), "affine": affine, "dtype": layer.dtype}
    if len(shape) > 1:
        own |= {"channels_last": True, "batch_first": True}
    return [own | {"biased": True}], shape


def _layer_normalization(layer: _Layer, shape: Shape) -> Native:
    layer.check_last_axis(shape)
    layer.check(rms_scaling=False)
    scale, center = layer.flag("scale", True), layer.flag("center", True)
    if center and not scale:
        layer.refuse("expected scale=True where center=True, got False")
    own = {"type": "LayerNorm", "normalized_shape": [layer.features(shape)], "eps": layer.number("epsilon", 1e-3)}
    return [own | {"elementwise_affine": scale, "bias": center, "dtype": layer.dtype}], shape


def _time_distributed(layer: _Layer, shape: Shape) -> Native:
    layer.features(shape, axes=2)
    if layer.inner.kind != "Dense":
        layer.refuse(f"expected a Dense in it, got {layer.inner.kind}")
    return _dense(layer.inner, shape)


def _mean(layer: _Layer, shape: Shape) -> Native:
    layer.check(keepdims=False, data_format="channels_last")
    return [{"type": "MeanPooling", "batch_first": True}], (layer.features(shape, axes=2),)


def _masking(layer: _Layer, shape: Shape) -> Native:
    return [], shape


_LAYERS: dict[str, Callable[[_Layer, Shape], Native]] = {
    "Embedding": _embedding,
    "Masking": _masking,
    **dict.fromkeys(_CELLS, _recurrent),
    "Bidirectional": _bidirectional,
    "Conv1D": _convolution,
    "Dense": _dense,
    "TimeDistributed": _time_distributed,
    "Activation": _activation,
    "Softmax": _softmax,
    "Dropout": _dropout,
    "BatchNormalization": _batch_normalization,
    "LayerNormalization": _layer_normalization,
    "GlobalAveragePooling1D": _mean,
}
