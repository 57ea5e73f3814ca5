#pragma once

#include <Python.h>

namespace gru::bindings {

// An allocator for PyDataMem_SetHandler (NumPy's NEP 49), a new reference: the memory of an array is kept for the next
// one when it is freed, as that of buffers is.
PyObject* kept_memory();

}  // namespace gru::bindings
