"""DeepFilterNet3's stack of GRUs, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

import torch
from repeated import running

SHAPES = "GRU 1,1,256,256,3"
MODE = "inference"
TOLERANCE = 1e-5
PACKAGES = ()


def build(native: bool) -> Callable[[], list[float]]:
    """Run a thousand frames one after the other, as they would come from a microphone."""
    stack = torch.nn.GRU(256, 256, num_layers=3)
    frames = torch.randn(1000, 1, 1, 256)

    def call() -> torch.Tensor:
        state = None
        for frame in frames:
            output, state = stack(frame, state)
        return output

    return running(stack, native, 2, call)
