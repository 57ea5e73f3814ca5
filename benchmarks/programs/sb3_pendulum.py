"""sb3-contrib, RecurrentPPO on Pendulum, four environments."""

from __future__ import annotations

from collections.abc import Callable

from sb3_training import training

SHAPES = "LSTM 1,4,3,256,1 and about 100,2,3,256,1, twice each, with episode starts"
MODE = "training"
TOLERANCE = 1e-4
PACKAGES = ("sb3-contrib", "stable-baselines3", "gymnasium")


def build(native: bool) -> Callable[[], list[float]]:
    """Play and learn for four updates of 128 steps in each environment."""
    return training(native, "Pendulum-v1", environments=4, steps=2048)
