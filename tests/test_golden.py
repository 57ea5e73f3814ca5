"""Networks that others trained and ran: our result is theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import each, pack, parts_of
from tolerances import assert_close

from gru_native import convert, functional, reference

pytestmark = pytest.mark.shared

Arrays = Mapping[str, np.ndarray]
Run = Callable[..., tuple[np.ndarray, Any]]
Engine = Callable[..., Run]

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

# As Keras had it until 2.3, and as ONNX has it.
HARD_SIGMOID = ("hard_sigmoid", 0.2, 0.5)


def reference_engine(weights: Arrays, cell: str = "gru_reset_after", **options: Any) -> Run:
    def run(x: np.ndarray, state: Any = None, **steps: Any) -> tuple[np.ndarray, Any]:
        parameters: dict[str, Any] = {"bias_ih": None, "bias_hh": None, **weights}
        output, final, _ = reference.forward(x, state, **parameters, cell=cell, **options, **steps)
        return output, final

    return run


def compiled_engine(dtype: str) -> Engine:
    def load(weights: Arrays, cell: str = "gru_reset_after", **options: Any) -> Run:
        packed = pack(cell, {name: array.astype(dtype) for name, array in weights.items()}, **options)

        def run(x: np.ndarray, state: Any = None, **steps: Any) -> tuple[np.ndarray, Any]:
            state = each(lambda part: part.astype(dtype), state)
            output, final = functional.recurrent(x.astype(dtype), packed, state, **steps)
            assert {output.dtype, *(part.dtype for part in parts_of(final))} == {np.dtype(dtype)}
            return output, final

        return run

    return load


@pytest.fixture(params=["reference", "float32", "float64"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Turn weights into ``run(x, state=None, ...) -> (output, final)``, each in its own dtype.

    The weights have the names of `reference.forward`; options are its cell, activations, clip and input_forget, and
    what ``run`` takes besides its reverse and lengths.
    """
    return reference_engine if request.param == "reference" else compiled_engine(request.param)


def to_native(arrays: Arrays, convention: convert.Convention) -> dict[str, np.ndarray]:
    """Convert those of a layer whose activations are the convention's, or are said where it is run."""
    return convert.to_native(arrays, convention, **convention.options)


def layer_of(state: Arrays, prefix: str = "", suffix: str = "") -> dict[str, np.ndarray]:
    """One layer's weights out of a state_dict."""
    keys = {name: prefix + name + suffix for name in NAMES}
    return {name: np.asarray(state[key]) for name, key in keys.items() if key in state}


# RTNeural: sequences through small Keras and torch networks.


def rtneural_signal(folder: Path, name: str) -> np.ndarray:
    return np.loadtxt(folder / f"{name}.csv").reshape(-1, 1, 1)


@pytest.mark.parametrize("name", ["gru", "gru_1d", "lstm", "lstm_1d"])
def test_rtneural_keras(shared: Path, engine: Engine, name: str) -> None:
    folder = shared / "golden" / "rtneural"
    signal = rtneural_signal(folder, f"{name}_x_python")
    for layer in json.loads((folder / f"{name}.json").read_text())["layers"]:
        arrays = [np.array(weight) for weight in layer["weights"]]
        if layer["type"] == "gru":
            named = dict(zip(convert.RTNEURAL.names, arrays, strict=True))
            signal, _ = engine(to_native(named, convert.RTNEURAL))(signal)
        elif layer["type"] == "lstm":
            named = dict(zip(convert.RTNEURAL_LSTM.names, arrays, strict=True))
            signal, _ = engine(to_native(named, convert.RTNEURAL_LSTM), "lstm")(signal)
        else:
            activation = {"tanh": np.tanh, "sigmoid": reference.sigmoid, "": np.asarray}[layer["activation"]]
            signal = activation(signal @ arrays[0] + arrays[1])
    assert_close(signal, rtneural_signal(folder, f"{name}_y_python"), "golden")


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_rtneural_torch(shared: Path, engine: Engine, kind: str) -> None:
    folder = shared / "golden" / "rtneural"
    state = {name: np.array(array) for name, array in json.loads((folder / f"{kind}_torch.json").read_text()).items()}
    signal = rtneural_signal(folder, f"{kind}_torch_x_python")
    for prefix, suffix in [(kind, "_l0"), (f"{kind}2", "_l0"), (f"{kind}2", "_l1"), (f"{kind}2", "_l2")]:
        cell = "lstm" if kind == "lstm" else "gru_reset_after"
        signal, _ = engine(layer_of(state, f"{prefix}.", suffix), cell)(signal)
    signal = signal @ state["dense.weight"].T + state["dense.bias"]
    assert_close(signal, rtneural_signal(folder, f"{kind}_torch_y_python"), "golden")


# keras-js: layers of Keras 2 before 2.3, whose gates have a hard sigmoid.


@pytest.mark.parametrize("number", range(9))
@pytest.mark.parametrize("kind", ["GRU", "LSTM", "SimpleRNN"])
def test_keras_js(shared: Path, engine: Engine, kind: str, number: int) -> None:
    cases = json.loads((shared / "golden" / "keras_js" / f"{kind}.json").read_text())
    case = cases[f"recurrent.{kind}.{number}"]
    x, *arrays, expected = (
        np.array(each["data"]).reshape(each["shape"]) for each in (case["input"], *case["weights"], case["expected"])
    )
    gates, own = ("sigmoid", "sigmoid") if number == 1 else (HARD_SIGMOID, "tanh")
    cell, activations = {
        "GRU": ("gru_reset_before", (gates, own)),
        "LSTM": ("lstm", (gates, own, own)),
        "SimpleRNN": ("rnn_tanh", (own,)),
    }[kind]
    convention = {"GRU": convert.KERAS_V1, "LSTM": convert.KERAS_V1_LSTM, "SimpleRNN": convert.KERAS_RNN}[kind]
    weights = to_native(dict(zip(convention.names, arrays, strict=False)), convention)
    backwards, state = number in (3, 4, 7, 8), None
    run = engine(weights, cell, activations=activations)
    for _ in range(2 if number >= 5 else 1):  # these layers keep their state from a first call
        output, state = run(x[:, None], state, reverse=backwards)
    if expected.ndim == 1:
        assert_close(parts_of(state)[0][0], expected, "golden_keras_js")
    else:
        assert_close(output[:: -1 if backwards else 1, 0], expected, "golden_keras_js")


# RNNoise: three GRUs between dense layers, all with a ReLU for the candidate.


def test_rnnoise(shared: Path, engine: Engine) -> None:
    with np.load(shared / "golden" / "rnnoise" / "rnnoise_v0.npz") as stored:
        expected = dict(stored)

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        bias = expected[f"w_{name}_bias"]
        return x @ expected[f"w_{name}_weights"].reshape(-1, len(bias)) + bias

    def gru(name: str, *parts: np.ndarray) -> np.ndarray:
        rows = len(expected[f"w_{name}_bias"])
        arrays = [expected[f"w_{name}{kind}_weights"].reshape(-1, rows) for kind in ("", "_recurrent")]
        named = dict(zip(convert.RNNOISE.names, [*arrays, expected[f"w_{name}_bias"]], strict=True))
        activations = convert.RNNOISE.recurrent_activation, convert.RNNOISE.activation
        run = engine(to_native(named, convert.RNNOISE), "gru_reset_before", activations=activations)
        output, _ = run(np.concatenate(parts, axis=1)[:, None])
        assert_close(output[:, 0], expected[name], "golden_rnnoise", name)
        return output[:, 0]

    features, first = expected["features"], np.tanh(dense("input_dense", expected["features"]))
    voice = gru("vad_gru", first)
    noise = gru("noise_gru", first, voice, features)
    gains = gru("denoise_gru", voice, noise, features)
    assert_close(reference.sigmoid(dense("vad_output", voice)), expected["vad"], "golden_rnnoise", "vad")
    assert_close(reference.sigmoid(dense("denoise_output", gains)), expected["gains"], "golden_rnnoise", "gains")


# g2p_en: letters to phonemes, an encoder's last state decoded one step at a time.


def test_g2p_phonemes_are_exact(shared: Path, engine: Engine) -> None:
    folder = shared / "golden" / "g2p_en"
    rules = json.loads((folder / "cases.json").read_text())
    with np.load(folder / "checkpoint20.npz") as checkpoint:
        model = {name.replace("_w_", "_weight_").replace("_b_", "_bias_"): checkpoint[name] for name in checkpoint}
    encoder, decoder = (engine(layer_of(model, prefix)) for prefix in ("enc_", "dec_"))
    index = {grapheme: i for i, grapheme in enumerate(rules["graphemes"])}

    def phonemes(word: str) -> list[str]:
        letters = [index.get(g, rules["unknown_index"]) for g in [*word, rules["end_grapheme"]]]
        _, h = encoder(model["enc_emb"][letters][:, np.newaxis])
        said, last = [], rules["start_phoneme_index"]
        for _ in range(rules["max_steps"]):
            output, h = decoder(model["dec_emb"][[last]][:, np.newaxis], h)
            last = int(np.argmax(output[0, 0] @ model["fc_w"].T + model["fc_b"]))
            if last == rules["stop_phoneme_index"]:
                break
            said.append(rules["phonemes"][last])
        return said

    assert len(rules["cases"]) == 200
    wrong = {case["word"]: said for case in rules["cases"] if (said := phonemes(case["word"])) != case["phonemes"]}
    assert not wrong
