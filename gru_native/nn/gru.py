"""Gated recurrent layers (Cho et al. 2014), stacked and in both directions, and the single cell."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import _core
from gru_native import functional as F
from gru_native._layer import GRULayer, GRULayerTape, GRUStep
from gru_native.nn import init
from gru_native.nn.arguments import flag, float_array, float_dtype, number, shaped_array, size
from gru_native.nn.dropout import Noise
from gru_native.nn.module import Array, Gradients, Module, Snapshot, Version, sealed
from gru_native.random import Seed, generator, seed_path

# Of the whole module: one array (L * D, B, H), or with a size per layer a list of (D, B, H_l).
States: TypeAlias = Any

# As the layers take them: for each layer (D, B, H), or None for zeros.
StatesByLayer: TypeAlias = Sequence[Any]


Taken = TypeVar("Taken")

# Far beyond any use; a file that claims more would keep `load` busy for ever.
MAX_LAYERS = 10_000


class GRU(Module):
    """A stack of GRU layers, with PyTorch's constructor, parameter names, shapes and results.

    ``gru(x, h_0=None, lengths=None, reset=None)`` gives ``(output, h_n)``; ``gru.forward`` takes the same and
    a `seed`, and gives ``((output, h_n), tape)``; ``gru.backward(tape, d_output, d_h_n=None)`` gives
    ``((d_x, d_h_0), gradients)``. An `h_0` or gradient that is ``None`` stands for zeros. With T time steps, B
    rows in the batch, L layers, D directions (1 or 2), H = `hidden_size`:

    =========  ==========================  ====================================  ===============
    array      time-major                  `batch_first`                         unbatched
    =========  ==========================  ====================================  ===============
    x          (T, B, input_size)          (B, T, input_size)                    (T, input_size)
    output     (T, B, D * H)               (B, T, D * H)                         (T, D * H)
    h_0, h_n   (L * D, B, H)               (L * D, B, H)                         (L * D, H)
    lengths    (B,)                        (B,)
    reset      (T, B)                      (B, T)                                (T,)
    =========  ==========================  ====================================  ===============

    `lengths`, whole numbers from 0 to T in any order, are the steps of each row. What is behind them is
    padding: x and the gradient of output are not read there, output and the gradient of x are zero, h_n is
    the state after the row's own last step, and the reverse direction begins there. `reset`, of bool, marks
    the first steps of new episodes: between such a step and the one before it no state passes in either
    direction (it becomes zero), and no gradient.

    With a size per layer `h_0`, `h_n` and their gradients are lists of an array for each layer, (D, B, H_l)
    or (D, H_l). Layer and direction are ordered as in PyTorch: layer 0, layer 0 in reverse, layer 1, ... All
    arrays have the module's dtype.

    Each step computes, with the gates r, z, n stacked in this order in weights and biases::

        r = σ(W_ir x + b_ir + W_hr h + b_hr)
        z = σ(W_iz x + b_iz + W_hz h + b_hz)
        n = tanh(W_in x + b_in + r ∘ (W_hn h + b_hn))       reset after
        n = tanh(W_in x + b_in + W_hn (r ∘ h) + b_hn)       reset before
        h' = (1 - z) ∘ n + z ∘ h

    Parameters
    ----------
    input_size
        Size of the last axis of x.
    hidden_size
        H, or a sequence with a size for each layer.
    num_layers
        L; with a sequence of sizes it can be left out.
    bias
        Whether there are biases.
    batch_first
        Whether batched x and output have the batch as first axis.
    dropout
        Probability of dropout on the output of each layer but the last, in ``forward`` in training mode. It
        needs a `seed` then.
    bidirectional
        Whether each layer also runs from the last step to the first; its output follows that of the forward
        direction on the last axis.
    reset_after
        Which of the two forms of n is computed: PyTorch's and cuDNN's, or that of Cho et al.
    dtype
        float32 or float64.
    seed
        Of the initial values, uniform in ±1/√H as PyTorch's; ``None`` draws fresh entropy.

    Attributes
    ----------
    weight_ih_l{k}, weight_hh_l{k} : (3 * H, inputs of layer k), (3 * H, H)
    bias_ih_l{k}, bias_hh_l{k} : (3 * H,)
        Parameters, found in `parameters`; with ``_reverse`` behind the name for the other direction.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        reset_after: bool = True,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.input_size = size("input_size", input_size, least=0)
        self.num_layers = size("num_layers", num_layers)
        if self.num_layers > MAX_LAYERS:
            raise ValueError(f"num_layers: expected 1 to {MAX_LAYERS}, got {num_layers}")
        self.hidden_size: int | tuple[int, ...]
        if isinstance(hidden_size, Sequence):
            self.hidden_size = tuple(size("hidden_size", hidden) for hidden in hidden_size)
            if not self.hidden_size or self.num_layers not in (1, len(self.hidden_size)):
                raise ValueError(
                    f"hidden_size: expected a size for each of {num_layers} layers, got {self.hidden_size}"
                )
            self.num_layers = len(self.hidden_size)
            self._layers_by_size = [(1, hidden) for hidden in self.hidden_size]
        else:
            self.hidden_size = size("hidden_size", hidden_size)
            self._layers_by_size = [(self.num_layers, self.hidden_size)]
        self.bias = flag("bias", bias)
        self.batch_first = flag("batch_first", batch_first)
        self.dropout = number("dropout", dropout, most=1.0)
        self.bidirectional = flag("bidirectional", bidirectional)
        self.reset_after = flag("reset_after", reset_after)
        self.dtype = float_dtype(dtype)
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn("dropout acts between layers, and there is one layer only", stacklevel=2)

        self._sizes = [hidden for layers, hidden in self._layers_by_size for _ in range(layers)]
        self._directions = 2 if self.bidirectional else 1
        self._suffixes = [[f"_l{layer}", f"_l{layer}_reverse"][: self._directions] for layer in range(self.num_layers)]
        self._is_one_layer = isinstance(self.hidden_size, int) and self.num_layers == 1
        rng = generator(seed)
        arrays: dict[str, Array] = {}
        self._parameter_names: list[list[str]] = []  # of each layer
        for layer, hidden in enumerate(self._sizes):
            own: dict[str, Array] = {}
            for suffix in self._suffixes[layer]:
                own |= init.gru(rng, self._inputs(layer), hidden, self.bias, self.dtype, suffix)
            self._parameter_names.append(list(own))
            arrays |= own
        super().__init__(arrays)

    @property
    def recurrent(self) -> bool:
        return True

    def _config(self) -> dict[str, Any]:
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size if isinstance(self.hidden_size, int) else list(self.hidden_size),
            "num_layers": self.num_layers,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            "reset_after": self.reset_after,
            "dtype": self.dtype.name,
        }

    def _call(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        h_0: States = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        *,
        threads: int | None = None,
    ) -> tuple[Array, States]:
        layers = snapshot.version.derive("layers", self._packed_layers, threads)
        if self._is_one_layer:
            result = layers[0](x, h_0, lengths, reset, threads)
            if result is not None:
                return result
        x = float_array("x", x, self.dtype)
        layout, count, final = _Layout(self, x.shape), F.thread_count(threads), []
        sequence, steps = _plain(layout.with_batch(x)), layout.given_steps(lengths, reset)
        for layer, h in zip(layers, layout.given_states("h_0", h_0), strict=True):
            sequence, h_n = _taken(layer(sequence, h, *steps, count))
            final.append(h_n)
        return layout.without_batch(sequence), layout.states(final)

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        h_0: States = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        *,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[tuple[Array, States], _Saved]:
        layers = snapshot.version.derive("layers", self._packed_layers, threads)
        if self._is_one_layer:
            result = layers[0].forward(x, h_0, lengths, reset, threads)
            if result is not None:
                output, h_n, tape = result
                return (output, h_n), _Saved(np.shape(x), [tape], [None])
        x = float_array("x", x, self.dtype)
        layout, count, final, saved = _Layout(self, x.shape), F.thread_count(threads), [], _Saved(x.shape, [], [])
        sequence, steps = _plain(layout.with_batch(x)), layout.given_steps(lengths, reset)
        for i, (layer, h) in enumerate(zip(layers, layout.given_states("h_0", h_0), strict=True)):
            noise = None
            if i > 0 and self.training and self.dropout > 0:
                noise = Noise(sequence, self.dropout, None if seed is None else (*seed_path(seed), i))
                sequence = sealed(noise(sequence))
            saved.noises.append(noise)
            sequence, h_n, tape = _taken(layer.forward(sequence, h, *steps, count))
            saved.tapes.append(tape)
            final.append(h_n)
        return (layout.without_batch(sequence), layout.states(final)), saved

    def _backward(
        self, saved: _Saved, d_output: ArrayLike | None, d_h_n: States = None, *, threads: int | None = None
    ) -> tuple[tuple[Array, States], Gradients]:
        if self._is_one_layer:
            result = saved.tapes[0].backward(d_output, d_h_n, threads)
            if result is not None:
                d_x, d_h_0, gradients = result
                return (d_x, d_h_0), dict(zip(self._parameter_names[0], gradients, strict=True))
        layout, count = _Layout(self, saved.x_shape), F.thread_count(threads)
        d: Array | None = None
        if d_output is not None:
            d = layout.with_batch(shaped_array("d_output", d_output, layout.output_shape, self.dtype))
        d_initial: list[Array] = []
        in_layers: list[list[Array]] = []
        d_final = layout.given_states("d_h_n", d_h_n)
        for tape, noise, d_h in zip(reversed(saved.tapes), reversed(saved.noises), reversed(d_final), strict=True):
            d, d_h_0, gradients = _taken(tape.backward(None if d is None else _plain(d), d_h, count))
            d = d if noise is None else noise(d)
            d_initial.insert(0, d_h_0)
            in_layers.insert(0, gradients)
        assert d is not None  # there is a layer
        named = (zip(*both, strict=True) for both in zip(self._parameter_names, in_layers, strict=True))
        return (layout.without_batch(d), layout.states(d_initial)), dict(chain.from_iterable(named))

    def _packed_layers(self, version: Version, threads: int | None) -> list[GRULayer]:
        layers = []
        for suffixes in self._suffixes:
            weights = [_packed(version, suffix, self.reset_after, threads) for suffix in suffixes]
            layers.append(GRULayer(tuple(weights), self.batch_first))
        return layers

    def _inputs(self, layer: int) -> int:
        return self.input_size if layer == 0 else self._sizes[layer - 1] * self._directions


class GRUCell(Module):
    """One step of a GRU, with PyTorch's constructor and parameter names; `GRU` has the equations.

    ``cell(x, h=None)`` gives the next state h'; ``cell.forward(x, h=None)`` gives ``(h', tape)``;
    ``cell.backward(tape, d_h)`` gives ``((d_x, d_h_0), gradients)`` with ``d_h_0`` for the state given. x is
    (B, input_size) and the states are (B, hidden_size), or without B both; a state that is ``None`` stands
    for zeros.

    Parameters
    ----------
    input_size, hidden_size, bias, reset_after, dtype, seed
        As of `GRU`.

    Attributes
    ----------
    weight_ih, weight_hh : (3 * hidden_size, input_size), (3 * hidden_size, hidden_size)
    bias_ih, bias_hh : (3 * hidden_size,)
        Parameters, found in `parameters`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        reset_after: bool = True,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        self.input_size = size("input_size", input_size, least=0)
        self.hidden_size = size("hidden_size", hidden_size)
        self.bias = flag("bias", bias)
        self.reset_after = flag("reset_after", reset_after)
        self.dtype = float_dtype(dtype)
        super().__init__(init.gru(generator(seed), input_size, hidden_size, bias, self.dtype))

    def _config(self) -> dict[str, Any]:
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "bias": self.bias,
            "reset_after": self.reset_after,
            "dtype": self.dtype.name,
        }

    def __call__(self, x: ArrayLike, h: ArrayLike | None = None, *, threads: int | None = None) -> Array:
        # Users call a cell for every step: nothing but the look-up stands between them and the compiled step.
        if threads is None:
            h_1 = self._version.derive("step", self._packed_step, threads)(x, h)
            if h_1 is not None:
                return h_1
        return self._call(self.snapshot(), x, h, threads=threads)

    def _call(
        self, snapshot: Snapshot, x: ArrayLike, h: ArrayLike | None = None, *, threads: int | None = None
    ) -> Array:
        sequence, h_0, h_shape, count = self._checked(x, h, threads)
        layer = snapshot.version.derive("layer", self._packed_layer, threads)
        _, h_n = _taken(layer(sequence, h_0, None, None, count))
        return h_n.reshape(h_shape)

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        h: ArrayLike | None = None,
        *,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[Array, _SavedStep]:
        sequence, h_0, h_shape, count = self._checked(x, h, threads)
        layer = snapshot.version.derive("layer", self._packed_layer, threads)
        _, h_n, tape = _taken(layer.forward(sequence, h_0, None, None, count))
        return h_n.reshape(h_shape), _SavedStep(tape, h_shape)

    def _backward(
        self, saved: _SavedStep, d_h: ArrayLike, *, threads: int | None = None
    ) -> tuple[tuple[Array, Array], Gradients]:
        d_h = shaped_array("d_h", d_h, saved.h_shape, self.dtype)
        d_h_n = _plain(d_h if d_h.ndim == 2 else d_h[None])
        d_x, d_h_0, gradients = _taken(saved.tape.backward(None, d_h_n[None], F.thread_count(threads)))
        d_inputs = d_x.reshape(*saved.h_shape[:-1], self.input_size), d_h_0.reshape(saved.h_shape)
        return d_inputs, dict(zip(self.parameters(), gradients, strict=True))

    def _packed_layer(self, version: Version, threads: int | None) -> GRULayer:
        return GRULayer((_packed(version, "", self.reset_after, threads),), False)

    def _packed_step(self, version: Version, threads: int | None) -> GRUStep:
        return GRUStep(version.derive("layer", self._packed_layer, threads))

    def _checked(
        self, x: ArrayLike, h: ArrayLike | None, threads: int | None
    ) -> tuple[Array, Array | None, tuple[int, ...], int]:
        """Return x as a sequence of one step, the state as a layer takes it, its shape, and the threads."""
        x = float_array("x", x, self.dtype)
        if x.ndim not in (1, 2):
            raise ValueError(f"x: expected 2 dimensions (B, I), or 1 (I,), got {x.ndim} with shape {x.shape}")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"x: expected a last axis of input_size = {self.input_size}, got shape {x.shape}")
        h_shape = (*x.shape[:-1], self.hidden_size)
        if h is not None:
            h = shaped_array("h", h, h_shape, self.dtype)
            h = _plain(h if h.ndim == 2 else h[None])[None]
        sequence = _plain(x[None] if x.ndim == 2 else x[None, None])
        return sequence, h, h_shape, F.thread_count(threads)


class _Layout:
    """How the arrays of one call lie: as the user has them, and as the layers take them.

    The user's sequences may lack the batch axis, and his states are one array for all layers of a size. A
    layer takes sequences with a batch axis, and states (D, B, H) of its own.
    """

    def __init__(self, gru: GRU, x_shape: tuple[int, ...]) -> None:
        if len(x_shape) not in (2, 3):
            axes = "(B, T, I)" if gru.batch_first else "(T, B, I)"
            raise ValueError(f"x: expected 3 dimensions {axes}, or 2 (T, I), got {len(x_shape)} with shape {x_shape}")
        if x_shape[-1] != gru.input_size:
            raise ValueError(f"x: expected a last axis of input_size = {gru.input_size}, got shape {x_shape}")
        self._gru = gru
        self._batch_axis = 0 if gru.batch_first else 1
        self._batched = len(x_shape) == 3
        batch = x_shape[self._batch_axis : self._batch_axis + 1] if self._batched else ()
        self._rows = batch[0] if batch else 1
        self._state_shapes = [(layers * gru._directions, *batch, hidden) for layers, hidden in gru._layers_by_size]
        self.axes = x_shape[:2] if self._batched else (1, x_shape[0]) if gru.batch_first else (x_shape[0], 1)
        self.output_shape = (*x_shape[:-1], gru._sizes[-1] * gru._directions)

    def with_batch(self, sequence: Array) -> Array:
        return sequence if self._batched else np.expand_dims(sequence, self._batch_axis)

    def without_batch(self, sequence: Array) -> Array:
        """Undo `with_batch`."""
        return sequence if self._batched else sequence.squeeze(self._batch_axis)

    def given_steps(self, lengths: ArrayLike | None, reset: ArrayLike | None) -> tuple[Array | None, Array | None]:
        """Check lengths and resets that the user gave and return them as the layers take them."""
        if not self._batched:
            if lengths is not None:
                raise ValueError("lengths: expected x with a batch axis, got x without one")
            if reset is not None:
                reset = np.expand_dims(np.asarray(reset), self._batch_axis)
        batch_first = self._gru.batch_first
        steps, rows = reversed(self.axes) if batch_first else self.axes
        flags = F.reset_flags(reset, steps, rows, batch_first)
        if flags is not None and batch_first:
            flags = flags.T
        return F.sequence_lengths(lengths, steps, rows), flags

    def states(self, by_layer: StatesByLayer) -> States:
        """Return final states as the user has them."""
        if not self._single:
            return [state.reshape(shape) for state, shape in zip(by_layer, self._state_shapes, strict=True)]
        joined = by_layer[0] if len(by_layer) == 1 else np.concatenate(by_layer)
        return joined.reshape(self._state_shapes[0])

    def given_states(self, name: str, states: States) -> StatesByLayer:
        """Check states that the user gave and return them as the layers take them."""
        gru, shapes = self._gru, self._state_shapes
        if states is None:
            return [None] * gru.num_layers
        if self._single:
            return self._by_layer([shaped_array(name, states, shapes[0], gru.dtype)])
        if not isinstance(states, (list, tuple)) or len(states) != len(shapes):
            got = f"{len(states)}" if isinstance(states, (list, tuple)) else type(states).__name__
            raise ValueError(f"{name}: expected a list of {len(shapes)} arrays, one per layer, got {got}")
        return self._by_layer(
            [
                shaped_array(f"{name}[{layer}]", state, shape, gru.dtype)
                for layer, (state, shape) in enumerate(zip(states, shapes, strict=True))
            ]
        )

    @property
    def _single(self) -> bool:
        return isinstance(self._gru.hidden_size, int)

    def _by_layer(self, arrays: Sequence[Array]) -> StatesByLayer:
        return [
            layer
            for array, (layers, hidden) in zip(arrays, self._gru._layers_by_size, strict=True)
            for layer in _plain(array).reshape(layers, self._gru._directions, self._rows, hidden)
        ]


class _Saved(NamedTuple):
    x_shape: tuple[int, ...]
    tapes: list[GRULayerTape]  # of each layer
    noises: list[Noise | None]  # on the input of each layer


class _SavedStep(NamedTuple):
    tape: GRULayerTape
    h_shape: tuple[int, ...]


def _plain(array: Array) -> Array:
    """Return an array, or a copy of it, as the compiled layers take it."""
    return np.require(array, requirements=["C", "A"])


def _taken(result: Taken | None) -> Taken:
    """Return what a compiled layer gave; checked and plain arguments it always takes."""
    assert result is not None
    return result


def _packed(version: Version, suffix: str, reset_after: bool, threads: int | None) -> F.GRUWeights:
    return _core.pack_gru(
        version["weight_ih" + suffix],
        version["weight_hh" + suffix],
        version.arrays.get("bias_ih" + suffix),
        version.arrays.get("bias_hh" + suffix),
        reset_after,
        F.thread_count(threads),
    )
