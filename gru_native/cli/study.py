"""``gru-native study``: what batch size and sequence length do to training."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from gru_native import _core
from gru_native.cli.errors import UserError
from gru_native.cli.files import read_text
from gru_native.cli.options import add_threads, adder, number, whole_number
from gru_native.cli.tables import (
    add_settings,
    add_try,
    final_settings,
    given_settings,
    made_folder,
    run_trials,
    tried,
    user_errors,
    write_columns,
)
from gru_native.study import plot, runner
from gru_native.study.plan import NOISE_SCALE, Plan, StudyError
from gru_native.study.table import Result, by_cell, mean_of, summary, write_table
from gru_native.tables.curves import draw_trials
from gru_native.tables.reading import ENDS, read_table
from gru_native.tables.settings import KNOWN, TRY, Settings, TableError
from gru_native.tables.summary import cells, columns_of, table_of
from gru_native.tables.trials import check_comparable, grid
from gru_native.train import result_line

#: The options that only a study of a text has, those that both have, and those that only one of a table has.
OF_TEXT = ("batch_sizes", "windows", "characters", "embedding_dim", "lr")
SHARED = ("hidden_size", "threads")
OF_TABLE = ("settings", TRY, *(name for name in KNOWN if name not in SHARED))


def register(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "study",
        help="train models over a grid of batch sizes and sequence lengths, and compare them",
        description="Train a character-level language model for each batch size, window (sequence length) and seed, "
        "each on the same number of characters, so that small batches and windows make more updates, and compare "
        "convergence, generalisation, speed and memory. DIR receives study.csv (a row for each run), study.png, and "
        "a log of each run. The same command goes on where it was stopped, even if it was killed. The last tenth of "
        "the text is held out for validation. The recipe is the same for all but for the highest learning rate: "
        f"--lr / sqrt(1 + {NOISE_SCALE} / (batch size x window)), which grows with the square root of an update's "
        "characters while they are few, as suits Adam, and comes near to --lr when they are many. Of a table, settings "
        "of 'train' are compared: all combinations of the values in [try] of the small file, and of --try, each run as "
        "train makes it. DIR receives trials.json in place of the logs.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help=f"the text, in UTF-8; or a table: {', '.join(ENDS)}")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to keep the study in")
    count, usual = whole_number(1), Plan()
    adder(parser, usual)("seeds", count, "N", "runs of each cell, from other initial weights")
    parser.add_argument(
        "--hidden-size",
        nargs="+",
        type=count,
        metavar="N",
        help=f"units of each layer, a number for each (default: {' '.join(map(str, usual.hidden_size))} for a text, "
        f"{' '.join(map(str, Settings.hidden_size))} for a table)",
    )
    add_threads(parser)
    add = adder(parser.add_argument_group("of a text"), usual)
    add("batch_sizes", count, "N", "batch sizes: places of the text that an update reads at once", nargs="+")
    add("windows", count, "N", "sequence lengths: characters that an update reads at each place", nargs="+")
    add("characters", count, "N", "characters that each run is trained on")
    add("embedding_dim", count, "N", "size of the vector that stands for a character")
    add("lr", number(0.0), "X", "highest learning rate of large updates, see above; it falls to 0 in half a cosine")
    of_table = parser.add_argument_group("of a table")
    add_try(of_table, "to compare")
    add_settings(of_table, without=SHARED)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Complete the study, and print its means over the seeds and the result."""
    table, usual = arguments.file.suffix.lower() in ENDS, Plan()
    for name in OF_TEXT if table else OF_TABLE:
        if getattr(arguments, name) != getattr(usual, name, [] if name == TRY else None):
            kind = "text" if table else f"table, which ends in {', '.join(ENDS)}"
            raise UserError(f"--{name.replace('_', '-')}: belongs to a study of a {kind}; got {arguments.file}")
    if table:
        _study_table(arguments)
        return
    plan = Plan(
        batch_sizes=tuple(sorted(set(arguments.batch_sizes))),
        windows=tuple(sorted(set(arguments.windows))),
        characters=arguments.characters,
        seeds=arguments.seeds,
        hidden_size=tuple(arguments.hidden_size or usual.hidden_size),
        embedding_dim=arguments.embedding_dim,
        lr=arguments.lr,
        threads=arguments.threads or _core.default_threads(),
    )
    text, folder = read_text(arguments.file), arguments.out
    try:
        plan.check(text)
        made_folder(folder)
        results = runner.complete(plan, text, folder)
    except StudyError as error:
        raise UserError(str(error)) from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; the same command goes on from here") from None
    write_table(folder / "study.csv", results)
    plot.draw(folder / "study.png", plan, results)
    print(*summary(results), sep="\n")
    print(f"Means over the seeds, losses in bits per character; {folder} has study.csv and study.png.")
    print(_result(results, plan.threads))


def _study_table(arguments: argparse.Namespace) -> None:
    """Complete the study of a table, and print its means over the seeds and the result."""
    with user_errors():
        given = given_settings(arguments)
        settings, choices = final_settings(given), tried(given, arguments)
        if not choices or "seed" in choices:
            raise TableError("try: expected settings to compare, and --seeds in place of seed")
        check_comparable(choices, settings)
        wanted = grid(choices, [settings.seed + number for number in range(arguments.seeds)])
        folder = made_folder(arguments.out)
        trials = run_trials(read_table(arguments.file), settings, wanted, folder)
    write_columns(folder / "study.csv", columns_of(trials))
    draw_trials(folder / "study.png", trials)
    print(*table_of(trials), sep="\n")
    print(f"Means over the seeds, losses on what is held out; {folder} has study.csv and study.png.")
    best = min(cells(trials), key=lambda cell: cell.loss)
    figures = {"runs": str(len(trials)), "best": best.key, "val_loss": f"{best.loss:.4g}"}
    print(result_line("study", figures, settings.threads))


def _result(results: list[Result], threads: int) -> str:
    cells = by_cell(results).values()
    best = min(cells, key=lambda runs: mean_of(runs, "validation"))
    fastest = max(cells, key=lambda runs: mean_of(runs, "characters_per_second"))
    figures = {
        "runs": str(len(results)),
        "best": _cell(best),
        "val_bpc": f"{mean_of(best, 'validation'):.3f}",
        "fastest": _cell(fastest),
        "chars_per_s": f"{mean_of(fastest, 'characters_per_second'):.0f}",
    }
    return result_line("study", figures, threads)


def _cell(runs: list[Result]) -> str:
    return f"{runs[0].batch_size}x{runs[0].window}"
