#include <algorithm>

#include "arrays.h"
#include "module.h"

namespace gru::bindings {

namespace {

const int64_t* whole_numbers(const py::array& array, const char* name, size_t count) {
  return static_cast<const int64_t*>(read(array, name, py::dtype::of<int64_t>(), {count}));
}

void cross_entropy(const py::array& logits, const py::array& targets, int64_t ignore_index, double smoothing,
                   const py::array& losses, const OptionalArray& gradient, int threads) {
  const size_t count = axis_size(logits, "logits", 0), classes = axis_size(logits, "logits", 1);
  const gn_type type = type_of(logits);
  const void* const from = read(logits, "logits", dtype_of(type), {count, classes});
  const int64_t* const target = whole_numbers(targets, "targets", count);
  auto* const loss = static_cast<double*>(written(losses, "losses", py::dtype::of<double>(), {count}));
  void* const to = written(gradient, "d_logits", dtype_of(type), {count, classes});
  run([&](gn_error* error) {
    return gn_cross_entropy(type, count, classes, from, target, ignore_index, smoothing, loss, to, threads, error);
  });
}

void ctc(const py::array& logits, const py::array& targets, const py::array& input_lengths,
         const py::array& target_lengths, int64_t blank, const py::array& losses, const OptionalArray& gradient,
         int threads) {
  const size_t steps = axis_size(logits, "logits", 0), batch = axis_size(logits, "logits", 1);
  const size_t classes = axis_size(logits, "logits", 2), size = axis_size(targets, "targets", 1);
  const gn_type type = type_of(logits);
  const void* const from = read(logits, "logits", dtype_of(type), {steps, batch, classes});
  const auto* const labels =
      static_cast<const int64_t*>(read(targets, "targets", py::dtype::of<int64_t>(), {batch, size}));
  const int64_t* const lengths = whole_numbers(input_lengths, "input_lengths", batch);
  const int64_t* const sizes = whole_numbers(target_lengths, "target_lengths", batch);
  auto* const loss = static_cast<double*>(written(losses, "losses", py::dtype::of<double>(), {batch}));
  void* const to = written(gradient, "d_logits", dtype_of(type), {steps, batch, classes});
  run([&](gn_error* error) {
    return gn_ctc(type, steps, batch, classes, from, labels, size, lengths, sizes, blank, loss, to, threads, error);
  });
}

// A function of Python's, which is given a list of arrays, for a call that runs without the interpreter's lock.
struct Scorer {
  py::function function;
  size_t classes;

  // Leaves what the function raises behind.
  static bool score(void* user, size_t count, const int64_t* labels, const size_t* ends, double* scores) {
    const py::gil_scoped_acquire lock;
    const auto& own = *static_cast<const Scorer*>(user);
    try {
      py::list prefixes;
      for (size_t i = 0, begin = 0; i < count; begin = ends[i++])
        prefixes.append(py::array_t<int64_t>(static_cast<py::ssize_t>(ends[i] - begin), labels + begin));
      const py::array found = own.function(prefixes);
      const auto* const from =
          static_cast<const double*>(read(found, "scorer", py::dtype::of<double>(), {count, own.classes}));
      std::copy_n(from, count * own.classes, scores);
      return true;
    } catch (py::error_already_set& error) {
      error.restore();
    } catch (const std::exception& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
    return false;
  }
};

void ctc_decode(const py::array& logits, const py::array& input_lengths, int64_t blank, size_t width,
                const std::optional<py::function>& scorer, double alpha, double beta, const py::array& labels,
                const py::array& label_lengths, const py::array& scores, int threads) {
  const size_t steps = axis_size(logits, "logits", 0), batch = axis_size(logits, "logits", 1);
  const size_t classes = axis_size(logits, "logits", 2);
  const gn_type type = type_of(logits);
  const void* const from = read(logits, "logits", dtype_of(type), {steps, batch, classes});
  const int64_t* const lengths = whole_numbers(input_lengths, "input_lengths", batch);
  const auto whole = py::dtype::of<int64_t>();
  auto* const to = static_cast<int64_t*>(written(labels, "labels", whole, {batch, steps}));
  auto* const sizes = static_cast<int64_t*>(written(label_lengths, "label_lengths", whole, {batch}));
  auto* const values = static_cast<double*>(written(scores, "scores", py::dtype::of<double>(), {batch}));
  Scorer own{scorer.value_or(py::function()), classes};
  const gn_ctc_scorer callers{sizeof callers, scorer ? &Scorer::score : nullptr, &own, alpha, beta};
  run([&](gn_error* error) {
    return gn_ctc_decode(type, steps, batch, classes, from, lengths, blank, width, &callers, to, sizes, values, threads,
                         error);
  });
}

void embedding(const py::array& indices, const py::array& d_y, const py::array& d_weight, int64_t padding,
               int threads) {
  const size_t count = axis_size(indices, "indices", 0);
  const size_t entries = axis_size(d_weight, "d_weight", 0), size = axis_size(d_weight, "d_weight", 1);
  const gn_type type = type_of(d_weight);
  const int64_t* const index = whole_numbers(indices, "indices", count);
  const ptrdiff_t row = row_stride(d_y, "d_output", dtype_of(type), count, size);
  const void* const from = d_y.data();
  void* const to = written(d_weight, "d_weight", dtype_of(type), {entries, size});
  run([&](gn_error* error) {
    return gn_embedding_backward(type, count, index, from, row, entries, size, padding, to, threads, error);
  });
}

void drop(const py::array& x, const py::array& y, uint64_t key, double p, int threads) {
  const size_t size = axis_size(x, "x", 0);
  const gn_type type = type_of(x);
  const void* const from = read(x, "x", dtype_of(type), {size});
  void* const to = written(y, "output", dtype_of(type), {size});
  run([&](gn_error* error) { return gn_dropout(type, size, from, to, key, p, threads, error); });
}

template <gn_status (*function)(gn_type, size_t, const void*, void*, gn_error*)>
void activation(const py::array& x, const py::array& y) {
  const size_t size = axis_size(x, "x", 0);
  const gn_type type = type_of(x);
  const void* const from = read(x, "x", dtype_of(type), {size});
  void* const to = written(y, "output", dtype_of(type), {size});
  run([&](gn_error* error) { return function(type, size, from, to, error); });
}

void activate(int function, double alpha, double beta, const py::array& x, const py::array& y,
              const OptionalArray& slope) {
  const size_t size = axis_size(x, "x", 0);
  const gn_type type = type_of(x);
  const void* const from = read(x, "x", dtype_of(type), {size});
  void* const to = written(y, "output", dtype_of(type), {size});
  void* const slopes = written(slope, "slope", dtype_of(type), {size});
  const gn_activation chosen{static_cast<gn_function>(function), alpha, beta};
  run([&](gn_error* error) { return gn_activate(type, &chosen, size, from, to, slopes, error); });
}

void softmax(const py::array& x, const py::array& y, int threads) {
  const size_t rows = axis_size(x, "x", 0), size = axis_size(x, "x", 1);
  const gn_type type = type_of(x);
  const void* const from = read(x, "x", dtype_of(type), {rows, size});
  void* const to = written(y, "output", dtype_of(type), {rows, size});
  run([&](gn_error* error) { return gn_softmax(type, rows, size, from, to, threads, error); });
}

void row_moments(const py::array& x, const py::array& means, const py::array& variances) {
  const size_t rows = axis_size(x, "x", 0), size = axis_size(x, "x", 1);
  const gn_type type = type_of(x);
  const void* const from = read(x, "x", dtype_of(type), {rows, size});
  auto* const mean = static_cast<double*>(written(means, "means", py::dtype::of<double>(), {rows}));
  auto* const variance = static_cast<double*>(written(variances, "variances", py::dtype::of<double>(), {rows}));
  run([&](gn_error* error) { return gn_moments(type, rows, size, from, mean, variance, error); });
}

}  // namespace

void bind_elementwise(py::module_& module) {
  module.def("softmax_cross_entropy", &cross_entropy);
  module.def("ctc", &ctc);
  module.def("ctc_decode", &ctc_decode);
  module.def("embedding_backward", &embedding);
  module.def("dropout", &drop);
  module.def("moments", &row_moments);
  module.def("sigmoid", &activation<gn_sigmoid>);
  module.def("tanh", &activation<gn_tanh>);
  module.def("activate", &activate);
  module.def("softmax", &softmax);
}

}  // namespace gru::bindings
