"""Learning-rate schedules: values by hand, PyTorch's trajectory, exact resuming, bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

from gru_native import schedules
from gru_native.nn.module import Module
from gru_native.optim import SGD, Adam, Optimizer
from gru_native.schedules import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

# Made with the library (ours or torch's, whose names are the same) and an optimizer.
Make = Callable[[Any, Any], Any]


def warm_up_then_cosine(lib: Any, optimizer: Any) -> Any:
    warm_up = lib.LinearLR(optimizer, start_factor=0.01, total_iters=20)
    return lib.SequentialLR(optimizer, [warm_up, lib.CosineAnnealingLR(optimizer, 180, 1e-4)], [20])


def three_in_a_row(lib: Any, optimizer: Any) -> Any:
    parts = [lib.LinearLR(optimizer), lib.StepLR(optimizer, 10, 0.5), lib.ExponentialLR(optimizer, 0.9)]
    return lib.SequentialLR(optimizer, parts, [7, 107])


CLOSED_FORMS: dict[str, Make] = {
    "step": lambda lib, opt: lib.StepLR(opt, 30),
    "step of one": lambda lib, opt: lib.StepLR(opt, step_size=1, gamma=0.97),
    "multi-step": lambda lib, opt: lib.MultiStepLR(opt, [80, 3, 80, 150], gamma=0.5),
    "exponential": lambda lib, opt: lib.ExponentialLR(opt, 0.98),
    "cosine": lambda lib, opt: lib.CosineAnnealingLR(opt, T_max=199, eta_min=1e-3),
    "cosine and up again": lambda lib, opt: lib.CosineAnnealingLR(opt, 60, 1e-3),
    "linear": lambda lib, opt: lib.LinearLR(opt),
    "linear decay": lambda lib, opt: lib.LinearLR(opt, start_factor=1.0, end_factor=0.1, total_iters=150),
    "warm-up, then cosine": warm_up_then_cosine,
    "three in a row": three_in_a_row,
}
PLATEAUS: dict[str, Make] = {
    "plateau": lambda lib, opt: lib.ReduceLROnPlateau(opt, patience=5),
    "plateau, max": lambda lib, opt: lib.ReduceLROnPlateau(opt, "max", factor=0.5, patience=3, cooldown=4),
    "plateau, abs": lambda lib, opt: lib.ReduceLROnPlateau(
        opt, factor=0.7, patience=2, threshold=0.3, threshold_mode="abs", min_lr=2e-3
    ),
    "plateau, max, abs": lambda lib, opt: lib.ReduceLROnPlateau(
        opt, "max", factor=0.8, patience=0, threshold=0.1, threshold_mode="abs", eps=0.01
    ),
}
SCHEDULES = {**CLOSED_FORMS, **PLATEAUS}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def sgd(lr: float = 0.1) -> SGD:
    return SGD(Module({"w": np.ones(1)}), lr=lr)


def rates(optimizer: Optimizer, schedule: Any, steps: int) -> list[float]:
    found = [optimizer.lr]
    for _ in range(steps):
        schedule.step()
        found.append(optimizer.lr)
    return found


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda opt: StepLR(opt, 2), [8, 8, 0.8, 0.8, 0.08]),
        (lambda opt: MultiStepLR(opt, [3, 1, 3], gamma=0.5), [8, 4, 4, 1, 1]),
        (lambda opt: ExponentialLR(opt, 0.5), [8, 4, 2, 1]),
        (lambda opt: CosineAnnealingLR(opt, 4, eta_min=2), [8, 5 + 3 * 0.5**0.5, 5, 5 - 3 * 0.5**0.5, 2]),
        (lambda opt: LinearLR(opt, 0.25, total_iters=3), [2, 4, 6, 8, 8]),
        (lambda opt: LinearLR(opt, 1.0, 0.5, total_iters=2), [8, 6, 4, 4]),
        (
            lambda opt: SequentialLR(opt, [LinearLR(opt, 0.25, total_iters=3), ExponentialLR(opt, 0.5)], [3]),
            [2, 4, 6, 8, 4, 2],
        ),
        (lambda opt: SequentialLR(opt, [LinearLR(opt), ExponentialLR(opt, 0.5)], [0]), [8, 4, 2]),
    ],
)
def test_values_by_hand(make: Callable[[Optimizer], Any], expected: list[float]) -> None:
    optimizer = sgd(lr=8.0)
    assert_close(rates(optimizer, make(optimizer), len(expected) - 1), expected, "float64")


def test_plateau_by_hand() -> None:
    optimizer = sgd(lr=8.0)
    schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1, cooldown=1, min_lr=1.5)
    # The first metric is the best; one bad step is let pass, the second lowers the rate; a step of cooldown.
    for metric, lr in [
        (1.0, 8),
        (1.0, 8),
        (math.nan, 4),
        (9.0, 4),
        (9.0, 4),
        (9.0, 2),
        (0.5, 2),
        (0.6, 2),
        (0.6, 1.5),
    ]:
        schedule.step(metric)
        assert optimizer.lr == lr, metric


@every_schedule
def test_follows_torch_for_200_steps(name: str, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    curvature, initial = rng.uniform(0.1, 2.0, 5), rng.standard_normal(5)
    model = Module({"w": initial})
    optimizer = SGD(model, lr=0.1)
    schedule = SCHEDULES[name](schedules, optimizer)
    parameter = torch.nn.Parameter(torch.tensor(initial))
    their_optimizer = torch.optim.SGD([parameter], lr=0.1)
    theirs = SCHEDULES[name](torch.optim.lr_scheduler, their_optimizer)
    seen = set()
    for step in range(200):
        lr = their_optimizer.param_groups[0]["lr"]
        assert_close(optimizer.lr, lr, "trajectory", f"step {step}")
        seen.add(lr)
        optimizer.step({"w": curvature * model.parameters()["w"]})
        parameter.grad = torch.from_numpy(curvature * parameter.detach().numpy())
        their_optimizer.step()
        assert_close(model.parameters()["w"], parameter.detach().numpy(), "trajectory", f"step {step}")
        metric = [rng.uniform(0.0, 1.0) + (step % 70) / 30] if "plateau" in name else []
        schedule.step(*metric)
        theirs.step(*metric)
    assert len(seen) > 2


@every_schedule
def test_resumes_with_the_same_bits(name: str, rng: np.random.Generator) -> None:
    metrics = [[metric] if "plateau" in name else [] for metric in rng.uniform(0.5, 1.0, 60)]
    optimizer = sgd()
    schedule = SCHEDULES[name](schedules, optimizer)
    for metric in metrics[:31]:
        schedule.step(*metric)
    # JSON keeps every bit of a float.
    saved = json.loads(json.dumps([optimizer.state_dict(), schedule.state_dict()]))

    def resumed(order: str) -> tuple[Optimizer, Any]:
        new_optimizer = sgd(lr=0.7)
        if order == "optimizer first":
            new_optimizer.load_state_dict(saved[0])
        new_schedule = SCHEDULES[name](schedules, new_optimizer)
        new_schedule.load_state_dict(saved[1])
        if order == "schedule first" or "plateau" in name:
            new_optimizer.load_state_dict(saved[0])
        return new_optimizer, new_schedule

    # The closed forms bring the rate back on their own.
    others = [resumed(order) for order in ("optimizer first", "schedule first", "schedule alone")]
    for metric in [None, *metrics[31:]]:
        for other_optimizer, other_schedule in [(optimizer, schedule), *others]:
            if metric is not None:
                other_schedule.step(*metric)
            assert other_optimizer.lr == optimizer.lr
            assert other_schedule.state_dict() == schedule.state_dict()


def test_a_rate_set_before_the_first_schedule_counts() -> None:
    optimizer = Adam(Module({"w": np.ones(1)}), lr=1.0)
    optimizer.lr = 0.5
    first = ExponentialLR(optimizer, 0.5)
    assert rates(optimizer, first, 1) == [0.5, 0.25]
    assert ExponentialLR(optimizer, 0.1).base_lr == 0.5  # both reckon from the same rate, as in PyTorch
    assert optimizer.lr == 0.5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda opt: StepLR(opt, 0), ValueError, "step_size: expected a whole number from 1 up, got 0"),
        (lambda opt: CosineAnnealingLR(opt, 0), ValueError, "T_max: expected a whole number from 1 up, got 0"),
        (lambda opt: LinearLR(opt, total_iters=0), ValueError, "total_iters: expected a whole number from 1 up, got 0"),
        (
            lambda opt: LinearLR(opt, 0.0),
            ValueError,
            "start_factor: expected a number above 0 and up to 1, got 0",
        ),
        (lambda opt: LinearLR(opt, 1.5), ValueError, "start_factor: .* got 1.5"),
        (
            lambda opt: LinearLR(opt, end_factor=-0.5),
            ValueError,
            "end_factor: expected a number from 0 to 1, got -0.5",
        ),
        (lambda opt: ReduceLROnPlateau(opt, factor=1.0), ValueError, "factor: .* not including 1, got 1.0"),
        (lambda opt: ReduceLROnPlateau(opt, "low"), ValueError, "mode: expected 'min' or 'max', got 'low'"),
        (
            lambda opt: ReduceLROnPlateau(opt, threshold_mode="x"),
            ValueError,
            "threshold_mode: expected 'rel' or 'abs', got 'x'",
        ),
        (lambda opt: SequentialLR(opt, [], []), ValueError, "schedulers: expected at least one"),
        (
            lambda opt: SequentialLR(opt, [LinearLR(opt)], [3]),
            ValueError,
            "milestones: expected one fewer than the 1 schedulers, got 1",
        ),
        (
            lambda opt: SequentialLR(opt, [LinearLR(opt)] * 3, [5, 3]),
            ValueError,
            r"milestones: expected increasing step numbers, got \[5, 3\]",
        ),
        (
            lambda opt: SequentialLR(opt, [LinearLR(opt), ReduceLROnPlateau(opt)], [3]),
            TypeError,
            r"schedulers\[1\]: expected a closed-form Schedule, got ReduceLROnPlateau",
        ),
        (
            lambda opt: SequentialLR(opt, [LinearLR(sgd())], []),
            ValueError,
            r"schedulers\[0\]: belongs to another optimizer",
        ),
    ],
)
def test_bad_arguments(make: Callable[[Optimizer], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(sgd())


@pytest.mark.parametrize("make", [lambda opt: StepLR(opt, 3), ReduceLROnPlateau])
def test_a_bad_state_is_refused(make: Callable[[Optimizer], Any]) -> None:
    schedule = make(sgd())
    before = schedule.state_dict()
    for state in ({}, {**before, "gamma": 1.0}):
        with pytest.raises(ValueError, match=r"state_dict: expected the entries \[.*'last_epoch'.*\], got \["):
            schedule.load_state_dict(state)
    assert schedule.state_dict() == before


@pytest.mark.parametrize(
    ("entry", "value", "error"),
    [
        ("last_epoch", -1, ValueError),
        ("last_epoch", 1.5, TypeError),
        ("last_epoch", math.inf, TypeError),
        ("last_epoch", 10**30, ValueError),
        ("last_epoch", None, TypeError),
        ("last_epoch", [1], TypeError),
        ("last_epoch", "1", TypeError),
        ("last_epoch", 10**6, ValueError),  # the rate would be more than a float holds
        ("base_lr", -1.0, ValueError),
        ("base_lr", math.nan, ValueError),
    ],
)
def test_a_bad_entry_is_refused_whole(entry: str, value: Any, error: type[Exception]) -> None:
    optimizer = sgd()
    schedule = ExponentialLR(optimizer, 1.1)
    schedule.step()
    before = (schedule.state_dict(), optimizer.state_dict())
    with pytest.raises(error, match="state_dict"):
        schedule.load_state_dict({**schedule.state_dict(), entry: value})
    assert (schedule.state_dict(), optimizer.state_dict()) == before


@pytest.mark.parametrize("entry", ["last_epoch", "num_bad_epochs", "cooldown_counter"])
@pytest.mark.parametrize("value", [-1, 0.5, math.nan, "1"])
def test_a_bad_entry_of_a_plateau_is_refused(entry: str, value: Any) -> None:
    schedule = ReduceLROnPlateau(sgd())
    before = schedule.state_dict()
    with pytest.raises((ValueError, TypeError), match=rf"state_dict\['{entry}'\]: expected a"):
        schedule.load_state_dict({**before, entry: value})
    assert schedule.state_dict() == before
