"""The range test of learning rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gru_native import nn, optim
from gru_native.losses import MSELoss
from gru_native.schedules import StepLR
from gru_native.train import Batches, RateRange, Trainer, rate_range


def quadratic(kind: Any = optim.SGD) -> tuple[Trainer, Batches]:
    """One weight and a curvature of 2: from a rate of 1 on, gradient descent diverges."""
    x = np.ones((16, 1))
    model = nn.Linear(1, 1, bias=False, dtype="float64", seed=3)
    optimizer = kind(model, lr=0.25)
    trainer = Trainer(model, MSELoss(), optimizer, schedule=StepLR(optimizer, 2), max_norm=1e9)
    return trainer, Batches(x, 3 * x, 4, shuffle=True)


def test_the_rates_rise_until_it_diverges() -> None:
    trainer, data = quadratic()
    found = rate_range(trainer, data, lowest=1e-4, highest=100.0, steps=60)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 100.0, 60)[: len(found.rates)])
    assert 1.0 < found.rates[-1] < 100.0
    assert found.losses[0] == pytest.approx(MSELoss()(trainer.model(np.ones((1, 1))), np.full((1, 1), 3.0)))
    assert found.smoothed[0] == pytest.approx(found.losses[0])
    assert 1e-3 < found.suggestion < 1.0


def test_nothing_of_the_trainer_changes() -> None:
    trainer, data = quadratic(optim.Adam)
    trainer.fit(data, epochs=1, progress=False)
    before, state = trainer.model.state_dict(), trainer.optimizer.state_dict()
    kept = trainer.step, trainer.epoch, trainer.schedule.state_dict()  # type: ignore[union-attr]
    rate_range(trainer, data, steps=10)
    assert all(array is before[name] for name, array in trainer.model.state_dict().items())
    assert trainer.optimizer.state_dict() == state
    assert (trainer.step, trainer.epoch, trainer.schedule.state_dict()) == kept  # type: ignore[union-attr]
    again, _ = quadratic(optim.Adam)
    again.fit(data, epochs=1, progress=False)
    for one in (again, trainer):
        one.fit(data, epochs=1, progress=False)
    np.testing.assert_array_equal(again.model.state_dict()["weight"], trainer.model.state_dict()["weight"])


def test_a_loss_that_is_not_finite_ends_it() -> None:
    trainer, data = quadratic()
    trainer.max_norm = None
    found = rate_range(trainer, data, lowest=1e-3, highest=1e300, steps=20)
    assert 1 < len(found.rates) < 20
    assert np.isfinite(found.losses).all()


def test_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    trainer, data = quadratic()
    rate_range(trainer, data, steps=30).plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 5_000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lowest": 0.0}, "lowest: expected a rate above 0 and below highest, 1, got 0"),
        ({"lowest": 2.0}, "lowest: expected a rate above 0 and below highest, 1, got 2"),
        ({"steps": 1}, "steps: expected a whole number from 2 up, got 1"),
        ({"highest": float("inf")}, "highest: expected a finite number from 0 up, got inf"),
    ],
)
def test_what_is_refused(given: dict[str, Any], message: str) -> None:
    trainer, data = quadratic()
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        rate_range(**{"trainer": trainer, "data": data} | given)
    with pytest.raises(ValueError, match="^rates: expected at least two steps, got 1"):
        _ = RateRange([0.1], [1.0]).suggestion


@pytest.mark.parametrize(
    ("rates", "losses", "message"),
    [
        ([0.1, 10**400], [1.0, 2.0], r"rates\[1\]: expected a number"),
        ([0.1, 0.2], [1.0, 10**400], r"losses\[1\]: expected a number"),
        ([0.1, 0.2], [1.0, float("inf")], "losses: expected finite numbers"),
        ([0.0, 0.2], [1.0, 2.0], "rates: expected numbers above 0, got 0"),
        ([0.1, 0.2], [1.0], "losses: expected 2, one for each rate, got 1"),
        (0.1, [1.0], "rates: expected a list"),
    ],
)
def test_a_range_holds_finite_numbers_in_pairs(rates: Any, losses: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        RateRange(rates, losses)
