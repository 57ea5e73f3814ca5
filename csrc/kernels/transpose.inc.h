// What packing needs: transposition and copies.
#pragma once

#include "epilogue.inc.h"

namespace gru {
namespace {

// Of `zipped` rows each stage zips the upper half into the lower one; after log2(zipped) stages rows are columns. Where
// a vector has two groups of them, their halves change places.
template <class T>
GRU_INLINE void transpose_square(typename Vector<T>::Reg* rows) {
  using V = Vector<T>;
  constexpr size_t W = V::width, Z = V::zipped;
  GRU_UNROLL
  for (size_t stage = 1; stage < Z; stage *= 2) {
    typename V::Reg zipped[W];
    GRU_FOR (group, 0, W / Z)
      GRU_FOR (i, 0, Z / 2) {
        const typename V::Reg *const low = rows + group * Z + i, *const high = low + Z / 2;
        zipped[group * Z + 2 * i] = V::zip_low(*low, *high);
        zipped[group * Z + 2 * i + 1] = V::zip_high(*low, *high);
      }
    GRU_FOR (i, 0, W) rows[i] = zipped[i];
  }
  if constexpr (Z < W)
    GRU_FOR (i, 0, Z) {
      const auto low = V::low_halves(rows[i], rows[i + Z]);
      rows[i + Z] = V::high_halves(rows[i], rows[i + Z]);
      rows[i] = low;
    }
}

template <class T>
void transpose(size_t rows, size_t columns, const T* from, ptrdiff_t from_row, T* to, ptrdiff_t to_row) {
  using V = Vector<T>;
  constexpr size_t W = V::width;
  for (size_t row = 0; row < rows; row += W)
    for (size_t column = 0; column < columns; column += W) {
      const T* source = from + static_cast<ptrdiff_t>(row) * from_row + column;
      T* target = to + static_cast<ptrdiff_t>(column) * to_row + row;
      const size_t tall = at_most(rows - row, W), wide = at_most(columns - column, W);
      typename V::Reg square[W];
      if (tall == W && wide == W) {
        GRU_FOR (i, 0, W) square[i] = V::load(source + static_cast<ptrdiff_t>(i) * from_row);
        transpose_square<T>(square);
        GRU_FOR (i, 0, W) V::store(target + static_cast<ptrdiff_t>(i) * to_row, square[i]);
      } else {
        GRU_FOR (i, 0, W)
          square[i] = i < tall ? V::load_first(source + static_cast<ptrdiff_t>(i) * from_row, wide) : V::zero();
        transpose_square<T>(square);
        GRU_FOR (i, 0, W)
          if (i < wide) V::store_first(target + static_cast<ptrdiff_t>(i) * to_row, square[i], tall);
      }
    }
}

template <class T>
void copy_rows(size_t rows, size_t n, const T* from, ptrdiff_t from_row, T* to, ptrdiff_t to_row) {
  constexpr ptrdiff_t ahead = 16;  // rows of the next copies
  for (size_t row = 0; row < rows; ++row, from += from_row, to += to_row) {
    __builtin_prefetch(from + ahead * from_row);
    Vector<T>::store(to, load_units<T>(from, n));
  }
}

}  // namespace
}  // namespace gru
