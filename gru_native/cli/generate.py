"""``gru-native generate``: continue a text with a trained model."""

from __future__ import annotations

import argparse
from itertools import islice
from typing import Any

from gru_native.cli.errors import UserError
from gru_native.cli.options import number, whole_number
from gru_native.train import CharacterModel


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "generate",
        help="continue a text with a trained model",
        description="Print a prompt and what a model of 'gru-native train-text' writes after it.",
    )
    parser.add_argument("model", metavar="MODEL", help="a file that train-text has written")
    parser.add_argument(
        "--prompt",
        default="\n",
        metavar="TEXT",
        help="what to continue, in characters of the training text (default: a new line)",
    )
    parser.add_argument(
        "--length",
        type=whole_number(0),
        default=500,
        metavar="N",
        help="characters to write after the prompt (default: %(default)s)",
    )
    parser.add_argument(
        "--temperature",
        type=number(0.0),
        default=0.7,
        metavar="X",
        help="1 follows the probabilities that were learnt, less prefers the likelier characters, 0 always "
        "takes the likeliest (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        metavar="N",
        help="the same number gives the same text (default: another text each time)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Load the model and print the text."""
    model = CharacterModel.load(arguments.model)
    try:
        characters = model.generate(arguments.prompt, arguments.temperature, arguments.seed)
    except ValueError as error:
        raise UserError(f"--{error}") from error
    print(arguments.prompt, end="")
    for character in islice(characters, arguments.length):
        print(character, end="", flush=True)
    print()
