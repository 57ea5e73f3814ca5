// Sums over rows: the gradients of weights.
#pragma once

#include "vocabulary.inc.h"

namespace gru {
namespace {

// Columns of a tile of an outer product of G gates, of which the last may have fewer. Eight sums are enough that no
// multiply-add waits for the one before; with AVX-512 more bring nothing.
template <class T, size_t G>
constexpr size_t outer_columns = at_most(Vector<T>::accumulators / G, 8);

// [tile][row][column of the tile]: each tile reads a range from its beginning to its end. Some rows go to all tiles
// before the next ones do, while their lines are in cache.
template <class T, size_t G>
void pack_outer(size_t rows, const T* const* from, ptrdiff_t offset, size_t columns, T* to) {
  constexpr size_t widest = outer_columns<T, G>, at_a_time = 16, ahead = 32;
  for (size_t first = 0; first < rows; first += at_a_time) {
    const size_t last = at_most(first + at_a_time, rows);
    for (size_t column = 0; column < columns; column += widest) {
      const size_t wide = at_most(widest, columns - column);
      T* packed = to + column * rows + first * wide;
      for (size_t row = first; row < last; ++row, packed += wide) {
        const T* source = from[row] + offset + column;
        if (row + ahead < rows) __builtin_prefetch(from[row + ahead] + offset + column);
        if (wide == widest)
          __builtin_memcpy(packed, source, widest * sizeof(T));
        else
          for (size_t i = 0; i < wide; ++i) packed[i] = source[i];
      }
    }
  }
}

// R columns from `column`, of G gates each.
template <class T, size_t G, size_t R>
void outer_tile(const Outer<T>& job, size_t column, const T* ahead) {
  using V = Vector<T>;
  typename V::Reg sums[R][G];
  GRU_FOR (r, 0, R)
    GRU_FOR (g, 0, G) sums[r][g] = V::zero();
  const bool packed = job.left_row == 0;
  const ptrdiff_t left_row = packed ? static_cast<ptrdiff_t>(R) : job.left_row;
  const T* left = job.left + column * (packed ? job.packed_rows : 1) + static_cast<ptrdiff_t>(job.first_row) * left_row;
  const T* right = job.right + static_cast<ptrdiff_t>(job.first_row) * job.right_row;
  for (size_t row = job.first_row; row < job.last_row; ++row, left += left_row, right += job.right_row) {
    if (ahead) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += job.right_row;
    }
    typename V::Reg gates[G];
    GRU_FOR (g, 0, G) gates[g] = V::load(right + g * V::width);
    GRU_FOR (r, 0, R) {
      const auto value = V::set(left[r]);
      GRU_FOR (g, 0, G) sums[r][g] = V::fma(value, gates[g], sums[r][g]);
    }
  }
  T* to = job.sums + column * G * V::width;
  GRU_FOR (r, 0, R)
    GRU_FOR (g, 0, G) {
      V::store(to, job.accumulate ? V::add(V::load(to), sums[r][g]) : sums[r][g]);
      to += V::width;
    }
}

// The tiles of every width.
template <class T, size_t G>
struct OuterTiles {
  void (*of[outer_columns<T, G>])(const Outer<T>&, size_t, const T*) = {};

  constexpr OuterTiles() { fill<1>(); }

 private:
  template <size_t R>
  constexpr void fill() {
    of[R - 1] = outer_tile<T, G, R>;
    if constexpr (R < outer_columns<T, G>) fill<R + 1>();
  }
};

template <class T, size_t G>
constexpr OuterTiles<T, G> outer_tiles;

template <class T, size_t G>
void add_totals(const Outer<T>& job) {
  using V = Vector<T>;
  typename V::Reg totals[G];
  GRU_FOR (g, 0, G) totals[g] = job.accumulate ? V::load(job.totals + g * V::width) : V::zero();
  const T* right = job.right + static_cast<ptrdiff_t>(job.first_row) * job.right_row;
  for (size_t row = job.first_row; row < job.last_row; ++row, right += job.right_row)
    GRU_FOR (g, 0, G) totals[g] = V::add(totals[g], V::load(right + g * V::width));
  GRU_FOR (g, 0, G) V::store(job.totals + g * V::width, totals[g]);
}

template <class T, size_t G>
void outer(const Outer<T>& job) {
  size_t gate = 0;
  for (size_t column = 0; column < job.columns; column += outer_columns<T, G>) {
    const size_t wide = at_most(outer_columns<T, G>, job.columns - column);
    const T* ahead = job.ahead && gate < G ? job.ahead + gate++ * Vector<T>::width : nullptr;
    outer_tiles<T, G>.of[wide - 1](job, column, ahead);
  }
  if (job.totals) add_totals<T, G>(job);
}

}  // namespace
}  // namespace gru
