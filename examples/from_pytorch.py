"""Take over weights from PyTorch: train a network there, and run it here.

The sequences are scikit-learn's handwritten digits, read row by row.

    python examples/from_pytorch.py
"""

from __future__ import annotations

import argparse
import timeit

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gru_native as gn


class Reader(torch.nn.Module):
    """Reads sequences (B, T, 8), and says with its last state which digit each is."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = torch.nn.GRU(8, 64, batch_first=True)
        self.linear = torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, 10)."""
        _, h_n = self.gru(x)
        return self.linear(h_n[-1])


def main() -> None:
    """Train in PyTorch, take the weights over, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20, metavar="N")
    arguments = parser.parse_args()

    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32) / 16
    x, x_test, y, y_test = train_test_split(images, digits, random_state=0)
    torch.manual_seed(0)
    theirs = Reader()
    optimizer = torch.optim.Adam(theirs.parameters(), lr=5e-3)
    for _ in range(arguments.epochs):
        for chosen in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(theirs(torch.tensor(x)[chosen]), torch.tensor(y)[chosen]).backward()
            optimizer.step()

    ours = gn.nn.Sequential(
        {
            "gru": gn.nn.GRU(8, 64, batch_first=True),
            "last": gn.nn.LastPooling(batch_first=True),
            "linear": gn.nn.Linear(64, 10),
        }
    )
    ours.load_state_dict(theirs.state_dict())  # the same names, so nothing is renamed

    found, _ = ours(x_test)
    seconds = min(timeit.repeat(lambda: ours(x_test), number=1, repeat=20))
    with torch.inference_mode():
        x_test = torch.tensor(x_test)
        expected = theirs(x_test).numpy()
        their_seconds = min(timeit.repeat(lambda: theirs(x_test), number=1, repeat=20))
    print(f"accuracy {np.mean(found.argmax(axis=1) == y_test):.3f} in {1e3 * seconds:.2f} ms")
    print(f"PyTorch: {np.mean(expected.argmax(axis=1) == y_test):.3f} in {1e3 * their_seconds:.2f} ms")
    print(f"largest difference between logits: {np.abs(found - expected).max():.1e}")


if __name__ == "__main__":
    main()
