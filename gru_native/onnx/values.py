"""What a value in a graph can be to a chain of layers.

The axes of a value carry names: "0" and "1" for the first axes of the graph's input, "D" for directions, "F" for
features, and "last" for an axis of time that holds the last step alone. So transpositions and reshapes, which exporters
put around recurrent nodes, only move names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gru_native import nn
from gru_native.arguments import Array


class NoChain(Exception):
    """Why a node is part of no chain."""


@dataclass(frozen=True)
class Signal:
    """What layers make of an input of the graph.

    Attributes
    ----------
    source
        The input's name.
    sizes
        Those of the input's axes, ``None`` for one that is not fixed.
    axes
        What each axis is.
    features
        The size of "F", where it is known.
    layers
        Those that it went through.
    ragged
        Of each of them that has steps, whether it goes by lengths.
    """

    source: str
    sizes: tuple[int | None, ...]
    axes: tuple[str, ...]
    features: int | None = None
    layers: tuple[nn.Module, ...] = ()
    ragged: tuple[bool, ...] = ()

    def through(self, layer: nn.Module, **changes: Any) -> Signal:
        """Return what a layer makes of it."""
        return replace(self, layers=(*self.layers, layer), **changes)

    @property
    def directions(self) -> int:
        """The size of "D"."""
        return 2 if getattr(self.layers[-1], "bidirectional", False) else 1

    def size(self, axis: str) -> int | str | None:
        """Return the size of an axis, or the name of one that is not fixed."""
        if axis in ("D", "F"):
            return self.directions if axis == "D" else self.features
        return self.sizes[int(axis)] or axis if axis != "last" else 1


@dataclass(frozen=True)
class LastStates:
    """Last states, one behind the other along the axis "D", or side by side along "F".

    Attributes
    ----------
    parts
        What each is of: the output of a recurrent layer, h or c, and the direction.
    axes
        What each axis is.
    """

    parts: tuple[tuple[Signal, str, int], ...]
    axes: tuple[str, ...]

    @property
    def features(self) -> int | None:
        """The size of "F" of each part."""
        return self.parts[0][0].features

    @property
    def directions(self) -> int:
        """The size of "D"."""
        return len(self.parts)

    def size(self, axis: str) -> int | str | None:
        """Return the size of an axis, or the name of one that is not fixed."""
        return self.directions if axis == "D" else self.parts[0][0].size(axis)


@dataclass(frozen=True)
class Sizes:
    """Numbers that come from shapes: sizes, names of axes, or ``None`` for what is not followed."""

    entries: tuple[int | str | None, ...]


class Zeros:
    """Zeros of some shape."""


class OfInput:
    """A part of an input of the graph, such as the first states of one layer."""


class OfStates:
    """Last states in an arrangement of the graph's own, which no layer reads again."""


@dataclass(frozen=True)
class Refused:
    """A value of another kind, and why."""

    why: str


def is_input(value: Any) -> bool:
    """Whether a value is an input of the graph, or a part of one."""
    return isinstance(value, OfInput) or (isinstance(value, Signal) and not value.layers)


def signal(value: Any) -> Signal:
    """Return a value as a signal; last states, the directions of a layer side by side, are those of a `LastPooling`."""
    if isinstance(value, Signal):
        return value
    if not isinstance(value, LastStates):
        raise NoChain("expected what a layer gives")
    output = value.parts[0][0]
    layer: Any = output.layers[-1]
    wanted = tuple((output, "h", direction) for direction in range(output.directions))
    if "D" in value.axes or value.parts != wanted or layer.direction == "reverse":
        raise NoChain("expected the last h of one layer, its directions side by side")
    pooling = nn.LastPooling(layer.bidirectional, layer.batch_first)
    return output.through(pooling, axes=value.axes, features=layer.hidden_size * output.directions)


def constant(value: Any, what: str) -> Array:
    """Return a value that is the same for all inputs."""
    if not isinstance(value, np.ndarray):
        raise NoChain(f"{what}: expected a constant")
    return value
