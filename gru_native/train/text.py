"""Character-level language models: a network with its vocabulary, in one file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gru_native import arguments, io, nn
from gru_native.arguments import index_array, instance, number, whole, wholes
from gru_native.nn.signal import trace
from gru_native.random import Seed, generator, seed_path
from gru_native.train.data import Array, Stream

_VOCABULARY = "vocabulary"


class CharacterModel:
    """A network that predicts the next character of a text, and the characters that it knows.

    Parameters
    ----------
    network : Sequential
        From indices of characters, (T, B), to logits, (T, B, V), recurrent and time-major.
    vocabulary : str
        The V characters, each once.

    Raises
    ------
    ValueError
        For a network with a layer that is not time-major, or for another number of characters.
    """

    def __init__(self, network: nn.Sequential, vocabulary: str) -> None:
        self.network = instance("network", network, nn.Sequential, "a Sequential")
        trace(network, False, type(self).__name__)
        self.vocabulary = _some("vocabulary", vocabulary)
        if not _fit(network, vocabulary):
            chain = "an Embedding, recurrent layers and a Linear"
            raise ValueError(f"network: expected {chain} for {len(vocabulary)} characters, each once, got others")
        codes = _codes(vocabulary)
        self._order = np.argsort(codes, kind="stable")
        self._sorted = codes[self._order]

    @classmethod
    def create(
        cls,
        vocabulary: str,
        *,
        embedding_dim: int = 64,
        hidden_size: Sequence[int] = (192, 128),
        dropout: float = 0.0,
        seed: Seed = 0,
    ) -> CharacterModel:
        """Build an untrained model: Embedding, a stack of GRU layers of these sizes, dropout, Linear.

        Parameters
        ----------
        vocabulary
            See `vocabulary_of`.
        embedding_dim
            Size of the vector that stands for a character.
        hidden_size
            Size of each GRU layer.
        dropout
            Probability of dropout on the output of each GRU layer.
        seed
            Of the initial values.
        """
        *_, last = wholes("hidden_size", hidden_size) or (1,)
        vocabulary = _some("vocabulary", vocabulary)
        first = seed_path(seed)
        dropout = number("dropout", dropout, most=1.0)
        between = dropout if len(hidden_size) > 1 else 0.0
        network = nn.Sequential(
            nn.Embedding(len(vocabulary), whole("embedding_dim", embedding_dim), seed=(*first, 0)),
            nn.GRU(embedding_dim, hidden_size, dropout=between, seed=(*first, 1)),
            nn.Dropout(dropout),
            nn.Linear(last, len(vocabulary), seed=(*first, 2)),
        )
        return cls(network, vocabulary)

    @classmethod
    def load(cls, path: io.StrPath) -> CharacterModel:
        """Load what `save` wrote.

        Raises
        ------
        ModelFileError
            When the file is damaged or holds something else.
        OSError
            When the file cannot be read.
        """
        network, metadata = io.load_with_metadata(path)
        try:
            if isinstance(network, nn.Sequential) and _VOCABULARY in metadata:
                return cls(network, metadata[_VOCABULARY])
        except ValueError as error:  # a layout that does not fit, or half of a surrogate pair
            raise io.ModelFileError(f"{path}: a model, but not of characters with their vocabulary: {error}") from error
        raise io.ModelFileError(f"{path}: a model, but not of characters with their vocabulary")

    def save(self, path: io.StrPath) -> None:
        """Save network and vocabulary as safetensors; see `gru_native.save`."""
        io.save(self.network, path, {_VOCABULARY: self.vocabulary})

    def encode(self, text: str) -> Array:
        """Return the indices of the characters, (N,) int64.

        Raises
        ------
        ValueError
            When the model does not know some of them; they are named.
        """
        return self._indices("text", text)

    def _indices(self, name: str, text: str) -> Array:
        codes = _codes(arguments.text(name, text))
        places = np.searchsorted(self._sorted, codes).clip(max=len(self._sorted) - 1)
        unknown = codes[self._sorted[places] != codes]
        if unknown.size:
            named = ", ".join(repr(chr(code)) for code in dict.fromkeys(unknown.tolist()))
            raise ValueError(f"{name}: the model does not know {named}")
        indices: Array = self._order[places]
        return indices

    def decode(self, indices: Sequence[int] | Array) -> str:
        """Return the text that `encode` turned into these indices."""
        return "".join(map(self.vocabulary.__getitem__, index_array("indices", indices, len(self.vocabulary))))

    def stream(self, text: str, batch_size: int, window: int) -> Stream:
        """Return the text as training data: each character is to be predicted from those before it."""
        indices = self.encode(text)
        return Stream(indices[:-1], indices[1:], batch_size, window)

    def generate(self, prompt: str, temperature: float = 1.0, seed: Seed | None = None) -> Iterator[str]:
        """Continue a text without end, character by character.

        Parameters
        ----------
        prompt
            At least one character.
        temperature
            The logits are divided by it: below 1 likely characters become likelier still, at 0 the likeliest
            one is always taken.
        seed
            Of the choices; ``None`` draws fresh entropy.

        Raises
        ------
        ValueError
            For an empty prompt or unknown characters in it, or a temperature that is negative or not finite.
        """
        temperature = number("temperature", temperature, below=math.inf)
        return self._generate(self._indices("prompt", _some("prompt", prompt)), temperature, generator(seed))

    def _generate(self, indices: Array, temperature: float, rng: np.random.Generator) -> Iterator[str]:
        states: Any = None
        while True:
            # One call for the whole prompt, then one for each character: the carried states make it the same.
            logits, states = self.network(indices[:, None], states)
            chosen = _sample(logits[-1, 0], temperature, rng)
            yield self.vocabulary[chosen]
            indices = np.array([chosen])


def vocabulary_of(text: str) -> str:
    """Return the characters of a text, each once, in order."""
    return "".join(map(chr, np.unique(_codes(arguments.text("text", text)))))


def _some(name: str, text: str) -> str:
    if not arguments.text(name, text):
        raise ValueError(f"{name}: expected at least one character, got none")
    return text


def _sample(logits: Array, temperature: float, rng: np.random.Generator) -> int:
    if not np.isfinite(logits).all():
        raise FloatingPointError("the model's logits are not finite")
    if temperature == 0.0:
        return int(logits.argmax())
    cumulative = np.exp((logits.astype(np.float64) - logits.max()) / temperature).cumsum()
    # With "right", a character of probability 0 is never chosen.
    return int(cumulative.searchsorted(rng.random() * cumulative[-1], side="right"))


def _codes(text: str) -> Array:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def _fit(network: nn.Sequential, vocabulary: str) -> bool:
    if not network.recurrent:
        return False
    first, last = network[0], network[-1]
    return (
        isinstance(first, nn.Embedding)
        and isinstance(last, nn.Linear)
        and first.num_embeddings == last.out_features == len(vocabulary) == len(set(vocabulary))
    )
