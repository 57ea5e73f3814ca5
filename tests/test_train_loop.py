"""The training loop: what it learns, what it keeps, and that it does so to the bit."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sources import Unknown
from tolerances import assert_close

from gru_native import nn, optim
from gru_native.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from gru_native.schedules import ExponentialLR, ReduceLROnPlateau
from gru_native.train import (
    Batch,
    Batches,
    Checkpoint,
    CSVLog,
    ProgressBar,
    Record,
    Sequences,
    Stream,
    Trainer,
    classification_metrics,
    regression_metrics,
)

CLASSES = 6


def _language(length: int = 3000) -> np.ndarray[Any, Any]:
    """A sequence with as many symbols of each kind, where the two last ones nearly fix the next."""
    rng = np.random.default_rng(0)
    symbols = [0, 1]
    while len(symbols) < length:
        after = (symbols[-1] + 2 * symbols[-2] + 1) % CLASSES
        symbols.append(int(rng.integers(CLASSES)) if rng.random() < 0.1 else after)
    return np.array(symbols)


def _model(dropout: float = 0.0) -> nn.Sequential:
    return nn.Sequential(
        nn.Embedding(CLASSES, 8, seed=1),
        nn.GRU(8, (24, 16), dropout=dropout, seed=2),
        nn.Dropout(dropout),
        nn.Linear(16, CLASSES, seed=3),
    )


def _stream(symbols: np.ndarray[Any, Any], batch_size: int = 5, window: int = 20) -> Stream:
    return Stream(symbols[:-1], symbols[1:], batch_size, window)


def _trainer(model: nn.Module, lr: float = 1e-2, **keywords: Any) -> Trainer:
    return Trainer(model, CrossEntropyLoss(), optim.Adam(model, lr=lr), **keywords)


def test_it_learns_more_than_frequencies() -> None:
    symbols = _language()
    held_out = _stream(symbols[2500:])
    trainer = _trainer(_model(), max_norm=1.0, metrics={"accuracy": _accuracy})
    history = trainer.fit(_stream(symbols[:2500]), steps=150, validation=held_out, progress=False)
    unigram = math.log(CLASSES)
    assert history[0].loss == pytest.approx(unigram, abs=0.3)
    assert trainer.best is not None
    assert trainer.best.validation is not None
    assert trainer.best.validation["loss"] < 0.5 * unigram
    assert trainer.best.validation["accuracy"] > 0.8


def _accuracy(predictions: np.ndarray[Any, Any], targets: np.ndarray[Any, Any]) -> float:
    return float(np.mean(predictions.argmax(axis=-1) == targets))


def test_the_bits_depend_on_the_seed_alone() -> None:
    symbols = _language(600)

    def run(seed: int, threads: int | None) -> tuple[list[Record], dict[str, bytes]]:
        model = _model(dropout=0.3)
        trainer = _trainer(model, max_norm=0.5, seed=seed, threads=threads)
        history = trainer.fit(
            _stream(symbols[:500], batch_size=11), steps=12, validation=_stream(symbols[500:]), progress=False
        )
        return history, {name: array.tobytes() for name, array in model.state_dict().items()}

    first = run(0, None)
    for threads in (None, 1, 2, 3):
        assert run(0, threads) == first
    history, state = run(1, None)
    assert history[0].loss != first[0][0].loss
    assert all(array != first[1][name] for name, array in state.items())


def test_windows_with_carried_states_are_one_long_sequence() -> None:
    """With a learning rate of 0 the loss of each window is that of its part of the whole, to the bit."""
    symbols = _language(403)
    model = _model()
    trainer = _trainer(model, lr=0.0)
    windows, whole = _stream(symbols, 4, window=13), _stream(symbols, 4, window=100)
    history = trainer.fit(windows, epochs=2, progress=False)
    x, y = next(whole.epoch(0))
    predictions, _ = model(x)
    loss = CrossEntropyLoss()
    parts = [loss(predictions[start : start + 13], y[start : start + 13]) for start in range(0, 100, 13)]
    assert [record.loss for record in history] == 2 * parts
    assert_close(trainer.evaluate(windows)["loss"], loss(predictions, y), "float64")


def test_batches_start_from_fresh_states() -> None:
    symbols = _language(41)[:-1].reshape(4, 10)
    x = np.repeat(symbols[:1], 4, axis=0)
    model = nn.Sequential(nn.Embedding(CLASSES, 4, seed=0), nn.GRU(4, CLASSES, batch_first=True, seed=1))
    trainer = _trainer(model, lr=0.0)
    history = trainer.fit(Batches(x, x, batch_size=1), epochs=1, progress=False)
    assert len({record.loss for record in history}) == 1


def test_two_fits_are_one() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 3)), rng.standard_normal((50, 2))
    data = Batches(x, y, batch_size=8, shuffle=True)

    def run(*epochs: int) -> list[Record]:
        model = nn.Sequential(
            nn.Linear(3, 9, seed=0, dtype="float64"),
            nn.Dropout(0.2),
            nn.Linear(9, 2, seed=1, dtype="float64"),
        )
        trainer = Trainer(model, MSELoss(), optim.SGD(model, lr=0.1), seed=(3, 1))
        return [record for each in epochs for record in trainer.fit(data, epochs=each, progress=False)]

    assert run(1, 2) == run(3)
    assert [record.epoch for record in run(3)] == [epoch for epoch in range(3) for _ in range(7)]
    assert [record.step for record in run(3)] == list(range(1, 22))


def _disturb(trainer: Trainer, after: int) -> Callable[[Record], None]:
    """Spoil the model from step `after` on, so that the validation loss rises."""

    def callback(record: Record) -> None:
        if record.step >= after:
            trainer.optimizer.lr = 2.0

    return callback


def test_early_stopping_keeps_the_best() -> None:
    symbols = _language(900)
    held_out = _stream(symbols[700:])
    model = _model()
    trainer = _trainer(model)
    history = trainer.fit(
        _stream(symbols[:700]),
        steps=200,
        validation=held_out,
        validate_every=5,
        patience=3,
        callbacks=[_disturb(trainer, after=40)],
        progress=False,
    )
    assert [record.step for record in history if record.validation] == list(range(5, len(history) + 1, 5))
    best = max(record.step for record in history if record.best)
    assert best <= 40
    assert len(history) == best + 15
    assert trainer.best is not None
    assert trainer.best.step == best
    assert trainer.evaluate(held_out) == trainer.best.validation


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_best_is_kept_when_training_is_cut_short(error: type[BaseException]) -> None:
    symbols = _language(900)
    held_out = _stream(symbols[700:])
    trainer = _trainer(_model())

    def stop(record: Record) -> None:
        if record.step == 47:
            raise error

    callbacks = [_disturb(trainer, after=40), stop]
    with pytest.raises(error):
        trainer.fit(
            _stream(symbols[:700]),
            steps=99,
            validation=held_out,
            validate_every=10,
            callbacks=callbacks,
            progress=False,
        )
    assert trainer.step == 47
    assert trainer.best is not None
    assert trainer.best.step == 40
    assert trainer.evaluate(held_out) == trainer.best.validation


def test_the_last_step_is_validated() -> None:
    data = _stream(_language(200))
    history = _trainer(_model()).fit(data, steps=7, validation=data, validate_every=3, progress=False)
    assert [record.step for record in history if record.validation] == [3, 6, 7]
    assert all((record.validation_seconds > 0) == (record.validation is not None) for record in history)


def test_the_very_steps_to_validate() -> None:
    data = _stream(_language(200))
    history = _trainer(_model()).fit(data, steps=7, validation=data, validate_every=(2, 5), progress=False)
    assert [record.step for record in history if record.validation] == [2, 5, 7]


def test_a_mean_leaves_out_what_the_loss_leaves_out() -> None:
    """Batches count by the targets that are not ignored."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 4)).astype(np.float32), rng.integers(0, 3, 12)
    y[[0, 1, 2, 3, 5, 9]] = -100
    model = nn.Linear(4, 3, seed=0)
    trainer = _trainer(model)
    assert_close(trainer.evaluate(Batches(x, y, 4))["loss"], CrossEntropyLoss()(model(x), y), "float64")


def test_schedules() -> None:
    data = _stream(_language(200))
    model = _model()
    optimizer = optim.SGD(model, lr=1.0)
    trainer = Trainer(model, CrossEntropyLoss(), optimizer, schedule=ExponentialLR(optimizer, gamma=0.5))
    history = trainer.fit(data, steps=4, progress=False)
    assert [record.lr for record in history] == [1.0, 0.5, 0.25, 0.125]

    optimizer = optim.SGD(model, lr=0.0)
    schedule = ReduceLROnPlateau(optimizer, patience=1)
    optimizer.lr = 1e-12  # too small to improve anything
    trainer = Trainer(model, CrossEntropyLoss(), optimizer, schedule=schedule)
    trainer.fit(data, steps=8, validation=data, validate_every=2, progress=False)
    assert schedule.last_epoch == 4


def test_divergence_is_an_error_and_keeps_the_best() -> None:
    data = _stream(_language(200))
    trainer = _trainer(_model())

    def explode(record: Record) -> None:
        if record.step == 4:
            trainer.optimizer.lr = 1e38

    with pytest.raises(FloatingPointError, match="training diverged at step [56]: the loss is .*lower learning rate"):
        trainer.fit(data, steps=9, validation=data, validate_every=2, callbacks=[explode], progress=False)
    assert trainer.best is not None
    assert trainer.evaluate(data) == trainer.best.validation


def _regression(rows: int = 8, batch_first: bool = True) -> tuple[Trainer, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A trainer of one number for each sequence, and its data."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.GRU(3, 5, batch_first=batch_first, seed=0),
        nn.LastPooling(batch_first=batch_first),
        nn.Linear(5, 1, seed=1),
    )
    optimizer = optim.SGD(model, lr=1e-3)
    trainer = Trainer(model, MSELoss(), optimizer, schedule=ReduceLROnPlateau(optimizer), metrics=regression_metrics())
    return trainer, rng.standard_normal((rows, 6, 3)).astype("f4"), rng.standard_normal((rows, 1)).astype("f4")


@pytest.mark.parametrize("max_norm", [None, 1.0])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_in_the_data_is_named(value: float, accumulate: int, max_norm: float | None) -> None:
    shown = f"{value:g}"

    def message(x: Any, y: Any, **keywords: Any) -> str:
        trainer, _, _ = _regression()
        trainer.max_norm = max_norm
        before = trainer.model.parameters()
        with pytest.raises(FloatingPointError, match="training diverged at step") as caught:
            trainer.fit(Batches(x, y, 4), epochs=2, accumulate=accumulate, progress=False, **keywords)
        if trainer.step == 0:
            np.testing.assert_equal(trainer.model.parameters(), before)
        return str(caught.value).split("; ")[1]

    _, x, y = _regression()
    if math.isnan(value):  # gates take infinity, but 0 times it is NaN
        wrong = x.copy()
        wrong[6, 3, 1] = value
        assert message(wrong, y) == f"the inputs of batch 1 of epoch 0 hold {shown} at index (2, 3, 1), in row 2"
        expected = f"the inputs of validation batch 1 hold {shown} at index (2, 3, 1), in row 2"
        assert message(x, y, validation=Batches(wrong, y, 4)) == expected
    wrong = y.copy()
    wrong[5] = value
    assert message(x, wrong) == f"the targets of batch 1 of epoch 0 hold {shown} at index (1, 0), in row 1"
    expected = f"the targets of validation batch 0 hold {shown} at index (5, 0), in row 5"
    assert message(x, y, validation=Batches(x, wrong, 8)) == expected


@pytest.mark.parametrize("batch_first", [False, True])
def test_rows_are_named_in_any_layout(batch_first: bool) -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((length, 3)) for length in (5, 4, 3)]
    targets = [rng.standard_normal((length, 1)) for length in (5, 4, 3)]
    model = nn.Sequential(
        nn.GRU(3, 4, batch_first=batch_first, seed=0, dtype="float64"), nn.Linear(4, 1, seed=1, dtype="float64")
    )
    trainer = Trainer(model, MSELoss(), optim.SGD(model))
    targets[1][2] = math.nan
    place = r"\(1, 2, 0\), in row 1" if batch_first else r"\(2, 1, 0\), in row 1"
    with pytest.raises(FloatingPointError, match=f"the targets of batch 0 of epoch 0 hold nan at index {place}"):
        trainer.fit(Sequences(inputs, targets, 3, per_step=True, batch_first=batch_first), steps=1, progress=False)
    pooled, _, _ = _regression(batch_first=batch_first)
    with pytest.raises(FloatingPointError, match=r"targets of batch 0 of epoch 0 hold nan at index \(2, 0\), in row 2"):
        pooled.fit(
            Sequences(
                [x.astype("f4") for x in inputs], np.array([[0], [1], [math.nan]], "f4"), 3, batch_first=batch_first
            ),
            steps=1,
            progress=False,
        )


def test_rows_of_a_stream_are_named() -> None:
    x, y = np.zeros((24, 2), "f4"), np.zeros((24, 3), "f4")
    x[8 + 6, 1] = math.nan
    model = nn.GRU(2, 3, seed=0)
    trainer = Trainer(model, MSELoss(), optim.SGD(model))
    with pytest.raises(
        FloatingPointError, match=r"inputs of batch 1 of epoch 0 hold nan at index \(2, 1, 1\), in row 1"
    ):
        trainer.fit(Stream(x, y, 3, 4), epochs=1, progress=False)


def test_a_source_that_does_not_say_its_layout() -> None:
    """Then no row is named; nor is the padding, where the layout is known."""

    class Source:
        carries_state = False

        def __len__(self) -> int:
            return 1

        def epoch(self, number: int) -> Any:
            yield Batch(x, y, np.array([6, 2]))

    class Ordered(Source):
        batch_first = True

    trainer, x, y = _regression(2)
    x[1, 4:] = math.nan
    trainer.fit(Source(), epochs=1, progress=False)
    y[1] = math.inf
    with pytest.raises(
        FloatingPointError, match=r"the targets of batch 0 of epoch 1 hold inf at index \(1, 0\), in row 1$"
    ):
        trainer.fit(Ordered(), epochs=1, progress=False)
    x[0, 3, 2] = math.nan
    with pytest.raises(FloatingPointError, match=r"the inputs of batch 0 of epoch 2 hold nan at index \(0, 3, 2\)$"):
        trainer.fit(Source(), epochs=1, progress=False)


@pytest.mark.parametrize("optimizer", [optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW])
def test_gradients_that_are_not_finite_change_nothing(optimizer: Any) -> None:
    """A loss is finite when gates are at their limits, and the gradients are not."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 5, 3)).astype(np.float32), rng.integers(0, 2, 8)
    x[7, 2, 0] = np.inf
    model = nn.Sequential(
        nn.GRU(3, 4, batch_first=True, seed=0), nn.LastPooling(batch_first=True), nn.Linear(4, 2, seed=1)
    )
    trainer = Trainer(model, CrossEntropyLoss(), optimizer(model))
    with pytest.raises(FloatingPointError, match=r"new 0.weight_ih_l0 is nan; the inputs of batch 1 .* in row 3"):
        trainer.fit(Batches(x, y, 4), epochs=1, progress=False)
    assert trainer.step == 1
    assert all(np.isfinite(array).all() for array in model.state_dict().values())


def test_running_values_are_not_those_of_a_batch_that_is_refused() -> None:
    x, y = np.ones((8, 3), np.float32), np.zeros((8, 3), np.float32)
    x[5, 1] = np.nan
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3, seed=0))
    with pytest.raises(FloatingPointError, match=r"inputs of batch 1 .* hold nan"):
        Trainer(model, MSELoss(), optim.SGD(model)).fit(Batches(x, y, 4), epochs=1, progress=False)
    expected = nn.BatchNorm1d(3)
    expected.forward(x[:4])
    for name, array in expected.state_dict().items():
        if name.startswith("running"):
            np.testing.assert_array_equal(model.state_dict()[f"0.{name}"], array)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"checkpoint": "a", "log": "a"}, r"^log: expected another file than checkpoint, got "),
        ({"checkpoint": "a", "log": "a.log"}, r"^log: expected another file than the checkpoint's log, got "),
        ({"log": "a", "curves": "./a"}, r"^curves: expected another file than log, got "),
        ({"checkpoint": "none/a"}, r"^checkpoint: there is no folder "),
        ({"log": "none/a"}, r"^log: there is no folder "),
        ({"curves": "none/a"}, r"^curves: there is no folder "),
        ({"curves": "."}, r"^curves: expected the name of a regular file, got "),
    ],
)
def test_files_are_looked_at_before_the_first_step(files: dict[str, str], message: str, tmp_path: Path) -> None:
    trainer, x, y = _regression()
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        trainer.fit(
            Batches(x, y, 4), epochs=1, progress=False, **{name: f"{tmp_path}/{file}" for name, file in files.items()}
        )
    assert trainer.step == 0
    assert not list(tmp_path.iterdir())


def test_a_schedule_of_another_optimizer_is_refused() -> None:
    model = _model()
    adam, other = optim.Adam(model), optim.Adam(model)
    for schedule in (ExponentialLR(other, 0.9), ReduceLROnPlateau(other)):
        with pytest.raises(ValueError, match=r"^schedule: belongs to another optimizer$"):
            Trainer(model, CrossEntropyLoss(), adam, schedule=schedule)
        trainer = Trainer(model, CrossEntropyLoss(), adam)
        trainer.schedule = schedule
        with pytest.raises(ValueError, match=r"^schedule: belongs to another optimizer$"):
            trainer.fit(_stream(_language(200)), steps=1, progress=False)
    trainer = Trainer(model, CrossEntropyLoss(), adam)
    trainer.optimizer = optim.Adam(_model())
    with pytest.raises(ValueError, match=r"^optimizer: belongs to another model$"):
        trainer.fit(_stream(_language(200)), steps=1, progress=False)


def test_running_values_that_are_not_finite_are_refused() -> None:
    x, y = np.ones((8, 3), np.float32), np.zeros((8, 3), np.float32)
    x[5, 1] = 1e30  # whose square float32 does not hold
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3, seed=0))
    expected = nn.BatchNorm1d(3)
    expected.forward(x[:4])
    with pytest.raises(FloatingPointError, match=r"the new 0.running_var is inf; try a lower learning rate"):
        Trainer(model, MSELoss(), optim.SGD(model)).fit(Batches(x, y, 4), epochs=1, progress=False)
    for name, array in expected.buffers().items():
        np.testing.assert_array_equal(model.state_dict()[f"0.{name}"], array)


def test_a_run_keeps_its_files_when_the_current_folder_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    for checkpoint in ("checkpoint", Checkpoint("other", every=1)):
        monkeypatch.chdir(folder)
        trainer, x, y = _regression()
        trainer.fit(
            Batches(x, y, 4),
            epochs=2,
            progress=False,
            callbacks=[lambda _: monkeypatch.chdir(elsewhere)],
            checkpoint=checkpoint,
            log="log",
            curves="curves.png",
        )
    assert {file.name for file in folder.iterdir()} == {
        *("checkpoint", "checkpoint.log", "other", "other.log", "log", "curves.png")
    }
    assert not list(elsewhere.iterdir())


def test_a_foreign_file_is_not_taken_for_the_log_of_a_run(tmp_path: Path) -> None:
    trainer, x, y = _regression()
    path, log = tmp_path / "run", tmp_path / "run.log"
    for foreign in (b"dear diary\n", b"\xff\n", b"\n", b'{"step": 1}\n'):
        log.write_bytes(foreign)
        with pytest.raises(ValueError, match=r"^checkpoint: expected the log of a run in .*run\.log, or no file there"):
            trainer.fit(Batches(x, y, 4), epochs=1, progress=False, checkpoint=path)
        assert log.read_bytes() == foreign
        assert not path.exists()
    log.write_bytes(b"")
    history = trainer.fit(Batches(x, y, 4), epochs=1, progress=False, checkpoint=path)
    path.unlink()  # a log that a killed run has left
    trainer, x, y = _regression()
    assert trainer.fit(Batches(x, y, 4), epochs=1, progress=False, checkpoint=path) == history


def test_two_names_of_one_file_are_refused(tmp_path: Path) -> None:
    trainer, x, y = _regression()
    (tmp_path / "a").touch()
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    with pytest.raises(ValueError, match="^curves: expected another file than log, got"):
        trainer.fit(Batches(x, y, 4), epochs=1, progress=False, log=tmp_path / "a", curves=tmp_path / "b")
    with pytest.raises(ValueError, match="^checkpoint: expected a path that the system can have, got ''"):
        trainer.fit(Batches(x, y, 4), epochs=1, progress=False, checkpoint="")


@pytest.mark.parametrize(
    ("taken", "file"), [("log", "a"), ("curves", "a"), ("checkpoint", "a"), ("checkpoint", "b")], ids=str
)
def test_a_table_of_steps_has_a_file_of_its_own(taken: str, file: str, tmp_path: Path) -> None:
    trainer, x, y = _regression()
    table = CSVLog(tmp_path / ("a" if file == "a" else "b.log"))
    with pytest.raises(ValueError, match=r"^callbacks\[1\]: expected another file than .*(log|curves|checkpoint), "):
        trainer.fit(
            Batches(x, y, 4), epochs=1, progress=False, callbacks=[print, table], **{taken: f"{tmp_path}/{file}"}
        )
    twins = [table, CSVLog(table.path)]
    with pytest.raises(ValueError, match=r"^callbacks\[1\]: expected another file than callbacks\[0\], got "):
        trainer.fit(Batches(x, y, 4), epochs=1, progress=False, callbacks=twins)
    assert trainer.step == 0
    assert not list(tmp_path.iterdir())


def test_only_a_missing_scikit_learn_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match="metrics need scikit-learn"):
        regression_metrics()
    for error in (ImportError("libgomp: no memory"), ModuleNotFoundError("No module named 'scipy'", name="scipy")):
        with monkeypatch.context() as patch:
            patch.setattr("builtins.__import__", _failing(error))
            with pytest.raises(ImportError) as raised:
                regression_metrics()
        assert raised.value is error


def _failing(error: Exception) -> Any:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_parameters_that_are_not_finite_are_named() -> None:
    trainer, x, y = _regression()
    parameters = trainer.model.parameters()
    spoilt = parameters["2.weight"].copy()
    spoilt[0, 3] = math.nan
    trainer.model.assign({**parameters, "2.weight": spoilt})
    message = r"the loss is nan; the model's 2.weight holds nan at index \(0, 3\): load other weights, or try a lower"
    with pytest.raises(FloatingPointError, match=message):
        trainer.fit(Batches(x, y, 4), epochs=1, progress=False)


def test_validation_that_is_not_finite_chooses_nothing() -> None:
    trainer, x, y = _regression()
    held_out = Batches(x.copy(), y, 8)

    def spoil(record: Record) -> None:
        held_out.inputs[3, 0, 0] = math.nan

    with pytest.raises(
        FloatingPointError, match="the validation loss is nan; the inputs of validation batch 0 hold nan"
    ):
        trainer.fit(Batches(x, y, 4), epochs=3, validation=held_out, callbacks=[_after(2, spoil)], progress=False)
    assert isinstance(trainer.schedule, ReduceLROnPlateau)
    assert trainer.best is not None
    assert trainer.best.step == 2
    assert trainer.best.validation is not None
    assert trainer.schedule.state_dict() == {
        "last_epoch": 1,
        "best": trainer.best.validation["loss"],
        "num_bad_epochs": 0,
        "cooldown_counter": 0,
    }
    assert all(math.isnan(figure) for figure in trainer.evaluate(held_out).values())


def _after(step: int, call: Callable[[Record], object]) -> Callable[[Record], object]:
    return lambda record: call(record) if record.step == step else None


def test_the_norm_is_clipped() -> None:
    data = _stream(_language(200))
    model = _model()
    before = model.parameters()
    trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=1.0), max_norm=1e-3)
    (record,) = trainer.fit(data, steps=1, progress=False)
    assert record.grad_norm is not None
    assert record.grad_norm > 1e-2
    change = math.sqrt(sum(np.square(new - before[name]).sum() for name, new in model.parameters().items()))
    assert change == pytest.approx(1e-3, rel=1e-2)


def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    data = _stream(_language(200))
    bar = ProgressBar(3, loss_name="bpc", loss_scale=1 / math.log(2), unit="char")
    history = _trainer(_model(), lr=0.0).fit(data, steps=3, validation=data, progress=bar)
    shown = capsys.readouterr().err
    validation = history[-1].validation
    assert validation is not None
    assert f"val_bpc={validation['loss'] / math.log(2):.3f}" in shown
    assert "3/3" in shown
    assert "char/s=" in shown
    _trainer(_model()).fit(data, steps=1)
    assert "loss=" in capsys.readouterr().err
    _trainer(_model()).fit(data, steps=1, progress=False)
    assert capsys.readouterr().err == ""


def test_errors() -> None:
    data, model = _stream(_language(200)), _model()
    trainer = _trainer(model)
    with pytest.raises(ValueError, match="optimizer: belongs to another model"):
        Trainer(_model(), CrossEntropyLoss(), optim.SGD(model))
    with pytest.raises(ValueError, match="loss: expected reduction='mean', got 'sum'"):
        Trainer(model, CrossEntropyLoss(reduction="sum"), optim.SGD(model))
    with pytest.raises(ValueError, match="metrics: the name 'loss' is taken"):
        _trainer(model, metrics={"loss": _accuracy})
    for wrong in ({}, {"epochs": 1, "steps": 1}):
        with pytest.raises(ValueError, match="epochs, steps: expected one of the two, got"):
            trainer.fit(data, **wrong, progress=False)
    for name in ("epochs", "steps"):
        with pytest.raises(ValueError, match=f"{name}: expected a whole number from 1 up, got 0"):
            trainer.fit(data, **{name: 0}, progress=False)
    for name in ("validate_every", "patience"):
        with pytest.raises(ValueError, match=f"{name}: expected a whole number from 1 up, got 0"):
            trainer.fit(data, steps=1, validation=data, **{name: 0}, progress=False)
        with pytest.raises(ValueError, match="validation: expected data for validate_every and patience, got None"):
            trainer.fit(data, steps=1, **{name: 1}, progress=False)
    nothing = Stream(np.zeros(2), np.zeros(2), 1, 1)
    nothing.inputs = nothing.inputs[:0]
    with pytest.raises(ValueError, match="data: expected at least one batch, got none"):
        trainer.fit(nothing, steps=1, progress=False)
    assert trainer.step == 0


def test_accumulated_batches_are_one_large_batch() -> None:
    """Also when they count differently: the last is smaller, some targets are ignored, and all of the second batch."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((22, 4)), rng.integers(0, 3, 22)
    y[[2, 3, 4, 5, 6, 7, 9]] = -100

    def run(batch_size: int, accumulate: int) -> tuple[list[Record], dict[str, Any]]:
        model = nn.Linear(4, 3, seed=0, dtype="float64")
        trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.5), max_norm=10.0)
        history = trainer.fit(Batches(x, y, batch_size), epochs=2, accumulate=accumulate, progress=False)
        return history, model.parameters()

    parts, weights = run(4, 3)
    whole, expected = run(12, 1)
    assert len(parts) == len(whole) == 4
    for part, one in zip(parts, whole, strict=True):
        assert (part.step, part.epoch, part.targets) == (one.step, one.epoch, one.targets)
        assert_close([part.loss, part.grad_norm], [one.loss, one.grad_norm], "float64")
    for name, array in expected.items():
        assert_close(weights[name], array, "float64", name)


def test_steps_of_accumulated_batches_have_dropout_of_their_own() -> None:
    x = np.ones((8, 50), np.float32)
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(50, 1, seed=0))
    trainer = Trainer(model, MSELoss(), optim.SGD(model, lr=0.0))
    seen: list[float] = []
    forward = trainer.loss.forward

    def look(predictions: Any, targets: Any, **keywords: Any) -> Any:
        seen.extend(predictions[:, 0].tolist())
        return forward(predictions, targets, **keywords)

    trainer.loss.forward = look  # type: ignore[method-assign]
    trainer.fit(Batches(x, x[:, :1], 1), epochs=1, accumulate=4, progress=False)
    assert len(set(seen)) == 8


@pytest.mark.parametrize("batch_first", [False, True])
def test_ragged_sequences_train_as_each_by_itself(batch_first: bool) -> None:
    """The loss of a ragged batch is the mean over its real steps, and so are the gradients."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((length, 3)) for length in (5, 2, 7, 1)]
    targets = [rng.integers(0, 4, len(x)) for x in inputs]

    def model_of(first: bool) -> nn.Sequential:
        return nn.Sequential(
            nn.GRU(3, 6, batch_first=first, bidirectional=True, seed=1, dtype="float64"),
            nn.Linear(12, 4, seed=2, dtype="float64"),
        )

    model = model_of(batch_first)
    trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.5))
    data = Sequences(inputs, targets, 4, per_step=True, batch_first=batch_first)
    evaluated = trainer.evaluate(data)["loss"]
    (record,) = trainer.fit(data, steps=1, progress=False)
    assert record.targets == 15

    single = model_of(False)
    one = Trainer(single, CrossEntropyLoss(), optim.SGD(single, lr=0.5))
    each = Sequences(inputs, targets, 1, per_step=True)
    (expected,) = one.fit(each, steps=1, accumulate=4, progress=False)
    assert_close([record.loss, evaluated], [expected.loss] * 2, "float64")
    for name, array in single.parameters().items():
        assert_close(model.parameters()[name], array, "float64", name)


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_batch_of_empty_recordings_changes_nothing(shuffle: bool) -> None:
    """Without them the run is the same, and so is what is measured."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((length, 3)).astype("f4") for length in (5, 2, 7, 1)]
    targets = [rng.integers(0, 4, len(x)) for x in inputs]
    nothing = [np.zeros((0, 3), "f4")] * 2, [np.zeros(0, int)] * 2

    def run(data: Sequences) -> tuple[set[float], dict[str, float]]:
        model = nn.Sequential(nn.GRU(3, 6, bidirectional=True, seed=1), nn.Linear(12, 4, seed=2))
        trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.0), metrics={"accuracy": _accuracy})
        history = trainer.fit(data, epochs=2, validation=data, patience=5, progress=False)
        return {record.loss for record in history}, trainer.evaluate(data)

    with_empty = Sequences(inputs + nothing[0], targets + nothing[1], 2, per_step=True, shuffle=shuffle)
    losses, figures = run(with_empty)
    expected_losses, expected = run(Sequences(inputs, targets, 2, per_step=True))
    assert losses == expected_losses | {0.0}
    assert figures["accuracy"] == expected["accuracy"]
    assert_close(figures["loss"], expected["loss"], "float32_softmax")


def test_rows_of_length_0_have_finite_gradients() -> None:
    inputs = [np.zeros((0, 3), "f4")] * 2
    for pooling in (nn.MeanPooling(), nn.LastPooling(), nn.AttentionPooling(4, seed=2)):
        model = nn.Sequential(nn.GRU(3, 4, seed=1), pooling, nn.Linear(4, 2, seed=3))
        trainer = _trainer(model, max_norm=1.0)
        (record,) = trainer.fit(Sequences(inputs, [0, 1], 2), steps=1, progress=False)
        assert record.grad_norm is not None
        assert math.isfinite(record.grad_norm)
        assert all(np.isfinite(array).all() for array in model.parameters().values())


def test_nothing_to_measure() -> None:
    """Its figures are NaN, whatever the metric makes of no target, and nothing is chosen by them."""
    x, ignored = np.ones((4, 3), np.float32), np.full(4, -100)
    trainer = _trainer(nn.Linear(3, 2, seed=0), metrics={"strict": lambda predictions, targets: 1 / len(targets)})
    empty = Batches(x, ignored, 2)
    figures = trainer.evaluate(empty)
    assert list(figures) == ["loss", "strict"]
    assert all(math.isnan(figure) for figure in figures.values())
    with pytest.raises(ValueError, match="validation: expected at least one target that counts, got none"):
        trainer.fit(Batches(x, np.zeros(4, int), 2), epochs=1, validation=empty, progress=False)
    assert trainer.best is None


def test_sequences_with_one_target_each() -> None:
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((length, 2)).astype("f4") for length in rng.integers(1, 12, 60)]
    classes = np.array([int(x[:, 0].mean() > 0) for x in inputs])
    model = nn.Sequential(
        nn.GRU(2, 8, bidirectional=True, seed=1), nn.AttentionPooling(16, seed=2), nn.Linear(16, 2, seed=3)
    )
    trainer = _trainer(model, metrics=classification_metrics())
    trainer.fit(Sequences(inputs, classes, 8, shuffle=True), epochs=15, progress=False)
    figures = trainer.evaluate(Sequences(inputs, classes, 16))
    assert figures["accuracy"] > 0.9


def test_metrics_see_all_predictions_at_once() -> None:
    """F1 is no mean over batches."""
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)).astype("f4"), rng.integers(0, 3, 50)
    y[:5] = -100
    model = nn.Linear(4, 3, seed=0)
    found = _trainer(model, metrics=classification_metrics()).evaluate(Batches(x, y, 7))
    classes = model(x[5:]).argmax(-1)
    assert list(found) == ["loss", "accuracy", "precision", "recall", "f1"]
    assert found["accuracy"] == metrics.accuracy_score(y[5:], classes)
    assert found["f1"] == metrics.f1_score(y[5:], classes, average="macro")
    weighted = _trainer(model, metrics=classification_metrics("weighted")).evaluate(Batches(x, y, 7))
    assert weighted["recall"] == metrics.recall_score(y[5:], classes, average="weighted", zero_division=0)


def test_metrics_of_probabilities_see_the_likeliest_classes() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)).astype("f4"), rng.integers(0, 3, 50)
    trainer = _trainer(nn.Linear(4, 3, seed=0), metrics=classification_metrics())
    of_classes, of_probabilities = (trainer.evaluate(Batches(x, own, 7)) for own in (y, np.eye(3, dtype="f4")[y]))
    assert of_probabilities == pytest.approx(of_classes, rel=1e-6)


def test_metrics_of_regression_and_of_two_classes() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 4)), rng.standard_normal((50, 2))
    model = nn.Linear(4, 2, seed=0, dtype="float64")
    trainer = Trainer(model, MSELoss(), optim.SGD(model), metrics=regression_metrics())
    found, predictions = trainer.evaluate(Batches(x, y, 7)), model(x)
    assert found["mae"] == metrics.mean_absolute_error(y, predictions)
    assert found["rmse"] == metrics.root_mean_squared_error(y, predictions)
    assert found["r2"] == metrics.r2_score(y, predictions)
    binary = (y[:, :1] > 0).astype(float)
    model = nn.Linear(4, 1, seed=0, dtype="float64")
    trainer = Trainer(model, BCEWithLogitsLoss(), optim.SGD(model), metrics=classification_metrics())
    found, classes = trainer.evaluate(Batches(x, binary, 7)), model(x) > 0
    assert found["accuracy"] == metrics.accuracy_score(binary[:, 0], classes)
    assert found["f1"] == metrics.f1_score(binary[:, 0], classes, average="macro")


def _labels(shape: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Logits and targets of labels of which the last ones are rare."""
    rng = np.random.default_rng(0)
    targets = (rng.random(shape) < np.array([0.5, 0.3, 0.1, 0.05, 0.02])[: shape[-1]]).astype("f4")
    return (rng.standard_normal(shape) + 3 * targets - 2).astype("f4"), targets


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", "samples"])
@pytest.mark.parametrize("shape", [(400, 5), (20, 8, 5)])
def test_metrics_of_labels_are_those_of_scikit_learn(shape: tuple[int, ...], average: str) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits, targets = _labels(shape)
    found = {name: metric(logits, targets) for name, metric in classification_metrics(average).items()}
    y, p = targets.reshape(-1, 5), logits.reshape(-1, 5) > 0
    assert found["accuracy"] == metrics.accuracy_score(y, p)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, p, average=average, zero_division=0)
    assert [found["precision"], found["recall"], found["f1"]] == [precision, recall, f1]
    never = {
        name: metric(np.full_like(logits, -1), targets) for name, metric in classification_metrics(average).items()
    }
    assert [never["precision"], never["recall"], never["f1"]] == [0, 0, 0]


@pytest.mark.parametrize("shape", [(400,), (400, 1), (20, 20, 1)])
def test_one_label_is_two_classes(shape: tuple[int, ...]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    logits, targets = (array.reshape(shape) for array in _labels((400, 1)))
    y, p = targets.reshape(-1), logits.reshape(-1) > 0
    for average in ("binary", "macro", "micro", "weighted"):
        assert classification_metrics(average)["f1"](logits, targets) == metrics.f1_score(y, p, average=average)


@pytest.mark.parametrize(
    ("average", "kind", "width", "allowed"),
    [
        ("binary", "labels", 0, "'macro', 'micro', 'samples' or 'weighted'"),
        ("binary", "more than two classes", 3, "'macro', 'micro' or 'weighted'"),
        ("samples", "more than two classes", 3, "'macro', 'micro' or 'weighted'"),
        ("samples", "two classes", 2, "'binary', 'macro', 'micro' or 'weighted'"),
    ],
)
def test_an_average_that_there_is_not(average: str, kind: str, width: int, allowed: str) -> None:
    """Whichever of the classes there are in the data: they may be two out of three."""
    pytest.importorskip("sklearn")
    given = (np.eye(4, width), np.array([0, 1, 1, 0])) if width else _labels((4, 2))
    metrics = classification_metrics(average)
    assert 0 <= metrics.pop("accuracy")(*given) <= 1
    for metric in metrics.values():
        with pytest.raises(ValueError, match=f"^average of {kind}: expected {allowed}, got '{average}'$"):
            metric(*given)


def test_classes_for_each_step() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    logits, targets = rng.standard_normal((7, 5, 3)), rng.integers(0, 3, (7, 5))
    expected = metrics.f1_score(targets.reshape(-1), logits.reshape(-1, 3).argmax(-1), average="macro")
    assert classification_metrics()["f1"](logits, targets) == expected


@pytest.mark.parametrize(
    ("predictions", "targets", "message"),
    [
        (np.zeros((4, 3)), np.zeros((4, 1)), r"the shape of the predictions \(4, 3\), or without .*, got \(4, 1\)"),
        (np.zeros((4, 1)), np.zeros(4), r"the shape of the predictions \(4, 1\), or without .*, got \(4,\)"),
        (np.zeros((4, 3)), np.full((4, 3), 0.5), "0 and 1 beside predictions of their shape, got 0.5"),
        (np.zeros((4, 3)), np.full((4, 3), -1), "0 and 1 beside predictions of their shape, got -1"),
        (np.zeros((4, 3)), np.array([0, 1, 7, 3]), r"0 to 2, got 7 at \(2,\)"),
        (np.zeros((4, 3)), np.array([0, 1, 2, -100]), r"0 to 2, got -100 at \(3,\)"),
        (np.zeros((1, 4, 2)), np.array([[0, 1, 2**64 - 1, 1]], "u8"), r"0 to 1, got 18446744073709551615 at \(0, 2\)"),
    ],
)
def test_targets_that_no_metric_takes(predictions: Any, targets: Any, message: str) -> None:
    pytest.importorskip("sklearn")
    for metric in classification_metrics().values():
        with pytest.raises(ValueError, match=f"targets: expected {message}"):
            metric(predictions, targets)


def test_predictions_that_no_metric_takes() -> None:
    pytest.importorskip("sklearn")
    logits, targets = np.zeros((4, 3)), np.zeros((4, 3), int)
    logits[2, 1] = np.nan
    for metric in classification_metrics("macro").values():
        for own in (targets, targets[:, 0]):
            with pytest.raises(ValueError, match=r"^predictions: expected numbers, got nan at \(2, 1\)"):
                metric(logits, own)
    for metric in (*classification_metrics().values(), *regression_metrics().values()):
        with pytest.raises(ValueError, match=r"^predictions: expected at least one, got none: shape \(0, 3\)"):
            metric(logits[:0], targets[:0])
    for metric in regression_metrics().values():
        with pytest.raises(ValueError, match=r"^predictions: expected one for each of targets \(4, 3\), got \(3, 4\)"):
            metric(logits.T, targets)


def test_a_logit_may_be_infinite() -> None:
    """As that of a class that is ruled out."""
    pytest.importorskip("sklearn")
    logits = np.array([[0.0, -np.inf, 1.0], [np.inf, 0.0, 1.0]])
    assert classification_metrics()["accuracy"](logits, np.array([2, 0])) == 1.0


def test_errors_of_metrics() -> None:
    with pytest.raises(ValueError, match="average: expected 'binary', .* or 'weighted', got 'mean'"):
        classification_metrics("mean")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_metrics_of_regression_that_are_not_finite(value: float) -> None:
    pytest.importorskip("sklearn")
    predictions = np.array([[1.0, 2.0], [value, 3.0]])
    for metric in regression_metrics().values():
        assert math.isnan(metric(predictions, np.ones((2, 2))))
        assert math.isnan(metric(np.ones((2, 2)), predictions))


# Layouts of data and models


def _samples(*shape: int, kind: type = np.float32) -> Batches:
    return Batches(np.zeros(shape, kind), np.zeros((shape[0], 1), np.float32), 4)


def _trainer_of(layers: list[nn.Module]) -> Trainer:
    model = nn.Sequential(*layers)
    return Trainer(model, MSELoss(), optim.SGD(model, lr=0.5))


@pytest.mark.parametrize(
    ("layers", "data", "message"),
    [
        (
            [nn.GRU(3, 1)],
            _samples(4, 4, 3),
            "layer 0 (GRU): expected GRU(batch_first=True), because Batches gives (B, T, ...), got batch_first=False",
        ),
        (
            [nn.Embedding(5, 3), nn.Dropout(), nn.Sequential(nn.LayerNorm(3), nn.LSTM(3, 1))],
            _samples(4, 4, kind=int),
            "layer 2.1 (LSTM): expected LSTM(batch_first=True), because Batches gives (B, T, ...), got",
        ),
        (
            [nn.Linear(3, 2), nn.MeanPooling()],
            _samples(4, 4, 3),
            "layer 1 (MeanPooling): expected MeanPooling(batch_first=True), because Batches gives (B, T, ...), got",
        ),
        (
            [nn.RNN(3, 1, batch_first=True)],
            Sequences([np.zeros((4, 3), np.float32)] * 4, np.zeros((4, 1)), 4),
            "layer 0 (RNN): expected RNN(batch_first=False), because Sequences gives (T, B, ...), got batch_first=True",
        ),
        (
            [nn.GRU(3, 1)],
            Sequences([np.zeros((4, 3), np.float32)] * 4, np.zeros((4, 1)), 4, batch_first=True),
            "layer 0 (GRU): expected GRU(batch_first=True), because Sequences gives (B, T, ...), got",
        ),
        (
            [nn.GRU(3, 1, batch_first=True)],
            Stream(np.zeros((16, 3), np.float32), np.zeros((16, 1)), 4, 4),
            "layer 0 (GRU): expected GRU(batch_first=False), because Stream gives (T, B, ...), got",
        ),
        (
            [nn.GRU(3, 1)],
            _samples(4, 3),
            "layer 0 (GRU): expected sequences, got (B, ...) without a time axis from Batches",
        ),
        (
            [nn.Linear(3, 4), nn.BatchNorm1d(4)],
            _samples(4, 4, 3),
            "layer 1 (BatchNorm1d): expected (N, C) or (N, C, L), got (B, T, ...) with the features on the last axis",
        ),
        (
            [nn.BatchNorm1d(3), nn.GRU(3, 4, batch_first=True)],
            _samples(4, 3, 3),
            "layer 1 (GRU): expected sequences, got (N, C, L) from layer 0 (BatchNorm1d)",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, (Batches, Sequences, Stream)) else None,
)
def test_data_of_another_layout_are_refused(layers: list[nn.Module], data: Any, message: str) -> None:
    trainer = _trainer_of(layers)
    before = trainer.model.state_dict()
    fine = Unknown(data)
    calls = [
        lambda: trainer.fit(data, epochs=1, progress=False),
        lambda: trainer.fit(fine, epochs=1, validation=data, progress=False),
        lambda: trainer.evaluate(data),
        lambda: trainer.model.predict(data),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            call()
    assert (trainer.step, trainer.epoch) == (0, 0)
    assert all(array is before[name] for name, array in trainer.model.state_dict().items())


def test_a_model_that_is_no_chain_is_asked_too() -> None:
    model = nn.GRU(3, 1)
    trainer = Trainer(model, MSELoss(), optim.SGD(model))
    with pytest.raises(ValueError, match=r"^GRU: expected GRU\(batch_first=True\), because Batches"):
        trainer.evaluate(_samples(4, 4, 3))


def test_layouts_that_fit_and_those_that_nobody_knows() -> None:
    channels = Batches(np.ones((6, 5, 3), np.float32), np.ones((6, 5, 1), np.float32), 3)
    for layers, data in [
        ([nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)], _samples(6, 3)),
        ([nn.BatchNorm1d(5), nn.Linear(3, 1), nn.BatchNorm1d(5)], channels),
        ([nn.Embedding(3, 2), nn.Linear(2, 1)], _samples(6, kind=int)),
        ([nn.Embedding(3, 2), nn.GRU(2, 1, batch_first=True), nn.MeanPooling(True)], _samples(6, 4, kind=int)),
        ([nn.GRU(3, 1), nn.LastPooling()], Unknown(_samples(4, 4, 3))),
    ]:
        _trainer_of(layers).fit(data, epochs=1, validation=data, progress=False)
    wrong = _samples(4, 4, 3)
    with pytest.raises(TypeError, match=r"data\.batch_first: expected True or False, got 'yes'"):
        _trainer_of([nn.GRU(3, 1)]).evaluate(_saying(Unknown(wrong), batch_first="yes"))


def _saying(data: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(data, name, value)
    return data


# ---- Weights, what is best, and when a run ends --------------------------------------------------------------------


def _weighted_samples(
    rng: np.random.Generator,
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    x = rng.standard_normal((24, 4))
    return x, rng.integers(0, 3, 24), rng.integers(0, 4, 24).astype(np.float64)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_weight_of_two_is_the_sample_twice(accumulate: int, rng: np.random.Generator) -> None:
    x, y, weights = _weighted_samples(rng)
    twice = np.repeat(np.arange(24), weights.astype(int))

    def trained(*data: Any, batch_size: int, **own: Any) -> tuple[dict[str, Any], list[float]]:
        model = nn.Linear(4, 3, dtype="float64", seed=1)
        trainer = Trainer(model, CrossEntropyLoss(), optim.SGD(model, lr=0.5))
        source = Batches(*data, batch_size=batch_size, **own)
        history = trainer.fit(source, epochs=5, accumulate=accumulate if own else 1, progress=False)
        return model.state_dict(), [*(record.loss for record in history), *trainer.evaluate(source).values()]

    found = trained(x, y, batch_size=24 // accumulate, weights=weights)
    expected = trained(x[twice], y[twice], batch_size=len(twice))
    for one, other in zip(found[0].values(), expected[0].values(), strict=True):
        assert_close(one, other, "float64")
    assert_close(np.array(found[1]), np.array(expected[1]), "float64")


@pytest.mark.parametrize("batch_first", [False, True])
def test_weights_of_sequences(batch_first: bool, rng: np.random.Generator) -> None:
    """Each sequence alone, its loss times its weight: of one target, and of one for each step."""
    inputs = [rng.standard_normal((length, 3)) for length in (4, 2, 7, 5)]
    weights = np.array([2.0, 0.0, 0.5, 1.0])
    gru = nn.GRU(3, 2, batch_first=batch_first, dtype="float64", seed=1)
    last = nn.Sequential(gru, nn.LastPooling(batch_first=batch_first))
    for model, per_step in ((last, False), (nn.Sequential(gru), True)):
        targets: Any = [rng.standard_normal((len(x) if per_step else 1, 2)) for x in inputs]
        given = targets if per_step else np.concatenate(targets)
        data = Sequences(inputs, given, 3, per_step=per_step, batch_first=batch_first, weights=weights)
        found = Trainer(model, MSELoss(), optim.SGD(model, lr=0.1)).evaluate(data)["loss"]
        total = count = 0.0
        for x, target, weight in zip(inputs, targets, weights, strict=True):
            output = model(x[None] if batch_first else x[:, None])[0].reshape(-1, 2)
            total += weight * np.sum((output - target) ** 2)
            count += weight * target.size
        assert_close(found, total / count, "float64")
    for wrong in ([1.0], np.ones((4, 2))):
        with pytest.raises(ValueError, match="weights: expected"):
            Sequences(inputs, targets, 3, per_step=True, weights=wrong)


def test_another_figure_says_what_is_best() -> None:
    figures = iter([1.0, 3.0, 3.05, 2.0, 9.0])
    model = nn.Linear(2, 2, seed=1)
    trainer = Trainer(
        model, MSELoss(), optim.SGD(model, lr=0.1), metrics={"score": lambda predictions, targets: next(figures)}
    )
    data = Batches(np.zeros((4, 2), np.float32), np.ones((4, 2), np.float32), 4)
    given = {"monitor": "score", "mode": "max", "min_delta": 0.1, "patience": 2, "progress": False}
    history = trainer.fit(data, epochs=9, validation=data, **given)
    assert [record.best for record in history] == [True, True, False, False]
    assert trainer.best is not None
    assert trainer.best.step == 2
    for wrong in ({"monitor": "accuracy"}, {"mode": "up"}, {"min_delta": -1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
            trainer.fit(data, epochs=1, validation=data, **wrong)


def test_a_schedule_by_the_epoch() -> None:
    model = nn.Linear(2, 2, seed=1)
    adam = optim.Adam(model, lr=1.0)
    trainer = Trainer(model, MSELoss(), adam, schedule=ExponentialLR(adam, 0.5), schedule_every="epoch")
    data = Batches(np.zeros((6, 2), np.float32), np.ones((6, 2), np.float32), 2)
    history = trainer.fit(data, epochs=3, accumulate=2, progress=False)
    assert [record.lr for record in history] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]


def test_gradients_are_clipped_by_value(rng: np.random.Generator) -> None:
    model = nn.Linear(3, 2, dtype="float64", seed=1)
    before = model.state_dict()
    trainer = Trainer(model, MSELoss(), optim.SGD(model, lr=1.0), clip_value=0.01)
    data = Batches(100 * rng.standard_normal((6, 3)), rng.standard_normal((6, 2)), 6)
    trainer.fit(data, steps=1, progress=False)
    for name, after in model.state_dict().items():
        assert_close(np.abs(after - before[name]), np.full(after.shape, 0.01), "float64")


@pytest.mark.parametrize("kept", [False, True])
def test_a_callback_ends_the_run(kept: bool, tmp_path: Path) -> None:
    data = Batches(np.zeros((4, 2), np.float32), np.ones((4, 2), np.float32), 2)
    own: dict[str, Any] = {"checkpoint": tmp_path / "run"} if kept else {}

    def fit(callback: Callable[[Record], object]) -> int:
        model = nn.Linear(2, 2, seed=1)
        trainer = Trainer(model, MSELoss(), optim.SGD(model, lr=0.1))
        return len(trainer.fit(data, epochs=5, callbacks=[callback], progress=False, **own))

    assert fit(lambda record: np.mean([record.step]) == 3) == 3  # a truth of NumPy's
    if kept:
        assert fit(lambda record: False) == 3  # it was over
    else:
        assert fit(lambda record: record.step == 3) == 3
        assert fit(lambda record: 1) == 10  # is not True


def test_arrays_apart_are_refused_with_the_way() -> None:
    x, y = np.ones((4, 2), np.float32), np.ones((4, 1), np.float32)
    model = nn.Linear(2, 1)
    trainer = Trainer(model, MSELoss(), optim.SGD(model, lr=0.1))
    for call in (trainer.fit, trainer.evaluate):
        with pytest.raises(TypeError, match=r"^data: expected one source .*Batches\(x, y, batch_size\), got 2"):
            call(x, y)
