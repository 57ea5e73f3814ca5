# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""Models that go step by step, in the core: sessions and pools. `gru_native.stream` has what users see of them."""

cimport cython
cimport numpy as np
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.stdint cimport int64_t, uint64_t

import numpy

np.import_array()

from gru_native cimport *

cdef extern from "numpy/arrayobject.h":
    object PyArray_NewFromDescr(
        PyTypeObject*, np.dtype, int, const np.npy_intp*, const np.npy_intp*, void*, int, PyObject*
    )
    PyTypeObject PyArray_Type

# Multiply-adds of a step up to which it keeps the GIL: giving it up and getting it back takes longer.
cdef size_t keeps_gil = 200_000


class BusyError(RuntimeError):
    """Another thread is using it."""


class FullError(RuntimeError):
    """There is no place left."""


class Unfit(ValueError):
    """An argument is not an array as the core takes it."""


cdef int refuse(str name) except -1:
    raise Unfit(f"{name}: expected what the core takes as it is, got something else")


cdef int done(gn_status status, gn_error* error) except -1:
    if status == GN_OK:
        return 0
    if status == GN_BUSY:
        raise BusyError(error.message.decode())
    if status == GN_FULL:
        raise FullError(error.message.decode())
    return check(status, error)


# Whether the core can take an array as it is: rows of some size, or, of size 0, single numbers.
cdef inline bint fits_rows(object array, int type_number, np.npy_intp rows, np.npy_intp size) noexcept:
    return (
        np.PyArray_CheckExact(array)
        and np.PyArray_TYPE(array) == type_number
        and np.PyArray_IS_C_CONTIGUOUS(array)
        and np.PyArray_ISBEHAVED_RO(array)
        and np.PyArray_NDIM(array) == (2 if size >= 0 else 1)
        and np.PyArray_DIM(array, 0) == rows
        and (size < 0 or np.PyArray_DIM(array, 1) == size)
    )


cdef inline bint fits_result(object array, int type_number, np.npy_intp rows, np.npy_intp size) noexcept:
    return fits_rows(array, type_number, rows, size) and np.PyArray_ISWRITEABLE(array)


cdef int refuse_result(object out, np.npy_intp rows, Model model) except -1:
    shape = (rows, model.info.output_size)
    if not np.PyArray_CheckExact(out):
        got = type(out).__name__
    elif out.dtype != model.dtype or not out.dtype.isnative or out.shape != shape:
        got = f"{out.dtype} with shape {out.shape}"
    elif not np.PyArray_ISCARRAY_RO(out):
        got = "one that is not contiguous or not aligned"
    elif not np.PyArray_ISWRITEABLE(out):
        got = "a read-only one"
    else:
        got = "one that overlaps them"
    raise ValueError(
        f"out: expected a writeable, contiguous array {shape} of {model.dtype} apart from the other arguments, got {got}"
    )


# As numpy.empty's, without the search for a dtype.
cdef inline object new_matrix(np.dtype dtype, np.npy_intp* shape):
    Py_INCREF(dtype)  # NewFromDescr takes it
    return PyArray_NewFromDescr(&PyArray_Type, dtype, 2, shape, NULL, NULL, 0, NULL)


cdef inline bint fits_ids(object array) noexcept:
    return np.PyArray_CheckExact(array) and fits_rows(array, np.NPY_UINT64, np.PyArray_SIZE(array), -1)


cdef inline bint overlap(np.ndarray a, np.ndarray b) noexcept:
    cdef char* first = <char*>np.PyArray_DATA(a)
    cdef char* second = <char*>np.PyArray_DATA(b)
    return first < second + np.PyArray_NBYTES(b) and second < first + np.PyArray_NBYTES(a)


cdef class Model:
    """A model as steps need it, of the content of a file that `gru_native.save` wrote."""

    cdef gn_model* handle
    cdef gn_model_info info
    cdef int type_number, x_type
    cdef readonly np.dtype dtype
    cdef np.npy_intp x_size  # of a row of x, -1 where it is a number

    def __cinit__(self, bytes content not None):
        cdef gn_error error
        cdef gn_file* file = NULL
        cdef gn_status status
        cdef const char* data = PyBytes_AS_STRING(content)
        cdef size_t size = <size_t>len(content)
        error.size = sizeof(error)
        with nogil:
            status = gn_file_read(data, size, &file, &error)
            if status == GN_OK:
                status = gn_model_create(file, &self.handle, &error)
            gn_file_destroy(file)
        done(status, &error)
        self.info.size = sizeof(self.info)
        done(gn_model_describe(self.handle, &self.info, &error), &error)
        self.type_number = np.NPY_FLOAT64 if self.info.type == GN_FLOAT64 else np.NPY_FLOAT32
        self.dtype = np.PyArray_DescrFromType(self.type_number)
        self.x_type = np.NPY_INT64 if self.info.indices else self.type_number
        self.x_size = -1 if self.info.indices else <np.npy_intp>self.info.input_size

    def __dealloc__(self):
        gn_model_destroy(self.handle)

    @property
    def input_size(self):
        return self.info.input_size

    @property
    def indices(self):
        return self.info.indices

    @property
    def output_size(self):
        return self.info.output_size

    @property
    def digest(self):
        return (<char*>self.info.digest)[:32]

    def states(self):
        """Return (name, elements of a row, whether it is int64) of each part of a state."""
        cdef gn_error error
        cdef gn_state state
        error.size, state.size = sizeof(error), sizeof(state)
        parts = []
        for place in range(self.info.states):
            done(gn_model_state(self.handle, place, &state, &error), &error)
            parts.append((state.name.decode(), state.elements, bool(state.is_whole)))
        return parts

    def snapshot_size(self, size_t rows):
        cdef gn_error error
        cdef size_t bytes = 0
        error.size = sizeof(error)
        done(gn_snapshot_size(self.handle, rows, &bytes, &error), &error)
        return bytes


cdef class Session:
    """Rows that go through a model together. A subclass converts what `step` cannot take as it is."""

    cdef gn_session* handle
    cdef readonly Model _model
    cdef np.npy_intp rows
    cdef bint keeps_gil

    def __cinit__(self, Model model not None, size_t batch, *args, **kwargs):
        cdef gn_error error
        error.size = sizeof(error)
        done(gn_session_create(model.handle, batch, &self.handle, &error), &error)
        self.rows, self._model = <np.npy_intp>batch, model
        self.keeps_gil = batch * model.info.work <= keeps_gil

    def __dealloc__(self):
        gn_session_destroy(self.handle)

    @property
    def batch(self):
        """The number of sequences."""
        return self.rows

    def step(self, x, out=None):
        """Take all sequences one step further.

        Parameters
        ----------
        x
            (B, I) in the model's dtype; behind an `Embedding` integers (B).
        out
            Where the result goes, (B, O): contiguous, in the model's dtype, apart from `x`.

        Returns
        -------
        y : (B, O)
        """
        cdef gn_error error
        cdef gn_status status
        cdef Model model = self._model
        cdef np.npy_intp size = <np.npy_intp>model.info.output_size
        cdef np.npy_intp[2] shape = [self.rows, size]
        if not fits_rows(x, model.x_type, self.rows, model.x_size):
            x = self._converted(x)
            if not fits_rows(x, model.x_type, self.rows, model.x_size):
                refuse("x")
        if out is None:
            out = new_matrix(model.dtype, shape)
        elif not fits_result(out, model.type_number, self.rows, size) or overlap(x, out):
            refuse_result(out, self.rows, model)
        cdef const void* data = np.PyArray_DATA(x)
        cdef void* to = np.PyArray_DATA(out)
        error.size = sizeof(error)
        if self.keeps_gil:
            status = gn_session_step(self.handle, data, to, &error)
        else:
            with nogil:
                status = gn_session_step(self.handle, data, to, &error)
        if status != GN_OK:
            done(status, &error)
        return out

    # x (T, B, I) or (T, B), out (T, B, O).
    def _run(self, np.ndarray x not None, np.ndarray out not None, int threads):
        cdef gn_error error
        cdef gn_status status
        cdef Model model = self._model
        if (
            np.PyArray_TYPE(x) != model.x_type
            or not np.PyArray_ISCARRAY_RO(x)
            or np.PyArray_NDIM(x) != (3 if model.x_size >= 0 else 2)
            or np.PyArray_DIM(x, 1) != self.rows
            or (model.x_size >= 0 and np.PyArray_DIM(x, 2) != model.x_size)
        ):
            refuse("x")
        cdef np.npy_intp steps = np.PyArray_DIM(x, 0)
        cdef const void* data = np.PyArray_DATA(x)
        cdef void* to = np.PyArray_DATA(out)
        if (
            np.PyArray_TYPE(out) != model.type_number
            or not np.PyArray_ISCARRAY(out)
            or np.PyArray_SIZE(out) != steps * self.rows * <np.npy_intp>model.info.output_size
        ):
            refuse("out")
        error.size = sizeof(error)
        with nogil:
            status = gn_session_run(self.handle, steps, data, to, threads, &error)
        done(status, &error)

    def _reset(self, np.ndarray rows):
        cdef gn_error error
        error.size = sizeof(error)
        if rows is not None and not fits_rows(rows, np.NPY_BOOL, self.rows, -1):
            refuse("rows")
        done(
            gn_session_reset(self.handle, <const cbool*>np.PyArray_DATA(rows) if rows is not None else NULL, &error), &error
        )

    # Of (B, elements), as the model's `states` say.
    def _get(self, size_t place, np.ndarray to not None):
        cdef gn_error error
        self.check_part(place, to)
        error.size = sizeof(error)
        done(gn_session_get(self.handle, place, np.PyArray_DATA(to), &error), &error)

    def _set(self, size_t place, np.ndarray given not None):
        cdef gn_error error
        self.check_part(place, given)
        error.size = sizeof(error)
        done(gn_session_set(self.handle, place, np.PyArray_DATA(given), &error), &error)

    cdef int check_part(self, size_t place, np.ndarray array) except -1:
        cdef gn_error error
        cdef gn_state state
        error.size, state.size = sizeof(error), sizeof(state)
        done(gn_model_state(self._model.handle, place, &state, &error), &error)
        cdef int type_number = np.NPY_INT64 if state.is_whole else self._model.type_number
        if not fits_rows(array, type_number, self.rows, <np.npy_intp>state.elements):
            refuse("state")
        return 0

    def snapshot(self):
        """Return the states as bytes, which name the model: `restore` refuses them where weights are others."""
        cdef gn_error error
        cdef size_t size = self._model.snapshot_size(self.rows)
        cdef bytes made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        error.size = sizeof(error)
        done(gn_session_snapshot(self.handle, PyBytes_AS_STRING(made), size, &error), &error)
        return made

    def _restore(self, bytes snapshot not None):
        cdef gn_error error
        error.size = sizeof(error)
        done(
            gn_session_restore(self.handle, PyBytes_AS_STRING(snapshot), <size_t>len(snapshot), &error), &error
        )

    def _update(self, Model model not None):
        cdef gn_error error
        error.size = sizeof(error)
        done(gn_session_update(self.handle, model.handle, &error), &error)
        self._model = model


cdef class Pool:
    """Many rows, of which any take a step together."""

    cdef gn_pool* handle
    cdef readonly Model _model

    def __cinit__(self, Model model not None, size_t capacity, size_t shards, *args, **kwargs):
        cdef gn_error error
        error.size = sizeof(error)
        done(gn_pool_create(model.handle, capacity, shards, &self.handle, &error), &error)
        self._model = model

    def __dealloc__(self):
        gn_pool_destroy(self.handle)

    cdef gn_pool_info described(self) except *:
        cdef gn_error error
        cdef gn_pool_info info
        error.size, info.size = sizeof(error), sizeof(info)
        done(gn_pool_describe(self.handle, &info, &error), &error)
        return info

    def _info(self):
        """Return capacity, open sequences, shards and bytes."""
        cdef gn_pool_info info = self.described()
        return info.capacity, info.open, info.shards, info.bytes

    def _open(self, int shard):
        cdef gn_error error
        cdef uint64_t id = 0
        error.size = sizeof(error)
        done(gn_pool_open(self.handle, shard, &id, &error), &error)
        return id

    def _close(self, uint64_t id):
        cdef gn_error error
        error.size = sizeof(error)
        done(gn_pool_close(self.handle, id, &error), &error)

    def step(self, ids, x, out=None):
        """Take n sequences, in any order, one step further.

        Parameters
        ----------
        ids
            (n) identifiers of open sequences, each once; quickest as uint64.
        x
            (n, I) in the model's dtype; behind an `Embedding` integers (n).
        out
            Where the result goes, (n, O): contiguous, in the model's dtype, apart from the others.

        Returns
        -------
        y : (n, O)
        """
        cdef gn_error error
        cdef gn_status status
        cdef Model model = self._model
        cdef np.npy_intp size = <np.npy_intp>model.info.output_size
        if not fits_ids(ids):
            ids = self._ids(ids)
            if not fits_ids(ids):
                refuse("ids")
        cdef np.npy_intp rows = np.PyArray_DIM(ids, 0)
        cdef np.npy_intp[2] shape = [rows, size]
        if not fits_rows(x, model.x_type, rows, model.x_size):
            x = self._converted(x, rows)
            if not fits_rows(x, model.x_type, rows, model.x_size):
                refuse("x")
        if out is None:
            out = new_matrix(model.dtype, shape)
        elif not fits_result(out, model.type_number, rows, size) or overlap(x, out) or overlap(ids, out):
            refuse_result(out, rows, model)
        cdef const uint64_t* names = <const uint64_t*>np.PyArray_DATA(ids)
        cdef const void* data = np.PyArray_DATA(x)
        cdef void* to = np.PyArray_DATA(out)
        error.size = sizeof(error)
        if <size_t>rows * model.info.work <= keeps_gil:
            status = gn_pool_step(self.handle, rows, names, data, to, &error)
        else:
            with nogil:
                status = gn_pool_step(self.handle, rows, names, data, to, &error)
        if status != GN_OK:
            done(status, &error)
        return out

    def _reset(self, np.ndarray ids not None):
        cdef gn_error error
        if not fits_ids(ids):
            refuse("ids")
        error.size = sizeof(error)
        done(gn_pool_reset(self.handle, np.PyArray_SIZE(ids), <const uint64_t*>np.PyArray_DATA(ids), &error), &error)

    def _export(self, uint64_t id):
        cdef gn_error error
        cdef size_t size = self._model.snapshot_size(1)
        cdef bytes made = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>size)
        error.size = sizeof(error)
        done(gn_pool_snapshot(self.handle, id, PyBytes_AS_STRING(made), size, &error), &error)
        return made

    def _restore(self, bytes snapshot not None, int shard):
        cdef gn_error error
        cdef uint64_t id = 0
        error.size = sizeof(error)
        done(
            gn_pool_restore(
                self.handle, PyBytes_AS_STRING(snapshot), <size_t>len(snapshot), shard, &id, &error
            ),
            &error,
        )
        return id

    def _grow(self, size_t capacity):
        cdef gn_error error
        error.size = sizeof(error)
        done(gn_pool_grow(self.handle, capacity, &error), &error)

    def _update(self, Model model not None):
        cdef gn_error error
        error.size = sizeof(error)
        done(gn_pool_update(self.handle, model.handle, &error), &error)
        self._model = model
