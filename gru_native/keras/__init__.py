"""Models of Keras.

A file that it saved becomes a model of this package::

    model = gru_native.keras.load("model.keras")
    predictions, states = model(x)  # x (B, T, features) as there; with a recurrent layer also its states
    gru_native.save(model, "model.safetensors")

Files are read with h5py alone: ``pip install 'gru_native[keras]'``. Nothing in a file is executed. docs/keras.md says
what stands for what.
"""

from __future__ import annotations

from gru_native import nn
from gru_native.arguments import StrPath, instance
from gru_native.keras import files, layers, weights

__all__ = ["load", "load_weights"]


def load(path: StrPath) -> nn.Sequential:
    """Build the model that Keras saved, with the same predictions.

    Its `Sequential` models are read, and functional ones in which each layer takes what the one before it gives, with
    layers that are listed in docs/keras.md. The result takes and gives batches first, (B, T, features); masks of Keras
    are the argument `lengths`. What acts in training alone is left out, but for dropout of all kinds.

    Parameters
    ----------
    path : str or path
        A ``.keras`` archive of Keras 3, or a whole model in one ``.h5`` file of Keras 2 or 3.

    Returns
    -------
    Sequential
        In float32 or float64 as the layers were.

    Raises
    ------
    ModelFileError
        When the file is damaged or no such file, or for a layer that has no counterpart: the message names it.
    OSError
        When the file cannot be read.
    ImportError
        Without h5py.
    """
    with files.opened(path) as file:
        found = layers.chain(file.config, file.major)
        with file.weights(layers.numbers(found)) as stored:
            model = nn.Sequential(*(nn.from_config(config) for layer in found for config in layer.native))
            weights.fill(model, stored, [layer.group for layer in found if layer.group])
    return model


def load_weights(model: nn.Module, path: StrPath) -> None:
    """Give a model weights that Keras saved.

    The model has to be built as that of Keras was: the first `GRU` takes those of Keras' first GRU, and so on. A layer
    of a stack counts as one, `Linear` takes those of Dense. See docs/keras.md.

    Parameters
    ----------
    model : Module
        Weights are converted to its dtype. It is unchanged after an error.
    path : str or path
        What ``model.save_weights`` of Keras wrote, ``*.weights.h5`` or ``*.h5``; or a whole model in one ``.h5`` file.

    Raises
    ------
    ModelFileError
        When the file is damaged or no such file, or does not fit the model.
    OSError
        When the file cannot be read.
    ImportError
        Without h5py.
    """
    arrays = instance("model", model, nn.Module, "a Module").parameters()
    numbers = sum(array.size for array in arrays.values())
    with files.opened(path) as file, file.weights(numbers) as stored:
        weights.fill(model, stored, None)
