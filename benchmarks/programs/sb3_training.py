"""What the programs with sb3-contrib share: how RecurrentPPO is trained."""

from __future__ import annotations

from collections.abc import Callable

import sb3_contrib
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

from gru_native.torch import sb3


class FirstUpdate(BaseCallback):
    """Keeps the losses of the first update: later ones are those of other actions, because rounding decides some."""

    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        known = self.logger.name_to_value
        if known and not self.losses:
            self.losses = [float(known[f"train/{name}"]) for name in ("loss", "value_loss", "entropy_loss")]


def training(native: bool, name: str, environments: int, steps: int) -> Callable[[], list[float]]:
    """Return what trains a policy with an LSTM of 256, by sb3-contrib's own settings, for so many steps."""
    algorithm = sb3.RecurrentPPO if native else sb3_contrib.RecurrentPPO
    model = algorithm("MlpLstmPolicy", make_vec_env(name, environments, seed=0), seed=0, device="cpu")

    def work() -> list[float]:
        first = FirstUpdate()
        model.learn(steps, callback=first)
        return first.losses

    return work
