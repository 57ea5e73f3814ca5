"""The package that this benchmark belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from gru_bench.cases import Array, Case
from gru_bench.peers.base import POOL_SIZE, Peer, subsets
from gru_native import functional as F
from gru_native import nn
from gru_native._layer import RecurrentLayer, RecurrentStep

if TYPE_CHECKING:
    from gru_native.stream import Stream, StreamPool


class Native(Peer):
    """``gru_native.nn.GRU``; of the first layer and direction also what lies below it, for the overheads."""

    packages = ("gru_native",)
    modes = (
        *("forward", "train", "given", "cell", "step", "new"),
        *("stream", "pool"),
        *("ragged", "ragged_train", "states_train", "lstm", "lstm_train", "rnn", "rnn_train"),
    )

    def __init__(self, case: Case, threads: int) -> None:
        self._case = case
        self._gru = nn.GRU(case.input_size, case.hidden_size, case.num_layers, bidirectional=case.bidirectional, seed=0)
        self._x, self._h_0, self._d_output = case.x(), case.h_0(), case.d_output()
        self._lengths = case.lengths()
        self._weights = self._gru.parameters()
        self._threads = threads

        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        self._layer = [self._weights[f"{name}_l0"] for name in names]
        self._packed = F.pack_gru(*self._layer)
        self._output = np.empty((case.steps, case.batch, case.hidden_size), np.float32)
        self._h_n = np.empty((case.batch, case.hidden_size), np.float32)
        self._cell = nn.GRUCell(case.input_size, case.hidden_size, seed=0)
        self._step = RecurrentStep(RecurrentLayer((self._packed,), False))
        self._first = self._x[0], self._h_0[0]

    def forward(self) -> tuple[Array, Array]:
        result: tuple[Array, Array] = self._gru(self._x, self._h_0, threads=self._threads)
        return result

    def train(self) -> dict[str, Array]:
        self._gru.assign(self._weights)  # as an optimizer does: the next call packs anew
        _, tape = self._gru.forward(self._x, self._h_0, threads=self._threads)
        (d_x, d_h_0), gradients = self._gru.backward(tape, self._d_output, threads=self._threads)
        return {"x": d_x, "h_0": d_h_0, **gradients}

    # ---- Other cells and sequences, without an initial state ----

    def ragged(self) -> Any:
        """Run the GRU over a ragged batch."""
        return self._gru(self._x, lengths=self._lengths, threads=self._threads)

    def ragged_train(self) -> Any:
        """Train it."""
        return self._step_of(self._gru, lengths=self._lengths)

    def states_train(self) -> Any:
        """Train the GRU with a tape that keeps no gates."""
        return self._step_of(self._gru, tape="states")

    def lstm(self) -> Any:
        """Run an LSTM."""
        return self._lstm(self._x, threads=self._threads)

    def lstm_train(self) -> Any:
        """Train an LSTM."""
        return self._step_of(self._lstm)

    def rnn(self) -> Any:
        """Run a plain network."""
        return self._rnn(self._x, threads=self._threads)

    def rnn_train(self) -> Any:
        """Train a plain network."""
        return self._step_of(self._rnn)

    @cached_property
    def _lstm(self) -> nn.LSTM:
        return nn.LSTM(self._case.input_size, self._case.hidden_size, self._case.num_layers, seed=0)

    @cached_property
    def _rnn(self) -> nn.RNN:
        return nn.RNN(self._case.input_size, self._case.hidden_size, self._case.num_layers, seed=0)

    def _step_of(self, stack: Any, **options: Any) -> Any:
        stack.assign(stack.parameters())  # as an optimizer does: the next call packs anew
        _, tape = stack.forward(self._x, threads=self._threads, **options)
        return stack.backward(tape, self._d_output, threads=self._threads)

    # ---- Live sequences ----

    def stream(self) -> Array:
        """Take the rows one step further."""
        return self._stream.step(self._first[0], self._h_n)

    def pool(self) -> Array:
        """Take some of many sequences one step further."""
        pool, subsets = self._pool
        return pool.step(next(subsets), self._first[0], self._h_n)

    @cached_property
    def _stream(self) -> Stream:
        return self._gru.stream(self._case.batch)

    @cached_property
    def _pool(self) -> tuple[StreamPool, Iterator[Array]]:
        pool = self._gru.pool(POOL_SIZE, shards=self._threads)
        ids = np.array([pool.open(shard=place % self._threads) for place in range(POOL_SIZE)], np.uint64)
        return pool, (ids[subset] for subset in subsets(self._case.batch))

    # ---- What lies below ----

    def given(self) -> tuple[Array, Array]:
        """Run one layer into arrays that the caller gives."""
        return self._run_layer(self._packed)

    def new(self) -> tuple[Array, Array]:
        """Do the same with weights that are new, and packed by it."""
        return self._run_layer(F.pack_gru(*self._layer))

    def _run_layer(self, weights: F.RecurrentWeights) -> tuple[Array, Array]:
        h_0, h_n = self._h_0[0], self._h_n
        return F.recurrent(self._x, weights, h_0, output=self._output, final=h_n, threads=self._threads)

    def cell(self) -> Array:
        """Take one step through ``GRUCell``."""
        h: Array = self._cell(*self._first)
        return h

    def step(self) -> Any:
        """Take one step through the Cython call under ``GRUCell``."""
        return self._step(*self._first)
