"""Take over a model from Keras: train and save it there, and run its file here.

The sequences are scikit-learn's handwritten digits, read row by row.

    KERAS_BACKEND=torch python examples/from_keras.py
"""

import tempfile

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gru_native as gn

images, digits = load_digits(return_X_y=True)
x, x_test, y, y_test = train_test_split(images.reshape(-1, 8, 8) / 16, digits, random_state=0)

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
theirs.fit(x, y, epochs=10, verbose=0)
with tempfile.TemporaryDirectory() as folder:
    theirs.save(f"{folder}/digits.keras")
    ours = gn.keras.load(f"{folder}/digits.keras")

found, expected = ours.predict(x_test.astype("float32")), theirs.predict(x_test, verbose=0)
print(f"accuracy {np.mean(found.argmax(axis=1) == y_test):.3f}")
print(f"Keras: {np.mean(expected.argmax(axis=1) == y_test):.3f}")
print(f"largest difference between probabilities: {np.abs(found - expected).max():.1e}")
