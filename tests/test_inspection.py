"""Looking into a model: what is shown is what it computes, and the picture and the command that show it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import central_difference
from tolerances import assert_close

import gru_native as gn
from gru_native import nn
from gru_native.cli import main
from gru_native.heatmaps import MAX_STEPS, draw, slow_to_fast
from gru_native.inspection import inspect
from gru_native.train import CharacterModel

STEPS = 6
F64: dict[str, Any] = {"dtype": "float64", "seed": 1}
WRITTEN = b"\x89PNG"


def both(output: np.ndarray) -> dict[str, np.ndarray]:
    forward, reverse = np.split(output, 2, axis=-1)
    return {"h": forward, "h_reverse": reverse}


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("batch_first", [False, True])
def test_gates_and_states_are_the_layers(kind: Any, batch_first: bool, rng: np.random.Generator) -> None:
    stack = kind(3, (4, 5), batch_first=batch_first, bidirectional=True, **F64)
    model = nn.Sequential(nn.Linear(3, 3, **F64), stack, nn.Linear(10, 2, **F64))
    x = rng.standard_normal((STEPS, 3))
    lower = kind(3, 4, bidirectional=True, **F64)
    lower.load_state_dict({name: stack.state_dict()[name] for name in lower.state_dict()})
    y = model[0](x)
    gates = stack(y, return_gates=True)[2] if stack.gate_names else {}
    for layer, output in enumerate([lower(y)[0], stack(y)[0]]):
        found = inspect(model, x, layer=layer)
        assert (found.cell, found.layer) == (kind.__name__, layer)
        assert list(found.gates) == [name + suffix for suffix in ("", "_reverse") for name in stack.gate_names]
        for name, gate in found.gates.items():
            own, _, direction = name.partition("_")
            np.testing.assert_array_equal(gate, gates[f"{own}_l{layer}" + (direction and "_reverse")], name)
        assert list(found.states) == ["h", "h_reverse"]
        for name, h in both(output).items():
            np.testing.assert_array_equal(found.states[name], h, name)
        np.testing.assert_array_equal(found.outputs, model(x)[0])


def test_layers_are_counted_over_all_stacks(rng: np.random.Generator) -> None:
    first, second = nn.GRU(3, (4, 5), **F64), nn.LSTM(5, 6, **F64)
    model = nn.Sequential(nn.Sequential(first), nn.Sequential(nn.Linear(5, 5, **F64), second))
    x = rng.standard_normal((STEPS, 3))
    assert [inspect(model, x, layer=layer).states["h"].shape[1] for layer in range(3)] == [4, 5, 6]
    np.testing.assert_array_equal(inspect(model, x, layer=2).states["h"], model(x)[0])
    np.testing.assert_array_equal(inspect(first, x, layer=1).states["h"], first(x)[0])


FLOAT_MODELS = {
    "GRU": nn.GRU(3, (4, 5), **F64),
    "LSTM, bidirectional": nn.Sequential(nn.LSTM(3, 4, bidirectional=True, **F64), nn.Linear(8, 2, **F64)),
    "RNN after another layer": nn.Sequential(nn.LayerNorm(3, dtype="float64"), nn.RNN(3, 4, **F64)),
    "zoneout": nn.Sequential(nn.GRU(3, 4, zoneout=0.3, **F64), nn.Dropout(0.5), nn.Linear(4, 2, **F64)),
}
POOLING_MODELS = {
    "mean": nn.Sequential(nn.GRU(3, 4, batch_first=True, **F64), nn.MeanPooling(True), nn.Linear(4, 2, **F64)),
    "attention": nn.Sequential(nn.GRU(3, 4, **F64), nn.AttentionPooling(4, **F64), nn.Linear(4, 2, **F64)),
    "last": nn.Sequential(nn.GRU(3, 4, bidirectional=True, **F64), nn.LastPooling(True)),
}


def outputs_of(model: nn.Module, x: np.ndarray) -> np.ndarray:
    return model(x)[0]


@pytest.mark.parametrize("step", [None, 2])
@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_saliency_is_that_of_finite_differences(name: str, step: int | None, rng: np.random.Generator) -> None:
    model, x = FLOAT_MODELS[name], rng.standard_normal((STEPS, 3))
    found = inspect(model, x, step=step, index=1)
    assert found.output == (STEPS - 1 if step is None else step, 1)
    gradient = central_difference(lambda: outputs_of(model, x)[found.output], x)
    assert_close(found.gradient, gradient, "finite_difference")
    assert_close(found.saliency, np.sqrt(np.sum(gradient**2, axis=1)), "finite_difference")


@pytest.mark.parametrize("name", POOLING_MODELS)
def test_models_that_pool(name: str, rng: np.random.Generator) -> None:
    model, x = POOLING_MODELS[name], rng.standard_normal((STEPS, 3))
    found = inspect(model, x)
    assert found.output == (int(outputs_of(model, x).argmax()),)
    assert found.output_name == f"output {found.output[0]}"
    assert_close(found.gradient, central_difference(lambda: outputs_of(model, x)[found.output], x), "finite_difference")
    with pytest.raises(ValueError, match="step: expected None, because the model's output has no steps, got 0"):
        inspect(model, x, step=0)


def test_a_model_that_begins_with_an_embedding(rng: np.random.Generator) -> None:
    model = nn.Sequential(nn.Sequential(nn.Embedding(9, 3, **F64), nn.GRU(3, 4, **F64)), nn.Linear(4, 9, **F64))
    x = rng.permutation(9)[:STEPS]  # each row once: a vector's gradient is its row's
    found = inspect(model, x)
    table = model.parameters()["0.0.weight"].copy()

    def moved() -> float:
        model.assign({"0.0.weight": table})
        return float(outputs_of(model, x)[found.output])

    assert_close(found.gradient, central_difference(moved, table)[x], "finite_difference")
    assert found.gradient.shape == (STEPS, 3)
    assert found.states["h"].shape == (STEPS, 4)


def test_the_output_is_the_largest_at_the_last_step_or_chosen(rng: np.random.Generator) -> None:
    model, x = FLOAT_MODELS["GRU"], rng.standard_normal((STEPS, 3))
    outputs = outputs_of(model, x)
    assert inspect(model, x).output == (STEPS - 1, outputs[-1].argmax())
    assert inspect(model, x, step=1).output == (1, outputs[1].argmax())
    found = inspect(model, x, step=-2, index=-1)
    assert found.output == (STEPS - 2, 4)
    assert found.output_name == "output 4 at step 4"
    assert not found.saliency[-1]  # which is after it


def test_the_mode_is_put_back(rng: np.random.Generator) -> None:
    model, x = nn.Sequential(nn.GRU(3, 4, **F64), nn.Dropout(0.5)), rng.standard_normal((STEPS, 3))
    model.train()
    model[0].eval()
    np.testing.assert_array_equal(inspect(model, x).outputs, outputs_of(model, x))
    with pytest.raises(ValueError, match="index: "):
        inspect(model, x, index=4)
    assert [module.training for _, module in model.named_modules()] == [True, False, True]


@pytest.mark.parametrize(
    ("model", "x", "choice", "message"),
    [
        (nn.Linear(3, 3), np.zeros((2, 3)), {}, "model: expected a GRU, LSTM or RNN in it, got Linear"),
        (nn.Sequential(), np.zeros((2, 3)), {}, "model: expected a GRU, LSTM or RNN in it, got no layers"),
        (nn.GRU(3, (4, 5)), np.zeros((2, 3)), {"layer": 2}, "layer: expected a whole number from 0 to 1, got 2"),
        (nn.GRU(3, 4), np.zeros((2, 3)), {"layer": -1}, "layer: expected a whole number from 0 to 0, got -1"),
        (nn.GRU(3, 4), np.zeros((2, 1, 3)), {}, r"x: expected one sequence \(T, I\), got shape \(2, 1, 3\)"),
        (nn.GRU(3, 4), np.zeros((0, 3)), {}, r"x: expected at least one step, got shape \(0, 3\)"),
        (nn.GRU(3, 4, **F64), np.zeros((2, 5)), {}, "x: expected a last axis of input_size = 3, got shape"),
        (nn.GRU(3, 4, **F64), np.zeros((2, 3)), {"step": 2}, "step: expected a whole number from -2 to 1, got 2"),
        (nn.GRU(3, 4, **F64), np.zeros((2, 3)), {"index": 4}, "index: expected a whole number from -4 to 3, got 4"),
        (
            nn.Sequential(nn.Embedding(9, 3), nn.GRU(3, 4)),
            np.zeros((2, 1), int),
            {},
            r"x: expected one sequence \(T,\) of whole numbers, got shape \(2, 1\)",
        ),
    ],
)
def test_errors(model: nn.Module, x: Any, choice: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        inspect(model, x, **choice)


def test_numbers_that_are_not_finite() -> None:
    with pytest.raises(FloatingPointError, match="the model's outputs or their gradients are not finite"):
        inspect(nn.GRU(3, 4, **F64), np.full((2, 3), np.nan))


def test_slow_units_come_first() -> None:
    t = np.arange(40)
    h = np.stack([np.sin(t), np.sin(t / 5), np.ones(40), (-1.0) ** t], axis=1)
    np.testing.assert_array_equal(slow_to_fast(h), [2, 1, 0, 3])
    np.testing.assert_array_equal(slow_to_fast(h[:1]), [0, 1, 2, 3])


def test_pictures(tmp_path: Path, rng: np.random.Generator) -> None:
    """Few features and many, labels that no font has, a single step, gradients of zero, h without bounds."""
    path = tmp_path / "picture"
    draw(inspect(FLOAT_MODELS["GRU"], rng.standard_normal((STEPS, 3))), path, labels=list("a$␣猫\U0001f600\ue000"))
    few = path.read_bytes()
    assert few.startswith(WRITTEN)
    relu = nn.RNN(9, 4, nonlinearity="relu", bidirectional=True, **F64)
    draw(inspect(relu, 100 * rng.standard_normal((1, 9))), path, output="$the output$")
    assert path.read_bytes().startswith(WRITTEN)
    relu.assign({name: np.zeros_like(array) for name, array in relu.parameters().items()})
    draw(inspect(relu, np.zeros((200, 9))), path, labels=["no room"] * 200)
    assert path.read_bytes().startswith(WRITTEN)


def test_a_picture_of_too_many_steps(tmp_path: Path) -> None:
    found = inspect(nn.GRU(1, 1, **F64), np.zeros((MAX_STEPS + 1, 1)))
    with pytest.raises(ValueError, match="inspection: expected at most 2,200 steps, got 2,201"):
        draw(found, tmp_path / "picture")
    with pytest.raises(ValueError, match="labels: expected one for each of 2 steps, got 1"):
        draw(inspect(nn.GRU(1, 1, **F64), np.zeros((2, 1))), tmp_path / "picture", labels=["a"])
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def characters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "characters"
    CharacterModel.create("\n abc", embedding_dim=5, hidden_size=(7, 6)).save(path)
    return path


@pytest.fixture(scope="module")
def numbers(characters: Path) -> Path:
    path = characters.with_name("numbers")
    gn.save(nn.Sequential(nn.GRU(3, 4, bidirectional=True, seed=1), nn.MeanPooling(), nn.Linear(8, 2, seed=1)), path)
    return path


def test_the_command_with_a_text(characters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, file = tmp_path / "gates.png", tmp_path / "text.txt"
    model = CharacterModel.load(characters)
    logits, _ = model.network(model.encode("ab c"))
    likeliest = model.vocabulary[logits[-1].argmax()]
    assert main(["inspect", str(characters), "ab c", "--out", str(out), "--threads", "1"]) == 0
    line = f"{out} shows layer 0 (GRU, 7 units) over 4 steps, with the saliency of the logit of {likeliest!r} at step 3"
    assert capsys.readouterr().out == f"{line}.\n"
    assert out.read_bytes().startswith(WRITTEN)
    file.write_text("ab")
    assert main(["inspect", str(characters), str(file), "--out", str(out), "--character", "\n", "--layer", "1"]) == 0
    line = f"{out} shows layer 1 (GRU, 6 units) over 2 steps, with the saliency of the logit of '\\n' at step 1"
    assert capsys.readouterr().out == f"{line}.\n"


def test_the_command_with_numbers(numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, out = tmp_path / "x.npy", tmp_path / "gates.png"
    np.save(x, np.random.default_rng(0).standard_normal((5, 3)))  # float64, of a float32 model
    assert main(["inspect", str(numbers), str(x), "--out", str(out), "--output", "1"]) == 0
    line = f"{out} shows layer 0 (GRU, 4 units) over 5 steps, with the saliency of output 1.\n"
    assert capsys.readouterr().out == line
    assert out.read_bytes().startswith(WRITTEN)
    embedding = tmp_path / "embedding"
    gn.save(nn.Sequential(nn.Embedding(9, 3, seed=1), nn.GRU(3, 4, seed=1)), embedding)
    np.save(x, np.arange(5))
    assert main(["inspect", str(embedding), str(x), "--out", str(out), "--output", "-2", "0"]) == 0
    assert "over 5 steps, with the saliency of output 0 at step 3." in capsys.readouterr().out


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must fail, and return its one line."""
    assert main(["inspect", *map(str, arguments)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    return line.removeprefix("gru-native: error: ")


def test_errors_of_the_command(
    characters: Path, numbers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, stateless = tmp_path / "gates.png", tmp_path / "stateless"
    gn.save(nn.Linear(3, 2), stateless)
    arrays = {
        "good": np.zeros((5, 3)),
        "wide": np.zeros((5, 4)),
        "whole": np.zeros((5, 3), int),
        "deep": np.zeros((5, 1, 3)),
        "none": np.zeros((0, 3)),
        "long": np.zeros((MAX_STEPS + 1, 3)),
        "nan": np.full((5, 3), np.nan),
        "huge": np.full((5, 3), 1e99),
        "words": np.array(["a"]),
    }
    x = {name: tmp_path / f"{name}.npy" for name in arrays}
    for name, array in arrays.items():
        np.save(x[name], array)
    text, empty = tmp_path / "text", tmp_path / "empty"
    text.write_text("abc")
    empty.write_text("")
    cases: list[tuple[list[object], str]] = [
        ([characters, "abx"], "INPUT: the model does not know 'x'"),
        ([characters, ""], "INPUT: expected at least one step, got shape (0,)"),
        ([characters, empty], "INPUT: expected at least one step, got shape (0,)"),
        ([characters, "a" * (MAX_STEPS + 1)], "INPUT: too long: 2,201 steps; a picture has room for 2,200"),
        ([characters, "ab", "--character", "ab"], "--character: expected one character that the model knows, got 'ab'"),
        ([characters, "ab", "--character", "x"], "--character: expected one character that the model knows, got 'x'"),
        ([characters, "ab", "--layer", 2], "--layer: expected a whole number from 0 to 1, got 2"),
        ([characters, "ab", "--output", 2, 0], "--output: step: expected a whole number from -2 to 1, got 2"),
        ([characters, "ab", "--output", 5], "--output: index: expected a whole number from -5 to 4, got 5"),
        ([characters, "ab", "--output", 0, 0, 0], "--output: expected STEP INDEX or INDEX, got 3 numbers"),
        ([numbers, x["wide"]], "INPUT: expected a last axis of input_size = 3, got shape (5, 4)"),
        ([numbers, x["whole"]], "INPUT: expected dtype float32, got int64"),
        ([numbers, x["deep"]], "INPUT: expected one sequence (T, I), got shape (5, 1, 3)"),
        ([numbers, x["none"]], "INPUT: expected at least one step, got shape (0, 3)"),
        ([numbers, x["long"]], "INPUT: too long: 2,201 steps; a picture has room for 2,200"),
        ([numbers, x["nan"]], f"{x['nan']}: holds numbers that are not finite in float32"),
        ([numbers, x["huge"]], f"{x['huge']}: holds numbers that are not finite in float32"),
        ([numbers, x["words"]], f"{x['words']}: not a .npy file of numbers"),
        ([numbers, text], f"{text}: not a .npy file of numbers: "),
        ([numbers, empty], f"{empty}: not a .npy file of numbers: "),
        ([numbers, "abc"], "abc: No such file or directory"),
        ([numbers, x["good"], "--character", "a"], "--character: belongs to a model of characters"),
        (
            [numbers, x["good"], "--output", 0, 0],
            "--output: step: expected None, because the model's output has no steps, got 0",
        ),
        ([stateless, x["good"]], "model: expected a GRU, LSTM or RNN in it, got Linear"),
        ([text, x["good"]], f"{text}: not a safetensors file, or a damaged one: "),
    ]
    for arguments, message in cases:
        assert error_of(capsys, *arguments, "--out", out).startswith(message)
    assert not out.exists()
    missing = tmp_path / "no" / "gates.png"
    assert error_of(capsys, characters, "ab", "--out", missing).startswith(f"{missing}: cannot be written: ")


def test_without_matplotlib(
    characters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gru_native.cli.inspect.find_spec", lambda name: None)
    message = error_of(capsys, characters, "ab", "--out", tmp_path / "gates.png")
    assert message == "--out: needs matplotlib (pip install matplotlib)"
