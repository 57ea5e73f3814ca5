"""ONNX files: a graph that is a chain of layers becomes a model, a recurrent node a layer, a model a graph.

``load(source)`` gives the `nn.Sequential` of a file, ``layer(node, initializers)`` the layer of one GRU, LSTM or RNN,
and ``export(model, path)`` writes a file. What one side cannot express is refused, with the name of the node or layer.
"""

from __future__ import annotations

try:
    import onnx as _onnx  # noqa: F401
except ImportError as error:
    raise ImportError(f"gru_native.onnx needs onnx ({error}): pip install 'gru_native[onnx]'") from error

from gru_native.onnx.reading import load
from gru_native.onnx.recurrent import layer
from gru_native.onnx.writing import export

__all__ = ["export", "layer", "load"]
