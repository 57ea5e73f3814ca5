"""The layers beside PyTorch's: results, gradients, running statistics, and a whole training run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import each, parts_of
from tolerances import assert_close, assert_gradient

from gru_native import losses, nn, optim

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


@pytest.fixture(autouse=True)
def _same_initial_values_each_time() -> None:
    torch.manual_seed(1)


def tensor(array: np.ndarray, grad: bool = False) -> Any:
    return torch.tensor(array, requires_grad=grad and array.dtype.kind == "f")


def twin(theirs: Any, ours: nn.Module) -> None:
    """Give `ours` the arrays of `theirs`, under the same keys."""
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})


@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_that_do_not_fit_come_back(prefix: str) -> None:
    theirs, ours = torch.nn.GRU(3, 4), nn.GRU(3, 4, seed=1)
    state = {prefix + name: value for name, value in nn.GRU(3, 4, 2, seed=2).state_dict().items()}
    expected = theirs.load_state_dict({name: torch.tensor(value) for name, value in state.items()}, strict=False)
    found = ours.load_state_dict(state, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (expected.missing_keys, expected.unexpected_keys)
    assert len(found.unexpected_keys) == (8 if prefix else 4)


def assert_same_gradients(theirs: Any, gradients: dict[str, np.ndarray], tolerance: str) -> None:
    expected = {name: parameter.grad.numpy() for name, parameter in theirs.named_parameters()}
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        assert_gradient(gradient, expected[name], tolerance, name)


# Both sides' class, and its options.
RECURRENT: dict[str, tuple[str, dict[str, Any]]] = {
    "GRU": ("GRU", {}),
    "LSTM": ("LSTM", {}),
    "RNN": ("RNN", {}),
    "RNN relu": ("RNN", {"nonlinearity": "relu"}),
    "LSTM projected": ("LSTM", {"proj_size": 6}),
}
every_recurrent = pytest.mark.parametrize(("name", "own"), RECURRENT.values(), ids=RECURRENT.keys())
every_cell = pytest.mark.parametrize(
    ("name", "own"), [each for each in RECURRENT.values() if "proj_size" not in each[1]]
)


def assert_same_state(ours: Any, theirs: Any, tolerance: str) -> None:
    for part, expected in zip(parts_of(ours), parts_of(theirs), strict=True):
        assert_close(part, expected.detach(), tolerance)


def random_like(state: Any, rng: np.random.Generator) -> Any:
    return each(lambda part: rng.standard_normal(part.shape).astype(part.dtype), state)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("given", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"batch_first": True},
        {"bidirectional": True},
        {"num_layers": 3},
        {"num_layers": 2, "bidirectional": True, "batch_first": True},
        {"num_layers": 2, "bidirectional": True, "bias": False},
    ],
    ids=str,
)
@every_recurrent
def test_recurrent_layers(
    name: str,
    own: dict[str, Any],
    options: dict[str, Any],
    batched: bool,
    given: bool,
    dtype: str,
    rng: np.random.Generator,
) -> None:
    theirs = getattr(torch.nn, name)(5, 17, **own, **options, dtype=getattr(torch, dtype))
    ours = getattr(nn, name)(5, 17, **own, **options, dtype=dtype)
    twin(theirs, ours)
    steps, rows = 9, 4
    shape = (steps, 5) if not batched else (rows, steps, 5) if ours.batch_first else (steps, rows, 5)
    x = rng.standard_normal(shape).astype(dtype)
    x_theirs, state_theirs = tensor(x, grad=True), None
    (output, final), tape = ours.forward(x)
    if given:
        state = random_like(final, rng)
        state_theirs = each(lambda part: tensor(part, grad=True), state)
        (output, final), tape = ours.forward(x, state)
    output_theirs, final_theirs = theirs(x_theirs, state_theirs)
    forward = "float64" if dtype == "float64" else "float32_forward"
    assert_close(output, output_theirs.detach(), forward)
    assert_same_state(final, final_theirs, forward)

    d_output, d_final = random_like(output, rng), random_like(final, rng)
    torch.autograd.backward(
        (output_theirs, *parts_of(final_theirs)), (tensor(d_output), *map(tensor, parts_of(d_final)))
    )
    (d_x, d_state), gradients = ours.backward(tape, d_output, d_final)
    backward = f"{dtype}_gradient"
    assert_gradient(d_x, x_theirs.grad, backward)
    assert_same_gradients(theirs, gradients, backward)
    if state_theirs is not None:
        for d, part in zip(parts_of(d_state), parts_of(state_theirs), strict=True):
            assert_gradient(d, part.grad, backward)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_recurrent
def test_ragged_batches_are_packed_sequences(
    name: str, own: dict[str, Any], dtype: str, rng: np.random.Generator
) -> None:
    ours = getattr(nn, name)(5, 17, 2, bidirectional=True, **own, dtype=dtype)
    theirs = getattr(torch.nn, name)(5, 17, 2, bidirectional=True, **own, dtype=getattr(torch, dtype))
    twin(theirs, ours)
    x, lengths = rng.standard_normal((9, 4, 5)).astype(dtype), [3, 9, 1, 6]
    (output, final), tape = ours.forward(x, lengths=lengths)
    inputs = tensor(x, grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(inputs, torch.tensor(lengths), enforce_sorted=False)
    result, final_theirs = theirs(packed)
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(result)
    assert_close(output, expected.detach(), f"{dtype}_forward")
    assert_same_state(final, final_theirs, f"{dtype}_forward")
    d_output, d_final = random_like(output, rng), random_like(final, rng)
    torch.autograd.backward([expected, *parts_of(final_theirs)], [tensor(d_output), *map(tensor, parts_of(d_final))])
    (d_x, _), gradients = ours.backward(tape, d_output, d_final)
    assert_gradient(d_x, inputs.grad, f"{dtype}_gradient")
    assert_same_gradients(theirs, gradients, f"{dtype}_gradient")


def test_layer_normalization_is_theirs_inside_the_cell(rng: np.random.Generator) -> None:
    ours = nn.GRU(5, 17, layer_norm=True, dtype="float64", seed=1)
    drawn = {name: array + rng.uniform(-0.1, 0.1, array.shape) for name, array in ours.state_dict().items()}
    ours.load_state_dict(drawn)
    p = {name.removesuffix("_l0"): tensor(array, grad=True) for name, array in drawn.items()}
    x, h_0 = rng.standard_normal((9, 4, 5)), rng.standard_normal((1, 4, 17))
    inputs, first = tensor(x, grad=True), tensor(h_0, grad=True)
    h, outputs = first[0], []
    for t in range(9):
        a = torch.nn.functional.layer_norm(inputs[t] @ p["weight_ih"].T, (51,), p["gamma_ih"], p["bias_ih"])
        u = torch.nn.functional.layer_norm(h @ p["weight_hh"].T, (51,), p["gamma_hh"], p["bias_hh"])
        (a_r, a_z, a_n), (u_r, u_z, u_n) = a.chunk(3, 1), u.chunk(3, 1)
        z = torch.sigmoid(a_z + u_z)
        h = (1 - z) * torch.tanh(a_n + torch.sigmoid(a_r + u_r) * u_n) + z * h
        outputs.append(h)
    expected = torch.stack(outputs)
    (output, _), tape = ours.forward(x, h_0)
    assert_close(output, expected.detach(), "float64")
    d_output = rng.standard_normal(output.shape)
    expected.backward(tensor(d_output))
    (d_x, d_h_0), gradients = ours.backward(tape, d_output)
    assert_gradient(d_x, inputs.grad, "float64_gradient_normalised")
    assert_gradient(d_h_0, first.grad, "float64_gradient_normalised")
    for name, gradient in gradients.items():
        assert_gradient(gradient, p[name.removesuffix("_l0")].grad, "float64_gradient_normalised", name)


def test_a_size_per_layer_is_a_chain_of_theirs(rng: np.random.Generator) -> None:
    ours = nn.GRU(4, [7, 3, 5], dtype="float64")
    chain = [torch.nn.GRU(inputs, hidden, dtype=torch.float64) for inputs, hidden in [(4, 7), (7, 3), (3, 5)]]
    for layer, single in enumerate(chain):
        state = ours.state_dict()
        single.load_state_dict({name: tensor(state[name.replace("_l0", f"_l{layer}")]) for name in single.state_dict()})
    x = rng.standard_normal((6, 2, 4))
    h_0 = [rng.standard_normal((1, 2, hidden)) for hidden in ours.hidden_size]
    output, h_n = ours(x, h_0)
    expected = tensor(x)
    for single, initial, final in zip(chain, h_0, h_n, strict=True):
        expected, final_theirs = single(expected, tensor(initial))
        assert_close(final, final_theirs.detach(), "float64")
    assert_close(output, expected.detach(), "float64")


@pytest.mark.parametrize("batch", [(3,), ()], ids=str)
@pytest.mark.parametrize("bias", [True, False])
@every_cell
def test_recurrent_cells(
    name: str, own: dict[str, Any], bias: bool, batch: tuple[int, ...], rng: np.random.Generator
) -> None:
    theirs = getattr(torch.nn, f"{name}Cell")(4, 6, bias, **own, dtype=torch.float64)
    ours = getattr(nn, f"{name}Cell")(4, 6, bias, **own, dtype="float64")
    twin(theirs, ours)
    x = rng.standard_normal((*batch, 4))
    x_theirs = tensor(x, grad=True)
    assert_same_state(ours(x), theirs(x_theirs), "float64")
    state = random_like(ours(x), rng)
    state_theirs = each(lambda part: tensor(part, grad=True), state)
    expected = theirs(x_theirs, state_theirs)
    assert_same_state(ours(x, state), expected, "float64")
    _, tape = ours.forward(x, state)
    d = random_like(state, rng)
    torch.autograd.backward(parts_of(expected), tuple(map(tensor, parts_of(d))))
    (d_x, d_state), gradients = ours.backward(tape, d)
    assert_gradient(d_x, x_theirs.grad, "float64_gradient")
    for gradient, part in zip(parts_of(d_state), parts_of(state_theirs), strict=True):
        assert_gradient(gradient, part.grad, "float64_gradient")
    assert_same_gradients(theirs, gradients, "float64_gradient")


F64 = {"dtype": "float64"}


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        (nn.Linear(5, 3, **F64), torch.nn.Linear(5, 3), (2, 4, 5)),
        (nn.Linear(5, 3, bias=False, **F64), torch.nn.Linear(5, 3, bias=False), (5,)),
        (nn.BatchNorm1d(3, **F64), torch.nn.BatchNorm1d(3), (6, 3)),
        (nn.BatchNorm1d(3, 1e-3, 0.3, **F64), torch.nn.BatchNorm1d(3, 1e-3, 0.3), (2, 3, 4)),
        (nn.BatchNorm1d(3, momentum=None, **F64), torch.nn.BatchNorm1d(3, momentum=None), (2, 3, 4)),
        (nn.BatchNorm1d(3, affine=False, **F64), torch.nn.BatchNorm1d(3, affine=False), (6, 3)),
        (
            nn.BatchNorm1d(3, track_running_stats=False, **F64),
            torch.nn.BatchNorm1d(3, track_running_stats=False),
            (6, 3),
        ),
        (nn.LayerNorm(5, **F64), torch.nn.LayerNorm(5), (2, 4, 5)),
        (nn.LayerNorm([4, 5], 1e-3, **F64), torch.nn.LayerNorm([4, 5], 1e-3), (2, 4, 5)),
        (nn.LayerNorm(5, bias=False, **F64), torch.nn.LayerNorm(5, bias=False), (4, 5)),
        (
            nn.LayerNorm(5, elementwise_affine=False, **F64),
            torch.nn.LayerNorm(5, elementwise_affine=False),
            (5,),
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, tuple) else type(value).__name__,
)
def test_layer(ours: nn.Module, theirs: Any, shape: tuple[int, ...], training: bool, rng: np.random.Generator) -> None:
    """Three batches one after the other, so that running statistics move and are used."""
    theirs = theirs.double()
    for parameter in theirs.parameters():
        parameter.data = tensor(rng.uniform(-1, 1, tuple(parameter.shape)))
    twin(theirs, ours)
    for module in (ours, theirs):
        module.train(training)
    for _ in range(3):
        x = rng.standard_normal(shape) * 2 + 1
        x_theirs = tensor(x, grad=True)
        expected = theirs(x_theirs)
        result, tape = ours.forward(x)
        assert_close(result, expected.detach(), "float64")
        d = rng.standard_normal(result.shape)
        theirs.zero_grad()
        expected.backward(tensor(d))
        d_x, gradients = ours.backward(tape, d)
        assert_gradient(d_x, x_theirs.grad, "float64_gradient")
        assert_same_gradients(theirs, gradients, "float64_gradient")
        for name, value in theirs.state_dict().items():
            assert_close(ours.state_dict()[name], value, "float64", name)
    theirs.eval()
    assert_close(ours(x), theirs(tensor(x)).detach(), "float64")


@pytest.mark.parametrize("padding_idx", [None, 0, 2, -1])
def test_embedding(padding_idx: int | None, rng: np.random.Generator) -> None:
    theirs = torch.nn.Embedding(5, 3, padding_idx, dtype=torch.float64)
    ours = nn.Embedding(5, 3, padding_idx, dtype="float64")
    zero_rows = [row for row, values in enumerate(ours.state_dict()["weight"]) if not values.any()]
    assert zero_rows == [row for row, values in enumerate(theirs.weight) if not values.any()]
    twin(theirs, ours)
    indices = np.array([[0, 1, 2], [2, 4, 2]])
    expected = theirs(tensor(indices))
    result, tape = ours.forward(indices)
    np.testing.assert_array_equal(result, expected.detach())
    d = rng.standard_normal(result.shape)
    expected.backward(tensor(d))
    d_indices, gradients = ours.backward(tape, d)
    assert d_indices is None
    assert_same_gradients(theirs, gradients, "float64_gradient")


def test_initial_values_have_their_distribution() -> None:
    """Bounds and spread of the uniform layers, mean and spread of the embedding."""
    pairs = [
        (nn.GRU(30, 64, seed=1), torch.nn.GRU(30, 64)),
        (nn.GRUCell(30, 64, seed=2), torch.nn.GRUCell(30, 64)),
        (nn.Linear(300, 200, seed=3), torch.nn.Linear(300, 200)),
        (nn.Embedding(300, 200, seed=4), torch.nn.Embedding(300, 200)),
    ]
    for ours, theirs in pairs:
        for name, parameter in theirs.named_parameters():
            own, expected = ours.parameters()[name], parameter.detach().numpy()
            assert own.shape == expected.shape
            assert_close([own.mean(), own.std()], [expected.mean(), expected.std()], "distribution", name)
            if not isinstance(ours, nn.Embedding):
                assert_close(np.abs(own).max(), np.abs(expected).max(), "distribution", name)


def test_a_training_run_follows_theirs(rng: np.random.Generator) -> None:
    """200 steps of a language model from the same initial weights on the same batches, in float64."""
    tokens, width = 11, 8
    ours = nn.Sequential(
        {
            "embedding": nn.Embedding(tokens, width, dtype="float64"),
            "gru": nn.GRU(width, 12, num_layers=2, dtype="float64"),
            "linear": nn.Linear(12, tokens, dtype="float64"),
        }
    )
    theirs = torch.nn.ModuleDict(
        {
            "embedding": torch.nn.Embedding(tokens, width),
            "gru": torch.nn.GRU(width, 12, num_layers=2),
            "linear": torch.nn.Linear(12, tokens),
        }
    ).double()
    twin(theirs, ours)
    optimizer, optimizer_theirs = optim.AdamW(ours, lr=1e-2), torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    cross_entropy = losses.CrossEntropyLoss()
    progress, expected_progress = [], []
    for _ in range(200):
        # Each token follows from the one before it, but for one bit: there is something to learn.
        batch = rng.integers(0, tokens, (8, 5))
        for step in range(1, 8):
            batch[step] = (3 * batch[step - 1] + rng.integers(0, 2, 5)) % tokens
        x, targets = batch[:-1], batch[1:]

        (logits, _), tape = ours.forward(x)
        loss, loss_tape = cross_entropy.forward(logits, targets)
        _, gradients = ours.backward(tape, cross_entropy.backward(loss_tape))
        optimizer.step(gradients)
        progress.append(loss)

        hidden, _ = theirs["gru"](theirs["embedding"](tensor(x)))
        loss_theirs = torch.nn.functional.cross_entropy(
            theirs["linear"](hidden).reshape(-1, tokens), tensor(targets).reshape(-1)
        )
        optimizer_theirs.zero_grad()
        loss_theirs.backward()
        optimizer_theirs.step()
        expected_progress.append(loss_theirs.item())
    assert_close(progress, expected_progress, "training_run")
    assert progress[-1] < 0.5 * progress[0]
