"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, Protocol, TypeAlias, runtime_checkable

import numpy as np

from gru_native import functional, optim
from gru_native.arguments import every, flag, function, instance, mapping, number, one_of, path, shown, whole
from gru_native.changes import Change
from gru_native.io import StrPath, writable
from gru_native.losses import BCEWithLogitsLoss, CrossEntropyLoss
from gru_native.nn import Module, SparseGradient
from gru_native.nn.module import Gradients
from gru_native.nn.share import shares
from gru_native.random import Seed, seed_path
from gru_native.schedules import ReduceLROnPlateau, Schedule
from gru_native.train.checkpoint import Checkpoint, Run
from gru_native.train.data import Array, Batch, Data
from gru_native.train.finite import advice
from gru_native.train.identity import as_json, settings
from gru_native.train.lengths import (
    asked,
    input_lengths,
    labels_that_count,
    refuse_lengths,
    target_lengths,
    without_padding,
)
from gru_native.train.logs import CSVLog
from gru_native.train.metrics import Metric, Tally
from gru_native.train.prediction import called_with, gives_probabilities, last_of, outputs, refuse_misfit
from gru_native.train.ranks import refuse_different
from gru_native.train.record import Record, plot_history, written_log
from gru_native.train.report import ProgressBar
from gru_native.train.shards import Shards, average, weighted


@runtime_checkable
class Loss(Protocol):
    """A mean over targets, 0 over none, such as those of `gru_native.losses`; `count` is what it is divided by.

    Where the data has weights, the first two and `count` are given them as ``weights``. A loss whose ``forward`` names
    ``input_lengths`` or ``target_lengths`` is given these, (B,): the steps of each row of the predictions, which are
    what the model makes of the data's lengths (`Module.output_lengths`), and the labels of each row of targets
    (B, S, ...). `count` is given the latter, too.
    """

    # They take predictions, targets, what was said above, and ``threads``; `count` has no predictions and no threads.
    def __call__(self, *arguments: Any, **named: Any) -> Any: ...

    def forward(self, *arguments: Any, **named: Any) -> tuple[Any, Any]: ...

    def backward(self, tape: Any) -> Array: ...

    def count(self, *arguments: Any, **named: Any) -> float: ...


class Trainer:
    """Fits a model to data: the same bits for the same seed, whatever the number of threads.

    Parameters
    ----------
    model : Module
        Called as ``model.forward(inputs)``, when it is recurrent with its states beside, and with ``lengths`` where
        the data has them; with several inputs as ``model.forward(*inputs)`` or ``model.forward(**inputs)``. Whether it
        is in training mode is the caller's choice; a new model is.
    loss : Loss
        With ``reduction="mean"``. One that takes logits is refused beside a model that ends in `Softmax` or a sigmoid.
    optimizer : Optimizer
        Of this model.
    schedule : Schedule or ReduceLROnPlateau, optional
        Stepped after each update; a `ReduceLROnPlateau` after each validation, with the figure that is monitored.
    schedule_every : {"step", "epoch"}
        When another schedule is stepped: after each update, or after the last one of each epoch.
    max_norm : float, optional
        The gradients' norm is clipped to it.
    clip_value : float, optional
        Before that, the elements of the gradients are brought into [-clip_value, clip_value].
    metrics : mapping of str to function, optional
        ``metric(predictions, targets)``, computed in validation on all predictions and targets at once, such as
        those of `classification_metrics`. In place of probabilities as targets, which `CrossEntropyLoss` takes, it is
        given the likeliest classes. Of a loss that takes lengths these are lists with an array for each row,
        (T_i, ...) and (S_i, ...), without the padding.
    training_metrics : bool
        Whether to compute them on the training data too, on what the steps since the last validation predicted before
        their updates, with dropout at work. Without validation data they are of an epoch.
    seed : int or tuple of int
        Of dropout. The random numbers of a step are a function of this and of the step's number.
    threads : int, optional
        The most threads to compute the model with; ``None`` for the default.
    shards : int
        Into how many parts of like many rows each batch is cut, by ``data.shard``: 1 to 4096. What a step does is a
        function of this number: each shard has dropout of its own, and batch statistics of its own, whose running
        values are then averaged. The gradient is the mean over all targets of the batch, summed by a fixed tree.
    communicator : MPI.Intracomm, optional
        Of mpi4py, such as ``MPI.COMM_WORLD``, whose ranks share out the shards, at most as many ranks as shards. All of
        them call the same methods with the same arguments. On any number of ranks, as without a communicator, the
        weights are the same bits. They begin with those of rank 0, which alone writes files.

    Attributes
    ----------
    step, epoch : int
        Steps taken and epochs begun so far. Another `fit` goes on from there, with a new epoch.
    best : Record or None
        The step with the best validation of the last `fit`.

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
        schedule_every: Literal["step", "epoch"] = "step",
        max_norm: float | None = None,
        clip_value: float | None = None,
        metrics: Mapping[str, Metric] | None = None,
        training_metrics: bool = False,
        seed: Seed = 0,
        threads: int | None = None,
        shards: int = 1,
        communicator: Any = None,
    ) -> None:
        self.model = instance("model", model, Module, "a Module")
        self.loss = instance("loss", loss, Loss, "a loss, such as CrossEntropyLoss()")  # type: ignore[type-abstract]
        self.optimizer = instance("optimizer", optimizer, optim.Optimizer, "an Optimizer, such as Adam(model)")
        if getattr(loss, "reduction", "mean") != "mean":
            raise ValueError(f"loss: expected reduction='mean', got {loss.reduction!r}")  # type: ignore[attr-defined]
        self._asked = asked(loss)
        self._refuse_probabilities()
        self.schedule = schedule
        self._refuse_strangers()
        self.schedule_every = one_of("schedule_every", schedule_every, ("step", "epoch"))
        self.max_norm = None if max_norm is None else number("max_norm", max_norm)
        self.clip_value = None if clip_value is None else number("clip_value", clip_value)
        given = mapping("metrics", {} if metrics is None else metrics, "functions, such as classification_metrics()")
        self.metrics: dict[str, Metric] = {name: function(f"metrics[{name!r}]", own) for name, own in given.items()}
        if "loss" in self.metrics:
            raise ValueError("metrics: the name 'loss' is taken by the loss itself")
        self.training_metrics = flag("training_metrics", training_metrics)
        self.seed = seed_path(seed)
        functional.thread_count(threads)
        self.threads = threads
        self._shards = Shards(shards, communicator)
        self.step = 0
        self.epoch = 0
        self.best: Record | None = None

    def fit(
        self,
        data: Data,
        *others: NoReturn,
        epochs: int | None = None,
        steps: int | None = None,
        validation: Data | None = None,
        validate_every: int | Collection[int] | None = None,
        patience: int | None = None,
        monitor: str = "loss",
        mode: Literal["min", "max"] = "min",
        min_delta: float = 0.0,
        accumulate: int = 1,
        callbacks: Iterable[Callable[[Record], object]] = (),
        progress: bool | ProgressBar = True,
        checkpoint: Checkpoint | StrPath | None = None,
        log: StrPath | None = None,
        curves: StrPath | None = None,
    ) -> list[Record]:
        """Train, and with validation data leave the model with the parameters that did best on it.

        This holds however training ends: also after an exception or Ctrl-C, which pass through.

        Parameters
        ----------
        data : Data
            Such as `Batches`, `Sequences` or `Stream`.
        epochs, steps : int
            How long to train: one of the two.
        validation : Data, optional
        validate_every : int or collection of int, optional
            Steps from one validation to the next, or the very steps to validate; ``None`` for an epoch. The last step
            is always validated.
        patience : int, optional
            Stop after so many validations in a row that are no better than the best.
        monitor : str
            The figure of a validation that says which is best: "loss", or the name of a metric.
        mode : {"min", "max"}
            Whether lower or higher is better.
        min_delta : float
            By how much it must be better to count.
        accumulate : int
            Batches whose gradients make one step: their mean over all targets. An epoch's last step may have fewer.
        callbacks : iterable of functions
            Each is called with the `Record` of each step, such as `CSVLog` and `TensorBoardLog`. When one returns True,
            that step was the last. Before the first step its ``catch_up``, if it has one, is called with the records of
            the run so far, and at the end its ``close``. Each rank calls its own, which do the same to model and
            optimizer; one with a true attribute ``first_rank_only``, as those that write have, is called on rank 0.
        progress : bool or ProgressBar
            Whether to show a progress bar on standard error, or which.
        checkpoint : Checkpoint or path, optional
            Where to keep the run. When the file is there, the run goes on from it: see `Checkpoint`.
        log : path, optional
            A file to write a line of JSON to for each step: see `Record`, and `read_log`.
        curves : path, optional
            A PNG to draw the run to when it ends, by matplotlib: see `plot_history`.

        Returns
        -------
        list of Record
            One for each step.

        Raises
        ------
        FloatingPointError
            When a loss, the gradients' norm, a new parameter or a new running value is not finite. The model is not
            updated with them. The message names the first value that is not finite in the inputs, the targets or the
            model. Batches and rows count from 0.
        ValueError
            Also for data in another layout than the model takes: batch first, time first, or without a time axis; for
            lengths that the loss does not take, or that it takes and the data cannot give; for validation data in
            which no target counts; and for callbacks that leave optimizers with different settings on several ranks.
        OtherRunError, ModelFileError
            For a checkpoint of another run, or a damaged one.
        """
        _refuse_others(others)
        if (epochs is None) == (steps is None):
            raise ValueError(f"epochs, steps: expected one of the two, got {shown(epochs)} and {shown(steps)}")
        self._refuse_strangers()
        self._refuse_misfit("data", data)
        if validation is not None:
            self._refuse_misfit("validation", validation)
        elif not (patience is None and validate_every is None):
            raise ValueError("validation: expected data for validate_every and patience, got None")
        together = whole("accumulate", accumulate)
        epoch_steps = -(-len(data) // together)
        total = whole("steps", steps) if epochs is None else whole("epochs", epochs) * epoch_steps
        validates = _due("validate_every", epoch_steps if validate_every is None else validate_every)
        if isinstance(validate_every, Collection):
            validate_every = sorted(validate_every)
        allowed = math.inf if patience is None else whole("patience", patience)
        goal = Goal(
            one_of("monitor", monitor, ("loss", *self.metrics)),
            one_of("mode", mode, ("min", "max")),
            number("min_delta", min_delta, below=math.inf),
        )
        if not isinstance(checkpoint, (Checkpoint, type(None))):
            checkpoint = Checkpoint(path("checkpoint", checkpoint))
        keeper = None if checkpoint is None else checkpoint.absolute()
        kept = {} if keeper is None else {"checkpoint": keeper.path, "the checkpoint's log": keeper.log}
        log = None if log is None else Path(path("log", log)).absolute()
        curves = None if curves is None else Path(path("curves", curves)).absolute()
        watchers = every("callbacks", callbacks, function)
        if not isinstance(progress, ProgressBar):
            progress = flag("progress", progress)
        saves = validates if keeper is None or keeper.every is None else _due("every", keeper.every)
        asked = {"steps": total, "accumulate": together, "validate_every": validate_every, "patience": patience}
        asked |= goal._asdict()
        ranks = self._shards.ranks
        plan = {} if keeper is None and ranks.size == 1 else self._plan(data, validation, asked)
        if ranks.rank > 0:  # the first one writes and shows
            log, curves, progress = None, None, False
            watchers = [watch for watch in watchers if not getattr(watch, "first_rank_only", False)]
        with ExitStack() as stack:
            stack.enter_context(ranks.together(_advice(keeper)))
            ranks.refuse_others({**plan, "checkpoint": None if keeper is None else {"every": keeper.every}})
            if ranks.rank == 0:
                tables = {f"callbacks[{i}]": own.path for i, own in enumerate(watchers) if isinstance(own, CSVLog)}
                _check_files({**kept, "log": log, "curves": curves, **tables})
            run = self._begun(lambda: self._found(keeper, plan, stack))
            self.best = run.best
            groups, began = self._groups(data, run, together), time.perf_counter() - run.seconds
            if curves is not None:
                import matplotlib.figure  # noqa: F401  who lacks it learns so before the training

                stack.callback(plot_history, run.history, curves)
            stack.callback(self._take_best, run)
            if progress:
                watchers.append(ProgressBar(total) if progress is True else progress)
            for watch in watchers:
                if hasattr(watch, "close"):
                    stack.callback(watch.close)
                if hasattr(watch, "catch_up"):
                    watch.catch_up(run.history)
            if log is not None:
                watchers.append(stack.enter_context(written_log(log, run.history)))
            over = run.stopped or len(run.history) >= total or run.failures >= allowed
            while not over:
                record = self._update(next(groups), data, run)
                if validates(record.step) or len(run.history) == total - 1:
                    if self.training_metrics:
                        record = replace(record, training=run.tally.figures(self.metrics))
                        run.tally = Tally()
                    if validation is not None:
                        record = self._validated(record, validation, run, goal)
                record = replace(record, seconds=time.perf_counter() - began)
                run.history.append(record)
                answers = [watch(record) for watch in watchers]
                stops = any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers)
                run.stopped = self._agreed(stops)
                over = run.stopped or len(run.history) == total or run.failures >= allowed
                if keeper is not None and (over or saves(record.step)):
                    states = self._shards.gathered([run.states[shard] for shard in self._shards.own])
                    if ranks.rank == 0:
                        keeper.save(self, replace(run, states=dict(enumerate(states))), plan)
        return run.history

    def _agreed(self, stops: bool) -> bool:
        """Return whether callbacks of a rank say that this step was the last, and refuse what ranks differ in now."""
        ranks = self._shards.ranks
        if ranks.size == 1:
            return stops
        words = ranks.gathered((stops, {"optimizer": repr(self.optimizer), "model": shares(self.model)}))
        refuse_different([own for _, own in words])
        return any(stopped for stopped, _ in words)

    def evaluate(self, data: Data, *others: NoReturn) -> dict[str, float]:
        """Return ``loss``, its mean over all targets of the data, and the metrics.

        All of them are NaN when the loss is, as for data in which no target counts; `fit` refuses such validation data
        with a ValueError.
        """
        _refuse_others(others)
        self._refuse_misfit("data", data)
        with self._shards.ranks.together("Run the same command again."):
            return self._evaluated(data)

    def _evaluated(self, data: Data) -> dict[str, float]:
        own = []
        for source in self._shards.cut("data", data):
            own.append(tally := Tally())
            for given, output in outputs(self.model, source, self.threads):
                batch = labels_that_count(self.model, given, data)
                predictions = _chosen(output, batch)
                beside = self._beside(predictions, batch, data)
                loss = self.loss(predictions, batch.targets, **beside, threads=self.threads)
                tally.add(float(loss), self._counted(batch))
                if self.metrics:
                    tally.seen.append(self._measured(predictions, batch, data))
        return Tally.of(self._shards.gathered(own)).figures(self.metrics)

    def _refuse_misfit(self, name: str, data: Data) -> None:
        refuse_misfit(self.model, name, data)
        refuse_lengths(self._asked, self.loss, self.model, name, data)
        self._shards.cut(name, data)

    def _refuse_probabilities(self) -> None:
        """Refuse a model that ends in what the loss does itself."""
        last = last_of(self.model)
        if isinstance(self.loss, (CrossEntropyLoss, BCEWithLogitsLoss)) and gives_probabilities(last):
            raise ValueError(
                f"model: expected logits, which {type(self.loss).__name__} makes probabilities of, got a model that "
                f"ends in {last._kind}; train Sequential(*list(model)[:-1]), and predict_proba does the rest"
            )

    def _refuse_strangers(self) -> None:
        """Refuse an optimizer of another model, and a schedule of another optimizer: users may exchange them."""
        if self.optimizer.model is not self.model:
            raise ValueError("optimizer: belongs to another model")
        if self.schedule is not None:
            kinds, expected = Schedule | ReduceLROnPlateau, "a Schedule or ReduceLROnPlateau, such as StepLR(adam, 10)"
            instance("schedule", self.schedule, kinds, expected)  # type: ignore[arg-type]
            if self.schedule.optimizer is not self.optimizer:
                raise ValueError("schedule: belongs to another optimizer")

    def _plan(self, data: Data, validation: Data | None, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a run must have in common with the one that a checkpoint was written by, as JSON has it."""
        optimizer = settings(self.optimizer)
        rate = optimizer.pop("initial_lr")
        plan = {
            "model": self.model.config(),
            "training": _training(self.model),
            "loss": self.loss,
            "optimizer": optimizer if rate is None else {**optimizer, "lr": rate},
            "schedule": self.schedule,
            "schedule_every": self.schedule_every,
            "max_norm": self.max_norm,
            "clip_value": self.clip_value,
            "metrics": list(self.metrics),
            "training_metrics": self.training_metrics,
            "seed": self.seed,
            "shards": self._shards.count,
            "first_step": self.step,
            "first_epoch": self.epoch,
            "data": _described(data),
            "validation": None if validation is None else _described(validation),
            **asked,
        }
        return dict(as_json(plan))

    def _found(self, keeper: Checkpoint | None, plan: Mapping[str, Any], stack: ExitStack) -> Run:
        """Return the run that is to go on: that of the checkpoint, which is held from now on, or a new one."""
        run = Run(self.epoch)
        if keeper is not None:
            keeper.refuse_foreign_log()
            stack.enter_context(keeper.held())
            if keeper.exists():
                run = keeper.restore(self, plan)
                if keeper.changes:
                    keeper.save(self, run, plan)
        return run

    def _begun(self, begin: Callable[[], Run]) -> Run:
        """Return the run that rank 0 begins, and bring the others to where it stands."""
        ranks = self._shards.ranks
        run = begin() if ranks.rank == 0 else Run(self.epoch)
        if ranks.size == 1:
            return run
        schedule: Any = None if self.schedule is None else self.schedule.state_dict()
        place = {"step": self.step, "epoch": self.epoch}
        kept = {name: value for name, value in vars(run).items() if name != "log"}  # which is rank 0's
        state = (kept, self.model.state_dict(), self.optimizer.state_dict(), schedule, place)
        kept, model, optimizer, schedule, place = ranks.of_first(state)
        if ranks.rank == 0:
            return run
        changes = self.optimizer.prepare_load(optimizer)
        if self.schedule is not None:
            changes += self.schedule.prepare_load(schedule)
        self.model._assign(model, [*changes, Change(self, place)])
        return Run(**kept)

    def _groups(self, data: Data, run: Run, together: int) -> Iterator[_Group]:
        """Yield the batches of each step without end, from where the run stands, and take note of that."""
        sources = self._shards.cut("data", data)
        while True:
            self.epoch = run.epoch + 1
            group: _Group = []
            for place, items in enumerate(zip(*(source.epoch(run.epoch) for source in sources), strict=True), 1):
                if place <= run.batches:
                    continue
                group.append([Batch(*item) for item in items])
                if len(group) == together or place == len(data):
                    run.batches = place
                    yield group
                    group = []
            run.epoch, run.batches, run.states = run.epoch + 1, 0, {}

    def _update(self, batches: _Group, data: Data, run: Run) -> Record:
        """Make one step, with all that changes by it, or none."""
        step, buffers = self.step, self.model.buffers()
        try:
            return self._step(batches, data, run, buffers)
        except BaseException:
            if self.step == step:
                self.model.assign(buffers)  # which forward has moved on
            raise

    def _step(self, batches: _Group, data: Data, run: Run, buffers: Mapping[str, Array]) -> Record:
        parts, loss, grads = self._mean(batches, data, run, buffers)
        norm, measured = None, {"the loss": loss}
        if self.clip_value is not None:
            grads = optim.clip_grad_value(grads, self.clip_value)
        if self.max_norm is not None:
            grads, norm = optim.clip_grad_norm(grads, self.max_norm)
            measured["the norm of the gradients"] = norm
        named = self._named(data, run, range(run.batches - len(batches), run.batches))
        self._refuse_divergence(measured, named, data)
        updates, changes = self.optimizer.prepare_step(grads)
        moved = {name: own for name, own in self.model.buffers().items() if own is not buffers[name]}
        for name, new in {**updates, **moved}.items():
            if isinstance(grads.get(name), SparseGradient):
                new = new[grads[name].rows]
            if not _is_finite(new):
                self.model.assign(buffers)  # so that the message names what was there before
                value = float(new[~np.isfinite(new)][0])
                self._refuse_divergence(measured | {f"the new {name}": value}, named, data)
        lr = float(self.optimizer.lr)
        if isinstance(self.schedule, Schedule) and (self.schedule_every == "step" or run.batches == len(data)):
            changes += self.schedule.prepare_step()
        self.model._assign(updates, [*changes, Change(self, {"step": self.step + 1})])
        if self.training_metrics:
            for part in parts:
                run.tally.add(part.loss, part.weight)
                if part.seen is not None:
                    run.tally.seen.append(part.seen)
        return Record(self.step, run.epoch, loss, sum(part.targets for part in parts), lr, norm)

    def _mean(
        self, batches: _Group, data: Data, run: Run, buffers: Mapping[str, Array]
    ) -> tuple[list[_Part], float, Gradients]:
        """Return what was found on each shard of each batch, and the means over all targets: loss and gradient."""
        own: list[list[Gradients]] = []
        told: list[tuple[list[_Part], dict[str, Array]]] = []
        several = self._shards.count > 1
        for place, shard in enumerate(self._shards.own):
            if several:
                self.model.assign(buffers)
            found = [
                self._gradients(batch[place], self._seed(number, shard), shard, data, run)
                for number, batch in enumerate(batches)
            ]
            own.append([grads for _, grads in found])
            told.append(([part for part, _ in found], self.model.buffers() if several else {}))
        told = self._shards.gathered(told)
        if several:
            self.model.assign({name: average([moved[name] for _, moved in told]) for name in buffers})
        parts = [part for of_shard, _ in told for part in of_shard]
        total = sum(part.weight for part in parts)
        shares = [part.weight / total if total else 0.0 for part in parts] if len(parts) > 1 else [1.0]
        of_own = [shares[len(batches) * shard :][: len(batches)] for shard in self._shards.own]
        loss = sum(part.loss * share for part, share in zip(parts, shares, strict=True))
        return parts, loss, self._shards.summed([*map(weighted, own, of_own)])

    def _seed(self, place: int, shard: int) -> Seed:
        """Return the seed for a batch of a step."""
        if self._shards.count > 1:
            return (*self.seed, self.step, place, shard)
        return (*self.seed, self.step, place) if place else (*self.seed, self.step)

    def _gradients(self, batch: Batch, seed: Seed, shard: int, data: Data, run: Run) -> tuple[_Part, Gradients]:
        """Go through a batch forth and back, and keep the model's states after it."""
        inputs, given = called_with(self.model, data, batch, run.states.get(shard))
        result, tape = self.model.forward(*inputs, **given, seed=seed, threads=self.threads)
        predictions, run.states[shard] = result if self.model.recurrent else (result, None)
        batch = labels_that_count(self.model, batch, data)
        chosen = _chosen(predictions, batch)
        beside = self._beside(chosen, batch, data)
        loss, loss_tape = self.loss.forward(chosen, batch.targets, **beside, threads=self.threads)
        d_predictions = self.loss.backward(loss_tape)
        if batch.live is not None:
            d_chosen, d_predictions = d_predictions, np.zeros_like(predictions)
            d_predictions[batch.live] = d_chosen
        _, grads = self.model.backward(tape, d_predictions, threads=self.threads)
        part = _Part(float(loss), self._counted(batch), _size(batch))
        if self.training_metrics and self.metrics:
            part = part._replace(seen=self._measured(chosen, batch, data))
        return part, self.optimizer.trained(grads)

    def _named(self, data: Data, run: Run, places: range) -> Iterator[tuple[str, Batch]]:
        """Yield the batches of these places in the epoch, whole and with their names."""
        for place, item in zip(range(places.stop), data.epoch(run.epoch), strict=False):
            if place in places:
                yield f"batch {place} of epoch {run.epoch}", Batch(*item)

    def _validated(self, record: Record, validation: Data, run: Run, goal: Goal) -> Record:
        began = time.perf_counter()
        figures = self._evaluated(validation)
        seconds = time.perf_counter() - began
        if math.isnan(figures["loss"]) and not any(self._counted(Batch(*item)) for item in validation.epoch(0)):
            raise ValueError("validation: expected at least one target that counts, got none")
        named = ((f"validation batch {place}", Batch(*item)) for place, item in enumerate(validation.epoch(0)))
        self._refuse_divergence({"the validation loss": figures["loss"]}, named, validation)
        if isinstance(self.schedule, ReduceLROnPlateau):
            self.schedule.step(figures[goal.monitor])
        best = goal.is_better(figures, None if self.best is None else self.best.validation)
        record = replace(record, validation=figures, best=best, validation_seconds=seconds)
        run.failures = 0 if record.best else run.failures + 1
        if record.best:
            self.best, run.best_state = record, self.model.state_dict()
        return record

    def _take_best(self, run: Run) -> None:
        if run.best_state is not None:
            self.model.assign(run.best_state)

    def _refuse_divergence(
        self, measured: Mapping[str, float], batches: Iterable[tuple[str, Batch]], data: Data
    ) -> None:
        """Refuse figures that are not finite; `batches` of `data`, what they were measured on, are read then only."""
        if all(map(math.isfinite, measured.values())):
            return
        row_axis = int(data.batch_first is False) if hasattr(data, "batch_first") else None
        found = ", ".join(f"{name} is {value:g}" for name, value in measured.items())
        raise FloatingPointError(
            f"training diverged at step {self.step}: {found}; {advice(batches, row_axis, self.model)}"
        )

    def _counted(self, batch: Batch) -> float:
        """Return what the loss of a batch is divided by."""
        sizes = {"target_lengths": target_lengths(batch)} if "target_lengths" in self._asked else {}
        return self.loss.count(batch.targets, **sizes, **_weights_of(batch))

    def _beside(self, predictions: Array, batch: Batch, data: Data) -> dict[str, Array]:
        """Return what the loss is given beside predictions and targets."""
        given = _weights_of(batch)
        if "input_lengths" in self._asked:
            given["input_lengths"] = input_lengths(self.model, predictions, batch, data)
        if "target_lengths" in self._asked:
            given["target_lengths"] = target_lengths(batch)
        return given

    def _measured(self, predictions: Array, batch: Batch, data: Data) -> tuple[Array, ...]:
        """Return what the metrics are made of."""
        targets = batch.targets
        if self._asked:
            return without_padding(self.model, predictions, batch, data)
        ignored = getattr(self.loss, "ignore_index", None)
        if ignored is None:
            return predictions, targets
        if targets.dtype.kind == "f":  # probabilities, of which all count
            return predictions, targets.argmax(axis=-1)
        counted = targets != ignored
        return predictions[counted], targets[counted]


class Goal(NamedTuple):
    """What makes a validation the best: the arguments of `Trainer.fit`."""

    monitor: str
    mode: str
    min_delta: float

    def is_better(self, figures: Mapping[str, float], best: Mapping[str, float] | None) -> bool:
        """Return whether figures beat the best so far; NaN beats nothing."""
        sign = 1.0 if self.mode == "min" else -1.0
        least = math.inf if best is None else sign * best[self.monitor] - self.min_delta
        return sign * figures[self.monitor] < least


# The batches of a step, each cut into this rank's shards.
_Group: TypeAlias = list[list[Batch]]


class _Part(NamedTuple):
    """What is found on a shard of a batch beside its gradient: the loss, what it is divided by, how many targets."""

    loss: float
    weight: float
    targets: int
    seen: tuple[Array, ...] | None = None  # for metrics of the training


def _advice(keeper: Checkpoint | None) -> str:
    """Return what to do when the job is ended."""
    if keeper is None:
        return "Run the same command again; with a checkpoint it would go on from there."
    return f"Run the same command again, on any number of ranks: it goes on from {keeper.path}, if that is there."


def _is_finite(array: Array) -> bool:
    with np.errstate(all="ignore"):
        # A sum is quick, but finite numbers may have one that is not.
        return math.isfinite(array.sum()) or bool(np.isfinite(array).all())


def _check_files(files: Mapping[str, StrPath | None]) -> None:
    """Refuse files that cannot be written, or that are one and the same."""
    taken: dict[Any, str] = {}
    for name, file in files.items():
        if file is None:
            continue
        target = writable(name, file)
        status = target.stat() if target.exists() else None  # which tells, other than a name, a hard link
        other = taken.setdefault((status.st_dev, status.st_ino) if status else target, name)
        if other != name:
            raise ValueError(f"{name}: expected another file than {other}, got {file}")


def _training(model: Module) -> str | list[str]:
    """Return which layers are in training mode."""
    modes = {name or "model": module.training for name, module in model.named_modules()}
    if len(set(modes.values())) == 1:
        return "on" if model.training else "off"
    return [name for name, training in modes.items() if training]


def _refuse_others(others: tuple[Any, ...]) -> None:
    """Refuse inputs and targets apart, which models of Keras and scikit-learn take."""
    if others:
        expected = "one source of batches, such as Batches(x, y, batch_size)"
        raise TypeError(f"data: expected {expected}, got {1 + len(others)} arguments")


def _described(data: Data) -> dict[str, Any]:
    return {"batches": len(data), "fingerprint": getattr(data, "fingerprint", None)}


def _due(name: str, steps: int | Collection[int]) -> Callable[[int], bool]:
    """Return whether something is to happen after a step: after every so many, or after these."""
    if isinstance(steps, Collection) and not isinstance(steps, (str, bytes, np.ndarray)):
        return frozenset(every(name, steps, whole)).__contains__
    interval = whole(name, steps)
    return lambda step: step % interval == 0


def _size(batch: Batch) -> int:
    """Return the number of targets."""
    return int(batch.targets.size if batch.target_lengths is None else batch.target_lengths.sum())


def _weights_of(batch: Batch) -> dict[str, Array]:
    return {} if batch.weights is None else {"weights": batch.weights}


def _chosen(predictions: Array, batch: Batch) -> Array:
    if batch.live is None:
        return predictions
    if predictions.shape[: batch.live.ndim] != batch.live.shape:
        got = f"{batch.live.shape} beside predictions {predictions.shape}"
        raise ValueError(f"targets: expected one for each of the predictions, got {got}")
    return predictions[batch.live]
