#include "attention.h"

#include "module.h"

namespace gru::bindings {

namespace {

void attend(const py::array& keys, const py::array& values, const OptionalArray& score, const OptionalArray& lengths,
            size_t heads, const py::array& queries, const py::array& weights, const py::array& context, int threads) {
  const gn_type type = type_of(keys);
  const py::dtype dtype = dtype_of(type);
  const gn_memory memory = memory_of(keys, values, score, lengths, heads, dtype);
  const size_t count = axis_size(queries, "queries", 0);
  const void* const from = read(queries, "queries", dtype, {count, memory.batch, memory.key_size});
  void* const to_weights = written(weights, "weights", dtype, {count, memory.batch, heads, memory.steps});
  void* const to = written(context, "context", dtype, {count, memory.batch, memory.value_size});
  run([&](gn_error* error) {
    return gn_attention_forward(type, &memory, count, from, to_weights, to, threads, error);
  });
}

void attend_backward(const py::array& keys, const py::array& values, const OptionalArray& score,
                     const OptionalArray& lengths, size_t heads, const py::array& queries, const py::array& weights,
                     const py::array& d_context, const py::array& d_queries, const py::array& d_keys,
                     const py::array& d_values, const OptionalArray& d_score, int threads) {
  const gn_type type = type_of(keys);
  const py::dtype dtype = dtype_of(type);
  const gn_memory memory = memory_of(keys, values, score, lengths, heads, dtype);
  const size_t count = axis_size(queries, "queries", 0), B = memory.batch, A = memory.key_size, M = memory.value_size;
  if (score.has_value() != d_score.has_value()) refuse("d_score", "an array beside a score alone");
  const void* const from = read(queries, "queries", dtype, {count, B, A});
  const void* const weight = read(weights, "weights", dtype, {count, B, heads, memory.steps});
  const void* const gradients = read(d_context, "d_context", dtype, {count, B, M});
  void* const to_queries = written(d_queries, "d_queries", dtype, {count, B, A});
  void* const to_keys = written(d_keys, "d_keys", dtype, {B, memory.steps, A});
  void* const to_values = written(d_values, "d_values", dtype, {B, memory.steps, M});
  void* const to_score = written(d_score, "d_score", dtype, {A});
  run([&](gn_error* error) {
    return gn_attention_backward(type, &memory, count, from, weight, gradients, to_queries, to_keys, to_values,
                                 to_score, threads, error);
  });
}

}  // namespace

void bind_attention(py::module_& module) {
  module.def("attention_forward", &attend);
  module.def("attention_backward", &attend_backward);
}

}  // namespace gru::bindings
