"""The reference is right: its gradients against finite differences, the whole of it against torch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
from cases import central_difference, every_kind, normal_state, parts_of
from tolerances import assert_close, assert_gradient

from gru_native import reference
from gru_native.activations import Activation, activation

Arrays = dict[str, np.ndarray]


def random_state(
    rng: np.random.Generator,
    sizes: list[int],
    *,
    bias: bool = True,
    bidirectional: bool = False,
    kind: str = "gru_reset_after",
    projection: int = 0,
) -> Arrays:
    """PyTorch-named parameters of a stack: sizes[0] inputs, then a hidden size for each layer."""
    state: Arrays = {}
    gates = reference.CELLS[kind].gates
    for layer, hidden in enumerate(sizes[1:]):
        directions = 2 if bidirectional else 1
        inputs = (projection or sizes[layer]) * directions if layer else sizes[0]
        shapes = {"weight_ih": (gates * hidden, inputs), "weight_hh": (gates * hidden, projection or hidden)}
        if bias:
            shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
        if kind == "gru_layer_norm":
            shapes |= {"gamma_ih": (gates * hidden,), "gamma_hh": (gates * hidden,)}
        if projection:
            shapes |= {"weight_hr": (projection, hidden)}
        for suffix in [f"_l{layer}", f"_l{layer}_reverse"][:directions]:
            bound = 1.0 / np.sqrt(hidden)
            state |= {name + suffix: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}
    return state


def weighted(arrays: list[np.ndarray], weights: list[np.ndarray]) -> float:
    return float(sum(np.sum(array * weight) for array, weight in zip(arrays, weights, strict=True)))


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (1, 3), (4, 1), (3, 2)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("biases", [(), ("bias_ih",), ("bias_hh",), ("bias_ih", "bias_hh")])
@every_kind
@pytest.mark.parametrize("ragged", [False, True])
def test_gradients_of_a_layer_are_finite_differences(
    rng: np.random.Generator,
    ragged: bool,
    kind: str,
    biases: tuple[str, ...],
    reverse: bool,
    steps: int,
    batch: int,
) -> None:
    steps_of_rows: dict[str, Any] = {}
    if ragged:
        steps_of_rows = {"lengths": rng.integers(0, steps + 1, batch), "reset": rng.random((steps, batch)) < 0.3}
        steps_of_rows["dropout_mask"] = rng.choice([0.0, 1.5], (batch, 2))
        if kind != "lstm":
            steps_of_rows["taken"] = rng.random((steps, batch, 2))
    check_gradients(rng, kind, biases, steps, batch, reverse=reverse, **steps_of_rows)


def check_gradients(
    rng: np.random.Generator,
    kind: str,
    biases: tuple[str, ...],
    steps: int,
    batch: int,
    *,
    peephole: bool = False,
    projection: int = 0,
    **options: Any,
) -> None:
    inputs, hidden, rows = 3, 2, 2 * reference.CELLS[kind].gates
    sizes = (projection or hidden, hidden)[: reference.CELLS[kind].states]
    shapes = {"x": (steps, batch, inputs), "weight_ih": (rows, inputs), "weight_hh": (rows, sizes[0])}
    shapes |= dict.fromkeys(biases, (rows,))
    if kind == "gru_layer_norm":
        shapes |= {"gamma_ih": (rows,), "gamma_hh": (rows,)}
    if peephole:
        shapes |= {"peephole": (3, hidden)}
    if projection:
        shapes |= {"weight_hr": (projection, hidden)}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    first, d_last = ([rng.standard_normal((batch, size)) for size in sizes] for _ in range(2))
    d_output = rng.standard_normal((steps, batch, sizes[0]))

    def whole(parts: list[np.ndarray]) -> Any:
        return tuple(parts) if len(parts) > 1 else parts[0]

    def run() -> tuple[np.ndarray, Any, reference.Tape]:
        given: dict[str, Any] = {"bias_ih": None, "bias_hh": None, "state": whole(first)} | arrays
        return reference.forward(**given, cell=kind, **options)

    def loss() -> float:
        output, final, _ = run()
        return weighted([output, *parts_of(final)], [d_output, *d_last])

    gradients = reference.backward(run()[2], d_output, whole(d_last))
    d_state = gradients.pop("state")
    assert gradients.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_gradient(gradients[name], central_difference(loss, array), "finite_difference", name)
    for gradient, array in zip(parts_of(d_state), first, strict=True):
        assert_gradient(gradient, central_difference(loss, array), "finite_difference", "state")


# Each with numbers of its own, where it has some.
ACTIVATIONS: dict[str, tuple[Any, ...]] = {
    "sigmoid": (),
    "tanh": (),
    "relu": (),
    "linear": (0.7, -0.2),
    "hard_sigmoid": (0.3, 0.4),
    "leaky_relu": (0.2,),
    "elu": (1.5,),
    "softsign": (),
    "softplus": (),
    "scaled_tanh": (1.7, 0.6),
    "thresholded_relu": (0.3,),
}


@pytest.mark.parametrize("clip", [None, 0.8])
@pytest.mark.parametrize("name", ACTIVATIONS)
@every_kind
def test_gradients_of_activations_are_finite_differences(
    rng: np.random.Generator, kind: str, name: str, clip: float | None
) -> None:
    count = len(reference.CELLS[kind].activations)
    for place in range(count):
        own = ["sigmoid", "tanh", "softsign"][:count]
        own[place] = (name, *ACTIVATIONS[name])
        check_gradients(rng, kind, ("bias_ih", "bias_hh"), 3, 2, activations=own, clip=clip)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("projection", [0, 1, 3])
@pytest.mark.parametrize("input_forget", [False, True])
@pytest.mark.parametrize("peephole", [False, True])
def test_gradients_of_the_lstms_options_are_finite_differences(
    rng: np.random.Generator, peephole: bool, input_forget: bool, projection: int, clip: float | None
) -> None:
    options: dict[str, Any] = {"peephole": peephole, "input_forget": input_forget, "projection": projection}
    options |= {"lengths": [3, 1], "reset": [[0, 1], [0, 0], [1, 0]], "reverse": True, "clip": clip}
    options["reset"] = np.array(options["reset"], bool)
    mask = rng.choice([0.0, 1.5], (2, projection or 2))
    check_gradients(rng, "lstm", ("bias_hh",), 3, 2, dropout_mask=mask, **options)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_slopes_are_torchs(name: str) -> None:
    torch: Any = pytest.importorskip("torch")
    functions: dict[str, Callable[..., Any]] = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "linear": lambda x, alpha, beta: alpha * x + beta,
        "hard_sigmoid": lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1),
        "leaky_relu": torch.nn.functional.leaky_relu,
        "elu": torch.nn.functional.elu,
        "softsign": torch.nn.functional.softsign,
        "softplus": lambda x: torch.nn.functional.softplus(x, threshold=1e9),
        "scaled_tanh": lambda x, alpha, beta: alpha * torch.tanh(beta * x),
        "thresholded_relu": lambda x, alpha: torch.nn.functional.threshold(x, alpha, 0.0),
    }
    x = torch.cat([torch.linspace(-50, 50, 1001, dtype=torch.float64), torch.tensor([0.0, 0.3, -2.0])])
    x.requires_grad_()
    y = functions[name](x, *ACTIVATIONS[name])
    y.sum().backward()
    cell = reference.RNN((Activation(name, *ACTIVATIONS[name]),))
    value, slope = cell.activate(0, x.detach().numpy())
    assert_close(value, y.detach(), "float64", "value")
    assert_close(slope, x.grad, "float64", "slope")


def test_hard_sigmoid_is_torchs_by_default() -> None:
    torch: Any = pytest.importorskip("torch")
    x = torch.linspace(-4, 4, 81, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.hardsigmoid(x)
    y.sum().backward()
    value, slope = reference.RNN((activation("activation", "hard_sigmoid"),)).activate(0, x.detach().numpy())
    assert_close(value, y.detach(), "float64", "value")
    assert_close(slope, x.grad, "float32_rounding", "slope")  # torch has a sixth in float32 there


@pytest.mark.parametrize("input_forget", [False, True])
@pytest.mark.parametrize("activations", [("sigmoid", "tanh", "tanh"), ("softsign", "elu", "softplus")])
def test_an_lstm_with_everything_follows_torch(
    rng: np.random.Generator, activations: tuple[str, ...], input_forget: bool
) -> None:
    """A loop of torch's operations, with peepholes, clip and a projection."""
    torch: Any = pytest.importorskip("torch")
    clip, (f, g, h) = 0.6, (getattr(torch, name, None) or getattr(torch.nn.functional, name) for name in activations)
    shapes = {"x": (4, 3, 2), "weight_ih": (20, 2), "weight_hh": (20, 4), "bias_ih": (20,), "bias_hh": (20,)}
    shapes |= {"peephole": (3, 5), "weight_hr": (4, 5), "h_0": (3, 4), "c_0": (3, 5)}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    t = {name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()}

    def bounded(a: Any) -> Any:
        return a.clamp(-clip, clip)

    state, c, outputs = t["h_0"], t["c_0"], []
    for x in t["x"]:
        a = x @ t["weight_ih"].T + t["bias_ih"] + state @ t["weight_hh"].T + t["bias_hh"]
        a_i, a_f, a_g, a_o = a.chunk(4, 1)
        i = f(bounded(a_i + t["peephole"][0] * c))
        forget = 1 - i if input_forget else f(bounded(a_f + t["peephole"][1] * c))
        c = forget * c + i * g(bounded(a_g))
        state = (f(bounded(a_o + t["peephole"][2] * c)) * h(bounded(c))) @ t["weight_hr"].T
        outputs.append(state)
    d_output, d_h, d_c = rng.standard_normal((4, 3, 4)), rng.standard_normal((3, 4)), rng.standard_normal((3, 5))
    torch.autograd.backward([torch.stack(outputs), state, c], list(map(torch.tensor, (d_output, d_h, d_c))))

    first = arrays.pop("h_0"), arrays.pop("c_0")
    options: dict[str, Any] = {"activations": activations, "clip": clip, "input_forget": input_forget}
    output, last, tape = reference.forward(**arrays, state=first, cell="lstm", **options)
    assert_close(output, torch.stack(outputs).detach(), "float64", "output")
    assert_close(last[1], c.detach(), "float64", "c_n")
    gradients = reference.backward(tape, d_output, (d_h, d_c))
    gradients["h_0"], gradients["c_0"] = gradients.pop("state")
    for name, gradient in gradients.items():
        assert_gradient(gradient, t[name].grad, "float64_gradient", name)


def test_activations_may_differ_by_direction(rng: np.random.Generator) -> None:
    parameters = random_state(rng, [3, 4], bidirectional=True)
    x, each = rng.standard_normal((5, 2, 3)), [("sigmoid", "relu"), ("hard_sigmoid", "tanh")]
    output, *_ = reference.stack_forward(x, None, parameters, bidirectional=True, activations=each[0] + each[1])
    for direction, suffix in enumerate(["_l0", "_l0_reverse"]):
        own = {name.removesuffix(suffix): array for name, array in parameters.items() if name.endswith(suffix)}
        alone, *_ = reference.forward(x, None, **own, activations=each[direction], reverse=direction == 1)
        np.testing.assert_array_equal(output[:, :, 4 * direction : 4 * direction + 4], alone)


@pytest.mark.parametrize("reverse", [False, True])
def test_ragged_rows_and_resets_are_sequences_cut_by_hand(rng: np.random.Generator, reverse: bool) -> None:
    weights = [rng.standard_normal(shape) for shape in [(6, 3), (6, 2), (6,), (6,)]]
    x, h_0 = rng.standard_normal((7, 2, 3)), rng.standard_normal((2, 2))
    x[5:, 0] = np.nan
    reset = np.zeros((7, 2), bool)
    reset[3, 0] = reset[6, 0] = reset[0, 1] = True
    output, h_n, _ = reference.forward(x, h_0, *weights, lengths=[5, 7], reset=reset, reverse=reverse)
    assert not output[5:, 0].any()
    zeros = np.zeros((1, 2))
    # The pieces in the order in which they are computed, with the states that they begin with.
    starts = [zeros, h_0[:1]] if reverse else [h_0[:1], zeros]
    for piece, start in zip([slice(0, 3), slice(3, 5)], starts, strict=True):
        expected, h_expected, _ = reference.forward(x[piece, :1], start, *weights, reverse=reverse)
        assert_close(output[piece, :1], expected, "float64")
        if piece.start == (0 if reverse else 3):
            assert_close(h_n[:1], h_expected, "float64")
    expected, h_expected, _ = reference.forward(x[:, 1:], h_0[1:] if reverse else zeros, *weights, reverse=reverse)
    assert_close(output[:, 1:], expected, "float64")
    assert_close(h_n[1:], h_expected, "float64")


@every_kind
@pytest.mark.parametrize(("bias", "bidirectional"), [(True, True), (False, True), (True, False)])
def test_gradients_of_a_stack_are_finite_differences(
    rng: np.random.Generator, bias: bool, bidirectional: bool, kind: str
) -> None:
    sizes, steps, batch, directions = [2, 3, 2], 3, 2, 2 if bidirectional else 1
    parameters = random_state(rng, sizes, bias=bias, bidirectional=bidirectional, kind=kind)
    x = rng.standard_normal((steps, batch, sizes[0]))
    states, d_final = (
        [normal_state(rng, kind, directions, batch, hidden, dtype=float) for hidden in sizes[1:]] for _ in range(2)
    )
    d_output = rng.standard_normal((steps, batch, directions * sizes[-1]))

    def run() -> tuple[np.ndarray, list[Any], list[list[reference.Tape]]]:
        return reference.stack_forward(x, states, parameters, num_layers=2, bidirectional=bidirectional, cell=kind)

    def loss() -> float:
        output, final, _ = run()
        return weighted([output, *chain(*map(parts_of, final))], [d_output, *chain(*map(parts_of, d_final))])

    (d_x, d_states), grads = reference.stack_backward(run()[2], d_output, d_final)
    assert grads.keys() == parameters.keys()
    assert_close(d_x, central_difference(loss, x), "finite_difference", "x")
    for gradient, array in zip(chain(*map(parts_of, d_states)), chain(*map(parts_of, states)), strict=True):
        assert_close(gradient, central_difference(loss, array), "finite_difference", "state")
    for name, array in parameters.items():
        assert_close(grads[name], central_difference(loss, array), "finite_difference", name)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(
    ("kind", "projection"), [("gru_reset_after", 0), ("lstm", 0), ("lstm", 3), ("rnn_tanh", 0), ("rnn_relu", 0)]
)
def test_follows_torch(
    rng: np.random.Generator, kind: str, projection: int, num_layers: int, bidirectional: bool, bias: bool
) -> None:
    torch: Any = pytest.importorskip("torch")
    steps, batch, inputs, hidden, directions = 7, 3, 4, 5, 2 if bidirectional else 1
    cell = reference.CELLS[kind]
    sizes = (projection or hidden, hidden)[: cell.states]
    state = random_state(
        rng, [inputs] + [hidden] * num_layers, bias=bias, bidirectional=bidirectional, kind=kind, projection=projection
    )
    x = rng.standard_normal((steps, batch, inputs))
    first, d_last = ([rng.standard_normal((num_layers, directions, batch, size)) for size in sizes] for _ in range(2))
    d_output = rng.standard_normal((steps, batch, directions * sizes[0]))

    name, *nonlinearity = kind.split("_")
    options = {"bias": bias, "bidirectional": bidirectional, "dtype": torch.float64}
    if name == "rnn":
        options["nonlinearity"] = nonlinearity[0]
    if projection:
        options["proj_size"] = projection
    theirs = getattr(torch.nn, name.upper())(inputs, hidden, num_layers, **options)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    t_x = torch.tensor(x, requires_grad=True)
    t_first = [torch.tensor(part.reshape(-1, *part.shape[2:]), requires_grad=True) for part in first]
    t_output, t_last = theirs(t_x, tuple(t_first) if cell.states == 2 else t_first[0])
    t_last = parts_of(t_last)
    torch.autograd.backward(
        [t_output, *t_last],
        [torch.tensor(d_output), *(torch.tensor(d).view_as(last) for d, last in zip(d_last, t_last, strict=True))],
    )

    def by_layer(parts: list[np.ndarray]) -> list[Any]:
        return [layer if cell.states == 2 else layer[0] for layer in zip(*parts, strict=True)]

    def by_part(layers: list[Any]) -> list[np.ndarray]:
        return [np.concatenate(part) for part in zip(*map(parts_of, layers), strict=True)]

    output, last, tapes = reference.stack_forward(
        x, by_layer(first), state, num_layers=num_layers, bidirectional=bidirectional, cell=kind
    )
    (d_x, d_first), grads = reference.stack_backward(tapes, d_output, by_layer(d_last))
    assert_close(output, t_output.detach(), "float64", "output")
    for part, expected in zip(by_part(last), t_last, strict=True):
        assert_close(part, expected.detach(), "float64", "last state")
    assert_gradient(d_x, t_x.grad, "float64_gradient", "x")
    for part, expected in zip(by_part(d_first), t_first, strict=True):
        assert_gradient(part, expected.grad, "float64_gradient", "first state")
    for name, parameter in theirs.named_parameters():
        assert_gradient(grads[name], parameter.grad, "float64_gradient", name)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_nothing_given_means_zeros(rng: np.random.Generator, bidirectional: bool) -> None:
    sizes, batch, directions = [3, 4, 2], 2, 2 if bidirectional else 1
    state = random_state(rng, sizes, bidirectional=bidirectional)
    x = rng.standard_normal((5, batch, 3))
    zeros = [np.zeros((directions, batch, hidden)) for hidden in sizes[1:]]
    kwargs = {"num_layers": 2, "bidirectional": bidirectional}
    output, h_n, tapes = reference.stack_forward(x, None, state, **kwargs)
    np.testing.assert_array_equal(output, reference.stack_forward(x, zeros, state, **kwargs)[0])

    for d_output, d_h_n in [(np.ones_like(output), None), (None, [np.ones_like(h) for h in h_n])]:
        given = [np.zeros_like(output) if d_output is None else d_output, d_h_n or zeros]
        (d_x, d_h_0), grads = reference.stack_backward(tapes, d_output, d_h_n)
        (all_x, all_h_0), all_grads = reference.stack_backward(tapes, *given)
        pairs = zip([d_x, *d_h_0, *grads.values()], [all_x, *all_h_0, *all_grads.values()], strict=True)
        for actual, expected in pairs:
            assert np.any(expected)
            np.testing.assert_array_equal(actual, expected)


@every_kind
def test_reverse_is_forward_on_the_flipped_sequence(rng: np.random.Generator, kind: str) -> None:
    weights = {name.removesuffix("_l0"): array for name, array in random_state(rng, [3, 4], kind=kind).items()}
    x, state = rng.standard_normal((6, 2, 3)), normal_state(rng, kind, 2, 4, dtype=float)
    output, final, _ = reference.forward(x, state, **weights, cell=kind, reverse=True)
    flipped, last, _ = reference.forward(x[::-1], state, **weights, cell=kind)
    np.testing.assert_array_equal(output, flipped[::-1])
    for part, expected in zip(parts_of(final), parts_of(last), strict=True):
        np.testing.assert_array_equal(part, expected)
    np.testing.assert_array_equal(parts_of(final)[0], output[0])


def test_no_steps_hand_the_state_through(rng: np.random.Generator) -> None:
    weights = list(random_state(rng, [3, 4]).values())
    h_0, d_h_n = rng.standard_normal((2, 2, 4))
    output, h_n, tape = reference.forward(np.empty((0, 2, 3)), h_0, *weights)
    assert output.shape == (0, 2, 4)
    np.testing.assert_array_equal(h_n, h_0)
    gradients = reference.backward(tape, None, d_h_n)
    np.testing.assert_array_equal(gradients["state"], d_h_n)
    assert not any(gradients[name].any() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def test_a_tape_does_not_change_with_the_callers_arrays(rng: np.random.Generator) -> None:
    weights = list(random_state(rng, [3, 4]).values())
    x, h_0, d_output = (rng.standard_normal(shape) for shape in [(5, 2, 3), (2, 4), (5, 2, 4)])
    output, h_n, tape = reference.forward(x, h_0, *weights)
    expected = reference.backward(tape, d_output)
    for array in (x, h_0, output, h_n, *weights):
        array += 1.0
    for name, gradient in reference.backward(tape, d_output).items():
        np.testing.assert_array_equal(gradient, expected[name], err_msg=name)


def test_philox_is_the_published_one() -> None:
    """Its authors' known answers (Random123), for what the counters here can say."""
    words = reference.philox(np.zeros(1, np.uint64), 0)
    assert [f"{int(word):08x}" for word in words[:, 0]] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


def test_sigmoid_saturates_and_passes_nan_on() -> None:
    a = np.array([-np.inf, -1000.0, -700.0, 0.0, 40.0, 1000.0, np.inf])
    expected = [0.0, 0.0, np.exp(-700.0), 0.5, 1.0, 1.0, 1.0]
    assert_close(reference.sigmoid(a), expected, "sigmoid")
    assert np.isnan(reference.sigmoid(np.array([np.nan, 0.0]))).tolist() == [True, False]
