"""The network that estimators and commands train on sequences."""

from __future__ import annotations

from collections.abc import Sequence

from gru_native import nn
from gru_native.arguments import number, one_of, whole

CELLS: dict[str, type[nn.GRU] | type[nn.LSTM] | type[nn.RNN]] = {"gru": nn.GRU, "lstm": nn.LSTM, "rnn": nn.RNN}
POOLINGS = ("last", "mean", "attention")


def sequence_network(
    features: int,
    outputs: int,
    *,
    hidden_size: int | Sequence[int],
    num_layers: int = 1,
    bidirectional: bool = False,
    cell: str = "gru",
    pooling: str | None = "last",
    dropout: float = 0.0,
    recurrent_dropout: float = 0.0,
    seed: tuple[int, ...],
) -> nn.Sequential:
    """Return recurrent layers, a pooling over the steps, and a linear layer, for batches (B, T, features).

    Without a pooling there are outputs for each step. `gru_native.sklearn.GRUClassifier` describes the parameters.
    """
    kind, dropout = CELLS[one_of("cell", cell, [*CELLS])], number("dropout", dropout, most=1.0)
    layers = len(hidden_size) if isinstance(hidden_size, (list, tuple)) else whole("num_layers", num_layers)
    recurrent = kind(
        features,
        hidden_size,
        num_layers,
        batch_first=True,
        dropout=dropout if layers > 1 else 0.0,  # of a single layer there is none between layers
        bidirectional=bidirectional,
        recurrent_dropout=recurrent_dropout,
        seed=(*seed, 0),
    )
    width = recurrent._sizes[-1] * (2 if recurrent.bidirectional else 1)
    pooled: list[nn.Module] = []
    if pooling == "last":
        pooled = [nn.LastPooling(recurrent.bidirectional, batch_first=True)]
    elif pooling == "mean":
        pooled = [nn.MeanPooling(batch_first=True)]
    elif pooling == "attention":
        pooled = [nn.AttentionPooling(width, batch_first=True, seed=(*seed, 1))]
    return nn.Sequential(recurrent, *pooled, nn.Dropout(dropout), nn.Linear(width, outputs, seed=(*seed, 2)))
