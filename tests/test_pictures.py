"""What pictures show: their axes, marks and texts, and that nothing of them lies outside."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gru_native import nn
from gru_native.heatmaps import DECADES, MAX_GUESSES, MAX_UNITS, draw, most_active
from gru_native.inspection import Inspection, inspect
from gru_native.study.plan import Plan
from gru_native.study.plot import draw as draw_study
from gru_native.study.table import Result
from gru_native.train import Record, plot_history

figure_module = pytest.importorskip("matplotlib.figure")
FigureCanvasAgg = pytest.importorskip("matplotlib.backends.backend_agg").FigureCanvasAgg
VOCABULARY = "abcdefgh"
STEPS = 12


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The figures that are saved, each checked for what lies outside."""
    saved: list[Any] = []
    save = figure_module.Figure.savefig

    def savefig(figure: Any, *arguments: Any, **keywords: Any) -> None:
        canvas = FigureCanvasAgg(figure)
        save(figure, *arguments, **keywords)
        width, height = figure.get_size_inches()
        found = figure.get_tightbbox(canvas.get_renderer())
        assert found.x0 >= -0.01
        assert found.y0 >= -0.01
        assert found.x1 <= width + 0.01
        assert found.y1 <= height + 0.01
        saved.append(figure)

    monkeypatch.setattr(figure_module.Figure, "savefig", savefig)
    return saved


def panel(figure: Any, title: str) -> Any:
    (found,) = (axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))
    return found


# ---- Inspections ----


@pytest.fixture
def inspection() -> Inspection:
    model = nn.Sequential(nn.Embedding(8, 6, seed=0), nn.GRU(6, 40, seed=1), nn.Linear(40, 8, seed=2))
    return inspect(model, np.arange(STEPS) % 8, step=8)


def test_the_most_active_units() -> None:
    t = np.arange(40.0)
    h = np.stack([np.ones(40), np.sin(t), 0.1 * np.sin(t), 2 * np.sin(t)], axis=1)
    np.testing.assert_array_equal(most_active(h, 2), [1, 3])
    np.testing.assert_array_equal(most_active(h, 9), [0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"h: expected shape \(T, H\), got \(40,\)"):
        most_active(t, 2)


def test_maps_show_the_most_active_units(inspection: Inspection, figures: list[Any], tmp_path: Path) -> None:
    draw(inspection, tmp_path / "picture")
    h = inspection.states["h"]
    shown = panel(figures[0], "state h").images[0].get_array()
    assert shown.shape == (MAX_UNITS, STEPS)
    chosen = most_active(h, MAX_UNITS)
    np.testing.assert_array_equal(np.sort(shown[:, 0]), np.sort(h[0, chosen]))
    places = [int(np.flatnonzero((row == h.T).all(axis=1))[0]) for row in shown]
    for name, title in (("r", "reset gate"), ("z", "update gate"), ("n", "candidate")):
        np.testing.assert_array_equal(
            panel(figures[0], title).images[0].get_array(), inspection.gates[name].T[places], name
        )
    assert panel(figures[0], "state h").get_ylabel() == "32 of 40 units"


def test_the_saliency_is_logarithmic(inspection: Inspection, figures: list[Any], tmp_path: Path) -> None:
    wide = replace(inspection, gradient=np.geomspace(1, 1e-20, STEPS)[:, None] * [[0, 1]])
    none = replace(inspection, gradient=np.zeros((STEPS, 2)))
    for each in (inspection, wide, none):
        draw(each, tmp_path / "picture")
    narrow, cut, empty = (panel(figure, "saliency") for figure in figures)
    assert [axes.get_yscale() for axes in (narrow, cut, empty)] == ["log", "log", "linear"]
    saliency = inspection.saliency
    assert not saliency[-1]  # which is after the output
    assert narrow.get_ylim()[0] < saliency[saliency > 0].min()
    assert narrow.get_ylim()[1] > saliency.max()
    assert cut.get_ylim()[0] == pytest.approx(10.0**-DECADES)


def test_what_is_expected_next(inspection: Inspection, figures: list[Any], tmp_path: Path) -> None:
    draw(inspection, tmp_path / "picture", classes=[*VOCABULARY])
    axes = panel(figures[0], "what is expected")
    odds = np.exp(inspection.outputs.astype(np.float64))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    expected = np.sort(probabilities, axis=1)[:, ::-1][:, :MAX_GUESSES]
    np.testing.assert_allclose(axes.images[0].get_array().T, expected, rtol=1e-5)
    first = [text.get_text() for text in axes.texts if text.get_position()[1] == 0]
    assert "".join(first) == "".join(VOCABULARY[place] for place in inspection.outputs.argmax(axis=1))
    draw(inspection, tmp_path / "picture", classes=["a name that has no room at all, whatever"] * 8)
    assert not panel(figures[1], "what is expected").texts
    with pytest.raises(ValueError, match="classes: expected one for each of 8 outputs, got 2"):
        draw(inspection, tmp_path / "picture", classes=["a", "b"])
    pooled = inspect(nn.Sequential(nn.GRU(3, 4, seed=1), nn.LastPooling()), np.zeros((5, 3), np.float32))
    with pytest.raises(ValueError, match="classes: expected None, because the model's output has no steps"):
        draw(pooled, tmp_path / "picture", classes=["a"] * 4)


# ---- Curves ----


def history(losses: Any, rates: Any = None, validation: Any = None) -> list[Record]:
    rates = np.full(len(losses), 0.1) if rates is None else rates
    return [
        Record(
            step,
            0,
            float(loss),
            3,
            float(rate),
            None,
            validation=None if validation is None else {"loss": float(loss), "error": float(validation[step - 1])},
            best=validation is not None,
        )
        for step, (loss, rate) in enumerate(zip(losses, rates, strict=True), 1)
    ]


def test_scales_of_curves(figures: list[Any], tmp_path: Path) -> None:
    steps = np.linspace(0, 1, 200)
    wide, narrow, cosine = np.geomspace(1, 1e-5, 200), np.linspace(4, 1, 200), 1 + np.cos(np.pi * steps)
    plateau = np.concatenate([np.full(190, 5.0), np.full(10, 1e-3)])  # of most of which a log scale shows less
    signs = np.concatenate([wide, [-1.0]])
    for losses, rates, scales in (
        (wide, cosine + 1e-9, ["log", "linear"]),
        (narrow, wide[::-1], ["linear", "log"]),
        (plateau, None, ["linear", "linear"]),
        (signs, None, ["linear", "linear"]),
        (np.zeros(5), None, ["linear", "linear"]),
    ):
        plot_history(history(losses, rates), tmp_path / "curves.png")
        assert [axes.get_yscale() for axes in figures[-1].axes] == scales
    plot_history(history(narrow, None, wide), tmp_path / "curves.png")
    assert [axes.get_yscale() for axes in figures[-1].axes] == ["linear", "log", "linear"]


def test_no_label_leaves_the_axes(figures: list[Any], tmp_path: Path) -> None:
    plot_history(history([3.0, 2.0, 1.5], None, [1.0, 0.5, 0.2]), tmp_path / "curves.png")
    renderer = figures[0].canvas.get_renderer()
    for axes in figures[0].axes[:2]:
        inside = axes.get_window_extent(renderer)
        legend = axes.get_legend().get_window_extent(renderer)
        assert inside.x0 <= legend.x0 <= legend.x1 <= inside.x1
        assert not axes.texts
    label = figures[0].axes[0].get_legend().get_texts()[-1].get_text()
    assert label == "validation, 1.5 at the best step, 3"


# ---- Studies ----


def result(batch_size: int, window: int, validation: float, peak_mb: float) -> Result:
    curve = [(100 * part, part, validation + 1 / part) for part in (1, 2, 3)]
    return Result(
        batch_size, window, 0, 10, 300, validation, validation, validation, 0.0, 3.0, 100.0, peak_mb, 0.1, curve
    )


def test_a_study_frames_nothing_where_all_are_equal(figures: list[Any], tmp_path: Path) -> None:
    plan = Plan((4, 16), (8, 20), characters=300, seeds=1)
    losses = iter((2.0, 1.5, 2.5, 3.0))
    results = [result(b, w, next(losses), 99.9 + w / 1000) for b in plan.batch_sizes for w in plan.windows]
    draw_study(tmp_path / "study.png", plan, results)
    maps = {axes.get_title().partition("\n")[0]: axes for axes in figures[0].axes if axes.images}
    framed = {title.partition(":")[0].partition(",")[0]: len(axes.patches) for title, axes in maps.items()}
    assert framed == {
        "Validation loss at the end": 1,
        "Generalisation gap": 0,
        "Speed": 0,
        "Peak memory": 0,
    }
    assert maps["Peak memory, MB"].get_title().endswith("\nthe same for all: 100")
    assert math.isclose(maps["Validation loss at the end, bits per character"].patches[0].get_x(), 0.52)
