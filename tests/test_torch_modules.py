"""The modules for PyTorch in the places of its own: results, errors, what is drawn, and all that is done to modules."""

from __future__ import annotations

import copy
import io
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close, assert_gradient

torch = pytest.importorskip("torch")

from torch.nn.utils import parametrizations, parametrize, prune  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence  # noqa: E402
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
from gru_native import nn  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")


@pytest.fixture(autouse=True)
def _same_values_each_time() -> None:
    torch.manual_seed(1)


# ---- Results ---------------------------------------------------------------------------------------------------------

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"num_layers": 3},
    {"bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "bias": False},
]
KINDS = [("GRU", {}), ("LSTM", {}), ("LSTM", {"proj_size": 3}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})]


def stack_call(module: Any, dtype: str, batched: bool, states: bool) -> list[Any]:
    """Draw arguments for a stack of 5 inputs: 6 steps of 4 rows."""
    kind, batch = getattr(torch, dtype), (4,) if batched else ()
    x = torch.randn(6, *batch, 5, dtype=kind)
    if module.batch_first and batched:
        x = x.transpose(0, 1)
    layers = module.num_layers * (1 + module.bidirectional)
    h = torch.randn(layers, *batch, module.proj_size or module.hidden_size, dtype=kind)
    c = torch.randn(layers, *batch, module.hidden_size, dtype=kind)
    call = [x, (h, c) if module.mode == "LSTM" else h][: 1 + states]
    return mapped(lambda each: each.detach().requires_grad_(), call)


@each_dtype
@pytest.mark.parametrize("states", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "steps first"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("name", "own"), KINDS, ids=[f"{name} {own}" for name, own in KINDS])
def test_stacks(
    name: str, own: dict[str, Any], options: dict[str, Any], batch_first: bool, batched: bool, states: bool, dtype: str
) -> None:
    ours, theirs = pair(name, 5, 7, batch_first=batch_first, **options, **own, dtype=dtype)
    call = stack_call(ours, dtype, batched, states)
    assert_same(ours(*call), theirs(*call), FORWARD[dtype])
    assert_same_gradients(gradients(ours, *call), gradients(theirs, *call), dtype)


@each_dtype
@pytest.mark.parametrize("states", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("batched", [True, False], ids=["batched", "unbatched"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@each_cell
def test_cells(name: str, bias: bool, batched: bool, states: bool, dtype: str) -> None:
    ours, theirs = pair(name, 5, 7, bias=bias, dtype=dtype)
    call = mapped(lambda each: (each if batched else each[0]).detach().requires_grad_(), call_of(name, dtype=dtype))
    call = call[: 1 + states]
    assert_same(ours(*call), theirs(*call), FORWARD[dtype])
    assert_same_gradients(gradients(ours, *call), gradients(theirs, *call), dtype)


def packed_of(sorted_: bool, batch_first: bool, dtype: str) -> Any:
    x = torch.randn(6, 4, 5, dtype=getattr(torch, dtype))
    x = x.transpose(0, 1) if batch_first else x
    lengths = [6, 5, 5, 1] if sorted_ else [5, 1, 6, 5]
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=sorted_)
    packed.data.requires_grad_()
    return packed


@each_dtype
@pytest.mark.parametrize("states", [True, False], ids=["state", "zeros"])
@pytest.mark.parametrize("is_sorted", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, *OPTIONS[2:]], ids=str)
@pytest.mark.parametrize(("name", "own"), KINDS, ids=[f"{name} {own}" for name, own in KINDS])
def test_packed_sequences(
    name: str, own: dict[str, Any], options: dict[str, Any], is_sorted: bool, states: bool, dtype: str
) -> None:
    ours, theirs = pair(name, 5, 7, **options, **own, dtype=dtype)
    call = [packed_of(is_sorted, ours.batch_first, dtype), *stack_call(ours, dtype, True, True)[1 : 1 + states]]
    (output, state), expected = ours(*call), theirs(*call)
    assert isinstance(output, PackedSequence)
    assert output.is_pinned() is False
    assert_same((output, state), expected, FORWARD[dtype])
    for part, other in zip(output[1:], expected[0][1:], strict=True):
        assert (part is None and other is None) or torch.equal(part, other)
    assert_same_gradients(gradients(ours, *call), gradients(theirs, *call), dtype)


def test_packed_sequences_of_one_step_and_of_one_row() -> None:
    for sequences in ([torch.randn(1, 5)] * 3, [torch.randn(6, 5)], [torch.randn(1, 5)]):
        ours, theirs = pair("GRU", 5, 7, bidirectional=True)
        packed = pack_sequence(sequences, enforce_sorted=False)
        assert_same(ours(packed), theirs(packed), FORWARD["float32"])


@each_module
def test_rows_that_are_not_there(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    call = call_of(name, batch=0, grad=True)
    assert_same(ours(*call), theirs(*call), "float32_forward")
    assert_same_gradients(gradients(ours, *call), gradients(theirs, *call), "float32")


@each_stack
def test_no_steps_are_refused_as_pytorch_does(name: str) -> None:
    x = torch.randn(0, 3, 5)
    for module in (OURS[name](5, 7), getattr(torch.nn, name)(5, 7)):
        with pytest.raises(RuntimeError, match="sequence length"):
            module(x)
    with pytest.raises(ValueError, match="input: expected at least one step"):
        OURS[name](5, 7)(x, lengths=[0, 0, 0])


@each_module
def test_calls_by_the_names_of_arguments(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    x, state = call_of(name)
    assert_same(ours(input=x, hx=state), theirs(input=x, hx=state), FORWARD["float32"])
    if name.startswith("LSTM"):
        assert_same(ours(x, list(state)), theirs(x, list(state)), FORWARD["float32"])


# ---- Errors ----------------------------------------------------------------------------------------------------------


def outcome(call: Callable[[], Any]) -> tuple[type, str]:
    """Return the type and the text of a call's error, which comes alone."""
    with pytest.raises(Exception) as raised:  # noqa: PT011  it is compared with another one
        call()
    assert raised.value.__context__ is None
    return type(raised.value), str(raised.value)


def assert_same_error(name: str, *call: Any, **options: Any) -> None:
    ours, theirs = pair(name, 5, 7, **options)
    assert outcome(lambda: ours(*call)) == outcome(lambda: theirs(*call))


R = torch.randn
WRONG_INPUTS: dict[str, Callable[[], Any]] = {
    "one axis": lambda: R(5),
    "four axes": lambda: R(2, 4, 3, 5),
    "no axis": lambda: R(()),
    "input_size": lambda: R(4, 3, 6),
    "input_size, unbatched": lambda: R(4, 6),
    "float64": lambda: R(4, 3, 5).double(),
    "float16": lambda: R(4, 3, 5).half(),
    "whole numbers": lambda: torch.ones(4, 3, 5, dtype=torch.int64),
    "bool": lambda: torch.ones(4, 3, 5, dtype=torch.bool),
    "complex": lambda: R(4, 3, 5) + 0j,
    "sparse": lambda: R(4, 3, 5).to_sparse(),
    "sparse rows": lambda: R(4, 5).to_sparse_csr(),
    "None": lambda: None,
    "list": lambda: [[1.0, 2.0]],
    "array": lambda: R(4, 3, 5).numpy(),
}


@pytest.mark.filterwarnings("ignore:Sparse:UserWarning")
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("wrong", WRONG_INPUTS)
@each_stack
def test_errors_of_inputs(name: str, wrong: str, batch_first: bool) -> None:
    assert_same_error(name, WRONG_INPUTS[wrong](), batch_first=batch_first)


# What goes with an input of (4, 3, 5), or of (4, 5).
WRONG_STATES: dict[str, tuple[bool, Callable[[], Any]]] = {
    "two axes": (True, lambda: R(3, 7)),
    "four axes": (True, lambda: R(1, 1, 3, 7)),
    "layers": (True, lambda: R(2, 3, 7)),
    "batch": (True, lambda: R(1, 4, 7)),
    "one row for all": (True, lambda: R(1, 1, 7)),
    "hidden_size": (True, lambda: R(1, 3, 8)),
    "float64": (True, lambda: R(1, 3, 7).double()),
    "float16": (True, lambda: R(1, 3, 7).half()),
    "whole numbers": (True, lambda: torch.ones(1, 3, 7, dtype=torch.int64)),
    "meta": (True, lambda: torch.empty(1, 3, 7, device="meta")),
    "array": (True, lambda: R(1, 3, 7).numpy()),
    "text": (True, lambda: "h"),
    "False": (True, lambda: False),
    "unbatched, three axes": (False, lambda: R(1, 1, 7)),
    "unbatched, one axis": (False, lambda: R(7)),
    "unbatched, layers": (False, lambda: R(2, 7)),
}


@pytest.mark.parametrize("wrong", WRONG_STATES)
@each_stack
def test_errors_of_states(name: str, wrong: str) -> None:
    batched, make = WRONG_STATES[wrong]
    x, h = R(*(4, 3, 5) if batched else (4, 5)), make()
    assert_same_error(name, x, h)
    if name == "LSTM":
        right = R(1, 3, 7) if batched else R(1, 7)
        for state in ((h, right), (right, h), [h, h], (h,), (h, h, h), (right, None), (None, right), (None, None)):
            assert_same_error(name, x, state)


CELL_INPUTS: dict[str, Callable[[], Any]] = {
    "none": lambda: R(3, 5),
    "none, unbatched": lambda: R(5),
    "three axes": lambda: R(1, 3, 5),
    "no axis": lambda: R(()),
    "input_size": lambda: R(3, 6),
    "float64": lambda: R(3, 5).double(),
    "whole numbers": lambda: torch.ones(3, 5, dtype=torch.int64),
    "array": lambda: R(3, 5).numpy(),
}
CELL_STATES: dict[str, Callable[[], Any]] = {
    "three axes": lambda: R(1, 3, 7),
    "no axis": lambda: R(()),
    "batch": lambda: R(4, 7),
    "hidden_size": lambda: R(3, 8),
    "hidden_size, unbatched": lambda: R(8),
    "float64": lambda: R(3, 7).double(),
    "array": lambda: R(3, 7).numpy(),
    "text": lambda: "hc",
    "False": lambda: False,
}


@pytest.mark.parametrize("state", CELL_STATES)
@pytest.mark.parametrize("wrong", CELL_INPUTS)
@each_cell
def test_errors_of_cells(name: str, wrong: str, state: str) -> None:
    x, h = CELL_INPUTS[wrong](), CELL_STATES[state]()
    # PyTorch takes a c of another dtype beside a right h.
    others = [] if state == "float64" else [(R(3, 7), h)]
    states = [(h, h), (h, R(3, 7)), (h,), (h, h, h), *others] if name == "LSTMCell" else [h]
    for each in states:
        assert_same_error(name, x, each)


@pytest.mark.parametrize("wrong", ["input_size", "float64", "float16", "h batch", "h layers", "h float64", "h text"])
@pytest.mark.parametrize("name", ["GRU", "RNN"])
def test_errors_of_packed_sequences(name: str, wrong: str) -> None:
    packed = pack_padded_sequence(R(4, 3, 6 if wrong == "input_size" else 5), torch.tensor([4, 2, 1]))
    packed = packed.to(getattr(torch, wrong)) if wrong.startswith("float") else packed
    state = {"h batch": R(1, 4, 7), "h layers": R(2, 3, 7), "h float64": R(1, 3, 7).double(), "h text": "h"}.get(wrong)
    assert_same_error(name, packed, state)


def test_errors_of_packed_sequences_for_an_lstm_which_pytorch_does_not_check() -> None:
    packed = pack_padded_sequence(R(4, 3, 5), torch.tensor([4, 2, 1]))
    module, right = gt.LSTM(5, 7), R(1, 3, 7)
    with pytest.raises(RuntimeError, match=r"Expected hidden\[1\] size \(1, 3, 7\), got \[2, 3, 7\]"):
        module(packed, (right, R(2, 3, 7)))
    with pytest.raises(RuntimeError, match="input.size"):
        module(packed._replace(data=R(7, 6)), (right, right))
    with pytest.raises(ValueError, match="does not match weight dtype"):
        module(packed.double(), (right, right))


WRONG_OPTIONS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((5,), {}),
    ((5, 0), {}),
    ((5, -1), {}),
    ((0, 7), {}),
    ((5.0, 7), {}),
    ((5, 7, 0), {}),
    ((5, 7), {"dropout": 1.5, "num_layers": 2}),
    ((5, 7), {"dropout": True}),
    ((5, 7), {"bias": 1}),
    ((5, 7), {"batch_first": "yes"}),
    ((5, 7), {"proj_size": 7}),
    ((5, 7), {"proj_size": -1}),
    ((5, 7), {"nonlinearity": "cube"}),
    ((5, 7), {"no_such_option": 1}),
    ((5, 7), {"dtype": torch.int64}),
]


@pytest.mark.parametrize(("arguments", "options"), WRONG_OPTIONS, ids=str)
@each_stack
def test_errors_of_options(name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    found, expected = (
        outcome(lambda kind=kind: kind(*arguments, **options)) for kind in (OURS[name], getattr(torch.nn, name))
    )
    assert found == expected


@each_cell
def test_errors_of_options_of_cells(name: str) -> None:
    for arguments, options in [((), {}), ((5,), {}), ((5, -1), {}), ((5, 7), {"no_such_option": 1})]:
        found, expected = (
            outcome(lambda kind=kind: kind(*arguments, **options))  # noqa: B023  called at once
            for kind in (OURS[name], getattr(torch.nn, name))
        )
        assert found == expected


@pytest.mark.parametrize("option", ["zoneout", "recurrent_dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "half", None, [0.1]])
def test_errors_of_our_own_options(option: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"{option}: expected .*, got "):
        gt.GRU(5, 7, **{option: value})
    with pytest.raises(TypeError, match="unexpected keyword argument 'zoneout'"):
        gt.LSTM(5, 7, zoneout=0.1)


def test_errors_of_what_a_gru_can_be() -> None:
    for kind in (gt.GRU, gt.GRUCell):
        with pytest.raises((TypeError, ValueError), match="reset_after"):
            kind(5, 7, layer_norm=True, reset_after=False)
        for option in ("layer_norm", "reset_after"):
            with pytest.raises(TypeError, match=f"{option}: expected .*, got "):
                kind(5, 7, **{option: "yes"})
    with pytest.raises(TypeError, match="layer_norm"):
        gt.LSTM(5, 7, layer_norm=True)


def test_warnings_of_options() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last") as ours:
        gt.GRU(5, 7, dropout=0.5)
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last") as theirs:
        torch.nn.GRU(5, 7, dropout=0.5)
    assert [str(each.message) for each in ours] == [str(each.message) for each in theirs]


RIGHT_RESET = torch.zeros(4, 3, dtype=torch.bool)
WRONG_STEPS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"lengths": torch.tensor([4, 4])}, ValueError, r"lengths: expected \(3,\) of int64"),
    ({"lengths": torch.tensor(4)}, ValueError, "lengths: expected"),
    ({"lengths": torch.tensor([[4, 4, 4]])}, ValueError, "lengths: expected"),
    ({"lengths": [4, 4, 5]}, ValueError, "lengths: expected"),
    ({"lengths": [4, -1, 2]}, ValueError, "lengths: expected"),
    ({"lengths": torch.tensor([4.0, 3, 2])}, TypeError, "lengths: expected whole numbers, got torch.float32"),
    ({"lengths": torch.tensor([True, True, True])}, TypeError, "lengths: expected whole numbers, got torch.bool"),
    ({"lengths": torch.empty(3, dtype=torch.int64, device="meta")}, ValueError, "lengths: expected"),
    ({"reset": RIGHT_RESET.T}, ValueError, r"reset: expected bool of shape \(4, 3\), got"),
    ({"reset": RIGHT_RESET[0]}, ValueError, "reset: expected"),
    ({"reset": RIGHT_RESET[..., None]}, ValueError, "reset: expected"),
    ({"reset": RIGHT_RESET.float()}, TypeError, "reset: expected bool, got torch.float32"),
    ({"reset": RIGHT_RESET.int().tolist()}, TypeError, "reset: expected bool, got torch.int64"),
    ({"reset": RIGHT_RESET.to("meta")}, ValueError, "reset: expected"),
]


@pytest.mark.parametrize(("steps", "kind", "message"), WRONG_STEPS)
@each_stack
def test_errors_of_lengths_and_resets(name: str, steps: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as raised:
        OURS[name](5, 7)(R(4, 3, 5), **steps)
    assert raised.value.__context__ is None


def test_errors_of_lengths_and_resets_elsewhere() -> None:
    module = gt.GRU(5, 7)
    with pytest.raises(ValueError, match="lengths: expected none for x without a batch axis"):
        module(R(4, 5), lengths=[4])
    packed = pack_padded_sequence(R(4, 3, 5), torch.tensor([4, 2, 1]))
    with pytest.raises(ValueError, match="lengths: expected None for a PackedSequence"):
        module(packed, lengths=[4, 2, 1])
    wide = torch.zeros(4, 5, dtype=torch.bool)
    for reset in (RIGHT_RESET.T, RIGHT_RESET[0], RIGHT_RESET[:3], RIGHT_RESET[:, :2], RIGHT_RESET[..., None], wide):
        for order in (None, torch.tensor([1, 0, 2])):
            with pytest.raises(ValueError, match=r"reset: expected shape \(T, B\) = \(4, 3\), got \("):
                module(packed._replace(sorted_indices=order, unsorted_indices=order), reset=reset)
    with pytest.raises(ValueError, match="input: expected 3 axes, the last one of 5"):
        module(R(4, 3, 6), reset=RIGHT_RESET)


# ---- What PyTorch computes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("grad", [True, False])
@each_module
def test_other_dtypes(name: str, grad: bool, dtype: str) -> None:
    ours, theirs = pair(name, 5, 7, dtype=dtype)
    call = call_of(name, dtype=dtype, grad=grad)
    with torch.set_grad_enabled(grad):
        assert all(map(torch.equal, tensors(ours(*call)), tensors(theirs(*call))))
    if grad:
        assert all(map(torch.equal, gradients(ours, *call), gradients(theirs, *call)))


@each_module
def test_autocast(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    call = call_of(name)
    with torch.autocast("cpu", torch.bfloat16):
        results, expected = tensors(ours(*call)), tensors(theirs(*call))
        assert all(map(torch.equal, results, expected))
        assert [each.dtype for each in results] == [each.dtype for each in expected]
        with torch.autocast("cpu", enabled=False):
            assert_same(ours(*call), theirs(*call), FORWARD["float32"])


@pytest.mark.parametrize("autocast", [True, False], ids=["autocast", "bfloat16"])
@each_stack
def test_dropout_where_pytorch_computes_is_pytorchs(name: str, autocast: bool) -> None:
    ours, theirs = pair(name, 5, 7, num_layers=2, dropout=0.5, dtype="float32" if autocast else "bfloat16")
    x = R(4, 3, 5, dtype=ours.weight_ih_l0.dtype)
    results = []
    for module in (ours, theirs):
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            results.append(module(x)[0])
    assert torch.equal(*results)


def test_other_devices() -> None:
    ours, theirs = pair("GRU", 5, 7, 2, dropout=0.5, bidirectional=True)
    for module in (ours, theirs):
        module.to("meta")
    results, expected = ours(R(4, 3, 5, device="meta")), theirs(R(4, 3, 5, device="meta"))
    assert [each.shape for each in tensors(results)] == [each.shape for each in tensors(expected)]
    packed = pack_padded_sequence(R(4, 3, 5), torch.tensor([4, 2, 1]))
    assert outcome(lambda: ours(R(4, 3, 5))) == outcome(lambda: theirs(R(4, 3, 5)))
    assert outcome(lambda: ours(packed, R(4, 4, 7))) == outcome(lambda: theirs(packed, R(4, 4, 7)))


# Options, arguments, and the message of the first of them.
LACKING: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"zoneout": 0.5}, {}, "zoneout: expected none for torch.bfloat16 on cpu, which PyTorch computes, got 0.5"),
    ({"recurrent_dropout": 0.5}, {}, "recurrent_dropout: expected"),
    ({"layer_norm": True}, {}, "layer_norm: expected .*, got True"),
    ({"reset_after": False}, {}, "reset_after: expected .*, got False"),
    ({}, {"lengths": [4, 2, 1]}, r"lengths: expected .*, got shape \(3,\)"),
    ({}, {"reset": RIGHT_RESET}, r"reset: expected .*, got shape \(4, 3\)"),
]


@pytest.mark.parametrize("where", ["bfloat16", "autocast", "meta"])
@pytest.mark.parametrize(("options", "steps", "message"), LACKING)
def test_what_pytorch_lacks_is_refused_where_it_computes(
    options: dict[str, Any], steps: dict[str, Any], message: str, where: str
) -> None:
    module, x = gt.GRU(5, 7, **options), R(4, 3, 5)
    if where != "autocast":
        kind = "meta" if where == "meta" else torch.bfloat16
        module, x = module.to(kind), x.to(kind)
    shown = {"bfloat16": "bfloat16 on cpu", "autocast": "float32 on cpu", "meta": "float32 on meta"}[where]
    message = message.replace("bfloat16 on cpu", shown)
    packed = pack_padded_sequence(x, torch.tensor([4, 2, 1]))
    for call in (x, packed)[: 1 if "lengths" in steps else 2]:
        with torch.autocast("cpu", enabled=where == "autocast"), pytest.raises(ValueError, match=message) as raised:
            module(call, **steps)
        assert raised.value.__context__ is None


@pytest.mark.parametrize("options", [{"layer_norm": True}, {"reset_after": False}], ids=str)
def test_what_pytorch_lacks_is_refused_of_cells_where_it_computes(options: dict[str, Any]) -> None:
    module = gt.GRUCell(5, 7, **options).half()
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected none for torch.float16"):
        module(R(3, 5).half())


# ---- What PyTorch lacks ----------------------------------------------------------------------------------------------

BEYOND: dict[str, tuple[str, dict[str, Any]]] = {
    "GRU": ("GRU", {"num_layers": 2}),
    "GRU both ways": ("GRU", {"bidirectional": True, "num_layers": 2}),
    "layer_norm": ("GRU", {"layer_norm": True, "num_layers": 2}),
    "layer_norm, no bias": ("GRU", {"layer_norm": True, "bias": False, "bidirectional": True}),
    "reset_after": ("GRU", {"reset_after": False, "bidirectional": True}),
    "zoneout": ("GRU", {"zoneout": 0.3}),
    "LSTM": ("LSTM", {"num_layers": 2, "bidirectional": True}),
    "projected": ("LSTM", {"proj_size": 3}),
    "RNN": ("RNN", {"num_layers": 2}),
}


def steps_of(which: str, batch_first: bool = False) -> dict[str, Any]:
    """Return lengths and resets of 6 steps of 4 rows."""
    reset = torch.zeros(6, 4, dtype=torch.bool)
    reset[0, 1] = reset[3, 0] = reset[1:3, 2] = True
    both = {"lengths": torch.tensor([6, 0, 3, 5]), "reset": reset.T if batch_first else reset}
    return {name: value for name, value in both.items() if name in which}


@pytest.mark.parametrize("steps", ["", "lengths", "reset", "lengths, reset"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "steps first"])
@pytest.mark.parametrize("beyond", BEYOND)
def test_beside_this_packages_own_layers(beyond: str, batch_first: bool, steps: str) -> None:
    name, options = BEYOND[beyond]
    module = OURS[name](5, 7, batch_first=batch_first, **options, dtype=torch.float64).eval()
    layer = getattr(nn, name)(5, 7, batch_first=batch_first, **options, dtype="float64", seed=1)
    with torch.no_grad():
        for own in module.parameters():
            own.uniform_(-0.5, 0.5)
    layer.load_state_dict({key: own.numpy() for key, own in module.state_dict().items()})
    layer.eval()
    call, given = stack_call(module, "float64", True, True), steps_of(steps, batch_first)
    output, state = module(*call, **given)
    arrays = mapped(lambda each: each.detach().numpy(), call)
    (expected, final), tape = layer.forward(*arrays, **{key: each.numpy() for key, each in given.items()})
    assert_close(output.detach(), expected, "float64")
    for part, other in zip(tensors(state), final if isinstance(final, tuple) else [final], strict=True):
        assert_close(part.detach(), other, "float64")
    d_output, d_state = torch.randn_like(output), mapped(torch.randn_like, state)
    found = torch.autograd.grad(
        [output, *tensors(state)], [*tensors(call), *module.parameters()], [d_output, *tensors(d_state)]
    )
    (d_x, d_first), others = layer.backward(tape, d_output.numpy(), mapped(lambda each: each.numpy(), d_state))
    firsts = d_first if isinstance(d_first, tuple) else (d_first,)
    wanted = [d_x, *firsts, *(others[key] for key, _ in module.named_parameters())]
    for own, one in zip(found, wanted, strict=True):
        assert_gradient(own, one, "float64_gradient")


@pytest.mark.parametrize("options", [{"layer_norm": True}, {"reset_after": False}, {"layer_norm": True, "bias": False}])
def test_cells_beside_a_stack_of_one_step(options: dict[str, Any]) -> None:
    cell, stack = (kind(5, 7, **options, dtype=torch.float64) for kind in (gt.GRUCell, gt.GRU))
    stack.load_state_dict({f"{key}_l0": own for key, own in cell.state_dict().items()})
    x, h = call_of("GRUCell", dtype="float64", grad=True)
    assert_same(cell(x, h), stack(x[None], h[None])[0][0], "float64")
    assert_same_gradients(
        [each.squeeze() for each in gradients(cell, x, h)],
        [
            each.squeeze()
            for each in torch.autograd.grad(
                (stack(x[None], h[None])[0].flatten() * torch.linspace(0.5, 1.5, 21, dtype=torch.float64)).sum(),
                [x, h, *stack.parameters()],
            )
        ],
        "float64",
    )


@each_stack
def test_lengths_are_those_of_a_packed_sequence(name: str) -> None:
    module = OURS[name](5, 7, 2, bidirectional=True)
    x, lengths = R(6, 4, 5), torch.tensor([5, 1, 6, 5])
    packed, state = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(packed)
    assert_same(module(x, lengths=lengths), (expected, state), "float32_forward")
    assert_same(module(x, lengths=lengths.int()), (expected, state), "float32_forward")
    assert_same(module(x, lengths=lengths.tolist()), (expected, state), "float32_forward")
    x[5, 0] = float("nan")
    assert_same(module(x, lengths=lengths), (expected, state), "float32_forward")


@pytest.mark.parametrize("is_sorted", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("batch_first", [True, False], ids=["batch first", "steps first"])
@each_stack
def test_resets_of_a_packed_sequence(name: str, batch_first: bool, is_sorted: bool) -> None:
    module = OURS[name](5, 7, batch_first=batch_first)
    packed, reset = packed_of(is_sorted, batch_first, "float32"), torch.rand(6, 4) < 0.4
    x, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed, batch_first)
    reset = reset.T if batch_first else reset
    output, state = module(packed, reset=reset)
    expected = module(x, lengths=lengths, reset=reset)
    assert_same((torch.nn.utils.rnn.pad_packed_sequence(output, batch_first)[0], state), expected, "float32_forward")


@each_stack
def test_resets_are_a_loop_with_states_set_to_zero(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    x, state = call_of(name, grad=True)
    reset = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 1]], dtype=torch.bool)

    def looped(x: Any, state: Any) -> Any:
        outputs = []
        for step, begins in zip(x, reset, strict=True):
            state = mapped(lambda each, begins=begins: each.masked_fill(begins[:, None], 0), state)
            output, state = theirs(step[None], state)
            outputs.append(output)
        return torch.cat(outputs), state

    looped.parameters = theirs.parameters  # type: ignore[attr-defined]  as `gradients` asks for
    assert_same(ours(x, state, reset=reset), looped(x, state), FORWARD["float32"])
    assert_same_gradients(gradients(ours, x, state, reset=reset), gradients(looped, x, state), "float32")
    unbatched = ours(x[:, 0], mapped(lambda each: each[:, 0], state), reset=reset[:, 0])
    assert_same(unbatched[0], looped(x, state)[0][:, 0], FORWARD["float32"])
    assert_same(ours(x, state, reset=reset.tolist()), looped(x, state), FORWARD["float32"])


def test_gains_of_layer_normalization_begin_at_one_and_come_back_to_it() -> None:
    for module in (gt.GRU(5, 7, 2, bidirectional=True, layer_norm=True), gt.GRUCell(5, 7, layer_norm=True)):
        gains = {name: own for name, own in module.named_parameters() if name.startswith("gamma")}
        assert len(gains) == (8 if isinstance(module, gt.GRU) else 2)
        for _ in range(2):
            assert all(own.shape == (21,) and own.eq(1).all() for own in gains.values())
            for own in gains.values():
                own.data.fill_(3)
            module.reset_parameters()
    assert repr(gt.GRU(5, 7, layer_norm=True, zoneout=0.1)) == "GRU(5, 7, zoneout=0.1, layer_norm=True)"


# ---- What is drawn ---------------------------------------------------------------------------------------------------


def of_plain_cells(layers: int, units: int = 400, **options: Any) -> Any:
    """Return rectifiers without weights but the identity from below, and with it from the step before if wanted."""
    module = gt.RNN(units, units, layers, nonlinearity="relu", bias=False, **options)
    for name, own in module.named_parameters():
        own.data.copy_(torch.eye(units) if "_ih_" in name else torch.zeros(units, units))
    return module


NOISY = [
    ("GRU", {"num_layers": 2, "dropout": 0.5}),
    ("LSTM", {"num_layers": 3, "dropout": 0.3, "bidirectional": True}),
    ("RNN", {"num_layers": 2, "dropout": 0.5, "batch_first": True}),
    ("GRU", {"recurrent_dropout": 0.5}),
    ("LSTM", {"recurrent_dropout": 0.5}),
    ("GRU", {"zoneout": 0.5}),
    ("RNN", {"zoneout": 0.5, "recurrent_dropout": 0.2, "num_layers": 2, "dropout": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), NOISY, ids=str)
def test_a_seed_repeats_what_is_drawn(name: str, options: dict[str, Any]) -> None:
    module = OURS[name](5, 7, **options)
    x = R(4, 3, 5, requires_grad=True)

    def drawn(seed: int) -> list[Any]:
        torch.manual_seed(seed)
        return [*tensors(module(x)), *gradients(module, x)]

    first = drawn(3)
    assert all(map(torch.equal, drawn(3), first))
    assert not torch.equal(drawn(4)[0], first[0])
    assert not torch.equal(module(x)[0], module(x)[0])
    with torch.random.fork_rng():
        module(x)
    state = torch.get_rng_state()
    packed = pack_padded_sequence(x, [4, 4, 4] if not module.batch_first else [3, 3, 3, 3], module.batch_first)
    module(packed)
    assert not torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(("name", "options"), NOISY, ids=str)
def test_evaluation_draws_nothing(name: str, options: dict[str, Any]) -> None:
    module = OURS[name](5, 7, **options).eval()
    x, state = R(4, 3, 5), torch.get_rng_state()
    results = module(x)
    assert all(map(torch.equal, tensors(module(x)), tensors(results)))
    assert torch.equal(torch.get_rng_state(), state)
    plain = {name: value for name, value in options.items() if name not in ("dropout", "recurrent_dropout", "zoneout")}
    if "zoneout" not in options:
        theirs = getattr(torch.nn, name)(5, 7, **plain)
        theirs.load_state_dict(module.state_dict())
        assert_same(results, theirs(x), FORWARD["float32"])


@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN"])
def test_without_noise_nothing_is_drawn_in_training(name: str) -> None:
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = OURS[name](5, 7, dropout=0.5)  # of no use to one layer
    x = torch.zeros(4, 3, 5)
    torch.set_rng_state(state)
    module(x)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_dropout_between_layers(p: float) -> None:
    module = of_plain_cells(2, dropout=p)
    x = torch.rand(20, 3, 400) + 0.5
    x.requires_grad_()
    output, h_n = module(x)
    factor = (output / x).detach()
    kept = factor > 0
    assert_close(factor[kept], 1 / (1 - p), "float32_rounding")
    assert abs(float(kept.float().mean()) - (1 - p)) < 0.01
    # Each step and row draws its own: units that are kept in two of them are as many as by chance.
    assert abs(float((kept[0] & kept[1]).float().mean()) - (1 - p) ** 2) < 0.06
    assert torch.equal(h_n[0], x[-1])
    [d_x] = torch.autograd.grad(output.sum(), x)
    assert_close(d_x, factor, "float32_rounding")


@pytest.mark.parametrize("option", ["dropout", "recurrent_dropout", "zoneout"])
def test_certain_noise(option: str) -> None:
    module = of_plain_cells(2, 7, **{option: 1.0})
    x, h_0 = torch.rand(4, 3, 7) + 0.5, torch.rand(2, 3, 7) + 0.5
    output, _ = module(x, h_0)
    expected = {"dropout": torch.zeros_like(x), "recurrent_dropout": x, "zoneout": h_0[1].expand(4, 3, 7)}[option]
    assert torch.equal(output, expected)


def test_recurrent_dropout_hides_the_same_units_in_all_steps() -> None:
    module = of_plain_cells(1, recurrent_dropout=0.5)
    module.weight_hh_l0.data.copy_(torch.eye(400))
    module.weight_ih_l0.data.zero_()
    output, _ = module(torch.zeros(5, 3, 400), torch.ones(1, 3, 400))
    kept = output[0] > 0
    assert abs(float(kept.float().mean()) - 0.5) < 0.06
    for step, each in enumerate(output):
        assert torch.equal(each, kept * 2.0 ** (step + 1))
    assert not torch.equal(kept[0], kept[1])


def test_zoneout_keeps_units_at_random_in_training_and_in_part_otherwise() -> None:
    module = of_plain_cells(1, zoneout=0.3)
    x, h_0 = torch.ones(6, 3, 400), 5 * torch.ones(1, 3, 400)
    output, _ = module(x, h_0)
    for step, each in enumerate(output):
        assert set(each.unique().tolist()) <= {1.0, 5.0}
        assert abs(float((each == 5).float().mean()) - 0.3 ** (step + 1)) < 0.05
    state = h_0[0]
    for each in module.eval()(x, h_0)[0]:
        state = 0.3 * state + 0.7
        assert_close(each.detach(), state, "float32_forward_unbounded")


# ---- Hooks -----------------------------------------------------------------------------------------------------------


@each_module
def test_hooks(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    call = call_of(name, grad=True)
    seen: list[list[Any]] = []
    for module in (ours, theirs):
        own: list[Any] = []
        seen.append(own)

        def before(module: Any, arguments: Any, own: list[Any] = own) -> Any:
            own.append(("before", len(arguments)))
            return (arguments[0] * 2, *arguments[1:])

        def after(module: Any, arguments: Any, result: Any, own: list[Any] = own) -> Any:
            own.append(("after", len(tensors(arguments))))
            return mapped(lambda each: each * 3, result)

        def back(module: Any, d_inputs: Any, d_outputs: Any, own: list[Any] = own) -> None:
            own.append(("back", [each is not None for each in d_inputs], len(tensors(d_outputs))))

        handles = [
            module.register_forward_pre_hook(before),
            module.register_forward_hook(after),
            module.register_full_backward_pre_hook(lambda module, _, own=own: own.append("back soon")),
            module.register_full_backward_hook(back),
        ]
        own.append(gradients(module, *call))
        for handle in handles:
            handle.remove()
        own.append(gradients(module, *call))
    for own, expected in zip(*seen, strict=True):
        if isinstance(own, list):
            assert_same_gradients(own, expected, "float32")
        else:
            assert own == expected


def test_hooks_see_our_own_arguments() -> None:
    module, seen = gt.GRU(5, 7), []
    module.register_forward_pre_hook(lambda module, arguments, named: seen.append(sorted(named)), with_kwargs=True)
    module.register_forward_hook(lambda module, arguments, named, _: seen.append(sorted(named)), with_kwargs=True)
    module(R(4, 3, 5), lengths=[4, 2, 1], reset=RIGHT_RESET)
    assert seen == [["lengths", "reset"]] * 2


@each_module
def test_hooks_of_tensors(name: str) -> None:
    found = []
    for module in pair(name, 5, 7):
        torch.manual_seed(3)
        x, state = call_of(name, grad=True)
        results = tensors(module(x, state))
        results[0].retain_grad()
        results[0].register_hook(lambda gradient: gradient * 2)
        handles = [own.register_hook(lambda gradient: gradient * 3) for own in module.parameters()]
        accumulated: list[Any] = []
        next(module.parameters()).register_post_accumulate_grad_hook(accumulated.append)
        sum(each.square().sum() for each in results).backward()
        assert len(accumulated) == 1
        found.append([x.grad, results[0].grad, *(own.grad for own in module.parameters())])
        for handle in handles:
            handle.remove()
    assert_same_gradients(*found, "float32")


def test_hooks_of_all_modules() -> None:
    seen: list[str] = []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    try:
        torch.nn.Sequential(gt.GRUCell(5, 7))(R(3, 5))
    finally:
        handle.remove()
    assert seen == ["GRUCell", "Sequential"]


# ---- What is done to weights -----------------------------------------------------------------------------------------


class Scaled(torch.nn.Module):
    def forward(self, weight: Any) -> Any:
        return weight * 0.5


def unnormed(module: Any, weight: str) -> None:
    torch.nn.utils.weight_norm(module, weight)
    torch.nn.utils.remove_weight_norm(module, weight)


CHANGED: dict[str, Callable[[Any, str], Any]] = {
    "pruned": lambda module, weight: prune.l1_unstructured(module, weight, 0.5),
    "pruned for good": lambda module, weight: prune.remove(prune.l1_unstructured(module, weight, 0.5), weight),
    "pruned twice": lambda module, weight: prune.l1_unstructured(
        prune.ln_structured(module, weight, 0.3, n=2, dim=0), weight, 0.5
    ),
    "old weight norm": torch.nn.utils.weight_norm,
    "old weight norm, removed": unnormed,
    "old spectral norm": torch.nn.utils.spectral_norm,
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "parametrized": lambda module, weight: parametrize.register_parametrization(module, weight, Scaled()),
    "parametrized, removed": lambda module, weight: parametrize.remove_parametrizations(
        parametrize.register_parametrization(module, weight, Scaled()), weight
    ),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*spectral_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("changed", CHANGED)
@each_module
def test_weights_that_are_computed(name: str, changed: str) -> None:
    weight = "weight_hh" if name.endswith("Cell") else "weight_hh_l0"
    ours, theirs = pair(name, 5, 7)
    for module in (ours, theirs):
        torch.manual_seed(3)
        CHANGED[changed](module, weight)
    call = call_of(name, grad=True)
    for module in (ours, theirs):
        module(*call)
        module.eval()
    # A spectral norm is found in steps, one for each look at the weight in training mode.
    ours.load_state_dict(theirs.state_dict())
    assert_same(ours(*call), theirs(*call), FORWARD["float32"])
    assert_same_gradients(gradients(ours, *call), gradients(theirs, *call), "float32")
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({key: own + 0.01 for key, own in theirs.state_dict().items()})
    theirs.load_state_dict(ours.state_dict())
    assert_same(ours(*call), theirs(*call), FORWARD["float32"])


@pytest.mark.parametrize("frozen", [True, False])
@each_module
def test_some_weights_without_gradients(name: str, frozen: bool) -> None:
    ours, theirs = pair(name, 5, 7)
    for module in (ours, theirs):
        for number, own in enumerate(module.parameters()):
            own.requires_grad_(number % 2 == 1 and not frozen)
    for grad in (True, False):
        call = call_of(name, grad=grad)
        if grad or not frozen:
            assert_same_gradients(gradients(ours, *call), gradients(theirs, *call), "float32")
        else:
            assert not any(each.requires_grad for each in tensors(ours(*call)))


@each_module
def test_gradients_add_up(name: str) -> None:
    found = []
    for module in pair(name, 5, 7):
        torch.manual_seed(3)
        for _ in range(3):
            sum(each.square().sum() for each in tensors(module(*call_of(name)))).backward()
        norm = torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        found.append([norm, *(own.grad for own in module.parameters())])
    assert_same_gradients(*found, "float32")


# ---- Copies and files ------------------------------------------------------------------------------------------------

WHOLE: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in OURS} | {
    "everything of a GRU": (
        "GRU",
        {"num_layers": 2, "layer_norm": True, "zoneout": 0.1, "recurrent_dropout": 0.2, "bidirectional": True},
    ),
    "GRU before": ("GRU", {"reset_after": False}),
    "projected": ("LSTM", {"proj_size": 3, "recurrent_dropout": 0.2}),
    "cell": ("GRUCell", {"layer_norm": True}),
}


def saved(module: Any, weights_only: bool = False) -> Any:
    torch.save(module, file := io.BytesIO())
    file.seek(0)
    return torch.load(file, weights_only=weights_only)


def saved_with_names(module: Any) -> Any:
    kinds = [type(module), type(module).__mro__[-3], torch.nn.Parameter, getattr, set]
    with torch.serialization.safe_globals(kinds):
        return saved(module, weights_only=True)


COPIED: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "torch.save": saved,
    "weights only": saved_with_names,
}


@pytest.mark.parametrize("copied", COPIED)
@pytest.mark.parametrize("whole", WHOLE)
def test_copies(whole: str, copied: str) -> None:
    name, options = WHOLE[whole]
    module = OURS[name](5, 7, **options)
    [x] = call_of(name, states=False)
    module(x)
    other = COPIED[copied](module)
    assert type(other) is type(module)
    assert repr(other) == repr(module)
    for each in (module, other):
        each.eval()
    assert all(map(torch.equal, tensors(other(x)), tensors(module(x))))
    other.load_state_dict({key: own + 1 for key, own in module.state_dict().items()})
    assert not torch.equal(tensors(other(x))[0], tensors(module(x))[0])
    assert all(own.requires_grad for own in other.parameters())


@each_module
def test_a_shallow_copy_has_the_same_weights(name: str) -> None:
    module = OURS[name](5, 7)
    other = copy.copy(module)
    for own in module.parameters():
        own.data.mul_(0.5)
    call = call_of(name)
    assert all(map(torch.equal, tensors(other(*call)), tensors(module(*call))))


@each_module
def test_a_file_of_weights_alone(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    state = saved(ours.state_dict(), weights_only=True)
    assert type(state) is type(theirs.state_dict())
    other = getattr(torch.nn, name)(5, 7)
    other.load_state_dict(state)
    call = call_of(name)
    assert_same(ours(*call), other(*call), FORWARD["float32"])


@each_module
def test_state_dicts_that_do_not_fit(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    state = theirs.state_dict()
    first = next(iter(state))
    without = {key: own for key, own in state.items() if key != first} | {"more": torch.ones(1)}
    found = ours.load_state_dict(without, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == ([first], ["more"])
    for wrong in (without, state | {first: torch.ones(2, 2)}):
        assert outcome(lambda: ours.load_state_dict(wrong)) == outcome(lambda: theirs.load_state_dict(wrong))  # noqa: B023


def test_a_state_dict_of_a_gru_goes_into_one_with_gains_and_back() -> None:
    ours, theirs = gt.GRU(5, 7, layer_norm=True), torch.nn.GRU(5, 7)
    found = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert found.missing_keys == ["gamma_ih_l0", "gamma_hh_l0"]
    assert theirs.load_state_dict(ours.state_dict(), strict=False).unexpected_keys == found.missing_keys
    double = gt.GRU(5, 7, dtype=torch.float64)
    double.load_state_dict(theirs.state_dict())
    x = R(4, 3, 5)
    assert_close(double(x.double())[0].detach(), theirs(x)[0].detach(), "float32_forward")


def test_whole_models_of_files_become_each_others() -> None:
    module = torch.nn.ModuleDict({"a": torch.nn.GRU(5, 7, 2), "b": torch.nn.LSTMCell(7, 5)})
    ours = saved(module)
    gt.accelerate(ours)
    again = saved(ours)
    assert [type(each) for each in again.values()] == [gt.GRU, gt.LSTMCell]
    gt.restore(again)
    x = R(4, 3, 5)
    for each in (ours, again):
        assert_same(each["a"](x), module["a"](x), FORWARD["float32"])
    assert type(saved(again)["a"]) is torch.nn.GRU


# ---- Other tools of PyTorch ------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*quantized tensor:UserWarning")
def test_dynamic_quantization_leaves_ours_alone() -> None:
    model = torch.nn.ModuleDict({"gru": gt.GRU(5, 7), "cell": gt.LSTMCell(5, 7), "linear": torch.nn.Linear(7, 2)})
    quantize = torch.ao.quantization.quantize_dynamic
    for which in (None, {torch.nn.GRU, torch.nn.LSTMCell, torch.nn.Linear}, {gt.GRU, torch.nn.Linear}):
        found = quantize(model, which)
        assert (type(found["gru"]), type(found["cell"])) == (gt.GRU, gt.LSTMCell)
        assert type(found["linear"]).__module__.startswith("torch.ao")
        x = R(4, 3, 5)
        assert all(map(torch.equal, tensors(found["gru"](x)), tensors(model["gru"](x))))
    gt.restore(model)
    assert type(quantize(model)["gru"]).__module__.startswith("torch.ao")


def test_replicas() -> None:
    ours, theirs = pair("GRU", 5, 7)
    x = R(4, 3, 5)
    assert_same(torch.nn.DataParallel(ours)(x), theirs(x), FORWARD["float32"])


@each_cell
def test_cells_without_initial_values(name: str) -> None:
    module = torch.nn.utils.skip_init(OURS[name], 5, 7)
    assert type(module) is OURS[name]
    assert {own.device.type for own in module.parameters()} == {"cpu"}


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled:UserWarning")
def test_modes_of_pytorch() -> None:
    ours, theirs = pair("LSTM", 5, 7)
    x = R(4, 3, 5)
    with torch.device("cpu"):
        assert_same(ours(x), theirs(x), FORWARD["float32"])
    with torch.autograd.detect_anomaly(check_nan=True):
        assert_same_gradients(gradients(ours, x), gradients(theirs, x), "float32")
    with torch.autograd.graph.save_on_cpu():
        assert_same_gradients(gradients(ours, x), gradients(theirs, x), "float32")
    torch.use_deterministic_algorithms(True)
    try:
        assert_same(ours(x), theirs(x), FORWARD["float32"])
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_subclass_of_a_tensor_comes_back() -> None:
    class Named(torch.Tensor):
        pass

    ours, theirs = pair("GRU", 5, 7)
    x = R(4, 3, 5).as_subclass(Named)
    assert type(ours(x)[0]) is type(theirs(x)[0]) is Named
    assert_same(ours(x), theirs(x), FORWARD["float32"])
    assert type(ours(torch.nn.Parameter(R(4, 3, 5)))[0]) is torch.Tensor


@pytest.mark.parametrize("which", ["input", "state", "weight"])
@each_module
def test_tensors_that_intercept_operators_do(name: str, which: str) -> None:
    """A pair of tensors stands for one: what is done to it is done to both."""
    two_tensor = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor

    def two(tensor: Any) -> Any:
        return two_tensor(tensor, 2 * tensor)

    def changed(change: Callable[[Any], Any]) -> Any:
        """Return the results with a part of the call changed."""
        module, [x, state] = copy.deepcopy(ours), call
        if which == "weight":
            for key, own in list(module.named_parameters()):
                module.register_parameter(key, torch.nn.Parameter(change(own.detach())))
        return module(change(x) if which == "input" else x, mapped(change, state) if which == "state" else state)

    ours, call = OURS[name](5, 7), call_of(name)
    results = tensors(changed(two))
    assert {type(each) for each in results} == {two_tensor}
    for part, factor in (("a", 1), ("b", 2)):
        expected = changed(lambda each, factor=factor: factor * each)
        assert all(map(torch.equal, [getattr(each, part) for each in results], tensors(expected)))


@each_module
def test_nothing_else_differs_from_pytorchs_class(name: str) -> None:
    ours, theirs = pair(name, 5, 7)
    assert isinstance(ours, type(theirs))
    assert type(ours).__name__ == type(theirs).__name__
    assert vars(theirs).keys() <= vars(ours).keys()
    assert [key for key, _ in ours.named_parameters()] == [key for key, _ in theirs.named_parameters()]
    torch.manual_seed(3)
    made = [OURS[name](5, 7)]
    torch.manual_seed(3)
    made.append(getattr(torch.nn, name)(5, 7))
    assert all(map(torch.equal, made[0].parameters(), made[1].parameters()))


# ---- Into a model and back -------------------------------------------------------------------------------------------


class Tagger(torch.nn.Module):
    """A model with one of each, a shared one and one of a class of its own."""

    class Own(torch.nn.GRU):
        pass

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.LSTM(5, 7, 2, dropout=0.5)
        self.layers = torch.nn.ModuleList([torch.nn.GRU(7, 7), torch.nn.RNN(7, 7, nonlinearity="relu")])
        self.cells = torch.nn.ModuleDict({name: getattr(torch.nn, name)(7, 7) for name in OURS if "Cell" in name})
        self.again = self.layers[0]
        self.own = self.Own(7, 7)
        self.head = torch.nn.Linear(7, 2)

    def forward(self, x: Any) -> Any:
        x, _ = self.encoder(x)
        for layer in (*self.layers, self.again, self.own):
            x, _ = layer(x)
        x = self.cells["GRUCell"](x[-1])
        return self.head(self.cells["RNNCell"](self.cells["LSTMCell"](x)[0]))


NAMES = ["encoder", "layers.0", "layers.1", "cells.GRUCell", "cells.LSTMCell", "cells.RNNCell"]


def test_a_model_is_accelerated_and_restored() -> None:
    model = Tagger().eval()
    x, seen = R(4, 3, 5), []
    model.encoder.register_forward_hook(lambda module, *_: seen.append(type(module)))
    expected, parameters = model(x), list(model.named_parameters())
    kinds = {name: type(module) for name, module in model.named_modules()}
    report = gt.accelerate(model)
    assert report.swapped == NAMES
    assert report.left.keys() == {"own"}
    assert str(report).splitlines() == [
        f"swapped: {', '.join(NAMES)}",
        f"left: own: its class is {__name__}.Tagger.Own, which may compute something else",
    ]
    assert model.again is model.layers[0]
    assert type(model.again) is gt.GRU
    assert_same(model(x), expected, "float32_forward")
    assert [(name, id(own)) for name, own in model.named_parameters()] == [(name, id(own)) for name, own in parameters]
    assert gt.accelerate(model).swapped == NAMES
    assert gt.restore(model) == NAMES
    assert {name: type(module) for name, module in model.named_modules()} == kinds
    assert torch.equal(model(x), expected)
    assert gt.restore(model) == []
    assert seen == [torch.nn.LSTM, gt.LSTM, torch.nn.LSTM]


def test_training_goes_on_over_a_swap() -> None:
    models = [Tagger().eval()]
    models.append(copy.deepcopy(models[0]))
    optimizers = [torch.optim.Adam(model.parameters(), lr=1e-2) for model in models]
    for step in range(9):
        x = R(4, 3, 5)
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
        if step == 2:
            gt.accelerate(models[0])
        if step == 5:
            gt.restore(models[0])
    for own, expected in zip(*(model.parameters() for model in models), strict=True):
        assert_close(own.detach(), expected.detach(), "normalised_far_from_zero")
    assert optimizers[0].state_dict()["state"].keys() == optimizers[1].state_dict()["state"].keys()


def test_modules_that_are_left_and_why() -> None:
    parametrized = parametrizations.weight_norm(torch.nn.GRU(5, 7), "weight_hh_l0")
    model = torch.nn.ModuleDict(
        {
            "in half": torch.nn.GRU(5, 7).half(),
            "meta": torch.nn.LSTM(5, 7, device="meta"),
            "parametrized": parametrized,
            "ours in half": gt.RNN(5, 7).half(),
            "ours": gt.GRUCell(5, 7),
            "right": torch.nn.RNN(5, 7, dtype=torch.float64),
            "linear": torch.nn.Linear(1, 1),
        }
    )
    report = gt.accelerate(model)
    assert report.swapped == ["ours", "right"]
    assert report.left == {
        "in half": "weight_ih_l0 is torch.float16 on cpu",
        "meta": "weight_ih_l0 is torch.float32 on meta",
        "parametrized": "it is parametrized, which gives it a class of its own: accelerate before that",
        "ours in half": "weight_ih_l0 is torch.float16 on cpu",
    }
    assert isinstance(parametrized, torch.nn.GRU)
    assert not isinstance(parametrized, gt.GRU)


def test_a_module_may_be_parametrized_behind_a_swap() -> None:
    ours, theirs = torch.nn.GRU(5, 7), torch.nn.GRU(5, 7)
    ours.load_state_dict(theirs.state_dict())
    gt.accelerate(ours)
    for module in (ours, theirs):
        parametrizations.weight_norm(module, "weight_hh_l0")
    assert gt.accelerate(ours).swapped == [""]
    x = R(4, 3, 5)
    assert_same(ours(x), theirs(x), FORWARD["float32"])
    parametrize.remove_parametrizations(ours, "weight_hh_l0")
    assert type(ours) is gt.GRU
    gt.restore(ours)
    assert_same(ours(x), theirs(x), FORWARD["float32"])


def test_a_model_that_is_one_module() -> None:
    module = torch.nn.GRU(5, 7)
    assert str(gt.accelerate(module)) == "swapped: the model"
    assert type(module) is gt.GRU
    assert str(gt.accelerate(torch.nn.Linear(1, 1))) == "swapped: none"
    assert gt.restore(module) == [""]


def test_a_model_is_accelerated_and_frozen() -> None:
    model = Tagger().eval()
    prune.l1_unstructured(model.cells["RNNCell"], "weight_hh", 0.5)
    x = R(4, 3, 5)
    expected = model(x)
    model.head.requires_grad_(False)
    report = gt.accelerate(model, frozen=True)
    assert report.swapped == NAMES[:-1]
    assert report.left["cells.RNNCell"] == "weight_hh is computed from other parameters and cannot be frozen"
    wanting = {name.rsplit(".", 1)[0] for name, own in model.named_parameters() if own.requires_grad}
    assert wanting == {"own", "cells.RNNCell"}
    model.cells["LSTMCell"].bias_ih.data.add_(3)
    assert_same(model(x), expected, "float32_forward")
    gt.restore(model)
    assert not torch.allclose(model(x), expected)
    assert all(own.requires_grad for name, own in model.named_parameters() if not name.startswith("head"))
    assert not model.head.weight.requires_grad


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
def test_the_report_has_what_pytorch_made_of_recurrent_modules() -> None:
    class GRU(torch.nn.Module):
        """A user's own, of which a swap knows nothing."""

    scripted, own = torch.jit.script(torch.nn.GRU(5, 7)), GRU()
    report = gt.accelerate(torch.nn.Sequential(scripted, torch.ao.nn.quantizable.LSTMCell(5, 7), own))
    assert report.swapped == []
    assert {name: why.split(",")[0] for name, why in report.left.items()} == {
        "0": "its class is torch.jit._script.RecursiveScriptModule",
        "1": "its class is torch.ao.nn.quantizable.modules.rnn.LSTMCell",
    }


@pytest.mark.parametrize("kind", [gt.GRU, gt.LSTMCell])
def test_wrong_arguments_are_those_of_forward(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"^forward\(\) got an unexpected keyword argument 'length'"):
        kind(5, 7)(R(3, 5), length=3)


@pytest.mark.parametrize("options", [{"zoneout": 0.1}, {"recurrent_dropout": 0.1}, {"layer_norm": True}])
def test_restoring_what_pytorch_lacks_changes_nothing(options: dict[str, Any]) -> None:
    model = torch.nn.ModuleDict({"first": gt.LSTM(5, 7), "second": gt.GRU(5, 7, **options)})
    with pytest.raises(ValueError, match="model: expected options that PyTorch has, got second with"):
        gt.restore(model)
    assert [type(module) for module in model.values()] == [gt.LSTM, gt.GRU]


def test_a_swap_knows_no_other_modules() -> None:
    model = torch.nn.Sequential(torch.nn.TransformerEncoderLayer(8, 2, batch_first=True), torch.nn.Flatten())
    report = gt.accelerate(model)
    assert (report.swapped, report.left) == ([], {})


def test_numbers_of_numpy_are_fine() -> None:
    module = gt.GRU(5, 7)
    x = R(4, 3, 5)
    expected = module(x, lengths=[4, 2, 1])
    for lengths in (np.array([4, 2, 1]), np.array([4, 2, 1], np.uint8), (4, 2, 1), torch.tensor([4, 0, 2, 0, 1])[::2]):
        assert all(map(torch.equal, tensors(module(x, lengths=lengths)), tensors(expected)))


@pytest.mark.parametrize("name", ["GRU", "GRUCell", "LSTMCell"])
def test_a_compiled_module_is_copied_without_what_is_compiled(name: str) -> None:
    module = getattr(gt, name)(3, 4)
    module.compile(backend="eager")
    pickle.loads(pickle.dumps(module))
    twin = copy.deepcopy(module)
    for parameter in twin.parameters():
        torch.nn.init.zeros_(parameter)
    output = twin(torch.ones(2, 3))
    assert not (output[0] if isinstance(output, tuple) else output).any()


@pytest.mark.parametrize("name", ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNCell"])
def test_a_symbolic_trace_has_a_module_as_a_leaf(name: str) -> None:
    model = torch.nn.Sequential(getattr(gt, name)(3, 4))
    x = torch.randn(2, 3)
    traced = torch.fx.symbolic_trace(model)
    assert [node.op for node in traced.graph.nodes] == ["placeholder", "call_module", "output"]
    torch.testing.assert_close(traced(x), model(x))


def test_weights_that_were_born_in_inference_mode_are_frozen_and_given_back() -> None:
    with torch.inference_mode():
        model = torch.nn.Sequential(torch.nn.GRU(3, 4))
    gt.accelerate(model, frozen=True)
    assert gt.restore(model) == ["0"]
