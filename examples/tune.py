"""Search for settings at random, with scikit-learn: which of nine men says two vowels.

python examples/tune.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

from public_data import fetch, read_ts
from scipy.stats import loguniform
from sklearn.model_selection import RandomizedSearchCV

from gru_native.sklearn import GRUClassifier

CHOICES = {
    "hidden_size": [32, 64, 128],
    "bidirectional": [False, True],
    "pooling": ["last", "mean"],
    "dropout": [0.0, 0.2, 0.5],
    "learning_rate": loguniform(1e-3, 3e-2),
}


def main() -> None:
    """Try each setting in a cross-validation of 270 utterances, and test the best one on 370 others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="where the data lies, instead of a download")
    parser.add_argument("--settings", type=int, default=12, metavar="N")
    parser.add_argument("--epochs", type=int, default=30, metavar="N")
    arguments = parser.parse_args()

    x, y = read_ts(fetch("japanese_vowels/JapaneseVowels_TRAIN.ts", arguments.data))
    x_test, y_test = read_ts(fetch("japanese_vowels/JapaneseVowels_TEST.ts", arguments.data))

    usual = GRUClassifier(epochs=arguments.epochs, random_state=0)
    search = RandomizedSearchCV(usual, CHOICES, n_iter=arguments.settings, cv=3, random_state=0, verbose=2)
    search.fit(x, y)
    print(f"the best of {arguments.settings} settings: {search.best_params_}")
    print(f"accuracy {search.score(x_test, y_test):.3f}")
    print(f"with the settings that nobody chose: {usual.fit(x, y).score(x_test, y_test):.3f}")


if __name__ == "__main__":
    main()
