"""Networks that others trained and ran: our result is theirs."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tolerances import assert_close

from gru_native import convert, functional, reference

pytestmark = pytest.mark.shared

Arrays = Mapping[str, np.ndarray]
Run = Callable[..., tuple[np.ndarray, np.ndarray]]
Engine = Callable[..., Run]

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def reference_engine(weights: Arrays, reset_after: bool = True) -> Run:
    def run(x: np.ndarray, h_0: np.ndarray | None = None, reverse: bool = False) -> tuple[np.ndarray, np.ndarray]:
        parameters = [weights.get(name) for name in NAMES]
        cell = "gru_reset_after" if reset_after else "gru_reset_before"
        output, h_n, _ = reference.forward(x, h_0, *parameters, cell=cell, reverse=reverse)
        return output, h_n

    return run


def compiled_engine(dtype: str) -> Engine:
    def load(weights: Arrays, reset_after: bool = True) -> Run:
        packed = functional.pack_gru(
            **{name: array.astype(dtype) for name, array in weights.items()}, reset_after=reset_after
        )

        def run(x: np.ndarray, h_0: np.ndarray | None = None, reverse: bool = False) -> tuple[np.ndarray, np.ndarray]:
            state = None if h_0 is None else h_0.astype(dtype)
            output, h_n = functional.recurrent(x.astype(dtype), packed, state, reverse=reverse)
            assert output.dtype == h_n.dtype == dtype
            return output, h_n

        return run

    return load


@pytest.fixture(params=["reference", "float32", "float64"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Turn weights into ``run(x, h_0=None, reverse=False) -> (output, h_n)``, each in its own dtype."""
    return reference_engine if request.param == "reference" else compiled_engine(request.param)


def layer_of(state: Arrays, prefix: str = "", suffix: str = "") -> dict[str, np.ndarray]:
    """One layer's weights out of a state_dict."""
    keys = {name: prefix + name + suffix for name in NAMES}
    return {name: np.asarray(state[key]) for name, key in keys.items() if key in state}


# RTNeural: sequences through small Keras and torch networks.


def rtneural_signal(folder: Path, name: str) -> np.ndarray:
    return np.loadtxt(folder / f"{name}.csv").reshape(-1, 1, 1)


@pytest.mark.parametrize("name", ["gru", "gru_1d"])
def test_rtneural_keras(shared: Path, engine: Engine, name: str) -> None:
    folder = shared / "golden" / "rtneural"
    signal = rtneural_signal(folder, f"{name}_x_python")
    for layer in json.loads((folder / f"{name}.json").read_text())["layers"]:
        arrays = [np.array(weight) for weight in layer["weights"]]
        if layer["type"] == "gru":
            named = dict(zip(convert.RTNEURAL.names, arrays, strict=True))
            signal, _ = engine(convert.to_native(named, convert.RTNEURAL))(signal)
        else:
            activation = {"tanh": np.tanh, "sigmoid": reference.sigmoid, "": np.asarray}[layer["activation"]]
            signal = activation(signal @ arrays[0] + arrays[1])
    assert_close(signal, rtneural_signal(folder, f"{name}_y_python"), "golden")


def test_rtneural_torch(shared: Path, engine: Engine) -> None:
    folder = shared / "golden" / "rtneural"
    state = {name: np.array(array) for name, array in json.loads((folder / "gru_torch.json").read_text()).items()}
    signal = rtneural_signal(folder, "gru_torch_x_python")
    for prefix, suffix in [("gru.", "_l0"), ("gru2.", "_l0"), ("gru2.", "_l1"), ("gru2.", "_l2")]:
        signal, _ = engine(layer_of(state, prefix, suffix))(signal)
    signal = signal @ state["dense.weight"].T + state["dense.bias"]
    assert_close(signal, rtneural_signal(folder, "gru_torch_y_python"), "golden")


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


# ONNX: GTCRN's nodes as ONNX Runtime computed them, and the operator's own test cases.


def run_onnx(
    engine: Engine,
    arrays: Arrays,
    attributes: Mapping[str, Any],
    x: np.ndarray,
    h_0: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the operator GRU: X (T, B, I), initial_h (D, B, H) -> Y (T, D, B, H), Y_h (D, B, H)."""
    after = bool(attributes.get("linear_before_reset", 0))
    state = convert.to_native(arrays, convert.ONNX_LINEAR_BEFORE_RESET if after else convert.ONNX)
    runs = []
    for direction in range(len(arrays["W"])):
        run = engine(layer_of(state, suffix="_reverse" if direction else ""), reset_after=after)
        reverse = direction == 1 or attributes.get("direction") == "reverse"
        runs.append(run(x, None if h_0 is None else h_0[direction], reverse=reverse))
    outputs, last = zip(*runs, strict=True)
    return np.stack(outputs, axis=1), np.stack(last)


@cache
def gtcrn_nodes(folder: Path) -> list[dict[str, np.ndarray]]:
    nodes: dict[str, dict[str, np.ndarray]] = {}
    with np.load(folder / "gru_nodes.npz") as stored:
        for key in stored:
            node, field = key.split("_", 1)
            nodes.setdefault(node, {})[field] = stored[key]
    return list(nodes.values())


@pytest.mark.parametrize("number", range(14))
def test_gtcrn_node(shared: Path, engine: Engine, number: int) -> None:
    node = gtcrn_nodes(shared / "golden" / "gtcrn")[number]
    arrays = {name: node[name] for name in ("W", "R", "B")}
    attributes = {name: node[name].item() for name in ("linear_before_reset", "direction")}
    assert len(node["X"]) == 40
    for x, h_0, expected in zip(node["X"], node["h0"], node["Y"], strict=True):
        output, h_n = run_onnx(engine, arrays, attributes, x, h_0)
        assert_close(output, expected, "golden_gtcrn")
        np.testing.assert_array_equal(h_n[0], output[-1, 0])
    if attributes["direction"] == "forward":  # one step a frame, each from the state of the last: one sequence
        output, _ = run_onnx(engine, arrays, attributes, node["X"][:, 0], node["h0"][0])
        assert_close(output, node["Y"][:, 0], "golden_gtcrn")


@pytest.mark.parametrize(
    "name", ["batchwise", "bidirectional", "defaults", "reverse", "seq_length", "with_initial_bias"]
)
def test_onnx_operator(shared: Path, engine: Engine, name: str) -> None:
    with np.load(shared / "golden" / "onnx_gru" / f"test_gru_{name}.npz") as case:
        attributes = ast.literal_eval(str(case["attrs"]))
        arrays = {key: case[f"in_{key}"] for key in ("W", "R", "B") if f"in_{key}" in case}
        x, expected = case["in_X"], {key: case[key] for key in case if key.startswith("out_")}
    batch_first = attributes.get("layout", 0) == 1
    output, h_n = run_onnx(engine, arrays, attributes, np.swapaxes(x, 0, 1) if batch_first else x)
    if batch_first:
        output, h_n = output.transpose(2, 0, 1, 3), np.swapaxes(h_n, 0, 1)
    assert expected.keys() <= {"out_Y", "out_Y_h"}
    for key, array in expected.items():
        assert_close({"out_Y": output, "out_Y_h": h_n}[key], array, "golden", key)
