"""``gru-native inspect``: a picture of what a model does with one sequence."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gru_native import nn
from gru_native.cli.errors import UserError
from gru_native.cli.files import check_writable_file, read_text
from gru_native.cli.options import add_threads, whole_number
from gru_native.heatmaps import MAX_STEPS, draw
from gru_native.inspection import Inspection, inspect
from gru_native.io import ModelFileError, load, regular
from gru_native.nn.module import Array
from gru_native.train import CharacterModel

# What stands for characters that cannot be seen; for the rest of these their escapes do.
VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥"}

# The library's arguments, as the user of the command knows them.
ARGUMENTS = {
    "x": "INPUT",
    "indices": "INPUT",
    "text": "INPUT",
    "layer": "--layer",
    "step": "--output: step",
    "index": "--output: index",
}


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "inspect",
        help="draw a model's gates over time, and what an output depends on",
        description="Run a model over one sequence and draw the gates and states of a recurrent layer's 32 most active "
        "units over time as heat maps, and as bars how much one output depends on each step: the norm of its gradient "
        "with respect to the step's input. Of a model of characters also what it expects to come next. Needs "
        "matplotlib.",
    )
    parser.add_argument("model", metavar="MODEL", help="a safetensors file of gru_native, such as train-text writes")
    parser.add_argument(
        "input",
        metavar="INPUT",
        help="for a model of characters a text, or the name of a file with one; for any other a .npy file with an "
        "array of steps x features, or of whole numbers, one a step, if the model begins with an embedding",
    )
    parser.add_argument("--out", metavar="PNG", type=Path, required=True, help="file to write the picture to")
    parser.add_argument(
        "--layer",
        type=whole_number(0),
        default=0,
        metavar="N",
        help="which recurrent layer to look into, counted from 0 (default: %(default)s)",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--output",
        type=int,
        nargs="+",
        metavar="N",
        help="which output's gradient to take: STEP INDEX, counted from 0 or, with a minus, from the end; INDEX alone "
        "for the last step, or of a model that pools over the steps (default: the largest output at the last step)",
    )
    which.add_argument(
        "--character",
        metavar="C",
        help="of a model of characters: the character that could follow the text, whose logit's gradient to take "
        "(default: the likeliest)",
    )
    add_threads(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Look into the model, draw, and say what was drawn."""
    if not find_spec("matplotlib"):
        raise UserError("--out: needs matplotlib (pip install matplotlib)")
    check_writable_file(arguments.out, arguments.model)
    try:
        model = CharacterModel.load(arguments.model)
    except ModelFileError:
        inspection, labels, output = _of_numbers(load(arguments.model), arguments)
        classes = None
    else:
        inspection, labels, output = _of_characters(model, arguments)
        classes = list(map(_visible, model.vocabulary))
    draw(inspection, arguments.out, labels=labels, output=output, classes=classes)
    steps = len(inspection.gradient)
    print(f"{arguments.out} shows {inspection.layer_name} over {steps:,} steps, with the saliency of {output}.")


def _of_characters(model: CharacterModel, arguments: argparse.Namespace) -> tuple[Inspection, list[str], str]:
    """Return the inspection, a label for each step, and what the saliency is of."""
    is_file = os.path.isfile(arguments.input)
    text = read_text(Path(arguments.input)) if is_file else arguments.input
    try:
        indices = model.encode(text)
    except ValueError as error:
        raise _user_error(error) from error
    inspection = _inspected(model.network, indices, arguments, _wanted(model, arguments.character))
    index = inspection.output[-1]
    output = inspection.output_name.replace(f"output {index}", f"the logit of {model.vocabulary[index]!r}")
    return inspection, list(map(_visible, text)), output


def _visible(character: str) -> str:
    if character in VISIBLE:
        return VISIBLE[character]
    return character if character.isprintable() else repr(character)[1:-1]


def _wanted(model: CharacterModel, character: str | None) -> int | None:
    if character is None:
        return None
    if len(character) != 1 or character not in model.vocabulary:
        raise UserError(f"--character: expected one character that the model knows, got {character!r}")
    return model.vocabulary.index(character)


def _of_numbers(model: nn.Module, arguments: argparse.Namespace) -> tuple[Inspection, list[str] | None, str]:
    if arguments.character is not None:
        raise UserError("--character: belongs to a model of characters")
    dtypes = [array.dtype for array in model.parameters().values()]
    x = _array(arguments.input, dtypes[0] if dtypes else np.dtype(np.float32))
    inspection = _inspected(model, x, arguments)
    labels = list(map(str, x)) if x.ndim == 1 else None
    return inspection, labels, inspection.output_name


def _array(path: str, dtype: np.dtype[Any]) -> Array:
    """Return the array of a file, converted to `dtype` unless it is of whole numbers."""
    try:
        with open(path, "rb", opener=regular) as file:
            x: Array = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not a .npy file of numbers: {error}") from error
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
        raise UserError(f"{path}: not a .npy file of numbers")
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):
            x = x.astype(dtype)
    if not np.isfinite(x).all():
        raise UserError(f"{path}: holds numbers that are not finite in {dtype}")
    return x


def _inspected(model: nn.Module, x: Array, arguments: argparse.Namespace, index: int | None = None) -> Inspection:
    if x.ndim and len(x) > MAX_STEPS:
        raise UserError(f"INPUT: too long: {len(x):,} steps; a picture has room for {MAX_STEPS:,}")
    step = None
    if arguments.output:
        *steps, index = arguments.output
        if len(steps) > 1:
            raise UserError(f"--output: expected STEP INDEX or INDEX, got {len(steps) + 1} numbers")
        step = steps[0] if steps else None
    try:
        return inspect(model, x, layer=arguments.layer, step=step, index=index, threads=arguments.threads)
    except (ValueError, TypeError) as error:
        raise _user_error(error) from error


def _user_error(error: Exception) -> UserError:
    argument, colon, rest = str(error).partition(":")
    return UserError(f"{ARGUMENTS.get(argument, argument)}{colon}{rest}")
