"""Puts this package's modules in the places of PyTorch's, in a model that is there, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from gru_native.arguments import instance, number, wholes
from gru_native.torch.cells import GRUCell, LSTMCell, RNNCell
from gru_native.torch.gain import measured
from gru_native.torch.layers import GRU, LSTM, RNN
from gru_native.torch.module import Accelerated, computed_weights

_OURS: dict[type[torch.nn.Module], type[Accelerated]] = {
    torch.nn.GRU: GRU,
    torch.nn.LSTM: LSTM,
    torch.nn.RNN: RNN,
    torch.nn.GRUCell: GRUCell,
    torch.nn.LSTMCell: LSTMCell,
    torch.nn.RNNCell: RNNCell,
}
_THEIRS = {own: theirs for theirs, own in _OURS.items()}


@dataclass
class Report:
    """What `accelerate` did.

    Attributes
    ----------
    swapped
        The names of the modules that are this package's now.
    left
        Those of other recurrent modules, and why they are as they were.
    """

    swapped: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        swapped = ", ".join(map(_shown, self.swapped)) or "none"
        return "\n".join([f"swapped: {swapped}", *(f"left: {_shown(name)}: {why}" for name, why in self.left.items())])


def accelerate(
    model: torch.nn.Module,
    *,
    frozen: bool = False,
    min_gain: float | None = None,
    shape: tuple[int, int] = (100, 32),
) -> Report:
    """Let this package compute every recurrent module of a model.

    The modules stay the same objects, of another class: names, parameters, hooks, optimizers and modules that are
    shared are not touched. `restore` undoes it.

    Parameters
    ----------
    model
        Any module; it may be a recurrent one itself.
    frozen
        Whether to `freeze` them.
    min_gain
        Leave modules alone that would not be so many times as fast as PyTorch's. Each is timed for a moment with
        PyTorch's threads, in training mode with gradients, at the given shape. ``None`` swaps all, and times nothing.
    shape
        The steps T and the batch B to time with.

    Returns
    -------
    Report
        Which were swapped, and which were not and why. A module that was this package's already counts as swapped.
    """
    instance("model", model, torch.nn.Module, "a torch.nn.Module")
    if min_gain is not None:
        min_gain = number("min_gain", min_gain)
    sizes = wholes("shape", shape)
    if len(sizes) != 2:
        raise ValueError(f"shape: expected steps and batch, got {sizes}")
    steps, batch = sizes
    report = Report()
    for name, module in _recurrent_modules(model):
        why = _why_not(module, frozen)
        if not why and min_gain is not None and type(module) in _OURS:
            why = _too_slow(module, frozen, min_gain, steps, batch)
        if why:
            report.left[name] = why
            continue
        report.swapped.append(name)
        if type(module) in _OURS:
            module.__class__ = _OURS[type(module)]
        if frozen:
            module.freeze()
    return report


def restore(model: torch.nn.Module) -> list[str]:
    """Give every module that PyTorch can compute back to it, and return their names.

    Raises
    ------
    ValueError
        When a module has an option that PyTorch's class does not have, or a class of its own, such as a parametrization
        gives it: then none is changed.
    """
    ours = [(name, module) for name, module in _recurrent_modules(model) if isinstance(module, Accelerated)]
    for name, module in ours:
        if (kind := type(module)) not in _THEIRS:
            raise ValueError(f"model: expected classes of gru_native's, got {_shown(name)} of {kind.__qualname__}")
        if own := module.beyond_torch():
            options = ", ".join(f"{option}={value}" for option, value in own.items())
            raise ValueError(f"model: expected options that PyTorch has, got {_shown(name)} with {options}")
    for _, module in ours:
        module.unfreeze()
        module.__class__ = _THEIRS[type(module)]
    return [name for name, _ in ours]


def _shown(name: str) -> str:
    return name or "the model"


def _recurrent_modules(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase)) or _is_made_of(module):
            yield name, module


def _is_made_of(module: torch.nn.Module) -> bool:
    """Whether PyTorch made a module of a recurrent one: a script, or one that is quantized or to be so."""
    kind = type(module)
    name = getattr(module, "original_name", kind.__name__)
    return kind.__module__.startswith("torch.") and name in {theirs.__name__ for theirs in _OURS}


def _too_slow(module: torch.nn.Module, frozen: bool, min_gain: float, steps: int, batch: int) -> str:
    """Return why a module does not gain enough, or nothing."""
    try:
        gain = measured(module, _OURS[type(module)], frozen, steps, batch)
    except Exception as error:  # of copying it, or of what its user made of it
        return f"it cannot be timed: {type(error).__name__}: {error}"
    return "" if gain >= min_gain else f"it would be {gain:.2f} times as fast, and {min_gain} are asked for"


def _why_not(module: torch.nn.Module, frozen: bool) -> str:
    """Return why a recurrent module cannot be swapped and frozen, or nothing."""
    kind = type(module)
    if not isinstance(module, Accelerated):
        if torch.nn.utils.parametrize.is_parametrized(module):
            return "it is parametrized, which gives it a class of its own: accelerate before that"
        if kind not in _OURS:
            return f"its class is {kind.__module__}.{kind.__qualname__}, which may compute something else"
    for name, parameter in module.named_parameters(recurse=False):
        if not parameter.is_cpu or parameter.dtype not in (torch.float32, torch.float64):
            return f"{name} is {parameter.dtype} on {parameter.device}"
    if frozen and (computed := computed_weights(module)):
        return f"{computed[0]} is computed from other parameters and cannot be frozen"
    return ""
