"""Training and inference of gated recurrent networks on CPUs.

``nn`` holds the layers, ``functional`` the same computations on plain arrays; ``losses``, ``optim`` and
``schedules`` train them, ``train`` runs the loop, ``io`` saves and loads, ``convert`` takes over weights from
elsewhere, ``inspection`` looks into a model at work and ``heatmaps`` draws what it finds, and ``reference`` is the
NumPy specification that everything compiled is compared with.
"""

from __future__ import annotations

from importlib.metadata import version

from gru_native import _runtime as _runtime  # loads the compiled core, before anything that needs it
from gru_native import convert, functional, heatmaps, inspection, io, losses, nn, optim, reference, schedules, train
from gru_native._runtime import release_memory, set_team
from gru_native.io import ModelFileError, load, load_metadata, load_state, save

__version__ = version("gru_native")

__all__ = [
    "ModelFileError",
    "__version__",
    "convert",
    "functional",
    "heatmaps",
    "inspection",
    "io",
    "load",
    "load_metadata",
    "load_state",
    "losses",
    "nn",
    "optim",
    "reference",
    "release_memory",
    "save",
    "schedules",
    "set_team",
    "train",
]
