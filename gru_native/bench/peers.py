"""How each engine computes a case: built once, then called again and again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.util import find_spec
from typing import Any

import numpy as np

from gru_native.bench.cases import Array, Case


class Peer(ABC):
    """An engine with the weights and the input of one case.

    Parameters
    ----------
    case
        What to compute.
    threads
        Threads that the engine may use.
    """

    #: The distribution that has to be installed.
    package: str

    @abstractmethod
    def __init__(self, case: Case, threads: int) -> None: ...

    @abstractmethod
    def forward(self) -> Array:
        """Return the output (T, B, D * H), without keeping anything for a backward pass."""

    @abstractmethod
    def train(self) -> dict[str, Array]:
        """Run forward and backward with weights that are new to the engine.

        Returns
        -------
        dict
            The gradients of ``x``, ``h_0`` and of every parameter.
        """


class Native(Peer):
    """The package that this benchmark belongs to."""

    package = "gru_native"

    def __init__(self, case: Case, threads: int) -> None:
        from gru_native import nn

        self._gru = nn.GRU(case.input_size, case.hidden_size, case.num_layers, bidirectional=case.bidirectional, seed=0)
        self._x, self._h_0, self._d_output = case.x(), case.h_0(), case.d_output()
        self._weights = self._gru.parameters()
        self._threads = threads

    def forward(self) -> Array:
        output, _ = self._gru(self._x, self._h_0, threads=self._threads)
        return output  # type: ignore[no-any-return]

    def train(self) -> dict[str, Array]:
        self._gru.assign(self._weights)  # as an optimizer does: the next call packs anew
        _, tape = self._gru.forward(self._x, self._h_0, threads=self._threads)
        (d_x, d_h_0), gradients = self._gru.backward(tape, self._d_output, threads=self._threads)
        return {"x": d_x, "h_0": d_h_0, **gradients}


class Torch(Peer):
    """PyTorch's ``torch.nn.GRU``."""

    package = "torch"

    def __init__(self, case: Case, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._torch = torch
        self._gru = torch.nn.GRU(case.input_size, case.hidden_size, case.num_layers, bidirectional=case.bidirectional)
        self._gru.load_state_dict({name: torch.tensor(array) for name, array in case.weights().items()})
        self._x = torch.from_numpy(case.x()).requires_grad_()
        self._h_0 = torch.from_numpy(case.h_0()).requires_grad_()
        self._d_output = torch.from_numpy(case.d_output())

    def forward(self) -> Array:
        with self._torch.inference_mode():
            output, _ = self._gru(self._x, self._h_0)
        return np.asarray(output.numpy())

    def train(self) -> dict[str, Array]:
        leaves: dict[str, Any] = {"x": self._x, "h_0": self._h_0, **dict(self._gru.named_parameters())}
        for leaf in leaves.values():
            leaf.grad = None
        output, _ = self._gru(self._x, self._h_0)
        output.backward(self._d_output)
        return {name: leaf.grad.numpy() for name, leaf in leaves.items()}


PEERS: dict[str, type[Peer]] = {"gru_native": Native, "torch": Torch}


def installed() -> list[str]:
    """Return the names of the peers that can run here, this package first."""
    return [name for name, peer in PEERS.items() if find_spec(peer.package)]
