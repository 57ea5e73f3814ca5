# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The calls whose overhead people feel: a layer over a sequence, under `gru_native.nn`, and a single step."""

cimport cython
cimport numpy as np
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libcpp cimport bool as cbool

import numpy

from gru_native import _core

np.import_array()

cdef object Weights32 = _core.RecurrentWeights32, Weights64 = _core.RecurrentWeights64

cdef extern from "bindings/interruption.h" namespace "gru::bindings":
    int translate_exception()

cdef extern from "layer.h" namespace "gru" nogil:
    cdef struct Layer:
        cbool float64
        int directions
        const void* weights[2]
        size_t steps, batch
        const int64_t* lengths
        const cbool* reset
        ptrdiff_t reset_step, reset_row
        const void* x
        ptrdiff_t x_step, x_row
        const void* h_0
        const void* c_0
        const void* mask
        void* output
        ptrdiff_t output_step, output_row
        void* h_n
        void* c_n
        double zoneout
        cbool zoneout_random
        uint64_t zoneout_keys[2]

    cdef struct LayerParameters:
        void* weight_ih
        void* weight_hh
        void* bias_ih
        void* bias_hh
        void* gamma_ih
        void* gamma_hh

    cdef struct LayerGradients:
        const void* d_output
        ptrdiff_t d_output_step, d_output_row
        const void* d_h_n
        const void* d_c_n
        void* d_x
        ptrdiff_t d_x_step, d_x_row
        void* d_h_0
        void* d_c_0
        LayerParameters parameters[2]

    cdef cppclass LayerShape:
        size_t input_size, hidden_size, gates, states
        cbool bias, normalized
        cbool operator==(const LayerShape&)

    cdef cppclass Flag "std::atomic<bool>":
        cbool load()
        cbool exchange(cbool value)

    cdef cppclass LayerTape:
        Flag used

    LayerShape layer_shape(const void* weights, cbool float64)
    void layer_forward(const Layer& layer, int threads) except +translate_exception
    void layer_forward_taped(const Layer& layer, LayerTape& tape, bint states, int threads) except +translate_exception
    void layer_gate(
        const Layer& layer,
        const LayerTape& tape,
        int direction,
        size_t gate,
        void* to,
        ptrdiff_t to_step,
        ptrdiff_t to_row,
    ) except +translate_exception
    void layer_backward(const Layer& layer, const LayerGradients& gradients, LayerTape& tape, int threads) except +translate_exception

cdef extern from "gru.h" namespace "gru" nogil:
    int default_threads()

cdef extern from "buffer.h" namespace "gru":
    const size_t least_kept

cdef extern from "bindings/kept_memory.h" namespace "gru::bindings":
    object make_kept_memory "gru::bindings::kept_memory"()

cdef extern from "numpy/arrayobject.h":
    object PyDataMem_SetHandler(object handler)

cdef object kept_memory = make_kept_memory()

cdef enum:
    MAX_THREADS = 256


# Checks. An array fits when the core can take it as it is; for all others Python's messages and conversions are there.

cdef inline bint fits(object array, int type_number, int dimensions) noexcept:
    return (
        np.PyArray_CheckExact(array)  # a subclass may mean more than its numbers, as a masked array does
        and np.PyArray_TYPE(array) == type_number
        and np.PyArray_NDIM(array) == dimensions
        and np.PyArray_ISBEHAVED_RO(array)
    )


cdef inline bint fits_matrix(object array, int type_number, np.npy_intp columns) noexcept:
    return (
        fits(array, type_number, 2) and np.PyArray_IS_C_CONTIGUOUS(array) and np.PyArray_DIM(array, 1) == columns
    )


cdef inline bint fits_states(object array, int type_number, np.npy_intp a, np.npy_intp b, np.npy_intp c) noexcept:
    return (
        fits(array, type_number, 3)
        and np.PyArray_IS_C_CONTIGUOUS(array)
        and np.PyArray_DIM(array, 0) == a
        and np.PyArray_DIM(array, 1) == b
        and np.PyArray_DIM(array, 2) == c
    )


cdef inline bint fits_sequence(object array, int type_number, np.npy_intp features) noexcept:
    return (
        fits(array, type_number, 3)
        and np.PyArray_DIM(array, 2) == features
        and (
            features <= 1
            or np.PyArray_STRIDE(array, 2) == np.PyArray_ITEMSIZE(array)
            or np.PyArray_SIZE(array) == 0
        )
    )


# The core checks the lengths themselves, of which it makes a copy.
cdef inline bint fits_lengths(object array, np.npy_intp batch) noexcept:
    return fits(array, np.NPY_INT64, 1) and np.PyArray_IS_C_CONTIGUOUS(array) and np.PyArray_DIM(array, 0) == batch


cdef inline bint fits_flags(object array, np.npy_intp a, np.npy_intp b) noexcept:
    return fits(array, np.NPY_BOOL, 2) and np.PyArray_DIM(array, 0) == a and np.PyArray_DIM(array, 1) == b


# Threads for a call, 0 for what Python has to look at.
cdef inline int thread_count(object threads) noexcept:
    cdef long count
    if threads is None:
        return min(default_threads(), MAX_THREADS)
    if type(threads) is not int:
        return 0
    try:
        count = threads
    except OverflowError:
        return 0
    return <int>count if 1 <= count <= MAX_THREADS else 0


def empty(shape, dtype):
    """Return an array whose values are not set, for results: its memory is kept for the next one when it is freed.

    The system clears every page that it hands out, which large results would else pay for in every call. Arguments and
    errors are those of `numpy.empty`.
    """
    others = PyDataMem_SetHandler(kept_memory)
    try:
        return numpy.empty(shape, dtype)
    finally:
        PyDataMem_SetHandler(others)


# The same; a small array comes straight from NumPy, which is quicker.
cdef np.ndarray new_of_shape(int type_number, int dimensions, np.npy_intp* shape):
    cdef size_t bytes = 4 if type_number == np.NPY_FLOAT32 else 8  # of an element, at most
    for axis in range(dimensions):
        bytes *= <size_t>shape[axis]
    if bytes < least_kept:
        return np.PyArray_EMPTY(dimensions, shape, type_number, 0)
    return empty(tuple([shape[axis] for axis in range(dimensions)]), np.PyArray_DescrFromType(type_number))


def empty_like(np.ndarray array not None):
    """Return `empty` of an array's shape and dtype, which is float32 or float64."""
    return new_of_shape(np.PyArray_TYPE(array), np.PyArray_NDIM(array), np.PyArray_DIMS(array))


cdef inline np.ndarray new_array(int type_number, np.npy_intp a, np.npy_intp b, np.npy_intp c):
    cdef np.npy_intp[3] shape = [a, b, c]
    return new_of_shape(type_number, 3, shape)


cdef inline np.ndarray new_matrix(int type_number, np.npy_intp a, np.npy_intp b):
    cdef np.npy_intp[2] shape = [a, b]
    return new_of_shape(type_number, 2, shape)


cdef inline np.ndarray new_vector(int type_number, np.npy_intp a):
    return new_of_shape(type_number, 1, &a)


# In elements.
cdef inline ptrdiff_t stride(np.ndarray array, int axis) noexcept:
    return np.PyArray_STRIDE(array, axis) // np.PyArray_ITEMSIZE(array)


cdef inline void* data_of(object array) noexcept:
    return NULL if array is None else np.PyArray_DATA(array)


# Adds an array under the first of some names that is not taken yet, and returns its data.
cdef inline void* added(dict arrays, tuple names, np.ndarray array):
    arrays[names[len(arrays)]] = array
    return np.PyArray_DATA(array)


# An array, or a copy of it, that nobody else can write to.
cdef inline np.ndarray constant(np.ndarray array):
    cdef np.ndarray copy
    if np.PyArray_ISWRITEABLE(array) or not np.PyArray_CHKFLAGS(array, np.NPY_ARRAY_OWNDATA):
        copy = new_of_shape(np.PyArray_TYPE(array), np.PyArray_NDIM(array), np.PyArray_DIMS(array))
        np.PyArray_CopyInto(copy, array)
        array = copy
        np.PyArray_CLEARFLAGS(array, np.NPY_ARRAY_WRITEABLE)
    return array


# (D, B, H), or None.
cdef inline bint fits_optional_states(
    object array, int type_number, np.npy_intp a, np.npy_intp b, np.npy_intp c
) noexcept:
    return array is None or fits_states(array, type_number, a, b, c)


def takes_place_of(array, np.ndarray present not None):
    """Return whether an array can take another's place: of its dtype and shape, contiguous, and for nobody to write."""
    return (
        fits(array, np.PyArray_TYPE(present), np.PyArray_NDIM(present))
        and np.PyArray_SAMESHAPE(array, present)
        and np.PyArray_IS_C_CONTIGUOUS(array)
        and np.PyArray_CHKFLAGS(array, np.NPY_ARRAY_OWNDATA)
        and not np.PyArray_ISWRITEABLE(array)
    )


# h and c of the LSTM's state, a pair. For what is none, something that fits nowhere.
cdef inline tuple pair(object state):
    if state is None:
        return None, None
    if type(state) is tuple and len(<tuple>state) == 2:
        return <tuple>state
    return False, False


@cython.final
cdef class RecurrentLayer:
    """One layer, in one direction or both, over a sequence.

    Parameters
    ----------
    weights
        What a pack function of `gru_native.functional` returned, for each direction.
    batch_first
        Whether x, output and their gradients have the batch as first axis.
    zoneout
        Share of the state that a step keeps, 0 to 1; 0 for the LSTM.
    """

    cdef tuple weights
    cdef Layer layer  # with what does not change from call to call
    cdef int type_number, directions, time_axis
    cdef np.npy_intp input_size, hidden_size, gates
    cdef bint bias, normalized, has_c

    def __cinit__(self, tuple weights, bint batch_first, double zoneout=0.0):
        cdef LayerShape shape
        if not 1 <= len(weights) <= 2:
            raise ValueError(f"weights: expected those of one direction or two, got {len(weights)}")
        first = weights[0]
        kind = type(first)
        if kind is not Weights32 and kind is not Weights64:
            raise TypeError(f"weights: expected what a pack function returns, got {kind.__name__}")
        self.weights = weights
        self.directions = len(weights)
        self.time_axis = 1 if batch_first else 0
        self.layer.float64 = kind is Weights64
        self.layer.directions = self.directions
        self.type_number = np.NPY_FLOAT64 if self.layer.float64 else np.NPY_FLOAT32
        self.layer.weights[0] = <const void*><uintptr_t>first.address
        shape = layer_shape(self.layer.weights[0], self.layer.float64)
        if self.directions == 2:
            second = weights[1]
            if type(second) is not kind:
                raise TypeError(f"weights: expected {kind.__name__} for both directions, got {type(second).__name__}")
            self.layer.weights[1] = <const void*><uintptr_t>second.address
            if not layer_shape(self.layer.weights[1], self.layer.float64) == shape:
                raise ValueError("weights: expected the same cell, sizes and parameters in both directions")
        self.input_size, self.hidden_size, self.gates = shape.input_size, shape.hidden_size, shape.gates
        self.has_c, self.bias, self.normalized = shape.states == 2, shape.bias, shape.normalized
        if not 0 <= zoneout <= (0 if self.has_c else 1):
            raise ValueError(f"zoneout: expected 0 to 1, and 0 for the LSTM, got {zoneout}")
        self.layer.zoneout = zoneout

    def __call__(self, x, state, lengths, reset, threads):
        """Return output and the last state, or None where an argument is not an array as the core takes it.

        x is (T, B, I), or (B, T, I) with `batch_first`, with a contiguous last axis; `state` (D, B, H) and contiguous, of
        the LSTM a tuple of two, or None; `lengths` (B) of int64 and contiguous or None; `reset` of bool and x's first
        two axes or None; `threads` None or 1 to 256.
        """
        cdef int count = thread_count(threads)
        cdef np.ndarray output, h_n, c_n
        cdef Layer call
        h_0, c_0 = pair(state) if self.has_c else (state, None)
        if not count or not self.accepts(x, h_0, c_0, lengths, reset):
            return None
        output = self.new_output(x)
        h_n, c_n = self.new_states(np.PyArray_DIM(x, 1 - self.time_axis))
        self.describe(&call, x, h_0, c_0, lengths, reset, output, h_n, c_n)
        with nogil:
            layer_forward(call, count)
        return output, (h_n, c_n) if self.has_c else h_n

    def forward(self, x, state, lengths, reset, mask, tuple zoneout_keys, str keep not None, threads):
        """Return output (read-only), the last state and a `RecurrentLayerTape`, or None as above.

        `mask` (D, B, H) and contiguous or None is what h is multiplied by where the hidden weights read it;
        `zoneout_keys`, one for each direction, make zoneout random; `keep` is what the tape keeps: "gates" or "states".
        """
        cdef bint states = keep == "states"
        cdef int count = thread_count(threads)
        cdef np.ndarray output, h_n, c_n
        cdef RecurrentLayerTape tape
        h_0, c_0 = pair(state) if self.has_c else (state, None)
        if not count or not self.accepts(x, h_0, c_0, lengths, reset):
            return None
        if not fits_optional_states(
            mask, self.type_number, self.directions, np.PyArray_DIM(x, 1 - self.time_axis), self.hidden_size
        ):
            return None
        given = x
        x = constant(x)
        if h_0 is not None:
            h_0 = constant(h_0)
        if mask is not None:
            mask = constant(mask)
        output = self.new_output(x)
        h_n, c_n = self.new_states(np.PyArray_DIM(x, 1 - self.time_axis))
        tape = RecurrentLayerTape()
        tape.layer = self
        tape.arrays = (x, h_0, mask, output)
        tape.owns_x = x is not given
        tape.states = states
        self.describe(&tape.call, x, h_0, c_0, lengths, reset, output, h_n, c_n)
        tape.call.mask = data_of(mask)
        if zoneout_keys is not None:
            tape.call.zoneout_random = True
            for direction, own in enumerate(zoneout_keys[: self.directions]):
                tape.call.zoneout_keys[direction] = own
        with nogil:
            layer_forward_taped(tape.call, tape.gates_of_directions, states, count)
        np.PyArray_CLEARFLAGS(output, np.NPY_ARRAY_WRITEABLE)
        return output, (h_n, c_n) if self.has_c else h_n, tape

    cdef bint accepts(self, object x, object h_0, object c_0, object lengths, object reset):
        cdef np.npy_intp batch
        if not fits_sequence(x, self.type_number, self.input_size):
            return False
        batch = np.PyArray_DIM(x, 1 - self.time_axis)
        return (
            fits_optional_states(h_0, self.type_number, self.directions, batch, self.hidden_size)
            and fits_optional_states(c_0, self.type_number, self.directions, batch, self.hidden_size)
            and (lengths is None or fits_lengths(lengths, batch))
            and (reset is None or fits_flags(reset, np.PyArray_DIM(x, 0), np.PyArray_DIM(x, 1)))
        )

    # h_n, and c_n or None.
    cdef tuple new_states(self, np.npy_intp batch):
        h_n = new_array(self.type_number, self.directions, batch, self.hidden_size)
        if not self.has_c:
            return h_n, None
        return h_n, new_array(self.type_number, self.directions, batch, self.hidden_size)

    cdef np.ndarray new_output(self, np.ndarray x):
        return new_array(
            self.type_number, np.PyArray_DIM(x, 0), np.PyArray_DIM(x, 1), self.directions * self.hidden_size
        )

    cdef void describe(
        self,
        Layer* call,
        np.ndarray x,
        object h_0,
        object c_0,
        object lengths,
        object reset,
        np.ndarray output,
        object h_n,
        object c_n,
    ):
        cdef int time_axis = self.time_axis
        call[0] = self.layer
        call.steps = np.PyArray_DIM(x, time_axis)
        call.batch = np.PyArray_DIM(x, 1 - time_axis)
        call.lengths = <const int64_t*>data_of(lengths)
        call.reset = <const cbool*>data_of(reset)
        if reset is not None:
            call.reset_step = stride(reset, time_axis)
            call.reset_row = stride(reset, 1 - time_axis)
        call.x = np.PyArray_DATA(x)
        call.x_step = stride(x, time_axis)
        call.x_row = stride(x, 1 - time_axis)
        call.h_0 = data_of(h_0)
        call.c_0 = data_of(c_0)
        call.output = np.PyArray_DATA(output)
        call.output_step = stride(output, time_axis)
        call.output_row = stride(output, 1 - time_axis)
        call.h_n = data_of(h_n)
        call.c_n = data_of(c_n)


@cython.final
cdef class RecurrentLayerTape:
    """What `RecurrentLayer.forward` keeps for the gradients. It serves once."""

    cdef RecurrentLayer layer
    cdef LayerTape gates_of_directions
    cdef Layer call
    cdef tuple arrays  # that the call points into
    cdef bint owns_x
    cdef bint states

    def gates(self):
        """Return for each direction a list of its gates over all steps, of the output's shape for one direction."""
        cdef RecurrentLayer layer = self.layer
        cdef int time_axis
        cdef np.ndarray array
        cdef np.npy_intp batch = self.call.batch, steps = self.call.steps
        if layer is None:
            raise ValueError("tape: expected what forward returned, got an empty one")
        time_axis = layer.time_axis
        found = [
            [
                new_array(
                    layer.type_number, batch if time_axis else steps, steps if time_axis else batch, layer.hidden_size
                )
                for _ in range(layer.gates)
            ]
            for _ in range(layer.directions)
        ]
        # From here on the interpreter's lock is kept: no backward pass can begin meanwhile.
        if self.gates_of_directions.used.load() or self.states:
            raise ValueError("tape: expected one that keeps the gates and was not used")
        for direction, own in enumerate(found):
            for gate, array in enumerate(own):
                if np.PyArray_SIZE(array):
                    layer_gate(
                        self.call,
                        self.gates_of_directions,
                        direction,
                        gate,
                        np.PyArray_DATA(array),
                        stride(array, time_axis),
                        stride(array, 1 - time_axis),
                    )
        return found

    def backward(self, d_output, d_final, tuple names not None, threads):
        """Return d_x, that of the first state and those of the parameters, or None where an argument does not fit.

        d_output is of the output's shape with a contiguous last axis, or None; d_final is as the last state, or None.
        The parameters' are a dictionary under `names`: weight_ih (G H, I), weight_hh (G H, H), with biases bias_ih and
        bias_hh (G H), and with layer normalization gamma_ih and gamma_hh (G H), for each direction.
        """
        cdef int count = thread_count(threads)
        cdef int type_number, time_axis, directions
        cdef np.npy_intp batch = self.call.batch, steps = self.call.steps, gates
        cdef RecurrentLayer layer = self.layer
        cdef LayerGradients gradients
        cdef LayerParameters* own
        cdef np.ndarray d_x, d_h_0, d_c_0
        if layer is None:
            raise ValueError("tape: expected what forward returned, got an empty one")
        type_number, time_axis, directions = layer.type_number, layer.time_axis, layer.directions
        gates = layer.gates * layer.hidden_size
        d_h_n, d_c_n = pair(d_final) if layer.has_c else (d_final, None)
        if not count or not self.accepts(d_output, d_h_n, d_c_n):
            return None
        expected = directions * (2 + (2 if layer.bias else 0) + (2 if layer.normalized else 0))
        if len(names) != expected or len(set(names)) != expected:
            raise ValueError(f"names: expected {expected} different ones, got {names}")
        if self.gates_of_directions.used.exchange(True):
            raise RuntimeError("tape: it was used by an earlier backward, which overwrites it; run forward again")
        gradients.d_output = data_of(d_output)
        if d_output is not None:
            gradients.d_output_step = stride(d_output, time_axis)
            gradients.d_output_row = stride(d_output, 1 - time_axis)
        gradients.d_h_n = data_of(d_h_n)
        gradients.d_c_n = data_of(d_c_n)
        if self.owns_x and directions == 1:
            d_x = self.arrays[0]  # the copy of x has served once the gradient of x is written, and nobody else has it
            np.PyArray_ENABLEFLAGS(d_x, np.NPY_ARRAY_WRITEABLE)
        else:
            d_x = new_array(type_number, batch if time_axis else steps, steps if time_axis else batch, layer.input_size)
        gradients.d_x = np.PyArray_DATA(d_x)
        gradients.d_x_step = stride(d_x, time_axis)
        gradients.d_x_row = stride(d_x, 1 - time_axis)
        d_h_0, d_c_0 = layer.new_states(batch)
        gradients.d_h_0 = data_of(d_h_0)
        gradients.d_c_0 = data_of(d_c_0)
        parameters = {}
        for direction in range(directions):
            own = &gradients.parameters[direction]
            own[0] = LayerParameters(NULL, NULL, NULL, NULL, NULL, NULL)
            own.weight_ih = added(parameters, names, new_matrix(type_number, gates, layer.input_size))
            own.weight_hh = added(parameters, names, new_matrix(type_number, gates, layer.hidden_size))
            if layer.bias:
                own.bias_ih = added(parameters, names, new_vector(type_number, gates))
                own.bias_hh = added(parameters, names, new_vector(type_number, gates))
            if layer.normalized:
                own.gamma_ih = added(parameters, names, new_vector(type_number, gates))
                own.gamma_hh = added(parameters, names, new_vector(type_number, gates))
        with nogil:
            layer_backward(self.call, gradients, self.gates_of_directions, count)
        return d_x, (d_h_0, d_c_0) if layer.has_c else d_h_0, parameters

    cdef bint accepts(self, object d_output, object d_h_n, object d_c_n):
        cdef RecurrentLayer layer = self.layer
        cdef np.npy_intp batch = self.call.batch, steps = self.call.steps
        if d_output is not None and (
            not fits_sequence(d_output, layer.type_number, layer.directions * layer.hidden_size)
            or np.PyArray_DIM(d_output, layer.time_axis) != steps
            or np.PyArray_DIM(d_output, 1 - layer.time_axis) != batch
        ):
            return False
        return fits_optional_states(
            d_h_n, layer.type_number, layer.directions, batch, layer.hidden_size
        ) and fits_optional_states(d_c_n, layer.type_number, layer.directions, batch, layer.hidden_size)


@cython.final
cdef class RecurrentStep:
    """A layer's single step on the calling thread: ``step(x, state)`` gives the next state.

    Parameters
    ----------
    layer
        A layer of one direction.
    """

    cdef RecurrentLayer layer
    cdef Layer call  # with what does not change from call to call

    def __cinit__(self, RecurrentLayer layer not None):
        if layer.directions != 1:
            raise ValueError(f"layer: expected one of one direction, got {layer.directions}")
        self.layer = layer
        self.call = layer.layer
        self.call.steps = 1
        self.call.x_row = layer.input_size
        self.call.output_row = layer.hidden_size

    def __call__(self, x, state):
        """Return the next state from x (B, I) and a state, or None unless all are C-contiguous arrays of the dtype.

        A state is h (B, H), of the LSTM a tuple (h, c).
        """
        cdef RecurrentLayer layer = self.layer
        cdef np.ndarray h_1, c_1
        cdef Layer call
        cdef object h_0 = state, c_0 = None
        if layer.has_c:
            h_0, c_0 = pair(state)
        if not fits_matrix(x, layer.type_number, layer.input_size) or not self.fits_state(h_0, x):
            return None
        h_1 = new_matrix(layer.type_number, np.PyArray_DIM(x, 0), layer.hidden_size)
        call = self.call
        call.batch = np.PyArray_DIM(x, 0)
        call.x = np.PyArray_DATA(x)
        call.h_0 = np.PyArray_DATA(h_0)
        call.output = call.h_n = np.PyArray_DATA(h_1)
        if not layer.has_c:
            with nogil:
                layer_forward(call, 1)
            return h_1
        if not self.fits_state(c_0, x):
            return None
        c_1 = new_matrix(layer.type_number, np.PyArray_DIM(x, 0), layer.hidden_size)
        call.c_0 = np.PyArray_DATA(c_0)
        call.c_n = np.PyArray_DATA(c_1)
        with nogil:
            layer_forward(call, 1)
        return h_1, c_1

    cdef bint fits_state(self, object array, object x):
        return (
            fits_matrix(array, self.layer.type_number, self.layer.hidden_size)
            and np.PyArray_DIM(array, 0) == np.PyArray_DIM(x, 0)
        )
