"""Model files: the same model comes back, saving is all or nothing, and no file can do harm."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gru_native import io, nn
from gru_native.cli.files import read_text
from gru_native.io import ModelFileError
from gru_native.study.plan import read_json
from gru_native.train import CharacterModel, read_log

MODELS: dict[str, Callable[[], nn.Module]] = {
    "gru": lambda: nn.GRU(3, 4, seed=1),
    "gru, float64": lambda: nn.GRU(3, 4, bias=False, dtype="float64", seed=1),
    "stacked": lambda: nn.GRU(3, [5, 2], bidirectional=True, batch_first=True, reset_after=False, seed=1),
    "chosen": lambda: nn.LSTM(3, 4, recurrent_activation=("hard_sigmoid", 0.2, 0.5), peepholes=True, seed=1),
    "sequential": lambda: nn.Sequential(
        nn.Embedding(7, 3, seed=1), nn.GRU(3, 4, seed=2), nn.Dropout(0.5), nn.Linear(4, 7, seed=3)
    ),
    "buffers": lambda: nn.Sequential(nn.Linear(3, 4, seed=1), nn.BatchNorm1d(4), nn.LayerNorm(4)),
}


def model(seed: int = 1) -> nn.Module:
    return nn.GRU(3, 4, seed=seed)


def test_a_file_whose_layers_do_not_fit_is_refused(tmp_path: Path) -> None:
    layers = {"0": nn.GRU(3, 4, seed=1), "1": nn.Linear(5, 2, seed=1)}
    arrays = {f"{place}.{name}": array for place, layer in layers.items() for name, array in layer.state_dict().items()}
    config = {"type": "Sequential", "layers": {place: layer.config() for place, layer in layers.items()}}
    io.save_arrays(tmp_path / "model", arrays, {"config": config})
    with pytest.raises(ModelFileError, match=r"layer 1 \(Linear\): expected in_features = 4, which layer 0 \(GRU\)"):
        io.load(tmp_path / "model")


def assert_same_state(actual: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(actual) == list(expected) or sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype
        assert actual[name].shape == array.shape
        assert actual[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_the_same_model_comes_back(name: str, tmp_path: Path) -> None:
    original, path = MODELS[name](), tmp_path / "model.safetensors"
    io.save(original, path)
    loaded = io.load(path)
    assert type(loaded) is type(original)
    assert loaded.config() == original.config()
    assert_same_state(loaded.state_dict(), original.state_dict())
    assert_same_state(io.load_state(str(path)), original.state_dict())
    assert io.load_metadata(path) == {}


def test_metadata(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    metadata = {"vocabulary": "aä\n\"'\\\u2028😀\x00\ud800", "config": "mine", "": ""}
    io.save(model(), path, metadata)
    assert io.load_metadata(path) == metadata
    both = io.load_with_metadata(path)
    assert_same_state(both[0].state_dict(), model().state_dict())
    assert both[1] == metadata


def test_a_model_and_its_metadata_are_of_one_reading(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    CharacterModel.create("ab").save(path)
    with mock.patch.object(io, "load_arrays", wraps=io.load_arrays) as read:
        CharacterModel.load(path)
    read.assert_called_once_with(path)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = set()
    for attempt in range(5):
        path = tmp_path / f"{attempt}.safetensors"
        io.save(model(), path, {"a": "1", "b": "2", "c": "3"})
        contents.add(path.read_bytes())
    assert len(contents) == 1


def test_arrays_of_any_layout(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    square = np.arange(6.0).reshape(2, 3)
    arrays = {
        "transposed": square.T,
        "strided": square[:, ::2],
        "big endian": square.astype(">f8"),
        "scalar": np.array(7),
        "empty": np.zeros((0, 3), np.float32),
        "flag": np.array([True, False]),
    }
    io.save_arrays(path, arrays, {"step": 3})
    loaded, header = io.load_arrays(path)
    assert header == {"format": io.FORMAT, "step": 3}
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(loaded[name], array)
        assert loaded[name].shape == array.shape
    with pytest.raises(TypeError, match=r"^arrays\['a'\]: expected dtype uint64, .*, bool, got object"):
        io.save_arrays(path, {"a": np.array([None])}, {})


def test_files_are_those_of_the_library(tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "arrays.safetensors"
    dtypes = ["?", "i1", "u1", "i2", "u2", "f2", "i4", "u4", "f4", "c8", "i8", "u8", "f8", ">f4", ">i2"]
    arrays = {
        f"{name}{dtype}": rng.integers(0, 2, shape).astype(dtype)
        for dtype in dtypes
        for name, shape in {"z": (), "a": (3, 5), 'ä"\\\n\x1f\x7f😀\u2028': (7,), "A": (2, 0, 4), "": (1,)}.items()
    }
    for count in range(len(arrays) + 1):
        some = {name: arrays[name] for name in rng.permutation([*arrays])[:count].tolist()}
        io.save_arrays(path, some, {"text": "ü\x7f\u2028"})
        entry = json.dumps({"text": "ü\x7f\u2028", "format": io.FORMAT})
        assert path.read_bytes() == safetensors.numpy.save(some, {"gru_native": entry})


def test_what_no_file_of_the_format_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    with pytest.raises(ValueError, match="^arrays: the name '__metadata__' is taken by the format"):
        io.save_arrays(path, {"__metadata__": np.zeros(1)}, {})
    with pytest.raises(ValueError, match="^header: expected up to 100000000 bytes together with the names, got 1000"):
        io.save_arrays(path, {}, {"text": "x" * 100_000_000})
    assert not path.exists()


def test_files_of_other_programs(tmp_path: Path) -> None:
    """Weights from elsewhere come in by their names; what they belong to is for the user to say."""
    path = tmp_path / "elsewhere.safetensors"
    state = model(2).state_dict()
    safetensors.numpy.save_file(dict(state), path, {"format": "pt"})
    target = model(1)
    target.load_state_dict(io.load_state(path))
    assert_same_state(target.state_dict(), state)
    assert io.load_metadata(path) == {}
    with pytest.raises(ModelFileError, match=r"elsewhere\.safetensors: no model of gru_native"):
        io.load(path)


def test_a_file_that_torch_wrote(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path, target, theirs = tmp_path / "torch.safetensors", model(), torch.nn.GRU(3, 4)
    pytest.importorskip("safetensors.torch").save_model(theirs, path)
    target.load_state_dict(io.load_state(path))
    assert_same_state(target.state_dict(), {name: p.detach().numpy() for name, p in theirs.named_parameters()})


def with_header(path: Path, header: Any, arrays: dict[str, np.ndarray] | None = None) -> None:
    entry = header if isinstance(header, str) else json.dumps(header)
    arrays = model().state_dict() if arrays is None else arrays
    safetensors.numpy.save_file(arrays, path, {"gru_native": entry})


def config(**changes: Any) -> dict[str, Any]:
    return {"format": 1, "config": {**model().config(), **changes}}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "the header is not JSON"),
        ("[" * 100_000, "the header is not JSON"),
        ("[]", "the header has no format version"),
        ({"config": {}}, "the header has no format version"),
        ({"format": "1"}, "the header has no format version"),
        *[({"format": version}, "the header has no format version") for version in (-1, 0, 0.5, 1.0, True, False)],
        ('{"format": 1, "format": 1}', "the header is not JSON: a name stands twice among .'format', 'format'."),
        ('{"format": 1, "config": {"a": 1, "a": 2}}', "the header is not JSON: a name stands twice among .'a', 'a'."),
        ({"format": 2}, "expected format 1 or older, got 2: it takes a newer gru_native"),
        ({"format": 1}, "no model of gru_native"),
        ({"format": 1, "config": None}, "the file does not describe a model"),
        ({"format": 1, "config": []}, "the file does not describe a model"),
        ({"format": 1, "config": {}}, "the file does not describe a model"),
        (config(type="os.system"), "the file does not describe a model"),
        (config(type="Module"), "the file does not describe a model"),
        (config(type=["GRU"]), "the file does not describe a model"),
        (config(colour="red"), "the file does not describe a model"),
        (config(hidden_size=5), "the file does not describe a model"),
        (config(hidden_size=-4), "the file does not describe a model"),
        (config(hidden_size="4"), "the file does not describe a model"),
        (config(hidden_size=None), "the file does not describe a model"),
        (config(hidden_size=1 << 62), "the file does not describe a model"),
        # Small files that claim what no memory holds, or what would take forever.
        (config(hidden_size=1 << 20), "expected not many more numbers than there are"),
        (config(num_layers=9999), "expected not many more numbers than there are"),
        (config(num_layers=1 << 40), "num_layers: expected a whole number from 1 to 10000"),
        (config(dtype="object"), "the file does not describe a model"),
        (config(dtype="float64"), "expected dtype float64, got float32"),
    ],
)
def test_a_wrong_header(header: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with_header(path, header)
    with pytest.raises(ModelFileError, match=rf"model\.safetensors: .*{message}"):
        io.load(path)


def test_a_name_that_stands_twice_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    io.save(model(), path)
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    name, entry = next(item for item in json.loads(content[8:end]).items() if item[0] != "__metadata__")
    again = f', "{name}": {json.dumps(entry)}}}'.encode()
    header = content[8:end].rstrip()[:-1] + again
    path.write_bytes(len(header).to_bytes(8, "little") + header + content[end:])
    for read in READERS:
        with pytest.raises(ModelFileError, match=r"model\.safetensors: the header is not JSON: a name stands twice"):
            read(path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"no JSON", b"[" * 100_000, b"{}", b'{"a": 1, "a": 1}'])
def test_what_is_no_log_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^path: expected the log of a training run, got {path}: "):
        read_log(path)


def test_names_that_no_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"
    with pytest.raises(ValueError, match=r"^arrays: expected characters of Unicode, got '\\ud800' at 0"):
        io.save_arrays(path, {"\ud800": np.zeros(1)}, {})
    assert not path.exists()


@pytest.mark.parametrize("metadata", ["abc", {"vocabulary": 5}])
def test_wrong_metadata(metadata: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with_header(path, {"format": 1, "metadata": metadata})
    with pytest.raises(ModelFileError, match=f"expected strings by name as metadata, got {re.escape(repr(metadata))}"):
        io.load_metadata(path)


def test_arrays_that_do_not_fit_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    state = model().state_dict()
    first = next(iter(state))
    for arrays in (
        {name: array for name, array in state.items() if name != first},
        {**state, "more": np.zeros(1)},
        {**state, first: state[first][:-1].copy()},
    ):
        with_header(path, config(), arrays)
        with pytest.raises(
            ModelFileError, match="the file does not describe a model: .*(without a place|expected shape)"
        ):
            io.load(path)


def test_a_damaged_or_foreign_file_changes_nothing(tmp_path: Path) -> None:
    path, target = tmp_path / "model.safetensors", model(1)
    io.save(model(2), path)
    whole, before = path.read_bytes(), target.state_dict()
    header_end = 8 + int.from_bytes(whole[:8], "little")
    cuts = [0, 1, 7, 8, 9, header_end - 1, header_end, header_end + 1, len(whole) // 2, len(whole) - 1]
    foreign = [b"{}", b"PK\x03\x04" * 50, pickle.dumps(before), b"\xff" * 500, whole + b"\0", whole[::-1]]
    for content in [whole[:cut] for cut in cuts] + foreign:
        path.write_bytes(content)
        for read in (io.load, io.load_metadata, lambda path: target.load_state_dict(io.load_state(path))):
            with pytest.raises(ModelFileError, match=r"model\.safetensors: not a safetensors file, or a damaged one"):
                read(path)
    assert_same_state(target.state_dict(), before)


def test_who_reads_the_files_of_others_is_said(tmp_path: Path) -> None:
    for end, module in ((".keras", "keras"), (".h5", "keras"), (".ONNX", "onnx")):
        path = tmp_path / f"model{end}"
        path.write_bytes(b"PK\x03\x04" * 50)
        with pytest.raises(ModelFileError, match=rf"damaged one: .*; gru_native\.{module}\.load reads such files"):
            io.load(path)


def test_a_dtype_that_numpy_lacks(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = json.dumps({"w": {"dtype": "F8_E5M2", "shape": [2], "data_offsets": [0, 2]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(ModelFileError, match="has a dtype or a shape that NumPy does not have: 'F8_E5M2'"):
        model().load_state_dict(io.load_state(path))


def test_a_shape_that_numpy_lacks(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [1] * 65, "data_offsets": [0, 4]}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    for read in READERS:
        with pytest.raises(ModelFileError, match="has a dtype or a shape that NumPy does not have: .* found 65"):
            read(path)


READERS: list[Callable[[Path], Any]] = [
    io.load, io.load_state, io.load_metadata, io.load_with_metadata, io.load_arrays, CharacterModel.load
]  # fmt: skip


@pytest.mark.parametrize("read", [*READERS, read_log, read_text, read_json])
def test_what_is_no_regular_file_is_refused_at_once(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        for path in (tmp_path / "pipe", tmp_path / "socket", Path("/dev/zero")):
            with pytest.raises(OSError, match=f"Not a regular file: '{path}'"):
                read(path)
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read(tmp_path)


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    """It is damaged, and no reason for the process to die of SIGBUS."""
    program = """
import os, signal, sys
import numpy as np
from gru_native import io

path = sys.argv[1]
io.save_arrays(path, {"w": np.zeros(1 << 21)}, {})
size, reader = os.path.getsize(path), os.getpid()
cutter = os.fork()
if cutter == 0:
    while os.getppid() == reader:
        os.truncate(path, 4096)
        os.truncate(path, size)
    os._exit(0)
try:
    for _ in range(20):
        try:
            io.load_state(path)
        except io.ModelFileError:
            pass
finally:
    os.kill(cutter, signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "model.safetensors")], check=True, timeout=60)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_to_the_header_is_noticed_or_harmless(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    io.save(model(), path)
    content = bytearray(path.read_bytes())
    header_end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header_end - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        loaded = io.load(path)
    except ModelFileError:
        return
    assert sorted(loaded.state_dict()) == sorted(model().state_dict())


class Failure(BaseException):
    """Stands for whatever may come in between: a full disk, an interrupt."""


@pytest.fixture(params=["unnamed", "named"])
def temporary_file(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kinds of temporary file: without a name where the system can, with a name elsewhere."""
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


@pytest.mark.usefixtures("temporary_file")
@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_an_interrupted_save_leaves_the_old_file(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"

    def fail(*arguments: Any) -> None:
        raise Failure

    for exists in (False, True):
        with monkeypatch.context() as patch:
            patch.setattr(os, function, fail)
            with pytest.raises(Failure):
                io.save(model(2), path)
        assert os.listdir(tmp_path) == ([path.name] if exists else [])
        io.save(model(1), path)
        assert_same_state(io.load(path).state_dict(), model(1).state_dict())
        assert os.listdir(tmp_path) == [path.name]


@pytest.mark.usefixtures("temporary_file")
def test_a_write_that_fails_half_way(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # as a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            io.save_arrays(path, {"w": np.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [path.name]


def has_unnamed_files(folder: Path) -> bool:
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY))
    except (AttributeError, OSError):
        return False
    return True


def test_a_process_killed_while_saving(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    io.save(model(1), path)
    script = (
        "import os, sys, time, numpy as np\n"
        "from gru_native import io\n"
        "os.fsync = lambda fd: (print(os.fstat(fd).st_size, flush=True), time.sleep(60))\n"
        "io.save_arrays(sys.argv[1], {'w': np.zeros(1000)}, {})\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        written = int(process.stdout.readline())
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert written > 8000
    assert_same_state(io.load(path).state_dict(), model(1).state_dict())
    if has_unnamed_files(tmp_path):
        assert os.listdir(tmp_path) == [path.name]
    io.save(model(2), path)
    assert_same_state(io.load(path).state_dict(), model(2).state_dict())


@pytest.mark.usefixtures("temporary_file")
def test_threads_that_save_to_one_path(tmp_path: Path) -> None:
    path = tmp_path / "arrays.safetensors"

    def save(number: int) -> None:
        for _ in range(5):
            io.save_arrays(path, {"w": np.full(10_000, number)}, {"number": number})

    threads = [threading.Thread(target=save, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    arrays, header = io.load_arrays(path)
    assert (arrays["w"] == header["number"]).all()
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.usefixtures("temporary_file")
def test_a_new_file_is_like_any_other(tmp_path: Path) -> None:
    ordinary, path = tmp_path / "ordinary", tmp_path / "model.safetensors"
    ordinary.touch()
    io.save(model(), path)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(ordinary.stat().st_mode)


@pytest.mark.usefixtures("temporary_file")
@pytest.mark.parametrize("mode", [0o600, 0o664, 0o400])
def test_a_file_keeps_its_mode_and_owner_when_it_is_replaced(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    path.chmod(mode)
    with contextlib.suppress(OSError):  # for root alone
        os.chown(path, 1234, 5678)
    before = path.stat()
    with io.atomic_write(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == mode  # before there is anything to read
        file.write(b"new")
    after = path.stat()
    assert path.read_bytes() == b"new"
    assert after.st_ino != before.st_ino
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


@pytest.mark.usefixtures("temporary_file")
def test_a_file_that_cannot_be_given_away_keeps_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.safetensors"
    path.touch(0o600)

    def refuse(*arguments: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    io.save(model(), path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_symbolic_link_is_followed(tmp_path: Path) -> None:
    path, link = tmp_path / "model.safetensors", tmp_path / "latest.safetensors"
    link.symlink_to(path.name)
    io.save(model(), link)
    assert link.is_symlink()
    assert not path.is_symlink()
    assert_same_state(io.load(path).state_dict(), model().state_dict())


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe):
        with pytest.raises(ValueError, match="path: expected the name of a regular file"):
            io.save(model(), path)
    with pytest.raises(FileNotFoundError, match="path: there is no folder .*nowhere"):
        io.save(model(), tmp_path / "nowhere" / "model.safetensors")
    with pytest.raises(FileNotFoundError, match="No such file .*missing"):
        io.load(tmp_path / "missing")
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        io.load(tmp_path)
    with pytest.raises(TypeError, match=r"metadata\['epoch'\]: expected a string, got int"):
        io.save(model(), tmp_path / "model.safetensors", {"epoch": 3})  # type: ignore[dict-item]
    assert os.listdir(tmp_path) == ["pipe"]


# Layers of a user's own


def scaled_class(name: str = "Scaled") -> type[nn.Module]:
    def init(self: nn.Module, factor: float, inner: Any = None) -> None:
        nn.Module.__init__(self, {"offset": np.zeros(1, np.float32)})
        self.factor = factor
        self.inner = nn.Linear(3, 3, seed=1) if inner is None else nn.from_config(inner)

    def config(self: Any) -> dict[str, Any]:
        return {"factor": self.factor, "inner": self.inner.config()}

    def call(self: Any, snapshot: Any, x: Any, *, threads: int | None = None) -> Any:
        return self.factor * self.inner._call(snapshot["inner"], x) + snapshot.version["offset"]

    return type(name, (nn.Module,), {"__init__": init, "_config": config, "_call": call, "__qualname__": name})


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> type[nn.Module]:
    monkeypatch.setattr(nn, "_LAYERS", dict(nn._LAYERS))
    return nn.register(scaled_class())


def test_a_layer_of_ones_own_is_loaded(registered: Any, tmp_path: Path) -> None:
    model = nn.Sequential(registered(0.5), nn.Linear(3, 2, seed=2))
    model.assign({"0.offset": np.ones(1, np.float32)})
    io.save(model, tmp_path / "model.safetensors")
    loaded = io.load(tmp_path / "model.safetensors")
    x = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert type(loaded[0]) is registered


def test_a_file_names_no_class_that_was_not_registered(tmp_path: Path) -> None:
    io.save(scaled_class("Stranger")(0.5), tmp_path / "model.safetensors")
    message = "or of a class given to nn.register, got 'Stranger'"
    with pytest.raises(ModelFileError, match=message):
        io.load(tmp_path / "model.safetensors")


def test_names_are_not_taken_twice(registered: Any) -> None:
    assert nn.register(registered) is registered
    nn.register(scaled_class())  # the same, defined again, as in a notebook
    with pytest.raises(ValueError, match="^layer: expected a name that no other layer has, got GRU$"):
        nn.register(scaled_class("GRU"))
    with pytest.raises(ValueError, match="^layer: expected a name that no other layer has, got Sequential$"):
        nn.register(scaled_class("Sequential"))
    for wrong in (3, int, nn.Linear(1, 1), None):
        with pytest.raises(TypeError, match="^layer: expected a subclass of Module, got "):
            nn.register(wrong)  # type: ignore[type-var]
