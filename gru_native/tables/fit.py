"""Training on a table: what is held out, what is fitted on the rest, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from gru_native import losses, optim
from gru_native import train as training
from gru_native.arguments import Array
from gru_native.tables.examples import (
    Sequences,
    error_of,
    following,
    labels_of,
    numbers_of,
    window_of,
    windows_of,
)
from gru_native.tables.model import PROBABILITY, Scale, TableModel, blank, start
from gru_native.tables.reading import Table
from gru_native.tables.settings import CLASSES, Settings, TableError
from gru_native.train.loop import Loss

VALIDATED_TOGETHER = 256


@dataclass(frozen=True)
class Fit:
    """A model that is ready to be trained, its data, and how to compare it with what is held out."""

    model: TableModel
    loss: Loss
    data: training.Data
    validation: training.Data
    compared: Callable[[], tuple[Array, Array]]
    examples: int

    @property
    def trainer(self) -> training.Trainer:
        """A new trainer of the model."""
        settings, network = self.model.settings, self.model.network
        classes = settings.task in CLASSES
        return training.Trainer(
            network,
            self.loss,
            optim.AdamW(network, lr=settings.learning_rate, weight_decay=settings.weight_decay),
            max_norm=settings.max_norm,
            metrics=training.classification_metrics() if classes else None,
            seed=(settings.seed, 1),
            threads=settings.threads,
        )

    def figures(self) -> dict[str, float]:
        """Return what the model does on what is held out, in the units of the table."""
        return self.model.figures(*self.compared())


def prepare(table: Table, settings: Settings) -> Fit:
    """Return a model for a table, untrained, with its data.

    Raises
    ------
    TableError
        For a table that does not go with the settings.
    ImportError
        Without scikit-learn.
    """
    if not find_spec("sklearn"):
        raise ImportError("training on tables needs scikit-learn: pip install 'gru_native[train]'")
    if table.sequences and settings.id is None:
        settings = replace(settings, id="id", time=settings.time or "time")
    features, sequences = start(table, settings)
    if settings.task == "forecast":
        return _of_series(table, settings, features, sequences)
    held_out, rest = _split(table, settings, sequences)
    inputs = Scale.of(np.concatenate(rest.inputs), settings.scaling)
    outputs, classes = Scale(*np.zeros((3, 0))), []
    loss: Loss = losses.MSELoss()
    if settings.task == "regress":
        outputs = Scale.of(numbers_of(table, settings, rest), settings.scaling)
    else:
        labels = np.concatenate(labels_of(table, settings, rest))
        classes = np.unique(labels).tolist()
        loss = losses.CrossEntropyLoss(weight=_class_weight(settings, labels))
        if len(classes) < 2:
            raise TableError(f"{table.path}: column {settings.target[0]!r}: expected several classes, got {classes}")
        _refuse_collision(settings, classes)
    model = blank(settings, features, inputs, outputs, classes)

    def data(own: Sequences, **order: Any) -> training.Sequences:
        targets: Any
        if settings.task == "regress":
            targets = outputs(numbers_of(table, settings, own)).astype(np.float32)
        else:
            targets = [np.searchsorted(classes, each) for each in labels_of(table, settings, own)]
        per_step = settings.task == "label"
        given = [model.prepared(each) for each in own.inputs]
        if settings.task == "classify":
            targets = np.concatenate(targets)
        size = order.pop("size")
        return training.Sequences(given, targets, size, per_step=per_step, batch_first=True, **order)

    model.compared_sequences(table, held_out)  # refuses classes that are not in the rest
    pieces = _pieces(rest, settings.window) if settings.task == "label" else rest
    return Fit(
        model,
        loss,
        data(pieces, size=settings.batch_size, shuffle=True, seed=(settings.seed, 2)),
        data(held_out, size=VALIDATED_TOGETHER),
        lambda: model.compared_sequences(table, held_out),
        len(pieces.inputs),
    )


def _refuse_collision(settings: Settings, classes: list[str]) -> None:
    """Refuse a column that predictions have, and that is called as that of a class' probability."""
    probabilities = set(map(PROBABILITY.format, classes))
    for role, name in {"target": settings.target[0], "id": settings.id, "time": settings.time}.items():
        if name in probabilities:
            raise TableError(f"{role}: expected another name than {name!r}, a column that predictions have themselves")


def _class_weight(settings: Settings, labels: Array) -> Array | None:
    """Return what each class counts, in the order of `numpy.unique`; ``None`` where all count the same."""
    from sklearn.utils import compute_class_weight

    if settings.class_weight == "none":
        return None
    found: Array = compute_class_weight(settings.class_weight, classes=np.unique(labels), y=labels)
    return found


def _split(table: Table, settings: Settings, sequences: Sequences) -> tuple[Sequences, Sequences]:
    """Return the sequences that are held out, and the rest; of a single one its end, and what is before."""
    from sklearn.model_selection import train_test_split

    number = len(sequences.rows)
    if number == 1 and settings.task == "label":
        rows, inputs = sequences.rows[0], sequences.inputs[0]
        at = len(rows) - max(1, round(settings.validation * len(rows)))
        if at < 1:
            raise TableError(f"{table.path}: expected rows to train on and to hold out, got {len(rows)}")
        return Sequences([rows[at:]], [inputs[at:]]), Sequences([rows[:at]], [inputs[:at]])
    labels = None
    if settings.task == "classify":
        labels = np.concatenate(labels_of(table, settings, sequences))
        classes, first, counts = np.unique(labels, return_index=True, return_counts=True)
        if counts.min() == 1:
            alone = counts.argmin()
            problem = f"expected each of {len(classes)} classes in two sequences or more, got {classes[alone]} in one"
            raise table.error(settings.target[0], sequences.rows[first[alone]][0], problem)
    try:
        rest, held_out = train_test_split(
            np.arange(number), test_size=settings.validation, random_state=settings.seed, stratify=labels
        )
    except ValueError as error:
        raise TableError(f"{table.path}: no share {settings.validation} of {number} sequences: {error}") from None
    return sequences.chosen(np.sort(held_out)), sequences.chosen(np.sort(rest))


def _pieces(sequences: Sequences, window: int | None) -> Sequences:
    """Return sequences cut into pieces of at most so many steps."""
    if window is None:
        return sequences
    cuts = [range(window, len(rows), window) for rows in sequences.rows]
    rows, inputs = (
        [piece for own, cut in zip(whole, cuts, strict=True) for piece in np.split(own, cut)]
        for whole in (sequences.rows, sequences.inputs)
    )
    return Sequences(rows, inputs)


def _of_series(table: Table, settings: Settings, features: list[str], sequences: Sequences) -> Fit:
    """Return a model for forecasts: the end of each series is held out, and no forecast of training reaches into it."""
    window, horizon, k = window_of(settings), settings.horizon, len(settings.target)
    past, held_out = [], Sequences([], [])
    for rows, own in zip(sequences.rows, sequences.inputs, strict=True):
        at = len(own) - max(horizon, round(settings.validation * len(own)))
        if at < window + horizon:
            problem = f"expected at least {window + horizon} rows to train on, for window and horizon, got {at}"
            raise error_of(table, settings, rows, f"{problem} and {len(own) - at} to hold out")
        past.append(own[:at])
        held_out.rows.append(rows[at - window :])
        held_out.inputs.append(own[at - window :])
    scale = Scale.of(np.concatenate(past), settings.scaling)
    outputs = Scale(scale.mean[:k], scale.scale[:k], scale.centre[:k])
    model = blank(settings, features, scale, outputs, [])

    def data(series: list[Array], size: int, **order: Any) -> training.Batches:
        targets = following([outputs(own[:, :k]) for own in series], window, horizon)
        targets = targets.astype(np.float32).reshape(-1, horizon * k)
        known = ~np.isnan(targets)
        weights = None if known.all() else known.astype(np.float64)
        inputs = windows_of([model.prepared(own) for own in series], window, horizon)
        return training.Batches(inputs, np.where(known, targets, 0), size, weights=weights, **order)

    examples = data(past, settings.batch_size, shuffle=True, seed=(settings.seed, 2))
    return Fit(
        model,
        losses.MSELoss(),
        examples,
        data(held_out.inputs, VALIDATED_TOGETHER),
        lambda: model.compared_sequences(table, held_out),
        len(examples.inputs),
    )
