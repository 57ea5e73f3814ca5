"""Layers, with PyTorch's names, parameters and semantics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from gru_native.arguments import mapping, shown
from gru_native.nn.activation import Activation, Softmax
from gru_native.nn.attention import Attention
from gru_native.nn.convolution import Conv1d
from gru_native.nn.dropout import Dropout
from gru_native.nn.embedding import Embedding
from gru_native.nn.gru import GRU, GRUCell
from gru_native.nn.linear import Linear
from gru_native.nn.lstm import LSTM, LSTMCell
from gru_native.nn.module import Module, Tape
from gru_native.nn.normalization import BatchNorm1d, LayerNorm
from gru_native.nn.pooling import AttentionPooling, LastPooling, MeanPooling
from gru_native.nn.rnn import RNN, RNNCell
from gru_native.nn.seq2seq import Seq2Seq
from gru_native.nn.sequential import Sequential
from gru_native.nn.sparse import SparseGradient

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Attention",
    "AttentionPooling",
    "BatchNorm1d",
    "Conv1d",
    "Dropout",
    "Embedding",
    "GRUCell",
    "LSTMCell",
    "LastPooling",
    "LayerNorm",
    "Linear",
    "MeanPooling",
    "Module",
    "RNNCell",
    "Seq2Seq",
    "Sequential",
    "Softmax",
    "SparseGradient",
    "Tape",
    "from_config",
    "register",
]

Registered = TypeVar("Registered", bound=Module)

_LAYERS: dict[str, type[Module]] = {
    layer.__name__: layer
    for layer in (
        GRU,
        GRUCell,
        LSTM,
        LSTMCell,
        RNN,
        RNNCell,
        Linear,
        Conv1d,
        Embedding,
        Activation,
        Softmax,
        Dropout,
        BatchNorm1d,
        LayerNorm,
        MeanPooling,
        LastPooling,
        AttentionPooling,
        Attention,
        Seq2Seq,
    )
}


def register(layer: type[Registered]) -> type[Registered]:
    """Let `from_config`, and so `gru_native.load`, build layers of a class of your own.

    A file names the class and the arguments that its `_config` returned; nothing but a registered class is ever called,
    and no code is taken from a file. So import the module that registers it before you load.

    Parameters
    ----------
    layer
        A subclass of `Module` with a `_config`, under whose name it is known.

    Returns
    -------
    type
        The same class, so that this is a decorator.

    Raises
    ------
    ValueError
        When another class has this name.

    Examples
    --------
    ::

        @gru_native.nn.register
        class Scale(gru_native.nn.Module): ...
    """
    if not (isinstance(layer, type) and issubclass(layer, Module)):
        raise TypeError(f"layer: expected a subclass of Module, got {shown(layer)}")
    name = layer.__name__
    known = Sequential if name == "Sequential" else _LAYERS.get(name, layer)
    # A class of the same place is the same one, defined again, as in a notebook.
    if (known.__module__, known.__qualname__) != (layer.__module__, layer.__qualname__):
        raise ValueError(f"layer: expected a name that no other layer has, got {name}")
    _LAYERS[name] = layer
    return layer


def from_config(config: Mapping[str, Any]) -> Module:
    """Build the module that ``module.config()`` describes, with fresh initial values.

    Raises
    ------
    TypeError
        When `config` is no mapping.
    ValueError
        When it does not describe a layer of this package, or one that was registered (`register`).
    """
    arguments = dict(mapping("config", config, "settings"))
    kind = arguments.pop("type", None)
    if kind == "Sequential" and isinstance(arguments.get("layers"), Mapping) and len(arguments) == 1:
        return Sequential({name: from_config(layer) for name, layer in arguments["layers"].items()})
    if kind == "Seq2Seq" and isinstance(arguments.get("encoder"), Mapping):
        arguments["encoder"] = from_config(arguments["encoder"])
    if not isinstance(kind, str) or kind not in _LAYERS:
        kinds = ", ".join([*_LAYERS, "Sequential"])
        raise ValueError(
            f"config: expected a description of one of {kinds}, or of a class given to nn.register, got {shown(kind)}"
        )
    try:
        return _LAYERS[kind](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"config: no {kind} can be built from {shown(arguments)}: {error}") from error
