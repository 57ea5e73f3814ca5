"""Gates and states of each recurrent layer at a step of a live sequence, for those who want to see them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gru_native import nn
from gru_native.arguments import Array
from gru_native.nn.recurrent import Recurrent
from gru_native.serve.numbers import listed


def leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Go through the layers of a chain and of the chains in it, with their names."""
    return ((name, own) for name, own in model.named_modules() if not isinstance(own, nn.Sequential))


class Gates:
    """Computes steps once more, in Python, from the states before them.

    Parameters
    ----------
    network : Module
        One that goes step by step, and has recurrent layers.
    """

    def __init__(self, network: nn.Module) -> None:
        layers = list(leaves(network))
        last = max(place for place, (_, layer) in enumerate(layers) if isinstance(layer, Recurrent))
        self._layers = layers[: last + 1]
        self._stream = network.stream()
        # Other layers that remember steps, such as convolutions.
        self._streams = {
            name: layer.stream()
            for name, layer in self._layers
            if not isinstance(layer, Recurrent) and any(part.startswith(f"{name}.") for part in self._stream.state)
        }

    def at(self, snapshot: bytes, x: Array) -> list[dict[str, Any]]:
        """Return what each recurrent layer does at a step.

        Parameters
        ----------
        snapshot
            Of the sequence, before the step.
        x
            (1, I), or (1) indices.

        Returns
        -------
        list of dict
            For each layer its ``name``, its ``gates`` by name, and the ``state`` after the step, h and c, as lists.
        """
        self._stream.restore(snapshot)
        states, seen = self._stream.state, x[None]
        found: list[dict[str, Any]] = []
        for name, layer in self._layers:
            if isinstance(layer, Recurrent):
                before = _given(layer, name, states)
                gates: dict[str, Array] = {}
                if layer.gate_names:
                    seen, after, gates = layer(seen, before, return_gates=True)
                else:
                    seen, after = layer(seen, before)
                found += _shown(layer, name, after, gates)
            elif stream := self._streams.get(name):
                stream.state = {part: states[f"{name}.{part}"] for part in stream.state}
                seen = stream.step(seen[0])[None]
            else:
                seen = layer(seen)
        return found


def _given(layer: Recurrent, name: str, states: dict[str, Array]) -> Any:
    """Return the states of a stack as it takes them."""
    parts: list[Any] = []
    for part in ("h", "c")[: layer.states]:
        own = [states[".".join(filter(None, (name, f"l{k}", part)))][None] for k in range(layer.num_layers)]
        parts.append(np.concatenate(own) if isinstance(layer.hidden_size, int) else own)
    return parts[0] if layer.states == 1 else tuple(parts)


def _shown(layer: Recurrent, name: str, after: Any, gates: dict[str, Array]) -> Iterator[dict[str, Any]]:
    states = dict(zip(("h", "c"), (after,) if layer.states == 1 else after, strict=False))
    for k in range(layer.num_layers):
        yield {
            "name": ".".join(filter(None, (name, f"l{k}"))),
            "gates": {own: listed(gates[f"{own}_l{k}"][0, 0]) for own in layer.gate_names},
            "state": {part: listed(np.asarray(own[k]).reshape(-1)) for part, own in states.items()},
        }
