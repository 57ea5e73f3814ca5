"""PyTorch's ``torch.nn.GRU``."""

from __future__ import annotations

from typing import Any

from gru_native.bench.cases import Case
from gru_native.bench.peers.base import Peer


class Torch(Peer):
    """PyTorch's ``torch.nn.GRU``, and its ``GRUCell`` for the overheads."""

    packages = ("torch",)
    modes = ("forward", "train", "cell")

    def __init__(self, case: Case, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self._torch = torch
        self._gru = torch.nn.GRU(case.input_size, case.hidden_size, case.num_layers, bidirectional=case.bidirectional)
        self._gru.load_state_dict({name: torch.tensor(array) for name, array in case.weights().items()})
        self._cell = torch.nn.GRUCell(case.input_size, case.hidden_size)
        self._x = torch.from_numpy(case.x()).requires_grad_()
        self._h_0 = torch.from_numpy(case.h_0()).requires_grad_()
        self._first = self._x[0].detach(), self._h_0[0].detach()
        self._d_output = torch.from_numpy(case.d_output())

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

    def cell(self) -> Any:
        """Take one step through ``torch.nn.GRUCell``."""
        with self._torch.inference_mode():
            return self._cell(*self._first)
