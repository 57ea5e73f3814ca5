"""The kinds of cases. Each draws from a generator what it does, so that its seed repeats it."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import os
import resource
import signal
import struct
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from calls import INTERNAL, World, arguments, near, parameters, public
from cases import ISAS, assert_same_bits, layer
from cases import KINDS as CELLS
from test_parity import LAYOUTS, check, problem
from test_stream import MODELS, embedded, whole
from tolerances import assert_close

import gru_native as gn
from gru_native import _session, reference
from gru_native import functional as F
from gru_native.random import key
from gru_native.stream import BusyError, FullError

warnings.simplefilter("ignore")

Rng = np.random.Generator
# Of arguments that are wrong: with many of them, calls of many arguments would not come behind the checks.
SHARES = (0.03, 0.25)
DECISIVE = {"lengths", "reset", "indices", "targets", "input_lengths", "target_lengths", "target"}
# What a refused call may raise. OSError is for paths, RuntimeError for a tape that was used, FloatingPointError for
# a training that diverges.
REFUSALS = (ValueError, TypeError, MemoryError, OSError, FloatingPointError, NotImplementedError)


class Findings:
    """What was wrong in this process, each kind once, and what it was doing."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def doing(self, what: str) -> None:
        """Say what comes next, so that a crash has a name."""
        print(what[:300], flush=True)

    def note(self, what: str, error: BaseException) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "gru_native/" in frame.filename] or frames[-1:]
        place = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "a child"
        name = f"{type(error).__name__} at {place}"
        if name not in self.seen:
            self.seen.add(name)
            print(f"FINDING {name} in {what[:500]}: {str(error)[:500]}", flush=True)

    @contextlib.contextmanager
    def refusals(self, what: str) -> Iterator[None]:
        """Let a call be refused, but in no other way than it should."""
        try:
            yield
        except REFUSALS:
            pass
        except (BusyError, FullError):
            pass
        except RuntimeError as error:
            if "tape: it was used" not in str(error):
                self.note(what, error)
        except Exception as error:
            self.note(what, error)

    @contextlib.contextmanager
    def none(self, what: str) -> Iterator[None]:
        """Note whatever is raised."""
        try:
            yield
        except Exception as error:
            self.note(what, error)

    def end(self) -> None:
        if self.seen:
            print("FINDINGS:", *sorted(self.seen), sep="\n  ", flush=True)
            sys.exit(3)


findings = Findings()


# ---- Valid calls ------------------------------------------------------------------------------------------------


def valid(rng: Rng) -> None:
    """Compare with the reference."""
    isa = os.environ.get("GRU_NATIVE_ISA", ISAS[-1])
    for _ in range(20):
        for compare in (recurrent, stack, others):
            state = rng.bit_generator.state["state"]["state"]
            findings.doing(f"{compare.__name__} {state}")
            with findings.none(f"{compare.__name__} {state}"):
                compare(rng, isa)


def recurrent(rng: Rng, isa: str) -> None:
    def flags(*names: str) -> dict[str, bool]:
        return {name: bool(rng.integers(2)) for name in names}

    kind = str(rng.choice(CELLS))
    cell = layer(rng, int(rng.integers(41)), int(rng.integers(71)), kind=kind, **flags("bias_ih", "bias_hh"))
    zoneout = 0.0 if kind == "lstm" else float(rng.choice([0.0, 0.3]))
    options = flags("reverse", "ragged", "resets", "masked", "state", "d_output", "d_final")
    given = problem(rng, cell, int(rng.integers(12)), int(rng.integers(20)), zoneout=zoneout, **options)
    layout = LAYOUTS[str(rng.choice(sorted(LAYOUTS)))]
    tape, threads = str(rng.choice(["gates", "states"])), int(rng.integers(1, 4))
    dtype = rng.choice([np.float32, np.float64])
    check(given, isa, dtype, layout=layout, tape=tape, threads=threads, **flags("batch_first"))


def stack(rng: Rng, isa: str) -> None:
    """Layers and directions through nn, whose compiled path checks for itself."""
    T, B, I, H, layers = map(int, rng.integers(1, (12, 9, 20, 40, 3)))  # noqa: E741
    both = bool(rng.integers(2))
    module = gn.nn.GRU(I, H, layers, bidirectional=both, dtype="float64", seed=int(rng.integers(99)))
    x = rng.standard_normal((T, B, I))
    steps = {"lengths": rng.integers(0, T + 1, B), "reset": rng.random((T, B)) < 0.2}
    given = {name: array for name, array in steps.items() if rng.integers(2)}
    d = rng.standard_normal((T, B, H * (1 + both)))
    expected, _, tapes = reference.stack_forward(
        x, None, module.state_dict(), num_layers=layers, bidirectional=both, **given
    )
    (d_x, _), gradients = reference.stack_backward(tapes, d)
    (output, _), tape = module.forward(x, **given, threads=int(rng.integers(1, 4)))
    assert_close(output, expected, "float64")
    (actual_d_x, _), actual = module.backward(tape, d)
    for name, gradient in {"x": d_x, **gradients}.items():
        assert_close(actual_d_x if name == "x" else actual[name], gradient, "float64", name)


def others(rng: Rng, isa: str) -> None:
    rows, inputs, outputs = map(int, rng.integers(0, (40, 70, 70)))
    x, weight, bias = (rng.standard_normal(shape) for shape in ((rows, inputs), (outputs, inputs), outputs))
    d = rng.standard_normal((rows, outputs))
    packed, threads = F.pack_linear(weight, bias), int(rng.integers(1, 4))
    assert_close(F.linear(x, packed, threads=threads), x @ weight.T + bias, "float64")
    d_x, gradients = F.linear_backward(x, packed, d, threads=threads)
    assert_close(d_x, d @ weight, "float64")
    assert_close(gradients["weight"], d.T @ x, "float64")
    indices, padding = rng.integers(0, 5, rows), int(rng.integers(5))
    table = np.zeros((5, outputs))
    np.add.at(table, indices[indices != padding], d[indices != padding])
    assert_close(F.embedding_backward(indices, d, 5, padding_idx=padding, threads=threads), table, "float64")
    if outputs:
        targets = rng.integers(0, outputs, rows)
        logs = d - np.log(np.exp(d).sum(1, keepdims=True))
        losses, gradient = F.softmax_cross_entropy(d, targets, gradient=True, threads=threads)
        assert_close(losses, -logs[np.arange(rows), targets], "float64")
        assert_close(gradient, np.exp(logs) - np.eye(outputs)[targets], "float64")
    seed, p = int(rng.integers(99)), float(rng.random())
    assert_close(
        F.dropout(x, p, seed=seed), x * reference.dropout_mask(x.size, p, key(seed)).reshape(x.shape), "float64"
    )
    assert_close(F.sigmoid(x), reference.sigmoid(x), "float64")
    assert_close(F.tanh(x), np.tanh(x), "float64")


# Such as a team takes: by rows, by panels, and of ragged rows.
SIZES = ((60, 17, 33, 65), (110, 1, 32, 256), (50, 2, 40, 260), (6, 9, 16, 400), (40, 40, 8, 96))


class Work:
    """A training step with its other functions, whose bits depend on nothing but the seed."""

    def __init__(self, rng: Rng, sizes: tuple[int, ...] | None = None) -> None:
        T, B, I, H = sizes or SIZES[int(rng.integers(len(SIZES)))]  # noqa: E741
        self.module = gn.nn.GRU(I, H, bidirectional=bool(rng.integers(2)), seed=0)
        self.head = gn.nn.Linear(H * (1 + self.module.bidirectional), 40, seed=0)
        self.x = rng.standard_normal((T, B, I)).astype("f4")
        self.lengths = rng.integers(0, T + 1, B) if rng.integers(2) else None
        self.reset = rng.random((T, B)) < 0.1 if rng.integers(2) else None
        self.targets = rng.integers(0, 40, T * B)
        self.tape = str(rng.choice(["gates", "states"]))
        self.rng = np.random.default_rng(0)

    def __call__(self, threads: int | None = None) -> list[Any]:
        threads = int(self.rng.integers(1, 5)) if threads is None else threads
        given = {"lengths": self.lengths, "reset": self.reset, "tape": self.tape, "threads": threads}
        (output, h_n), tape = self.module.forward(self.x, **given)
        logits, head_tape = self.head.forward(output, threads=threads)
        rows = logits.reshape(-1, 40)
        losses, d_rows = F.softmax_cross_entropy(rows, self.targets, gradient=True, threads=threads)
        d_output, head = self.head.backward(head_tape, d_rows.reshape(logits.shape), threads=threads)
        (d_x, d_h_0), own = self.module.backward(tape, d_output, threads=threads)
        table = F.embedding_backward(self.targets, rows, 40, threads=threads)
        return [output, h_n, logits, losses, d_x, d_h_0, table, *head.values(), *own.values()]


def same(results: list[Any], expected: list[Any]) -> None:
    for actual, wanted in zip(results, expected, strict=True):
        assert_same_bits(actual, wanted)


def bits(rng: Rng) -> None:
    """Any number of threads, calls at once, memory that is kept or given back, teams that change."""
    work = [Work(rng) for _ in range(3)]
    expected = [each(1) for each in work]

    def call(i: int) -> None:
        with findings.none(f"work {i}"):
            same(work[i](), expected[i])

    for _ in range(4):
        call(int(rng.integers(3)))
        if rng.integers(2):
            gn.release_memory()
        gn.set_team(str(rng.choice(["openmp", "threads"])))
        together = [threading.Thread(target=call, args=(int(i),)) for i in rng.integers(0, 3, 3)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()


@contextlib.contextmanager
def room_for(more: int) -> Iterator[None]:
    """Let the process have so many bytes of address space more. A sanitizer's shadow takes more than there is."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    if "GRU_NATIVE_SANITIZED" not in os.environ:
        resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


# ---- Hostile calls ----------------------------------------------------------------------------------------------


def hostile(rng: Rng) -> None:
    """Arguments that are not right, to everything public, and the methods of what it makes."""
    found = public()
    names = sorted(found)
    canary = Work(np.random.default_rng(1), (20, 9, 16, 32))
    expected = canary(1)
    for _ in range(150):
        world = World(rng)
        name = names[int(rng.integers(len(names)))]
        with room_for(1 << 30):  # or some sizes would be right, and take a minute to fill
            made = call(world, name.split(".")[-1], found[name], world.pick(*SHARES))
            if made is not None and isinstance(found[name], type):
                use(world, made)
        with findings.none(f"after {name}"):
            same(canary(), expected)


def call(world: World, owner: str, function: Callable[..., Any], wrong: float) -> Any:
    """Call with arguments of which a share is wrong, and return what comes, the first items of it."""
    chosen = arguments(world, owner, function, wrong)
    what = f"{owner}({', '.join(f'{name}={brief(value)}' for name, value in chosen.items())})"
    findings.doing(what)
    with findings.refusals(what):
        several = [p.name for p in parameters(function) if p.kind is p.VAR_POSITIONAL and p.name in chosen]
        result = function(*(chosen.pop(several[0]) if several else ()), **chosen)
        if hasattr(result, "__next__"):
            return list(itertools.islice(result, 4))
        if isinstance(result, contextlib.AbstractContextManager):
            with result:
                pass
        return result
    return None


def brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    try:
        return repr(value)[:60]
    except Exception:
        return type(value).__name__


def use(world: World, item: Any) -> None:
    """Call methods of an object; of a module or a loss the three that make up its work."""
    kind = type(item)
    name, world.item = kind.__name__, item
    forward = getattr(kind, "_forward", getattr(kind, "forward", None))
    if forward is not None and hasattr(kind, "backward"):
        skip = 2 if hasattr(kind, "_forward") else 1
        if hasattr(kind, "_call"):
            call(world, name, rebound(item, kind._call, 2), 0.15)
        made = call(world, name, rebound(item, forward, skip, "forward"), 0.15)
        if isinstance(made, tuple) and len(made) == 2:
            result, tape = made
            d = result[0] if isinstance(result, tuple) else result
            if world.rng.random() < 0.4:
                d = near(world, d)
            for _ in range(2):  # a tape may serve once
                with findings.refusals(f"{name}.backward({brief(d)})"):
                    item.backward(tape, d)
    methods = [own for own, value in inspect.getmembers(kind, callable) if not own.startswith("_")]
    for own in world.rng.permutation(methods)[:3]:
        if own not in ("forward", "backward") and f"{name}.{own}" not in INTERNAL:
            call(world, f"{name}.{own}", getattr(item, own), world.pick(*SHARES))


def rebound(item: Any, method: Callable[..., Any], skip: int, public_name: str = "__call__") -> Callable[..., Any]:
    """Return the public method with the parameters of the one that it hands its arguments to."""

    def function(**given: Any) -> Any:
        return getattr(item, public_name)(**given)

    named = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters(method, skip) if p.kind is not p.VAR_POSITIONAL]
    function.__signature__ = inspect.Signature(named)  # type: ignore[attr-defined]
    return function


# ---- Files ------------------------------------------------------------------------------------------------------


def damaged(rng: Rng) -> None:
    """Files of models and of runs: damage is refused, and nothing is taken over then."""
    world = World(rng)
    model, run = world.file(), world.folder / "run"
    world.trainer().fit(world.data(), epochs=1, progress=False, checkpoint=run)
    plan = gn.io.load_arrays(run)[1]["checkpoint"]["plan"]
    with findings.none("files without damage"):
        gn.load(model)
        gn.train.Checkpoint(run).restore(world.trainer(), plan)
    for path, read in {model: lambda: load_model(model), run: lambda: resume(world, run, plan)}.items():
        raw = path.read_bytes()
        for i in range(60):
            what = f"damage {i} of {path.name}"
            findings.doing(what)
            path.write_bytes(damage(world, raw))
            with findings.none(what):
                read()


def damage(world: World, raw: bytes) -> bytes:
    """Return a file cut off, with another byte or two, or with another header or other arrays, signed or not."""
    rng = world.rng
    size = struct.unpack("<Q", raw[:8])[0]
    way = int(rng.integers(6))
    if way == 0:
        return raw[: int(rng.integers(len(raw)))]
    if way == 1:
        changed = bytearray(raw)
        for _ in range(int(rng.integers(1, 3))):
            changed[int(rng.integers(8 + size))] = int(rng.integers(256))
        return bytes(changed)
    header = json.loads(raw[8 : 8 + size])
    if way == 2:
        tensors = {name: item for name, item in header.items() if name != "__metadata__"}
        text = json.dumps({**rearranged(world, tensors), "__metadata__": header["__metadata__"]}).encode()
        return struct.pack("<Q", len(text)) + text + raw[8 + size :]
    entry, arrays = json.loads(header["__metadata__"]["gru_native"]), safetensors.numpy.load(raw)
    if way == 3:
        entry = rearranged(world, entry)
    else:
        arrays = other_arrays(world, arrays)
    if isinstance(entry.get("checkpoint"), dict) and rng.integers(2):  # as if a run had written it
        entry["hash"] = gn.train.checkpoint._hash(entry["checkpoint"], arrays)
    return safetensors.numpy.save(arrays, {"gru_native": json.dumps(entry)})


def streams(rng: Rng) -> None:
    """What the core reads, damaged: refused, or the model that Python makes of the same file. And snapshots."""
    world = World(rng)
    names = [*MODELS, "embedding"]
    for _ in range(8):
        name, dtype = names[int(rng.integers(len(names)))], str(rng.choice(["float32", "float64"]))
        model = embedded(dtype) if name == "embedding" else MODELS[name](world.I, world.H, dtype=dtype)
        raw = gn.io.content(model)
        with findings.none(f"{name} without damage"):
            assert stepped(world, raw), "it was refused"
        for i in range(40):
            what = f"damage {i} of {name}"
            findings.doing(what)
            with findings.none(what):
                stepped(world, damage(world, raw))


def stepped(world: World, content: bytes) -> bool:
    """Take a model some steps further, if it is one, and compare with Python's."""
    try:
        core = _session.Model(content)
    except (ValueError, MemoryError):
        return False
    session, batch = _session.Session(core, 2), 2
    sizes = (3, batch) if core.indices else (3, batch, core.input_size)
    x = world.rng.integers(0, core.indices, sizes) if core.indices else world.rng.standard_normal(sizes, core.dtype)
    kept = session.snapshot()
    with np.errstate(all="ignore"):
        y = np.stack([session.step(each) for each in x])
        spoil_snapshot(world, session, kept)
        path = world.folder / "content"
        path.write_bytes(content)
        try:
            model = gn.load(path)
        except gn.ModelFileError:
            return True
        if not any(getattr(module, "batch_first", False) for _, module in model.named_modules()):
            np.testing.assert_array_equal(y, whole(model, x))
    return True


def spoil_snapshot(world: World, session: Any, kept: bytes) -> None:
    changed = bytearray(kept)
    changed[int(world.rng.integers(len(kept)))] ^= 1 << int(world.rng.integers(8))
    before = session.snapshot()
    for wrong in (bytes(changed), kept[: int(world.rng.integers(len(kept)))]):
        with contextlib.suppress(ValueError):
            session._restore(wrong)
            raise AssertionError("a damaged snapshot was taken")
        assert session.snapshot() == before, "half of a snapshot was taken over"
    session._restore(kept)


def other_arrays(world: World, arrays: dict[str, Any]) -> dict[str, Any]:
    """Return arrays of which one is gone, or has another name, shape, dtype or content."""
    name = str(world.rng.choice(sorted(arrays)))
    array = arrays[name]
    others = {each: own for each, own in arrays.items() if each != name}
    flat = array.reshape(-1)
    shapes = array[..., None], flat, flat[:0], np.concatenate([flat, flat])
    return others | world.pick(
        {},
        {f"{name}_": array},
        {name.split("/")[-1]: array},
        {name: world.pick(*shapes)},
        {name: array.astype(world.pick("f8", "f4", "f2", "i8", "u1", "?"))},
        {name: np.full(array.shape, world.pick(np.nan, np.inf, -1)).astype(array.dtype)},
    )


def rearranged(world: World, nest: Any) -> Any:
    """Return JSON with one value or name somewhere in it changed."""
    rng = world.rng
    if isinstance(nest, dict) and nest:
        names = list(nest)
        one, other = names[int(rng.integers(len(names)))], names[int(rng.integers(len(names)))]
        way = int(rng.integers(6))
        changed = dict(nest)
        if way == 0:
            changed[f"{one}_"] = changed.pop(one)
        elif way == 1:
            del changed[one]
        elif way == 2:
            changed[one], changed[other] = changed[other], changed[one]
        else:
            changed[one] = rearranged(world, changed[one])
        return changed
    if isinstance(nest, list) and nest and rng.integers(2):
        place = int(rng.integers(len(nest)))
        return [*nest[:place], rearranged(world, nest[place]), *nest[place + 1 :]]
    return world.pick(None, -1, 0, 1, 7, 2**31, 2**63, 10**30, 1.5, "", "x", "F64", [], {}, [2, 2], True, float("nan"))


def load_model(path: Path) -> None:
    """Read in every way; what loads has the names and shapes of its own configuration."""
    for read in (gn.load, gn.load_state, gn.load_metadata):
        with contextlib.suppress(gn.ModelFileError):
            read(path)
    try:
        model = gn.load(path)
    except gn.ModelFileError:
        return
    fresh, arrays = gn.nn.from_config(model.config()).state_dict(), model.state_dict()
    in_file = gn.load_state(path)
    assert fresh.keys() == arrays.keys() == in_file.keys(), "a file with other names was taken"
    for name, array in arrays.items():
        assert array.shape == fresh[name].shape, f"{name} has a wrong shape"
        np.testing.assert_array_equal(array, in_file[name], err_msg=f"{name} is not the file's")


def resume(world: World, path: Path, plan: Any) -> None:
    """Restore a run; a refused one changes nothing, an accepted one is the file's."""
    trainer = world.trainer()
    before = everything(trainer)
    try:
        gn.train.Checkpoint(path).restore(trainer, plan)
    except (gn.ModelFileError, gn.train.OtherRunError):
        assert everything(trainer) == before, "half of a damaged file was taken over"
        return
    in_file = {name[6:]: array for name, array in gn.load_state(path).items() if name.startswith("model/")}
    own = trainer.model.state_dict()
    assert own.keys() == in_file.keys(), "a file with other names was taken"
    for name, array in own.items():
        np.testing.assert_array_equal(array, in_file[name], err_msg=f"{name} is not the file's")
    assert isinstance(trainer.step, int), f"step became {trainer.step!r}"


def everything(trainer: gn.train.Trainer) -> dict[str, bytes]:
    states = {"model": trainer.model.state_dict(), "optimizer": trainer.optimizer.state_dict()}
    arrays = {f"{group}/{name}": np.asarray(a).tobytes() for group, own in states.items() for name, a in own.items()}
    return arrays | {"step": str(trainer.step).encode()}


# ---- Threads, forks, memory, signals ----------------------------------------------------------------------------


def writers(rng: Rng) -> None:
    """Another thread writes to the arrays that decide where memory is touched, during calls that read them."""
    sys.setswitchinterval(1e-4)
    found = {name: item for name, item in public().items() if DECISIVE & takes(item)}
    names = sorted(found)
    for _ in range(8):
        world = World(rng, 60)
        name = names[int(rng.integers(len(names)))]
        item, owner = found[name], name.split(".")[-1]
        given = arguments(world, owner, item, 0) if not isinstance(item, type) else None
        made = call(world, owner, item, 0) if given is None else None
        findings.doing(f"{name} while {sorted(DECISIVE & takes(item))} are written to")
        if given is None:
            if made is None:
                continue
            hidden = hasattr(item, "_forward")
            forward = rebound(made, item._forward if hidden else item.forward, 2 if hidden else 1, "forward")
            given = arguments(world, owner, forward, 0)
        over = threading.Event()
        decisive = [given[own] for own in DECISIVE & given.keys() if isinstance(given[own], np.ndarray)]
        writer = threading.Thread(target=write, args=(decisive, over))
        writer.start()
        end = time.monotonic() + 0.25
        while time.monotonic() < end:
            with findings.refusals(name):
                if made is None:
                    results = item(**given)
                    if isinstance(results[-1], F.RecurrentTape):
                        F.recurrent_backward(results[1], results[0][0])
                else:
                    result, tape = forward(**given)
                    made.backward(tape, result[0] if isinstance(result, tuple) else result)
        over.set()
        writer.join()


def takes(item: Callable[..., Any]) -> set[str]:
    """Return the names of a function's arguments, or of what the ``forward`` of a class takes."""
    if isinstance(item, type):
        item = getattr(item, "_forward", getattr(item, "forward", object))
    return {parameter.name for parameter in parameters(item)}


def write(arrays: list[Any], over: threading.Event) -> None:
    right = [array.copy() for array in arrays]
    for i in itertools.count():
        for array, before in zip(arrays, right, strict=True):
            if i % 2:
                array[...] = before
            elif array.dtype == bool:
                array.view("u1")[...] = 7
            else:
                array.reshape(-1)[-(array.size // 2) - 1 :] = 10**7 if i % 4 else 2**40
        if over.wait(0.0002):
            return


def in_child(work: Callable[[], None], what: str, seconds: float = 40) -> None:
    """Run in a fork, and note it when it fails or does not end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(int(seconds))
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        findings.note(what, AssertionError("hung" if code == -signal.SIGALRM else f"ended with {code}"))


def forks(rng: Rng) -> None:
    """Forks before and after calls, and beside threads that compute; children fork again."""
    work = Work(rng)
    before = int(rng.integers(3))
    findings.doing(f"forks after {('no call', 'a call', 'a call in another thread')[before]}")
    wanted = work(1)

    def compute() -> None:
        same(work(), wanted)

    if before == 1:
        compute()
    elif before == 2:
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
    over = threading.Event()

    def go_on() -> None:
        while not over.is_set():
            compute()

    others = [threading.Thread(target=go_on) for _ in range(int(rng.integers(3)))]
    for thread in others:
        thread.start()

    def child() -> None:
        compute()
        in_child(compute, "a child's child")
        findings.end()

    for i in range(4):
        findings.doing(f"fork {i} beside {len(others)} threads")
        in_child(child, f"fork {i} beside {len(others)} threads")
        with findings.none("the parent, after a fork"):
            compute()
    over.set()
    for thread in others:
        thread.join()


def memory(rng: Rng) -> None:
    """Less and less address space: results or MemoryError, and afterwards all is as before."""
    work = Work(rng)
    wanted = work(1)
    for _ in range(12):
        if rng.integers(3) == 0:
            F.empty(int(rng.integers(1, 300)) << 20, np.dtype(np.uint8))[::4096] = 1  # to be kept
        room = int(rng.integers(0, 60)) << 20 >> int(rng.integers(0, 6))
        findings.doing(f"room for {room >> 10} KB")
        with room_for(room):
            for _ in range(3):
                with findings.none(f"room for {room} bytes"), contextlib.suppress(MemoryError):
                    same(work(int(rng.integers(1, 9))), wanted)
    with findings.none("with all memory again"):
        same(work(), wanted)


class Enough(Exception):
    """What a signal handler raises."""


def signals(rng: Rng) -> None:
    """Signals at any moment, whose handlers return, compute or raise."""
    small = Work(rng, (20, 9, 16, 32))
    large = Work(rng, ((2000, 64, 32, 128), (20_000, 1, 16, 256))[int(rng.integers(2))])
    wanted = small(1)
    ways = itertools.cycle(rng.permutation(["return", "compute", "raise"]).tolist())

    def handler(*_: Any) -> None:
        way = next(ways)
        if way == "compute":
            same(small(2), wanted)
        elif way == "raise":
            raise Enough

    signal.signal(signal.SIGALRM, handler)
    for _ in range(4):
        delay = float(rng.uniform(0.001, 0.4))
        findings.doing(f"a signal after {delay:.3f} s")
        with findings.none(f"a signal after {delay:.3f} s"), contextlib.suppress(Enough):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay, delay)
                large(int(rng.integers(1, 4)))
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        with findings.none("after a signal"), contextlib.suppress(Enough):
            same(small(), wanted)


KINDS = (
    "hostile",
    "valid",
    "damaged",
    "streams",
    "bits",
    "hostile",
    "writers",
    "forks",
    "hostile",
    "memory",
    "signals",
)
