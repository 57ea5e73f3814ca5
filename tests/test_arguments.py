"""Wrong arguments of every public function: each is taken, or refused by a message that names the argument."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest

from gru_native import convert, heatmaps, inspection, io, keras, losses, nn, optim, random, schedules, train
from gru_native import functional as F
from gru_native import stream as streams
from gru_native.activations import Activation, activation

PACKAGE = Path(losses.__file__).parent

f4 = np.float32
T, B, IN, H = 3, 2, 4, 5


def zeros(*shape: int) -> np.ndarray[Any, Any]:
    return np.zeros(shape, f4)


def unaligned(array: Any) -> np.ndarray[Any, Any]:
    """Return a copy whose elements straddle their natural addresses."""
    array = np.asarray(array)
    copy = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class NeedsGrad:
    """What a tensor of PyTorch that requires grad does when it is asked for its numbers."""

    requires_grad = True

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


HOSTILE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "str": lambda: "x",
    "bytes": lambda: b"\x05\x06",
    "NUL": lambda: "a\0b",
    "lone surrogate": lambda: "\ud800",
    "401 digits": lambda: 10**400,
    "5001 digits": lambda: 10**5000,
    "-401 digits": lambda: -(10**400),
    "NaN": lambda: np.nan,
    "infinity": lambda: np.inf,
    "-1": lambda: -1,
    "True": lambda: True,
    "1.5": lambda: 1.5,
    "complex": lambda: 1j,
    "list": list,
    "dict": dict,
    "dict of numbers": lambda: {1: 2},
    "object": object,
    "class": lambda: dict,
    "tuple of arrays": lambda: (zeros(T, B, H), zeros(1, B, H)),
    "array": lambda: zeros(2, 3),
    "array of objects": lambda: np.array([None, "x"], object),
    "array of complex": lambda: np.zeros((T, B, IN), complex),
    "array of strings": lambda: np.array(["x"]),
    "masked array": lambda: np.ma.masked_invalid(zeros(T, B, IN)),
    "masked number": lambda: np.ma.masked,
    "list of a masked array": lambda: [np.ma.masked_invalid(zeros(IN))],
    "ragged list": lambda: [[1.0], [1.0, 2.0]],
    "list of huge numbers": lambda: [10**5000],
    "unaligned array": lambda: unaligned(zeros(T, B, IN)),
    "tensor that requires grad": NeedsGrad,
}


# ---- Calls that succeed ---------------------------------------------------------------------------------------------


class Call(NamedTuple):
    """A function, and good arguments by name."""

    function: Callable[..., Any]
    arguments: dict[str, Any]


def packed() -> F.RecurrentWeights:
    return F.pack_gru(zeros(3 * H, IN), zeros(3 * H, H))


def model() -> nn.Sequential:
    return nn.Sequential(nn.GRU(IN, H, seed=0), nn.Linear(H, 3, seed=1))


def characters() -> train.CharacterModel:
    return train.CharacterModel.create("abc", embedding_dim=2, hidden_size=(2,))


def batches() -> train.Batches:
    return train.Batches(zeros(4, IN), np.zeros(4, np.int64), 2)


def trainer() -> train.Trainer:
    linear = nn.Linear(IN, 3, seed=0)
    return train.Trainer(linear, losses.CrossEntropyLoss(), optim.SGD(linear))


def sgd() -> optim.SGD:
    return optim.SGD(nn.Linear(IN, 3, seed=0))


def record() -> train.Record:
    return train.Record(1, 0, 1.0, 1, 0.1, None)


def drained(function: Callable[..., Any]) -> Callable[..., Any]:
    """Go through what a function yields, or enter what it opens."""

    def call(**given: Any) -> Any:
        found = function(**given)
        if isinstance(found, AbstractContextManager):
            with found:
                return None
        return next(iter(found))

    return call


def seen() -> inspection.Inspection:
    return inspection.inspect(model(), zeros(T, IN))


def recurrent_arguments() -> dict[str, Any]:
    return {
        "x": zeros(T, B, IN),
        "weights": packed(),
        "state": zeros(B, H),
        "lengths": [3, 1],
        "reset": np.zeros((T, B), bool),
        "dropout_mask": zeros(B, H),
        "zoneout": 0.1,
        "reverse": False,
        "batch_first": False,
        "output": zeros(T, B, H),
        "final": zeros(B, H),
        "threads": 1,
    }


def functional_calls() -> dict[str, Call]:
    weights = {"weight_hh": zeros(5 * 3, 5), "bias_ih": zeros(15), "bias_hh": zeros(15)}
    gains = {"gamma_ih": zeros(15), "gamma_hh": zeros(15)}
    gru = {"reset_after": True, "activations": ("sigmoid", "tanh"), "clip": None}
    linear = F.pack_linear(zeros(3, IN), zeros(3))
    taped = recurrent_arguments() | {"zoneout_seed": 3, "tape": "gates", "output": None, "final": None}

    def backward(tape: Any = ..., **given: Any) -> Any:
        return F.recurrent_backward(F.recurrent_forward(**taped)[1] if tape is ... else tape, **given)

    logits = {"logits": zeros(4, 3), "targets": [0, 1, 2, -100], "ignore_index": -100, "label_smoothing": 0.1}
    indices = {"indices": [0, 1]}
    windows = F.Windows(2, padding="causal")
    convolved = {"x": zeros(T, B, IN), "weights": F.pack_conv1d(zeros(3, IN, 2)), "windows": windows}
    convolved |= {"lengths": [3, 1], "batch_first": False, "threads": 1}
    attended = {"queries": zeros(T, B, IN), "keys": zeros(B, 5, IN), "values": zeros(B, 5, 3), "score": zeros(IN)}
    attended |= {"lengths": [5, 1], "heads": 1, "threads": 1}
    return {
        "pack_gru": Call(F.pack_gru, {"weight_ih": zeros(15, IN), **weights, **gains, **gru}),
        "pack_lstm": Call(
            F.pack_lstm,
            {f"{k}_{s}": zeros(*n) for s, m in (("ih", IN), ("hh", H)) for k, n in named_shapes(4, m)}
            | {"activations": ("sigmoid", "elu", "tanh"), "clip": 2.0, "input_forget": True, "peephole": zeros(3, H)}
            | {"weight_hr": None},
        ),
        "pack_rnn": Call(
            F.pack_rnn,
            {f"{k}_{s}": zeros(*n) for s, m in (("ih", IN), ("hh", H)) for k, n in named_shapes(1, m)}
            | {"nonlinearity": "tanh", "clip": None},
        ),
        "cell_choices": Call(F.cell_choices, {"cell": "lstm", "activations": None, "clip": 0.5, "input_forget": True}),
        "clip_bound": Call(F.clip_bound, {"clip": 0.5}),
        "gru_cell": Call(F.gru_cell, {"reset_after": True, "layer_norm": True}),
        "recurrent": Call(F.recurrent, recurrent_arguments()),
        "recurrent_forward": Call(F.recurrent_forward, taped),
        "recurrent_backward": Call(
            backward,
            {"tape": ..., "d_output": zeros(T, B, H), "d_final": zeros(B, H), "d_x": zeros(T, B, IN)}
            | {"accumulate_d_x": False, "threads": 1},
        ),
        "pack_linear": Call(F.pack_linear, {"weight": zeros(3, IN), "bias": zeros(3)}),
        "linear": Call(F.linear, {"x": zeros(B, IN), "weights": linear, "output": zeros(B, 3), "threads": 1}),
        "linear_backward": Call(
            F.linear_backward, {"x": zeros(B, IN), "weights": linear, "d_output": zeros(B, 3), "threads": 1}
        ),
        "Windows": Call(F.Windows, {"kernel_size": 2, "stride": 2, "padding": "same", "dilation": 3}),
        "Windows.outputs": Call(windows.outputs, {"lengths": [3, 1]}),
        "pack_conv1d": Call(F.pack_conv1d, {"weight": zeros(3, IN, 2), "bias": zeros(3)}),
        "conv1d": Call(F.conv1d, convolved),
        "conv1d_backward": Call(F.conv1d_backward, convolved | {"d_output": zeros(T, B, 3)}),
        "attention": Call(F.attention, attended),
        "attention_backward": Call(
            F.attention_backward, attended | {"weights": zeros(T, B, 1, 5), "d_context": zeros(T, B, 3)}
        ),
        "embedding": Call(F.embedding, {**indices, "weight": zeros(3, 2), "output": zeros(2, 2)}),
        "embedding_backward": Call(
            F.embedding_backward,
            {**indices, "d_output": zeros(2, 2), "num_embeddings": 3, "padding_idx": 0, "threads": 1},
        ),
        "ctc": Call(
            F.ctc,
            {
                "logits": zeros(4, 2, 3),
                "targets": np.array([[1, 2], [2, 0]]),
                "input_lengths": np.array([4, 3]),
                "target_lengths": np.array([2, 1]),
                "blank": 0,
                "gradient": True,
                "threads": 1,
            },
        ),
        "ctc_greedy": Call(
            F.ctc_greedy, {"logits": zeros(4, 2, 3), "input_lengths": np.array([4, 3]), "blank": 0, "threads": 1}
        ),
        "ctc_beam_search": Call(
            F.ctc_beam_search,
            {
                "logits": zeros(4, 2, 3),
                "input_lengths": np.array([4, 3]),
                "width": 4,
                "blank": 0,
                "scorer": lambda prefixes: np.zeros((len(prefixes), 3)),
                "alpha": 0.5,
                "beta": 0.1,
                "threads": 1,
            },
        ),
        "softmax_cross_entropy": Call(F.softmax_cross_entropy, {**logits, "gradient": True, "threads": 1}),
        "activate": Call(F.activate, {"x": zeros(3), "function": ("elu", 0.5), "slope": False}),
        "softmax": Call(F.softmax, {"x": zeros(2, 3), "threads": 1}),
        "dropout": Call(F.dropout, {"x": zeros(3), "p": 0.5, "seed": 1, "threads": 1}),
        "sigmoid": Call(F.sigmoid, {"x": zeros(3)}),
        "tanh": Call(F.tanh, {"x": zeros(3)}),
        "thread_count": Call(F.thread_count, {"threads": 1}),
        "checked_tape": Call(F.checked_tape, {"tape": "gates"}),
        "rnn_cell": Call(F.rnn_cell, {"nonlinearity": "tanh"}),
        "sequence_lengths": Call(lambda lengths: F.sequence_lengths(lengths, T, B), {"lengths": [1, 2]}),
        "reset_flags": Call(lambda reset: F.reset_flags(reset, T, B, False), {"reset": np.zeros((T, B), bool)}),
    }


def seq2seq_calls() -> dict[str, Call]:
    made: dict[str, Any] = {"encoder": nn.GRU(IN, H, seed=0), "target_size": 3, "embedding_dim": 2, "hidden_size": 4}
    options = {
        "score_mode": "additive",
        "attention_size": 2,
        "heads": 1,
        "start": 1,
        "end": 2,
        "scheduled_sampling": 0.0,
    }
    model = nn.Seq2Seq(**made, seed=0)
    of_source = {"source": zeros(T, B, IN), "lengths": [3, 1], "threads": 1}
    given = of_source | {"target": np.array([[1, 0], [2, 2]]), "target_lengths": [2, 1]}
    calls = {"Seq2Seq": Call(nn.Seq2Seq, made | options | {"dtype": "float32", "seed": 0})}
    calls |= three_calls("Seq2Seq", model, given, {"d_logits": zeros(2, B, 3), "threads": 1}, seed=1)
    return calls | {
        "Seq2Seq.greedy": Call(model.greedy, of_source | {"steps": 2}),
        "Seq2Seq.sample": Call(model.sample, of_source | {"steps": 2, "temperature": 0.5, "seed": 1}),
        "Seq2Seq.beam_search": Call(model.beam_search, of_source | {"steps": 2, "width": 2, "length_penalty": 1.0}),
    }


def named_shapes(gates: int, columns: int) -> list[tuple[str, tuple[int, ...]]]:
    return [("weight", (gates * H, columns)), ("bias", (gates * H,))]


def layer_calls() -> dict[str, Call]:
    """Return of each layer the constructor and the three calls."""
    stack = {"input_size": IN, "hidden_size": [H], "num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0}
    stack |= {"bidirectional": False, "direction": "reverse", "recurrent_dropout": 0.5, "dtype": "float32", "seed": 0}
    stack |= {"input_dropout": 0.5}
    cell = {"input_size": IN, "hidden_size": H, "bias": True, "dtype": "float32", "seed": 0}
    chosen = {"activation": "tanh", "recurrent_activation": ("hard_sigmoid", 0.2), "clip": 2.0}
    gru = chosen | {"reset_after": True, "layer_norm": False}
    lstm = chosen | {"cell_activation": "relu", "peepholes": True, "input_forget": True}
    made: dict[str, tuple[type[nn.Module], dict[str, Any]]] = {
        "GRU": (nn.GRU, stack | gru | {"zoneout": 0.1}),
        "LSTM": (nn.LSTM, stack | lstm | {"proj_size": 0}),
        "RNN": (nn.RNN, stack | {"nonlinearity": ("leaky_relu", 0.1), "clip": 2.0}),
        "GRUCell": (nn.GRUCell, cell | gru),
        "LSTMCell": (nn.LSTMCell, cell | lstm),
        "RNNCell": (nn.RNNCell, cell | {"nonlinearity": "tanh", "clip": 2.0}),
        "Linear": (nn.Linear, {"in_features": IN, "out_features": 3, "bias": True, "dtype": "float32", "seed": 0}),
        "Conv1d": (
            nn.Conv1d,
            {"in_channels": IN, "out_channels": IN, "kernel_size": 2, "stride": 1, "padding": "same", "dilation": 1}
            | {"bias": True, "batch_first": False, "dtype": "float32", "seed": 0},
        ),
        "Embedding": (
            nn.Embedding,
            {"num_embeddings": 3, "embedding_dim": 2, "padding_idx": 0, "sparse": True, "dtype": "float32", "seed": 0},
        ),
        "Dropout": (nn.Dropout, {"p": 0.5}),
        "Activation": (nn.Activation, {"function": ("elu", 0.5)}),
        "Softmax": (nn.Softmax, {}),
        "BatchNorm1d": (
            nn.BatchNorm1d,
            {"num_features": IN, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}
            | {"channels_last": True, "batch_first": False, "biased": False, "dtype": "float32"},
        ),
        "LayerNorm": (
            nn.LayerNorm,
            {"normalized_shape": [IN], "eps": 1e-5, "elementwise_affine": True, "bias": True, "dtype": "float32"},
        ),
        "MeanPooling": (nn.MeanPooling, {"batch_first": False}),
        "LastPooling": (nn.LastPooling, {"bidirectional": False, "batch_first": False}),
        "AttentionPooling": (
            nn.AttentionPooling,
            {"features": IN, "attention_size": 3, "batch_first": False, "dtype": "float32", "seed": 0},
        ),
        "Attention": (
            nn.Attention,
            {"query_size": IN, "memory_size": IN, "score_mode": "additive", "attention_size": 3, "heads": 1}
            | {"batch_first": False, "dtype": "float32", "seed": 0},
        ),
    }
    calls = {name: Call(kind, given) for name, (kind, given) in made.items()}
    h, hc = zeros(1, B, H), (zeros(1, B, H), zeros(1, B, H))
    steps = {"lengths": [3, 1], "reset": np.zeros((T, B), bool)}
    for name, state in (("GRU", h), ("LSTM", hc), ("RNN", h)):
        layer = made[name][0](IN, H, seed=0)
        two = made[name][0](IN, H, 2, seed=0)
        given = {"x": zeros(T, B, IN), "h_0": state, **steps, "threads": 1}
        calls |= three_calls(
            name,
            layer,
            given,
            {"d_output": zeros(T, B, H), "d_h_n": state, "threads": 1},
            mask=None,
            masked_output="zero",
            tape="gates",
            seed=1,
        )
        gates = {"return_gates": False, "mask": None, "masked_output": "zero"}
        calls[f"{name}(...)"] = Call(layer, given | gates)
        states = np.concatenate([h, h]) if name != "LSTM" else tuple(np.concatenate([h, h]) for _ in range(2))
        calls[f"{name} of two layers(...)"] = Call(two, given | gates | {"h_0": states})
    for name, state in (("GRUCell", zeros(B, H)), ("LSTMCell", (zeros(B, H),) * 2), ("RNNCell", zeros(B, H))):
        given = {"x": zeros(B, IN), "h": state, "threads": 1}
        calls |= three_calls(name, made[name][0](IN, H, seed=0), given, {"d_h": state, "threads": 1}, seed=1)
    for name in ("Linear", "Dropout", "Activation", "Softmax", "BatchNorm1d", "LayerNorm"):
        layer = made[name][0](**made[name][1])
        d_output = zeros(B, 3) if name == "Linear" else zeros(B, IN)
        given = {"x": zeros(B, IN), "threads": 1} | ({"lengths": None} if name == "BatchNorm1d" else {})
        calls |= three_calls(name, layer, given, {"d_output": d_output}, seed=1)
    for name in ("MeanPooling", "LastPooling", "AttentionPooling", "Conv1d"):
        layer = made[name][0](**made[name][1])
        given = {"x": zeros(T, B, IN), "lengths": [3, 1], "threads": 1}
        d_output = zeros(T, B, IN) if name == "Conv1d" else zeros(B, IN)
        calls |= three_calls(name, layer, given, {"d_output": d_output}, seed=1)
    given = {"queries": zeros(T, B, IN), "memory": zeros(5, B, IN), "lengths": [5, 1], "threads": 1}
    attention = nn.Attention(IN, IN, seed=0)
    calls |= three_calls("Attention", attention, given, {"d_context": zeros(T, B, IN), "threads": 1}, seed=1)
    calls |= seq2seq_calls()
    pooling = nn.AttentionPooling(IN, seed=0)
    calls["AttentionPooling.weights"] = Call(pooling.weights, {"x": zeros(T, B, IN), "lengths": [3, 1], "threads": 1})
    embedding = nn.Embedding(3, 2, seed=0)
    calls |= three_calls("Embedding", embedding, {"indices": [0, 1], "threads": 1}, {"d_output": zeros(2, 2)}, seed=1)
    given = {"x": zeros(T, B, IN), "states": [h], **steps, "threads": 1}
    backward = {"d_output": zeros(T, B, 3), "d_states": [h], "threads": 1}
    calls |= three_calls("Sequential", model(), given | {"mask": None}, backward, tape="gates", seed=1)
    linear, gru = nn.Linear(IN, 3, seed=0), nn.GRU(IN, H, seed=0)
    state, rows = linear.state_dict(), {"inputs": zeros(T, B, IN), "batch_size": 1, "threads": 1}
    return calls | {
        "SparseGradient": Call(nn.SparseGradient, {"rows": np.array([0, 2]), "values": zeros(2, IN), "shape": (3, IN)}),
        "Sequential": Call(lambda layer: nn.Sequential(layer), {"layer": {"a": linear}}),
        "Module": Call(nn.Module, {"arrays": {"w": zeros(3)}}),
        "Module.assign": Call(linear.assign, {"updates": state}),
        "Module.load_state_dict": Call(linear.load_state_dict, {"state": state, "strict": True}),
        "Module.train": Call(linear.train, {"mode": True}),
        "Module.output_lengths": Call(linear.output_lengths, {"lengths": [3, 1]}),
        "Module.summary": Call(linear.summary, {"x": zeros(B, IN)}),
        "register": Call(nn.register, {"layer": nn.Linear}),
        "Module.predict": Call(gru.predict, rows | {"lengths": [3, 1], "mask": None}),
        "Module.predict with a mask": Call(gru.predict, rows | {"lengths": None, "mask": np.ones((T, B), bool)}),
        "Module.predict_proba": Call(linear.predict_proba, rows | {"lengths": None, "mask": None, "labels": True}),
        "from_config": Call(nn.from_config, {"config": linear.config()}),
    }


def three_calls(
    name: str, layer: nn.Module, given: Mapping[str, Any], backward: Mapping[str, Any], **forward: Any
) -> dict[str, Call]:
    def call_backward(tape: Any = ..., **gradients: Any) -> Any:
        _, own = layer.forward(**given, **({"seed": 1} if "seed" in forward else {}))
        return layer.backward(own if tape is ... else tape, **gradients)

    return {
        f"{name}(...)": Call(layer, dict(given)),
        f"{name}.forward": Call(layer.forward, {**given, **forward}),
        f"{name}.backward": Call(call_backward, {"tape": ..., **backward}),
    }


def training_calls(folder: Path) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    pairs = {"predictions": zeros(4, 3), "targets": zeros(4, 3), "weights": [1.0, 0.0, 2.0, 1.0], "threads": 1}
    for name, kind, own in (
        (
            "CrossEntropyLoss",
            losses.CrossEntropyLoss,
            {"weight": [1.0, 2.0, 3.0], "ignore_index": -100, "label_smoothing": 0.1},
        ),
        ("MSELoss", losses.MSELoss, {}),
        ("BCEWithLogitsLoss", losses.BCEWithLogitsLoss, {"pos_weight": [1.0, 2.0, 3.0]}),
    ):
        loss = kind()  # type: ignore[operator]
        given = pairs if own is not None and name != "CrossEntropyLoss" else pairs | {"targets": [0, 1, 2, -100]}

        def backward(loss: Any = loss, given: Any = given, tape: Any = ..., d_loss: Any = 1.0) -> Any:
            return loss.backward(loss.forward(**given)[1] if tape is ... else tape, d_loss)

        calls |= {
            name: Call(kind, {**own, "reduction": "mean"}),
            f"{name}(...)": Call(loss, given),
            f"{name}.forward": Call(loss.forward, given),
            f"{name}.backward": Call(backward, {"tape": ..., "d_loss": 1.0}),
            f"{name}.count": Call(loss.count, {"targets": given["targets"], "weights": given["weights"]}),
        }
    labelled = {
        "logits": zeros(4, 2, 3),
        "targets": np.array([[1, 2], [2, 0]]),
        "input_lengths": np.array([4, 3]),
        "target_lengths": np.array([2, 1]),
        "weights": [1.0, 0.5],
        "threads": 1,
    }
    ctc = losses.CTCLoss()
    calls |= {
        "CTCLoss": Call(losses.CTCLoss, {"blank": 0, "reduction": "mean", "zero_infinity": True, "batch_first": False}),
        "CTCLoss(...)": Call(ctc, labelled),
        "CTCLoss.forward": Call(ctc.forward, labelled),
        "CTCLoss.backward": Call(
            lambda tape=..., d_loss=1.0: ctc.backward(ctc.forward(**labelled)[1] if tape is ... else tape, d_loss),
            {"tape": ..., "d_loss": 1.0},
        ),
        "CTCLoss.count": Call(ctc.count, {name: labelled[name] for name in ("targets", "target_lengths", "weights")}),
    }
    linear = nn.Linear(IN, 3, seed=0)
    base = {"model": linear, "lr": 0.1, "weight_decay": 0.0, "groups": {"bias": {"weight_decay": 0.1}}}
    adam = base | {"betas": (0.9, 0.99), "eps": 1e-8}
    grads = {name: np.zeros_like(array) for name, array in linear.parameters().items()}
    tuned = optim.Adam(linear)
    tuned.step(grads)
    calls |= {
        "SGD": Call(optim.SGD, base | {"momentum": 0.9, "dampening": 0.0, "nesterov": False}),
        "RMSprop": Call(optim.RMSprop, base | {"alpha": 0.9, "eps": 1e-8, "momentum": 0.1, "centered": True}),
        "Adam": Call(optim.Adam, adam),
        "AdamW": Call(optim.AdamW, adam),
        "Optimizer": Call(optim.Optimizer, base),
        "Optimizer.step": Call(tuned.step, {"grads": grads}),
        "Optimizer.load_state_dict": Call(tuned.load_state_dict, {"state_dict": tuned.state_dict()}),
        "clip_grad_norm": Call(optim.clip_grad_norm, {"grads": grads, "max_norm": 1.0}),
        "clip_grad_value": Call(optim.clip_grad_value, {"grads": grads, "clip_value": 1.0}),
    }
    optimizer = sgd()
    step = schedules.StepLR(optimizer, 2)
    plateau = schedules.ReduceLROnPlateau(optimizer)
    schedule = {"optimizer": optimizer}
    limits = {"threshold": 0.1, "threshold_mode": "rel", "cooldown": 1, "min_lr": 0.0, "eps": 1e-8}
    calls |= {
        "Schedule.load_state_dict": Call(step.load_state_dict, {"state_dict": step.state_dict()}),
        "StepLR": Call(schedules.StepLR, schedule | {"step_size": 2, "gamma": 0.1}),
        "MultiStepLR": Call(schedules.MultiStepLR, schedule | {"milestones": [1, 2], "gamma": 0.1}),
        "ExponentialLR": Call(schedules.ExponentialLR, schedule | {"gamma": 0.1}),
        "CosineAnnealingLR": Call(schedules.CosineAnnealingLR, schedule | {"T_max": 3, "eta_min": 0.0}),
        "LinearLR": Call(schedules.LinearLR, schedule | {"start_factor": 0.5, "end_factor": 1.0, "total_iters": 3}),
        "SequentialLR": Call(schedules.SequentialLR, schedule | {"schedulers": [step, step], "milestones": [2]}),
        "ReduceLROnPlateau": Call(
            schedules.ReduceLROnPlateau, schedule | {"mode": "min", "factor": 0.1, "patience": 1} | limits
        ),
        "ReduceLROnPlateau.step": Call(plateau.step, {"metric": 1.0}),
        "ReduceLROnPlateau.load_state_dict": Call(plateau.load_state_dict, {"state_dict": plateau.state_dict()}),
    }
    data, samples = batches(), {"inputs": zeros(4, IN), "targets": np.zeros(4, np.int64), "batch_size": 2}
    shuffled = {"shuffle": True, "seed": 0, "weights": None}
    flags = np.zeros((4, 2), bool)
    steps = {"inputs": zeros(4, 2, IN), "targets": np.zeros((4, 2), int), "batch_size": 2, "per_step": True}
    steps |= {"target_lengths": None}
    resets = {"reset": [np.zeros(2, bool), np.zeros(1, bool)]}
    ragged = {"inputs": [zeros(2, IN), zeros(1, IN)], "targets": [[1, 2], [0]], "batch_size": 2, "per_step": True}
    figures = train.classification_metrics()["f1"]
    errors = train.regression_metrics()["mae"]
    bar = {"steps": 3, "loss_name": "loss", "loss_scale": 1.0, "unit": "characters"}
    text, file = characters(), str(folder / "file")
    fitted = {"data": data, "epochs": 1, "steps": None, "validation": data, "validate_every": [1], "patience": 1}
    fitted |= {
        "monitor": "loss",
        "mode": "min",
        "min_delta": 0.0,
        "accumulate": 1,
        "callbacks": [lambda record: None],
        "progress": False,
        "checkpoint": None,
        "log": file,
    }
    with train.written_log(file, [record()]):
        pass
    return calls | {
        "Batches": Call(train.Batches, steps | shuffled | {"lengths": [1, 2, 0, 2], "mask": None, "reset": flags}),
        "Batches with a mask": Call(train.Batches, steps | shuffled | {"lengths": None, "mask": flags, "reset": None}),
        "Batches of labels": Call(
            train.Batches,
            {"inputs": {"x": zeros(4, 2, IN), "y": zeros(4, 3)}, "targets": np.ones((4, 2), int), "batch_size": 2}
            | {"per_step": False, "lengths": None, "mask": None, "reset": None, "target_lengths": [1, 2, 0, 2]}
            | shuffled,
        ),
        "Batches.epoch": Call(drained(train.Batches(**samples, shuffle=True).epoch), {"number": 0}),
        "Batches.shard": Call(train.Batches(**samples).shard, {"number": 1, "count": 2}),
        "Sequences": Call(train.Sequences, ragged | shuffled | resets | {"batch_first": True}),
        "Sequences.epoch": Call(drained(train.Sequences(**ragged, shuffle=True).epoch), {"number": 0}),
        "Stream": Call(train.Stream, samples | {"window": 1, "reset": np.zeros(4, bool)}),
        "Stream.epoch": Call(drained(train.Stream(**samples, window=1).epoch), {"number": 0}),
        "Trainer": Call(
            train.Trainer,
            {"model": optimizer.model, "loss": losses.CrossEntropyLoss(), "optimizer": optimizer, "schedule": step}
            | {
                "schedule_every": "step",
                "max_norm": 1.0,
                "clip_value": 1.0,
                "training_metrics": True,
                "metrics": {"f1": figures},
                "seed": 0,
                "threads": 1,
                "shards": 2,
                "communicator": None,
            },
        ),
        "Trainer.fit": Call(lambda **given: trainer().fit(**given), fitted),
        "Trainer.evaluate": Call(trainer().evaluate, {"data": data}),
        "Checkpoint": Call(train.Checkpoint, {"path": file, "every": 1, "changes": ["data"]}),
        "classification_metrics": Call(train.classification_metrics, {"average": "macro"}),
        "classification_metrics(...)": Call(figures, {"predictions": zeros(4, 3), "targets": np.zeros(4, int)}),
        "regression_metrics(...)": Call(errors, {"predictions": zeros(4), "targets": zeros(4)}),
        "ctc_metrics": Call(train.ctc_metrics, {"blank": 0}),
        "ctc_metrics(...)": Call(
            train.ctc_metrics()["label_error"], {"predictions": [zeros(4, 3)], "targets": [np.array([1, 2])]}
        ),
        "label_error": Call(train.label_error, {"found": [np.array([1])], "targets": [np.array([1, 2])]}),
        "CSVLog": Call(train.CSVLog, {"path": file}),
        "CSVLog.catch_up": Call(train.CSVLog(file).catch_up, {"history": []}),
        "CSVLog.__call__": Call(train.CSVLog(file).__call__, {"record": record()}),
        "TensorBoardLog": Call(train.TensorBoardLog, {"folder": str(folder / "events")}),
        "TensorBoardLog.catch_up": Call(train.TensorBoardLog(folder / "events").catch_up, {"history": []}),
        "TensorBoardLog.__call__": Call(train.TensorBoardLog(folder / "events").__call__, {"record": record()}),
        "RateRange.plot": Call(train.RateRange([0.1, 1.0], [2.0, 1.0]).plot, {"path": str(folder / "rates.png")}),
        "rate_range": Call(
            train.rate_range, {"trainer": trainer(), "data": data, "lowest": 0.1, "highest": 1.0, "steps": 2}
        ),
        "ProgressBar.catch_up": Call(train.ProgressBar(3).catch_up, {"history": []}),
        "ProgressBar.__call__": Call(train.ProgressBar(3).__call__, {"record": train.Record(1, 0, 1.0, 1, 0.1, None)}),
        "ProgressBar": Call(lambda **given: train.ProgressBar(**given).close(), bar),
        "bits": Call(train.bits, {"loss": 1.0}),
        "result_line": Call(train.result_line, {"task": "x", "figures": {"a": "b"}, "threads": 1}),
        "plot_history": Call(train.plot_history, {"history": [], "path": str(folder / "picture.png")}),
        "read_log": Call(train.read_log, {"path": file}),
        "written_log": Call(drained(train.written_log), {"path": file, "history": [record()]}),
        "CharacterModel": Call(train.CharacterModel, {"network": text.network, "vocabulary": "abc"}),
        "CharacterModel.create": Call(
            train.CharacterModel.create,
            {"vocabulary": "abc", "embedding_dim": 2, "hidden_size": (2,), "dropout": 0.0, "seed": 0},
        ),
        "CharacterModel.load": Call(train.CharacterModel.load, {"path": saved(folder, text.save)}),
        "CharacterModel.save": Call(text.save, {"path": file}),
        "CharacterModel.encode": Call(text.encode, {"text": "ab"}),
        "CharacterModel.decode": Call(text.decode, {"indices": [0, 1]}),
        "CharacterModel.stream": Call(text.stream, {"text": "abcabc", "batch_size": 1, "window": 2}),
        "CharacterModel.generate": Call(drained(text.generate), {"prompt": "ab", "temperature": 1.0, "seed": 0}),
        "vocabulary_of": Call(train.vocabulary_of, {"text": "ab"}),
    }


def saved(folder: Path, save: Callable[[Path], None]) -> Path:
    save(folder / "text.safetensors")
    return folder / "text.safetensors"


def other_calls(folder: Path) -> dict[str, Call]:
    linear, file = nn.Linear(IN, 3, seed=0), folder / "model.safetensors"
    io.save(linear, file)
    arrays = dict(zip(convert.KERAS.names, (zeros(IN, 15), zeros(5, 15), zeros(2, 15)), strict=True))
    weights = convert.to_native(arrays, convert.KERAS)
    own = {"reset_after": True, "activation": "tanh", "recurrent_activation": "sigmoid", "nonlinearity": "tanh"}
    kept = Path(__file__).parent / "keras_files"
    first = nn.GRU(2, 3, activation="softsign", seed=0)
    fields = {name: getattr(convert.PYTORCH, name) for name in inspect.signature(convert.Convention).parameters}
    looked = {"model": model(), "x": zeros(T, IN), "layer": 0, "step": 0, "index": 0, "threads": 1}
    return {
        "save": Call(io.save, {"model": linear, "path": file, "metadata": {"a": "b"}}),
        "load": Call(io.load, {"path": file}),
        "load_state": Call(io.load_state, {"path": file}),
        "load_metadata": Call(io.load_metadata, {"path": file}),
        "load_with_metadata": Call(io.load_with_metadata, {"path": file}),
        "io.load_weights": Call(
            io.load_weights, {"model": linear, "path": file, "prefix": "", "rename": {"bias": "bias"}, "strict": True}
        ),
        "save_arrays": Call(io.save_arrays, {"path": file, "arrays": {"w": zeros(3)}, "header": {"a": 1}}),
        "load_arrays": Call(io.load_arrays, {"path": file}),
        "atomic_write": Call(drained(io.atomic_write), {"path": folder / "written"}),
        "Convention": Call(convert.Convention, fields),
        "to_native": Call(convert.to_native, {"arrays": arrays, "convention": convert.KERAS, **own, "layer": 0}),
        "from_native": Call(
            convert.from_native,
            {"weights": weights, "convention": convert.KERAS, **own, "layer": None},
        ),
        "keras.load": Call(keras.load, {"path": kept / "text_3.keras"}),
        "load_weights": Call(keras.load_weights, {"model": first, "path": kept / "two_ways_3.weights.h5"}),
        "inspect": Call(inspection.inspect, looked),
        "draw": Call(
            heatmaps.draw,
            {
                "inspection": seen(),
                "path": folder / "x.png",
                "labels": ["a", "b", "c"],
                "output": "y",
                "classes": ["a", "b", "c"],
            },
        ),
        "most_active": Call(heatmaps.most_active, {"h": zeros(T, H), "count": 2}),
        "slow_to_fast": Call(heatmaps.slow_to_fast, {"h": zeros(T, H)}),
        "seed_path": Call(random.seed_path, {"seed": (1, 2)}),
        "generator": Call(random.generator, {"seed": 1}),
        "key": Call(random.key, {"seed": 1}),
    }


def stream_calls() -> dict[str, Call]:
    chain = model()
    stream, pool = chain.stream(B), chain.pool(1000, shards=2)
    ids, x = [pool.open() for _ in range(B)], zeros(B, IN)
    return {
        "Module.stream": Call(chain.stream, {"batch": 1}),
        "Module.pool": Call(chain.pool, {"capacity": 1, "shards": 1}),
        "stream.Stream": Call(streams.Stream, {"model": chain, "batch": 1}),
        "stream.Stream.step": Call(stream.step, {"x": x, "out": zeros(B, 3)}),
        "stream.Stream.run": Call(stream.run, {"x": zeros(T, B, IN), "threads": 1}),
        "stream.Stream.reset": Call(stream.reset, {"rows": [True] * B}),
        "stream.Stream.restore": Call(stream.restore, {"snapshot": stream.snapshot()}),
        "stream.Stream.update": Call(stream.update, {"model": chain}),
        "stream.Stream.state": Call(lambda state: setattr(stream, "state", state), {"state": stream.state}),
        "StreamPool": Call(streams.StreamPool, {"model": chain, "capacity": 1, "shards": 1}),
        "StreamPool.open": Call(pool.open, {"shard": 0}),
        "StreamPool.close": Call(pool.close, {"id": pool.open()}),
        "StreamPool.step": Call(pool.step, {"ids": ids, "x": x, "out": zeros(B, 3)}),
        "StreamPool.reset": Call(pool.reset, {"ids": ids}),
        "StreamPool.export": Call(pool.export, {"id": ids[0]}),
        "StreamPool.restore": Call(pool.restore, {"snapshot": pool.export(ids[0]), "shard": 0}),
        "StreamPool.grow": Call(pool.grow, {"capacity": 1000}),
        "StreamPool.update": Call(pool.update, {"model": chain}),
    }


def onnx_calls(folder: Path) -> dict[str, Call]:
    from onnx import helper

    graphs.export(model(), folder / "model.onnx")
    node = helper.make_node("GRU", ["X", "W", "R"], ["Y"])
    weights = {"W": zeros(1, 3 * H, IN), "R": zeros(1, 3 * H, H)}
    given = {"model": model(), "path": folder / "new.onnx", "opset": 18, "states": True, "lengths": True}
    return {
        "export": Call(graphs.export, given),
        "layer": Call(graphs.layer, {"node": node, "initializers": weights, "direction": "forward"}),
        "load": Call(graphs.load, {"source": folder / "model.onnx"}),
    }


def fitted(kind: Any, X: Any, y: Any) -> Callable[..., Any]:
    return lambda **settings: kind(**settings).fit(X, y)


def estimator_calls() -> dict[str, Call]:
    X, labels = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 2
    quick = {"hidden_size": 2, "epochs": 1, "random_state": 0}
    settings = quick | {"num_layers": 1, "bidirectional": False, "cell": "gru", "pooling": "last", "dropout": 0.0}
    settings |= {"recurrent_dropout": 0.0, "learning_rate": 0.1, "weight_decay": 0.0, "max_norm": 1.0}
    settings |= {"batch_size": 4, "early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 1}
    settings |= {"tol": 0.0, "warm_start": False, "n_jobs": 1, "callbacks": [], "verbose": False, "checkpoint": None}
    own = {
        "GRUClassifier": (estimators.GRUClassifier, {"class_weight": {0: 2.0}}, labels),
        "GRURegressor": (estimators.GRURegressor, {}, X[:, 0]),
        "GRUForecaster": (estimators.GRUForecaster, {"window": 2, "horizon": 1, "target": 0}, None),
    }
    calls = {}
    for name, (kind, more, y) in own.items():
        made = kind(**quick, **more)
        given = {"X": X, "y": y, "sample_weight": np.ones(20)} if y is not None else {"X": X}
        calls[name] = Call(fitted(kind, X, y), settings | more)
        calls[f"{name}.fit"] = Call(lambda kind=kind, more=more, **given: kind(**quick, **more).fit(**given), given)
        calls[f"{name}.predict"] = Call(made.fit(X, y).predict, {"X": X})
    table = Table(who=[0, 0, 1], when=[0, 1, 0], x=[1.0, 2.0, 3.0])
    named = {"df": table, "id": "who", "time": "when", "columns": ["x"]}
    on_dask = Call(lambda **given: estimators.on_dask(**given).__enter__(), {"client": None})
    return calls | {"to_sequences": Call(estimators.to_sequences, named), "on_dask": on_dask}


class Table(dict[str, list[float]]):
    """What a data frame is to `to_sequences`."""

    @property
    def columns(self) -> list[str]:
        return list(self)


KINDS: dict[str, Callable[[Path], dict[str, Call]]] = {
    "functional": lambda folder: functional_calls(),
    "layers": lambda folder: layer_calls(),
    "training": training_calls,
    "streams": lambda folder: stream_calls(),
    "others": other_calls,
}


# ---- Are these all? -------------------------------------------------------------------------------------------------

# What holds values, is a base or a protocol, or takes no argument.
WITHOUT_ARGUMENTS = {
    "Batch",
    "BusyError",
    "Data",
    "FullError",
    "Inspection",
    "LossTape",
    "ModelFileError",
    "OtherRunError",
    "RateRange",
    "Record",
    "RecurrentTape",
    "Schedule",
    "Tape",
    "peak_memory_mb",
    "regression_metrics",
}
MODULES = [F, nn, losses, optim, schedules, train, io, convert, keras, inspection, heatmaps, random, streams]
if find_spec("onnx"):
    from gru_native import onnx as graphs

    MODULES.append(graphs)
    KINDS["onnx"] = onnx_calls
if find_spec("sklearn"):
    from gru_native import sklearn as estimators

    MODULES.append(estimators)
    KINDS["estimators"] = lambda folder: estimator_calls()


def public(module: ModuleType) -> set[str]:
    made = {name: value for name, value in vars(module).items() if isinstance(value, (type, FunctionType))}
    own = {name for name, value in made.items() if value.__module__ == module.__name__ and name[0] != "_"}
    return set(getattr(module, "__all__", own))


def test_every_public_function_is_called_with_every_argument(tmp_path: Path) -> None:
    calls = {name: call for kind in KINDS.values() for name, call in kind(tmp_path).items()}
    assert set().union(*map(public, MODULES)) - WITHOUT_ARGUMENTS - calls.keys() == set()
    for name, call in calls.items():
        parameters = inspect.signature(call.function).parameters.values()
        named = {each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
        assert call.function.__module__ == __name__ or named - {"name"} <= call.arguments.keys(), name


# ---- The wrong arguments --------------------------------------------------------------------------------------------

# Arguments that hold others, whose own names a message gives.
INSIDE = {"states": "h_0", "d_states": "d_h_n", "weights": "weight_ih", "inputs": "x", "predictions": "logits"}


def complaint(call: Call, parameter: str, value: Any) -> str | None:
    """Return what is wrong with the answer to one wrong argument."""
    if parameter == "scorer" and value is dict:
        return None  # a function, whose error is its own
    try:
        call.function(**{**call.arguments, parameter: value})
    except (FileNotFoundError, FloatingPointError, io.ModelFileError):
        return None  # a path is any string; numbers may be NaN
    except (TypeError, ValueError) as error:
        message = str(error)
        named = re.search(rf"\b({parameter}|{INSIDE.get(parameter, parameter)})\b", message)
        # A right value may not go together with another argument, which then is named.
        if not named and re.split(r"\W", message)[0] not in call.arguments:
            return f"{type(error).__name__} does not name it: {message}"
        return f"a message of {len(message)} characters" if len(message) > 300 else None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_arguments_are_taken_or_named(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    complaints = [
        f"{name}({parameter}={what}): {said}"
        for name, call in KINDS[kind](tmp_path).items()
        for parameter in call.arguments
        for what, make in HOSTILE.items()
        if (said := complaint(call, parameter, make())) is not None
    ]
    if complaints:
        pytest.fail("\n".join(complaints))


# ---- What is said ---------------------------------------------------------------------------------------------------


def refused(error: type[Exception], message: str, call: Callable[[], Any]) -> None:
    """Fail unless a call is refused with a message that begins so."""
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        call()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda x: nn.GRU(IN, H, seed=0)(x), "x"),
        (lambda x: nn.GRU(IN, H, 2, seed=0).forward(x), "x"),
        (lambda x: nn.LSTMCell(IN, H, seed=0)(x[0]), "x"),
        (lambda x: nn.Linear(IN, 3, seed=0)(x), "x"),
        (lambda x: nn.LayerNorm(IN)(x), "x"),
        (lambda x: nn.AttentionPooling(IN, seed=0)(x), "x"),
        (lambda x: nn.GRU(IN, H, seed=0)(zeros(T, B, IN), np.zeros((1, B, H))), "h_0"),
        (lambda x: nn.LSTM(IN, H, seed=0)(zeros(T, B, IN), (zeros(1, B, H), np.zeros((1, B, H)))), "h_0[1]"),
        (lambda x: F.recurrent(x, packed()), "x"),
        (lambda x: F.recurrent(zeros(T, B, IN), packed(), np.zeros((B, H))), "state"),
        (lambda x: F.linear(x, F.pack_linear(zeros(3, IN))), "x"),
        (lambda x: F.pack_linear(zeros(3, IN), np.zeros(3)), "bias"),
        (lambda x: losses.MSELoss()(zeros(*x.shape), x), "targets"),
        (lambda x: nn.Linear(IN, 3, seed=0).assign({"bias": np.zeros(3)}), "bias"),
        (lambda x: optim.SGD(nn.Linear(IN, 3, seed=0)).step({"bias": np.zeros(3)}), "grads['bias']"),
    ],
)
def test_another_dtype_has_two_ways_out(call: Callable[[Any], Any], name: str) -> None:
    ways = f'convert it by {name}.astype("float32"), or build the layer with dtype="float64"'
    refused(TypeError, f"{name}: expected dtype float32, got float64; {ways}", lambda: call(np.zeros((T, B, IN))))


def test_what_a_recurrent_model_returns_is_no_array() -> None:
    gru, linear, x = nn.GRU(IN, H, seed=0), nn.Linear(H, H, seed=0), zeros(T, B, IN)
    result, targets = gru(x), np.zeros((T, B), int)
    metric, loss = train.classification_metrics()["f1"], losses.MSELoss()
    _, tape = linear.forward(result[0])
    _, gru_tape = gru.forward(x)
    calls: dict[str, list[Callable[[], Any]]] = {
        "predictions": [
            lambda: losses.CrossEntropyLoss()(result, targets),
            lambda: loss.forward(result, result[0]),
            lambda: losses.BCEWithLogitsLoss()(result, result[0]),
            lambda: metric(result, targets),  # type: ignore[arg-type]
            lambda: train.regression_metrics()["mae"](result, targets),  # type: ignore[arg-type]
        ],
        "targets": [lambda: loss(result[0], result)],
        "x": [lambda: linear(result), lambda: linear.forward(result), lambda: gru(result), lambda: F.tanh(result)],
        "indices": [lambda: nn.Embedding(3, 2)(result)],
        "d_output": [lambda: linear.backward(tape, result), lambda: gru.backward(gru_tape, result)],
        "d_loss": [lambda: loss.backward(loss.forward(result[0], result[0])[1], result)],  # type: ignore[arg-type]
        "grads['bias']": [lambda: optim.Adam(linear).step({"bias": result})],  # type: ignore[dict-item]
        "h_0": [lambda: gru(x, result)],
    }
    for name, own in calls.items():
        for call in own:
            said = f"{name}: expected an array, got a tuple; a recurrent model returns (output, states)"
            refused(TypeError, said, call)


def test_what_forward_returns_is_no_array() -> None:
    gru, linear, loss = nn.GRU(IN, H, seed=0), nn.Linear(IN, 3, seed=0), losses.CrossEntropyLoss()
    x, targets = zeros(T, B, IN), np.zeros((T, B), int)
    said = (
        "predictions: expected an array, got a tuple; a recurrent model returns (output, states), and forward (result"
    )
    for result in (gru.forward(x), linear.forward(x), nn.LSTM(IN, H, seed=0).forward(x)):
        refused(TypeError, said, lambda result=result: loss(result, targets))


def test_a_single_choice_is_said() -> None:
    call = lambda: trainer().fit(batches(), epochs=1, validation=batches(), monitor="f1")  # noqa: E731
    refused(ValueError, "monitor: expected 'loss', got 'f1'", call)


def test_a_list_of_layers_is_no_layer() -> None:
    said = "layer 0: expected a Module, got a list; give layers one by one, Sequential(a, b)"
    refused(TypeError, said, lambda: nn.Sequential([nn.Linear(1, 2), nn.Linear(2, 1)]))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "end"),
    [
        (losses.CrossEntropyLoss, nn.Softmax()),
        (losses.CrossEntropyLoss, nn.Sequential(nn.Dropout(), nn.Softmax())),
        (losses.BCEWithLogitsLoss, nn.Activation("sigmoid")),
    ],
)
def test_a_loss_that_takes_logits_is_not_given_probabilities(loss: Any, end: nn.Module) -> None:
    chain = nn.Sequential(nn.Linear(3, 2, seed=0), end)
    said = f"model: expected logits, which {loss.__name__} makes probabilities of, got a model that ends in "
    refused(ValueError, said, lambda: train.Trainer(chain, loss(), optim.SGD(chain)))
    train.Trainer(chain, losses.MSELoss(), optim.SGD(chain))
    relu = nn.Sequential(nn.Linear(3, 2, seed=0), nn.Activation("relu"))
    train.Trainer(relu, loss(), optim.SGD(relu))


def test_things_of_another_kind_are_named() -> None:
    linear = nn.Linear(IN, 3, seed=0)
    x, y, loss, adam = zeros(4, IN), np.zeros(4, int), losses.CrossEntropyLoss(), optim.Adam(linear)
    source = "a source of batches, such as Batches(x, y, batch_size)"
    make: Any = train.Trainer
    kinds: list[tuple[str, Callable[[], Any]]] = [
        (f"data: expected {source}, got tuple", lambda: make(linear, loss, adam).fit((x, y), epochs=1)),
        (f"data: expected {source}, got tuple", lambda: make(linear, loss, adam).evaluate((x, y))),
        (
            f"validation: expected {source}, got tuple",
            lambda: make(linear, loss, adam).fit(batches(), epochs=1, validation=(x, y)),
        ),
        ("optimizer: expected an Optimizer, such as Adam(model), got str", lambda: make(linear, loss, "adam")),
        (
            "optimizer: expected an Optimizer, such as Adam(model), got the class Adam",
            lambda: make(linear, loss, optim.Adam),
        ),
        ("loss: expected a loss, such as CrossEntropyLoss(), got str", lambda: make(linear, "mse", adam)),
        (
            "loss: expected a loss, such as CrossEntropyLoss(), got the class MSELoss",
            lambda: make(linear, losses.MSELoss, adam),
        ),
        (
            "metrics: expected a mapping from names to functions, such as classification_metrics(), got list",
            lambda: make(linear, loss, adam, metrics=["accuracy"]),
        ),
        ("metrics['f1']: expected a function, got 'f1'", lambda: make(linear, loss, adam, metrics={"f1": "f1"})),
        (
            "model: expected a Module, itself and not its parameters(), got dict",
            lambda: optim.Adam(linear.parameters()),  # type: ignore[arg-type]
        ),
        (
            "inputs: expected an array, got a list whose parts differ in shape, or are no numbers",
            lambda: train.Batches([[1.0], [1.0, 2.0]], [0, 1], 1),
        ),
        ("tape: expected what forward returned, got dict", lambda: loss.backward({})),  # type: ignore[arg-type]
        ("tape: expected 'gates' or 'states', got ndarray", lambda: nn.GRU(IN, H).forward(zeros(T, B, IN), tape=x)),
        ("state: expected a mapping from names to arrays, got list", lambda: linear.load_state_dict([x])),
        ("config: expected a mapping from names to settings, got str", lambda: nn.from_config("GRU")),
        (
            "hidden_size: expected a whole number, got b'\\x05\\x06'",
            lambda: nn.GRU(IN, b"\x05\x06"),  # type: ignore[arg-type]
        ),
        ("hidden_size: expected a whole number, got range", lambda: nn.GRU(IN, range(2, 4))),
        ("normalized_shape: expected a whole number, got b'\\x05'", lambda: nn.LayerNorm(b"\x05")),
    ]
    for message, call in kinds:
        refused(TypeError, message, call)


def test_classes_of_other_frameworks_are_told_from_ours() -> None:
    torch = pytest.importorskip("torch")
    linear, theirs, make = nn.Linear(IN, 3, seed=0), torch.nn.Linear(IN, 3), train.Trainer
    loss, adam = losses.CrossEntropyLoss(), optim.Adam(linear)
    for message, call in {
        "optimizer: expected an Optimizer, such as Adam(model), got torch.optim.adam.Adam": (
            lambda: make(linear, loss, torch.optim.Adam(theirs.parameters()))
        ),
        "optimizer: expected an Optimizer, such as Adam(model), got the class torch.optim.adam.Adam": (
            lambda: make(linear, loss, torch.optim.Adam)
        ),
        "loss: expected a loss, such as CrossEntropyLoss(), got torch.nn.modules.loss.CrossEntropyLoss": (
            lambda: make(linear, torch.nn.CrossEntropyLoss(), adam)
        ),
        "model: expected a Module, got torch.nn.modules.linear.Linear": lambda: make(theirs, loss, adam),
        "metrics: expected a mapping from names to functions, such as classification_metrics(), got ndarray": (
            lambda: make(linear, loss, adam, metrics=zeros(2))
        ),
        "model: expected a Module, got Adam": lambda: make(adam, loss, adam),
    }.items():
        refused(TypeError, message, call)


def test_a_number_of_many_digits_is_not_written_out() -> None:
    refused(
        ValueError,
        "threads: expected a whole number from 1 to 256, got a number of 1329 bits",
        lambda: F.linear(zeros(1, 1), F.pack_linear(zeros(1, 1)), threads=10**400),
    )
    refused(
        ValueError,
        "lr: expected a number that a float can hold, got a number of 16610 bits",
        lambda: optim.SGD(nn.Linear(1, 1), lr=10**5000),
    )
    assert random.generator(10**400).random() != random.generator(10**400 + 1).random()


def test_a_mask_is_never_ignored() -> None:
    x, gru, lstm = np.ma.masked_less(zeros(T, B, IN), 1), nn.GRU(IN, H, seed=0), nn.LSTM(IN, H, seed=0)
    h, plain = np.ma.masked_less(zeros(1, B, H), 1), zeros(T, B, IN)
    steps, flags = np.ma.masked_less(np.array([3, 1]), 2), np.ma.masked_less(np.zeros((T, B), bool), 1)
    _, tape = gru.forward(plain)
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("x", lambda: gru(x)),
        ("x", lambda: gru.forward(x)),
        ("h_0", lambda: gru(plain, h)),
        ("h_0[1]", lambda: lstm(plain, (zeros(1, B, H), h))),
        ("lengths", lambda: gru(plain, lengths=steps)),
        ("reset", lambda: gru(plain, reset=flags)),
        ("d_output", lambda: gru.backward(tape, np.ma.masked_less(zeros(T, B, H), 1))),
        ("x", lambda: nn.GRUCell(IN, H, seed=0)(x[0], zeros(B, H))),
        ("h", lambda: nn.GRUCell(IN, H, seed=0)(plain[0], h[0])),
        ("x", lambda: nn.Linear(IN, 3, seed=0)(x)),
        ("output", lambda: F.embedding([0], zeros(1, 2), output=np.ma.masked_less(zeros(1, 2), 1))),
        ("targets", lambda: losses.MSELoss()(plain, x)),
        ("inputs", lambda: train.Batches(x, zeros(T), 1)),
        ("inputs[0]", lambda: train.Sequences([x], [1], 1)),
        ("bias", lambda: nn.Linear(IN, 3, seed=0).load_state_dict({"weight": zeros(3, IN), "bias": x[0, 0, :3]})),
    ]
    for name, call in calls:
        with pytest.raises(TypeError, match=rf"^{re.escape(name)}: expected .* MaskedArray"):
            call()


def test_a_tensor_that_requires_grad_is_to_be_detached() -> None:
    torch = pytest.importorskip("torch")
    x = torch.zeros(T, B, IN, requires_grad=True)
    said = "x: expected an array, got a tensor that requires grad; give x.detach()"
    for call in (nn.GRU(IN, H), nn.Linear(IN, 3), F.tanh, nn.Dropout(0.5)):
        refused(TypeError, said, lambda call=call: call(x))  # type: ignore[misc]
    np.testing.assert_array_equal(F.tanh(x.detach()), zeros(T, B, IN))


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800", Path("a\0b")])
def test_a_path_that_cannot_be_is_named(wrong: Any, tmp_path: Path) -> None:
    linear = nn.Linear(IN, 3, seed=0)
    calls: dict[str, list[Callable[[], Any]]] = {
        "path": [
            lambda: io.save(linear, wrong),
            lambda: io.load(wrong),
            lambda: train.read_log(wrong),
            lambda: train.plot_history([record()], wrong),
            lambda: train.Checkpoint(wrong),
            lambda: characters().save(wrong),
        ],
        "log": [lambda: trainer().fit(batches(), epochs=1, log=wrong)],
        "curves": [lambda: trainer().fit(batches(), epochs=1, curves=wrong)],
        "checkpoint": [lambda: trainer().fit(batches(), epochs=1, checkpoint=wrong)],
    }
    for name, own in calls.items():
        for call in own:
            refused(ValueError, f"{name}: expected a path that the system can have, got {str(wrong)!r}", call)


# ---- Unaligned memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_unaligned_arrays_give_the_same_bits(kind: type[nn.GRU], layers: int, rng: np.random.Generator) -> None:
    gru = kind(IN, H, layers, seed=0)
    x, h = rng.random((T, B, IN), f4), rng.random((layers, B, H), f4)
    lengths, reset = np.array([3, 1]), np.array([[0, 0], [1, 0], [0, 1]], bool)
    state = (h, h) if kind is nn.LSTM else h
    odd = (unaligned(h), unaligned(h)) if kind is nn.LSTM else unaligned(h)
    expected, tape = gru.forward(x, state, lengths, reset)
    _, gradients = gru.backward(tape, expected[0])
    given = unaligned(x), odd, unaligned(lengths), unaligned(reset)
    np.testing.assert_array_equal(gru(*given)[0], expected[0])
    actual, tape = gru.forward(*given)
    np.testing.assert_array_equal(actual[0], expected[0])
    for name, gradient in gru.backward(tape, unaligned(actual[0]))[1].items():
        np.testing.assert_array_equal(gradient, gradients[name])


def test_unaligned_arrays_of_other_functions(rng: np.random.Generator) -> None:
    x, h, cell = rng.random((B, IN), f4), rng.random((B, H), f4), nn.GRUCell(IN, H, seed=0)
    np.testing.assert_array_equal(cell(unaligned(x), unaligned(h)), cell(x, h))
    indices, weight = np.array([1, 0, 2]), rng.random((3, 2), f4)
    np.testing.assert_array_equal(F.embedding(unaligned(indices), unaligned(weight)), weight[indices])
    targets, logits = np.array([1, 0]), rng.random((2, 3), f4)
    loss = losses.CrossEntropyLoss()
    np.testing.assert_array_equal(loss(unaligned(logits), unaligned(targets)), loss(logits, targets))
    pooling, sequence, lengths = nn.LastPooling(), rng.random((T, B, IN), f4), np.array([2, 3])
    np.testing.assert_array_equal(pooling(unaligned(sequence), unaligned(lengths)), pooling(sequence, lengths))


# ---- No assert ------------------------------------------------------------------------------------------------------


def test_the_package_relies_on_no_assert() -> None:
    """``python -O`` would take them out."""
    for file in PACKAGE.rglob("*.py"):
        found = [node.lineno for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Assert)]
        assert not found, f"{file}: lines {found}"
    for file in PACKAGE.rglob("*.pyx"):
        assert not re.search(r"^\s*assert\b", file.read_text(), re.MULTILINE), file


def test_numbers_in_lists_that_no_array_holds_are_named() -> None:
    huge = 10**400
    for call, name in (
        (lambda: F.embedding([huge], np.zeros((3, 2))), "indices"),
        (lambda: nn.GRU(2, 3)(np.zeros((4, 2, 2), np.float32), lengths=[huge, 1]), "lengths"),
        (lambda: F.softmax_cross_entropy([[huge, 1.5]], [0]), "logits"),
    ):
        with pytest.raises(TypeError, match=f"^{name}: expected an array, got a list with a number of 1329 bits"):
            call()


def test_a_layer_of_another_package_is_named_with_it() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"^layer 0: expected a Module, got torch\.nn\.modules\.linear\.Linear$"):
        nn.Sequential(torch.nn.Linear(3, 4))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("tanh", ("tanh", 0, 0)),
        ("hard_sigmoid", ("hard_sigmoid", 1 / 6, 0.5)),
        (("hard_sigmoid", 0.2), ("hard_sigmoid", 0.2, 0.5)),
        (["linear", 2, 1], ("linear", 2, 1)),
        (("elu",), ("elu", 1, 0)),
    ],
)
def test_an_activation_is_a_name_with_numbers(value: Any, expected: tuple[Any, ...]) -> None:
    found = activation("activation", value)
    assert found == expected
    assert activation("activation", found) == activation("activation", found.short) == expected


@pytest.mark.parametrize(
    ("error", "value", "message"),
    [
        (TypeError, None, r"f: expected a name or a tuple \(name, alpha, beta\), got None"),
        (TypeError, (), r"f: expected a name or a tuple \(name, alpha, beta\), got \(\)"),
        (TypeError, (1,), r"f: expected 'sigmoid', .* or 'thresholded_relu', got 1"),
        (ValueError, "Tanh", r"f: expected 'sigmoid', .* or 'thresholded_relu', got 'Tanh'"),
        (ValueError, ("tanh", 1), r"f: expected no number for tanh, got \(1,\)"),
        (ValueError, Activation("tanh", 1), r"f: expected no number for tanh, got"),
        (ValueError, ("elu", 1, 2), r"f: expected one number for elu, got \(1, 2\)"),
        (ValueError, ("linear", 1, 2, 3), r"f: expected two numbers for linear, got \(1, 2, 3\)"),
        (ValueError, ("linear", 1, np.nan), r"f\[2\]: expected a finite number.*, got nan"),
        (ValueError, ("elu", -np.inf), r"f\[1\]: expected a finite number.*, got -inf"),
        (TypeError, ("elu", "1"), r"f\[1\]: expected a number, got '1'"),
    ],
)
def test_activations_are_checked(error: type[Exception], value: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        activation("f", value)
