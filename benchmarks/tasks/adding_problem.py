"""The adding problem over 600 steps: add two marked numbers among 600.

Each sequence has two features: a random number in [0, 1], and a mark, which stands at two places. The target is the sum
of the two marked numbers; whoever always says 1 has a mean squared error of 1/6. The setting is that of Bai et al. 2018
(arXiv:1803.01271, section 5.1), who report 5.3e-5 (table 1) for a GRU of 70 thousand parameters; this one has 13
thousand.

Every step trains on fresh sequences; validation and test have their own. The parameters that did best in validation
are tested, once.

    python benchmarks/tasks/adding_problem.py
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
from common import RESULTS, Bound, finish, options
from fresh import Drawn, Fresh
from training_times import step_times

from gru_native import losses, nn, optim, schedules
from gru_native.train import Trainer, plot_history

PUBLISHED = 5.3e-5
MAX_NORM = 1.0
TIMED_STEPS = 20
BOUND = Bound("loss", 0.02, at_most=True)  # saying 1 is eight times worse


@dataclass(frozen=True)
class Recipe:
    """What the short form has less of."""

    steps: int  # T, of a sequence
    updates: int
    validate_every: int
    hidden_size: int = 64
    batch_size: int = 32
    lr: float = 2e-2


FULL = Recipe(steps=600, updates=4000, validate_every=200)
QUICK = Recipe(steps=100, updates=600, validate_every=200)


def adding(steps: int, batch_size: int, batches: int, seed: tuple[int, ...]) -> Fresh:
    """Return data: sequences (T, B, 2), with sums (B, 1)."""
    return Fresh(lambda rng, _: sequences(rng, steps, batch_size), batches, seed)


def sequences(rng: np.random.Generator, steps: int, batch_size: int) -> Drawn:
    """Draw a batch."""
    rows = np.arange(batch_size)
    first = rng.integers(steps, size=batch_size)
    second = (first + rng.integers(1, steps, size=batch_size)) % steps
    inputs = np.zeros((steps, batch_size, 2), np.float32)
    inputs[:, :, 0] = rng.random((steps, batch_size))
    inputs[first, rows, 1] = inputs[second, rows, 1] = 1
    return inputs, (inputs[first, rows, :1] + inputs[second, rows, :1])


def main() -> None:
    """Train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    recipe, seed = QUICK if arguments.quick else FULL, arguments.seed
    training = adding(recipe.steps, recipe.batch_size, 100, (seed, 0))
    validation = adding(recipe.steps, 200, 5, (seed, 1))
    test = adding(recipe.steps, 200, 25, (seed, 5))
    model = nn.Sequential(
        nn.GRU(2, recipe.hidden_size, seed=(seed, 3)),
        nn.LastPooling(),
        nn.Linear(recipe.hidden_size, 1, seed=(seed, 4)),
    )
    optimizer = optim.Adam(model, lr=recipe.lr)
    schedule = schedules.CosineAnnealingLR(optimizer, T_max=recipe.updates)
    trainer = Trainer(
        model, losses.MSELoss(), optimizer, schedule=schedule, max_norm=MAX_NORM, threads=arguments.threads
    )
    history = trainer.fit(
        training,
        steps=recipe.updates,
        validation=validation,
        validate_every=recipe.validate_every,
    )
    sums = np.concatenate([targets for _, targets in test.epoch(0)])
    figures = {
        "loss": float(f"{trainer.evaluate(test)['loss']:.2g}"),
        "chance": round(float(np.mean(np.square(sums - 1))), 4),
        "published": None if arguments.quick else PUBLISHED,
        "seconds": round(history[-1].seconds, 1),
        **step_times(trainer, islice(training.epoch(0), TIMED_STEPS), arguments),
    }
    finish("adding_problem", figures, arguments, BOUND)
    if not arguments.quick:
        plot_history(history, RESULTS / "adding_problem.png")


if __name__ == "__main__":
    main()
