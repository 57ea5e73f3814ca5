"""DeepFilterNet3's stack of GRUs, ten seconds of sound."""

from __future__ import annotations

from collections.abc import Callable

import torch
from repeated import running

SHAPES = "GRU 1000,1,256,256,3"
MODE = "inference"
TOLERANCE = 1e-5
PACKAGES = ()


def build(native: bool) -> Callable[[], list[float]]:
    """Run the whole sequence at once."""
    stack = torch.nn.GRU(256, 256, num_layers=3)
    frames = torch.randn(1000, 1, 256)
    return running(stack, native, 10, lambda: stack(frames)[0])
