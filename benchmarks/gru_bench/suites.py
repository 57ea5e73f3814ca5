"""What is measured beside the grid: growth with the length, memory, the overhead of a call, a call after idling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from statistics import median

from gru_bench.calibration import Calibration
from gru_bench.cases import Case
from gru_bench.compare import calls_in, take_turn
from gru_bench.limits import limit_seconds
from gru_bench.peers import OWN, PEERS
from gru_bench.peers.base import POOL_SIZE
from gru_bench.process import Worker

LENGTHS = (1_000, 10_000)
GROWTH_CASES = ((1, 64), (16, 128))  # B, H = I
TRAINING_CASES = (Case(1_000, 1, 64, 64), Case(100, 32, 256, 256), Case(100, 128, 256, 256))
STEP = Case(1, 1, 16, 16)
PACKED_SIZES = (16, 64, 128, 256, 512, 1024)
IDLE_CASES = (Case(100, 1, 256, 256), Case(100, 8, 128, 128), Case(100, 32, 256, 256))
IDLE_SECONDS = 0.05

SEQUENCE_CASES = (Case(100, 8, 128, 128), Case(100, 32, 256, 256), Case(50, 128, 512, 512))
CELL_CASES = (Case(100, 1, 16, 16), Case(100, 1, 256, 256), *SEQUENCE_CASES)

STREAM_SIZES = (16, 64, 256, 512)
POOL_CASES = tuple(Case(1, rows, size, size) for size in (64, 256) for rows in (1, 8, 64))

# The modes of a training step, by what its tape keeps.
TAPES = {"gates": "train", "states": "states_train"}

# The modes of the suites on sequences and cells, by what they measure.
SEQUENCES = {
    "all steps, forward": "forward",
    "half of the steps, forward": "ragged",
    "all steps, training step": "train",
    "half of the steps, training step": "ragged_train",
    "training step, gates computed again": "states_train",
}
CELLS = {
    "LSTM, forward": "lstm",
    "LSTM, training step": "lstm_train",
    "plain network, forward": "rnn",
    "plain network, training step": "rnn_train",
}

# What a peer's modes are called where they are compared.
CALLS = {"forward": "GRU", "cell": "GRUCell", "step": "the Cython step"}


@dataclass(frozen=True)
class Figure:
    """One thing that was measured.

    Attributes
    ----------
    what, peer, threads, case
        Of which engine, with how many threads, on which shape.
    value, unit
        The figure.
    """

    what: str
    peer: str
    threads: int
    case: Case
    value: float
    unit: str


@dataclass(frozen=True)
class Settings:
    """How a suite measures; the fields are as of `compare`."""

    peers: Sequence[str]
    threads: int
    blocks: int = 9
    block_seconds: float = 0.1
    isa: str | None = None

    def worker(self, stack: ExitStack, peer: str) -> Worker:
        """Return a new process."""
        return stack.enter_context(Worker(peer, self.threads, self.isa))

    def figure(self, what: str, peer: str, case: Case, value: float, unit: str) -> Figure:
        """Return a figure of this run."""
        return Figure(what, peer, self.threads, case, value, unit)


def growth(settings: Settings) -> Iterator[Figure]:
    """Yield the time of a long sequence over that of a short one, output arrays given, and the memory of calls."""
    short, long = LENGTHS
    for batch, size in GROWTH_CASES:
        cases = [Case(steps, batch, size, size) for steps in (short, long)]
        with Worker(OWN, settings.threads, settings.isa) as worker:
            one, other = worker.order(
                "series",
                peer=OWN,
                cases=[astuple(case) for case in cases],
                mode="given",
                passes=settings.blocks,
                block_seconds=settings.block_seconds,
            )
        yield settings.figure(f"time, over T = {short}", OWN, cases[1], median(other) / median(one), "times")
    for batch, size in GROWTH_CASES:
        for case in (Case(steps, batch, size, size) for steps in LENGTHS):
            for peer in _with_plain_memory(settings):
                results = 4 * (case.steps + 1) * case.batch * case.hidden_size
                grown = _memory(settings, peer, case, "forward") - results
                yield settings.figure("forward, memory beyond the results", peer, case, grown / 1e6, "MB")
    for case in TRAINING_CASES:
        for peer in _with_plain_memory(settings):
            grown = _memory(settings, peer, case, "train")
            yield settings.figure("training step, memory", peer, case, grown / 1e6, "MB")
    for batch, size in GROWTH_CASES:
        case = Case(long, batch, size, size)
        both_ways = 2 * (case.steps + 1) * case.batch * size  # output and h_n, and the gradients of x and h_0
        results = 4 * (both_ways + sum(array.size for array in case.weights().values()))
        for what, mode in TAPES.items():
            grown = _memory(settings, OWN, case, mode) - results
            yield settings.figure(f"tape of {what}, memory beyond the results", OWN, case, grown / 1e6, "MB")


def _with_plain_memory(settings: Settings) -> list[str]:
    """Return the peers whose first call allocates what a call needs: the others do it before, or compile in it."""
    return [peer for peer in settings.peers if peer in (OWN, "torch")]


def _memory(settings: Settings, peer: str, case: Case, mode: str) -> int:
    """Return the bytes by which a fresh process grows in a first call, its libraries warmed up by a small one."""
    with Worker(peer, settings.threads, settings.isa) as worker:
        for each in (Case(2, case.batch, 4, 4), case):
            worker.order("build", peer=peer, case=astuple(each), mode=mode)
            grown: int = worker.order("memory")
    return grown


def overheads(settings: Settings) -> Iterator[Figure]:
    """Yield what the smallest calls take, side by side, and what packing takes."""
    with ExitStack() as stack:
        workers = {
            settings.worker(stack, peer): (peer, mode)
            for peer in settings.peers
            for mode in CALLS
            if mode in PEERS[peer].modes
        }
        for worker, (peer, mode) in workers.items():
            worker.order("build", peer=peer, case=astuple(STEP), mode=mode)
        for worker, seconds in _interleaved(settings, list(workers)).items():
            peer, mode = workers[worker]
            yield settings.figure(f"one call: {CALLS[mode]}", peer, STEP, 1e6 * seconds, "µs")
    with ExitStack() as stack:
        modes = ("new", "given")
        pair = [settings.worker(stack, OWN) for _ in modes]
        for size in PACKED_SIZES:
            case = Case(2, 1, size, size)  # a single step would do without packing
            for worker, mode in zip(pair, modes, strict=True):
                worker.order("build", peer=OWN, case=astuple(case), mode=mode)
            new, given = _interleaved(settings, pair).values()
            yield settings.figure("packing the weights", OWN, case, 1e6 * (new - given), "µs")


def sequences(settings: Settings) -> Iterator[Figure]:
    """Yield what ragged batches take, beside full ones, and a training step whose tape keeps no gates."""
    yield from _modes(settings, SEQUENCE_CASES, SEQUENCES)


def cells(settings: Settings) -> Iterator[Figure]:
    """Yield what the other cells take."""
    yield from _modes(settings, CELL_CASES, CELLS)


def _modes(settings: Settings, cases: Sequence[Case], modes: Mapping[str, str]) -> Iterator[Figure]:
    """Yield the time of every mode of every peer that has it, in milliseconds."""
    with ExitStack() as stack:
        workers = {peer: settings.worker(stack, peer) for peer in settings.peers}
        for case in cases:
            for what, mode in modes.items():
                able = [worker for peer, worker in workers.items() if mode in PEERS[peer].modes]
                for worker in able:
                    worker.order("build", peer=worker.name, case=astuple(case), mode=mode)
                for worker, seconds in _interleaved(settings, able).items():
                    yield settings.figure(what, worker.name, case, 1e3 * seconds, "ms")


def streams(settings: Settings) -> Iterator[Figure]:
    """Yield what a step of a live sequence takes, beside reading its weights; and the steps of a pool, and the most."""
    for case in (Case(1, 1, size, size) for size in STREAM_SIZES):
        for worker, seconds in _beside_each_other(settings, case, "stream"):
            yield settings.figure("a step of a live sequence", worker, case, 1e6 * seconds, "µs")
        weights = sum(array.nbytes for array in case.weights().values())
        with Worker(OWN, settings.threads, settings.isa) as reader:
            speed = median(
                reader.order("read", bytes=weights, seconds=settings.block_seconds) for _ in range(settings.blocks)
            )
        yield settings.figure("reading its weights", OWN, case, 1e6 * weights / speed, "µs")
    with ExitStack() as stack:
        calibration = Calibration(stack, settings.threads, settings.isa)
        for case in POOL_CASES:
            for worker, seconds in _beside_each_other(settings, case, "pool"):
                what = f"{case.batch} of {POOL_SIZE}, a second"
                yield settings.figure(what, worker, case, case.batch / seconds, "steps")
            least = limit_seconds(case, "forward", calibration.measure())
            yield settings.figure("the machine's limit, a second", OWN, case, case.batch / least, "steps")


def _beside_each_other(settings: Settings, case: Case, mode: str) -> Iterator[tuple[str, float]]:
    """Yield the name of every peer that has a mode, and its seconds."""
    able = [peer for peer in settings.peers if mode in PEERS[peer].modes]
    with ExitStack() as stack:
        workers = [settings.worker(stack, peer) for peer in able]
        for worker in workers:
            worker.order("build", peer=worker.name, case=astuple(case), mode=mode)
        for worker, seconds in _interleaved(settings, workers).items():
            yield worker.name, seconds


def idling(settings: Settings) -> Iterator[Figure]:
    """Yield what calls take one after the other, and after a pause in which threads fall asleep."""
    with ExitStack() as stack:
        workers = [settings.worker(stack, peer) for peer in settings.peers]
        for case in IDLE_CASES:
            for worker in workers:
                worker.order("build", peer=worker.name, case=astuple(case), mode="forward")
            for worker, seconds in _interleaved(settings, workers).items():
                yield settings.figure("back to back", worker.name, case, 1e6 * seconds, "µs")
            for worker in workers:
                calls = max(2, round(settings.blocks * settings.block_seconds / IDLE_SECONDS))
                seconds = median(worker.order("time", calls=calls, pause=IDLE_SECONDS))
                what = f"after {1e3 * IDLE_SECONDS:.0f} ms of idling"
                yield settings.figure(what, worker.name, case, 1e6 * seconds, "µs")


def _interleaved(settings: Settings, workers: Sequence[Worker]) -> Mapping[Worker, float]:
    """Return the median seconds of each worker's call, blocks taking turns."""
    for worker in workers:
        worker.order("time", calls=1)  # the first call may compile
    calls = {worker: calls_in(worker, settings.block_seconds) for worker in workers}
    medians: dict[Worker, list[float]] = {worker: [] for worker in workers}
    for _ in range(settings.blocks):
        take_turn(calls, medians)
    return {worker: median(blocks) for worker, blocks in medians.items()}


SUITES: dict[str, Callable[[Settings], Iterator[Figure]]] = {
    "growth": growth,
    "overheads": overheads,
    "idling": idling,
    "sequences": sequences,
    "cells": cells,
    "streams": streams,
}

HEADER = f"{'what':36} {'peer':12} {'threads':>7}  {'T,B,I,H,L':18} {'value':>12}"


def row(figure: Figure) -> str:
    """Return a line of the table."""
    case = figure.case.name
    return f"{figure.what:36} {figure.peer:12} {figure.threads:7}  {case:18} {figure.value:12.3f} {figure.unit}"
