"""The load test: live sessions on `gru-native serve`, beside ONNX Runtime called for each step, and beside echoes.

The services take turns, each time in a new process with one thread on one CPU; the client has another CPU. Each session
sends its next step when the last one is answered; or, with a rate, so many steps a second are sent when they are due.

    make load
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

import gru_native as gn
from gru_native import nn
from gru_native.io import atomic_write
from load.client import Load

SERVICES = ("native", "onnxruntime", "echo", "asgi-echo")
INPUTS, OUTPUTS = 16, 4
WARM = 2.0  # seconds before each turn
#: How far the outputs of both services may be apart.
TOLERANCE = 1e-5
COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def write(path: Path, hidden: int) -> None:
    """Write a model, for both services."""
    import gru_native.onnx

    model = nn.Sequential(nn.GRU(INPUTS, hidden, seed=0), nn.Linear(hidden, OUTPUTS, seed=0))
    gn.save(model, path)
    gru_native.onnx.export(model, path.with_suffix(".onnx"))


@contextmanager
def served(service: str, model: Path) -> Iterator[tuple[int, str]]:
    """Serve a model on the first CPU, and give the process and the URL of its sessions; this process has the last one.

    Raises
    ------
    ChildProcessError
        When the service does not start.
    """
    cpus = sorted(os.sched_getaffinity(0))
    store = model.with_name(f"{os.urandom(4).hex()}.db")
    options = ("--port", "0", "--threads", "1", "--durability", "none", "--store", str(store))
    try:
        os.sched_setaffinity(0, cpus[:1])  # which the process inherits
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("service.py")), service, str(model), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **dict.fromkeys(COUNTS, "1")},
        )
        os.sched_setaffinity(0, cpus[-1:])
        with process:
            found = re.search(r"//(\S+)$", process.stdout.readline() if process.stdout else "")
            if not found:
                raise ChildProcessError(f"{service}: expected a server, got none")
            try:
                yield process.pid, f"ws://{found[1]}/v1/sessions"
            finally:
                process.kill()
    finally:
        os.sched_setaffinity(0, cpus)


def turn(service: str, model: Path, load: Load, seconds: float) -> dict[str, float]:
    """Return what was measured of a service."""
    with served(service, model) as (pid, url):
        return asyncio.run(load.run(url, pid, WARM, seconds))


def same(ours: bytes, theirs: bytes) -> None:
    """Check that two services compute the same.

    Raises
    ------
    ValueError
        When they do not.
    """
    apart = np.abs(np.frombuffer(ours, np.float32) - np.frombuffer(theirs, np.float32)).max()
    if not apart <= TOLERANCE:
        raise ValueError(f"outputs: expected those of both services within {TOLERANCE}, got {apart}")


def compared(hidden: int, rate: float, options: argparse.Namespace) -> list[dict[str, object]]:
    """Return the medians of all turns, of each service."""
    frames = np.random.default_rng(0).standard_normal((options.sessions, INPUTS), np.float32)
    turns: dict[str, list[dict[str, float]]] = {service: [] for service in SERVICES}
    with TemporaryDirectory() as folder:
        model = Path(folder) / "model.safetensors"
        write(model, hidden)
        for _ in range(options.turns):
            outputs = {}
            for service in SERVICES:
                load = Load([frame.tobytes() for frame in frames], rate)
                turns[service].append(turn(service, model, load, options.seconds))
                outputs[service] = load.outputs()
            same(outputs["native"], outputs["onnxruntime"])
    names = turns["native"][0]
    figures = {
        service: {name: median(own[name] for own in found) for name in names} for service, found in turns.items()
    }
    return [{"hidden": hidden, "rate": rate, "service": service, **own} for service, own in figures.items()]


def main() -> None:
    """Let the services take turns, print what they took, and write it."""
    from gru_bench.machine import description

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hidden", type=int, nargs="+", default=[64, 256, 512], metavar="H", help="units of the GRU")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.0], metavar="N", help="steps a second, or 0")
    parser.add_argument("--sessions", type=int, default=1000, metavar="N")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="of each turn")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="of each service")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the record goes")
    options = parser.parse_args()
    found = []
    for hidden, rate in product(options.hidden, options.rates):
        for own in compared(hidden, rate, options):
            print(
                " ".join(f"{name} {figure:.5g}" if name != "service" else str(figure) for name, figure in own.items()),
                flush=True,
            )
            found.append(own)
    if options.json:
        machine = description()
        machine["packages"] |= {name: version(name) for name in ("uvicorn", "websockets")}
        with atomic_write(options.json) as file:
            file.write((json.dumps({"machine": machine, "load": found}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
