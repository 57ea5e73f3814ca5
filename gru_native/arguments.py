"""Checks of arguments, for the whole package: each kind of argument is checked by one function.

Each function returns the argument as the code behind it takes it. Otherwise it raises a ``TypeError``, for a thing of
another kind, or a ``ValueError``. Both name the argument, what was expected and what came.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from operator import index
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

Array: TypeAlias = np.ndarray[Any, Any]
StrPath: TypeAlias = str | os.PathLike[str]
T = TypeVar("T")

LARGEST = np.iinfo(np.int64).max
#: float64 holds all integers up to this one.
EXACT = 2**53
# DLPack's kinds of devices whose memory the CPU reads: its own, and CUDA's, ROCm's and CUDA's managed one.
_OF_CPU = (1, 3, 11, 13)


def shown(value: Any) -> str:
    """Return what came, in one short line."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"  # Python may refuse to write it out
    if not isinstance(value, (str, bytes, int, float, complex, type(None), np.generic, list, tuple, dict, type)):
        return type(value).__name__
    try:
        text = repr(value)
    except Exception:  # of whatever the user has put into a list or a dictionary
        return type(value).__name__
    return text if len(text) <= 80 and "\n" not in text else type(value).__name__


# ---- Single values --------------------------------------------------------------------------------------------------


def whole(name: str, value: Any, least: float = 1, most: float = LARGEST) -> int:
    """Return `value` as a whole number within ``least <= value <= most``."""
    try:
        if isinstance(value, (bool, np.bool_, np.ma.MaskedArray)):
            raise TypeError
        number = index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {shown(value)}") from None
    if not least <= number <= most:
        limit = "up" if most >= LARGEST and number < least else f"to {most}"
        raise ValueError(f"{name}: expected a whole number from {least} {limit}, got {shown(number)}")
    return number


def wholes(name: str, value: Any, least: float = 1, most: float = LARGEST) -> tuple[int, ...]:
    """Return a list or tuple of whole numbers as a tuple."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name}: expected a list or tuple of whole numbers, got {shown(value)}")
    return tuple(whole(name, each, least, most) for each in value)


def real(name: str, value: Any) -> float:
    """Return a number, or an array that holds just one, as a float. It may be NaN."""
    if type(value) is float:
        return value
    single = value.item() if getattr(value, "shape", None) == () and not isinstance(value, np.ma.MaskedArray) else value
    if isinstance(single, bool) or not isinstance(single, Real):
        raise TypeError(f"{name}: expected a number, got {shown(value)}")
    try:
        return float(single)
    except OverflowError:
        raise ValueError(f"{name}: expected a number that a float can hold, got {shown(value)}") from None


def number(name: str, value: Any, least: float = 0.0, most: float = math.inf, *, below: float | None = None) -> float:
    """Return `value` as a float within ``least <= value <= most``, and less than `below`. It is never NaN."""
    found = real(name, value)
    if least <= found <= most and (below is None or found < below):
        return found
    kind = "finite number" if below == math.inf else "number"
    highest = most if below is None else below
    limits = "" if least == -math.inf else f" from {least:g} {'up' if highest == math.inf else f'to {highest:g}'}"
    exclusive = f", not including {below:g}" if below is not None and below < math.inf else ""
    raise ValueError(f"{name}: expected a {kind}{limits}{exclusive}, got {found}")


def flag(name: str, value: Any) -> bool:
    """Return `value`, which must be true or false."""
    if value is True or value is False:
        return value
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


def one_of(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value`, which must be one of some words."""
    if isinstance(value, str) and value in choices:
        return value
    *first, last = map(repr, choices)
    expected = f"{', '.join(first)} or {last}" if first else last
    error = ValueError if isinstance(value, str) else TypeError
    raise error(f"{name}: expected {expected}, got {shown(value)}")


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Return `dtype` as float32 or float64, the two that the layers compute in."""
    # NumPy takes None, also in comparisons, for float64.
    try:
        found = None if dtype is None else np.dtype(dtype)
    except Exception:  # NumPy has many of them for what is no dtype
        found = None
    if found is None or found not in (np.float32, np.float64):
        raise TypeError(f"dtype: expected float32 or float64, got {shown(dtype)}")
    return found


# ---- Things ---------------------------------------------------------------------------------------------------------


def instance(name: str, value: Any, kind: type[T], expected: str) -> T:
    """Return `value`, which must be a `kind`: an object, not a class (a protocol would take both)."""
    if isinstance(value, kind) and not isinstance(value, type):
        return value
    got = f"the class {_class_name(value)}" if isinstance(value, type) else _class_name(type(value))
    raise TypeError(f"{name}: expected {expected}, got {got}")


def _class_name(kind: type) -> str:
    """Return the name of a class, with its module when it is a stranger's: others have an Adam, too."""
    own = f"{kind.__module__}.".split(".")[0] in ("builtins", "numpy", __name__.split(".")[0])
    return kind.__name__ if own else f"{kind.__module__}.{kind.__qualname__}"


def text(name: str, value: Any) -> str:
    """Return `value`, which must be a string, of characters: half of a surrogate pair is none."""
    found = instance(name, value, str, "a string")
    try:
        found.encode()
    except UnicodeEncodeError as error:
        half = found[error.start]
        raise ValueError(f"{name}: expected characters of Unicode, got {half!r} at {error.start}") from None
    return found


def path(name: str, value: Any) -> str:
    """Return `value`, which must name a file: a whole number would be one that is open already."""
    try:
        found: str | bytes = os.fspath(value)
        if isinstance(found, bytes):
            raise TypeError
    except TypeError:
        raise TypeError(f"{name}: expected a path, as a string or Path, got {shown(value)}") from None
    try:
        possible = found != "" and b"\0" not in os.fsencode(found)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise ValueError(f"{name}: expected a path that the system can have, got {found!r}"[:300])
    return found


def function(name: str, value: Any) -> Callable[..., Any]:
    """Return `value`, which must be callable."""
    if not callable(value):
        raise TypeError(f"{name}: expected a function, got {shown(value)}")
    return value  # type: ignore[no-any-return]


def mapping(name: str, value: Any, expected: str = "arrays") -> Mapping[str, Any]:
    """Return `value`, which must be a mapping of names to what is expected."""
    found = instance(name, value, Mapping, f"a mapping from names to {expected}")  # type: ignore[type-abstract]
    for key in found:
        if not isinstance(key, str):
            raise TypeError(f"{name}: expected strings for names, got {shown(key)}")
    return found


# ---- Arrays ---------------------------------------------------------------------------------------------------------


def array(name: str, value: ArrayLike) -> Array:
    """Return `value` as a plain array whose memory is aligned: itself where it can be."""
    # Nearly all are just that, and calls of two microseconds pass through here.
    if type(value) is not np.ndarray:
        value = _converted(name, value)
    return value if value.flags.aligned else value.copy()


def _converted(name: str, value: Any) -> Array:
    if isinstance(value, tuple) and any(_holds_array(part) for part in value):
        hint = "a recurrent model returns (output, states), and forward (result, tape)"
        raise TypeError(f"{name}: expected an array, got a tuple; {hint}")
    for part in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(part, np.ma.MaskedArray):
            hint = "its mask would be ignored; fill it, and give lengths or weights instead"
            raise TypeError(f"{name}: expected a plain array, got a {type(part).__name__}; {hint}")
    try:
        found = _where_it_lies(value)
    except MemoryError:
        raise
    except Exception as error:  # of whatever the object does when it is asked for its numbers
        raise TypeError(f"{name}: expected an array, got {_no_array(name, value, error)}") from None
    if found.dtype.kind == "O" and not isinstance(value, np.ndarray):
        bits = max((part.bit_length() for part in found.flat if isinstance(part, int)), default=0)
        huge = isinstance(value, (list, tuple)) and bits > 256  # shorter ones are shown
        got = f"a {type(value).__name__} with a number of {bits} bits" if huge else shown(value)
        raise TypeError(f"{name}: expected an array, got {got}")
    if found.dtype.kind == "f" and found.size and isinstance(value, (list, tuple)):
        _refuse_rounding(name, value, found)
    return found


def _where_it_lies(value: Any) -> Array:
    """Return an object's numbers without a copy, where NumPy can refer to them."""
    if hasattr(value, "__dlpack_device__"):
        kind, _ = value.__dlpack_device__()
        if kind not in _OF_CPU:
            device = getattr(value, "device", f"a device of DLPack's kind {int(kind)}")
            raise TypeError(f"its memory is that of {device}, not the CPU's")
        if not hasattr(value, "__array__"):
            return np.from_dlpack(value)
    return np.asarray(value)


def _holds_array(part: Any) -> bool:
    """Whether a part of a tuple is an array with axes, or a tuple with such an array."""
    parts = part if isinstance(part, tuple) else (part,)
    return any(isinstance(each, np.ndarray) and each.ndim for each in parts)


def _refuse_rounding(name: str, value: Any, found: Array) -> None:
    """Refuse a list whose integers are floats in an array, unless there are floats beside them and all are exact."""
    if all(part.dtype.kind in "biu" for part in _parts(value)):
        kinds = " and ".join(sorted({str(part.dtype) for part in _parts(value)}))
        raise ValueError(f"{name}: expected one type that holds all values, got {kinds}")
    if found.dtype == np.float64 and magnitude(found) >= EXACT:
        for part in _parts(value):
            if part.dtype.kind in "iu" and magnitude(part) > EXACT:
                raise ValueError(f"{name}: expected integers up to 2**53 beside {found.dtype}, got {magnitude(part)}")


def _parts(value: Any) -> Iterator[Array]:
    """Yield the arrays and the numbers in lists of lists."""
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _parts(part)
    else:
        yield np.asarray(value)


def magnitude(numbers: Array) -> int | float:
    """Return the largest magnitude among numbers, NaN aside; 0 for none."""
    if not numbers.size:
        return 0
    most: int | float = np.fmax.reduce(numbers, axis=None).item()
    least: int | float = np.fmin.reduce(numbers, axis=None).item()
    return max(most, -least)


def _no_array(name: str, value: Any, error: Exception) -> str:
    if getattr(value, "requires_grad", False) is True:
        return f"a tensor that requires grad; give {name}.detach()"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} whose parts differ in shape, or are no numbers"
    return f"{shown(value)}: {error}"


def any_float_array(name: str, value: ArrayLike) -> Array:
    """Return `value` as an array of one of the dtypes that the layers compute in."""
    found = array(name, value)
    if found.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {found.dtype}")
    return found


def typed_array(name: str, value: ArrayLike, dtype: DTypeLike) -> Array:
    """Return `value` as an array of this dtype. Another one is refused, as a conversion would cost and round."""
    found = array(name, value)
    if found.dtype == dtype:
        return found
    wanted, hint = np.dtype(dtype), ""
    if found.dtype.kind in "biuf":
        hint = f'; convert it by {name}.astype("{wanted}")'
    if {wanted, found.dtype} <= {np.dtype("float32"), np.dtype("float64")}:
        hint += f', or build the layer with dtype="{found.dtype}"'
    raise TypeError(f"{name}: expected dtype {wanted}, got {found.dtype}{hint}")


def shaped_array(name: str, value: ArrayLike, shape: tuple[int, ...], dtype: DTypeLike, axes: str = "") -> Array:
    """Return `value` as an array of just this shape and dtype; `axes` names the axes."""
    found = typed_array(name, value, dtype)
    if found.shape != shape:
        raise ValueError(f"{name}: expected shape {axes + ' = ' if axes else ''}{shape}, got {found.shape}")
    return found


def real_array(name: str, value: ArrayLike) -> Array:
    """Return `value` as an array of real numbers, of any dtype."""
    found = array(name, value)
    if found.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected numbers, got dtype {found.dtype}")
    return found


def index_array(name: str, value: ArrayLike, limit: int, exempt: int | None = None) -> Array:
    """Return whole numbers of any integer dtype as int64: each from 0 to ``limit - 1``, or `exempt`.

    They decide where memory is touched, and others may write to the caller's: what is checked is a copy.
    """
    found = array(name, value).copy()
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected an integer dtype, got {found.dtype}")
    # Compared in their own type: uint64 would turn negative on the way to int64.
    wrong = (found < 0) | (found >= limit)
    if exempt is not None:
        wrong &= found != exempt
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        allowed = f"0 to {limit - 1}" + ("" if exempt is None else f" or {exempt}")
        raise ValueError(f"{name}: expected {allowed}, got {found[where]} at {where}")
    indices: Array = found.astype(np.int64, copy=False)
    return indices


def every(name: str, values: Any, check: Callable[[str, Any], T]) -> list[T]:
    """Return what an iterable gives, each of which passes a check, as a list."""
    try:
        if isinstance(values, (str, bytes, Mapping)):
            raise TypeError
        found = list(values)
    except TypeError:  # also from an array without an axis
        raise TypeError(f"{name}: expected a list, got {shown(values)}") from None
    return [check(f"{name}[{place}]", value) for place, value in enumerate(found)]
