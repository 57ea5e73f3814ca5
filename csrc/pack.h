// Weights in the order in which the kernels read them: [panel][k][gate][vector], zeros behind the last unit.
#pragma once

#include <algorithm>

#include "gru.h"

namespace gru {

// An empty pack for a product over `k_size` into `units`.
template <class T>
Pack<T> empty_pack(const Kernels<T>& kernels, size_t gates, size_t units, size_t k_size) {
  Pack<T> pack;
  pack.panels = (units + kernels.vector - 1) / kernels.vector;
  const size_t panel_size = product(product(k_size, gates), kernels.vector);
  pack.stride = static_cast<ptrdiff_t>(panel_size);
  pack.chains = kernels.chains(pack.panels, gates);
  pack.buffer = Buffer<T>(product(pack.panels, panel_size));
  return pack;
}

// Packs `gates` matrices of `units` by `k_size`; row(gate, unit) is the address of a unit's weights.
template <class T, class Row>
Pack<T> make_pack(const Kernels<T>& kernels, size_t gates, size_t units, size_t k_size, Row row) {
  const size_t width = kernels.vector;
  Pack<T> pack = empty_pack(kernels, gates, units, k_size);
  // A square at a time, so that what is read by rows and written by columns stays in the first cache.
  constexpr size_t square = 16;
  for (size_t panel = 0; panel < pack.panels; ++panel)
    for (size_t gate = 0; gate < gates; ++gate) {
      T* const to = pack.buffer.data() + (panel * k_size * gates + gate) * width;
      for (size_t first = 0; first < k_size; first += square) {
        const size_t last = std::min(first + square, k_size);
        for (size_t lane = 0; lane < width; ++lane) {
          const size_t unit = panel * width + lane;
          const T* const from = unit < units ? row(gate, unit) : nullptr;
          for (size_t k = first; k < last; ++k) to[k * gates * width + lane] = from ? from[k] : T(0);
        }
      }
    }
  return pack;
}

// Packs the transpose of `gates` matrices of `units` by `columns` for a left factor that is itself
// [panel][gate][vector]: the columns become the units of the product, and k runs over panels, gates and lanes of the
// former units. With a `left_width` of 1 the left factor is a plain row of them.
template <class T, class Row>
Pack<T> make_transposed_pack(const Kernels<T>& kernels, size_t gates, size_t units, size_t columns, size_t left_width,
                             Row row) {
  const size_t width = kernels.vector;
  const size_t left_units = (units + left_width - 1) / left_width * left_width;
  Pack<T> pack = empty_pack(kernels, 1, columns, product(left_units, gates));
  T* to = pack.buffer.data();
  for (size_t panel = 0; panel < pack.panels; ++panel) {
    const size_t column = panel * width, valid = std::min(width, columns - column);
    for (size_t first = 0; first < left_units; first += left_width)
      for (size_t gate = 0; gate < gates; ++gate)
        for (size_t unit = first; unit < first + left_width; ++unit, to += width) {
          const size_t copied = unit < units ? valid : 0;
          if (copied) std::copy_n(row(gate, unit) + column, copied, to);
          std::fill(to + copied, to + width, T(0));
        }
  }
  return pack;
}

}  // namespace gru
