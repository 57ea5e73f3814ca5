"""What is measured: shapes, and the arrays that every peer gets."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """A stack of GRU layers over a batch: T steps, B rows, I inputs, H units, L layers, float32."""

    steps: int
    batch: int
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False

    @property
    def name(self) -> str:
        """The shape as the tables give it."""
        return "{},{},{},{},{}".format(*astuple(self)[:5]) + (" bi" if self.bidirectional else "")

    @classmethod
    def named(cls, name: str) -> Case:
        """Return the case of such a name."""
        sizes, _, both = name.partition(" ")
        steps, batch, input_size, hidden_size, num_layers = map(int, sizes.split(","))
        return cls(steps, batch, input_size, hidden_size, num_layers, both == "bi")

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1

    @property
    def layer_inputs(self) -> list[int]:
        """The size of each layer's input."""
        return [self.input_size] + [self.hidden_size * self.directions] * (self.num_layers - 1)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one forward pass; a training step has three times as many."""
        per_row = sum(3 * self.hidden_size * (i + self.hidden_size) for i in self.layer_inputs) * self.directions
        return self.steps * self.batch * per_row

    def weights(self) -> dict[str, Array]:
        """Return weights under PyTorch's names, uniform in ±1/√H."""
        from gru_native import nn

        gru = nn.GRU(self.input_size, self.hidden_size, self.num_layers, bidirectional=self.bidirectional, seed=0)
        return gru.parameters()

    def x(self) -> Array:
        """Return a standard normal input (T, B, I)."""
        return self._normal((self.steps, self.batch, self.input_size), seed=1)

    def h_0(self) -> Array:
        """Return a standard normal initial state (L * D, B, H)."""
        return self._normal((self.num_layers * self.directions, self.batch, self.hidden_size), seed=2)

    def lengths(self) -> Array:
        """Return lengths (B) from 1 to T of a ragged batch, in no order: half of the steps on average."""
        lengths = np.linspace(1, self.steps, self.batch).round().astype(np.int64)
        return np.random.default_rng(4).permutation(lengths)

    def d_output(self) -> Array:
        """Return a standard normal gradient of the output (T, B, D * H)."""
        return self._normal((self.steps, self.batch, self.hidden_size * self.directions), seed=3)

    def _normal(self, shape: tuple[int, ...], seed: int) -> Array:
        return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


GRID = (
    *(Case(100, 1, size, size) for size in (16, 64, 128, 256, 512, 1024)),
    Case(100, 1, 256, 256, 2),
    *(Case(100, 8, size, size) for size in (128, 512)),
    *(Case(100, 32, size, size) for size in (64, 128, 256, 512)),
    Case(50, 32, 1024, 1024),
    Case(100, 64, 256, 256, 2),
    Case(100, 128, 256, 256),
    Case(50, 256, 512, 512),
    Case(33, 1, 8, 4, bidirectional=True),
    Case(1, 33, 8, 8),
    Case(400, 1, 40, 48),
    Case(100, 5, 33, 100, 3),
    Case(200, 16, 80, 154),
    Case(100, 3, 257, 250, 2),
    Case(50, 12, 39, 400),
    *(Case(1, batch, size, size) for batch in (1, 64) for size in (16, 64, 256)),
)

QUICK = (Case(100, 1, 64, 64), Case(100, 8, 128, 128), Case(100, 32, 256, 256), Case(100, 5, 33, 100, 3))
