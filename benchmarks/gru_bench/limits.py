"""The time that a machine cannot beat, from what was measured on it: arithmetic, and reading the weights.

`Limits` holds the measurements, `limit_seconds` is the formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from gru_bench.cases import Case

# Floating-point operations of the gates of one unit in one step, beside the products, as `csrc/kernels/gru.inc.h`
# computes them: 2 for a fused multiply-add, 1 for every other operation on numbers, none for moving bits.
#   exp       20  scale and round 2 + 1, reduce 2 + 2, polynomial 5 * 2 + 1, combine 2
#   division  12  estimate 1, a step of Newton's 2 + 2, quotient 1, corrections 2 + 2 + 2
#   sigmoid   40  bounds 2, exp 20, 1 + exp(-x) and its rounding 1 + 2 + 1 + 2, division 12
#   tanh      42  bound 1, 2 |x| 1, exp 20, exp - 1 and its sum 1 + 2 + 1, rounding 4, division 12
# Two sigmoids, a tanh, r * hn + n (2), and (1 - z) * n + z * h (4):
GATE_FLOPS = 2 * 40 + 42 + 2 + 4

# Backward: carry + d_output 1, 1 - z 1, d_n 4, d_z 4, d_h z 1, d_hn 1, d_r 4, and the sums of four bias gradients 4.
GATE_BACKWARD_FLOPS = 20

# Beyond the caches of a core, in bytes per thread: the third level or memory, whichever the machine has to give.
BEYOND = {"4 MB": 4 << 20, "16 MB": 16 << 20, "64 MB": 64 << 20}


@dataclass(frozen=True)
class Level:
    """A level of memory, as one thread sees it.

    Attributes
    ----------
    capacity
        Bytes that fit in.
    measured
        Bytes of the buffer by which its bandwidth is measured.
    """

    name: str
    capacity: int
    measured: int


@dataclass(frozen=True)
class Limits:
    """What the machine can do with so many threads.

    Attributes
    ----------
    peak
        Floating-point operations per second of a large matrix product, float32.
    bandwidth
        Bytes per second that all threads together read from the level of this name, nearest first.
    capacity
        Bytes that fit in each of these levels.
    """

    threads: int
    peak: float
    bandwidth: dict[str, float]
    capacity: dict[str, int]

    def level_of(self, size: float) -> str | None:
        """Return the level that so many bytes fit in: the furthest if in none, ``None`` when none is known."""
        names = list(self.bandwidth)
        return next((name for name in names if size <= self.capacity[name]), names[-1] if names else None)


def levels() -> list[Level]:
    """Return the levels from which weights are read, nearest first: the caches of a core, and what lies beyond.

    There are none where the system does not tell the sizes of its caches.
    """
    caches = [Level(name, size, size // 2) for name, size in _cache_sizes().items()]
    if not caches:
        return []
    largest = max(cache.capacity for cache in caches)
    beyond = [Level(name, size, size) for name, size in BEYOND.items() if size > largest]
    return caches + beyond


def limit_seconds(case: Case, mode: str, limits: Limits) -> float:
    """Return the least seconds that a call can take, summed over layers and directions.

    For each, the larger of two times. Arithmetic: two operations per multiply-add of the products (three times as many
    in a training step: forward, gradient of the inputs, gradient of the weights) and those of the gates, over the peak.
    Reading: in every step the recurrent weights, 3 H² numbers divided among the threads, from the level that a
    thread's part fits in; a training step reads them in both recurrences. Where no level is known, arithmetic alone
    counts.

    Parameters
    ----------
    case, mode
        What is computed; mode "forward" or "train".
    limits
        What was measured.
    """
    hidden, recurrences = case.hidden_size, 1 if mode == "forward" else 2
    gates = GATE_FLOPS if mode == "forward" else GATE_FLOPS + GATE_BACKWARD_FLOPS
    weights = 3 * hidden * hidden * 4
    level = limits.level_of(weights / limits.threads)
    reading = recurrences * case.steps * weights / limits.bandwidth[level] if level else 0.0
    total = 0.0
    for inputs in case.layer_inputs:
        products = 2 * 3 * hidden * (inputs + hidden) * (1 if mode == "forward" else 3)
        arithmetic = case.steps * case.batch * (products + hidden * gates) / limits.peak
        total += case.directions * max(arithmetic, reading)
    return total


def typical(measured: list[Limits]) -> Limits:
    """Return the median of measurements with the same number of threads."""
    names = measured[0].bandwidth
    return Limits(
        measured[0].threads,
        median(limits.peak for limits in measured),
        {name: median(limits.bandwidth[name] for limits in measured) for name in names},
        measured[0].capacity,
    )


def _cache_sizes(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[str, int]:
    """Return the bytes of a core's own data caches, as far as the system tells them."""
    sizes = {}
    for index in sorted(folder.glob("index*")):
        level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        if kind != "Instruction" and int(level) <= 2:
            sizes[f"L{level}"] = int(size.rstrip("K")) * 1024
    return sizes
