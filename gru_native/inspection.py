"""What a trained network does with one sequence: its gates and states over time, and what an output depends on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from gru_native import nn
from gru_native.arguments import array, instance, shown, whole
from gru_native.nn.module import Array, frozen
from gru_native.nn.recurrent import Recurrent


@dataclass(frozen=True)
class Inspection:
    """One recurrent layer over T steps of one sequence, and the gradient of one number of the model's output.

    Arrays have the model's dtype, except for `x`.

    Attributes
    ----------
    x : (T,) or (T, I)
        The input.
    cell : str
        The kind of the layer: "GRU", "LSTM" or "RNN".
    layer : int
        Its place among the model's recurrent layers, from 0.
    gates : dict of str to (T, H)
        Its gates under the names of ``return_gates``: r, z, n; of an LSTM i, f, g, o; of a plain network none. Of a
        bidirectional layer also ``r_reverse``, ...
    states : dict of str to (T, H)
        Its output ``h``, and ``h_reverse`` of a bidirectional layer: at step t the state that has read x[t] last.
    outputs : (T, F) or (F,)
        Of the model; without T where the model pools.
    output : tuple of int
        Which number of `outputs` the gradient is of: (step, index) or (index,).
    gradient : (T, I)
        Of that number with respect to `x`, or to its embedded vectors, (T, E), where the model begins with an
        `Embedding`.
    """

    x: Array
    cell: str
    layer: int
    gates: dict[str, Array]
    states: dict[str, Array]
    outputs: Array
    output: tuple[int, ...]
    gradient: Array

    @property
    def saliency(self) -> Array:
        """The Euclidean norm of the gradient at each step, (T,) (Simonyan et al. 2014, arXiv:1312.6034)."""
        norms: Array = np.linalg.norm(self.gradient, axis=1)
        return norms

    @property
    def layer_name(self) -> str:
        """Which layer it is, as a reader is told."""
        return f"layer {self.layer} ({self.cell}, {self.states['h'].shape[1]} units)"

    @property
    def output_name(self) -> str:
        """Which output the gradient is of, as a reader is told."""
        *step, index = self.output
        return f"output {index} at step {step[0]}" if step else f"output {index}"


def inspect(
    model: nn.Module,
    x: ArrayLike,
    *,
    layer: int = 0,
    step: int | None = None,
    index: int | None = None,
    threads: int | None = None,
) -> Inspection:
    """Run a model over one sequence, and look into one of its recurrent layers and at one of its outputs.

    Everything is as at inference, as after ``model.eval()``; the model's mode is set so for the time of the call.

    Parameters
    ----------
    model
        A `GRU`, `LSTM` or `RNN`, or a `Sequential` that holds one.
    x
        A sequence without a batch axis: (T,) of whole numbers for a model that begins with an `Embedding`, else (T, I)
        of the model's dtype.
    layer
        Which recurrent layer, counted from 0 over all of them, also those of one stack.
    step, index
        Which output's gradient, as places in the model's output (T, F), or (F,) of a model that pools. Negative ones
        count from the end. ``None`` stands for the last step, and for the largest output there.
    threads
        The most threads to compute with; ``None`` for the default.

    Raises
    ------
    TypeError, ValueError
        For a model without a recurrent layer, a layer, step or index that there is not, a sequence without steps, or
        an x that the model does not take.
    FloatingPointError
        When outputs or gradients are not finite.
    """
    layers = list(_flat(instance("model", model, nn.Module, "a Module")))
    looked_at = _find(layers, layer)
    embeds = isinstance(layers[0], nn.Embedding)
    x = _sequence(x, axes=1 if embeds else 2)
    vectors = layers[0](x) if embeds else x
    chain = nn.Sequential(*layers[1:] if embeds else layers)
    before = nn.Sequential(*layers[int(embeds) : looked_at.place])
    seen = before(vectors, threads=threads)
    gates, states = _gates(looked_at, seen[0] if before.recurrent else seen, threads)
    with _inference(model):
        (outputs, _), tape = chain.forward(vectors, threads=threads)
        output = _chosen(outputs, step, index)
        d_outputs = np.zeros_like(outputs)
        d_outputs[output] = 1
        (gradient, _), _ = chain.backward(tape, d_outputs, threads=threads)
    if not (np.isfinite(outputs).all() and np.isfinite(gradient).all()):
        raise FloatingPointError("the model's outputs or their gradients are not finite")
    return Inspection(x, looked_at.stack.config()["type"], layer, gates, states, outputs, output, gradient)


class _Place(NamedTuple):
    """A recurrent layer: the stack that holds it, which layer it is there, and where the stack stands."""

    stack: Recurrent
    layer: int
    place: int


def _flat(model: nn.Module) -> Iterator[nn.Module]:
    """Go through the layers of a chain and of the chains in it."""
    if isinstance(model, nn.Sequential):
        for layer in model:
            yield from _flat(layer)
    else:
        yield model


def _find(layers: list[nn.Module], layer: int) -> _Place:
    places = [
        _Place(stack, own, place)
        for place, stack in enumerate(layers)
        if isinstance(stack, Recurrent)
        for own in range(stack.num_layers)
    ]
    if not places:
        kinds = ", ".join(type(layer).__name__ for layer in layers) or "no layers"
        raise ValueError(f"model: expected a GRU, LSTM or RNN in it, got {kinds}")
    return places[whole("layer", layer, 0, len(places) - 1)]


def _sequence(x: ArrayLike, axes: int) -> Array:
    sequence = frozen(array("x", x))
    if sequence.ndim != axes:
        expected = "(T,) of whole numbers" if axes == 1 else "(T, I)"
        raise ValueError(f"x: expected one sequence {expected}, got shape {sequence.shape}")
    if len(sequence) == 0:
        raise ValueError(f"x: expected at least one step, got shape {sequence.shape}")
    return sequence


def _gates(looked_at: _Place, x: Array, threads: int | None) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the gates and states of one layer of a stack, by name."""
    stack, layer, _ = looked_at
    # A stack gives the output of its last layer: one that ends here has this layer's.
    sizes = [stack.hidden_size] * stack.num_layers if isinstance(stack.hidden_size, int) else stack.hidden_size
    upper = {"hidden_size": sizes[: layer + 1], "num_layers": layer + 1, "dropout": 0.0}
    part = nn.from_config({**stack.config(), **upper})
    part.load_state_dict(stack.state_dict(), strict=False)
    named: dict[str, Array] = {}
    if stack.gate_names:
        output, _, found = part(x, return_gates=True, threads=threads)
        for suffix in ("", "_reverse")[: 1 + stack.bidirectional]:
            named |= {name + suffix: found[f"{name}_l{layer}{suffix}"] for name in stack.gate_names}
    else:
        output, _ = part(x, threads=threads)
    halves = np.split(output, 1 + stack.bidirectional, axis=1)
    return named, dict(zip(("h", "h_reverse"), halves, strict=False))


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for _, module in model.named_modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _chosen(outputs: Array, step: int | None, index: int | None) -> tuple[int, ...]:
    """Return the place of the chosen number in `outputs`."""
    if outputs.ndim == 1:
        if step is not None:
            raise ValueError(f"step: expected None, because the model's output has no steps, got {shown(step)}")
        place: tuple[int, ...] = ()
    else:
        place = (_within("step", -1 if step is None else step, len(outputs)),)
    at_step = outputs[place]
    return (*place, int(at_step.argmax()) if index is None else _within("index", index, len(at_step)))


def _within(name: str, value: int, count: int) -> int:
    return whole(name, value, -count, count - 1) % count
