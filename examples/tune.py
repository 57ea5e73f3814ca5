"""Search for settings at random, with scikit-learn: which of nine men says two vowels.

python examples/tune.py
"""

from public_data import vowels
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

x, y = vowels("TRAIN")  # 270 sequences (T, 12), and who says each
x_test, y_test = vowels("TEST")
usual = GRUClassifier(epochs=30, random_state=0)
search = RandomizedSearchCV(usual, CHOICES, n_iter=12, cv=3, random_state=0, verbose=2)
search.fit(x, y)
print(f"the best settings: {search.best_params_}")
print(f"accuracy {search.score(x_test, y_test):.3f}")
print(f"with the settings that nobody chose: {usual.fit(x, y).score(x_test, y_test):.3f}")
