#include <memory>

#include "arrays.h"
#include "module.h"

namespace gru::bindings {

namespace {

template <class T>
std::shared_ptr<LinearWeights<T>> pack(const py::array& weight, const OptionalArray& bias) {
  const size_t output = axis_size(weight, "weight", 0), input = axis_size(weight, "weight", 1);
  const T* data = contiguous<const T>(weight, "weight", {output, input});
  const T* bias_data = contiguous<const T>(bias, "bias", {output});
  auto owner = hold(py::make_tuple(weight));
  py::gil_scoped_release release;
  return std::make_shared<LinearWeights<T>>(input, output, data, bias_data, std::move(owner));
}

template <class T>
void forward(const LinearWeights<T>& weights, const py::array& x, const py::array& y, int threads) {
  const size_t count = axis_size(x, "x", 0);
  const auto from = rows<const T>(x, "x", count, weights.input_size);
  const auto to = rows<T>(y, "output", count, weights.output_size);
  checked_threads(threads);
  py::gil_scoped_release release;
  linear_forward(weights, count, from, to, threads);
}

template <class T>
void backward(const LinearWeights<T>& weights, const py::array& x, const py::array& d_y, const OptionalArray& d_x,
              const OptionalArray& d_weight, const OptionalArray& d_bias, int threads) {
  const size_t count = axis_size(x, "x", 0), I = weights.input_size, O = weights.output_size;
  // BLAS takes strides of rows as positive ints.
  const auto x_rows = Rows<const T>{contiguous<const T>(x, "x", {count, I}), static_cast<ptrdiff_t>(I)};
  const auto d_y_rows = Rows<const T>{contiguous<const T>(d_y, "d_output", {count, O}), static_cast<ptrdiff_t>(O)};
  if (I > INT_MAX || O > INT_MAX) refuse("weight", "fewer than 2^31 rows and columns");
  const auto d_x_rows = rows<T>(d_x, "d_x", count, I);
  T* const weight = contiguous<T>(d_weight, "d_weight", {O, I});
  T* const bias = contiguous<T>(d_bias, "d_bias", {O});
  checked_threads(threads);
  py::gil_scoped_release release;
  linear_backward(weights, count, x_rows, d_y_rows, d_x_rows, weight, bias, threads);
}

template <class T>
void bind(py::module_& module, const char* name) {
  py::class_<LinearWeights<T>, std::shared_ptr<LinearWeights<T>>>(module, name, made_here())
      .def_readonly("input_size", &LinearWeights<T>::input_size)
      .def_readonly("output_size", &LinearWeights<T>::output_size)
      .def_readonly("has_bias", &LinearWeights<T>::has_bias)
      .def_property_readonly("dtype", [](const LinearWeights<T>&) { return py::dtype::of<T>(); });
  module.def("linear_forward", &forward<T>);
  module.def("linear_backward", &backward<T>);
}

py::object pack_linear(const py::array& weight, const OptionalArray& bias) {
  if (weight.dtype().equal(py::dtype::of<double>())) return py::cast(pack<double>(weight, bias));
  return py::cast(pack<float>(weight, bias));
}

}  // namespace

void bind_linear(py::module_& module) {
  bind<float>(module, "LinearWeights32");
  bind<double>(module, "LinearWeights64");
  module.def("pack_linear", &pack_linear);
}

}  // namespace gru::bindings
