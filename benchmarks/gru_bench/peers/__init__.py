"""The engines that are compared, a file each. An engine is imported when a case is built, in its own process."""

from __future__ import annotations

from importlib.util import find_spec

from gru_bench.peers.base import Peer
from gru_bench.peers.jax import Jax
from gru_bench.peers.native import Native
from gru_bench.peers.onnxruntime import OnnxRuntime
from gru_bench.peers.openvino import OpenVino
from gru_bench.peers.pytorch import Torch

OWN = "gru_native"
PEERS: dict[str, type[Peer]] = {
    OWN: Native,
    "torch": Torch,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVino,
    "jax": Jax,
}


def installed() -> list[str]:
    """Return the names of the peers that can run here, this package first."""
    return [name for name, peer in PEERS.items() if all(map(find_spec, peer.packages))]
