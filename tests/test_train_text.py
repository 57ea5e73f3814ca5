"""Character-level language models."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gru_native as gn
from gru_native import nn
from gru_native.io import ModelFileError
from gru_native.train import CharacterModel, vocabulary_of

# Every character that can stand in a file: all but the halves of surrogate pairs.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def _model(vocabulary: str = "abcd", seed: int = 0) -> CharacterModel:
    return CharacterModel.create(vocabulary, embedding_dim=5, hidden_size=(7, 6), seed=seed)


def _continue(model: CharacterModel, prompt: str, length: int, temperature: float, seed: int) -> str:
    return "".join(islice(model.generate(prompt, temperature, seed), length))


@given(TEXTS)
def test_every_text_is_encoded_and_decoded(text: str) -> None:
    vocabulary = vocabulary_of(text)
    assert list(vocabulary) == sorted(set(text))
    model = CharacterModel.create(vocabulary)
    indices = model.encode(text)
    assert [vocabulary[index] for index in indices] == list(text)
    assert model.decode(indices) == text


def test_a_vocabulary_may_be_in_any_order() -> None:
    model = CharacterModel.create("zß☃a")
    np.testing.assert_array_equal(model.encode("az☃"), [3, 0, 2])


@pytest.mark.parametrize(
    ("text", "named"), [("e", "'e'"), ("a\U0001f600b\n\x00\n", "'\U0001f600', '\\\\n', '\\\\x00'$")]
)
def test_unknown_characters_are_named(text: str, named: str) -> None:
    with pytest.raises(ValueError, match=f"text: the model does not know {named}"):
        _model().encode(text)


def test_a_file_holds_everything(tmp_path: Path) -> None:
    model = _model("a☃\n\x00")
    model.save(tmp_path / "model")
    loaded = CharacterModel.load(tmp_path / "model")
    assert loaded.vocabulary == model.vocabulary
    assert loaded.network.config() == model.network.config()
    for name, array in model.network.state_dict().items():
        np.testing.assert_array_equal(loaded.network.state_dict()[name], array)
    assert _continue(loaded, "a☃", 40, 1.0, 5) == _continue(model, "a☃", 40, 1.0, 5)


def test_a_network_of_another_layout_is_refused(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Embedding(3, 2), nn.GRU(2, 4, batch_first=True), nn.Linear(4, 3))
    message = r"layer 1 \(GRU\): expected GRU\(batch_first=False\), because CharacterModel gives \(T, B, \.\.\.\)"
    with pytest.raises(ValueError, match=message):
        CharacterModel(network, "abc")
    gn.save(network, tmp_path / "model", {"vocabulary": "abc"})
    with pytest.raises(ModelFileError, match=message):
        CharacterModel.load(tmp_path / "model")


@pytest.mark.parametrize(
    ("network", "metadata"),
    [
        (_model().network, {}),
        (_model().network, {"vocabulary": "abc"}),
        (_model().network, {"vocabulary": "abca"}),
        (_model().network, {"vocabulary": "abc\ud800"}),
        (nn.Sequential(), {"vocabulary": ""}),
        (nn.GRU(4, 4), {"vocabulary": "abcd"}),
        (nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4)), {"vocabulary": "abcd"}),
        (nn.Sequential(nn.GRU(4, 4), nn.Linear(4, 4)), {"vocabulary": "abcd"}),
    ],
)
def test_another_model_is_refused(network: nn.Module, metadata: dict[str, str], tmp_path: Path) -> None:
    gn.save(network, tmp_path / "model", metadata)
    with pytest.raises(ModelFileError, match="model: a model, but not of characters with their vocabulary"):
        CharacterModel.load(tmp_path / "model")


def test_the_likeliest_character_at_temperature_0() -> None:
    model, text = _model(seed=3), "abba"
    for character in islice(model.generate("abba", temperature=0.0), 20):
        logits, _ = model.network(model.encode(text)[:, None])
        assert character == model.vocabulary[logits[-1, 0].argmax()]
        text += character


def test_characters_come_as_often_as_is_probable() -> None:
    """A model without memory, of one logit per character: its draws are independent."""
    logits = np.log([0.5, 0.3, 0.2, 1e-30], dtype=np.float32)
    model = _model()
    zeros = {name: np.zeros_like(array) for name, array in model.network.parameters().items()}
    model.network.assign({**zeros, "3.bias": logits})
    for temperature in (0.5, 1.0, 2.0):
        drawn = _continue(model, "a", 3000, temperature, seed=1)
        weights = np.exp(logits / temperature)
        counts = [drawn.count(character) for character in "abcd"]
        np.testing.assert_allclose(np.array(counts) / 3000, weights / weights.sum(), atol=0.03)


def test_a_seed_fixes_the_text() -> None:
    model = _model()
    assert _continue(model, "a", 60, 1.0, 0) == _continue(model, "a", 60, 1.0, 0)
    assert _continue(model, "a", 60, 1.0, 0) != _continue(model, "a", 60, 1.0, 1)
    fresh = ["".join(islice(model.generate("a"), 60)) for _ in range(2)]
    assert fresh[0] != fresh[1]


def test_errors_of_generate() -> None:
    model = _model()
    with pytest.raises(ValueError, match="prompt: expected at least one character, got none"):
        model.generate("")
    with pytest.raises(ValueError, match="prompt: the model does not know 'x'"):
        model.generate("axa")
    for temperature in (-1.0, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="temperature: expected a finite number from 0 up, got"):
            model.generate("a", temperature)
    model.network.assign({"3.bias": np.full(4, np.nan, np.float32)})
    with pytest.raises(FloatingPointError, match="the model's logits are not finite"):
        next(model.generate("a"))


@pytest.mark.parametrize("vocabulary", ["ab", "abcd", "aba"])
def test_a_network_for_other_characters_is_refused(vocabulary: str) -> None:
    network = CharacterModel.create("abc").network
    with pytest.raises(ValueError, match="^network: expected an Embedding, recurrent layers and a Linear for"):
        CharacterModel(network, vocabulary)
