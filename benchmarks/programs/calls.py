"""What the smallest calls through PyTorch take, and a model of Linear and GRU in turns: ``python calls.py``.

Beside them stand calls of `gru_native.nn`, whose weights stay packed, and of a training step one through a
`torch.autograd.Function` that computes nothing: no layer that is written in Python can take less.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from timeit import repeat
from typing import Any

import torch

import gru_native as gn
import gru_native.torch

SIZE = 16


class Empty(torch.autograd.Function):
    """Takes and returns what a layer of GRU does."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, h: torch.Tensor, *weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep everything."""
        ctx.save_for_backward(x, h, *weights)
        return torch.empty_like(x), torch.empty_like(h)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        """Return gradients that nobody has written."""
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors)


def microseconds(call: Callable[[], Any], calls: int) -> float:
    """Return the least time of a call, of many blocks."""
    return 1e6 * min(repeat(call, repeat=100, number=calls)) / calls


def inferring() -> None:
    """Print what a call of one step takes under `inference_mode`."""
    x = torch.randn(1, 1, SIZE)
    for cell in ("GRU", "LSTM"):
        for name in (cell, f"{cell}Cell"):
            theirs, ours, frozen = (getattr(side, name)(SIZE, SIZE) for side in (torch.nn, gn.torch, gn.torch))
            frozen.freeze()
            given = x[0] if name.endswith("Cell") else x
            layer, array = getattr(gn.nn, name)(SIZE, SIZE), given.numpy()
            with torch.inference_mode():
                times = [microseconds(partial(module, given), 500) for module in (theirs, ours, frozen)]
            times.append(microseconds(partial(layer, array), 500))
            print("{:8} torch {:.1f} µs, ours {:.1f}, frozen {:.1f}, nn {:.1f}".format(name, *times))


def training() -> None:
    """Print what a training step of one step takes."""
    x = torch.randn(1, 1, SIZE, requires_grad=True)
    theirs, ours = torch.nn.GRU(SIZE, SIZE), gn.torch.GRU(SIZE, SIZE)
    h, ones = torch.zeros(1, 1, SIZE), torch.ones(1, 1, SIZE)
    layer, array = gn.nn.GRU(SIZE, SIZE), x.detach().numpy()

    def step(call: Callable[[], Any], module: torch.nn.Module) -> None:
        x.grad = None
        module.zero_grad()
        call()[0].backward(ones)

    calls = (
        lambda: step(lambda: theirs(x), theirs),
        lambda: step(lambda: ours(x), ours),
        lambda: step(lambda: Empty.apply(x, h, *ours.parameters()), ours),
        lambda: layer.backward(layer.forward(array)[1], ones.numpy()),
    )
    times = [microseconds(call, 100) for call in calls]
    print("training torch {:.0f} µs, ours {:.0f}, empty {:.0f}, nn {:.1f}".format(*times))


def alternating() -> None:
    """Print what Linear and GRU in turns take on two threads."""
    torch.set_num_threads(2)
    x = torch.randn(50, 32, 256)
    for name, side in (("torch", torch.nn), ("ours", gn.torch)):
        layers = [part for _ in range(2) for part in (torch.nn.Linear(256, 256), side.GRU(256, 256))]

        def run(layers: list[torch.nn.Module] = layers) -> torch.Tensor:
            y = x
            for layer in layers:
                y = layer(y)[0] if isinstance(layer, torch.nn.GRU) else layer(y)
            return y

        def train(run: Callable[[], torch.Tensor] = run) -> None:
            run().sum().backward()

        with torch.inference_mode():
            inference = microseconds(run, 1)
        times = inference / 1e3, microseconds(train, 1) / 1e3
        print("Linear, GRU, Linear, GRU, two threads: {} {:.1f} ms, training {:.1f}".format(name, *times))


if __name__ == "__main__":
    torch.set_num_threads(1)
    inferring()
    training()
    alternating()
