"""Recurrent modules alone: PyTorch's and ours in turns, in one process, over shapes.

A training step computes output and gradients of input and parameters; ``frozen`` is inference with weights that are
packed once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

import gru_native.torch
from gru_bench.cases import Case
from gru_bench.machine import description
from gru_native.io import atomic_write

CELLS = ("LSTM", "GRU", "RNN")
MODES = ("train", "infer", "frozen")
SIDES = (torch.nn, gru_native.torch)
SQUARE = [Case(t, b, h, h) for t, b, h in product((1, 10, 100), (1, 8, 32, 128), (16, 64, 128, 256, 512, 1024))]
CASES = [
    *(case for case in SQUARE if case.multiply_adds < 4e9),  # larger ones would take seconds
    *(Case(100, 32, i, h) for i, h in ((1, 64), (16, 128), (512, 128), (1024, 256))),
    *(Case(100, b, 128, 128, 2, both) for b in (1, 32) for both in (False, True)),
    *(Case(1000, b, h, h) for b, h in ((1, 64), (1, 256), (16, 128))),
    Case(64, 1, 512, 256, 1, True),
    Case(120, 32, 1, 64, 2),
    Case(1, 1, 256, 256, 3),
]


def calls(cell: str, case: Case, mode: str) -> list[Callable[[], Any]]:
    """Return a call of PyTorch's module and one of ours, with the same weights."""
    torch.manual_seed(0)
    sizes = case.input_size, case.hidden_size, case.num_layers
    theirs, ours = (getattr(side, cell)(*sizes, bidirectional=case.bidirectional) for side in SIDES)
    ours.load_state_dict(theirs.state_dict())
    if mode == "frozen":
        ours.freeze()
    x = torch.randn(case.steps, case.batch, case.input_size)
    return [_training(module, x) if mode == "train" else _inference(module, x) for module in (theirs, ours)]


def _training(module: torch.nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    x = x.clone().requires_grad_()
    gradient = torch.ones_like(module(x)[0])

    def call() -> None:
        x.grad = None
        module.zero_grad()
        module(x)[0].backward(gradient)

    return call


def _inference(module: torch.nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    @torch.inference_mode()
    def call() -> Any:
        return module(x)

    return call


def seconds(sides: Sequence[Callable[[], Any]], blocks: int, block_seconds: float) -> list[float]:
    """Let the calls take turns in blocks, and return the least seconds of each: what else runs only adds some."""
    counts = [max(1, round(block_seconds / min(_per_call(call, 1) for _ in range(2)))) for call in sides]
    taken = [[_per_call(call, count) for call, count in zip(sides, counts, strict=True)] for _ in range(blocks)]
    return [min(own) for own in zip(*taken, strict=True)]


def _per_call(call: Callable[[], Any], count: int) -> float:
    start = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - start) / count


def main() -> None:
    """Measure, print a line for each shape and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--blocks", type=int, default=5, help="of each side")
    parser.add_argument("--block-seconds", type=float, default=0.02)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    layers = []
    for threads, cell, mode in product(options.threads, CELLS, MODES):
        torch.set_num_threads(threads)
        ms: dict[str, list[float]] = {}
        for case in CASES:
            times = seconds(calls(cell, case, mode), options.blocks, options.block_seconds)
            ms[case.name] = [float(f"{1e3 * one:.4g}") for one in times]
            print(f"{cell} {mode} {threads} {case.name}: {times[0] / times[1]:.2f}", flush=True)
        layers.append({"cell": cell, "mode": mode, "threads": threads, "ms": ms})
    if options.json:
        with atomic_write(options.json) as file:
            file.write(json.dumps({"machine": description(), "layers": layers}, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
