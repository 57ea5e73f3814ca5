#include <array>
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

// Sequences in either order of axes, of which the last one is contiguous.
struct Sequences {
  Sequences(const py::array& array, const char* name, const py::dtype& dtype, size_t features, bool batch_first)
      : data(array.data()) {
    if (!array.dtype().equal(dtype)) refuse(name, "dtype " + std::string(py::str(dtype)));
    if (array.ndim() != 3 || axis_size(array, name, 2) != features) refuse(name, "another shape");
    steps = axis_size(array, name, batch_first ? 1 : 0);
    batch = axis_size(array, name, batch_first ? 0 : 1);
    if (array.size() == 0) return;
    const auto item = array.itemsize();
    if (array.strides(0) % item || array.strides(1) % item) refuse(name, "aligned rows");
    if (features > 1 && array.strides(2) != item) refuse(name, "a contiguous last axis");
    stride[0] = array.strides(batch_first ? 1 : 0) / item;
    stride[1] = array.strides(batch_first ? 0 : 1) / item;
  }
  gn_input input() const { return {data, {stride[0], stride[1]}}; }
  gn_output output() const { return {const_cast<void*>(data), {stride[0], stride[1]}}; }

  const void* data;
  size_t steps, batch;
  ptrdiff_t stride[2] = {0, 0};
};

// kernel, stride, dilation, left, right
using Window = std::array<size_t, 5>;

gn_convolution convolution_of(const LinearWeights& weights, const Sequences& x, const Window& window,
                              const OptionalArray& lengths, int threads) {
  gn_convolution call{};
  call.size = sizeof call;
  call.linear = weights.handle.get();
  call.kernel = window[0];
  call.stride = window[1];
  call.dilation = window[2];
  call.left = window[3];
  call.right = window[4];
  call.steps = x.steps;
  call.batch = x.batch;
  if (lengths)
    call.lengths = static_cast<const int64_t*>(read(*lengths, "lengths", py::dtype::of<int64_t>(), {x.batch}));
  call.x = x.input();
  call.threads = threads;
  return call;
}

// Steps of the output: what gn_convolution says of them.
size_t output_steps(size_t steps, const Window& window) {
  const auto [kernel, stride, dilation, left, right] = window;
  if (kernel == 0 || stride == 0) refuse("window", "a kernel and a stride from 1 up");
  const size_t given = steps + left + right, reach = (kernel - 1) * dilation;
  return steps == 0 || given <= reach ? 0 : (given - reach - 1) / stride + 1;
}

Sequences result(const py::array& array, const char* name, const LinearWeights& weights, const Sequences& x,
                 const Window& window, bool batch_first) {
  const Sequences own(array, name, dtype_of(weights.type), weights.output_size, batch_first);
  if (own.batch != x.batch || own.steps != output_steps(x.steps, window)) refuse(name, "another shape");
  return own;
}

size_t channels(const LinearWeights& weights, const Window& window) {
  if (window[0] == 0 || weights.input_size % window[0]) refuse("window", "a kernel that the weights have");
  return weights.input_size / window[0];
}

void convolve(const LinearWeights& weights, const py::array& x, const Window& window, const OptionalArray& lengths,
              bool batch_first, const py::array& y, int threads) {
  const Sequences from(x, "x", dtype_of(weights.type), channels(weights, window), batch_first);
  const Sequences to = result(y, "output", weights, from, window, batch_first);
  if (!y.writeable()) refuse("output", "a writable array");
  const gn_convolution call = convolution_of(weights, from, window, lengths, threads);
  const gn_output output = to.output();
  run([&](gn_error* error) { return gn_convolution_forward(&call, &output, error); });
}

void convolve_backward(const LinearWeights& weights, const py::array& x, const Window& window,
                       const OptionalArray& lengths, bool batch_first, const py::array& d_y, const py::array& d_x,
                       const py::array& d_weight, const OptionalArray& d_bias, int threads) {
  const py::dtype dtype = dtype_of(weights.type);
  const size_t C = channels(weights, window);
  const Sequences from(x, "x", dtype, C, batch_first), to(d_x, "d_x", dtype, C, batch_first);
  if (to.batch != from.batch || to.steps != from.steps) refuse("d_x", "another shape");
  if (!d_x.writeable()) refuse("d_x", "a writable array");
  const gn_input gradients = result(d_y, "d_output", weights, from, window, batch_first).input();
  void* const to_weight = written(d_weight, "d_weight", dtype, {weights.output_size, weights.input_size});
  void* const to_bias = written(d_bias, "d_bias", dtype, {weights.output_size});
  const gn_convolution call = convolution_of(weights, from, window, lengths, threads);
  const gn_output output = to.output();
  run([&](gn_error* error) { return gn_convolution_backward(&call, &gradients, &output, to_weight, to_bias, error); });
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
  module.def("convolution_forward", &convolve);
  module.def("convolution_backward", &convolve_backward);
}

}  // namespace gru::bindings
