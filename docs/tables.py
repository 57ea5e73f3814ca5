"""Writes the tables of the pages in this folder: of what `benchmarks/results` keeps.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; `PAGES` has those of each page.
"""

from __future__ import annotations

import csv
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from math import exp, log
from pathlib import Path
from statistics import fmean, geometric_mean
from typing import NamedTuple

from gru_bench import report
from gru_bench.cases import Case
from gru_bench.compare import Comparison, Timing
from gru_bench.limits import Limits
from gru_bench.summary import Row, read
from gru_bench.sweep import ALLOWED
from gru_native.io import atomic_write
from gru_native.study.table import Result, summary

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results"
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewrite(page: str, tables: Mapping[str, Callable[[Path], str]], results: Path) -> str:
    """Return the page with its tables made anew from a folder of results."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}{tables[match[2]](results)}\n{match[3]}"

    return MARKED.sub(table, page)


def _rows(results: Path, machine: str, suite: str) -> list[Row]:
    return [row for row in read(results / f"{machine}.csv") if row.suite == suite]


def compared(results: Path, machine: str, suite: str) -> list[Comparison]:
    """Return what the grid of a machine was in the median."""
    rows, times = _rows(results, machine, suite), {}
    for row in rows:
        if row.what == "time":
            times.setdefault((row.case, row.mode, int(row.threads)), {})[row.engine] = row.number / 1e3
    found = []
    for (case, mode, threads), seconds in times.items():
        least = seconds.pop("limit")
        timings = [Timing(engine, one, one, one, 0.0) for engine, one in seconds.items()]
        found.append(Comparison(Case.named(case), mode, threads, timings, _measured(rows, threads), least))
    return found


def _measured(rows: Iterable[Row], threads: int) -> Limits:
    """Return what a machine's limits were in the median, without the capacities."""
    own = [row for row in rows if row.threads == str(threads)]
    (peak,) = (row.number for row in own if row.what == "product")
    return Limits(threads, 1e9 * peak, {row.case: 1e9 * row.number for row in own if row.what == "read"}, {})


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine(results: Path, machine: str, suite: str) -> str:
    (row,) = (row for row in _rows(results, machine, suite) if row.what == "machine")
    return textwrap.fill(row.value, width=100, break_long_words=False, break_on_hyphens=False)


def _limits(results: Path, machine: str, suite: str) -> str:
    found = {one.threads: one.limits for one in compared(results, machine, suite)}
    rows = [
        [str(threads), f"{limits.peak / 1e9:.0f}", *(f"{b / 1e9:.0f}" for b in limits.bandwidth.values())]
        for threads, limits in found.items()
    ]
    reads = [f"{level}, GB/s" for limits in found.values() for level in limits.bandwidth]
    return _markdown(["threads", "product, GFLOP/s", *dict.fromkeys(reads)], rows)


def _grid(results: Path, machine: str, suite: str, mode: str) -> str:
    comparisons = [comparison for comparison in compared(results, machine, suite) if comparison.mode == mode]
    threads = list(dict.fromkeys(comparison.threads for comparison in comparisons))
    found = {(comparison.case, comparison.threads): comparison for comparison in comparisons}
    rows = []
    for case in dict.fromkeys(comparison.case for comparison in comparisons):
        row = [case.name]
        for count in threads:
            comparison = found[case, count]
            best = comparison.best_other
            other = [f"{1e3 * best.seconds:.3g} {best.peer}", f"{comparison.ratio:.2f}"] if best else ["", ""]
            row += [f"{1e3 * comparison.seconds:.3g}", f"{comparison.fraction:.0%}", *other]
        rows.append(row)
    columns = [f"{what} ({count})" for count in threads for what in ("ms", "of the limit", "best other, ms", "ratio")]
    return _markdown(["T,B,I,H,L", *columns], rows)


def _groups(results: Path, machine: str, suite: str) -> str:
    rows = [
        [
            group.mode,
            str(group.threads),
            group.batches,
            str(group.members),
            f"{group.ratio:.2f}",
            f"{group.least_ratio.ratio:.2f} ({group.least_ratio.case.name})",
            f"{group.least_fraction.fraction:.0%} ({group.least_fraction.case.name})",
        ]
        for group in report.groups(compared(results, machine, suite))
    ]
    header = ["mode", "threads", "batch", "shapes", "ratio, geometric mean", "least ratio", "least share of the limit"]
    return _markdown(header, rows)


# Whose results there are, by the names of their files.
MACHINES = {"zen4": "Zen 4", "zen3": "Zen 3", "xeon": "Xeon"}
# A call that takes so long is the kernels' time, and little else.
LARGE_SECONDS = 200e-6


def _at_limit(results: Path) -> str:
    """Return what the ratios of large shapes are, and what they would be at the limit, on every machine."""
    found: dict[tuple[str, int, str], list[str]] = {}
    for machine in MACHINES:
        large = [one for one in compared(results, machine, "grid") if one.seconds >= LARGE_SECONDS]
        for group in report.groups(large):
            figures = [str(group.members), f"{group.ratio:.2f}", f"{group.ratio_at_limit:.2f}"]
            found.setdefault((group.mode, group.threads, group.batches), []).extend(figures)
    order = sorted(found, key=lambda group: group[:2])
    rows = [[mode, str(threads), batches, *found[mode, threads, batches]] for mode, threads, batches in order]
    columns = [f"{what} ({machine})" for machine in MACHINES.values() for what in ("shapes", "ratio", "at the limit")]
    return _markdown(["mode", "threads", "batch", *columns], rows)


# The time of oneDNN's own primitive, called from C++ for forward and backward, as a share of PyTorch's training step:
# both measured on another machine of this kind, with two threads.
ONEDNN = {
    "100,1,16,16,1": 0.049,
    "100,1,64,64,1": 0.080,
    "100,1,128,128,1": 0.15,
    "100,1,256,256,1": 0.33,
    "100,1,512,512,1": 0.50,
    "100,1,1024,1024,1": 0.51,
    "100,8,128,128,1": 0.27,
    "100,8,512,512,1": 0.63,
    "100,32,64,64,1": 0.25,
    "100,32,128,128,1": 0.38,
    "100,32,256,256,1": 0.48,
    "100,32,512,512,1": 0.61,
    "50,32,1024,1024,1": 0.69,
    "100,64,256,256,2": 0.58,
    "100,128,256,256,1": 0.57,
    "50,256,512,512,1": 0.55,
}


def _onednn(results: Path) -> str:
    rows = []
    for comparison in compared(results, "xeon", "grid"):
        name = comparison.case.name
        if (comparison.mode, comparison.threads) != ("train", 2) or name not in ONEDNN:
            continue
        torch = next(timing.seconds for timing in comparison.timings if timing.peer == "torch")
        theirs = ONEDNN[name] * torch
        figures = [f"{1e3 * comparison.seconds:.3g}", f"{1e3 * torch:.3g}", f"{ONEDNN[name]:g}", f"{1e3 * theirs:.3g}"]
        rows.append([name, *figures, f"{theirs / comparison.seconds:.2f}"])
    header = ["T,B,I,H,L", "ms", "torch, ms", "oneDNN's share of it", "so oneDNN, ms", "ratio"]
    return _markdown(header, rows)


def _cliffs(results: Path, machine: str, suite: str) -> str:
    found = _rows(results, machine, suite)
    (steps,) = (row.value for row in found if row.what == "steps")
    over = [row.number for row in found if row.what.startswith("over ")]
    most = f" At most it was {max(over):.2f} times." if over else ""
    text = f"{len(over)} of {steps} times a shape took more than {ALLOWED:g} times what the next larger one took."
    return textwrap.fill(text + most, width=100)


def _figures(results: Path, machine: str, suite: str) -> str:
    """Return a suite's figures, a column for each engine."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in _rows(results, machine, suite):
        if row.unit:
            found.setdefault((row.what, row.threads, row.case), {})[row.engine] = f"{row.number:.4g} {row.unit}"
    engines = dict.fromkeys(engine for figures in found.values() for engine in figures)
    rows = [[*names, *(figures.get(engine, "") for engine in engines)] for names, figures in found.items()]
    return _markdown(["what", "threads", "T,B,I,H,L", *engines], rows)


def _beside(results: Path, machine: str, suite: str) -> str:
    """Return the times of this package and PyTorch side by side."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in _rows(results, machine, suite):
        if row.unit:
            found.setdefault((row.case, row.threads, row.what), {})[row.engine] = row.number
    rows = []
    for (case, threads, what), values in found.items():
        own, torch = values["gru_native"], values.get("torch")
        other = ["", ""] if torch is None else [f"{torch:.3g}", f"{torch / own:.2f}"]
        rows.append([case, threads, what, f"{own:.3g}", *other])
    return _markdown(["T,B,I,H,L", "threads", "what", "ms", "torch, ms", "ratio"], rows)


# What a machine's tables are made of: a function, and the suite that it reads.
OF_A_MACHINE: dict[str, tuple[Callable[..., str], str]] = {
    "machine": (_machine, "grid"),
    "limits": (_limits, "grid"),
    "forward": (partial(_grid, mode="forward"), "grid"),
    "train": (partial(_grid, mode="train"), "grid"),
    "groups": (_groups, "grid"),
    "groups-avx2": (_groups, "grid-avx2"),
    "cliffs": (_cliffs, "sweeps"),
    "growth": (_figures, "growth"),
    "overheads": (_figures, "overheads"),
    "idling": (_figures, "idling"),
    "sequences": (_beside, "sequences"),
    "cells": (_beside, "cells"),
}


def _of_machine(machine: str, suffix: str, tables: Iterable[str]) -> dict[str, Callable[[Path], str]]:
    made = {}
    for table in tables:
        make, suite = OF_A_MACHINE[table]
        made[table + suffix] = partial(make, machine=machine, suite=suite)
    return made


def _sizes(results: Path, mode: str, first: str) -> str:
    """Return what each engine, or the wheel with each BLAS, takes."""
    found: dict[str, dict[str, float]] = {}
    for row in _rows(results, "zen4", "footprint"):
        if row.mode == mode:
            found.setdefault(row.engine, {})[row.what] = row.number
    columns = next(iter(found.values()))
    rows = [
        [f"`{name}`" if first else name, *(f"{value:.3g}" for value in sizes.values())] for name, sizes in found.items()
    ]
    return _markdown([first, *columns], rows)


def _neighbours(results: Path) -> str:
    """Return what calls take alone, and after calls of others in the same process."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in _rows(results, "zen4", "neighbours"):
        if row.unit == "ms":
            found.setdefault((row.what, row.engine), {})[row.mode] = row.number
    rows = [
        [*names, *(f"{times[when]:.3g}" for when in ("alone", "beside")), f"{times['beside'] / times['alone']:.2f}"]
        for names, times in found.items()
    ]
    return _markdown(["what", "after calls of", "alone, ms", "after them, ms", "ratio"], rows)


def _threads(results: Path) -> str:
    """Return calls a second of so many threads of Python, and how many times those of one."""
    found: dict[str, dict[str, float]] = {}
    for row in _rows(results, "zen4", "neighbours"):
        if row.mode == "threads":
            found.setdefault(row.what, {})[row.threads] = row.number
    rows = [
        [what, *(f"{rate:,.0f} ({rate / rates['1']:.2f})" for rate in rates.values())] for what, rates in found.items()
    ]
    return _markdown(["calls a second", *(f"{count} threads" for count in found["forward"])], rows)


# What the page on speed shows of the grid.
SHAPES = (
    "1,1,64,64,1",
    "100,1,64,64,1",
    "100,1,256,256,1",
    "100,8,128,128,1",
    "100,32,64,64,1",
    "100,32,256,256,1",
    "50,32,1024,1024,1",
    "50,256,512,512,1",
)


def over_torch(comparison: Comparison) -> list[float]:
    """Return PyTorch's time over this package's, if PyTorch was there."""
    return [timing.seconds / comparison.seconds for timing in comparison.timings if timing.peer == "torch"]


def _speed(results: Path) -> str:
    """Return how many times as fast as others this package is, over all shapes of the grid."""
    comparisons = compared(results, "zen4", "grid")
    rows = []
    for mode, threads in dict.fromkeys((one.mode, one.threads) for one in comparisons):
        members = [one for one in comparisons if (one.mode, one.threads) == (mode, threads)]
        torch = [ratio for one in members for ratio in over_torch(one)]
        best = [one for one in members if one.best_other]
        figures = [f"{geometric_mean(torch):.2f}", f"{min(torch):.2f}"] if torch else ["", ""]
        least = min(best, key=lambda one: one.ratio, default=None)
        figures += [f"{geometric_mean(one.ratio for one in best):.2f}", f"{least.ratio:.2f}"] if least else ["", ""]
        rows.append([mode, str(threads), str(len(members)), *figures])
    header = ["mode", "threads", "shapes", "over PyTorch, mean", "least", "over the best other, mean", "least"]
    return _markdown(header, rows)


def _shapes(results: Path) -> str:
    """Return the times of a few shapes on two threads, forward and of a training step."""
    found: dict[str, list[str]] = {}
    for one in compared(results, "zen4", "grid"):
        if one.threads == 2 and one.case.name in SHAPES:
            best, torch = one.best_other, over_torch(one)
            figures = [f"{1e3 * one.seconds:.3g}", *(f"{1e3 * one.seconds * ratio:.3g}" for ratio in torch)]
            found.setdefault(one.case.name, []).extend(
                [*figures, f"{1e3 * best.seconds:.3g} {best.peer}" if best else ""]
            )
    columns = [f"{mode}, {whose}" for mode in ("forward", "training") for whose in ("ms", "torch", "best other")]
    return _markdown(["T,B,I,H,L", *columns], [[name, *figures] for name, figures in found.items()])


def _over(results: Path, suite: str) -> str:
    """Return PyTorch's time over this package's on one thread, a column for each shape."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in _rows(results, "zen4", suite):
        if row.threads == "1":
            found.setdefault(row.what, {}).setdefault(row.case, {})[row.engine] = row.number
    rows = [
        [what, *(f"{times['torch'] / times['gru_native']:.2f}" for times in cases.values())]
        for what, cases in found.items()
        if all("torch" in times for times in cases.values())
    ]
    return _markdown(["what", *next(iter(found.values()))], rows)


def _one_thread(results: Path, suite: str, kinds: Sequence[str]) -> str:
    """Return figures of one thread whose names begin so, a column for each engine."""
    engines: dict[str, None] = {}
    found: dict[tuple[str, str], dict[str, str]] = {}
    for row in _rows(results, "zen4", suite):
        if row.threads == "1" and row.what.startswith(tuple(kinds)):
            engines[row.engine] = None
            found.setdefault((row.what, row.case), {})[row.engine] = f"{row.number:.3g} {row.unit}"
    rows = [[*names, *(figures.get(engine, "") for engine in engines)] for names, figures in found.items()]
    return _markdown(["what", "T,B,I,H,L", *engines], rows)


FACTS: dict[str, Callable[[Path], str]] = {
    "machine": partial(_machine, machine="zen4", suite="grid"),
    "speed": _speed,
    "shapes": _shapes,
    "cells": partial(_over, suite="cells"),
    "sequences": partial(_over, suite="sequences"),
    "calls": partial(_one_thread, suite="overheads", kinds=["one call: GRU"]),
    "memory": partial(_one_thread, suite="growth", kinds=["forward, memory", "training step"]),
}
FOOTPRINT: dict[str, Callable[[Path], str]] = {"footprint": partial(_sizes, mode="engines", first="")}
PROCESSES: dict[str, Callable[[Path], str]] = {
    "machine-footprint": partial(_machine, machine="zen4", suite="footprint"),
    "wheels": partial(_sizes, mode="wheels", first="`GRU_NATIVE_BLAS`"),
    "neighbours": _neighbours,
    "threads": _threads,
}
ALL_MACHINES: dict[str, Callable[[Path], str]] = {
    **_of_machine("zen4", "-zen4", OF_A_MACHINE),
    **_of_machine("zen3", "-zen3", (table for table in OF_A_MACHINE if table not in ("groups-avx2", "cliffs"))),
    **_of_machine("xeon", "-xeon", OF_A_MACHINE),
    "at-limit": _at_limit,
    "onednn": _onednn,
}


class Task(NamedTuple):
    """A line of the table of results: a program of benchmarks/tasks, and which of its figures are what."""

    title: str
    metric: str
    name: str
    ours: str
    baseline: str = ""
    published: str = ""
    timed: bool = True  # in this line
    machine: str = "xeon"


TASKS = (
    Task("Bach's next chord", "nats a step", "jsb_chorales", "test_nll", "baseline_last_chord", "published_bai"),
    Task("spoken digits", "accuracy", "spoken_digits", "accuracy", "baseline"),
    Task("the same, of a new speaker", "accuracy", "spoken_digits", "leave_one_speaker_out", timed=False),
    Task(
        "the same, behind a convolution",
        "accuracy",
        "convolved_digits",
        "leave_one_speaker_out",
        timed=False,
    ),
    Task("dates into ISO 8601", "accuracy", "dates", "accuracy", "baseline"),
    Task(
        "strings of digits, of a new speaker",
        "label error",
        "digit_strings",
        "label_error",
        "baseline",
        timed=False,
        machine="zen4",
    ),
    Task(
        "how English words are said",
        "word error",
        "pronunciation",
        "word_error",
        "baseline_word_error",
        "published",
        timed=False,
        machine="zen4",
    ),
    Task("who says a vowel", "accuracy", "japanese_vowels", "accuracy", "baseline"),
    Task("praise or not, film reviews", "accuracy", "sentiment", "accuracy", "baseline"),
    Task("air pollution, 24 hours ahead", "RMSE, µg/m³", "air_pollution", "rmse", "persistence"),
    Task("adding, 600 steps", "squared error", "adding_problem", "loss", "chance", "published"),
    Task("copying, 1,000 steps", "nats a step", "copy_memory", "loss", "memoryless", "published"),
    Task("CartPole without velocities", "return", "recurrent_ppo", "mean_return"),
)


def _tasks(results: Path) -> str:
    """Return what each task reaches beside others, and the time of a stretch of its training in both engines."""
    rows = []
    for task in TASKS:
        figures = {row.what: row.value for row in _rows(results, task.machine, task.name)}
        reached = [figures.get(name, "") for name in (task.ours, task.baseline, task.published)]
        rows.append([task.title, task.metric, *reached, *(_training_times(figures) if task.timed else ("", "", ""))])
    return _markdown(["task", "metric", "ours", "baseline", "published", "seconds", "torch's seconds", "of"], rows)


def _training_times(figures: Mapping[str, str]) -> tuple[str, str, str]:
    """Return seconds here, those of PyTorch, and what took them."""
    if "epoch_s" in figures:
        return *(f"{float(figures[name]):#.3g}" for name in ("epoch_s", "torch_epoch_s")), "an epoch"
    if "step_ms" in figures:
        return *(f"{float(figures[name]) / 10:#.3g}" for name in ("step_ms", "torch_step_ms")), "100 updates"
    return figures["seconds"], "", "the training"


TASK_RESULTS: dict[str, Callable[[Path], str]] = {"tasks": _tasks}


def _study(results: Path) -> str:
    """Return the table that the command prints: its columns are two spaces or more apart."""
    with open(results / "study.csv", newline="") as file:
        rows = [{name: json.loads(value) for name, value in row.items()} for row in csv.DictReader(file)]
    header, *lines = (re.split(" {2,}", line.strip()) for line in summary([Result(**row, curve=()) for row in rows]))
    return _markdown(header, lines)


STUDY: dict[str, Callable[[Path], str]] = {"study": _study}


def _programs(results: Path, machine: str) -> str:
    """Return the times of other people's programs, of the whole and of their recurrent modules."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for row in _rows(results, machine, "programs"):
        if row.unit == "s":
            found.setdefault((row.what, row.mode, row.case, row.threads), {})[row.engine] = row.number
    rows = []
    for names, seconds in found.items():
        torch, own, torch_inside, own_inside, least = seconds.values()
        whole = [f"{torch:.3g}", f"{own:.3g}", f"{torch / own:.2f}", f"{torch / (own - own_inside + least):.2f}"]
        rows.append([*names, *whole, f"{torch_inside / torch:.0%}", f"{torch_inside / own_inside:.2f}"])
    whole = ["torch, s", "ours, s", "ratio", "at BLAS' peak"]
    return _markdown(["program", "what", "layers", "threads", *whole, "recurrent share", "its ratio"], rows)


def _ratios(results: Path) -> dict[tuple[str, str, str], dict[str, float]]:
    """Return PyTorch's time over ours, by cell, mode and threads, and by shape."""
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in _rows(results, "zen4", "layers"):
        if row.case:
            found.setdefault((row.what, row.mode, row.threads), {})[row.case] = row.number
    return found


def _layers(results: Path) -> str:
    rows = []
    for names, ratios in _ratios(results).items():
        least = min(ratios, key=lambda name: ratios[name])
        figures = [str(len(ratios)), f"{exp(fmean(map(log, ratios.values()))):.2f}", f"{ratios[least]:.2f} ({least})"]
        rows.append([*names, *figures, str(sum(ratio < 0.95 for ratio in ratios.values()))])
    header = ["cell", "mode", "threads", "shapes", "ratio, geometric mean", "least ratio", "below 0.95"]
    return _markdown(header, rows)


def _tuning(results: Path) -> str:
    """Return what a grid search takes with each side, and how well its settings do."""
    found = {(row.engine, row.what): row.number for row in _rows(results, "zen4", "tuning") if row.engine}
    names = {"skorch": "skorch, PyTorch", "native": "`GRUClassifier`"}
    rows = [
        [name, f"{found[side, 'seconds']:.1f}", f"{found[side, 'best']:.3f}", f"{found[side, 'mean']:.3f}"]
        for side, name in names.items()
    ]
    rows.append(["ratio", f"{found['skorch', 'seconds'] / found['native', 'seconds']:.2f}", "", ""])
    return _markdown(["", "seconds", "best accuracy", "mean accuracy"], rows)


def _of_cell(results: Path, cell: str) -> str:
    columns = {f"{mode} ({threads})": own for (name, mode, threads), own in _ratios(results).items() if name == cell}
    shapes = next(iter(columns.values()))
    rows = [[shape, *(f"{column[shape]:.2f}" for column in columns.values())] for shape in shapes]
    return _markdown(["T,B,I,H,L", *columns], rows)


def _streams(results: Path, pools: bool) -> str:
    """Return what steps of live sequences take on one thread, or how many a pool takes a second; each at the limit."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for row in _rows(results, "xeon", "streams"):
        if row.unit and (row.unit == "steps") == pools and (pools or row.threads == "1"):
            case = Case.named(row.case)
            sizes = (str(case.hidden_size), str(case.batch), row.threads)[: 3 if pools else 1]
            at_limit = row.what in ("reading its weights", "the machine's limit, a second")
            name = "limit" if at_limit else row.engine
            found.setdefault(sizes, {})[name] = row.number
    engines = ["gru_native", "onnxruntime", "torch"]
    columns, form = [*engines, "limit"], "{:,.0f}" if pools else "{:.3g}"
    rows = [
        [*sizes, *(form.format(values[name]) if name in values else "" for name in columns)]
        for sizes, values in found.items()
    ]
    if pools:
        return _markdown(["I = H", "rows", "threads", *engines, "the machine's limit"], rows)
    return _markdown(["I = H", *(f"{name}, µs" for name in engines), "reading the weights, µs"], rows)


STREAMS: dict[str, Callable[[Path], str]] = {
    "machine-streams": partial(_machine, machine="xeon", suite="streams"),
    "streams": partial(_streams, pools=False),
    "pools": partial(_streams, pools=True),
}

PROGRAMS: dict[str, Callable[[Path], str]] = {
    **{f"machine-programs-{name}": partial(_machine, machine=name, suite="programs") for name in ("zen4", "xeon")},
    **{f"programs-{name}": partial(_programs, machine=name) for name in ("zen4", "xeon")},
    "machine-layers": partial(_machine, machine="zen4", suite="layers"),
    "layers": _layers,
    "lstm": partial(_of_cell, cell="LSTM"),
    "gru": partial(_of_cell, cell="GRU"),
}

TUNING: dict[str, Callable[[Path], str]] = {
    "machine-tuning": partial(_machine, machine="zen4", suite="tuning"),
    "tuning": _tuning,
}


def _ranks(results: Path) -> str:
    """Return what two ranks make of two cores, by the size of the model."""
    found: dict[str, dict[str, float]] = {}
    for row in _rows(results, "zen4", "ranks"):
        if row.case:
            found.setdefault(row.case, {})[row.what] = row.number
    columns = ("whole", "one rank", "two ranks", "sum")
    rows = [
        [case, f"{own['megabytes']:.3g}", *(f"{own[name]:.3g}" for name in columns), f"{own['efficiency']:.2f}"]
        for case, own in found.items()
    ]
    names = ["whole, ms", "one rank, ms", "two ranks, ms", "sum of gradients, ms", "efficiency"]
    return _markdown(["T,B,I,H,L", "gradients, MB", *names], rows)


RANKS: dict[str, Callable[[Path], str]] = {
    "machine-ranks": partial(_machine, machine="zen4", suite="ranks"),
    "ranks": _ranks,
}

# What the load test compares, as the page names it.
SERVICES = {
    "native": "`gru-native serve`",
    "onnxruntime": "ONNX Runtime, a call a step",
    "echo": "an echo",
    "asgi-echo": "an echo in plain ASGI",
}


LATENCIES = {"p50_ms": "p50, ms", "p99_ms": "p99, ms", "p99.9_ms": "p99.9, ms"}


def _services(results: Path, rate: str) -> dict[str, dict[str, dict[str, float]]]:
    """Return the figures of services by the units, at so many steps a second, or with 0 at all that they can do."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in _rows(results, "xeon", "load"):
        if row.mode == rate:
            found.setdefault(row.case, {}).setdefault(row.engine, {})[row.what] = row.number
    return found


def _load(results: Path) -> str:
    """Return what services do that are as busy as they can be, and how much more CPU time than an echo they take."""
    rows = []
    for hidden, services in _services(results, "0").items():
        above = {name: own["cpu_us_per_step"] - services["echo"]["cpu_us_per_step"] for name, own in services.items()}
        for name, title in SERVICES.items():
            own = services[name]
            times = f"{above[name] / above['native']:.1f}" if name == "onnxruntime" else ""
            figures = [f"{own['steps_per_second']:,.0f}", *(f"{own[share]:.3g}" for share in LATENCIES)]
            figures += [f"{own['memory_mb']:.0f}", f"{own['cpu_us_per_step']:.1f}"]
            rows.append([hidden, title, *figures, "" if name == "echo" else f"{above[name]:.1f}", times])
    return _markdown(
        ["H", "", "steps/s", *LATENCIES.values(), "MB", "CPU, µs a step", "above the echo", "times ours"], rows
    )


def _light_load(results: Path) -> str:
    """Return how long steps take that come now and then."""
    rows = [
        [hidden, title, *(f"{services[name][share]:.3g}" for share in LATENCIES)]
        for hidden, services in _services(results, "500").items()
        for name, title in SERVICES.items()
    ]
    return _markdown(["H", "", *LATENCIES.values()], rows)


LOAD: dict[str, Callable[[Path], str]] = {
    "machine-load": partial(_machine, machine="xeon", suite="load"),
    "load": _load,
    "light-load": _light_load,
}

PAGES = {
    HERE / "performance.md": FACTS | FOOTPRINT,
    HERE / "machines.md": ALL_MACHINES | PROCESSES,
    HERE / "programs.md": PROGRAMS | TUNING,
    HERE / "cluster.md": RANKS,
    HERE / "serve.md": LOAD,
    HERE / "streams.md": STREAMS,
    HERE / "results.md": TASK_RESULTS,
    HERE / "study.md": STUDY,
}

if __name__ == "__main__":
    for path, tables in PAGES.items():
        rewritten = rewrite(path.read_text(), tables, RESULTS)
        with atomic_write(path) as file:
            file.write(rewritten.encode())
