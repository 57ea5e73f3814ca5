"""What all modules of this package for PyTorch have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import is_not
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gru_native._layer import Unfit
from gru_native.torch import operators, tracing
from gru_native.torch._calls import Weights, plain_parameters
from gru_native.torch.operators import Given, Options

_COMPUTED = (torch.float32, torch.float64)


class Accelerated(torch.nn.Module):
    """A recurrent module of PyTorch whose arithmetic is that of this package.

    A subclass stands before PyTorch's class, and names its cell and its parameters.
    """

    #: Of a GRU: whether gains stand behind the parameters of each direction.
    layer_norm: bool = False
    #: Packed once, by `freeze`, in place of the parameters.
    _frozen: Weights | None = None
    #: The parameters that it was packed from.
    _frozen_of: tuple[Tensor, ...] = ()
    #: Those of them that had a gradient before `freeze`.
    _trainable: tuple[str, ...] = ()
    #: Packed for a while, by `packed`: the weights, the parameters that they are of, and the versions of these.
    _for_now: tuple[Weights, tuple[Tensor, ...], list[int]] | None = None

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        cls.forward.__qualname__ = "forward"  # Python's errors name it, and no user knows the base classes
        tracing.allow(cls)

    @property
    def _cell(self) -> str:
        """The name of the cell in the core."""
        raise NotImplementedError

    def _names(self) -> Sequence[str]:
        """Return the parameters' names, in the order of `Weights`."""
        names: Sequence[str] = self._flat_weights_names  # of PyTorch's class
        return _with_gains(tuple(names)) if self.layer_norm else names

    def _of_weights(self) -> tuple[str, int, bool, bool]:
        """Return what `Weights` takes beside parameters."""
        raise NotImplementedError

    def beyond_torch(self) -> dict[str, Any]:
        """Return the options that PyTorch's class does not have, where they are chosen."""
        return {}

    def freeze(self) -> Accelerated:
        """Pack the weights for good, and return the module: calls no longer do it.

        The parameters get no gradient from here on, and what is written to them has no effect on results, but for
        ``load_state_dict``, ``reset_parameters`` and ``to``, which freeze anew, or unfreeze for a dtype or device that
        PyTorch computes. `unfreeze` undoes it. Traced and transformed calls, and those with other parameters in the
        place of these, compute with the parameters as they are.
        """
        if computed := computed_weights(self):
            raise ValueError(f"{computed[0]}: expected a parameter to freeze, got what is computed from others")
        named = self._named()
        self._frozen = Weights(*self._of_weights(), [own.detach().clone() for own in named.values()])
        self._frozen_of = tuple(named.values())
        self._trainable += tuple(name for name, own in named.items() if own.requires_grad)
        for name in self._trainable:
            named[name].requires_grad_(False)
        return self

    def unfreeze(self) -> Accelerated:
        """Undo `freeze`, and return the module."""
        for own in self._parameters_of(self._trainable):
            if not own.is_inference():  # which has no gradient either way
                own.requires_grad_()
        self._frozen, self._frozen_of, self._trainable = None, (), ()
        return self

    def _parameters_of(self, names: Sequence[str]) -> list[Tensor]:
        """Return the parameters of these names, and those that they are computed from since then."""
        behind = ("", "_orig", "_g", "_v")  # what pruning and weight_norm put there
        own = {f"{name}{end}" for name in names for end in behind}
        begins = tuple(f"parametrizations.{name}." for name in names)
        return [each for name, each in self.named_parameters() if name in own or name.startswith(begins)]

    @contextmanager
    def packed(self) -> Iterator[None]:
        """Pack the weights once for the calls within that record no gradient, until they change.

        Changes are seen by the versions of the parameters, which a write by ``.data`` does not raise. Nothing else is
        seen of it. What is frozen, or PyTorch computes, stays as it is.
        """
        if self._frozen is None and not computed_weights(self):
            parameters = tuple(self._named().values())
            with suppress(ValueError, RuntimeError):  # of what PyTorch computes, or has no versions
                weights = Weights(*self._of_weights(), [own.detach().clone() for own in parameters])
                self._for_now = weights, parameters, [own._version for own in parameters]
        try:
            yield
        finally:
            self._for_now = None

    def _named(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self._names()}

    def _freeze_anew(self) -> None:
        """Freeze what has changed, if it is frozen."""
        if self._frozen is not None:
            try:
                self.freeze()
            except ValueError:  # of a dtype or on a device that PyTorch computes, or computed from others
                self.unfreeze()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        self._for_now = None
        found = super()._apply(fn, recurse)
        self._freeze_anew()
        return found

    def reset_parameters(self) -> None:
        super().reset_parameters()
        self._freeze_anew()

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._freeze_anew()

    def __getstate__(self) -> dict[str, Any]:
        own = super().__getstate__() | {"_frozen": self._frozen is not None, "_frozen_of": (), "_for_now": None}
        own.pop("_compiled_call_impl", None)  # of `compile`: it computes with the weights of this module
        return own

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state | {"_frozen": None})
        if state.get("_frozen"):
            try:
                self.freeze()
            except ValueError:  # as in `_freeze_anew`
                self.unfreeze()

    def extra_repr(self) -> str:
        frozen = {"frozen": True} if self._frozen is not None else {}
        own = "".join([f", {name}={value}" for name, value in (self.beyond_torch() | frozen).items()])
        return f"{super().extra_repr()}{own}"

    def __prepare_scriptable__(self) -> Any:
        raise NotImplementedError(_NO_SCRIPT)

    def _computes(self, x: Any) -> bool:
        """Whether this package computes an input, rather than PyTorch."""
        return (
            isinstance(x, Tensor)
            and x.is_cpu
            and x.dtype in _COMPUTED
            and x.layout is torch.strided
            and not torch.is_autocast_enabled("cpu")
        )

    def _traced(self, x: Any, hx: Any, **others: Any) -> Any:
        """Be a leaf of a symbolic trace, whose tracers take PyTorch's classes alone for leaves."""
        named = {name: value for name, value in others.items() if value is not None}
        given = (x,) if hx is None else (x, hx)
        return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), given, named)

    def _leave_to_torch(self, why: str, x: Any, hx: Any, **others: Any) -> Any:
        """Call PyTorch's own module, which has no arguments and options of ours; `why` says what does not fit here."""
        data = x.data if isinstance(x, PackedSequence) else x
        for name, value in (others | self.beyond_torch()).items():
            if value is not None:
                if self._computes(data):
                    raise ValueError(why)
                kind = f"{data.dtype} on {data.device}" if isinstance(data, Tensor) else type(data).__name__
                raise ValueError(f"{name}: expected none for {kind}, which PyTorch computes, got {_shown(value)}")
        return self._by_torch(x, hx)

    @tracing.untraced
    def _by_torch(self, x: Any, hx: Any) -> Any:
        return super().forward(x, hx)

    def _run(self, given: Given, options: tuple[Any, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Run the layers by the shortest way; see `operators.run`."""
        if operators.intercepted():
            return self._dispatched(given, Options(*options))
        names, inputs = self._names(), given[:3]
        parameters = plain_parameters(self._parameters, names, inputs)
        if parameters is None:  # or what is computed from others, by a parametrization or a hook
            parameters = plain_parameters({name: getattr(self, name) for name in names}, names, inputs)
        if parameters is None:
            return self._dispatched(given, Options(*options))
        frozen = self._frozen
        if frozen is not None and any(map(is_not, parameters, self._frozen_of)):
            frozen = None
        elif frozen is None and self._for_now is not None and not torch.is_grad_enabled():
            weights, of, versions = self._for_now
            if not any(map(is_not, parameters, of)) and [own._version for own in parameters] == versions:
                frozen = weights
        return operators.run(given, parameters, options, frozen)

    def _dispatched(self, given: Given, options: Options) -> tuple[Tensor, Tensor, Tensor]:
        """Do what `_run` does by PyTorch's dispatcher."""
        if not self._computes(given[0]):
            raise Unfit(f"input: expected float32 or float64 on the CPU, without autocast, got {given[0].dtype}")
        if not all(each is None or isinstance(each, Tensor) for each in given[1:3]):
            raise Unfit("hx: expected tensors, got something else")
        parameters = [getattr(self, name) for name in self._names()]
        names = ("input", "h_0", "c_0", "lengths", "reset", "seed", *self._names())
        for name, each in zip(names, (*given, *parameters), strict=True):
            if each is not None and not each.is_cpu:
                raise ValueError(f"{name}: expected a tensor on the CPU, where the input is, got one on {each.device}")
        if torch._C._get_tracing_state() is not None:
            raise NotImplementedError(_NO_SCRIPT)
        inputs = (*given[:3], *parameters)
        if not torch.compiler.is_compiling() and any(each is not None and _has_tangent(each) for each in inputs):
            raise NotImplementedError(operators.NO_FORWARD_MODE)
        # A tensor of a transform may not say that what it stands for has a gradient.
        keep = torch._C._are_functorch_transforms_active() or operators.any_requires_grad(*inputs)
        return operators.dispatch(given, parameters, options, torch.is_grad_enabled() and keep)[:3]


tracing.allow(Accelerated)


def computed_weights(module: torch.nn.Module) -> list[str]:
    """Return the names of a recurrent module's weights that a parametrization or a hook computes from parameters."""
    names = getattr(module, "_flat_weights_names", ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return [name for name in names if name not in module._parameters]


def _with_gains(names: tuple[str, ...]) -> tuple[str, ...]:
    """Put the names of the gains behind the others of each direction."""
    each = len(names) // sum(name.startswith("weight_hh") for name in names)
    groups = (names[place : place + each] for place in range(0, len(names), each))
    return tuple(name for own in groups for name in (*own, *(weight.replace("weight", "gamma") for weight in own[:2])))


def pair(hx: Any) -> tuple[Tensor, Tensor]:
    """Return the two parts of an LSTM's state."""
    if not isinstance(hx, (tuple, list)) or len(hx) != 2 or hx[0] is None or hx[1] is None:
        raise Unfit(f"hx: expected a pair of tensors, got {type(hx).__name__}")
    return hx[0], hx[1]


def _has_tangent(tensor: Tensor) -> bool:
    forward_ad = torch.autograd.forward_ad
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def _shown(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)


_NO_SCRIPT = (
    "TorchScript is not there for gru_native's modules: gru_native.torch.restore(model) gives PyTorch's own back, "
    "and torch.compile and torch.export work"
)
