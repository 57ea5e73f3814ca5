"""Models in words: what they are made of, and what the layers give on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from inspect import signature
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from gru_native.arguments import array
from gru_native.nn.module import Module, join
from gru_native.nn.sequential import Sequential


class Summary(str):
    """A table as text, which a prompt or a notebook shows line by line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class _Row(NamedTuple):
    layer: str
    kind: str
    output: str
    parameters: str


def described(module: Module) -> str:
    """Return a module with the options that are not the usual ones, its children, and its parameters."""
    head, own = f"{type(module).__name__}({_options(module)}", module.parameters().values()
    tail = f")  {_counted(own)}" if own else ")"
    children = [f"({name}): {described(child)}".replace("\n", "\n  ") for name, child in module.children().items()]
    if not children:
        shapes = Counter(str(array.shape) for array in own)
        return head + tail + (": " if shapes else "") + ", ".join(map(_times, shapes.values(), shapes))
    return "\n  ".join([head, *children]) + "\n" + tail


def summary(model: Module, x: ArrayLike, *more: ArrayLike) -> Summary:
    """Return the table of `Module.summary`."""
    given = array("x", x), *(array(f"more[{place}]", own) for place, own in enumerate(more))
    layers = list(_passed("", model, *given))
    rows = [_Row("layer", "kind", "output", "parameters"), _Row("", "input", _shapes(given), ""), *layers]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([*map(str.ljust, row[:-1], widths), row.parameters.rjust(widths[-1])]).rstrip() for row in rows]
    return Summary("\n".join([*lines, _counted(model.parameters().values())]))


def _passed(name: str, module: Module, x: Any, *more: Any) -> Generator[_Row, None, Any]:
    """Yield a row for each layer of a chain, and return what the last one gives."""
    if isinstance(module, Sequential) and not more:
        for child, layer in module.children().items():
            x = yield from _passed(join(name, child), layer, x)
        return x
    result = module(x, *more)
    output = result[0] if module.recurrent else result
    parameters = sum(array.size for array in module.parameters().values())
    yield _Row(name, type(module).__name__, _shapes(output), f"{parameters:,}")
    return output


def _shapes(result: Any) -> str:
    return ", ".join(map(_shapes, result)) if isinstance(result, tuple) else str(result.shape)


def _counted(arrays: Any) -> str:
    return f"{sum(array.size for array in arrays):,} parameters"


def _times(count: int, shape: str) -> str:
    return shape if count == 1 else f"{count} x {shape}"


def _options(module: Module) -> str:
    """Return the arguments that a module was made with, without those that are as they are by default."""
    if isinstance(module, Sequential) or type(module)._config is Module._config:
        return ""
    usual = signature(type(module)).parameters
    options = [(name, value) for name, value in module._config().items() if name not in module.children()]
    return ", ".join(f"{name}={value!r}" for name, value in options if value != usual[name].default)
