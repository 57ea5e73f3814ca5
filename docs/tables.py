"""Writes the tables of the pages in this folder from what benchmarks, examples and a study have left.

A table stands between ``<!-- table: NAME -->`` and ``<!-- end -->``; `PAGES` has the names of each page.
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
from statistics import fmean
from typing import Any

from gru_native.bench import report
from gru_native.bench.cases import Case
from gru_native.bench.compare import Comparison, Timing
from gru_native.bench.limits import Limits, typical
from gru_native.bench.sweep import ALLOWED
from gru_native.io import atomic_write
from gru_native.study.table import Result, summary

HERE = Path(__file__).resolve().parent
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rewrite(page: str, tables: Mapping[str, Callable[[Path], str]], results: Path) -> str:
    """Return the page with its tables made anew from a folder of results."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}{tables[match[2]](results)}\n{match[3]}"

    return MARKED.sub(table, page)


def _read(results: Path, name: str) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((results / f"{name}.json").read_text())
    return figures


def _comparisons(results: Path, name: str) -> list[Comparison]:
    return [
        Comparison(
            Case(**entry["case"]),
            entry["mode"],
            entry["threads"],
            [Timing(**timing) for timing in entry["timings"]],
            Limits(**entry["limits"]),
        )
        for entry in _read(results, name)["comparisons"]
    ]


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _machine(results: Path, name: str) -> str:
    machine = _read(results, name)["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    return textwrap.fill(
        f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['isa']}; {machine['system']}; Python {machine['python']}; "
        f"{packages}; {machine['date'][:10]}.",
        width=100,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _limits(results: Path, name: str) -> str:
    comparisons = _comparisons(results, name)
    rows = []
    for threads in dict.fromkeys(comparison.threads for comparison in comparisons):
        limits = typical([comparison.limits for comparison in comparisons if comparison.threads == threads])
        rows.append([str(threads), f"{limits.peak / 1e9:.0f}", *(f"{b / 1e9:.0f}" for b in limits.bandwidth.values())])
    reads = [f"{name}, GB/s" for name in comparisons[0].limits.bandwidth]
    return _markdown(["threads", "product, GFLOP/s", *reads], rows)


def _grid(results: Path, mode: str, name: str) -> str:
    comparisons = [comparison for comparison in _comparisons(results, name) if comparison.mode == mode]
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


def _groups(results: Path, name: str) -> str:
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
        for group in report.groups(_comparisons(results, name))
    ]
    header = ["mode", "threads", "batch", "shapes", "ratio, geometric mean", "least ratio", "least share of the limit"]
    return _markdown(header, rows)


# Whose results there are, by what the names of their files end in.
MACHINES = {"": "Xeon", "-zen4": "Zen 4", "-zen3": "Zen 3"}
# A call that takes so long is the kernels' time, and little else.
LARGE_SECONDS = 200e-6


def _at_limit(results: Path) -> str:
    """Return what the ratios of large shapes are, and what they would be at the limit, on every machine."""
    found: dict[tuple[str, int, str], list[str]] = {}
    for suffix in MACHINES:
        large = [one for one in _comparisons(results, f"grid{suffix}") if one.seconds >= LARGE_SECONDS]
        for group in report.groups(large):
            figures = [str(group.members), f"{group.ratio:.2f}", f"{group.ratio_at_limit:.2f}"]
            found.setdefault((group.mode, group.threads, group.batches), []).extend(figures)
    order = sorted(found, key=lambda group: group[:2])
    rows = [[mode, str(threads), batches, *found[mode, threads, batches]] for mode, threads, batches in order]
    columns = [f"{what} ({machine})" for machine in MACHINES.values() for what in ("shapes", "ratio", "at the limit")]
    return _markdown(["mode", "threads", "batch", *columns], rows)


def _scaling(results: Path, name: str) -> str:
    rows = [
        [scaling.more.mode, scaling.more.case.name, f"{1e3 * scaling.one.seconds:.3g}", f"{scaling.speedup:.2f}"]
        for scaling in report.scalings(_comparisons(results, name))
        if scaling.worthwhile
    ]
    return _markdown(["mode", "T,B,I,H,L", "one thread, ms", "times as fast with two"], rows)


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
    for comparison in _comparisons(results, "grid"):
        name = comparison.case.name
        if (comparison.mode, comparison.threads) != ("train", 2) or name not in ONEDNN:
            continue
        torch = next(timing.seconds for timing in comparison.timings if timing.peer == "torch")
        theirs = ONEDNN[name] * torch
        figures = [f"{1e3 * comparison.seconds:.3g}", f"{1e3 * torch:.3g}", f"{ONEDNN[name]:g}", f"{1e3 * theirs:.3g}"]
        rows.append([name, *figures, f"{theirs / comparison.seconds:.2f}"])
    header = ["T,B,I,H,L", "ms", "torch, ms", "oneDNN's share of it", "so oneDNN, ms", "ratio"]
    return _markdown(header, rows)


def _cliffs(results: Path, name: str) -> str:
    figures = _read(results, name)
    steps = sum(len(line["sizes"]) - 1 for line in figures["lines"])
    cliffs = sorted(figures["cliffs"], key=lambda step: -step["ratio"])
    rows = [
        [
            cliff["mode"],
            str(cliff["threads"]),
            Case(**cliff["smaller"]).name,
            Case(**cliff["larger"]).name,
            f"{cliff['ratio']:.2f}",
        ]
        for cliff in cliffs
    ]
    text = f"{len(cliffs)} of {steps} times a shape took more than {ALLOWED:g} times what the next larger one took."
    return f"{text}\n\n{_markdown(['mode', 'threads', 'shape', 'next larger', 'ratio'], rows)}" if rows else text


def _figures(results: Path, name: str) -> str:
    rows = [
        [
            figure["what"],
            figure["peer"],
            str(figure["threads"]),
            Case(**figure["case"]).name,
            f"{figure['value']:.4g} {figure['unit']}",
        ]
        for figure in _read(results, name)["figures"]
    ]
    return _markdown(["what", "engine", "threads", "T,B,I,H,L", ""], rows)


def _beside(results: Path, name: str) -> str:
    """Return the times of this package and PyTorch side by side."""
    found: dict[tuple[str, int, str], dict[str, float]] = {}
    for figure in _read(results, name)["figures"]:
        key = Case(**figure["case"]).name, figure["threads"], figure["what"]
        found.setdefault(key, {})[figure["peer"]] = figure["value"]
    rows = []
    for (case, threads, what), values in found.items():
        own, torch = values["gru_native"], values.get("torch")
        other = ["", ""] if torch is None else [f"{torch:.3g}", f"{torch / own:.2f}"]
        rows.append([case, str(threads), what, f"{own:.3g}", *other])
    return _markdown(["T,B,I,H,L", "threads", "what", "ms", "torch, ms", "ratio"], rows)


# What a machine's tables are made of: a function, and the file that it reads.
OF_A_MACHINE: dict[str, tuple[Callable[..., str], str]] = {
    "machine": (_machine, "grid"),
    "limits": (_limits, "grid"),
    "forward": (partial(_grid, mode="forward"), "grid"),
    "train": (partial(_grid, mode="train"), "grid"),
    "groups": (_groups, "grid"),
    "groups-avx2": (_groups, "grid-avx2"),
    "scaling": (_scaling, "grid"),
    "cliffs": (_cliffs, "sweeps"),
    "growth": (_figures, "growth"),
    "overheads": (_figures, "overheads"),
    "idling": (_figures, "idling"),
    "sequences": (_beside, "sequences"),
    "cells": (_beside, "cells"),
}


def _of_machine(suffix: str, tables: Iterable[str]) -> dict[str, Callable[[Path], str]]:
    made = {}
    for table in tables:
        make, file = OF_A_MACHINE[table]
        made[table + suffix] = partial(make, name=file + suffix)
    return made


def _footprint(results: Path) -> str:
    """Return what each engine takes."""
    engines = _read(results, "footprint")["engines"]
    rows = [[name, *(f"{value:.3g}" for value in figures.values())] for name, figures in engines.items()]
    return _markdown(["", *engines["numpy"]], rows)


def _wheels(results: Path) -> str:
    """Return the sizes of the wheel with each BLAS."""
    wheels = _read(results, "footprint")["wheels"]
    rows = [[f"`{blas}`", *(f"{value:.3g}" for value in figures.values())] for blas, figures in wheels.items()]
    return _markdown(["`GRU_NATIVE_BLAS`", *wheels["none"]], rows)


def _neighbours(results: Path) -> str:
    """Return what calls take alone, and after calls of others in the same process."""
    rows = [
        [
            entry["what"],
            entry["after"],
            *(f"{entry[when]:.3g}" for when in ("alone", "beside")),
            f"{entry['beside'] / entry['alone']:.2f}",
        ]
        for entry in _read(results, "neighbours")["beside"]
    ]
    return _markdown(["what", "after calls of", "alone, ms", "after them, ms", "ratio"], rows)


def _threads(results: Path) -> str:
    """Return calls a second of so many threads of Python, and how many times those of one."""
    threads = _read(results, "neighbours")["threads"]
    rows = [
        [what, *(f"{rate:,.0f} ({rate / rates['1']:.2f})" for rate in rates.values())]
        for what, rates in threads.items()
    ]
    return _markdown(["calls a second", *(f"{count} threads" for count in threads["forward"])], rows)


PROCESSES: dict[str, Callable[[Path], str]] = {
    "machine-footprint": partial(_machine, name="footprint"),
    "footprint": _footprint,
    "wheels": _wheels,
    "neighbours": _neighbours,
    "threads": _threads,
}
TABLES: dict[str, Callable[[Path], str]] = {
    **_of_machine("", OF_A_MACHINE),
    "at-limit": _at_limit,
    "onednn": _onednn,
}
OTHER_MACHINES = {
    **_of_machine("-zen4", OF_A_MACHINE),
    **_of_machine("-zen3", (table for table in OF_A_MACHINE if table not in ("groups-avx2", "cliffs"))),
}


def _example(results: Path, name: str) -> str:
    figures = _read(results, name)["figures"]
    return _markdown(["figure", ""], [[figure, str(value)] for figure, value in figures.items()])


EXAMPLES: dict[str, Callable[[Path], str]] = {
    name: partial(_example, name=name)
    for name in (
        "jsb_chorales",
        "spoken_digits",
        "japanese_vowels",
        "sentiment",
        "air_pollution",
        "adding_problem",
        "copy_memory",
        "recurrent_ppo",
    )
}


def _study(results: Path) -> str:
    """Return the table that the command prints: its columns are two spaces or more apart."""
    with open(results / "study.csv", newline="") as file:
        rows = [{name: json.loads(value) for name, value in row.items()} for row in csv.DictReader(file)]
    header, *lines = (re.split(" {2,}", line.strip()) for line in summary([Result(**row, curve=()) for row in rows]))
    return _markdown(header, lines)


STUDY: dict[str, Callable[[Path], str]] = {"study": _study}


def _programs(results: Path) -> str:
    """Return the times of other people's programs, of the whole and of their recurrent modules."""
    rows = []
    for entry in _read(results, "programs")["programs"]:
        whole, inside = (
            [
                f"{entry['torch' + of]:.3g}",
                f"{entry['native' + of]:.3g}",
                f"{entry['torch' + of] / entry['native' + of]:.2f}",
            ]
            for of in ("", "_inside")
        )
        share = f"{entry['torch_inside'] / entry['torch']:.0%}"
        least = entry["native"] - entry["native_inside"] + entry["operations"] / entry["peak"]
        whole.append(f"{entry['torch'] / least:.2f}")
        rows.append([entry["title"], entry["mode"], entry["shapes"], str(entry["threads"]), *whole, share, inside[-1]])
    whole = ["torch, s", "ours, s", "ratio", "at BLAS' peak"]
    return _markdown(["program", "what", "layers", "threads", *whole, "recurrent share", "its ratio"], rows)


def _layers(results: Path) -> str:
    rows = []
    for layer in _read(results, "layers")["layers"]:
        ratios = _ratios(layer)
        least = min(ratios, key=lambda name: ratios[name])
        figures = [str(len(ratios)), f"{exp(fmean(map(log, ratios.values()))):.2f}", f"{ratios[least]:.2f} ({least})"]
        below = sum(ratio < 0.95 for ratio in ratios.values())
        rows.append([layer["cell"], layer["mode"], str(layer["threads"]), *figures, str(below)])
    header = ["cell", "mode", "threads", "shapes", "ratio, geometric mean", "least ratio", "below 0.95"]
    return _markdown(header, rows)


def _of_cell(results: Path, cell: str) -> str:
    layers = [layer for layer in _read(results, "layers")["layers"] if layer["cell"] == cell]
    columns = [_ratios(layer) for layer in layers]
    rows = [[name, *(f"{column[name]:.2f}" for column in columns)] for name in columns[0]]
    return _markdown(["T,B,I,H,L", *(f"{layer['mode']} ({layer['threads']})" for layer in layers)], rows)


def _ratios(layer: dict[str, Any]) -> dict[str, float]:
    """Return PyTorch's time over ours, by shape."""
    return {name: theirs / ours for name, (theirs, ours) in layer["ms"].items()}


def _streams(results: Path, pools: bool) -> str:
    """Return what steps of live sequences take on one thread, or how many a pool takes a second."""
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for figure in _read(results, "streams")["figures"]:
        case, threads = Case(**figure["case"]), figure["threads"]
        if (figure["unit"] == "steps") == pools and (pools or threads == 1):
            sizes = (str(case.hidden_size), str(case.batch), str(threads))[: 3 if pools else 1]
            name = "reading" if figure["what"] == "reading its weights" else figure["peer"]
            found.setdefault(sizes, {})[name] = figure["value"]
    engines = ["gru_native", "onnxruntime", "torch"]
    columns, form = (engines, "{:,.0f}") if pools else ([*engines, "reading"], "{:.3g}")
    rows = [
        [*sizes, *(form.format(values[name]) if name in values else "" for name in columns)]
        for sizes, values in found.items()
    ]
    if pools:
        return _markdown(["I = H", "rows", "threads", *engines], rows)
    return _markdown(["I = H", *(f"{name}, µs" for name in engines), "reading the weights, µs"], rows)


STREAMS: dict[str, Callable[[Path], str]] = {
    "machine-streams": partial(_machine, name="streams"),
    "streams": partial(_streams, pools=False),
    "pools": partial(_streams, pools=True),
}

PROGRAMS: dict[str, Callable[[Path], str]] = {
    "machine-programs": partial(_machine, name="programs"),
    "programs": _programs,
    "machine-layers": partial(_machine, name="layers"),
    "layers": _layers,
    "lstm": partial(_of_cell, cell="LSTM"),
    "gru": partial(_of_cell, cell="GRU"),
}

PAGES = {
    HERE / "performance.md": (PROCESSES | TABLES, HERE.parent / "benchmarks" / "results"),
    HERE / "machines.md": (OTHER_MACHINES, HERE.parent / "benchmarks" / "results"),
    HERE / "programs.md": (PROGRAMS, HERE.parent / "benchmarks" / "results"),
    HERE / "streams.md": (STREAMS, HERE.parent / "benchmarks" / "results"),
    HERE / "results.md": (EXAMPLES, HERE.parent / "examples" / "results"),
    HERE / "study.md": (STUDY, HERE.parent / "examples" / "results"),
}

if __name__ == "__main__":
    for path, (tables, results) in PAGES.items():
        rewritten = rewrite(path.read_text(), tables, results)
        with atomic_write(path) as file:
            file.write(rewritten.encode())
