"""OpenVINO's GRUSequence, which its reader makes of ONNX's GRU: forward only."""

from __future__ import annotations

from typing import Any

from gru_bench.cases import Array, Case
from gru_bench.peers.base import Peer
from gru_bench.peers.onnx_model import inputs, onnx_model, results


class OpenVino(Peer):
    """A request with the latency hint, in float32, whose tensors share the arrays' memory."""

    packages = ("openvino", "onnx")
    modes = ("forward",)

    def __init__(self, case: Case, threads: int) -> None:
        import openvino

        core = openvino.Core()
        properties = {
            "INFERENCE_PRECISION_HINT": "f32",  # else it would compute in bfloat16 where the CPU can
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self._case = case
        self._compiled = core.compile_model(core.read_model(onnx_model(case)), "CPU", properties)
        self._request = self._compiled.create_infer_request()
        self._inputs = inputs(case)
        for name, array in self._inputs.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        self._names = ["output", *(f"h_n_{layer}" for layer in range(case.num_layers))]

    def forward(self) -> Any:
        return self._request.infer(share_outputs=True)

    def arrays(self, result: Any) -> dict[str, Array]:
        return results(self._case, [result[name] for name in self._names])
