"""The time of an epoch of training beside the same batches in PyTorch."""

from __future__ import annotations

import argparse

from torch_twin import seconds_in_torch

from gru_native import nn
from gru_native.train import Data, Trainer


def epoch_times(
    trainer: Trainer, data: Data, twin: nn.Module, arguments: argparse.Namespace
) -> dict[str, float | None]:
    """Return ``epoch_s`` and ``torch_epoch_s`` in seconds, the latter None when it is not wanted or not installed.

    Parameters
    ----------
    trainer
        Its model is trained for an epoch more.
    data
        To train on.
    twin
        The model to build in PyTorch: `trainer`'s, or one without what PyTorch does not have.
    """
    batches = list(data.epoch(trainer.epoch))
    own = trainer.fit(data, epochs=1, progress=False)[-1].seconds
    there = None if arguments.no_torch else _seconds_in_torch(trainer, twin, batches)
    return {"epoch_s": round(own, 3), "torch_epoch_s": None if there is None else round(there, 3)}


def _seconds_in_torch(trainer: Trainer, twin: nn.Module, batches: list[tuple]) -> float | None:
    keywords = {"lr": trainer.optimizer.lr, "max_norm": trainer.max_norm, "threads": trainer.threads}
    seconds_in_torch(twin, trainer.loss, batches[:2], **keywords)  # the first calls in a process are slower
    return seconds_in_torch(twin, trainer.loss, batches, **keywords)
