// From NumPy arrays to the core's views. Only what would be unsafe is refused here; the messages for people are
// Python's.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gru.h"

namespace gru::bindings {

namespace py = pybind11;

using OptionalArray = std::optional<py::array>;

[[noreturn]] inline void refuse(const char* name, const std::string& expected) {
  throw py::value_error(std::string(name) + ": expected " + expected);
}

// Runs function(T()) for the array's dtype.
template <class Function>
void for_dtype(const py::array& array, Function function) {
  if (array.dtype().equal(py::dtype::of<double>()))
    function(double());
  else
    function(float());
}

// Checks dtype, shape and alignment, and that the last axis is contiguous.
template <class T>
void check(const py::array& array, const char* name, std::initializer_list<size_t> shape) {
  if (!array.dtype().equal(py::dtype::of<T>())) refuse(name, "dtype " + std::string(py::str(py::dtype::of<T>())));
  bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
  py::ssize_t axis = 0;
  for (const size_t size : shape) {
    if (!fits) break;
    fits = array.shape(axis++) == static_cast<py::ssize_t>(size);
  }
  if (!fits) refuse(name, "another shape");
  if (array.size() == 0) return;
  constexpr auto item = static_cast<py::ssize_t>(sizeof(T));
  for (axis = 0; axis < array.ndim(); ++axis)
    if (array.strides(axis) % item && array.shape(axis) > 1) refuse(name, "aligned rows");
  const auto last = array.ndim() - 1;
  if (last >= 0 && array.shape(last) > 1 && array.strides(last) != item) refuse(name, "a contiguous last axis");
  if (reinterpret_cast<uintptr_t>(array.data()) % alignof(T)) refuse(name, "aligned data");
}

template <class T>
T* writable(const py::array& array, const char* name) {
  if (!array.writeable()) refuse(name, "a writable array");
  return static_cast<T*>(const_cast<void*>(array.data()));
}

// Data for reading when E is const, for writing otherwise.
template <class E>
E* data_of(const py::array& array, const char* name) {
  if constexpr (std::is_const_v<E>)
    return static_cast<E*>(array.data());
  else
    return writable<E>(array, name);
}

template <class E>
ptrdiff_t stride_of(const py::array& array, py::ssize_t axis) {
  return array.strides(axis) / static_cast<py::ssize_t>(sizeof(E));
}

template <class E>
Sequence<E> sequence(const py::array& array, const char* name, size_t steps, size_t batch, size_t size) {
  check<std::remove_const_t<E>>(array, name, {steps, batch, size});
  return {data_of<E>(array, name), stride_of<E>(array, 0), stride_of<E>(array, 1)};
}

template <class E>
Rows<E> rows(const py::array& array, const char* name, size_t count, size_t size) {
  check<std::remove_const_t<E>>(array, name, {count, size});
  return {data_of<E>(array, name), stride_of<E>(array, 0)};
}

template <class E>
Sequence<E> sequence(const OptionalArray& array, const char* name, size_t steps, size_t batch, size_t size) {
  return array ? sequence<E>(*array, name, steps, batch, size) : Sequence<E>{};
}

template <class E>
Rows<E> rows(const OptionalArray& array, const char* name, size_t count, size_t size) {
  return array ? rows<E>(*array, name, count, size) : Rows<E>{};
}

// (T, B) with any strides.
inline Sequence<const bool> flags(const OptionalArray& array, const char* name, size_t steps, size_t batch) {
  if (!array) return {};
  const bool fits = array->dtype().equal(py::dtype::of<bool>()) && array->ndim() == 2 &&
                    array->shape(0) == static_cast<py::ssize_t>(steps) &&
                    array->shape(1) == static_cast<py::ssize_t>(batch);
  if (!fits) refuse(name, "dtype bool and shape (T, B)");
  return {static_cast<const bool*>(array->data()), array->strides(0), array->strides(1)};
}

// A C-contiguous array of exactly this shape.
template <class E>
E* contiguous(const py::array& array, const char* name, std::initializer_list<size_t> shape) {
  check<std::remove_const_t<E>>(array, name, shape);
  if (!(array.flags() & py::array::c_style)) refuse(name, "a C-contiguous array");
  return data_of<E>(array, name);
}

template <class E>
E* contiguous(const OptionalArray& array, const char* name, std::initializer_list<size_t> shape) {
  return array ? contiguous<E>(*array, name, shape) : nullptr;
}

// For a class whose objects only functions of this module make: one made by its __new__ would have no value behind it.
inline py::custom_type_setup made_here() {
  return py::custom_type_setup([](PyHeapTypeObject* type) {
    type->ht_type.tp_flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
    type->ht_type.tp_flags &= ~static_cast<unsigned long>(Py_TPFLAGS_BASETYPE);
  });
}

inline size_t axis_size(const py::array& array, const char* name, py::ssize_t axis) {
  if (array.ndim() <= axis) refuse(name, "more axes");
  return static_cast<size_t>(array.shape(axis));
}

inline int checked_threads(int threads) {
  if (threads < 1 || threads > 256) refuse("threads", "1 to 256");
  return threads;
}

// Keeps a reference to arrays for the core, which may drop it on any thread.
inline std::shared_ptr<const void> hold(py::tuple arrays) {
  return {new py::tuple(std::move(arrays)), [](const py::tuple* held) {
            const py::gil_scoped_acquire acquire;
            delete held;
          }};
}

}  // namespace gru::bindings
