"""Models in words: what `print` shows, and the table of what layers give."""

import numpy as np
import pytest

from gru_native import nn


class Doubled(nn.Module):
    """A layer of a user's own, which says nothing of how it was made."""

    def _call(self, snapshot, x, *, threads=None):
        return x * 2


def chain():
    gru, norm = nn.GRU(16, 32, 2, bidirectional=True), nn.BatchNorm1d(64, channels_last=True)
    inner = nn.Sequential({"rnn": gru, "norm": norm})
    return nn.Sequential(nn.Embedding(100, 16), inner, nn.LastPooling(bidirectional=True), nn.Linear(64, 2))


def test_a_model_is_shown_with_its_layers_options_shapes_and_numbers_of_parameters():
    gru = "GRU(input_size=16, hidden_size=32, num_layers=2, bidirectional=True)"
    assert repr(chain()) == (
        "Sequential(\n"
        "  (0): Embedding(num_embeddings=100, embedding_dim=16)  1,600 parameters: (100, 16)\n"
        "  (1): Sequential(\n"
        f"    (rnn): {gru}  28,416 parameters: 2 x (96, 16), 4 x (96, 32), 8 x (96,), 2 x (96, 64)\n"
        "    (norm): BatchNorm1d(num_features=64, channels_last=True)  128 parameters: 2 x (64,)\n"
        "  )  28,544 parameters\n"
        "  (2): LastPooling(bidirectional=True)\n"
        "  (3): Linear(in_features=64, out_features=2)  130 parameters: (2, 64), (2,)\n"
        ")  30,274 parameters"
    )


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (nn.Dropout(0.25), "Dropout(p=0.25)"),
        (nn.Dropout(0.5), "Dropout()"),
        (nn.GRU(1, 2, bias=False, dtype="float64"), "GRU(input_size=1, hidden_size=2, bias=False, dtype='float64')"),
        (nn.LSTM(3, [2, 4]), "LSTM(input_size=3, hidden_size=[2, 4], num_layers=2)"),
        (nn.RNN(3, 2, nonlinearity="relu"), "RNN(input_size=3, hidden_size=2, nonlinearity='relu')"),
        (Doubled({"w": np.zeros(3)}), "Doubled()"),
        (nn.Sequential(), "Sequential()"),
    ],
)
def test_options_that_are_as_usual_are_left_out(layer, shown):
    assert repr(layer).split("  ")[0] == shown


def test_the_summary_follows_the_input_through_the_layers():
    summary = chain().summary(np.zeros((7, 3), int))
    assert (
        repr(summary)
        == summary
        == (
            "layer   kind         output      parameters\n"
            "        input        (7, 3)\n"
            "0       Embedding    (7, 3, 16)       1,600\n"
            "1.rnn   GRU          (7, 3, 64)      28,416\n"
            "1.norm  BatchNorm1d  (7, 3, 64)         128\n"
            "2       LastPooling  (3, 64)              0\n"
            "3       Linear       (3, 2)             130\n"
            "30,274 parameters"
        )
    )


def test_the_summary_changes_nothing():
    model = nn.Sequential(nn.BatchNorm1d(4, channels_last=True), nn.Dropout(0.5), nn.GRU(4, 5, dropout=0.0))
    before = model.state_dict()
    model.summary(np.ones((3, 2, 4), np.float32))
    assert all(model.state_dict()[name] is array for name, array in before.items())
    assert model.training


def test_the_summary_of_single_layers():
    assert "LSTMCell  (2, 4), (2, 4)         144" in nn.LSTMCell(3, 4).summary(np.zeros((2, 3), np.float32))
    assert "Doubled  (2, 3)           0" in Doubled().summary(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"^x: expected a last axis of input_size = 3, got shape \(5, 2, 4\)"):
        nn.Sequential(nn.GRU(3, 4)).summary(np.zeros((5, 2, 4), np.float32))
