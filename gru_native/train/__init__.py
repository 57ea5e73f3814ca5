"""Training: data in batches or as one long stream, the loop, its records; character-level language models."""

from __future__ import annotations

from gru_native.train.checkpoint import Checkpoint, OtherRunError
from gru_native.train.data import Batch, Batches, Data, Sequences, Stream
from gru_native.train.logs import CSVLog, TensorBoardLog
from gru_native.train.loop import Trainer
from gru_native.train.metrics import classification_metrics, ctc_metrics, label_error, regression_metrics
from gru_native.train.rates import RateRange, rate_range
from gru_native.train.record import Record, plot_history, read_log, written_log
from gru_native.train.report import ProgressBar, bits, peak_memory_mb, result_line
from gru_native.train.text import CharacterModel, vocabulary_of

__all__ = [
    "Batch",
    "Batches",
    "CSVLog",
    "CharacterModel",
    "Checkpoint",
    "Data",
    "OtherRunError",
    "ProgressBar",
    "RateRange",
    "Record",
    "Sequences",
    "Stream",
    "TensorBoardLog",
    "Trainer",
    "bits",
    "classification_metrics",
    "ctc_metrics",
    "label_error",
    "peak_memory_mb",
    "plot_history",
    "rate_range",
    "read_log",
    "regression_metrics",
    "result_line",
    "vocabulary_of",
    "written_log",
]
