"""What a second core is worth by MPI: steps of a `Trainer` on one rank and on two, each pinned to a core.

Each job is a few steps of training on random numbers, in processes of its own; jobs take turns. All have two shards but
the one that is named "whole", which trains as without MPI. Also timed is the sum of the gradients alone.

    make ranks
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from gru_native import nn, optim
from gru_native.losses import CrossEntropyLoss
from gru_native.train import Batches, Trainer

CLASSES, STEPS, WARM, SUMS = 10, 10, 2, 10
# Shards and ranks; all on one thread.
JOBS = {"whole": (1, 1), "one rank": (2, 1), "two ranks": (2, 2)}


class Case(NamedTuple):
    """Steps, rows and sizes of a batch for a GRU."""

    steps: int
    rows: int
    inputs: int
    hidden: int
    layers: int

    @property
    def name(self) -> str:
        """The sizes as T,B,I,H,L."""
        return ",".join(map(str, self))


CASES = (Case(50, 32, 32, 64, 1), Case(50, 64, 64, 256, 1), Case(50, 64, 128, 512, 1), Case(10, 32, 512, 1024, 2))


def timed(case: Case, shards: int) -> dict[str, float]:
    """Return the seconds of a step and of a sum of gradients, in the median, and the bytes of the gradients."""
    from mpi4py import MPI

    model = nn.Sequential(
        nn.GRU(case.inputs, case.hidden, case.layers, batch_first=True, seed=0),
        nn.LastPooling(batch_first=True),
        nn.Linear(case.hidden, CLASSES, seed=0),
    )
    rng = np.random.default_rng(0)
    x = rng.standard_normal((case.rows, case.steps, case.inputs)).astype(np.float32)
    trainer = Trainer(
        model,
        CrossEntropyLoss(),
        optim.Adam(model),
        threads=1,
        shards=shards,
        communicator=MPI.COMM_WORLD if shards > 1 else None,
    )
    data = Batches(x, rng.integers(0, CLASSES, case.rows), case.rows)
    history = trainer.fit(data, steps=WARM + STEPS, progress=False)
    took = np.diff([record.seconds for record in history])[WARM - 1 :]
    own, sums = trainer._shards, []
    for _ in range(SUMS):
        began = perf_counter()
        own.summed([model.parameters()] * len(own.own))
        sums.append(perf_counter() - began)
    size = sum(array.nbytes for array in model.parameters().values())
    return {"step": median(took.tolist()), "sum": median(sums), "bytes": size}


def run(case: Case, job: str) -> dict[str, float]:
    """Return what rank 0 of a job says."""
    shards, ranks = JOBS[job]
    command = [str(Path(sys.executable).with_name("mpirun")), "--allow-run-as-root", "--bind-to", "core"]
    command += ["-n", str(ranks), sys.executable, __file__, "--one", case.name, str(shards)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[0])
    return found


def record(case: Case, runs: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Return the figures of all runs of a case: medians, in ms and MB, and what two ranks make of two cores."""
    ms = {job: 1e3 * median(each[job]["step"] for each in runs) for job in JOBS}
    return {
        "case": case.name,
        "megabytes": runs[0]["whole"]["bytes"] / 1e6,
        **ms,
        "sum": 1e3 * median(each["two ranks"]["sum"] for each in runs),
        "efficiency": ms["one rank"] / ms["two ranks"] / 2,
        "beside whole": ms["whole"] / ms["two ranks"] / 2,
    }


def main() -> None:
    """Run all jobs in turns, print the figures, and write them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, metavar="N", help="of each job")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the record goes")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sizes, shards = options.one
        print(json.dumps(timed(Case(*map(int, sizes.split(","))), int(shards))), flush=True)
        return

    from gru_bench.machine import description
    from gru_native.io import atomic_write

    found = []
    for case in CASES:
        found.append(record(case, [{job: run(case, job) for job in JOBS} for _ in range(options.runs)]))
        print(" ".join(f"{name} {value if name == 'case' else f'{value:.3g}'}," for name, value in found[-1].items()))
    if options.json:
        machine = description()
        machine["packages"] |= {name: version(name) for name in ("mpi4py", "openmpi")}
        with atomic_write(options.json) as file:
            file.write((json.dumps({"machine": machine, "ranks": found}, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
