"""``gru-native train-text``: train a character-level language model on a text."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from gru_native.cli.errors import UserError
from gru_native.cli.files import check_writable_file, read_text
from gru_native.cli.options import add_threads, adder, number, whole_number
from gru_native.cli.runs import complete
from gru_native.train import (
    CharacterModel,
    ProgressBar,
    Record,
    Trainer,
    bits,
    result_line,
    vocabulary_of,
)
from gru_native.train.recipe import VALIDATION_STREAMS, character_trainer, held_out_split, least_characters

WARM_UP_STEPS = 100
SAVE_EVERY = 100  # steps, a few seconds


@dataclass(frozen=True)
class Recipe:
    """How a model is built and trained; the command line's options say what each number is."""

    embedding_dim: int = 64
    hidden_size: Sequence[int] = (256, 192)
    dropout: float = 0.15
    steps: int = 4500
    batch_size: int = 32
    window: int = 64
    lr: float = 3e-3
    seed: int = 0
    threads: int | None = None


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train-text",
        help="train a character-level language model on a text file",
        description="Train a network (Embedding, GRU layers, Linear) to predict each character of a text "
        "from those before it. The last tenth of the text is held out, and the model that predicts it best, "
        "in bits per character, is kept in MODEL. Ctrl-C ends the training early and leaves the best model "
        "so far. Interrupted or killed, the same command goes on from MODEL.checkpoint, which goes when the training "
        "is over. The same text, options and machine give the same model.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="the text, in UTF-8")
    parser.add_argument(
        "--out", metavar="MODEL", type=Path, required=True, help="safetensors file to write the model to"
    )
    add = adder(parser, Recipe())
    count = whole_number(1)
    add("steps", count, "N", "training steps, each an update of the weights")
    add("batch_size", count, "N", "places of the text that a step reads at once")
    add("window", count, "N", "characters that a step reads at each place, through which gradients reach back")
    add("hidden_size", count, "N", "units of each GRU layer, a number for each", nargs="+")
    add("embedding_dim", count, "N", "size of the vector that stands for a character")
    add("dropout", number(0.0, 1.0), "P", "share of each GRU layer's output that is dropped while training")
    add("lr", number(0.0), "X", "highest learning rate, after a warm-up; it falls to 0 in half a cosine")
    add("seed", whole_number(0), "N", "of the initial weights and of dropout")
    add_threads(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train on the file and print the result."""
    options = {field.name: getattr(arguments, field.name) for field in fields(Recipe)}
    check_writable_file(arguments.out, arguments.file)
    result = train(read_text(arguments.file), arguments.out, Recipe(**options), task="train-text")
    print(f"The model is in {arguments.out}.")
    print(result)


def train(text: str, out: Path, recipe: Recipe, task: str) -> str:
    """Train a model on a text, keep the best in the file `out`, and return the line with the result.

    Raises
    ------
    UserError
        When the text is too short, or `out` cannot be written.
    KeyboardInterrupt
        On Ctrl-C, with a message; the best model so far is in `out`.
    """
    check_writable_file(out)
    training, held_out = _split(text, recipe)
    model = CharacterModel.create(
        vocabulary_of(text),
        embedding_dim=recipe.embedding_dim,
        hidden_size=recipe.hidden_size,
        dropout=recipe.dropout,
        seed=recipe.seed,
    )
    trainer = character_trainer(
        model,
        lr=recipe.lr,
        steps=recipe.steps,
        warm_up=min(WARM_UP_STEPS, (recipe.steps + 1) // 2),
        seed=recipe.seed,
        threads=recipe.threads,
    )
    history = complete(
        trainer,
        model.stream(training, recipe.batch_size, recipe.window),
        model.save,
        out,
        "text",
        SAVE_EVERY,
        steps=recipe.steps,
        validation=model.stream(held_out, VALIDATION_STREAMS, recipe.window),
        validate_every=max(100, recipe.steps // 10),
        progress=ProgressBar(recipe.steps, loss_name="bpc", loss_scale=bits(1.0), unit="char"),
    )
    characters = sum(record.targets for record in history)
    figures = {
        "val_bpc": _val_bpc(trainer),
        "chars_per_s": f"{characters / history[-1].seconds:.0f}",
    }
    return result_line(task, figures, recipe.threads)


def _split(text: str, recipe: Recipe) -> tuple[str, str]:
    """Return the part to train on, and the last tenth, which is held out."""
    least = least_characters(recipe.batch_size, recipe.window)
    if len(text) < least:
        raise UserError(
            f"the text is too short: {len(text):,} characters; steps of {recipe.batch_size} x {recipe.window} "
            f"(--batch-size x --window) need {least:,}"
        )
    return held_out_split(text)


def _val_bpc(trainer: Trainer) -> str:
    best = cast(Record, trainer.best)  # who calls this knows that there is one, and that it was validated
    return f"{bits(cast(dict[str, float], best.validation)['loss']):.3f}"
