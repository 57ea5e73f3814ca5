"""Take over a model from Keras: train and save it there, and run its file here.

The sequences are scikit-learn's handwritten digits, read row by row.

    KERAS_BACKEND=torch python examples/from_keras.py
"""

from __future__ import annotations

import argparse
import tempfile
import timeit

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gru_native as gn


def main() -> None:
    """Train in Keras, take the model over, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10, metavar="N")
    arguments = parser.parse_args()

    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8).astype(np.float32) / 16
    x, x_test, y, y_test = train_test_split(images, digits, random_state=0)
    keras.utils.set_random_seed(0)
    theirs = keras.Sequential(
        [
            keras.Input((None, 8)),
            keras.layers.GRU(64, return_sequences=True),
            keras.layers.BatchNormalization(),
            keras.layers.GRU(32),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    theirs.compile("adam", "sparse_categorical_crossentropy")
    theirs.fit(x, y, epochs=arguments.epochs, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        theirs.save(f"{folder}/digits.keras")
        ours = gn.keras.load(f"{folder}/digits.keras")

    found, _ = ours(x_test)
    expected = theirs.predict_on_batch(x_test)
    seconds = min(timeit.repeat(lambda: ours(x_test), number=1, repeat=20))
    their_seconds = min(timeit.repeat(lambda: theirs.predict_on_batch(x_test), number=1, repeat=20))
    print(f"accuracy {np.mean(found.argmax(axis=1) == y_test):.3f} in {1e3 * seconds:.2f} ms")
    print(f"Keras: {np.mean(expected.argmax(axis=1) == y_test):.3f} in {1e3 * their_seconds:.2f} ms")
    print(f"largest difference between probabilities: {np.abs(found - expected).max():.1e}")


if __name__ == "__main__":
    main()
