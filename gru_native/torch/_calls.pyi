from collections.abc import Sequence
from typing import Any, final

from torch import Tensor
from typing_extensions import Self

CELLS: tuple[str, ...]

@final
class Weights:
    # cell, num_layers, bidirectional, bias and the parameters: the first ones come as a slice.
    def __new__(cls, *arguments: Any) -> Self: ...
    @property
    def cell(self) -> str: ...
    def __deepcopy__(self, memo: dict[int, Any]) -> Self: ...

@final
class Call:
    def __new__(
        cls,
        weights: Weights,
        x: Tensor,
        h_0: Tensor | None,
        c_0: Tensor | None,
        lengths: Tensor | None,
        reset: Tensor | None,
        seed: Tensor | None,
        steps_axis: int,
        batch_axis: int,
        dropout: float,
        recurrent_dropout: float,
        zoneout: float,
        keep: bool,
        threads: int,
    ) -> Self: ...

def plain_parameters(
    own: dict[str, Tensor | None], names: Sequence[str], x: Any, h_0: Any, c_0: Any
) -> list[Tensor] | None: ...
def forward(weights: Weights, x: Tensor, *arguments: Any, clear: bool = False) -> tuple[Any, ...]: ...
def backward(
    d_output: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    output: Tensor,
    tape: Tensor,
    wants_x: bool,
    wants_state: bool,
    keep_tape: bool,
    weights: Weights,
    x: Tensor,
    *arguments: Any,
) -> tuple[Any, ...]: ...
def tape_terms(
    cell: str,
    is_double: bool,
    layers: int,
    directions: int,
    input_size: int,
    hidden_size: int,
    output_size: int,
    has_lengths: bool,
    has_reset: bool,
    masked: bool,
    dropped: bool,
) -> tuple[tuple[int, int, int], ...]: ...
def tape_size(steps: Any, batch: Any, *sizes: Any) -> Any: ...
