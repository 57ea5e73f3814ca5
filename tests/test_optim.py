"""Optimizers and clipping: first steps by hand, PyTorch's trajectory, exact resuming, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close, assert_gradient

from gru_native.nn import Linear
from gru_native.nn.module import Module
from gru_native.optim import SGD, Adam, AdamW, Optimizer, RMSprop, clip_grad_norm, clip_grad_value

Arrays = dict[str, np.ndarray]

CASES: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.05}),
    (SGD, {"lr": 0.05, "weight_decay": 0.01}),
    (SGD, {"lr": 0.02, "momentum": 0.9}),
    (SGD, {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    (SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (RMSprop, {"lr": 1e-3}),
    (RMSprop, {"lr": 1e-3, "alpha": 0.9, "eps": 1e-2, "weight_decay": 0.01}),
    (RMSprop, {"lr": 1e-3, "momentum": 0.9}),
    (RMSprop, {"lr": 1e-3, "centered": True, "eps": 1e-4}),
    (RMSprop, {"lr": 1e-3, "centered": True, "eps": 1e-4, "momentum": 0.5, "weight_decay": 0.01}),
    (Adam, {"lr": 5e-3}),
    (Adam, {"lr": 2e-3, "betas": (0.4, 0.9), "eps": 1e-2, "weight_decay": 0.01}),
    (AdamW, {"lr": 5e-3}),
    (AdamW, {"lr": 2e-3, "betas": (0.8, 0.95), "weight_decay": 0.1}),
]
cases = pytest.mark.parametrize(
    ("optimizer_class", "arguments"), CASES, ids=lambda value: getattr(value, "__name__", str(value))
)


class Regression:
    """A layer of tanh and a linear one, fitted to noise; a rounding error stays as small as it was.

    (Elsewhere it need not: with steps too long for the curvature the adaptive methods are chaotic.)
    """

    def __init__(self, rng: np.random.Generator, dtype: type = np.float64) -> None:
        self.x, self.y = (
            rng.standard_normal((16, 4)).astype(dtype),
            rng.standard_normal((16, 3)).astype(dtype),
        )
        shapes = {"w1": (4, 6), "b1": (6,), "w2": (6, 3), "b2": (3,)}
        self.initial = {name: rng.uniform(-0.5, 0.5, shape).astype(dtype) for name, shape in shapes.items()}

    def model(self) -> Module:
        return Module(self.initial)

    def grads(self, parameters: Arrays) -> Arrays:
        hidden = np.tanh(self.x @ parameters["w1"] + parameters["b1"])
        error = hidden @ parameters["w2"] + parameters["b2"] - self.y
        error /= len(error)
        d_hidden = error @ parameters["w2"].T * (1 - hidden * hidden)
        return {
            "w1": self.x.T @ d_hidden,
            "b1": d_hidden.sum(axis=0),
            "w2": hidden.T @ error,
            "b2": error.sum(axis=0),
        }


def one(value: float, dtype: type = np.float64) -> Module:
    return Module({"w": np.array([value], dtype)})


def value(model: Module) -> float:
    return float(model.parameters()["w"][0])


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda m: SGD(m, lr=0.1), [1 - 0.1 * 2, 0.8 - 0.1 * 4]),
        (lambda m: SGD(m, lr=0.1, weight_decay=0.5), [1 - 0.1 * 2.5, 0.75 - 0.1 * 4.375]),
        (lambda m: SGD(m, lr=0.1, momentum=0.5), [1 - 0.1 * 2, 0.8 - 0.1 * 5]),
        (lambda m: SGD(m, lr=0.1, momentum=0.5, dampening=0.25), [1 - 0.1 * 2, 0.8 - 0.1 * (1 + 0.75 * 4)]),
        (lambda m: SGD(m, lr=0.1, momentum=0.5, nesterov=True), [1 - 0.1 * 3, 0.7 - 0.1 * (4 + 0.5 * 5)]),
        (
            lambda m: RMSprop(m, lr=0.1, alpha=0.75, eps=1.0),
            [1 - 0.1 * 2 / 2, 0.9 - 0.1 * 4 / (19**0.5 / 2 + 1)],
        ),
        (
            lambda m: RMSprop(m, lr=0.1, alpha=0.75, eps=1.0, momentum=0.5),
            [1 - 0.1 * 1, 0.9 - 0.1 * (0.5 + 4 / (19**0.5 / 2 + 1))],
        ),
        (
            lambda m: RMSprop(m, lr=0.1, alpha=0.75, eps=1.0, centered=True),
            [
                1 - 0.1 * 2 / (0.75**0.5 + 1),
                1 - 0.1 * 2 / (0.75**0.5 + 1) - 0.1 * 4 / ((4.75 - 1.375**2) ** 0.5 + 1),
            ],
        ),
        # Without eps the first step is lr whatever the gradient.
        (
            lambda m: Adam(m, lr=0.1, betas=(0.5, 0.75), eps=0.0),
            [0.9, 0.9 - 0.1 * (5 / 1.5) / (19 / 1.75) ** 0.5],
        ),
        (lambda m: Adam(m, lr=0.1, eps=2.0), [0.95]),
        (lambda m: Adam(m, lr=0.1, eps=2.0, weight_decay=2.0), [1 - 0.1 * 4 / 6]),
        (lambda m: AdamW(m, lr=0.1, eps=2.0, weight_decay=2.0), [0.8 - 0.05]),
    ],
)
def test_first_steps_by_hand(make: Callable[[Module], Optimizer], expected: list[float]) -> None:
    model = one(1.0)
    optimizer = make(model)
    for grad, after in zip([2.0, 4.0], expected, strict=False):
        optimizer.step({"w": np.array([grad])})
        assert_close(value(model), after, "float64")


def torch_twin(torch: Any, optimizer_class: type[Optimizer], arguments: dict[str, Any], initial: Arrays) -> Any:
    parameters = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in initial.items()}
    return parameters, getattr(torch.optim, optimizer_class.__name__)(parameters.values(), **arguments)


@cases
def test_follows_torch_for_200_steps(
    optimizer_class: type[Optimizer], arguments: dict[str, Any], rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    problem = Regression(rng)
    model = problem.model()
    optimizer = optimizer_class(model, **arguments)
    theirs, their_optimizer = torch_twin(torch, optimizer_class, arguments, problem.initial)
    for step in range(200):
        optimizer.step(problem.grads(model.parameters()))
        for name, grad in problem.grads({n: p.detach().numpy() for n, p in theirs.items()}).items():
            theirs[name].grad = torch.from_numpy(grad)
        their_optimizer.step()
        for name, array in model.parameters().items():
            assert_gradient(array, theirs[name].detach().numpy(), "trajectory", f"{name}, step {step}")
    assert np.abs(model.parameters()["w1"] - problem.initial["w1"]).max() > 0.05  # it went somewhere


@cases
def test_a_parameter_without_gradient_rests_as_in_torch(
    optimizer_class: type[Optimizer], arguments: dict[str, Any], rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    initial = {"a": rng.standard_normal(3), "b": rng.standard_normal(2)}
    model = Module(initial)
    optimizer = optimizer_class(model, **arguments)
    theirs, their_optimizer = torch_twin(torch, optimizer_class, arguments, initial)
    for names in ("a", "ab", "b", "", "ab"):
        grads = {name: rng.standard_normal(initial[name].shape) for name in names}
        before = model.parameters()
        optimizer.step(grads)
        for name, parameter in theirs.items():
            parameter.grad = torch.from_numpy(grads[name]) if name in grads else None
        their_optimizer.step()
        for name, array in model.parameters().items():
            assert name in names or array is before[name]
            assert_gradient(array, theirs[name].detach().numpy(), "trajectory", f"{name} after {names!r}")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@cases
def test_resumes_with_the_same_bits(
    optimizer_class: type[Optimizer], arguments: dict[str, Any], dtype: type, rng: np.random.Generator
) -> None:
    problem = Regression(rng, dtype)

    def run(optimizer: Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.step(problem.grads(optimizer.model.parameters()))

    straight, broken = (
        optimizer_class(problem.model(), **arguments),
        optimizer_class(problem.model(), **arguments),
    )
    run(straight, 7)
    run(broken, 3)
    broken.lr *= 0.5  # a schedule's work, which the state carries
    state, parameters = broken.state_dict(), broken.model.parameters()
    run(broken, 4)  # the state must be a copy, not a view of what goes on

    resumed_model = Module(parameters)
    resumed = optimizer_class(resumed_model, **arguments)
    # Numbers come back from a file as arrays without dimensions.
    resumed.load_state_dict({name: np.asarray(entry) for name, entry in state.items()})
    assert resumed.state_dict().keys() == state.keys()
    run(resumed, 4)
    for name, array in resumed_model.parameters().items():
        assert array.dtype == dtype
        assert np.array_equal(array, broken.model.parameters()[name])
    assert not np.array_equal(straight.model.parameters()["w1"], broken.model.parameters()["w1"])


@cases
def test_parameters_are_replaced_not_written_to(
    optimizer_class: type[Optimizer], arguments: dict[str, Any], rng: np.random.Generator
) -> None:
    problem = Regression(rng, np.float32)
    model = problem.model()
    optimizer = optimizer_class(model, **arguments)
    optimizer.lr = np.float64(0.1)  # what NumPy arithmetic on the rate gives; float32 must stay float32
    held = model.parameters()
    copies = {name: array.copy() for name, array in held.items()}
    grads = problem.grads(held)
    given = {name: array.copy() for name, array in grads.items()}
    for _ in range(2):
        optimizer.step(grads)
    for name, array in model.parameters().items():
        assert array.dtype == np.float32
        assert not np.array_equal(array, copies[name])
        assert np.array_equal(held[name], copies[name])
        assert np.array_equal(grads[name], given[name])


def test_settings_are_shown() -> None:
    model = Linear(2, 1)
    shown = "SGD(lr=0.1, initial_lr=None, weight_decay=0.0, groups={}, momentum=0.9, dampening=0.0, nesterov=False)"
    assert repr(SGD(model, lr=0.1, momentum=0.9)) == shown
    assert repr(AdamW(model, groups={"bias": None})).startswith("AdamW(lr=0.001, ")


def test_parameters_without_dimensions_or_elements() -> None:
    for optimizer_class, arguments in CASES:
        model = Module({"scale": np.array(2.0), "empty": np.zeros((0, 3))})
        optimizer_class(model, **arguments).step({"scale": np.array(1.0), "empty": np.zeros((0, 3))})
        assert model.parameters()["scale"].shape == ()
        assert model.parameters()["scale"] < 2.0
        assert model.parameters()["empty"].shape == (0, 3)


@cases
def test_nan_and_inf_stay_where_they_are(optimizer_class: type[Optimizer], arguments: dict[str, Any]) -> None:
    model = Module({"w": np.ones(3, np.float32)})
    optimizer_class(model, **arguments).step({"w": np.array([np.nan, 1.0, np.inf], np.float32)})
    assert list(np.isfinite(model.parameters()["w"])) == [False, True, False]


@pytest.mark.parametrize(
    ("grads", "error", "message"),
    [
        ({"v": np.zeros(1)}, ValueError, r"grads\['v'\]: the model has no parameter of this name"),
        ({"w": np.zeros(2)}, ValueError, r"grads\['w'\]: expected shape \(1,\), got \(2,\)"),
        ({"w": np.zeros((1, 1))}, ValueError, r"grads\['w'\]: expected shape \(1,\), got \(1, 1\)"),
        ({"w": np.zeros(1, np.float32)}, TypeError, r"grads\['w'\]: expected dtype float64, got float32"),
        ({"w": np.zeros(1, object)}, TypeError, r"grads\['w'\]: expected dtype float64, got object"),
        ({"w": ["0"]}, TypeError, r"grads\['w'\]: expected dtype float64, got <U1"),
        ({"w": None}, TypeError, r"grads\['w'\]: expected an array, got None"),
    ],
)
def test_bad_gradients_change_nothing(grads: Any, error: type[Exception], message: str) -> None:
    model = Module({"a": np.ones(1), "w": np.ones(1)})
    optimizer = Adam(model)
    with pytest.raises(error, match=message):
        optimizer.step({"a": np.ones(1), **grads})
    assert model.parameters()["a"] == 1.0
    assert optimizer.state_dict() == {"lr": 1e-3}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda m: SGD(m, lr=-0.1), ValueError, "lr: expected a finite number from 0 up, got -0.1"),
        (lambda m: SGD(m, lr=math.nan), ValueError, "lr: .* got nan"),
        (lambda m: SGD(m, lr=math.inf), ValueError, "lr: .* got inf"),
        (lambda m: SGD(m, lr="fast"), TypeError, "lr: expected a number, got 'fast'"),
        (lambda m: SGD(m, weight_decay=-1), ValueError, "weight_decay: .* got -1"),
        (lambda m: SGD(m, momentum=-1), ValueError, "momentum: .* got -1"),
        (
            lambda m: SGD(m, nesterov=True),
            ValueError,
            "nesterov: expected momentum > 0 and dampening = 0, got 0.0",
        ),
        (
            lambda m: SGD(m, momentum=0.9, dampening=0.1, nesterov=True),
            ValueError,
            "nesterov: .* got 0.9 and 0.1",
        ),
        (lambda m: RMSprop(m, alpha=1.5), ValueError, "alpha: expected a number from 0 to 1, got 1.5"),
        (lambda m: RMSprop(m, eps=-1e-8), ValueError, "eps: .* got -1e-08"),
        (
            lambda m: Adam(m, betas=(0.9, 1.0)),
            ValueError,
            r"betas\[1\]: expected a number from 0 to 1, not including 1, got 1.0",
        ),
        (lambda m: Adam(m, betas=(-0.1, 0.9)), ValueError, r"betas\[0\]: expected a number .* got -0.1"),
        (lambda m: AdamW(m, betas=(0.9,)), ValueError, "betas: expected two numbers, got 1"),
    ],
)
def test_bad_arguments(make: Callable[[Module], Optimizer], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(one(1.0))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": None}, ValueError, "expected an entry 'lr'"),
        ({"lr": -1.0}, ValueError, r"state_dict\['lr'\]: .* got -1.0"),
        ({"lr": np.ones(1)}, TypeError, r"state_dict\['lr'\]: expected a number, got ndarray"),
        ({"w.exp_avg": None}, ValueError, "expected an entry 'w.exp_avg' for Adam"),
        (
            {"w.exp_avg": np.zeros(2)},
            ValueError,
            r"state_dict\['w.exp_avg'\]: expected shape \(1,\), got \(2,\)",
        ),
        (
            {"w.exp_avg": np.zeros(1, int)},
            TypeError,
            r"state_dict\['w.exp_avg'\]: expected dtype float64, got int64",
        ),
        ({"w.step": 0}, ValueError, r"state_dict\['w.step'\]: expected a whole number from 1 up, got 0"),
        ({"w.step": 1.5}, TypeError, r"state_dict\['w.step'\]: expected a whole number, got 1.5"),
        ({"w.square_avg": np.zeros(1)}, ValueError, "unknown entry 'w.square_avg' for Adam and this model"),
        ({"v.step": 1}, ValueError, "unknown entry 'v.step'"),
    ],
)
def test_a_bad_state_is_refused_whole(change: dict[str, Any], error: type[Exception], message: str) -> None:
    optimizer = Adam(one(1.0))
    optimizer.step({"w": np.ones(1)})
    before = optimizer.state_dict()
    changed = {"lr": 0.5, **{name: entry for name, entry in before.items() if name != "lr"}, **change}
    with pytest.raises(error, match=message):
        optimizer.load_state_dict({name: entry for name, entry in changed.items() if entry is not None})
    assert optimizer.state_dict() == before


def gradient_sets() -> Iterator[Arrays]:
    rng = np.random.default_rng(5)
    for dtype in (np.float32, np.float64):
        for scale in (1e-9, 1.0, 30.0):
            yield {"a": (scale * rng.standard_normal((3, 4))).astype(dtype), "b": np.full(2, scale, dtype)}
    yield {"a": np.array([np.inf, 1.0]), "b": np.ones(1)}
    yield {"a": np.array([np.nan, 1.0]), "b": np.ones(1)}
    yield {"a": np.zeros((0, 2)), "b": np.zeros(3)}


def assert_same(actual: Any, expected: Any, name: str) -> None:
    """Assert agreement where NaN agrees with NaN."""
    assert np.array_equal(np.isnan(actual), np.isnan(expected))
    assert_close(np.where(np.isnan(actual), 0.0, actual), np.where(np.isnan(expected), 0.0, expected), name)


@pytest.mark.parametrize("limit", [0.0, 0.5, 7.0, math.inf])
def test_clipping_is_torchs(limit: float) -> None:
    torch = pytest.importorskip("torch")
    for grads in gradient_sets():
        name = f"{grads['a'].dtype}_rounding"
        parameters = {n: torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for n, g in grads.items()}

        def theirs(clip: Any, *, grads: Arrays = grads, parameters: dict[str, Any] = parameters) -> Any:
            for n, grad in grads.items():
                parameters[n].grad = torch.tensor(grad, dtype=torch.float64)
            return clip(parameters.values(), limit)

        clipped, norm = clip_grad_norm(grads, limit)
        assert_same(norm, theirs(torch.nn.utils.clip_grad_norm_).item(), "float64_rounding")
        for n, grad in clipped.items():
            assert grad.dtype == grads[n].dtype
            assert_same(grad, parameters[n].grad.numpy(), name)
        theirs(torch.nn.utils.clip_grad_value_)
        for n, grad in clip_grad_value(grads, limit).items():
            assert grad.dtype == grads[n].dtype
            np.testing.assert_array_equal(grad, parameters[n].grad.numpy())


def test_clipping_by_hand() -> None:
    grads = {"a": np.array([3.0, 0.0]), "b": np.array([[-4.0]])}
    clipped, norm = clip_grad_norm(grads, 1.0)
    assert norm == 5.0
    assert_close(clipped["a"], np.array([3.0, 0.0]) / 5.000001, "float64")
    assert_close(clipped["b"], [[-4.0 / 5.000001]], "float64")
    assert grads["b"][0, 0] == -4.0

    kept, norm = clip_grad_norm(grads, 6.0)
    assert (norm, kept) == (5.0, grads)
    assert kept is not grads
    assert clip_grad_norm({}, 1.0) == ({}, 0.0)
    assert list(clip_grad_value(grads, 2.0)["a"]) == [2.0, 0.0]


def test_the_norm_of_float32_is_summed_in_float64() -> None:
    assert_close(clip_grad_norm({"a": np.full(4, 1e30, np.float32)}, 1.0)[1], 2e30, "float32_rounding")
    with_crumbs = np.concatenate([[np.float32(4096.0)], np.full(1 << 16, np.float32(2.0**-6))]).astype(np.float32)
    assert clip_grad_norm({"a": with_crumbs}, 1.0)[1] == math.sqrt(2.0**24 + 16.0)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_bad_clipping(clip: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="(max_norm|clip_value): expected a number from 0 up, got -1"):
        clip({}, -1)
    with pytest.raises(ValueError, match="(max_norm|clip_value): .* got nan"):
        clip({}, math.nan)
    with pytest.raises(TypeError, match=r"grads\['w'\]: expected dtype float32 or float64, got int64"):
        clip({"w": np.ones(1, np.int64)}, 1.0)
    with pytest.raises(TypeError, match=r"grads\['w'\]: expected dtype float32 or float64, got <U1"):
        clip({"w": ["1"]}, 1.0)


@cases
def test_a_group_is_an_optimizer_of_its_own(
    optimizer_class: type[Optimizer], arguments: dict[str, Any], rng: np.random.Generator
) -> None:
    """As separate optimizers on the same gradients, by what differs; schedules move all rates."""
    problem = Regression(rng)
    groups = {"b1": {"weight_decay": 0.0}, "w*": {"lr_scale": 0.5, "weight_decay": 0.3}, "b2": None}
    model = problem.model()
    optimizer = optimizer_class(model, **arguments, groups=groups)
    others = {
        "b1": arguments | {"weight_decay": 0.0},
        "w1": arguments | {"lr": 0.5 * arguments["lr"], "weight_decay": 0.3},
        "w2": arguments | {"lr": 0.5 * arguments["lr"], "weight_decay": 0.3},
    }
    alone = {name: Module({name: problem.initial[name]}) for name in others}
    steppers = {name: optimizer_class(alone[name], **own) for name, own in others.items()}
    for step in range(20):
        grads = problem.grads(dict(model.parameters()))
        optimizer.step(grads)
        for name, own in steppers.items():
            own.step({name: grads[name]})
            if step == 9:
                own.lr /= 2
        if step == 9:
            optimizer.lr /= 2
    for name, own in alone.items():
        np.testing.assert_array_equal(model.parameters()[name], own.parameters()[name])
    np.testing.assert_array_equal(model.parameters()["b2"], problem.initial["b2"])
    assert "b2.step" not in optimizer.state_dict()
    assert optimizer.trained(grads).keys() == {"w1", "b1", "w2"}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"w": {}}, "groups: expected names of parameters, such as w1, b1, w2, got 'w'"),
        ({"w1": {"lr": 1.0}}, r"groups\['w1'\]: expected 'lr_scale' or 'weight_decay', got 'lr'"),
        ({"w1": {"lr_scale": -1.0}}, r"groups\['w1'\]\['lr_scale'\]: expected a finite number from 0 up"),
        ({"w1": 0.5}, r"groups\['w1'\]: expected a mapping from names to numbers, got float"),
        ([("w1", None)], "groups: expected a mapping from names to options, got list"),
    ],
)
def test_groups_that_are_none(groups: Any, message: str, rng: np.random.Generator) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        SGD(Regression(rng).model(), groups=groups)
