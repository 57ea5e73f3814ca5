"""PyTorch's ``torch.nn.GRU``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from gru_bench.cases import Case
from gru_bench.peers.base import POOL_SIZE, Peer, subsets


class Torch(Peer):
    """PyTorch's ``torch.nn.GRU``, and its ``GRUCell`` for the overheads."""

    packages = ("torch",)
    modes = (
        *("forward", "train", "cell", "stream", "pool"),
        *("ragged", "ragged_train", "lstm", "lstm_train", "rnn", "rnn_train"),
    )

    def __init__(self, case: Case, threads: int) -> None:
        import torch

        self._case = case
        torch.set_num_threads(threads)
        self._torch = torch
        self._gru = torch.nn.GRU(case.input_size, case.hidden_size, case.num_layers, bidirectional=case.bidirectional)
        self._gru.load_state_dict({name: torch.tensor(array) for name, array in case.weights().items()})
        self._cell = torch.nn.GRUCell(case.input_size, case.hidden_size)
        self._x = torch.from_numpy(case.x()).requires_grad_()
        self._h_0 = torch.from_numpy(case.h_0()).requires_grad_()
        self._first = self._x[0].detach(), self._h_0[0].detach()
        self._d_output = torch.from_numpy(case.d_output())
        self._lengths = torch.from_numpy(case.lengths())
        self._h = self._first[1]
        self._states, self._subsets = np.zeros((POOL_SIZE, case.hidden_size), np.float32), subsets(case.batch)

    def forward(self) -> Any:
        with self._torch.inference_mode():
            return self._gru(self._x, self._h_0)

    def train(self) -> dict[str, Any]:
        leaves: dict[str, Any] = {"x": self._x, "h_0": self._h_0, **dict(self._gru.named_parameters())}
        for leaf in leaves.values():
            leaf.grad = None
        output, _ = self._gru(self._x, self._h_0)
        output.backward(self._d_output)
        return {name: leaf.grad for name, leaf in leaves.items()}

    # ---- Other cells and sequences, without an initial state ----

    def ragged(self) -> Any:
        """Run the GRU over a ragged batch, a ``PackedSequence``, to a padded output."""
        with self._torch.inference_mode():
            return self._padded()

    def ragged_train(self) -> Any:
        """Train it."""
        return self._step_of(self._gru, self._padded)

    def lstm(self) -> Any:
        """Run an LSTM."""
        with self._torch.inference_mode():
            return self._lstm(self._x)

    def lstm_train(self) -> Any:
        """Train an LSTM."""
        return self._step_of(self._lstm, lambda: self._lstm(self._x)[0])

    def rnn(self) -> Any:
        """Run a plain network."""
        with self._torch.inference_mode():
            return self._rnn(self._x)

    def rnn_train(self) -> Any:
        """Train a plain network."""
        return self._step_of(self._rnn, lambda: self._rnn(self._x)[0])

    @cached_property
    def _lstm(self) -> Any:
        return self._torch.nn.LSTM(self._case.input_size, self._case.hidden_size, self._case.num_layers)

    @cached_property
    def _rnn(self) -> Any:
        return self._torch.nn.RNN(self._case.input_size, self._case.hidden_size, self._case.num_layers)

    def _padded(self) -> Any:
        rnn = self._torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(self._x, self._lengths, enforce_sorted=False)
        return rnn.pad_packed_sequence(self._gru(packed)[0])[0]

    def _step_of(self, stack: Any, run: Callable[[], Any]) -> Any:
        for leaf in (self._x, *stack.parameters()):
            leaf.grad = None
        run().backward(self._d_output)
        return self._x.grad

    # ---- Live sequences ----

    def stream(self) -> Any:
        """Take the rows one step further, through ``torch.nn.GRUCell``, which is quicker than ``GRU``."""
        with self._torch.inference_mode():
            self._h = self._cell(self._first[0], self._h)
        return self._h

    def pool(self) -> Any:
        """Do so with some of many sequences, whose states NumPy gathers and puts back."""
        rows = next(self._subsets)
        with self._torch.inference_mode():
            h = self._cell(self._first[0], self._torch.from_numpy(self._states[rows]))
        self._states[rows] = h.numpy()
        return h

    # ---- The cell ----

    def cell(self) -> Any:
        """Take one step through ``torch.nn.GRUCell``."""
        with self._torch.inference_mode():
            return self._cell(*self._first)
