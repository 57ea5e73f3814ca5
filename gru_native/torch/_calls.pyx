# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, binding=False, embedsignature=True, embedsignature.format=clinic
"""The calls of a stack of recurrent layers on PyTorch's tensors.

Tensors are looked at through DLPack's table of C functions: no code of PyTorch's is compiled in.
"""

cimport cython
cimport numpy as np
from cpython.exc cimport PyErr_Clear
from cpython.object cimport PyObject_TypeCheck, PyTypeObject
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from gru_native cimport *
from gru_native.torch._dlpack cimport *

from functools import cache

import numpy
import torch

from gru_native._layer import CELLS, Unfit, empty

np.import_array()

cdef DLPackExchangeAPI* exchange = <DLPackExchangeAPI*>PyCapsule_GetPointer(
    torch.Tensor.__dlpack_c_exchange_api__, "dlpack_exchange_api"
)
if exchange.major != 1:
    raise ImportError(f"gru_native.torch needs version 1 of DLPack's exchange API, and this PyTorch has {exchange.major}")

cdef object from_numpy = torch.from_numpy
cdef object Tensor = torch.Tensor, Parameter = torch.nn.Parameter
cdef object torch_empty = torch.empty, of_bytes = torch.uint8
cdef object get_num_threads = torch.get_num_threads
cdef object compiler = torch.compiler, forward_ad = torch.autograd.forward_ad, script = torch._C._get_tracing_state
cdef object dispatch_modes = torch._C._len_torch_dispatch_stack, function_modes = torch._C._len_torch_function_stack
cdef object is_transformed = torch._C._are_functorch_transforms_active
cdef object is_profiled = torch._C._autograd._profiler_enabled, is_autocast = torch._C._is_any_autocast_enabled
# Memory up to this size malloc keeps when it is freed: PyTorch's own temporaries then fit where a tape has been, and no
# page of theirs is fetched from the system again.
cdef size_t most_of_malloc = 1 << 25

cdef enum:
    kinds = 8  # of parameters, in the order of gn_parameters
    line = 64  # what a tape's address is a multiple of


cdef int refuse(str name, object expected, object got) except -1:
    raise Unfit(f"{name}: expected {expected}, got {got}")


# A module's option, which may have been set to anything.
cdef inline double share(str name, double p) except -1:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: expected 0 to 1, got {p}")
    return p


cdef inline bint is_plain(object tensor) noexcept:
    return tensor is None or type(tensor) is Tensor or type(tensor) is Parameter


def intercepted():
    """Return whether operators are traced, transformed, recorded or overridden."""
    return (
        <bint>compiler._is_compiling_flag
        or <int>dispatch_modes() > 0
        or <int>function_modes() > 0
        or <bint>is_transformed()
        or script() is not None
        or <int>forward_ad._current_level >= 0
        or <bint>is_profiled()
        or <bint>is_autocast()
    )


def plain_parameters(dict own not None, names, tuple inputs not None):
    """Return the parameters of these names where they and the inputs are PyTorch's own, which intercept nothing."""
    cdef list found = []
    for tensor in inputs:
        if not is_plain(tensor):
            return None
    for name in names:
        parameter = own.get(name)
        if parameter is None or not is_plain(parameter):
            return None
        found.append(parameter)
    return found


cdef str described(object tensor):
    return f"{tensor.dtype} of shape {tuple(tensor.shape)} on {tensor.device}"


# Looks at a tensor of the CPU, which must outlive the view: shape and strides are its own.
cdef int look_at(str name, object tensor, DLTensor* view) except -1:
    if not PyObject_TypeCheck(tensor, <PyTypeObject*>Tensor):
        return refuse(name, "a tensor", type(tensor).__name__)
    if exchange.look(<void*>tensor, view) != 0:
        PyErr_Clear()
        return refuse(name, "a dense tensor", described(tensor))
    if view.device.device_type != on_cpu or view.dtype.lanes != 1:
        return refuse(name, "a tensor on the CPU", described(tensor))
    view.data = <char*>view.data + view.byte_offset
    return 0


# The same, and returns it, or what stands for it where its numbers are those of another one negated.
cdef object seen(str name, object tensor, DLTensor* view):
    look_at(name, tensor, view)
    if tensor.is_neg():
        tensor = tensor.resolve_neg()
        look_at(name, tensor, view)
    return tensor


cdef inline bint has_shape(DLTensor* view, int ndim, int64_t a, int64_t b=0, int64_t c=0) noexcept:
    return (
        view.ndim == ndim
        and (ndim < 1 or view.shape[0] == a)
        and (ndim < 2 or view.shape[1] == b)
        and (ndim < 3 or view.shape[2] == c)
    )


cdef inline bint has_contiguous_last_axis(DLTensor* view) noexcept:
    return view.ndim == 0 or view.shape[view.ndim - 1] <= 1 or view.strides[view.ndim - 1] == 1


cdef inline bint is_contiguous(DLTensor* view) noexcept:
    return has_contiguous_last_axis(view) and (
        view.ndim < 2 or view.shape[0] <= 1 or view.strides[0] == view.shape[1]
    )


cdef inline bint is_aligned(DLTensor* view) noexcept:
    return <size_t>view.data % (view.dtype.bits // 8) == 0


# A new tensor, and where it is.
cdef object new_tensor(tuple shape, bint is_double, void** data):
    cdef int kind = np.NPY_FLOAT64 if is_double else np.NPY_FLOAT32
    cdef np.npy_intp[3] sizes
    cdef size_t bytes = 8 if is_double else 4
    cdef Py_ssize_t axis, axes = len(shape)
    for axis in range(axes):
        sizes[axis] = shape[axis]
        bytes *= <size_t>sizes[axis]
    if bytes <= most_of_malloc:
        array = np.PyArray_EMPTY(<int>axes, sizes, kind, 0)
    else:
        array = empty(shape, np.PyArray_DescrFromType(kind))
    data[0] = np.PyArray_DATA(array)
    return from_numpy(array)


cdef object new_tape(size_t bytes):
    return torch_empty(bytes, dtype=of_bytes) if bytes <= most_of_malloc else from_numpy(empty(bytes, numpy.uint8))


cdef inline size_t lines(size_t bytes) noexcept nogil:
    return (bytes + line - 1) // line * line


# A key for the random numbers of one use, by the finalizer of SplitMix64 (Steele et al. 2014).
cdef inline uint64_t key_of(uint64_t seed, uint64_t use) noexcept nogil:
    cdef uint64_t key = seed + (use + 1) * <uint64_t>0x9E3779B97F4A7C15
    key = (key ^ (key >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    key = (key ^ (key >> 27)) * <uint64_t>0x94D049BB133111EB
    return key ^ (key >> 31)


@cython.final
cdef class Weights:
    """The weights of all layers of a stack.

    Parameters
    ----------
    cell
        Its name in the core.
    num_layers, bidirectional
        Of the stack.
    bias
        Whether it has them.
    parameters
        For each layer and direction weight_ih (G H, I), weight_hh (G H, P), and, if there are any, bias_ih, bias_hh,
        gamma_ih, gamma_hh (G H) and weight_hr (P, H), as PyTorch orders them: tensors of one dtype on the CPU, which
        are referred to where they are contiguous.
    """

    cdef gn_weights** handles
    cdef list storages  # that the handles refer to: another one may take a parameter's place during a call
    cdef gn_type type
    cdef int layers, directions, gates, states
    cdef Py_ssize_t input_size, hidden_size, output_size
    cdef int present[kinds]
    cdef int present_count
    cdef readonly str cell

    def __cinit__(self, str cell not None, int num_layers, bint bidirectional, bint bias, parameters):
        cdef gn_weights_options options
        cdef const void* data[kinds]
        cdef DLTensor first, second
        cdef gn_error error
        cdef gn_status status
        cdef int place, kind
        error.size = sizeof(error)
        memset(&options, 0, sizeof(options))
        options.size = sizeof(options)
        options.cell = <gn_cell><int>CELLS.index(cell)
        self.layers, self.directions, self.gates = num_layers, 2 if bidirectional else 1, gn_cell_gates(options.cell)
        self.cell, self.states = cell, 2 if cell == "lstm" else 1
        self.find_present(bias, cell == "gru_layer_norm", len(parameters))
        look_at("parameters", parameters[0], &first)
        look_at("parameters", parameters[1], &second)
        if first.ndim != 2 or second.ndim != 2 or first.dtype.code != of_float or first.dtype.bits not in (32, 64):
            refuse("parameters", "matrices of float32 or float64", described(parameters[0]))
        self.type = options.type = GN_FLOAT64 if first.dtype.bits == 64 else GN_FLOAT32
        self.input_size, self.output_size = first.shape[1], second.shape[1]
        self.hidden_size = options.hidden_size = first.shape[0] // self.gates
        options.projection_size = self.output_size if self.present[self.present_count - 1] == 7 else 0
        if self.hidden_size * self.gates != first.shape[0] or (
            options.projection_size == 0 and self.output_size != self.hidden_size
        ):
            refuse("parameters", "weights of gates of one size", described(parameters[1]))
        self.storages = []
        self.handles = <gn_weights**>calloc(self.layers * self.directions, sizeof(gn_weights*))
        if self.handles == NULL:
            raise MemoryError
        for place in range(self.layers * self.directions):
            options.input_size = self.inputs_of(place // self.directions)
            memset(data, 0, sizeof(data))
            for kind in range(self.present_count):
                data[self.present[kind]] = self.parameter(
                    parameters[place * self.present_count + kind], self.present[kind], options.input_size
                )
            options.parameters = gn_parameters(
                data[0], data[1], data[2], data[3], data[4], data[5], data[6], data[7]
            )
            status = gn_weights_create(&options, &self.handles[place], &error)
            check(status, &error)

    def __dealloc__(self):
        if self.handles != NULL:
            for place in range(self.layers * self.directions):
                gn_weights_destroy(self.handles[place])
            free(self.handles)

    def __deepcopy__(self, memo):
        return self  # nothing changes it

    # Which of the kinds each direction has, from how many parameters there are.
    cdef int find_present(self, bint bias, bint normalized, Py_ssize_t count) except -1:
        cdef int kind, found = 0
        cdef Py_ssize_t places = self.layers * self.directions, expected = 2 + 2 * bias + 2 * normalized
        cdef Py_ssize_t each = count // max(places, 1)
        if places < 1 or each * places != count or not expected <= each <= expected + 1:
            refuse("parameters", f"{expected} or {expected + 1} for each layer and direction", count)
        for kind in range(kinds):
            if kind < 2 or (kind < 4 and bias) or (4 <= kind < 6 and normalized) or (kind == 7 and each > expected):
                self.present[found] = kind
                found += 1
        self.present_count = found
        return 0

    cdef Py_ssize_t inputs_of(self, int layer) noexcept:
        return self.input_size if layer == 0 else self.output_size * self.directions

    # Of a parameter; the second axis is 0 for a vector.
    cdef (Py_ssize_t, Py_ssize_t) shape_of(self, int kind, Py_ssize_t inputs) noexcept:
        if kind == 7:
            return self.output_size, self.hidden_size
        return self.gates * self.hidden_size, inputs if kind == 0 else self.output_size if kind == 1 else 0

    cdef void* parameter(self, object tensor, int kind, Py_ssize_t inputs) except? NULL:
        cdef DLTensor view
        rows, columns = self.shape_of(kind, inputs)
        tensor = seen("parameters", tensor, &view)
        if not self.has_type(&view) or not has_shape(&view, 2 if columns > 0 else 1, rows, columns):
            shape = (rows, columns) if columns > 0 else f"({rows},)"
            refuse("parameters", f"float{32 if self.type == GN_FLOAT32 else 64} of shape {shape}", described(tensor))
        if not is_contiguous(&view) or not is_aligned(&view):
            tensor = seen("parameters", (tensor if is_aligned(&view) else tensor.clone()).contiguous(), &view)
        self.storages.append(tensor.untyped_storage())
        return view.data

    cdef inline bint has_type(self, DLTensor* view) noexcept:
        return view.dtype.code == of_float and view.dtype.bits == (32 if self.type == GN_FLOAT32 else 64)


# Of a layer's own tape: its bytes without any steps, and what each step of a row adds.
cdef tuple layer_terms(str cell, bint is_double, int directions, Py_ssize_t inputs, Py_ssize_t hidden, Py_ssize_t units):
    cdef gn_weights_options options
    cdef gn_weights* weights = NULL
    cdef gn_call call
    cdef gn_error error
    cdef size_t least, size
    error.size = sizeof(error)
    memset(&options, 0, sizeof(options))
    memset(&call, 0, sizeof(call))
    options.size, options.cell = sizeof(options), <gn_cell><int>CELLS.index(cell)
    options.type = GN_FLOAT64 if is_double else GN_FLOAT32
    options.input_size, options.hidden_size = inputs, hidden
    options.projection_size = units if units != hidden else 0
    gains = numpy.zeros(gn_cell_gates(options.cell) * hidden)
    # Stands for the matrices, too: they are read when a call runs, and none does.
    cdef const void* zeros = <const void*><size_t>gains.ctypes.data
    options.parameters.weight_ih = options.parameters.weight_hh = zeros
    if cell == "gru_layer_norm":
        options.parameters.gamma_ih = options.parameters.gamma_hh = zeros
    if options.projection_size:
        options.parameters.weight_hr = zeros
    check(gn_weights_create(&options, &weights, &error), &error)
    try:
        call.size, call.batch, call.keep = sizeof(call), 1, GN_KEEP_GATES
        for direction in range(directions):
            call.weights[direction] = weights
        check(gn_tape_size(&call, &least, &error), &error)
        call.steps = 128
        check(gn_tape_size(&call, &size, &error), &error)
    finally:
        gn_weights_destroy(weights)
    return least, (size - least) // 128


@cache
def tape_terms(
    str cell not None, bint is_double, int layers, int directions, Py_ssize_t input_size, Py_ssize_t hidden_size,
    Py_ssize_t output_size, bint has_lengths, bint has_reset, bint masked, bint dropped,
):
    """Return what the bytes of a tape of all layers are at most.

    It holds for each layer its own tape, a mask where there are any, and what stands between two layers, each part at
    a multiple of a line. All are (constant, what each row adds, what each step of a row adds): the first for the whole,
    the others for the layers' own tapes.
    """
    between = output_size * directions * (8 if is_double else 4)
    own, whole = [], [line, masked * layers * between, (layers - 1) * (1 + dropped) * between]
    for layer in range(layers):
        inputs = input_size if layer == 0 else output_size * directions
        least, each = layer_terms(cell, is_double, directions, inputs, hidden_size, output_size)
        # Its parts are aligned, and it may have a row more.
        own.append((least + each + 4 * line, 8 * has_lengths, each + has_reset))
        whole = [ours + theirs for ours, theirs in zip(whole, own[layer])]
        whole[0] += line * (1 + masked + (layer + 1 < layers) * (1 + dropped))
    return tuple(whole), *own


def tape_size(steps, batch, *sizes):
    """Return the bytes of the tape of a call, which are symbols when its steps and batch are; see `tape_terms`."""
    constant, row, cell = tape_terms(*sizes)[0]
    return (constant + row * batch + cell * (steps * batch) + line - 1) // line * line


# A tensor's place, by its strides along two axes.
cdef struct View:
    void* data
    ptrdiff_t first, second


cdef inline gn_input to_read(View view) noexcept nogil:
    return gn_input(view.data, [view.first, view.second])


cdef inline gn_output to_write(View view) noexcept nogil:
    return gn_output(view.data, [view.first, view.second])


# Where things lie in a tape.
cdef struct Places:
    size_t mask, output, dropped, tape


@cython.final
cdef class Call:
    """What a forward pass and its backward pass have in common: their arguments but for results, and their sizes.

    Parameters
    ----------
    weights
        Those of the stack.
    given
        x, h_0, c_0, lengths, reset and seed, as `operators.run` has them.
    options
        Those of `operators.Options`.
    keep
        Whether there is a tape.
    """

    cdef Weights weights
    cdef gn_call call
    cdef int steps_axis, batch_axis, dimensions
    cdef list held  # the storages that views point into
    cdef View x, h_0, c_0
    cdef double dropout, recurrent_dropout
    cdef uint64_t seed
    cdef bint keep, has_lengths, has_reset
    cdef Places* places
    cdef size_t element, bytes  # of a number; of the tape, or of what stands in for it

    def __cinit__(self, Weights weights not None, tuple given not None, tuple options not None, bint keep):
        cdef gn_call* call = &self.call
        cdef DLTensor view
        cdef int last, steps_axis = options[4], batch_axis = options[5]
        x, h_0, c_0, lengths, reset, seed = given
        self.weights, self.keep, self.held = weights, keep, []
        self.steps_axis, self.batch_axis = steps_axis, batch_axis
        self.dimensions = 1 + (steps_axis >= 0) + (batch_axis >= 0)
        self.element = 8 if weights.type == GN_FLOAT64 else 4
        call.size, call.threads = sizeof(gn_call), min(<int>get_num_threads(), GN_MAX_THREADS)
        last = self.dimensions - 1
        x = self.readable("input", x, &view)
        if view.ndim != self.dimensions or view.shape[last] != weights.input_size:
            refuse("input", f"{self.dimensions} axes, the last one of {weights.input_size}", described(x))
        call.steps = view.shape[steps_axis] if steps_axis >= 0 else 1
        call.batch = view.shape[batch_axis] if batch_axis >= 0 else 1
        if call.steps == 0:
            refuse("input", "at least one step", described(x))
        if steps_axis < 0 and weights.layers * weights.directions != 1:
            refuse("steps_axis", "an axis for a stack of layers", steps_axis)
        self.x = self.sequence(&view)
        self.h_0 = self.given_state("hx", h_0, weights.output_size)
        self.c_0 = self.given_state("cx", c_0, weights.hidden_size)
        if lengths is not None:
            lengths = seen("lengths", lengths.contiguous(), &view)
            if batch_axis < 0:
                refuse("lengths", "none for x without a batch axis", described(lengths))
            if view.dtype.code != of_int or view.dtype.bits != 64 or not has_shape(&view, 1, call.batch):
                refuse("lengths", f"({call.batch},) of int64", described(lengths))
            call.lengths = <const int64_t*>view.data
            self.held.append(lengths.untyped_storage())
        if reset is not None:
            reset = seen("reset", reset, &view)
            if view.dtype.code != of_bool or tuple(reset.shape) != tuple(x.shape)[:last]:
                refuse("reset", f"bool of shape {tuple(x.shape)[:last]}", described(reset))
            call.reset = to_read(self.sequence(&view))
            self.held.append(reset.untyped_storage())
        self.has_lengths, self.has_reset = lengths is not None, reset is not None
        self.dropout = share("dropout", options[6])
        self.recurrent_dropout = share("recurrent_dropout", options[7])
        call.zoneout, call.zoneout_is_random = share("zoneout", options[8]), seed is not None
        self.seed = <uint64_t>int(seed.item()) if seed is not None else 0
        self.places = <Places*>calloc(weights.layers, sizeof(Places))
        if self.places == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.places)

    # Looks at a tensor of the weights' dtype, whose last axis is contiguous, or at a copy that is so, and returns it.
    cdef object readable(self, str name, object tensor, DLTensor* view):
        tensor = seen(name, tensor, view)
        if not self.weights.has_type(view):
            refuse(name, f"float{8 * self.element}", described(tensor))
        if not has_contiguous_last_axis(view) or not is_aligned(view):
            tensor = seen(name, (tensor if is_aligned(view) else tensor.clone()).contiguous(), view)
        self.held.append(tensor.untyped_storage())
        return tensor

    cdef View sequence(self, DLTensor* view) noexcept:
        return View(
            view.data,
            view.strides[self.steps_axis] if self.steps_axis >= 0 else 0,
            view.strides[self.batch_axis] if self.batch_axis >= 0 else 0,
        )

    # Of x's axes but the last one.
    cdef tuple sequence_shape(self, Py_ssize_t features):
        cdef gn_call* call = &self.call
        if self.dimensions == 3:
            return (call.steps, call.batch, features) if self.steps_axis == 0 else (call.batch, call.steps, features)
        return (call.steps * call.batch, features)[2 - self.dimensions :]

    cdef tuple state_shape(self, Py_ssize_t size):
        cdef tuple rows = (self.call.batch, size) if self.batch_axis >= 0 else <tuple>(size,)
        return (self.weights.layers * self.weights.directions, *rows) if self.steps_axis >= 0 else rows

    cdef View given_sequence(self, str name, object tensor, Py_ssize_t features) except *:
        cdef DLTensor view
        if tensor is None:
            return View(NULL, 0, 0)
        tensor = self.readable(name, tensor, &view)
        shape = self.sequence_shape(features)
        if view.ndim != len(shape) or tensor.shape != shape:
            refuse(name, f"shape {shape}", described(tensor))
        return self.sequence(&view)

    cdef View given_state(self, str name, object tensor, Py_ssize_t size) except *:
        cdef DLTensor view
        cdef int layers = self.steps_axis >= 0, rows = self.batch_axis >= 0
        if tensor is None:
            return View(NULL, 0, 0)
        tensor = self.readable(name, tensor, &view)
        if (
            view.ndim != layers + rows + 1
            or (layers and view.shape[0] != self.weights.layers * self.weights.directions)
            or (rows and view.shape[layers] != <int64_t>self.call.batch)
            or view.shape[layers + rows] != size
        ):
            refuse(name, f"shape {self.state_shape(size)}", described(tensor))
        return View(view.data, view.strides[0] if layers else 0, view.strides[layers] if rows else 0)

    cdef object new_sequence(self, Py_ssize_t features, View* view):
        cdef Py_ssize_t row = features * (self.call.batch if self.steps_axis == 0 else self.call.steps)
        tensor = new_tensor(self.sequence_shape(features), self.weights.type == GN_FLOAT64, &view.data)
        view.first = row if self.steps_axis == 0 and self.batch_axis > 0 else features
        view.second = row if self.steps_axis > 0 else features
        return tensor

    cdef object new_state(self, Py_ssize_t size, View* view):
        tensor = new_tensor(self.state_shape(size), self.weights.type == GN_FLOAT64, &view.data)
        view.first, view.second = size * <Py_ssize_t>self.call.batch, size
        return tensor

    # Lays out a tape, or without one the memory between layers.
    cdef int lay_out(self) except -1:
        cdef Weights weights = self.weights
        cdef size_t offset = 0, mask, between, constant, row, cell
        cdef size_t batch = self.call.batch, cells = self.call.steps * batch
        cdef int layer
        cdef Places* own
        terms = tape_terms(
            weights.cell, weights.type == GN_FLOAT64, weights.layers, weights.directions, weights.input_size,
            weights.hidden_size, weights.output_size, self.has_lengths, self.has_reset, self.recurrent_dropout > 0,
            self.dropout > 0,
        )
        constant, row, cell = terms[0]
        if <double>(row + 1) * batch + <double>(cell + 1) * self.call.steps * batch > 1e18:
            raise MemoryError
        mask = weights.directions * batch * weights.output_size * self.element
        between = self.call.steps * mask
        self.bytes = lines(constant + row * batch + cell * cells)
        for layer in range(weights.layers):
            own = &self.places[layer]
            own.mask = offset
            if self.recurrent_dropout > 0:
                offset += lines(mask)
            if self.keep:
                own.tape = offset
                constant, row, cell = terms[1 + layer]
                offset += lines(constant + row * batch + cell * cells)
            if layer + 1 == weights.layers:
                break
            if not self.keep and layer >= 2:  # two parts take turns
                own.output = own.dropped = self.places[layer - 2].output
                continue
            own.output = own.dropped = offset
            offset += lines(between)
            if self.keep and self.dropout > 0:
                own.dropped = offset
                offset += lines(between)
        if not self.keep:
            self.bytes = max(offset, <size_t>line)
        return 0

    # The call of a layer whose tape, and what is between layers, is in a memory.
    cdef void set_layer(self, gn_call* call, int layer, char* memory) noexcept nogil:
        cdef int direction, place = layer * self.weights.directions
        cdef size_t units = self.weights.output_size * self.weights.directions
        cdef Places* own = &self.places[layer]
        call[0] = self.call
        for direction in range(self.weights.directions):
            call.weights[direction] = self.weights.handles[place + direction]
            call.zoneout_key[direction] = key_of(self.seed, 4 * layer + direction)
        call.x = to_read(self.x if layer == 0 else self.between(memory + self.places[layer - 1].dropped))
        call.h_0 = to_read(self.of_layer(self.h_0, place))
        call.c_0 = to_read(self.of_layer(self.c_0, place))
        if self.recurrent_dropout > 0:
            call.mask = gn_input(memory + own.mask, [self.call.batch * self.weights.output_size, self.weights.output_size])
        if layer + 1 < self.weights.layers:
            call.output = to_write(self.between(memory + own.output))
        if self.keep:
            call.keep, call.tape = GN_KEEP_GATES, memory + own.tape
            call.tape_size = self.bytes - own.tape

    cdef View between(self, void* memory) noexcept nogil:
        cdef ptrdiff_t units = self.weights.output_size * self.weights.directions
        return View(memory, self.call.batch * units, units)

    cdef View of_layer(self, View states, int place) noexcept nogil:
        if states.data != NULL:
            states.data = <char*>states.data + place * states.first * <ptrdiff_t>self.element
        return states

    cdef gn_status drop(self, int layer, size_t size, void* data, void* result, gn_error* error) noexcept nogil:
        return gn_dropout(
            self.weights.type, size, data, result, key_of(self.seed, 4 * layer + 2), self.dropout, self.call.threads,
            error,
        )

    cdef gn_status draw_mask(self, int layer, size_t size, void* mask, gn_error* error) noexcept nogil:
        cdef size_t i
        if self.weights.type == GN_FLOAT64:
            for i in range(size):
                (<double*>mask)[i] = 1
        else:
            for i in range(size):
                (<float*>mask)[i] = 1
        return gn_dropout(
            self.weights.type, size, mask, mask, key_of(self.seed, 4 * layer + 3), self.recurrent_dropout,
            self.call.threads, error,
        )

    cdef gn_status run(self, View output, View h_n, View c_n, char* memory, gn_error* error) noexcept nogil:
        cdef size_t row = self.weights.directions * self.call.batch * self.weights.output_size
        cdef int layer
        cdef gn_call call
        cdef gn_status status
        for layer in range(self.weights.layers):
            self.set_layer(&call, layer, memory)
            if layer + 1 == self.weights.layers:
                call.output = to_write(output)
            call.h_n = to_write(self.of_layer(h_n, layer * self.weights.directions))
            call.c_n = to_write(self.of_layer(c_n, layer * self.weights.directions))
            if self.recurrent_dropout > 0:
                status = self.draw_mask(layer, row, memory + self.places[layer].mask, error)
                if status != GN_OK:
                    return status
            status = gn_forward(&call, error)
            if status != GN_OK:
                return status
            if self.dropout > 0 and layer + 1 < self.weights.layers:
                status = self.drop(
                    layer, self.call.steps * row, memory + self.places[layer].output,
                    memory + self.places[layer].dropped, error,
                )
                if status != GN_OK:
                    return status
        return GN_OK


    # Runs all layers' gradients, from the last one to the first; `between` are two parts for those between layers.
    cdef gn_status run_back(
        self, gn_backward_call* last, View output, View d_x, View* states, void** gradients, char* tape, char* between,
        gn_error* error,
    ) noexcept nogil:
        cdef size_t size = self.call.steps * self.call.batch * self.weights.output_size * self.weights.directions
        cdef size_t part = lines(size * self.element)
        cdef int layer, direction, place
        cdef gn_call forward
        cdef gn_backward_call call
        cdef void** of
        cdef gn_status status
        for layer in range(self.weights.layers - 1, -1, -1):
            self.set_layer(&forward, layer, tape)
            call = last[0]
            call.forward = &forward
            if layer + 1 == self.weights.layers:
                forward.output = to_write(output)
            else:
                call.d_output = to_read(self.between(between + (layer + 1) % 2 * part))
            call.d_x = to_write(d_x if layer == 0 else self.between(between + layer % 2 * part))
            place = layer * self.weights.directions
            call.d_h_n = to_read(self.of_layer(states[0], place))
            call.d_c_n = to_read(self.of_layer(states[1], place))
            call.d_h_0 = to_write(self.of_layer(states[2], place))
            call.d_c_0 = to_write(self.of_layer(states[3], place))
            for direction in range(self.weights.directions):
                of = gradients + (place + direction) * kinds
                call.gradients[direction] = gn_gradients(of[0], of[1], of[2], of[3], of[4], of[5], of[6], of[7])
            status = gn_backward(&call, error)
            if status == GN_OK and layer > 0 and self.dropout > 0:
                status = self.drop(layer - 1, size, call.d_x.data, call.d_x.data, error)
            if status != GN_OK:
                return status
        return GN_OK


cdef Weights weights_of(Weights frozen, parameters, tuple options):
    return Weights(options[0], options[1], options[2], options[3], parameters) if frozen is None else frozen


def forward(Weights frozen, parameters, tuple given, tuple options, bint keep, bint clear=False):
    """Run a stack.

    Parameters
    ----------
    frozen
        The weights, or None for those of the parameters.
    parameters, given, options
        As `Weights` and `Call` take them.
    keep
        Whether the tape is wanted.
    clear
        Whether also the unused bytes of the tape are always the same.

    Returns
    -------
    output
        x's axes, the last one D P.
    h_n, c_n
        As h_0 and c_0. h_n is None when x has no steps: it is the output; c_n is None but for the LSTM.
    tape
        Bytes for `backward`; None unless the call keeps them.
    """
    cdef Weights weights = weights_of(frozen, parameters, options)
    cdef Call call = Call(weights, given, options, keep)
    cdef View output_view, h_view, c_view = View(NULL, 0, 0)
    cdef DLTensor view
    cdef gn_error error
    cdef gn_status status
    cdef void* scratch = NULL
    cdef char* memory = NULL
    error.size = sizeof(error)
    h_n = c_n = tape = None
    output = call.new_sequence(weights.output_size * weights.directions, &output_view)
    if call.steps_axis >= 0:
        h_n = call.new_state(weights.output_size, &h_view)
    else:
        h_view = output_view
    if weights.states == 2:
        c_n = call.new_state(weights.hidden_size, &c_view)
    if call.keep or weights.layers > 1 or call.recurrent_dropout > 0:
        call.lay_out()
    if call.keep:
        seen("tape", tape := new_tape(call.bytes), &view)
        if clear:
            tape.zero_()
        memory = <char*>view.data
    elif call.bytes > 0:
        scratch = gn_allocate(call.bytes)
        if scratch == NULL:
            raise MemoryError
        memory = <char*>scratch
    with nogil:
        status = call.run(output_view, h_view, c_view, memory, &error)
        gn_release(scratch, call.bytes)
    check(status, &error)
    return output, h_n, c_n, tape


def backward(
    d_output, d_h_n, d_c_n, output, tape, bint wants_x, bint wants_state, bint keep_tape, Weights frozen, parameters,
    tuple given, tuple options,
):
    """Return the gradients of `forward`, whose arguments the last four are.

    Parameters
    ----------
    d_output, d_h_n, d_c_n
        Gradients of the results, or None for zeros.
    output, tape
        As forward returned them. The tape serves once, unless `keep_tape`.
    wants_x, wants_state
        Whether the gradient of x, and those of h_0 and c_0, are wanted.

    Returns
    -------
    d_x, d_h_0, d_c_0
        None where they are not wanted.
    gradients
        Those of the parameters.
    """
    cdef Weights weights = weights_of(frozen, parameters, options)
    cdef Call call = Call(weights, given, options, True)
    cdef gn_backward_call last
    cdef gn_error error
    cdef gn_status status
    cdef View[4] states
    cdef View output_view, d_x_view = View(NULL, 0, 0)
    cdef DLTensor view
    cdef Py_ssize_t units
    cdef void** gradients = NULL
    cdef char* between = NULL
    cdef char* memory
    cdef size_t between_bytes = 0
    cdef int place, kind
    error.size = sizeof(error)
    memset(&last, 0, sizeof(last))
    last.size, last.keep_tape = sizeof(last), keep_tape
    call.lay_out()
    units = weights.output_size * weights.directions
    output_view = call.given_sequence("output", output, units)
    tape = seen("tape", tape.contiguous(), &view)
    if view.dtype.code != of_uint or view.dtype.bits != 8 or not has_shape(&view, 1, call.bytes):
        refuse("tape", f"{call.bytes} bytes", described(tape))
    if <size_t>view.data % line:
        tape = seen("tape", new_tape(call.bytes).copy_(tape), &view)
    memory = <char*>view.data
    last.d_output = to_read(call.given_sequence("d_output", d_output, units))
    memset(states, 0, sizeof(states))
    states[0] = call.given_state("d_h_n", d_h_n, weights.output_size)
    states[1] = call.given_state("d_c_n", d_c_n, weights.hidden_size)
    d_x = call.new_sequence(weights.input_size, &d_x_view) if wants_x else None
    d_h_0 = call.new_state(weights.output_size, &states[2]) if wants_state else None
    d_c_0 = call.new_state(weights.hidden_size, &states[3]) if wants_state and weights.states == 2 else None
    found = []
    try:
        gradients = <void**>calloc(weights.layers * weights.directions * kinds, sizeof(void*))
        if weights.layers > 1:
            between_bytes = 2 * lines(
                call.call.steps * call.call.batch * weights.output_size * weights.directions * call.element
            )
            between = <char*>gn_allocate(between_bytes)
        if gradients == NULL or (weights.layers > 1 and between == NULL):
            raise MemoryError
        for place in range(weights.layers * weights.directions):
            for kind in weights.present[: weights.present_count]:
                rows, columns = weights.shape_of(kind, weights.inputs_of(place // weights.directions))
                shape = (rows, columns)[: 2 if columns > 0 else 1]
                found.append(new_tensor(shape, weights.type == GN_FLOAT64, &gradients[place * kinds + kind]))
        with nogil:
            status = call.run_back(&last, output_view, d_x_view, states, gradients, memory, between, &error)
        check(status, &error)
    finally:
        free(gradients)
        gn_release(between, between_bytes)
    return d_x, d_h_0, d_c_0, found
