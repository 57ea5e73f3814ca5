"""Models in files: safetensors for the arrays, and the model's configuration as JSON in the file's metadata.

Nothing on the way in or out can run code (no pickle). A file is written under a temporary name and then
renamed, so that a path holds the old content or the new one, never a part.

The metadata has one entry, ``gru_native``: a JSON object with ``format`` (the version of this layout) and
whatever header was saved; for a model that is ``config`` and the user's ``metadata``. One entry, because the
order of several is not defined, and the same model must give the same bytes.
"""

from __future__ import annotations

import csv
import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from safetensors import SafetensorError, deserialize

from gru_native import arguments, nn
from gru_native.arguments import Array as Array
from gru_native.arguments import StrPath as StrPath
from gru_native.arguments import array, instance, mapping, text
from gru_native.nn.module import IncompatibleKeys
from gru_native.passes import repeatable

FORMAT = 1
#: The module whose `load` reads files of other libraries with such names.
READERS = {".keras": "gru_native.keras", ".h5": "gru_native.keras", ".onnx": "gru_native.onnx"}
ENTRY = "gru_native"
_IRREGULAR = "Not a regular file"
_METADATA, _LONGEST = "__metadata__", 100_000_000  # of the format: a name, and the most bytes of a header
# What the format calls NumPy's dtypes, in the order in which arrays lie in a file.
_DTYPES = {
    "uint64": "U64",
    "int64": "I64",
    "float64": "F64",
    "complex64": "C64",
    "float32": "F32",
    "uint32": "U32",
    "int32": "I32",
    "float16": "F16",
    "uint16": "U16",
    "int16": "I16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_STORED = {stored: np.dtype(name).newbyteorder("<") for name, stored in _DTYPES.items()}

__all__ = [
    "ModelFileError",
    "atomic_write",
    "load",
    "load_arrays",
    "load_metadata",
    "load_state",
    "load_weights",
    "load_with_metadata",
    "save",
    "save_arrays",
]


class ModelFileError(ValueError):
    """A file is not what it should be: damaged, foreign, or not matching its own configuration."""


def save(model: nn.Module, path: StrPath, metadata: Mapping[str, str] | None = None) -> None:
    """Save a model: its configuration, parameters and buffers.

    Parameters
    ----------
    model : Module
    path : str or path
        By custom ``*.safetensors``. An existing file is replaced when the new one is complete on disk.
    metadata : mapping of str to str, optional
        Anything that belongs to the model, such as a vocabulary; see `load_metadata`.

    Raises
    ------
    TypeError
        When `metadata` is no mapping of strings to strings.
    OSError
        When the file cannot be written; what stood at `path` still stands there.
    """
    given = mapping("metadata", {} if metadata is None else metadata, "strings")
    metadata = {name: instance(f"metadata[{name!r}]", value, str, "a string") for name, value in given.items()}
    instance("model", model, nn.Module, "a Module")
    save_arrays(path, model.state_dict(), {"config": model.config(), "metadata": metadata})


def load(path: StrPath) -> nn.Module:
    """Build the model that `save` wrote, with the same bits.

    Raises
    ------
    ModelFileError
        When the file is damaged, holds no model of this package, or its arrays do not fit its configuration.
    OSError
        When the file cannot be read.
    """
    return _model(path, *load_arrays(path))


def load_with_metadata(path: StrPath) -> tuple[nn.Module, dict[str, str]]:
    """Return what `load` and `load_metadata` return, of one reading of the file; raises as they do."""
    arrays, header = load_arrays(path)
    return _model(path, arrays, header), _metadata(path, header)


def _model(path: StrPath, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> nn.Module:
    if "config" not in header:
        raise ModelFileError(
            f"{path}: no model of {ENTRY}, which would carry its configuration; "
            "for arrays alone build the model and use load_weights(model, path)"
        )
    try:
        with nn.init.limited(arrays.values()):
            model = nn.from_config(header["config"])
        if strangers := arrays.keys() ^ model.state_dict().keys():
            raise ValueError(f"arrays without a place, or places without an array: {sorted(strangers)}")
        # Not load_state_dict, which would convert to the dtype of the configuration.
        model.assign(arrays)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ModelFileError(f"{path}: the file does not describe a model: {error}") from error
    return model


def load_state(path: StrPath) -> dict[str, Array]:
    """Return the arrays of any safetensors file by name, for ``model.load_state_dict(load_state(path))``.

    Raises
    ------
    ModelFileError
        When the file is damaged or not in the safetensors format.
    OSError
        When the file cannot be read.
    """
    return load_arrays(path)[0]


def load_weights(
    model: nn.Module, path: StrPath, *, prefix: str = "", rename: Mapping[str, str] | None = None, strict: bool = True
) -> IncompatibleKeys:
    """Give a model weights from any safetensors file, such as one that PyTorch's modules were saved in.

    ::

        safetensors.torch.save_model(module, "weights.safetensors")  # module.encoder.gru, module.encoder.fc, ...
        model = nn.Sequential(nn.GRU(64, 128), nn.Linear(128, 10))
        gru_native.load_weights(model, "weights.safetensors", prefix="encoder.", rename={"gru": "0", "fc": "1"})

    Layers have PyTorch's names for their own arrays, so that only the names of modules differ.

    Parameters
    ----------
    model : Module
        Weights are converted to its dtype. It is unchanged after an error.
    path : str or path
    prefix : str
        What the names of the arrays in the file begin with; others are left alone.
    rename : mapping of str to str, optional
        The model's names by those in the file, behind the prefix: of whole arrays, or of modules, which stand for all
        below them. Of several that fit, the longest counts. Names that are not there stay as they are.
    strict : bool
        Whether the names must then be exactly those of the model's `state_dict`.

    Returns
    -------
    missing_keys, unexpected_keys : list of str
        The model's names that the file lacks, and those of the file, renamed, that the model lacks; none when `strict`.

    Raises
    ------
    ValueError
        When names, shapes or values do not fit, when nothing has the prefix or a name to be renamed, or two arrays get
        one name.
    ModelFileError, OSError
        As `load_state`.
    """
    instance("model", model, nn.Module, "a Module")
    start, names = text("prefix", prefix), mapping("rename", {} if rename is None else rename, "strings")
    for name, value in names.items():
        instance(f"rename[{name!r}]", value, str, "a string")
    arrays = load_state(path)
    found = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
    if not found:
        raise ValueError(f"prefix: expected what a name in the file begins with, got {start!r}; it has {_few(arrays)}")
    return model.load_state_dict(_renamed(found, names), strict)


def _renamed(arrays: Mapping[str, Array], names: Mapping[str, str]) -> dict[str, Array]:
    """Return arrays under new names; see `load_weights`."""
    renamed: dict[str, Array] = {}
    used = set()
    for name, own in arrays.items():
        fitting = [old for old in names if f"{name}.".startswith(f"{old}.")]
        old = max(fitting, key=len, default="")
        new = names[old] + name.removeprefix(old) if fitting else name
        used.update(fitting)
        if new in renamed:
            raise ValueError(f"rename: expected a name for each array, got {new!r} for two of them")
        renamed[new] = own
    if unused := sorted(names.keys() - used):
        raise ValueError(f"rename: expected names in the file, got {unused[0]!r}; it has {_few(arrays)}")
    return renamed


def _few(names: Iterable[str]) -> str:
    """Return some of the names, for a message."""
    found = sorted(names)
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "") if found else "no arrays"


def load_metadata(path: StrPath) -> dict[str, str]:
    """Return the metadata that was given to `save`.

    Raises
    ------
    ModelFileError, OSError
        As `load_state`.
    """
    return _metadata(path, load_arrays(path)[1])


def _metadata(path: StrPath, header: Mapping[str, Any]) -> dict[str, str]:
    metadata = header.get("metadata", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ModelFileError(f"{path}: expected strings by name as metadata, got {metadata!r}")
    return metadata


def save_arrays(path: StrPath, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Save arrays and a JSON-able header in one file, atomically; `save` and checkpoints stand on this."""
    pieces = _pieces(arrays, header)
    # Array by array, not by the library: it makes the whole file in memory, and ends the process where there is none.
    with atomic_write(path) as file:
        for piece in pieces:
            file.write(piece)


def content(model: nn.Module) -> bytes:
    """Return what `save` would write, without metadata: the model as the core reads it."""
    return b"".join(_pieces(model.state_dict(), {"config": model.config(), "metadata": {}}))


def _pieces(arrays: Mapping[str, Array], header: Mapping[str, Any]) -> list[bytes | memoryview]:
    """Return a file piece by piece: what it begins with, and the arrays, which are not copied."""
    given = {name: array(f"arrays[{name!r}]", each) for name, each in mapping("arrays", arrays).items()}
    try:
        entry = json.dumps({**mapping("header", header, "what JSON can hold"), "format": FORMAT})
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"header: {str(error).removeprefix('header: ')}") from error
    start, order = _layout(given, entry)
    ordered = [np.asarray(given[name], given[name].dtype.newbyteorder("<"), order="C") for name in order]
    return [start, *(each.data for each in ordered)]


def _layout(arrays: Mapping[str, Array], entry: str) -> tuple[bytes, list[str]]:
    """Return what a file begins with, and the order in which the arrays follow: the same bytes as the library's."""
    for name, each in arrays.items():
        if text("arrays", name) == _METADATA:
            raise ValueError(f"arrays: the name {name!r} is taken by the format")
        if each.dtype.name not in _DTYPES:
            raise TypeError(f"arrays[{name!r}]: expected dtype {', '.join(_DTYPES)}, got {each.dtype}")
    ranks = {dtype: rank for rank, dtype in enumerate(_DTYPES)}
    order = sorted(arrays, key=lambda name: (ranks[arrays[name].dtype.name], name))
    described: dict[str, Any] = {_METADATA: {ENTRY: entry}}
    end = 0
    for name in order:
        each, begin = arrays[name], end
        end = begin + each.nbytes
        described[name] = {"dtype": _DTYPES[each.dtype.name], "shape": each.shape, "data_offsets": [begin, end]}
    head = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    if len(head) > _LONGEST:
        raise ValueError(f"header: expected up to {_LONGEST} bytes together with the names, got {len(head)}")
    return len(head).to_bytes(8, "little") + head, order


@repeatable
def load_arrays(path: StrPath) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the arrays and the header of a file; a safetensors file from elsewhere has an empty header.

    Raises
    ------
    ModelFileError, OSError
        As `load_state`.
    """
    # Read, not mapped: whoever shortens the file meanwhile does no harm.
    with open(arguments.path("path", path), "rb", opener=regular) as file:
        content = file.read()
    # The library copies all of it, and does not survive it where there is no memory: NumPy is asked first.
    np.empty(len(content) + 8 * _end(content) + (1 << 22), np.uint8)
    try:
        arrays = {name: _numbers(**view) for name, view in deserialize(content)}  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        reader = READERS.get(Path(path).suffix.lower())
        hint = f"; {reader}.load reads such files" if reader else ""
        raise ModelFileError(f"{path}: not a safetensors file, or a damaged one: {error}{hint}") from error
    except (KeyError, ValueError) as error:
        raise ModelFileError(f"{path}: has a dtype or a shape that NumPy does not have: {error}") from error
    return arrays, _header(path, content)


def _numbers(dtype: str, shape: Sequence[int], data: bytes | bytearray) -> Array:
    """Return an array of a file; what is in bfloat16, the upper half of a float32, in float32."""
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return np.frombuffer(data, _STORED[dtype]).reshape(shape)


def regular(path: str, flags: int) -> int:
    """Open nothing but a regular file: ``open(path, "rb", opener=regular)``.

    What was opened is looked at, not the path, where there may be something else by then.

    Raises
    ------
    OSError
        For a folder, a pipe, a socket or a device. None of them is waited for.
    """
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY, 0o666)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, _IRREGULAR, path) from None
        raise
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    raise OSError(errno.EINVAL, _IRREGULAR, path)


def writable(name: str, path: StrPath) -> Path:
    """Return the real path of a file that can be written: one that is there, or one in a folder that is there."""
    target = Path(os.path.realpath(arguments.path(name, path)))
    if target.exists() and not target.is_file():
        raise ValueError(f"{name}: expected the name of a regular file, got {path}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{name}: there is no folder {target.parent}")
    return target


@contextmanager
def atomic_write(path: StrPath) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` when the block ends without an exception.

    Until then, and if the block or the process is interrupted, `path` stays as it was. A symbolic link is
    followed. The new file has the mode of the one that it replaces, and its owner and group where the system allows it.
    """
    target = writable("path", path)
    temporary = target.with_name(f".{target.name}.{os.urandom(4).hex()}.tmp")
    try:
        with _create(temporary) as file:
            with suppress(FileNotFoundError):
                _make_like(file.fileno(), target.stat())
            yield file
            file.flush()
            os.fsync(file.fileno())
            if not temporary.exists():
                # Python follows the link (by linkat) only when there is a dir_fd, which means nothing here.
                unnamed = f"/proc/self/fd/{file.fileno()}"
                os.link(unnamed, temporary, src_dir_fd=file.fileno(), follow_symlinks=True)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_csv(path: StrPath, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows as comma-separated values; the first one has the names of the columns."""
    text = StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def _create(temporary: Path) -> BinaryIO:
    """Open a file without a name, so that a killed process leaves nothing behind; else one with a name."""
    if os.path.isdir("/proc/self/fd") and hasattr(os, "O_TMPFILE"):
        try:
            return os.fdopen(os.open(temporary.parent, os.O_TMPFILE | os.O_WRONLY, 0o666), "wb")
        except OSError:
            pass  # not every file system can
    return open(temporary, "xb")


def _make_like(descriptor: int, old: os.stat_result) -> None:
    """Give a file the owner, the group and the mode of an old one, before there is anything in it to read."""
    for uid, gid in ((old.st_uid, -1), (-1, old.st_gid)):
        with suppress(OSError):  # to give a file away is for root alone
            os.fchown(descriptor, uid, gid)
    os.fchmod(descriptor, old.st_mode & 0o777)


def _end(content: bytes) -> int:
    """Return where the header of a file ends."""
    return min(len(content), 8 + int.from_bytes(content[:8], "little"))


def _header(path: StrPath, content: bytes) -> dict[str, Any]:
    try:
        entry = (parsed(content[8 : _end(content)].decode()).get(_METADATA) or {}).get(ENTRY)
        if entry is None:
            return {}
        header = parsed(entry)
    except ValueError as error:
        raise ModelFileError(f"{path}: the header is not JSON: {error}") from error
    if not isinstance(header, dict) or type(header.get("format")) is not int or header["format"] < 1:
        raise ModelFileError(f"{path}: the header has no format version")
    if header["format"] > FORMAT:
        raise ModelFileError(
            f"{path}: expected format {FORMAT} or older, got {header['format']}: it takes a newer {ENTRY}"
        )
    return header


def parsed(text: str) -> Any:
    """Return what JSON says.

    Raises
    ------
    ValueError
        For what is no JSON, is nested too deep, or has a name twice in one object, so that readers may differ on it.
    """
    try:
        return json.loads(text, object_pairs_hook=_once_each)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name stands twice among {[name for name, _ in pairs]}"[:200])
    return found
