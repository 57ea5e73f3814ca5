// Questions that several functions ask of their arguments.
#pragma once

#include <cstdint>
#include <string>

#include "guard.h"
#include "runtime/team.h"

namespace gru::api {

// An array of a type, by its data.
template <class E, class Data>
E* typed(Data* data, const char* name, bool needed) {
  if (!data && needed) refuse(name, "an array", "NULL");
  if (reinterpret_cast<uintptr_t>(data) % alignof(E)) refuse(name, "an aligned array", "another address");
  return static_cast<E*>(data);
}

inline int checked_threads(int threads) {
  if (threads < 0 || threads > GN_MAX_THREADS)
    refuse("threads", "1 to " + std::to_string(GN_MAX_THREADS) + ", or 0", std::to_string(threads));
  return threads ? threads : gn_default_threads();
}

// Runs function(T()) for a type.
template <class Function>
void for_type(gn_type type, Function function) {
  if (type == GN_FLOAT32) return function(float());
  if (type == GN_FLOAT64) return function(double());
  refuse("type", "one of gn_type", std::to_string(type));
}

}  // namespace gru::api
