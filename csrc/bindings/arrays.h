// From NumPy arrays to what the core takes. Only what would be unsafe is refused here and in the core; the messages for
// people are Python's.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <optional>
#include <string>

#include "gru_native.h"

namespace gru::bindings {

namespace py = pybind11;

using OptionalArray = std::optional<py::array>;

[[noreturn]] inline void refuse(const char* name, const std::string& expected) {
  throw py::value_error(std::string(name) + ": expected " + expected);
}

// Runs call(error), a function of the core, without the interpreter's lock, and raises what it says.
template <class Call>
void run(Call call) {
  gn_error error;
  error.size = sizeof error;
  gn_status status;
  {
    py::gil_scoped_release release;
    status = call(&error);
  }
  if (status == GN_OK) return;
  if (status == GN_INTERRUPTED) throw py::error_already_set();  // the handler of the signal has raised
  if (status == GN_NO_MEMORY) throw std::bad_alloc();
  if (status == GN_INVALID) throw py::value_error(error.message);
  throw std::runtime_error(error.message);
}

inline gn_type type_of(const py::array& array) {
  return array.dtype().equal(py::dtype::of<double>()) ? GN_FLOAT64 : GN_FLOAT32;
}

inline py::dtype dtype_of(gn_type type) {
  return type == GN_FLOAT64 ? py::dtype::of<double>() : py::dtype::of<float>();
}

inline size_t axis_size(const py::array& array, const char* name, py::ssize_t axis) {
  if (array.ndim() <= axis) refuse(name, "more axes");
  return static_cast<size_t>(array.shape(axis));
}

// Checks dtype and shape.
inline void check(const py::array& array, const char* name, const py::dtype& dtype,
                  std::initializer_list<size_t> shape) {
  if (!array.dtype().equal(dtype)) refuse(name, "dtype " + std::string(py::str(dtype)));
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  py::ssize_t axis = 0;
  for (const size_t size : shape) fits = fits && array.shape(axis++) == static_cast<py::ssize_t>(size);
  if (!fits) refuse(name, "another shape");
}

// Data of a C-contiguous array of exactly this shape.
inline const void* read(const py::array& array, const char* name, const py::dtype& dtype,
                        std::initializer_list<size_t> shape) {
  check(array, name, dtype, shape);
  if (!(array.flags() & py::array::c_style)) refuse(name, "a C-contiguous array");
  return array.data();
}

inline void* written(const py::array& array, const char* name, const py::dtype& dtype,
                     std::initializer_list<size_t> shape) {
  if (!array.writeable()) refuse(name, "a writable array");
  return const_cast<void*>(read(array, name, dtype, shape));
}

inline void* written(const OptionalArray& array, const char* name, const py::dtype& dtype,
                     std::initializer_list<size_t> shape) {
  return array ? written(*array, name, dtype, shape) : nullptr;
}

// The stride of the rows of a matrix of exactly this shape, in elements, once it is sure that a row is contiguous.
inline ptrdiff_t row_stride(const py::array& array, const char* name, const py::dtype& dtype, size_t rows,
                            size_t columns) {
  check(array, name, dtype, {rows, columns});
  if (array.size() == 0) return 0;
  const auto item = array.itemsize();
  if (rows > 1 && array.strides(0) % item) refuse(name, "aligned rows");
  if (columns > 1 && array.strides(1) != item) refuse(name, "a contiguous last axis");
  return array.strides(0) / item;
}

// For a class whose objects only functions of this module make: one made by its __new__ would have no value behind it.
inline py::custom_type_setup made_here() {
  return py::custom_type_setup([](PyHeapTypeObject* type) {
    type->ht_type.tp_flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
    type->ht_type.tp_flags &= ~static_cast<unsigned long>(Py_TPFLAGS_BASETYPE);
  });
}

}  // namespace gru::bindings
