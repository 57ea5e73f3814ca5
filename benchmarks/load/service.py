"""`gru-native serve`, as it is or with another answer to a step: one call of ONNX Runtime, or the frame itself.

    python benchmarks/load/service.py native|onnxruntime|echo|asgi-echo MODEL.safetensors [OPTIONS]

ONNX Runtime reads what `gru_native.onnx.export` has written beside the model.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from gru_native.cli import main
from gru_native.serve import app, sessions
from gru_native.serve.batcher import Batcher
from gru_native.serve.connections import framed
from gru_native.serve.live import Session


class OneCall(Batcher):
    """Answers each step by a call of its own; the states are arrays that a session has."""

    model: Path

    def __init__(self, *given: Any) -> None:
        import onnxruntime

        super().__init__(*given)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._onnx = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        _, h_0 = self._onnx.get_inputs()
        self._h_0 = np.zeros((1, 1, h_0.shape[-1]), np.float32)

    def push(self, session: Session, frame: bytes) -> None:
        """Take and answer a step."""
        x = np.frombuffer(frame, np.float32).reshape(1, 1, -1)
        y, session.h = self._onnx.run(None, {"x": x, "h_0": getattr(session, "h", self._h_0)})
        session.step += 1
        session.y = y.tobytes()
        session.reply(self.acknowledgement(session))


class Echo:
    """An endpoint that sends frames back, in the way that steps and replies go here."""

    def __init__(self, *_: Any) -> None:
        """Take what the endpoint of steps takes."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "{}"})
        await self.serve(scope["state"]["connection"], receive, send)

    async def serve(self, connection: Any, receive: Any, send: Any) -> None:
        """Send frames back until the connection ends."""
        connection.take = lambda frame: connection.write(framed(frame)) is None
        await receive()


class AsgiEcho(Echo):
    """The same in plain ASGI."""

    async def serve(self, connection: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "bytes": message["bytes"]})


if __name__ == "__main__":
    service, model, *options = sys.argv[1:]
    if service == "onnxruntime":
        OneCall.model = Path(model).with_suffix(".onnx")
        sessions.Batcher = OneCall
    elif service != "native":
        app.Streams = {"echo": Echo, "asgi-echo": AsgiEcho}[service]
    sys.exit(main(["serve", model, *options]))
