"""Arrays of other packages: by DLPack or as a buffer they go in where a NumPy array does, without a copy."""

import array
import re

import numpy as np
import pytest
from test_arguments import KINDS, Call

from gru_native import arguments, losses, nn
from gru_native import functional as F


class OfDLPack:
    """What has nothing but DLPack's protocol."""

    def __init__(self, held):
        self._held = held

    def __dlpack__(self, **keywords):
        return self._held.__dlpack__(**keywords)

    def __dlpack_device__(self):
        return self._held.__dlpack_device__()


class OnCuda(OfDLPack):
    """What an array in the memory of a graphics card answers; asked for its numbers it would copy them."""

    device = "cuda:0"

    def __array__(self, dtype=None, copy=None):
        return np.zeros(3)

    def __dlpack_device__(self):
        return 2, 0


def of_torch(own):
    return pytest.importorskip("torch").from_numpy(own)


FOREIGN = {"DLPack": OfDLPack, "memoryview": memoryview, "torch": of_torch}
WRITTEN = {"output", "final", "d_x", "out"}


def foreign(value, kind):
    """Return a value in which arrays are those of another package."""
    if type(value) is np.ndarray:
        return FOREIGN[kind](value.copy())
    if type(value) in (list, tuple):
        return type(value)(foreign(part, kind) for part in value)
    return {name: foreign(part, kind) for name, part in value.items()} if type(value) is dict else value


def drawn(value):
    """Return a value in which zeros are numbers, not the same ones everywhere."""
    if type(value) is np.ndarray and value.dtype == np.float32:
        return np.random.default_rng(value.size).uniform(0, 1, value.shape).astype(np.float32)
    if type(value) in (list, tuple):
        return type(value)(map(drawn, value))
    return value


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("calls", ["functional", "layers", "training", "streams", "others"])
def test_every_call_takes_arrays_of_others(tmp_path, calls, kind):
    if calls == "training":
        pytest.importorskip("sklearn")
    taken = 0
    for name, call in KINDS[calls](tmp_path).items():
        given = {name: value if name in WRITTEN else foreign(value, kind) for name, value in call.arguments.items()}
        if repr(given) != repr(call.arguments):
            call.function(**given)
            taken += 1
    assert taken > 2, name


def arrays(result):
    if isinstance(result, np.ndarray):
        return [result]
    parts = result.values() if isinstance(result, dict) else result if isinstance(result, (list, tuple)) else ()
    return [array for part in parts for array in arrays(part)]


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize(
    "name", ["GRU(...)", "LSTM of two layers(...)", "GRUCell(...)", "Sequential(...)", "Linear(...)"]
)
def test_the_results_have_the_same_bits(tmp_path, name, kind):
    call: Call = KINDS["layers"](tmp_path)[name]
    given = {name: drawn(value) for name, value in call.arguments.items()}
    results = arrays(call.function(**given))
    theirs = arrays(call.function(**{name: foreign(value, kind) for name, value in given.items()}))
    assert results
    for own, other in zip(results, theirs, strict=True):
        assert own.any()
        np.testing.assert_array_equal(own, other)


def assert_in_place(value, address):
    assert arguments.array("x", value).ctypes.data == address


def test_nothing_is_copied():
    own = np.zeros((3, 4), np.float32)
    for value in (memoryview(own), OfDLPack(own), OfDLPack(own.T), OfDLPack(own[:, ::2]), own.view(np.matrix)):
        assert_in_place(value, own.ctypes.data)
    numbers = array.array("d", [1.0, 2.0])
    assert_in_place(numbers, numbers.buffer_info()[0])


def test_nothing_of_torch_is_copied():
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(3, 4, 5)
    for view in (tensor, tensor.transpose(0, 1), tensor[1:], tensor[..., ::2]):
        assert_in_place(view, view.data_ptr())
    assert_in_place(torch.nn.Parameter(tensor).detach(), tensor.data_ptr())


def test_nothing_of_jax_is_copied():
    jax = pytest.importorskip("jax")
    held = jax.numpy.ones((3, 4))
    assert_in_place(held, held.unsafe_buffer_pointer())


def test_nothing_of_arrow_is_copied():
    arrow = pytest.importorskip("pyarrow")
    column = arrow.array([1.0, 2.0, 3.0])
    assert_in_place(column, column.buffers()[1].address)
    own = np.ones((2, 3), np.float32)
    assert_in_place(arrow.Tensor.from_numpy(own), own.ctypes.data)


def test_a_tape_does_not_see_what_a_tensor_becomes():
    torch = pytest.importorskip("torch")
    gru, x = nn.GRU(3, 4, seed=0), torch.ones(5, 2, 3)
    (output, _), tape = gru.forward(x)
    x.zero_()
    (own, _), _ = gru.backward(tape, np.ones_like(output))
    (expected, _), _ = gru.backward(gru.forward(torch.ones(5, 2, 3))[1], np.ones_like(output))
    np.testing.assert_array_equal(own, expected)


def test_weights_do_not_see_what_a_tensor_becomes():
    torch = pytest.importorskip("torch")
    linear, weight = nn.Linear(3, 4), torch.ones(4, 3)
    linear.assign({"weight": weight})
    packed = F.pack_linear(weight)
    weight.zero_()
    assert (linear.state_dict()["weight"] == 1).all()
    np.testing.assert_array_equal(F.linear(np.ones((1, 3), np.float32), packed), np.full((1, 4), 3, np.float32))


REFUSED = {
    "on a graphics card": (
        lambda torch: OnCuda(np.zeros(3)),
        "x: expected an array, got OnCuda: its memory is that of cuda:0, not the CPU's",
    ),
    "without memory": (lambda torch: torch.zeros(3, device="meta"), "x: expected an array, got Tensor: "),
    "bfloat16": (lambda torch: torch.zeros(3, dtype=torch.bfloat16), "x: expected an array, got Tensor: "),
    "bfloat16 by DLPack": (lambda torch: OfDLPack(torch.zeros(3, dtype=torch.bfloat16)), "x: expected an array, got "),
    "whole numbers": (
        lambda torch: torch.zeros(3, dtype=torch.int32),
        "x: expected dtype float32 or float64, got int32",
    ),
    "half": (lambda torch: torch.zeros(3).half(), "x: expected dtype float32 or float64, got float16"),
    "sparse": (lambda torch: torch.eye(3).to_sparse(), "x: expected an array, got Tensor: "),
    "requires grad": (
        lambda torch: torch.ones(3, requires_grad=True),
        "x: expected an array, got a tensor that requires",
    ),
    "bytes": (lambda torch: bytes(12), "x: expected dtype float32 or float64, got |S12"),
    "a buffer of bytes": (lambda torch: memoryview(bytes(12)), "x: expected dtype float32 or float64, got uint8"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_other_devices_and_types_are_refused_in_words(make, message):
    value = make(pytest.importorskip("torch"))
    with pytest.raises(TypeError, match="^" + re.escape(message)):
        nn.Dropout()(value)


def test_losses_refuse_other_types_by_name():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="^targets: expected dtype float32, got float64"):
        losses.MSELoss()(torch.zeros(3), torch.zeros(3, dtype=torch.float64))
