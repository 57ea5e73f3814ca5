// Weights in the order in which the kernels read them: [panel][k][gate][vector], zeros behind the last unit.
#pragma once

#include <algorithm>

#include "gru.h"
#include "plan.h"
#include "team.h"

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

// Fills some panels from `gates` matrices of `units` by `k_size`; row(gate, unit) is the address of a unit's weights,
// and the next unit's follow them.
template <class T, class Row>
void fill_pack(const Kernels<T>& kernels, const Pack<T>& pack, size_t gates, size_t units, size_t k_size, Row row,
               const Part& panels) {
  const size_t width = kernels.vector;
  for (size_t panel = panels.first; panel < panels.last; ++panel)
    for (size_t gate = 0; gate < gates; ++gate) {
      T* const to = pack.buffer.data() + (panel * k_size * gates + gate) * width;
      const size_t unit = panel * width, valid = std::min(width, units - unit);
      if (valid < width)
        for (size_t k = 0; k < k_size; ++k) std::fill_n(to + k * gates * width + valid, width - valid, T(0));
      kernels.transpose(valid, k_size, row(gate, unit), static_cast<ptrdiff_t>(k_size), to,
                        static_cast<ptrdiff_t>(gates * width));
    }
}

// The size of k in a transposed pack.
inline size_t transposed_size(size_t gates, size_t units, size_t left_width) {
  return product((units + left_width - 1) / left_width * left_width, gates);
}

// Fills some panels by the transpose of `gates` matrices of `units` by `columns` for a left factor that is itself
// [panel][gate][vector]: the columns become the units of the product, and k runs over panels, gates and lanes of the
// former units. With a `left_width` of 1 the left factor is a plain row of them.
template <class T, class Row>
void fill_transposed_pack(const Kernels<T>& kernels, const Pack<T>& pack, size_t gates, size_t units, size_t columns,
                          size_t left_width, Row row, const Part& panels) {
  const size_t width = kernels.vector;
  // Panels side by side, so that more than one vector is read at a place, and units at a time if they need no padding.
  constexpr size_t side_by_side = 4, at_a_time = 16;
  const size_t step = left_width == 1 ? at_a_time : left_width;
  for (size_t first = panels.first; first < panels.last; first += side_by_side)
    for (size_t block = 0; block < units; block += step)
      for (size_t gate = 0; gate < gates; ++gate)
        for (size_t panel = first; panel < std::min(first + side_by_side, panels.last); ++panel) {
          const size_t valid = std::min(step, units - block), filled = left_width == 1 ? valid : step;
          T* const to = pack.buffer.data() + static_cast<ptrdiff_t>(panel) * pack.stride +
                        static_cast<ptrdiff_t>((block * gates + gate * filled) * width);
          kernels.copy_rows(valid, std::min(width, columns - panel * width), row(gate, block) + panel * width,
                            static_cast<ptrdiff_t>(columns), to);
          std::fill(to + valid * width, to + filled * width, T(0));
        }
}

// Calls fill(member, members) on a team that suits the packing of so many weights.
template <class Fill>
void fill_in_team(size_t weights, size_t panels, int threads, Fill fill) {
  if (weights == 0) return;                        // however many panels
  constexpr size_t multiply_adds_per_weight = 16;  // that take as long
  int members = plan_members(multiply_adds_per_weight * weights, panels, threads);
  auto work = [&](int member) { fill(member, members); };
  if (!run_team(members, work)) run_team(members = 1, work);
}

}  // namespace gru
