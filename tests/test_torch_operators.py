"""The recurrent operators in PyTorch: traced, transformed, differentiated, and passed by."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from torch import library  # noqa: E402

import gru_native.torch as gt  # noqa: E402
from gru_native.torch import operators  # noqa: E402

F64 = torch.float64
LENGTHS, RESET = torch.tensor([4, 0, 2]), torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)


@pytest.fixture(autouse=True)
def _same_values_each_time() -> None:
    torch.manual_seed(1)


def sequence(*shape: int, dtype: Any = None) -> Any:
    return torch.randn(*(shape or (4, 3, 5)), dtype=dtype)


def arguments(module: Any, x: Any, *, keep: bool, lengths: Any = None, reset: Any = None) -> tuple[Any, ...]:
    options, seed = module._options(x, 0, 1)
    return (x, None, None, lengths, reset, seed, [getattr(module, name) for name in module._names()], *options, keep)


def largest_difference(a: Any, b: Any) -> float:
    return float((a - b).detach().abs().max())


def gradients_of(module: Any, *call: Any, **named: Any) -> dict[str, Any]:
    module.zero_grad()
    module(*call, **named)[0].square().sum().backward()
    return {name: own.grad.clone() for name, own in module.named_parameters()}


KINDS: dict[str, Callable[[], Any]] = {
    "GRU": lambda: gt.GRU(5, 7, num_layers=2, bidirectional=True),
    "GRU normalized": lambda: gt.GRU(5, 7, layer_norm=True),
    "GRU reset before": lambda: gt.GRU(5, 7, reset_after=False, bias=False),
    "GRU random": lambda: gt.GRU(5, 7, num_layers=2, dropout=0.5, recurrent_dropout=0.3, zoneout=0.2),
    "LSTM": lambda: gt.LSTM(5, 7, num_layers=3, proj_size=4),
    "RNN": lambda: gt.RNN(5, 7, bidirectional=True, nonlinearity="relu"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


# ---- Registered as PyTorch wants it ---------------------------------------------------------------------------------


@each_kind
@pytest.mark.parametrize("keep", [False, True])
def test_opcheck_of_the_forward_pass(kind: str, keep: bool) -> None:
    module = KINDS[kind]().requires_grad_(keep)
    library.opcheck(torch.ops.gru_native.recurrent.default, arguments(module, sequence(), keep=keep))


def test_opcheck_with_lengths_and_resets() -> None:
    call = arguments(KINDS["GRU"](), sequence(), keep=True, lengths=LENGTHS, reset=RESET)
    library.opcheck(torch.ops.gru_native.recurrent.default, call)


@each_kind
def test_opcheck_of_the_backward_pass(kind: str) -> None:
    module = KINDS[kind]().requires_grad_(False)
    *forward, _ = call = arguments(module, sequence(), keep=True, lengths=LENGTHS, reset=RESET)
    output, h_n, c_n, tape = torch.ops.gru_native.recurrent(*call)
    gradients = torch.randn_like(output), torch.randn_like(h_n), torch.randn_like(c_n) if kind == "LSTM" else None
    library.opcheck(torch.ops.gru_native.recurrent_backward.default, (*gradients, output, tape, True, True, *forward))


# ---- Passed by ------------------------------------------------------------------------------------------------------


@pytest.fixture
def _no_dispatcher(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the dispatcher was asked")

    monkeypatch.setattr(operators, "dispatch", fail)
    monkeypatch.setattr(operators, "dispatch_backward", fail)


@pytest.mark.usefixtures("_no_dispatcher")
def test_eager_calls_pass_the_dispatcher_by() -> None:
    for module in (gt.GRU(5, 7), gt.LSTM(5, 7), gt.RNN(5, 7)):
        module(sequence())[0].sum().backward()
        with torch.inference_mode():
            module(sequence())
    gt.GRUCell(5, 7)(sequence(3, 5)).sum().backward()


class Seen(torch.utils._python_dispatch.TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(function.name())
        return function(*args, **(kwargs or {}))


def test_a_dispatch_mode_sees_the_operators() -> None:
    with Seen() as seen:
        gt.GRU(5, 7)(sequence())[0].sum().backward()
    assert {"gru_native::recurrent", "gru_native::recurrent_backward"} <= set(seen.names)


def test_the_profiler_sees_the_operators() -> None:
    module, x = gt.GRU(5, 7), sequence()
    with torch.profiler.profile() as profile:
        module(x)[0].sum().backward()
    assert {"gru_native::recurrent", "gru_native::recurrent_backward"} <= {
        event.key for event in profile.key_averages()
    }


def test_fake_tensors_have_the_shapes_of_real_ones() -> None:
    from torch._subclasses import FakeTensorMode

    module = KINDS["LSTM"]()
    x = sequence()
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        output, (h_n, c_n) = module(mode.from_tensor(x))
    real, (real_h, real_c) = module(x)
    assert (output.shape, h_n.shape, c_n.shape) == (real.shape, real_h.shape, real_c.shape)


# ---- Gradients ------------------------------------------------------------------------------------------------------

STACKS = [
    (name, layers, bidirectional, bias, batch_first)
    for name in ("GRU", "LSTM", "RNN")
    for layers, bidirectional, bias, batch_first in itertools.product(
        (1, 2), (False, True), (False, True), (False, True)
    )
]
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "normalized": ("GRU", {"layer_norm": True, "num_layers": 2}),
    "reset before": ("GRU", {"reset_after": False, "bidirectional": True}),
    "zoneout": ("GRU", {"zoneout": 0.3}),
    "projected": ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
}


def check_gradients(module: Any, x: Any, **named: Any) -> None:
    parameters = dict(module.named_parameters())
    layers = module.num_layers * (1 + module.bidirectional)
    batch = x.shape[0 if module.batch_first else 1]
    states = [torch.randn(layers, batch, module.proj_size or module.hidden_size, dtype=F64)]
    if module.mode == "LSTM":
        states.append(torch.randn(layers, batch, module.hidden_size, dtype=F64))

    def call(x: Any, *others: Any) -> tuple[Any, ...]:
        hx, values = others[: len(states)], others[len(states) :]
        own = dict(zip(parameters, values, strict=True))
        state = hx if module.mode == "LSTM" else hx[0]
        output, final = torch.func.functional_call(module, own, (x, state), named)
        return output, *(final if isinstance(final, tuple) else (final,))

    inputs = [x, *states, *(own.detach() for own in parameters.values())]
    assert torch.autograd.gradcheck(call, [each.clone().requires_grad_() for each in inputs], fast_mode=True)


@pytest.mark.parametrize(("name", "layers", "bidirectional", "bias", "batch_first"), STACKS)
def test_gradcheck(name: str, layers: int, bidirectional: bool, bias: bool, batch_first: bool) -> None:
    module = getattr(gt, name)(2, 3, layers, bias=bias, bidirectional=bidirectional, batch_first=batch_first, dtype=F64)
    check_gradients(module, sequence(*((3, 4, 2) if batch_first else (4, 3, 2)), dtype=F64))


@pytest.mark.parametrize(("name", "own"), MORE.values(), ids=MORE)
def test_gradcheck_of_other_options(name: str, own: dict[str, Any]) -> None:
    module = getattr(gt, name)(2, 3, dtype=F64, **own).eval()
    check_gradients(module, sequence(4, 3, 2, dtype=F64), lengths=LENGTHS, reset=RESET)


@pytest.mark.parametrize("name", ["GRUCell", "LSTMCell", "RNNCell"])
def test_gradcheck_of_cells(name: str) -> None:
    cell = getattr(gt, name)(2, 3, dtype=F64)
    x, states = sequence(4, 2, dtype=F64), [sequence(4, 3, dtype=F64) for _ in range(2 if name == "LSTMCell" else 1)]
    parameters = dict(cell.named_parameters())

    def call(x: Any, *others: Any) -> Any:
        hx, values = others[: len(states)], others[len(states) :]
        own = dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(cell, own, (x, hx if name == "LSTMCell" else hx[0]))

    inputs = [x, *states, *(own.detach() for own in parameters.values())]
    assert torch.autograd.gradcheck(call, [each.clone().requires_grad_() for each in inputs])


def test_a_kept_graph_serves_twice_and_another_once() -> None:
    module, x = KINDS["LSTM"](), sequence()
    once = gradients_of(module, x)
    module.zero_grad()
    loss = module(x)[0].square().sum()
    loss.backward(retain_graph=True)
    loss.backward()
    for name, own in module.named_parameters():
        torch.testing.assert_close(own.grad, 2 * once[name])
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_checkpointing() -> None:
    from torch.utils.checkpoint import checkpoint

    for reentrant in (False, True):
        module, x = KINDS["GRU random"](), sequence().requires_grad_()
        torch.manual_seed(3)
        expected = gradients_of(module, x)
        module.zero_grad()
        torch.manual_seed(3)
        checkpoint(module, x, use_reentrant=reentrant)[0].square().sum().backward()
        for name, own in module.named_parameters():
            torch.testing.assert_close(own.grad, expected[name], rtol=0, atol=0)


def test_a_tape_may_be_copied_between_the_passes() -> None:
    module, x = KINDS["GRU"](), sequence()
    expected = gradients_of(module, x)
    module.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
        module(x)[0].square().sum().backward()
    for name, own in module.named_parameters():
        torch.testing.assert_close(own.grad, expected[name], rtol=0, atol=0)


def test_gradients_of_a_batch_of_losses() -> None:
    module, x = gt.GRU(5, 7), sequence().requires_grad_()
    _, h_n = module(x)
    units = torch.eye(h_n.numel()).reshape(-1, *h_n.shape)
    with pytest.raises(NotImplementedError, match=r"torch\.func\.vmap"):
        torch.autograd.grad(h_n, x, units, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(h_n, x, unit, retain_graph=True)[0] for unit in units]
    _, pull = torch.func.vjp(lambda x: module(x)[1], x.detach())
    (all_at_once,) = torch.vmap(pull)(units)
    torch.testing.assert_close(all_at_once, torch.stack(one_by_one))


def test_gradients_of_gradients_are_refused() -> None:
    x = sequence().requires_grad_()
    (gradient,) = torch.autograd.grad(gt.GRU(5, 7)(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="gradients of gradients"):
        gradient.sum().backward()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # PyTorch's own, in its first use of forward mode
def test_forward_mode_is_refused(frozen: bool) -> None:
    module, x = gt.GRU(5, 7).requires_grad_(not frozen), sequence()
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(lambda x: module(x)[0], (x,), (x,))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward-mode"):
        module(torch.autograd.forward_ad.make_dual(x, x))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused() -> None:
    module = gt.LSTM(5, 7)
    with pytest.raises(NotImplementedError, match="TorchScript"):
        torch.jit.script(torch.nn.Sequential(module))
    with pytest.raises(NotImplementedError, match="TorchScript"):
        torch.jit.trace(module, (sequence(),))


# ---- Transformed ----------------------------------------------------------------------------------------------------


def loss_of(module: Any, parameters: dict[str, Any], x: Any, **named: Any) -> Any:
    return torch.func.functional_call(module, parameters, (x,), named)[0].square().sum()


@each_kind
@pytest.mark.parametrize("in_dim", [0, 1, 3])
@pytest.mark.parametrize("grad", [False, True])
def test_vmap_over_inputs(kind: str, in_dim: int, grad: bool) -> None:
    module, xs = KINDS[kind]().eval(), sequence(2, 4, 3, 5)
    with torch.set_grad_enabled(grad):
        output, final = torch.vmap(lambda x: module(x, reset=RESET), in_dims=in_dim)(xs.movedim(0, in_dim))
    for place, x in enumerate(xs):
        expected, expected_final = module(x, reset=RESET)
        torch.testing.assert_close(output[place], expected)
        for own, theirs in zip(final, expected_final, strict=True) if kind == "LSTM" else [(final, expected_final)]:
            torch.testing.assert_close(own[place], theirs)


def test_vmap_over_lengths_states_and_single_sequences() -> None:
    module, x = gt.GRU(5, 7), sequence()
    lengths = torch.tensor([[4, 1, 2], [3, 3, 0]])
    with torch.no_grad():
        found = torch.vmap(lambda own: module(x, lengths=own)[0])(lengths)
        expected = torch.stack([module(x, lengths=own)[0] for own in lengths])
        torch.testing.assert_close(found, expected)
        xs, states = sequence(2, 4, 5), sequence(2, 1, 7)
        torch.testing.assert_close(
            torch.vmap(module)(xs, states)[0], torch.stack([module(*own)[0] for own in zip(xs, states, strict=True)])
        )


@pytest.mark.parametrize("name", ["GRUCell", "LSTMCell"])
@pytest.mark.parametrize("batched", [False, True])
def test_vmap_of_cells(name: str, batched: bool) -> None:
    cell, xs = getattr(gt, name)(5, 7), sequence(2, *((3, 5) if batched else (5,)))
    found, expected = torch.vmap(cell)(xs), [cell(x) for x in xs]
    if name == "GRUCell":
        found, expected = (found,), [(h,) for h in expected]
    for own, theirs in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(own, torch.stack(theirs))


@each_kind
def test_gradients_by_sample(kind: str) -> None:
    module, xs = KINDS[kind]().eval(), sequence(3, 4, 1, 5)
    parameters = {name: own.detach() for name, own in module.named_parameters()}
    found = torch.vmap(torch.func.grad(lambda own, x: loss_of(module, own, x)), in_dims=(None, 0))(parameters, xs)
    for place, x in enumerate(xs):
        for name, expected in gradients_of(module, x).items():
            torch.testing.assert_close(found[name][place], expected)


def test_gradients_of_a_vmap() -> None:
    module, xs = KINDS["GRU"](), sequence(2, 4, 3, 5)
    parameters = {name: own.detach() for name, own in module.named_parameters()}
    found = torch.func.grad(lambda own: torch.vmap(lambda x: loss_of(module, own, x))(xs).sum())(parameters)
    both = [gradients_of(module, x) for x in xs]
    for name, own in found.items():
        torch.testing.assert_close(own, both[0][name] + both[1][name])


def test_random_samples_by_vmap() -> None:
    module, xs = KINDS["GRU random"](), sequence(1, 4, 3, 5).expand(2, 4, 3, 5)
    with pytest.raises(RuntimeError, match="randomness"):
        torch.vmap(module)(xs)
    same, _ = torch.vmap(module, randomness="same")(xs)
    different, _ = torch.vmap(module, randomness="different")(xs)
    assert torch.equal(same[0], same[1])
    assert not torch.equal(different[0], different[1])


def test_an_ensemble() -> None:
    modules = [gt.LSTM(5, 7) for _ in range(3)]
    parameters, _ = torch.func.stack_module_state(modules)
    x = sequence()
    found = torch.vmap(lambda own: torch.func.functional_call(modules[0], own, (x,))[0])(parameters)
    torch.testing.assert_close(found, torch.stack([module(x)[0] for module in modules]))


def test_jacobian() -> None:
    module, x = gt.GRU(5, 3, dtype=F64), sequence(2, 1, 5, dtype=F64)
    expected = torch.autograd.functional.jacobian(lambda x: module(x)[1], x)
    torch.testing.assert_close(torch.func.jacrev(lambda x: module(x)[1])(x), expected)


# ---- Compiled and exported ------------------------------------------------------------------------------------------


class Model(torch.nn.Module):
    """Takes what a compiled model may take."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = gt.GRU(5, 7, num_layers=2, bidirectional=True)
        self.cell = gt.LSTMCell(14, 4)

    def forward(self, x: Any, lengths: Any = None, reset: Any = None) -> Any:
        output, _ = self.stack(x, lengths=lengths, reset=reset)
        return self.cell(output[-1])[0].relu()


@pytest.fixture
def compiler() -> Iterator[Any]:
    dynamo = pytest.importorskip("torch._dynamo")
    dynamo.reset()
    yield dynamo
    dynamo.reset()


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compile_without_a_break(compiler: Any, dynamic: bool) -> None:
    model = Model()
    for kind in ("none", "lengths", "reset"):
        compiler.reset()
        compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=dynamic)
        for steps in (4, 6):
            x = sequence(steps, 3, 5)
            named = {"lengths": LENGTHS, "reset": torch.rand(steps, 3) < 0.3}
            named = {name: value for name, value in named.items() if name == kind}
            with torch.no_grad():
                torch.testing.assert_close(compiled(x, **named), model(x, **named), rtol=0, atol=0)
            found = {}
            for each in (compiled, model):
                model.zero_grad()
                each(x, **named).square().sum().backward()
                found[each] = [own.grad.clone() for own in model.parameters()]
            for own, expected in zip(found[compiled], found[model], strict=True):
                torch.testing.assert_close(own, expected, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compile_with_what_is_drawn(compiler: Any) -> None:
    module, x = KINDS["GRU random"](), sequence()
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert not torch.equal(compiled(x)[0], compiled(x)[0])
    module.eval()
    torch.testing.assert_close(compiled(x)[0], module(x)[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compile_breaks_at_a_packed_sequence(compiler: Any) -> None:
    module = gt.GRU(5, 7)
    packed = torch.nn.utils.rnn.pack_padded_sequence(sequence(), [4, 2, 1])
    compiled = torch.compile(lambda packed: module(packed)[1] + 1, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(packed), module(packed)[1] + 1)


def test_the_compiler_still_refuses_pytorchs_own(compiler: Any) -> None:
    with pytest.raises(compiler.exc.Unsupported):
        torch.compile(torch.nn.GRU(5, 7), fullgraph=True, backend="eager")(sequence())


def test_compiling_needs_no_order_of_imports() -> None:
    script = """
import torch
{first}
import gru_native.torch as gt
{first}
class Own(gt.GRU): pass
for module in (gt.GRU(5, 7), Own(5, 7)):
    print(tuple(torch.compile(module, fullgraph=True, backend="eager")(torch.ones(2, 3, 5))[0].shape))
"""
    for first in ("", "import torch._dynamo", "import importlib.util; importlib.util.find_spec('torch._dynamo')"):
        command = [sys.executable, "-W", "ignore", "-c", script.format(first=first)]
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
        assert run.stdout.split("\n")[:2] == ["(2, 3, 7)"] * 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_export() -> None:
    batch, steps = torch.export.Dim("batch"), torch.export.Dim("steps")
    model = Model().eval()
    shapes = {"x": {0: steps, 1: batch}, "lengths": {0: batch}, "reset": {0: steps, 1: batch}}
    exported = torch.export.export(model, (sequence(), LENGTHS, RESET), dynamic_shapes=shapes)
    x, lengths, reset = sequence(6, 2, 5), torch.tensor([6, 3]), torch.rand(6, 2) < 0.3
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(x, lengths, reset), model(x, lengths, reset))


# ---- Bad arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (0, torch.ones(4, 3, 6), "input: expected 3 axes, the last one of 5"),
        (1, torch.ones(1, 2, 7), r"hx: expected shape \(1, 3, 7\)"),
        (3, torch.tensor([1, 2]), r"lengths: expected \(3,\) of int64"),
        (4, torch.ones(4, 3), "reset: expected bool"),
        (6, [torch.ones(21, 5)], "parameters: expected 4 or 5 for each layer and direction, got 1"),
        (6, [torch.ones(21, 5), torch.ones(21, 7), torch.ones(20), torch.ones(21)], r"parameters: expected float32 of"),
        (6, [torch.ones(20, 5), torch.ones(21, 7), torch.ones(20), torch.ones(21)], "parameters: expected weights"),
    ],
)
def test_operators_check_what_they_are_given(place: int, value: Any, message: str) -> None:
    call = list(arguments(gt.GRU(5, 7), sequence(), keep=False))
    call[place] = value
    with pytest.raises(ValueError, match=message):
        torch.ops.gru_native.recurrent(*call)


def test_a_tape_of_another_call_is_refused() -> None:
    call = arguments(gt.GRU(5, 7).requires_grad_(False), sequence(), keep=True)
    output, _, _, tape = torch.ops.gru_native.recurrent(*call)
    other = torch.ops.gru_native.recurrent(*arguments(gt.GRU(5, 7), sequence(), keep=True, reset=RESET))[3]
    for bad, message in (
        (tape[:-64], "tape: expected"),
        (tape.zero_(), "tape: expected what gn_forward filled"),
        (other.detach(), "tape: expected"),
    ):
        with pytest.raises(ValueError, match=message):
            torch.ops.gru_native.recurrent_backward(output, None, None, output, bad, True, True, *call[:-1])


# ---- What PyTorch computes, and what is not plain -------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_pytorch_computes_breaks_the_graph(compiler: Any) -> None:
    model, x = torch.nn.Sequential(gt.LSTM(5, 7)), sequence()
    compiled = torch.compile(model, backend="aot_eager")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        compiled(x)[0].sum().backward()
    torch.compile(gt.LSTM(5, 7).bfloat16(), backend="aot_eager")(x.bfloat16())[0].sum().backward()


def test_unaligned_tensors_are_copied() -> None:
    module, x = gt.GRU(5, 7), sequence()
    memory = bytearray(x.numel() * 4 + 1)
    memory[1:] = x.numpy().tobytes()
    moved = torch.frombuffer(memory, dtype=torch.float32, offset=1, count=x.numel()).view(x.shape)
    assert moved.data_ptr() % 4
    torch.testing.assert_close(module(moved)[0], module(x)[0], rtol=0, atol=0)


@pytest.mark.parametrize("kind", [gt.GRU, gt.LSTM])
def test_a_frozen_module_computes_with_parameters_that_are_put_in_place(kind: Any) -> None:
    module, x = kind(5, 7).freeze(), sequence()
    zeros = {name: torch.zeros_like(own) for name, own in module.named_parameters()}
    assert float(torch.func.functional_call(module, zeros, (x,))[0].abs().max()) == 0
    assert float(module(x)[0].detach().abs().max()) > 0
    module.weight_hh_l0 = torch.nn.Parameter(torch.zeros_like(module.weight_hh_l0))
    frozen = kind(5, 7)
    frozen.load_state_dict(module.state_dict())
    torch.testing.assert_close(module(x)[0], frozen(x)[0])


def test_restoring_names_what_it_cannot_give_back() -> None:
    model = torch.nn.Sequential(gt.GRU(5, 7), torch.nn.utils.parametrizations.weight_norm(gt.GRU(5, 7), "weight_hh_l0"))
    with pytest.raises(ValueError, match="got 1 of ParametrizedGRU"):
        gt.restore(model)
    assert type(model[0]) is gt.GRU
    assert "frozen=True" in repr(gt.GRU(5, 7).freeze())


@pytest.mark.parametrize("lengths", ["abc", {1: 2}, [None, 1, 2], [2**70, 1, 1], [1.5, 2, 3], [True, True, False]])
def test_lengths_of_another_kind_are_refused(lengths: Any) -> None:
    with pytest.raises(TypeError, match="lengths: expected"):
        gt.GRU(5, 7)(sequence(), lengths=lengths)


@pytest.mark.parametrize("shape", [(7, 3), (3, 4), (4,)])
def test_resets_of_a_packed_sequence_have_its_shape(shape: tuple[int, ...]) -> None:
    packed = torch.nn.utils.rnn.pack_padded_sequence(sequence(), [2, 4, 3], enforce_sorted=False)
    with pytest.raises(ValueError, match=r"reset: expected shape \(T, B\) = \(4, 3\)"):
        gt.GRU(5, 7)(packed, reset=torch.zeros(shape, dtype=torch.bool))


def test_a_default_device_changes_nothing() -> None:
    x = torch.randn(5, 3, 8)
    layer = gt.GRU(8, 16, 2, dropout=0.5, recurrent_dropout=0.1, zoneout=0.1)
    torch.manual_seed(0)
    expected = layer(x, lengths=[5, 2, 3])[0]
    torch.manual_seed(0)
    with torch.device("meta"):
        found = layer(x, lengths=[5, 2, 3])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("what", ["lengths", "reset", "h_0", "parameters"])
def test_tensors_of_other_devices_are_refused_in_a_transform_too(what: str) -> None:
    layer, x = gt.GRU(8, 16), torch.randn(1, 5, 3, 8)
    h_0, named = (
        torch.zeros(1, 3, 16),
        {"lengths": torch.tensor([5, 2, 3]), "reset": torch.zeros(5, 3, dtype=torch.bool)},
    )
    if what == "parameters":
        layer = layer.to("meta")
    elif what == "h_0":
        h_0 = h_0.to("meta")
    else:
        named[what] = named[what].to("meta")
    with pytest.raises(ValueError, match="expected a tensor on the CPU, where the input is, got one on meta"):
        torch.func.vmap(lambda row: layer(row, h_0, **named)[0])(x)


@pytest.mark.parametrize("transform", [torch.func.hessian, lambda f: torch.func.jacfwd(torch.func.grad(f))])
def test_second_gradients_by_forward_mode_are_refused(transform: Any) -> None:
    gru = gt.GRU(3, 4)
    with pytest.raises(NotImplementedError, match="forward-mode"):
        transform(lambda x: gru(x)[0].sum())(torch.randn(2, 1, 3))


def test_an_exported_program_under_autocast() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), gt.GRU(4, 5))
    x = torch.randn(6, 2, 3)
    program = torch.export.export(model, (x,)).module()
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = program(x)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, model(x)[0], rtol=0.05, atol=0.05)


def test_a_program_that_was_exported_without_gradients() -> None:
    x = torch.randn(6, 2, 3)
    with torch.no_grad():
        program = torch.export.export(gt.GRU(3, 4), (x,)).module()
    with pytest.raises(RuntimeError, match="export a program that is to be trained with gradients enabled"):
        program(x)[0].sum().backward()
