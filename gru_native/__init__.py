"""Training and inference of gated recurrent networks on CPUs.

``nn`` holds the layers, ``functional`` the same computations on plain arrays; ``losses``, ``optim`` and
``schedules`` train them, ``train`` runs the loop, ``io`` saves and loads, ``convert`` takes over weights from
elsewhere and ``keras`` models of Keras, ``inspection`` looks into a model at work and ``heatmaps`` draws what it finds,
and ``reference`` is the NumPy specification that everything compiled is compared with.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gru_native import _runtime as _runtime  # loads the compiled core, before anything that needs it
from gru_native import functional, nn
from gru_native._runtime import get_include, get_library, release_memory, set_team, threads

if TYPE_CHECKING:
    from gru_native import convert, heatmaps, inspection, io, keras, losses, optim, reference, schedules, stream, train
    from gru_native import onnx as onnx
    from gru_native import sklearn as sklearn
    from gru_native.io import ModelFileError, load, load_metadata, load_state, load_weights, save

    __version__: str

__all__ = [
    "ModelFileError",
    "__version__",
    "convert",
    "functional",
    "get_include",
    "get_library",
    "heatmaps",
    "inspection",
    "io",
    "keras",
    "load",
    "load_metadata",
    "load_state",
    "load_weights",
    "losses",
    "nn",
    "optim",
    "reference",
    "release_memory",
    "save",
    "schedules",
    "set_team",
    "stream",
    "threads",
    "train",
]

_WITH_EXTRAS = ("onnx", "sklearn")  # what `import *` leaves out: their packages may not be there
_OF_IO = ("ModelFileError", "load", "load_metadata", "load_state", "load_weights", "save")


# The rest is loaded when it is first asked for: to import all of it takes more than twice as long. `nn` is there from
# the beginning: other modules import its submodules, and threads that load a package and its submodules at once may
# find one half loaded. A type checker reads the imports above; to it, this would make every name right.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            value: object = version("gru_native")
        elif name in _OF_IO:
            value = getattr(import_module("gru_native.io"), name)
        elif name in __all__ or name in _WITH_EXTRAS:
            value = import_module(f"gru_native.{name}")
        else:
            raise AttributeError(f"module 'gru_native' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
