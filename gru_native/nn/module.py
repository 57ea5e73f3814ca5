"""The base of every layer: named arrays in immutable versions, and the three calls that a layer answers.

A module's arrays are never changed in place. A change makes a new `Version`, swapped in at once, so that a
call under way keeps the one it started with, and whatever was derived from a version (a packed weight) can
never be stale.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, Signature, signature
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeAlias, TypeVar, cast, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import arguments
from gru_native._layer import takes_place_of
from gru_native.arguments import Array as Array
from gru_native.arguments import flag, instance, mapping, text
from gru_native.changes import Change, make
from gru_native.nn.signal import Signal
from gru_native.passes import repeatable

if TYPE_CHECKING:
    from typing_extensions import Self

    from gru_native.nn.summary import Summary
    from gru_native.stream import Stream, StreamPool
    from gru_native.train.data import Data

# By name an array of the parameter's shape, or of a sparse `Embedding` a `SparseGradient`.
Gradients: TypeAlias = dict[str, Any]
Derived = TypeVar("Derived")
Called = ParamSpec("Called")
Recorded = ParamSpec("Recorded")
Returned = ParamSpec("Returned")
Result = TypeVar("Result")
Output = TypeVar("Output")
Gradient = TypeVar("Gradient")

# Held while the versions of a whole tree are read or swapped, and for nothing else: a few microseconds.
_swap = threading.RLock()

# A fork waits for it: so the child finds it free, and no tree half swapped by a thread that it does not have.
os.register_at_fork(before=_swap.acquire, after_in_parent=_swap.release, after_in_child=_swap.release)


class Version:
    """One version of a module's own arrays, which nobody can write to, with what was derived from them."""

    def __init__(self, frozen_arrays: dict[str, Array]) -> None:
        self.arrays = frozen_arrays
        self._derived: dict[str, Any] = {}

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Version:
        """Return the version of such arrays, or of copies that are read-only."""
        return cls({name: frozen(array) for name, array in arrays.items()})

    def replaced(self, changed: Mapping[str, Array]) -> Version:
        """Return the version after this one, in which some arrays, frozen already, take the place of others."""
        return Version({**self.arrays, **changed})

    def __reduce__(self) -> tuple[Callable[[Mapping[str, Array]], Version], tuple[dict[str, Array]]]:
        # A copied or unpickled array is writable, and has to become read-only again.
        return Version.of, (self.arrays,)

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def derive(self, name: str, make: Callable[[Version], Derived]) -> Derived:
        """Return what ``make(version)`` gives, made once for this version.

        Two threads that come first at the same time may both make it; one result is kept.
        """
        found: Derived | None = self._derived.get(name)
        return self._derived.setdefault(name, make(self)) if found is None else found


# Every call makes one of each: frozen, they would take twice as long to make.
@dataclass(slots=True)
class Snapshot:
    """The versions of a module and of everything below it, all of one moment."""

    version: Version
    children: Mapping[str, Snapshot] = field(default_factory=dict)

    def __getitem__(self, child: str) -> Snapshot:
        return self.children[child]


@dataclass(slots=True)
class Tape:
    """What the ``forward`` of `module` keeps for its ``backward``."""

    module: Module
    saved: Any = field(repr=False)


class IncompatibleKeys(NamedTuple):
    """Names in which a state and a module differ, as PyTorch has them."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class _OfTrainer:
    """A method that models of Keras or scikit-learn have: to look it up says where it is."""

    # Not __getattr__, which would make a small call of a layer take 4 percent longer.
    def __set_name__(self, owner: type[Module], name: str) -> None:
        self.name = name

    def __get__(self, model: Module | None, owner: type[Module]) -> Any:
        if model is None:
            return self
        hint = "gru_native.train.Trainer(model, loss, optimizer) has fit and evaluate"
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}; {hint}")


class Module:
    """A layer: parameters, buffers and child modules under PyTorch's dotted names.

    Every module has the same three calls:

    ``module(x, ...)``
        the result, as at inference: no tape; dropout and batch statistics do not act.
    ``module.forward(x, ...)``
        the result and a tape. Dropout and batch statistics act when the module is in training mode.
    ``module.backward(tape, d_output, ...)``
        the gradients of the inputs, and those of the parameters as a dictionary with the names of
        `parameters`.

    A call sees the parameters of one moment, even while another thread changes them; ``backward`` uses those
    that its ``forward`` saw. Inputs may change after a call; the output of ``forward`` is read-only, since
    this module's ``backward`` or the next one's reads it again. All three calls take ``threads=None``, the
    most threads to compute with (``None`` for the default), and ``forward`` takes ``seed=None``, the seed of
    its random numbers (a whole number or a tuple of them).

    A subclass passes its arrays to ``__init__``, assigns child modules as attributes, and writes `_call`,
    `_forward` and `_backward` (and `_config`, the arguments of ``__init__``) over a `Snapshot` instead of
    over ``self``'s arrays. With `_passed` too, a `Sequential` and a `Trainer` check what the module takes and gives.
    `public` gives the three calls the signatures of these.

    Parameters
    ----------
    arrays
        The module's own arrays by name; ``None`` stands for none.
    """

    #: Names of the module's own arrays that are kept in the state, but not trained.
    buffer_names: tuple[str, ...] = ()

    def __init__(self, arrays: Mapping[str, Array] | None = None) -> None:
        self._children: dict[str, Module] = {}
        given = mapping("arrays", {} if arrays is None else arrays)
        self._version = Version.of({name: arguments.array(f"arrays[{name!r}]", own) for name, own in given.items()})
        self.training = True

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Module):
            self._children[name] = value
        else:
            self.__dict__.get("_children", {}).pop(name, None)
        super().__setattr__(name, value)

    if not TYPE_CHECKING:  # where they are not
        fit, compile, evaluate, score = _OfTrainer(), _OfTrainer(), _OfTrainer(), _OfTrainer()

    # The three calls

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """Return the result, as at inference; see the class for the arguments."""
        try:
            return self._call(self.snapshot(), *inputs, **keywords)
        except TypeError:
            self._refuse_unknown(self._call, inputs, keywords)
            raise

    def forward(self, *inputs: Any, **keywords: Any) -> tuple[Any, Tape]:
        """Return the result and the tape for `backward`; see the class for the arguments."""
        try:
            result, saved = self._forward(self.snapshot(), *inputs, **keywords)
        except TypeError:
            self._refuse_unknown(self._forward, inputs, keywords)
            raise
        return result, Tape(self, saved)

    def backward(self, tape: Tape, /, *d_outputs: Any, **keywords: Any) -> tuple[Any, Gradients]:
        """Return the gradients of the inputs and ``{name: gradient}`` of the parameters."""
        instance("tape", tape, Tape, "what forward returned")
        if tape.module is not self:
            raise ValueError(f"tape: comes from another module, a {type(tape.module).__name__}")
        return self._backward(tape.saved, *d_outputs, **keywords)

    def _refuse_unknown(self, own: Callable[..., Any], inputs: tuple[Any, ...], keywords: Mapping[str, Any]) -> None:
        """Raise TypeError for arguments that a call does not take behind its first; `own` is the subclass' method."""
        _, *taken = (found := signature(own)).parameters
        try:
            found.bind(None, *inputs, **keywords)
        except TypeError as error:
            steps = keywords.keys() & {"lengths", "mask", "reset"} - {*taken}
            hint = "; a Sequential gives lengths, mask and reset to the layers that take them" if steps else ""
            raise TypeError(f"{self._kind}: {error}; it takes {', '.join(taken)}{hint}") from None

    def _call(self, snapshot: Snapshot, *inputs: Any, **keywords: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} does not define _call")

    def _forward(self, snapshot: Snapshot, *inputs: Any, **keywords: Any) -> tuple[Any, Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define _forward")

    def _backward(self, saved: Any, *d_outputs: Any, **keywords: Any) -> tuple[Any, Gradients]:
        raise NotImplementedError(f"{type(self).__name__} does not define _backward")

    def _config(self) -> dict[str, Any]:
        raise NotImplementedError(f"{type(self).__name__} does not define _config")

    # Structure

    def _passed(self, given: Signal, name: str) -> Signal:
        """Return what is known of the result for what is known of the input; refuse what does not fit."""
        return Signal()

    def _place(self, name: str) -> str:
        """Return how messages name this module, which has this dotted name in the whole."""
        return f"layer {name} ({self._kind})" if name else self._kind

    @property
    def _kind(self) -> str:
        return type(self).__name__

    @property
    def recurrent(self) -> bool:
        """Whether the calls take states beside the input, and give final states beside the output."""
        return False

    @property
    def pools(self) -> bool:
        """Whether the calls take `lengths` beside the input, and give a result without the time axis."""
        return False

    @property
    def takes_lengths(self) -> bool:
        """Whether the calls take `lengths` beside the input, without states."""
        return self.pools

    @property
    def writes(self) -> bool:
        """Whether the calls take a target beside the input, and give a result for each of its labels, as `Seq2Seq`."""
        return False

    def output_lengths(self, lengths: ArrayLike) -> Array:
        """Return the steps that the output has of rows with so many (any shape), int64: others behind a `Conv1d`."""
        return arguments.index_array("lengths", lengths, arguments.LARGEST)

    def children(self) -> dict[str, Module]:
        """Return the direct children by name, in the order in which they were assigned."""
        return dict(self._children)

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield ``(dotted name, module)`` of this module (under `prefix`) and of all below it."""
        yield text("prefix", prefix), self
        for name, child in self._children.items():
            yield from child.named_modules(join(prefix, name))

    def config(self) -> dict[str, Any]:
        """Return the JSON-able description from which `gru_native.nn.from_config` builds such a module."""
        return {"type": type(self).__name__, **self._config()}

    def train(self, mode: bool = True) -> Self:
        """Set training mode (which `forward` obeys) in this module and all below it; return ``self``."""
        mode = flag("mode", mode)
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Set inference mode in this module and all below it; return ``self``."""
        return self.train(False)

    # To look at

    def __repr__(self) -> str:
        from gru_native.nn.summary import described

        return described(self)

    def summary(self, x: ArrayLike, *more: ArrayLike) -> Summary:
        """Return a table of the layers that `x` goes through: what each gives, and its number of parameters.

        Parameters
        ----------
        x, *more
            What the module is called with; the result is as at inference.

        Returns
        -------
        Summary
            A string, which a prompt or a notebook shows line by line.
        """
        from gru_native.nn.summary import summary

        return summary(self, x, *more)

    # Whole data. Of sequences and sources, the model decides whether there is an array or a list.

    @overload
    def predict(
        self,
        inputs: Data | list[Array] | tuple[Array, ...],
        lengths: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Any: ...

    @overload
    def predict(
        self,
        inputs: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Array: ...

    def predict(
        self,
        inputs: Data | ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Any:
        """Return what the model gives, as at inference and without states, batch by batch.

        Parameters
        ----------
        inputs
            - An array with all rows, as the model takes it: (N, T, ...), (T, N, ...), or (N, ...) without steps.
            - A list of N arrays (T_i, ...), sequences of any lengths.
            - A source of `gru_native.train`, such as `Sequences`, also of shuffled batches; targets are not read. Where
              it says so, states are carried on from batch to batch.
        lengths, mask
            Beside an array: the steps of each row, (N,), or which steps count, (N, T) or (T, N) of bool.
        batch_size
            Rows that are computed together, ``None`` for 256.
        threads
            The most threads to compute with; ``None`` for the default.

        Returns
        -------
        array or list of N arrays
            Of an array what one call would give for it. Of a list or a source a row for each input, (N, ...), in their
            order; where the model gives an output for each step of sequences with lengths, a list of arrays (T_i, ...).
            A `Stream` leaves its last ``N % batch_size`` elements out.

        Raises
        ------
        TypeError
            For a source that does not say where the rows of its batches belong.
        ValueError
            For inputs in another layout than the model takes, and for outputs that are not one for each input.
        """
        from gru_native.train.prediction import predict

        return predict(self, inputs, lengths, mask, batch_size, threads)

    @overload
    def predict_proba(
        self,
        inputs: Data | list[Array] | tuple[Array, ...],
        lengths: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        labels: bool = False,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Any: ...

    @overload
    def predict_proba(
        self,
        inputs: ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        labels: bool = False,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Array: ...

    def predict_proba(
        self,
        inputs: Data | ArrayLike,
        lengths: ArrayLike | None = None,
        *,
        mask: ArrayLike | None = None,
        labels: bool = False,
        batch_size: int | None = None,
        threads: int | None = None,
    ) -> Any:
        """Return what `predict` does, as probabilities of classes, (..., C) with a sum of 1.

        The model gives logits (..., C), as `CrossEntropyLoss` takes them; or one logit (..., 1), as `BCEWithLogitsLoss`
        takes it, of which two classes are made; or, with `labels`, a logit for each of K labels, of which a row may
        have any number, (..., K). What comes out of `Softmax` or a sigmoid `Activation` is a probability already.
        """
        from gru_native.train.prediction import predict_proba

        return predict_proba(self, inputs, lengths, mask, labels, batch_size, threads)

    # Step by step

    def stream(self, batch: int = 1) -> Stream:
        """Return a `gru_native.stream.Stream`: `batch` sequences that take steps together, with the present weights."""
        from gru_native.stream import Stream

        return Stream(self, batch)

    def pool(self, capacity: int, shards: int = 1) -> StreamPool:
        """Return a `gru_native.stream.StreamPool` of up to `capacity` sequences, of which any take a step together."""
        from gru_native.stream import StreamPool

        return StreamPool(self, capacity, shards)

    # Arrays

    def snapshot(self) -> Snapshot:
        """Return the versions of this module and of all below it, of one moment."""
        if not self._children:
            return Snapshot(self._version)
        with _swap:
            return self._snapshot()

    def _snapshot(self) -> Snapshot:
        return Snapshot(self._version, {name: child._snapshot() for name, child in self._children.items()})

    def state_dict(self) -> dict[str, Array]:
        """Return all parameters and buffers by dotted name: read-only arrays of one moment, no copies."""
        if not self._children:
            return dict(self._version.arrays)
        with _swap:
            return {
                join(prefix, name): array
                for prefix, module in self.named_modules()
                for name, array in module._version.arrays.items()
            }

    def parameters(self) -> dict[str, Array]:
        """Return the trainable arrays by dotted name: read-only arrays of one moment, no copies."""
        buffers = self._buffers()
        return {name: array for name, array in self.state_dict().items() if name not in buffers}

    def buffers(self) -> dict[str, Array]:
        """Return the arrays that are not trained by dotted name: read-only arrays of one moment, no copies."""
        buffers = self._buffers()
        return {name: array for name, array in self.state_dict().items() if name in buffers} if buffers else {}

    def _buffers(self) -> set[str]:
        return {join(prefix, name) for prefix, module in self.named_modules() for name in module.buffer_names}

    def assign(self, updates: Mapping[str, ArrayLike]) -> None:
        """Replace some parameters or buffers, all at once.

        Parameters
        ----------
        updates
            New arrays by dotted name, each of the shape and dtype of the one it replaces. They are copied,
            unless they are read-only arrays that own their data.

        Raises
        ------
        ValueError
            For an unknown name, or a shape that is not the present one's.
        TypeError
            For a dtype that is not the present one's, or no mapping. Nothing is changed then.
        """
        self._assign(updates)

    def _assign(self, updates: Mapping[str, ArrayLike], others: Iterable[Change] = ()) -> None:
        """Replace arrays as `assign` does, and make changes of other objects together with that."""
        present = self.state_dict()
        new = {name: _checked(name, array, present) for name, array in mapping("updates", updates).items()}
        with _swap:
            make([*self._replacing(new), *others])

    def _replacing(self, new: Mapping[str, Array], prefix: str = "") -> Iterator[Change]:
        changed = {name: new[full] for name in self._version.arrays if (full := prefix + name) in new}
        if changed:
            yield Change(self, {"_version": self._version.replaced(changed)})
        for name, child in self._children.items():
            yield from child._replacing(new, f"{prefix}{name}.")

    def _amend(self, change: Callable[[Version], Mapping[str, Array]]) -> None:
        """Replace some of the module's own arrays by what `change` makes of the present version."""
        with _swap:
            self._version = Version.of({**self._version.arrays, **change(self._version)})

    def load_state_dict(self, state: Mapping[str, ArrayLike], strict: bool = True) -> IncompatibleKeys:
        """Take over arrays under `state_dict`'s names, converting them to the module's dtype.

        Parameters
        ----------
        state
            Arrays by dotted name, PyTorch's keys (NumPy arrays, or anything `numpy.asarray` takes).
        strict
            Whether the names must be exactly those of `state_dict`. Otherwise missing and unknown names are
            left alone and returned.

        Returns
        -------
        missing_keys, unexpected_keys : list of str
            Names that the state lacks, and those that the module lacks; none when `strict`.

        Raises
        ------
        ValueError
            For missing or unknown names (when `strict`), for a wrong shape, or for values that the module's
            dtype cannot hold. The module is unchanged then.
        TypeError
            For something else than a mapping of numbers. The module is unchanged then.
        """
        present, state = self.state_dict(), mapping("state", state)
        missing = [name for name in present if name not in state]
        unknown = [name for name in state if name not in present]
        if flag("strict", strict) and (missing or unknown):
            raise ValueError(
                "state: the names do not fit; "
                f"missing: {sorted(missing) or 'none'}, unknown: {sorted(unknown) or 'none'}"
            )
        self.assign({name: _cast(name, state[name], present[name].dtype) for name in present if name in state})
        return IncompatibleKeys(missing, unknown)


def public(
    call: Callable[Concatenate[Any, Snapshot, Called], Result],
    forward: Callable[Concatenate[Any, Snapshot, Recorded], tuple[Output, Any]],
    backward: Callable[Concatenate[Any, Any, Returned], Gradient],
) -> tuple[
    Callable[Concatenate[Any, Called], Result],
    Callable[Concatenate[Any, Recorded], tuple[Output, Tape]],
    Callable[Concatenate[Any, Tape, Returned], Gradient],
]:
    """Return `Module`'s three calls with the signatures of a subclass' ``_call``, ``_forward`` and ``_backward``."""
    output = str(signature(forward).return_annotation).rpartition(", ")[0] or "tuple[Any"
    return (
        _signed(Module.__call__, call),
        _signed(Module.forward, forward, f"{output}, Tape]"),
        _signed(Module.backward, backward),
    )


def _signed(method: Callable[..., Any], own: Callable[..., Any], result: str | None = None) -> Callable[..., Any]:
    """Return a method with the arguments of `own` that come after its first two."""
    # A copy, because a function around it would take time in every call.
    copy = FunctionType(method.__code__, method.__globals__, method.__name__)
    copy.__doc__ = method.__doc__
    first = [each for each in signature(method).parameters.values() if each.kind < Parameter.VAR_POSITIONAL]
    _, _, *others = (found := signature(own)).parameters.values()
    result = found.return_annotation if result is None else result
    vars(copy)["__signature__"] = Signature([*first, *others], return_annotation=result)
    return copy


def join(prefix: str, name: str) -> str:
    """Return a child's dotted name."""
    return f"{prefix}.{name}" if prefix else name


def sealed(array: Array) -> Array:
    """Make an array that nobody else holds read-only, and return it."""
    array.flags.writeable = False
    return array


@repeatable
def frozen(array: Array) -> Array:
    """Return an array, or a copy of it, that nobody else can write to."""
    flags = array.flags
    if flags.writeable or not flags.owndata or not flags.c_contiguous:
        return sealed(np.array(array, order="C"))
    return array


def _checked(name: str, value: ArrayLike, arrays: Mapping[str, Array]) -> Array:
    """Return a value, frozen, that may take the place of one of some arrays."""
    present = arrays.get(name)
    if present is None:
        raise ValueError(f"{name}: this module has no such array; it has {', '.join(arrays)}")
    # What an optimizer brings in every step is seen by one compiled call to need nothing below.
    if takes_place_of(value, present):
        return cast(Array, value)
    return frozen(arguments.shaped_array(name, value, present.shape, present.dtype))


@repeatable
def _cast(name: str, value: ArrayLike, dtype: DTypeLike) -> Array:
    array = arguments.real_array(name, value)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype, order="C")
    # Rounding is part of a conversion to floating point; whole numbers have to stay what they are.
    held = np.isfinite(array) == np.isfinite(cast) if cast.dtype.kind == "f" else array == cast
    if not held.all():
        raise ValueError(f"{name}: holds values that {cast.dtype} cannot hold")
    return sealed(cast)
