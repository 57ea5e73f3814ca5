"""Keeps a program compiled against the present header, which later libraries must run: for a new GN_ABI_VERSION."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import gru_native as gn

FOLDER = Path(__file__).parent

shutil.copy(Path(gn.get_include()) / "gru_native.h", FOLDER)
model = gn.nn.Sequential(gn.nn.LSTM(3, 4, seed=1), gn.nn.MeanPooling(), gn.nn.Linear(4, 2, seed=2))
gn.save(model, FOLDER / "model.safetensors")
small = ["-Os", "-s", "-fno-asynchronous-unwind-tables", "-Wl,-z,noseparate-code,-z,norelro,--build-id=none"]
subprocess.run(
    ["cc", "-std=c11", *small, f"-I{FOLDER}", FOLDER / "program.c", gn.get_library(), "-o", FOLDER / "program"],
    check=True,
)
