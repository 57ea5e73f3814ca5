#include <memory>

#include "arrays.h"
#include "module.h"

namespace gru::bindings {

namespace {

struct Destroy {
  void operator()(gn_linear* linear) const { gn_linear_destroy(linear); }
};

// With the matrix, which the core does not copy.
struct LinearWeights {
  std::unique_ptr<gn_linear, Destroy> handle;
  py::array matrix;
  size_t input_size, output_size;
  bool has_bias;
  gn_type type;
};

std::unique_ptr<LinearWeights> pack(const py::array& weight, const OptionalArray& bias) {
  const size_t output = axis_size(weight, "weight", 0), input = axis_size(weight, "weight", 1);
  const gn_type type = type_of(weight);
  const void* const data = read(weight, "weight", dtype_of(type), {output, input});
  const void* const bias_data = bias ? read(*bias, "bias", dtype_of(type), {output}) : nullptr;
  gn_linear* made = nullptr;
  run([&](gn_error* error) { return gn_linear_create(type, input, output, data, bias_data, &made, error); });
  return std::unique_ptr<LinearWeights>(
      new LinearWeights{std::unique_ptr<gn_linear, Destroy>(made), weight, input, output, bias.has_value(), type});
}

void forward(const LinearWeights& weights, const py::array& x, const py::array& y, int threads) {
  const size_t count = axis_size(x, "x", 0);
  const py::dtype dtype = dtype_of(weights.type);
  const ptrdiff_t x_row = row_stride(x, "x", dtype, count, weights.input_size);
  const ptrdiff_t y_row = row_stride(y, "output", dtype, count, weights.output_size);
  if (!y.writeable()) refuse("output", "a writable array");
  void* const to = const_cast<void*>(y.data());
  const void* const from = x.data();
  run([&](gn_error* error) {
    return gn_linear_forward(weights.handle.get(), count, from, x_row, to, y_row, threads, error);
  });
}

void backward(const LinearWeights& weights, const py::array& x, const py::array& d_y, const OptionalArray& d_x,
              const OptionalArray& d_weight, const OptionalArray& d_bias, int threads) {
  const size_t count = axis_size(x, "x", 0), I = weights.input_size, O = weights.output_size;
  const py::dtype dtype = dtype_of(weights.type);
  const void* const inputs = read(x, "x", dtype, {count, I});
  const void* const gradients = read(d_y, "d_output", dtype, {count, O});
  void* const to_x = written(d_x, "d_x", dtype, {count, I});
  void* const to_weight = written(d_weight, "d_weight", dtype, {O, I});
  void* const to_bias = written(d_bias, "d_bias", dtype, {O});
  run([&](gn_error* error) {
    return gn_linear_backward(weights.handle.get(), count, inputs, gradients, to_x, to_weight, to_bias, threads, error);
  });
}

}  // namespace

void bind_linear(py::module_& module) {
  py::class_<LinearWeights>(module, "LinearWeights", made_here())
      .def_readonly("input_size", &LinearWeights::input_size)
      .def_readonly("output_size", &LinearWeights::output_size)
      .def_readonly("has_bias", &LinearWeights::has_bias)
      .def_property_readonly("dtype", [](const LinearWeights& weights) { return dtype_of(weights.type); });
  module.def("pack_linear", &pack);
  module.def("linear_forward", &forward);
  module.def("linear_backward", &backward);
}

}  // namespace gru::bindings
