from typing import Any

import numpy as np

_Array = np.ndarray[Any, Any]

def takes_place_of(array: object, present: _Array) -> bool: ...
def empty(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> _Array: ...
def empty_like(array: _Array) -> _Array: ...

class RecurrentLayer:
    def __init__(self, weights: tuple[Any, ...], batch_first: bool, zoneout: float = 0.0) -> None: ...
    def __call__(self, x: Any, state: Any, lengths: Any, reset: Any, threads: Any) -> tuple[_Array, Any] | None: ...
    def forward(
        self,
        x: Any,
        state: Any,
        lengths: Any,
        reset: Any,
        mask: Any,
        zoneout_keys: tuple[int, ...] | None,
        keep: str,
        threads: Any,
    ) -> tuple[_Array, Any, RecurrentLayerTape] | None: ...

class RecurrentLayerTape:
    def gates(self) -> list[list[_Array]]: ...
    def backward(
        self, d_output: Any, d_final: Any, names: tuple[str, ...], threads: Any
    ) -> tuple[_Array, Any, dict[str, _Array]] | None: ...

class RecurrentStep:
    def __init__(self, layer: RecurrentLayer) -> None: ...
    def __call__(self, x: Any, state: Any) -> Any: ...
