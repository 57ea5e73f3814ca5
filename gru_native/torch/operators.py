"""The recurrent operators: how PyTorch calls the core, runs its backward pass, traces and transforms it.

``recurrent`` is a stack of layers, ``recurrent_backward`` its gradients. Where nothing traces, transforms or intercepts
operators, `run` passes PyTorch's dispatcher by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, library

from gru_native.torch import _calls
from gru_native.torch._calls import Weights


class Options(NamedTuple):
    """What the operators take beside tensors."""

    cell: str  # its name in the core
    num_layers: int
    bidirectional: bool
    bias: bool
    steps_axis: int  # of x, -1 for a single step
    batch_axis: int  # of x, -1 for a sequence without a batch
    dropout: float = 0.0  # between layers
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0  # a share of h, or with a seed a probability

    @property
    def of_weights(self) -> tuple[str, int, bool, bool]:
        """What `Weights` takes of them."""
        return self[:4]


_STACK = (
    "Tensor x, Tensor? h_0, Tensor? c_0, Tensor? lengths, Tensor? reset, Tensor? seed, Tensor[] parameters, "
    "str cell, int num_layers, bool bidirectional, bool bias, int steps_axis, int batch_axis, float dropout, "
    "float recurrent_dropout, float zoneout"
)
FORWARD = "gru_native::recurrent"
BACKWARD = "gru_native::recurrent_backward"
NO_FORWARD_MODE = "gru_native's modules have no forward-mode gradients; PyTorch's own have them"
library.define(
    FORWARD,
    f"({_STACK}, bool keep) -> (Tensor, Tensor, Tensor, Tensor)",
)
library.define(
    BACKWARD,
    "(Tensor? d_output, Tensor? d_h_n, Tensor? d_c_n, Tensor output, Tensor tape, bool wants_x, bool wants_state, "
    f"{_STACK}) -> Tensor[]",
)


#: x, h_0, c_0, lengths, reset and seed.
Given = tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | None]


def run(
    given: Given, parameters: Sequence[Tensor], options: tuple[Any, ...], frozen: Weights | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Run a stack of layers on plain CPU tensors without PyTorch's dispatcher, and record it for autograd.

    Parameters
    ----------
    given
        x
            The input, float32 or float64, with steps and batch in the axes of the options.
        h_0, c_0
            (L D, B, P) and (L D, B, H), or None for zeros; without B or L D where x has no batch or no steps.
        lengths
            (B) of int64, or None.
        reset
            Of bool and x's axes but the last one, or None.
        seed
            One number of int64 for dropout and random zoneout, or None when nothing is drawn.
    parameters
        As `Weights` takes them.
    options
        `Options`, or what they are made of.
    frozen
        Weights in place of those of the parameters, which then have no gradient.

    Returns
    -------
    output, h_n, c_n
        h_n is None when x has no steps: it is the output; c_n is None but for the LSTM.

    Raises
    ------
    Unfit
        For what the core does not take as it is.
    """
    if frozen is not None:
        parameters = ()
    results: tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]
    if torch.is_grad_enabled() and any_requires_grad(*given[:3], *parameters):
        results = _apply(*given, frozen, options, *parameters)
    else:
        results = _calls.forward(frozen, parameters, given, options, False)
    return results[:3]


def dispatch(given: Sequence[Tensor | None], parameters: Sequence[Tensor], options: Options, keep: bool) -> Any:
    """Call the first operator by PyTorch's dispatcher; `given` are x, h_0, c_0, lengths, reset and the seed."""
    if keep and _is_transformed():
        return Recurrent.apply(*given, None, options, *parameters)
    return torch.ops.gru_native.recurrent(*given, parameters, *options, keep)


def dispatch_backward(given: Sequence[Any], parameters: Sequence[Tensor], options: Options) -> Sequence[Tensor]:
    """Call the second operator by PyTorch's dispatcher."""
    gradients: Sequence[Tensor]
    if _is_transformed():
        gradients = RecurrentBackward.apply(*given, options, *parameters)
    else:
        gradients = torch.ops.gru_native.recurrent_backward(*given, parameters, *options)
    return gradients


def _is_transformed() -> bool:
    """Whether only autograd functions can be differentiated: operators do not support `torch.func`'s transforms."""
    return torch._C._are_functorch_transforms_active() and not torch.compiler.is_compiling()


def any_requires_grad(*tensors: Tensor | None) -> bool:
    """Return whether any of some tensors is to have a gradient."""
    return any(tensor is not None and tensor.requires_grad for tensor in tensors)


class Recurrent(torch.autograd.Function):
    """The two operators' kernels, the second one as the gradient of the first."""

    @staticmethod
    def forward(
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        lengths: Tensor | None,
        reset: Tensor | None,
        seed: Tensor | None,
        frozen: Weights | None,
        options: Options,
        *parameters: Tensor,
    ) -> tuple[Tensor | None, ...]:
        given = x, h_0, c_0, lengths, reset, seed
        results: tuple[Tensor, ...] = torch.ops.gru_native.recurrent(*given, parameters, *options, True)
        return results

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        *given, ctx.frozen, ctx.options = inputs[:8]
        ctx.save_for_backward(_read_again(output[0], ctx.options), output[3], *given, *inputs[8:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        output, tape, *given = ctx.saved_tensors
        given, parameters = given[:6], given[6:]
        wants_x, *wants_states = ctx.needs_input_grad[:3]
        options = Options(*ctx.options)
        own = *_there(options, d_results), output, tape, wants_x, any(wants_states)
        if any(d is not None and torch._C._functorch.is_legacy_batchedtensor(d) for d in d_results):
            raise NotImplementedError("gru_native has no gradients of batches of losses but by torch.func.vmap")
        if torch.is_grad_enabled() or intercepted():
            if ctx.frozen is not None:
                raise NotImplementedError("a frozen module has no gradients of gradients, and no transforms of them")
            d_x, d_h_0, d_c_0, *gradients = dispatch_backward((*own, *given), parameters, options)
        else:
            d_x, d_h_0, d_c_0, gradients = _calls.backward(
                *own, _keeps_graph(), ctx.frozen, parameters, tuple(given), tuple(options)
            )
        d_inputs = (d if wanted else None for d, wanted in zip((d_x, d_h_0, d_c_0), ctx.needs_input_grad, strict=False))
        return (*d_inputs, None, None, None, None, None, *(gradients if parameters else ()))

    @staticmethod
    def jvp(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(NO_FORWARD_MODE)


class _Direct(torch.autograd.Function):
    """`Recurrent` where nothing is transformed: PyTorch calls it in a quarter of the time."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor | None, ...]:
        *given, frozen, options = inputs[:8]
        output = _calls.forward(frozen, inputs[8:], tuple(given), options, True)
        Recurrent.setup_context(ctx, inputs, output)
        return output

    backward = Recurrent.backward


# Without a search for tensors of transforms, of which there are none.
_apply = super(torch.autograd.Function, _Direct).apply


class RecurrentBackward(torch.autograd.Function):
    """The second operator, which has no gradients."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, ...]:
        own, options, parameters = arguments[:13], arguments[13], arguments[14:]
        return tuple(torch.ops.gru_native.recurrent_backward(*own, parameters, *options))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError("gru_native has no gradients of gradients; PyTorch's own modules have them")

    jvp = Recurrent.jvp


def _read_again(output: Tensor, options: Sequence[Any]) -> Tensor:
    """Return what to save of an output. No last step is read again, so PyTorch need not count changes of a cell's."""
    return output if options[4] >= 0 else output.data  # by the axis of steps


def _there(
    options: Options, d_results: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of output, h_n and c_n, None for what the operator's results do not have."""
    d_output, d_h_n, d_c_n, *_ = d_results
    return d_output, d_h_n if options.steps_axis >= 0 else None, d_c_n if options.cell == "lstm" else None


_is_compiling = torch.compiler.is_compiling


def intercepted() -> bool:
    """Whether operators are traced, transformed, recorded or overridden: then all of them must go by the dispatcher."""
    return _is_compiling() or _calls.intercepted()  # the compiler can trace the first one alone


def _keeps_graph() -> bool:
    """Whether the backward pass that runs may be followed by another one through the same graph."""
    asked = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return True if asked is None else asked()


# ---- The operators' kernels -----------------------------------------------------------------------------------------


@library.impl(FORWARD, "CPU")
def _forward(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    seed: Tensor | None,
    parameters: Sequence[Tensor],
    *options: Any,
) -> tuple[Tensor, ...]:
    *own, keep = options
    given = x, h_0, c_0, lengths, reset, seed
    return _all_there(x, _calls.forward(None, parameters, given, tuple(own), keep, clear=True))


@library.impl(BACKWARD, "CPU")
def _backward(
    d_output: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    output: Tensor,
    tape: Tensor,
    wants_x: bool,
    wants_state: bool,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    seed: Tensor | None,
    parameters: Sequence[Tensor],
    *options: Any,
) -> list[Tensor]:
    given = x, h_0, c_0, lengths, reset, seed
    *d_inputs, gradients = _calls.backward(
        d_output, d_h_n, d_c_n, output, tape, wants_x, wants_state, True, None, parameters, given, options
    )
    return [*_all_there(x, d_inputs), *gradients]


def _all_there(x: Tensor, results: Sequence[Tensor | None]) -> tuple[Tensor, ...]:
    """Return results as operators have them: an empty tensor for what there is not; the fourth one is the tape."""
    return tuple(
        x.new_empty(0, dtype=torch.uint8 if place == 3 else x.dtype) if result is None else result
        for place, result in enumerate(results)
    )


# ---- Shapes alone, for tracing --------------------------------------------------------------------------------------


@library.register_fake(FORWARD)
def _forward_shapes(
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    seed: Tensor | None,
    parameters: Sequence[Tensor],
    *options: Any,
) -> tuple[Tensor, ...]:
    *of_stack, keep = options
    own = Options(*of_stack)
    hidden, units = _sizes(own, parameters)
    h_shape, c_shape = _state_shape(own, x, units), _state_shape(own, x, hidden)
    tape = None
    if keep:
        steps, batch = (x.shape[axis] if axis >= 0 else 1 for axis in (own.steps_axis, own.batch_axis))
        size = _calls.tape_size(
            steps, batch, own.cell, x.dtype == torch.float64, own.num_layers, 1 + own.bidirectional,
            int(parameters[0].shape[1]), hidden, units, lengths is not None, reset is not None,
            own.recurrent_dropout > 0, own.dropout > 0,
        )  # fmt: skip
        tape = x.new_empty(size, dtype=torch.uint8)
    output = x.new_empty((*x.shape[:-1], units * (1 + own.bidirectional)))
    h_n = x.new_empty(h_shape) if own.steps_axis >= 0 else None
    return _all_there(x, (output, h_n, x.new_empty(c_shape) if own.cell == "lstm" else None, tape))


@library.register_fake(BACKWARD)
def _backward_shapes(
    d_output: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    output: Tensor,
    tape: Tensor,
    wants_x: bool,
    wants_state: bool,
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    seed: Tensor | None,
    parameters: Sequence[Tensor],
    *options: Any,
) -> list[Tensor]:
    own = Options(*options)
    hidden, units = _sizes(own, parameters)
    d_x = x.new_empty(x.shape) if wants_x else None
    d_h_0 = x.new_empty(_state_shape(own, x, units)) if wants_state else None
    d_c_0 = x.new_empty(_state_shape(own, x, hidden)) if wants_state and own.cell == "lstm" else None
    return [*_all_there(x, (d_x, d_h_0, d_c_0)), *(parameter.new_empty(parameter.shape) for parameter in parameters)]


def _sizes(options: Options, parameters: Sequence[Tensor]) -> tuple[int, int]:
    """Return H and the size of h."""
    units = int(parameters[1].shape[1])
    each = len(parameters) // (options.num_layers * (1 + options.bidirectional))
    projected = options.cell == "lstm" and each == 3 + 2 * options.bias
    return int(parameters[each - 1].shape[1]) if projected else units, units


def _state_shape(options: Options, x: Tensor, size: int) -> tuple[Any, ...]:
    batch = (x.shape[options.batch_axis],) if options.batch_axis >= 0 else ()
    layers = (options.num_layers * (1 + options.bidirectional),) if options.steps_axis >= 0 else ()
    return (*layers, *batch, size)


# ---- Gradients ------------------------------------------------------------------------------------------------------


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *given, parameters = inputs[:7]
    ctx.keep, ctx.options = inputs[-1], Options(*inputs[7:-1])
    ctx.save_for_backward(_read_again(output[0], ctx.options), output[3], *given, *parameters)
    ctx.set_materialize_grads(False)


def _gradients(ctx: Any, *d_results: Tensor | None) -> tuple[Any, ...]:
    if not ctx.keep:
        raise RuntimeError(
            "recurrent: expected a call that keeps what its gradients need, got one without: export a program that is "
            "to be trained with gradients enabled, and parameters that have them"
        )
    output, tape, *given = ctx.saved_tensors
    wants_x, *wants_states = wanted = ctx.needs_input_grad[:3]
    d_x, d_h_0, d_c_0, *gradients = torch.ops.gru_native.recurrent_backward(
        *_there(ctx.options, d_results), output, tape, wants_x, any(wants_states), *given[:6], given[6:], *ctx.options
    )
    d_inputs = (d if wants else None for d, wants in zip((d_x, d_h_0, d_c_0), wanted, strict=True))
    return (*d_inputs, None, None, None, gradients, *(None for _ in ctx.options), None)


library.register_autograd(FORWARD, _gradients, setup_context=_save)
library.register_autograd(BACKWARD, RecurrentBackward.backward)
# Modules leave a call under autocast to PyTorch; a program that was exported cannot.
library.register_autocast(FORWARD, "cpu", torch.float32)
