"""What sb3-contrib's LSTM policy reaches on CartPole with their RecurrentPPO and with ours, seed by seed.

python benchmarks/programs/sb3_returns.py [--seeds 5] [--steps 20000] [--json FILE]

Rounding decides some actions sooner or later, after which the sides train on other episodes: only the spread over
seeds can tell whether they learn alike.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import sb3_contrib
import torch
from stable_baselines3.common.env_util import make_vec_env

from gru_native.io import atomic_write
from gru_native.torch import sb3

SIDES: dict[str, tuple[Any, str]] = {
    "theirs": (sb3_contrib.RecurrentPPO, "MlpLstmPolicy"),
    "ours": (sb3.RecurrentPPO, "MlpLstmPolicy"),
    "our GRU": (sb3.RecurrentPPO, "MlpGruPolicy"),
}


def returned(algorithm: Any, policy: str, seed: int, steps: int) -> float:
    """Train, and return the mean return of the last hundred episodes."""
    model = algorithm(policy, make_vec_env("CartPole-v1", 4, seed=seed), seed=seed, device="cpu")
    model.learn(steps)
    return fmean(float(episode["r"]) for episode in model.ep_info_buffer)


def main() -> None:
    """Train all of them, print a line for each and, when asked to, keep the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    record = {}
    for name, side in SIDES.items():
        found = [round(returned(*side, seed, options.steps), 1) for seed in range(options.seeds)]
        print(f"{name:8} mean {fmean(found):.1f} deviation {stdev(found):.1f} of {found}", flush=True)
        record[name] = found
    if options.json:
        with atomic_write(options.json) as file:
            file.write(json.dumps({"steps": options.steps, "returns": record}, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
