"""The sweeps and the smaller suites of the benchmark, and the tables made of what all of them write."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gru_bench import suites, summary, sweep
from gru_bench.__main__ import main
from gru_bench.cases import Case
from gru_bench.peers import OWN, PEERS, installed
from gru_bench.sweep import Sweep

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "benchmarks")}
TINY = ["--threads", "1", "--blocks", "2", "--block-seconds", "0.001"]


# ---- Sweeps ----


def test_sweeps_cover_what_they_should() -> None:
    along = {axis: sweep.sweeps([axis]) for axis in "HBT"}
    assert {len(each.cases) for each in along["H"]} == {300}
    assert {(each.cases[0].steps, each.cases[0].batch) for each in along["H"]} == {
        (T, B) for T in (1, 2, 7, 100) for B in (1, 8, 32)
    }
    assert {each.sizes[-1] for each in along["B"]} == {40}
    assert {(each.cases[0].steps, each.cases[0].hidden_size) for each in along["B"]} == {
        (T, H) for T in (1, 2, 7, 100) for H in (64, 256)
    }
    assert {tuple(each.sizes) for each in along["T"]} == {(1, 2, 7, 100)}
    assert all(each.sizes == sorted(set(each.sizes)) for found in along.values() for each in found)


def test_a_quick_sweep_keeps_neighbours() -> None:
    (line, *_) = sweep.sweeps(["H"], quick=True)
    assert line.sizes[:5] == [1, 15, 16, 17, 31]


class Scripted:
    """A worker whose times follow a rule; `lasting` says whether a slow shape is slow when it is timed again."""

    def __init__(self, slow: dict[int, float], lasting: bool) -> None:
        self.slow, self.lasting, self.again = slow, lasting, []  # type: ignore[var-annotated]

    def order(self, method: str, *, cases: list[list[int]], passes: int, **_: Any) -> list[list[float]]:
        assert method == "series"
        hidden = [case[3] for case in cases]
        if len(hidden) == 2:
            self.again.append(tuple(hidden))
        slow = self.slow if self.lasting or len(hidden) > 2 else {}
        return [[size * slow.get(size, 1.0)] * passes for size in hidden]


LINE = Sweep("H", "T = 1, B = 1", tuple(Case(1, 1, size, size) for size in range(20, 50)))


def test_a_cliff_is_found_and_timed_again() -> None:
    worker = Scripted({31: 1.5, 40: 1.05}, lasting=True)
    seconds, steps = sweep._time_sweep(worker, LINE, "forward", 1)  # type: ignore[arg-type]
    assert seconds == [size * worker.slow.get(size, 1.0) for size in LINE.sizes]
    assert [(step.smaller.hidden_size, step.larger.hidden_size) for step in steps] == list(
        zip(range(20, 49), range(21, 50), strict=True)
    )
    (cliff,) = (step for step in steps if step.is_cliff)
    assert cliff.smaller == Case(1, 1, 31, 31)
    assert cliff.ratio == pytest.approx(31 * 1.5 / 32)
    assert worker.again == [(31, 32)]
    assert sweep.summary(steps) == [
        "1 of 29 times a shape takes more than 1.1 times what the next larger one takes:",
        "   1.45  forward, threads 1: 1,1,31,31,1 over 1,1,32,32,1",
    ]


def test_what_does_not_last_is_no_cliff() -> None:
    worker = Scripted({31: 1.5}, lasting=False)
    seconds, steps = sweep._time_sweep(worker, LINE, "train", 2)  # type: ignore[arg-type]
    assert worker.again == [(31, 32)]
    assert seconds == LINE.sizes
    assert not any(step.is_cliff for step in steps)
    assert sweep.summary(steps) == ["0 of 29 times a shape takes more than 1.1 times what the next larger one takes"]


# ---- The commands, on small shapes ----


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what every suite wrote about small shapes."""
    folder = tmp_path_factory.mktemp("results")
    lines = [Sweep("H", "T = 1, B = 1", (Case(1, 1, 3, 3), Case(1, 1, 4, 4)))]
    one_peer = ["--peers", *installed()[1:2]] if installed()[1:] else []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suites, "LENGTHS", (10, 40))
        patch.setattr(suites, "GROWTH_CASES", ((2, 3),))
        patch.setattr(suites, "TRAINING_CASES", (Case(10, 2, 3, 3),))
        patch.setattr(suites, "PACKED_SIZES", (3,))
        patch.setattr(suites, "IDLE_CASES", (Case(4, 2, 3, 3),))
        patch.setattr(suites, "IDLE_SECONDS", 0.001)
        patch.setattr(suites, "SEQUENCE_CASES", (Case(4, 3, 3, 3),))
        patch.setattr(suites, "CELL_CASES", (Case(4, 2, 3, 3),))
        patch.setattr(suites, "STREAM_SIZES", (3,))
        patch.setattr(suites, "POOL_CASES", (Case(1, 2, 3, 3),))
        patch.setattr(sweep, "sweeps", lambda axes, quick: lines)
        run(folder, "growth", *TINY)
        run(folder, "overheads", *TINY)
        run(folder, "idling", *TINY)
        run(folder, "sequences", *TINY)
        run(folder, "cells", *TINY)
        run(folder, "streams", *TINY)
        run(folder, "sweeps", "--threads", "1")
        run(folder, "grid", "--case", "3,4,5,6", *TINY, "--threads", "1", "2", *one_peer)
    shutil.copy(folder / "grid.json", folder / "grid-avx2.json")
    for machine in ("xeon", "zen3", "zen4"):
        summary.summarize(folder, machine)
    return folder


def run(folder: Path, suite: str, *options: str) -> None:
    assert main(["--suite", suite, "--json", str(folder / f"{suite}.json"), *options]) == 0


def read(folder: Path, suite: str) -> Any:
    figures = json.loads((folder / f"{suite}.json").read_text())
    assert figures["suite"] == suite
    return figures


def test_overheads(results: Path) -> None:
    figures = read(results, "overheads")["figures"]
    assert all(figure["value"] > 0 and figure["unit"] == "µs" for figure in figures)
    own = [figure["what"] for figure in figures if figure["peer"] == OWN]
    assert own == ["one call: GRU", "one call: GRUCell", "one call: the Cython step", "packing the weights"]
    assert {figure["peer"] for figure in figures if figure["what"] == "one call: GRU"} == set(installed())


def test_idling(results: Path) -> None:
    figures = read(results, "idling")["figures"]
    assert [(figure["what"], figure["peer"]) for figure in figures] == [
        (what, peer) for what in ("back to back", "after 1 ms of idling") for peer in installed()
    ]
    assert all(figure["value"] > 0 for figure in figures)


@pytest.mark.parametrize("suite", ["sequences", "cells"])
def test_other_sequences_and_cells(results: Path, suite: str) -> None:
    figures = read(results, suite)["figures"]
    assert all(figure["value"] > 0 and figure["unit"] == "ms" for figure in figures)
    every = suites.SEQUENCES if suite == "sequences" else suites.CELLS
    assert [figure["what"] for figure in figures if figure["peer"] == OWN] == list(every)
    if "torch" in installed():
        theirs = [figure["what"] for figure in figures if figure["peer"] == "torch"]
        assert theirs == [what for what, mode in every.items() if mode != "states_train"]


def test_streams(results: Path) -> None:
    figures = read(results, "streams")["figures"]
    assert all(figure["value"] > 0 for figure in figures)
    own = [(figure["what"], figure["unit"]) for figure in figures if figure["peer"] == OWN]
    steps = [("a step of a live sequence", "µs"), ("reading its weights", "µs")]
    assert own == [*steps, ("2 of 1000, a second", "steps"), ("the machine's limit, a second", "steps")]
    able = {peer for peer in installed() if "stream" in PEERS[peer].modes}
    assert {figure["peer"] for figure in figures} == able


def test_growth(results: Path) -> None:
    figures = read(results, "growth")["figures"]
    own = [(figure["what"], figure["case"]["steps"]) for figure in figures if figure["peer"] == OWN]
    forward, tapes = "forward, memory beyond the results", "tape of {}, memory beyond the results"
    memory = [(forward, 10), (forward, 40), ("training step, memory", 10)]
    assert own == [("time, over T = 10", 40), *memory, (tapes.format("gates"), 40), (tapes.format("states"), 40)]
    assert figures[0]["value"] > 0
    assert {figure["peer"] for figure in figures} <= {OWN, "torch"}


def test_sweeps(results: Path) -> None:
    figures = read(results, "sweeps")
    assert [(line["mode"], line["sizes"]) for line in figures["lines"]] == [("forward", [3, 4]), ("train", [3, 4])]
    assert all(seconds > 0 for line in figures["lines"] for seconds in line["seconds"])


def test_a_picture_of_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sweep, "sweeps", lambda axes, quick: [replace(LINE, cases=LINE.cases[:3])])
    monkeypatch.setattr(sweep, "ALLOWED", 0.0)  # so that there are cliffs to mark
    picture = tmp_path / "sweeps.png"
    assert main(["--suite", "sweeps", "--threads", "1", "--png", str(picture)]) == 0
    assert not picture.exists()
    assert picture.with_stem("sweeps-H").read_bytes().startswith(b"\x89PNG")
    assert "H = 20 to 22, T = 1, B = 1" in capsys.readouterr().out


# ---- Tables ----


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    path = ROOT / "docs" / "tables.py"
    if not path.is_file():
        pytest.skip("the tables are made in a checkout")
    specification = importlib.util.spec_from_file_location("tables", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_tables_of_what_the_suites_write(tables: ModuleType, results: Path) -> None:
    known = {**tables.FACTS, **tables.ALL_MACHINES}
    page = "".join(f"before\n<!-- table: {name} -->\nold\n<!-- end -->\n" for name in known)
    made = tables.rewrite(page, known, results)
    assert "old" not in made
    assert tables.rewrite(made, known, results) == made
    assert made.count("before\n") == len(known)
    assert "| 3,4,5,6,1 |" in made
    assert "| packing the weights | 1 | 2,1,3,3,1 |" in made


def test_a_summary_keeps_what_other_suites_wrote(results: Path, tmp_path: Path) -> None:
    shutil.copy(results / "zen4.csv", tmp_path / "zen4.csv")
    before = summary.read(tmp_path / "zen4.csv")
    figures = read(results, "idling")
    figures["figures"] = figures["figures"][:1]
    (tmp_path / "idling.json").write_text(json.dumps(figures))
    summary.summarize(tmp_path, "zen4")
    after = summary.read(tmp_path / "zen4.csv")
    assert [row for row in after if row.suite != "idling"] == [row for row in before if row.suite != "idling"]
    machine, figure = (row for row in after if row.suite == "idling")
    assert machine.what == "machine"
    assert machine.value.endswith(f"{figures['machine']['date'][:10]}.")
    assert (figure.what, figure.engine, figure.unit) == ("back to back", OWN, "µs")
    assert figure.number == pytest.approx(figures["figures"][0]["value"], rel=1e-5)


def test_the_pages_have_the_tables_of_what_is_kept(tables: ModuleType) -> None:
    for page, known in tables.PAGES.items():
        assert tables.rewrite(page.read_text(), known, tables.RESULTS) == page.read_text(), page.name


def test_the_picture_of_speed_has_the_figures_that_are_kept(tables: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    made, kept = tmp_path / "speed.svg", tables.HERE / "speed.svg"
    subprocess.run([sys.executable, tables.HERE / "speed.py", "--out", made], check=True, env=ENVIRONMENT)
    ratios = re.compile(r">(\d+\.\d)<")
    assert ratios.findall(made.read_text()) == ratios.findall(kept.read_text())
    assert len(ratios.findall(kept.read_text())) == 16


@pytest.mark.parametrize("case", [Case(1, 2, 3, 4), Case(9, 8, 7, 6, 5, True)])
def test_a_case_is_known_by_its_name(case: Case) -> None:
    assert Case.named(case.name) == case


def test_the_pages_name_tables_that_exist(tables: ModuleType) -> None:
    for page, known in tables.PAGES.items():
        named = [match[2] for match in tables.MARKED.finditer(page.read_text())]
        assert sorted(named) == sorted(known)
