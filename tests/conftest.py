"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gru_native import _core

# So that their asserts hold under ``python -O`` too, as those of the tests do.
pytest.register_assert_rewrite("cases", "processes", "tolerances", "torch_cases")

ROOT = Path(__file__).resolve().parents[1]


def pytest_report_header() -> str:
    """Name the build under test."""
    return f"gru_native: core from {Path(_core.__file__).parent}"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded from the test's own name, so that every test is reproducible alone."""
    return np.random.default_rng(list(request.node.name.encode()))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden cases that stands beside the project."""
    folder = Path(os.environ.get("GRU_NATIVE_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}: set GRU_NATIVE_SHARED")
    return folder
