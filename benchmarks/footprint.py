"""What the package takes: on disk, to import, and in memory: ``python benchmarks/footprint.py FOLDER --json FILE``.

The folder has a wheel for each value of `GRU_NATIVE_BLAS`, in folders of these names. The other engines are those of
the environment. Each process imports one of them, after NumPy, and runs one forward call; they take turns.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from importlib.metadata import distribution
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

ENGINES = ("numpy", "gru_native", "onnxruntime", "torch")
SHAPE = (100, 1, 64, 64, 1)  # of the forward call: T, B, I, H, layers
RUNS = 9


def resident() -> float:
    """Return this process's resident memory in MB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024 / 1e6


def forward(engine: str, model: str) -> None:
    """Run one forward call."""
    import numpy as np

    steps, batch, inputs, hidden, _ = SHAPE
    x = np.zeros((steps, batch, inputs), np.float32)
    if engine == "gru_native":
        import gru_native

        gru_native.nn.GRU(inputs, hidden)(x)
    elif engine == "torch":
        import torch

        with torch.inference_mode():
            torch.nn.GRU(inputs, hidden)(torch.from_numpy(x))
    elif engine == "onnxruntime":
        import onnxruntime

        state = np.zeros((1, batch, hidden), np.float32)
        onnxruntime.InferenceSession(model).run(None, {"x": x, "h_0_0": state})


def measure(engine: str, model: str, paths: list[str]) -> None:
    """Print what an engine takes. This process has seen no site-packages."""
    sys.path[:0] = paths
    start = perf_counter()
    __import__("numpy")
    __import__(engine)
    import_ms = 1e3 * (perf_counter() - start)
    imported = resident()
    forward(engine, model)
    print(json.dumps({"import, ms": import_ms, "imported, MB": imported, "after a call, MB": resident()}))


def installed(package: str) -> float:
    """Return the size of a package's files in MB."""
    files = distribution(package).files or []
    return sum(file.locate().stat().st_size for file in files if file.locate().exists()) / 1e6


def footprint(folder: Path) -> dict[str, Any]:
    """Measure the wheels of a folder, and the engines beside what the wheel without a BLAS has."""
    from gru_bench.cases import Case
    from gru_bench.machine import description
    from gru_bench.peers.onnx_model import onnx_model

    wheels = {blas.name: next(blas.glob("*.whl")) for blas in folder.iterdir()}
    sizes = {}
    for blas, wheel in sorted(wheels.items()):
        with zipfile.ZipFile(wheel) as content:
            whole = sum(file.file_size for file in content.infolist()) / 1e6
        sizes[blas] = {"wheel, MB": wheel.stat().st_size / 1e6, "installed, MB": whole}
    with tempfile.TemporaryDirectory() as scratch:
        package, model = Path(scratch) / "package", Path(scratch) / "model.onnx"
        with zipfile.ZipFile(wheels["none"]) as content:
            content.extractall(package)
        model.write_bytes(onnx_model(Case(*SHAPE)))
        paths = [str(package), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
        runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in ENGINES}
        for _ in range(RUNS + 1):
            for engine in ENGINES:
                command = [sys.executable, "-I", "-S", __file__, "--engine", engine, str(model), *paths]
                runs[engine].append(json.loads(subprocess.check_output(command)))
    engines = {}
    for engine, (_, *warm) in runs.items():  # the first one has read the files
        size = sizes["none"]["installed, MB"] if engine == "gru_native" else installed(engine)
        engines[engine] = {"installed, MB": size} | {what: median(run[what] for run in warm) for what in warm[0]}
    return {"machine": description(), "wheels": sizes, "engines": engines}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    figures = footprint(arguments.folder)
    print(json.dumps(figures, indent=1))
    arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--engine"]:
        measure(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        main()
