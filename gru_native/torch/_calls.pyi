from collections.abc import Sequence
from typing import Any

from torch import Tensor

class Weights:
    def __init__(self, *arguments: Any) -> None: ...

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
def tape_size(steps: Any, batch: Any, *sizes: Any) -> Any: ...
