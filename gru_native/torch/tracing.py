"""Lets ``torch.compile`` trace this package's modules.

It refuses PyTorch's recurrent classes and all that is one of them, because it would unroll their steps. Ours are one
operator each. What refuses is loaded with the compiler, long after this package.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

_COMPILER = "torch._dynamo"
# What is to be done when the compiler has been imported.
_waiting: list[Callable[[], None]] = []


def allow(kind: type[torch.nn.Module]) -> None:
    """Let modules of a class be traced, but for what is marked with `untraced`, as soon as the compiler is loaded."""

    def wrap(builder: Any, module: torch.nn.Module) -> Any:
        with torch._dynamo.config.patch(allow_rnn=True):
            return builder.wrap_module(module)

    def register() -> None:
        torch._dynamo.variables.builder.VariableBuilder._type_dispatch()[kind] = wrap
        for name, own in list(vars(kind).items()):
            if getattr(own, "is_untraced", False):
                setattr(kind, name, torch._dynamo.disable(own))

    if _COMPILER in sys.modules:
        register()
        return
    if not _waiting:
        sys.meta_path.insert(0, _Finder())
    _waiting.append(register)


def untraced(method: Any) -> Any:
    """Mark a method of a class that is traced: it breaks the graph. PyTorch's own mark would load the compiler."""
    method.is_untraced = True
    return method


class _Finder(MetaPathFinder):
    """Finds the compiler as the others do, and has done what waits for it behind its import."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _COMPILER:
            return None
        sys.meta_path.remove(self)  # which asks the others
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            sys.meta_path.insert(0, self)  # to ask is not to import
        if spec is None or spec.loader is None:
            return None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            sys.meta_path.remove(self)
            for register in _waiting:
                register()
            _waiting.clear()

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
