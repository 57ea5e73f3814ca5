"""The machine's limit: the formula by hand, the levels of memory, and what is measured."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from gru_bench import limits
from gru_bench.calibration import Calibration
from gru_bench.cases import Case
from gru_bench.limits import Limits, limit_seconds, typical
from gru_native import _core

CACHES = {"L1": 32 << 10, "L2": 1 << 20}
BANDWIDTH = {"L1": 4e11, "L2": 2e11, "4 MB": 8e10, "16 MB": 4e10, "64 MB": 2e10}
CAPACITY = {**CACHES, "4 MB": 4 << 20, "16 MB": 16 << 20, "64 MB": 64 << 20}


@pytest.fixture(autouse=True)
def _caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_cache_sizes", lambda: CACHES)


def test_levels_begin_in_the_nearest_cache() -> None:
    assert [(level.name, level.capacity, level.measured) for level in limits.levels()] == [
        ("L1", 32 << 10, 16 << 10),
        ("L2", 1 << 20, 512 << 10),
        ("4 MB", 4 << 20, 4 << 20),
        ("16 MB", 16 << 20, 16 << 20),
        ("64 MB", 64 << 20, 64 << 20),
    ]


@pytest.mark.parametrize(
    ("size", "name"),
    [
        *[(1, "L1"), (32 << 10, "L1"), ((32 << 10) + 1, "L2"), (2 << 20, "4 MB"), (5 << 20, "16 MB")],
        *[(17 << 20, "64 MB"), (1 << 30, "64 MB")],
    ],
)
def test_level_of_a_size(size: int, name: str) -> None:
    assert Limits(1, 1e11, BANDWIDTH, CAPACITY).level_of(size) == name


def test_arithmetic_by_hand() -> None:
    """Many rows: two flops per multiply-add and the gates, over the peak."""
    case, measured = Case(10, 64, 30, 40), Limits(1, 1e11, BANDWIDTH, CAPACITY)
    products = 10 * 64 * 2 * 3 * 40 * (30 + 40)
    units = 10 * 64 * 40
    assert limit_seconds(case, "forward", measured) == pytest.approx((products + 128 * units) / 1e11)
    assert limit_seconds(case, "train", measured) == pytest.approx((3 * products + 148 * units) / 1e11)


def test_layers_and_directions_add_up() -> None:
    measured = Limits(1, 1e11, BANDWIDTH, CAPACITY)
    first = limit_seconds(Case(10, 64, 30, 40), "forward", measured)
    second = limit_seconds(Case(10, 64, 80, 40), "forward", measured)
    stack = Case(10, 64, 30, 40, 2, bidirectional=True)
    assert limit_seconds(stack, "forward", measured) == pytest.approx(2 * (first + second))


@pytest.mark.parametrize(
    ("hidden", "threads", "level"),
    [
        *[(32, 1, "L1"), (256, 1, "L2"), (512, 1, "4 MB"), (512, 4, "L2")],
        *[(1024, 1, "16 MB"), (2048, 1, "64 MB"), (2048, 4, "16 MB")],
    ],
)
def test_reading_by_hand(hidden: int, threads: int, level: str) -> None:
    """One row: the recurrent weights in every step, from where each thread's part of them fits; twice in training."""
    case, measured = Case(100, 1, 1, hidden), Limits(threads, 1e15, BANDWIDTH, CAPACITY)
    seconds = 100 * 3 * hidden**2 * 4 / BANDWIDTH[level]
    assert limit_seconds(case, "forward", measured) == pytest.approx(seconds)
    assert limit_seconds(case, "train", measured) == pytest.approx(2 * seconds)


def test_without_known_caches_arithmetic_alone_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "_cache_sizes", dict)
    assert limits.levels() == []
    flops = 2 * 3 * 512 * 513 + 512 * 128
    assert limit_seconds(Case(1, 1, 1, 512), "forward", Limits(1, 1e11, {}, {})) == pytest.approx(flops / 1e11)


def test_cache_sizes_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    entries = [(1, "Data", "48K"), (1, "Instruction", "64K"), (2, "Unified", "2048K"), (3, "Unified", "491520K")]
    for i, entry in enumerate(entries):
        folder = tmp_path / f"index{i}"
        folder.mkdir()
        for name, value in zip(("level", "type", "size"), entry, strict=True):
            (folder / name).write_text(f"{value}\n")
    assert limits._cache_sizes(tmp_path) == {"L1": 48 << 10, "L2": 2048 << 10}
    assert limits._cache_sizes(tmp_path / "absent") == {}


def test_typical_is_the_median() -> None:
    measured = [Limits(2, peak, {"L1": 10 * peak}, {"L1": 1 << 15}) for peak in (3.0, 1.0, 2.0)]
    assert typical(measured) == Limits(2, 2.0, {"L1": 20.0}, {"L1": 1 << 15})


def test_calibration_measures_every_level() -> None:
    with ExitStack() as stack:
        measured = Calibration(stack, 1, None).measure()
    assert measured.threads == 1
    assert measured.peak > 1e8
    assert list(measured.bandwidth) == list(BANDWIDTH)
    assert all(bandwidth > 1e8 for bandwidth in measured.bandwidth.values())


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("size", [0, 4, 1000, 1 << 16])
def test_more_reading_takes_longer(size: int, threads: int) -> None:
    assert 0 <= _core.read_seconds(size, 0, threads) < _core.read_seconds(size, 10_000, threads)


def test_reading_needs_a_thread() -> None:
    with pytest.raises(ValueError, match="threads"):
        _core.read_seconds(4, 1, 0)
