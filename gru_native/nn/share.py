"""Shares that training may change: of dropout, of zoneout, of labels that a model draws itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gru_native.arguments import number
from gru_native.changes import Change

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gru_native.nn.module import Module


class Share:
    """An attribute of a module, a number from 0 to 1, which a checkpoint keeps."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    if TYPE_CHECKING:

        def __get__(self, module: Module, owner: type | None = None) -> float: ...

    def __set__(self, module: Module, value: Any) -> None:
        vars(module)[self._name] = number(self._name, value, most=1.0)


def shares(model: Module) -> dict[str, dict[str, float]]:
    """Return the shares of a model and of all below it, by dotted names."""
    return {place: own for place, module in model.named_modules() if (own := {n: vars(module)[n] for n in _of(module)})}


def changes(model: Module, given: Mapping[str, Mapping[str, Any]]) -> list[Change]:
    """Return what brings a model's shares to given ones.

    Raises
    ------
    ValueError
        For others than the model has, or none from 0 to 1.
    """
    present = shares(model)
    if {place: own.keys() for place, own in given.items()} != {place: own.keys() for place, own in present.items()}:
        raise ValueError(f"shares: expected those of {sorted(present)}, got {sorted(given)}")
    modules = dict(model.named_modules())
    return [
        Change(modules[place], {name: number(f"{place}.{name}", value, most=1.0) for name, value in own.items()})
        for place, own in given.items()
    ]


def _of(module: Module) -> Iterator[str]:
    return (name for kind in type(module).__mro__ for name, own in vars(kind).items() if isinstance(own, Share))
