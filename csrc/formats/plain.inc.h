// Weights of the type that is computed in: [panel][k][gate][vector], zeros behind the last unit.
#pragma once

#include "../kernels/transpose.inc.h"

namespace gru {
namespace {

// The weights of a unit; the next unit's follow them.
template <class T>
GRU_INLINE const T* row_of(const GateMatrices<T>& from, size_t gate, size_t unit) {
  return from.data + ((from.first + gate) % from.all * from.units + unit) * from.columns;
}

template <class T>
size_t plain_panel_size(const GateMatrices<T>& from, size_t left_width) {
  const size_t k = left_width > 0 ? divide_up(from.units, left_width) * left_width : from.columns;
  return k * from.gates * Vector<T>::width;
}

// Vectors of zeros, or what is behind the first elements of each.
template <class T>
void clear_vectors(size_t vectors, size_t first, T* to, ptrdiff_t apart) {
  for (size_t i = 0; i < vectors; ++i, to += apart)
    for (size_t lane = first; lane < Vector<T>::width; ++lane) to[lane] = T(0);
}

// Panels of units.
template <class T>
void fill_units(const GateMatrices<T>& from, size_t first_panel, size_t last_panel, T* to) {
  constexpr size_t W = Vector<T>::width;
  const auto row = static_cast<ptrdiff_t>(from.gates * W), columns = static_cast<ptrdiff_t>(from.columns);
  for (size_t panel = first_panel; panel < last_panel; ++panel, to += plain_panel_size(from, 0))
    for (size_t gate = 0; gate < from.gates; ++gate) {
      const size_t unit = panel * W, valid = at_most(from.units - unit, W);
      T* const vectors = to + gate * W;
      if (valid < W) clear_vectors(from.columns, valid, vectors, row);
      transpose(valid, from.columns, row_of(from, gate, unit), columns, vectors, row);
    }
}

// Panels of columns.
template <class T>
void fill_columns(const GateMatrices<T>& from, size_t left_width, size_t first_panel, size_t last_panel, T* to) {
  constexpr size_t W = Vector<T>::width;
  // Panels side by side, so that whole lines are read at a place, and units at a time if they need no padding.
  constexpr size_t side_by_side = 256 / (W * sizeof(T)), at_a_time = 16;
  const size_t step = left_width == 1 ? at_a_time : left_width, panel_size = plain_panel_size(from, left_width);
  for (size_t first = first_panel; first < last_panel; first += side_by_side)
    for (size_t unit = 0; unit < from.units; unit += step)
      for (size_t gate = 0; gate < from.gates; ++gate)
        for (size_t panel = first; panel < at_most(first + side_by_side, last_panel); ++panel) {
          const size_t valid = at_most(from.units - unit, step), filled = left_width == 1 ? valid : step;
          T* const vectors = to + (panel - first_panel) * panel_size + (unit * from.gates + gate * filled) * W;
          copy_rows(valid, at_most(from.columns - panel * W, W), row_of(from, gate, unit) + panel * W,
                    static_cast<ptrdiff_t>(from.columns), vectors, static_cast<ptrdiff_t>(W));
          clear_vectors(filled - valid, 0, vectors + valid * W, static_cast<ptrdiff_t>(W));
        }
}

template <class T>
void fill_plain(const GateMatrices<T>& from, size_t left_width, size_t first_panel, size_t last_panel, T* to) {
  left_width > 0 ? fill_columns(from, left_width, first_panel, last_panel, to)
                 : fill_units(from, first_panel, last_panel, to);
}

template <class T>
constexpr Format<T> plain = {plain_panel_size<T>, fill_plain<T>};

}  // namespace
}  // namespace gru
