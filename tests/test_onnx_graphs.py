"""Models as ONNX graphs: what onnxruntime makes of them is what they compute, and they come back with the same bits."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import assert_same_bits
from tolerances import assert_close

onnx = pytest.importorskip("onnx")

from onnx import checker, helper, numpy_helper, parser  # noqa: E402

from gru_native import ModelFileError, nn  # noqa: E402
from gru_native import onnx as ours  # noqa: E402

H = {"seed": 1}


def norm(layer: Any) -> Any:
    """Give a layer that normalizes other values than its first ones."""
    rng = np.random.default_rng(0)
    layer.load_state_dict(
        {
            name: own if own.ndim == 0 else rng.uniform(0.5, 2, own.shape).astype(own.dtype)
            for name, own in layer.state_dict().items()
        }
    )
    return layer


OF_LAYERS = (
    "sigmoid",
    "tanh",
    "relu",
    ("leaky_relu", 0.2),
    ("elu", 0.5),
    "softsign",
    "softplus",
    ("hard_sigmoid", 0.3),
)
OF_LAYERS = (*OF_LAYERS, ("thresholded_relu", 0.1))

MODELS: dict[str, Callable[[], Any]] = {
    "gru": lambda: nn.GRU(3, 5, **H),
    "gru batch first": lambda: nn.GRU(3, 5, 2, batch_first=True, bidirectional=True, dropout=0.5, **H),
    "gru reset before": lambda: nn.GRU(3, 5, bias=False, reset_after=False, direction="reverse", **H),
    "gru sizes": lambda: nn.GRU(3, [5, 4], bidirectional=True, **H),
    "gru activations": lambda: nn.GRU(
        3, 5, 2, bidirectional=True, recurrent_activation="hard_sigmoid", activation=("scaled_tanh", 1.5, 0.7), **H
    ),
    "gru clip": lambda: nn.GRU(3, 5, clip=0.3, recurrent_dropout=0.5, **H),
    "lstm": lambda: nn.LSTM(3, 5, 2, batch_first=True, **H),
    "lstm peepholes": lambda: nn.LSTM(3, 5, bidirectional=True, peepholes=True, **H),
    "lstm input_forget": lambda: nn.LSTM(3, 5, input_forget=True, **H),
    "lstm of three": lambda: nn.LSTM(
        3, [4, 5], recurrent_activation="hard_sigmoid", activation="softsign", cell_activation=("elu", 0.5), **H
    ),
    "rnn": lambda: nn.RNN(3, 5, 2, nonlinearity="relu", bidirectional=True, **H),
    "rnn leaky": lambda: nn.RNN(3, 5, nonlinearity=("leaky_relu", 0.2), direction="reverse", **H),
    "text": lambda: nn.Sequential(
        nn.Embedding(11, 4, **H), nn.Dropout(0.2), nn.GRU(4, [6, 5], batch_first=True, **H), nn.Linear(5, 11, **H)
    ),
    "two layers": lambda: nn.Sequential(
        nn.Linear(3, 4, bias=False, **H), norm(nn.LayerNorm(4)), nn.LSTM(4, 5, **H), nn.Sequential(nn.GRU(5, 3, **H))
    ),
    "last": lambda: nn.Sequential(nn.GRU(3, 5, **H), nn.LastPooling(), norm(nn.BatchNorm1d(5)), nn.Linear(5, 2, **H)),
    "last of both": lambda: nn.Sequential(
        nn.LSTM(3, 5, batch_first=True, bidirectional=True, **H), nn.LastPooling(True, True), nn.Linear(10, 2, **H)
    ),
    "mean": lambda: nn.Sequential(
        nn.GRU(3, 5, batch_first=True, **H), norm(nn.LayerNorm(5, bias=False)), nn.MeanPooling(True)
    ),
    "attention": lambda: nn.Sequential(
        nn.GRU(3, 5, bidirectional=True, **H), nn.AttentionPooling(10, 4, **H), nn.Linear(10, 2, **H)
    ),
    "activations": lambda: nn.Sequential(
        *(nn.Sequential(nn.Linear(3, 3, **H), nn.Activation(each)) for each in OF_LAYERS),
        nn.GRU(3, 5, **H),
        nn.Linear(5, 4, **H),
        nn.Softmax(),
    ),
    "convolutions": lambda: nn.Sequential(
        nn.Conv1d(3, 4, 3, stride=2, padding="causal", dilation=2, **H),
        nn.Activation("relu"),
        nn.Conv1d(4, 5, 4, padding="same", bias=False, **H),
        nn.GRU(5, 6, **H),
        nn.LastPooling(),
    ),
    "convolutions batch first": lambda: nn.Sequential(
        nn.Linear(3, 4, **H),
        nn.Conv1d(4, 5, 3, stride=2, padding=1, batch_first=True, **H),
        norm(nn.BatchNorm1d(5, channels_last=True, batch_first=True)),
        nn.LSTM(5, 6, batch_first=True, bidirectional=True, **H),
    ),
    "no recurrent layer": lambda: nn.Sequential(nn.Linear(3, 4, **H), norm(nn.BatchNorm1d(4)), nn.Linear(4, 2, **H)),
}
NO_LENGTHS = ("convolutions", "convolutions batch first", "no recurrent layer")
over_time = pytest.mark.parametrize("name", [name for name in MODELS if name not in NO_LENGTHS])
every_model = pytest.mark.parametrize("name", MODELS)


def layers_of(model: nn.Module) -> list[Any]:
    return [layer for _, layer in model.named_modules() if not isinstance(layer, nn.Sequential)]


def inputs_of(model: nn.Module, steps: int, batch: int, rng: np.random.Generator) -> np.ndarray:
    first, *_ = layers = layers_of(model)
    if all(not layer.recurrent for layer in layers):
        return rng.standard_normal((batch, 3)).astype(np.float32)
    batch_first = next(layer for layer in layers if layer.recurrent).batch_first
    shape = (batch, steps) if batch_first else (steps, batch)
    if isinstance(first, nn.Embedding):
        return rng.integers(0, first.num_embeddings, shape)
    return rng.standard_normal((*shape, 3)).astype(np.float32)


def drawn(state: Any, rng: np.random.Generator) -> Any:
    """Draw a state of the same form."""
    if isinstance(state, (tuple, list)):
        return type(state)(drawn(part, rng) for part in state)
    return rng.standard_normal(state.shape).astype(np.float32) / 2


def called(model: nn.Module, x: np.ndarray, states: Any = None, lengths: Any = None) -> tuple[Any, Any]:
    """Return a model's output and last states."""
    return model(x, states, lengths) if model.recurrent else (model(x), [])


def flat(states: Any) -> list[np.ndarray]:
    """Return the arrays of states: of each layer all h, then all c."""
    if isinstance(states, (tuple, list)):
        return [array for part in states for array in flat(part)]
    return [states]


def run(path: Path, feed: list[np.ndarray]) -> tuple[list[str], list[np.ndarray]]:
    """Return the names and values of the outputs."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    assert len(names) == len(feed)
    return [each.name for each in session.get_outputs()], session.run(None, dict(zip(names, feed, strict=True)))


@every_model
def test_any_batch_and_time_in_onnxruntime(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    model, path = MODELS[name](), tmp_path / "model.onnx"
    ours.export(model, path)
    checker.check_model(onnx.load(path), full_check=True)
    for steps, batch in ((7, 3), (1, 1), (20, 2)):
        x = inputs_of(model, steps, batch, rng)
        states = drawn(called(model, x)[1], rng)
        expected, final = called(model, x, states)
        _, (output, *last) = run(path, [x, *flat(states)])
        assert_close(output, expected, "golden_onnxruntime")
        for found, wanted in zip(last, flat(final), strict=True):
            assert_close(found, wanted, "golden_onnxruntime")


@over_time
def test_lengths_in_onnxruntime(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    model, path = MODELS[name](), tmp_path / "model.onnx"
    ours.export(model, path, states=False, lengths=True)
    checker.check_model(onnx.load(path), full_check=True)
    for lengths in ([7, 3, 0], [6, 6]):
        x = inputs_of(model, 8, len(lengths), rng)
        expected, _ = called(model, x, lengths=lengths)
        names, (output,) = run(path, [x, np.array(lengths, np.int32)])
        assert names == ["output"]
        assert_close(output, expected, "golden_onnxruntime")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"lengths": True}, {"states": False}], ids=str)
@every_model
def test_a_model_comes_back_with_the_same_bits(
    name: str, options: dict[str, bool], dtype: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    if name in NO_LENGTHS and options.get("lengths"):
        pytest.skip("it has no lengths")
    if name in ("gru activations", "lstm of three") and dtype == "float64":
        pytest.skip("1/6 is no number of float32")
    model, path = in_dtype(MODELS[name](), dtype), tmp_path / "model.onnx"
    ours.export(model, path, **options)
    back = ours.load(path)
    assert {own.dtype for own in back.state_dict().values()} <= {np.dtype(dtype), np.dtype(np.int64)}
    x = inputs_of(model, 7, 3, rng)
    x = x if x.dtype.kind == "i" else x.astype(dtype)
    lengths = [7, 0, 3] if options.get("lengths") else None
    (expected, _), (output, _) = called(model, x, lengths=lengths), called(back, x, lengths=lengths)
    assert_same_bits(output, expected)
    again = tmp_path / "again.onnx"
    ours.export(back, again, **options)
    assert_same_bits(called(ours.load(again), x, lengths=lengths)[0], expected)


def in_dtype(model: Any, dtype: str) -> Any:
    def cast(config: Any) -> Any:
        if not isinstance(config, dict):
            return config
        return {key: dtype if key == "dtype" else cast(value) for key, value in config.items()}

    made = nn.from_config(cast(model.config()))
    made.load_state_dict(model.state_dict())
    return made


def test_names_of_inputs_and_outputs(tmp_path: Path) -> None:
    def names(model: nn.Module, **options: Any) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        ours.export(model, tmp_path / "model.onnx", **options)
        graph = onnx.load(tmp_path / "model.onnx").graph

        def described(infos: Any) -> dict[str, list[Any]]:
            return {
                each.name: [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim]
                for each in infos
            }

        return described(graph.input), described(graph.output)

    assert names(nn.LSTM(3, 5, 2, bidirectional=True), lengths=True) == (
        {"x": ["time", "batch", 3], "lengths": ["batch"], "h_0": [4, "batch", 5], "c_0": [4, "batch", 5]},
        {"output": ["time", "batch", 10], "h_n": [4, "batch", 5], "c_n": [4, "batch", 5]},
    )
    chain = nn.Sequential(nn.Embedding(9, 3), nn.GRU(3, [5, 4], batch_first=True), nn.RNN(4, 2, batch_first=True))
    assert names(chain) == (
        {
            "indices": ["batch", "time"],
            "1.h_0_l0": [1, "batch", 5],
            "1.h_0_l1": [1, "batch", 4],
            "2.h_0": [1, "batch", 2],
        },
        {
            "output": ["batch", "time", 2],
            "1.h_n_l0": [1, "batch", 5],
            "1.h_n_l1": [1, "batch", 4],
            "2.h_n": [1, "batch", 2],
        },
    )
    assert names(nn.Sequential(nn.GRU(3, 4), nn.LastPooling()), states=False) == (
        {"x": ["time", "batch", 3]},
        {"output": ["batch", 4]},
    )


def test_the_file_says_which_operators_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for opset, ir_version in ((18, 8), (21, 10)):
        ours.export(nn.GRU(3, 4), path, opset=opset)
        model = onnx.load(path)
        assert [(each.domain, each.version) for each in model.opset_import] == [("", opset)]
        assert model.ir_version == ir_version
        (node,) = (node for node in model.graph.node if node.op_type == "GRU")
        assert {each.name: helper.get_attribute_value(each) for each in node.attribute} == {
            "direction": b"forward",
            "hidden_size": 4,
            "linear_before_reset": 1,
        }
    first = path.read_bytes()
    ours.export(nn.GRU(3, 4, seed=0), path)
    second = path.read_bytes()
    ours.export(nn.GRU(3, 4, seed=0), path)
    assert first != second == path.read_bytes()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nn.GRU(3, 4, layer_norm=True), "layer_norm: expected False, because ONNX's GRU has none, got True"),
        (lambda: nn.GRU(3, 4, zoneout=0.5), "zoneout: expected 0.0, because ONNX's GRU has none, got 0.5"),
        (
            lambda: nn.Sequential(nn.LSTM(3, 4, proj_size=2)),
            r"layer 0 \(LSTM\): proj_size: expected 0, because ONNX's LSTM has none, got 2",
        ),
        (
            lambda: nn.LSTM(3, 4, clip=2.0),
            "clip: expected None, because ONNX Runtime does not clip an LSTM's c, got 2.0",
        ),
        (
            lambda: nn.RNN(3, 4, nonlinearity=("elu", 1 / 3), dtype="float64"),
            "activation_alpha: expected a number of up to 7 digits, because ONNX's attributes are float32, got 0.333",
        ),
        (lambda: nn.GRUCell(3, 4), "model: expected GRU, LSTM, .* or AttentionPooling, got GRUCell"),
        (lambda: nn.Activation(("linear", 2.0)), "function: expected one for which ONNX has an operator, got"),
        (lambda: nn.LayerNorm([3, 4]), "normalized_shape: expected one axis"),
        (lambda: nn.BatchNorm1d(3, track_running_stats=False), "track_running_stats: expected True"),
    ],
)
def test_what_onnx_cannot_express(model: Callable[[], Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ours.export(model(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lengths", [None, [8, 3, 0]], ids=["all steps", "lengths"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_batches_of_sequences_normalized(
    batch_first: bool, lengths: list[int] | None, tmp_path: Path, rng: np.random.Generator
) -> None:
    own: dict[str, Any] = {"batch_first": batch_first}
    layers = [norm(nn.BatchNorm1d(size, channels_last=True, **own)) for size in (3, 5)]
    model = nn.Sequential(layers[0], nn.GRU(3, 5, **own, **H), layers[1]).eval()
    path, x = tmp_path / "model.onnx", rng.standard_normal((3, 8, 3) if batch_first else (8, 3, 3)).astype(np.float32)
    ours.export(model, path, states=False, lengths=lengths is not None)
    checker.check_model(onnx.load(path), full_check=True)
    expected, _ = model(x, lengths=lengths)
    _, (output,) = run(path, [x] if lengths is None else [x, np.array(lengths, np.int32)])
    assert_close(output, expected, "golden_onnxruntime")
    if lengths is not None:
        assert not (output if batch_first else output.swapaxes(0, 1))[1, 3:].any()
    back = ours.load(path)
    assert [layer.batch_first for layer in layers_of(back)] == [batch_first] * 3
    assert_same_bits(back(x, lengths=lengths)[0], expected)


def test_wrong_arguments_of_export(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(TypeError, match="model: expected a Module of gru_native.nn, or .*, got 'model'"):
        ours.export("model", path)
    with pytest.raises(ValueError, match="opset: expected a whole number from 18 to .*, got 17"):
        ours.export(nn.GRU(3, 4), path, opset=17)
    with pytest.raises(TypeError, match="states: expected True or False, got 1"):
        ours.export(nn.GRU(3, 4), path, states=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lengths: expected False, because no layer goes over time"):
        ours.export(nn.Linear(3, 4), path, lengths=True)
    with pytest.raises(ValueError, match=r"layer 0 \(Conv1d\): lengths: expected False, because ONNX's Conv"):
        ours.export(MODELS["convolutions"](), path, lengths=True)
    with pytest.raises(FileNotFoundError):
        ours.export(nn.GRU(3, 4), tmp_path / "no" / "model.onnx")


def test_the_axis_of_time_behind_a_convolution_has_a_name_of_its_own(tmp_path: Path) -> None:
    ours.export(nn.Conv1d(3, 4, 2, batch_first=True), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    (x, output) = (each.type.tensor_type.shape.dim for each in (graph.input[0], graph.output[0]))
    assert [size.dim_param for size in (*x, *output)] == ["batch", "time", "", "batch", "time_of_Conv_1", ""]


# Graphs that others write.


def chain(text: str, **constants: Any) -> nn.Sequential:
    """Load a graph from its text; constants are its initializers."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["": 18, "other": 1]> {text}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(own), name) for name, own in constants.items())
    return ours.load(model)


def weights(inputs: int = 3, hidden: int = 4, directions: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {"W": (3 * hidden, inputs), "R": (3 * hidden, hidden), "B": (6 * hidden,)}
    return {name: rng.standard_normal((directions, *shape)).astype(np.float32) for name, shape in shapes.items()}


def kinds(model: nn.Sequential) -> list[str]:
    return [type(layer).__name__ for layer in model]


AXIS_0, AXIS_1 = np.array([0]), np.array([1])
AXES = "float[T, B, 3] x) => (float[B, N] y"


@pytest.mark.parametrize(
    ("body", "constants"),
    [
        ("y0, h = GRU (x, W, R, B) y = Squeeze (h, axis)", {"axis": AXIS_0}),
        ("y0, h = GRU (x, W, R, B) s = Squeeze (y0, axis) y = Gather <axis = 0> (s, i)", {"axis": AXIS_1, "i": -1}),
        (
            "y0, h = GRU (x, W, R, B) s = Squeeze (y0, axis) l = Slice (s, b, e, a) y = Squeeze (l, a)",
            {"axis": AXIS_1, "a": AXIS_0, "b": np.array([-1]), "e": np.array([2**63 - 1])},
        ),
        (
            "y0, h = GRU (x, W, R, B) t = Transpose <perm = [0, 2, 1, 3]> (y0) s = Reshape (t, shape) "
            "y = Gather <axis = 0> (s, i)",
            {"shape": np.array([0, 0, 4]), "i": -1},
        ),
    ],
)
def test_the_last_step_in_many_words(body: str, constants: dict[str, Any], rng: np.random.Generator) -> None:
    model = chain(f"g ({AXES}) {{ {body} }}", **weights(), **constants)
    assert kinds(model) == ["GRU", "LastPooling"]
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    gru: Any = model[0]
    assert_same_bits(model(x)[0], gru(x)[0][-1])


def test_the_last_states_of_both_directions_side_by_side(rng: np.random.Generator) -> None:
    own = weights(directions=2)
    head = 'y0, h = GRU <direction = "bidirectional"> (x, W, R, B)'
    joined = chain(
        f"g ({AXES}) {{ {head} f = Gather (h, zero) r = Gather (h, one) y = Concat <axis = 1> (f, r) }}",
        **own,
        zero=-2,
        one=-1,
    )
    turned = chain(
        f"g ({AXES}) {{ {head} t = Transpose <perm = [1, 0, 2]> (h) y = Reshape (t, shape) }}", **own, shape=[-1, 8]
    )
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    for model in (joined, turned):
        assert kinds(model) == ["GRU", "LastPooling"]
        gru: Any = model[0]
        assert_same_bits(model(x)[0], np.concatenate(list(gru(x)[1]), axis=1))
    with pytest.raises(ValueError, match="output 'y': expected the last h of one layer, its directions side by side"):
        chain(
            f"g ({AXES}) {{ {head} f = Gather (h, a) r = Gather (h, b) y = Concat <axis = 1> (f, r) }}", **own, a=1, b=0
        )


def test_states_lengths_and_a_mean(rng: np.random.Generator) -> None:
    model = chain(
        "g (float[B, T, 3] x, float[2, B, 4] h0, int64[B] n) => (float[B, T, 4] y, float[2, B, 4] hn) {"
        "t = Transpose <perm = [1, 0, 2]> (x) i = Cast <to = 6> (n) a, b = Split <axis = 0, num_outputs = 2> (h0)"
        "y0, h1 = GRU (t, W, R, B, i, a) s0 = Squeeze (y0, one)"
        "y1, h2 = GRU (s0, V, R, B, i, b) s1 = Squeeze (y1, one)"
        "y = Transpose <perm = [1, 0, 2]> (s1) hn = Concat <axis = 0> (h1, h2) }",
        **weights(),
        V=weights(4)["W"],
        one=AXIS_1,
    )
    assert kinds(model) == ["GRU", "GRU"]
    assert all(layer.batch_first for layer in layers_of(model))
    x = rng.standard_normal((2, 5, 3)).astype(np.float32)
    output, _ = model(x, lengths=[5, 2])
    assert not output[1, 2:].any()


def convolved(attributes: str, weight: tuple[int, ...] = (5, 3, 4), turned: str = "[0, 2, 1]") -> nn.Sequential:
    """Load a convolution of sequences with three channels, and what stands behind it."""
    return chain(
        f"g (float[B, T, 3] x) => (float[B, N, 5] y) {{ t = Transpose <perm = {turned}> (x)"
        f"c = Conv {attributes} (t, W, B) r = Relu (c) y = Transpose <perm = [0, 2, 1]> (r) }}",
        W=np.random.default_rng(0).standard_normal(weight).astype(np.float32),
        B=np.arange(5, dtype=np.float32),
    )


@pytest.mark.parametrize(
    ("attributes", "options"),
    [
        ("", {}),
        ("<pads = [2, 2], kernel_shape = [4]>", {"padding": 2}),
        ("<pads = [6, 0], dilations = [2]>", {"padding": "causal", "dilation": 2}),
        ('<pads = [1, 2], strides = [2], auto_pad = "NOTSET", group = 1>', {"padding": "same", "stride": 2}),
    ],
)
def test_convolutions_of_others(attributes: str, options: dict[str, Any], rng: np.random.Generator) -> None:
    model = convolved(attributes)
    assert kinds(model) == ["Conv1d", "Activation"]
    wanted = nn.Conv1d(3, 5, 4, **options, batch_first=True, **H)
    assert model[0].config() == wanted.config()
    wanted.load_state_dict(model[0].state_dict())
    x = rng.standard_normal((2, 9, 3)).astype(np.float32)
    assert_same_bits(model(x), np.maximum(wanted(x), 0))


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (("<group = 3>", (5, 1, 4)), "group: expected 1, got 3"),
        (('<auto_pad = "SAME_LOWER">',), "auto_pad: expected 'NOTSET', got 'SAME_LOWER'"),
        (("<kernel_shape = [3]>",), r"kernel_shape: expected \[4\], got \[3\]"),
        (("<pads = [0, 1]>",), r"pads: expected as many on both sides, or .* causal or same, got \(0, 1\)"),
        (("", (5, 3, 4, 4)), r"W: expected one axis of windows, .*, got shape \(5, 3, 4, 4\)"),
        (("", (5, 3, 4), "[0, 1, 2]"), "X: expected sequences with channels on axis 1 and steps on axis 2"),
        (("", (6, 3, 4)), "bias: expected"),
    ],
)
def test_convolutions_that_are_no_layer(graph: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ModelFileError, match=f"Conv 'c': .*{message}"):
        convolved(*graph)


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (f"({AXES}) {{ y = Neg (x) }}", "output 'y': Neg 'y': this operator is no layer of this package"),
        (f"({AXES}) {{ y = Softmax (x) }}", "Softmax 'y': axis: expected that of the features, the last one"),
        (f"({AXES}) {{ y = Identity (x) }}", "output 'y': expected a layer before it, got none"),
        (f"({AXES}) {{ a = MatMul (x, M) y = Transpose (a) }}", "output 'y': expected axes as those of 'x'"),
        (f"({AXES}) {{ y = other.Thing (x) }}", "Thing 'y': this operator is no layer"),
        (f"({AXES}) {{ y0, h = GRU (x, W, R, B) y = Identity (y0) }}", "expected axes as those of 'x'"),
        (f"({AXES}) {{ y0 = GRU (x, W, R, x) y = Identity (y0) }}", "GRU 'y0': B: expected a constant"),
        (f"({AXES}) {{ y0 = GRU <clip = -1.0> (x, W, R) y = Identity (y0) }}", "GRU 'y0': clip: expected"),
        (f"({AXES}) {{ y0, y = GRU (x, W, R, B, , ones) }}", "initial_h: expected zeros or an input of the graph"),
        (f"({AXES}) {{ a = MatMul (x, M) y = MatMul (M, a) }}", "MatMul 'y': B: expected a constant"),
        (f"({AXES}) {{ a = MatMul (x, M) y = Add (a, a) }}", "Add 'y': expected a MatMul and its bias"),
        (f"({AXES}) {{ a = MatMul (x, M) y = Add (a, M) }}", r"Add 'y': expected a bias of shape \(3,\), got \(3, 3\)"),
        (f"({AXES}) {{ a = MatMul (x, M) y = Cast <to = 11> (a) }}", "Cast 'y': expected no change of the dtype"),
        (f"({AXES}) {{ a = MatMul (x, M) y = Transpose <perm = [1, 0, 2]> (a) }}", "expected axes as those of 'x'"),
        (
            f'({AXES}) {{ y0 = GRU <direction = "reverse"> (x, W, R) s = Squeeze (y0, one) y = Gather (s, last) }}',
            "Gather 'y': expected the last states, Y_h, got the last step of Y, where the reverse direction begins",
        ),
        (
            "(float[T, B, 3] x, int32[B] n) => (float[B, 4] y) { y0 = GRU (x, W, R, B, n) s = Squeeze (y0, one)"
            " y = Gather (s, last) }",
            "expected that all layers go by lengths, or none",
        ),
        (
            "(float[T, B, 3] x) => (float y, float z) { y = MatMul (x, M) z = MatMul (y, M) }",
            "expected a graph with one output beside states, got y, z",
        ),
        ("(float[3] x) => (float[3] y) { a = MatMul (x, M) y = Gather (a, last) }", "Gather 'y'"),
    ],
)
def test_what_is_no_chain_is_refused_by_name(graph: str, message: str) -> None:
    constants = weights() | {"M": np.eye(3, dtype=np.float32), "ones": np.ones((1, 1, 4), np.float32)}
    with pytest.raises(ModelFileError, match=message):
        chain(f"g {graph}", **constants, one=AXIS_1, last=-1)


def test_what_is_no_file_of_onnx(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"something else")
    with pytest.raises(ModelFileError, match="model.onnx: not an ONNX model, or a damaged one"):
        ours.load(path)
    with pytest.raises(ModelFileError, match="source: not an ONNX model"):
        ours.load(b"")
    with pytest.raises(FileNotFoundError):
        ours.load(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="source: expected a path, as a string or Path, got 3"):
        ours.load(3)  # type: ignore[arg-type]
    ours.export(nn.GRU(3, 4), path)
    whole = path.read_bytes()
    assert kinds(ours.load(whole)) == kinds(ours.load(onnx.load(path))) == ["GRU"]
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="arrays", size_threshold=0)
    assert len(path.read_bytes()) < len(whole)
    assert kinds(ours.load(path)) == ["GRU"]


@pytest.mark.shared
def test_a_trained_network_from_tensorflow(shared: Path, rng: np.random.Generator) -> None:
    """A stage of DTLN, step by step there and at once here."""
    onnxruntime = pytest.importorskip("onnxruntime")
    stored = onnx.load(shared / "golden" / "dtln" / "model_1.onnx")
    model = ours.load(stored)
    assert kinds(model) == ["LSTM", "LSTM", "Linear", "Activation"]
    session = onnxruntime.InferenceSession(stored.SerializeToString(), providers=["CPUExecutionProvider"])
    x, state, steps = rng.random((1, 20, 257), np.float32), np.zeros((1, 2, 128, 2), np.float32), []
    for step in range(20):
        output, state = session.run(None, {"input_2": x[:, step : step + 1], "input_3": state})
        steps.append(output)
    found, states = model(x)
    assert_close(found, np.concatenate(steps, axis=1), "golden_onnxruntime")
    assert_close(np.stack([np.stack(own, -1)[0, 0] for own in states])[None], state, "golden_onnxruntime")


# PyTorch's modules, and its exporters.


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_modules_of_torch(kind: str, tmp_path: Path, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    import gru_native.torch as gt

    options: dict[str, Any] = (
        {"reset_after": False} if kind == "GRU" else {"nonlinearity": "relu"} if kind == "RNN" else {}
    )
    for module in (
        getattr(gt, kind)(3, 5, 2, bidirectional=True, batch_first=True, **options),
        getattr(torch.nn, kind)(3, 5, bias=False),
    ):
        path = tmp_path / "model.onnx"
        ours.export(module, path, states=False)
        x = rng.standard_normal((4, 6, 3)).astype(np.float32)
        with torch.no_grad():
            expected, _ = module(torch.from_numpy(x))
        _, (output,) = run(path, [x])
        assert_close(output, expected.numpy(), "golden_onnxruntime")
    with pytest.raises(ValueError, match="has none"):
        ours.export(gt.GRU(3, 5, layer_norm=True), tmp_path / "none.onnx")
    with pytest.raises(ValueError, match="zoneout: expected 0.0, because ONNX's RNN has none, got 0.5"):
        ours.export(gt.RNN(3, 5, zoneout=0.5), tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="model: expected a Module of gru_native.nn, or .*, got Linear"):
        ours.export(torch.nn.Linear(3, 5), tmp_path / "none.onnx")


# Its newer exporter writes the steps of other layers one by one, for the length of the example.
EXPORTED = [(kind, batch_first, False) for kind in ("GRU", "LSTM", "RNN") for batch_first in (False, True)]
EXPORTED += [("GRU", True, True), ("LSTM", True, True)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("kind", "batch_first", "dynamo"), EXPORTED)
def test_what_torch_exports(
    kind: str, batch_first: bool, bidirectional: bool, dynamo: bool, rng: np.random.Generator
) -> None:
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.embedding = torch.nn.Embedding(7, 3)
            self.layers = getattr(torch.nn, kind)(3, 4, 2, batch_first=batch_first, bidirectional=bidirectional)
            self.norm = torch.nn.LayerNorm(8 if bidirectional else 4)
            self.head = torch.nn.Linear(8 if bidirectional else 4, 2)

        def forward(self, indices: Any) -> Any:
            return self.head(self.norm(self.layers(self.embedding(indices))[0]))

    torch.manual_seed(0)
    model, file = Model().eval(), io.BytesIO()
    indices = torch.randint(7, (5, 6))
    if dynamo:
        axes = {"indices": {0: torch.export.Dim("a"), 1: torch.export.Dim("b")}}
        torch.onnx.export(model, (indices,), file, dynamo=True, dynamic_shapes=axes, verbose=False)
    else:
        named = {"indices": {0: "a", 1: "b"}}
        torch.onnx.export(
            model, (indices,), file, dynamo=False, input_names=["indices"], dynamic_axes=named, opset_version=18
        )
    loaded = ours.load(file.getvalue())
    assert kinds(loaded) == ["Embedding", kind, kind, "LayerNorm", "Linear"]
    x = rng.integers(0, 7, (4, 9))
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()
    assert_close(called(loaded, x)[0], expected, "float32_forward")


POOLS: dict[str, tuple[bool, Callable[..., Any]]] = {
    "last": (False, lambda torch, output, h: output[:, -1]),
    "mean": (True, lambda torch, output, h: output.mean(1)),
    "last state": (False, lambda torch, output, h: h[-1]),
    "last states": (True, lambda torch, output, h: torch.cat((h[-2], h[-1]), dim=1)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", POOLS)
def test_how_torch_pools(name: str, dynamo: bool, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    if dynamo:
        pytest.importorskip("onnxscript")
    bidirectional, pool = POOLS[name]
    size = 8 if bidirectional else 4

    class Model(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.GRU(3, 4, 2, batch_first=True, bidirectional=bidirectional)
            self.head = torch.nn.Sequential(torch.nn.BatchNorm1d(size), torch.nn.Dropout(), torch.nn.Linear(size, 2))

        def forward(self, x: Any) -> Any:
            return self.head(pool(torch, *self.layers(x)))

    torch.manual_seed(0)
    model, file, x = Model().eval(), io.BytesIO(), torch.randn(5, 6, 3)
    if dynamo:
        axes = {"x": {0: torch.export.Dim("a"), 1: torch.export.Dim("b")}}
        torch.onnx.export(model, (x,), file, dynamo=True, dynamic_shapes=axes, verbose=False)
    else:
        named = {"x": {0: "a", 1: "b"}}
        torch.onnx.export(model, (x,), file, dynamo=False, input_names=["x"], dynamic_axes=named, opset_version=17)
    loaded = ours.load(file.getvalue())
    pooling = "MeanPooling" if name == "mean" else "LastPooling"
    assert kinds(loaded) == ["GRU", "GRU", pooling, "BatchNorm1d", "Linear"]
    given = rng.standard_normal((4, 9, 3)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(given)).numpy()
    assert_close(loaded(given)[0], expected, "float32_forward")
