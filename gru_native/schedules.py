"""Learning-rate schedules, under PyTorch's names and with its meaning.

A schedule sets `optimizer.lr`: when it is made, to the first value, and at each `step()` to the next one.
Call `step()` after `optimizer.step(grads)`, as often as suits the schedule: once an update, or once an epoch.

The rate is a closed form of the number of calls, reckoned from the rate that the optimizer had when its first
schedule was made (`optimizer.initial_lr`). So a resumed run has the same bits as one that never stopped; a
rate set by hand in between lasts until the next `step()`. Only `ReduceLROnPlateau`, which looks at a metric,
goes by the current rate.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from gru_native.arguments import every, instance, mapping, number, one_of, real, whole, wholes
from gru_native.changes import Change, make
from gru_native.optim import Optimizer

__all__ = [
    "CosineAnnealingLR",
    "ExponentialLR",
    "LinearLR",
    "MultiStepLR",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
]


class Schedule:
    """Base of the schedules that are a closed form of the step number: a subclass gives `lr_at`.

    Attributes
    ----------
    last_epoch : int
        Calls of `step` so far (PyTorch's name).
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = _optimizer(optimizer)
        if optimizer.initial_lr is None:
            optimizer.initial_lr = float(optimizer.lr)
        self.last_epoch = 0
        optimizer.lr = self.lr_at(0)

    @property
    def base_lr(self) -> float:
        """The rate from which this schedule reckons, common to all schedules of the optimizer."""
        return cast(float, self.optimizer.initial_lr)  # the constructor sets it

    def lr_at(self, epoch: int) -> float:
        """Return the learning rate after `epoch` calls of `step`."""
        raise NotImplementedError

    def step(self) -> None:
        """Count one step and set the optimizer's learning rate."""
        make(self.prepare_step())

    def prepare_step(self) -> list[Change]:
        """Return how the schedule and the optimizer change with a step. Nothing has changed yet."""
        last_epoch = self.last_epoch + 1
        return [Change(self, {"last_epoch": last_epoch}), Change(self.optimizer, {"lr": self._rate(last_epoch)})]

    def _rate(self, epoch: int) -> float:
        try:
            return self.lr_at(epoch)
        except OverflowError as error:
            raise ValueError(f"state_dict, step: no learning rate at last_epoch {epoch}: {error}") from error

    def state_dict(self) -> dict[str, float]:
        """Return the position in the schedule; arguments are the constructor's business."""
        return {"last_epoch": self.last_epoch, "base_lr": self.base_lr}

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Restore what `state_dict` returned and set the optimizer's learning rate.

        Raises
        ------
        ValueError, TypeError
            When an entry is missing, unknown or no number that it can be; nothing has changed then.
        """
        make(self.prepare_load(state_dict))

    def prepare_load(self, state_dict: Mapping[str, float]) -> list[Change]:
        """Check a state as `load_state_dict` does, and return how the schedule and the optimizer change with it."""
        state = _checked_state(state_dict, self.state_dict())
        last_epoch, base_lr = state["last_epoch"], state["base_lr"]
        rates = {"initial_lr": base_lr, "lr": self._lr_from(base_lr, last_epoch)}
        return [Change(self, {"last_epoch": last_epoch}), Change(self.optimizer, rates)]

    def _lr_from(self, base_lr: float, epoch: int) -> float:
        present, self.optimizer.initial_lr = self.optimizer.initial_lr, base_lr
        try:
            return self._rate(epoch)
        finally:
            self.optimizer.initial_lr = present


class StepLR(Schedule):
    """Multiply the rate by `gamma` every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = whole("step_size", step_size)
        self.gamma = _finite("gamma", gamma)
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        epoch = whole("epoch", epoch, 0)
        return self.base_lr * self.gamma ** (epoch // self.step_size)


class MultiStepLR(Schedule):
    """Multiply the rate by `gamma` at each of `milestones`; one that stands twice counts twice."""

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(wholes("milestones", milestones, 0))
        self.gamma = _finite("gamma", gamma)
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        epoch = whole("epoch", epoch, 0)
        return self.base_lr * self.gamma ** bisect_right(self.milestones, epoch)


class ExponentialLR(Schedule):
    """Multiply the rate by `gamma` every step."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = _finite("gamma", gamma)
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        epoch = whole("epoch", epoch, 0)
        return self.base_lr * self.gamma**epoch


class CosineAnnealingLR(Schedule):
    """Half a cosine from the initial rate down to `eta_min` at step `T_max`, and up again after it.

    References
    ----------
    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, equation 5,
    without the restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = whole("T_max", T_max)
        self.eta_min = _finite("eta_min", eta_min)
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        epoch = whole("epoch", epoch, 0)
        return self.eta_min + (self.base_lr - self.eta_min) * (1.0 + math.cos(math.pi * epoch / self.T_max)) / 2.0


class LinearLR(Schedule):
    """Multiply the rate by a factor that goes from `start_factor` to `end_factor` in `total_iters` steps.

    The usual warm-up; `SequentialLR` puts it before another schedule.

    Raises
    ------
    ValueError
        Unless 0 < start_factor <= 1, 0 <= end_factor <= 1 and total_iters >= 1.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3.0,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ) -> None:
        self.start_factor = number("start_factor", start_factor, most=1.0)
        if self.start_factor == 0.0:
            raise ValueError("start_factor: expected a number above 0 and up to 1, got 0")
        self.end_factor = number("end_factor", end_factor, most=1.0)
        self.total_iters = whole("total_iters", total_iters)
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        epoch = whole("epoch", epoch, 0)
        progress = min(self.total_iters, epoch) / self.total_iters
        return self.base_lr * (self.start_factor + (self.end_factor - self.start_factor) * progress)


class SequentialLR(Schedule):
    """One schedule after another: the next one starts, from its own step 0, at each milestone.

    Parameters
    ----------
    optimizer : Optimizer
    schedulers : sequence of Schedule
        Schedules of the same optimizer. `ReduceLROnPlateau` cannot be among them.
    milestones : sequence of int
        The steps at which the second, third, ... schedule takes over, increasing.
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[Schedule], milestones: Sequence[int]) -> None:
        schedulers = every("schedulers", schedulers, _closed_form)
        milestones = wholes("milestones", milestones, 0)
        if not schedulers:
            raise ValueError("schedulers: expected at least one")
        for index, schedule in enumerate(schedulers):
            if schedule.optimizer is not optimizer:
                raise ValueError(f"schedulers[{index}]: belongs to another optimizer")
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                f"milestones: expected one fewer than the {len(schedulers)} schedulers, got {len(milestones)}"
            )
        if list(milestones) != sorted(milestones):
            raise ValueError(f"milestones: expected increasing step numbers, got {list(milestones)}")
        self.schedulers = tuple(schedulers)
        self.milestones = milestones
        super().__init__(optimizer)

    def lr_at(self, epoch: int) -> float:
        epoch = whole("epoch", epoch, 0)
        index = bisect_right(self.milestones, epoch)
        start = self.milestones[index - 1] if index else 0
        return self.schedulers[index].lr_at(epoch - start)


class ReduceLROnPlateau:
    """Multiply the rate by `factor` when a metric has not improved for more than `patience` steps.

    Parameters
    ----------
    optimizer : Optimizer
    mode : {"min", "max"}
        Whether a smaller or a larger metric is better.
    factor : float
        Below 1.
    patience : int
        Steps without improvement that are let pass.
    threshold : float
        What counts as an improvement: beyond ``best * (1 ∓ threshold)`` ("rel") or ``best ∓ threshold``
        ("abs").
    threshold_mode : {"rel", "abs"}
    cooldown : int
        Steps after a reduction during which no step counts as bad.
    min_lr : float
        The rate is not brought below this.
    eps : float
        A reduction by no more than this is not made.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.optimizer = _optimizer(optimizer)
        self.mode = one_of("mode", mode, ("min", "max"))
        self.factor = number("factor", factor, below=1.0)
        self.patience = whole("patience", patience, 0)
        self.threshold = _finite("threshold", threshold)
        self.threshold_mode = one_of("threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = whole("cooldown", cooldown, 0)
        self.min_lr = _finite("min_lr", min_lr)
        self.eps = _finite("eps", eps)
        self.last_epoch = 0
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = 0
        self.cooldown_counter = 0

    def step(self, metric: float) -> None:
        """Take note of the metric and lower the learning rate if it is time. NaN is no improvement."""
        make(self.prepare_step(metric))

    def prepare_step(self, metric: float) -> list[Change]:
        """Return how the schedule and the optimizer change with a step. Nothing has changed yet."""
        metric = real("metric", metric)
        better = self._is_better(metric)
        resting = self.cooldown_counter > 0
        bad = 0 if better or resting else self.num_bad_epochs + 1
        due = bad > self.patience
        state = {
            "last_epoch": self.last_epoch + 1,
            "best": metric if better else self.best,
            "num_bad_epochs": 0 if due else bad,
            "cooldown_counter": self.cooldown if due else self.cooldown_counter - resting,
        }
        return [Change(self, state), Change(self.optimizer, {"lr": self._reduced()} if due else {})]

    def _is_better(self, metric: float) -> bool:
        sign = -1.0 if self.mode == "min" else 1.0
        if self.threshold_mode == "rel":
            bound = self.best * (1.0 + sign * self.threshold)
        else:
            bound = self.best + sign * self.threshold
        return metric < bound if self.mode == "min" else metric > bound

    def _reduced(self) -> float:
        lr = max(self.optimizer.lr * self.factor, self.min_lr)
        return lr if self.optimizer.lr - lr > self.eps else self.optimizer.lr

    def state_dict(self) -> dict[str, float]:
        """Return what has been seen so far. The learning rate itself is in the optimizer's `state_dict`."""
        return {
            "last_epoch": self.last_epoch,
            "best": self.best,
            "num_bad_epochs": self.num_bad_epochs,
            "cooldown_counter": self.cooldown_counter,
        }

    def load_state_dict(self, state_dict: Mapping[str, float]) -> None:
        """Restore what `state_dict` returned.

        Raises
        ------
        ValueError, TypeError
            When an entry is missing, unknown or no number that it can be; nothing has changed then.
        """
        make(self.prepare_load(state_dict))

    def prepare_load(self, state_dict: Mapping[str, float]) -> list[Change]:
        """Check a state as `load_state_dict` does, and return how the schedule changes with it."""
        return [Change(self, _checked_state(state_dict, self.state_dict()))]


def _optimizer(optimizer: Any) -> Optimizer:
    return instance("optimizer", optimizer, Optimizer, "an Optimizer")


def _closed_form(name: str, schedule: Any) -> Schedule:
    return instance(name, schedule, Schedule, "a closed-form Schedule")


def _finite(name: str, value: Any) -> float:
    return number(name, value, -math.inf, below=math.inf)


def _checked_state(state_dict: Mapping[str, float], own: Mapping[str, float]) -> dict[str, Any]:
    """Return the state as Python's numbers, which come from JSON or from arrays without dimensions as well."""
    state = mapping("state_dict", state_dict, "numbers")
    if state.keys() != own.keys():
        raise ValueError(f"state_dict: expected the entries {sorted(own)}, got {sorted(state)}")
    return {name: _entry(name, state[name], isinstance(value, int)) for name, value in own.items()}


def _entry(name: str, value: Any, counts: bool) -> float:
    called = f"state_dict[{name!r}]"
    if counts:
        return whole(called, value, 0)
    return number(called, value, -math.inf) if name == "best" else number(called, value, below=math.inf)
