"""How long a process is inside recurrent modules, forward and backward, and what it computes there, by hooks."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any
from weakref import WeakSet

import torch
from torch.nn.modules.module import (
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.nn.utils.rnn import PackedSequence

from gru_bench.limits import GATE_BACKWARD_FLOPS, GATE_FLOPS

RECURRENT = (torch.nn.RNNBase, torch.nn.RNNCellBase)

# Operations of one unit in one step beside the products, forward and backward: a sigmoid takes 40 and a tanh 42, as
# `gru_bench.limits` counts them.
GATES = {
    (torch.nn.GRU, torch.nn.GRUCell): (GATE_FLOPS, GATE_BACKWARD_FLOPS),
    (torch.nn.LSTM, torch.nn.LSTMCell): (3 * 40 + 2 * 42 + 4, 26),
    (torch.nn.RNN, torch.nn.RNNCell): (42, 4),
}


class Inside:
    """Counts the seconds of every recurrent module from now on, and its floating-point operations.

    A call's backward begins when the gradient of one of its results is there, and lasts until the last gradient of its
    arguments and parameters. Arguments by name are not followed.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.operations = 0
        self._since = 0.0
        self._call: object = None
        self._known: WeakSet[torch.nn.Module] = WeakSet()
        self._hooks = [
            register_module_forward_pre_hook(self._enter),
            register_module_forward_hook(self._leave, with_kwargs=True),
        ]

    def close(self) -> None:
        """Follow no further calls."""
        for hook in self._hooks:
            hook.remove()
            _global_forward_hooks_with_kwargs.pop(hook.id, None)  # which PyTorch leaves there

    def _enter(self, module: torch.nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not isinstance(module, RECURRENT):
            return None
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]  # none while frozen
        if trained and module not in self._known:
            self._known.add(module)
            for parameter in trained:
                parameter.register_post_accumulate_grad_hook(self._count)
        args = self._own(args)
        self._since = perf_counter()
        return args

    def _leave(self, module: torch.nn.Module, args: tuple[Any, ...], named: dict[str, Any], results: Any) -> None:
        if not isinstance(module, RECURRENT):
            return
        self._count()
        trained = any(result.requires_grad for result in _tensors(results))
        self.operations += _operations(module, args[0], named.get("lengths"), trained)
        call = object()
        for result in _tensors(results):
            if result.requires_grad:
                result.register_hook(lambda _, call=call: self._begin(call))

    def _own(self, value: Any) -> Any:
        """Return arguments whose gradients are of this call only: those of others would come later."""
        if type(value) is tuple:
            return tuple(self._own(one) for one in value)
        if isinstance(value, torch.Tensor) and value.requires_grad:
            value = value.view_as(value)
            value.register_hook(self._count)
        return value

    def _begin(self, call: object) -> None:
        if call is not self._call:
            self._call, self._since = call, perf_counter()

    def _count(self, _: Any = None) -> None:
        now = perf_counter()
        self.seconds += now - self._since
        self._since = now


def _operations(module: torch.nn.Module, x: Any, lengths: torch.Tensor | None, trained: bool) -> int:
    """Return the operations of a call: products, also for the gradients of weights, x and h, and gates."""
    data = x.data if isinstance(x, PackedSequence) else x
    rows = data[..., 0].numel() if lengths is None else int(lengths.sum())
    total = 0
    for name, weight in module.named_parameters():
        if weight.dim() == 2:
            wants_input = data.requires_grad or not name.startswith("weight_ih_l0")
            products = 1 + (weight.requires_grad + wants_input if trained else 0)
            total += 2 * rows * weight.numel() * products
        if name.startswith("weight_hh"):
            forward, backward = next(gates for kinds, gates in GATES.items() if isinstance(module, kinds))
            total += rows * module.hidden_size * (forward + trained * backward)
    return total


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple):
        for one in value:
            yield from _tensors(one)
