#include "optimizers.h"

#include "arrays.h"
#include "module.h"

namespace gru::bindings {

namespace {

// An array like the parameter, or null.
template <class E>
E* like(const py::array& parameter, const OptionalArray& array, const char* name) {
  if (!array) return nullptr;
  const bool fits = array->dtype().equal(py::dtype::of<std::remove_const_t<E>>()) &&
                    array->size() == parameter.size() && (array->flags() & py::array::c_style) &&
                    reinterpret_cast<uintptr_t>(array->data()) % alignof(E) == 0;
  if (!fits) refuse(name, "an array like the parameter");
  return data_of<E>(*array, name);
}

void sgd(const py::array& parameter, const py::array& gradient, const OptionalArray& buffer, const py::array& to,
         const OptionalArray& new_buffer, double lr, double momentum, double damped, double l2, bool is_nesterov,
         bool is_first) {
  for_dtype(parameter, [&](auto zero) {
    using T = decltype(zero);
    const auto read = [&](const OptionalArray& array, const char* name) {
      return like<const T>(parameter, array, name);
    };
    const auto write = [&](const OptionalArray& array, const char* name) { return like<T>(parameter, array, name); };
    const T *p = read(parameter, "parameter"), *g = read(gradient, "gradient"), *b = read(buffer, "buffer");
    T *new_p = write(to, "to"), *new_b = write(new_buffer, "new_buffer");
    if (!b != !new_b) refuse("new_buffer", "an array beside buffer");
    py::gil_scoped_release release;
    sgd_step(static_cast<size_t>(parameter.size()), p, g, b, new_p, new_b,
             {lr, momentum, damped, l2, is_nesterov, is_first});
  });
}

void rmsprop(const py::array& parameter, const py::array& gradient, const py::array& square, const OptionalArray& mean,
             const OptionalArray& buffer, const py::array& to, const py::array& new_square,
             const OptionalArray& new_mean, const OptionalArray& new_buffer, double lr, double alpha, double eps,
             double l2, double momentum) {
  for_dtype(parameter, [&](auto zero) {
    using T = decltype(zero);
    const auto read = [&](const OptionalArray& array, const char* name) {
      return like<const T>(parameter, array, name);
    };
    const auto write = [&](const OptionalArray& array, const char* name) { return like<T>(parameter, array, name); };
    const T *p = read(parameter, "parameter"), *g = read(gradient, "gradient"), *s = read(square, "square");
    const T *m = read(mean, "mean"), *b = read(buffer, "buffer");
    T *new_p = write(to, "to"), *new_s = write(new_square, "new_square"), *new_m = write(new_mean, "new_mean");
    T* new_b = write(new_buffer, "new_buffer");
    if (!m != !new_m || !b != !new_b) refuse("new_mean, new_buffer", "an array beside each of mean and buffer");
    py::gil_scoped_release release;
    rmsprop_step(static_cast<size_t>(parameter.size()), p, g, s, m, b, new_p, new_s, new_m, new_b,
                 {lr, alpha, eps, l2, momentum});
  });
}

void adam(const py::array& parameter, const py::array& gradient, const py::array& mean, const py::array& square,
          const py::array& to, const py::array& new_mean, const py::array& new_square, double beta1, double beta2,
          double eps, double l2, double rate, double root, double shrink) {
  for_dtype(parameter, [&](auto zero) {
    using T = decltype(zero);
    const auto read = [&](const py::array& array, const char* name) { return like<const T>(parameter, array, name); };
    const auto write = [&](const py::array& array, const char* name) { return like<T>(parameter, array, name); };
    const T *p = read(parameter, "parameter"), *g = read(gradient, "gradient");
    const T *m = read(mean, "mean"), *s = read(square, "square");
    T *new_p = write(to, "to"), *new_m = write(new_mean, "new_mean"), *new_s = write(new_square, "new_square");
    py::gil_scoped_release release;
    adam_step(static_cast<size_t>(parameter.size()), p, g, m, s, new_p, new_m, new_s,
              {beta1, beta2, eps, l2, rate, root, shrink});
  });
}

}  // namespace

void bind_optimizers(py::module_& module) {
  module.def("sgd_step", &sgd);
  module.def("rmsprop_step", &rmsprop);
  module.def("adam_step", &adam);
}

}  // namespace gru::bindings
