"""ONNX Runtime's GRU operator: forward only."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from gru_bench.cases import Array, Case
from gru_bench.peers.base import POOL_SIZE, Peer, subsets
from gru_bench.peers.onnx_model import inputs, onnx_model, results


class OnnxRuntime(Peer):
    """A session whose inputs and outputs are bound to arrays once, which is its fastest way from Python."""

    packages = ("onnxruntime", "onnx")
    modes = ("forward", "stream", "pool")

    def __init__(self, case: Case, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(onnx_model(case), options, providers=["CPUExecutionProvider"])
        self._case = case
        self._session = session
        self._inputs = inputs(case)
        self._outputs = [np.empty(output.shape, np.float32) for output in session.get_outputs()]
        self._binding = self._bound(self._inputs, self._outputs)
        # A live sequence's states go to and fro between two arrays.
        self._h, h_n = self._inputs["h_0_0"], self._outputs[1]
        turned = self._bound({**self._inputs, "h_0_0": h_n}, [self._outputs[0], self._h, *self._outputs[2:]])
        self._turns = itertools.cycle([self._binding, turned])
        self._states, self._subsets = np.zeros((POOL_SIZE, case.hidden_size), np.float32), subsets(case.batch)

    def _bound(self, inputs: dict[str, Array], outputs: list[Array]) -> Any:
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_cpu_input(name, array)
        for output, array in zip(self._session.get_outputs(), outputs, strict=True):
            binding.bind_output(output.name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        return binding

    def forward(self) -> list[Array]:
        self._session.run_with_iobinding(self._binding)
        return self._outputs

    def stream(self) -> list[Array]:
        """Take the rows one step further."""
        self._session.run_with_iobinding(next(self._turns))
        return self._outputs

    def pool(self) -> list[Array]:
        """Do so with some of many sequences, whose states NumPy gathers and puts back."""
        rows = next(self._subsets)
        np.take(self._states, rows, axis=0, out=self._h[0], mode="clip")
        self._session.run_with_iobinding(self._binding)
        self._states[rows] = self._outputs[1][0]
        return self._outputs

    def arrays(self, result: Any) -> dict[str, Array]:
        return results(self._case, result)
