"""Which of ten digits was said, with a convolution in front of the network that reads: half as many steps for the GRU.

The data, both questions and the recipe are those of `spoken_digits`, which has no convolution.

    python benchmarks/tasks/convolved_digits.py
"""

from __future__ import annotations

from time import perf_counter

from common import Bound, finish, given, options
from spoken_digits import (
    BANDS,
    DIGITS,
    DROPOUT,
    HIDDEN_SIZE,
    INPUT_DROPOUT,
    RECURRENT_DROPOUT,
    accuracy_in_torch,
    baseline,
    leave_one_speaker_out,
    recordings,
    split_by_take,
    trained,
    training_batches,
)
from training_times import epoch_times

from gru_native import nn

KERNEL_SIZE, STRIDE = 5, 2
BOUND = Bound("accuracy", 0.9, at_most=False)  # guessing gives 0.1


def convolved(seed: int) -> nn.Sequential:
    """Return an untrained network."""
    gru = nn.GRU(HIDDEN_SIZE, HIDDEN_SIZE, bidirectional=True, recurrent_dropout=RECURRENT_DROPOUT, seed=(seed, 0))
    return nn.Sequential(
        nn.Dropout(INPUT_DROPOUT),
        nn.Conv1d(BANDS, HIDDEN_SIZE, KERNEL_SIZE, stride=STRIDE, padding=KERNEL_SIZE // 2, seed=(seed, 4)),
        nn.Activation("relu"),
        gru,
        nn.LastPooling(bidirectional=True),
        nn.Dropout(DROPOUT),
        nn.Linear(2 * HIDDEN_SIZE, DIGITS, seed=(seed, 1)),
    )


def main() -> None:
    """Train, test, and print the result."""
    arguments = options(__doc__).parse_args()
    began = perf_counter()
    known = recordings(given(arguments, "fsdd/fsdd.npz"))
    data = split_by_take(known)
    trainer, rates = trained(convolved(arguments.seed), data, arguments)
    figures = {
        "accuracy": round(trainer.evaluate(data.test.batches())["accuracy"], 4),
        "baseline": baseline(data),
        "torch_accuracy": accuracy_in_torch(convolved(arguments.seed), data, rates, arguments),
    }
    if not arguments.quick:
        figures |= leave_one_speaker_out(convolved, known, arguments)
    figures["seconds"] = round(perf_counter() - began, 1)
    batches = training_batches(data.training, arguments.seed)
    finish("convolved_digits", figures | epoch_times(trainer, batches.epoch(0), arguments), arguments, BOUND)


if __name__ == "__main__":
    main()
