"""What the estimators share: their settings, the network, and how it is trained and asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from gru_native import losses, nn, optim
from gru_native._layer import MAX_THREADS
from gru_native.arguments import Array, flag, number, one_of, path, whole
from gru_native.io import StrPath
from gru_native.sklearn.inputs import Examples, Inputs
from gru_native.train import Batches, Record, Sequences, Trainer
from gru_native.train.identity import as_json, fingerprint
from gru_native.train.network import POOLINGS, sequence_network

#: Sequences that are computed together in prediction. Their company changes no bit.
PREDICTED_TOGETHER = 256


@dataclass(eq=False, repr=False, kw_only=True)
class RecurrentEstimator(BaseEstimator):
    """A recurrent network behind scikit-learn's interface; `GRUClassifier` describes its parameters and attributes."""

    hidden_size: int | Sequence[int] = 64
    num_layers: int = 1
    bidirectional: bool = False
    cell: str = "gru"
    pooling: str = "last"
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    learning_rate: float = 1e-2
    weight_decay: float = 0.0
    max_norm: float | None = 1.0
    batch_size: int = 32
    epochs: int = 50
    early_stopping: bool = False
    validation_fraction: float = 0.1
    n_iter_no_change: int = 10
    tol: float = 1e-4
    warm_start: bool = False
    random_state: Any = None
    n_jobs: int | None = None
    callbacks: Sequence[Callable[[Record], object]] | None = None
    verbose: bool | int = False
    checkpoint: StrPath | None = None

    model_: nn.Sequential = field(init=False)
    n_iter_: int = field(init=False)
    loss_curve_: list[float] = field(init=False)
    validation_curve_: list[float] = field(init=False)
    _seed: int = field(init=False)
    _steps: int = field(init=False)
    _moments: dict[str, Array | float] = field(init=False)

    _loss: ClassVar[type[losses.CrossEntropyLoss] | type[losses.MSELoss]]

    @property
    def _continues(self) -> bool:
        """Whether another `fit` goes on with the network that is there."""
        return flag("warm_start", self.warm_start) and hasattr(self, "model_")

    def _network(self, features: int, outputs: int, seed: tuple[int, ...]) -> nn.Sequential:
        return sequence_network(
            features,
            outputs,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            cell=self.cell,
            pooling=one_of("pooling", self.pooling, POOLINGS),
            dropout=self.dropout,
            recurrent_dropout=self.recurrent_dropout,
            seed=seed,
        )

    def _trainer(self, model: nn.Sequential, seed: int) -> Trainer:
        rate = number("learning_rate", self.learning_rate, below=np.inf)
        decay = number("weight_decay", self.weight_decay, below=np.inf)
        return Trainer(
            model,
            self._loss(),
            optim.AdamW(model, lr=rate, weight_decay=decay),
            max_norm=self.max_norm,
            seed=(seed, 2),
            threads=self._threads,
        )

    @property
    def _threads(self) -> int | None:
        """How many threads `n_jobs` stands for: from -1 down all of the machine, all but one, ..."""
        if self.n_jobs is None:
            return None
        jobs = whole("n_jobs", self.n_jobs, -(2**31), MAX_THREADS)
        return jobs if jobs > 0 else min(effective_n_jobs(jobs), MAX_THREADS)

    @property
    def _shows_progress(self) -> bool:
        """What `verbose` says, which scikit-learn has as a flag or as a number."""
        chosen = self.verbose
        return flag("verbose", chosen) if isinstance(chosen, (bool, np.bool_)) else whole("verbose", chosen, 0) > 0

    def _random(self) -> np.random.RandomState:
        try:
            return check_random_state(self.random_state)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"random_state: {error}"[:300]) from None

    def _learn(
        self, examples: Examples, held_out: Examples | None, outputs: int, *, more: bool, once: bool = False
    ) -> None:
        """Train a new network, or with `more` the present one, for all epochs or for one.

        Nothing of the estimator changes before training is over.
        """
        seed = self._seed if more else int(self._random().randint(2**31 - 1))
        model = self._network(examples.inputs[0].shape[1], outputs, (seed, 0))
        trainer = self._trainer(model, seed)
        if more:
            _take_over(model, self.model_)
            trainer.step, trainer.epoch = self._steps, self.n_iter_
            trainer.optimizer.load_state_dict({**self._moments, "lr": trainer.optimizer.lr})
        stopping: dict[str, Any] = {}
        if held_out is not None:
            stopping["validation"] = held_out.batches(PREDICTED_TOGETHER)
            stopping["patience"] = whole("n_iter_no_change", self.n_iter_no_change)
            stopping["min_delta"] = number("tol", self.tol, below=np.inf)
        data, epochs = examples.batches(whole("batch_size", self.batch_size), (seed, 1)), 1 if once else self.epochs
        history = trainer.fit(
            data,
            epochs=whole("epochs", epochs),
            checkpoint=None if more else self._kept(trainer, data, {"epochs": epochs, **stopping}),
            callbacks=() if self.callbacks is None else self.callbacks,
            progress=self._shows_progress,
            **stopping,
        )
        self.model_, self._seed, self._steps = model, seed, trainer.step
        self._moments, self.n_iter_ = trainer.optimizer.state_dict(), trainer.epoch
        self._record(history)

    def _kept(self, trainer: Trainer, data: Batches | Sequences, asked: dict[str, Any]) -> Path | None:
        """Return the file of a training, which is named by what it is."""
        if self.checkpoint is None:
            return None
        folder = Path(path("checkpoint", self.checkpoint))
        if self.random_state is None:
            raise ValueError("random_state: expected a number beside checkpoint, so that a training is known, got None")
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"checkpoint: expected a folder, got the file {folder}")
        folder.mkdir(parents=True, exist_ok=True)
        sources = [
            data.fingerprint,
            *(own.fingerprint for own in asked.values() if isinstance(own, (Batches, Sequences))),
        ]
        numbers = {name: own for name, own in asked.items() if isinstance(own, (int, float))}
        parts = (type(self).__name__, trainer.model.config(), trainer.optimizer, self.max_norm, trainer.seed, numbers)
        return folder / f"{fingerprint(*sources, as_json(parts))}.checkpoint"

    def _record(self, history: list[Record]) -> None:
        epochs = np.array([record.epoch for record in history])
        own = np.array([record.loss for record in history])
        self.loss_curve_ = [float(own[epochs == epoch].mean()) for epoch in np.unique(epochs)]
        self.validation_curve_ = [each.validation["loss"] for each in history if each.validation is not None]

    def _outputs(self, inputs: Inputs) -> Array:
        """Return what the network gives for each sequence, in float64."""
        found = self.model_.predict(inputs, batch_size=PREDICTED_TOGETHER, threads=self._threads)
        return np.asarray(found, np.float64)


def _take_over(model: nn.Sequential, present: nn.Sequential) -> None:
    """Give a network the parameters of the present one."""
    wanted, found = ({name: own.shape for name, own in each.state_dict().items()} for each in (model, present))
    if wanted != found:
        raise ValueError("warm_start: expected settings of the network that is fitted, got those of another one")
    model.assign(present.state_dict())
