// Vectors of units in the order in which a tile reads them.
#pragma once

#include "kernels/table.h"
#include "runtime/buffer.h"

namespace gru {

// [panel][gate][vector] of value(gate, unit).
template <class T, class Value>
Buffer<T> make_bias(const Kernels<T>& kernels, size_t gates, size_t units, Value value) {
  const size_t width = kernels.vector, panels = (units + width - 1) / width;
  Buffer<T> bias(panels * gates * width);
  T* to = bias.data();
  for (size_t first = 0; first < units; first += width)
    for (size_t gate = 0; gate < gates; ++gate)
      for (size_t unit = first; unit < first + width; ++unit) *to++ = unit < units ? value(gate, unit) : T(0);
  return bias;
}

}  // namespace gru
