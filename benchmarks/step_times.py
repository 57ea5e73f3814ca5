"""What a step of a live sequence takes from C, beside its kernels alone: ``python benchmarks/step_times.py PROGRAM``.

The program is `gru_native_step_times`, which the build makes. It gets models of one GRU, of the sizes of the suite
"streams".
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import gru_native as gn
from gru_bench.suites import STREAM_SIZES


def main() -> None:
    """Save the models and run the program."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{size}.safetensors" for size in STREAM_SIZES]
        for size, file in zip(STREAM_SIZES, files, strict=True):
            gn.save(gn.nn.GRU(size, size, seed=0), file)
        subprocess.run([sys.argv[1], *files], check=True)


if __name__ == "__main__":
    main()
