#include <algorithm>

#include "arrays.h"
#include "module.h"

namespace gru::bindings {

namespace {

// Every value must be in [0, limit), or be `exempt`.
void check_range(const int64_t* values, size_t count, size_t limit, int64_t exempt, const char* name) {
  for (size_t i = 0; i < count; ++i)
    if (values[i] != exempt && (values[i] < 0 || static_cast<size_t>(values[i]) >= limit))
      refuse(name, "0 to " + std::to_string(limit) + " (exclusive), got " + std::to_string(values[i]));
}

void cross_entropy(const py::array& logits, const py::array& targets, int64_t ignore_index, double smoothing,
                   const py::array& losses, const OptionalArray& gradient, int threads) {
  const size_t count = axis_size(logits, "logits", 0), classes = axis_size(logits, "logits", 1);
  const auto* target = contiguous<const int64_t>(targets, "targets", {count});
  check_range(target, count, classes, ignore_index, "targets");
  auto* loss = contiguous<double>(losses, "losses", {count});
  checked_threads(threads);
  for_dtype(logits, [&](auto zero) {
    using T = decltype(zero);
    const T* from = contiguous<const T>(logits, "logits", {count, classes});
    T* to = contiguous<T>(gradient, "d_logits", {count, classes});
    py::gil_scoped_release release;
    softmax_cross_entropy(count, classes, from, target, ignore_index, smoothing, loss, to, threads);
  });
}

void embedding(const py::array& indices, const py::array& d_y, const py::array& d_weight, int64_t padding,
               int threads) {
  const size_t count = axis_size(indices, "indices", 0);
  const size_t entries = axis_size(d_weight, "d_weight", 0), size = axis_size(d_weight, "d_weight", 1);
  const auto* index = contiguous<const int64_t>(indices, "indices", {count});
  padding = std::max<int64_t>(padding, -1);
  check_range(index, count, entries, padding, "indices");
  checked_threads(threads);
  for_dtype(d_weight, [&](auto zero) {
    using T = decltype(zero);
    const auto from = rows<const T>(d_y, "d_output", count, size);
    T* to = contiguous<T>(d_weight, "d_weight", {entries, size});
    py::gil_scoped_release release;
    embedding_backward(count, index, from, entries, size, padding, to, threads);
  });
}

void drop(const py::array& x, const py::array& y, uint64_t key, double p, int threads) {
  const auto size = axis_size(x, "x", 0);
  if (!(p >= 0 && p <= 1)) refuse("p", "0 to 1");
  checked_threads(threads);
  for_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const T* from = contiguous<const T>(x, "x", {size});
    T* to = contiguous<T>(y, "output", {size});
    py::gil_scoped_release release;
    dropout(size, from, to, key, p, threads);
  });
}

template <bool is_sigmoid>
void activation(const py::array& x, const py::array& y) {
  const auto size = axis_size(x, "x", 0);
  for_dtype(x, [&](auto zero) {
    using T = decltype(zero);
    const T* from = contiguous<const T>(x, "x", {size});
    T* to = contiguous<T>(y, "output", {size});
    py::gil_scoped_release release;
    is_sigmoid ? sigmoid(size, from, to) : tanh(size, from, to);
  });
}

}  // namespace

void bind_elementwise(py::module_& module) {
  module.def("softmax_cross_entropy", &cross_entropy);
  module.def("embedding_backward", &embedding);
  module.def("dropout", &drop);
  module.def("sigmoid", &activation<true>);
  module.def("tanh", &activation<false>);
}

}  // namespace gru::bindings
