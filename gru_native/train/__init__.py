"""Training: data in batches or as one long stream, the loop, its report; character-level language models."""

from __future__ import annotations

from gru_native.train.data import Batches, Data, Stream
from gru_native.train.loop import Record, Trainer
from gru_native.train.report import ProgressBar, bits, peak_memory_mb, result_line
from gru_native.train.text import CharacterModel, vocabulary_of

__all__ = [
    "Batches",
    "CharacterModel",
    "Data",
    "ProgressBar",
    "Record",
    "Stream",
    "Trainer",
    "bits",
    "peak_memory_mb",
    "result_line",
    "vocabulary_of",
]
