"""What times other people's programs: the clock in recurrent modules, the comparison and the record."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from processes import mpirun

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks" / "programs"
PAUSE = 0.05


def imported(name: str, folder: Path = FOLDER) -> ModuleType:
    """Return a file of a folder as a module."""
    if not FOLDER.is_dir():
        pytest.skip("the programs are in a checkout")
    specification = importlib.util.spec_from_file_location(f"programs_{name}", folder / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_operations_of_recurrent_modules() -> None:
    torch = pytest.importorskip("torch")
    native = pytest.importorskip("gru_native.torch")
    inside = imported("inside")
    x = torch.ones(5, 2, 3)
    for layer, inputs, named, rows, with_input in [
        (torch.nn.GRU(3, 4), x, {}, 10, 2),
        (torch.nn.GRU(3, 4), x.clone().requires_grad_(), {}, 10, 3),
        (torch.nn.GRU(3, 4), torch.nn.utils.rnn.pack_padded_sequence(x, [5, 2]), {}, 7, 2),
        (native.GRU(3, 4), x, {"lengths": torch.tensor([5, 2])}, 7, 2),
    ]:
        of_input, of_hidden = 2 * rows * 12 * 3, 2 * rows * 12 * 4
        forward, backward = (rows * 4 * each for each in inside.GATES[torch.nn.GRU, torch.nn.GRUCell])
        for grad, expected in (
            (True, with_input * of_input + 3 * of_hidden + forward + backward),
            (False, of_input + of_hidden + forward),
        ):
            watch = inside.Inside()
            with torch.set_grad_enabled(grad):
                layer(inputs, **named)
            watch.close()
            assert watch.operations == expected


@pytest.fixture
def harness() -> ModuleType:
    return imported("compare")


def answer(side: str, figures: list[float], inside: bool) -> dict[str, Any]:
    seconds = 2.0 if side == "torch" else 0.5
    return {
        "title": "a program",
        "mode": "training",
        "shapes": "GRU 3,4,5,6,1",
        "tolerance": 1e-3,
        "packages": {"torch": "2"},
        "seconds": 2 * seconds if inside else seconds,
        "share": 0.5 if inside else None,
        "operations": 150 if inside else None,
        "figures": figures,
    }


def test_the_clock_counts_recurrent_modules_forward_and_backward() -> None:
    torch = pytest.importorskip("torch")

    class Slow(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            time.sleep(PAUSE)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            time.sleep(PAUSE)
            return grad

    class Layer(torch.nn.GRU):  # type: ignore[misc]
        def forward(self, x: Any, hx: Any = None) -> Any:
            return super().forward(Slow.apply(x), hx)

    first, second = Layer(3, 4), Layer(4, 4)
    first.weight_hh_l0.requires_grad_(False)  # as a frozen module's
    x = torch.ones(2, 1, 3, requires_grad=True)
    watch = imported("inside").Inside()
    try:
        for calls in (1, 2):
            between = Slow.apply(first(Slow.apply(x))[0])
            Slow.apply(second(between)[0]).sum().backward()
            assert calls * 4 * PAUSE <= watch.seconds < calls * 8 * PAUSE
    finally:
        watch.close()


def peak() -> float:
    return 1000.0


@pytest.fixture
def sides(harness: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    figures = {"torch": [1.0, -4.0], "native": [1.0, -4.0]}
    monkeypatch.setattr(harness, "run", lambda program, side, threads, *more: answer(side, figures[side], bool(more)))
    return figures


def test_a_comparison(harness: ModuleType, sides: dict[str, list[float]]) -> None:
    sides["native"] = [1.002, -4.0]
    entry = harness.compare("text", 1, 3, peak)
    assert entry["torch"] / entry["native"] == 4
    assert (entry["torch_inside"], entry["native_inside"]) == (1.0, 0.25)
    assert entry["difference"] == pytest.approx(0.0005)
    assert harness.at_peak(entry) == 2.0 / (0.5 - 0.25 + 150 / 1000)
    assert " 2.000     0.500   4.00     5.00     1.000     0.250   4.00     5.0e-04" in harness.line(entry)


@pytest.mark.parametrize("figures", [[1.005, -4.0], [1.0, float("nan")]])
def test_sides_that_differ(harness: ModuleType, sides: dict[str, list[float]], figures: list[float]) -> None:
    sides["native"] = figures
    with pytest.raises(ValueError, match="text: expected figures within 0.001, got"):
        harness.compare("text", 1, 3, peak)


def test_a_record_keeps_other_programs(harness: ModuleType, sides: dict[str, list[float]], tmp_path: Path) -> None:
    path = tmp_path / "programs.json"
    for program in ("text", "crnn"):
        harness.write(path, harness.compare(program, 1, 3, peak))
    changed = {**harness.compare("text", 1, 3, peak), "native": 7.0}
    harness.write(path, changed)
    record = json.loads(path.read_text())
    assert [(entry["program"], entry["native"]) for entry in record["programs"]] == [("text", 7.0), ("crnn", 0.5)]
    assert record["machine"]["packages"]["torch"] == "2"


def test_every_program_says_what_it_is(harness: ModuleType) -> None:
    for program in harness.PROGRAMS:
        text = (FOLDER / f"{program}.py").read_text()
        assert all(f"\n{name} = " in text for name in ("SHAPES", "MODE", "TOLERANCE", "PACKAGES"))
        assert "\ndef build(native: bool) -> Callable[[], list[float]]:" in text


def test_the_tables_of_the_page(
    harness: ModuleType, sides: dict[str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from gru_bench.summary import summarize

    layers = imported("layers")
    harness.write(tmp_path / "programs.json", harness.compare("text", 1, 3, peak))
    monkeypatch.setattr(layers, "CASES", layers.CASES[:2])
    arguments = ["--threads", "1", "--blocks", "1", "--block-seconds", "0", "--json", str(tmp_path / "layers.json")]
    monkeypatch.setattr("sys.argv", ["layers.py", *arguments])
    layers.main()

    for machine in ("zen4", "xeon"):
        summarize(tmp_path, machine)
    tables = imported("tables", ROOT / "docs")
    made = {name: table(tmp_path) for name, table in tables.PROGRAMS.items()}
    row = "| a program | training | GRU 3,4,5,6,1 | 1 | 2 | 0.5 | 4.00 | 5.00 | 50% | 4.00 |"
    assert row in made["programs-zen4"]
    assert made["programs-xeon"] == made["programs-zen4"]
    assert made["layers"].count("\n| GRU | ") == 3
    assert "| T,B,I,H,L | train (1) | infer (1) | frozen (1) |" in made["lstm"]
    assert [line.split()[1] for line in made["gru"].splitlines()[2:]] == ["1,1,16,16,1", "1,1,64,64,1"]


def tuned(seconds: float, best: float, mean: float) -> dict[str, Any]:
    return {"seconds": seconds, "scores": [best, 2 * mean - best]}


def test_a_search_is_recorded_when_both_sides_learn_alike(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from gru_bench.summary import summarize

    tuning = imported("tuning", ROOT / "benchmarks")
    runs = [{"skorch": tuned(seconds, 0.9, 0.6), "native": tuned(2.0, 0.92, 0.62)} for seconds in (9.0, 4.0, 5.0)]
    found = tuning.record(runs)
    assert found["ratio"] == 2.5
    assert (found["skorch"]["seconds"], found["skorch"]["least"], found["native"]["best"]) == (5.0, 4.0, 0.92)
    (tmp_path / "tuning.json").write_text(json.dumps({"tuning": found}))
    summarize(tmp_path, "zen4")
    page = imported("tables", ROOT / "docs")._tuning(tmp_path)
    assert page.splitlines()[2:] == [
        "| skorch, PyTorch | 5.0 | 0.900 | 0.600 |",
        "| `GRUClassifier` | 2.0 | 0.920 | 0.620 |",
        "| ratio | 2.50 |  |  |",
    ]
    runs = [{"skorch": tuned(5.0, 0.9, 0.6), "native": tuned(2.0, 0.9, 0.5)}]
    with pytest.raises(ValueError, match="mean: expected accuracies within 0.05 of each other, got 0.1"):
        tuning.record(runs)


def test_what_two_ranks_make_of_two_cores(tmp_path: Path) -> None:
    from gru_bench.summary import summarize

    ranks = imported("ranks", ROOT / "benchmarks")

    def run(whole: float, one: float, two: float) -> dict[str, dict[str, float]]:
        steps = {"whole": whole, "one rank": one, "two ranks": two}
        return {job: {"step": step, "sum": 0.002, "bytes": 4_000_000} for job, step in steps.items()}

    found = ranks.record(ranks.CASES[0], [run(0.3, 0.4, 0.25), run(9.0, 0.5, 9.0), run(0.1, 0.3, 0.2)])
    assert (found["efficiency"], found["beside whole"]) == (pytest.approx(0.8), pytest.approx(0.6))
    (tmp_path / "ranks.json").write_text(json.dumps({"ranks": [found]}))
    summarize(tmp_path, "zen4")
    page = imported("tables", ROOT / "docs")._ranks(tmp_path)
    assert page.splitlines()[2:] == ["| 50,32,32,64,1 | 4 | 300 | 400 | 250 | 2 | 0.80 |"]


def test_steps_of_two_ranks_are_timed() -> None:
    mpirun(1)  # where there is one
    ranks = imported("ranks", ROOT / "benchmarks")
    found = ranks.run(ranks.Case(3, 4, 2, 5, 1), "one rank")
    assert found["bytes"] == 4 * (3 * 5 * (2 + 5 + 2) + 10 * (5 + 1))
    assert found["step"] > 0


@pytest.mark.shared
@pytest.mark.parametrize("side", ["native", "skorch"])
def test_a_search_finds_a_setting_that_learns(side: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    if side == "skorch":
        pytest.importorskip("skorch")
    tuning = imported("tuning", ROOT / "benchmarks")
    monkeypatch.setattr(tuning, "GRID", {name: values[-1:] for name, values in tuning.GRID.items()})
    monkeypatch.setattr(tuning, "FOLDS", 2)
    assert tuning.timed(side, shared / "data")["scores"][0] > 0.7
