"""The reference is right: its gradients against finite differences, the whole of it against torch."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import numpy as np
import pytest
from cases import KINDS, every_kind, normal_state, parts_of
from tolerances import assert_close, assert_gradient

from gru_native import reference

Arrays = dict[str, np.ndarray]


def random_state(
    rng: np.random.Generator,
    sizes: list[int],
    *,
    bias: bool = True,
    bidirectional: bool = False,
    kind: str = "gru_reset_after",
) -> Arrays:
    """PyTorch-named parameters of a stack: sizes[0] inputs, then a hidden size for each layer."""
    state: Arrays = {}
    gates = reference.CELLS[kind].gates
    for layer, hidden in enumerate(sizes[1:]):
        directions = 2 if bidirectional else 1
        inputs = sizes[layer] * (directions if layer else 1)
        shapes = {"weight_ih": (gates * hidden, inputs), "weight_hh": (gates * hidden, hidden)}
        if bias:
            shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
        if kind == "gru_layer_norm":
            shapes |= {"gamma_ih": (gates * hidden,), "gamma_hh": (gates * hidden,)}
        for suffix in [f"_l{layer}", f"_l{layer}_reverse"][:directions]:
            bound = 1.0 / np.sqrt(hidden)
            state |= {name + suffix: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}
    return state


def central_difference(loss: Callable[[], float], array: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Take the gradient of `loss` by `array`, which it reads afresh at each call."""
    gradient = np.empty_like(array)
    for index in np.ndindex(array.shape):
        value = array[index]
        array[index] = value + step
        above = loss()
        array[index] = value - step
        gradient[index] = (above - loss()) / (2.0 * step)
        array[index] = value
    return gradient


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
    inputs, hidden, rows = 3, 2, 2 * reference.CELLS[kind].gates
    shapes = {"x": (steps, batch, inputs), "weight_ih": (rows, inputs), "weight_hh": (rows, hidden)}
    shapes |= dict.fromkeys(biases, (rows,))
    if kind == "gru_layer_norm":
        shapes |= {"gamma_ih": (rows,), "gamma_hh": (rows,)}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    state, d_final = (normal_state(rng, kind, batch, hidden, dtype=float) for _ in range(2))
    d_output = rng.standard_normal((steps, batch, hidden))
    lengths = rng.integers(0, steps + 1, batch) if ragged else None
    reset = rng.random((steps, batch)) < 0.3 if ragged else None
    mask = rng.choice([0.0, 1.5], (batch, hidden)) if ragged else None
    taken = rng.random((steps, batch, hidden)) if ragged and kind != "lstm" else None

    def run() -> tuple[np.ndarray, Any, reference.Tape]:
        given: dict[str, Any] = {"bias_ih": None, "bias_hh": None, "state": state} | arrays
        return reference.forward(
            **given, cell=kind, reverse=reverse, lengths=lengths, reset=reset, mask=mask, taken=taken
        )

    def loss() -> float:
        output, final, _ = run()
        return weighted([output, *parts_of(final)], [d_output, *parts_of(d_final)])

    gradients = reference.backward(run()[2], d_output, d_final)
    d_state = gradients.pop("state")
    assert gradients.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_close(gradients[name], central_difference(loss, array), "finite_difference", name)
    for gradient, array in zip(parts_of(d_state), parts_of(state), strict=True):
        assert_close(gradient, central_difference(loss, array), "finite_difference", "state")


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
@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"gru_reset_before", "gru_layer_norm"}))
def test_follows_torch(rng: np.random.Generator, kind: str, num_layers: int, bidirectional: bool, bias: bool) -> None:
    torch: Any = pytest.importorskip("torch")
    steps, batch, inputs, hidden, directions = 7, 3, 4, 5, 2 if bidirectional else 1
    cell = reference.CELLS[kind]
    state = random_state(rng, [inputs] + [hidden] * num_layers, bias=bias, bidirectional=bidirectional, kind=kind)
    x = rng.standard_normal((steps, batch, inputs))
    first, d_last = rng.standard_normal((2, cell.states, num_layers, directions, batch, hidden))
    d_output = rng.standard_normal((steps, batch, directions * hidden))

    name, *nonlinearity = kind.split("_")
    options = {"bias": bias, "bidirectional": bidirectional, "dtype": torch.float64}
    if name == "rnn":
        options["nonlinearity"] = nonlinearity[0]
    theirs = getattr(torch.nn, name.upper())(inputs, hidden, num_layers, **options)
    theirs.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    t_x = torch.tensor(x, requires_grad=True)
    t_first = [torch.tensor(part.reshape(-1, batch, hidden), requires_grad=True) for part in first]
    t_output, t_last = theirs(t_x, tuple(t_first) if cell.states == 2 else t_first[0])
    t_last = parts_of(t_last)
    torch.autograd.backward(
        [t_output, *t_last],
        [torch.tensor(d_output), *(torch.tensor(d).view_as(last) for d, last in zip(d_last, t_last, strict=True))],
    )

    def by_layer(parts: np.ndarray) -> list[Any]:
        return [tuple(layer) if cell.states == 2 else layer[0] for layer in parts.swapaxes(0, 1)]

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
