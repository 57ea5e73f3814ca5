"""What a step of a live sequence takes from C and from Python: ``python benchmarks/step_times.py PROGRAM``.

The program is `gru_native_step_times`, which the build makes, and sets the step beside its kernels alone. From Python
it stands beside reading the weights from the cache that holds them. Each is the least of many repetitions, of a model
of one GRU of the sizes of the suite "streams".
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from timeit import repeat
from typing import Any

import numpy as np

import gru_native as gn
from gru_bench.suites import STREAM_SIZES
from gru_native import _core


def nanoseconds(code: str, names: dict[str, Any], calls: int) -> float:
    """Return the time of a piece of Python, without the loop around it."""
    took, loop = (min(repeat(each, globals=names, repeat=200, number=calls)) for each in (code, "pass"))
    return 1e9 * (took - loop) / calls


def from_python(model: gn.nn.GRU) -> None:
    """Print a row."""
    size = model.hidden_size
    x, out = np.ones((2, 1, size), np.float32)
    names = {"step": model.stream().step, "x": x, "out": out}
    calls = max(20, 2_000_000 // size**2)
    new, given = (nanoseconds(code, names, calls) for code in ("step(x)", "step(x, out=out)"))
    weights = sum(array.nbytes for array in model.parameters().values())
    reading = min(1e9 * _core.read_seconds(weights, calls, 1) / calls for _ in range(200))
    print(f"{size:6} {new:12.1f} {given:12.1f} {reading:12.1f} {new / reading:8.2f} {given / reading:8.2f}")


def main() -> None:
    """Save the models, run the program and print what Python takes."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{size}.safetensors" for size in STREAM_SIZES]
        for size, file in zip(STREAM_SIZES, files, strict=True):
            gn.save(gn.nn.GRU(size, size, seed=0), file)
        subprocess.run([sys.argv[1], *files], check=True)
        print("     H  step(x), ns     out=, ns  reading, ns    times    times", flush=True)
        for file in files:
            from_python(gn.load(file))


if __name__ == "__main__":
    main()
