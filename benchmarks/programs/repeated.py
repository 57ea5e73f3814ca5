"""What the programs without training share: a model that is run again and again."""

from __future__ import annotations

from collections.abc import Callable

import torch

from gru_native.torch import accelerate


def running(
    model: torch.nn.Module, native: bool, times: int, call: Callable[[], torch.Tensor]
) -> Callable[[], list[float]]:
    """Return what runs a model so many times, with weights that stay, and returns some of the last output."""
    model.eval()
    if native:
        accelerate(model, frozen=True)

    @torch.inference_mode()
    def work() -> list[float]:
        for _ in range(times):
            output = call()
        picked: list[float] = output.flatten()[:: max(1, output.numel() // 100)].tolist()
        return picked

    with torch.inference_mode():
        call()
    return work
