"""From sequences to sequences: an encoder, and a recurrent decoder that attends to what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gru_native import functional as F
from gru_native.arguments import LARGEST, array, float_dtype, index_array, instance, number, shaped_array, whole
from gru_native.nn import search
from gru_native.nn.attention import Attention, laid_out
from gru_native.nn.decoding import Decoder, DecoderTape, Memory
from gru_native.nn.embedding import Embedding
from gru_native.nn.gru import GRU
from gru_native.nn.linear import Linear, _packed
from gru_native.nn.module import Array, Gradients, Module, Snapshot, join, public, sealed
from gru_native.nn.share import Share
from gru_native.nn.signal import Signal, layout_of
from gru_native.passes import repeatable
from gru_native.random import Seed, generator, seed_path

WIDEST = 4096  # beam
TOGETHER = 1024  # beginnings that one call goes on with, each with a memory of its own


class Seq2Seq(Module):
    """An encoder, attention, and a GRU with input feeding that writes labels, one a step.

    ``model(source, target, lengths=None, target_lengths=None)`` gives the logits (T, B, V) of the labels target
    (T, B), or (B, T, V) of (B, T) where the encoder has `batch_first`: those of each label from the source and the
    labels before it (teacher forcing), so that target is also what a loss compares them with. `lengths` and
    `target_lengths` (B,) are the steps of source and target; labels behind them may be anything, and logits there say
    nothing. ``forward`` takes the same and a `seed`, and ``backward(tape, d_logits)`` gives ``((d_source, None),
    gradients)``, with ``None`` in place of d_source for an encoder of indices.

    With the encoder's outputs m, from the label y before and with zeros for a before the first step::

        h_0 = tanh(bridge(mean of m))
        h = decoder([embedding(y); a], h)
        c = attention(h, m)
        a = tanh(combine [c; h])
        logits = output(a)

    (Luong et al. 2015, arXiv:1508.04025; the first state is that of Nematus.) `greedy`, `sample` and `beam_search`
    write labels themselves.

    Parameters
    ----------
    encoder
        Any recurrent layer, or a `Sequential` that gives a feature vector for each step, such as an `Embedding` and a
        bidirectional `GRU`, or a `Conv1d` in front of one.
    target_size
        V, the number of labels.
    embedding_dim, hidden_size
        Sizes of the embedding and of the decoder's states.
    score_mode, attention_size, heads
        As of `Attention`.
    start, end
        The labels that stand before the first one, and that end a sequence. They may be the same.
    scheduled_sampling
        The share of labels that ``forward`` in training mode replaces as inputs by ones that the model draws itself
        (Bengio et al. 2015, arXiv:1506.03099), from the `seed`. It is an attribute, to be raised during training. It
        costs a second pass.
    dtype
        float32 or float64, as the encoder's.
    seed
        Of the initial values of all but the encoder; ``None`` draws fresh entropy.

    Attributes
    ----------
    encoder, embedding, bridge, decoder, attention, combine, output
        The modules: `Embedding`, `Linear`, `GRU`, `Attention`, and `Linear` twice.
    """

    scheduled_sampling = Share()

    def __init__(
        self,
        encoder: Module,
        target_size: int,
        embedding_dim: int,
        hidden_size: int,
        *,
        score_mode: str = "additive",
        attention_size: int | None = None,
        heads: int = 1,
        start: int = 0,
        end: int = 0,
        scheduled_sampling: float = 0.0,
        dtype: DTypeLike = "float32",
        seed: Seed | None = None,
    ) -> None:
        super().__init__()
        given = instance("encoder", encoder, Module, "a Module")._passed(Signal(), "encoder")
        dtype = float_dtype(dtype)
        if given.features is None or given.batch_first is None or given.batch_first.value not in (True, False):
            expected = "a module that gives features for each step, with a layer that says which axis the steps are on"
            raise ValueError(f"encoder: expected {expected}, such as a GRU or a Conv1d, got another one")
        if given.dtype is not None:
            given.typed("decoder (GRU)", dtype.name)
        self.target_size = whole("target_size", target_size)
        embedding_dim, hidden_size = whole("embedding_dim", embedding_dim), whole("hidden_size", hidden_size)
        self.start = whole("start", start, 0, self.target_size - 1)
        self.end = whole("end", end, 0, self.target_size - 1)
        self.scheduled_sampling = scheduled_sampling
        size = given.features.value
        rng = generator(seed)
        own: dict[str, Any] = {"dtype": dtype}

        def drawn() -> int:
            return int(rng.integers(2**63))

        self.encoder = encoder
        self.embedding = Embedding(target_size, embedding_dim, **own, seed=drawn())
        self.bridge = Linear(size, hidden_size, **own, seed=drawn())
        self.decoder = GRU(embedding_dim + hidden_size, hidden_size, **own, seed=drawn())
        self.attention = Attention(hidden_size, size, score_mode, attention_size, heads, **own, seed=drawn())
        self.combine = Linear(size + hidden_size, hidden_size, bias=False, **own, seed=drawn())
        self.output = Linear(hidden_size, target_size, **own, seed=drawn())

    def _config(self) -> dict[str, Any]:
        attention = self.attention.config()
        return {
            "encoder": self.encoder.config(),
            "target_size": self.target_size,
            "embedding_dim": self.embedding.embedding_dim,
            "hidden_size": self.decoder.hidden_size,
            **{name: attention[name] for name in ("score_mode", "attention_size", "heads")},
            "start": self.start,
            "end": self.end,
            "scheduled_sampling": self.scheduled_sampling,
            "dtype": self.attention.dtype.name,
        }

    @property
    def batch_first(self) -> bool:
        return bool(layout_of(self.encoder))

    @property
    def writes(self) -> bool:
        return True

    def _passed(self, given: Signal, name: str) -> Signal:
        self.encoder._passed(given, join(name, "encoder"))
        return Signal()

    def _call(
        self,
        snapshot: Snapshot,
        source: ArrayLike,
        target: ArrayLike,
        lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
        *,
        threads: int | None = None,
    ) -> Array:
        return self._run(snapshot, source, target, lengths, target_lengths, None, threads, False)[0]

    def _forward(
        self,
        snapshot: Snapshot,
        source: ArrayLike,
        target: ArrayLike,
        lengths: ArrayLike | None = None,
        target_lengths: ArrayLike | None = None,
        *,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> tuple[Array, _Saved]:
        logits, saved = self._run(snapshot, source, target, lengths, target_lengths, seed, threads, True)
        return sealed(logits), saved

    def _run(
        self,
        snapshot: Snapshot,
        source: ArrayLike,
        target: ArrayLike,
        lengths: ArrayLike | None,
        target_lengths: ArrayLike | None,
        seed: Seed | None,
        threads: int | None,
        training: bool,
    ) -> tuple[Array, Any]:
        sampling = training and self.training and self.scheduled_sampling > 0
        if sampling and seed is None:
            raise ValueError("seed: expected one for scheduled_sampling in training mode, got None")
        source, labels = self._source(source), self._turned(array("target", target))
        rows = source.shape[int(not self.batch_first)]
        if labels.ndim != 2 or labels.shape[1] != rows:
            raise ValueError(f"target: expected {rows} rows of labels, got shape {np.shape(target)}")
        steps = None if target_lengths is None else self._target_lengths(target_lengths, *labels.shape)
        inputs = self._inputs(labels, steps)
        path = () if seed is None else seed_path(seed)
        encoded = self._encode(snapshot, source, lengths, (*path, 0) if path else None, threads, training)
        decoder = self._packed(snapshot)
        if sampling:
            inputs = self._mixed(snapshot, decoder, encoded, inputs, (*path, 1), threads)
        x = F.embedding(inputs, snapshot["embedding"].version["weight"])
        y, tape = decoder.forward(x, steps, encoded.h_0, encoded.memory, threads, training)
        logits = F.linear(y, snapshot["output"].version.derive("packed", _packed), threads=threads)
        return self._turned(logits), tape and _Saved(snapshot, encoded, decoder, inputs, steps, tape)

    def _target_lengths(self, lengths: ArrayLike, steps: int, rows: int) -> Array:
        found = index_array("target_lengths", lengths, steps + 1)
        if found.shape != (rows,):
            raise ValueError(f"target_lengths: expected shape (B,) = ({rows},), got {found.shape}")
        return found

    @repeatable
    def _inputs(self, labels: Array, steps: Array | None) -> Array:
        """Return what the decoder is given: the start, and the labels but the last one (T, B)."""
        if steps is not None and labels.dtype.kind in "iu":
            labels = np.where(np.arange(len(labels))[:, None] < steps, labels, self.start)
        found = index_array("target", labels, self.target_size)
        return np.concatenate([np.full((min(len(found), 1), found.shape[1]), self.start), found[:-1]])

    def _encode(
        self,
        snapshot: Snapshot,
        source: Array,
        lengths: ArrayLike | None,
        seed: Seed | None,
        threads: int | None,
        training: bool,
    ) -> _Encoded:
        given: dict[str, Any] = {"threads": threads}
        if lengths is not None:
            given["lengths"] = lengths = index_array("lengths", lengths, LARGEST)
        tape = None
        try:
            if training:
                output, tape = self.encoder._forward(snapshot["encoder"], source, seed=seed, **given)
            else:
                output = self.encoder._call(snapshot["encoder"], source, **given)
        except (TypeError, ValueError) as error:
            name, colon, rest = str(error).partition(":")
            if name not in ("x", "indices"):  # as the encoder's first layer calls it
                raise
            raise type(error)(f"source{colon}{rest}") from None
        output = output[0] if self.encoder.recurrent else output
        of_rows = output if self.batch_first else output.swapaxes(0, 1)
        steps = None if lengths is None else self.encoder.output_lengths(lengths)
        values = laid_out(of_rows, steps)
        keys = self.attention._keys(snapshot["attention"].version, values, threads)
        mean = values.sum(1) / self._divisor(values, steps)
        h_0 = F.tanh(F.linear(mean, snapshot["bridge"].version.derive("packed", _packed), threads=threads))
        return _Encoded(Memory(keys, values, steps), mean, h_0, tape)

    def _packed(self, snapshot: Snapshot) -> Decoder:
        gru, attention = snapshot["decoder"].version, snapshot["attention"].version
        arrays = {name: gru[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        named = (("query", "weight_query"), ("query_bias", "bias"), ("score", "score_weight"))
        arrays |= {name: attention[own] for name, own in named if own in attention.arrays}
        return Decoder(arrays | {"combine": snapshot["combine"].version["weight"]}, self.attention.heads)

    def _mixed(
        self,
        snapshot: Snapshot,
        decoder: Decoder,
        encoded: _Encoded,
        inputs: Array,
        seed: Seed,
        threads: int | None,
    ) -> Array:
        """Return inputs of which some are what the model draws itself, each behind those before it."""
        rng = generator(seed)
        mixed: Array = inputs.copy()
        state = _State(self, snapshot, decoder, encoded, threads)
        rows = np.arange(inputs.shape[1])
        for at in range(1, len(inputs)):
            own = search.drawn(state.step(mixed[at - 1], rows), 1.0, rng)
            mixed[at] = np.where(rng.random(len(rows)) < self.scheduled_sampling, own, inputs[at])
        return mixed

    @repeatable
    def _backward(
        self, saved: _Saved, d_logits: ArrayLike, *, threads: int | None = None
    ) -> tuple[tuple[Array | None, None], Gradients]:
        snapshot, encoded, decoder, inputs, steps, tape = saved
        shape = (*(inputs.T if self.batch_first else inputs).shape, self.target_size)
        d = self._turned(shaped_array("d_logits", d_logits, shape, self.attention.dtype))
        if steps is not None:
            d = np.where(np.arange(len(d))[:, None, None] < steps[:, None], d, 0)
        output = snapshot["output"].version.derive("packed", _packed)
        d_y, of_output = F.linear_backward(tape.y, output, d, threads=threads)
        d_x, d_h_0, d_keys, d_values, of_decoder = decoder.backward(tape, d_y, threads)
        of_embedding = F.embedding_backward(inputs, d_x, self.target_size, threads=threads)
        bridge = snapshot["bridge"].version.derive("packed", _packed)
        d_mean, of_bridge = F.linear_backward(encoded.mean, bridge, d_h_0 * (1 - encoded.h_0**2), threads=threads)
        values, lengths = encoded.memory.values, encoded.memory.lengths
        d_of_keys, of_keys = self.attention._keys_backward(snapshot["attention"].version, values, d_keys, threads)
        d_memory = d_values + d_of_keys + (d_mean / self._divisor(values, lengths))[:, None]
        d_source, of_encoder = self.encoder._backward(
            encoded.tape, d_memory if self.batch_first else d_memory.swapaxes(0, 1), threads=threads
        )
        of_attention = {"weight_query": "query", "bias": "query_bias", "score_weight": "score"}
        gradients: dict[str, Gradients] = {
            "encoder": of_encoder,
            "embedding": {"weight": of_embedding},
            "bridge": of_bridge,
            "decoder": {f"{name}_l0": of_decoder[name] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
            "attention": {
                name: of_keys[name] if name in of_keys else of_decoder[of_attention[name]]
                for name in snapshot["attention"].version.arrays
            },
            "combine": {"weight": of_decoder["combine"]},
            "output": of_output,
        }
        named = {join(child, name): own for child, of in gradients.items() for name, own in of.items()}
        return (d_source[0] if self.encoder.recurrent else d_source, None), named

    __call__, forward, backward = public(_call, _forward, _backward)

    # Labels of its own

    def greedy(
        self,
        source: ArrayLike | list[Array],
        lengths: ArrayLike | None = None,
        *,
        steps: int,
        threads: int | None = None,
    ) -> list[Array]:
        """Return for each row the labels of which each is the most probable one behind those before it.

        Parameters
        ----------
        source, lengths
            As of a call; or source alone, a list of B arrays (T_i, ...).
        steps
            The most labels of a row.

        Returns
        -------
        list of B arrays
            int64, without the end.
        """
        steps = whole("steps", steps, 0)

        def write(state: _State) -> list[Array]:
            given = state.step, state.rows, self.start, self.end, steps
            return search.choose(*given, lambda logits: logits.argmax(-1))

        return self._written(source, lengths, 1, threads, write)

    def sample(
        self,
        source: ArrayLike | list[Array],
        lengths: ArrayLike | None = None,
        *,
        steps: int,
        temperature: float = 1.0,
        seed: Seed | None = None,
        threads: int | None = None,
    ) -> list[Array]:
        """Return for each row labels that are drawn by their probabilities, as `greedy` does.

        Parameters
        ----------
        temperature
            What logits are divided by: below 1 the probable labels are drawn more often.
        seed
            Of the random numbers; ``None`` draws fresh entropy.
        """
        warmth = number("temperature", temperature, least=np.finfo(np.float64).tiny, below=np.inf)
        steps, rng = whole("steps", steps, 0), generator(seed)

        def write(state: _State) -> list[Array]:
            return search.sample(state.step, state.rows, self.start, self.end, steps, warmth, rng)

        return self._written(source, lengths, 1, threads, write)

    def beam_search(
        self,
        source: ArrayLike | list[Array],
        lengths: ArrayLike | None = None,
        *,
        steps: int,
        width: int = 5,
        length_penalty: float = 1.0,
        threads: int | None = None,
    ) -> tuple[list[Array], Array]:
        """Return for each row the labels with the highest score that a beam finds, as `greedy` does, and the scores.

        Parameters
        ----------
        width
            The beginnings of a row that are kept at each step: 1 to 4096.
        length_penalty
            α: a score is log p / ((5 + labels) / 6)^α (Wu et al. 2016, arXiv:1609.08144), where the end is a label; 0
            for log p itself.

        Returns
        -------
        labels : list of B arrays
        scores : (B,)
            float64.
        """
        width, steps = whole("width", width, most=WIDEST), whole("steps", steps, 0)
        penalty = number("length_penalty", length_penalty, below=np.inf)

        def write(state: _State) -> list[tuple[Array, Any]]:
            rows = state.rows
            state.repeat(width)
            return list(zip(*search.beam(state.step, rows, self.start, self.end, steps, width, penalty), strict=True))

        found = self._written(source, lengths, width, threads, write)
        return [labels for labels, _ in found], np.array([score for _, score in found], np.float64)

    def _written(
        self,
        source: ArrayLike | list[Array],
        lengths: ArrayLike | None,
        width: int,
        threads: int | None,
        write: Callable[[_State], list[Any]],
    ) -> list[Any]:
        """Return what is written for each row, some rows after the others."""
        found: dict[int, Any] = {}
        snapshot = self.snapshot()
        decoder = self._packed(snapshot)
        for places, part, own in self._parts(source, lengths, max(TOGETHER // width, 1)):
            encoded = self._encode(snapshot, part, own, None, threads, False)
            found |= zip(places, write(_State(self, snapshot, decoder, encoded, threads)), strict=True)
        return [found[place] for place in range(len(found))]

    def _parts(
        self, source: ArrayLike | list[Array], lengths: ArrayLike | None, size: int
    ) -> Iterator[tuple[Iterable[int], Array, Array | None]]:
        """Yield some rows after the others: which they are, and their source and lengths."""
        if isinstance(source, list) and source and all(isinstance(own, np.ndarray) for own in source):
            from gru_native.train.data import Sequences  # which is made of this package's modules

            if lengths is not None:
                raise ValueError("lengths: expected None beside sequences with lengths of their own, got lengths")
            data = Sequences(source, np.zeros(len(source)), size, batch_first=self.batch_first)
            for places, batch in zip(data.places(0), data.epoch(0), strict=True):
                yield places.tolist(), batch.inputs, batch.lengths
            return
        source = self._source(source)
        longest, rows = self._turned(source).shape[:2]
        lengths = F.sequence_lengths(lengths, longest, rows)
        for start in range(0, max(rows, 1), size):
            chosen = slice(start, start + size)
            part = source[chosen] if self.batch_first else source[:, chosen]
            yield range(rows)[chosen], part, None if lengths is None else lengths[chosen]

    def _source(self, source: ArrayLike) -> Array:
        found = array("source", source)
        if found.ndim < 2:
            axes = "(B, T, ...)" if self.batch_first else "(T, B, ...)"
            raise ValueError(f"source: expected a batch of sequences {axes}, got shape {found.shape}")
        return found

    def _turned(self, sequences: Array) -> Array:
        return sequences.swapaxes(0, 1) if self.batch_first and sequences.ndim > 1 else sequences

    def _divisor(self, values: Array, lengths: Array | None) -> Any:
        """Return what the sum over a row's steps is divided by to be their mean."""
        if lengths is None:
            return max(values.shape[1], 1)
        return np.maximum(lengths, 1)[:, None].astype(values.dtype)


class _Encoded(NamedTuple):
    memory: Memory
    mean: Array
    h_0: Array
    tape: Any  # of the encoder


class _Saved(NamedTuple):
    snapshot: Snapshot
    encoded: _Encoded
    decoder: Decoder
    inputs: Array
    steps: Array | None
    tape: DecoderTape


class _State:
    """Where some rows are that take one step after the other."""

    def __init__(
        self, model: Seq2Seq, snapshot: Snapshot, decoder: Decoder, encoded: _Encoded, threads: int | None
    ) -> None:
        self._decoder, self._threads, self._memory = decoder, threads, encoded.memory
        self._table = snapshot["embedding"].version["weight"]
        self._output = snapshot["output"].version.derive("packed", _packed)
        self._h, self._y = encoded.h_0, np.zeros_like(encoded.h_0)

    @property
    def rows(self) -> int:
        return len(self._h)

    def repeat(self, times: int) -> None:
        """Take each row so many times, one behind the other."""
        rows = np.repeat(np.arange(self.rows), times)
        self._memory, self._h, self._y = self._memory.chosen(rows), self._h[rows], self._y[rows]

    def step(self, labels: Array, rows: Array) -> Array:
        """Return the logits (rows, V) behind some labels, of rows that go on from where `rows` were."""
        x = F.embedding(labels, self._table)
        h, y = self._h[rows], self._y[rows]
        self._y, self._h, _ = self._decoder.step(x, h, y, self._memory, self._threads)
        return F.linear(self._y, self._output, threads=self._threads)
