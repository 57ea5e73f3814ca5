"""Runs a model step by step, as stream.c does, from Cython: a step touches no Python object.

python -c "import stream; stream.main('model.safetensors')" < ROWS
"""

import sys
from array import array

from gru_native cimport *


cdef class Stream:
    cdef gn_session* session
    cdef gn_model_info info

    def __cinit__(self, str path):
        cdef gn_error error
        cdef gn_file* file = NULL
        cdef gn_model* model = NULL
        error.size = sizeof(error)
        self.info.size = sizeof(self.info)
        try:
            check(gn_file_load(path.encode(), &file, &error), &error)
            check(gn_model_create(file, &model, &error), &error)
            check(gn_model_describe(model, &self.info, &error), &error)
            check(gn_session_create(model, 1, &self.session, &error), &error)
        finally:
            gn_model_destroy(model)  # the session keeps what it needs
            gn_file_destroy(file)
        if self.info.type != GN_FLOAT32 or self.info.indices:
            raise ValueError("expected a model of float32 numbers")

    def __dealloc__(self):
        gn_session_destroy(self.session)

    @property
    def output_size(self):
        return self.info.output_size

    cpdef int step(self, const float[::1] x, float[::1] y) except -1:
        cdef gn_error error
        cdef gn_status status
        error.size = sizeof(error)
        if <size_t>x.shape[0] != self.info.input_size or <size_t>y.shape[0] != self.info.output_size:
            raise ValueError(f"expected {self.info.input_size} and {self.info.output_size} numbers")
        with nogil:
            status = gn_session_step(self.session, &x[0], &y[0], &error)
        return check(status, &error)


def main(path):
    stream = Stream(path)
    y = array("f", bytes(4 * stream.output_size))
    for line in sys.stdin:
        stream.step(array("f", map(float, line.split())), y)
        print(*(f"{value:.9g}" for value in y))
