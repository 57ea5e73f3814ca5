"""What a run tells its user: a progress bar, and the line with its result."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gru_native import _core
from gru_native.arguments import every, mapping, number, real, text, whole
from gru_native.train.record import Record, checked_record


class ProgressBar:
    """A bar on standard error with the running mean of the training loss and the last validation loss.

    Parameters
    ----------
    steps
        Steps of the whole run.
    loss_name, loss_scale
        The name under which losses are shown, and what they are multiplied by: ``"bpc"`` and ``1 / ln 2`` for
        bits per character.
    unit
        What a target is called; the bar shows how many are trained on in a second. ``None`` leaves this out.
    """

    first_rank_only = True

    def __init__(
        self, steps: int, *, loss_name: str = "loss", loss_scale: float = 1.0, unit: str | None = None
    ) -> None:
        from tqdm import tqdm  # takes longer to import than all that training needs

        self.loss_name = text("loss_name", loss_name)
        self.loss_scale = number("loss_scale", loss_scale, -math.inf)
        self.unit = None if unit is None else text("unit", unit)
        self._started = time.perf_counter()
        self._targets = 0
        self._loss = 0.0
        self._weight = 0.0
        self._shown: dict[str, str] = {}
        self._bar = tqdm(
            total=whole("steps", steps, 0),
            bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]",
        )

    def catch_up(self, history: Sequence[Record]) -> None:
        """Show steps that were taken before."""
        history = every("history", history, checked_record)
        for record in history:
            self._note(record)
        self._targets = 0  # the rate is this process's
        self._bar.update(len(history))

    def __call__(self, record: Record) -> None:
        """Take note of a step."""
        self._note(checked_record("record", record))
        shown = {self.loss_name: f"{self._loss / self._weight:.3f}", **self._shown}
        if self.unit is not None:
            rate = self._targets / (time.perf_counter() - self._started)
            shown[f"{self.unit}/s"] = f"{rate:,.0f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def _note(self, record: Record) -> None:
        # A mean whose weights fade by 2% a step.
        self._loss = 0.98 * self._loss + 0.02 * record.loss * self.loss_scale
        self._weight = 0.98 * self._weight + 0.02
        self._targets += record.targets
        if record.validation is not None:
            self._shown[f"val_{self.loss_name}"] = f"{record.validation['loss'] * self.loss_scale:.3f}"

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


def bits(loss: float) -> float:
    """Return a cross-entropy of `gru_native.losses`, which is in nats, in bits."""
    return real("loss", loss) / math.log(2)


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in megabytes (10^6 bytes).

    Where the system says so: ``ru_maxrss``, which is everywhere, is never below that of whoever started the process.
    """
    try:
        return memory_status("VmHWM") / 1e6
    except (OSError, RuntimeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def memory_status(field: str) -> int:
    """Return a size that Linux keeps of this process, in bytes: ``"VmRSS"`` now, ``"VmHWM"`` at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status: expected a line {field}")


def result_line(task: str, figures: Mapping[str, str], threads: int | None = None) -> str:
    """Return the line that ends a run: its task, its figures, and what it ran on.

    That is ``result: task=... <figures> isa=... threads=... peak_mb=...``; `threads` is what the run was
    given, ``None`` for the default.
    """
    values = {
        "task": text("task", task),
        **mapping("figures", figures, "strings"),
        "isa": _core.active_isa(),
        "threads": _core.default_threads() if threads is None else whole("threads", threads),
        "peak_mb": f"{peak_memory_mb():.0f}",
    }
    return "result: " + " ".join(f"{name}={value}" for name, value in values.items())
