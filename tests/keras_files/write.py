"""Writes the files of Keras beside this script: ``python tests/keras_files/write.py``, with keras installed.

Those of the version that is installed: of Keras 3 (``pip install keras scipy jax``, whose backend NumPy needs the other
two), or of Keras 2 (``pip install tensorflow-cpu==2.15.*``). Each model's input, lengths and predictions go to an npz.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent

Model = tuple[Any, np.ndarray, "np.ndarray | None"]  # with its input and the lengths of its rows


def text(keras: Any, rng: np.random.Generator) -> Model:
    """A classifier of padded words."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.InputLayer((7,)),
            layers.Embedding(12, 4, mask_zero=True),
            layers.Bidirectional(layers.GRU(3, return_sequences=True)),
            layers.Dropout(0.3),
            layers.GRU(4, use_bias=False, reset_after=False, recurrent_activation="hard_sigmoid"),
            layers.LayerNormalization(),
            layers.Dense(3, activation="softmax"),
        ]
    )
    lengths = np.array([7, 4, 1])
    return model, rng.integers(1, 12, (3, 7)) * (np.arange(7) < lengths[:, None]), lengths


def series(keras: Any, rng: np.random.Generator) -> Model:
    """A functional model of a padded series."""
    layers = keras.layers
    given = keras.Input((None, 3))
    x = layers.Masking(0.0)(given)
    x = layers.LSTM(4, return_sequences=True, recurrent_activation="hard_sigmoid")(x)
    x = layers.TimeDistributed(layers.Dense(3, activation="relu"))(x)
    x = layers.SimpleRNN(4, return_sequences=True)(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.BatchNormalization()(x)
    model = keras.Model(given, layers.Dense(2, activation="sigmoid")(x))
    lengths = np.array([6, 2, 5])
    x = rng.standard_normal((3, 6, 3)).astype("float32")
    x[np.arange(6) >= lengths[:, None]] = 0
    return model, x, lengths


def two_ways(keras: Any, rng: np.random.Generator) -> Model:
    """The last states of both directions, twice the same kinds of layers."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.InputLayer((5, 2)),
            layers.GRU(3, return_sequences=True, activation="softsign"),
            layers.GRU(3, return_sequences=True, reset_after=False),
            layers.Bidirectional(layers.LSTM(2)),
            layers.Dense(3, activation="elu", use_bias=False),
            layers.Dense(2),
        ]
    )
    return model, rng.standard_normal((3, 5, 2)).astype("float32"), None


def waves(keras: Any, rng: np.random.Generator) -> Model:
    """Convolutions of all paddings in front of a recurrent layer."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.InputLayer((None, 2)),
            layers.Conv1D(4, 3, strides=2, activation="relu"),
            layers.Conv1D(3, 4, padding="same", dilation_rate=2, use_bias=False),
            layers.Conv1D(3, 2, padding="causal", strides=2, activation="softmax"),
            layers.GRU(3),
        ]
    )
    return model, rng.standard_normal((3, 20, 2)).astype("float32"), None


MODELS = {"text": text, "series": series, "two_ways": two_ways, "waves": waves}

# What is kept: the model, the version of Keras, and the end of the file's name.
KEPT = (
    ("text", 3, ".keras"),
    ("series", 3, ".h5"),
    ("two_ways", 3, ".weights.h5"),
    ("waves", 3, ".keras"),
    ("series", 2, ".keras"),
    ("two_ways", 2, ".h5"),
)


def filled(model: Any, rng: np.random.Generator) -> Any:
    """Give a model weights that leave nothing at its first value, and return it."""
    model.set_weights(
        [rng.uniform(0.2, 0.9, each.shape) if each.ndim == 1 else rng.standard_normal(each.shape) * 0.5
         for each in model.get_weights()]
    )  # fmt: skip
    return model


def write(name: str, keras: Any, path: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Write a model to a file, and return its input and predictions."""
    rng = np.random.default_rng(seed)
    model, x, lengths = MODELS[name](keras, rng)
    filled(model, rng)
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    kept = {} if lengths is None else {"lengths": lengths}
    return {"x": x, "y": model.predict_on_batch(x), **kept}


def main() -> None:
    """Write those of the installed version."""
    import keras

    for name, major, end in KEPT:
        if keras.__version__.startswith(f"{major}."):
            path = HERE / f"{name}_{major}{end}"
            np.savez(HERE / f"{name}_{major}.npz", **write(name, keras, path))
            print(path.name, path.stat().st_size)


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    main()
