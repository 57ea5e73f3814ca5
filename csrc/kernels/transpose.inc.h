// What packing needs: transposition and copies.
#pragma once

#include "epilogue.inc.h"

namespace gru {
namespace {

// Each stage zips the upper half of the rows into the lower one; after log2(width) stages rows are columns.
template <class T>
GRU_INLINE void transpose_square(typename Vector<T>::Reg* rows) {
  using V = Vector<T>;
  constexpr size_t W = V::width;
  GRU_UNROLL
  for (size_t stage = 1; stage < W; stage *= 2) {
    typename V::Reg zipped[W];
    GRU_FOR (i, 0, W / 2) {
      zipped[2 * i] = V::zip_low(rows[i], rows[i + W / 2]);
      zipped[2 * i + 1] = V::zip_high(rows[i], rows[i + W / 2]);
    }
    GRU_FOR (i, 0, W) rows[i] = zipped[i];
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
void copy_rows(size_t rows, size_t n, const T* from, ptrdiff_t from_row, T* to) {
  for (size_t row = 0; row < rows; ++row, from += from_row, to += Vector<T>::width)
    Vector<T>::store(to, load_units<T>(from, n));
}

}  // namespace
}  // namespace gru
