"""Searches on the workers of Dask: the same results, also when one is lost or when the search begins again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("distributed")

from gru_native.sklearn import GRUClassifier, GRUForecaster, on_dask

# A search on two local workers. With "lose" the first worker is killed when three trainings are over.
SEARCH = """
import json, os, signal, sys, threading, time
from pathlib import Path
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV
from gru_native.sklearn import GRUClassifier, on_dask

folder, way = Path(sys.argv[1]), sys.argv[2]

def lose(client):
    pids = list(client.run(os.getpid).values())
    while len(list(folder.glob("*.log"))) < 3:
        time.sleep(0.01)
    os.kill(pids[0], signal.SIGKILL)

def search():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    X = rng.standard_normal((300, 10, 3)).astype(np.float32) + 0.2 * y[:, None, None]
    classifier = GRUClassifier(epochs=6, random_state=0, n_jobs=1, checkpoint=folder)
    grid = {"hidden_size": [8, 16], "learning_rate": [1e-3, 1e-2]}
    return GridSearchCV(classifier, grid, cv=3, refit=False).fit(X, y)

if __name__ == "__main__":
    if way == "alone":
        found = search()
    else:
        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
        with LocalCluster(**options) as cluster, Client(cluster) as client:
            thread = threading.Thread(target=lose, args=(client,))
            if way == "lose":
                thread.start()
            with on_dask(client):
                found = search()
            if way == "lose":
                thread.join()
    print(json.dumps(found.cv_results_["mean_test_score"].tolist()))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the search: workers import what is in it."""
    file = tmp_path_factory.mktemp("search") / "search.py"
    file.write_text(SEARCH)
    return file


def searched(program: Path, folder: Path, way: str) -> list[float]:
    command = [sys.executable, str(program), str(folder), way]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def expected(program: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return searched(program, tmp_path_factory.mktemp("alone"), "alone")


def test_a_worker_is_lost(program: Path, expected: list[float], tmp_path: Path) -> None:
    assert searched(program, tmp_path, "lose") == expected
    assert len(list(tmp_path.glob("*.checkpoint"))) == 12


def test_a_search_that_was_killed_takes_what_is_there(program: Path, expected: list[float], tmp_path: Path) -> None:
    command = [sys.executable, str(program), str(tmp_path), "dask"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        while len(list(tmp_path.glob("*.checkpoint"))) < 5:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    logs = {file: file.stat().st_size for file in tmp_path.glob("*.log")}
    assert searched(program, tmp_path, "dask") == expected
    assert all(file.stat().st_size >= size for file, size in logs.items())
    finished = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.checkpoint")}
    assert len(finished) == 12
    assert searched(program, tmp_path, "alone") == expected
    assert finished == {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.checkpoint")}


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 6, 2)), rng.integers(0, 2, 40)


def test_a_training_that_was_ended_goes_on(tmp_path: Path) -> None:
    X, y = data()
    settings: dict[str, Any] = {"epochs": 4, "random_state": 0, "n_jobs": 1, "hidden_size": 4, "dropout": 0.2}
    settings |= {"early_stopping": True, "n_iter_no_change": 9}
    expected = GRUClassifier(**settings).fit(X, y)

    def ended(record: Any) -> None:
        if record.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GRUClassifier(**settings, checkpoint=tmp_path, callbacks=[ended]).fit(X, y)
    steps: list[int] = []
    for _ in range(2):
        own = GRUClassifier(**settings, checkpoint=tmp_path, callbacks=[lambda record: steps.append(record.step)])
        own.fit(X, y)
        np.testing.assert_array_equal(own.predict_proba(X), expected.predict_proba(X))
        assert (own.loss_curve_, own.validation_curve_) == (expected.loss_curve_, expected.validation_curve_)
        assert own.n_iter_ == expected.n_iter_
    assert steps == [*range(3, 9)]  # 2 steps an epoch, of which the first was kept; the second time none is taken
    assert len([*tmp_path.iterdir()]) == 2
    own.partial_fit(X, y)  # a network that is there is trained without files
    for other in ({"learning_rate": 0.1}, {"epochs": 5}, {"random_state": 1}, {"tol": 0.1}):
        GRUClassifier(**settings | other, checkpoint=tmp_path).fit(X, y)
    GRUClassifier(**settings, checkpoint=tmp_path).fit(X, y, sample_weight=np.arange(40))
    GRUForecaster(window=6, horizon=1, epochs=1, random_state=0, checkpoint=tmp_path).fit(X[:, 0])
    assert len([*tmp_path.iterdir()]) == 14


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="^random_state: expected a number beside checkpoint"):
        GRUClassifier(checkpoint=tmp_path).fit(*data())
    with pytest.raises(ValueError, match="^checkpoint: expected a folder, got the file "):
        GRUClassifier(checkpoint=tmp_path / "file", random_state=0).fit(*data())
    with pytest.raises(TypeError, match="^checkpoint: "):
        GRUClassifier(checkpoint=3, random_state=0).fit(*data())


def test_what_is_no_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="^client: expected a Client of Dask, got str"), on_dask("tcp://scheduler:8786"):
        pass
    monkeypatch.setitem(sys.modules, "dask.distributed", None)
    with pytest.raises(ImportError, match=r"^on_dask needs Dask .*pip install 'gru_native\[dask\]'"), on_dask(None):
        pass
