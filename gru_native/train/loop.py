"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeAlias

import numpy as np

from gru_native import optim
from gru_native.nn import Module
from gru_native.random import Seed, seed_path
from gru_native.schedules import ReduceLROnPlateau, Schedule
from gru_native.train.data import Array, Batch, Data, at_least_one
from gru_native.train.report import ProgressBar

Metric: TypeAlias = Callable[[Array, Array], float]


class Loss(Protocol):
    """A mean over targets, such as those of `gru_native.losses`."""

    def __call__(self, predictions: Array, targets: Array, *, threads: int | None = None) -> Any: ...

    def forward(self, predictions: Array, targets: Array, *, threads: int | None = None) -> tuple[Any, Any]: ...

    def backward(self, tape: Any) -> Array: ...


@dataclass(frozen=True)
class Record:
    """One training step.

    Attributes
    ----------
    step, epoch : int
        Steps taken so far, this one included; the number of the epoch, from 0.
    loss : float
        Of this step's batch, before the update.
    targets : int
        Number of targets in the batch.
    lr : float
        The learning rate of the update.
    grad_norm : float or None
        Before clipping; ``None`` without `max_norm`.
    validation : dict of str to float, or None
        ``loss`` and the metrics on the validation data, after the update; ``None`` for a step without.
    best : bool
        Whether the validation loss is the lowest so far.
    """

    step: int
    epoch: int
    loss: float
    targets: int
    lr: float
    grad_norm: float | None
    validation: dict[str, float] | None = None
    best: bool = False


class Trainer:
    """Fits a model to data: the same bits for the same seed, whatever the number of threads.

    Parameters
    ----------
    model : Module
        Called as ``model.forward(inputs)``, and when it is recurrent with its states beside. Whether it is in
        training mode is the caller's choice; a new model is.
    loss : Loss
        With ``reduction="mean"``.
    optimizer : Optimizer
        Of this model.
    schedule : Schedule or ReduceLROnPlateau, optional
        Stepped after each update; a `ReduceLROnPlateau` after each validation, with its loss.
    max_norm : float, optional
        The gradients' norm is clipped to it.
    metrics : mapping of str to function, optional
        ``metric(predictions, targets)``, a mean over the targets of a batch, computed in validation.
    seed : int or tuple of int
        Of dropout. The random numbers of a step are a function of this and of the step's number.
    threads : int, optional
        The most threads to compute the model with; ``None`` for the default.

    Attributes
    ----------
    step, epoch : int
        Steps taken and epochs begun so far. Another `fit` goes on from there, with a new epoch.
    best : Record or None
        The step with the lowest validation loss of the last `fit`.

    Examples
    --------
    ::

        trainer = Trainer(model, CrossEntropyLoss(), optim.AdamW(model, lr=1e-3), max_norm=1.0)
        data, validation = Batches(x, y, 32, shuffle=True), Batches(x_held_out, y_held_out, 256)
        history = trainer.fit(data, epochs=20, validation=validation, patience=3)
    """

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: optim.Optimizer,
        *,
        schedule: Schedule | ReduceLROnPlateau | None = None,
        max_norm: float | None = None,
        metrics: Mapping[str, Metric] | None = None,
        seed: Seed = 0,
        threads: int | None = None,
    ) -> None:
        if optimizer.model is not model:
            raise ValueError("optimizer: belongs to another model")
        if getattr(loss, "reduction", "mean") != "mean":
            raise ValueError(f"loss: expected reduction='mean', got {loss.reduction!r}")  # type: ignore[attr-defined]
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.schedule = schedule
        self.max_norm = max_norm
        self.metrics = dict(metrics or {})
        if "loss" in self.metrics:
            raise ValueError("metrics: the name 'loss' is taken by the loss itself")
        self.seed = seed_path(seed)
        self.threads = threads
        self.step = 0
        self.epoch = 0
        self.best: Record | None = None

    def fit(
        self,
        data: Data,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        validation: Data | None = None,
        validate_every: int | None = None,
        patience: int | None = None,
        callbacks: Iterable[Callable[[Record], object]] = (),
        progress: bool | ProgressBar = True,
    ) -> list[Record]:
        """Train, and with validation data leave the model with the parameters that did best on it.

        This holds however training ends: also after an exception or Ctrl-C, which pass through.

        Parameters
        ----------
        data : Data
            Such as `Batches` or `Stream`.
        epochs, steps : int
            How long to train: one of the two.
        validation : Data, optional
        validate_every : int, optional
            Steps from one validation to the next; ``None`` for an epoch. The last step is always validated.
        patience : int, optional
            Stop after so many validations in a row that are no better than the best.
        callbacks : iterable of functions
            Each is called with the `Record` of each step.
        progress : bool or ProgressBar
            Whether to show a progress bar on standard error, or which.

        Returns
        -------
        list of Record
            One for each step.

        Raises
        ------
        FloatingPointError
            When a loss or the gradients' norm is not finite. The model is not updated with them.
        """
        if (epochs is None) == (steps is None):
            raise ValueError(f"epochs, steps: expected one of the two, got {epochs} and {steps}")
        if len(data) == 0:
            raise ValueError("data: expected at least one batch, got none")
        if validation is None and not (patience is None and validate_every is None):
            raise ValueError("validation: expected data for validate_every and patience, got None")
        total = at_least_one("steps", steps) if epochs is None else at_least_one("epochs", epochs) * len(data)
        every = len(data) if validate_every is None else at_least_one("validate_every", validate_every)
        allowed = math.inf if patience is None else at_least_one("patience", patience)
        bar = ProgressBar(total) if progress is True else progress or None
        watchers: list[Callable[[Record], object]] = [*callbacks, *([bar] if bar else [])]
        history: list[Record] = []
        failures, best_loss = 0, math.inf
        self.best, best_state = None, None
        try:
            for record in islice(self._updates(data), total):
                if validation is not None and (record.step % every == 0 or len(history) == total - 1):
                    figures = self._validate(validation)
                    record = replace(record, validation=figures, best=figures["loss"] < best_loss)
                    failures = 0 if record.best else failures + 1
                    if record.best:
                        self.best, best_loss, best_state = record, figures["loss"], self.model.state_dict()
                history.append(record)
                for watch in watchers:
                    watch(record)
                if failures >= allowed:
                    break
        finally:
            if best_state is not None:
                self.model.assign(best_state)
            if bar:
                bar.close()
        return history

    def evaluate(self, data: Data) -> dict[str, float]:
        """Return ``loss`` and the metrics, each the mean over all targets of the data."""
        functions: dict[str, Metric] = {"loss": partial(self.loss, threads=self.threads)}
        functions.update(self.metrics)
        sums = dict.fromkeys(functions, 0.0)
        count = 0
        states = None
        for inputs, targets in data.epoch(0):
            result = self.model(inputs, *self._initial(data, states), threads=self.threads)
            predictions, states = result if self.model.recurrent else (result, None)
            weight = self._counted(targets)
            if weight:  # the mean over none is NaN
                count += weight
                for name, function in functions.items():
                    sums[name] += float(function(predictions, targets)) * weight
        return {name: value / count if count else math.nan for name, value in sums.items()}

    def _updates(self, data: Data) -> Iterator[Record]:
        """Train, one step each time it is asked for the next record."""
        while True:
            epoch, states = self.epoch, None
            self.epoch += 1
            for batch in data.epoch(epoch):
                record, states = self._update(batch, epoch, self._initial(data, states))
                yield record

    def _update(self, batch: Batch, epoch: int, initial: tuple[Any, ...]) -> tuple[Record, Any]:
        """Make one step; return its record and the model's states after the batch."""
        inputs, targets = batch
        seed = (*self.seed, self.step)
        result, tape = self.model.forward(inputs, *initial, seed=seed, threads=self.threads)
        predictions, states = result if self.model.recurrent else (result, None)
        loss, loss_tape = self.loss.forward(predictions, targets, threads=self.threads)
        _, grads = self.model.backward(tape, self.loss.backward(loss_tape), threads=self.threads)
        norm = None
        if self.max_norm is not None:
            grads, norm = optim.clip_grad_norm(grads, self.max_norm)
        self._refuse_divergence(loss, norm)
        lr = self.optimizer.lr
        self.optimizer.step(grads)
        if isinstance(self.schedule, Schedule):
            self.schedule.step()
        self.step += 1
        return Record(self.step, epoch, float(loss), targets.size, lr, norm), states

    def _validate(self, data: Data) -> dict[str, float]:
        figures = self.evaluate(data)
        self._refuse_divergence(figures["loss"])
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(figures["loss"])
        return figures

    def _refuse_divergence(self, loss: float, norm: float | None = None) -> None:
        if not math.isfinite(loss if norm is None else loss + norm):
            raise FloatingPointError(
                f"training diverged at step {self.step}: the loss is {loss:g}"
                + ("" if norm is None else f", the norm of the gradients {norm:g}")
                + "; try a lower learning rate"
            )

    def _counted(self, targets: Array) -> int:
        """Return how many targets the loss is a mean over."""
        ignored = getattr(self.loss, "ignore_index", None)
        return targets.size if ignored is None else int(np.count_nonzero(targets != ignored))

    def _initial(self, data: Data, states: Any) -> tuple[Any, ...]:
        """Return what the model takes beside the inputs."""
        return (states if data.carries_state else None,) if self.model.recurrent else ()
