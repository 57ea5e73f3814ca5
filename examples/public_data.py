"""The examples' data: from a folder of yours, or from its public home, which is asked once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

VOWELS = "https://raw.githubusercontent.com/aeon-toolkit/aeon/v1.4.0/aeon/datasets/data/JapaneseVowels"
SOURCES = {  # by name: the address, and the SHA-256 of what is there
    "japanese_vowels/JapaneseVowels_TRAIN.ts": (
        f"{VOWELS}/JapaneseVowels_TRAIN.ts",
        "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
    ),
    "japanese_vowels/JapaneseVowels_TEST.ts": (
        f"{VOWELS}/JapaneseVowels_TEST.ts",
        "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    ),
    "timeseries/pollution.csv": (
        "https://raw.githubusercontent.com/jbrownlee/Datasets/master/pollution.csv",
        "892e9559205d16d32623135c127a3951c12e46ea1e0b3093e107ce89a9fd60e2",
    ),
}


def vowels(part: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the "TRAIN" or "TEST" part of Japanese vowels: sequences (T, 12), and which of nine men says each."""
    return read_ts(fetch(f"japanese_vowels/JapaneseVowels_{part}.ts", given_folder()))


def pollution() -> np.ndarray:
    """Return Beijing's air hour by hour, (43800, 7): dust, dew point, temperature, pressure; logs of wind, snow, rain.

    Where no dust was measured, the value before stands.
    """
    path = fetch("timeseries/pollution.csv", given_folder())
    hours = np.genfromtxt(path, delimiter=",", skip_header=25, usecols=(5, 6, 7, 8, 10, 11, 12))
    measured = np.where(np.isfinite(hours[:, 0]), np.arange(len(hours)), 0)
    hours[:, 0] = hours[np.maximum.accumulate(measured), 0]
    hours[:, 4:] = np.log1p(hours[:, 4:])
    return hours


def given_folder() -> Path | None:
    """Return the folder that the command line names."""
    about = sys.modules["__main__"].__doc__
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the data lies, instead of a download")
    return parser.parse_args().data


def fetch(name: str, folder: Path | None = None) -> Path:
    """Return the path of a file: in `folder`, or without one in pooch's cache, where it is downloaded once.

    The program ends with a message that says what to get, when it cannot be had.
    """
    url, sha256 = SOURCES[name]
    by_hand = f"get {url} as FOLDER/{name}, and say --data FOLDER"
    if folder is not None:
        if not (folder / name).is_file():
            raise SystemExit(f"there is no {folder / name}: {by_hand}")
        return folder / name
    try:
        import pooch
    except ImportError:
        raise SystemExit(f"downloads need pooch: pip install pooch; or {by_hand}") from None
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", Path(name).name, pooch.os_cache("gru_native")))
    except OSError as error:
        raise SystemExit(f"{error}\n{by_hand}") from None


def read_ts(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Read a file of the .ts format: sequences (T, I), and the class of each, from 0.

    A line is ``1.2,3.4,...:5.6,...:class``, the values of each feature over time and a class from 1.
    """
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#@"]
    rows = [line.split(":") for line in lines]
    sequences = [np.array([values.split(",") for values in row[:-1]], np.float32).T for row in rows]
    return sequences, np.array([int(row[-1]) - 1 for row in rows])
