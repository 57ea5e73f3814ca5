"""The functions of a recurrent layer's gates, candidates and states, by name and with their numbers.

An activation is given as a name, or as a tuple of a name and one or two numbers: ``"tanh"``,
``("hard_sigmoid", 0.2, 0.5)``. The names are those of ONNX in small letters, but for its Affine, "linear".

==================  ==============================  =================  ====================================
name                of x                            alpha, beta        others call it
==================  ==============================  =================  ====================================
sigmoid             1 / (1 + exp(-x))
tanh                tanh(x)
relu                max(x, 0)
linear              alpha x + beta                  1, 0               Affine (ONNX)
hard_sigmoid        alpha x + beta, within 0 to 1   1/6, 0.5           PyTorch's and Keras 3's; ONNX and
                                                                       Keras up to 2 have 0.2, 0.5
leaky_relu          x where x > 0, else alpha x     0.01
elu                 x where x > 0, else             1
                    alpha (exp(x) - 1)
softsign            x / (1 + abs(x))
softplus            log(1 + exp(x))
scaled_tanh         alpha tanh(beta x)              1, 1
thresholded_relu    x where x > alpha, else 0       1
==================  ==============================  =================  ====================================
"""

from __future__ import annotations

import math
import sys
from typing import Any, NamedTuple, TypeAlias

from gru_native.arguments import number, one_of, shown

#: The numbers alpha and beta that an activation takes, where none are given.
DEFAULTS: dict[str, tuple[float, ...]] = {
    "sigmoid": (),
    "tanh": (),
    "relu": (),
    "linear": (1.0, 0.0),
    "hard_sigmoid": (1 / 6, 0.5),
    "leaky_relu": (0.01,),
    "elu": (1.0,),
    "softsign": (),
    "softplus": (),
    "scaled_tanh": (1.0, 1.0),
    "thresholded_relu": (1.0,),
}


class Activation(NamedTuple):
    """An activation as `activation` returns it: alpha and beta are 0 where the function has none."""

    name: str
    alpha: float = 0.0
    beta: float = 0.0

    @property
    def numbers(self) -> tuple[float, ...]:
        """Those of alpha and beta that the function has."""
        return (self.alpha, self.beta)[: len(DEFAULTS[self.name])]

    @property
    def short(self) -> str | tuple[Any, ...]:
        """What one would write for it."""
        return self.name if self.numbers == DEFAULTS[self.name] else (self.name, *self.numbers)


#: A name, or (name[, alpha[, beta]]).
ActivationLike: TypeAlias = str | tuple[Any, ...] | list[Any]


def activation(argument: str, value: ActivationLike) -> Activation:
    """Return an activation from a name or from a tuple or list of a name and numbers.

    Raises
    ------
    TypeError, ValueError
        For anything else, an unknown name, a number that is not finite, or one that the activation does not have. The
        message names the argument.
    """
    if not isinstance(value, (str, tuple, list)) or not value:
        raise TypeError(f"{argument}: expected a name or a tuple (name, alpha, beta), got {shown(value)}")
    name, *numbers = (value,) if isinstance(value, str) else value
    defaults = DEFAULTS[one_of(argument, name, tuple(DEFAULTS))]
    if isinstance(value, Activation) and not any(numbers[len(defaults) :]):
        numbers = numbers[: len(defaults)]
    if len(numbers) > len(defaults):
        count = ("no number", "one number", "two numbers")[len(defaults)]
        raise ValueError(f"{argument}: expected {count} for {name}, got {shown(tuple(numbers))}")
    least = -sys.float_info.max
    given = [number(f"{argument}[{place}]", each, least, below=math.inf) for place, each in enumerate(numbers, 1)]
    return Activation(name, *given, *defaults[len(given) :])
