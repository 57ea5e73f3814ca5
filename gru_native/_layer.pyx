# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The calls whose overhead people feel: a layer over a sequence, its gradients, and a single step."""

cimport cython
cimport numpy as np
from libc.stdint cimport int64_t
from libc.string cimport memset

import numpy

np.import_array()

from gru_native cimport *

cdef extern from "kept_memory.h" namespace "gru::bindings":
    object make_kept_memory "gru::bindings::kept_memory"()

cdef extern from "numpy/arrayobject.h":
    object PyDataMem_SetHandler(object handler)

cdef object kept_memory = make_kept_memory()
cdef size_t least_kept = gn_least_kept()

# In the order of gn_cell.
CELLS = ("gru_reset_after", "gru_reset_before", "gru_layer_norm", "lstm", "rnn_tanh", "rnn_relu")
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "gamma_ih", "gamma_hh", "peephole", "weight_hr")
# In the order of gn_function, behind the usual ones.
FUNCTIONS = (
    "sigmoid", "tanh", "relu", "linear", "hard_sigmoid", "leaky_relu", "elu", "softsign", "softplus", "scaled_tanh",
    "thresholded_relu",
)
cdef enum:
    parameter_count = 8


class Unfit(ValueError):
    """An argument is not an array as the core takes it, nor anything else that it takes as it is."""


cdef int refuse(str name) except -1:
    raise Unfit(f"{name}: expected what the core takes as it is, and as it stays during the call, got something else")


MAX_THREADS = GN_MAX_THREADS


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


cdef inline bint fits_shape(object array, int type_number, np.npy_intp a, np.npy_intp b, np.npy_intp c) noexcept:
    return fits_sequence(array, type_number, c) and np.PyArray_DIM(array, 0) == a and np.PyArray_DIM(array, 1) == b


# The core checks the lengths themselves, of which it makes a copy.
cdef inline bint fits_lengths(object array, np.npy_intp batch) noexcept:
    return fits(array, np.NPY_INT64, 1) and np.PyArray_IS_C_CONTIGUOUS(array) and np.PyArray_DIM(array, 0) == batch


cdef inline bint fits_flags(object array, np.npy_intp a, np.npy_intp b) noexcept:
    return fits(array, np.NPY_BOOL, 2) and np.PyArray_DIM(array, 0) == a and np.PyArray_DIM(array, 1) == b


# Threads for a call, 0 for the default.
cdef inline int thread_count(object threads) except -1:
    if threads is None:
        return 0
    if type(threads) is not int or not 1 <= threads <= GN_MAX_THREADS:
        refuse("threads")
    return threads


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


cpdef bint is_constant(object array):
    """Return whether nobody can write to an array: it and all that it is a view of are read-only."""
    while np.PyArray_Check(array) and not np.PyArray_ISWRITEABLE(array):
        array = np.get_array_base(array)
    return array is None


# An array, or a copy of it, that nobody else can write to.
cdef inline np.ndarray constant(np.ndarray array):
    cdef np.ndarray copy
    if not is_constant(array):
        copy = new_of_shape(np.PyArray_TYPE(array), np.PyArray_NDIM(array), np.PyArray_DIMS(array))
        np.PyArray_CopyInto(copy, array)
        array = copy
        np.PyArray_CLEARFLAGS(array, np.NPY_ARRAY_WRITEABLE)
    return array


def takes_place_of(array, np.ndarray present not None):
    """Return whether an array can take another's place: of its dtype and shape, contiguous, and for nobody to write."""
    return (
        fits(array, np.PyArray_TYPE(present), np.PyArray_NDIM(present))
        and np.PyArray_SAMESHAPE(array, present)
        and np.PyArray_IS_C_CONTIGUOUS(array)
        and np.PyArray_CHKFLAGS(array, np.NPY_ARRAY_OWNDATA)
        and not np.PyArray_ISWRITEABLE(array)
    )


# The two arrays of the LSTM's state.
cdef inline tuple pair(object state, str name):
    if type(state) is not tuple or len(<tuple>state) != 2:
        refuse(name)
    return <tuple>state


# What the core reads and writes: strides of the first two axes, in their order or turned.
cdef inline gn_input to_read(object array, bint turned=False) noexcept:
    cdef gn_input view = gn_input(NULL, [0, 0])
    if array is not None:
        view.data = np.PyArray_DATA(array)
        view.stride[0], view.stride[1] = stride(array, turned), stride(array, not turned)
    return view


cdef inline gn_output to_write(object array, bint turned=False) noexcept:
    cdef gn_input view = to_read(array, turned)
    return gn_output(<void*>view.data, [view.stride[0], view.stride[1]])


@cython.final
cdef class RecurrentWeights:
    """The weights of one layer in one direction, as the kernels will read them: packed when they are first needed.

    Parameters
    ----------
    cell
        Its name, one of `CELLS`.
    parameters
        weight_ih (G H, I), weight_hh (G H, P), and, or None, bias_ih, bias_hh, gamma_ih, gamma_hh (G H), peephole
        (3, H), weight_hr (P, H), without which P is H: contiguous, of one dtype. Nobody may write to the matrices, which
        are not copied.
    activations
        Those that are not the usual ones, in the order of the core: (name, alpha, beta), the name one of `FUNCTIONS`.
    clip
        What activations take is between this and its negative; 0 for no bounds.
    input_forget
        Whether an LSTM's f is 1 - i.
    """

    cdef gn_weights* handle
    cdef gn_weights_info info
    cdef tuple arrays
    cdef int type_number
    cdef bint present[parameter_count]
    cdef readonly str cell
    cdef readonly Py_ssize_t gates, states, input_size, hidden_size, output_size
    cdef readonly tuple parameters

    def __cinit__(
        self, str cell not None, tuple parameters not None, tuple activations=(), double clip=0.0, bint input_forget=False
    ):
        cdef gn_weights_options options
        cdef gn_error error
        cdef gn_status status
        cdef const void* data[parameter_count]
        error.size = sizeof(error)
        if cell not in CELLS or len(parameters) != parameter_count or len(activations) > 3:
            raise ValueError(f"cell: expected one of {CELLS} and {parameter_count} arrays, got {cell} and {len(parameters)}")
        weight_ih, weight_hh, *_, weight_hr = parameters
        self.type_number = np.NPY_FLOAT64 if fits(weight_ih, np.NPY_FLOAT64, 2) else np.NPY_FLOAT32
        memset(&options, 0, sizeof(options))
        options.size = sizeof(options)
        options.cell = <gn_cell><int>CELLS.index(cell)
        options.type = GN_FLOAT64 if self.type_number == np.NPY_FLOAT64 else GN_FLOAT32
        if not fits(weight_ih, self.type_number, 2) or not fits(weight_hh, self.type_number, 2):
            refuse("parameters")
        self.gates = gn_cell_gates(options.cell)
        self.input_size, self.output_size = np.PyArray_DIM(weight_ih, 1), np.PyArray_DIM(weight_hh, 1)
        self.hidden_size = np.PyArray_DIM(weight_hh, 0) // self.gates
        if weight_hr is not None:
            options.projection_size = self.output_size
        elif self.output_size != self.hidden_size:
            refuse("weight_hh")
        for place, array in enumerate(parameters):
            if array is not None and not self.fits_parameter(array, place):
                refuse(PARAMETERS[place])
            data[place], self.present[place] = data_of(array), array is not None
        options.input_size, options.hidden_size = self.input_size, self.hidden_size
        options.parameters = gn_parameters(
            data[0], data[1], data[2], data[3], data[4], data[5], data[6], data[7]
        )
        for place, (name, alpha, beta) in enumerate(activations):
            options.activations[place] = gn_activation(<gn_function><int>(FUNCTIONS.index(name) + 1), alpha, beta)
        options.clip, options.input_forget = clip, input_forget
        with nogil:
            status = gn_weights_create(&options, &self.handle, &error)
        check(status, &error)
        self.info.size = sizeof(self.info)
        check(gn_weights_describe(self.handle, &self.info, &error), &error)
        self.arrays = weight_ih, weight_hh, weight_hr  # which the core refers to
        self.cell, self.states = cell, self.info.states
        self.parameters = tuple([name for name, array in zip(PARAMETERS, parameters) if array is not None])

    def __dealloc__(self):
        gn_weights_destroy(self.handle)

    # The first axis of a parameter, and its second one, or -1 for none.
    cdef (np.npy_intp, np.npy_intp) shape_of(self, int kind) noexcept:
        rows = self.gates * self.hidden_size
        if kind == 0:
            return rows, self.input_size
        if kind == 1:
            return rows, self.output_size
        if kind == 6:
            return 3, self.hidden_size
        if kind == 7:
            return self.output_size, self.hidden_size
        return rows, -1

    cdef bint fits_parameter(self, object array, int kind) noexcept:
        rows, columns = self.shape_of(kind)
        return (
            fits(array, self.type_number, 1 if columns < 0 else 2)
            and np.PyArray_IS_C_CONTIGUOUS(array)
            and np.PyArray_DIM(array, 0) == rows
            and (columns < 0 or np.PyArray_DIM(array, 1) == columns)
        )

    # For the gradient of a parameter.
    cdef np.ndarray new_parameter(self, int kind):
        rows, columns = self.shape_of(kind)
        return new_vector(self.type_number, rows) if columns < 0 else new_matrix(self.type_number, rows, columns)

    @property
    def dtype(self):
        return np.PyArray_DescrFromType(self.type_number)

    @property
    def isa(self):
        """The instruction set that they are packed for."""
        return self.info.isa.decode()


@cython.final
cdef class RecurrentLayer:
    """One layer, in one direction or both, over a sequence.

    Its calls take arrays that the core can take as they are, and say `Unfit` of all others: of the weights' dtype,
    aligned, with a contiguous last axis. x is (T, B, I), or (B, T, I) with `batch_first`; a state is (D, B, H), of the
    LSTM a tuple of two; lengths are (B) of int64 and contiguous; resets are of bool and have x's first two axes;
    threads are 1 to 256. None stands for none, or the default.

    Parameters
    ----------
    weights
        Those of each direction.
    batch_first
        Whether x, output and their gradients have the batch as first axis.
    zoneout
        Share of the state that a step keeps, 0 to 1; 0 for the LSTM.
    reverse
        Whether a layer of one direction runs from the last step to the first.
    """

    cdef tuple weights
    cdef gn_call call  # with what does not change from call to call
    cdef int type_number, directions
    cdef bint batch_first, has_c
    cdef np.npy_intp input_size, hidden_size, output_size

    def __cinit__(self, tuple weights not None, bint batch_first, double zoneout=0.0, bint reverse=False):
        cdef RecurrentWeights own, first
        if not 1 <= len(weights) <= 2:
            raise ValueError(f"weights: expected those of one direction or two, got {len(weights)}")
        for direction, own in enumerate(weights):
            if own is None:
                raise TypeError("weights: expected what a pack function returned, got None")
            self.call.weights[direction] = own.handle
        first = weights[0]
        if (own.cell, own.dtype, own.input_size, own.hidden_size, own.output_size, own.parameters) != (
            first.cell, first.dtype, first.input_size, first.hidden_size, first.output_size, first.parameters
        ):
            raise ValueError("weights: expected the same cell, dtype, sizes and parameters in both directions")
        self.weights, self.directions = weights, len(weights)
        self.type_number, self.has_c = first.type_number, first.states == 2
        self.input_size, self.hidden_size, self.output_size = first.input_size, first.hidden_size, first.output_size
        self.batch_first = batch_first
        if not 0 <= zoneout <= (0 if self.has_c else 1):
            raise ValueError(f"zoneout: expected 0 to 1, and 0 for the LSTM, got {zoneout}")
        self.call.size = sizeof(gn_call)
        self.call.zoneout, self.call.reverse = zoneout, reverse

    def __call__(self, x, state, lengths, reset, threads, mask=None, output=None, final=None):
        """Return output and the last state, in `output` and `final` where they are given.

        `mask` is as a state's h: what h is multiplied by where the hidden weights read it.
        """
        cdef gn_call call = self.call
        self.read(&call, x, state, lengths, reset, mask, threads)
        output = self.output_of(&call, x, output)
        final = self.final_of(&call, final)
        self.run(&call)
        return output, final

    def forward(
        self, x, state, lengths, reset, mask, tuple zoneout_keys, str keep not None, threads, output=None, final=None
    ):
        """Return output (read-only, unless it was given), the last state and a `RecurrentLayerTape`.

        `zoneout_keys`, one for each direction, make zoneout random; `keep` is what the tape keeps: "gates" or "states".
        """
        cdef RecurrentLayerTape tape = RecurrentLayerTape()
        cdef gn_error error
        cdef gn_call* call = &tape.call
        cdef bint is_new = output is None
        error.size = sizeof(error)
        call[0] = self.call
        self.read(call, x, state, lengths, reset, mask, threads)
        # Backward reads these again.
        given, x = x, constant(x)
        h_0 = (<tuple>state)[0] if self.has_c and state is not None else state
        if h_0 is not None:
            h_0 = constant(h_0)
        if mask is not None:
            mask = constant(mask)
        call.x, call.h_0, call.mask = to_read(x, self.batch_first), to_read(h_0), to_read(mask)
        output = self.output_of(call, x, output)
        final = self.final_of(call, final)
        call.keep = GN_KEEP_STATES if keep == "states" else GN_KEEP_GATES
        if zoneout_keys is not None:
            call.zoneout_is_random = True
            if len(zoneout_keys) != self.directions:
                refuse("zoneout_keys")
            for direction, key in enumerate(zoneout_keys):
                if type(key) is not int or not 0 <= key < 1 << 64:
                    refuse("zoneout_keys")
                call.zoneout_key[direction] = key
        check(gn_tape_size(call, &call.tape_size, &error), &error)
        call.tape = gn_allocate(call.tape_size)
        if call.tape == NULL:
            raise MemoryError
        self.run(call)
        tape.layer, tape.arrays, tape.owns_x = self, (x, h_0, mask, output), x is not given
        if is_new:
            np.PyArray_CLEARFLAGS(output, np.NPY_ARRAY_WRITEABLE)
        return output, final, tape

    cdef int run(self, gn_call* call) except -1:
        cdef gn_error error
        cdef gn_status status
        error.size = sizeof(error)
        with nogil:
            status = gn_forward(call, &error)
        return check(status, &error)

    # What a call reads.
    cdef int read(self, gn_call* call, x, state, lengths, reset, mask, threads) except -1:
        cdef bint turned = self.batch_first
        call.threads = thread_count(threads)
        if not fits_sequence(x, self.type_number, self.input_size):
            return refuse("x")
        call.steps, call.batch = np.PyArray_DIM(x, turned), np.PyArray_DIM(x, not turned)
        call.x = to_read(x, turned)
        if state is not None and self.has_c:
            h_0, c_0 = pair(state, "state")
            call.h_0 = self.state_of(h_0, call.batch, self.output_size, "state")
            call.c_0 = self.state_of(c_0, call.batch, self.hidden_size, "state")
        elif state is not None:
            call.h_0 = self.state_of(state, call.batch, self.output_size, "state")
        if mask is not None:
            call.mask = self.state_of(mask, call.batch, self.output_size, "mask")
        if lengths is not None:
            if not fits_lengths(lengths, call.batch):
                return refuse("lengths")
            call.lengths = <const int64_t*>np.PyArray_DATA(lengths)
        if reset is not None:
            if not fits_flags(reset, np.PyArray_DIM(x, 0), np.PyArray_DIM(x, 1)):
                return refuse("reset")
            call.reset = to_read(reset, turned)
        return 0

    cdef gn_input state_of(self, object array, np.npy_intp batch, np.npy_intp units, str name) except *:
        if array is not None and not fits_shape(array, self.type_number, self.directions, batch, units):
            refuse(name)
        return to_read(array)

    # Where a call writes its output, of x's first two axes.
    cdef np.ndarray output_of(self, gn_call* call, np.ndarray x, object given):
        cdef np.npy_intp a = np.PyArray_DIM(x, 0), b = np.PyArray_DIM(x, 1), units = self.directions * self.output_size
        if given is None:
            given = new_array(self.type_number, a, b, units)
        elif not fits_shape(given, self.type_number, a, b, units) or not np.PyArray_ISWRITEABLE(given):
            refuse("output")
        call.output = to_write(given, self.batch_first)
        return given

    # Where a call writes the last state.
    cdef object final_of(self, gn_call* call, object given):
        if given is None:
            given = self.new_state(call.batch)
        if self.has_c:
            h_n, c_n = pair(given, "final")
            call.h_n = self.written(h_n, call.batch, self.output_size)
            call.c_n = self.written(c_n, call.batch, self.hidden_size)
        else:
            call.h_n = self.written(given, call.batch, self.output_size)
        return given

    cdef gn_output written(self, object array, np.npy_intp batch, np.npy_intp units) except *:
        if array is not None and (
            not fits_shape(array, self.type_number, self.directions, batch, units)
            or not np.PyArray_ISWRITEABLE(array)
        ):
            refuse("final")
        return to_write(array)

    cdef object new_state(self, np.npy_intp batch):
        h = new_array(self.type_number, self.directions, batch, self.output_size)
        return (h, new_array(self.type_number, self.directions, batch, self.hidden_size)) if self.has_c else h


@cython.final
cdef class RecurrentLayerTape:
    """What `RecurrentLayer.forward` keeps for the gradients. It serves once."""

    cdef RecurrentLayer layer
    cdef gn_call call
    cdef tuple arrays  # that the call points into
    cdef bint owns_x

    def __dealloc__(self):
        gn_release(self.call.tape, self.call.tape_size)

    @property
    def nbytes(self):
        return self.call.tape_size

    @property
    def weights(self):
        """Those of each direction."""
        return self.made_for().weights

    @property
    def x(self):
        """What backward reads again: the x that forward was given, or a copy of it."""
        return self.arrays[0]

    cdef RecurrentLayer made_for(self):
        if self.layer is None:
            raise ValueError("tape: expected what forward returned, got an empty one")
        return self.layer

    # An array of the layout of x, (T, B, features) or turned.
    cdef np.ndarray new_sequence(self, np.npy_intp features):
        cdef np.npy_intp steps = self.call.steps, batch = self.call.batch
        if self.layer.batch_first:
            return new_array(self.layer.type_number, batch, steps, features)
        return new_array(self.layer.type_number, steps, batch, features)

    def gates(self):
        """Return for each direction a list of its gates over all steps, of the output's shape for one direction."""
        cdef RecurrentLayer layer = self.made_for()
        cdef RecurrentWeights weights = layer.weights[0]
        cdef gn_error error
        cdef gn_output out
        error.size = sizeof(error)
        found = []
        for direction in range(layer.directions):
            found.append([])
            for gate in range(weights.gates):
                array = self.new_sequence(layer.hidden_size)
                out = to_write(array, layer.batch_first)
                check(gn_copy_gate(&self.call, direction, gate, &out, &error), &error)
                found[direction].append(array)
        return found

    def backward(self, d_output, d_final, tuple names not None, threads, d_x=None, bint accumulate=False):
        """Return d_x, that of the first state and those of the parameters.

        d_output is of the output's shape, or None; d_final is as the last state, or None. The parameters' are a
        dictionary under `names`, for each direction those of the weights. d_x is written to the array that is given,
        or with `accumulate` added to it.
        """
        cdef RecurrentLayer layer = self.made_for()
        cdef RecurrentWeights weights = layer.weights[0]
        cdef bint turned = layer.batch_first
        cdef np.npy_intp batch = self.call.batch, a, b
        cdef Py_ssize_t place
        cdef gn_call forward = self.call
        cdef gn_backward_call call
        cdef gn_error error
        cdef gn_status status
        cdef void* data[parameter_count]
        cdef int direction, kind
        cdef np.ndarray array
        expected = layer.directions * len(weights.parameters)
        if len(names) != expected or len(set(names)) != expected:
            raise ValueError(f"names: expected {expected} different ones, got {names}")
        forward.threads = thread_count(threads)
        a, b = np.PyArray_DIM(self.arrays[0], 0), np.PyArray_DIM(self.arrays[0], 1)
        memset(&call, 0, sizeof(call))
        error.size, call.size, call.forward = sizeof(error), sizeof(call), &forward
        if d_output is not None and not fits_shape(
            d_output, layer.type_number, a, b, layer.directions * layer.output_size
        ):
            refuse("d_output")
        call.d_output = to_read(d_output, turned)
        d_h_n, d_c_n = d_final, None
        if layer.has_c and d_final is not None:
            d_h_n, d_c_n = pair(d_final, "d_final")
        call.d_h_n = layer.state_of(d_h_n, batch, layer.output_size, "d_final")
        call.d_c_n = layer.state_of(d_c_n, batch, layer.hidden_size, "d_final")
        gradients, place = {}, 0
        for direction in range(layer.directions):
            for kind in range(parameter_count):
                data[kind] = NULL
                if weights.present[kind]:
                    array = weights.new_parameter(kind)
                    data[kind] = np.PyArray_DATA(array)
                    gradients[names[place]] = array
                    place += 1
            call.gradients[direction] = gn_gradients(
                data[0], data[1], data[2], data[3], data[4], data[5], data[6], data[7]
            )
        d_state = layer.new_state(batch)
        d_h_0, d_c_0 = pair(d_state, "d_state") if layer.has_c else (d_state, None)
        call.d_h_0, call.d_c_0 = to_write(d_h_0), to_write(d_c_0)
        if d_x is None and self.owns_x and layer.directions == 1:
            d_x = self.arrays[0]  # the copy of x has served once the gradient of x is written, and nobody else has it
            np.PyArray_ENABLEFLAGS(d_x, np.NPY_ARRAY_WRITEABLE)
        elif d_x is None:
            d_x = self.new_sequence(layer.input_size)
        elif not fits_shape(d_x, layer.type_number, a, b, layer.input_size) or not np.PyArray_ISWRITEABLE(d_x):
            refuse("d_x")
        call.d_x, call.accumulate_d_x = to_write(d_x, turned), accumulate
        with nogil:
            status = gn_backward(&call, &error)
        check(status, &error)
        self.owns_x = False
        return d_x, d_state, gradients


@cython.final
cdef class RecurrentStep:
    """A layer's single step on the calling thread: ``step(x, state)`` gives the next state.

    Parameters
    ----------
    layer
        A layer of one direction.
    """

    cdef RecurrentLayer layer
    cdef gn_call call  # with what does not change from call to call

    def __cinit__(self, RecurrentLayer layer not None):
        if layer.directions != 1 or layer.output_size != layer.hidden_size:
            raise ValueError(
                "layer: expected one of one direction and without a projection, "
                f"got {layer.directions} and {layer.output_size} of {layer.hidden_size} units"
            )
        self.layer = layer
        self.call = layer.call
        self.call.steps = self.call.threads = 1
        self.call.x.stride[1] = layer.input_size
        self.call.h_0.stride[1] = self.call.c_0.stride[1] = layer.hidden_size
        self.call.h_n.stride[1] = self.call.c_n.stride[1] = self.call.output.stride[1] = layer.hidden_size

    def __call__(self, x, state):
        """Return the next state from x (B, I) and a state, h (B, H), of the LSTM a tuple (h, c), all C-contiguous."""
        cdef RecurrentLayer layer = self.layer
        cdef np.ndarray h_1, c_1 = None
        cdef gn_call call
        if not fits_matrix(x, layer.type_number, layer.input_size):
            refuse("x")
        h_0 = state
        if layer.has_c:
            h_0, c_0 = pair(state, "state")
            if not self.fits_state(c_0, x):
                refuse("state")
        if not self.fits_state(h_0, x):
            refuse("state")
        call = self.call
        call.batch = np.PyArray_DIM(x, 0)
        call.x.data = np.PyArray_DATA(x)
        call.h_0.data = np.PyArray_DATA(h_0)
        h_1 = new_matrix(layer.type_number, call.batch, layer.hidden_size)
        call.output.data = call.h_n.data = np.PyArray_DATA(h_1)
        if layer.has_c:
            c_1 = new_matrix(layer.type_number, call.batch, layer.hidden_size)
            call.c_0.data, call.c_n.data = np.PyArray_DATA(c_0), np.PyArray_DATA(c_1)
        layer.run(&call)
        return (h_1, c_1) if layer.has_c else h_1

    cdef bint fits_state(self, object array, object x):
        return (
            fits_matrix(array, self.layer.type_number, self.layer.hidden_size)
            and np.PyArray_DIM(array, 0) == np.PyArray_DIM(x, 0)
        )
