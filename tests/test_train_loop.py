"""The training loop: what it learns, what it keeps, and that it does so to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

from gru_native import nn, optim
from gru_native.losses import CrossEntropyLoss, MSELoss
from gru_native.schedules import ExponentialLR, ReduceLROnPlateau
from gru_native.train import Batches, ProgressBar, Record, Stream, Trainer

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
    """Batches count by the targets that are not ignored; one of nothing else does not make the mean NaN."""
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
        with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
            trainer.fit(data, **{name: 0}, progress=False)
    for name in ("validate_every", "patience"):
        with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
            trainer.fit(data, steps=1, validation=data, **{name: 0}, progress=False)
        with pytest.raises(ValueError, match="validation: expected data for validate_every and patience, got None"):
            trainer.fit(data, steps=1, **{name: 1}, progress=False)
    nothing = Stream(np.zeros(2), np.zeros(2), 1, 1)
    nothing.inputs = nothing.inputs[:0]
    with pytest.raises(ValueError, match="data: expected at least one batch, got none"):
        trainer.fit(nothing, steps=1, progress=False)
    assert trainer.step == 0
