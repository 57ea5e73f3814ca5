"""What the programs with darts share: a series and how a model is trained on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from darts import TimeSeries
from pytorch_lightning import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment

from gru_native.torch import accelerate


class Accelerated(Callback):
    """Swaps the recurrent modules before the optimizer is made: darts makes its network in ``fit``."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        accelerate(pl_module)


class Losses(Callback):
    """Keeps the loss of every epoch."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.values.append(float(trainer.callback_metrics["train_loss"]))


def fitting(make: Callable[..., Any], native: bool, **options: Any) -> Callable[[], list[float]]:
    """Return what trains a model of darts and returns its losses."""
    losses = Losses()
    trainer = {
        "accelerator": "cpu",
        "callbacks": [losses, Accelerated()] if native else [losses],
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        # Where MPI is installed, Lightning would start it to find out which environment this is.
        "plugins": [LightningEnvironment()],
    }
    model = make(batch_size=32, random_state=0, pl_trainer_kwargs=trainer, **options)
    series = _series(1200)

    def work() -> list[float]:
        model.fit(series)
        return losses.values

    return work


def _series(steps: int) -> TimeSeries:
    """Return hours with a day, a week and noise in them."""
    t, rng = np.arange(steps), np.random.default_rng(0)
    values = np.sin(2 * np.pi * t / 24) + 0.5 * np.sin(2 * np.pi * t / 168) + 0.1 * rng.standard_normal(steps)
    return TimeSeries.from_values(values.astype(np.float32))
