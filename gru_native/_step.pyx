# cython: language_level=3, boundscheck=False, wraparound=False
"""One time step with carried state, at the least overhead: the call under `gru_native.nn.GRUCell`."""

cimport numpy as np
from libc.stdint cimport uintptr_t

from gru_native import _core

np.import_array()

cdef extern from "gru.h" namespace "gru" nogil:
    cdef cppclass GruWeights[T]:
        size_t input_size
        size_t hidden_size

cdef extern from "step.h" namespace "gru" nogil:
    void gru_step[T](const GruWeights[T]* weights, size_t batch, const T* x, const T* h_0, T* h_1) except +


cdef bint fits(np.ndarray array, int type_number, np.npy_intp rows, np.npy_intp columns):
    return (
        np.PyArray_TYPE(array) == type_number
        and np.PyArray_NDIM(array) == 2
        and np.PyArray_DIM(array, 0) == rows
        and np.PyArray_DIM(array, 1) == columns
        and np.PyArray_ISCARRAY_RO(array)
    )


cdef class GRUStep:
    """A layer's single step: ``step(x, h_0)`` gives h_1.

    Parameters
    ----------
    weights
        What `gru_native.functional.pack_gru` returned.
    """

    cdef object weights
    cdef uintptr_t address
    cdef int type_number
    cdef np.npy_intp input_size, hidden_size

    def __cinit__(self, weights):
        if isinstance(weights, _core.GruWeights32):
            self.type_number = np.NPY_FLOAT32
        elif isinstance(weights, _core.GruWeights64):
            self.type_number = np.NPY_FLOAT64
        else:
            raise TypeError(f"weights: expected what pack_gru returns, got {type(weights).__name__}")
        self.weights = weights
        self.address = weights.address
        self.input_size = weights.input_size
        self.hidden_size = weights.hidden_size

    def __call__(self, x, h_0):
        """Return h_1 (B, H) from x (B, I) and h_0 (B, H), or None unless both are C-contiguous arrays of the dtype."""
        if not isinstance(x, np.ndarray) or not isinstance(h_0, np.ndarray) or np.PyArray_NDIM(x) != 2:
            return None
        cdef np.npy_intp batch = np.PyArray_DIM(x, 0)
        if not fits(x, self.type_number, batch, self.input_size) or not fits(
            h_0, self.type_number, batch, self.hidden_size
        ):
            return None
        cdef np.npy_intp[2] shape = [batch, self.hidden_size]
        cdef np.ndarray h_1 = np.PyArray_EMPTY(2, shape, self.type_number, 0)
        cdef void* x_data = np.PyArray_DATA(x)
        cdef void* h_0_data = np.PyArray_DATA(h_0)
        cdef void* h_1_data = np.PyArray_DATA(h_1)
        with nogil:
            if self.type_number == np.NPY_FLOAT32:
                gru_step(<GruWeights[float]*>self.address, batch, <float*>x_data, <float*>h_0_data, <float*>h_1_data)
            else:
                gru_step(<GruWeights[double]*>self.address, batch, <double*>x_data, <double*>h_0_data, <double*>h_1_data)
        return h_1
