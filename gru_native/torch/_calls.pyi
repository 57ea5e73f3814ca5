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
    def __new__(cls, weights: Weights, given: tuple[Any, ...], options: tuple[Any, ...], keep: bool) -> Self: ...

def intercepted() -> bool: ...
def plain_parameters(
    own: dict[str, Tensor | None], names: Sequence[str], inputs: tuple[Any, ...]
) -> list[Tensor] | None: ...
def forward(
    frozen: Weights | None,
    parameters: Sequence[Tensor],
    given: tuple[Any, ...],
    options: tuple[Any, ...],
    keep: bool,
    clear: bool = False,
) -> tuple[Any, ...]: ...
def backward(
    d_output: Tensor | None,
    d_h_n: Tensor | None,
    d_c_n: Tensor | None,
    output: Tensor,
    tape: Tensor,
    wants_x: bool,
    wants_state: bool,
    keep_tape: bool,
    frozen: Weights | None,
    parameters: Sequence[Tensor],
    given: tuple[Any, ...],
    options: tuple[Any, ...],
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
