"""The operators GRU, LSTM and RNN as layers, and layers as these operators.

Source of the operators' formulas, attributes and layouts: https://onnx.ai/onnx/operators, opset 22.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from gru_native import nn
from gru_native.activations import DEFAULTS, Activation, activation
from gru_native.arguments import Array, any_float_array, array, instance, one_of
from gru_native.convert import ONNX, ONNX_LINEAR_BEFORE_RESET, ONNX_LSTM, ONNX_RNN, Convention, from_native, to_native

Layer: TypeAlias = nn.GRU | nn.LSTM | nn.RNN

#: The operators' inputs, in order; GRU and RNN have those up to initial_h.
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
#: Those that hold weights.
WEIGHTS = ("W", "R", "B", "P")

_LAYERS: dict[str, type[Layer]] = {"GRU": nn.GRU, "LSTM": nn.LSTM, "RNN": nn.RNN}
_USUAL = {"GRU": ("Sigmoid", "Tanh"), "LSTM": ("Sigmoid", "Tanh", "Tanh"), "RNN": ("Tanh",)}
_GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
_DIRECTIONS = ("forward", "reverse", "bidirectional")
_ATTRIBUTES = {
    "activations",
    "activation_alpha",
    "activation_beta",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
    "layout",
    "linear_before_reset",
}

#: ONNX's names, and what numbers are where none are given: it has none for Affine and ScaledTanh.
NAMES = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "linear": "Affine",
    "hard_sigmoid": "HardSigmoid",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "softsign": "Softsign",
    "softplus": "Softplus",
    "scaled_tanh": "ScaledTanh",
    "thresholded_relu": "ThresholdedRelu",
}
NUMBERS: dict[str, tuple[float | None, ...]] = {
    **DEFAULTS,
    "hard_sigmoid": (0.2, 0.5),
    "linear": (None, None),
    "scaled_tanh": (None, None),
}


# ---- From a node to a layer -----------------------------------------------------------------------------------------


def layer(
    node: NodeProto,
    initializers: Mapping[str, Any] | Iterable[TensorProto],
    *,
    direction: str | None = None,
) -> Layer:
    """Return the layer that computes a node.

    It is called as ``layer(X, h_0, lengths)``: with the node's X, its initial_h (with initial_c a pair) and its
    sequence_lens. Y and Y_h are its two results but for Y's axis of directions, which is part of the last axis here.
    With ``layout=1`` the layer has ``batch_first=True``, and its states still have directions as first axis.

    Parameters
    ----------
    node
        A GRU, LSTM or RNN.
    initializers
        The arrays of its weights W, R, B and P, under the names by which the node has them: a graph's
        ``graph.initializer``, or a mapping to arrays, float32 or float64.
    direction
        "forward" or "reverse": that direction of a bidirectional node, alone. A bidirectional layer has the same
        activations in both. ``None`` for the whole node.

    Returns
    -------
    GRU, LSTM or RNN
        Of ``num_layers=1``, with the dtype of W.

    Raises
    ------
    ValueError
        For a node that no layer computes: the message names it, and the attribute or input.
    """
    instance("node", node, NodeProto, "a NodeProto of onnx")
    if direction is not None:
        one_of("direction", direction, _DIRECTIONS[:2])
    named = dict(zip(INPUTS, node.input, strict=False))
    arrays = _by_name(initializers)
    try:
        one_of("op_type", node.op_type, tuple(_LAYERS))
        _refuse_constants(named, arrays)
        return from_operator(node.op_type, attributes_of(node), _weights(named, arrays), direction)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{shown(node)}: {error}") from error


def from_operator(
    kind: str, attributes: Mapping[str, Any], weights: Mapping[str, Array], direction: str | None = None
) -> Layer:
    """Return the layer of an operator's attributes and its arrays W, R, B and P; see `layer`."""
    if unknown := attributes.keys() - _ATTRIBUTES:
        raise ValueError(f"{min(unknown)}: unknown attribute")
    found = one_of("direction", attributes.get("direction", "forward"), _DIRECTIONS)
    count = 2 if found == "bidirectional" else 1
    hidden = _check_shapes(kind, weights, count, attributes.get("hidden_size"))
    functions = _activations(kind, attributes, count)
    if direction is not None and count == 2:
        place = _DIRECTIONS.index(direction)
        found, functions = direction, functions[place : place + 1]
        weights = {name: own[place : place + 1] for name, own in weights.items()}
    elif direction not in (None, found):
        raise ValueError(f"direction: expected {found!r}, which the node has, got {direction!r}")
    if any(own != functions[0] for own in functions):
        raise ValueError(
            "activations: expected the same in both directions, which a layer has; "
            "take each alone by direction='forward' and 'reverse'"
        )
    after = bool(attributes.get("linear_before_reset", 0))
    options = _options(kind, functions[0]) | ({"reset_after": after} if kind == "GRU" else {})
    if kind == "LSTM":
        options |= {"peepholes": "P" in weights, "input_forget": bool(attributes.get("input_forget", 0))}
    made = _LAYERS[kind](
        weights["W"].shape[2],
        hidden,
        bias="B" in weights,
        batch_first=bool(attributes.get("layout", 0)),
        bidirectional=found == "bidirectional",
        direction="reverse" if found == "reverse" else "forward",
        clip=attributes.get("clip"),
        dtype=weights["W"].dtype,
        seed=0,
        **options,
    )
    convention = _convention(kind, after)
    made.assign(to_native(weights, convention, layer=0, **convention.options))
    return made


def attributes_of(node: NodeProto) -> dict[str, Any]:
    """Return a node's attributes by name: text as strings, numbers as `decimal` has them."""
    found = {}
    for each in node.attribute:
        value = helper.get_attribute_value(each)
        found[each.name] = [_plain(own) for own in value] if isinstance(value, list) else _plain(value)
    return found


def shown(node: NodeProto) -> str:
    """Return how messages name a node."""
    return f"{node.op_type} {node.name or ', '.join(node.output)!r}"


def decimal(value: float) -> float:
    """Return the shortest decimal number that is this one in float32, which is what attributes hold: 0.2 for 0.2."""
    return float(str(np.float32(value)))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return decimal(value) if isinstance(value, float) else value


def _by_name(initializers: Any) -> dict[str, Array]:
    if isinstance(initializers, Mapping):
        return {name: array(f"initializers[{name!r}]", own) for name, own in initializers.items()}
    try:
        return {each.name: numpy_helper.to_array(each) for each in initializers}
    except (TypeError, AttributeError):
        kind = type(initializers).__name__
        raise TypeError(f"initializers: expected a mapping to arrays or a list of TensorProto, got {kind}") from None


def _weights(named: Mapping[str, str], arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Return W, R, B and P, those that the node has."""
    found = {}
    for name in WEIGHTS:
        given = named.get(name)
        if given and given not in arrays:
            raise ValueError(f"{name}: expected an array {given!r} among the initializers, got none")
        if given:
            found[name] = arrays[given]
    return found


def _refuse_constants(named: Mapping[str, str], arrays: Mapping[str, Array]) -> None:
    for name, argument in (("sequence_lens", "lengths"), ("initial_h", "h_0"), ("initial_c", "h_0")):
        constant = arrays.get(named.get(name, ""))
        if constant is not None and (name == "sequence_lens" or constant.any()):
            raise ValueError(f"{name}: expected no initializer, but {argument} of the layer's call, got one")


def _check_shapes(kind: str, weights: Mapping[str, Array], directions: int, hidden: int | None) -> int:
    """Return H."""
    for name in ("W", "R"):
        if name not in weights or weights[name].ndim != 3:
            raise ValueError(f"{name}: expected 3 dimensions, got {_shape(weights.get(name))}")
    size: int = weights["R"].shape[2]
    if hidden not in (None, size):
        raise ValueError(f"hidden_size: expected {size}, which R has, got {hidden}")
    rows = _GATES[kind] * size
    shapes = {
        "W": (directions, rows, weights["W"].shape[2]),
        "R": (directions, rows, size),
        "B": (directions, 2 * rows),
        "P": (directions, 3 * size),
    }
    for name, own in weights.items():
        if any_float_array(name, own).dtype != weights["W"].dtype:
            raise TypeError(f"{name}: expected {weights['W'].dtype} as W has, got {own.dtype}")
        if own.shape != shapes[name]:
            raise ValueError(f"{name}: expected shape {shapes[name]}, got {own.shape}")
    return size


def _shape(own: Array | None) -> str:
    return "none" if own is None else f"shape {own.shape}"


def _activations(kind: str, attributes: Mapping[str, Any], directions: int) -> list[list[Activation]]:
    """Return those of each direction: each takes the next of the numbers alpha and beta if it has such."""
    words = attributes.get("activations") or list(_USUAL[kind]) * directions
    count = len(_USUAL[kind])
    if len(words) != count * directions:
        raise ValueError(f"activations: expected {count * directions}, got {len(words)}")
    known = {name.lower(): own for own, name in NAMES.items()}
    numbers = [iter(attributes.get(f"activation_{which}", ())) for which in ("alpha", "beta")]
    found = []
    for word in words:
        name = known[one_of("activations", word.lower(), tuple(known))]
        given = [next(own, usual) for own, usual in zip(numbers, NUMBERS[name], strict=False)]
        if None in given:
            raise ValueError(f"activations: expected alpha and beta for {NAMES[name]}, got none")
        found.append(activation("activations", (name, *given)))
    for which, rest in zip(("alpha", "beta"), map(list, numbers), strict=True):
        if rest:
            raise ValueError(
                f"activation_{which}: expected a number for each activation that has one, got {len(rest)} more"
            )
    return [found[first : first + count] for first in range(0, len(found), count)]


def _options(kind: str, functions: list[Activation]) -> dict[str, Any]:
    """Return a layer's options for its activations f, g and h."""
    if kind == "RNN":
        return {"nonlinearity": functions[0]}
    of_c = {"cell_activation": functions[2]} if functions[2:] not in ([], functions[1:2]) else {}
    return {"recurrent_activation": functions[0], "activation": functions[1], **of_c}


def _convention(kind: str, after: bool) -> Convention:
    """Return how an operator writes weights down; `after` is its linear_before_reset."""
    if kind == "GRU":
        return ONNX_LINEAR_BEFORE_RESET if after else ONNX
    return ONNX_LSTM if kind == "LSTM" else ONNX_RNN


# ---- From a layer to nodes ------------------------------------------------------------------------------------------


def to_operator(layer: Layer) -> tuple[str, dict[str, Any]]:
    """Return the operator of a layer, and its attributes, which are the same in the whole stack.

    Raises
    ------
    ValueError
        For an option that the operator does not have.
    """
    (kind,) = (kind for kind, own in _LAYERS.items() if isinstance(layer, own))
    for name in ("layer_norm", "zoneout", "proj_size"):
        if value := getattr(layer, name):
            raise ValueError(f"{name}: expected {type(value)(0)}, because ONNX's {kind} has none, got {value}")
    count = 2 if layer.bidirectional else 1
    found: dict[str, Any] = {"direction": "bidirectional" if layer.bidirectional else layer.direction}
    functions = _functions(layer) * count
    words = [NAMES[own.name] for own in functions]
    if words != list(_USUAL[kind]) * count:
        found["activations"] = words
        for place, name in enumerate(("activation_alpha", "activation_beta")):
            numbers = [own.numbers[place] for own in functions if len(own.numbers) > place]
            if numbers:
                found[name] = [single(name, each, layer) for each in numbers]
    if layer.clip is not None:
        if isinstance(layer, nn.LSTM):  # whose c the operator's text clips too
            raise ValueError(f"clip: expected None, because ONNX Runtime does not clip an LSTM's c, got {layer.clip}")
        found["clip"] = single("clip", layer.clip, layer)
    if isinstance(layer, nn.GRU):
        found["linear_before_reset"] = int(layer.reset_after)
    if isinstance(layer, nn.LSTM) and layer.input_forget:
        found["input_forget"] = 1
    return kind, found


def single(name: str, value: float, layer: Any) -> float:
    """Return a number for an attribute, which is float32: for a layer of float64 it must be a decimal of that."""
    if layer.dtype == np.float64 and decimal(value) != value:
        raise ValueError(
            f"{name}: expected a number of up to 7 digits, because ONNX's attributes are float32, got {value}"
        )
    return value


def to_operator_weights(layer: Layer, arrays: Mapping[str, Array], place: int) -> dict[str, Array]:
    """Return W, R, B and P of one layer of a stack, from the arrays under the names of the stack's."""
    convention = _convention(to_operator(layer)[0], getattr(layer, "reset_after", True))
    return from_native(arrays, convention, layer=place, **convention.options)


def _functions(layer: Layer) -> list[Activation]:
    """Return a layer's f, g and h."""
    if isinstance(layer, nn.RNN):
        return [activation("nonlinearity", layer.nonlinearity)]
    own = [layer.recurrent_activation, layer.activation]
    if isinstance(layer, nn.LSTM):
        own.append(layer.cell_activation or layer.activation)
    return [activation("activation", each) for each in own]
