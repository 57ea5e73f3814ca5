"""A training of a command: it keeps its best model in a file, and goes on from a checkpoint beside that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gru_native.cli.errors import UserError
from gru_native.train import Checkpoint, Data, OtherRunError, Record, Trainer


def complete(
    trainer: Trainer,
    data: Data,
    save: Callable[[Path], object],
    out: Path,
    source: str,
    every: int | None = None,
    **options: Any,
) -> list[Record]:
    """Train, or go on with what was killed, and keep the best model in the file `out`.

    Parameters
    ----------
    save
        Writes the model to a file.
    source
        What is learnt from, such as "text".
    every
        So many steps are between two checkpoints.
    options
        For `Trainer.fit`.

    Raises
    ------
    UserError
        When the checkpoint is that of another training.
    KeyboardInterrupt
        On Ctrl-C, with a message; the best model so far is in `out`.
    """
    checkpoint = Checkpoint(out.with_name(f"{out.name}.checkpoint"), every)
    if checkpoint.exists():
        print(f"Going on from {checkpoint.path}.", flush=True)

    def keep(record: Record) -> None:
        if record.best:
            save(out)

    try:
        history = trainer.fit(data, callbacks=[keep], checkpoint=checkpoint, **options)
    except KeyboardInterrupt:
        if trainer.step == 0:
            raise KeyboardInterrupt("interrupted before the first step; there is no model yet") from None
        save(out)
        kept = f"model after {trainer.step} steps, not yet validated," if trainer.best is None else "best model so far"
        raise KeyboardInterrupt(f"interrupted; the {kept} is in {out}") from None
    except OtherRunError as error:
        raise UserError(
            f"{checkpoint.path}: left by a training on another {source} or with other options; "
            "train with those to go on, or remove it"
        ) from error
    save(out)
    checkpoint.remove()
    return history
