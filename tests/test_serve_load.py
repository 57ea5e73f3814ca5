"""The load test, in short: its client, and the services that it compares."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from cases import assert_same_bits

import gru_native as gn
from gru_native import nn

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("websockets")
client = pytest.importorskip("load.client", reason="the load test is in a checkout")
compare = pytest.importorskip("load.compare", reason="the load test is in a checkout")


@pytest.mark.parametrize("rate", [0.0, 200.0])
@pytest.mark.parametrize("service", ["native", "onnxruntime", "echo", "asgi-echo"])
def test_ten_sessions_for_a_second(tmp_path: Path, rng: np.random.Generator, service: str, rate: float) -> None:
    if service == "onnxruntime":
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnx")
        compare.write(tmp_path / "model.safetensors", 8)
    else:
        model = nn.Sequential(nn.GRU(compare.INPUTS, 8, seed=0), nn.Linear(8, compare.OUTPUTS, seed=0))
        gn.save(model, tmp_path / "model.safetensors")
    x = rng.normal(size=(10, compare.INPUTS)).astype(np.float32)
    load = client.Load([row.tobytes() for row in x], rate)
    with compare.served(service, tmp_path / "model.safetensors") as (pid, url):
        found = asyncio.run(load.run(url, pid, 0.1, 1.0))
    assert 0 < found["p50_ms"] <= found["p99_ms"] <= found["p99.9_ms"]
    assert found["steps_per_second"] > 0
    assert found["memory_mb"] > 10
    y = np.frombuffer(load.outputs(), np.float32).reshape(10, -1)
    if service == "native":
        assert_same_bits(y, np.concatenate(model.predict(list(x[:, None]))), "the first steps")
    elif "echo" in service:
        np.testing.assert_array_equal(y, x[:, client.HEAD // 4 :])


def test_services_that_differ_are_no_comparison() -> None:
    ours, theirs = np.zeros(4, np.float32), np.full(4, 1e-3, np.float32)
    compare.same(ours.tobytes(), ours.tobytes())
    with pytest.raises(ValueError, match="outputs: expected those of both services within 1e-05, got 0.001"):
        compare.same(ours.tobytes(), theirs.tobytes())
