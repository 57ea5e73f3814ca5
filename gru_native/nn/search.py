"""How labels are chosen from what a decoder says of each step: the best, at random, or by a beam."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gru_native.arguments import Array

#: Of labels (rows,) of the step before, and the rows that the present ones continue: logits (rows, V).
Step = Callable[[Array, Array], Array]


def log_softmax(logits: Array) -> Array:
    """Return logarithms of probabilities, in float64."""
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return np.asarray(x - np.log(np.exp(x).sum(-1, keepdims=True)))


def drawn(logits: Array, temperature: float, rng: np.random.Generator) -> Array:
    """Return a label for each row, by the probabilities of ``softmax(logits / temperature)``."""
    noise = rng.gumbel(size=logits.shape)  # the largest sum has just these probabilities
    return np.asarray((logits.astype(np.float64) / temperature + noise).argmax(-1))


def choose(step: Step, rows: int, start: int, end: int, steps: int, pick: Callable[[Array], Array]) -> list[Array]:
    """Return what `pick` takes of each step's logits, up to the end of each row, which is left out."""
    labels, own = np.full(rows, start), np.arange(rows)
    found = np.full((rows, steps), end)
    alive = np.ones(rows, bool)
    for at in range(steps):
        if not alive.any():
            break
        labels = np.where(alive, pick(step(labels, own)), end)
        found[:, at] = labels
        alive &= labels != end
    return _cut(found, end)


def sample(
    step: Step, rows: int, start: int, end: int, steps: int, temperature: float, rng: np.random.Generator
) -> list[Array]:
    """Return labels that are drawn step by step."""
    return choose(step, rows, start, end, steps, lambda logits: drawn(logits, temperature, rng))


def beam(
    step: Step, rows: int, start: int, end: int, steps: int, width: int, penalty: float
) -> tuple[list[Array], Array]:
    """Return the labels with the highest score that a beam finds, and their scores.

    Of `width` beginnings of each row all continuations are scored, and the best `width` kept; one that has ended stays
    as it is. A score is log p / ((5 + labels) / 6) ** penalty, the end being a label.
    """
    every = np.arange(rows)[:, None]
    found = np.full((rows, width, steps), end)
    labels, parents = np.full((rows, width), start), np.broadcast_to(np.arange(width), (rows, width))
    total = np.where(np.arange(width) == 0, 0.0, -np.inf) + np.zeros((rows, 1))  # one beginning at first
    sizes, ended = np.zeros((rows, width)), np.zeros((rows, width), bool)
    for at in range(steps):
        if ended.all():
            break
        logits = step(labels.reshape(-1), (every * width + parents).reshape(-1))
        more = log_softmax(logits).reshape(rows, width, -1)
        classes = more.shape[2]
        more[ended] = np.where(np.arange(classes) == end, 0.0, -np.inf)
        totals, lengths = total[..., None] + more, (sizes + ~ended)[..., None]
        scores = (totals / _length_penalty(lengths, penalty)).reshape(rows, -1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :width]
        parents, labels = best // classes, best % classes
        total = np.take_along_axis(totals.reshape(rows, -1), best, 1)
        found, ended = found[every, parents], ended[every, parents]
        sizes = sizes[every, parents] + ~ended
        found[:, :, at] = labels
        ended |= labels == end
    scores = total / _length_penalty(sizes, penalty)
    first = scores.argmax(1)
    return _cut(found[np.arange(rows), first], end), scores[np.arange(rows), first]


def _length_penalty(labels: Array, penalty: float) -> Array:
    return np.asarray(((5 + labels) / 6) ** penalty)


def _cut(found: Array, end: int) -> list[Array]:
    steps = found.shape[1]
    places = np.where(found == end, np.arange(steps), steps).min(1, initial=steps)
    return [row[:place].copy() for row, place in zip(found, places, strict=True)]
