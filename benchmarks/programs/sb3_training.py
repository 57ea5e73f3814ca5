"""What the programs with sb3-contrib share: how RecurrentPPO is trained."""

from __future__ import annotations

from collections.abc import Callable

import sb3_contrib
from stable_baselines3.common.env_util import make_vec_env

from gru_native.torch import sb3


def training(native: bool, name: str, environments: int, steps: int) -> Callable[[], list[float]]:
    """Return what trains a policy with an LSTM of 256, by sb3-contrib's own settings, for so many steps."""
    algorithm = sb3.RecurrentPPO if native else sb3_contrib.RecurrentPPO
    model = algorithm("MlpLstmPolicy", make_vec_env(name, environments, seed=0), seed=0, device="cpu")

    first_update = model.n_steps * environments

    def work() -> list[float]:
        # Later losses are those of other actions, because rounding decides some.
        model.learn(first_update)
        losses = [float(model.logger.name_to_value[f"train/{name}"]) for name in ("loss", "value_loss", "entropy_loss")]
        model.learn(steps - first_update, reset_num_timesteps=False)
        return losses

    return work
