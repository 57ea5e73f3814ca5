"""Files of Keras: a model predicts what it predicted there, and no file can do harm."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_files import write
from tolerances import assert_close

import gru_native as gn
from gru_native import nn
from gru_native.cli import main
from gru_native.io import ModelFileError

h5py = pytest.importorskip("h5py")

FILES = Path(__file__).parent / "keras_files"
TEXT, SERIES = FILES / "text_3.keras", FILES / "series_3.h5"


def two_ways() -> nn.Sequential:
    """That of keras_files/write.py, in our words."""
    return nn.Sequential(
        nn.GRU(2, 3, batch_first=True, activation="softsign", seed=0),
        nn.GRU(3, 3, batch_first=True, reset_after=False, seed=0),
        nn.LSTM(3, 2, batch_first=True, bidirectional=True, seed=0),
        nn.LastPooling(bidirectional=True, batch_first=True),
        nn.Linear(4, 3, bias=False, seed=0),
        nn.Activation("elu"),
        nn.Linear(3, 2, seed=0),
    )


def read(path: Path) -> nn.Module:
    if not path.name.endswith(".weights.h5"):
        return gn.keras.load(path)
    model = two_ways()
    gn.keras.load_weights(model, path)
    return model


def check(model: nn.Module, x: np.ndarray, y: np.ndarray, lengths: np.ndarray | None = None) -> None:
    found, *_ = model(x, lengths=lengths)
    assert_close(found, y, "keras")


# ---- Predictions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "major", "end"), write.KEPT)
def test_predictions_are_those_of_keras(name: str, major: int, end: str, tmp_path: Path) -> None:
    model = read(FILES / f"{name}_{major}{end}")
    with np.load(FILES / f"{name}_{major}.npz") as stored:
        case = dict(stored)
    check(model, **case)
    gn.save(model, tmp_path / "model")
    check(gn.load(tmp_path / "model"), **case)


def test_kept_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FILES.iterdir() if path.is_file()) < 250_000


@pytest.mark.parametrize("name", ["two_ways_2.h5", "two_ways_3.weights.h5"])
def test_weights_go_into_a_model_of_another_dtype(name: str) -> None:
    model = nn.Sequential(*(nn.from_config(layer.config() | _wide(layer)) for layer in two_ways()))
    gn.keras.load_weights(model, FILES / name)
    with np.load(FILES / f"{name.split('.')[0]}.npz") as case:
        check(model, case["x"].astype("float64"), case["y"])


def _wide(layer: nn.Module) -> dict[str, Any]:
    return {"dtype": "float64"} if "dtype" in layer.config() else {}


def test_a_stack_takes_layer_after_layer() -> None:
    """The two LSTMs of one kind in a file are the two layers of one module."""
    path = FILES / "two_ways_3.weights.h5"
    stacked = nn.Sequential(nn.GRU(2, 3, 2, batch_first=True, seed=0), *list(two_ways())[2:])
    with pytest.raises(ModelFileError, match=r"weights of gru_1: bias: expected shape"):
        gn.keras.load_weights(stacked, path)  # the second is of the other form


# ---- With Keras itself, where it is installed -----------------------------------------------------------------------


def keras_itself() -> Any:
    pytest.importorskip(os.environ.setdefault("KERAS_BACKEND", "torch"))
    return pytest.importorskip("keras", minversion="3")


of_keras = pytest.mark.filterwarnings("ignore:::keras", "ignore::DeprecationWarning")


@of_keras
@pytest.mark.parametrize("end", [".keras", ".h5"])
@pytest.mark.parametrize("name", write.MODELS)
def test_new_files(name: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{end}"
    case = write.write(name, keras_itself(), path, seed=1)
    check(gn.keras.load(path), **case)


CELLS = {
    "GRU": [{"reset_after": True}, {"reset_after": False}, {"recurrent_activation": "hard_sigmoid"}],
    "LSTM": [{}, {"activation": "relu"}, {"recurrent_activation": "hard_sigmoid", "activation": "softsign"}],
    "SimpleRNN": [{}, {"activation": "leaky_relu"}, {"activation": "sigmoid"}],
}


@of_keras
@pytest.mark.parametrize("end", [".keras", ".h5"])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("two", [True, False])
@pytest.mark.parametrize(("kind", "number"), [(kind, number) for kind, each in CELLS.items() for number in range(3)])
def test_each_cell(kind: str, number: int, two: bool, sequences: bool, end: str, tmp_path: Path) -> None:
    keras, rng = keras_itself(), np.random.default_rng(number)
    own = CELLS[kind][number] | {"use_bias": number != 1, "return_sequences": sequences}
    own |= {"dropout": 0.3, "recurrent_dropout": 0.1}
    layer = getattr(keras.layers, kind)(3, **own)
    layer = keras.layers.Bidirectional(layer) if two else layer
    model = write.filled(keras.Sequential([keras.Input((5, 2)), layer]), rng)
    x = rng.standard_normal((3, 5, 2)).astype("f4")
    model.save(tmp_path / f"model{end}")
    loaded = gn.keras.load(tmp_path / f"model{end}")
    assert (loaded[0].input_dropout, loaded[0].recurrent_dropout) == (0.3, 0.1)
    check(loaded, x, model.predict_on_batch(x))
    model.save_weights(tmp_path / "model.weights.h5")
    again = nn.from_config(loaded.config())
    gn.keras.load_weights(again, tmp_path / "model.weights.h5")
    check(again, x, model.predict_on_batch(x))


@of_keras
def test_batch_normalization_between_recurrent_layers(tmp_path: Path) -> None:
    """Predictions, and what a training step leaves of running values."""
    keras, rng = keras_itself(), np.random.default_rng(1)
    layers = keras.layers
    norm = layers.BatchNormalization()
    first = layers.GRU(4, return_sequences=True)
    model = keras.Sequential([keras.Input((None, 3)), first, norm, layers.LSTM(2)])
    write.filled(model, rng)
    model.save(tmp_path / "model.keras")
    loaded = gn.keras.load(tmp_path / "model.keras")
    x = rng.standard_normal((5, 7, 3)).astype("f4")
    check(loaded, x, model.predict_on_batch(x))
    norm(first(x), training=True)
    loaded.forward(x)
    (own,) = (module for _, module in loaded.named_modules() if isinstance(module, nn.BatchNorm1d))
    for name, value in (("running_mean", norm.moving_mean), ("running_var", norm.moving_variance)):
        np.testing.assert_allclose(own.state_dict()[name], keras.ops.convert_to_numpy(value), rtol=1e-6, atol=1e-6)


# ---- What is refused ------------------------------------------------------------------------------------------------


def rewritten(path: Path, change: Callable[[Any], Any], source: Path = TEXT, **members: bytes) -> Path:
    """Write an archive anew, with another configuration, and other members."""
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(contents["config.json"])
    contents["config.json"] = json.dumps(change(config) or config).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (contents | members).items():
            archive.writestr(name, content)
    return path


def option(place: int, **options: Any) -> Callable[[Any], Any]:
    """Change options of the layer at a place behind the input."""

    def change(config: Any) -> None:
        layer = config["config"]["layers"][place + 1]
        layer["config"] |= options

    return change


def kind(place: int, name: str) -> Callable[[Any], Any]:
    def change(config: Any) -> None:
        config["config"]["layers"][place + 1]["class_name"] = name

    return change


EMBEDDING, TWO, DROPOUT, GRU, NORM, DENSE = range(6)


def both(**options: Any) -> Callable[[Any], Any]:
    """Change options of both directions."""

    def change(config: Any) -> None:
        wrapper = config["config"]["layers"][TWO + 1]["config"]
        for side in ("layer", "backward_layer"):
            wrapper[side]["config"] |= options

    return change


def backward_alone(config: Any) -> None:
    config["config"]["layers"][TWO + 1]["config"]["backward_layer"]["config"]["activation"] = "relu"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (kind(GRU, "Lambda"), r"layer gru\w* \(Lambda\): has no counterpart; there are Embedding, Masking, GRU"),
        (kind(DROPOUT, "Masking"), r"layer dropout\w* \(Masking\): expected it in front of all layers"),
        (kind(NORM, "GlobalMaxPooling1D"), r"\(GlobalMaxPooling1D\): has no counterpart"),
        (option(GRU, go_backwards=True), r"layer gru\w* \(GRU\): expected go_backwards=False, got True"),
        (option(GRU, return_state=True), r"\(GRU\): expected return_state=False, got True"),
        (option(GRU, activation="gelu"), r"\(GRU\): expected activation to be one of hard_sigmoid, .*, got 'gelu'"),
        (option(GRU, activation={"class_name": "function"}), r"\(GRU\): expected activation to be one of"),
        (option(GRU, dtype="float16"), r"\(GRU\): expected dtype float32 or float64, got 'float16'"),
        (option(GRU, units=0), r"GRU: units: expected a whole number from 1 up, got 0"),
        (option(GRU, units=5), r"weights of gru: kernel: expected shape|expected up to|0.weight|weight_ih"),
        (option(GRU, units=10**12), r"expected \d+ numbers, as the layers have, in the weights, got \d+ bytes"),
        (option(GRU, units="4"), r"GRU: units: expected a whole number, got '4'"),
        (option(GRU, use_bias=True), r"weights of gru: expected 3 arrays for a GRU, got 2"),
        (option(TWO, merge_mode="sum"), r"\(Bidirectional\): expected merge_mode='concat', got 'sum'"),
        (both(go_backwards=True), r"\(GRU\): expected go_backwards=False, got True"),
        (backward_alone, r"\(Bidirectional\): expected both directions to be the same but for their weights"),
        (option(NORM, axis=0), r"\(LayerNormalization\): expected the last axis, got axis=0"),
        (option(NORM, scale=False), r"\(LayerNormalization\): expected scale=True where center=True, got False"),
        (option(DENSE, activation="gelu"), r"\(Dense\): expected activation to be one of"),
        (option(EMBEDDING, input_dim=11), r"weights of embedding: expected an array of up to 44 numbers"),
        (lambda config: {"class_name": "Sequential"}, r"config: expected it in the configuration"),
        (lambda config: {"class_name": "Lambda", "config": {}}, r"expected a Sequential or a functional model"),
        (lambda config: [config], r"class_name: expected it in the configuration"),
        (lambda config: config["config"]["layers"].pop(1) and None, r"expected an input \(batch, steps, features\)"),
        (lambda config: config["config"]["layers"].append(3), r"class_name: expected it"),
    ],
)
def test_a_layer_without_a_counterpart_is_named(change: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "model.keras", change)
    with pytest.raises(ModelFileError, match=f"^{path}: no model of Keras that can be read: .*({message})"):
        gn.keras.load(path)


def rewire(change: Callable[[list[Any]], Any]) -> Callable[[Any], Any]:
    return lambda config: change(config["config"]["layers"])


def shared_layer(layers: list[Any]) -> None:
    layers[2]["inbound_nodes"] *= 2


def skipping(layers: list[Any]) -> None:
    layers[3]["inbound_nodes"] = layers[2]["inbound_nodes"]


def in_training(layers: list[Any]) -> None:
    nodes = layers[2]["inbound_nodes"]
    (nodes[0]["kwargs"] if isinstance(nodes[0], dict) else nodes[0][0][3])["training"] = True


@pytest.mark.parametrize("change", [shared_layer, skipping, in_training])
def test_another_graph_than_a_chain_is_refused(change: Callable[[list[Any]], Any], tmp_path: Path) -> None:
    path = rewritten(tmp_path / "model.keras", rewire(change), FILES / "series_2.keras")
    with pytest.raises(ModelFileError, match="layer .*: expected (one call|a call without arguments)"):
        gn.keras.load(path)


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    def change(config: Any) -> None:
        config["config"]["output_layers"] = [["masking", 0, 0], *config["config"]["output_layers"]]

    path = rewritten(tmp_path / "model.keras", change, FILES / "series_2.keras")
    with pytest.raises(ModelFileError, match="expected one input and one output"):
        gn.keras.load(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"padding": "same"}, "expected strides=1 where padding='same', because zeros go by the length then, got 2"),
        ({"padding": "reflect"}, "expected padding to be one of valid, same, causal, got 'reflect'"),
        ({"groups": 2}, "expected groups=1, got 2"),
        ({"data_format": "channels_first"}, "expected data_format='channels_last', got 'channels_first'"),
        ({"activation": "gelu"}, "expected activation to be one of"),
        ({"strides": [2, 2]}, r"Conv1D: strides: expected a whole number, got \[2, 2\]"),
        ({"kernel_size": [0]}, "Conv1D: kernel_size: expected a whole number from 1 up, got 0"),
        ({"filters": 5}, "weights of conv1d: expected an array|weight"),
    ],
)
def test_convolutions_that_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = rewritten(tmp_path / "model.keras", option(0, **options), FILES / "waves_3.keras")
    with pytest.raises(ModelFileError, match=message):
        gn.keras.load(path)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nn.GRU(2, 3, seed=0), "expected as many layers as the model has, got gru_1/cell besides"),
        (lambda: nn.Sequential(*two_ways(), nn.Linear(2, 2, seed=0)), "expected dense_2/vars in the weights"),
        (
            lambda: nn.Sequential(nn.RNN(2, 3, seed=0)),
            r"layer 0 \(RNN\): expected one of \('simple_rnn',\) in the file",
        ),
        (lambda: nn.Sequential(nn.LSTM(2, 3, peepholes=True)), r"layer 0 \(LSTM\): has peephole_l0"),
        (lambda: nn.Sequential(nn.AttentionPooling(3)), r"layer 0 \(AttentionPooling\): has no counterpart in Keras"),
    ],
)
def test_weights_of_another_model(model: Callable[[], nn.Module], message: str) -> None:
    made = model()
    before = made.state_dict()
    with pytest.raises(ModelFileError, match=message):
        gn.keras.load_weights(made, FILES / "two_ways_3.weights.h5")
    assert all(made.state_dict()[name] is array for name, array in before.items())


def test_weights_alone_are_no_model() -> None:
    with pytest.raises(ModelFileError, match="weights alone: use load_weights"):
        gn.keras.load(FILES / "two_ways_3.weights.h5")


def test_without_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"needs h5py .*: pip install 'gru_native\[keras\]'"):
        gn.keras.load(SERIES)


# ---- Damaged and hostile files --------------------------------------------------------------------------------------


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        gn.keras.load(tmp_path / "nothing.keras")
    with pytest.raises(IsADirectoryError):
        gn.keras.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000)])
def test_what_is_no_file_of_keras(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    for call in (gn.keras.load, lambda path: gn.keras.load_weights(two_ways(), path)):
        with pytest.raises(ModelFileError, match="no model of Keras that can be read"):
            call(path)


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Neither as weights, beside what the layers need, nor as a text."""
    for member, message in (("model.weights.h5", "expected up to"), ("config.json", "expected up to 16777216")):
        path = rewritten(tmp_path / "model.keras", lambda config: None, **{member: bytes(200_000_000)})
        assert path.stat().st_size < 1_000_000
        with pytest.raises(ModelFileError, match=f"{member}: {message}.* bytes, got 200000000"):
            gn.keras.load(path)


def test_deep_json(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "model.keras", lambda config: None, **{"config.json": b"[" * 1_000_000})
    with pytest.raises(ModelFileError):
        gn.keras.load(path)


def weights_changed(tmp_path: Path, change: Callable[[Any], None]) -> Path:
    """Change the file in HDF5 within an archive."""
    with zipfile.ZipFile(TEXT) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content, "r+") as root:
        change(root)
    return rewritten(tmp_path / "model.keras", lambda config: None, **{"model.weights.h5": content.getvalue()})


DENSE_KERNEL = "layers/dense/vars/0"


def replaced(value: Any, **options: Any) -> Callable[[Any], None]:
    def change(root: Any) -> None:
        del root[DENSE_KERNEL]
        if isinstance(value, np.ndarray):
            root.create_dataset(DENSE_KERNEL, data=value, **options)
        elif value is not None:
            root[DENSE_KERNEL] = value

    return change


def virtual(root: Any) -> None:
    del root[DENSE_KERNEL]
    layout = h5py.VirtualLayout((4, 3), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 3))
    root.create_virtual_dataset(DENSE_KERNEL, layout)


def external(root: Any) -> None:
    del root[DENSE_KERNEL]
    root.create_dataset(DENSE_KERNEL, (4, 3), "f4", external=[("/etc/passwd", 0, 48)])


KERNEL = np.ones((4, 3), "f4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced(None), "expected 2 arrays|expected 0 in the weights|got no 0"),
        (replaced(h5py.ExternalLink("/etc/passwd", "/x")), "got a link to elsewhere"),
        (replaced(h5py.SoftLink("/layers")), "got a link to elsewhere"),
        (replaced(np.ones((4, 3), "i4")), "expected an array of floats, got int32"),
        (replaced(np.array([["x"]], "S1")), "expected an array of floats"),
        (replaced(np.ones((4, 4), "f4")), "expected an array of up to 15 numbers"),
        (replaced(np.ones((3, 4), "f4")), "expected shape"),
        (replaced(np.ones((4, 3), "c8")), "expected an array of floats"),
        (replaced(KERNEL, compression="gzip"), "in one piece"),
        (virtual, "in one piece"),
        (external, "in one piece"),
        (lambda root: root.pop("layers"), "expected weights under layers"),
        (lambda root: root.move("layers/dense", "layers/other"), "expected dense/vars in the weights, got no dense"),
    ],
)
def test_hostile_weights(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=message):
        gn.keras.load(weights_changed(tmp_path, change))


LISTS = np.array([np.arange(2), np.arange(3)], dtype=object)


@pytest.mark.parametrize(
    ("value", "dtype"), [(3, "i8"), (np.ones(3), "f8"), ("[]", None), (LISTS, h5py.vlen_dtype("i8"))], ids=str
)
def test_attributes_that_are_no_model(value: Any, dtype: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.h5"
    path.write_bytes(SERIES.read_bytes())
    with h5py.File(path, "r+") as root:
        root.attrs.create("model_config", value, dtype=dtype)
    with pytest.raises(ModelFileError, match="model_config: expected strings|class_name: expected it"):
        gn.keras.load(path)


MUTATE = """
import sys
import numpy as np
import gru_native as gn
from gru_native.io import ModelFileError

source, path, seed, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
content = np.fromfile(source, np.uint8)
model = gn.keras.load(source)
for each in range(seed, seed + count):
    rng = np.random.default_rng(each)
    damaged = content[: rng.integers(1, len(content)) if each % 4 == 0 else None].copy()
    places = rng.integers(0, len(damaged), rng.integers(1, 9))
    damaged[places] = rng.integers(0, 256, len(places))
    damaged.tofile(path)
    print(each, flush=True)
    for call in (gn.keras.load, lambda path: gn.keras.load_weights(model, path)):
        try:
            call(path)
        except ModelFileError:
            pass
"""


@pytest.mark.parametrize("name", ["text_3.keras", "series_3.h5", "two_ways_2.h5"])
def test_damaged_files(name: str, tmp_path: Path) -> None:
    """In a process of its own, which a fault of the library for HDF5 could end."""
    command = [sys.executable, "-c", MUTATE, str(FILES / name), str(tmp_path / name), "0", "200"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, (run.stdout.splitlines()[-1:], run.stderr[-2000:])


# ---- The command line -----------------------------------------------------------------------------------------------


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "model.safetensors"
    assert main(["convert", str(TEXT), str(out)]) == 0
    assert "GRU(input_size=4, hidden_size=3" in capsys.readouterr().out
    with np.load(FILES / "text_3.npz") as case:
        check(gn.load(out), **case)
    assert main(["convert", str(TEXT.with_suffix(".npz")), str(out)]) == 2
    assert "expected a name that ends in .keras, .h5" in capsys.readouterr().err
    assert main(["convert", str(FILES / "two_ways_3.weights.h5"), str(out)]) == 2
    assert "use load_weights" in capsys.readouterr().err
