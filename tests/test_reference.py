"""The reference is right: its gradients against finite differences, the whole of it against torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close, assert_gradient

from gru_native import reference

Arrays = dict[str, np.ndarray]


def random_state(
    rng: np.random.Generator, sizes: list[int], *, bias: bool = True, bidirectional: bool = False
) -> Arrays:
    """PyTorch-named parameters of a stack: sizes[0] inputs, then a hidden size for each layer."""
    state: Arrays = {}
    for layer, hidden in enumerate(sizes[1:]):
        directions = 2 if bidirectional else 1
        inputs = sizes[layer] * (directions if layer else 1)
        shapes = {"weight_ih": (3 * hidden, inputs), "weight_hh": (3 * hidden, hidden)}
        if bias:
            shapes |= {"bias_ih": (3 * hidden,), "bias_hh": (3 * hidden,)}
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


@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (1, 3), (4, 1), (3, 2)])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("biases", [(), ("bias_ih",), ("bias_hh",), ("bias_ih", "bias_hh")])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("ragged", [False, True])
def test_gradients_of_a_layer_are_finite_differences(
    rng: np.random.Generator,
    ragged: bool,
    reset_after: bool,
    biases: tuple[str, ...],
    reverse: bool,
    steps: int,
    batch: int,
) -> None:
    inputs, hidden = 3, 2
    shapes = {"x": (steps, batch, inputs), "h_0": (batch, hidden)}
    shapes |= {"weight_ih": (3 * hidden, inputs), "weight_hh": (3 * hidden, hidden)}
    shapes |= dict.fromkeys(biases, (3 * hidden,))
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    d_output, d_h_n = rng.standard_normal((steps, batch, hidden)), rng.standard_normal((batch, hidden))
    lengths = rng.integers(0, steps + 1, batch) if ragged else None
    reset = rng.random((steps, batch)) < 0.3 if ragged else None

    def run() -> tuple[np.ndarray, np.ndarray, reference.Tape]:
        options = {"reset_after": reset_after, "reverse": reverse, "lengths": lengths, "reset": reset}
        return reference.gru_forward(**({"bias_ih": None, "bias_hh": None} | arrays), **options)

    def loss() -> float:
        output, h_n, _ = run()
        return float(np.sum(output * d_output) + np.sum(h_n * d_h_n))

    gradients = reference.gru_backward(run()[2], d_output, d_h_n)
    assert gradients.keys() == arrays.keys()
    for name, array in arrays.items():
        assert_close(gradients[name], central_difference(loss, array), "finite_difference", name)


@pytest.mark.parametrize("reverse", [False, True])
def test_ragged_rows_and_resets_are_sequences_cut_by_hand(rng: np.random.Generator, reverse: bool) -> None:
    weights = [rng.standard_normal(shape) for shape in [(6, 3), (6, 2), (6,), (6,)]]
    x, h_0 = rng.standard_normal((7, 2, 3)), rng.standard_normal((2, 2))
    x[5:, 0] = np.nan
    reset = np.zeros((7, 2), bool)
    reset[3, 0] = reset[6, 0] = reset[0, 1] = True
    output, h_n, _ = reference.gru_forward(x, h_0, *weights, lengths=[5, 7], reset=reset, reverse=reverse)
    assert not output[5:, 0].any()
    zeros = np.zeros((1, 2))
    # The pieces in the order in which they are computed, with the states that they begin with.
    starts = [zeros, h_0[:1]] if reverse else [h_0[:1], zeros]
    for piece, start in zip([slice(0, 3), slice(3, 5)], starts, strict=True):
        expected, h_expected, _ = reference.gru_forward(x[piece, :1], start, *weights, reverse=reverse)
        assert_close(output[piece, :1], expected, "float64")
        if piece.start == (0 if reverse else 3):
            assert_close(h_n[:1], h_expected, "float64")
    expected, h_expected, _ = reference.gru_forward(x[:, 1:], h_0[1:] if reverse else zeros, *weights, reverse=reverse)
    assert_close(output[:, 1:], expected, "float64")
    assert_close(h_n[1:], h_expected, "float64")


@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize(("bias", "bidirectional"), [(True, True), (False, True), (True, False)])
def test_gradients_of_a_stack_are_finite_differences(
    rng: np.random.Generator, bias: bool, bidirectional: bool, reset_after: bool
) -> None:
    sizes, steps, batch, directions = [2, 3, 2], 3, 2, 2 if bidirectional else 1
    state = random_state(rng, sizes, bias=bias, bidirectional=bidirectional)
    x = rng.standard_normal((steps, batch, sizes[0]))
    h_0, d_h_n = ([rng.standard_normal((directions, batch, h)) for h in sizes[1:]] for _ in range(2))
    d_output = rng.standard_normal((steps, batch, directions * sizes[-1]))

    def run() -> tuple[np.ndarray, list[np.ndarray], list[list[reference.Tape]]]:
        return reference.stack_forward(
            x, h_0, state, num_layers=2, bidirectional=bidirectional, reset_after=reset_after
        )

    def loss() -> float:
        output, h_n, _ = run()
        return float(np.sum(output * d_output) + sum(np.sum(h * d) for h, d in zip(h_n, d_h_n, strict=True)))

    (d_x, d_h_0), grads = reference.stack_backward(run()[2], d_output, d_h_n)
    assert grads.keys() == state.keys()
    assert_close(d_x, central_difference(loss, x), "finite_difference", "x")
    for layer in range(2):
        assert_close(d_h_0[layer], central_difference(loss, h_0[layer]), "finite_difference", f"h_0[{layer}]")
    for name, array in state.items():
        assert_close(grads[name], central_difference(loss, array), "finite_difference", name)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_follows_torch(rng: np.random.Generator, num_layers: int, bidirectional: bool, bias: bool) -> None:
    torch: Any = pytest.importorskip("torch")
    steps, batch, inputs, hidden, directions = 7, 3, 4, 5, 2 if bidirectional else 1
    state = random_state(rng, [inputs] + [hidden] * num_layers, bias=bias, bidirectional=bidirectional)
    x = rng.standard_normal((steps, batch, inputs))
    h_0, d_h_n = rng.standard_normal((2, num_layers, directions, batch, hidden))
    d_output = rng.standard_normal((steps, batch, directions * hidden))

    gru = torch.nn.GRU(inputs, hidden, num_layers, bias=bias, bidirectional=bidirectional, dtype=torch.float64)
    gru.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    t_x = torch.tensor(x, requires_grad=True)
    t_h_0 = torch.tensor(h_0.reshape(-1, batch, hidden), requires_grad=True)
    t_output, t_h_n = gru(t_x, t_h_0)
    torch.autograd.backward([t_output, t_h_n], [torch.tensor(d_output), torch.tensor(d_h_n).view_as(t_h_n)])

    output, h_n, tapes = reference.stack_forward(
        x, list(h_0), state, num_layers=num_layers, bidirectional=bidirectional
    )
    (d_x, d_h_0), grads = reference.stack_backward(tapes, d_output, list(d_h_n))
    assert_close(output, t_output.detach(), "float64", "output")
    assert_close(np.concatenate(h_n), t_h_n.detach(), "float64", "h_n")
    assert_gradient(d_x, t_x.grad, "float64_gradient", "x")
    assert_gradient(np.concatenate(d_h_0), t_h_0.grad, "float64_gradient", "h_0")
    for name, parameter in gru.named_parameters():
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


@pytest.mark.parametrize("reset_after", [True, False])
def test_reverse_is_forward_on_the_flipped_sequence(rng: np.random.Generator, reset_after: bool) -> None:
    weights = list(random_state(rng, [3, 4]).values())
    x, h_0 = rng.standard_normal((6, 2, 3)), rng.standard_normal((2, 4))
    output, h_n, _ = reference.gru_forward(x, h_0, *weights, reset_after=reset_after, reverse=True)
    flipped, last, _ = reference.gru_forward(x[::-1], h_0, *weights, reset_after=reset_after)
    np.testing.assert_array_equal(output, flipped[::-1])
    np.testing.assert_array_equal(h_n, last)
    np.testing.assert_array_equal(h_n, output[0])


def test_no_steps_hand_the_state_through(rng: np.random.Generator) -> None:
    weights = list(random_state(rng, [3, 4]).values())
    h_0, d_h_n = rng.standard_normal((2, 2, 4))
    output, h_n, tape = reference.gru_forward(np.empty((0, 2, 3)), h_0, *weights)
    assert output.shape == (0, 2, 4)
    np.testing.assert_array_equal(h_n, h_0)
    gradients = reference.gru_backward(tape, None, d_h_n)
    np.testing.assert_array_equal(gradients["h_0"], d_h_n)
    assert not any(gradients[name].any() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))


def test_a_tape_does_not_change_with_the_callers_arrays(rng: np.random.Generator) -> None:
    weights = list(random_state(rng, [3, 4]).values())
    x, h_0, d_output = (rng.standard_normal(shape) for shape in [(5, 2, 3), (2, 4), (5, 2, 4)])
    output, h_n, tape = reference.gru_forward(x, h_0, *weights)
    expected = reference.gru_backward(tape, d_output)
    for array in (x, h_0, output, h_n, *weights):
        array += 1.0
    for name, gradient in reference.gru_backward(tape, d_output).items():
        np.testing.assert_array_equal(gradient, expected[name], err_msg=name)


def test_sigmoid_saturates_and_passes_nan_on() -> None:
    a = np.array([-np.inf, -1000.0, -700.0, 0.0, 40.0, 1000.0, np.inf])
    expected = [0.0, 0.0, np.exp(-700.0), 0.5, 1.0, 1.0, 1.0]
    assert_close(reference.sigmoid(a), expected, "sigmoid")
    assert np.isnan(reference.sigmoid(np.array([np.nan, 0.0]))).tolist() == [True, False]
