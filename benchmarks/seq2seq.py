"""Training steps of `Seq2Seq` and of `CTCLoss` beside the same in PyTorch: ``python benchmarks/seq2seq.py``.

PyTorch's decoder is a loop over steps, as its tutorials write it. Each side has a process of its own; processes take
turns, and each line is the median of several.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from gru_native import losses, nn, optim
from gru_native.train import Batch, Trainer

RUNS, STEPS = 3, 10
BATCH, LENGTH, SYMBOLS = 32, 40, 60


class Pairs:
    """Batches of pairs of one length."""

    carries_state = False

    def __init__(self) -> None:
        self._pairs = np.random.default_rng(0).integers(1, SYMBOLS, (STEPS, 2, LENGTH, BATCH))

    def __len__(self) -> int:
        return STEPS

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        for source, target in self._pairs:
            yield Batch({"source": source, "target": target}, target, np.full(BATCH, LENGTH))


def seq2seq(side: str, threads: int) -> float:
    """Return what a training step takes: source and target of 40, both GRUs of 256 units, Adam."""
    encoder = nn.Sequential(nn.Embedding(SYMBOLS, 64, seed=0), nn.GRU(64, 256, seed=1))
    model = nn.Seq2Seq(encoder, target_size=SYMBOLS, embedding_dim=64, hidden_size=256, seed=2)
    data, loss = Pairs(), losses.CrossEntropyLoss()
    if side == "torch":
        from torch_twin import seconds_in_torch

        return _per_step(lambda: seconds_in_torch(model, loss, data.epoch(0), lr=1e-3, threads=threads))
    trainer = Trainer(model, loss, optim.Adam(model, lr=1e-3), threads=threads)
    return _per_step(lambda: trainer.fit(data, epochs=1, progress=False))


def ctc(side: str, threads: int) -> float:
    """Return what loss and gradient of logits take: 200 steps, 32 sequences, 30 classes, 40 labels."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((200, BATCH, 30)).astype(np.float32)
    targets = rng.integers(1, 30, (BATCH, LENGTH))
    lengths, target_lengths = np.full(BATCH, 200), np.full(BATCH, LENGTH)
    if side == "torch":
        import torch

        torch.set_num_threads(threads)
        given = torch.from_numpy(logits).requires_grad_()
        others = [torch.from_numpy(own) for own in (targets, lengths, target_lengths)]

        def steps() -> None:
            for _ in range(STEPS):
                torch.nn.functional.ctc_loss(given.log_softmax(-1), *others).backward()

        return _per_step(steps)
    loss = losses.CTCLoss()

    def own_steps() -> None:
        for _ in range(STEPS):
            _, tape = loss.forward(logits, targets, lengths, target_lengths, threads=threads)
            loss.backward(tape)

    return _per_step(own_steps)


def _per_step(steps: Callable[[], Any]) -> float:
    steps()  # the first ones come to pages and threads that are new
    began = perf_counter()
    steps()
    return (perf_counter() - began) / STEPS


def main() -> None:
    """Print a line for each of them, on one thread and on two."""
    for name in ("seq2seq", "ctc"):
        for threads in (1, 2):
            found: dict[str, list[float]] = {"gru_native": [], "torch": []}
            for _ in range(RUNS):
                for side, seconds in found.items():
                    command = [sys.executable, __file__, name, side, str(threads)]
                    run = subprocess.run(command, capture_output=True, text=True, check=True)
                    seconds.append(float(run.stdout))
            ours, theirs = (1e3 * median(seconds) for seconds in found.values())
            times = f"{ours:.2f} ms, torch {theirs:.2f}, ratio {theirs / ours:.2f}"
            print(f"{name:8} threads {threads}: {times}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.path.append(str(Path(__file__).parent / "tasks"))
        print({"seq2seq": seq2seq, "ctc": ctc}[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
    else:
        main()
