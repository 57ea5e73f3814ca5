"""What the tests of the modules for PyTorch share: ours beside PyTorch's own, and their results compared."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from tolerances import assert_close, assert_gradient

torch = pytest.importorskip("torch")

import gru_native.torch as gt  # noqa: E402

STACKS = ["GRU", "LSTM", "RNN"]
CELLS = ["GRUCell", "LSTMCell", "RNNCell"]
OURS = {name: getattr(gt, name) for name in STACKS + CELLS}
# Of results: states that are given may be as large as 9, and with them those of a GRU.
FORWARD = {"float32": "float32_forward_unbounded", "float64": "float64"}

each_module = pytest.mark.parametrize("name", OURS)
each_stack = pytest.mark.parametrize("name", STACKS)
each_cell = pytest.mark.parametrize("name", CELLS)
each_dtype = pytest.mark.parametrize("dtype", FORWARD)


def pair(name: str, *arguments: Any, dtype: str = "float32", **options: Any) -> tuple[Any, Any]:
    """Return our module and PyTorch's with the same weights."""
    made = (kind(*arguments, **options).to(getattr(torch, dtype)) for kind in (OURS[name], getattr(torch.nn, name)))
    ours, theirs = made
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def tensors(value: Any) -> list[Any]:
    """Return the tensors in what modules take and return, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [each for part in value or () for each in tensors(part)]


def mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Return what modules take with all its numbers' tensors replaced."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, torch.nn.utils.rnn.PackedSequence):
        return value._replace(data=function(value.data))
    return type(value)(mapped(function, part) for part in value) if isinstance(value, (tuple, list)) else value


def assert_same(ours: Any, theirs: Any, tolerance: str) -> None:
    for own, expected in zip(tensors(ours), tensors(theirs), strict=True):
        assert own.dtype == expected.dtype
        assert own.shape == expected.shape
        assert_close(own.detach(), expected.detach(), tolerance)


def gradients(module: Any, *call: Any, **named: Any) -> list[Any]:
    """Return the gradients of all arguments and parameters that have one, of a loss that weighs all results."""
    wanted = [each for each in itertools.chain(tensors(call), module.parameters()) if each.requires_grad]
    results = [each for each in tensors(module(*call, **named)) if each.is_floating_point()]
    weights = (torch.linspace(0.5, 1.5, each.numel(), dtype=each.dtype).view_as(each) for each in results)
    loss = sum((each * weight).sum() for each, weight in zip(results, weights, strict=True))
    return list(torch.autograd.grad(loss, wanted))


def assert_same_gradients(ours: Iterable[Any], theirs: Iterable[Any], dtype: str) -> None:
    for own, expected in zip(ours, theirs, strict=True):
        assert own.shape == expected.shape
        assert_gradient(own, expected, f"{dtype}_gradient")


def call_of(name: str, batch: int = 3, dtype: str = "float32", *, states: bool = True, grad: bool = False) -> list[Any]:
    """Draw arguments for a call of a module of 5 and 7, with 4 steps."""
    kind = getattr(torch, dtype)
    is_cell = name.endswith("Cell")
    x = torch.randn(*(() if is_cell else (4,)), batch, 5, dtype=kind, requires_grad=grad)
    if not states:
        return [x]
    h = [torch.randn(*(() if is_cell else (1,)), batch, 7, dtype=kind, requires_grad=grad) for _ in range(2)]
    return [x, tuple(h) if name.startswith("LSTM") else h[0]]
