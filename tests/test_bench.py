"""The benchmark beside other engines: that it runs, compares results, is fair, and says what it found."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gru_bench import compare, products, report
from gru_bench.__main__ import main
from gru_bench.cases import GRID, Case
from gru_bench.compare import Comparison, Timing
from gru_bench.limits import Limits, limit_seconds
from gru_bench.peers import OWN, PEERS, installed
from gru_bench.process import HELD_TO, Worker
from gru_native import _core
from gru_native.cli import main as command

TINY = ["--blocks", "2", "--block-seconds", "0.001"]
ONE_PEER = ["--peers", *installed()[1:2]] if installed()[1:] else []
LIMITS = Limits(
    1,
    1e11,
    {"L1": 3e11, "L2": 1e11, "16 MB": 3e10, "64 MB": 2e10},
    {"L1": 32 << 10, "L2": 1 << 20, "16 MB": 16 << 20, "64 MB": 64 << 20},
)


def test_all_peers_agree_and_take_turns() -> None:
    cases = [Case(3, 2, 5, 4, 3), Case(3, 2, 5, 4, 2, True)]
    comparisons = list(compare.compare(cases, installed(), 1, blocks=2, block_seconds=0.001))
    assert [(comparison.case, comparison.mode) for comparison in comparisons] == [
        (case, mode) for case in cases for mode in ("forward", "train")
    ]
    for comparison in comparisons:
        able = [peer for peer in installed() if comparison.mode in PEERS[peer].modes]
        assert [timing.peer for timing in comparison.timings] == able
        assert all(timing.error < 1e-5 for timing in comparison.timings)
        assert all(0 < timing.low <= timing.seconds <= timing.high for timing in comparison.timings)
        assert 0 < comparison.fraction < 1
        assert comparison.case.name in report.row(comparison)


def test_a_disagreement_is_seen(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", output=np.ones(3))
    np.savez(tmp_path / "b.npz", output=np.array([1.0, 1.0, 1.5]))
    assert compare._difference(tmp_path / "a.npz", tmp_path / "b.npz") == 0.5


def test_multiply_adds_by_hand() -> None:
    assert Case(2, 3, 5, 4).multiply_adds == 2 * 3 * 3 * 4 * (5 + 4)
    assert Case(1, 1, 5, 4, 2, True).multiply_adds == 2 * 3 * 4 * (5 + 4) + 2 * 3 * 4 * (8 + 4)


def test_the_grid_has_no_shape_twice() -> None:
    assert len(set(GRID)) == len(GRID)


@pytest.mark.parametrize("name", products.installed())
def test_products_multiply(name: str) -> None:
    a, b = np.random.default_rng(0).standard_normal((2, 8, 8), dtype=np.float32)
    c = np.empty_like(a)
    # One thread would be torch's choice for the whole process, and so for all tests that follow.
    products.PRODUCTS[name](a, b, c, _core.default_threads())()
    np.testing.assert_allclose(c, a @ b, rtol=1e-5, atol=1e-5)


# ---- Workers ----


def test_a_worker_is_bound_to_as_many_cpus_as_threads_and_its_owner_is_not() -> None:
    before = os.sched_getaffinity(0)
    with Worker(OWN, 1) as worker:
        assert os.sched_getaffinity(worker._process.pid) == set(sorted(before)[:1])
    assert os.sched_getaffinity(0) == before


def test_a_worker_is_stopped_between_orders() -> None:
    with Worker(OWN, 1) as worker:
        worker.order("time", calls=1)
        os.waitpid(worker._process.pid, os.WUNTRACED)  # returns when it is stopped; it has not ended
        assert worker._process.poll() is None
        assert len(worker.order("time", calls=3)) == 3


def test_a_worker_is_held_to_an_instruction_set() -> None:
    with Worker(OWN, 2, "avx2") as worker:
        worker.order("time", calls=1)
        environment = Path(f"/proc/{worker._process.pid}/environ").read_text().split("\0")
    expected = {**HELD_TO["avx2"], "OMP_NUM_THREADS": "2"}
    assert {f"{name}={value}" for name, value in expected.items()} <= set(environment)


def test_a_worker_that_fails_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        Worker(OWN, 1) as worker,
        pytest.raises(ChildProcessError, match="^gru_native: its process ended; its own message stands above$"),
    ):
        worker.order("build", peer=OWN, case=[1, 1, 1, 1, 1, False], mode="sideways")
    assert "sideways" in capfd.readouterr().err


def test_memory_of_a_call_is_seen() -> None:
    case = Case(1000, 16, 4, 128)
    with Worker(OWN, 1) as worker:
        worker.order("build", peer=OWN, case=[1000, 16, 4, 128, 1, False], mode="forward")
        grown = worker.order("memory")
    output = 4 * case.steps * case.batch * case.hidden_size
    assert output <= grown < 2 * output


# ---- Groups ----


def comparison(case: Case, own: float, *others: float, mode: str = "forward", threads: int = 1) -> Comparison:
    names = list(PEERS)
    timings = [Timing(name, value, value, value, 0.0) for name, value in zip(names, (own, *others), strict=False)]
    limits = replace(LIMITS, threads=threads)
    return Comparison(case, mode, threads, timings, limits, limit_seconds(case, mode, limits))


def test_the_best_other_and_the_limit_by_hand() -> None:
    one = comparison(Case(1, 32, 64, 64), 2e-5, 8e-5, 5e-5)
    assert one.best_other is not None
    assert one.best_other.peer == "onnxruntime"
    assert one.ratio == pytest.approx(2.5)
    arithmetic = 32 * (2 * 3 * 64 * 128 + 64 * 128) / 1e11
    assert one.fraction == pytest.approx(arithmetic / 2e-5)
    assert one.ratio_at_limit == pytest.approx(5e-5 / arithmetic)
    below = comparison(Case(1, 32, 64, 64), arithmetic / 2, arithmetic)  # nothing is asked of who is faster than that
    assert below.ratio_at_limit == pytest.approx(2.0)


def test_groups_by_hand() -> None:
    found = report.groups(
        [
            comparison(Case(1, 1, 8, 8), 1.0, 4.0),
            comparison(Case(1, 1, 9, 9), 1.0, 9.0),
            comparison(Case(1, 16, 8, 8), 1.0, 2.0),
            comparison(Case(1, 32, 8, 8), 1.0, 3.0),
            comparison(Case(1, 8, 8, 8), 1.0, 2.0, mode="train"),
        ]
    )
    assert [(group.mode, group.batches, group.members) for group in found] == [
        ("forward", "B = 1", 2),
        ("forward", "B = 2 to 16", 1),
        ("forward", "B >= 32", 1),
        ("train", "B = 1 to 8", 1),
    ]
    assert found[0].ratio == pytest.approx(6.0)
    limits = [(2 * 3 * size * 2 * size + size * 128) / 1e11 for size in (8, 9)]
    assert found[0].ratio_at_limit == pytest.approx(6.0 / (limits[0] * limits[1]) ** 0.5)
    assert found[0].least_ratio.case == Case(1, 1, 8, 8)
    assert found[0].least_fraction.case == Case(1, 1, 8, 8)


def test_scaling_by_hand() -> None:
    large, small = Case(100, 8, 128, 128), Case(1, 1, 8, 8)
    comparisons = [
        comparison(large, 3e-3, 1.0),
        comparison(small, 1e-5, 1.0),
        comparison(large, 2e-3, 1.0, threads=2),
        comparison(small, 2e-5, 1.0, threads=2),
    ]
    found = report.scalings(comparisons)
    assert [(scaling.speedup, scaling.worthwhile) for scaling in found] == [
        (pytest.approx(1.5), True),
        (pytest.approx(0.5), False),
    ]
    text = "\n".join(report.summary(comparisons))
    assert "at least 1.50 times as fast (forward 100,8,128,128,1, threads 2)" in text
    assert "at least 0.50 times as fast (forward 1,1,8,8,1, threads 2)" in text
    assert "limits, threads 2: product 100 GFLOP/s; reads L1 300, L2 100, 16 MB 30, 64 MB 20 GB/s" in text


def test_without_other_engines_there_is_no_ratio() -> None:
    alone = comparison(Case(1, 1, 8, 8), 1.0)
    assert report.figures([alone])[0]["ratio"] is None
    assert report.summary([alone])[0].startswith("forward, threads 1, B = 1 (1): at least ")


# ---- The command ----


def test_command_writes_json_and_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    file, picture = tmp_path / "figures.json", tmp_path / "figures.png"
    small = ["--case", "2,1,3,4", "--threads", "1", *TINY, *ONE_PEER]
    assert main([*small, "--json", str(file), "--png", str(picture)]) == 0
    assert "2,1,3,4,1" in capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert figures["suite"] == "grid"
    assert figures["machine"]["isa"]
    assert [entry["mode"] for entry in figures["comparisons"]] == ["forward", "train"]
    assert all(entry["limits"]["peak"] > 0 and entry["fraction"] > 0 for entry in figures["comparisons"])
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,1,1,1", "1,2,3,4,5,6"])
def test_wrong_case_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--case", text])
    assert "expected T,B,I,H" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--axes", "H"], "--axes: belongs to --suite sweeps"),
        (["--suite", "sweeps", "--case", "1,1,1,1"], "--case: belongs to --suite grid"),
        (["--suite", "growth", "--png", "a.png"], "--png: belongs to --suite grid or sweeps"),
        (["--suite", "idling", "--quick"], "--quick: belongs to --suite grid or sweeps"),
        (["--isa", "avx2", "--peers", "jax"], "--peers: cannot be held to an instruction set: jax"),
        (["--json", "nowhere/a.json"], "nowhere/a.json: there is no folder nowhere"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 2
    assert f"gru_bench: error: {message}\n" in capsys.readouterr().err


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    absent = {"matplotlib", "jax"}
    found = importlib.util.find_spec
    for module in ("gru_bench.__main__", "gru_bench.peers"):
        monkeypatch.setattr(f"{module}.find_spec", lambda name: None if name in absent else found(name))
    assert main(["--png", "a.png"]) == 2
    assert main(["--peers", "jax"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert errors == [
        "gru_bench: error: --png: needs matplotlib (pip install matplotlib)",
        "gru_bench: error: --peers: not installed: jax",
    ]


# ---- What everyone has who has the wheel ----


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_the_installed_command_times_shapes(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = ["--case", "3,2,4,5", "--case", "2,1,3,4,2"]
    threads = str(_core.default_threads())  # which would be torch's choice for all tests that follow
    assert command(["bench", *shapes, "--cell", cell, "--threads", threads, "--seconds", "0"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert ("torch ms" in header) == (importlib.util.find_spec("torch") is not None)
    assert [line.split()[:3] for line in lines] == [
        [shape, mode, threads] for shape in ("3,2,4,5,1", "2,1,3,4,2") for mode in ("forward", "train")
    ]
    assert all(float(figure) > 0 for line in lines for figure in line.split()[3:])


def test_the_installed_command_does_without_pytorch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("gru_native.cli.bench.find_spec", lambda name: None)
    assert command(["bench", "--case", "1,1,1,1", "--threads", "1", "--seconds", "0"]) == 0
    assert [len(line.split()) for line in capsys.readouterr().out.splitlines()] == [4, 4, 4]


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,1,1,1", "1,2,3,4,5,6"])
def test_the_installed_command_refuses_wrong_shapes(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command(["bench", "--case", text])
    assert "expected T,B,I,H" in capsys.readouterr().err
