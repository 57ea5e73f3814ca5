"""What some settings do to the validation loss, in a picture. matplotlib is imported when it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from gru_native.io import atomic_write
from gru_native.tables.trials import Trial, shown_value

DECADES = 10  # from the least to the most, from which on an axis is logarithmic


def draw_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Draw a panel for each setting that differs: the loss of each training, and the mean of those with one value."""
    from matplotlib.figure import Figure  # without pyplot there is no display

    varied = [name for name in trials[0].changes if name != "seed"]
    names = [name for name in varied if len({shown_value(trial.changes[name]) for trial in trials}) > 1]
    known = [trial for trial in trials if trial.loss is not None]
    names = names or varied[:1]
    figure = Figure(figsize=(max(6.0, 4.2 * len(names)), 4), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _panel(axes, name, known)
    panels[0].set_ylabel("validation loss, best epoch")
    losses = [trial.loss for trial in known if trial.loss is not None]
    if losses and min(losses) > 0 and max(losses) > DECADES * min(losses):
        panels[0].set_yscale("log")
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=120)


def _panel(axes: Any, name: str, trials: Sequence[Trial]) -> None:
    values = [_plain(trial.changes[name]) for trial in trials]
    losses = [trial.loss for trial in trials if trial.loss is not None]
    distinct = list(dict.fromkeys(values))
    numbers = all(type(value) in (int, float) for value in values)
    places: list[float] = values
    if numbers and len(distinct) == len(values):
        if distinct and min(distinct) > 0 and max(distinct) > DECADES * min(distinct):
            axes.set_xscale("log")
    else:
        ticks = sorted(distinct) if numbers else distinct
        places = [ticks.index(value) for value in values]
        axes.set_xticks(range(len(ticks)), map(shown_value, ticks))
        axes.margins(x=0.2)
    axes.plot(places, losses, "o", color="#2e86ab", alpha=0.6, markersize=5)
    together = {place: [own for at, own in zip(places, losses, strict=True) if at == place] for place in set(places)}
    if len(together) < len(places):
        ordered = sorted(together)
        axes.plot(ordered, [mean(together[place]) for place in ordered], color="#2e86ab", linewidth=1.2, label="mean")
    if losses:
        best = losses.index(min(losses))
        axes.plot(places[best], losses[best], "o", color="#e4572e", markersize=8, label="best")
        axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    axes.set_xlabel(name)
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _plain(value: Any) -> Any:
    """Return a single number for a list of one."""
    return value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
