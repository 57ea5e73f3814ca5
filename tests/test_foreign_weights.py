"""Weights in safetensors files of PyTorch's modules: under which names, of which types, and what is refused."""

import re

import numpy as np
import pytest

import gru_native as gn
from gru_native import nn

torch = pytest.importorskip("torch")
to_file = pytest.importorskip("safetensors.torch")


class Tagger(torch.nn.Module):
    """A model of PyTorch's, whose modules have names of their own."""

    def __init__(self):
        super().__init__()
        self.emb = torch.nn.Embedding(20, 6)
        self.gru = torch.nn.GRU(6, 5, 2, bidirectional=True)
        self.norm = torch.nn.LayerNorm(10)
        self.fc = torch.nn.Linear(10, 3)

    def forward(self, x):
        return self.fc(self.norm(self.gru(self.emb(x))[0]))


class Whole(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.head = Tagger(), torch.nn.Linear(3, 2)


RENAME = {"emb": "0", "gru": "1", "norm": "2", "fc": "3"}


def ours(dtype="float32"):
    return nn.Sequential(
        nn.Embedding(20, 6, dtype=dtype),
        nn.GRU(6, 5, 2, bidirectional=True, dtype=dtype),
        nn.LayerNorm(10, dtype=dtype),
        nn.Linear(10, 3, dtype=dtype),
    )


@pytest.fixture
def whole(tmp_path):
    torch.manual_seed(0)
    module = Whole()
    to_file.save_model(module, str(tmp_path / "weights.safetensors"))
    return module, tmp_path / "weights.safetensors"


def assert_alike(model, module, tolerance=1e-6):
    x = np.random.default_rng(0).integers(0, 20, (7, 3))
    expected = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(model(x)[0], expected, rtol=0, atol=tolerance)


def test_a_part_of_a_model_under_other_names(whole):
    module, path = whole
    model = ours()
    assert gn.load_weights(model, path, prefix="encoder.", rename=RENAME) == ([], [])
    assert_alike(model, module.encoder)


@pytest.mark.parametrize(
    ("theirs", "own"),
    [
        (lambda: torch.nn.GRU(3, 4, 2, bidirectional=True), lambda: nn.GRU(3, 4, 2, bidirectional=True)),
        (lambda: torch.nn.LSTM(3, 4, proj_size=2), lambda: nn.LSTM(3, 4, proj_size=2)),
        (lambda: torch.nn.RNN(3, 4, nonlinearity="relu"), lambda: nn.RNN(3, 4, nonlinearity="relu")),
        (lambda: torch.nn.GRUCell(3, 4), lambda: nn.GRUCell(3, 4)),
        (lambda: torch.nn.LSTMCell(3, 4, bias=False), lambda: nn.LSTMCell(3, 4, bias=False)),
        (lambda: torch.nn.BatchNorm1d(4), lambda: nn.BatchNorm1d(4)),
        (lambda: torch.nn.LayerNorm((2, 4)), lambda: nn.LayerNorm((2, 4))),
        (lambda: torch.nn.Embedding(3, 4), lambda: nn.Embedding(3, 4)),
        (lambda: torch.nn.Linear(3, 4, bias=False), lambda: nn.Linear(3, 4, bias=False)),
    ],
)
def test_layers_have_the_names_of_pytorch(tmp_path, theirs, own):
    module, model = theirs(), own()
    to_file.save_file(module.state_dict(), tmp_path / "layer.safetensors")
    gn.load_weights(model, tmp_path / "layer.safetensors")
    assert model.state_dict().keys() == module.state_dict().keys()
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, module.state_dict()[name].numpy())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_types_are_converted(whole, tmp_path, dtype):
    module = whole[0].encoder.to(getattr(torch, dtype))
    to_file.save_file(module.state_dict(), tmp_path / "other.safetensors")
    model = ours("float64")
    gn.load_weights(model, tmp_path / "other.safetensors", rename=RENAME)
    assert_alike(model, module.to(torch.float64), 1e-12)


def test_the_longest_name_counts_and_a_whole_one_is_the_longest(whole):
    model, path = nn.Sequential({"a": nn.Linear(10, 3), "b": nn.Linear(3, 2)}), whole[1]
    rename = {"encoder": "rest", "encoder.fc": "a", "head": "b", "head.bias": "c"}
    missing, unexpected = gn.load_weights(model, path, rename=rename, strict=False)
    assert missing == ["b.bias"]
    assert {"c", "rest.emb.weight"} < set(unexpected)
    np.testing.assert_array_equal(model.state_dict()["a.weight"], whole[0].encoder.fc.weight.detach())


REFUSED = {
    "nothing begins so": (
        {"prefix": "decoder."},
        "prefix: expected what a name in the file begins with, got 'decoder.'",
    ),
    "no such name": (
        {"rename": {"enc": "0"}},
        "rename: expected names in the file, got 'enc'; it has encoder.emb.weight",
    ),
    "twice": ({"rename": {"encoder.fc": "a", "head": "a"}}, "rename: expected a name for each array, got 'a."),
    "other names": ({"prefix": "encoder."}, "state: the names do not fit; missing: ['0.weight', "),
    "not a string": ({"rename": {"head": 1}}, "rename['head']: expected a string, got int"),
    "not a mapping": ({"rename": ["head"]}, "rename: expected a mapping from names to strings, got list"),
    "not a prefix": ({"prefix": 1}, "prefix: expected a string, got int"),
    "another shape": (
        {"prefix": "head.", "rename": {"weight": "3.weight", "bias": "3.bias"}, "strict": False},
        "3.weight",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_refused_and_changes_nothing(whole, options, message):
    model = ours()
    before = model.state_dict()
    with pytest.raises((ValueError, TypeError), match="^" + re.escape(message)):
        gn.load_weights(model, whole[1], **options)
    assert all(model.state_dict()[name] is array for name, array in before.items())
