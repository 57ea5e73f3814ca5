"""sb3-contrib, RecurrentPPO on CartPole."""

from __future__ import annotations

from collections.abc import Callable

from sb3_training import training

SHAPES = "LSTM 1,1,4,256,1 and about 30,7,4,256,1, twice each, with episode starts"
MODE = "training"
TOLERANCE = 1e-4
PACKAGES = ("sb3-contrib", "stable-baselines3", "gymnasium")


def build(native: bool) -> Callable[[], list[float]]:
    """Play and learn for ten updates of 128 steps."""
    return training(native, "CartPole-v1", environments=1, steps=1280)
