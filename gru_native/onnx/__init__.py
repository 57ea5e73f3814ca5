"""ONNX files: a recurrent node becomes a layer."""

from __future__ import annotations

try:
    import onnx as _onnx  # noqa: F401
except ImportError as error:
    raise ImportError(f"gru_native.onnx needs onnx ({error}): pip install 'gru_native[onnx]'") from error

from gru_native.onnx.recurrent import layer

__all__ = ["layer"]
