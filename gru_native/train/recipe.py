"""How a character-level language model is trained: what a single training and a study have in common."""

from __future__ import annotations

from gru_native import losses, optim, schedules
from gru_native.random import Seed
from gru_native.train.loop import Trainer
from gru_native.train.text import CharacterModel

VALIDATION_STREAMS = 16
MAX_NORM = 1.0


def least_characters(batch_size: int, window: int) -> int:
    """Return the length of the shortest text whose first nine tenths fill a step, and whose last tenth validates."""
    return max(-(-10 * (batch_size * window + 1) // 9), 10 * (VALIDATION_STREAMS + 1))


def held_out_split(text: str) -> tuple[str, str]:
    """Return the part of a text to train on, and the last tenth, which is held out."""
    held_out = len(text) // 10
    return text[:-held_out], text[-held_out:]


def character_trainer(
    model: CharacterModel, *, lr: float, steps: int, warm_up: int, seed: Seed = 0, threads: int | None = None
) -> Trainer:
    """Return a trainer: AdamW, a rate that rises for `warm_up` steps and falls to 0 in half a cosine, clipping.

    Parameters
    ----------
    model
        Its network is trained, on the cross-entropy of the next character.
    lr
        The highest learning rate.
    steps, warm_up
        Of the whole training, and of its beginning, in which the rate rises linearly to `lr`.
    seed, threads
        Of the `Trainer`.
    """
    optimizer = optim.AdamW(model.network, lr=lr)
    schedule = schedules.SequentialLR(
        optimizer,
        [
            schedules.LinearLR(optimizer, start_factor=1 / warm_up, total_iters=warm_up),
            schedules.CosineAnnealingLR(optimizer, T_max=max(1, steps - warm_up)),
        ],
        milestones=[warm_up],
    )
    return Trainer(
        model.network,
        losses.CrossEntropyLoss(),
        optimizer,
        schedule=schedule,
        max_norm=MAX_NORM,
        seed=seed,
        threads=threads,
    )
