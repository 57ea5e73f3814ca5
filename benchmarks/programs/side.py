"""One program on one side, in a process of its own: ``python side.py PROGRAM torch|native THREADS [inside]``.

It prints one line of JSON. Seconds are those of the work, without what its thread waited for a CPU that others used.
``inside`` also measures what share of them is in recurrent modules, by hooks that cost some time.
A program is a file of this folder with

- the docstring's first line: what it is;
- ``SHAPES``: T,B,I,H,L of its recurrent layers, and which they are;
- ``MODE``: training or inference;
- ``TOLERANCE``: by how much its figures may differ between the sides, relative to the largest of them;
- ``PACKAGES``: of other people, that it is made of;
- ``build(native)``: returns the work, a function without arguments that returns the program's figures, as losses.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import torch
from inside import Inside


def waited() -> float:
    """Return for how many seconds this thread has waited for a CPU that others used."""
    return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9


def main(program: str, side: str, threads: int, inside: bool) -> None:
    """Run a program and print what it took."""
    # What a package prints goes where error messages go.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    module = import_module(program)
    work = module.build(side == "native")
    watch = Inside() if inside else None
    gc.collect()  # that what was imported is looked through in the time is chance
    start, waits = perf_counter(), waited()
    figures = work()
    seconds = perf_counter() - start
    answer = {
        "title": (module.__doc__ or "").splitlines()[0].rstrip("."),
        "shapes": module.SHAPES,
        "mode": module.MODE,
        "tolerance": module.TOLERANCE,
        "packages": {package: version(package) for package in ("torch", *module.PACKAGES)},
        "seconds": seconds - (waited() - waits),
        "share": watch.seconds / seconds if watch else None,
        "operations": watch.operations if watch else None,
        "figures": figures,
    }
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:] == ["inside"])
