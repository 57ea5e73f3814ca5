"""A chain of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gru_native.arguments import Array, array, instance
from gru_native.nn.convolution import Conv1d
from gru_native.nn.masked import Counted, MaskedSaved
from gru_native.nn.module import Gradients, Module, Snapshot, join, public, sealed
from gru_native.nn.recurrent import RecurrentCell
from gru_native.nn.signal import Signal, layout_of
from gru_native.random import Seed, seed_path


class Sequential(Module):
    """Layers one after the other, each given what the one before it gives.

    ``model(x)`` gives the last layer's output. When a layer is recurrent (`GRU`, `LSTM`, `RNN`, or a Sequential that
    holds one), the states are handed through: ``model(x, states=None, lengths=None, reset=None)`` gives ``(output,
    states)``, a list with what each recurrent layer takes as `h_0` and gives as `h_n`, in order; all of them are given
    the lengths and resets, and layers that take lengths alone (those that pool, `BatchNorm1d`) the lengths. ``forward``
    takes the same and a `seed`, and gives the same and a tape; the layer at place i gets the seed ``(*seed, i)``. In
    place of lengths all calls take `mask` (T, B) of bool, or (B, T): the steps that count, anywhere. The others are
    left out, and their outputs are zeros.
    ``backward(tape, d_output, d_states=None)`` gives ``(d_x, gradients)``, or ``((d_x, d_states),
    gradients)`` with recurrent layers; a state or gradient that is ``None`` stands for zeros.

    Parameters
    ----------
    *layers
        The layers, named "0", "1", ...; or a single mapping of names to layers. A layer can stand only once:
        for gradients under two names there is no sum.

    Raises
    ------
    ValueError
        Also for a layer that does not fit the one before it: another number of features, another layout of sequences
        (`batch_first`), another dtype, an `Embedding` behind floats, or a `LastPooling` that takes another number of
        directions (`bidirectional`). The message names both. Behind a module that does not say what it gives, nothing
        is checked.
    """

    def __init__(self, *layers: Module | Mapping[str, Module]) -> None:
        super().__init__()
        named = layers[0] if len(layers) == 1 and isinstance(layers[0], Mapping) else dict(enumerate(layers))
        if len(layers) == 1 and isinstance(layers[0], (list, tuple)):
            got = type(layers[0]).__name__
            raise TypeError(f"layer 0: expected a Module, got a {got}; give layers one by one, Sequential(a, b)")
        for key, layer in named.items():
            name = str(key)
            layer = instance(f"layer {name}", layer, Module, "a Module")
            if isinstance(layer, RecurrentCell):
                kind = type(layer).__name__
                raise TypeError(
                    f"layer {name}: a {kind} is stepped by hand; a chain takes a {kind.removesuffix('Cell')}"
                )
            if layer.writes:
                raise ValueError(f"layer {name}: a {layer._kind} takes a target too, which a chain does not have")
            if not name or "." in name or hasattr(self, name):
                raise ValueError(f"layer {name!r}: this name cannot be used for a layer")
            setattr(self, name, layer)
        modules = [module for _, module in self.named_modules()]
        if len(set(map(id, modules))) < len(modules):
            raise ValueError("layers: the same module stands at two places")
        self._passed(Signal(), "")

    def _passed(self, given: Signal, name: str) -> Signal:
        for child, layer in self._children.items():
            given = layer._passed(given, join(name, child))
        return given

    @property
    def recurrent(self) -> bool:
        return any(layer.recurrent for layer in self)

    @property
    def pools(self) -> bool:
        return any(layer.pools for layer in self)

    @property
    def takes_lengths(self) -> bool:
        return any(layer.takes_lengths for layer in self)

    def output_lengths(self, lengths: ArrayLike) -> Array:
        found = super().output_lengths(lengths)
        for layer in self:
            found = layer.output_lengths(found)
        return found

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._children.values())

    def __getitem__(self, place: int) -> Module:
        return list(self._children.values())[place]

    def _config(self) -> dict[str, Any]:
        return {"layers": {name: layer.config() for name, layer in self._children.items()}}

    def _call(
        self,
        snapshot: Snapshot,
        x: Any,
        states: Sequence[Any] | None = None,
        lengths: Any = None,
        reset: Any = None,
        *,
        mask: Any = None,
        threads: int | None = None,
    ) -> Any:
        if mask is not None:
            steps = self._counted(x, lengths, mask)
            together = steps.together(x), states, steps.lengths, steps.resets(reset)
            result = self._call(snapshot, *together, threads=threads)
            if self.pools:
                return result
            return (steps.apart(result[0]), result[1]) if self.recurrent else steps.apart(result)
        self._refuse_steps(lengths, reset)
        given, final = iter(self._states("states", states)), []
        for name, layer in self._children.items():
            if layer.recurrent:
                x, state = layer._call(snapshot[name], x, next(given), lengths, reset, threads=threads)
                final.append(state)
            elif layer.takes_lengths:
                x = layer._call(snapshot[name], x, lengths=lengths, threads=threads)
            else:
                x = layer._call(snapshot[name], x, threads=threads)
            lengths = _behind(layer, lengths)
        return (x, final) if self.recurrent else x

    def _forward(
        self,
        snapshot: Snapshot,
        x: Any,
        states: Sequence[Any] | None = None,
        lengths: Any = None,
        reset: Any = None,
        *,
        mask: Any = None,
        tape: str = "gates",
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[Any, list[Any] | MaskedSaved]:
        if mask is not None:
            steps = self._counted(x, lengths, mask)
            together = steps.together(x), states, steps.lengths, steps.resets(reset)
            result, own = self._forward(snapshot, *together, tape=tape, seed=seed, threads=threads)
            if not self.pools:
                result = (sealed(steps.apart(result[0])), result[1]) if self.recurrent else sealed(steps.apart(result))
            return result, MaskedSaved(steps, own)
        self._refuse_steps(lengths, reset)
        given, final, tapes = iter(self._states("states", states)), [], []
        for place, (name, layer) in enumerate(self._children.items()):
            keywords = {"seed": None if seed is None else (*seed_path(seed), place), "threads": threads}
            if layer.recurrent:
                (x, state), record = layer._forward(
                    snapshot[name], x, next(given), lengths, reset, tape=tape, **keywords
                )
                final.append(state)
            elif layer.takes_lengths:
                x, record = layer._forward(snapshot[name], x, lengths=lengths, **keywords)
            else:
                x, record = layer._forward(snapshot[name], x, **keywords)
            tapes.append(record)
            lengths = _behind(layer, lengths)
        return ((x, final) if self.recurrent else x), tapes

    def _backward(
        self,
        tapes: list[Any] | MaskedSaved,
        d_output: Any,
        d_states: Sequence[Any] | None = None,
        *,
        threads: int | None = None,
    ) -> tuple[Any, Gradients]:
        if isinstance(tapes, MaskedSaved):
            steps, own = tapes
            d = d_output if self.pools or d_output is None else steps.gathered(array("d_output", d_output))
            d_inputs, in_layers = self._backward(own, d, d_states, threads=threads)
            if not self.recurrent:
                return _scattered(steps, d_inputs), in_layers
            return (_scattered(steps, d_inputs[0]), d_inputs[1]), in_layers
        given, d_initial = list(self._states("d_states", d_states)), []
        d = d_output
        gradients = []
        for tape, (name, layer) in zip(reversed(tapes), reversed(self._children.items()), strict=True):
            if layer.recurrent:
                (d, d_state), own = layer._backward(tape, d, given.pop(), threads=threads)
                d_initial.append(d_state)
            else:
                d, own = layer._backward(tape, d, threads=threads)
            gradients.append({f"{name}.{key}": gradient for key, gradient in own.items()})
        merged = {key: gradient for own in reversed(gradients) for key, gradient in own.items()}
        return ((d, d_initial[::-1]) if self.recurrent else d), merged

    __call__, forward, backward = public(_call, _forward, _backward)

    def _counted(self, x: Any, lengths: Any, mask: Any) -> Counted:
        if lengths is not None:
            raise ValueError("lengths: expected None beside mask, got lengths")
        layout = layout_of(self)
        if layout is None:
            raise ValueError("mask: expected None, because no layer takes sequences, got a mask")
        steps = np.shape(x)[int(layout)] if np.ndim(x) > 1 else 0
        if not self.pools and self.output_lengths(steps) != steps:
            raise ValueError("mask: expected None, because a Conv1d changes the number of steps, got a mask")
        return Counted(x, mask, "zero", layout, None)

    def _refuse_steps(self, lengths: Any, reset: Any) -> None:
        if lengths is not None and not (self.recurrent or self.takes_lengths):
            given = type(lengths).__name__
            raise ValueError(f"lengths: expected None, because no layer takes them, got {given}")
        if reset is not None and not self.recurrent:
            raise ValueError(f"reset: expected None, because no layer is recurrent, got {type(reset).__name__}")
        if reset is not None:
            for name, module in self.named_modules():
                if isinstance(module, Conv1d):
                    where = f"{module._place(name)} sees steps of other episodes"
                    raise ValueError(f"reset: expected None, because {where}, got {type(reset).__name__}")

    def _states(self, argument: str, states: Sequence[Any] | None) -> Sequence[Any]:
        """Return one state for each recurrent layer."""
        count = sum(layer.recurrent for layer in self)
        if states is None:
            return [None] * count
        if not isinstance(states, (list, tuple)) or len(states) != count:
            got = f"{len(states)}" if isinstance(states, (list, tuple)) else type(states).__name__
            raise ValueError(f"{argument}: expected a list of {count}, one per recurrent layer, got {got}")
        return states


def _behind(layer: Module, lengths: Any) -> Any:
    return None if lengths is None else layer.output_lengths(lengths)


def _scattered(steps: Counted, d_x: Array | None) -> Array | None:
    return None if d_x is None else steps.scattered(d_x)  # an Embedding has no gradient of its input
