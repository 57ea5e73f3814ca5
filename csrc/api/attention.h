// What is attended to, from the structure of a caller's.
#pragma once

#include <string>
#include <vector>

#include "checks.h"
#include "engine/attention.h"
#include "runtime/buffer.h"

namespace gru::api {

template <class T>
AttendedMemory<T> memory_of(const gn_memory* given) {
  gn_memory room;
  const gn_memory& own = taken(given, "memory", room);
  if (own.heads == 0 || own.key_size % own.heads || own.value_size % own.heads)
    refuse("heads", "a divisor of key_size and value_size", std::to_string(own.heads));
  const size_t cells = product(own.steps, own.batch);
  AttendedMemory<T> memory{own.steps,
                           own.batch,
                           own.heads,
                           own.key_size,
                           own.value_size,
                           typed<const T>(own.keys, "keys", product(cells, own.key_size) > 0),
                           typed<const T>(own.values, "values", product(cells, own.value_size) > 0),
                           typed<const T>(own.score, "score", false),
                           {}};
  // A copy: others may write to the caller's array meanwhile.
  for (size_t row = 0; own.lengths && row < own.batch; ++row) {
    const int64_t length = own.lengths[row];
    if (length < 0 || static_cast<size_t>(length) > own.steps)
      refuse("memory.lengths", "0 to " + std::to_string(own.steps), std::to_string(length));
    memory.lengths.push_back(static_cast<size_t>(length));
  }
  return memory;
}

}  // namespace gru::api
