"""Estimators in scikit-learn's hands: its own checks, every form of X, searches, and the promises about bits."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")

from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TimeSeriesSplit,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight
from sklearn.utils.estimator_checks import check_estimator

import gru_native as gn
from gru_native.sklearn import GRUClassifier, GRUForecaster, GRURegressor, to_sequences

WEIGHTS = "a weight and a repeated sample are the same sum in another order, and share batches with others"
ORDER = "a series is its order"
NOT_PASSED: dict[type, dict[str, str]] = {
    GRUClassifier: {"check_sample_weight_equivalence_on_dense_data": WEIGHTS},
    GRURegressor: {"check_sample_weight_equivalence_on_dense_data": WEIGHTS},
    GRUForecaster: {
        "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
        "check_methods_sample_order_invariance": ORDER,
        "check_methods_subset_invariance": ORDER,
        "check_fit1d": "a series of one column is (N,)",
    },
}


def ragged(count: int = 60) -> tuple[list[np.ndarray], np.ndarray]:
    """Return sequences (T_i, 2) of two classes, whose waves run the one way or the other."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    lengths = rng.integers(6, 12, count)
    ways = np.where(labels, 1, -1)
    phases = [np.arange(length) * way + rng.uniform(0, 6) for length, way in zip(lengths, ways, strict=True)]
    return [np.stack([np.sin(phase), np.cos(phase)], 1).astype(np.float32) for phase in phases], labels


def quick(kind: Any = GRUClassifier, **more: Any) -> Any:
    return kind(**{"hidden_size": 8, "epochs": 4, "random_state": 0, **more})


# ---- scikit-learn's own checks --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:y. expected None:UserWarning")
@pytest.mark.parametrize(
    "estimator",
    [
        GRUClassifier(hidden_size=8, epochs=30),
        GRURegressor(hidden_size=8, epochs=30),
        GRUForecaster(hidden_size=8, epochs=5, window=3),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_it_passes_the_checks_of_scikit_learn(estimator: Any) -> None:
    expected = NOT_PASSED[type(estimator)]
    found = check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None)
    failed = {each["check_name"]: each["exception"] for each in found if each["status"] == "failed"}
    assert failed == {}
    assert len(expected) <= 5
    assert {each["check_name"] for each in found if each["status"] == "xfail"} <= expected.keys()


def test_the_parameters_are_copied_and_the_rest_is_kept() -> None:
    X, y = ragged()
    classifier = quick(cell="lstm", bidirectional=True).fit(X, y)
    assert clone(classifier).get_params() == classifier.get_params()
    assert not hasattr(clone(classifier), "model_")
    again = pickle.loads(pickle.dumps(classifier))
    np.testing.assert_array_equal(again.predict_proba(X), classifier.predict_proba(X))
    with pytest.raises(NotFittedError):
        quick().predict(X)


# ---- What X can be --------------------------------------------------------------------------------------------------


def test_a_table_is_sequences_of_one_feature() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((30, 6)).astype(np.float32)
    y = (X.sum(1) > 0).astype(int)
    table, array = quick().fit(X, y), quick().fit(X[..., None], y)
    assert (table.n_features_in_, array.n_features_in_) == (6, 1)
    expected = table.predict_proba(X)
    objects = np.empty(30, object)
    objects[:] = list(X)
    for form in (X, X.tolist(), X[..., None], list(X), list(X[..., None]), X[..., None].tolist(), objects):
        np.testing.assert_array_equal(table.predict_proba(form), expected)
        np.testing.assert_array_equal(array.predict_proba(form), expected)
    assert array.predict(X[:, :3]).shape == (30,)
    with pytest.raises(ValueError, match=r"X has 3 features, but GRUClassifier is expecting 6 features"):
        table.predict(X[:, :3])
    assert table.predict(X[:, :3, None]).shape == (30,)
    with pytest.raises(ValueError, match=r"X: expected sequences of 1 feature, as in fit, got 2"):
        table.predict(np.zeros((3, 6, 2)))
    with pytest.raises(ValueError, match=r"X has 2 features, but GRUClassifier is expecting 1 features"):
        array.predict(np.zeros((3, 6, 2)))


def test_sequences_of_any_lengths_and_their_company() -> None:
    X, y = ragged()
    classifier = quick(epochs=30).fit(X, y)
    assert classifier.n_features_in_ == 2
    assert classifier.score(X, y) > 0.95
    together = classifier.predict_proba(X)
    for place in (0, 7, 30):
        np.testing.assert_array_equal(classifier.predict_proba(X[place : place + 1])[0], together[place])
    lists = [sequence.tolist() for sequence in X]
    np.testing.assert_array_equal(classifier.predict_proba(lists), together)
    output, _ = classifier.model_(X[0][None])
    np.testing.assert_allclose(gn.functional.softmax(np.asarray(output, np.float64))[0], together[0], rtol=1e-6)


def test_features_have_the_names_of_frames() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = ragged()
    frames = [pandas.DataFrame(sequence, columns=["sine", "cosine"]) for sequence in X]
    classifier = quick().fit(frames, y)
    assert classifier.feature_names_in_.tolist() == ["sine", "cosine"]
    np.testing.assert_array_equal(classifier.predict_proba(frames), quick().fit(X, y).predict_proba(X))
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict([frame.rename(columns={"sine": "other"}) for frame in frames])
    with pytest.raises(ValueError, match=r"X\[1\]: expected the columns of X\[0\]"):
        classifier.predict([frames[0], frames[1][["cosine", "sine"]]])
    column = pandas.Series(X, index=range(7, 67))
    np.testing.assert_array_equal(quick().fit(column, y).predict_proba(column), classifier.predict_proba(frames))
    table = pandas.DataFrame(np.zeros((4, 3)), columns=["t0", "t1", "t2"])
    assert quick().fit(table, [0, 1, 0, 1]).feature_names_in_.tolist() == ["t0", "t1", "t2"]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([np.zeros((2, 2)), np.zeros((0, 2))], r"X\[1\]: expected \(T, f\) or \(T,\) with at least one step"),
        ([np.zeros((2, 2)), np.zeros((2, 3))], r"X\[1\]: expected 2 features as in X\[0\], got 3"),
        ([np.zeros((2, 2)), np.full((3, 2), np.nan)], "X contains NaN"),
        (np.full((2, 3, 1), np.inf), "X contains infinity"),
        (np.zeros((2, 0, 1)), r"X: expected \(n, T, f\) with at least one step and feature"),
        (np.zeros((2, 3, 1, 1)), r"X: expected \(n, T, f\) with .*, got shape \(2, 3, 1, 1\)"),
        ([np.zeros((2, 2, 2)), np.zeros((1, 2, 2))], r"X\[0\]: expected \(T, f\)"),
        ([[1.0, [2.0]], [1.0]], r"X\[0\]: expected \(T, f\)"),
    ],
)
def test_what_x_cannot_be(X: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quick().fit(X, [0, 1])


# ---- Training -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.stack, list], ids=["one length", "any length"])
def test_training_that_goes_on_has_the_bits_of_one_that_was_longer(form: Callable[[Any], Any]) -> None:
    X, y = ragged()
    X = form([sequence[:6] for sequence in X])
    at_once = quick(epochs=4, dropout=0.3, n_jobs=1).fit(X, y)
    piece = quick(dropout=0.3, n_jobs=2)
    for _ in range(4):
        piece = pickle.loads(pickle.dumps(piece.partial_fit(X, y, classes=[0, 1])))
    warm = quick(epochs=2, dropout=0.3, n_jobs=-1, warm_start=True).fit(X, y).fit(X, y)
    for other in (piece, warm):
        np.testing.assert_array_equal(other.predict_proba(X), at_once.predict_proba(X))
        assert other.n_iter_ == at_once.n_iter_ == 4
    assert len(at_once.loss_curve_) == 4
    assert warm.loss_curve_ == at_once.loss_curve_[2:]
    cold = quick(epochs=4, dropout=0.3).fit(X, y).fit(X, y)
    np.testing.assert_array_equal(cold.predict_proba(X), at_once.predict_proba(X))


def test_another_learning_rate_counts_from_the_next_call_on() -> None:
    X, y = ragged()
    classifier = quick(warm_start=True).fit(X, y)
    before = classifier.model_.state_dict()
    classifier.set_params(learning_rate=0.0).fit(X, y)
    for name, array in classifier.model_.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(ValueError, match="warm_start: expected settings of the network that is fitted"):
        classifier.set_params(hidden_size=9).fit(X, y)


def test_early_stopping_keeps_what_did_best() -> None:
    X, y = ragged()
    given = {"epochs": 300, "early_stopping": True, "n_iter_no_change": 3, "tol": 0.01, "validation_fraction": 0.2}
    classifier = quick(**given).fit(X, y)
    curve = classifier.validation_curve_
    assert len(curve) == classifier.n_iter_ < 300
    assert min(curve[-3:]) > min(curve) - 0.01
    assert quick().fit(X, y).validation_curve_ == []


def test_a_callback_ends_the_training() -> None:
    X, y = ragged()
    seen: list[gn.train.Record] = []
    classifier = quick(callbacks=[seen.append, lambda record: record.step == 3]).fit(X, y)
    assert [record.step for record in seen] == [1, 2, 3]
    assert classifier.n_iter_ == 2


@pytest.mark.parametrize(("verbose", "shown"), [(0, False), (1, True), (np.True_, True)])
def test_verbose_is_a_number_too(verbose: Any, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    quick(epochs=1, verbose=verbose).fit(*ragged())
    assert (capsys.readouterr().err != "") == shown


def test_weights_and_classes() -> None:
    X, y = ragged()
    names = np.array(["back", "forth"])[y]
    y = y.copy()
    some = np.arange(len(y)) < 40
    weighted = quick(batch_size=60).fit(X, names, sample_weight=some.astype(float))
    assert weighted.classes_.tolist() == ["back", "forth"]
    changed = names.copy()
    changed[~some] = "back"
    other = quick(batch_size=60).fit(X, changed, sample_weight=some)
    np.testing.assert_array_equal(other.predict_proba(X), weighted.predict_proba(X))
    few = np.where(np.arange(len(y)) < 50, 0, y)
    balanced = quick(class_weight="balanced").fit(X, few)
    by_hand = quick().fit(X, few, sample_weight=compute_sample_weight("balanced", few))
    np.testing.assert_array_equal(balanced.predict_proba(X), by_hand.predict_proba(X))
    assert balanced.predict_proba(X)[:, 1].mean() > quick().fit(X, few).predict_proba(X)[:, 1].mean()
    np.testing.assert_allclose(balanced.predict_proba(X).sum(1), 1.0)
    with pytest.raises(ValueError, match="sample_weight: expected weights from zero up"):
        quick().fit(X, few, sample_weight=np.full(60, -1.0))
    with pytest.raises(ValueError, match="class_weight: expected weights by class for partial_fit"):
        quick(class_weight="balanced").partial_fit(X, few)
    with pytest.raises(ValueError, match=r"y: expected labels among the classes \[0 1\], got .*2"):
        quick().partial_fit(X, y).partial_fit(X, y + 1)


def test_a_run_that_fails_changes_no_prediction() -> None:
    def fail(record: gn.train.Record) -> None:
        if record.step == 12:
            raise RuntimeError("enough")

    X, y = ragged()
    classifier = quick(warm_start=True).fit(X, y)
    before = classifier.predict_proba(X)
    with pytest.raises(RuntimeError, match="enough"):
        classifier.set_params(callbacks=[fail]).fit(X, y)
    np.testing.assert_array_equal(classifier.predict_proba(X), before)
    assert classifier.n_iter_ == 4


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"hidden_size": 0}, ValueError, "hidden_size: expected"),
        ({"cell": "GRU"}, ValueError, "cell: expected 'gru', 'lstm' or 'rnn', got 'GRU'"),
        ({"pooling": "max"}, ValueError, "pooling: expected"),
        ({"dropout": 1.5}, ValueError, "dropout: expected"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate: expected"),
        ({"batch_size": 0}, ValueError, "batch_size: expected"),
        ({"epochs": 0.5}, TypeError, "epochs: expected"),
        ({"early_stopping": 1}, TypeError, "early_stopping: expected"),
        ({"n_jobs": 0}, ValueError, "n_jobs"),
    ],
)
def test_parameters_are_checked_in_fit(given: dict[str, Any], error: type[Exception], message: str) -> None:
    X, y = ragged(8)
    with pytest.raises(error, match=message):
        quick(**given).fit(X, y)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
@pytest.mark.parametrize("pooling", ["last", "mean", "attention"])
def test_networks_of_every_kind_regress(cell: str, pooling: str) -> None:
    X, _ = ragged()
    y = np.array([sequence.mean(0) for sequence in X])
    given = {"hidden_size": [6, 5], "dropout": 0.1, "recurrent_dropout": 0.1, "bidirectional": True}
    regressor = quick(GRURegressor, cell=cell, pooling=pooling, epochs=40, **given).fit(X, y)
    assert regressor.predict(X).shape == (60, 2)
    assert regressor.score(X, y) > 0.3
    one = quick(GRURegressor, cell=cell).fit(X, y[:, 0])
    assert one.predict(X).shape == (60,)


# ---- In scikit-learn's tools ----------------------------------------------------------------------------------------


def test_pipelines_and_cross_validation() -> None:
    rng = np.random.default_rng(0)
    X = 1e3 + 1e2 * rng.standard_normal((60, 5))
    y = 1e3 * X[:, -1]
    scaled = TransformedTargetRegressor(quick(GRURegressor, epochs=60), transformer=StandardScaler())
    assert cross_val_score(make_pipeline(StandardScaler(), scaled), X, y, cv=3).min() > 0.5
    sequences, labels = ragged()
    assert cross_val_score(quick(epochs=20), sequences, labels, cv=3).mean() > 0.8


def test_searches_find_the_setting_that_learns() -> None:
    X, y = ragged(80)
    choices = {"learning_rate": [0.0, 3e-2], "hidden_size": [8, 16]}
    learner = quick(epochs=12)
    grid = GridSearchCV(learner, choices, cv=2).fit(X, y)
    random = RandomizedSearchCV(learner, choices, n_iter=4, cv=2, random_state=0).fit(X, y)
    found = [grid, random]
    for resource, least, most in (("epochs", 6, 12), ("n_samples", 40, 80)):
        given = {"min_resources": least, "max_resources": most, "factor": 2, "cv": 2, "random_state": 0}
        found.append(HalvingRandomSearchCV(learner, choices, resource=resource, **given).fit(X, y))
    for search in found:
        assert search.best_params_["learning_rate"] == 3e-2
        assert search.score(X, y) > 0.9


def test_processes_of_a_search_give_the_same_scores() -> None:
    X, y = ragged(20)
    choices = {"hidden_size": [4, 8]}
    one, two = (GridSearchCV(quick(), choices, cv=2, n_jobs=jobs).fit(X, y) for jobs in (1, 2))
    np.testing.assert_array_equal(one.cv_results_["mean_test_score"], two.cv_results_["mean_test_score"])


# ---- Forecasts ------------------------------------------------------------------------------------------------------


def wave(rows: int = 300) -> np.ndarray:
    return np.sin(np.arange(rows) / 4)


def test_a_series_is_continued_in_its_own_units() -> None:
    series = 1e6 + 1e3 * wave()
    forecaster = GRUForecaster(hidden_size=16, window=24, horizon=5, epochs=30, random_state=0).fit(series[:250])
    assert forecaster.score(series[230:]) > 0.95
    found = forecaster.predict(series[:280])
    assert found.shape == (5,)
    np.testing.assert_allclose(found, series[280:285], atol=300)
    windows = forecaster.predict_windows(series[:280])
    assert windows.shape == (280 - 24 + 1, 5)
    np.testing.assert_array_equal(windows[-1], found)
    np.testing.assert_array_equal(forecaster.predict(series[280 - 24 : 280]), found)
    assert cross_val_score(quick(GRUForecaster, epochs=10), series, cv=TimeSeriesSplit(2)).shape == (2,)


def test_exogenous_columns_are_seen_and_named() -> None:
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(400)
    table = pandas.DataFrame({"cause": noise, "effect": np.r_[0.0, 50 * noise[:-1]]})
    given = {"epochs": 20, "window": 4, "learning_rate": 2e-2}
    forecaster = quick(GRUForecaster, target="effect", **given).fit(table[:300])
    assert forecaster.feature_names_in_.tolist() == ["cause", "effect"]
    assert forecaster.score(table[300:]) > 0.8
    assert quick(GRUForecaster, **given).fit(table["effect"][:300]).score(table["effect"][300:]) < 0.2
    assert forecaster.predict(table).shape == (1,)
    both = quick(GRUForecaster, horizon=3, window=4, target=["effect", 0]).fit(table)
    assert both.predict(table).shape == (3, 2)
    assert quick(GRUForecaster, horizon=3, window=4).fit(table).predict_windows(table).shape == (397, 3, 2)
    with pytest.raises(ValueError, match=r"target: expected one of the columns \['cause', 'effect'\], got 'other'"):
        quick(GRUForecaster, target="other").fit(table)


def test_nothing_of_what_is_held_out_is_seen() -> None:
    """Neither the scaling nor a window that is trained on reaches into the rows that validate."""
    series = np.r_[wave(90), 1e6 + np.zeros(20)]
    given = {"early_stopping": True, "window": 5, "horizon": 4, "learning_rate": 0.0}
    forecaster = quick(GRUForecaster, validation_fraction=0.2, **given).fit(series)
    held_out = round(0.2 * (110 - 5 - 4 + 1))
    assert forecaster.scaler_.n_samples_seen_ == 110 - held_out - 3
    assert forecaster.scaler_.mean_ == pytest.approx(series[: 110 - held_out - 3].mean())
    assert forecaster.validation_curve_[0] > 1e6
    with pytest.raises(ValueError, match="X: expected at least 9 rows for window and horizon, got n_samples = 8"):
        forecaster.fit(series[:8])


def test_rows_weigh_where_they_are_forecast() -> None:
    series, other = wave(80), wave(80)
    other[60:] = 9.0
    weights = np.r_[np.ones(60), np.zeros(20)]
    given = {"window": 5, "horizon": 2, "batch_size": 100}
    one = quick(GRUForecaster, **given).partial_fit(series[:60])
    two = quick(GRUForecaster, **given).partial_fit(series[:60])
    one.partial_fit(series, sample_weight=weights)
    two.partial_fit(other, sample_weight=weights)
    np.testing.assert_array_equal(one.predict(series), two.predict(series))
    with pytest.warns(UserWarning, match="y: expected None"):
        quick(GRUForecaster, **given).fit(series, series)


# ---- Long tables ----------------------------------------------------------------------------------------------------


def long_table() -> dict[str, Any]:
    return {
        "who": np.array(["b", "a", "b", "a", "b"]),
        "when": np.array([2, 1, 1, 0, 0]),
        "x": np.array([22.0, 11.0, 21.0, 10.0, 20.0]),
        "n": np.array([2, 1, 1, 0, 0]),
    }


def test_a_long_table_becomes_sequences_in_order() -> None:
    pandas = pytest.importorskip("pandas")
    df = pandas.DataFrame(long_table())
    first, second = to_sequences(df, "who", "when")
    np.testing.assert_array_equal(first, [[10.0, 0.0], [11.0, 1.0]])
    np.testing.assert_array_equal(second, [[20.0, 0.0], [21.0, 1.0], [22.0, 2.0]])
    assert [len(each) for each in to_sequences(df, id="who", time="when", columns=["n"])] == [2, 3]
    assert df.groupby("who")["x"].first().index.tolist() == ["a", "b"]
    dates = df.assign(when=pandas.to_datetime(df["when"], unit="D"))
    np.testing.assert_array_equal(to_sequences(dates, "who", "when")[1], second)
    texts = df.assign(when=dates["when"].dt.strftime("%Y-%m-%d"))
    np.testing.assert_array_equal(to_sequences(texts, "who", "when")[1], second)
    assert to_sequences(df[:0], "who", "when") == []


def test_sequences_of_categories_are_in_the_order_of_groupby() -> None:
    pandas = pytest.importorskip("pandas")
    df = pandas.DataFrame(long_table())
    df["who"] = pandas.Categorical(df["who"], categories=["c", "b", "a"])
    lengths = df.groupby("who", observed=True).size()
    assert lengths.index.tolist() == ["b", "a"]
    assert [len(own) for own in to_sequences(df, "who", "when")] == lengths.tolist()
    df["who"] = df["who"].cat.remove_categories("a")
    with pytest.raises(ValueError, match="id: expected a column without missing values"):
        to_sequences(df, "who", "when")


@pytest.mark.parametrize(
    ("changed", "columns", "error", "message"),
    [
        ({}, ["y"], ValueError, r"columns: expected one of the columns \[.*\], got 'y'"),
        ({}, [], ValueError, "columns: expected at least one, got none"),
        ({"x": list("abcde")}, None, TypeError, "columns: expected numbers, got dtype .* in 'x'"),
        ({"when": [0, 0, 0, 1, 1]}, None, ValueError, "time: expected each once in a sequence, got one again in row 2"),
        ({"when": [0.0, 1.0, np.nan, 3.0, 4.0]}, None, ValueError, "time: expected a column without missing values"),
        ({"when": ["9:00", "10:00", "8:00", "7:00", "6:00"]}, None, ValueError,
         r"time: column 'when', row 0: expected ISO 8601 \(2018-12-31 09:00\), or numbers, .*, got '9:00'"),
        ({"who": ["a", None, "b", "b", "b"]}, None, ValueError, "id: expected a column that can be ordered"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(changed: dict[str, Any], columns: Any, error: type[Exception], message: str) -> None:
    pandas = pytest.importorskip("pandas")
    df = pandas.DataFrame(long_table() | changed).astype({name: object for name in changed if name == "who"})
    with pytest.raises(error, match=message):
        to_sequences(df, "who", "when", columns)


def test_only_a_missing_scikit_learn_is_said_to_be_missing() -> None:
    script = "import sys; sys.modules['sklearn'] = None; import gru_native.sklearn"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=Path(__file__).parent)
    assert "gru_native.sklearn needs scikit-learn 1.6 or later" in done.stderr
    assert "pip install 'gru_native[sklearn]'" in done.stderr
