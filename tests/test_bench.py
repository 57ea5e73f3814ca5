"""The benchmark: that it runs, compares results, and says what it found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gru_native.bench import compare, report
from gru_native.bench.cases import Case
from gru_native.bench.peers import installed
from gru_native.cli import main


def test_all_peers_agree_and_take_turns() -> None:
    case = Case(3, 2, 5, 4, 2, True)
    comparisons = list(compare.compare([case], installed(), 1, blocks=2, block_seconds=0.001))
    assert [comparison.mode for comparison in comparisons] == ["forward", "train"]
    for comparison in comparisons:
        assert [timing.peer for timing in comparison.timings] == installed()
        assert all(timing.error < 1e-5 for timing in comparison.timings)
        assert all(0 < timing.low <= timing.seconds <= timing.high for timing in comparison.timings)
        assert case.name in report.row(comparison)


def test_a_disagreement_is_seen(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", output=np.ones(3))
    np.savez(tmp_path / "b.npz", output=np.array([1.0, 1.0, 1.5]))
    assert compare._difference(tmp_path / "a.npz", tmp_path / "b.npz") == 0.5


def test_multiply_adds_by_hand() -> None:
    assert Case(2, 3, 5, 4).multiply_adds == 2 * 3 * 3 * 4 * (5 + 4)
    assert Case(1, 1, 5, 4, 2, True).multiply_adds == 2 * 3 * 4 * (5 + 4) + 2 * 3 * 4 * (8 + 4)


def test_command_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    small = ["--case", "2,1,3,4", "--threads", "1", "--blocks", "2", "--block-seconds", "0.001"]
    assert main(["bench", *small, "--json", str(file)]) == 0
    assert "2,1,3,4,1" in capsys.readouterr().out
    figures = json.loads(file.read_text())
    assert figures["machine"]["isa"]
    assert [entry["mode"] for entry in figures["comparisons"]] == ["forward", "train"]


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "0,1,1,1", "1,2,3,4,5,6"])
def test_wrong_case_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--case", text])
    assert "expected T,B,I,H" in capsys.readouterr().err
