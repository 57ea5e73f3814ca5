from typing import Any, final

import numpy as np
from typing_extensions import Self

_Array = np.ndarray[Any, Any]
# Of one layer: (D, B, H), of the LSTM a tuple (h, c) of them, or None for zeros.
_State = Any

CELLS: tuple[str, ...]
MAX_THREADS: int
FUNCTIONS: tuple[str, ...]
PARAMETERS: tuple[str, ...]

class Unfit(ValueError): ...

def takes_place_of(array: object, present: _Array) -> bool: ...
def empty(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> _Array: ...
def empty_like(array: _Array) -> _Array: ...
def is_constant(array: object) -> bool: ...

@final
class RecurrentWeights:
    def __new__(
        cls,
        cell: str,
        parameters: tuple[_Array | None, ...],
        activations: tuple[tuple[str, float, float], ...] = (),
        clip: float = 0.0,
        input_forget: bool = False,
    ) -> Self: ...
    @property
    def cell(self) -> str: ...
    @property
    def gates(self) -> int: ...
    @property
    def states(self) -> int: ...
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def parameters(self) -> tuple[str, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def isa(self) -> str: ...

@final
class RecurrentLayer:
    def __new__(
        cls, weights: tuple[RecurrentWeights, ...], batch_first: bool, zoneout: float = 0.0, reverse: bool = False
    ) -> Self: ...
    def __call__(
        self,
        x: Any,
        state: _State,
        lengths: Any,
        reset: Any,
        threads: Any,
        mask: _Array | None = None,
        output: _Array | None = None,
        final: _State = None,
    ) -> tuple[_Array, _State]: ...
    def forward(
        self,
        x: Any,
        state: _State,
        lengths: Any,
        reset: Any,
        mask: _Array | None,
        zoneout_keys: tuple[int, ...] | None,
        keep: str,
        threads: Any,
        output: _Array | None = None,
        final: _State = None,
    ) -> tuple[_Array, _State, RecurrentLayerTape]: ...

@final
class RecurrentLayerTape:
    @property
    def nbytes(self) -> int: ...
    @property
    def weights(self) -> tuple[RecurrentWeights, ...]: ...
    @property
    def x(self) -> _Array: ...
    def gates(self) -> list[list[_Array]]: ...
    def backward(
        self,
        d_output: Any,
        d_final: _State,
        names: tuple[str, ...],
        threads: Any,
        d_x: _Array | None = None,
        accumulate: bool = False,
    ) -> tuple[_Array, _State, dict[str, _Array]]: ...

@final
class RecurrentStep:
    def __new__(cls, layer: RecurrentLayer) -> Self: ...
    def __call__(self, x: Any, state: _State) -> _State: ...
