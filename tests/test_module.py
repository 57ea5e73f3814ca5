"""What every module promises about its arrays: versions, names, atomic changes, tapes."""

from __future__ import annotations

import copy
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gru_native import nn
from gru_native.nn.module import Module, Snapshot, Version, frozen


class Scale(Module):
    """``y = factor * x``, with a buffer beside the parameter; `during` is called amid each call."""

    buffer_names = ("calls",)

    def __init__(self, factor: float, during: Callable[[], None] = lambda: None) -> None:
        super().__init__({"factor": np.array([factor]), "calls": np.array(0)})
        self.during = during

    def _call(self, snapshot: Snapshot, x: Any, *, threads: int | None = None) -> Any:
        self.during()
        return x * snapshot.version["factor"]

    def _forward(self, snapshot: Snapshot, x: Any, *, seed: Any = None, threads: int | None = None) -> Any:
        return self._call(snapshot, x), (x, snapshot.version["factor"])

    def _backward(self, saved: Any, d_output: Any, *, threads: int | None = None) -> Any:
        x, factor = saved
        return d_output * factor, {"factor": np.array([np.sum(d_output * x)])}


class SubclassArray(np.ndarray):
    """An array that owns its data, and may mean something else by them."""


class Pair(Module):
    """A module with a parameter of its own and children two levels down."""

    def __init__(self) -> None:
        super().__init__({"own": np.zeros(2)})
        self.first = nn.Sequential(Scale(2.0), Scale(3.0))
        self.second = Scale(5.0)


def test_names_are_dotted_and_in_order() -> None:
    model = Pair()
    assert [name for name, _ in model.named_modules()] == ["", "first", "first.0", "first.1", "second"]
    assert [name for name, _ in model.named_modules("a.b")][:2] == ["a.b", "a.b.first"]
    with pytest.raises(TypeError, match="^prefix: expected a string, got ndarray"):
        list(model.named_modules(np.ones(2)))  # type: ignore[arg-type]
    parameters = ["own", "first.0.factor", "first.1.factor", "second.factor"]
    assert list(model.parameters()) == parameters
    assert set(model.state_dict()) - set(parameters) == {"first.0.calls", "first.1.calls", "second.calls"}
    assert list(model.children()) == ["first", "second"]


def test_a_child_can_be_replaced_or_taken_away() -> None:
    model = Pair()
    model.second = Scale(7.0)
    assert model.state_dict()["second.factor"] == 7.0
    model.second = None
    assert list(model.children()) == ["first"]


def test_train_and_eval_reach_all() -> None:
    model = Pair()
    for mode, change in ((False, model.eval), (True, model.train), (False, lambda: model.train(False))):
        assert change() is model
        assert [module.training for _, module in model.named_modules()] == [mode] * 5


def test_arrays_are_read_only_and_nobody_elses() -> None:
    mine = np.zeros(2)
    model = Pair()
    model.assign({"own": mine})
    mine += 1
    own = model.state_dict()["own"]
    np.testing.assert_array_equal(own, [0, 0])
    with pytest.raises(ValueError, match="read-only"):
        own += 1


def test_arrays_given_away_are_not_copied() -> None:
    given = np.ones(2)
    given.flags.writeable = False
    model = Pair()
    model.assign({"own": given})
    assert model.parameters()["own"] is given
    grid = nn.Linear(3, 2)
    others = [np.ones(4)[::2], np.ones(4)[:2], SubclassArray(2)]
    pairs = [(model, "own", other) for other in others] + [(grid, "weight", np.ones((2, 3), np.float32, "F"))]
    for module, name, other in pairs:
        other.flags.writeable = False
        module.assign({name: other})
        own = module.parameters()[name]
        assert own is not other
        assert type(own) is np.ndarray
        assert own.flags.c_contiguous
        assert own.flags.owndata


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [
        (
            "factor",
            np.ones(1),
            ValueError,
            "factor: this module has no such array; it has own, first.0.factor",
        ),
        ("second.factor", np.ones(2), ValueError, r"second.factor: expected shape \(1,\), got \(2,\)"),
        (
            "second.factor",
            np.ones(1, np.float32),
            TypeError,
            "second.factor: expected dtype float64, got float32",
        ),
        (
            "second.factor",
            frozen(np.ones(1, np.dtype(float).newbyteorder())),
            TypeError,
            "second.factor: expected dtype float64, got >f8",
        ),
        ("second.factor", [None], TypeError, r"second.factor: expected an array, got \[None\]"),
    ],
)
def test_assign_changes_all_or_nothing(name: str, value: Any, error: type[Exception], message: str) -> None:
    model = Pair()
    before = model.state_dict()
    with pytest.raises(error, match=message):
        model.assign({"own": np.ones(2), "first.0.factor": np.ones(1), name: value})
    after = model.state_dict()
    assert all(after[key] is array for key, array in before.items())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"second.factor": None}, ValueError, r"missing: \['second.factor'\], unknown: none"),
        ({"third": np.ones(1)}, ValueError, r"missing: none, unknown: \['third'\]"),
        ({"second.factor": np.ones((1, 1))}, ValueError, "second.factor: expected shape"),
        (
            {"second.factor": np.array([1j])},
            TypeError,
            "second.factor: expected numbers, got dtype complex128",
        ),
        ({"second.factor": np.array(["1"])}, TypeError, "second.factor: expected numbers, got dtype <U1"),
        ({"second.factor": np.array([{}])}, TypeError, "second.factor: expected numbers, got dtype object"),
        ({"second.calls": np.array(1.5)}, ValueError, "second.calls: holds values that int64 cannot hold"),
        ({"second.calls": np.array(2**63)}, ValueError, "second.calls: holds values that int64 cannot hold"),
        ({"second.calls": np.array(np.nan)}, ValueError, "second.calls: holds values that int64 cannot hold"),
    ],
)
def test_load_state_dict_changes_all_or_nothing(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    model = Pair()
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()} | changes
    with pytest.raises(error, match=message):
        model.load_state_dict({name: array for name, array in state.items() if array is not None})
    after = model.state_dict()
    assert all(after[key] is array for key, array in before.items())


def test_load_state_dict_converts_to_the_modules_dtype() -> None:
    linear = nn.Linear(1, 2, dtype="float32")
    linear.load_state_dict({"weight": [[1], [2]], "bias": np.array([0.1, np.inf])})
    state = linear.state_dict()
    assert [array.dtype for array in state.values()] == [np.float32, np.float32]
    np.testing.assert_array_equal(state["bias"], np.array([0.1, np.inf], np.float32))
    with pytest.raises(ValueError, match="bias: holds values that float32 cannot hold"):
        linear.load_state_dict({"weight": np.zeros((2, 1)), "bias": np.array([0.1, 1e39])})


def test_load_state_dict_not_strict_leaves_the_rest_alone() -> None:
    model = Pair()
    found = model.load_state_dict({"foreign": np.zeros(1), "second.factor": np.array([9.0])}, strict=False)
    assert found.unexpected_keys == ["foreign"]
    assert found.missing_keys == [name for name in model.state_dict() if name != "second.factor"]
    assert model.load_state_dict(Pair().state_dict()) == ([], [])
    model.load_state_dict({"second.factor": np.array([9.0])}, strict=False)
    state = model.state_dict()
    assert (state["second.factor"], state["first.0.factor"]) == (9.0, 2.0)


def test_what_is_derived_belongs_to_a_version() -> None:
    model = Scale(2.0)
    made = []

    def make(version: Version) -> tuple[Version, object]:
        made.append((version, object()))
        return made[-1]

    first = model.snapshot().version
    assert first.derive("pack", make) is first.derive("pack", make)
    assert first.derive("pack", make)[0] is first
    assert first.derive("other", make) is not first.derive("pack", make)
    model.assign({"factor": np.array([3.0])})
    second = model.snapshot().version
    assert second.derive("pack", make) is not first.derive("pack", make)
    assert len(made) == 3


def test_a_model_out_of_a_mapped_file_computes(tmp_path: Path) -> None:
    """As joblib loads one with mmap_mode: its arrays come back as np.memmap."""
    mapped = np.memmap(tmp_path / "array", np.float32, "w+", shape=(3,))
    mapped[:] = 1.0
    mapped.flags.writeable = False
    state = Version.of({"gain": mapped})
    assert type(state["gain"]) is np.ndarray
    np.testing.assert_array_equal(state["gain"], [1.0, 1.0, 1.0])


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_stand_alone(duplicate: Callable[[Module], Module]) -> None:
    model = nn.Sequential(nn.Linear(2, 2, dtype="float64", seed=1), nn.Linear(2, 2, dtype="float64", seed=2))
    x = np.ones((1, 2))
    before = model(x)
    other = duplicate(model)
    np.testing.assert_array_equal(other(x), before)
    assert not any(array.flags.writeable for array in other.state_dict().values())
    other.assign({"0.weight": np.zeros((2, 2))})
    np.testing.assert_array_equal(model(x), before)
    assert not np.array_equal(other(x), before)


def test_a_call_under_way_keeps_the_version_it_began_with() -> None:
    first, second = Scale(2.0), Scale(3.0)
    model = nn.Sequential(first, second)
    first.during = lambda: model.assign({"0.factor": np.array([20.0]), "1.factor": np.array([30.0])})
    assert model(np.array(1.0)) == 6.0
    assert model(np.array(1.0)) == 600.0


def test_backward_uses_the_version_that_forward_saw() -> None:
    model = nn.Sequential(Scale(2.0), Scale(3.0))
    _, tape = model.forward(np.array(1.0))
    model.assign({"0.factor": np.array([20.0]), "1.factor": np.array([30.0])})
    d_x, gradients = model.backward(tape, np.array(1.0))
    assert d_x == 6.0
    assert gradients == {"0.factor": 3.0, "1.factor": 2.0}


def test_a_tape_belongs_to_its_module() -> None:
    one, other = Scale(2.0), Scale(2.0)
    _, tape = one.forward(np.ones(1))
    with pytest.raises(ValueError, match="tape: comes from another module, a Scale"):
        other.backward(tape, np.ones(1))
    with pytest.raises(TypeError, match="tape: expected what forward returned, got tuple"):
        one.backward((1, 2), np.ones(1))
    assert "Scale" in repr(tape)


@pytest.mark.parametrize("method", ["__call__", "forward", "_config"])
def test_a_subclass_must_say_what_it_does(method: str) -> None:
    with pytest.raises(NotImplementedError, match="Module does not define _c|Module does not define _forward"):
        getattr(Module(), method)()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: nn.Linear(2, 2)(x, lengths=[1]),
            "Linear: got an unexpected keyword argument 'lengths'; it takes x, threads; a Sequential gives lengths,",
        ),
        (lambda x: nn.Softmax().forward(x, mask=[True]), "Softmax: .* 'mask'; it takes x, seed, threads; a Sequential"),
        (lambda x: nn.MeanPooling()(x, reset=[True]), "'reset'; it takes x, lengths, threads; a Sequential"),
        (lambda x: nn.Linear(2, 2)(x, x), "Linear: too many positional arguments; it takes x, threads$"),
        (lambda x: nn.Linear(2, 2)(), "Linear: missing a required argument: 'x'; it takes x, threads$"),
        (lambda x: nn.Linear(2, 2)("x"), "^x: expected dtype float32, got <U1"),
    ],
)
def test_arguments_that_a_call_does_not_take(call: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call(np.ones((1, 2), np.float32))


@pytest.mark.parametrize("name", ["fit", "compile", "evaluate", "score"])
def test_what_trains_is_named(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"'Linear' object has no attribute '{name}'; gru_native.train.Trainer\("):
        getattr(nn.Linear(2, 2), name)
    assert isinstance(nn.Sequential({name: nn.Linear(2, 2)})[0], nn.Linear)  # a layer's name, still


class Together:
    """Versions of a model's parameters, each with the results that belong to it."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.model = nn.Sequential(
            nn.Embedding(7, 6, dtype="float64"),
            nn.GRU(6, [9, 5], bidirectional=True, dtype="float64"),
            nn.LayerNorm(10, dtype="float64"),
            nn.Linear(10, 4, dtype="float64"),
        )
        self.x = rng.integers(0, 7, (6, 3))
        self.d_output = rng.standard_normal((6, 3, 4))
        self.versions = [
            {name: rng.uniform(-1, 1, array.shape) for name, array in self.model.parameters().items()} for _ in range(5)
        ]
        self.results = []
        for version in self.versions:
            self.model.assign(version)
            self.results.append(self.compute())

    def compute(self) -> list[np.ndarray]:
        """Return a call's output, and a gradient from each end of the model."""
        called, _ = self.model(self.x)
        (output, _), tape = self.model.forward(self.x)
        _, gradients = self.model.backward(tape, self.d_output)
        return [called, output, gradients["0.weight"], gradients["3.weight"]]

    def version_of(self, result: np.ndarray, kind: int) -> int:
        """Return the one version that gives just this result."""
        [version] = [number for number, results in enumerate(self.results) if np.array_equal(results[kind], result)]
        return version


def test_threads_see_one_version_each_while_another_changes_it(rng: np.random.Generator) -> None:
    together = Together(rng)
    seen: list[set[int]] = [set(), set()]
    failures: list[BaseException] = []
    done = threading.Event()

    def call(own: set[int]) -> None:
        try:
            while not done.is_set():
                called, output, *gradients = together.compute()
                own.add(together.version_of(called, 0))
                versions = {together.version_of(result, kind) for kind, result in enumerate([output, *gradients], 1)}
                assert len(versions) == 1, "forward and backward saw different versions"
        except BaseException as failure:
            failures.append(failure)

    callers = [threading.Thread(target=call, args=(own,)) for own in seen]
    for caller in callers:
        caller.start()
    for turn in range(3000):
        together.model.assign(together.versions[turn % 5])
        if all(len(own) > 1 for own in seen) and turn >= 300:
            break
        threading.Event().wait(0.001)
    done.set()
    for caller in callers:
        caller.join()
    assert not failures, failures
    assert all(len(own) > 1 for own in seen), "the callers never saw a change"


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Make threads take turns as often as they can, so that what is not atomic shows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.fixture
def changing(hasty_threads: None) -> Iterator[Module]:
    """A model of many layers whose factors another thread keeps changing, all of them at once."""
    model = nn.Sequential(*(Scale(1.0) for _ in range(200)))
    done = threading.Event()

    def change() -> None:
        factor = 1.0
        while not done.is_set():
            factor = -factor
            model.assign({f"{place}.factor": np.array([factor]) for place in range(200)})

    changer = threading.Thread(target=change)
    changer.start()
    yield model
    done.set()
    changer.join()


def test_what_is_read_is_of_one_moment(changing: Module) -> None:
    for _ in range(100):
        versions = [child.version for child in changing.snapshot().children.values()]
        assert len({float(version["factor"][0]) for version in versions}) == 1
        assert len({float(array[0]) for array in changing.parameters().values()}) == 1


def test_a_forked_child_finds_whole_versions(changing: Module) -> None:
    """Forked amid changes by another thread, the child neither waits for ever nor finds a mixture."""
    for _ in range(20):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
            child = os.fork()
        if child == 0:
            factors: set[float] = set()
            try:
                signal.alarm(20)
                factors = {float(array[0]) for array in changing.parameters().values()}
            finally:
                os._exit(0 if len(factors) == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_no_update_is_lost_among_threads(hasty_threads: None) -> None:
    norm, x = nn.BatchNorm1d(2), np.ones((2, 2), np.float32)

    def train() -> None:
        for _ in range(1000):
            norm.forward(x)

    trainers = [threading.Thread(target=train) for _ in range(4)]
    for trainer in trainers:
        trainer.start()
    for trainer in trainers:
        trainer.join()
    assert norm.state_dict()["num_batches_tracked"] == 4000
