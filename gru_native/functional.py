"""The layers' computations on plain arrays: arrays in, arrays out, plus the tape.

Every function validates its arguments: a ``ValueError`` or ``TypeError`` names the argument, what was expected and what
came. ``threads`` is an upper limit on the threads of the call (1 to 256), ``None`` for ``OMP_NUM_THREADS``, or else the
CPUs that the process may use, by its affinity and a container's quota; results do not depend on it. Subnormal numbers
count as zero.

Arrays that are read are NumPy's, or anything in the CPU's memory that has DLPack's or the buffer protocol. They may
have any strides; one whose last axis is not contiguous is copied first. Arrays that are written (``output``, ``final``,
``d_x``) must have a contiguous last axis and overlap no other argument but lengths, resets, indices and targets, of
which each call makes a copy before it checks them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import _core
from gru_native._core import LinearWeights as LinearWeights
from gru_native._layer import FUNCTIONS, PARAMETERS, RecurrentLayer, RecurrentLayerTape, empty, is_constant
from gru_native._layer import MAX_THREADS as MAX_THREADS
from gru_native._layer import RecurrentWeights as RecurrentWeights
from gru_native.activations import Activation, ActivationLike, activation
from gru_native.arguments import (
    LARGEST,
    Array,
    any_float_array,
    every,
    flag,
    function,
    index_array,
    instance,
    number,
    one_of,
    real,
    real_array,
    shaped_array,
    typed_array,
    whole,
)
from gru_native.arguments import array as any_array
from gru_native.passes import LARGE, PIECE, allocated, repeatable
from gru_native.random import Seed, key

# An array, or of the LSTM a pair of them.
State: TypeAlias = Any

# ---- Recurrent layers -----------------------------------------------------------------------------------------------
#
# A state is h (B, H), and of the LSTM a pair (h, c) of them.


@dataclass(frozen=True, eq=False)
class RecurrentTape:
    """What `recurrent_backward` needs of a `recurrent_forward`. It serves once, because backward overwrites it."""

    core: RecurrentLayerTape
    inputs: dict[str, Array | None]  # and output, which backward reads again
    shape: tuple[int, int]  # (T, B), or (B, T)
    batch_first: bool

    @property
    def nbytes(self) -> int:
        """Bytes of what the tape keeps beside the arguments and the output."""
        return self.core.nbytes


def pack_gru(
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    *,
    gamma_ih: ArrayLike | None = None,
    gamma_hh: ArrayLike | None = None,
    reset_after: bool = True,
    activations: Sequence[ActivationLike] | None = None,
    clip: float | None = None,
) -> RecurrentWeights:
    """Take the weights of one GRU layer, in one direction, as the kernels will read them.

    A matrix that nobody can write to is referred to, any other copied. What the kernels read, for the forward pass and
    for the backward pass, is a copy in an order of their own, made when it is first needed.

    Parameters
    ----------
    weight_ih, weight_hh
        (3H, I) and (3H, H), gates stacked r, z, n; float32 or float64, all of one dtype.
    bias_ih, bias_hh
        (3H), or ``None`` for zeros.
    gamma_ih, gamma_hh
        (3H), the gains of layer normalization (Ba et al. 2016), or ``None`` for a layer without it. ``W x`` and
        ``U h``, rows of 3H each, have their mean taken from them and are divided by the root of their variance plus
        1e-5, over all gates, and multiplied by the gains; then the biases are added. For reset after.
    reset_after
        ``n = tanh(W_n x + b_in + r * (U_n h + b_hn))`` (PyTorch, cuDNN), or with ``False``
        ``n = tanh(W_n x + b_in + U_n (r * h) + b_hn)`` (Cho et al. 2014).
    activations
        That of the gates and that of the candidate n, each a name or a tuple of a name and numbers (see
        `gru_native.activations`); ``None`` for sigmoid and tanh. Not with layer normalization.
    clip
        What an activation is given is brought to within this of zero first (ONNX); no gradient flows from beyond it.
        ``None`` for no bounds. Not with layer normalization.

    Returns
    -------
    RecurrentWeights
        Immutable, with the attributes ``cell``, ``gates``, ``input_size``, ``hidden_size``, ``output_size`` (of h: P
        with a projection, else H), ``dtype``, ``parameters``
        (their names) and ``isa``, the instruction set that they are packed for.

    Raises
    ------
    ValueError, TypeError
        For a wrong shape or dtype; ``ValueError`` also for a wrong ``GRU_NATIVE_ISA``.
    MemoryError
        When the packed weights do not fit into memory.
    """
    if (gamma_ih is None) != (gamma_hh is None):
        raise ValueError(f"gamma_{'ih' if gamma_ih is None else 'hh'}: expected both gains or none, got None")
    cell = gru_cell(reset_after, gamma_ih is not None)
    own = {"gamma_ih": gamma_ih, "gamma_hh": gamma_hh}
    return _pack(cell, 3, weight_ih, weight_hh, bias_ih, bias_hh, own, cell_choices(cell, activations, clip))


def gru_cell(reset_after: bool, layer_norm: bool) -> str:
    """Return the name of a GRU's cell in the core."""
    reset_after = flag("reset_after", reset_after)
    if not flag("layer_norm", layer_norm):
        return "gru_reset_after" if reset_after else "gru_reset_before"
    if not reset_after:
        raise ValueError(
            "reset_after: expected True with layer normalization, because reset before knows the part of n "
            "only after the gates, got False"
        )
    return "gru_layer_norm"


def pack_lstm(
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    *,
    activations: Sequence[ActivationLike] | None = None,
    clip: float | None = None,
    peephole: ArrayLike | None = None,
    input_forget: bool = False,
    weight_hr: ArrayLike | None = None,
) -> RecurrentWeights:
    """Do for an LSTM layer what `pack_gru` does: (4H, I), (4H, H) and (4H), gates stacked i, f, g, o as in PyTorch.

    ``c' = f * c + i * g``, ``h' = o * tanh(c')`` (Hochreiter and Schmidhuber 1997; Gers et al. 2000).

    Parameters
    ----------
    activations
        That of the gates i, f and o, that of g and the one that c' goes through, as of `pack_gru`; ``None`` for
        sigmoid, tanh and tanh.
    clip
        As of `pack_gru`, also for what c' goes through; c' itself is not bounded.
    peephole
        (3, H), or ``None``: what is added to the sums of the gates i and f times c, and of o times c' (Gers and
        Schmidhuber 2000).
    input_forget
        Whether f is ``1 - i``; the rows of f in the weights have no effect then (ONNX).
    weight_hr
        (P, H) with P at most H, or ``None``: ``h' = weight_hr (o * tanh(c'))`` of size P, which `weight_hh` (4H, P)
        reads (Sak et al. 2014; PyTorch's ``proj_size``). Outputs, h and dropout masks of `recurrent` have P in place of
        H then, and c has H.
    """
    own = {"peephole": peephole, "weight_hr": weight_hr}
    choices = cell_choices("lstm", activations, clip, input_forget)
    return _pack("lstm", 4, weight_ih, weight_hh, bias_ih, bias_hh, own, choices)


def pack_rnn(
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None = None,
    bias_hh: ArrayLike | None = None,
    *,
    nonlinearity: ActivationLike = "tanh",
    clip: float | None = None,
) -> RecurrentWeights:
    """Do for a plain recurrent layer (Elman 1990) what `pack_gru` does: (H, I), (H, H) and (H).

    ``h' = tanh(W x + b_ih + U h + b_hh)``, or with ``nonlinearity="relu"`` ``max(0, ...)`` of the same, or any other of
    `gru_native.activations`; `clip` is as of `pack_gru`.
    """
    cell, own = rnn_cell(nonlinearity), activation("nonlinearity", nonlinearity)
    return _pack(cell, 1, weight_ih, weight_hh, bias_ih, bias_hh, {}, cell_choices(cell, (own,), clip))


def rnn_cell(nonlinearity: ActivationLike) -> str:
    """Return the name of a plain network's cell in the core: tanh's also serves the other activations."""
    return "rnn_relu" if activation("nonlinearity", nonlinearity).name == "relu" else "rnn_tanh"


_GATED = Activation("sigmoid"), Activation("tanh")

#: The activations of each cell of the core where none are chosen.
USUAL: dict[str, tuple[Activation, ...]] = {
    "gru_reset_after": _GATED,
    "gru_reset_before": _GATED,
    "gru_layer_norm": _GATED,
    "lstm": (*_GATED, Activation("tanh")),
    "rnn_tanh": (Activation("tanh"),),
    "rnn_relu": (Activation("relu"),),
}


def cell_choices(
    cell: str,
    activations: Sequence[ActivationLike] | None = None,
    clip: float | None = None,
    input_forget: bool = False,
) -> tuple[Any, ...]:
    """Check them and return what `RecurrentWeights` takes of them: nothing when all is as usual."""
    usual = USUAL[one_of("cell", cell, tuple(USUAL))]
    chosen = usual if activations is None else tuple(every("activations", activations, activation))
    if len(chosen) != len(usual):
        raise ValueError(f"activations: expected {len(usual)} for the cell {cell}, got {len(chosen)}")
    clip = None if clip is None else clip_bound(clip)
    if not flag("input_forget", input_forget) and chosen == usual and clip is None:
        return ()
    if cell == "gru_layer_norm":
        if clip is not None:
            raise ValueError(f"clip: expected None with layer normalization, got {clip}")
        names = ", ".join(each.name for each in chosen)
        raise ValueError(f"activation: expected sigmoid and tanh with layer normalization, got {names}")
    return chosen, 0.0 if clip is None else clip, bool(input_forget)


def clip_bound(clip: float) -> float:
    """Check what bounds the numbers that activations are given."""
    found = number("clip", clip, least=-math.inf)
    if not 0 < found < math.inf:
        raise ValueError(f"clip: expected a finite number above 0, or None for no bounds, got {found}")
    return found


def _pack(
    cell: str,
    gates: int,
    weight_ih: ArrayLike,
    weight_hh: ArrayLike,
    bias_ih: ArrayLike | None,
    bias_hh: ArrayLike | None,
    own: dict[str, ArrayLike | None],
    choices: tuple[Any, ...],
) -> RecurrentWeights:
    """Check the weights, of which `own` are those that not every cell has."""
    weight_ih = any_float_array("weight_ih", weight_ih)
    dtype = weight_ih.dtype
    weight_hh = typed_array("weight_hh", weight_hh, dtype)
    many, projected = f"{gates}H" if gates > 1 else "H", own.get("weight_hr") is not None
    rows, columns = weight_hh.shape if weight_hh.ndim == 2 else (-1, 0)
    hidden = rows // gates
    if rows != gates * hidden or rows < 0 or (columns != hidden and not projected):
        raise ValueError(f"weight_hh: expected shape ({many}, {'P' if projected else 'H'}), got {weight_hh.shape}")
    if projected and not 1 <= columns <= hidden:
        raise ValueError(f"weight_hr: expected shape (P, H) with P from 1 to H = {hidden}, got P = {columns}")
    if weight_ih.ndim != 2 or weight_ih.shape[0] != rows:
        raise ValueError(f"weight_ih: expected shape ({many}, I) with {many} = {rows}, got {weight_ih.shape}")
    arrays = {
        "weight_ih": _constant(weight_ih),
        "weight_hh": _constant(weight_hh),
        "bias_ih": _vector("bias_ih", bias_ih, rows, dtype),
        "bias_hh": _vector("bias_hh", bias_hh, rows, dtype),
    }
    matrices = {"peephole": (3, hidden), "weight_hr": (columns, hidden)}
    for name, array in own.items():
        if array is not None and name in matrices:
            arrays[name] = _constant(shaped_array(name, array, matrices[name], dtype))
        else:
            arrays[name] = _vector(name, array, rows, dtype)
    return RecurrentWeights(cell, tuple(map(arrays.get, PARAMETERS)), *choices)


def recurrent(
    x: ArrayLike,
    weights: RecurrentWeights,
    state: State | None = None,
    *,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    dropout_mask: ArrayLike | None = None,
    zoneout: float = 0.0,
    reverse: bool = False,
    batch_first: bool = False,
    output: Array | None = None,
    final: State | None = None,
    threads: int | None = None,
) -> tuple[Array, Any]:
    """Run one recurrent layer in one direction over a batch of sequences.

    A sequence may be fed in pieces, down to single steps: with the last state of a call as the first of the next, the
    results are the bits of one call over the whole sequence. A row's results do not depend on the other rows either.

    Parameters
    ----------
    x
        (T, B, I), or (B, T, I) with `batch_first`; the weights' dtype.
    weights
        What a pack function returned.
    state
        The first state: h_0 (B, H), of the LSTM a pair (h_0, c_0); ``None`` for zeros.
    lengths
        (B), the steps of each row, whole numbers from 0 to T in any order; ``None`` when all are T. What is behind
        them is padding: x is not read there, and output is zero.
    reset
        (T, B), or (B, T) with `batch_first`, of bool: where a new episode begins. No state passes between that step
        and the one before it, in either direction: it becomes zero, and no gradient flows. It does not end a row: with
        `reverse` a row still runs on to step 0, so of a row that is padded on the left, with a reset behind the
        padding, `final` is a state of that padding. Padding belongs on the right, with `lengths`.
    dropout_mask
        (B, H), what h is multiplied by where the hidden weights read it, the same in every step (not where it is
        carried on: ``z * h`` of a GRU). With zeros and ``1 / (1 - p)``, as `dropout` makes of ones, this is the
        variational dropout of Gal and Ghahramani (2016), Keras' ``recurrent_dropout``.
    zoneout
        A share of h that stays what it was: h' of a step becomes ``p * h + (1 - p) * h'`` (Krueger et al. 2017, what
        they use at inference). For cells of one state.
    reverse
        Whether to run from each row's last step to its first.
    output, final
        Arrays to write the results to: of x's layout with H in place of I, and as `state`, whose own arrays `final`
        may be.

    Returns
    -------
    output
        h after each step.
    final
        The state after the last step that is run of each row, in the form of `state`; the first one where there is
        no step.
    """
    call = _Call(x, weights, state, lengths, reset, dropout_mask, zoneout, None, reverse, batch_first, output, final)
    made = call.layer(
        call.x, call.state, call.lengths, call.reset, thread_count(threads), call.dropout_mask, call.output, call.final
    )
    return call.results(*made)


def recurrent_forward(
    x: ArrayLike,
    weights: RecurrentWeights,
    state: State | None = None,
    *,
    lengths: ArrayLike | None = None,
    reset: ArrayLike | None = None,
    dropout_mask: ArrayLike | None = None,
    zoneout: float = 0.0,
    zoneout_seed: Seed | None = None,
    reverse: bool = False,
    batch_first: bool = False,
    output: Array | None = None,
    final: State | None = None,
    tape: str = "gates",
    threads: int | None = None,
) -> tuple[tuple[Array, Any], RecurrentTape]:
    """Run `recurrent`, with the same arguments and results, and keep a tape for `recurrent_backward`.

    With a `zoneout_seed`, each unit keeps its h of the step before with probability `zoneout`, else it takes the new
    one; which ones is a function of the seed, and of step, row and unit.

    With ``tape="gates"`` the tape holds all gates, with ``"states"`` none (of the LSTM c): backward then computes
    them again, a few steps at a time. That takes a third more of arithmetic, and memory that does not grow with T, but
    for the arguments and the output. Gradients of x and of the first state have the same bits; those of the weights are
    the same sums in another order, so they differ by rounding, by the same bits for any number of threads.

    The output that this function allocates is read-only, because the tape refers to it; an `output` that the caller
    gives must stay as it is until backward has run. `x` is copied unless nobody can write to it, the others always.
    """
    zoned = zoneout, zoneout_seed
    call = _Call(x, weights, state, lengths, reset, dropout_mask, *zoned, reverse, batch_first, output, final)
    keep, count = checked_tape(tape), thread_count(threads)
    made, last, core = call.layer.forward(
        call.x, call.state, call.lengths, call.reset, call.dropout_mask, call.keys, keep, count, call.output, call.final
    )
    inputs = {"x": call.x, "output": made, "h_0": call.parts[0]}
    return call.results(made, last), RecurrentTape(core, inputs, call.x.shape[:2], call.batch_first)


def recurrent_backward(
    tape: RecurrentTape,
    d_output: ArrayLike | None = None,
    d_final: State | None = None,
    *,
    d_x: Array | None = None,
    accumulate_d_x: bool = False,
    threads: int | None = None,
) -> tuple[tuple[Array, Any], dict[str, Array]]:
    """Return the gradients of a `recurrent_forward`, by back-propagation through time.

    Parameters
    ----------
    tape
        From `recurrent_forward`; it can be used once.
    d_output, d_final
        Gradients of the loss with respect to the two results, ``None`` for zeros (also in a pair). That of padding is
        not read.
    d_x
        An array to write the gradient of x to, in x's layout; zeros in padding.
    accumulate_d_x
        Whether to add to what `d_x` holds.

    Returns
    -------
    d_x, d_state
        Gradients of the inputs; that of the first state also when it was ``None``.
    gradients
        Those of the weights' ``parameters``: ``weight_ih`` (G H, I), ``weight_hh`` (G H, H), and ``bias_ih``,
        ``bias_hh``, ``gamma_ih``, ``gamma_hh`` (G H), with the number G of the cell's gates, ``peephole`` (3, H),
        and ``weight_hr`` (P, H), with which ``weight_hh`` is (G H, P).

    Raises
    ------
    RuntimeError
        When the tape was used before.
    """
    instance("tape", tape, RecurrentTape, "what recurrent_forward returned")
    accumulate_d_x = flag("accumulate_d_x", accumulate_d_x)
    weights, batch = tape.core.weights[0], tape.shape[0 if tape.batch_first else 1]
    dtype, axes = weights.dtype, "(B, T, H)" if tape.batch_first else "(T, B, H)"
    d_output = _optional("d_output", d_output, (*tape.shape, weights.output_size), dtype, axes)
    parts = _state("d_final", d_final, weights, batch)
    given_d_x = d_x
    if d_x is not None:
        d_x = _writable("d_x", d_x, (*tape.shape, weights.input_size), dtype)
        for name, other in (*tape.inputs.items(), ("d_output", d_output), *(("d_final", part) for part in parts)):
            _refuse_overlap("d_x", d_x, **{name: other})
    elif accumulate_d_x:
        raise ValueError("d_x: expected an array to accumulate into, got None")
    found, d_state, gradients = tape.core.backward(
        d_output, _as_layers_take(parts, weights), weights.parameters, thread_count(threads), d_x, accumulate_d_x
    )
    return (found if given_d_x is None else given_d_x, _as_given(d_state)), gradients


class _Call:
    """The checked arguments of a forward call, and its results' arrays."""

    def __init__(
        self,
        x: ArrayLike,
        weights: RecurrentWeights,
        state: State | None,
        lengths: ArrayLike | None,
        reset: ArrayLike | None,
        dropout_mask: ArrayLike | None,
        zoneout: float,
        zoneout_seed: Seed | None,
        reverse: bool,
        batch_first: bool,
        output: Array | None,
        final: State | None,
    ) -> None:
        if not isinstance(weights, RecurrentWeights):
            raise TypeError(f"weights: expected what a pack function returned, got {type(weights).__name__}")
        self.batch_first = batch_first = flag("batch_first", batch_first)
        dtype, size = weights.dtype, weights.output_size
        x = typed_array("x", x, dtype)
        axes = "(B, T, I)" if batch_first else "(T, B, I)"
        if x.ndim != 3:
            raise ValueError(f"x: expected 3 dimensions {axes}, got {x.ndim} with shape {x.shape}")
        if x.shape[2] != weights.input_size:
            raise ValueError(f"x: expected {axes} with I = {weights.input_size}, got shape {x.shape}")
        self.x = _with_contiguous_last_axis(x)
        batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
        self.parts = _state("state", state, weights, batch)
        self.state = _as_layers_take(self.parts, weights)
        self.lengths = sequence_lengths(lengths, steps, batch)
        self.reset = reset_flags(reset, steps, batch, batch_first)
        self.dropout_mask = _optional("dropout_mask", dropout_mask, (batch, size), dtype, "(B, H)")
        p, self.keys = _zoneout(zoneout, zoneout_seed, weights)
        self.layer = RecurrentLayer((weights,), batch_first, p, flag("reverse", reverse))
        self.given, self.output, self.final = (output, final), None, None
        if output is not None:
            self.output = _writable("output", output, (*x.shape[:2], size), dtype)
            self._refuse_overlap_with_inputs("output", output)
            for part in self.parts:
                _refuse_overlap("output", output, state=part)
        if final is not None:
            self.final = _as_layers_take(self._checked_final(final, weights, batch), weights)
        if self.dropout_mask is not None:
            self.dropout_mask = self.dropout_mask[None]

    def results(self, output: Array, final: Any) -> tuple[Array, Any]:
        """Return results in the caller's own arrays, if they were given."""
        given_output, given_final = self.given
        return (
            output if given_output is None else given_output,
            _as_given(final) if given_final is None else given_final,
        )

    def _refuse_overlap_with_inputs(self, name: str, array: Array) -> None:
        _refuse_overlap(name, array, x=self.x, dropout_mask=self.dropout_mask)

    def _checked_final(self, final: State, weights: RecurrentWeights, batch: int) -> tuple[Array, Array | None]:
        parts: list[Array] = []
        for name, part, size in _parts("final", final, weights):
            array = _writable(name, part, (batch, size), weights.dtype)
            self._refuse_overlap_with_inputs(name, array)
            _refuse_overlap(name, array, output=self.output)
            for place, first in enumerate(self.parts):
                if first is not None and not (place == len(parts) and _same_place(array, first)):
                    _refuse_overlap(name, array, state=first)
            for other in parts:
                _refuse_overlap(name, array, final=other)
            parts.append(array)
        return parts[0], parts[1] if len(parts) > 1 else None


def _zoneout(p: float, seed: Seed | None, weights: RecurrentWeights) -> tuple[float, tuple[int] | None]:
    p = number("zoneout", p, most=1.0)
    if p > 0 and weights.states > 1:
        raise ValueError(f"zoneout: expected 0 for the cell {weights.cell}, which has two states, got {p}")
    return p, None if seed is None else (key(seed, "zoneout_seed"),)


def _parts(name: str, state: Any, weights: RecurrentWeights) -> list[tuple[str, Any, int]]:
    """Return a state's arrays, one or of the LSTM two, each behind its name and before the size that it should have."""
    if weights.states == 1:
        return [(name, state, weights.output_size)]
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        got = f"{len(state)} of them" if isinstance(state, (tuple, list)) else type(state).__name__
        raise TypeError(f"{name}: expected a pair of arrays (h, c), got {got}")
    sizes = weights.output_size, weights.hidden_size
    return [(f"{name}[{place}]", part, size) for place, (part, size) in enumerate(zip(state, sizes, strict=True))]


def _state(name: str, state: Any, weights: RecurrentWeights, batch: int) -> tuple[Array | None, Array | None]:
    """Check a state that is read and return h and c, ``None`` for what is not given."""
    if state is None:
        return None, None
    named = _parts(name, state, weights)
    h, *c = (_optional(own, part, (batch, size), weights.dtype, "(B, H)") for own, part, size in named)
    return h, c[0] if c else None


def _as_layers_take(parts: tuple[Array | None, Array | None], weights: RecurrentWeights) -> Any:
    """Return h, or h and c, with an axis of directions in front; ``None`` when there is neither."""
    h, c = (None if part is None else part[None] for part in parts)
    return h if weights.states == 1 or (h is None and c is None) else (h, c)


def _as_given(state: Any) -> Any:
    """Return a state without the axis of directions."""
    return tuple(part[0] for part in state) if isinstance(state, tuple) else state[0]


# ---- Linear ---------------------------------------------------------------------------------------------------------


def pack_linear(weight: ArrayLike, bias: ArrayLike | None = None) -> LinearWeights:
    """Take the weights of ``y = x W^T + b`` as the kernels will read them; see `pack_gru`.

    Parameters
    ----------
    weight
        (O, I), float32 or float64.
    bias
        (O) of the same dtype, or ``None``.
    """
    weight = any_float_array("weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"weight: expected shape (O, I), got {weight.shape}")
    return _core.pack_linear(_constant(weight), _vector("bias", bias, weight.shape[0], weight.dtype))


def linear(x: ArrayLike, weights: LinearWeights, *, output: Array | None = None, threads: int | None = None) -> Array:
    """Return ``x W^T + b``.

    Parameters
    ----------
    x
        (..., I) of the weights' dtype.
    weights
        What `pack_linear` returned.
    output
        A C-contiguous array (..., O) to write to.
    """
    x = _linear_input("x", x, weights)
    shape = (*x.shape[:-1], weights.output_size)
    if output is None:
        output = empty(shape, weights.dtype)
    else:
        _writable("output", output, shape, weights.dtype)
        if not output.flags.c_contiguous:
            raise ValueError(f"output: expected a C-contiguous array, got strides {output.strides}")
        _refuse_overlap("output", output, x=x)
    rows = _row_count(x)
    flat = x if x.ndim == 2 else _reshaped(x, (rows, weights.input_size))
    _core.linear_forward(weights, flat, output.reshape(rows, weights.output_size), thread_count(threads))
    return output


def linear_backward(
    x: ArrayLike, weights: LinearWeights, d_output: ArrayLike, *, threads: int | None = None
) -> tuple[Array, dict[str, Array]]:
    """Return the gradients of `linear`: that of x (..., I), and ``weight`` (O, I) and ``bias`` (O), if any."""
    x = _linear_input("x", x, weights)
    dtype, rows = weights.dtype, _row_count(x)
    d_y = shaped_array("d_output", d_output, (*x.shape[:-1], weights.output_size), dtype, "(..., O)")
    d_x = empty(x.shape, dtype)
    gradients = {"weight": empty((weights.output_size, weights.input_size), dtype)}
    if weights.has_bias:
        gradients["bias"] = empty(weights.output_size, dtype)
    _core.linear_backward(
        weights,
        _contiguous(x).reshape(rows, weights.input_size),
        _contiguous(d_y).reshape(rows, weights.output_size),
        d_x.reshape(rows, weights.input_size),
        gradients["weight"],
        gradients.get("bias"),
        thread_count(threads),
    )
    return d_x, gradients


def _linear_input(name: str, x: ArrayLike, weights: LinearWeights) -> Array:
    if not isinstance(weights, LinearWeights):
        raise TypeError(f"weights: expected what pack_linear returned, got {type(weights).__name__}")
    x = typed_array(name, x, weights.dtype)
    if x.ndim == 0 or x.shape[-1] != weights.input_size:
        raise ValueError(f"{name}: expected shape (..., I) with I = {weights.input_size}, got {x.shape}")
    return _with_contiguous_last_axis(x)


def _row_count(x: Array) -> int:
    return int(np.prod(x.shape[:-1], dtype=object))


# ---- Convolutions over time -----------------------------------------------------------------------------------------

Padding: TypeAlias = int | Literal["same", "causal"]


@dataclass(frozen=True)
class Windows:
    """What a convolution over time sees of a row: output step t the steps ``t * stride + k * dilation - left``.

    Parameters
    ----------
    kernel_size
        K, the steps of a window: k runs from 0 to ``K - 1``.
    stride
        The steps from a window to the next one.
    padding
        The zeros before and behind each row: a number for either side; "causal", so many that an output step sees its
        own step and those before it; or "same", as many on both sides together, of which the right one has one more
        where their number is odd. These two give ``(T - 1) // stride + 1`` output steps.
    dilation
        The steps from a step of a window to the next one.
    """

    kernel_size: int
    stride: int = 1
    padding: Padding = 0
    dilation: int = 1

    def __post_init__(self) -> None:
        for name in ("kernel_size", "stride", "dilation"):
            object.__setattr__(self, name, whole(name, getattr(self, name), most=_MOST_STEPS))
        if isinstance(self.padding, str):
            one_of("padding", self.padding, ("same", "causal"))
        else:
            object.__setattr__(self, "padding", whole("padding", self.padding, 0, _MOST_STEPS))
        if self._reach > _MOST_STEPS:
            raise ValueError(f"dilation: expected windows of up to {_MOST_STEPS} steps, got {self._reach}")

    def outputs(self, lengths: ArrayLike) -> Array:
        """Return the output steps of rows with so many steps, int64 of any shape; a row without a step has none."""
        found = index_array("lengths", lengths, LARGEST)
        given = found + (sum(self.sides) - self._reach)
        return np.where((found > 0) & (given > 0), (given - 1) // self.stride + 1, 0)

    @property
    def _reach(self) -> int:
        return (self.kernel_size - 1) * self.dilation

    @property
    def sides(self) -> tuple[int, int]:
        """The zeros before and behind each row."""
        if isinstance(self.padding, int):
            return self.padding, self.padding
        left = self._reach if self.padding == "causal" else self._reach // 2
        return left, self._reach - left

    @property
    def _numbers(self) -> tuple[int, int, int, int, int]:
        return self.kernel_size, self.stride, self.dilation, *self.sides


_MOST_STEPS = 2**31 - 1


def pack_conv1d(weight: ArrayLike, bias: ArrayLike | None = None) -> LinearWeights:
    """Take the weights of a convolution as the kernels will read them: those of a linear layer over windows.

    Parameters
    ----------
    weight
        (O, C, K), as PyTorch's; float32 or float64.
    bias
        (O) of the same dtype, or ``None``.
    """
    weight = any_float_array("weight", weight)
    if weight.ndim != 3:
        raise ValueError(f"weight: expected shape (O, C, K), got {weight.shape}")
    laid = _copied(weight.transpose(0, 2, 1)).reshape(len(weight), -1 if weight.size else 0)
    return pack_linear(laid, bias)


def conv1d(
    x: ArrayLike,
    weights: LinearWeights,
    windows: Windows,
    *,
    lengths: ArrayLike | None = None,
    batch_first: bool = False,
    threads: int | None = None,
) -> Array:
    """Return the convolution of sequences over time: ``y_t = b + sum over k of W_k x_(t stride + k dilation - left)``.

    Parameters
    ----------
    x
        (T, B, C), or (B, T, C) with `batch_first`, of the weights' dtype.
    weights
        What `pack_conv1d` returned.
    windows
        What an output step sees; of the weights' ``kernel_size``.
    lengths
        (B), the steps of each row, ``None`` when all are T; what is behind them is not read, and counts as zeros.

    Returns
    -------
    array
        (T', B, O), or (B, T', O), with ``windows.outputs(T)`` steps; zeros behind ``windows.outputs(lengths)``.
    """
    x, steps, batch, lengths = _convolved(x, weights, windows, lengths, batch_first)
    y = empty(_sequences(int(windows.outputs(steps)), batch, weights.output_size, batch_first), weights.dtype)
    _core.convolution_forward(weights, x, windows._numbers, lengths, batch_first, y, thread_count(threads))
    return y


def conv1d_backward(
    x: ArrayLike,
    weights: LinearWeights,
    windows: Windows,
    d_output: ArrayLike,
    *,
    lengths: ArrayLike | None = None,
    batch_first: bool = False,
    threads: int | None = None,
) -> tuple[Array, dict[str, Array]]:
    """Return the gradients of `conv1d`: that of x, zeros in padding, and ``weight`` (O, C, K) and ``bias``, if any."""
    x, steps, batch, lengths = _convolved(x, weights, windows, lengths, batch_first)
    dtype, outputs = weights.dtype, weights.output_size
    shape = _sequences(int(windows.outputs(steps)), batch, outputs, batch_first)
    d_y = _with_contiguous_last_axis(shaped_array("d_output", d_output, shape, dtype))
    d_x, d_laid = empty(x.shape, dtype), empty((outputs, weights.input_size), dtype)
    d_bias = empty(outputs, dtype) if weights.has_bias else None
    _core.convolution_backward(
        weights, x, windows._numbers, lengths, batch_first, d_y, d_x, d_laid, d_bias, thread_count(threads)
    )
    laid = d_laid.reshape(outputs, windows.kernel_size, -1 if weights.input_size else 0)
    gradients = {"weight": _copied(laid.transpose(0, 2, 1))}
    return d_x, gradients if d_bias is None else gradients | {"bias": d_bias}


def _convolved(
    x: ArrayLike, weights: LinearWeights, windows: Windows, lengths: ArrayLike | None, batch_first: bool
) -> tuple[Array, int, int, Array | None]:
    """Return x as the core takes it, its steps and rows, and the lengths."""
    instance("weights", weights, LinearWeights, "what pack_conv1d returned")
    instance("windows", windows, Windows, "Windows")
    x, axes = typed_array("x", x, weights.dtype), "(B, T, C)" if flag("batch_first", batch_first) else "(T, B, C)"
    if weights.input_size % windows.kernel_size:
        size = weights.input_size
        raise ValueError(f"windows: expected a kernel_size of which {size} is a multiple, got {windows.kernel_size}")
    channels = weights.input_size // windows.kernel_size
    if x.ndim != 3 or x.shape[2] != channels:
        raise ValueError(f"x: expected shape {axes} with C = {channels}, got {x.shape}")
    batch, steps = x.shape[:2] if batch_first else x.shape[1::-1]
    if steps > _MOST_STEPS:
        raise ValueError(f"x: expected up to {_MOST_STEPS} steps, got {steps}")
    return _with_contiguous_last_axis(x), steps, batch, sequence_lengths(lengths, steps, batch)


def _sequences(steps: int, batch: int, size: int, batch_first: bool) -> tuple[int, int, int]:
    return (batch, steps, size) if batch_first else (steps, batch, size)


# ---- Attention ------------------------------------------------------------------------------------------------------


def attention(
    queries: ArrayLike,
    keys: ArrayLike,
    values: ArrayLike,
    score: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    heads: int = 1,
    threads: int | None = None,
) -> tuple[Array, Array]:
    """Return for each query the mean of a row's values, weighted by how its keys score, and the weights.

    The weights are the softmax over the steps of a row of ``score · tanh(key + query)`` (Bahdanau et al. 2015,
    arXiv:1409.0473) or, without `score`, of ``key · query`` (Luong et al. 2015, arXiv:1508.04025). Features are cut
    into as many parts as there are heads, each of which has weights of its own.

    Parameters
    ----------
    queries
        (T, B, A), float32 or float64.
    keys, values
        (B, S, A) and (B, S, M) of the same dtype: what is attended to, the batch first.
    score
        (A), or ``None``.
    lengths
        (B), the steps of each row, ``None`` when all are S; what is behind them is not read.
    heads
        A divisor of A and M.

    Returns
    -------
    context : (T, B, M)
        Zeros for a row without steps.
    weights : (T, B, heads, S)
        Zeros behind the lengths.
    """
    arrays, lengths, heads = _attended(queries, keys, values, score, lengths, heads)
    (steps, batch, _), (_, source, size) = arrays[0].shape, arrays[2].shape
    weights = empty((steps, batch, heads, source), arrays[0].dtype)
    context = empty((steps, batch, size), arrays[0].dtype)
    _core.attention_forward(*arrays[1:], lengths, heads, arrays[0], weights, context, thread_count(threads))
    return context, weights


def attention_backward(
    queries: ArrayLike,
    keys: ArrayLike,
    values: ArrayLike,
    weights: ArrayLike,
    d_context: ArrayLike,
    score: ArrayLike | None = None,
    *,
    lengths: ArrayLike | None = None,
    heads: int = 1,
    threads: int | None = None,
) -> tuple[Array, Array, Array, Array | None]:
    """Return the gradients of `attention`: of queries, keys, values and score, from that of the context.

    `weights` are what `attention` returned; no gradient flows through them alone.
    """
    arrays, lengths, heads = _attended(queries, keys, values, score, lengths, heads)
    (steps, batch, _), (_, source, size), dtype = arrays[0].shape, arrays[2].shape, arrays[0].dtype
    own = _contiguous(shaped_array("weights", weights, (steps, batch, heads, source), dtype, "(T, B, heads, S)"))
    d = _contiguous(shaped_array("d_context", d_context, (steps, batch, size), dtype, "(T, B, M)"))
    d_queries, d_keys, d_values = (empty(array.shape, dtype) for array in arrays[:3])
    d_score = None if arrays[3] is None else empty(arrays[3].shape, dtype)
    count = thread_count(threads)
    _core.attention_backward(
        *arrays[1:], lengths, heads, arrays[0], own, d, d_queries, d_keys, d_values, d_score, count
    )
    return d_queries, d_keys, d_values, d_score


def _attended(
    queries: ArrayLike,
    keys: ArrayLike,
    values: ArrayLike,
    score: ArrayLike | None,
    lengths: ArrayLike | None,
    heads: int,
) -> tuple[tuple[Any, Any, Any, Any], Array | None, int]:
    """Return queries, keys, values and score as the core takes them, the lengths and the heads."""
    queries = any_float_array("queries", queries)
    keys, values = (typed_array(n, own, queries.dtype) for n, own in (("keys", keys), ("values", values)))
    if queries.ndim != 3:
        raise ValueError(f"queries: expected shape (T, B, A), got {queries.shape}")
    _, batch, size = queries.shape
    if keys.ndim != 3 or keys.shape[::2] != (batch, size):
        raise ValueError(f"keys: expected shape (B, S, A) with B = {batch}, A = {size}, got {keys.shape}")
    if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
        raise ValueError(f"values: expected shape (B, S, M) with B, S = {keys.shape[:2]}, got {values.shape}")
    heads = whole("heads", heads)
    if size % heads or values.shape[2] % heads:
        raise ValueError(f"heads: expected a divisor of A = {size} and M = {values.shape[2]}, got {heads}")
    own_score = None if score is None else _contiguous(shaped_array("score", score, (size,), queries.dtype, "(A,)"))
    arrays = (_contiguous(queries), _contiguous(keys), _contiguous(values), own_score)
    return arrays, sequence_lengths(lengths, keys.shape[1], batch), heads


# ---- Embedding ------------------------------------------------------------------------------------------------------


@repeatable
def embedding(indices: ArrayLike, weight: ArrayLike, *, output: Array | None = None) -> Array:
    """Return the rows of `weight` (V, E) at `indices` (...), any integer dtype: an array (..., E)."""
    weight = any_float_array("weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"weight: expected shape (V, E), got {weight.shape}")
    indices, dtype = index_array("indices", indices, weight.shape[0]), weight.dtype
    shape = (*indices.shape, weight.shape[1])
    if output is None:
        output = empty(shape, dtype)
    else:
        _writable("output", output, shape, dtype)
        _refuse_overlap("output", output, weight=weight)
    if output.size:  # NumPy takes nothing from no rows
        _take(weight, indices, output)
    return output


def _take(weight: Array, indices: Array, output: Array) -> None:
    """Write the rows of `weight` at checked indices, many of them in pieces, so that Python sees signals."""
    parts: list[Any] = [...]
    if output.size > LARGE and indices.ndim:
        if output.flags.c_contiguous:
            indices, output = indices.reshape(-1), output.reshape(-1, weight.shape[1])
        step = max(1, PIECE * len(indices) // output.size)
        parts = [slice(start, start + step) for start in range(0, len(indices), step)]
    for part in parts:
        # The indices are checked; "clip" only spares NumPy a second check and a buffer.
        np.take(weight, indices[part], axis=0, out=output[part], mode="clip")


@repeatable
def embedding_backward(
    indices: ArrayLike,
    d_output: ArrayLike,
    num_embeddings: int,
    *,
    padding_idx: int | None = None,
    threads: int | None = None,
) -> Array:
    """Return the gradient (V, E) of `embedding`'s weight; row `padding_idx` stays zero.

    Rows that occur several times are summed in the order of `indices`, whatever the number of threads.
    """
    num_embeddings = whole("num_embeddings", num_embeddings, 0)
    if padding_idx is not None:
        padding_idx = whole("padding_idx", padding_idx, 0, num_embeddings - 1)
    indices = index_array("indices", indices, num_embeddings)
    d_output = any_float_array("d_output", d_output)
    if d_output.ndim != indices.ndim + 1 or d_output.shape[:-1] != indices.shape:
        raise ValueError(f"d_output: expected shape {(*indices.shape, 'E')}, got {d_output.shape}")
    size = d_output.shape[-1]
    d_weight = allocated(empty, "num_embeddings", (num_embeddings, size), d_output.dtype)
    _core.embedding_backward(
        _contiguous(indices.reshape(-1)),
        _with_contiguous_last_axis(d_output).reshape(indices.size, size),
        d_weight,
        -1 if padding_idx is None else padding_idx,
        thread_count(threads),
    )
    return d_weight


# ---- Elementwise ----------------------------------------------------------------------------------------------------


@repeatable
def softmax_cross_entropy(
    logits: ArrayLike,
    targets: ArrayLike,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    gradient: bool = False,
    threads: int | None = None,
) -> tuple[Array, Array | None]:
    """Return the cross-entropy of each row, and on request the gradient of its sum.

    Parameters
    ----------
    logits
        (N, C), float32 or float64.
    targets
        (N), any integer dtype, each in 0 to C - 1 or equal to `ignore_index`.
    ignore_index
        Rows with this target give zeros.
    label_smoothing
        The share of the target distribution that is spread over all classes (Szegedy et al. 2016).

    Returns
    -------
    losses
        (N), float64.
    d_logits
        (N, C) in logits' dtype: softmax minus the smoothed target; ``None`` unless `gradient`.
    """
    logits = any_float_array("logits", logits)
    if logits.ndim != 2:
        raise ValueError(f"logits: expected shape (N, C), got {logits.shape}")
    rows, classes = logits.shape
    ignore_index = whole("ignore_index", ignore_index, -LARGEST - 1)
    label_smoothing = number("label_smoothing", label_smoothing, most=1.0)
    targets = index_array("targets", targets, classes, exempt=ignore_index)
    if targets.shape != (rows,):
        raise ValueError(f"targets: expected shape ({rows},), got {targets.shape}")
    losses = np.empty(rows, np.float64)
    d_logits = empty(logits.shape, logits.dtype) if flag("gradient", gradient) else None
    _core.softmax_cross_entropy(
        _contiguous(logits),
        _contiguous(targets),
        ignore_index,
        label_smoothing,
        losses,
        d_logits,
        thread_count(threads),
    )
    return losses, d_logits


def dropout(x: ArrayLike, p: float, *, seed: Seed, threads: int | None = None) -> Array:
    """Return `x` (any shape), of which each element is zero with probability `p`, and the others times ``1 / (1 - p)``.

    Which ones (Srivastava et al. 2014) is a function of `seed`, `p` and the element's place in the array alone: they
    are drawn by Philox4x32-10 (Salmon et al. 2011), element i of the flat array by word i / 16 % 4 of block
    i / 64 * 16 + i % 16, and the key is `gru_native.random.key` of the seed. An element is zero when its number is
    below p * 2**32.
    """
    x, p = any_float_array("x", x), number("p", p, most=1.0)
    y = empty(x.shape, x.dtype)
    _core.dropout(_contiguous(x).reshape(-1), y.reshape(-1), key(seed), p, thread_count(threads))
    return y


def sigmoid(x: ArrayLike) -> Array:
    """Return ``1 / (1 + exp(-x))`` of an array of any shape, as the kernels compute it.

    The error is at most 2.1 units in the last place, 2.2 in float64; results below the smallest normal number are zero.
    """
    return _activation(x, _core.sigmoid)


def tanh(x: ArrayLike) -> Array:
    """Return ``tanh(x)`` of an array of any shape, as the kernels compute it.

    The error is at most 2.1 units in the last place, 2.2 in float64.
    """
    return _activation(x, _core.tanh)


@overload
def activate(x: ArrayLike, function: ActivationLike, *, slope: Literal[False] = False) -> Array: ...
@overload
def activate(x: ArrayLike, function: ActivationLike, *, slope: Literal[True]) -> tuple[Array, Array]: ...
def activate(x: ArrayLike, function: ActivationLike, *, slope: bool = False) -> Array | tuple[Array, Array]:
    """Return a function of each value of an array of any shape, and on request its slope there.

    Parameters
    ----------
    x
        float32 or float64.
    function
        A name, or a tuple of a name and numbers: see `gru_native.activations`.
    slope
        Whether to return the slope, too.

    Returns
    -------
    y, or y and the slope
        New arrays of x's shape and dtype.
    """
    x, chosen = any_float_array("x", x), activation("function", function)
    y = empty(x.shape, x.dtype)
    slopes = empty(x.shape, x.dtype) if flag("slope", slope) else None
    flat = None if slopes is None else slopes.reshape(-1)
    code, given = FUNCTIONS.index(chosen.name) + 1, _contiguous(x).reshape(-1)
    _core.activate(code, chosen.alpha, chosen.beta, given, y.reshape(-1), flat)
    return y if slopes is None else (y, slopes)


def softmax(x: ArrayLike, *, threads: int | None = None) -> Array:
    """Return ``exp(x) / sum of exp(x)`` over the last axis of an array (..., C), float32 or float64.

    The largest number of a row is subtracted from all first, so that none overflows.
    """
    x = any_float_array("x", x)
    if x.ndim == 0:
        raise ValueError("x: expected shape (..., C), got a single number")
    y = empty(x.shape, x.dtype)
    rows = (-1, x.shape[-1]) if x.size else (0, 0)
    _core.softmax(_contiguous(x).reshape(rows), y.reshape(rows), thread_count(threads))
    return y


def _activation(x: ArrayLike, function: Any) -> Array:
    x = any_float_array("x", x)
    y = empty(x.shape, x.dtype)
    function(_contiguous(x).reshape(-1), y.reshape(-1))
    return y


# ---- Labels without a place in time ---------------------------------------------------------------------------------


@repeatable
def ctc(
    logits: ArrayLike,
    targets: ArrayLike,
    input_lengths: ArrayLike,
    target_lengths: ArrayLike,
    *,
    blank: int = 0,
    gradient: bool = False,
    threads: int | None = None,
) -> tuple[Array, Array | None]:
    """Return the loss of connectionist temporal classification of each sequence, and on request its gradient.

    It is -log of the probability, by ``softmax(logits)``, of all ways to write the targets, with repeats and blanks,
    in the steps of the logits (Graves et al., "Connectionist temporal classification", 2006).

    Parameters
    ----------
    logits
        (T, B, C), float32 or float64.
    targets
        (B, S), any integer dtype; those within the lengths are in 0 to C - 1, and not `blank`.
    input_lengths, target_lengths
        (B), any integer dtype: the steps and labels of each sequence.
    blank
        The class between labels.

    Returns
    -------
    losses
        (B), float64; infinite where there are too few steps.
    d_logits
        (T, B, C) in logits' dtype: zero behind the last step, NaN where the loss is not finite; ``None`` unless
        `gradient`.
    """
    logits = any_float_array("logits", logits)
    if logits.ndim != 3 or logits.shape[2] == 0:
        raise ValueError(f"logits: expected shape (T, B, C) with C of at least 1, got {logits.shape}")
    steps, batch, classes = logits.shape
    blank = whole("blank", blank, 0, classes - 1)
    labels = any_array("targets", targets)
    if labels.dtype.kind not in "iu" and labels.size:
        raise TypeError(f"targets: expected an integer dtype, got {labels.dtype}")
    if labels.ndim != 2 or len(labels) != batch:
        raise ValueError(f"targets: expected shape ({batch}, S), got {labels.shape}")
    lengths = _lengths("input_lengths", input_lengths, steps, batch)
    sizes = _lengths("target_lengths", target_lengths, labels.shape[1], batch)
    losses = np.empty(batch, np.float64)
    d_logits = empty(logits.shape, logits.dtype) if flag("gradient", gradient) else None
    _core.ctc(
        _contiguous(logits),
        _contiguous(labels.astype(np.int64)),
        lengths,
        sizes,
        blank,
        losses,
        d_logits,
        thread_count(threads),
    )
    return losses, d_logits


@repeatable
def ctc_greedy(
    logits: ArrayLike | Sequence[ArrayLike],
    input_lengths: ArrayLike | None = None,
    *,
    blank: int = 0,
    threads: int | None = None,
) -> tuple[list[Array], Array]:
    """Return the labels of each sequence by the best class of each step, without repeats and blanks.

    Parameters
    ----------
    logits
        (T, B, C), float32 or float64; or a list of B arrays (T_i, C), which `gru_native.nn.Module.predict` gives.
    input_lengths
        (B), any integer dtype: the steps of each sequence; ``None`` for all, and beside a list.
    blank
        The class between labels.

    Returns
    -------
    labels
        B arrays (S_i) of int64. Where classes of a step are alike, the lowest one counts.
    scores
        (B), float64: the logarithm of the probability of these classes. NaN, with no labels, where the probabilities of
        a step are none: a logit is NaN or +inf, or all are -inf.
    """
    return _decoded(*_steps_of(logits, input_lengths, blank), 0, None, 0.0, 0.0, threads)


@repeatable
def ctc_beam_search(
    logits: ArrayLike | Sequence[ArrayLike],
    input_lengths: ArrayLike | None = None,
    *,
    width: int = 16,
    blank: int = 0,
    scorer: Callable[[list[Array]], ArrayLike] | None = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    threads: int | None = None,
) -> tuple[list[Array], Array]:
    """Return the labels of each sequence by a search through prefixes, by the sum of all ways to write them.

    The search is that of Hannun et al., "First-pass large vocabulary continuous speech recognition using bi-directional
    recurrent DNNs" (2014). What it goes by is ``log P(labels | logits) + alpha log P(labels) + beta S``, with P(labels)
    by the scorer and S labels.

    Parameters
    ----------
    logits, input_lengths, blank
        As `ctc_greedy` takes them.
    width
        Prefixes that are kept at each step. With all of them the result is exact.
    scorer
        A function from n prefixes, arrays (S_i) of int64, to the logarithms of the probabilities of each class as the
        next label, (n, C); -inf for a label that is not to be, and whatever for `blank`. Such as a language model. It
        is called once a step, by the thread that calls this, with the new prefixes of all sequences.
    alpha
        How much the scorer counts, from 0 up.
    beta
        What each label adds: more than 0 for longer results.

    Returns
    -------
    labels
        B arrays (S_i) of int64.
    scores
        (B), float64: what the search goes by; without a scorer and `beta` the logarithm of the probability of the
        labels, as far as their ways stayed in the search. NaN as `ctc_greedy` has it, -inf where no labels can be.
    """
    given, lengths, blank = _steps_of(logits, input_lengths, blank)
    width = whole("width", width)
    alpha = number("alpha", alpha, below=math.inf)
    if not math.isfinite(beta := real("beta", beta)):
        raise ValueError(f"beta: expected a finite number, got {beta}")
    asked = None if scorer is None else partial(_scored, function("scorer", scorer), given.shape[2], blank)
    return _decoded(given, lengths, blank, width, asked, alpha, beta, threads)


def _scored(scorer: Callable[[list[Array]], ArrayLike], classes: int, blank: int, prefixes: list[Array]) -> Array:
    """Return what a scorer says of prefixes, (n, C) of float64."""
    found = real_array("scorer", scorer(prefixes)).astype(np.float64, order="C")
    if found.shape != (len(prefixes), classes):
        raise ValueError(f"scorer: expected shape (n, C) = ({len(prefixes)}, {classes}), got {found.shape}")
    found[:, blank] = 0.0
    wrong = found[~(found < np.inf)]
    if wrong.size:
        raise ValueError(f"scorer: expected logarithms of probabilities, got {wrong[0]}")
    return found


def _steps_of(logits: Any, input_lengths: ArrayLike | None, blank: int) -> tuple[Array, Array, int]:
    """Return logits as (T, B, C), the lengths, and the blank."""
    if isinstance(logits, (list, tuple)):
        if input_lengths is not None:
            raise ValueError("input_lengths: expected None beside a list of logits, got lengths")
        logits, input_lengths = _side_by_side(every("logits", logits, any_float_array))
    found = any_float_array("logits", logits)
    if found.ndim != 3 or found.shape[2] == 0:
        raise ValueError(f"logits: expected shape (T, B, C) with C of at least 1, got {found.shape}")
    steps, batch, classes = found.shape
    lengths = np.full(batch, steps) if input_lengths is None else input_lengths
    blank = whole("blank", blank, 0, classes - 1)
    return _contiguous(found), _lengths("input_lengths", lengths, steps, batch), blank


def _side_by_side(rows: list[Array]) -> tuple[Array, Array]:
    """Return sequences (T_i, C) as (T, B, C), and their lengths."""
    if not rows:
        raise ValueError("logits: expected at least one array, got none")
    first = rows[0]
    for i, row in enumerate(rows):
        if row.ndim != 2 or row.shape[1:] != first.shape[1:] or row.dtype != first.dtype:
            expected = f"shape (T, C) and dtype of logits[0], {first.shape} of {first.dtype}"
            raise ValueError(f"logits[{i}]: expected {expected}, got {row.shape} of {row.dtype}")
    together = np.zeros((max(map(len, rows)), len(rows), first.shape[1]), first.dtype)
    for place, row in enumerate(rows):
        together[: len(row), place] = row
    return together, np.array([len(row) for row in rows])


def _decoded(
    logits: Array,
    lengths: Array,
    blank: int,
    width: int,
    scorer: Callable[[list[Array]], Array] | None,
    alpha: float,
    beta: float,
    threads: int | None,
) -> tuple[list[Array], Array]:
    steps, batch, _ = logits.shape
    labels, sizes = np.empty((batch, steps), np.int64), np.empty(batch, np.int64)
    scores = np.empty(batch, np.float64)
    _core.ctc_decode(logits, lengths, blank, width, scorer, alpha, beta, labels, sizes, scores, thread_count(threads))
    return [row[:size].copy() for row, size in zip(labels, sizes, strict=True)], scores


# ---- Checks ---------------------------------------------------------------------------------------------------------


def thread_count(threads: int | None) -> int:
    """Return the most threads that a call may take, checked."""
    if threads is None:
        return min(_core.default_threads(), MAX_THREADS)
    return whole("threads", threads, 1, MAX_THREADS)


def checked_tape(tape: str) -> str:
    """Return what a tape is to hold, checked."""
    return one_of("tape", tape, ("gates", "states"))


@repeatable
def sequence_lengths(lengths: ArrayLike | None, steps: int, batch: int) -> Array | None:
    """Return the lengths of a batch's rows, checked: (B) of int64."""
    if lengths is None:
        return None
    steps, batch = whole("steps", steps, 0), whole("batch", batch, 0)
    return _lengths("lengths", lengths, steps, batch)


def _lengths(name: str, lengths: ArrayLike, most: int, batch: int) -> Array:
    found = index_array(name, lengths, most + 1)
    if found.shape != (batch,):
        raise ValueError(f"{name}: expected shape (B,) = ({batch},), got {found.shape}")
    return _contiguous(found)


@repeatable
def reset_flags(reset: ArrayLike | None, steps: int, batch: int, batch_first: bool) -> Array | None:
    """Return the resets of a batch, checked: (T, B), or (B, T) with `batch_first`, of bool."""
    if reset is None:
        return None
    steps, batch, batch_first = whole("steps", steps, 0), whole("batch", batch, 0), flag("batch_first", batch_first)
    shape, axes = ((batch, steps), "(B, T)") if batch_first else ((steps, batch), "(T, B)")
    flags: Array = shaped_array("reset", reset, shape, np.bool_, axes).copy()
    return flags


def _vector(name: str, value: ArrayLike | None, size: int, dtype: DTypeLike) -> Array | None:
    return None if value is None else _contiguous(shaped_array(name, value, (size,), dtype))


def _optional(name: str, value: ArrayLike | None, shape: tuple[int, ...], dtype: DTypeLike, axes: str) -> Array | None:
    return None if value is None else _with_contiguous_last_axis(shaped_array(name, value, shape, dtype, axes))


def _writable(name: str, array: Array, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array that is to be written, checked, as a plain one."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected an array to write to, got {type(array).__name__}")
    if array.dtype != dtype:
        raise TypeError(f"{name}: expected dtype {np.dtype(dtype)}, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if not array.flags.writeable:
        raise ValueError(f"{name}: expected a writable array, got a read-only one")
    if not array.flags.aligned:
        raise ValueError(f"{name}: expected aligned memory, got elements that straddle their natural addresses")
    if not _has_contiguous_last_axis(array):
        raise ValueError(f"{name}: expected a contiguous last axis, got strides {array.strides}")
    if _overlaps_itself(array):
        raise ValueError(f"{name}: expected elements of their own, got an array that overlaps itself")
    return np.asarray(array)


def _overlaps_itself(array: Array) -> bool:
    """Whether elements may share memory. Slices and transposes of an ordinary array never do."""
    extent = array.itemsize
    axes = zip((abs(stride) for stride in array.strides), array.shape, strict=True)
    for stride, size in sorted(axes):
        if size > 1 and stride < extent:
            return array.size > 0
        extent += stride * (size - 1)
    return False


def _has_contiguous_last_axis(array: Array) -> bool:
    return array.ndim == 0 or array.size == 0 or array.shape[-1] == 1 or array.strides[-1] == array.itemsize


@repeatable
def _reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    return array.reshape(shape)


def _contiguous(array: Array) -> Array:
    return array if array.flags.c_contiguous else _copied(array)


def _copied(array: Array) -> Array:
    """Return a C-contiguous copy, in memory that is kept for the next one."""
    copy = empty(array.shape, array.dtype)
    np.copyto(copy, array)
    return copy


def _with_contiguous_last_axis(array: Array) -> Array:
    return array if _has_contiguous_last_axis(array) else _contiguous(array)


def _refuse_overlap(name: str, written: Array, **others: Array | None) -> None:
    for other_name, other in others.items():
        if other is None or not np.may_share_memory(written, other):
            continue
        try:
            overlaps = np.shares_memory(written, other, max_work=100_000)  # type: ignore[arg-type]
        except RuntimeError:  # NumPy's TooHardError, whose place depends on the version
            overlaps = True
        if overlaps:
            raise ValueError(f"{name}: expected memory of its own, got an array that overlaps {other_name}")


def _same_place(a: Array, b: Array) -> bool:
    return a.__array_interface__["data"] == b.__array_interface__["data"] and a.strides == b.strides


def _constant(array: Array) -> Array:
    """Return a C-contiguous array that nobody can write to: itself, or a copy."""
    if array.flags.c_contiguous and is_constant(array):
        return array
    return _copied(array)
