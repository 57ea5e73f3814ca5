"""What the modules for PyTorch share with its tensors: nothing copied, nothing kept, and no change missed."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import os
import pickle
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import python

torch = pytest.importorskip("torch")

from torch.nn.utils import parametrizations, prune  # noqa: E402
from torch_cases import (  # noqa: E402
    FORWARD,
    OURS,
    assert_same,
    assert_same_gradients,
    call_of,
    each_cell,
    each_dtype,
    each_module,
    each_stack,
    gradients,
    mapped,
    pair,
    tensors,
)

import gru_native.torch as gt  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


@pytest.fixture(autouse=True)
def _same_values_each_time() -> None:
    torch.manual_seed(1)


# ---- No copies -------------------------------------------------------------------------------------------------------


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tensors that were copied."""
    found: list[Any] = []

    def watch(name: str) -> None:
        method = getattr(torch.Tensor, name)

        def call(own: Any, *arguments: Any) -> Any:
            result = method(own, *arguments)
            if result.data_ptr() != own.data_ptr():
                found.append(own)
            return result

        monkeypatch.setattr(torch.Tensor, name, call)

    for name in ("contiguous", "clone", "resolve_neg"):
        watch(name)
    return found


# Of (T, B, I) or (B, T, I), whose last axis is contiguous, and how the module takes it.
STRIDED: dict[str, Callable[[], Any]] = {
    "contiguous": lambda: torch.randn(4, 3, 5),
    "transposed": lambda: torch.randn(3, 4, 5).transpose(0, 1),
    "every other step": lambda: torch.randn(8, 3, 5)[::2],
    "every other row": lambda: torch.randn(4, 6, 5)[:, ::2],
    "columns of others": lambda: torch.randn(4, 3, 9)[..., 2:7],
    "one step for all": lambda: torch.randn(1, 3, 5).expand(4, 3, 5),
    "one row for all": lambda: torch.randn(4, 1, 5).expand(4, 3, 5),
    "overlapping windows": lambda: torch.randn(40).as_strided((4, 3, 5), (2, 3, 1)),
    "behind an offset": lambda: torch.randn(61)[1:].view(4, 3, 5),
}
each_strided = pytest.mark.parametrize("strided", STRIDED)


@pytest.mark.parametrize("batch_first", [False, True])
@each_strided
def test_no_copy_of_an_input(strided: str, batch_first: bool, copies: list[Any]) -> None:
    ours, theirs = pair("GRU", 5, 7, batch_first=batch_first)
    x = STRIDED[strided]()
    h_0 = torch.randn(1, 2, x.shape[1 - batch_first], 7)[:, 1]
    del copies[:]
    output, h_n = ours(x, h_0)
    output.backward(torch.randn(2, *output.shape)[1])
    assert not copies
    assert_same((output, h_n), theirs(x, h_0), FORWARD["float32"])


@each_dtype
@each_strided
def test_gradients_whatever_the_strides(strided: str, dtype: str) -> None:
    ours, theirs = pair("LSTM", 5, 7, dtype=dtype)
    x = STRIDED[strided]().to(getattr(torch, dtype)).detach().requires_grad_()
    assert_same_gradients(gradients(ours, x), gradients(theirs, x), dtype)


def test_an_input_whose_last_axis_is_not_contiguous_is_copied_once(copies: list[Any]) -> None:
    ours, theirs = pair("GRU", 5, 7)
    x, h_0 = torch.randn(5, 3, 4).permute(2, 1, 0), torch.randn(3, 7, 1).permute(2, 0, 1)
    with torch.no_grad():
        results = ours(x, h_0)
        assert copies == [x]
        assert_same(results, theirs(x, h_0), FORWARD["float32"])


@each_module
def test_weights_are_copied_only_where_they_are_not_contiguous(name: str, copies: list[Any]) -> None:
    ours, theirs = pair(name, 5, 7)
    call = call_of(name)
    with torch.no_grad():
        ours(*call)
        assert not copies
        weight = next(ours.parameters())
        weight.data = weight.data.T.contiguous().T
        del copies[:]
        results = ours(*call)
    assert len(copies) == 1
    assert_same(results, theirs(*call), FORWARD["float32"])


# Views of other numbers, of which they have the opposite ones.
NEGATED: dict[str, Callable[[Any], Any]] = {
    "view": lambda others: torch._neg_view(others),
    "imaginary part": lambda others: torch.complex(torch.zeros_like(others), others).conj().imag,
}


@pytest.mark.parametrize("negated", NEGATED)
@each_module
def test_negated_views(name: str, negated: str) -> None:
    def view(tensor: Any) -> Any:
        """Return a view that equals a tensor."""
        found = NEGATED[negated](-tensor.detach()).detach()
        assert found.is_neg()
        assert torch.equal(found, tensor)
        return found.requires_grad_(tensor.requires_grad)

    ours, theirs = pair(name, 5, 7)
    call = call_of(name, grad=True)
    viewed = mapped(view, call)
    assert_same(ours(*viewed), theirs(*call), FORWARD["float32"])
    assert_same_gradients(gradients(ours, *viewed), gradients(theirs, *call), "float32")
    weights = {key: view(own) for key, own in ours.named_parameters()}
    assert_same(torch.func.functional_call(ours, weights, tuple(viewed)), theirs(*call), FORWARD["float32"])
    output, expected = tensors(ours(*call))[0], tensors(theirs(*call))[0]
    d_output = torch.randn_like(output)
    found = torch.autograd.grad(output, list(ours.parameters()), view(d_output))
    assert_same_gradients(
        list(found), list(torch.autograd.grad(expected, list(theirs.parameters()), d_output)), "float32"
    )


def test_no_freed_memory_is_read() -> None:
    python(
        "-c",
        """
import torch
import gru_native.torch as gt

module = gt.GRU(5, 7)
torch.nn.GRU.forward = None  # nobody helps
h_0 = torch.randn(3, 7, 1).permute(2, 0, 1)
weights = {name: torch._neg_view(-own.detach()) for name, own in module.named_parameters()}
for x in (torch.randn(5, 3, 4).permute(2, 1, 0), torch._neg_view(torch.randn(4, 3, 5))):
    expected = module(x.clone(memory_format=torch.contiguous_format).resolve_neg(), h_0.contiguous())[0]
    x.requires_grad_()
    output = torch.func.functional_call(module, weights, (x, h_0))[0]
    assert torch.equal(output, expected)
    assert torch.equal(module(x, h_0)[0], expected)
    [d_x] = torch.autograd.grad(output, x, torch.ones_like(output), retain_graph=True)
    assert torch.equal(torch.autograd.grad(output.sum(), x)[0], d_x)
""",
        MALLOC_PERTURB_="165",
        GLIBC_TUNABLES="glibc.malloc.tcache_count=0",
    )


# ---- Changes that PyTorch counts -------------------------------------------------------------------------------------

SAVED = {
    "GRU": ["x", "h_0", "output", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "lengths", "reset"],
    "LSTM": ["x", "h_0", "c_0", "output", "weight_ih_l0", "weight_hr_l0"],
    "RNN": ["x", "h_0", "output", "weight_hh_l0"],
    "GRUCell": ["x", "h_0", "weight_ih"],
    "LSTMCell": ["x", "h_0", "c_0", "weight_hh"],
    "RNNCell": ["x", "h_0", "bias_ih"],
}


@pytest.mark.parametrize(("name", "changed"), [(name, each) for name, all_of in SAVED.items() for each in all_of])
def test_a_change_between_the_passes_is_seen(name: str, changed: str) -> None:
    module = OURS[name](5, 7, **({"proj_size": 3} if name == "LSTM" else {}))
    x, state = call_of(name, grad=True)
    if name == "LSTM":
        state = state[0][..., :3], state[1]
    steps = {"lengths": torch.tensor([4, 2, 3]), "reset": torch.zeros(4, 3, dtype=torch.bool)} if name == "GRU" else {}
    results = tensors(module(x, state, **steps))
    named = {"x": x, "output": results[0], **dict(zip(("h_0", "c_0"), tensors(state), strict=False))}
    with torch.no_grad():
        own = (named | steps | dict(module.named_parameters()))[changed]
        own.copy_(own.clone())
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        results[0].sum().backward()


@each_stack
def test_last_states_may_be_changed_between_the_passes(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    call = call_of(name)
    for module in (ours, theirs):
        output, state = module(*call)
        with torch.no_grad():
            for each in tensors(state):
                each.mul_(0)
        output.square().sum().backward()
    assert_same_gradients([own.grad for own in ours.parameters()], [own.grad for own in theirs.parameters()], "float32")


@pytest.mark.parametrize("how", [torch.enable_grad, lambda: torch.device("cpu")], ids=["direct", "dispatched"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("GRUCell", {}),
        ("GRUCell", {"layer_norm": True}),
        ("GRUCell", {"reset_after": False}),
        ("LSTMCell", {}),
        ("RNNCell", {}),
        ("RNNCell", {"nonlinearity": "relu"}),
    ],
    ids=str,
)
def test_a_cells_results_may_be_changed_between_the_passes(
    name: str, options: dict[str, Any], how: Callable[[], Any]
) -> None:
    """As programs do that begin an episode: ``h *= 1 - done``."""
    module = OURS[name](5, 7, **options)
    steps, begins = torch.randn(4, 3, 5), torch.rand(4, 3, 1) < 0.5
    found = []
    for in_place in (True, False):
        state = None
        with how():
            for x, begin in zip(steps, begins, strict=True):
                state = module(x, state)
                for each in tensors(state) if in_place else ():
                    each.masked_fill_(begin, 0)
                state = mapped(lambda each, begin=begin: each.masked_fill(begin, 0), state)
            loss = sum(each.square().sum() for each in tensors(state))
        found.append(torch.autograd.grad(loss, list(module.parameters())))
    assert all(map(torch.equal, *found))


# ---- Changes that nothing counts -------------------------------------------------------------------------------------


def stepped(optimizer: Any, module: Any, **options: Any) -> None:
    made = optimizer(module.parameters(), lr=0.1, **options)
    for _ in range(3):
        made.zero_grad()
        sum(each.square().sum() for each in tensors(module(*call_of(type(module).__name__)))).backward()
        made.step()


def each_own(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    def write(module: Any) -> None:
        for own in module.parameters():
            change(own)

    return write


def averaged(module: Any) -> None:
    """Move a target towards another network, as reinforcement learning does."""
    for own in module.parameters():
        own.data.mul_(0.3)
        torch.add(own.data, torch.randn_like(own.data), alpha=0.7, out=own.data)


def replaced(module: Any) -> None:
    for name, own in dict(module.named_parameters()).items():
        setattr(module, name, torch.nn.Parameter(torch.randn_like(own)))


def in_inference_mode(module: Any) -> None:
    with torch.inference_mode():
        for own in module.parameters():
            own.mul_(0.5)


def loaded(module: Any, **options: Any) -> None:
    module.load_state_dict({name: torch.randn_like(own) for name, own in module.state_dict().items()}, **options)


WRITES: dict[str, Callable[[Any], None]] = {
    "data": each_own(lambda own: own.data.mul_(0.5)),
    "data replaced": each_own(lambda own: setattr(own, "data", torch.randn_like(own))),
    "target network": averaged,
    "NumPy": each_own(lambda own: np.multiply(own.detach().numpy(), 0.5, out=own.detach().numpy())),
    "DLPack": each_own(lambda own: torch.from_dlpack(own.detach()).mul_(0.5)),
    "storage": each_own(lambda own: own.new_empty(0).detach().set_(own.untyped_storage()).mul_(0.5)),
    "parameters replaced": replaced,
    "inference mode": in_inference_mode,
    "SGD": lambda module: stepped(torch.optim.SGD, module, momentum=0.9),
    "Adam": lambda module: stepped(torch.optim.Adam, module, foreach=False),
    "Adam, all at once": lambda module: stepped(torch.optim.Adam, module, foreach=True),
    "Adam, fused": lambda module: stepped(torch.optim.Adam, module, fused=True),
    "load_state_dict": loaded,
    "load_state_dict, assigned": lambda module: loaded(module, assign=True),
    "reset_parameters": lambda module: module.reset_parameters(),
    "vector": lambda module: torch.nn.utils.vector_to_parameters(
        0.5 * torch.nn.utils.parameters_to_vector(module.parameters()), module.parameters()
    ),
    "double and back": lambda module: module.double().float().apply(in_inference_mode),
}


@pytest.mark.parametrize("write", WRITES)
@each_module
def test_the_next_call_sees_what_was_written(name: str, write: str) -> None:
    ours, theirs = pair(name, 5, 7)
    call = call_of(name, grad=True)
    before = [ours(*call)]
    with torch.inference_mode():
        before.append(ours(*call))
    WRITES[write](ours)
    theirs.load_state_dict(ours.state_dict())
    with torch.inference_mode():
        assert_same(ours(*call), theirs(*call), FORWARD["float32"])
    assert_same(ours(*call), theirs(*call), FORWARD["float32"])
    assert_same_gradients(gradients(ours, *call), gradients(theirs, *call), "float32")
    for results in before:
        assert not torch.allclose(tensors(results)[0], tensors(ours(*call))[0])


@each_module
def test_what_was_written_between_the_passes_past_all_counters_has_pytorchs_effect(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    call = call_of(name)
    for module in (ours, theirs):
        output = tensors(module(*call))[0]
        for own in module.parameters():
            own.data.mul_(0.5)
        output.sum().backward()
    assert_same_gradients([own.grad for own in ours.parameters()], [own.grad for own in theirs.parameters()], "float32")


def test_tied_weights() -> None:
    for module in (pairs := pair("GRU", 7, 7, num_layers=2)):
        module.weight_hh_l1, module.weight_ih_l1 = module.weight_hh_l0, module.weight_ih_l0
    x = torch.randn(4, 3, 7)
    for _ in range(2):
        ours, theirs = pairs
        assert len(list(ours.parameters())) == 6
        assert_same(ours(x), theirs(x), FORWARD["float32"])
        assert_same_gradients(gradients(ours, x), gradients(theirs, x), "float32")
        for module in pairs:
            module.weight_hh_l0.data.mul_(0.5)


def test_modules_that_share_their_weights() -> None:
    ours, theirs = ((kind(5, 7), kind(5, 7)) for kind in (gt.LSTM, torch.nn.LSTM))
    ours[0].load_state_dict(theirs[0].state_dict())
    for one, other in (ours, theirs):
        for name, own in one.named_parameters():
            setattr(other, name, own)
    x = torch.randn(4, 3, 5)
    for one, other in (ours, theirs):
        (one(x)[0].sum() + other(x.flip(0))[0].square().sum()).backward()
        torch.optim.SGD(one.parameters(), lr=0.1).step()
    assert_same(ours[1](x), theirs[1](x), "float32_forward")


@pytest.mark.parametrize("grad", [True, False])
def test_the_next_call_sees_what_a_parametrization_is_computed_from(grad: bool) -> None:
    for module in (pairs := pair("GRU", 5, 7)):
        parametrizations.weight_norm(module, "weight_hh_l0")
    ours, theirs = pairs
    x = torch.randn(4, 3, 5)
    with torch.set_grad_enabled(grad):
        for _ in range(3):
            assert_same(ours(x), theirs(x), FORWARD["float32"])
            for module in pairs:
                module.parametrizations.weight_hh_l0.original0.data.mul_(0.5)


@each_module
def test_averaged_models(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.6)
    models = [torch.optim.swa_utils.AveragedModel(module, multi_avg_fn=average) for module in (ours, theirs)]
    call = call_of(name)
    for _ in range(3):
        with torch.no_grad():
            for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                own.add_(0.1 * torch.randn_like(own))
                other.copy_(own)
        for model, module in zip(models, (ours, theirs), strict=True):
            model.update_parameters(module)
        assert type(models[0].module) is OURS[name]
        assert_same(models[0](*call), models[1](*call), FORWARD["float32"])


@each_module
def test_weights_of_inference_mode(name: str) -> None:
    with torch.inference_mode():
        ours, theirs = pair(name, 5, 7)
    x, state = call_of(name, grad=True)
    for _ in range(2):
        with torch.inference_mode():
            results = ours(x, state), theirs(x, state)
            assert_same(*results, FORWARD["float32"])
            for each in tensors(results):
                assert each.is_inference()
                assert not each.requires_grad
        with torch.no_grad():
            assert_same(ours(x, state), theirs(x, state), FORWARD["float32"])
        with torch.inference_mode():
            for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                own.mul_(0.5)
                other.mul_(0.5)
    for module in (ours, theirs):
        with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
            module(x, state)


def test_threads_that_train_the_same_weights() -> None:
    shared = gt.GRU(5, 7)
    x, target = torch.randn(9, 4, 5), torch.rand(9, 4, 7)
    losses: list[float] = []

    def train() -> None:
        module = gt.GRU(5, 7)
        for own, other in zip(module.parameters(), shared.parameters(), strict=True):
            own.data = other.data  # the same memory with another counter
        for _ in range(60):
            loss = (module(x)[0] - target).square().mean()
            for own, gradient in zip(
                module.parameters(), torch.autograd.grad(loss, list(module.parameters())), strict=True
            ):
                own.data.sub_(gradient, alpha=0.2)
            losses.append(float(loss.detach()))

    workers = [threading.Thread(target=train) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(losses) == 120
    assert float((shared(x)[0] - target).square().mean().detach()) < 0.7 * losses[0]


HOGWILD = """
import sys, torch
import gru_native.torch as gt

def loss_of(module, x, target):
    return (module(x)[0] - target).square().mean()

def train(module, x, target):
    torch.set_num_threads(1)
    for _ in range(60):
        module.zero_grad()
        loss_of(module, x, target).backward()
        with torch.no_grad():
            for own in module.parameters():
                own.sub_(own.grad, alpha=0.2)

if __name__ == "__main__":
    torch.manual_seed(1)
    module, x, target = gt.GRU(5, 7).share_memory(), torch.randn(9, 4, 5), torch.rand(9, 4, 7)
    before = float(loss_of(module, x, target))
    context = torch.multiprocessing.get_context(sys.argv[1])
    workers = [context.Process(target=train, args=(module, x, target)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    theirs = torch.nn.GRU(5, 7)
    theirs.load_state_dict(module.state_dict())
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert torch.allclose(module(x)[0], theirs(x)[0], atol=1e-6)
            assert float(loss_of(module, x, target)) < 0.7 * before
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_processes_that_train_the_same_weights(start: str, tmp_path: Path) -> None:
    script = tmp_path / "hogwild.py"
    script.write_text(HOGWILD)
    python(script, start)


# ---- Nothing is kept -------------------------------------------------------------------------------------------------


@pytest.fixture
def _no_search_for_cycles() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def attempt(module: Any, x: Any, **named: Any) -> None:
    with contextlib.suppress(ValueError, RuntimeError, TypeError):
        tensors(module(x, **named))[0].sum().backward()


CALLS: dict[str, tuple[Callable[[], Any], tuple[int, ...], dict[str, Any]]] = {
    "stack": (lambda: gt.GRU(5, 7), (4, 3, 5), {}),
    "cell": (lambda: gt.LSTMCell(5, 7), (3, 5), {}),
    "half": (lambda: gt.GRU(5, 7).half(), (4, 3, 5), {}),
    "cell in bfloat16": (lambda: gt.GRUCell(5, 7).bfloat16(), (3, 5), {}),
    "wrong shape": (lambda: gt.GRU(5, 7), (4, 3, 6), {}),
    "wrong lengths": (lambda: gt.GRU(5, 7), (4, 3, 5), {"lengths": [9, 9, 9]}),
    "wrong dtype": (lambda: gt.RNNCell(5, 7).double(), (3, 5), {}),
    "options that PyTorch lacks": (lambda: gt.GRU(5, 7, zoneout=0.5).half(), (4, 3, 5), {}),
    "frozen": (lambda: gt.LSTM(5, 7).freeze(), (4, 3, 5), {}),
}


@pytest.mark.usefixtures("_no_search_for_cycles")
@pytest.mark.parametrize("call", CALLS)
def test_a_call_keeps_no_tensor(call: str) -> None:
    make, shape, named = CALLS[call]
    module = make()
    dtype = torch.float32 if call == "wrong dtype" else next(module.parameters()).dtype
    x = torch.randn(*shape, dtype=dtype, requires_grad=True)
    seen = weakref.ref(x)
    attempt(module, x, **named)
    del x
    assert seen() is None


def test_training_needs_no_more_memory_over_time() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    module, x = gt.GRU(32, 64, num_layers=2), torch.randn(100, 8, 32)
    sizes = []
    for step in range(60):
        module.zero_grad()
        module(x)[0].square().sum().backward()
        if step in (9, 59):
            sizes.append(resident())
    # A step's tapes alone are 2 MB.
    assert sizes[1] - sizes[0] < 2**25


# ---- Threads ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_calls_take_as_many_threads_as_pytorch() -> None:
    python(
        "-c",
        """
import os, torch
import gru_native.torch as gt
module, x = gt.GRU(256, 256), torch.randn(20, 64, 256)

def threads_of_a_call():
    output = module(x)[0]
    if output.requires_grad:
        torch.autograd.grad(output, list(module.parameters()), torch.ones_like(output))
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(1)
alone = len(os.listdir("/proc/self/task"))
for threads, grad in ((1, False), (1, True), (2, False), (3, True)):
    torch.set_num_threads(threads)
    with torch.set_grad_enabled(grad):
        assert threads_of_a_call() == alone + threads - 1, threads
""",
    )


# ---- Freezing --------------------------------------------------------------------------------------------------------


FROZEN = {name: {} for name in OURS} | {
    "GRU": {"num_layers": 2, "bidirectional": True, "layer_norm": True},
    "LSTM": {"num_layers": 2, "bidirectional": True, "proj_size": 3},
    "RNN": {"nonlinearity": "relu", "bias": False},
    "GRUCell": {"reset_after": False},
}
each_frozen = pytest.mark.parametrize("name", FROZEN)


@each_dtype
@each_frozen
def test_frozen_modules_compute_the_same(name: str, dtype: str) -> None:
    module = OURS[name](5, 7, **FROZEN[name], dtype=getattr(torch, dtype))
    [x] = call_of(name, dtype=dtype, states=False, grad=True)
    expected, [d_x, *_] = tensors(module(x)), gradients(module, x)
    assert module.freeze() is module
    assert not any(own.requires_grad for own in module.parameters())
    results = tensors(module(x))
    assert all(map(torch.equal, results, expected))
    assert results[0].requires_grad
    assert torch.equal(*gradients(module, x), d_x)
    with torch.inference_mode():
        assert all(map(torch.equal, tensors(module(x)), expected))
    assert module.unfreeze() is module
    assert all(map(torch.equal, gradients(module, x)[:1], [d_x]))
    assert all(own.requires_grad for own in module.parameters())


@each_frozen
def test_what_is_written_to_frozen_modules_has_no_effect_but_by_what_freezes_anew(name: str) -> None:
    module = OURS[name](5, 7, **FROZEN[name]).freeze()
    [x] = call_of(name, states=False)
    before = tensors(module(x))
    in_inference_mode(module)
    assert all(map(torch.equal, tensors(module(x)), before))
    other = OURS[name](5, 7, **FROZEN[name])
    module.load_state_dict(other.state_dict())
    assert all(map(torch.equal, tensors(module(x)), tensors(other(x))))
    module.load_state_dict({name: own + 1 for name, own in other.state_dict().items()}, assign=True)
    assert not torch.equal(tensors(module(x))[0], tensors(other(x))[0])
    module.load_state_dict(other.state_dict())
    module.double()
    assert all(map(torch.equal, tensors(module(x.double())), tensors(other.double()(x.double()))))
    in_inference_mode(module)
    module.unfreeze()
    in_inference_mode(other)
    assert all(map(torch.equal, tensors(module(x.double())), tensors(other(x.double()))))


def test_gradients_come_back_only_to_those_that_had_them() -> None:
    module = gt.GRU(5, 7)
    module.bias_ih_l0.requires_grad_(False)
    module.freeze().freeze().unfreeze()
    wanting = [name for name, own in module.named_parameters() if own.requires_grad]
    assert wanting == ["weight_ih_l0", "weight_hh_l0", "bias_hh_l0"]
    module.freeze().unfreeze().unfreeze()
    assert wanting == [name for name, own in module.named_parameters() if own.requires_grad]


def pickled(module: Any) -> Any:
    return pickle.loads(pickle.dumps(module))


def saved(module: Any) -> Any:
    torch.save(module, file := io.BytesIO())
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("again", [copy.deepcopy, pickled, saved])
@each_frozen
def test_copies_of_frozen_modules(name: str, again: Callable[[Any], Any]) -> None:
    module = torch.nn.Sequential(OURS[name](5, 7, **FROZEN[name]).freeze())
    found = again(module)
    [x] = call_of(name, states=False)
    expected = tensors(module(x))
    in_inference_mode(found[0])
    assert all(map(torch.equal, tensors(found(x)), expected))
    found[0].unfreeze()
    assert not torch.equal(tensors(found(x))[0], expected[0])
    assert all(own.requires_grad for own in found.parameters())
    in_inference_mode(module[0])
    assert all(map(torch.equal, tensors(module(x)), expected))


@each_frozen
def test_frozen_modules_are_unfrozen_where_pytorch_computes(name: str) -> None:
    plain = {} if FROZEN[name].keys() & {"layer_norm", "reset_after"} else FROZEN[name]
    module, theirs = pair(name, 5, 7, **plain)
    model = torch.nn.ModuleList([module.freeze(), torch.nn.Linear(1, 1)])
    [x] = call_of(name, states=False)
    model.bfloat16()
    theirs.bfloat16()
    assert {own.dtype for own in model.parameters()} == {torch.bfloat16}
    assert all(own.requires_grad for own in module.parameters())
    assert all(map(torch.equal, tensors(module(x.bfloat16())), tensors(theirs(x.bfloat16()))))
    module.float().freeze()
    module.to("meta")
    assert tensors(module(x.to("meta")))[0].is_meta


def test_freezing_needs_parameters_that_are_computed_here() -> None:
    with pytest.raises(ValueError, match="parameters: expected matrices of float32 or float64, got torch.float16"):
        gt.GRU(5, 7).half().freeze()
    pruned = gt.GRUCell(5, 7)
    prune.l1_unstructured(pruned, "weight_hh", 0.5)
    normal = gt.GRU(5, 7)
    parametrizations.weight_norm(normal, "weight_ih_l0")
    for module, weight in ((pruned, "weight_hh"), (normal, "weight_ih_l0")):
        with pytest.raises(ValueError, match=f"{weight}: expected a parameter to freeze, got what is computed"):
            module.freeze()
        assert all(own.requires_grad for own in module.parameters())


@each_cell
def test_a_frozen_module_sees_a_change_of_its_input_between_the_passes(name: str) -> None:
    module = OURS[name](5, 7).freeze()
    [x] = call_of(name, states=False, grad=True)
    output = tensors(module(x))[0]
    with torch.no_grad():
        x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


CHANGES: dict[str, Callable[[Any, Any], Any]] = {
    "load_state_dict": lambda module, other: module.load_state_dict(other.state_dict()),
    "reset_parameters": lambda module, other: module.reset_parameters(),
    "in place": lambda module, other: [own.mul_(0.9) for own in module.parameters()],
    "to": lambda module, other: module.to("cpu"),
    "double": lambda module, other: module.double().float(),
    "freeze": lambda module, other: module.freeze().unfreeze(),
    "copy": lambda module, other: copy.deepcopy(module),
    "pickle": lambda module, other: pickle.loads(pickle.dumps(module)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@torch.no_grad()
def test_weights_that_are_packed_for_a_while_may_change(change: Callable[[Any, Any], Any]) -> None:
    module, other, x = gt.GRU(3, 4), gt.GRU(3, 4), torch.randn(5, 2, 3)
    with module.packed():
        module(x)
        made = change(module, other)
        output = module(x)[0]
    torch.testing.assert_close(output, module(x)[0], rtol=0, atol=0)
    for each in (module, made if isinstance(made, torch.nn.Module) else module):
        assert each._frozen is each._for_now is None
        assert all(own.requires_grad for own in each.parameters())


def test_a_call_with_gradients_does_not_take_weights_that_are_packed_for_a_while() -> None:
    module = gt.GRU(3, 4)
    with module.packed():
        module(torch.randn(5, 2, 3))[0].sum().backward()
    assert module.weight_hh_l0.grad is not None


@pytest.mark.parametrize(
    "compute",
    [
        lambda m: prune.l1_unstructured(m, "weight_hh_l0", 0.5),
        lambda m: torch.nn.utils.parametrize.register_parametrization(m, "weight_hh_l0", torch.nn.Identity()),
        lambda m: parametrizations.weight_norm(m, "weight_hh_l0"),
    ],
    ids=["pruned", "parametrized", "weight_norm"],
)
def test_weights_that_are_computed_after_freezing(compute: Any) -> None:
    module, x = gt.GRU(4, 5).freeze(), torch.randn(3, 2, 4)
    compute(module)
    copied = copy.deepcopy(module)
    for each in (module, copied):
        assert torch.equal(each(x)[0], module(x)[0])
        each.unfreeze()
        assert all(own.requires_grad for own in each.parameters())
        each(x)[0].sum().backward()
        assert all(own.grad is not None for own in each.parameters())


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout", "zoneout"])
@pytest.mark.parametrize("value", [float("nan"), -1.0, 2.0])
def test_a_share_that_is_set_later(name: str, value: float) -> None:
    module = gt.GRU(4, 5, 2)
    setattr(module, name, value)
    with pytest.raises(ValueError, match=f"^{name}: expected 0 to 1, got {value}$"):
        module(torch.randn(3, 2, 4))
