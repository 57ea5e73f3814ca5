"""ONNX Runtime's GRU operator: forward only."""

from __future__ import annotations

from typing import Any

import numpy as np

from gru_native.bench.cases import Array, Case
from gru_native.bench.peers.base import Peer
from gru_native.bench.peers.onnx_model import inputs, onnx_model, results


class OnnxRuntime(Peer):
    """A session whose inputs and outputs are bound to arrays once, which is its fastest way from Python."""

    packages = ("onnxruntime", "onnx")
    modes = ("forward",)

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
        self._binding = session.io_binding()
        for name, array in self._inputs.items():
            self._binding.bind_cpu_input(name, array)
        for output, array in zip(session.get_outputs(), self._outputs, strict=True):
            self._binding.bind_output(output.name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def forward(self) -> list[Array]:
        self._session.run_with_iobinding(self._binding)
        return self._outputs

    def arrays(self, result: Any) -> dict[str, Array]:
        return results(self._case, result)
