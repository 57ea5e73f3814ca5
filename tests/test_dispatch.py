"""Which instruction set computes: all that this CPU has are built; GRU_NATIVE_ISA only lowers the choice."""

from __future__ import annotations

import itertools
import platform

import numpy as np
import pytest
from cases import ISAS, layer, normal
from processes import python

from gru_native import _core
from gru_native import functional as F

ORDER = ["scalar", "avx2", "avx512", "neon"]
VARIABLE = "GRU_NATIVE_ISA"


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def test_every_instruction_set_of_this_cpu_is_built_and_supported() -> None:
    """The tests of all other files run on ISAS: none may be missing there."""
    built = {"x86_64": ORDER[:3], "aarch64": ["scalar", "neon"]}.get(platform.machine())
    if built is not None:
        assert _core.built_isas() == built
    assert _core.supported_isas() == [isa for isa in ISAS if isa in _core.built_isas()]
    assert set(ISAS) <= set(_core.built_isas())


def test_the_highest_is_the_default() -> None:
    assert _core.active_isa() == ISAS[-1]


@pytest.mark.parametrize("isa", ISAS)
def test_the_variable_lowers_the_choice_of_what_is_packed_next(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, isa: str
) -> None:
    cell = layer(rng, 3, 4)
    arrays = cell.weight_ih, cell.weight_hh
    before = F.pack_gru(*arrays)
    monkeypatch.setenv(VARIABLE, isa)
    assert _core.active_isa() == isa
    assert F.pack_gru(*arrays).isa == isa
    assert before.isa == ISAS[-1]
    widths = {"scalar": 16, "avx2": 32, "avx512": 64, "neon": 16}
    assert _core.vector_width(False) * 4 == _core.vector_width(True) * 8 == widths[isa]


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert _core.active_isa() == ISAS[-1]


@pytest.mark.parametrize("name", ["avx1024", "AVX2", " scalar", "scalar,avx2", "auto", "ä"])
def test_an_unknown_name_is_an_error_everywhere(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(VARIABLE, name)
    built = ", ".join(_core.built_isas())
    message = f"^{VARIABLE}: unknown instruction set '{name}'; this build has {built}$"
    square = np.zeros((3, 1), np.float32)
    for call in (
        _core.active_isa,
        lambda: F.pack_gru(square, square),
        lambda: F.pack_linear(square),
        lambda: F.sigmoid(square),
        lambda: F.tanh(square),
        lambda: F.softmax_cross_entropy(square, [0, 0, 0]),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_what_the_cpu_lacks_cannot_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = [isa for isa in _core.built_isas() if isa not in ISAS]
    if not lacking:
        pytest.skip("this CPU has every instruction set that is built")
    for isa in lacking:
        monkeypatch.setenv(VARIABLE, isa)
        message = f"this machine has no '{isa}'; it supports {', '.join(ISAS)}"
        with pytest.raises(ValueError, match=message):
            _core.active_isa()


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(ISAS, 2)))
@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
def test_different_code_runs(rng: np.random.Generator, dtype: type, one: str, other: str) -> None:
    """Sums are rounded in other places, so that equal bits everywhere would mean that one set ran twice."""
    cell = layer(rng, 16, 16, dtype)
    x = normal(rng, 20, 4, 16, dtype=dtype)
    outputs = [F.recurrent(x, cell.pack(isa))[0] for isa in (one, other)]
    assert not np.array_equal(*outputs)


def test_weights_keep_their_instruction_set(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    cell = layer(rng, 16, 16)
    x = normal(rng, 20, 4, 16)
    for isa in ISAS:
        weights = cell.pack(isa)
        monkeypatch.delenv(VARIABLE, raising=False)
        expected = F.recurrent(x, weights)[0]
        for other in [*ISAS, "avx1024"]:
            monkeypatch.setenv(VARIABLE, other)
            np.testing.assert_array_equal(F.recurrent(x, weights)[0], expected)


def test_the_variable_is_read_from_the_environment_of_the_process() -> None:
    script = "from gru_native import _core; print(_core.active_isa())"
    for isa in ISAS:
        assert python("-c", script, **{VARIABLE: isa}) == f"{isa}\n"
