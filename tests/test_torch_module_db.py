"""PyTorch's own list of modules and of what they are called with: ours keep its promises in the places of its own."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch_cases
from torch_cases import (
    FORWARD,
    OURS,
    assert_same,
    assert_same_gradients,
    each_dtype,
    each_module,
    gradients,
    mapped,
    tensors,
    torch,
)

pytest.importorskip("expecttest", reason="torch.testing imports it")

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


@pytest.fixture(autouse=True)
def _same_values_each_time() -> None:
    torch.manual_seed(1)


@cache
def entries() -> dict[str, Any]:
    """Load the list, which takes seconds, and return its entries for recurrent modules by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.backends, "disable_global_flags", lambda: None)  # for all other tests
        from torch.testing._internal.common_modules import module_db

    return {info.module_cls.__name__: info for info in module_db if info.module_cls.__name__ in OURS}


def samples(name: str, dtype: str, *, packed: bool = False, requires_grad: bool = False) -> Iterator[Any]:
    """Yield an entry's samples: what a module is made with and called with."""
    others = {"with_packed_sequence": True} if packed and not name.endswith("Cell") else {}
    info = entries()[name]
    yield from info.module_inputs_func(
        info, device="cpu", dtype=getattr(torch, dtype), requires_grad=requires_grad, training=True, **others
    )


def pair(name: str, sample: Any, dtype: str) -> tuple[Any, Any]:
    own = sample.constructor_input
    return torch_cases.pair(name, *own.args, **own.kwargs, dtype=dtype)


def built(name: str, sample: Any, dtype: str) -> Any:
    return pair(name, sample, dtype)[0]


def test_the_list_has_all_recurrent_modules() -> None:
    assert entries().keys() == OURS.keys()
    from torch.testing._internal.common_modules import module_db

    others = {info.module_cls.__name__ for info in module_db} - OURS.keys()
    assert not [name for name in others if re.search("RNN|GRU|LSTM", name)]


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@each_dtype
@each_module
def test_forward(name: str, dtype: str, training: bool) -> None:
    for sample in samples(name, dtype, packed=True):
        ours, theirs = (module.train(training) for module in pair(name, sample, dtype))
        call = sample.forward_input
        results = ours(*call.args, **call.kwargs)
        assert_same(results, theirs(*call.args, **call.kwargs), FORWARD[dtype])
        if sample.reference_fn is not None and isinstance(call.args[0], torch.Tensor):
            assert_same(results, sample.reference_fn(ours, *call.args, **call.kwargs), FORWARD[dtype])


@each_dtype
@each_module
def test_gradients(name: str, dtype: str) -> None:
    for sample in samples(name, dtype, packed=True, requires_grad=True):
        ours, theirs = pair(name, sample, dtype)
        call = sample.forward_input.args
        assert_same_gradients(gradients(ours, *call), gradients(theirs, *call), dtype)


@each_module
def test_gradients_beside_finite_differences(name: str) -> None:
    for sample in samples(name, "float64", requires_grad=True):
        module = built(name, sample, "float64")
        call = sample.forward_input.args
        given = [*tensors(call), *module.parameters()]
        names = [name for name, _ in module.named_parameters()]

        def run(*values: Any, module: Any = module, call: Any = call, names: list[str] = names) -> tuple[Any, ...]:
            rest = iter(values)
            arguments = mapped(lambda _: next(rest), call)
            return tuple(tensors(torch.func.functional_call(module, dict(zip(names, rest, strict=True)), arguments)))

        assert torch.autograd.gradcheck(run, given)


@each_module
def test_gradients_of_gradients_are_refused(name: str) -> None:
    sample = next(samples(name, "float64", requires_grad=True))
    module = built(name, sample, "float64")
    loss = tensors(module(*sample.forward_input.args))[0].sum()
    found = torch.autograd.grad(loss, list(module.parameters()), create_graph=True)
    with pytest.raises(NotImplementedError, match="PyTorch's own modules have them"):
        torch.autograd.grad(found[0].sum(), list(module.parameters()))


@each_dtype
@each_module
def test_arguments_that_are_not_contiguous(name: str, dtype: str) -> None:
    def strided(tensor: Any) -> Any:
        found = torch.testing._internal.common_utils.noncontiguous_like(tensor)
        assert not found.is_contiguous()
        return found.detach().requires_grad_(tensor.requires_grad)

    for sample in samples(name, dtype, requires_grad=True):
        ours, theirs = pair(name, sample, dtype)
        call = sample.forward_input.args
        expected = gradients(theirs, *call)
        others = mapped(strided, call)
        assert_same(ours(*others), theirs(*call), FORWARD[dtype])
        assert_same_gradients(gradients(ours, *others), expected, dtype)
        for parameter in ours.parameters():
            parameter.data = strided(parameter.data)
        assert_same_gradients(gradients(ours, *call), expected, dtype)


@each_dtype
@each_module
def test_factory_arguments(name: str, dtype: str) -> None:
    for sample in samples(name, dtype):
        own = sample.constructor_input
        for device in ("cpu", "meta"):
            module = OURS[name](*own.args, **own.kwargs, device=device, dtype=getattr(torch, dtype))
            assert {(str(each.device), str(each.dtype)) for each in module.parameters()} == {(device, f"torch.{dtype}")}


@each_module
def test_representation(name: str) -> None:
    for sample in samples(name, "float32"):
        ours, theirs = pair(name, sample, "float32")
        assert repr(ours) == repr(theirs)


@each_dtype
@each_module
def test_saved_whole(name: str, dtype: str) -> None:
    for sample in samples(name, dtype):
        module = built(name, sample, dtype)
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        found = torch.load(file, weights_only=False)
        assert type(found) is OURS[name]
        call = sample.forward_input.args
        assert all(map(torch.equal, tensors(found(*call)), tensors(module(*call))))


@each_dtype
@each_module
def test_state_dict_both_ways(name: str, dtype: str) -> None:
    for sample in samples(name, dtype):
        ours, theirs = pair(name, sample, dtype)
        torch.nn.init.uniform_(next(ours.parameters()))
        theirs.load_state_dict(ours.state_dict())
        assert list(ours.state_dict()) == list(theirs.state_dict())
        call = sample.forward_input.args
        assert_same(ours(*call), theirs(*call), FORWARD[dtype])


@pytest.mark.parametrize("swap", [False, True], ids=["data", "swap_tensors"])
@each_module
def test_moves(name: str, swap: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for sample in samples(name, "float64"):
        monkeypatch.setattr(torch.__future__, "_swap_module_params_on_conversion", False)
        ours, theirs = pair(name, sample, "float32")
        monkeypatch.setattr(torch.__future__, "_swap_module_params_on_conversion", swap)
        before = list(ours.parameters())
        for parameter in before:
            parameter.grad = torch.ones_like(parameter)
        for module in (ours, theirs):
            module.to(torch.float64).to("cpu").float().double()
        assert all(own is other for own, other in zip(ours.parameters(), before, strict=True))
        assert {each.grad.dtype for each in ours.parameters()} == {torch.float64}
        call = sample.forward_input.args
        assert_same(ours(*call), theirs(*call), "float64")


@each_module
def test_moves_to_a_device_without_memory_and_back(name: str) -> None:
    for sample in samples(name, "float32"):
        ours, theirs = pair(name, sample, "float32")
        state = ours.state_dict()
        for module in (ours, theirs):
            module.to("meta")
        call = mapped(lambda each: each.to("meta"), sample.forward_input.args)
        for own, expected in zip(tensors(ours(*call)), tensors(theirs(*call)), strict=True):
            assert (own.shape, own.dtype, own.device) == (expected.shape, expected.dtype, expected.device)
        for module in (ours, theirs):
            module.to_empty(device="cpu").load_state_dict(state)
        call = sample.forward_input.args
        assert_same(ours(*call), theirs(*call), FORWARD["float32"])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@each_module
def test_other_dtypes_are_computed_by_torch(name: str, dtype: str) -> None:
    for sample in samples(name, dtype, packed=True):
        ours, theirs = pair(name, sample, dtype)
        call = sample.forward_input.args
        for own, expected in zip(tensors(ours(*call)), tensors(theirs(*call)), strict=True):
            assert own.dtype == expected.dtype
            assert torch.equal(own, expected)


@each_module
def test_a_module_asks_for_its_mode_only_where_modes_differ(name: str) -> None:
    info = entries()[name]
    for sample in samples(name, "float32"):
        module = built(name, sample, "float32")
        del module.training
        if info.train_and_eval_differ:
            with pytest.raises(AttributeError, match="training"):
                module(*sample.forward_input.args)
        else:
            module(*sample.forward_input.args)


@each_dtype
@each_module
def test_errors(name: str, dtype: str) -> None:
    info = entries()[name]
    inputs = info.module_error_inputs_func(
        info, device="cpu", dtype=getattr(torch, dtype), requires_grad=False, training=True
    )
    for wrong in inputs:
        sample, own = wrong.module_error_input, wrong.module_error_input.constructor_input

        def run(sample: Any = sample, own: Any = own) -> Any:
            return OURS[name](*own.args, **own.kwargs)(*sample.forward_input.args, **sample.forward_input.kwargs)

        with pytest.raises(wrong.error_type, match=wrong.error_regex) as raised:
            run()
        assert raised.value.__context__ is None
