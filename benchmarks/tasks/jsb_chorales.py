"""The next chord of Bach's chorales: which of 88 keys sound in a quarter note, from all those before it.

The figure is the negative log likelihood of a step in nats, as Bai et al. 2018 (arXiv:1803.01271) compute it: summed
over keys and steps of all sequences, divided by the number of predicted steps. They report 8.43 for a GRU, Chung et al.
2014 (arXiv:1412.3555) 8.54. Two baselines need no network: each key sounds as often as in training, or as often as in
training after a step in which it did, or did not, sound.

The network is one layer with layer normalization, dropout, and dropout of the states that the hidden weights read. Its
sizes and rates, the learning rate and the number of epochs were chosen by the validation set, and so are the parameters
that are tested, those of the best epoch. The test set is looked at once, at the end.

PyTorch's GRU has no layer normalization and no dropout of states: its time is that of the same network without them,
which is less to compute.

    python benchmarks/tasks/jsb_chorales.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from common import Bound, finish, given, options
from scipy.io import loadmat
from training_times import epoch_times

from gru_native import losses, nn, optim, schedules
from gru_native.random import Seed
from gru_native.train import ProgressBar, Sequences, Trainer

KEYS = 88
PUBLISHED = {"published_bai": 8.43, "published_chung": 8.54}
BOUND = Bound("val_nll", 8.7, at_most=True)  # the better baseline has 10.5 on the test set


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    hidden_size: int = 300
    epochs: int = 35
    batch_size: int = 8
    lr: float = 5e-3
    dropout: float = 0.5
    recurrent_dropout: float = 0.3
    max_norm: float = 1.0


FULL = Recipe()
QUICK = Recipe(hidden_size=128, epochs=12, lr=1e-2, dropout=0.2, recurrent_dropout=0.1)


def chorales(path: Path) -> dict[str, list[np.ndarray]]:
    """Return piano rolls (T, 88) of zeros and ones: ``train``, ``valid`` and ``test``."""
    rolls = loadmat(path)
    return {part: [roll.astype(np.float32) for roll in rolls[f"{part}data"][0]] for part in ("train", "valid", "test")}


def next_steps(rolls: list[np.ndarray], batch_size: int = 80, *, shuffle: bool = False, seed: Seed = 0) -> Sequences:
    """Return data in which each step is to be predicted from those before it."""
    inputs, targets = [roll[:-1] for roll in rolls], [roll[1:] for roll in rolls]
    return Sequences(inputs, targets, batch_size, per_step=True, shuffle=shuffle, seed=seed)


def network(recipe: Recipe, seed: int, *, plain: bool = False) -> nn.Sequential:
    """Return an untrained network, `plain` without what PyTorch's GRU does not have."""
    extras = {} if plain else {"layer_norm": True, "recurrent_dropout": recipe.recurrent_dropout}
    return nn.Sequential(
        nn.GRU(KEYS, recipe.hidden_size, seed=(seed, 0), **extras),
        nn.Dropout(recipe.dropout),
        nn.Linear(recipe.hidden_size, KEYS, seed=(seed, 1)),
    )


def nll(trainer: Trainer, data: Sequences) -> float:
    """Return the negative log likelihood of a step in nats; the loss is a mean over steps and keys."""
    return KEYS * trainer.evaluate(data)["loss"]


def baselines(training: list[np.ndarray], test: list[np.ndarray]) -> dict[str, float]:
    """Return the negative log likelihood of a step under frequencies of the training data."""
    before, after = _joined(training)
    last, now = _joined(test)
    on_after_on, on_after_off = _share(after * before, before), _share(after * (1 - before), 1 - before)
    return {
        "baseline_keys": _nll(_share(after, np.ones_like(after)), now),
        "baseline_last_chord": _nll(np.where(last == 1, on_after_on, on_after_off), now),
    }


def _joined(rolls: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return all steps that another follows, and those that follow."""
    before, after = np.concatenate([roll[:-1] for roll in rolls]), np.concatenate([roll[1:] for roll in rolls])
    return before.astype(np.float64), after.astype(np.float64)


def _share(events: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """Return the share of each key by Laplace's rule of succession."""
    return (events.sum(axis=0) + 1) / (chances.sum(axis=0) + 2)


def _nll(probabilities: np.ndarray, chords: np.ndarray) -> float:
    return float(-np.log(np.where(chords == 1, probabilities, 1 - probabilities)).sum(axis=1).mean())


def main() -> None:
    """Train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    recipe, seed = QUICK if arguments.quick else FULL, arguments.seed
    rolls = chorales(given(arguments, "jsb_chorales/JSB_Chorales.mat"))
    training = next_steps(rolls["train"], recipe.batch_size, shuffle=True, seed=(seed, 2))
    model = network(recipe, seed)
    optimizer = optim.Adam(model, lr=recipe.lr)
    trainer = Trainer(
        model,
        losses.BCEWithLogitsLoss(),
        optimizer,
        schedule=schedules.CosineAnnealingLR(optimizer, T_max=recipe.epochs * len(training)),
        max_norm=recipe.max_norm,
        seed=(seed, 3),
        threads=arguments.threads,
    )
    history = trainer.fit(
        training,
        epochs=recipe.epochs,
        validation=next_steps(rolls["valid"]),
        progress=ProgressBar(recipe.epochs * len(training), loss_name="nll", loss_scale=KEYS),
    )
    figures = {
        "test_nll": nll(trainer, next_steps(rolls["test"])),
        "val_nll": nll(trainer, next_steps(rolls["valid"])),
        **PUBLISHED,
        **baselines(rolls["train"], rolls["test"]),
    }
    times = epoch_times(trainer, training.epoch(0), arguments, twin=network(recipe, seed, plain=True))
    rounded = {name: round(value, 3) for name, value in figures.items()}
    finish("jsb_chorales", rounded | {"seconds": round(history[-1].seconds, 1)} | times, arguments, BOUND)


if __name__ == "__main__":
    main()
