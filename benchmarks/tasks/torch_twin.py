"""The same training in PyTorch, for its time: the same layers with the same weights, batches and steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import repeat, starmap
from typing import Any

import numpy as np

from gru_native import losses, nn
from gru_native.arguments import Array
from gru_native.nn.module import join
from gru_native.train import Batch


def seconds_in_torch(
    model: nn.Module,
    loss: Any,
    batches: Iterable[Any],
    *,
    lr: float,
    max_norm: float | None = None,
    threads: int | None = None,
) -> float | None:
    """Return how long PyTorch takes to train on some batches with Adam, or None when it is not installed.

    Parameters
    ----------
    model
        A `Sequential`, or a `Seq2Seq` of one and with the additive score. The network there has the same layers and
        begins with the same weights.
    loss
        Of `gru_native.losses`.
    batches
        Such as ``data.epoch(0)``.
    """
    with _threads(threads) as torch:
        return None if torch is None else _train(_twin(torch, model), loss, batches, repeat(lr), max_norm)


def predicted_in_torch(
    model: nn.Module,
    loss: Any,
    batches: Iterable[Any],
    others: Iterable[Any],
    *,
    rates: Iterable[float],
    max_norm: float | None = None,
    threads: int | None = None,
) -> list[Array] | None:
    """Return what the network of PyTorch gives for other batches when it is trained, or None when it is not installed.

    Parameters
    ----------
    model, loss, batches
        As for `seconds_in_torch`.
    others
        Batches to predict after that.
    rates
        The learning rate of each step.
    """
    with _threads(threads) as torch:
        if torch is None:
            return None
        twin = _twin(torch, model)
        _train(twin, loss, batches, rates, max_norm)
        twin.eval()
        with torch.no_grad():
            return [twin(batch).numpy() for batch in starmap(Batch, others)]


def trained_in_torch(
    model: nn.Module,
    loss: Any,
    batches: Iterable[Any],
    *,
    rates: Iterable[float],
    max_norm: float | None = None,
    threads: int | None = None,
) -> dict[str, Array] | None:
    """Return the weights that PyTorch trains, by the names of the model's, or None when it is not installed.

    Parameters are as for `predicted_in_torch`.
    """
    with _threads(threads) as torch:
        if torch is None:
            return None
        twin = _twin(torch, model)
        _train(twin, loss, batches, rates, max_norm)
        return {name: tensor.detach().numpy() for name, tensor in twin.named_parameters()}


@contextmanager
def _threads(threads: int | None) -> Iterator[Any]:
    """Yield PyTorch, which uses so many threads meanwhile, or None when it is not installed."""
    try:
        import torch
    except ImportError:
        yield None
        return
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield torch
    finally:
        torch.set_num_threads(before)


def _twin(torch: Any, model: nn.Module) -> _Twin | _Seq2SeqTwin:
    return _Seq2SeqTwin(torch, model) if isinstance(model, nn.Seq2Seq) else _Twin(torch, model)


def _train(
    twin: _Twin | _Seq2SeqTwin, loss: Any, batches: Iterable[Any], rates: Iterable[float], max_norm: float | None
) -> float:
    """Return how long it takes, in seconds."""
    torch, of_batch = twin.torch, _loss(twin, loss)
    optimizer = torch.optim.Adam(twin.parameters)
    began = time.perf_counter()
    for batch, rate in zip(starmap(Batch, batches), rates, strict=False):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        predictions = twin(batch)
        if batch.live is not None:
            predictions = predictions[torch.from_numpy(batch.live)]
        of_batch(predictions, batch).backward()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(twin.parameters, max_norm)
        optimizer.step()
    return time.perf_counter() - began


def _loss(twin: _Twin | _Seq2SeqTwin, loss: Any) -> Callable[[Any, Batch], Any]:
    torch = twin.torch
    if isinstance(loss, losses.CTCLoss):
        ctc = torch.nn.CTCLoss(loss.blank, zero_infinity=loss.zero_infinity)
        return lambda predictions, batch: ctc(
            predictions.log_softmax(-1), *map(torch.from_numpy, (batch.targets, batch.lengths, batch.target_lengths))
        )
    if isinstance(loss, losses.CrossEntropyLoss):
        cross_entropy = torch.nn.CrossEntropyLoss(label_smoothing=loss.label_smoothing)
        return lambda predictions, batch: cross_entropy(
            predictions.flatten(0, -2), torch.from_numpy(twin.targets(batch)).flatten()
        )
    own = {losses.MSELoss: torch.nn.MSELoss, losses.BCEWithLogitsLoss: torch.nn.BCEWithLogitsLoss}[type(loss)]()
    return lambda predictions, batch: own(predictions, torch.from_numpy(batch.targets))


class _Twin:
    """A chain of layers as PyTorch's, with lengths as packed sequences."""

    def __init__(self, torch: Any, model: nn.Module) -> None:
        self.torch = torch
        chain = model.children() if isinstance(model, nn.Sequential) else {"": model}
        self._names, self._layers = [*chain], [(layer, self._made(layer)) for layer in chain.values()]
        self.parameters = [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Yield the parameters with the names that they have in the model."""
        for name, (_, made) in zip(self._names, self._layers, strict=True):
            if made is not None:
                yield from ((join(name, own), parameter) for own, parameter in made.named_parameters())

    def targets(self, batch: Batch) -> Array:
        """Return what the predictions are compared with."""
        return batch.targets

    def eval(self) -> None:
        """Let dropout rest."""
        for _, made in self._layers:
            if made is not None:
                made.eval()

    def _made(self, layer: nn.Module) -> Any:
        own = self.torch.nn
        config = {name: value for name, value in layer.config().items() if name not in ("type", "dtype")}
        if isinstance(layer, nn.Linear):
            made = own.Linear(**config)
        elif isinstance(layer, nn.Conv1d):
            if layer.batch_first or not isinstance(layer.padding, int):
                raise TypeError("Conv1d: expected time first, and a number for padding")
            made = own.Conv1d(**{name: value for name, value in config.items() if name != "batch_first"})
        elif isinstance(layer, nn.Activation) and layer.function == "relu":
            return own.ReLU()
        elif isinstance(layer, nn.Embedding):
            made = own.Embedding(layer.num_embeddings, layer.embedding_dim, padding_idx=layer.padding_idx)
        elif isinstance(layer, nn.GRU):
            if not isinstance(layer.hidden_size, int):
                raise TypeError("GRU: expected one hidden size for all layers")
            names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
            made = own.GRU(**{name: config[name] for name in names})
        elif isinstance(layer, nn.Dropout):
            return own.Dropout(layer.p)
        elif isinstance(layer, nn.LayerNorm):
            made = own.LayerNorm(layer.normalized_shape)
        elif isinstance(layer, nn.AttentionPooling):
            made = own.ParameterDict({name: self.torch.tensor(array) for name, array in layer.parameters().items()})
            return made
        elif layer.pools:
            return None
        else:
            raise TypeError(f"no twin of a {type(layer).__name__}")
        made.load_state_dict({name: self.torch.tensor(array) for name, array in layer.state_dict().items()})
        return made

    def __call__(self, batch: Batch) -> Any:
        """Return the predictions."""
        x, lengths = self.torch.from_numpy(batch.inputs), batch.lengths
        for layer, made in self._layers:
            if layer.recurrent:
                x = self._recurrent(layer, made, x, lengths)
            elif layer.pools:
                x = self._pooled(layer, made, x, lengths)
            elif isinstance(layer, nn.Conv1d):
                x = made(x.permute(1, 2, 0)).permute(2, 0, 1)  # (T, B, C) by way of (B, C, T)
                lengths = None if lengths is None else layer.output_lengths(lengths)
            else:
                x = made(x)
        return x

    def _recurrent(self, layer: Any, made: Any, x: Any, lengths: Any) -> Any:
        if lengths is None:
            return made(x)[0]
        rnn = self.torch.nn.utils.rnn
        packed = rnn.pack_padded_sequence(
            x, self.torch.from_numpy(lengths), batch_first=layer.batch_first, enforce_sorted=False
        )
        return rnn.pad_packed_sequence(made(packed)[0], batch_first=layer.batch_first)[0]

    def _pooled(self, layer: Any, made: Any, x: Any, lengths: Any) -> Any:
        torch = self.torch
        x = x.transpose(0, 1) if layer.batch_first else x
        steps, rows = x.shape[:2]
        counts = torch.full((rows,), steps) if lengths is None else torch.from_numpy(lengths)
        live = torch.arange(steps)[:, None] < counts
        if isinstance(layer, nn.MeanPooling):
            return (x * live[:, :, None]).sum(0) / counts[:, None]
        if isinstance(layer, nn.LastPooling):
            last = x[counts - 1, torch.arange(rows)]
            half = x.shape[2] // 2 if layer.bidirectional else x.shape[2]
            return torch.cat([last[:, :half], x[0, :, half:]], dim=1)
        scores = torch.tanh(x @ made["weight"].T + made["bias"]) @ made["query"]
        attention = torch.softmax(scores.masked_fill(~live, -torch.inf), dim=0)
        return (attention[:, :, None] * x).sum(0)


class _Seq2SeqTwin:
    """An encoder, and a decoder with attention as a loop of PyTorch's operators: there is no layer that does this."""

    def __init__(self, torch: Any, model: nn.Seq2Seq) -> None:
        if model.attention.score_mode != "additive" or model.attention.heads > 1 or model.batch_first:
            raise TypeError("Seq2Seq: expected the additive score with one head, and time first")
        self.torch, self._start = torch, model.start
        self._encoder = _Twin(torch, model.encoder)
        self._own = {
            name: torch.nn.Parameter(torch.tensor(array))
            for name, array in model.parameters().items()
            if not name.startswith("encoder.")
        }
        self.parameters = [parameter for _, parameter in self.named_parameters()]

    def named_parameters(self) -> Iterator[tuple[str, Any]]:
        """Yield the parameters with the names that they have in the model."""
        yield from ((f"encoder.{name}", parameter) for name, parameter in self._encoder.named_parameters())
        yield from self._own.items()

    def targets(self, batch: Batch) -> Array:
        """Return what the predictions are compared with, (T, B), and -100 behind each row."""
        steps = batch.targets.shape[1] if batch.target_lengths is None else batch.target_lengths[:, None]
        return np.where(np.arange(batch.targets.shape[1]) < steps, batch.targets, -100).T

    def eval(self) -> None:
        """Let dropout rest."""
        self._encoder.eval()

    def __call__(self, batch: Batch) -> Any:
        """Return the logits (T, B, V)."""
        torch, own = self.torch, self._own
        linear = torch.nn.functional.linear
        memory = self._encoder(batch._replace(inputs=batch.inputs["source"])).transpose(0, 1)
        steps = torch.from_numpy(batch.lengths)[:, None]
        padding = torch.arange(memory.shape[1]) >= steps
        h = torch.tanh(linear(memory.sum(1) / steps, own["bridge.weight"], own["bridge.bias"]))
        keys = linear(memory, own["attention.weight_memory"], own["attention.bias"])
        target = torch.from_numpy(batch.inputs["target"])
        labels = torch.cat([torch.full_like(target[:1], self._start), target[:-1]])
        gru = [own[f"decoder.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        a, outputs = torch.zeros_like(h), []
        for x in torch.nn.functional.embedding(labels, own["embedding.weight"]):
            h = torch.gru_cell(torch.cat([x, a], 1), h, *gru)
            query = linear(h, own["attention.weight_query"])
            scores = torch.tanh(keys + query[:, None]) @ own["attention.score_weight"]
            weights = scores.masked_fill(padding, -torch.inf).softmax(1)
            context = torch.bmm(weights[:, None], memory)[:, 0]
            a = torch.tanh(linear(torch.cat([context, h], 1), own["combine.weight"]))
            outputs.append(a)
        return linear(torch.stack(outputs), own["output.weight"], own["output.bias"])
