// Weights in the order in which the kernels read them: [panel][k][gate][vector], zeros behind the last unit.
#pragma once

#include "gru.h"

namespace gru {

// Packs `gates` matrices of `units` by `k_size`; element(gate, unit, k) gives a weight.
template <class T, class Element>
Pack<T> make_pack(const Kernels<T>& kernels, size_t gates, size_t units, size_t k_size, Element element) {
  const size_t width = kernels.vector;
  Pack<T> pack;
  pack.panels = (units + width - 1) / width;
  pack.chains = kernels.chains(pack.panels, gates);
  if (units == 0 || k_size == 0) return pack;  // either may be the larger of an empty array's sizes
  const size_t panel_size = product(product(k_size, gates), width);
  pack.stride = static_cast<ptrdiff_t>(panel_size);
  pack.buffer = Buffer<T>(product(pack.panels, panel_size));
  T* to = pack.buffer.data();
  for (size_t panel = 0; panel < pack.panels; ++panel)
    for (size_t k = 0; k < k_size; ++k)
      for (size_t gate = 0; gate < gates; ++gate)
        for (size_t lane = 0; lane < width; ++lane) {
          const size_t unit = panel * width + lane;
          *to++ = unit < units ? element(gate, unit, k) : T(0);
        }
  return pack;
}

// Packs the transpose of `gates` matrices of `units` by `columns` for a left factor that is itself [panel][gate][vector]:
// the columns become the units of the product, and k runs over panels, gates and lanes of the former units.
template <class T, class Element>
Pack<T> make_transposed_pack(const Kernels<T>& kernels, size_t gates, size_t units, size_t columns, Element element) {
  const size_t width = kernels.vector, block = gates * width;
  const size_t k_size = product((units + width - 1) / width, block);
  return make_pack(kernels, 1, columns, k_size, [&](size_t, size_t column, size_t k) {
    const size_t unit = k / block * width + k % width, gate = k % block / width;
    return unit < units ? element(gate, unit, column) : T(0);
  });
}

}  // namespace gru
