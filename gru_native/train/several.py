"""Inputs of a model: an array, or several of them, by place in a tuple or by name in a dictionary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gru_native.arguments import mapping

#: What a model is given besides its inputs.
TAKEN = ("lengths", "mask", "reset", "seed", "threads")


def is_several(inputs: Any) -> bool:
    """Return whether there is more than an array."""
    return isinstance(inputs, (tuple, Mapping))


def holds_arrays(parts: Any) -> bool:
    """Return whether an array with axes, in the widest sense, is among the parts of a list or tuple."""
    return isinstance(parts, (list, tuple)) and any(getattr(part, "ndim", 0) > 0 for part in parts)


def checked(inputs: Any, check: Callable[[str, Any], Any]) -> Any:
    """Return several inputs in their form, each as `check` returns it for its name and value."""
    for name in mapping("inputs", inputs) if isinstance(inputs, Mapping) else ():
        if name in TAKEN:
            raise ValueError(f"inputs: expected other names than {', '.join(TAKEN)}, got {name!r}")
    if not inputs:
        raise ValueError("inputs: expected at least one, got none")
    return each(check, inputs)


def each(make: Callable[[str, Any], Any], inputs: Any) -> Any:
    """Return the inputs in their form, with what is made of the name and the value of each."""
    made = [make(name, part) for name, part in named(inputs)]
    if isinstance(inputs, Mapping):
        return dict(zip(inputs, made, strict=True))
    return tuple(made) if isinstance(inputs, tuple) else made[0]


def named(inputs: Any) -> Iterator[tuple[str, Any]]:
    """Yield each of the inputs behind the name that messages have for it."""
    if is_several(inputs):
        pairs = inputs.items() if isinstance(inputs, Mapping) else enumerate(inputs)
        yield from ((f"inputs[{key!r}]", part) for key, part in pairs)
    else:
        yield "inputs", inputs


def first(inputs: Any) -> Any:
    """Return the input that says which rows and steps there are."""
    return next(named(inputs))[1]


def as_arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the positional and the named arguments that inputs stand for."""
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def as_parts(inputs: Any) -> Any:
    """Return what a `fingerprint` is made of: one input itself, of several a list with their names."""
    return [part for pair in named(inputs) for part in pair] if is_several(inputs) else inputs
