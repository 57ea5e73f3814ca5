"""Which of ten digits was said, with a convolution in front of the network that reads: half as many steps for the GRU.

The data, both questions and the recipe are those of `spoken_digits`, which has no convolution.

    python benchmarks/tasks/convolved_digits.py
"""

from __future__ import annotations

from common import finish, options
from spoken_digits import (
    BANDS,
    BOUND,
    DIGITS,
    DROPOUT,
    HIDDEN_SIZE,
    INPUT_DROPOUT,
    RECURRENT_DROPOUT,
    measured,
)

from gru_native import nn

KERNEL_SIZE, STRIDE = 5, 2


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
    finish("convolved_digits", measured(convolved, arguments), arguments, BOUND)


if __name__ == "__main__":
    main()
