"""What is kept of the results in git: one table for each machine, ``python -m gru_bench.summary MACHINE``.

Benchmarks write all that they know to ``results/*.json``, which is large. Of these files a row for each figure goes to
``results/MACHINE.csv``, in place of what it had of the same suites. A suite is called as its file is.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from gru_bench.cases import Case
from gru_bench.limits import Limits, typical
from gru_native.io import write_csv

RESULTS = Path(__file__).resolve().parents[1] / "results"


class Row(NamedTuple):
    """One figure; what does not apply to it is empty.

    Attributes
    ----------
    suite
        Where it comes from.
    what, mode, threads, case, engine
        What was measured: how, with how many threads, on which shape, of which engine.
    value, unit
        A number with six digits, or of a machine what it is.
    """

    suite: str
    what: str
    mode: str = ""
    threads: str = ""
    case: str = ""
    engine: str = ""
    value: str = ""
    unit: str = ""

    @property
    def number(self) -> float:
        """The value."""
        return float(self.value)


def read(path: Path) -> list[Row]:
    """Return the rows of a table."""
    with open(path, newline="", encoding="utf-8") as file:
        return [Row(**row) for row in csv.DictReader(file)]


def write(path: Path, rows: Iterable[Row]) -> None:
    """Write a table."""
    write_csv(path, [Row._fields, *rows])


def summarize(folder: Path, machine: str) -> None:
    """Put the figures of a folder's files into a machine's table there."""
    table, new = folder / f"{machine}.csv", {}
    for file in sorted(folder.glob("*.json")):
        new[file.stem] = list(rows(file.stem, json.loads(file.read_text())))
    kept = [row for row in read(table) if row.suite not in new] if table.exists() else []
    write(table, sorted([*kept, *(row for suite in new.values() for row in suite)], key=lambda row: row.suite))


def rows(suite: str, figures: dict[str, Any]) -> Iterator[Row]:
    """Yield the rows of what a benchmark wrote."""
    for part, content in figures.items():
        if part in PARTS:
            for row in PARTS[part](content):
                value = row.get("value", "")
                texts = {name: str(field) for name, field in row.items()}
                yield Row(suite, **{**texts, "value": value if isinstance(value, str) else f"{value:.6g}"})


# What the parts of these files become. Of sweeps, only what takes longer than the next larger shape.

Fields = dict[str, Any]


def _machine(machine: dict[str, Any]) -> Iterator[Fields]:
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    yield {
        "what": "machine",
        "value": f"{machine['cpu']}, {machine['cpus']} CPUs, {machine['isa']}; {machine['system']}; "
        f"Python {machine['python']}; {packages}; {machine['date'][:10]}.",
    }


def _comparisons(comparisons: list[dict[str, Any]]) -> Iterator[Fields]:
    found: dict[int, list[Limits]] = {}
    for comparison in comparisons:
        of_all = {name: comparison[name] for name in ("mode", "threads")}
        of_all |= {"what": "time", "case": Case(**comparison["case"]).name, "unit": "ms"}
        for timing in comparison["timings"]:
            yield {**of_all, "engine": timing["peer"], "value": 1e3 * timing["seconds"]}
        yield {**of_all, "engine": "limit", "value": 1e3 * comparison["limit_seconds"]}
        found.setdefault(comparison["threads"], []).append(Limits(**comparison["limits"]))
    for threads, measured in found.items():
        limits = typical(measured)
        yield {"what": "product", "threads": threads, "value": limits.peak / 1e9, "unit": "GFLOP/s"}
        for level, bandwidth in limits.bandwidth.items():
            yield {"what": "read", "threads": threads, "case": level, "value": bandwidth / 1e9, "unit": "GB/s"}


def _lines(lines: list[dict[str, Any]]) -> Iterator[Fields]:
    yield {"what": "steps", "value": sum(len(line["sizes"]) - 1 for line in lines)}


def _cliffs(cliffs: list[dict[str, Any]]) -> Iterator[Fields]:
    for cliff in sorted(cliffs, key=lambda cliff: -float(cliff["ratio"])):
        smaller, larger = (Case(**cliff[which]).name for which in ("smaller", "larger"))
        known = {name: cliff[name] for name in ("mode", "threads")}
        yield {"what": f"over {larger}", **known, "case": smaller, "value": cliff["ratio"], "unit": "times"}


def _figures(figures: list[dict[str, Any]]) -> Iterator[Fields]:
    for figure in figures:
        known = {name: figure[name] for name in ("what", "threads", "value", "unit")}
        yield {**known, "engine": figure["peer"], "case": Case(**figure["case"]).name}


def _programs(programs: list[dict[str, Any]]) -> Iterator[Fields]:
    for program in programs:
        known = {"what": program["title"], "case": program["shapes"], "unit": "s"}
        known |= {name: program[name] for name in ("mode", "threads")}
        for engine in ("torch", "native", "torch_inside", "native_inside"):
            yield {**known, "engine": engine, "value": program[engine]}
        yield {**known, "engine": "least_inside", "value": program["operations"] / program["peak"]}


def _layers(layers: list[dict[str, Any]]) -> Iterator[Fields]:
    for layer in layers:
        known = {"what": layer["cell"], "mode": layer["mode"], "threads": layer["threads"]}
        for case, (theirs, own) in layer["ms"].items():
            yield {**known, "case": case, "value": theirs / own, "unit": "torch / gru_native"}


def _tuning(tuning: dict[str, Any]) -> Iterator[Fields]:
    for engine, figures in tuning.items():
        if isinstance(figures, dict):
            for what, value in figures.items():
                yield {"what": what, "engine": engine, "value": value, "unit": "s" if what == "seconds" else ""}


def _ranks(ranks: list[dict[str, Any]]) -> Iterator[Fields]:
    for entry in ranks:
        for what, value in entry.items():
            if what != "case":
                yield {"what": what, "case": entry["case"], "threads": 1, "value": value}


def _task(figures: dict[str, Any]) -> Iterator[Fields]:
    for what, value in figures.items():
        yield {"what": what, "value": value}


def _load(load: list[dict[str, Any]]) -> Iterator[Fields]:
    for of_all in load:
        known = {"mode": f"{of_all['rate']:g}", "threads": 1, "case": of_all["hidden"], "engine": of_all["service"]}
        for what, value in of_all.items():
            if what not in ("rate", "hidden", "service"):
                yield {**known, "what": what, "value": value}


def _sizes(mode: str, of: dict[str, dict[str, float]]) -> Iterator[Fields]:
    for name, figures in of.items():
        for what, value in figures.items():
            yield {"what": what, "mode": mode, "engine": name, "value": value}


def _beside(beside: list[dict[str, Any]]) -> Iterator[Fields]:
    for entry in beside:
        for mode in ("alone", "beside"):
            known = {"what": entry["what"], "engine": entry["after"]}
            yield {**known, "mode": mode, "value": entry[mode], "unit": "ms"}


def _threads(of: dict[str, dict[str, float]]) -> Iterator[Fields]:
    for what, rates in of.items():
        for threads, rate in rates.items():
            yield {"what": what, "mode": "threads", "threads": threads, "value": rate, "unit": "calls a second"}


PARTS: dict[str, Callable[[Any], Iterator[Fields]]] = {
    "machine": _machine,
    "comparisons": _comparisons,
    "lines": _lines,
    "cliffs": _cliffs,
    "figures": _figures,
    "programs": _programs,
    "layers": _layers,
    "tuning": _tuning,
    "ranks": _ranks,
    "task": _task,
    "load": _load,
    "wheels": lambda wheels: _sizes("wheels", wheels),
    "engines": lambda engines: _sizes("engines", engines),
    "beside": _beside,
    "threads": _threads,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("machine", metavar="MACHINE", help="xeon, zen4, ...")
    summarize(RESULTS, parser.parse_args().machine)
