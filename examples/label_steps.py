"""Label each step: what kind of thing each character of a Python program is part of, as an editor colours it.

The programs are those of Python's own library, and its tokenizer says what is right.

    python examples/label_steps.py
"""

from __future__ import annotations

import argparse
import keyword
import sysconfig
import tokenize
from collections.abc import Iterator
from io import StringIO
from itertools import accumulate
from pathlib import Path

import numpy as np

from gru_native import losses, nn, optim
from gru_native.train import Sequences, Trainer

KINDS = {tokenize.NAME: 1, tokenize.OP: 2, tokenize.NUMBER: 3, tokenize.STRING: 4, tokenize.COMMENT: 5}
KEYWORD, SYMBOLS = 6, ".noNSCK"  # a symbol for each kind: 0 is everything else
PIECE, CODES = 200, 128
PROGRAM = '''\
def area(radius):
    """Return the area of a circle."""
    return 3.14 * radius**2  # about
'''


def labelled(path: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the codes of a program's characters and their kinds, in pieces of at most 200 characters."""
    source = path.read_text(encoding="utf-8")
    kinds = np.zeros(len(source), np.int64)
    lines = [0, *accumulate(map(len, StringIO(source)))]  # where each begins
    for token in tokenize.generate_tokens(StringIO(source).readline):
        if kind := KEYWORD if keyword.iskeyword(token.string) else KINDS.get(token.type, 0):
            (row, column), (last_row, last_column) = token.start, token.end
            kinds[lines[row - 1] + column : lines[last_row - 1] + last_column] = kind
    codes = np.minimum([*map(ord, source)], CODES - 1)
    for start in range(0, len(source), PIECE):
        yield codes[start : start + PIECE], kinds[start : start + PIECE]


def main() -> None:
    """Train on 50 modules, and test on 10 others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600, metavar="N")
    arguments = parser.parse_args()

    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py"))[:60]
    x, y = zip(*(piece for module in modules[10:] for piece in labelled(module)), strict=True)
    x_test, y_test = zip(*(piece for module in modules[:10] for piece in labelled(module)), strict=True)

    model = nn.Sequential(
        nn.Embedding(CODES, 32, seed=0),
        nn.GRU(32, 64, bidirectional=True, seed=1),
        nn.Linear(128, len(SYMBOLS), seed=2),
    )
    trainer = Trainer(model, losses.CrossEntropyLoss(), optim.Adam(model, lr=5e-3), max_norm=1.0)
    trainer.fit(Sequences(x, y, batch_size=32, per_step=True, shuffle=True), steps=arguments.steps)
    logits = model.predict(x_test)  # a list of (T, 7)
    found = [each.argmax(axis=1) for each in logits]

    counts = np.zeros((CODES, len(SYMBOLS)))
    np.add.at(counts, (np.concatenate(x), np.concatenate(y)), 1)
    usual = counts.argmax(axis=1)[np.concatenate(x_test)]
    logits, _ = model(np.array([*map(ord, PROGRAM)]))  # (T,) to (T, 7)
    print(PROGRAM)
    print("".join(c if c == "\n" else SYMBOLS[kind] for c, kind in zip(PROGRAM, logits.argmax(axis=1), strict=True)))
    print(f"accuracy {np.mean(np.concatenate(found) == np.concatenate(y_test)):.3f}")
    print(f"what each character is most often: {np.mean(usual == np.concatenate(y_test)):.3f}")


if __name__ == "__main__":
    main()
