"""The matrix products by which a machine's peak is measured: float32, by every BLAS at hand."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from gru_bench.cases import Array

SIZE = 1024  # rows and columns: large for every BLAS, and done in about ten milliseconds
FLOPS = 2 * SIZE**3

Product = Callable[[], object]


def product(name: str, threads: int) -> Product:
    """Return the call that multiplies two square matrices by the BLAS of this name."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((SIZE, SIZE), dtype=np.float32) for _ in range(2))
    return PRODUCTS[name](a, b, np.empty_like(a), threads)


def installed() -> list[str]:
    """Return the names of the products that can run here."""
    found = {"numpy": True, "torch": find_spec("torch") is not None, "mkl": _mkl_library() is not None}
    return [name for name in PRODUCTS if found[name]]


def _numpy(a: Array, b: Array, c: Array, threads: int) -> Product:
    return lambda: np.matmul(a, b, out=c)  # its OpenBLAS reads the number of threads from the environment


def _torch(a: Array, b: Array, c: Array, threads: int) -> Product:
    import torch

    torch.set_num_threads(threads)
    left, right, out = (torch.from_numpy(array) for array in (a, b, c))
    return lambda: torch.mm(left, right, out=out)


def _mkl(a: Array, b: Array, c: Array, threads: int) -> Product:
    library = ctypes.CDLL(str(_mkl_library()), mode=ctypes.RTLD_GLOBAL)
    library.MKL_Set_Num_Threads(threads)
    row_major, as_it_is = 101, 111
    one, zero, n = ctypes.c_float(1), ctypes.c_float(0), ctypes.c_int(len(a))

    def call() -> None:
        left, right, out = (array.ctypes.data_as(ctypes.c_void_p) for array in (a, b, c))
        library.cblas_sgemm(row_major, as_it_is, as_it_is, n, n, n, one, left, n, right, n, zero, out, n)

    return call


def _mkl_library() -> Path | None:
    try:
        found = [file for file in files("mkl") or () if file.name.startswith("libmkl_rt.so")]
    except PackageNotFoundError:
        return None
    return Path(str(found[0].locate())) if found else None


PRODUCTS: dict[str, Callable[[Array, Array, Array, int], Product]] = {"mkl": _mkl, "torch": _torch, "numpy": _numpy}
