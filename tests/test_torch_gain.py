"""Modules that would gain too little are left alone."""

from __future__ import annotations

import threading
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import gru_native.torch as gt  # noqa: E402
from gru_native.torch import gain, swap  # noqa: E402

BOTH = {"stack": torch.nn.LSTM, "cell": torch.nn.GRUCell}


def model() -> Any:
    return torch.nn.ModuleDict({name: kind(3, 4) for name, kind in BOTH.items()})


def test_what_gains_too_little_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measured(module: Any, ours: Any, frozen: bool, steps: int, batch: int) -> float:
        asked.append((ours, frozen, steps, batch))
        return 1.5 if ours is gt.LSTM else 1.1

    monkeypatch.setattr(swap, "measured", measured)
    found = model().eval()
    report = gt.accelerate(found, min_gain=1.2, shape=(7, 2), frozen=True)
    assert report.swapped == ["stack"]
    assert report.left == {"cell": "it would be 1.10 times as fast, and 1.2 are asked for"}
    assert (type(found["stack"]), type(found["cell"])) == (gt.LSTM, torch.nn.GRUCell)
    assert asked == [(gt.LSTM, True, 7, 2), (gt.GRUCell, True, 7, 2)]


@pytest.mark.parametrize("training", [False, True])
def test_measuring_changes_nothing(monkeypatch: pytest.MonkeyPatch, training: bool) -> None:
    monkeypatch.setattr(gain, "SECONDS", 0.0)
    found = model().train(training)
    called: list[Any] = []
    for module in found.values():
        module.register_forward_hook(lambda *_: called.append(1))
    before, state = torch.get_rng_state(), {name: own.clone() for name, own in found.state_dict().items()}
    report = gt.accelerate(found, min_gain=0, shape=(5, 2))
    assert report.swapped == list(BOTH)
    assert torch.equal(before, torch.get_rng_state())
    assert not called
    assert all(own.grad is None for own in found.parameters())
    for name, own in found.state_dict().items():
        assert torch.equal(own, state[name])


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"min_gain": -1}, "min_gain: expected"),
        ({"min_gain": "a"}, "min_gain"),
        ({"shape": (0, 1)}, "shape: expected"),
        ({"shape": (1, 2, 3)}, "shape: expected steps"),
    ],
)
def test_arguments_are_checked(named: dict[str, Any], message: str) -> None:
    found = model()
    with pytest.raises((TypeError, ValueError), match=message):
        gt.accelerate(found, **named)
    assert type(found["stack"]) is torch.nn.LSTM


def test_what_cannot_be_timed_is_left_and_said() -> None:
    model = torch.nn.Sequential(torch.nn.GRU(3, 4), torch.nn.GRU(4, 4))
    model[1].lock = threading.Lock()  # which nobody can copy
    with torch.no_grad():
        report = gt.accelerate(model, min_gain=0.0)
    assert report.swapped == ["0"]
    assert report.left["1"].startswith("it cannot be timed: ")
