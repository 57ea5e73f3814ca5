"""GRU and GRUCell beside the reference, their shapes, states, random numbers, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import parts_of, zoneout_taken
from tolerances import assert_close, assert_gradient

from gru_native import nn, reference
from gru_native.random import key


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", [{}, {"reset_after": False}, {"layer_norm": True}], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one", "both"])
@pytest.mark.parametrize("hidden_size", [[20, 7], [1, 33, 16]], ids=str)
def test_a_stack_is_the_references(
    hidden_size: list[int], bidirectional: bool, form: dict[str, bool], dtype: str, rng: np.random.Generator
) -> None:
    gru = nn.GRU(5, hidden_size, bidirectional=bidirectional, dtype=dtype, seed=1, **form)
    x = rng.standard_normal((8, 3, 5)).astype(dtype)
    (output, h_n), tape = gru.forward(x)
    h_0 = [rng.standard_normal(state.shape).astype(dtype) for state in h_n]
    (output, h_n), tape = gru.forward(x, h_0)
    called, h_called = gru(x, h_0)
    for one, other in zip([output, *h_n], [called, *h_called], strict=True):
        np.testing.assert_array_equal(one, other)
    assert {output.dtype.name, *(state.dtype.name for state in h_n)} == {dtype}

    expected, h_expected, tapes = reference.stack_forward(
        x,
        h_0,
        gru.parameters(),
        num_layers=len(hidden_size),
        bidirectional=bidirectional,
        cell=gru.cell,
    )
    normalised = "_normalised" if gru.layer_norm else ""
    forward = "float64" if dtype == "float64" else f"float32_forward{normalised}"
    assert_close(output, expected, forward)
    for state, h in zip(h_n, h_expected, strict=True):
        assert_close(state, h, forward)

    d_output = rng.standard_normal(output.shape).astype(dtype)
    d_h_n = [rng.standard_normal(state.shape).astype(dtype) for state in h_n]
    (d_x, d_h_0), gradients = gru.backward(tape, d_output, d_h_n)
    (d_x_expected, d_h_0_expected), expected_gradients = reference.stack_backward(tapes, d_output, d_h_n)
    backward = f"{dtype}_gradient{normalised}"
    assert_gradient(d_x, d_x_expected, backward)
    for state, h in zip(d_h_0, d_h_0_expected, strict=True):
        assert_gradient(state, h, backward)
    for name, gradient in gradients.items():
        assert gradient.dtype == dtype
        assert_gradient(gradient, expected_gradients[name], backward, name)


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_ragged_stack_with_resets_is_the_references(batch_first: bool, rng: np.random.Generator) -> None:
    gru = nn.GRU(5, 12, 2, bidirectional=True, batch_first=batch_first, dtype="float64", seed=1)
    steps, batch = 8, 5
    x, d_output = rng.standard_normal((steps, batch, 5)), rng.standard_normal((steps, batch, 24))
    h_0, d_h_n = rng.standard_normal((4, batch, 12)), rng.standard_normal((4, batch, 12))
    lengths, reset = [8, 0, 3, 8, 5], rng.random((steps, batch)) < 0.2

    def turned(array: np.ndarray) -> np.ndarray:
        return array.swapaxes(0, 1) if batch_first else array

    (output, h_n), tape = gru.forward(turned(x), h_0, lengths, turned(reset))
    called, _ = gru(turned(x), h_0, lengths=lengths, reset=turned(reset))
    np.testing.assert_array_equal(called, output)
    expected, h_expected, tapes = reference.stack_forward(
        x, np.split(h_0, 2), gru.parameters(), num_layers=2, bidirectional=True, lengths=lengths, reset=reset
    )
    assert_close(turned(output), expected, "float64")
    assert_close(h_n, np.concatenate(h_expected), "float64")
    (d_x, d_h_0), gradients = gru.backward(tape, turned(d_output), d_h_n)
    (d_x_expected, d_h_0_expected), expected_gradients = reference.stack_backward(tapes, d_output, np.split(d_h_n, 2))
    assert_gradient(turned(d_x), d_x_expected, "float64_gradient")
    assert_gradient(d_h_0, np.concatenate(d_h_0_expected), "float64_gradient")
    for name, gradient in gradients.items():
        assert_gradient(gradient, expected_gradients[name], "float64_gradient", name)


# Kinds, and what is chosen of their cells.
CHOSEN: list[tuple[str, dict[str, Any]]] = [
    ("GRU", {"activation": "relu", "reset_after": False}),
    ("GRU", {"recurrent_activation": ("hard_sigmoid", 0.2, 0.5), "activation": ("scaled_tanh", 1.2, 0.7)}),
    ("GRU", {"clip": 0.6}),
    ("LSTM", {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}),
    ("LSTM", {"activation": "softsign", "cell_activation": ("elu", 0.5)}),
    ("LSTM", {"peepholes": True}),
    ("LSTM", {"input_forget": True, "clip": 0.8}),
    ("LSTM", {"peepholes": True, "input_forget": True, "activation": ("elu", 0.5), "clip": 0.7}),
    ("LSTM", {"proj_size": 6}),
    ("LSTM", {"proj_size": 1, "peepholes": True, "recurrent_activation": ("hard_sigmoid", 0.2, 0.5)}),
    ("RNN", {"clip": 0.5}),
    ("RNN", {"clip": 0.5, "nonlinearity": "relu"}),
    ("RNN", {"nonlinearity": ("leaky_relu", 0.1)}),
]
every_choice = pytest.mark.parametrize(("kind", "own"), CHOSEN, ids=str)


def reference_options(stack: Any) -> dict[str, Any]:
    """Return what `reference.stack_forward` takes for a stack's own options."""
    options: dict[str, Any] = {"cell": stack.cell, "clip": stack.clip}
    if isinstance(stack, nn.RNN):
        options["activations"] = [stack.nonlinearity]
    else:
        of_c = [stack.cell_activation or stack.activation] * (stack.states - 1)
        options["activations"] = [stack.recurrent_activation, stack.activation, *of_c]
    return options | ({"input_forget": stack.input_forget} if isinstance(stack, nn.LSTM) else {})


@every_choice
def test_what_is_chosen_of_a_cell_is_the_references(kind: str, own: dict[str, Any], rng: np.random.Generator) -> None:
    stack = getattr(nn, kind)(5, 19, 2, bidirectional=True, dtype="float64", seed=1, **own)
    x, lengths, reset = rng.standard_normal((7, 4, 5)), [7, 0, 3, 5], rng.random((7, 4)) < 0.2
    for keep in ("gates", "states"):
        (output, final), tape = stack.forward(x, lengths=lengths, reset=reset, tape=keep)
        called, last = stack(x, lengths=lengths, reset=reset)
        for one, other in zip([output, *parts_of(final)], [called, *parts_of(last)], strict=True):
            np.testing.assert_array_equal(one, other)
        expected, final_expected, tapes = reference.stack_forward(
            x,
            None,
            stack.parameters(),
            num_layers=2,
            bidirectional=True,
            lengths=lengths,
            reset=reset,
            **reference_options(stack),
        )
        assert_close(output, expected, "float64")
        for part, layers in zip(parts_of(final), zip(*map(parts_of, final_expected), strict=True), strict=True):
            assert_close(part, np.concatenate(layers), "float64")
        d_output = rng.standard_normal(output.shape)
        (d_x, _), gradients = stack.backward(tape, d_output)
        (d_x_expected, _), expected_gradients = reference.stack_backward(tapes, d_output)
        assert_gradient(d_x, d_x_expected, "float64_gradient")
        assert gradients.keys() == expected_gradients.keys() == stack.parameters().keys()
        for name, gradient in gradients.items():
            assert_gradient(gradient, expected_gradients[name], "float64_gradient", name)


@pytest.mark.parametrize(("kind", "own"), [("GRU", {}), ("LSTM", {"peepholes": True}), ("RNN", {})], ids=str)
def test_a_reverse_layer_is_half_of_a_bidirectional_one(
    kind: str, own: dict[str, Any], rng: np.random.Generator
) -> None:
    both = getattr(nn, kind)(3, 4, bidirectional=True, seed=1, **own)
    layer = getattr(nn, kind)(3, 4, direction="reverse", **own)
    state = {name.removesuffix("_reverse"): a for name, a in both.state_dict().items() if name.endswith("_reverse")}
    layer.load_state_dict(state)
    x, lengths = rng.standard_normal((6, 2, 3)).astype(F32), [4, 6]
    (output, final), tape = layer.forward(x, lengths=lengths)
    expected, expected_final = both(x, lengths=lengths)
    np.testing.assert_array_equal(output, expected[:, :, 4:])
    np.testing.assert_array_equal(layer(x, lengths=lengths)[0], output)
    for part, whole in zip(parts_of(final), parts_of(expected_final), strict=True):
        np.testing.assert_array_equal(part, whole[1:])
    _, tape_of_both = both.forward(x, lengths=lengths)
    _, gradients = layer.backward(tape, output)
    _, expected_gradients = both.backward(tape_of_both, np.concatenate([np.zeros_like(output), output], axis=2))
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, expected_gradients[f"{name}_reverse"])


def test_a_projected_state_has_a_size_of_its_own(rng: np.random.Generator) -> None:
    lstm = nn.LSTM(3, [5, 7], bidirectional=True, proj_size=4, seed=1)
    assert lstm.state_dict()["weight_ih_l1"].shape == (28, 8)
    assert lstm.state_dict()["weight_hr_l1_reverse"].shape == (4, 7)
    x = rng.standard_normal((6, 2, 3)).astype(F32)
    output, (h_n, c_n) = lstm(x)
    assert output.shape == (6, 2, 8)
    assert [h.shape for h in h_n] == [(2, 2, 4)] * 2
    assert [c.shape for c in c_n] == [(2, 2, 5), (2, 2, 7)]
    stack = nn.LSTM(3, [5, 7], proj_size=4, seed=1)
    np.testing.assert_array_equal(stack(x[2:], stack(x[:2])[1])[0], stack(x)[0][2:])
    with pytest.raises(ValueError, match=r"h_0\[0\]\[1\]: expected shape \(2, 2, 4\), got \(2, 2, 7\)"):
        lstm(x, ([h_n[0], c_n[1]], c_n))
    with pytest.raises(ValueError, match="proj_size: expected less than hidden_size, 5, got 5"):
        nn.LSTM(3, [5, 7], proj_size=5)


def test_usual_choices_change_nothing(rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 2, 3)).astype(F32)
    for kind in (nn.GRU, nn.LSTM):
        plain = kind(3, 4, seed=1)
        same = kind(3, 4, seed=1, activation=("tanh",), recurrent_activation=["sigmoid"], direction="forward")
        assert plain.config() == same.config()
        np.testing.assert_array_equal(plain(x)[0], same(x)[0])
    # Peepholes of zeros are none, and new parameters are drawn behind those that were there.
    plain, seeing = nn.LSTM(3, 4, seed=1), nn.LSTM(3, 4, peepholes=True, seed=1)
    for name, array in plain.state_dict().items():
        np.testing.assert_array_equal(array, seeing.state_dict()[name])
    assert not np.array_equal(plain(x)[0], seeing(x)[0])
    seeing.assign({"peephole_l0": np.zeros((3, 4), F32)})
    assert_close(seeing(x)[0], plain(x)[0], "float32_forward")


def test_padding_belongs_on_the_right_with_lengths(rng: np.random.Generator) -> None:
    """A reset does not end a row: behind padding on the left the reverse direction goes on into it."""
    gru = nn.GRU(3, 4, bidirectional=True, dtype="float64", seed=1)
    row, padding = rng.standard_normal((4, 1, 3)), np.zeros((2, 1, 3))
    _, alone = gru(row)
    _, right = gru(np.concatenate([row, padding]), lengths=[4])
    np.testing.assert_array_equal(right, alone)
    _, left = gru(np.concatenate([padding, row]), reset=np.arange(6)[:, None] == 2)
    np.testing.assert_array_equal(left[0], alone[0])
    np.testing.assert_array_equal(left[1], gru(padding)[1][1])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize(
    ("kind", "own"),
    [("GRU", {}), ("GRU", {"layer_norm": True}), ("LSTM", {}), *(each for each in CHOSEN if each[0] != "RNN")],
    ids=str,
)
def test_gates_are_the_references(kind: str, own: dict[str, Any], batch_first: bool, rng: np.random.Generator) -> None:
    names = "rzn" if kind == "GRU" else "ifgo"
    stack = getattr(nn, kind)(5, 19, 2, bidirectional=True, batch_first=batch_first, dtype="float64", seed=1, **own)
    x, lengths, reset = rng.standard_normal((7, 4, 5)), [7, 0, 3, 5], rng.random((7, 4)) < 0.2

    def turned(array: np.ndarray) -> np.ndarray:
        return array.swapaxes(0, 1) if batch_first else array

    output, final, gates = stack(turned(x), lengths=lengths, reset=turned(reset), return_gates=True)
    expected, last = stack(turned(x), lengths=lengths, reset=turned(reset))
    np.testing.assert_array_equal(output, expected)
    for part, wanted in zip(parts_of(final), parts_of(last), strict=True):
        np.testing.assert_array_equal(part, wanted)
    options = reference_options(stack) | {"lengths": lengths, "reset": reset}
    _, _, tapes = reference.stack_forward(x, None, stack.parameters(), num_layers=2, bidirectional=True, **options)
    # What the reference saves of a step: its state, one or two arrays, and then the gates in their order.
    first = stack.states
    suffixes = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"]
    assert list(gates) == [name + suffix for suffix in suffixes for name in names]
    for suffix, tape in zip(suffixes, (tape for layer in tapes for tape in layer), strict=True):
        for place, name in enumerate(names):
            wanted = np.stack([saved[first + place] for saved in tape.saved]) * tape.alive
            assert_close(turned(gates[name + suffix]), wanted, "float64", name + suffix)


def test_gates_without_a_batch_and_without_gates(rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 3)).astype(F32)
    _, _, gates = nn.GRU(3, 4, batch_first=True, seed=1)(x, return_gates=True)
    assert {gate.shape for gate in gates.values()} == {(6, 4)}
    with pytest.raises(ValueError, match="return_gates: expected False, because RNN has no gates, got True"):
        nn.RNN(3, 4)(x, return_gates=True)


def test_lengths_and_resets_as_arrays_need_no_conversion(rng: np.random.Generator) -> None:
    gru = nn.GRU(3, 4, seed=2)
    x = rng.standard_normal((6, 2, 3)).astype(np.float32)
    lengths, reset = np.array([2, 6]), np.zeros((6, 2), bool)
    reset[4] = True
    (output, h_n), tape = gru.forward(x, None, lengths, reset)
    expected, _ = gru(x, lengths=[2, 6], reset=reset.tolist())
    np.testing.assert_array_equal(output, expected)
    # The tape has arrays of its own.
    untouched = gru.forward(x, None, lengths, reset)[1]
    lengths[:], reset[:] = 0, False
    for (d_x, _), _ in (gru.backward(tape, output, h_n), gru.backward(untouched, output, h_n)):
        assert d_x[1, 0].any()
        assert not d_x[2:, 0].any()


def test_resets_without_a_batch(rng: np.random.Generator) -> None:
    x = rng.standard_normal((6, 3)).astype(np.float32)
    reset = np.arange(6) == 4
    for batch_first in (False, True):
        gru = nn.GRU(3, 4, batch_first=batch_first, seed=2)
        output, h_n = gru(x, reset=reset)
        expected, h_expected = gru(x[4:])
        np.testing.assert_array_equal(output[4:], expected)
        np.testing.assert_array_equal(h_n, h_expected)
        with pytest.raises(ValueError, match="lengths: expected x with a batch axis"):
            gru(x, lengths=[6])


@pytest.mark.parametrize("batch_first", [False, True])
def test_axes_are_all_that_batch_first_changes(batch_first: bool, rng: np.random.Generator) -> None:
    time_major = nn.GRU(3, 4, 2, bidirectional=True, seed=2)
    other = nn.GRU(3, 4, 2, bidirectional=True, batch_first=batch_first, seed=2)
    swap = (1, 0, 2) if batch_first else (0, 1, 2)
    x, d = (rng.standard_normal((6, 5, width)).astype(np.float32) for width in (3, 8))
    h_0 = rng.standard_normal((4, 5, 4)).astype(np.float32)
    (output, h_n), tape = time_major.forward(x, h_0)
    (d_x, d_h_0), gradients = time_major.backward(tape, d)
    (output_other, h_n_other), tape = other.forward(x.transpose(swap), h_0)
    (d_x_other, d_h_0_other), gradients_other = other.backward(tape, d.transpose(swap))
    np.testing.assert_array_equal(output_other.transpose(swap), output)
    np.testing.assert_array_equal(d_x_other.transpose(swap), d_x)
    np.testing.assert_array_equal(h_n_other, h_n)
    np.testing.assert_array_equal(d_h_0_other, d_h_0)
    for name, gradient in gradients.items():
        assert_gradient(gradients_other[name], gradient, "float32_gradient", name)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("hidden_size", [4, [4, 3]], ids=str)
def test_unbatched_is_a_batch_of_one(hidden_size: Any, batch_first: bool, rng: np.random.Generator) -> None:
    gru = nn.GRU(3, hidden_size, bidirectional=True, batch_first=batch_first, dtype="float64", seed=3)
    axis = 0 if batch_first else 1
    x = rng.standard_normal((6, 3))
    (output, h_n), tape = gru.forward(x)
    (output_one, h_n_one), tape_one = gru.forward(np.expand_dims(x, axis))
    d = rng.standard_normal(output.shape)
    (d_x, d_h_0), gradients = gru.backward(tape, d, h_n)
    (d_x_one, d_h_0_one), gradients_one = gru.backward(tape_one, np.expand_dims(d, axis), h_n_one)
    np.testing.assert_array_equal(output, output_one.squeeze(axis))
    np.testing.assert_array_equal(d_x, d_x_one.squeeze(axis))
    for state, state_one in [(h_n, h_n_one), (d_h_0, d_h_0_one)]:
        for own, other in zip(state, state_one, strict=True):
            np.testing.assert_array_equal(own, np.squeeze(other, -2))
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, gradients_one[name])


def test_a_list_of_one_size_keeps_its_states_in_a_list(rng: np.random.Generator) -> None:
    x = rng.standard_normal((4, 2, 3)).astype(np.float32)
    plain, listed = nn.GRU(3, 5, seed=4), nn.GRU(3, (5,), seed=4)
    output, h_n = plain(x)
    output_listed, h_n_listed = listed(x)
    np.testing.assert_array_equal(output, output_listed)
    assert isinstance(h_n_listed, list)
    np.testing.assert_array_equal(h_n, h_n_listed[0])


@pytest.mark.parametrize("hidden_size", [4, [4, 3]], ids=str)
def test_what_is_not_given_is_zero(hidden_size: Any, rng: np.random.Generator) -> None:
    gru = nn.GRU(3, hidden_size, num_layers=2, bidirectional=True, dtype="float64", seed=5)
    x = rng.standard_normal((5, 2, 3))
    (output, h_n), _ = gru.forward(x)

    def zeros(states: Any) -> Any:
        return [np.zeros_like(h) for h in states] if isinstance(states, list) else np.zeros_like(states)

    (output_given, _), _ = gru.forward(x, zeros(h_n))
    np.testing.assert_array_equal(output, output_given)
    for d_output, d_h_n in [(output, None), (None, h_n)]:
        short = gru.backward(gru.forward(x)[1], d_output, d_h_n)
        full = gru.backward(
            gru.forward(x)[1],
            zeros(output) if d_output is None else d_output,
            zeros(h_n) if d_h_n is None else d_h_n,
        )
        np.testing.assert_array_equal(short[0][0], full[0][0])
        for name, gradient in short[1].items():
            np.testing.assert_array_equal(gradient, full[1][name])


@pytest.mark.parametrize("hidden_size", [4, [4, 3]], ids=str)
def test_carried_state_goes_on_to_the_bit(hidden_size: Any, rng: np.random.Generator) -> None:
    gru = nn.GRU(3, hidden_size, seed=6)
    x = rng.standard_normal((7, 2, 3)).astype(np.float32)
    whole, h_whole = gru(x)
    state, parts = None, []
    for start, end in [(0, 1), (1, 4), (4, 7)]:
        part, state = gru(x[start:end], state)
        parts.append(part)
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    for own, other in zip(state, h_whole, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (0, 0, 3), (0, 3)], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_nothing_to_do(shape: tuple[int, ...], bidirectional: bool) -> None:
    """Without steps the state is handed through, and its gradient back; all other gradients are zero."""
    gru = nn.GRU(3, 4, 2, bidirectional=bidirectional, dtype="float64")
    (output, h_n), tape = gru.forward(np.ones(shape))
    assert output.shape == (*shape[:-1], 8 if bidirectional else 4)
    h_0 = np.full(h_n.shape, 0.5)
    (output, h_n), tape = gru.forward(np.ones(shape), h_0)
    (d_x, d_h_0), gradients = gru.backward(tape, np.ones(output.shape), np.full(h_n.shape, 0.25))
    assert d_x.shape == shape
    np.testing.assert_array_equal(h_n, h_0)
    np.testing.assert_array_equal(d_h_0, np.full(h_n.shape, 0.25))
    assert not any(gradient.any() for gradient in gradients.values())


def test_an_input_of_no_features() -> None:
    gru = nn.GRU(0, 4, seed=7)
    (output, _), tape = gru.forward(np.ones((3, 2, 0), np.float32))
    assert output.any()
    (d_x, _), gradients = gru.backward(tape, np.ones_like(output))
    assert d_x.shape == (3, 2, 0)
    assert gradients["weight_ih_l0"].shape == (12, 0)


def test_the_users_arrays_cannot_spoil_the_gradients(rng: np.random.Generator) -> None:
    gru = nn.GRU(3, 4, 2, bidirectional=True, dtype="float64", seed=8)
    x, d = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 2, 8))
    _, expected = gru.backward(gru.forward(x)[1], d)
    (output, h_n), tape = gru.forward(x)
    with pytest.raises(ValueError, match="read-only"):
        output += 1
    h_n += 1
    _, gradients = gru.backward(tape, d)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, expected[name])
    output, _ = gru(x)
    output += 1  # without a tape the result is the user's


def test_a_tape_serves_once(rng: np.random.Generator) -> None:
    gru = nn.GRU(3, 4, 2)
    (output, _), tape = gru.forward(rng.standard_normal((5, 2, 3)).astype(np.float32))
    with pytest.raises(ValueError, match="d_output: expected shape"):
        gru.backward(tape, output[1:])
    gru.backward(tape, output)
    with pytest.raises(RuntimeError, match="tape"):
        gru.backward(tape, output)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_the_bits(threads: int, rng: np.random.Generator) -> None:
    gru = nn.GRU(9, [40, 24], dropout=0.2, bidirectional=True, seed=9)
    x = rng.standard_normal((12, 7, 9)).astype(np.float32)
    (expected, _), tape = gru.forward(x, seed=1)
    (d_x_expected, _), gradients_expected = gru.backward(tape, expected)
    (output, _), tape = gru.forward(x, seed=1, threads=threads)
    (d_x, _), gradients = gru.backward(tape, expected, threads=threads)
    np.testing.assert_array_equal(output, expected)
    np.testing.assert_array_equal(d_x, d_x_expected)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, gradients_expected[name])
    np.testing.assert_array_equal(gru(x, threads=threads)[0], gru(x)[0])


def assert_training_only(layer: nn.Module, dropped: np.ndarray, *given: Any) -> None:
    """Assert that dropout acts in training mode alone, where it needs a seed."""
    called, _ = layer(*given)
    (evaluated, _), _ = layer.eval().forward(*given)
    np.testing.assert_array_equal(called, evaluated)
    assert not np.array_equal(called, dropped)
    with pytest.raises(ValueError, match="seed: dropout in training mode needs one"):
        layer.train().forward(*given)


def test_dropout_acts_between_layers_in_training_only(rng: np.random.Generator) -> None:
    """The same as single layers with the noise of their seed between them."""
    gru = nn.GRU(3, [6, 5, 4], dropout=0.5, dtype="float64", seed=10)
    x = rng.standard_normal((7, 2, 3))
    (output, _), _ = gru.forward(x, seed=(11, 12))
    layers = [nn.GRU(inputs, hidden, dtype="float64") for inputs, hidden in [(3, 6), (6, 5), (5, 4)]]
    expected = x
    for number, layer in enumerate(layers):
        state = gru.state_dict()
        layer.load_state_dict({name: state[name.replace("l0", f"l{number}")] for name in layer.state_dict()})
        if number > 0:
            mask = reference.dropout_mask(expected.size, 0.5, key((11, 12, number))).reshape(expected.shape)
            assert set(np.unique(mask)) == {0.0, 2.0}
            expected = expected * mask
        expected, _ = layer(expected)
    np.testing.assert_array_equal(output, expected)
    assert_training_only(gru, output, x)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_recurrent_dropout_masks_the_states(kind: str, num_layers: int, rng: np.random.Generator) -> None:
    stack = getattr(nn, kind)(3, 6, num_layers, bidirectional=True, recurrent_dropout=0.5, dtype="float64", seed=10)
    x = rng.standard_normal((7, 4, 3))
    (output, _), _ = stack.forward(x, seed=(11, 12))
    (same, _), _ = stack.forward(x, seed=(11, 12), tape="states", threads=1)
    np.testing.assert_array_equal(output, same)
    expected = x
    for layer in range(num_layers):
        mask = reference.dropout_mask(2 * 4 * 6, 0.5, key((11, 12, layer, 0))).reshape(2, 4, 6)
        both = []
        for direction, suffix in enumerate([f"_l{layer}", f"_l{layer}_reverse"]):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            parameters = [stack.parameters()[name + suffix] for name in names]
            options = {"cell": stack.cell, "reverse": direction == 1, "dropout_mask": mask[direction]}
            both.append(reference.forward(expected, None, *parameters, **options)[0])
        expected = np.concatenate(both, axis=2)
    assert_close(output, expected, "float64")
    # Gradients are tested by differences.
    assert_training_only(stack, output, x)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_input_dropout_hides_the_same_features_in_all_steps(
    kind: str, batch_first: bool, rng: np.random.Generator
) -> None:
    """The same as single layers, in both directions, with the masks of their seed before them."""
    options: dict[str, Any] = {"bidirectional": True, "batch_first": batch_first, "dtype": "float64"}
    stack = getattr(nn, kind)(5, 4, 2, input_dropout=0.5, **options, seed=10)
    x, lengths = rng.standard_normal((3, 7, 5) if batch_first else (7, 3, 5)), [7, 0, 4]
    (output, _), _ = stack.forward(x, None, lengths, seed=(11, 12))
    expected = x
    for number in range(2):
        layer, state = getattr(nn, kind)(expected.shape[2], 4, **options), stack.state_dict()
        layer.load_state_dict({name: state[name.replace("l0", f"l{number}")] for name in layer.state_dict()})
        mask = reference.dropout_mask(3 * expected.shape[2], 0.5, key((11, 12, number, 2))).reshape(3, -1)
        assert set(np.unique(mask)) == {0.0, 2.0}
        expected, _ = layer(expected * np.expand_dims(mask, 1 if batch_first else 0), None, lengths)
    np.testing.assert_array_equal(output, expected)
    assert_training_only(stack, output, x, None, lengths)


@pytest.mark.parametrize("reset_after", [True, False], ids=["after", "before"])
def test_zoneout_keeps_states(reset_after: bool, rng: np.random.Generator) -> None:
    gru = nn.GRU(3, 70, bidirectional=True, zoneout=0.25, reset_after=reset_after, dtype="float64", seed=10)
    x = rng.standard_normal((7, 4, 3))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    def expected(*taken: np.ndarray) -> np.ndarray:
        both = []
        for direction, suffix in enumerate(["_l0", "_l0_reverse"]):
            parameters = [gru.parameters()[name + suffix] for name in names]
            options = {"cell": gru.cell, "reverse": direction == 1, "taken": taken[direction]}
            both.append(reference.forward(x, None, *parameters, **options)[0])
        return np.concatenate(both, axis=2)

    (output, _), _ = gru.forward(x, seed=(3, 4))
    taken = [zoneout_taken(7, 4, 70, 0.25, (3, 4, 0, 1, direction)) for direction in range(2)]
    assert_close(output, expected(*taken), "float64")
    called, _ = gru(x)
    assert_close(called, expected(*[np.full((7, 4, 70), 0.75)] * 2), "float64")
    (evaluated, _), _ = gru.eval().forward(x)
    np.testing.assert_array_equal(called, evaluated)
    with pytest.raises(ValueError, match="seed: zoneout in training mode needs one"):
        gru.train().forward(x)


def test_dropout_with_one_layer_is_pointed_out() -> None:
    with pytest.warns(UserWarning, match="dropout acts between layers, and there is one layer only"):
        gru = nn.GRU(3, 4, dropout=0.5)
    gru.forward(np.ones((2, 1, 3), np.float32))


def test_seeds_decide_the_initial_values() -> None:
    one, same, other = (nn.GRU(3, 4, 2, seed=seed).state_dict() for seed in ((1, 2), [1, 2], (1, 3)))
    double = nn.GRU(3, 4, 2, seed=(1, 2), dtype="float64").state_dict()
    fresh = [nn.GRU(3, 4).state_dict()["weight_hh_l0"] for _ in range(2)]
    for name, array in one.items():
        np.testing.assert_array_equal(array, same[name])
        np.testing.assert_array_equal(array, double[name].astype(np.float32))
        assert not np.array_equal(array, other[name])
    assert not np.array_equal(one["weight_hh_l0"], one["weight_hh_l1"])
    assert not np.array_equal(*fresh)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_size": -1}, ValueError, "input_size: expected a whole number from 0 up, got -1"),
        ({"input_size": 2.0}, TypeError, "input_size: expected a whole number, got 2.0"),
        ({"input_size": True}, TypeError, "input_size: expected a whole number, got True"),
        ({"hidden_size": 0}, ValueError, "hidden_size: expected a whole number from 1 up, got 0"),
        ({"hidden_size": "44"}, TypeError, "hidden_size: expected a whole number, got '44'"),
        ({"hidden_size": None}, TypeError, "hidden_size: expected a whole number, got None"),
        ({"hidden_size": []}, ValueError, r"hidden_size: expected a size for each of 1 layers, got \(\)"),
        ({"hidden_size": [4, -1]}, ValueError, "hidden_size: expected a whole number from 1 up, got -1"),
        (
            {"hidden_size": [4, 3], "num_layers": 3},
            ValueError,
            r"hidden_size: expected a size for each of 3 layers, got \(4, 3\)",
        ),
        ({"num_layers": 0}, ValueError, "num_layers: expected a whole number from 1 to 10000, got 0"),
        ({"bias": 1}, TypeError, "bias: expected True or False, got 1"),
        ({"batch_first": "yes"}, TypeError, "batch_first: expected True or False, got 'yes'"),
        ({"bidirectional": None}, TypeError, "bidirectional: expected True or False, got None"),
        ({"reset_after": 0}, TypeError, "reset_after: expected True or False, got 0"),
        ({"layer_norm": 1}, TypeError, "layer_norm: expected True or False, got 1"),
        (
            {"layer_norm": True, "reset_after": False},
            ValueError,
            "reset_after: expected True with layer normalization, because .*, got False",
        ),
        (
            {"layer_norm": True, "activation": "relu"},
            ValueError,
            "activation: expected sigmoid and tanh with layer normalization, got sigmoid, relu",
        ),
        (
            {"layer_norm": True, "clip": 0.5},
            ValueError,
            "clip: expected None with layer normalization, got 0.5",
        ),
        ({"activation": "gelu"}, ValueError, "activation: expected 'sigmoid', .*, got 'gelu'"),
        ({"recurrent_activation": ("elu", "1")}, TypeError, r"recurrent_activation\[1\]: expected a number, got '1'"),
        ({"clip": 0}, ValueError, "clip: expected a finite number above 0, or None for no bounds, got 0.0"),
        ({"clip": -1.0}, ValueError, "clip: expected a finite number above 0, or None for no bounds, got -1.0"),
        ({"direction": "both"}, ValueError, "direction: expected 'forward' or 'reverse', got 'both'"),
        (
            {"direction": "reverse", "bidirectional": True},
            ValueError,
            "direction: expected 'forward' for a bidirectional layer, which has both, got 'reverse'",
        ),
        ({"dropout": 1.5}, ValueError, "dropout: expected a number from 0 to 1, got 1.5"),
        ({"dropout": np.nan}, ValueError, "dropout: expected a number from 0 to 1, got nan"),
        ({"dropout": "0.5"}, TypeError, "dropout: expected a number, got '0.5'"),
        ({"dtype": "float16"}, TypeError, "dtype: expected float32 or float64, got 'float16'"),
        ({"dtype": None}, TypeError, "dtype: expected float32 or float64, got None"),
        ({"dtype": "real"}, TypeError, "dtype: expected float32 or float64, got 'real'"),
        ({"seed": -1}, ValueError, "seed: expected whole numbers from 0 up, got -1"),
        ({"seed": (1, -1)}, ValueError, r"seed: expected whole numbers from 0 up, got \(1, -1\)"),
        ({"seed": ()}, ValueError, r"seed: expected whole numbers from 0 up, got \(\)"),
        ({"seed": 1.0}, TypeError, "seed: expected a whole number or a tuple of them, got 1.0"),
    ],
    ids=str,
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nn.GRU(**{"input_size": 3, "hidden_size": 4, **arguments})


F32 = np.float32


@pytest.mark.parametrize(
    ("options", "inputs", "error", "message"),
    [
        ({}, [np.ones(3, F32)], ValueError, r"x: expected 3 dimensions \(T, B, I\), or 2 \(T, I\), got 1"),
        (
            {"batch_first": True},
            [np.ones((1, 1, 1, 3), F32)],
            ValueError,
            r"x: expected 3 dimensions \(B, T, I\), or 2 \(T, I\), got 4 with shape \(1, 1, 1, 3\)",
        ),
        ({}, [np.ones((5, 2, 4), F32)], ValueError, r"x: expected a last axis of input_size = 3, got shape"),
        ({}, [np.ones((5, 2, 3))], TypeError, "x: expected dtype float32, got float64"),
        (
            {"dtype": "float64"},
            [np.ones((5, 2, 3), F32)],
            TypeError,
            "x: expected dtype float64, got float32",
        ),
        ({}, [np.ones((5, 2, 3), int)], TypeError, "x: expected dtype float32, got int64"),
        ({}, [np.ones((5, 2, 3), ">f4")], TypeError, "x: expected dtype float32, got >f4"),
        ({}, [np.full((5, 2, 3), None)], TypeError, "x: expected dtype float32, got object"),
        ({}, [None], TypeError, "x: expected an array, got None"),
        ({}, ["text"], TypeError, "x: expected dtype float32, got <U4"),
        (
            {},
            [np.ones((5, 2, 3), F32), np.ones((2, 4), F32)],
            ValueError,
            r"h_0: expected shape \(1, 2, 4\), got \(2, 4\)",
        ),
        (
            {},
            [np.ones((5, 3), F32), np.ones((1, 1, 4), F32)],
            ValueError,
            r"h_0: expected shape \(1, 4\), got \(1, 1, 4\)",
        ),
        (
            {"bidirectional": True, "num_layers": 2},
            [np.ones((5, 2, 3), F32), np.ones((2, 2, 4), F32)],
            ValueError,
            r"h_0: expected shape \(4, 2, 4\), got \(2, 2, 4\)",
        ),
        (
            {},
            [np.ones((5, 2, 3), F32), np.ones((1, 2, 4))],
            TypeError,
            "h_0: expected dtype float32, got float64",
        ),
        (
            {"hidden_size": [4, 3]},
            [np.ones((5, 2, 3), F32), np.ones((2, 2, 4), F32)],
            ValueError,
            "h_0: expected a list of 2 arrays, one per layer, got ndarray",
        ),
        (
            {"hidden_size": [4, 3]},
            [np.ones((5, 2, 3), F32), [np.ones((1, 2, 4), F32)]],
            ValueError,
            "h_0: expected a list of 2 arrays, one per layer, got 1",
        ),
        (
            {"hidden_size": [4, 3]},
            [np.ones((5, 2, 3), F32), [np.ones((1, 2, 4), F32)] * 2],
            ValueError,
            r"h_0\[1\]: expected shape \(1, 2, 3\), got \(1, 2, 4\)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_inputs(options: dict[str, Any], inputs: list[Any], error: type[Exception], message: str) -> None:
    gru = nn.GRU(**{"input_size": 3, "hidden_size": 4, **options})
    for call in (gru, gru.forward):
        with pytest.raises(error, match=message):
            call(*inputs)


@pytest.mark.parametrize(
    ("d_output", "d_h_n", "error", "message"),
    [
        (np.ones((5, 2, 3), F32), None, ValueError, r"d_output: expected shape \(5, 2, 4\), got \(5, 2, 3\)"),
        (np.ones((5, 2, 4)), None, TypeError, "d_output: expected dtype float32, got float64"),
        (None, np.ones((2, 4), F32), ValueError, r"d_h_n: expected shape \(1, 2, 4\), got \(2, 4\)"),
        (None, [np.ones((1, 2, 4))], TypeError, "d_h_n: expected dtype float32, got float64"),
    ],
)
def test_bad_gradients_leave_the_tape_usable(d_output: Any, d_h_n: Any, error: type[Exception], message: str) -> None:
    gru = nn.GRU(3, 4)
    (output, _), tape = gru.forward(np.ones((5, 2, 3), F32))
    with pytest.raises(error, match=message):
        gru.backward(tape, d_output, d_h_n)
    gru.backward(tape, output)


def test_nan_stays_in_its_row(rng: np.random.Generator) -> None:
    gru = nn.GRU(3, 4, 2, bidirectional=True, seed=13)
    x = rng.standard_normal((5, 3, 3)).astype(F32)
    clean, _ = gru(x)
    x[2, 1, 0] = np.nan
    output, h_n = gru(x)
    assert np.isnan(output[:, 1]).all()
    np.testing.assert_array_equal(output[:, [0, 2]], clean[:, [0, 2]])
    assert not np.isnan(h_n[:, [0, 2]]).any()


def test_arrays_of_any_layout_are_read(rng: np.random.Generator) -> None:
    """Strided, reversed, transposed and read-only inputs give the bits of their plain copies."""
    gru = nn.GRU(3, 4, 2, seed=14)
    wide = rng.standard_normal((10, 6, 8)).astype(F32)
    plain = np.ascontiguousarray(wide[::2, ::-2, 1:7:2])
    fixed = plain.copy()
    fixed.flags.writeable = False
    h_0 = rng.standard_normal((4, 3, 2)).astype(F32)
    expected, _ = gru(plain, np.ascontiguousarray(h_0.T))
    fortran = np.asfortranarray(plain)
    for x in (wide[::2, ::-2, 1:7:2], fixed, fortran, np.broadcast_to(plain, plain.shape)):
        np.testing.assert_array_equal(gru(x, h_0.T)[0], expected)
        (output, _), tape = gru.forward(x, h_0.T)
        np.testing.assert_array_equal(output, expected)
        gru.backward(tape, np.asfortranarray(output))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GRU", {}),
        ("GRU", {"reset_after": False}),
        ("GRU", {"layer_norm": True}),
        ("LSTM", {}),
        ("RNN", {}),
        ("RNN", {"nonlinearity": "relu"}),
        *(each for each in CHOSEN if "proj_size" not in each[1]),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_cell_is_one_step_of_a_layer(
    dtype: str, kind: str, options: dict[str, Any], rng: np.random.Generator
) -> None:
    cell = getattr(nn, f"{kind}Cell")(3, 20, **options, dtype=dtype, seed=15)
    stack = getattr(nn, kind)(3, 20, **options, dtype=dtype)
    stack.load_state_dict({f"{name}_l0": array for name, array in cell.state_dict().items()})
    x = rng.standard_normal((6, 5, 3)).astype(dtype)
    output, _ = stack(x)
    state: Any = None
    for step in range(6):
        forward, _ = cell.forward(x[step], state)
        state = cell(x[step], state)
        np.testing.assert_array_equal(parts_of(state)[0], output[step])
        for part, expected in zip(parts_of(state), parts_of(forward), strict=True):
            np.testing.assert_array_equal(part, expected)
            part += 0  # the state is the user's


def test_a_state_of_the_lstm_is_a_pair(rng: np.random.Generator) -> None:
    lstm, x = nn.LSTM(3, 4, 2, seed=1), rng.standard_normal((5, 2, 3)).astype(F32)
    _, (h_n, c_n) = lstm(x)
    assert h_n.shape == c_n.shape == (2, 2, 4)
    output, _ = lstm(x, [h_n, c_n])
    np.testing.assert_array_equal(output, lstm(x, (h_n, c_n))[0])
    pieces = lstm(x[:2])
    rest, (h, c) = lstm(x[2:], pieces[1])
    np.testing.assert_array_equal(np.concatenate([pieces[0], rest]), lstm(x)[0])
    np.testing.assert_array_equal(h, h_n)
    np.testing.assert_array_equal(c, c_n)
    for state, error, message in (
        (h_n, TypeError, r"h_0: expected a pair \(h, c\), got ndarray"),
        ((h_n,), TypeError, r"h_0: expected a pair \(h, c\), got 1 of them"),
        ((h_n, None), TypeError, r"h_0\[1\]: expected an array, got None"),
        ((h_n, c_n[1:]), ValueError, r"h_0\[1\]: expected shape \(2, 2, 4\), got \(1, 2, 4\)"),
    ):
        with pytest.raises(error, match=message):
            lstm(x, state)
    cell = nn.LSTMCell(3, 4)
    with pytest.raises(TypeError, match=r"h: expected a pair \(h, c\), got ndarray"):
        cell(x[0], h_n[0])
    _, tape = cell.forward(x[0])
    with pytest.raises(TypeError, match=r"d_h: expected a gradient, got None"):
        cell.backward(tape, None)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ([np.ones((1, 1, 3), F32)], ValueError, r"x: expected 2 dimensions \(B, I\), or 1 \(I,\), got 3"),
        ([np.ones((2, 4), F32)], ValueError, "x: expected a last axis of input_size = 3, got shape"),
        ([np.ones((2, 3))], TypeError, "x: expected dtype float32, got float64"),
        ([np.ones((2, 3), F32), np.ones(4, F32)], ValueError, r"h: expected shape \(2, 4\), got \(4,\)"),
        ([np.ones(3, F32), np.ones((1, 4), F32)], ValueError, r"h: expected shape \(4,\), got \(1, 4\)"),
        ([np.ones(3, F32), np.ones(4)], TypeError, "h: expected dtype float32, got float64"),
    ],
)
def test_bad_input_of_a_cell(inputs: list[Any], error: type[Exception], message: str) -> None:
    cell = nn.GRUCell(3, 4)
    for call in (cell, cell.forward):
        with pytest.raises(error, match=message):
            call(*inputs)
    h, tape = cell.forward(np.ones((2, 3), F32))
    with pytest.raises(ValueError, match=r"d_h: expected shape \(2, 4\), got \(2, 3\)"):
        cell.backward(tape, h[:, 1:])
