"""A network with all that it takes to read a table: columns, scaling, classes, windows. One file holds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gru_native import functional as F
from gru_native import io, nn
from gru_native.arguments import Array
from gru_native.tables.examples import (
    Sequences,
    error_of,
    features_of,
    following,
    labels_of,
    numbers_of,
    sequences_of,
    window_of,
    windows_of,
)
from gru_native.tables.reading import Table
from gru_native.tables.settings import CLASSES, Settings, TableError, settings_of
from gru_native.train import classification_metrics, regression_metrics

ENTRY = "table"
PROBABILITY = "p({})"  # the column of a class
AT_ONCE = 1024  # sequences or windows between two moves of a progress bar

#: Shows how far an iteration is, such as `tqdm.tqdm`.
Progress = Callable[[range], Iterable[int]]


@dataclass(frozen=True)
class Scale:
    """What brings columns to mean 0 and variance 1, (f,) each; or leaves them, and knows their mean."""

    mean: Array
    scale: Array
    centre: Array

    @classmethod
    def of(cls, values: Array, scaling: str) -> Scale:
        """Return the scale of values (N, f), of which some may be NaN."""
        from sklearn.preprocessing import StandardScaler

        if empty := np.flatnonzero(np.isnan(values).all(0)).tolist():
            raise TableError(f"columns: expected values to train on, got none in column {empty[0] + 1} of those read")
        own = StandardScaler().fit(values)
        if scaling == "none":
            return cls(own.mean_, np.ones_like(own.scale_), np.zeros_like(own.mean_))
        return cls(own.mean_, own.scale_, own.mean_)

    def __call__(self, values: Array) -> Array:
        return (values - self.centre) / self.scale

    def back(self, values: Array) -> Array:
        """Return values in the units of the table."""
        return values * self.scale + self.centre


@dataclass(frozen=True)
class TableModel:
    """A network, and how a table becomes its inputs and its outputs predictions.

    Attributes
    ----------
    network : Sequential
        For batches (B, T, f), to logits or scaled numbers.
    settings : Settings
        That it was trained with.
    features : list of str
        The columns that are read.
    inputs, outputs : Scale
        Of the features, and of the numbers that are predicted.
    classes : list of str
        In the order of the logits; empty for numbers.
    """

    network: nn.Sequential
    settings: Settings
    features: list[str]
    inputs: Scale
    outputs: Scale
    classes: list[str]

    def save(self, path: io.StrPath) -> None:
        """Save it as safetensors; see `gru_native.save`. `gru_native.load` returns the network alone."""
        scales = {name: {key: own.tolist() for key, own in vars(getattr(self, name)).items()} for name in SCALES}
        settings = {name: value for name, value in asdict(self.settings).items() if value is not None}
        known = {"settings": settings, "features": self.features, "classes": self.classes, **scales}
        io.save(self.network, path, {ENTRY: json.dumps(known)})

    @classmethod
    def load(cls, path: io.StrPath) -> TableModel:
        """Load what `save` wrote.

        Raises
        ------
        ModelFileError
            When the file is damaged or holds something else.
        OSError
            When the file cannot be read.
        """
        network, metadata = io.load_with_metadata(path)
        try:
            if not isinstance(network, nn.Sequential) or ENTRY not in metadata:
                raise ValueError("it has no table")
            return _parsed(network, io.parsed(metadata[ENTRY]))
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise io.ModelFileError(f"{path}: a model, but none that 'train' wrote for tables: {error}") from error

    def sequences(self, table: Table) -> Sequences:
        """Return the sequences of a table."""
        return sequences_of(table, self.settings, self.features)

    def prepared(self, values: Array) -> Array:
        """Return what the network reads of values (T, f): no missing ones, scaled, in float32."""
        missing = np.isnan(values)
        if missing.any():
            if self.settings.missing == "previous":
                last = np.maximum.accumulate(np.where(missing, -1, np.arange(len(values))[:, None]))
                previous = np.take_along_axis(values, last.clip(0), 0)
                values = np.where(missing & (last >= 0), previous, values)
            values = np.where(np.isnan(values), self.inputs.mean, values)
        return self.inputs(values).astype(np.float32)

    def run(self, parts: list[Array] | Array, progress: Progress = iter) -> list[Array]:
        """Return what the network gives for each of some sequences or windows, in float64."""
        found: list[Array] = []
        for start in progress(range(0, len(parts), AT_ONCE)):
            given = parts[start : start + AT_ONCE]
            found += list(self.network.predict(given, threads=self.settings.threads))
        return [own.astype(np.float64) for own in found]

    def predict(self, table: Table, progress: Progress = iter) -> dict[str, Array]:
        """Return the columns of a table of predictions.

        There is a row for each sequence, with its id if it has one; to label steps a row for each row of the table; and
        a row for each step of the forecast of each series. Classes have a column with the probability of each.
        """
        task, sequences = self.settings.task, self.sequences(table)
        if task == "forecast":
            return self._forecasts(table, sequences, progress)
        found = self.run([self.prepared(own) for own in sequences.inputs], progress)
        first = np.array([rows[0] for rows in sequences.rows])
        shown = {own: table.column(own) for own in (self.settings.id, self.settings.time) if own is not None}
        if task == "label":
            logits = np.empty((len(table), len(self.classes)))
            for rows, own in zip(sequences.rows, found, strict=True):
                logits[rows] = own
        else:
            logits = np.stack(found)
            shown = {own: column[first] for own, column in shown.items() if own == self.settings.id}
        if task == "regress":
            return {**shown, **dict(zip(self.settings.target, self.outputs.back(logits).T, strict=True))}
        probabilities = F.softmax(logits)
        labels = np.array(self.classes)[logits.argmax(1)]
        named = {PROBABILITY.format(name): own for name, own in zip(self.classes, probabilities.T, strict=True)}
        return {**shown, self.settings.target[0]: labels, **named}

    def compared(self, table: Table, progress: Progress = iter) -> tuple[Array, Array]:
        """Return what a table says and what the network predicts for it: classes (n,) as numbers beside logits (n, C).

        Numbers are (n, k) each, and of a forecast (n, horizon, k) for all windows, NaN where the table has none.
        """
        return self.compared_sequences(table, self.sequences(table), progress)

    def compared_sequences(self, table: Table, sequences: Sequences, progress: Progress = iter) -> tuple[Array, Array]:
        """Return the same for some sequences of a table."""
        if self.settings.task == "forecast":
            return self._compared_forecasts(table, sequences, progress)
        found = self.run([self.prepared(own) for own in sequences.inputs], progress)
        if self.settings.task == "regress":
            return numbers_of(table, self.settings, sequences), self.outputs.back(np.stack(found))
        labels = np.concatenate(labels_of(table, self.settings, sequences))
        if len(strangers := np.flatnonzero(~np.isin(labels, self.classes))):
            place = strangers[0]
            rows = np.concatenate([own if self.settings.task == "label" else own[:1] for own in sequences.rows])
            known = ", ".join(self.classes)
            raise table.error(self.settings.target[0], rows[place], f"expected one of {known}, got {labels[place]}")
        logits = np.concatenate(found) if self.settings.task == "label" else np.stack(found)
        return np.searchsorted(self.classes, labels), logits

    def _forecasts(self, table: Table, sequences: Sequences, progress: Progress) -> dict[str, Array]:
        """Return what `predict` does of the series of a table."""
        window, horizon, own = window_of(self.settings), self.settings.horizon, self.settings.id
        self._refuse_short(table, sequences, window)
        last = windows_of([self.prepared(each)[-window:] for each in sequences.inputs], window)
        numbers = self.outputs.back(np.reshape(self.run(last, progress), (len(last) * horizon, -1)))
        first = np.array([rows[0] for rows in sequences.rows])
        ids = {} if own is None else {own: np.repeat(table.column(own)[first], horizon)}
        steps = np.tile(np.arange(1, horizon + 1), len(last))
        return {**ids, "step": steps, **dict(zip(self.settings.target, numbers.T, strict=True))}

    def _compared_forecasts(self, table: Table, sequences: Sequences, progress: Progress) -> tuple[Array, Array]:
        """Return what `compared` does of some series of a table."""
        window, horizon, k = window_of(self.settings), self.settings.horizon, len(self.settings.target)
        self._refuse_short(table, sequences, window + horizon)
        expected = following([own[:, :k] for own in sequences.inputs], window, horizon)
        windows = windows_of([self.prepared(own) for own in sequences.inputs], window, horizon)
        return expected, self.outputs.back(np.reshape(self.run(windows, progress), expected.shape))

    def _refuse_short(self, table: Table, sequences: Sequences, least: int) -> None:
        for rows in sequences.rows:
            if len(rows) < least:
                problem = f"expected at least {least} rows, for window and horizon, got {len(rows)}"
                raise error_of(table, self.settings, rows, problem)

    def figures(self, expected: Array, found: Array) -> dict[str, float]:
        """Return what scikit-learn says of predictions: accuracy, ..., or mae, rmse and r2."""
        if self.settings.task in CLASSES:
            metrics = classification_metrics()
            return {name: metric(found, expected) for name, metric in metrics.items()}
        k = expected.shape[-1]
        known = ~np.isnan(expected).reshape(-1, k).any(1)
        expected, found = expected.reshape(-1, k)[known], found.reshape(-1, k)[known]
        return {name: metric(found, expected) for name, metric in regression_metrics().items()}


SCALES = ("inputs", "outputs")


def _parsed(network: nn.Sequential, known: dict[str, Any]) -> TableModel:
    """Return the model of what a file says, once all of it fits together."""
    settings = settings_of(known["settings"])
    features, classes = ([str(each) for each in known[name]] for name in ("features", "classes"))
    inputs, outputs = (Scale(**{key: np.array(own, np.float64) for key, own in known[name].items()}) for name in SCALES)
    first, last = network[0], network[-1]
    read = 1 if settings.wide else len(features)
    numbers = len(settings.target) * settings.horizon
    written = len(classes) if settings.task in CLASSES else numbers
    if not isinstance(first, (nn.GRU, nn.LSTM, nn.RNN)) or not isinstance(last, nn.Linear):
        raise ValueError("expected recurrent layers and a linear one")
    if (first.input_size, last.out_features) != (read, written):
        raise ValueError(f"expected a network from {read} to {written} numbers")
    sizes = {"inputs": (inputs, read), "outputs": (outputs, 0 if classes else len(settings.target))}
    for name, (scale, size) in sizes.items():
        if any(own.shape != (size,) or not np.isfinite(own).all() for own in vars(scale).values()):
            raise ValueError(f"{name}: expected {size} finite numbers")
    if classes != sorted(set(classes)) or not (inputs.scale > 0).all():
        raise ValueError("expected classes in order, and scales above 0")
    return TableModel(network, replace(settings, threads=None), features, inputs, outputs, classes)


def blank(settings: Settings, features: list[str], inputs: Scale, outputs: Scale, classes: list[str]) -> TableModel:
    """Return a model with a new network; see `TableModel`."""
    from gru_native.train.network import sequence_network

    network = sequence_network(
        1 if settings.wide else len(features),
        len(classes) or len(settings.target) * settings.horizon,
        hidden_size=settings.hidden_size,
        bidirectional=settings.bidirectional,
        cell=settings.cell,
        pooling=None if settings.task == "label" else settings.pooling,
        dropout=settings.dropout,
        recurrent_dropout=settings.recurrent_dropout,
        seed=(settings.seed, 0),
    )
    return TableModel(network, settings, features, inputs, outputs, classes)


def start(table: Table, settings: Settings) -> tuple[list[str], Sequences]:
    """Return the names of what is read of a table to train on, and its sequences."""
    features = features_of(table, settings)
    return features, sequences_of(table, settings, features)
