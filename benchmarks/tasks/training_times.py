"""How long training takes, here and in PyTorch: on the same batches, from the same weights."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch_twin import seconds_in_torch

from gru_native import nn
from gru_native.train import Trainer

WARM_UP_BATCHES = 2


def epoch_times(
    trainer: Trainer, batches: Iterable[Any], arguments: argparse.Namespace, twin: nn.Module | None = None
) -> dict[str, float]:
    """Return ``epoch_s`` and, where it is wanted and installed, ``torch_epoch_s``: the time of all batches, in seconds.

    Parameters
    ----------
    trainer
        Its model is trained on the batches.
    batches
        Those of an epoch.
    twin
        The model to build in PyTorch where `trainer`'s has what PyTorch does not have.
    """
    return {f"{where}epoch_s": round(each, 3) for where, each in _seconds(trainer, [*batches], arguments, twin).items()}


def step_times(trainer: Trainer, batches: Iterable[Any], arguments: argparse.Namespace) -> dict[str, float]:
    """Return ``step_ms`` and ``torch_step_ms``, the mean time of a batch in milliseconds; else as `epoch_times`."""
    steps = [*batches]
    seconds = _seconds(trainer, steps, arguments)
    return {f"{where}step_ms": round(1e3 * each / len(steps), 2) for where, each in seconds.items()}


def _seconds(
    trainer: Trainer, batches: Sequence[Any], arguments: argparse.Namespace, twin: nn.Module | None = None
) -> dict[str, float]:
    """Return the time here under ``""``, and that of PyTorch, if any, under ``"torch_"``."""
    model = trainer.model if twin is None else twin
    there = None if arguments.no_torch else _seconds_in_torch(model, trainer, batches)  # before its weights change
    here = trainer.fit(_Made(batches), epochs=1, progress=False)[-1].seconds
    return {"": here} if there is None else {"": here, "torch_": there}


def _seconds_in_torch(model: nn.Module, trainer: Trainer, batches: Sequence[Any]) -> float | None:
    keywords = {"lr": trainer.optimizer.lr, "max_norm": trainer.max_norm, "threads": trainer.threads}
    seconds_in_torch(model, trainer.loss, batches[:WARM_UP_BATCHES], **keywords)  # the first calls are slower
    return seconds_in_torch(model, trainer.loss, batches, **keywords)


class _Made:
    """Batches that are there already, so that making them is not timed."""

    carries_state = False

    def __init__(self, batches: Sequence[Any]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Any]:
        return iter(self.batches)
