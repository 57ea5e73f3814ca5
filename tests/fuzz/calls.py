"""Everything public, found in the modules, with arguments by their names: right ones, or hostile ones instead."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import tempfile
import types
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import gru_native as gn
from gru_native import functional as F

MODULES = (
    "functional",
    "nn",
    "losses",
    "optim",
    "schedules",
    "io",
    "convert",
    "inspection",
    "train",
    "random",
    "stream",
)
# They draw, which takes long, or wait for nothing.
SKIPPED = {"plot_history", "Data", "Batch", "OtherRunError", "ModelFileError", "BusyError", "FullError"}
# `Trainer.fit` calls them with itself.
INTERNAL = {"Checkpoint.save", "Checkpoint.restore"}
# With large numbers these would go on for years, as they should.
ENDLESS = {"epochs", "steps", "accumulate", "patience", "validate_every"}


def public() -> dict[str, Callable[..., Any]]:
    """Return all public functions and classes by name."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(f"gru_native.{name}")
        for own in getattr(module, "__all__", vars(module)):
            item = getattr(module, own)
            ours = isinstance(item, (type, types.FunctionType)) and item.__module__.startswith(module.__name__)
            if ours and not own.startswith("_") and own not in SKIPPED:
                found[f"{name}.{own}"] = item
    return found


def parameters(function: Callable[..., Any], skip: int = 0) -> list[inspect.Parameter]:
    """Return the parameters without the first ones."""
    given = inspect.signature(function).parameters.values()
    return [parameter for parameter in given if parameter.kind is not parameter.VAR_KEYWORD][skip:]


class World:
    """Sizes, and what a call with these sizes takes under each name."""

    def __init__(self, rng: np.random.Generator, largest: int = 9) -> None:
        self.rng = rng
        sizes = rng.integers(1, largest + 1, 4)
        self.T, self.B, self.I, self.H = map(int, sizes)
        self.C = 5  # classes, and entries of a table
        self.batch_first = bool(rng.integers(2))
        self.bidirectional = bool(rng.integers(2))
        # What models of this world do: classes, labels without a place in time, or labels of several inputs.
        self.task = self.pick("classes", "classes", "labels", "translation")
        self.folder = Path(tempfile.mkdtemp())
        self.item: Any = None  # whose method is called

    def draw(self, *shape: int) -> Any:
        return self.rng.standard_normal(shape).astype(np.float32)

    def whole(self, *shape: int, below: int) -> Any:
        return self.rng.integers(0, below, shape)

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def steps(self, *rest: int) -> tuple[int, ...]:
        return (self.B, self.T, *rest) if self.batch_first else (self.T, self.B, *rest)

    def model(self) -> gn.nn.Module:
        gru = gn.nn.GRU(self.I, self.H, batch_first=True, seed=0)
        head = gn.nn.Linear(self.H, self.C, seed=0)
        if self.task == "labels":
            return gn.nn.Sequential(gn.nn.Conv1d(self.I, self.I, 2, padding=1, batch_first=True, seed=0), gru, head)
        if self.task == "translation":
            return gn.nn.Seq2Seq(gru, self.C, 3, self.H, seed=0)
        return gn.nn.Sequential(gru, gn.nn.LastPooling(batch_first=True), head)

    def loss(self) -> gn.train.loop.Loss:
        return gn.losses.CTCLoss(batch_first=True) if self.task == "labels" else gn.losses.CrossEntropyLoss()

    def data(self) -> gn.train.Batches:
        x, steps = self.draw(6, self.T, self.I), {"lengths": self.whole(6, below=self.T + 1)}
        if self.task == "labels":
            steps = self.pick({}, steps | {"target_lengths": self.whole(6, below=4)})
            return gn.train.Batches(x, 1 + self.whole(6, 3, below=self.C - 1), 4, **steps)
        if self.task == "translation":
            y = self.whole(6, 4, below=self.C)
            return gn.train.Batches(self.pick((x, y), {"source": x, "target": y}), y, 4, **self.pick({}, steps))
        return gn.train.Batches(x, self.whole(6, below=self.C), 4)

    def several(self, inputs: Any, other: Any) -> Any:
        """Return one input or several, as sources of data take them."""
        return self.pick(inputs, (inputs, other), {"x": inputs, "y": other})

    @cached_property
    def windows(self) -> F.Windows:
        return F.Windows(2, self.pick(1, 2), self.pick(0, 1, "same", "causal"), self.pick(1, 2))

    def scorer(self) -> Callable[[list[Any]], Any]:
        """Return a language model, which may be none."""
        return self.pick(lambda prefixes: self.draw(len(prefixes), self.C), lambda prefixes: hostile(self))

    @cached_property
    def optimizer(self) -> gn.optim.Optimizer:
        return self.pick(gn.optim.SGD, gn.optim.Adam, gn.optim.AdamW, gn.optim.RMSprop)(self.model(), lr=0.1)

    def trainer(self) -> gn.train.Trainer:
        """Return a new one of the world's optimizer."""
        model = self.model()
        return gn.train.Trainer(model, self.loss(), type(self.optimizer)(model, lr=0.1))

    def file(self) -> Path:
        path = self.folder / f"{self.rng.integers(10**9)}.safetensors"
        gn.save(self.model(), path)
        return path

    def device(self) -> Path:
        """Return a link to a device: a file may be removed, and the device itself would be gone for all."""
        path = self.folder / f"{self.rng.integers(10**9)}"
        path.symlink_to(os.devnull)
        return path

    def weights(self) -> Any:
        matrices = self.draw(3 * self.H, self.I), self.draw(3 * self.H, self.H)
        return F.pack_gru(*matrices, self.draw(3 * self.H), self.draw(3 * self.H))

    def tape(self) -> F.RecurrentTape:
        x = self.draw(*self.steps(self.I))
        return F.recurrent_forward(x, self.weights(), batch_first=self.batch_first)[1]

    def text(self) -> str:
        return "".join(self.rng.choice(list("abc de"), 60))

    def grads(self) -> Any:
        return {name: self.draw(*array.shape) for name, array in self.model().parameters().items()}

    def stack(self, *sizes: int) -> Any:
        """Return states, as `h_0` of a layer is."""
        return self.draw(1 + self.bidirectional, *sizes)

    def characters(self) -> Path:
        path = self.folder / "characters"
        gn.train.CharacterModel.create("abc", embedding_dim=3, hidden_size=(4,)).save(path)
        return path

    def ids(self) -> list[int]:
        """Return those of new sequences of the pool whose method is called."""
        with contextlib.suppress(gn.stream.FullError):
            return [self.item.open() for _ in range(self.B)]
        return []

    def snapshot(self) -> bytes:
        """Return one of the stream whose method is called, or of a sequence of the pool."""
        if isinstance(self.item, gn.stream.Stream):
            return self.item.snapshot()
        ids = self.ids()
        return self.item.export(ids[0]) if ids else b""

    def log(self) -> Path:
        path = self.folder / "log"
        with gn.train.written_log(path) as write:
            write(gn.train.Record(1, 1, 0.5, 10, 0.1, None))
        return path

    def argument(self, owner: str, parameter: inspect.Parameter) -> Any:
        """Return what is right for a parameter; its default where nothing is known."""
        for name in (*(f"{part}.{parameter.name}" for part in reversed(owner.split("."))), parameter.name):
            if name in ARGUMENTS:
                return ARGUMENTS[name](self)
        if parameter.kind is parameter.VAR_POSITIONAL:
            return []
        return hostile(self) if parameter.default is parameter.empty else parameter.default


LOSSES = ("BCEWithLogits", "CTC", "CrossEntropy", "MSE")
# By parameter, or by function and parameter where the name means something else.
ARGUMENTS: dict[str, Callable[[World], Any]] = {
    "x": lambda w: w.draw(*w.steps(w.I)),
    "weights": lambda w: w.weights(),
    "weight_ih": lambda w: w.draw(3 * w.H, w.I),
    "weight_hh": lambda w: w.draw(3 * w.H, w.H),
    "bias_ih": lambda w: w.pick(None, w.draw(3 * w.H)),
    "pack_lstm.weight_ih": lambda w: w.draw(4 * w.H, w.I),
    "pack_lstm.weight_hh": lambda w: w.draw(4 * w.H, w.H),
    "pack_lstm.bias_ih": lambda w: w.draw(4 * w.H),
    "pack_rnn.weight_ih": lambda w: w.draw(w.H, w.I),
    "pack_rnn.weight_hh": lambda w: w.draw(w.H, w.H),
    "pack_rnn.bias_ih": lambda w: w.draw(w.H),
    "state": lambda w: w.pick(None, w.draw(w.B, w.H)),
    "lengths": lambda w: w.whole(w.B, below=w.T + 1),
    "reset": lambda w: w.rng.random(w.steps()) < 0.3,
    "dropout_mask": lambda w: w.pick(None, w.draw(w.B, w.H)),
    "zoneout": lambda w: w.pick(0.0, 0.3),
    "GRU.zoneout": lambda w: 0.0,
    "zoneout_seed": lambda w: w.pick(None, 3),
    "batch_first": lambda w: w.batch_first,
    "bidirectional": lambda w: w.bidirectional,
    "output": lambda w: w.pick(None, w.draw(*w.steps(w.H))),
    "embedding.output": lambda w: None,
    "linear.output": lambda w: w.draw(*w.steps(w.C)),
    "final": lambda w: w.pick(None, w.draw(w.B, w.H)),
    "recurrent_forward.tape": lambda w: w.pick("gates", "states"),
    "checked_tape.tape": lambda w: "gates",
    **{f"{layer}.tape": lambda w: w.pick("gates", "states") for layer in ("GRU", "LSTM", "RNN", "Sequential")},
    "tape": lambda w: w.tape(),
    "d_output": lambda w: w.draw(*w.steps(w.H)),
    "d_final": lambda w: w.pick(None, w.draw(w.B, w.H)),
    "d_x": lambda w: w.draw(*w.steps(w.I)),
    "threads": lambda w: w.pick(None, 1, 2, 3),
    "pack_linear.weight": lambda w: w.draw(w.C, w.I),
    "pack_linear.bias": lambda w: w.draw(w.C),
    "linear.weights": lambda w: F.pack_linear(w.draw(w.C, w.I), w.draw(w.C)),
    "linear_backward.weights": lambda w: F.pack_linear(w.draw(w.C, w.I), w.draw(w.C)),
    "linear_backward.d_output": lambda w: w.draw(*w.steps(w.C)),
    "embedding_backward.d_output": lambda w: w.draw(*w.steps(w.H)),
    "in_channels": lambda w: w.I,
    "out_channels": lambda w: w.C,
    "kernel_size": lambda w: w.pick(1, 2, 3),
    "stride": lambda w: w.pick(1, 2),
    "padding": lambda w: w.pick(0, 1, "same", "causal"),
    "dilation": lambda w: w.pick(1, 2),
    "windows": lambda w: w.windows,
    "pack_conv1d.weight": lambda w: w.draw(w.C, w.I, 2),
    "pack_conv1d.bias": lambda w: w.pick(None, w.draw(w.C)),
    "conv1d.weights": lambda w: F.pack_conv1d(w.draw(w.C, w.I, 2), w.draw(w.C)),
    "conv1d_backward.weights": lambda w: F.pack_conv1d(w.draw(w.C, w.I, 2)),
    "conv1d_backward.d_output": lambda w: F.conv1d(
        w.draw(*w.steps(w.I)), F.pack_conv1d(w.draw(w.C, w.I, 2)), w.windows, batch_first=w.batch_first
    ),
    "queries": lambda w: w.draw(w.T, w.B, w.H),
    "keys": lambda w: w.draw(w.B, w.T, w.H),
    "values": lambda w: w.draw(w.B, w.T, w.I),
    "score": lambda w: w.pick(None, w.draw(w.H)),
    "attention_backward.weights": lambda w: w.draw(w.T, w.B, 1, w.T),
    "d_context": lambda w: w.draw(w.T, w.B, w.I),
    "query_size": lambda w: w.H,
    "memory_size": lambda w: w.H,
    "score_mode": lambda w: w.pick("additive", "general", "dot"),
    "heads": lambda w: 1,
    "Attention.queries": lambda w: w.draw(*w.steps(w.H)),
    "memory": lambda w: w.draw(*w.steps(w.H)),
    "encoder": lambda w: gn.nn.GRU(w.I, w.H, batch_first=w.batch_first, bidirectional=w.bidirectional, seed=0),
    "Seq2Seq.score_mode": lambda w: w.pick("additive", "general"),
    "target_size": lambda w: w.C,
    "start": lambda w: w.pick(0, 1),
    "end": lambda w: 0,
    "scheduled_sampling": lambda w: w.pick(0.0, 0.5),
    "source": lambda w: w.draw(*w.steps(w.I)),
    "target": lambda w: w.whole(*w.steps(), below=w.C),
    "width": lambda w: w.pick(1, 3),
    "temperature": lambda w: w.pick(1.0, 0.1),
    "length_penalty": lambda w: w.pick(1.0, 0.0),
    "indices": lambda w: w.whole(*w.steps(), below=w.C),
    "embedding.weight": lambda w: w.draw(w.C, w.H),
    "num_embeddings": lambda w: w.C,
    "embedding_dim": lambda w: w.H,
    "padding_idx": lambda w: w.pick(None, 0),
    "logits": lambda w: w.draw(w.B, w.C),
    "predictions": lambda w: w.draw(w.B, w.C),
    "targets": lambda w: w.whole(w.B, below=w.C),
    "MSELoss.targets": lambda w: w.draw(w.B, w.C),
    "BCEWithLogitsLoss.targets": lambda w: w.rng.random((w.B, w.C)).astype("f4"),
    **{f"{name}.logits": lambda w: w.draw(w.T, w.B, w.C) for name in ("ctc", "ctc_greedy", "ctc_beam_search")},
    "ctc.targets": lambda w: 1 + w.whole(w.B, 3, below=w.C - 1),
    "CTCLoss.logits": lambda w: w.draw(*w.steps(w.C)),
    "CTCLoss.targets": lambda w: 1 + w.whole(w.B, 3, below=w.C - 1),
    "input_lengths": lambda w: w.whole(w.B, below=w.T + 1),
    "target_lengths": lambda w: w.whole(w.B, below=min(w.T, 3) + 1),
    "blank": lambda w: 0,
    "scorer": lambda w: w.pick(None, w.scorer()),
    "found": lambda w: [w.whole(n, below=w.C) for n in (3, 0, 2)],
    "label_error.targets": lambda w: [w.whole(n, below=w.C) for n in (2, 1, 0)],
    **{f"{loss}Loss.weights": lambda w: w.pick(None, w.rng.random(w.B)) for loss in LOSSES},
    "gradient": lambda w: bool(w.rng.integers(2)),
    "p": lambda w: 0.3,
    "seed": lambda w: 3,
    "steps": lambda w: w.T,
    "batch": lambda w: w.B,
    "reset_after": lambda w: True,
    "layer_norm": lambda w: False,
    "activation": lambda w: w.pick("tanh", "relu", ("elu", 0.5), ("linear", 1, 0.1)),
    "recurrent_activation": lambda w: w.pick("sigmoid", "hard_sigmoid", ("hard_sigmoid", 0.2, 0.5)),
    "direction": lambda w: "forward",
    "clip": lambda w: w.pick(None, 1.5),
    "pack_lstm.peephole": lambda w: w.pick(None, w.draw(3, w.H)),
    "pack_lstm.weight_hr": lambda w: None,
    "cell": lambda w: "lstm",
    "input_size": lambda w: w.I,
    "features": lambda w: w.I,
    "in_features": lambda w: w.I,
    "num_features": lambda w: w.I,
    "normalized_shape": lambda w: w.I,
    "out_features": lambda w: w.C,
    "hidden_size": lambda w: w.H,
    "create.hidden_size": lambda w: (w.H,),
    "h_0": lambda w: w.pick(None, w.stack(w.B, w.H)),
    "BatchNorm1d.x": lambda w: w.draw(w.B, w.I),
    "GRUCell.x": lambda w: w.draw(w.B, w.I),
    "LSTMCell.x": lambda w: w.draw(w.B, w.I),
    "RNNCell.x": lambda w: w.draw(w.B, w.I),
    "LSTM.h_0": lambda w: w.pick(None, (w.stack(w.B, w.H), w.stack(w.B, w.H))),
    "LSTMCell.state": lambda w: (w.draw(w.B, w.H), w.draw(w.B, w.H)),
    "Sequential.layers": lambda w: [
        gn.nn.GRU(w.I, w.H, batch_first=w.batch_first, seed=0),
        gn.nn.Linear(w.H, 2, seed=0),
    ],
    "load_state_dict.state": lambda w: w.item.state_dict(),
    "load_state_dict.state_dict": lambda w: w.item.state_dict(),
    "LastPooling.bidirectional": lambda w: False,
    "weight_decay": lambda w: 0.0,
    "Trainer.model": lambda w: w.optimizer.model,
    "schedulers": lambda w: [gn.schedules.StepLR(w.optimizer, 2), gn.schedules.ExponentialLR(w.optimizer, 0.9)],
    "bits.loss": lambda w: 1.0,
    "read_log.path": lambda w: w.log(),
    "load.path": lambda w: w.characters() if w.item else w.file(),
    "updates": lambda w: {},
    "config": lambda w: w.model().config(),
    "model": lambda w: w.model(),
    "inspect.model": lambda w: gn.nn.Sequential(
        gn.nn.GRU(w.I, w.H, batch_first=True, seed=0), gn.nn.Linear(w.H, 2, seed=0)
    ),
    "inspect.x": lambda w: w.draw(w.T, w.I),
    "lr": lambda w: 0.1,
    "grads": lambda w: w.grads(),
    "max_norm": lambda w: 1.0,
    "clip_value": lambda w: 1.0,
    "step.x": lambda w: w.draw(w.B, w.I),
    "run.x": lambda w: w.draw(w.B, w.T, w.I),
    "rows": lambda w: w.rng.random(w.B) < 0.5,
    "ids": lambda w: w.ids(),
    "id": lambda w: next(iter(w.ids()), 1),
    "snapshot": lambda w: w.snapshot(),
    "capacity": lambda w: 5 * w.B,
    "shards": lambda w: w.pick(1, 2, 3),
    "communicator": lambda w: w.pick(None, communicator(w.pick(False, True))),
    "optimizer": lambda w: w.optimizer,
    "step_size": lambda w: 2,
    "gamma": lambda w: 0.9,
    "milestones": lambda w: [2, 4],
    "T_max": lambda w: 5,
    "SequentialLR.milestones": lambda w: [2],
    "metric": lambda w: 1.0,
    "epoch": lambda w: 3,
    "number": lambda w: 1,
    "path": lambda w: w.file(),
    "arrays": lambda w: {"a": w.draw(2, 3)},
    "to_native.arrays": lambda w: {"weight_ih": w.draw(3 * w.H, w.I), "weight_hh": w.draw(3 * w.H, w.H)},
    "to_native.activation": lambda w: "tanh",
    "to_native.recurrent_activation": lambda w: "sigmoid",
    "from_native.activation": lambda w: "tanh",
    "from_native.recurrent_activation": lambda w: "sigmoid",
    "convention": lambda w: gn.convert.Convention(bias="none", names=("weight_ih", "weight_hh")),
    "from_native.weights": lambda w: {"weight_ih": w.draw(3 * w.H, w.I), "weight_hh": w.draw(3 * w.H, w.H)},
    "header": lambda w: {"a": 1},
    "metadata": lambda w: {"a": "b"},
    "batch_size": lambda w: 2,
    "window": lambda w: 3,
    "Batches.inputs": lambda w: w.several(w.draw(6, w.T, w.I), w.draw(6, w.I)),
    "Batches.lengths": lambda w: w.pick(None, w.whole(6, below=w.T + 1)),
    "Batches.weights": lambda w: w.pick(None, w.rng.random(6)),
    "Batches.target_lengths": lambda w: None,
    **{f"{source}.reset": lambda w: None for source in ("Batches", "Sequences")},
    "Batches.targets": lambda w: w.whole(6, below=w.C),
    "Stream.inputs": lambda w: w.whole(50, below=w.C),
    "Stream.targets": lambda w: w.whole(50, below=w.C),
    "Sequences.inputs": lambda w: w.several([w.draw(n, w.I) for n in (3, 1, 4)], w.draw(3, w.I)),
    "Sequences.targets": lambda w: w.whole(3, below=w.C),
    "Sequences.weights": lambda w: w.pick(None, w.rng.random(3)),
    "inputs": lambda w: w.draw(w.B, w.I),
    **{f"{call}.inputs": lambda w: w.draw(*w.steps(w.I)) for call in ("predict", "predict_proba")},
    **{f"{call}.lengths": lambda w: None for call in ("predict", "predict_proba")},
    "loss": lambda w: w.loss(),
    "data": lambda w: w.data(),
    "validation": lambda w: w.pick(None, w.data()),
    "epochs": lambda w: 1,
    "fit.steps": lambda w: None,
    "progress": lambda w: False,
    "checkpoint": lambda w: w.pick(None, w.folder / "run.checkpoint"),
    "run": lambda w: gn.train.checkpoint.Run(1),
    "plan": lambda w: {"a": 1},
    "trainer": lambda w: w.trainer(),
    "network": lambda w: gn.train.CharacterModel.create("abc", embedding_dim=3, hidden_size=(4,)).network,
    "vocabulary": lambda w: "abc",
    "text": lambda w: w.text(),
    "CharacterModel.text": lambda w: "abcabc" * 5,
    "CharacterModel.indices": lambda w: w.whole(4, below=3),
    "prompt": lambda w: "ab",
    "history": lambda w: [],
    "task": lambda w: "task",
    "figures": lambda w: {"loss": "1"},
    "RecurrentTape": lambda w: w.tape(),
    "seconds": lambda w: 1.0,
    "count": lambda w: 2,
    "mode": lambda w: True,
    "ReduceLROnPlateau.mode": lambda w: "min",
    "fit.mode": lambda w: "min",
}


def communicator(null: bool) -> Any:
    """Return one of MPI's, if it is there: of this process, or of none."""
    try:
        from mpi4py import MPI
    except ImportError:
        return None
    return MPI.COMM_NULL if null else MPI.COMM_SELF


class Odd:
    """An object that says no whatever it is asked."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise ValueError("odd: says no")

    __array__ = __index__ = __len__ = __iter__ = __float__ = __bool__ = __getitem__ = _refuse


def hostile(world: World) -> Any:
    """Return anything."""
    rng = world.rng
    shape = tuple(
        int(size) for size in rng.choice([0, 1, 2, 3, world.T, world.B, world.I, world.H], int(rng.integers(5)))
    )
    dtype = world.pick("f4", "f8", "f2", ">f4", "i8", "i4", "u1", "u8", "b1", "O", "S3", "U2", "M8[s]", "c8", "f4,i4")
    return world.pick(
        lambda: None,
        lambda: world.pick(True, False, 0, 1, -1, 2, 255),
        lambda: world.pick(2**31 - 1, 2**31, 2**32 + 1, 2**62, 2**63 - 1, 2**63, -(2**63), 10**400, np.int8(-1)),
        lambda: world.pick(0.5, -0.0, 1e300, 1e-300, float("nan"), float("inf"), 1j, np.float32(2)),
        lambda: world.pick("", "x", "\0", "é" * 300, "x/..", b"\x05\x06", bytearray(4), memoryview(b"abcd")),
        lambda: world.pick([], (), {}, set(), [None], [1, [2, 3]], {"a": 1}, {1: 2}, range(3), iter([1, 2])),
        lambda: world.pick(object(), object, Odd(), len, np, gn.nn.Linear, Ellipsis, slice(2)),
        lambda: world.pick(world.model, world.weights, world.tape, world.data, lambda: world.optimizer)(),
        lambda: np.zeros(shape, dtype),
        lambda: np.full(shape, world.pick(np.nan, np.inf, 1e38, -1, 1e-40)),
        lambda: np.broadcast_to(np.zeros((), dtype), (2**40, *shape)) if 0 in shape else np.zeros(shape, dtype).T,
        lambda: np.ma.masked_array(world.draw(*shape), np.ones(shape, bool)),
        lambda: np.matrix(world.draw(2, 3)),
        lambda: np.array(world.pick(2**62, -1, 10**6, 1)).repeat(world.B),
    )()


def near(world: World, value: Any) -> Any:
    """Return something much like a right value."""
    rng = world.rng
    if isinstance(value, np.ndarray) and value.ndim and value.dtype.kind in "biufc":
        return near_array(world, value)
    if isinstance(value, (bool, int, float)):
        return world.pick(
            value + 1, value - 1, -value, complex(value) if abs(value) < 1e9 else 0.5, str(value), [value]
        )
    if isinstance(value, str):
        return world.pick(value.upper(), value + "x", value[:-1], value.encode())
    if isinstance(value, Mapping) and value:
        changed = dict(value)
        key = list(changed)[int(rng.integers(len(changed)))]
        gone = changed.pop(key)
        return world.pick(
            changed, changed | {f"{key}x": gone}, changed | {key: hostile(world)}, changed | {key: near(world, gone)}
        )
    if isinstance(value, (tuple, list)) and value:
        place = int(rng.integers(len(value)))
        parts = [*value]
        parts[place] = world.pick(hostile, lambda w: near(w, value[place]))(world)
        return type(value)(world.pick(parts, parts[:-1], [*parts, parts[0]]))
    if isinstance(value, Path):
        return world.pick(value.parent, value / "x", value.with_name("none"), str(value), bytes(value), world.device())
    return hostile(world)


def near_array(world: World, array: Any) -> Any:
    """Return an array much like another: of other numbers, or the same ones in other memory."""
    axis = int(world.rng.integers(array.ndim))
    other = [*array.shape]
    other[axis] = max(0, other[axis] + world.pick(-1, 1, 7))
    odd = array.dtype.type(world.pick(0, 1, 127)) if array.dtype.kind in "iub" else np.nan

    def read_only() -> Any:
        copied = array.copy()
        copied.flags.writeable = False
        return copied

    def unaligned() -> Any:
        memory = np.zeros(array.nbytes + 1, np.uint8)[1:]
        moved = memory.view(array.dtype).reshape(array.shape)
        moved[...] = array
        return moved

    return world.pick(
        lambda: np.resize(array, other),
        lambda: array[..., None],
        lambda: array[0] if len(array) else array[:0],
        lambda: array.T,
        lambda: array.astype(world.pick("f8", "f2", "i4", "u1", "O")),
        lambda: array.astype(array.dtype.newbyteorder()),
        lambda: array[::-1],
        lambda: np.asfortranarray(array),
        lambda: np.repeat(array, 2, axis)[(slice(None),) * axis + (slice(None, None, 2),)],
        lambda: (
            np.broadcast_to(np.asarray(array).ravel()[:1].reshape((1,) * array.ndim), array.shape)
            if array.size
            else array
        ),
        lambda: np.full_like(array, odd),
        lambda: np.where(
            world.rng.random(array.shape) < 0.1, np.asarray(world.pick(-1, 2**31, 10**6)).astype(array.dtype), array
        ),
        lambda: array.tolist() if max(array.shape, default=0) < 10**4 else array,
        lambda: np.ma.masked_array(array),
        read_only,
        unaligned,
    )()


def arguments(world: World, owner: str, function: Callable[..., Any], wrong: float) -> dict[str, Any]:
    """Return arguments by name, of which a share is not right."""
    chosen = {}
    for parameter in parameters(function):
        value = world.argument(owner, parameter)
        if world.rng.random() < wrong:
            value = near(world, value) if world.rng.random() < 0.6 else hostile(world)
            if parameter.name in ENDLESS and not isinstance(value, (int, float)):
                pass
            elif parameter.name in ENDLESS:
                value = -1
        chosen[parameter.name] = value
    # Two arguments may share memory.
    arrays = [name for name, value in chosen.items() if isinstance(value, np.ndarray)]
    if len(arrays) > 1 and world.rng.random() < wrong / 4:
        one, other = world.rng.choice(arrays, 2, replace=False)
        chosen[one] = chosen[other]
    return chosen
