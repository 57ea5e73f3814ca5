"""Runs a model step by step, as stream.c does, by ctypes: the library is all that is needed.

python stream.py LIBRARY MODEL < ROWS
"""

from __future__ import annotations

import ctypes
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_ubyte, c_void_p


class Error(ctypes.Structure):
    """``gn_error``."""

    _fields_ = (("size", c_size_t), ("argument", ctypes.c_char * 32), ("message", ctypes.c_char * 256))


class ModelInfo(ctypes.Structure):
    """``gn_model_info``."""

    _fields_ = (
        ("size", c_size_t),
        ("type", c_int),
        ("input_size", c_size_t),
        ("indices", c_size_t),
        ("output_size", c_size_t),
        ("states", c_size_t),
        ("work", c_size_t),
        ("digest", c_ubyte * 32),
    )


SIGNATURES = {
    "gn_file_load": [c_char_p, POINTER(c_void_p)],
    "gn_model_create": [c_void_p, POINTER(c_void_p)],
    "gn_model_describe": [c_void_p, POINTER(ModelInfo)],
    "gn_session_create": [c_void_p, c_size_t, POINTER(c_void_p)],
    "gn_session_step": [c_void_p, POINTER(c_float), POINTER(c_float)],
}


def main() -> None:
    """Step through the lines of the input."""
    library = ctypes.CDLL(sys.argv[1])
    for name, arguments in SIGNATURES.items():
        getattr(library, name).argtypes = [*arguments, POINTER(Error)]

    error = Error(size=ctypes.sizeof(Error))

    def call(name: str, *arguments: object) -> None:
        if getattr(library, name)(*arguments, byref(error)) != 0:
            sys.exit(error.message.decode())

    file, model, session, info = c_void_p(), c_void_p(), c_void_p(), ModelInfo(size=ctypes.sizeof(ModelInfo))
    call("gn_file_load", sys.argv[2].encode(), byref(file))
    call("gn_model_create", file, byref(model))
    call("gn_model_describe", model, byref(info))
    call("gn_session_create", model, 1, byref(session))

    x, y = (c_float * info.input_size)(), (c_float * info.output_size)()
    for line in sys.stdin:
        x[:] = [float(word) for word in line.split()]
        call("gn_session_step", session, x, y)
        print(*(f"{value:.9g}" for value in y))

    for kind, handle in {"session": session, "model": model, "file": file}.items():
        destroy = getattr(library, f"gn_{kind}_destroy")
        destroy.argtypes, destroy.restype = [c_void_p], None
        destroy(handle)


if __name__ == "__main__":
    main()
