"""A random search over settings on Japanese vowels, by scikit-learn: which of nine men said two vowels.

The data is that of `japanese_vowels.py`, sequences of 12 coefficients of 7 to 29 steps, as they come. Each setting is
tried in a cross-validation of the training set in five parts. The best one is trained on all of it, and tested once.

    python examples/vowels_search.py
"""

from __future__ import annotations

from time import perf_counter

from common import Bound, finish, options
from japanese_vowels import utterances
from scipy.stats import loguniform
from sklearn.model_selection import RandomizedSearchCV

from gru_native.sklearn import GRUClassifier

CHOICES = {
    "hidden_size": [32, 64, 128],
    "bidirectional": [False, True],
    "pooling": ["last", "mean"],
    "dropout": [0.0, 0.2, 0.5],
    "recurrent_dropout": [0.0, 0.2],
    "learning_rate": loguniform(1e-3, 3e-2),
}
BOUND = Bound("accuracy", 0.8, at_most=False)  # guessing gives 0.11


def main() -> None:
    """Search, test, and print the result."""
    arguments = options(__doc__).parse_args()
    began, seed = perf_counter(), arguments.seed
    folder = arguments.data / "japanese_vowels"
    training, test = (utterances(folder / f"JapaneseVowels_{part}.ts") for part in ("TRAIN", "TEST"))

    classifier = GRUClassifier(epochs=20 if arguments.quick else 60, random_state=seed, n_jobs=arguments.threads)
    settings, parts = (2, 2) if arguments.quick else (20, 5)
    search = RandomizedSearchCV(classifier, CHOICES, n_iter=settings, cv=parts, random_state=seed)
    search.fit(training.sequences, training.speakers)

    best = {name: f"{value:.2g}" if isinstance(value, float) else value for name, value in search.best_params_.items()}
    figures = {
        "accuracy": round(search.score(test.sequences, test.speakers), 4),
        "in_cross_validation": round(search.best_score_, 4),
        **best,
        "seconds": round(perf_counter() - began, 1),
    }
    finish("vowels_search", figures, arguments, BOUND)


if __name__ == "__main__":
    main()
