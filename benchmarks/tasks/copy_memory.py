"""Copy memory over 1,000 steps: see ten symbols, wait, and say them again.

The input is ten symbols from 1 to 8, T - 1 zeros, and eleven markers 9; over the last ten of these the symbols are to
be said, before them 0. The setting is that of Bai et al. 2018 (arXiv:1803.01271, section 5.1): cross-entropy, mean over
all T + 20 steps, T = 1000. Without memory there is nothing better than 10 ln 8 / (T + 20); for a GRU of 16 thousand
parameters they report 0.0197 (table 1), a little less than that. This one has 55 thousand, and a curriculum: T is 5 to
10 in the first half of the training, and then grows to 1,000. Validation and test have T = 1000 alone.

Every step trains on fresh sequences; validation and test have their own. The parameters that did best in validation
are tested, once.

    python benchmarks/tasks/copy_memory.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

import numpy as np
from common import RESULTS, Bound, finish, options
from fresh import Drawn, Fresh
from training_times import step_times

from gru_native import losses, nn, optim, schedules
from gru_native.train import Trainer, plot_history

SYMBOLS, LENGTH, MARKER = 8, 10, 9
CLASSES = MARKER + 1
PUBLISHED = 0.0197
MAX_NORM = 1.0
BATCHES = 50  # of an epoch
TIMED_STEPS = 10
BOUND = Bound("loss", 0.5, at_most=True)  # without memory 0.69, at the short form's T


@dataclass(frozen=True)
class Recipe:
    """How long the task and the training are; the short form has less."""

    delay: int  # T
    updates: int
    batch_size: int  # the largest
    first_delay: int = 10
    hidden_size: int = 128
    embedding_dim: int = 10
    lr: float = 1e-2

    @property
    def epochs(self) -> int:
        return self.updates // BATCHES

    def longest_delay(self, epoch: int) -> int:
        """Return the first delay in the first half, the last one in the last tenth, a geometric series between."""
        grown = min(1.0, max(0.0, (epoch / self.epochs - 0.5) / 0.4))
        return round(self.first_delay * (self.delay / self.first_delay) ** grown)


FULL = Recipe(delay=1000, updates=4000, batch_size=128)
QUICK = Recipe(delay=10, updates=800, batch_size=64)


def copying(delay: int, batch_size: int, batches: int, seed: tuple[int, ...]) -> Fresh:
    """Return data of one delay: symbols (T + 20, B), and what is to be said."""
    return Fresh(lambda rng, _: sequences(rng, delay, batch_size), batches, seed)


def curriculum(recipe: Recipe, seed: tuple[int, ...]) -> Fresh:
    """Return data whose delays grow from epoch to epoch.

    A batch draws its delay between half the epoch's longest and that, so that the network does not count steps. The
    longer it is, the fewer sequences: a step costs about the same.
    """

    def draw(rng: np.random.Generator, epoch: int) -> Drawn:
        longest = recipe.longest_delay(epoch)
        delay = int(rng.integers(longest // 2, longest + 1))
        return sequences(rng, delay, min(recipe.batch_size, max(16, 8000 // (delay + 2 * LENGTH))))

    return Fresh(draw, BATCHES, seed)


def sequences(rng: np.random.Generator, delay: int, batch_size: int) -> Drawn:
    """Draw a batch."""
    symbols = rng.integers(1, SYMBOLS + 1, size=(LENGTH, batch_size))
    inputs = np.zeros((delay + 2 * LENGTH, batch_size), np.int64)
    targets = np.zeros_like(inputs)
    inputs[:LENGTH], inputs[-LENGTH - 1 :], targets[-LENGTH:] = symbols, MARKER, symbols
    return inputs, targets


def memoryless(delay: int) -> float:
    """Return the loss of a network that says 0 at the right time and guesses the symbols."""
    return LENGTH * math.log(SYMBOLS) / (delay + 2 * LENGTH)


def share_right(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Return the share of the symbols that are said right; whoever guesses has 1/8."""
    symbols = targets > 0
    return float(np.mean(predictions[symbols].argmax(axis=-1) == targets[symbols]))


def main() -> None:
    """Train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    recipe, seed = QUICK if arguments.quick else FULL, arguments.seed
    training = curriculum(recipe, (seed, 0))
    model = nn.Sequential(
        nn.Embedding(CLASSES, recipe.embedding_dim, seed=(seed, 3)),
        nn.GRU(recipe.embedding_dim, recipe.hidden_size, seed=(seed, 4)),
        nn.Linear(recipe.hidden_size, CLASSES, seed=(seed, 5)),
    )
    optimizer = optim.Adam(model, lr=recipe.lr)
    schedule = schedules.CosineAnnealingLR(optimizer, T_max=recipe.updates)
    trainer = Trainer(
        model,
        losses.CrossEntropyLoss(),
        optimizer,
        schedule=schedule,
        max_norm=MAX_NORM,
        metrics={"share_right": share_right},
        threads=arguments.threads,
    )
    history = trainer.fit(
        training,
        steps=recipe.updates,
        validation=copying(recipe.delay, 100, 2, (seed, 1)),
        validate_every=recipe.updates // 20,
    )
    longest = islice(training.epoch(recipe.epochs - 1), TIMED_STEPS)
    tested = trainer.evaluate(copying(recipe.delay, 100, 10, (seed, 2)))
    figures = {
        "loss": float(f"{tested['loss']:.3g}"),
        "share_right": round(tested["share_right"], 4),
        "memoryless": round(memoryless(recipe.delay), 4),
        "published": None if arguments.quick else PUBLISHED,
        "seconds": round(history[-1].seconds, 1),
        **step_times(trainer, longest, arguments),
    }
    finish("copy_memory", figures, arguments, BOUND)
    if not arguments.quick:
        plot_history(history, RESULTS / "copy_memory.png")


if __name__ == "__main__":
    main()
