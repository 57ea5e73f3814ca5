"""What ``torch.vmap`` makes of the recurrent operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, library

from gru_native.torch.operators import (
    BACKWARD,
    FORWARD,
    Options,
    Recurrent,
    RecurrentBackward,
    dispatch,
    dispatch_backward,
)

#: Of one argument of an operator: the axis of the samples, or None; of a list of tensors a list of them.
Dim = Any


def recurrent(
    info: Any,
    in_dims: Sequence[Dim],
    x: Tensor,
    h_0: Tensor | None,
    c_0: Tensor | None,
    lengths: Tensor | None,
    reset: Tensor | None,
    seed: Tensor | None,
    parameters: Sequence[Tensor],
    *others: Any,
) -> tuple[Any, Any]:
    """Run the samples as one batch when they share the weights and nothing is drawn, or else one after the other."""
    if seed is not None or _is_batched(in_dims[6]):
        arguments = x, h_0, c_0, lengths, reset, seed, parameters, *others
        results = _each(_forward, info.batch_size, in_dims, arguments)
        return tuple(results), (0,) * len(results)
    # All samples have the weights in common: they are rows of one batch.
    *of_stack, keep = others
    own = Options(*of_stack)
    has_batch, axis = own.batch_axis >= 0, max(own.batch_axis, 0)

    def fold(tensor: Tensor | None, dim: Dim, before: int) -> Tensor | None:
        """Return a tensor with the samples in the batch, or as the batch, at an axis."""
        if tensor is None:
            return None
        if dim is None:
            tensor, dim = tensor.expand(info.batch_size, *tensor.shape), 0
        tensor = tensor.movedim(dim, before)
        return tensor.flatten(before, before + 1) if has_batch else tensor

    layers = int(own.steps_axis >= 0)  # the axis of a state's batch, behind that of layers
    folded = own if has_batch else own._replace(batch_axis=0, steps_axis=own.steps_axis + layers)
    given = zip((x, h_0, c_0, lengths, reset), in_dims, (axis, layers, layers, 0, axis), strict=False)
    output, h_n, c_n, tape = dispatch([*(fold(*each) for each in given), None], parameters, folded, keep)

    def unfold(tensor: Tensor | None, before: int) -> tuple[Tensor | None, Dim]:
        if tensor is None or tensor.dim() == 1:  # what this cell does not have
            return tensor, None
        return tensor.unflatten(before, (info.batch_size, -1)) if has_batch else tensor, before

    # The tape is that of all samples: `recurrent_backward` knows by the axis that it has not.
    unfolded = unfold(output, axis), unfold(h_n, layers), unfold(c_n, layers), (tape, None)
    tensors, dims = zip(*unfolded, strict=True)
    return tensors, dims


def recurrent_backward(info: Any, in_dims: Sequence[Dim], *arguments: Any) -> tuple[Any, Any]:
    """Run the samples one after the other: each has gradients of the weights of its own."""
    is_one_batch = in_dims[4] is None and _is_batched(in_dims[7:])
    results = _each(_forward_and_backward if is_one_batch else _backward, info.batch_size, in_dims, arguments)
    return results, [0] * len(results)


def _forward(*arguments: Any) -> Any:
    return dispatch(arguments[:6], arguments[6], Options(*arguments[7:-1]), arguments[-1])


def _backward(*arguments: Any) -> Sequence[Tensor]:
    return dispatch_backward(arguments[:13], arguments[13], Options(*arguments[14:]))


def _forward_and_backward(*arguments: Any) -> Sequence[Tensor]:
    """Return a sample's gradients without its own tape, from its other arguments."""
    d_output, d_h_n, d_c_n, _, _, wants_x, wants_state, *of_forward = arguments
    output, _, _, tape = _forward(*of_forward, True)
    return _backward(d_output, d_h_n, d_c_n, output, tape, wants_x, wants_state, *of_forward)


class _Transformed:
    """The same for the autograd functions, whose parameters come one by one, behind the options."""

    @staticmethod
    def forward(info: Any, in_dims: Sequence[Dim], *arguments: Any) -> tuple[Any, Any]:
        *given, _, options = arguments[:8]
        dims = (*in_dims[:6], list(in_dims[8:]), *(None for _ in options), None)
        return recurrent(info, dims, *given, list(arguments[8:]), *options, True)

    @staticmethod
    def backward(info: Any, in_dims: Sequence[Dim], *arguments: Any) -> tuple[Any, Any]:
        given, options = arguments[:13], arguments[13]
        dims = (*in_dims[:13], list(in_dims[14:]), *(None for _ in options))
        results, out_dims = recurrent_backward(info, dims, *given, list(arguments[14:]), *options)
        return tuple(results), tuple(out_dims)


def _is_batched(dims: Dim) -> bool:
    return any(map(_is_batched, dims)) if isinstance(dims, (list, tuple)) else dims is not None


def _each(operator: Callable[..., Any], size: int, in_dims: Sequence[Dim], arguments: Sequence[Any]) -> list[Tensor]:
    """Call an operator once for each of the samples, and stack what it returns."""

    def sample(argument: Any, dim: Dim, place: int) -> Any:
        if isinstance(dim, (list, tuple)):
            return [sample(own, own_dim, place) for own, own_dim in zip(argument, dim, strict=True)]
        return argument if dim is None else argument.select(dim, place)

    results = (
        operator(*(sample(own, dim, place) for own, dim in zip(arguments, in_dims, strict=True)))
        for place in range(size)
    )
    return [torch.stack(parts) for parts in zip(*results, strict=True)]


library.register_vmap(FORWARD, recurrent)
library.register_vmap(BACKWARD, recurrent_backward)
Recurrent.vmap = staticmethod(_Transformed.forward)
RecurrentBackward.vmap = staticmethod(_Transformed.backward)
