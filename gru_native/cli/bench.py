"""``gru-native bench``: time shapes with this package, and with PyTorch where it is installed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from gru_native import nn
from gru_native.cli.options import number, whole_number
from gru_native.functional import MAX_THREADS

Call = Callable[[], object]

BLOCKS = 9
CELLS = {"gru": "GRU", "lstm": "LSTM", "rnn": "RNN"}


class Shape(NamedTuple):
    """Steps, batch, inputs, units and layers."""

    steps: int
    batch: int
    inputs: int
    units: int
    layers: int = 1

    def __str__(self) -> str:
        return ",".join(map(str, self))


USUAL = [Shape(100, 1, 64, 64), Shape(100, 8, 128, 128), Shape(100, 32, 256, 256), Shape(1, 1, 64, 64)]


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bench",
        help="time layers of your shapes here, and PyTorch's where it is installed",
        description="Time one call of a layer, float32: forward as at inference, and a training step, which is forward "
        "and backward to the input and all weights, with weights that are new each time. Blocks of calls take turns "
        "with PyTorch's, and the table gives the median in milliseconds, and PyTorch's time over this package's.",
    )
    parser.add_argument(
        "--case",
        type=_shape,
        action="append",
        metavar="T,B,I,H[,L]",
        help="steps, batch, inputs, units, layers; may be repeated (default: some usual ones)",
    )
    parser.add_argument("--cell", choices=CELLS, default="gru", help="the kind of layer (default: gru)")
    parser.add_argument(
        "--threads",
        type=whole_number(1, MAX_THREADS),
        nargs="+",
        default=[1, 2],
        metavar="N",
        help="numbers of threads (default: 1 2)",
    )
    parser.add_argument(
        "--seconds", type=number(0), default=0.5, metavar="S", help="for each figure, about (default: 0.5)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Measure, and print each line as soon as it is known."""
    engines = [_own, _torch] if find_spec("torch") else [_own]
    beside = f" {'torch ms':>10} {'ratio':>6}" if _torch in engines else ""
    print(f"{'T,B,I,H,L':18} {'mode':8} {'threads':>7} {'ms':>10}{beside}")
    for threads in arguments.threads:
        for shape in arguments.case or USUAL:
            made = [engine(CELLS[arguments.cell], shape, threads) for engine in engines]
            for mode in ("forward", "train"):
                own, *others = _in_turns([calls[mode] for calls in made], arguments.seconds)
                beside = "".join(f" {1e3 * other:10.4f} {other / own:6.2f}" for other in others)
                print(f"{shape!s:18} {mode:8} {threads:7} {1e3 * own:10.4f}{beside}", flush=True)


def _own(cell: str, shape: Shape, threads: int) -> Mapping[str, Call]:
    layer = getattr(nn, cell)(shape.inputs, shape.units, shape.layers, seed=0)
    (x, d_output), weights = _arrays(shape), layer.parameters()

    def train() -> None:
        layer.assign(weights)  # as an optimizer does: what was made of the old ones is made anew
        _, tape = layer.forward(x, threads=threads)
        layer.backward(tape, d_output, threads=threads)

    return {"forward": lambda: layer(x, threads=threads), "train": train}


def _torch(cell: str, shape: Shape, threads: int) -> Mapping[str, Call]:
    import torch

    torch.set_num_threads(threads)
    layer = getattr(torch.nn, cell)(shape.inputs, shape.units, shape.layers)
    x, d_output = map(torch.from_numpy, _arrays(shape))
    x.requires_grad_()

    def forward() -> None:
        with torch.inference_mode():
            layer(x)

    def train() -> None:
        layer.zero_grad()
        x.grad = None
        layer(x)[0].backward(d_output)

    return {"forward": forward, "train": train}


def _arrays(shape: Shape) -> list[Any]:
    """Return a standard normal input and gradient of the output."""
    rng, rows = np.random.default_rng(0), (shape.steps, shape.batch)
    return [rng.standard_normal((*rows, size), dtype=np.float32) for size in (shape.inputs, shape.units)]


def _in_turns(calls: list[Call], seconds: float) -> list[float]:
    """Return the median seconds of each call, of blocks that take turns."""
    counts = []
    for call in calls:
        call()
        counts.append(max(1, round(seconds / BLOCKS / _time(call, 1))))
    blocks = [[_time(call, count) for call, count in zip(calls, counts, strict=True)] for _ in range(BLOCKS)]
    return [median(times) for times in zip(*blocks, strict=True)]


def _time(call: Call, count: int) -> float:
    """Return the seconds of a call in a block; the first one, after another engine's, does not count."""
    call()
    start = perf_counter()
    for _ in range(count):
        call()
    return (perf_counter() - start) / count


def _shape(text: str) -> Shape:
    try:
        shape = Shape(*map(int, text.split(",")))
    except (TypeError, ValueError):
        shape = Shape(0, 0, 0, 0)
    if min(shape) < 1:
        raise argparse.ArgumentTypeError(f"expected T,B,I,H or T,B,I,H,L from 1 up, got {text!r}")
    return shape
