// Sums over the rows of matrices that are read once: attention.
//
// A matrix has `rows` rows of `columns` elements, the first ones of which stand `row` elements apart. The order of a
// sum does not depend on what is computed beside it.
#pragma once

#include "elementwise.inc.h"

namespace gru {
namespace {

// Calls function<N>(first) for all of some things, four at a time as long as there are as many.
template <class Function>
GRU_INLINE void by_fours(size_t size, Function function) {
  size_t i = 0;
  for (; i + 4 <= size; i += 4) function.template operator()<4>(i);
  for (; i < size; ++i) function.template operator()<1>(i);
}

// to[row] = matrix[row] · x
template <class T>
void row_products(const RowBlock<const T>& matrix, const T* x, T* to) {
  using V = Vector<T>;
  by_fours(matrix.rows, [&]<size_t N>(size_t first) GRU_LAMBDA_INLINE {
    typename V::Reg sums[N];
    GRU_FOR (i, 0, N) sums[i] = V::zero();
    for (size_t column = 0; column < matrix.columns; column += V::width) {
      const size_t n = at_most(matrix.columns - column, V::width);
      const auto factor = load_units<T>(x + column, n);
      GRU_FOR (i, 0, N) sums[i] = V::fma(load_units<T>(matrix.at(first + i) + column, n), factor, sums[i]);
    }
    GRU_FOR (i, 0, N) to[first + i] = sum_of_lanes<T>(sums[i]);
  });
}

// to = sum over rows of weights[row] * matrix[row]
template <class T>
void weighted_rows(const RowBlock<const T>& matrix, const T* weights, T* to) {
  using V = Vector<T>;
  by_fours(divide_up(matrix.columns, V::width), [&]<size_t N>(size_t first) GRU_LAMBDA_INLINE {
    const auto column = [&](size_t i) GRU_LAMBDA_INLINE { return (first + i) * V::width; };
    const auto units = [&](size_t i) GRU_LAMBDA_INLINE { return at_most(matrix.columns - column(i), V::width); };
    typename V::Reg sums[N];
    GRU_FOR (i, 0, N) sums[i] = V::zero();
    for (size_t row = 0; row < matrix.rows; ++row) {
      const auto weight = V::set(weights[row]);
      GRU_FOR (i, 0, N) sums[i] = V::fma(weight, load_units<T>(matrix.at(row) + column(i), units(i)), sums[i]);
    }
    GRU_FOR (i, 0, N) store_units<T>(to + column(i), sums[i], units(i));
  });
}

// matrix[row] += weights[row] * x
template <class T>
void add_to_rows(const RowBlock<T>& matrix, const T* weights, const T* x) {
  using V = Vector<T>;
  for (size_t row = 0; row < matrix.rows; ++row) {
    const auto weight = V::set(weights[row]);
    T* const to = matrix.at(row);
    for (size_t column = 0; column < matrix.columns; column += V::width) {
      const size_t n = at_most(matrix.columns - column, V::width);
      const auto sum = V::fma(weight, load_units<T>(x + column, n), load_units<T>(to + column, n));
      store_units<T>(to + column, sum, n);
    }
  }
}

// to[row] = v · tanh(matrix[row] + x)
template <class T>
void tanh_products(const RowBlock<const T>& matrix, const T* x, const T* v, T* to) {
  using V = Vector<T>;
  by_fours(matrix.rows, [&]<size_t N>(size_t first) GRU_LAMBDA_INLINE {
    using Several = Vectors<T, N>;
    typename V::Reg sums[N];
    GRU_FOR (i, 0, N) sums[i] = V::zero();
    for (size_t column = 0; column < matrix.columns; column += V::width) {
      const size_t n = at_most(matrix.columns - column, V::width);
      const auto term = load_units<T>(x + column, n), factor = load_units<T>(v + column, n);
      const auto t = tanh<Several>(Several::make(
          [&](size_t i) GRU_LAMBDA_INLINE { return V::add(load_units<T>(matrix.at(first + i) + column, n), term); }));
      GRU_FOR (i, 0, N) sums[i] = V::fma(t.of[i], factor, sums[i]);
    }
    GRU_FOR (i, 0, N) to[first + i] = sum_of_lanes<T>(sums[i]);
  });
}

// Adds the gradients of that, from d[row] of to[row].
template <class T>
void tanh_products_backward(const RowBlock<const T>& matrix, const T* x, const T* v, const T* d,
                            const RowBlock<T>& d_matrix, T* d_x, T* d_v) {
  using V = Vector<T>;
  by_fours(matrix.rows, [&]<size_t N>(size_t first) GRU_LAMBDA_INLINE {
    using Several = Vectors<T, N>;
    for (size_t column = 0; column < matrix.columns; column += V::width) {
      const size_t n = at_most(matrix.columns - column, V::width);
      const auto term = load_units<T>(x + column, n), factor = load_units<T>(v + column, n);
      const auto t = tanh<Several>(Several::make(
          [&](size_t i) GRU_LAMBDA_INLINE { return V::add(load_units<T>(matrix.at(first + i) + column, n), term); }));
      auto sum_x = load_units<T>(d_x + column, n), sum_v = load_units<T>(d_v + column, n);
      GRU_FOR (i, 0, N) {
        const auto own = V::set(d[first + i]), flow = times_tanh_slope<T>(V::mul(own, factor), t.of[i]);
        T* const to = d_matrix.at(first + i) + column;
        store_units<T>(to, V::add(load_units<T>(to, n), flow), n);
        sum_x = V::add(sum_x, flow);
        sum_v = V::fma(own, t.of[i], sum_v);
      }
      store_units<T>(d_x + column, sum_x, n);
      store_units<T>(d_v + column, sum_v, n);
    }
  });
}

}  // namespace
}  // namespace gru
