"""What a type checker and `help` see of the package: signatures, docstrings and stubs, as they are."""

import inspect
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from test_docs import blocks_of

import gru_native as gn
from gru_native import nn
from gru_native.nn.module import public as public_calls

TESTS = Path(__file__).parent
CONFIG = TESTS.parent / "pyproject.toml"

PROGRAM = """
from typing import Any

import numpy as np

import gru_native as gn
from gru_native import losses, nn, optim

Array = np.ndarray[Any, Any]

model = nn.Sequential(nn.Embedding(10, 4), nn.GRU(4, 8), nn.LastPooling(), nn.Linear(8, 3)).train()
loss = losses.CrossEntropyLoss()
optimizer = optim.Adam(model, lr=1e-2)
x, y = np.array([[1, 2], [3, 4], [5, 6]]), np.array([0, 2])
(logits, states), tape = model.forward(x)
value, loss_tape = loss.forward(logits, y)
(d_x, d_states), gradients = model.backward(tape, loss.backward(loss_tape))
optimizer.step(gradients)
kept: nn.Sequential = model.eval()

vectors: Array = nn.Embedding(10, 4)(x)
output, h_n = nn.GRU(4, 8)(vectors)
gates: dict[str, Array] = nn.GRU(4, 8)(vectors, return_gates=True)[2]
features: Array = nn.BatchNorm1d(8, channels_last=True)(output, lengths=[3, 2], threads=1)
record: nn.Tape = nn.Linear(8, 3).forward(features)[1]
stepped: Array = nn.Sequential(nn.GRU(4, 8)).stream(2).step(vectors[0])
text: str = model.summary(x)

if len(text) == 0:
    nn.Linear(8, 3)(features, thread=1)  # type: ignore[call-arg]
    nn.Dropout(0.5).forward(features, sed=1)  # type: ignore[call-arg]
    nn.LastPooling().backward(record)  # type: ignore[call-arg]
    nn.GRU(4, 8)(vectors, return_gate=True)  # type: ignore[call-overload]
    gn.nothing  # type: ignore[attr-defined]
    model.predict(x).nothing  # type: ignore[attr-defined]
    model.predict_proba(x).nothing  # type: ignore[attr-defined]
"""


@pytest.fixture
def environment():
    """That of a program that is not in the checkout, from where mypy finds the package as Python does."""
    parent = Path(gn.__file__).parent.parent
    return os.environ | ({} if parent.name.endswith("-packages") else {"MYPYPATH": str(parent)})


def run(folder, environment, *command):
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_users_program_is_strictly_typed(tmp_path, environment):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text(PROGRAM)
    run(tmp_path, environment, "program.py")
    run(tmp_path, environment, "-m", "mypy", "--strict", "--config-file", str(CONFIG), "program.py")


PAGES = ("README", "docs/quickstart", "docs/training", "docs/layers", "docs/streams", "docs/keras", "docs/serve")


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_programs_are_strictly_typed(page, tmp_path, environment):
    pytest.importorskip("mypy")
    (tmp_path / "program.py").write_text("\n".join(blocks_of((TESTS.parent / f"{page}.md").read_text(), "python")))
    run(tmp_path, environment, "-m", "mypy", "--strict", "--config-file", str(CONFIG), "program.py")


def test_the_stubs_are_those_of_the_modules(tmp_path, environment):
    for needed in ("mypy", "torch", "sb3_contrib", "onnx", "h5py"):
        pytest.importorskip(needed)
    options = "--mypy-config-file", str(CONFIG), "--allowlist", str(TESTS / "stubtest.txt"), "--concise"
    run(tmp_path, environment, "-m", "mypy.stubtest", "gru_native", *options)


def public():
    """Yield all public functions, classes and methods, by name, with what they are found in."""
    modules = [gn, *(value for name in gn.__all__ if isinstance(value := getattr(gn, name), types.ModuleType))]
    for module in modules:
        for name in getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")]):
            thing = getattr(module, name)
            if callable(thing) and thing.__module__.startswith(module.__name__):
                yield f"{module.__name__}.{name}", module
                for own in dir(thing) if inspect.isclass(thing) else ():
                    if (own == "__call__" or not own.startswith("_")) and is_call(thing, own):
                        yield f"{module.__name__}.{name}.{own}", thing


def is_call(kind, name):
    """Return whether a class, or a base of it in this package, has a method of this name."""
    base = next(base for base in kind.__mro__ if name in vars(base))
    return base.__module__.startswith("gru_native") and callable(getattr(kind, name))


@pytest.mark.parametrize(("name", "owner"), sorted(public()))
def test_public_calls_have_docstrings_and_signatures(name, owner):
    thing = getattr(owner, name.rpartition(".")[2])
    assert inspect.getdoc(thing), "no docstring"
    has_one = inspect.isroutine(thing) or ("__init__" in vars(thing) and not getattr(thing, "_is_protocol", False))
    if has_one and owner is not nn.Module:  # which leaves the arguments of its calls to its layers
        kinds = {parameter.kind for parameter in inspect.signature(thing).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds, "no signature of its own"


class Scaled(nn.Linear):
    """A layer of a user's own, without annotations."""

    def _call(self, snapshot, x, scale, *, threads=None):
        return super()._call(snapshot, x, threads=threads) * scale

    def _forward(self, snapshot, x, scale, *, seed=None, threads=None):
        y, saved = super()._forward(snapshot, x, threads=threads)
        return y * scale, (saved, scale)

    def _backward(self, saved, d_output, *, threads=None):
        own, scale = saved
        return super()._backward(own, d_output * scale, threads=threads)

    __call__, forward, backward = public_calls(_call, _forward, _backward)


def test_layers_of_others_have_their_signatures_too():
    layer, x = Scaled(2, 3, seed=0), np.ones((1, 2), np.float32)
    assert list(inspect.signature(layer).parameters) == ["x", "scale", "threads"]
    assert str(inspect.signature(layer.forward)) == "(x, scale, *, seed=None, threads=None) -> 'tuple[Any, Tape]'"
    assert str(inspect.signature(Scaled.backward)).startswith("(self, tape: 'Tape', /, d_output, *, threads=None)")
    y, tape = layer.forward(x, scale=2)
    np.testing.assert_array_equal(y, layer(x, 2))
    d_x, gradients = layer.backward(tape, np.ones_like(y))
    np.testing.assert_allclose(d_x, 2 * layer.state_dict()["weight"].sum(0, keepdims=True), rtol=1e-6)
    assert gradients.keys() == {"weight", "bias"}
