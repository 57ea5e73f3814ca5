"""Files of Keras, read within bounds: what a model consists of, and its arrays.

A ``.keras`` file is an archive of two texts in JSON and a file in HDF5; a whole model of Keras 2 is one file in HDF5.
Neither is trusted. Only links within the file are followed, only plain arrays of floats are read, and nothing is taken
to memory that is larger than what the model's configuration asks for.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, BinaryIO

from gru_native import arguments
from gru_native.arguments import Array, StrPath, shown
from gru_native.io import ModelFileError, parsed, regular

HDF5 = b"\x89HDF\r\n\x1a\n"
LONGEST = 1 << 24  # of a text, in bytes
# An archive also holds the optimizer's copies of the weights, in up to 8 bytes each, and says where all that is.
PER_NUMBER, BESIDES = 64, 1 << 22

# What h5py, zipfile and the code here raise for what is no such file.
DAMAGED = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def opened(path: StrPath) -> Iterator[File]:
    """Open a file; what fails within the block is a `ModelFileError` that names it."""
    with open(arguments.path("path", path), "rb", opener=regular) as file:
        try:
            yield File(file)
        except DAMAGED as error:
            text = error.args[0] if isinstance(error, KeyError) and error.args else error
            raise ModelFileError(f"{path}: no model of Keras that can be read: {text}") from error


class File:
    """An archive, or a file in HDF5."""

    def __init__(self, file: BinaryIO) -> None:
        is_hdf5 = file.read(len(HDF5)) == HDF5
        file.seek(0)
        self._content = file.read() if is_hdf5 else b""
        self._archive = None if is_hdf5 else zipfile.ZipFile(file)

    @cached_property
    def config(self) -> Any:
        """The model's configuration, which may be anything that JSON can be."""
        return self._json("config.json", "model_config")

    @property
    def major(self) -> int:
        """The first number of the version of Keras that wrote the file."""
        if self._archive is not None:
            metadata = self._json("metadata.json", "")
            version = metadata.get("keras_version") if isinstance(metadata, dict) else None
        else:
            version = self._attribute("keras_version")
        if not isinstance(version, str) or not re.match(r"[23]\.", version):
            raise ValueError(f"expected a file of Keras 2 or 3, got version {shown(version)}")
        return int(version[0])

    @contextmanager
    def weights(self, numbers: int) -> Iterator[Stored]:
        """Open the arrays of a model that has so many numbers."""
        content = self._content
        if self._archive is not None:
            content = self._member("model.weights.h5", BESIDES + PER_NUMBER * numbers)
        if numbers > len(content):
            raise ValueError(
                f"expected {numbers} numbers, as the layers have, in the weights, got {len(content)} bytes"
            )
        with _hdf5(content) as root:
            yield Stored(root)

    def _json(self, member: str, attribute: str) -> Any:
        if self._archive is not None:
            return parsed(self._member(member, LONGEST).decode())
        return parsed(self._attribute(attribute))

    def _member(self, name: str, most: int) -> bytes:
        """Return a file of the archive, of which no more is unpacked than it says."""
        info = self._archive.getinfo(name)  # type: ignore[union-attr]
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name}: expected it stored or deflated, got method {info.compress_type}")
        if info.file_size > most:
            raise ValueError(f"{name}: expected up to {most} bytes, got {info.file_size}")
        return self._archive.read(info)  # type: ignore[union-attr]

    def _attribute(self, name: str) -> str:
        with _hdf5(self._content) as root:
            if name not in root.attrs:
                raise ValueError(
                    f"expected a whole model, with an attribute {name}, got weights alone: use load_weights"
                )
            (value,) = _strings(root, name)
            return value


class Stored:
    """The arrays of a model in HDF5: layer after layer (the older layout), or by paths."""

    def __init__(self, root: Any) -> None:
        legacy = child(root, "model_weights") if has(root, "model_weights") else root
        self.in_order = any(name.startswith("layer_names") for name in legacy.attrs)
        if self.in_order:
            self._group = legacy
        else:  # Keras 3, and Keras 2 from 2.12 on
            tops = [name for name in ("layers", "_layer_checkpoint_dependencies") if has(root, name)]
            if not tops:
                raise ValueError(f"expected weights under layers, got {', '.join(map(repr, root)) or 'nothing'}"[:200])
            self._group = child(root, tops[0])

    def __contains__(self, name: str) -> bool:
        return has(self._group, name)

    def layers(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield name and arrays of each layer that has some, where they lie in order."""
        for name in _chunked(self._group, "layer_names"):
            layer = child(self._group, name)
            names = _chunked(layer, "weight_names")
            if names:
                yield name, [child(layer, own) for own in names]

    def below(self, paths: tuple[str, ...]) -> list[Any]:
        """Return the arrays under some paths."""
        found = []
        for path in paths:
            group = child(self._group, f"{path}/vars")
            found += [child(group, str(place)) for place in range(len(group))]
        return found


def has(group: Any, name: str) -> bool:
    """Return whether a group has a link of this name, which is not followed."""
    return isinstance(group, hdf5().Group) and group.id.links.exists(name.encode())


def child(group: Any, path: str) -> Any:
    """Return what is at a path below a group, by links that do not leave the file."""
    hard = hdf5().h5l.TYPE_HARD
    for name in path.strip("/").split("/"):
        if not has(group, name):
            raise ValueError(f"expected {path} in the weights, got no {name}")
        if group.id.links.get_info(name.encode()).type != hard:
            raise ValueError(f"{path}: expected what is in the file, got a link to elsewhere")
        group = group[name]
    return group


def read(dataset: Any, most: int) -> Array:
    """Return an array of up to so many numbers."""
    h5py = hdf5()
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind != "f" or dataset.dtype.itemsize > 8:
        raise ValueError(f"expected an array of floats, got {getattr(dataset, 'dtype', 'a group')}")
    if dataset.is_virtual or dataset.external or dataset.chunks is not None or dataset.shape is None:
        raise ValueError("expected an array in one piece, as Keras writes it, got one of another layout")
    if dataset.size > most:
        raise ValueError(f"expected an array of up to {most} numbers, got shape {dataset.shape}")
    value: Array = dataset[()]
    return value


def _chunked(group: Any, name: str) -> list[str]:
    """Return strings that may stand in several attributes, name0, name1, ..., because one has little room."""
    numbered = (f"{name}{place}" for place in range(len(group.attrs)))
    return [string for part in (name, *numbered) if part in group.attrs for string in _strings(group, part)]


def _strings(group: Any, name: str) -> list[str]:
    """Return an attribute that holds strings: one, several, or none, which Keras writes as no numbers."""
    attribute = group.attrs.get_id(name)
    size = math.prod(attribute.shape)
    if size == 0:
        return []
    # The library does not survive every damaged attribute of another type.
    if hdf5().check_string_dtype(attribute.dtype) is None or size * attribute.dtype.itemsize > LONGEST:
        raise ValueError(f"{name}: expected strings of up to {LONGEST} bytes, got {size} of {attribute.dtype}")
    value = group.attrs[name]
    each = value.ravel().tolist() if hasattr(value, "ravel") else [value]
    return [own.decode() if isinstance(own, bytes) else own for own in each]


def _hdf5(content: bytes) -> Any:
    """Open a file in HDF5 that is in memory.

    Its heaps of strings are looked at first: where the parts of one do not fill it, the library may search for ever.
    """
    for heap in re.finditer(b"GCOL\x01", content):
        start = heap.start()
        place, end = start + 16, start + _number(content, start + 8)
        while place + 16 <= end <= len(content):
            size, is_free = _number(content, place + 8), content[place : place + 2] == b"\0\0"
            place += size if is_free else 16 + (size + 7) // 8 * 8
            if (is_free and size < 16) or place > end:
                raise ValueError(f"damaged heap of strings at byte {start}")
    return hdf5().File(io.BytesIO(content), "r")


def _number(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 8], "little")


def hdf5() -> Any:
    """Return h5py."""
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"gru_native.keras needs h5py ({error}): pip install 'gru_native[keras]'") from error
    return h5py
