"""What came out of the grid, for people: a line for each shape, and a summary by groups of shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import geometric_mean
from typing import Any

from gru_bench.compare import Comparison
from gru_bench.limits import typical

HEADER = f"{'T,B,I,H,L':18} {'mode':8} {'threads':>7} {'ms':>10} {'±%':>5} {'GFLOP/s':>8} {'limit':>6}  best other"

# The batches of a group, from and to. Forward and training differ in how much one row costs beside many.
GROUPS = {
    "forward": ((1, 1), (2, 16), (17, 31), (32, math.inf)),
    "train": ((1, 8), (9, 31), (32, math.inf)),
}

# Calls that are worth a second thread: rows to share out, and enough of a row's time.
SCALING_BATCH, SCALING_SECONDS = 4, 200e-6


def row(comparison: Comparison) -> str:
    """Return a line of the table: this package's time, spread, rate and fraction of the limit; the best other peer."""
    first, best = comparison.timings[0], comparison.best_other
    passes = 1 if comparison.mode == "forward" else 3
    rate = 2e-9 * passes * comparison.case.multiply_adds / first.seconds
    spread = 50 * (first.high - first.low) / first.seconds
    text = (
        f"{comparison.case.name:18} {comparison.mode:8} {comparison.threads:7} "
        f"{1e3 * first.seconds:10.4f} {spread:5.1f} {rate:8.1f} {comparison.fraction:6.0%}"
    )
    if best:
        text += f"  {comparison.ratio:6.2f} x  {best.peer} {1e3 * best.seconds:.4f} (±{best.error:.0e})"
    return text


@dataclass(frozen=True)
class Group:
    """Comparisons of one mode and number of threads whose batches are alike.

    Attributes
    ----------
    ratio, ratio_at_limit
        The geometric mean of the best other peer's time over this package's; and the same at the limit.
    least_ratio, least_fraction
        The comparisons that are the worst in that, and in the fraction of the limit.
    """

    mode: str
    threads: int
    batches: str
    members: int
    ratio: float
    ratio_at_limit: float
    least_ratio: Comparison
    least_fraction: Comparison


def groups(comparisons: Sequence[Comparison]) -> list[Group]:
    """Sort comparisons into `GROUPS`; groups without a member are left out."""
    found = []
    for mode, threads in dict.fromkeys((comparison.mode, comparison.threads) for comparison in comparisons):
        for low, high in GROUPS[mode]:
            members = [
                comparison
                for comparison in comparisons
                if (comparison.mode, comparison.threads) == (mode, threads) and low <= comparison.case.batch <= high
            ]
            if members:
                ratio = geometric_mean(comparison.ratio for comparison in members)
                at_limit = geometric_mean(comparison.ratio_at_limit for comparison in members)
                least_ratio = min(members, key=lambda comparison: comparison.ratio)
                least_fraction = min(members, key=lambda comparison: comparison.fraction)
                name = f"B = {low}" if low == high else f"B >= {low}" if high == math.inf else f"B = {low} to {high}"
                found.append(Group(mode, threads, name, len(members), ratio, at_limit, least_ratio, least_fraction))
    return found


@dataclass(frozen=True)
class Scaling:
    """How much faster a case is with more threads than with one."""

    one: Comparison
    more: Comparison

    @property
    def speedup(self) -> float:
        """The time of one thread over that of more."""
        return self.one.seconds / self.more.seconds

    @property
    def worthwhile(self) -> bool:
        """Whether the call is large enough for a second thread."""
        return self.one.case.batch >= SCALING_BATCH and self.one.seconds >= SCALING_SECONDS


def scalings(comparisons: Sequence[Comparison]) -> list[Scaling]:
    """Pair the comparisons on one thread with those on more."""
    alone = {(comparison.case, comparison.mode): comparison for comparison in comparisons if comparison.threads == 1}
    return [
        Scaling(alone[comparison.case, comparison.mode], comparison)
        for comparison in comparisons
        if comparison.threads > 1 and (comparison.case, comparison.mode) in alone
    ]


def summary(comparisons: Sequence[Comparison]) -> list[str]:
    """Return what a person wants to know: groups beside the best other peer and the limit, scaling, the limits."""
    lines = []
    for group in groups(comparisons):
        lines.append(
            f"{group.mode}, threads {group.threads}, {group.batches} ({group.members}): "
            f"{_beside_others(group)}at least {group.least_fraction.fraction:.0%} of the limit "
            f"({group.least_fraction.case.name})"
        )
    for text, wanted in (("worth a second thread", True), ("other", False)):
        members = [scaling for scaling in scalings(comparisons) if scaling.worthwhile is wanted]
        if members:
            least = min(members, key=lambda scaling: scaling.speedup)
            lines.append(
                f"from one thread to more, calls {text} ({len(members)}): at least {least.speedup:.2f} times as fast "
                f"({least.more.mode} {least.more.case.name}, threads {least.more.threads})"
            )
    for threads in dict.fromkeys(comparison.threads for comparison in comparisons):
        limits = typical([comparison.limits for comparison in comparisons if comparison.threads == threads])
        reads = ", ".join(f"{name} {bandwidth / 1e9:.0f}" for name, bandwidth in limits.bandwidth.items())
        lines.append(f"limits, threads {threads}: product {limits.peak / 1e9:.0f} GFLOP/s; reads {reads} GB/s")
    return lines


def _beside_others(group: Group) -> str:
    if math.isnan(group.ratio):
        return ""
    return (
        f"{group.ratio:.2f} times the best other in the geometric mean, at least {group.least_ratio.ratio:.2f} "
        f"({group.least_ratio.case.name}); "
    )


def figures(comparisons: Iterable[Comparison]) -> list[dict[str, Any]]:
    """Return all that is known of each comparison, for JSON."""
    derived: dict[str, Callable[[Comparison], Any]] = {
        "fraction": lambda comparison: comparison.fraction,
        "ratio": lambda comparison: comparison.ratio if comparison.best_other else None,
    }
    return [
        {**asdict(comparison), **{name: value(comparison) for name, value in derived.items()}}
        for comparison in comparisons
    ]
