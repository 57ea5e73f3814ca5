"""Optimizers and gradient clipping, as PyTorch defines them.

Gradients are values: `optimizer.step(grads)` takes the dictionary that a model's `backward` returned, after
whatever was done to it (`clip_grad_norm`, an average over machines), and gives the model new parameters.
"""

from __future__ import annotations

import math
from collections.abc import ItemsView, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gru_native import _core
from gru_native._layer import empty_like
from gru_native.arguments import (
    Array,
    any_float_array,
    flag,
    instance,
    mapping,
    number,
    one_of,
    shaped_array,
    shown,
    whole,
)
from gru_native.changes import Change, make
from gru_native.nn.module import Gradients, Module, sealed
from gru_native.nn.sparse import SparseGradient
from gru_native.passes import PIECE, repeatable
from gru_native.twins import Twin, twin_of

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "clip_grad_norm", "clip_grad_value"]


Slots: TypeAlias = dict[str, Array]


class _State(NamedTuple):
    """What an optimizer remembers of one parameter: its updates so far, and arrays of its shape.

    `twins` are of the parameter, under an empty name, and of those arrays, where single rows are updated.
    """

    step: int
    slots: Slots
    twins: dict[str, Twin] | None = None


class Group(NamedTuple):
    """What holds for a parameter."""

    lr_scale: float = 1.0
    weight_decay: float = 0.0
    frozen: bool = False


#: Of names of parameters, in which * stands for anything, what holds for them: "lr_scale", "weight_decay", or None.
Groups: TypeAlias = Mapping[str, Mapping[str, float] | None]


class Optimizer:
    """Base of the optimizers: checks gradients, keeps the state, hands the new parameters to the model.

    A subclass names the arrays that it keeps for each parameter (`_slots`, zeros at first) and computes one
    update (`_update`).

    Parameters
    ----------
    model : Module
        Its parameters are replaced, never written to: a call under way goes on with those it has.
    lr : float
        Learning rate, at least 0.
    weight_decay : float
        At least 0.
    groups : mapping, optional
        What differs for some parameters, by their names, in which ``*`` stands for anything. ``"lr_scale"`` is what the
        learning rate is multiplied by, ``"weight_decay"`` their own; ``None`` leaves them as they are, and a `Trainer`
        leaves their gradients out of the norm. The first name that fits counts: ``{"0.*": None, "*bias*":
        {"weight_decay": 0.0}}``.

    Attributes
    ----------
    lr : float
        The learning rate of the next step. Set it, or let a schedule set it.
    initial_lr : float or None
        The learning rate from which schedules reckon; the first schedule sets it.

    Notes
    -----
    One thread steps an optimizer. Others may call the model meanwhile: each call sees the parameters before
    or after a step.
    """

    _slots: tuple[str, ...] = ()
    #: Whether an update of some rows alone, those of a `SparseGradient`, is defined.
    _by_rows = False

    def __init__(self, model: Module, *, lr: float, weight_decay: float, groups: Groups | None = None) -> None:
        self.model = instance("model", model, Module, "a Module, itself and not its parameters()")
        self.lr = _finite("lr", lr)
        self.initial_lr: float | None = None
        self.weight_decay = _finite("weight_decay", weight_decay)
        self.groups = _checked_groups(groups, [*self.model.parameters()])
        self._states: dict[str, _State] = {}

    def __repr__(self) -> str:
        settings = (f"{name}={own!r}" for name, own in vars(self).items() if name != "model" and name[0] != "_")
        return f"{type(self).__name__}({', '.join(settings)})"

    def step(self, grads: Mapping[str, Array | SparseGradient]) -> None:
        """Update the model's parameters once.

        Parameters
        ----------
        grads : mapping of str to array
            Gradients under the names, and of the shape and dtype, of ``model.parameters()``. A parameter
            without a gradient stays as it is, and so does its state, and so do the rows that a `SparseGradient` does
            not have. NaN and infinity go their way by IEEE rules, as in PyTorch; the caller who cares looks at the
            norm.

        Raises
        ------
        ValueError, TypeError
            When a name is unknown, or a shape or dtype is not its parameter's, or for a `SparseGradient` where single
            rows cannot be updated; nothing has changed then.
        """
        self.model._assign(*self.prepare_step(grads))

    @repeatable
    def prepare_step(self, grads: Mapping[str, Array | SparseGradient]) -> tuple[Gradients, list[Change]]:
        """Return the parameters after a step, and how the optimizer changes with it. Nothing has changed yet."""
        parameters = self.model.parameters()
        grads = {name: self._checked(name, grad, parameters.get(name)) for name, grad in self.trained(grads).items()}
        stepped = {name: self._step_one(name, parameters[name], grad) for name, grad in grads.items()}
        states = self._states | {name: state for name, (_, state) in stepped.items()}
        return {name: updated for name, (updated, _) in stepped.items()}, [Change(self, {"_states": states})]

    def trained(self, grads: Mapping[str, Array | SparseGradient]) -> Gradients:
        """Return the gradients of the parameters that are not left as they are."""
        return {name: grad for name, grad in _named(grads) if not self._group(name).frozen}

    def _group(self, name: str) -> Group:
        for pattern, own in self.groups.items():
            if fnmatchcase(name, pattern):
                if own is None:
                    return Group(frozen=True)
                return Group(own.get("lr_scale", 1.0), own.get("weight_decay", self.weight_decay))
        return Group(weight_decay=self.weight_decay)

    def _checked(self, name: str, grad: Any, parameter: Array | None) -> Array | SparseGradient:
        if not isinstance(grad, SparseGradient):
            return _like(f"grads[{name!r}]", grad, parameter)
        if parameter is None or (grad.shape, grad.dtype) != (parameter.shape, parameter.dtype):
            expected = "no such parameter" if parameter is None else f"{parameter.shape} of {parameter.dtype}"
            raise ValueError(f"grads[{name!r}]: expected {expected}, got a gradient of {grad.shape} of {grad.dtype}")
        if not self._by_rows or self._group(name).weight_decay:
            raise ValueError(
                f"grads[{name!r}]: expected a dense gradient, because {type(self).__name__} changes all rows, got a "
                "sparse one; SGD without momentum, Adam and AdamW take it, all without weight decay, "
                f"also by groups={{{name!r}: {{'weight_decay': 0.0}}}}"
            )
        return grad

    def _step_one(self, name: str, parameter: Array, grad: Array | SparseGradient) -> tuple[Array, _State]:
        state = self._states.get(name)
        if state is None:
            state = _State(0, {slot: np.zeros_like(parameter) for slot in self._slots})
        step = state.step + 1
        group = self._group(name)
        lr = float(self.lr) * group.lr_scale
        if isinstance(grad, SparseGradient):
            return self._step_rows(step, state, parameter, grad, lr)
        updated, slots = self._update(step, state.slots, parameter, grad, lr, group.weight_decay)
        # The model takes it over without a copy.
        return sealed(updated), _State(step, slots)

    def _step_rows(
        self, step: int, state: _State, parameter: Array, grad: SparseGradient, lr: float
    ) -> tuple[Array, _State]:
        slots = {slot: array[grad.rows] for slot, array in state.slots.items()}
        changed, slots = self._update_rows(step, slots, parameter[grad.rows], grad.values, lr)
        present, new, twins = {"": parameter, **state.slots}, {}, {}
        for name, values in {"": changed, **slots}.items():
            twin = twin_of(present[name], (state.twins or {}).get(name))
            new[name], twins[name] = twin.replaced(grad.rows, values), twin.passed_on(grad.rows)
        return new.pop(""), _State(step, new, twins)

    def _update(
        self, step: int, slots: Slots, parameter: Array, grad: Array, lr: float, weight_decay: float
    ) -> tuple[Array, Slots]:
        """Return the parameter and the slots after this step, counted from 1, all in new arrays."""
        raise NotImplementedError

    def _update_rows(self, step: int, slots: Slots, rows: Array, grad: Array, lr: float) -> tuple[Array, Slots]:
        """Do what `_update` does with those rows of a parameter and its slots that have a gradient."""
        return self._update(step, slots, rows, grad, lr, 0.0)

    @repeatable
    def state_dict(self) -> dict[str, Array | float]:
        """Return what is needed to go on with the same bits, as a flat dictionary of copies.

        ``lr`` (and ``initial_lr`` when a schedule is at work) are floats, ``<parameter>.step`` integers,
        ``<parameter>.<array>`` arrays, for the parameters that have been updated so far. The other
        hyperparameters are the constructor's business.
        """
        state: dict[str, Array | float] = {"lr": float(self.lr)}
        if self.initial_lr is not None:
            state["initial_lr"] = self.initial_lr
        for name, one in self._states.items():
            state[f"{name}.step"] = one.step
            state.update({f"{name}.{slot}": array.copy() for slot, array in one.slots.items()})
        return state

    def load_state_dict(self, state_dict: Mapping[str, Array | float]) -> None:
        """Restore what `state_dict` returned; numbers may come back as arrays without dimensions.

        Raises
        ------
        ValueError, TypeError
            When an entry is missing, unknown or does not fit its parameter; nothing has changed then.
        """
        make(self.prepare_load(state_dict))

    @repeatable
    def prepare_load(self, state_dict: Mapping[str, Array | float]) -> list[Change]:
        """Check a state as `load_state_dict` does, and return how the optimizer changes with it."""
        state = dict(mapping("state_dict", state_dict, "arrays and numbers"))
        if "lr" not in state:
            raise ValueError("state_dict: expected an entry 'lr'")
        given = [name for name in ("lr", "initial_lr") if name in state]
        rates: dict[str, Any] = {name: _finite(f"state_dict['{name}']", state.pop(name)) for name in given}
        states = {
            name: self._load_one(name, parameter, state)
            for name, parameter in self.model.parameters().items()
            if f"{name}.step" in state
        }
        if state:
            raise ValueError(f"state_dict: unknown entry {min(state)!r} for {type(self).__name__} and this model")
        return [Change(self, {"initial_lr": None, **rates, "_states": states})]

    def _load_one(self, name: str, parameter: Array, state: dict[str, Any]) -> _State:
        """Take the entries of one parameter out of `state`."""
        step = whole(f"state_dict['{name}.step']", state.pop(f"{name}.step"))
        slots = {}
        for slot in self._slots:
            key = f"{name}.{slot}"
            if key not in state:
                raise ValueError(f"state_dict: expected an entry {key!r} for {type(self).__name__}")
            slots[slot] = _like(f"state_dict[{key!r}]", state.pop(key), parameter).copy()
        return _State(step, slots)


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as `torch.optim.SGD`.

    g = grad + weight_decay * p; buffer = g at the first step, then momentum * buffer + (1 - dampening) * g;
    p' = p - lr * buffer, with Nesterov p' = p - lr * (g + momentum * buffer).

    Parameters
    ----------
    model : Module
    lr : float
    momentum, dampening, weight_decay : float
        At least 0.
    nesterov : bool
        Needs a momentum and no dampening.
    groups
        What differs for some parameters: see `Optimizer`.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        *,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(model, lr=lr, weight_decay=weight_decay, groups=groups)
        self.momentum = _finite("momentum", momentum)
        self.dampening = _finite("dampening", dampening)
        self.nesterov = flag("nesterov", nesterov)
        if nesterov and (self.momentum == 0.0 or self.dampening != 0.0):
            raise ValueError(f"nesterov: expected momentum > 0 and dampening = 0, got {momentum} and {dampening}")
        self._slots = ("momentum_buffer",) if self.momentum else ()
        self._by_rows = not self.momentum

    def _update(
        self, step: int, slots: Slots, parameter: Array, grad: Array, lr: float, weight_decay: float
    ) -> tuple[Array, Slots]:
        to, buffer = empty_like(parameter), slots.get("momentum_buffer")
        new = {} if buffer is None else {"momentum_buffer": empty_like(parameter)}
        scalars = (lr, self.momentum, 1.0 - self.dampening, weight_decay, self.nesterov, step == 1)
        _core.sgd_step(parameter, grad, buffer, to, new.get("momentum_buffer"), *scalars)
        return to, new


class RMSprop(Optimizer):
    """RMSprop, as `torch.optim.RMSprop`.

    g = grad + weight_decay * p; v = alpha * v + (1 - alpha) * g²; if centered, m = alpha * m + (1 - alpha) *
    g and v - m² stands for v below; p' = p - lr * g / (sqrt(v) + eps), with momentum: buffer = momentum *
    buffer + g / (sqrt(v) + eps), p' = p - lr * buffer.

    Parameters
    ----------
    model : Module
    lr : float
    alpha : float
        Smoothing constant, in [0, 1].
    eps, weight_decay, momentum : float
        At least 0.
    centered : bool
        Divide by an estimate of the gradient's standard deviation.
    groups
        What differs for some parameters: see `Optimizer`.

    References
    ----------
    Hinton, "Neural networks for machine learning", lecture 6e, 2012; Graves, "Generating sequences with
    recurrent neural networks", 2013 (centered).
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(model, lr=lr, weight_decay=weight_decay, groups=groups)
        self.alpha = number("alpha", alpha, most=1.0)
        self.eps = _finite("eps", eps)
        self.momentum = _finite("momentum", momentum)
        self.centered = flag("centered", centered)
        self._slots = (
            "square_avg",
            *(("grad_avg",) if centered else ()),
            *(("momentum_buffer",) if self.momentum else ()),
        )

    def _update(
        self, step: int, slots: Slots, parameter: Array, grad: Array, lr: float, weight_decay: float
    ) -> tuple[Array, Slots]:
        to, new = empty_like(parameter), {slot: empty_like(parameter) for slot in slots}
        before = (slots["square_avg"], slots.get("grad_avg"), slots.get("momentum_buffer"))
        after = (new["square_avg"], new.get("grad_avg"), new.get("momentum_buffer"))
        scalars = (lr, self.alpha, self.eps, weight_decay, self.momentum)
        _core.rmsprop_step(parameter, grad, *before, to, *after, *scalars)
        return to, new


class Adam(Optimizer):
    """Adam, as `torch.optim.Adam`: weight decay is added to the gradient (L2 regularisation).

    g = grad + weight_decay * p; m = beta1 * m + (1 - beta1) * g; v = beta2 * v + (1 - beta2) * g²; at step t
    p' = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps).

    The rows of a `SparseGradient` are updated alone, as by `torch.optim.SparseAdam`, which adds eps to sqrt(v) instead.

    Parameters
    ----------
    model : Module
    lr : float
    betas : (float, float)
        Each in [0, 1).
    eps, weight_decay : float
        At least 0.
    groups
        What differs for some parameters: see `Optimizer`.

    References
    ----------
    Kingma and Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    _slots = ("exp_avg", "exp_avg_sq")
    _by_rows = True

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(model, lr=lr, weight_decay=weight_decay, groups=groups)
        if not isinstance(betas, (list, tuple)):
            raise TypeError(f"betas: expected two numbers, got {shown(betas)}")
        if len(betas) != 2:
            raise ValueError(f"betas: expected two numbers, got {len(betas)}")
        beta1, beta2 = (number(f"betas[{place}]", beta, below=1.0) for place, beta in enumerate(betas))
        self.betas = (beta1, beta2)
        self.eps = _finite("eps", eps)

    def _update(
        self, step: int, slots: Slots, parameter: Array, grad: Array, lr: float, weight_decay: float
    ) -> tuple[Array, Slots]:
        return self._moved(step, slots, parameter, grad, lr, weight_decay, 1.0, self.eps)

    def _update_rows(self, step: int, slots: Slots, rows: Array, grad: Array, lr: float) -> tuple[Array, Slots]:
        # As SparseAdam, which adds eps to sqrt(v) before the correction of its bias.
        return self._moved(step, slots, rows, grad, lr, 0.0, 1.0, self.eps / math.sqrt(1.0 - self.betas[1] ** step))

    def _moved(
        self, step: int, slots: Slots, parameter: Array, grad: Array, lr: float, l2: float, shrink: float, eps: float
    ) -> tuple[Array, Slots]:
        """Add Adam's change, of the gradient with L2 regularisation, to the parameter, multiplied by `shrink`."""
        beta1, beta2 = self.betas
        to, mean, square = empty_like(parameter), empty_like(parameter), empty_like(parameter)
        rate, root = lr / (1.0 - beta1**step), math.sqrt(1.0 - beta2**step)
        scalars = (beta1, beta2, eps, l2, rate, root, shrink)
        _core.adam_step(parameter, grad, slots["exp_avg"], slots["exp_avg_sq"], to, mean, square, *scalars)
        return to, {"exp_avg": mean, "exp_avg_sq": square}


class AdamW(Adam):
    """Adam with decoupled weight decay, as `torch.optim.AdamW`.

    p is first multiplied by 1 - lr * weight_decay, then `Adam`'s change, of the gradient alone, is added.

    Parameters
    ----------
    model, lr, betas, eps, groups
        As for `Adam`.
    weight_decay : float
        At least 0.

    References
    ----------
    Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(
        self,
        model: Module,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        groups: Groups | None = None,
    ) -> None:
        super().__init__(model, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, groups=groups)

    def _update(
        self, step: int, slots: Slots, parameter: Array, grad: Array, lr: float, weight_decay: float
    ) -> tuple[Array, Slots]:
        return self._moved(step, slots, parameter, grad, lr, 0.0, 1.0 - lr * weight_decay, self.eps)


@repeatable
def clip_grad_norm(grads: Mapping[str, Array | SparseGradient], max_norm: float) -> tuple[Gradients, float]:
    """Scale all gradients together so that their norm is at most `max_norm`.

    Parameters
    ----------
    grads : mapping of str to array of float32 or float64, or SparseGradient
        They are not written to. When nothing is to be clipped, the new dictionary holds the same arrays.
    max_norm : float
        At least 0; infinity measures without clipping.

    Returns
    -------
    clipped : dict of str to array or SparseGradient
        ``grads * min(1, max_norm / (norm + 1e-6))``, as `torch.nn.utils.clip_grad_norm_`.
    norm : float
        2-norm of all gradients seen as one vector, before clipping, summed in float64. When it is not finite
        there is no error, as in PyTorch: an infinite gradient becomes NaN and the others 0, a NaN makes all
        of them NaN. Look at `norm` to skip such a step.
    """
    max_norm, grads = number("max_norm", max_norm), _floating(grads)
    with np.errstate(over="ignore", invalid="ignore"):
        norm = math.sqrt(sum(map(_sum_of_squares, grads.values())))
        coefficient = max_norm / (norm + 1e-6)
        if coefficient >= 1.0:
            return grads, norm
        return {name: grad * coefficient for name, grad in grads.items()}, norm


@repeatable
def clip_grad_value(grads: Mapping[str, Array | SparseGradient], clip_value: float) -> Gradients:
    """Return the gradients with every element brought into [-clip_value, clip_value]; NaN stays NaN.

    Parameters
    ----------
    grads : mapping of str to array of float32 or float64, or SparseGradient
        They are not written to.
    clip_value : float
        At least 0.
    """
    clip_value = number("clip_value", clip_value)
    return {name: _clipped(grad, clip_value) for name, grad in _floating(grads).items()}


def _clipped(grad: Array | SparseGradient, bound: float) -> Array | SparseGradient:
    if isinstance(grad, SparseGradient):
        return replace(grad, values=np.clip(grad.values, -bound, bound))
    return np.clip(grad, -bound, bound)


def _checked_groups(groups: Groups | None, names: list[str]) -> dict[str, dict[str, float] | None]:
    checked: dict[str, dict[str, float] | None] = {}
    for pattern, own in mapping("groups", {} if groups is None else groups, "options").items():
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"groups: expected names of parameters, such as {', '.join(names[:3])}, got {pattern!r}")
        if own is not None:
            options = mapping(f"groups[{pattern!r}]", own, "numbers")
            for option in options:
                one_of(f"groups[{pattern!r}]", option, ("lr_scale", "weight_decay"))
            own = {option: _finite(f"groups[{pattern!r}][{option!r}]", value) for option, value in options.items()}
        checked[pattern] = own
    return checked


def _sum_of_squares(grad: Array | SparseGradient) -> float:
    """Return it in float64, piece by piece: a copy in float64 would have twice the size of the gradient."""
    flat = (grad.values if isinstance(grad, SparseGradient) else grad).reshape(-1)
    pieces = (flat[start : start + PIECE] for start in range(0, flat.size, PIECE))
    return sum((float(np.square(piece, dtype=np.float64).sum()) for piece in pieces), 0.0)


def _finite(name: str, value: Any) -> float:
    """Return a hyperparameter as a Python float, which leaves float32 arrays float32."""
    return number(name, value, below=math.inf)


def _named(grads: Any) -> ItemsView[str, Any]:
    return mapping("grads", grads).items()


def _like(name: str, array: Any, parameter: Array | None) -> Array:
    if parameter is None:
        raise ValueError(f"{name}: the model has no parameter of this name")
    return np.asarray(shaped_array(name, array, parameter.shape, parameter.dtype), order="C")


def _floating(grads: Any) -> dict[str, Array | SparseGradient]:
    return {
        name: grad if isinstance(grad, SparseGradient) else any_float_array(f"grads[{name!r}]", grad)
        for name, grad in _named(grads)
    }
