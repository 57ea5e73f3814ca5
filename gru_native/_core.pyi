"""The compiled core; `gru_native.functional` checks what goes in."""

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

_Array = np.ndarray[Any, Any]

@final
class LinearWeights:
    @property
    def input_size(self) -> int: ...
    @property
    def output_size(self) -> int: ...
    @property
    def has_bias(self) -> bool: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...

@final
class DecoderWeights:
    @property
    def input_size(self) -> int: ...
    @property
    def hidden_size(self) -> int: ...
    @property
    def key_size(self) -> int: ...
    @property
    def value_size(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...

def sgd_step(
    parameter: _Array,
    gradient: _Array,
    buffer: _Array | None,
    to: _Array,
    new_buffer: _Array | None,
    lr: float,
    momentum: float,
    damped: float,
    l2: float,
    is_nesterov: bool,
    is_first: bool,
) -> None: ...
def rmsprop_step(
    parameter: _Array,
    gradient: _Array,
    square: _Array,
    mean: _Array | None,
    buffer: _Array | None,
    to: _Array,
    new_square: _Array,
    new_mean: _Array | None,
    new_buffer: _Array | None,
    lr: float,
    alpha: float,
    eps: float,
    l2: float,
    momentum: float,
) -> None: ...
def adam_step(
    parameter: _Array,
    gradient: _Array,
    mean: _Array,
    square: _Array,
    to: _Array,
    new_mean: _Array,
    new_square: _Array,
    beta1: float,
    beta2: float,
    eps: float,
    l2: float,
    rate: float,
    root: float,
    shrink: float,
) -> None: ...
def pack_linear(weight: _Array, bias: _Array | None) -> LinearWeights: ...
def linear_forward(weights: LinearWeights, x: _Array, output: _Array, threads: int) -> None: ...
def linear_backward(
    weights: LinearWeights,
    x: _Array,
    d_output: _Array,
    d_x: _Array | None,
    d_weight: _Array | None,
    d_bias: _Array | None,
    threads: int,
) -> None: ...
def convolution_forward(
    weights: LinearWeights,
    x: _Array,
    window: tuple[int, int, int, int, int],
    lengths: _Array | None,
    batch_first: bool,
    output: _Array,
    threads: int,
) -> None: ...
def convolution_backward(
    weights: LinearWeights,
    x: _Array,
    window: tuple[int, int, int, int, int],
    lengths: _Array | None,
    batch_first: bool,
    d_output: _Array,
    d_x: _Array,
    d_weight: _Array,
    d_bias: _Array | None,
    threads: int,
) -> None: ...
def attention_forward(
    keys: _Array,
    values: _Array,
    score: _Array | None,
    lengths: _Array | None,
    heads: int,
    queries: _Array,
    weights: _Array,
    context: _Array,
    threads: int,
) -> None: ...
def attention_backward(
    keys: _Array,
    values: _Array,
    score: _Array | None,
    lengths: _Array | None,
    heads: int,
    queries: _Array,
    weights: _Array,
    d_context: _Array,
    d_queries: _Array,
    d_keys: _Array,
    d_values: _Array,
    d_score: _Array | None,
    threads: int,
) -> None: ...
def pack_decoder(arrays: Sequence[_Array | None], heads: int) -> DecoderWeights: ...
def decoder_tape_size(weights: DecoderWeights, x: _Array, lengths: _Array | None, source: int) -> int: ...
def decoder_forward(
    weights: DecoderWeights,
    x: _Array,
    lengths: _Array | None,
    h_0: _Array | None,
    y_0: _Array | None,
    keys: _Array,
    values: _Array,
    source_lengths: _Array | None,
    output: _Array,
    h_n: _Array | None,
    attention: _Array | None,
    tape: _Array | None,
    threads: int,
) -> None: ...
def decoder_backward(
    weights: DecoderWeights,
    x: _Array,
    lengths: _Array | None,
    h_0: _Array | None,
    keys: _Array,
    values: _Array,
    source_lengths: _Array | None,
    output: _Array,
    tape: _Array,
    d_output: _Array,
    d_x: _Array,
    d_h_0: _Array | None,
    d_keys: _Array,
    d_values: _Array,
    gradients: Sequence[_Array | None],
    threads: int,
) -> None: ...
def embedding_backward(indices: _Array, d_output: _Array, d_weight: _Array, padding_idx: int, threads: int) -> None: ...
def softmax_cross_entropy(
    logits: _Array,
    targets: _Array,
    ignore_index: int,
    label_smoothing: float,
    losses: _Array,
    d_logits: _Array | None,
    threads: int,
) -> None: ...
def ctc(
    logits: _Array,
    targets: _Array,
    input_lengths: _Array,
    target_lengths: _Array,
    blank: int,
    losses: _Array,
    d_logits: _Array | None,
    threads: int,
) -> None: ...
def ctc_decode(
    logits: _Array,
    input_lengths: _Array,
    blank: int,
    width: int,
    scorer: Callable[[list[_Array]], _Array] | None,
    alpha: float,
    beta: float,
    labels: _Array,
    label_lengths: _Array,
    scores: _Array,
    threads: int,
) -> None: ...
def dropout(x: _Array, output: _Array, key: int, p: float, threads: int) -> None: ...
def moments(x: _Array, means: _Array, variances: _Array) -> None: ...
def activate(function: int, alpha: float, beta: float, x: _Array, output: _Array, slope: _Array | None) -> None: ...
def softmax(x: _Array, output: _Array, threads: int) -> None: ...
def sigmoid(x: _Array, output: _Array) -> None: ...
def tanh(x: _Array, output: _Array) -> None: ...
def read_seconds(bytes: int, repeats: int, threads: int) -> float: ...
def built_isas() -> list[str]: ...
def supported_isas() -> list[str]: ...
def active_isa() -> str: ...
def vector_width(float64: bool) -> int: ...
def watch_signals(main_thread: int) -> None: ...
def set_team(name: str) -> None: ...
def team() -> str: ...
def release_memory() -> int: ...
def cpu_quota(root: str) -> int: ...
def default_threads() -> int: ...
def use_threads(threads: int) -> int: ...
def blas() -> str: ...
