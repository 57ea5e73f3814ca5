"""What recurrent layers share: stacks in both directions, and the single cell."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, cast, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import functional as F
from gru_native._layer import PARAMETERS, RecurrentLayer, RecurrentLayerTape, RecurrentStep, RecurrentWeights, Unfit
from gru_native.activations import Activation, ActivationLike, activation
from gru_native.arguments import flag, float_dtype, one_of, shaped_array, typed_array, whole, wholes
from gru_native.nn import init
from gru_native.nn.dropout import Noise, StepwiseNoise
from gru_native.nn.masked import Counted, MaskedOutput, MaskedSaved
from gru_native.nn.module import Array, Gradients, Module, Snapshot, Tape, Version, public, sealed
from gru_native.nn.share import Share
from gru_native.nn.signal import Fact, Signal
from gru_native.passes import repeatable
from gru_native.random import Seed, generator, key, seed_path

# Of the whole module: one array (L * D, B, H), or with a size per layer a list of (D, B, H_l); of the LSTM a pair.
States: TypeAlias = Any

# Of one layer: (D, B, H), of the LSTM a tuple (h, c) of them, or None for zeros.
State: TypeAlias = Any
StatesByLayer: TypeAlias = Sequence[State]

# Of one array of a state, by size of layers.
Shapes: TypeAlias = Sequence[tuple[int, ...]]

# Far beyond any use; a file that claims more would keep `load` busy for ever.
MAX_LAYERS = 10_000


class OfCell(Module):
    """What stacks and single cells of a kind have in common: the cell and what is chosen of it.

    A subclass names its cell, its number of gates and the arrays of its state, and sets the options that it has before
    it calls ``__init__``.
    """

    #: Of the weights: they have gates * H rows.
    gates: ClassVar[int]
    #: The arrays of a state: h, or h and c.
    states: ClassVar[int] = 1
    #: Whether the projections are normalized (the GRU can have it).
    layer_norm: bool = False
    #: Whether gates see c (the LSTM can have it).
    peepholes: bool = False
    #: The bound on what activations are given.
    clip: float | None = None
    #: What `RecurrentWeights` takes of a cell that is not the usual one.
    _choices: tuple[Any, ...] = ()

    @property
    def cell(self) -> str:
        """The name of the cell in the core."""
        raise NotImplementedError

    def _choose(self, activations: Sequence[Activation], clip: float | None, input_forget: bool = False) -> None:
        """Take what a subclass was given, and refuse what its cell does not have."""
        self.clip = None if clip is None else F.clip_bound(clip)
        self._choices = F.cell_choices(self.cell, activations, self.clip, input_forget)

    def _pack(self, version: Version, names: tuple[str, ...]) -> RecurrentWeights:
        return RecurrentWeights(self.cell, tuple(map(version.arrays.get, names)), *self._choices)


class Gated(OfCell):
    """The options of cells with gates."""

    activation: ActivationLike
    recurrent_activation: ActivationLike
    #: What c' goes through (the LSTM can have another than `activation`).
    cell_activation: ActivationLike | None = None

    def _activate(
        self, own: ActivationLike, recurrent: ActivationLike, of_c: ActivationLike | None = None
    ) -> tuple[Activation, ...]:
        """Take the activations and return those of the cell: without `of_c` the candidate's is that of c', too."""
        candidate, gates = activation("activation", own), activation("recurrent_activation", recurrent)
        self.activation, self.recurrent_activation = candidate.short, gates.short
        if of_c is None:
            return (gates,) + (candidate,) * self.states
        last = activation("cell_activation", of_c)
        self.cell_activation = last.short
        return gates, candidate, last

    def _chosen(self) -> dict[str, Any]:
        """Return the options, for `_config`: where c' has none of its own, as files have it that know of none."""
        of_c = {} if self.cell_activation is None else {"cell_activation": self.cell_activation}
        return {
            "activation": self.activation,
            "recurrent_activation": self.recurrent_activation,
            **of_c,
            "clip": self.clip,
        }


class Recurrent(OfCell):
    """A stack of layers of one cell, as `GRU` describes it.

    A subclass adds what it has of its own to ``__init__`` and `_config`.
    """

    dropout, input_dropout, recurrent_dropout, zoneout = Share(), Share(), Share(), Share()
    #: The size of a projected h, 0 for none (`LSTM` can have it).
    proj_size: int = 0
    #: What `return_gates` returns.
    gate_names: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        direction: str,
        input_dropout: float,
        recurrent_dropout: float,
        dtype: DTypeLike,
        seed: Seed | None,
    ) -> None:
        self.input_size = whole("input_size", input_size, least=0)
        self.num_layers = whole("num_layers", num_layers, most=MAX_LAYERS)
        self.hidden_size: int | tuple[int, ...]
        if isinstance(hidden_size, (list, tuple)):
            self.hidden_size = wholes("hidden_size", hidden_size)
            if not self.hidden_size or self.num_layers not in (1, len(self.hidden_size)):
                raise ValueError(
                    f"hidden_size: expected a size for each of {num_layers} layers, got {self.hidden_size}"
                )
            self.num_layers = len(self.hidden_size)
            self._layers_by_size = [(1, hidden) for hidden in self.hidden_size]
        else:
            self.hidden_size = whole("hidden_size", hidden_size)
            self._layers_by_size = [(self.num_layers, self.hidden_size)]
        self.bias = flag("bias", bias)
        self.batch_first = flag("batch_first", batch_first)
        self.dropout = dropout
        self.bidirectional = flag("bidirectional", bidirectional)
        self.direction = one_of("direction", direction, ("forward", "reverse"))
        if self.bidirectional and self.direction == "reverse":
            raise ValueError("direction: expected 'forward' for a bidirectional layer, which has both, got 'reverse'")
        self.input_dropout = input_dropout
        self.recurrent_dropout = recurrent_dropout
        self.zoneout = 0.0  # of which GRU has another
        self.dtype = float_dtype(dtype)
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn("dropout acts between layers, and there is one layer only", stacklevel=3)

        self._sizes = [hidden for layers, hidden in self._layers_by_size for _ in range(layers)]
        if self.proj_size >= min(self._sizes):
            raise ValueError(f"proj_size: expected less than hidden_size, {min(self._sizes)}, got {self.proj_size}")
        self._directions = 2 if self.bidirectional else 1
        self._suffixes = [[f"_l{layer}", f"_l{layer}_reverse"][: self._directions] for layer in range(self.num_layers)]
        self._packed_names = [
            [tuple(kind + suffix for kind in PARAMETERS) for suffix in suffixes] for suffixes in self._suffixes
        ]
        self._is_one_layer = isinstance(self.hidden_size, int) and self.num_layers == 1
        rng = generator(seed)
        arrays: dict[str, Array] = {}
        self._parameter_names: list[tuple[str, ...]] = []  # of each layer
        for layer, hidden in enumerate(self._sizes):
            own: dict[str, Array] = {}
            for suffix in self._suffixes[layer]:
                own |= init.recurrent(
                    rng,
                    self.gates,
                    self._inputs(layer),
                    hidden,
                    self.bias,
                    self.dtype,
                    suffix,
                    self.layer_norm,
                    self.peepholes,
                    self.proj_size,
                )
            self._parameter_names.append(tuple(own))
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
            "direction": self.direction,
            "input_dropout": self.input_dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "dtype": self.dtype.name,
        }

    @property
    def _kind(self) -> str:
        if self.direction == "reverse":
            return f"{super()._kind}, reverse"
        return f"{super()._kind}, bidirectional" if self.bidirectional else super()._kind

    def _passed(self, given: Signal, name: str) -> Signal:
        place = self._place(name)
        taken = given.ordered(place, type(self).__name__, self.batch_first).sized(place, "input_size", self.input_size)
        return taken.typed(place, self.dtype.name)._replace(
            features=Fact(self._width(-1) * self._directions, place),
            directions=Fact("both" if self.bidirectional else self.direction, place),
        )

    @overload
    def __call__(
        self,
        x: ArrayLike,
        h_0: States = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        masked_output: MaskedOutput = "zero",
        return_gates: Literal[False] = False,
        threads: int | None = None,
    ) -> tuple[Array, States]: ...

    @overload
    def __call__(
        self,
        x: ArrayLike,
        h_0: States = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        masked_output: MaskedOutput = "zero",
        return_gates: Literal[True],
        threads: int | None = None,
    ) -> tuple[Array, States, dict[str, Array]]: ...

    def __call__(
        self,
        x: ArrayLike,
        h_0: States = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        masked_output: MaskedOutput = "zero",
        return_gates: bool = False,
        threads: int | None = None,
    ) -> Any:
        # As any module's, but for the arguments by name: to gather all of them takes as long as a short call.
        snapshot = Snapshot(self._version)
        if mask is None:
            return self._call(snapshot, x, h_0, lengths, reset, return_gates=return_gates, threads=threads)
        given: dict[str, Any] = {"return_gates": return_gates, "threads": threads}
        return self._call(snapshot, x, h_0, lengths, reset, mask=mask, masked_output=masked_output, **given)

    def forward(
        self,
        x: ArrayLike,
        h_0: States = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        masked_output: MaskedOutput = "zero",
        tape: str = "gates",
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[tuple[Array, States], Tape]:
        """Return (output, h_n) and the tape for `backward`; see the class for the arguments."""
        snapshot = Snapshot(self._version)
        given: dict[str, Any] = {"tape": tape, "seed": seed, "threads": threads}
        if mask is not None:
            given |= {"mask": mask, "masked_output": masked_output}
        result, saved = self._forward(snapshot, x, h_0, lengths, reset, **given)
        return result, Tape(self, saved)

    def _call(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        h_0: States = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        masked_output: MaskedOutput = "zero",
        return_gates: bool = False,
        threads: int | None = None,
    ) -> Any:
        if mask is not None:
            counted = self._counted(x, lengths, mask, masked_output)
            together = counted.together(x), h_0, counted.lengths, counted.resets(reset)
            output, h_n, *more = self._call(snapshot, *together, return_gates=return_gates, threads=threads)
            return counted.apart(output), h_n, *({name: counted.apart(own) for name, own in of.items()} for of in more)
        layers = snapshot.version.derive("layers", self._packed_layers)
        if self._is_one_layer and return_gates is False:
            try:
                return layers[0](x, h_0, lengths, reset, threads)
            except Unfit:
                pass
        return_gates = flag("return_gates", return_gates)
        if return_gates and not self.gate_names:
            raise ValueError(f"return_gates: expected False, because {type(self).__name__} has no gates, got True")
        x = typed_array("x", x, self.dtype)
        layout, count, final = _Layout(self, x.shape), F.thread_count(threads), []
        gates: dict[str, Array] = {}
        sequence, steps = F._contiguous(layout.with_batch(x)), layout.given_steps(lengths, reset)
        for i, (layer, h) in enumerate(zip(layers, layout.given_states("h_0", h_0), strict=True)):
            if return_gates:
                sequence, h_n, record = layer.forward(sequence, h, *steps, None, None, "gates", count)
                for suffix, own in zip(self._suffixes[i], record.gates(), strict=True):
                    named = zip(self.gate_names, own, strict=True)
                    gates |= {name + suffix: layout.without_batch(gate) for name, gate in named}
            else:
                sequence, h_n = layer(sequence, h, *steps, count)
            final.append(h_n)
        result = layout.without_batch(sequence), layout.states(final)
        return (*result, gates) if return_gates else result

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        h_0: States = None,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        masked_output: MaskedOutput = "zero",
        tape: str = "gates",
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[tuple[Array, States], _Saved | MaskedSaved]:
        if mask is not None:
            counted = self._counted(x, lengths, mask, masked_output)
            together = counted.together(x), h_0, counted.lengths, counted.resets(reset)
            (output, h_n), of_counted = self._forward(snapshot, *together, tape=tape, seed=seed, threads=threads)
            return (sealed(counted.apart(output)), h_n), MaskedSaved(counted, of_counted)
        keep = F.checked_tape(tape)
        layers = snapshot.version.derive("layers", self._packed_layers)
        masked = self.training and self.recurrent_dropout > 0
        zoned = self.training and self.zoneout > 0
        dropped = self.training and self.input_dropout > 0
        if self._is_one_layer and not (masked or zoned or dropped):
            try:
                output, h_n, record = layers[0].forward(x, h_0, lengths, reset, None, None, keep, threads)
            except Unfit:
                pass
            else:
                return (output, h_n), _Saved(cast(Array, x).shape, [record], [[]])
        x = typed_array("x", x, self.dtype)
        layout, count, final, saved = _Layout(self, x.shape), F.thread_count(threads), [], _Saved(x.shape, [], [])
        sequence, steps = F._contiguous(layout.with_batch(x)), layout.given_steps(lengths, reset)
        for i, (layer, h) in enumerate(zip(layers, layout.given_states("h_0", h_0), strict=True)):
            own_seed = None if seed is None else (*seed_path(seed), i)
            noises = self._noises(i, sequence, own_seed, count) if self.training else []
            for noise in noises:
                sequence = sealed(noise(sequence, count))
            mask = self._mask(i, layout.rows, own_seed, count) if masked else None
            keys = self._zoneout_keys(own_seed) if zoned else None
            saved.noises.append(noises)
            sequence, h_n, record = layer.forward(sequence, h, *steps, mask, keys, keep, count)
            saved.tapes.append(record)
            final.append(h_n)
        return (layout.without_batch(sequence), layout.states(final)), saved

    def _counted(self, x: ArrayLike, lengths: ArrayLike | None, mask: ArrayLike, masked_output: str) -> Counted:
        if lengths is not None:
            raise ValueError("lengths: expected None beside mask, got lengths")
        reverse = self._width(-1) if self.bidirectional else 0 if self.direction == "reverse" else None
        return Counted(typed_array("x", x, self.dtype), mask, masked_output, self.batch_first, reverse)

    def _backward(
        self,
        saved: _Saved | MaskedSaved,
        d_output: ArrayLike | None,
        d_h_n: States = None,
        *,
        threads: int | None = None,
    ) -> tuple[tuple[Array, States], Gradients]:
        if isinstance(saved, MaskedSaved):
            counted, of_counted = saved
            d_together = None if d_output is None else counted.gathered(typed_array("d_output", d_output, self.dtype))
            (d_x, d_h_0), gradients = self._backward(of_counted, d_together, d_h_n, threads=threads)
            return (counted.scattered(d_x), d_h_0), gradients
        if self._is_one_layer and not saved.noises[0]:
            try:
                d_x, d_h_0, gradients = saved.tapes[0].backward(d_output, d_h_n, self._parameter_names[0], threads)
            except Unfit:
                pass
            else:
                return (d_x, d_h_0), gradients
        layout, count = _Layout(self, saved.x_shape), F.thread_count(threads)
        d: Array | None = None
        if d_output is not None:
            d = layout.with_batch(shaped_array("d_output", d_output, layout.output_shape, self.dtype))
        d_initial: list[Array] = []
        in_layers: Gradients = {}
        d_final = layout.given_states("d_h_n", d_h_n)
        layers = zip(saved.tapes, saved.noises, d_final, self._parameter_names, strict=True)
        for tape, noises, d_h, names in reversed(list(layers)):
            d, d_h_0, gradients = tape.backward(None if d is None else F._contiguous(d), d_h, names, count)
            for noise in reversed(noises):
                d = noise(d, count)
            d_initial.insert(0, d_h_0)
            in_layers = gradients | in_layers
        # There is a layer, which gave a gradient.
        return (layout.without_batch(cast(Array, d)), layout.states(d_initial)), in_layers

    backward = public(_call, _forward, _backward)[2]

    def _noises(self, layer: int, x: Array, seed: tuple[int, ...] | None, threads: int) -> list[Noise]:
        """Return what acts on a layer's input, in order: dropout between layers, and that of one mask for all steps."""
        noises = [Noise(self.dropout, seed)] if layer > 0 and self.dropout > 0 else []
        if self.input_dropout > 0:
            own = None if seed is None else (*seed, 2)
            noises.append(StepwiseNoise(self.input_dropout, own, x, self.batch_first, threads))
        return noises

    @repeatable
    def _mask(self, layer: int, rows: int, seed: tuple[int, ...] | None, threads: int) -> Array:
        """Return what dropout makes of ones of h's shape, by the layer's seed with a number of its own behind it."""
        noise = Noise(self.recurrent_dropout, None if seed is None else (*seed, 0))
        return noise(np.ones((self._directions, rows, self._width(layer)), self.dtype), threads)

    def _zoneout_keys(self, seed: tuple[int, ...] | None) -> tuple[int, ...]:
        if seed is None:
            raise ValueError("seed: zoneout in training mode needs one, got None")
        return tuple(key((*seed, 1, direction)) for direction in range(self._directions))

    def _packed_layers(self, version: Version) -> list[RecurrentLayer]:
        layers = []
        for names in self._packed_names:
            weights = tuple([self._pack(version, own) for own in names])
            layers.append(RecurrentLayer(weights, self.batch_first, self.zoneout, self.direction == "reverse"))
        return layers

    def _inputs(self, layer: int) -> int:
        return self.input_size if layer == 0 else self._width(layer - 1) * self._directions

    def _width(self, layer: int) -> int:
        """Return the size of a layer's h."""
        return self.proj_size or self._sizes[layer]


class RecurrentCell(OfCell):
    """One step of a recurrent layer, as `GRUCell` describes it."""

    def __init__(self, input_size: int, hidden_size: int, bias: bool, dtype: DTypeLike, seed: Seed | None) -> None:
        self.input_size = whole("input_size", input_size, least=0)
        self.hidden_size = whole("hidden_size", hidden_size)
        self.bias = flag("bias", bias)
        self.dtype = float_dtype(dtype)
        rng = generator(seed)
        super().__init__(
            init.recurrent(
                rng,
                self.gates,
                input_size,
                hidden_size,
                bias,
                self.dtype,
                layer_norm=self.layer_norm,
                peepholes=self.peepholes,
            )
        )

    def _config(self) -> dict[str, Any]:
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "bias": self.bias,
            "dtype": self.dtype.name,
        }

    def __call__(self, x: ArrayLike, h: State = None, *, threads: int | None = None) -> Any:
        # Users call a cell for every step: nothing but the look-up stands between them and the compiled step.
        if threads is None and h is not None:
            try:
                return self._version.derive("step", self._packed_step)(x, h)
            except Unfit:
                pass
        return self._call(self.snapshot(), x, h, threads=threads)

    def _call(self, snapshot: Snapshot, x: ArrayLike, h: State = None, *, threads: int | None = None) -> Any:
        sequence, state, h_shape, count = self._checked(x, h, threads)
        layer = snapshot.version.derive("layer", self._packed_layer)
        _, final = layer(sequence, state, None, None, count)
        return self._each(lambda part: part.reshape(h_shape), final)

    def _forward(
        self,
        snapshot: Snapshot,
        x: ArrayLike,
        h: State = None,
        *,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[Any, _SavedStep]:
        sequence, state, h_shape, count = self._checked(x, h, threads)
        layer = snapshot.version.derive("layer", self._packed_layer)
        _, final, tape = layer.forward(sequence, state, None, None, None, None, "gates", count)
        return self._each(lambda part: part.reshape(h_shape), final), _SavedStep(tape, h_shape)

    def _backward(
        self, saved: _SavedStep, d_h: State, *, threads: int | None = None
    ) -> tuple[tuple[Array, Any], Gradients]:
        if d_h is None:
            raise TypeError("d_h: expected a gradient, got None")
        d_final = self._as_layers_take("d_h", d_h, saved.h_shape)
        names, count = tuple(self.parameters()), F.thread_count(threads)
        d_x, d_state, gradients = saved.tape.backward(None, d_final, names, count)
        d_first = self._each(lambda part: part.reshape(saved.h_shape), d_state)
        return (d_x.reshape(*saved.h_shape[:-1], self.input_size), d_first), gradients

    forward, backward = public(_call, _forward, _backward)[1:]

    def _packed_layer(self, version: Version) -> RecurrentLayer:
        return RecurrentLayer((self._pack(version, PARAMETERS),), False)

    def _packed_step(self, version: Version) -> RecurrentStep:
        return RecurrentStep(version.derive("layer", self._packed_layer))

    def _checked(self, x: ArrayLike, h: State, threads: int | None) -> tuple[Array, State, tuple[int, ...], int]:
        """Return x as a sequence of one step, the state as a layer takes it, its shape, and the threads."""
        x = typed_array("x", x, self.dtype)
        if x.ndim not in (1, 2):
            raise ValueError(f"x: expected 2 dimensions (B, I), or 1 (I,), got {x.ndim} with shape {x.shape}")
        if x.shape[-1] != self.input_size:
            raise ValueError(f"x: expected a last axis of input_size = {self.input_size}, got shape {x.shape}")
        h_shape = (*x.shape[:-1], self.hidden_size)
        state = None if h is None else self._as_layers_take("h", h, h_shape)
        sequence = F._contiguous(x[None] if x.ndim == 2 else x[None, None])
        return sequence, state, h_shape, F.thread_count(threads)

    def _as_layers_take(self, name: str, state: State, shape: tuple[int, ...]) -> State:
        parts = []
        for own, part in _named_parts(name, state, self.states):
            array = shaped_array(own, part, shape, self.dtype)
            parts.append(F._contiguous(array if array.ndim == 2 else array[None])[None])
        return _state_of(parts)

    def _each(self, change: Callable[[Array], Array], state: State) -> State:
        return change(state) if self.states == 1 else tuple(map(change, state))


class _Layout:
    """How the arrays of one call lie: as the user has them, and as the layers take them.

    The user's sequences may lack the batch axis, and his states are one array for all layers of a size. A
    layer takes sequences with a batch axis, and states (D, B, H) of its own.
    """

    def __init__(self, stack: Recurrent, x_shape: tuple[int, ...]) -> None:
        if len(x_shape) not in (2, 3):
            axes = "(B, T, I)" if stack.batch_first else "(T, B, I)"
            raise ValueError(f"x: expected 3 dimensions {axes}, or 2 (T, I), got {len(x_shape)} with shape {x_shape}")
        if x_shape[-1] != stack.input_size:
            raise ValueError(f"x: expected a last axis of input_size = {stack.input_size}, got shape {x_shape}")
        self._stack = stack
        self._batch_axis = 0 if stack.batch_first else 1
        self._batched = len(x_shape) == 3
        batch = x_shape[self._batch_axis : self._batch_axis + 1] if self._batched else ()
        self.rows = batch[0] if batch else 1
        # By part of the state, h and c; with a projection h has a size of its own.
        self._state_shapes = [
            [(layers * stack._directions, *batch, size or hidden) for layers, hidden in stack._layers_by_size]
            for size in (stack.proj_size, 0)[: stack.states]
        ]
        self.axes = x_shape[:2] if self._batched else (1, x_shape[0]) if stack.batch_first else (x_shape[0], 1)
        self.output_shape = (*x_shape[:-1], stack._width(-1) * stack._directions)

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
                reset = shaped_array("reset", reset, self.output_shape[:1], np.bool_, "(T,)").reshape(self.axes)
        batch_first = self._stack.batch_first
        steps, rows = reversed(self.axes) if batch_first else self.axes
        return F.sequence_lengths(lengths, steps, rows), F.reset_flags(reset, steps, rows, batch_first)

    def states(self, by_layer: StatesByLayer) -> States:
        """Return final states as the user has them."""
        if self._stack.states == 1:
            return self._joined(by_layer, *self._state_shapes)
        return tuple(map(self._joined, zip(*by_layer, strict=True), self._state_shapes))

    def given_states(self, name: str, states: States) -> StatesByLayer:
        """Check states that the user gave and return them as the layers take them."""
        if states is None:
            return [None] * self._stack.num_layers
        named = zip(_named_parts(name, states, self._stack.states), self._state_shapes, strict=True)
        parts = [self._by_layer(own, part, shapes) for (own, part), shapes in named]
        return [_state_of(of_layer) for of_layer in zip(*parts, strict=True)]

    @repeatable
    def _joined(self, by_layer: Sequence[Array], shapes: Shapes) -> Any:
        if not self._single:
            return [state.reshape(shape) for state, shape in zip(by_layer, shapes, strict=True)]
        joined = by_layer[0] if len(by_layer) == 1 else np.concatenate(by_layer)
        return joined.reshape(shapes[0])

    def _by_layer(self, name: str, states: Any, shapes: Shapes) -> list[Array]:
        stack = self._stack
        if self._single:
            arrays = [shaped_array(name, states, shapes[0], stack.dtype)]
        elif isinstance(states, (list, tuple)) and len(states) == len(shapes):
            arrays = [
                shaped_array(f"{name}[{layer}]", state, shape, stack.dtype)
                for layer, (state, shape) in enumerate(zip(states, shapes, strict=True))
            ]
        else:
            got = f"{len(states)}" if isinstance(states, (list, tuple)) else type(states).__name__
            raise ValueError(f"{name}: expected a list of {len(shapes)} arrays, one per layer, got {got}")
        return [
            layer
            for array, (layers, _) in zip(arrays, stack._layers_by_size, strict=True)
            for layer in F._contiguous(array).reshape(layers, stack._directions, self.rows, array.shape[-1])
        ]

    @property
    def _single(self) -> bool:
        return isinstance(self._stack.hidden_size, int)


@dataclass(slots=True)
class _Saved:
    x_shape: tuple[int, ...]
    tapes: list[RecurrentLayerTape]  # of each layer
    noises: list[list[Noise]]  # on the input of each layer, in order


class _SavedStep(NamedTuple):
    tape: RecurrentLayerTape
    h_shape: tuple[int, ...]


def _named_parts(name: str, state: Any, count: int) -> list[tuple[str, Any]]:
    """Return a state's arrays and their names: one, or h and c."""
    if count == 1:
        return [(name, state)]
    if not isinstance(state, (tuple, list)) or len(state) != count:
        got = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
        raise TypeError(f"{name}: expected a pair (h, c), got {got}")
    return [(f"{name}[{place}]", part) for place, part in enumerate(state)]


def _state_of(parts: Sequence[Array]) -> State:
    return parts[0] if len(parts) == 1 else tuple(parts)
