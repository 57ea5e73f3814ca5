#pragma once

#include "arrays.h"

namespace gru::bindings {

// keys (B, S, A) and values (B, S, M).
inline gn_memory memory_of(const py::array& keys, const py::array& values, const OptionalArray& score,
                           const OptionalArray& lengths, size_t heads, const py::dtype& dtype) {
  gn_memory memory{};
  memory.size = sizeof memory;
  memory.batch = axis_size(keys, "keys", 0);
  memory.steps = axis_size(keys, "keys", 1);
  memory.key_size = axis_size(keys, "keys", 2);
  memory.value_size = axis_size(values, "values", 2);
  memory.heads = heads;
  memory.keys = read(keys, "keys", dtype, {memory.batch, memory.steps, memory.key_size});
  memory.values = read(values, "values", dtype, {memory.batch, memory.steps, memory.value_size});
  if (score) memory.score = read(*score, "score", dtype, {memory.key_size});
  if (lengths)
    memory.lengths = static_cast<const int64_t*>(read(*lengths, "lengths", py::dtype::of<int64_t>(), {memory.batch}));
  return memory;
}

}  // namespace gru::bindings
