"""``gru-native demo``: the whole way, from a text that is always there to a model that continues it."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

from gru_native.cli.options import add_threads, whole_number
from gru_native.cli.train_text import Recipe, train

RECIPE = Recipe(steps=2400, hidden_size=(192, 128), dropout=0.1, lr=4e-3)
PROMPT = 'The "repeat" statement\n**********************\n\nThe "repeat" statement is '


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "demo",
        help="train on Python's own documentation for about a minute, and continue a text",
        description="Train a character-level language model on the documentation that comes with Python, "
        "validate it on the last tenth, which is held out, save it, load it in a fresh process and continue "
        "a prompt there. It takes about a minute on two cores.",
    )
    parser.add_argument(
        "--steps",
        type=whole_number(1),
        default=RECIPE.steps,
        metavar="N",
        help="training steps; a few show that everything works (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo.safetensors"),
        metavar="MODEL",
        help="safetensors file to write the model to (default: %(default)s in the current folder)",
    )
    add_threads(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train, save, generate in another process, and print the result."""
    text = documentation()
    print(
        f"Training on the documentation of Python {platform.python_version()}: {len(text):,} characters.",
        flush=True,
    )
    result = train(text, arguments.out, replace(RECIPE, steps=arguments.steps, threads=arguments.threads), task="demo")
    print(f"The model is in {arguments.out}. A fresh process loads it and continues a prompt:\n", flush=True)
    generate = [sys.executable, "-m", "gru_native", "generate", arguments.out, "--prompt", PROMPT]
    subprocess.run([*generate, "--temperature", "0.6", "--seed", "0"], check=True)
    print(f"\n{result}")


def documentation() -> str:
    """Return Python's language reference as pydoc carries it, each paragraph once."""
    paragraphs = (paragraph for topic in topics.values() for paragraph in topic.split("\n\n"))
    return "\n\n".join(dict.fromkeys(paragraph for paragraph in paragraphs if paragraph.strip()))
