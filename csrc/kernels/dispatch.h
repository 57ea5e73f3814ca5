// Which instruction set a process computes with.
#pragma once

#include <string>
#include <vector>

#include "table.h"

namespace gru {

// Names of the sets that were compiled in, lowest first; of those, the ones that this CPU has and its OS enables.
std::vector<std::string> built_isas();
std::vector<std::string> supported_isas();

// The set that new weights are packed for: the highest supported one, or the one that the environment variable
// GRU_NATIVE_ISA names, which can only lower the choice.
// Throws std::invalid_argument for an unknown name or for a set that is not supported here.
const Isa& active_isa();

// One that every CPU has.
const Isa& lowest_isa();

template <class T>
const Kernels<T>& kernels_of(const Isa& isa);
template <>
inline const Kernels<float>& kernels_of<float>(const Isa& isa) {
  return *isa.float32;
}
template <>
inline const Kernels<double>& kernels_of<double>(const Isa& isa) {
  return *isa.float64;
}

}  // namespace gru
