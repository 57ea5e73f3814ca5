"""What it gains that this package computes a module: measured here and now."""

from __future__ import annotations

import copy
from collections.abc import Callable
from time import perf_counter
from typing import Any

import torch

#: Both sides take turns for so long, and at least three times.
SECONDS = 0.5


def measured(theirs: torch.nn.Module, ours: type[torch.nn.Module], frozen: bool, steps: int, batch: int) -> float:
    """Return PyTorch's time over ours for a call of a module, the least of several.

    A module in training mode is timed with its gradients. The module, and PyTorch's generator, stay as they are.

    Parameters
    ----------
    theirs
        PyTorch's recurrent module.
    ours
        The class that would compute it.
    frozen
        Whether its weights would be packed once.
    steps, batch
        T and B of the calls; a cell has one step.
    """
    with torch.inference_mode(False), torch.enable_grad():
        return _gain(copy.deepcopy(theirs), ours, frozen, steps, batch)


def _gain(module: torch.nn.Module, ours: type[torch.nn.Module], frozen: bool, steps: int, batch: int) -> float:
    module.dropout = 0.0  # what is drawn takes either side as long
    for hooks in (module._forward_pre_hooks, module._forward_hooks, module._backward_pre_hooks, module._backward_hooks):
        hooks.clear()
    with torch.random.fork_rng(devices=[]):
        x = torch.randn(_shape(module, steps, batch), dtype=next(module.parameters()).dtype)
    sides: dict[str, Callable[[], Any]] = {"theirs": _timed(module, x)}
    own = copy.deepcopy(module)
    own.__class__ = ours
    if frozen:
        own.freeze()
    sides["ours"] = _timed(own, x)
    least = dict.fromkeys(sides, float("inf"))
    begin, turns = perf_counter(), 0
    while turns < 3 or perf_counter() - begin < SECONDS:
        for side, call in sides.items():
            start = perf_counter()
            call()
            least[side] = min(least[side], perf_counter() - start)
        turns += 1
    return least["theirs"] / least["ours"]


def _shape(module: torch.nn.Module, steps: int, batch: int) -> tuple[int, ...]:
    if isinstance(module, torch.nn.RNNCellBase):
        return batch, module.input_size
    return (batch, steps, module.input_size) if module.batch_first else (steps, batch, module.input_size)


def _timed(module: torch.nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    wanted = [own for own in module.parameters() if own.requires_grad]
    if not module.training or not wanted:
        return torch.no_grad()(lambda: module(x))

    def train() -> None:
        result = module(x)
        output = result[0] if isinstance(result, tuple) else result
        torch.autograd.grad(output, wanted, torch.ones_like(output))

    return train
