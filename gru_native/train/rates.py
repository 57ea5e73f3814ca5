"""Which learning rates a model takes (Smith 2017, arXiv:1506.01186)."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from gru_native import arguments
from gru_native.arguments import every, instance, number, real, shown, whole
from gru_native.io import StrPath, atomic_write
from gru_native.train.checkpoint import Run
from gru_native.train.data import Data
from gru_native.train.loop import Trainer

HIGHEST = 4.0  # times the lowest loss: training has diverged


@dataclass(frozen=True)
class RateRange:
    """What `rate_range` found.

    Attributes
    ----------
    rates, losses : list of float
        The learning rate of each step, above 0, and the loss before it.
    """

    rates: list[float]
    losses: list[float]

    def __post_init__(self) -> None:
        for name in ("rates", "losses"):
            object.__setattr__(self, name, found := every(name, getattr(self, name), real))
            if not all(map(math.isfinite, found)):
                raise ValueError(f"{name}: expected finite numbers, got {shown(found)}")
        if min(self.rates, default=1.0) <= 0:
            raise ValueError(f"rates: expected numbers above 0, got {min(self.rates):g}")
        if len(self.losses) != len(self.rates):
            raise ValueError(f"losses: expected {len(self.rates)}, one for each rate, got {len(self.losses)}")

    @property
    def smoothed(self) -> list[float]:
        """The losses as a running mean whose weights fade by a tenth a step, with the start corrected."""
        mean, found = 0.0, []
        for step, loss in enumerate(self.losses, 1):
            mean = 0.9 * mean + 0.1 * loss
            found.append(mean / (1 - 0.9**step))
        return found

    @property
    def suggestion(self) -> float:
        """The rate at which the smoothed loss falls fastest: a rate to begin with."""
        if len(self.rates) < 2:
            raise ValueError(f"rates: expected at least two steps, got {len(self.rates)}")
        slopes = np.gradient(np.array(self.smoothed), np.log(self.rates))
        return self.rates[int(slopes.argmin())]

    def plot(self, path: StrPath) -> None:
        """Draw the losses over the rates to a PNG, by matplotlib."""
        arguments.path("path", path)
        from matplotlib.figure import Figure  # an extra: not needed before somebody asks for a picture

        axes = (figure := Figure(figsize=(7, 4), layout="constrained")).subplots()
        axes.plot(self.rates, self.losses, color="#bbbbbb", linewidth=0.8, label="each step")
        axes.plot(self.rates, self.smoothed, color="#2e86ab", linewidth=1.4, label="running mean")
        axes.axvline(self.suggestion, color="#e4572e", linestyle=":", label=f"falls fastest: {self.suggestion:.2g}")
        axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=120)


def rate_range(
    trainer: Trainer, data: Data, *, lowest: float = 1e-6, highest: float = 1.0, steps: int = 100
) -> RateRange:
    """Train a copy for some steps with a learning rate that rises evenly on a log scale, until it diverges.

    Parameters
    ----------
    trainer
        Nothing of it changes. Its schedule has no part in this.
    data
        As for `Trainer.fit`.
    lowest, highest
        The first and the last rate.
    steps
        At most so many; fewer when the loss is no longer finite, or its running mean exceeds four times its lowest.

    Examples
    --------
    ::

        found = rate_range(trainer, data)
        found.plot("rates.png")
        trainer.optimizer.lr = found.suggestion
    """
    instance("trainer", trainer, Trainer, "a Trainer")
    trainer._refuse_misfit("data", data)
    lowest = number("lowest", lowest, below=math.inf)
    highest = number("highest", highest, below=math.inf)
    if not 0 < lowest < highest:
        raise ValueError(f"lowest: expected a rate above 0 and below highest, {highest:g}, got {lowest:g}")
    trial = deepcopy(trainer)
    trial.schedule, run = None, Run(trial.epoch)
    found = RateRange([], [])
    groups = trial._groups(data, run, 1)
    for rate in np.geomspace(lowest, highest, whole("steps", steps, 2)).tolist():
        trial.optimizer.lr = rate
        try:
            record = trial._update(next(groups), data, run)
        except FloatingPointError:
            break
        found.rates.append(rate)
        found.losses.append(record.loss)
        if found.smoothed[-1] > HIGHEST * min(found.smoothed):
            break
    return found
