// Functions of plain arrays.
#pragma once

#include "epilogue.inc.h"
#include "functions.inc.h"

namespace gru {
namespace {

template <class T, class Function>
GRU_INLINE void for_each_vector(size_t size, const T* x, T* y, Function function) {
  using V = Vector<T>;
  for (size_t i = 0; i < size; i += V::width) {
    const size_t n = at_most(size - i, V::width);
    store_units<T>(y + i, function(load_units<T>(x + i, n)), n);
  }
}

template <class T>
void sigmoid_all(size_t size, const T* x, T* y) {
  for_each_vector<T>(size, x, y, [](auto v) GRU_LAMBDA_INLINE { return sigmoid<Vector<T>>(v); });
}

template <class T>
void tanh_all(size_t size, const T* x, T* y) {
  for_each_vector<T>(size, x, y, [](auto v) GRU_LAMBDA_INLINE { return tanh<Vector<T>>(v); });
}

template <class T>
void activate_all(const Activation<T>& f, size_t size, const T* x, T* y, T* slope) {
  using V = Vector<T>;
  for (size_t i = 0; i < size; i += V::width) {
    const size_t n = at_most(size - i, V::width);
    const Applied<T> applied = value_and_slope(f, load_units<T>(x + i, n));
    store_units<T>(y + i, applied.value, n);
    if (slope) store_units<T>(slope + i, applied.slope, n);
  }
}

template <class T>
T max_of(size_t size, const T* x) {
  using V = Vector<T>;
  T lanes[V::width];
  auto largest = V::set(-static_cast<T>(__builtin_inf()));
  size_t i = 0;
  for (; i + V::width <= size; i += V::width) largest = V::max(V::load(x + i), largest);
  V::store(lanes, largest);
  for (; i < size; ++i) lanes[0] = x[i] > lanes[0] ? x[i] : lanes[0];
  for (size_t lane = 1; lane < V::width; ++lane) lanes[0] = lanes[lane] > lanes[0] ? lanes[lane] : lanes[0];
  return lanes[0];
}

template <class T>
T exp_sum(size_t size, const T* x, T shift, T* y) {
  using V = Vector<T>;
  auto sum = V::zero();
  for_each_vector<T>(size, x, y, [&](auto v) GRU_LAMBDA_INLINE { return exp<Vector<T>>(V::sub(v, V::set(shift))); });
  size_t i = 0;
  for (; i + V::width <= size; i += V::width) sum = V::add(sum, V::load(y + i));
  return sum_of_lanes<T>(V::add(sum, V::load_first(y + i, size - i)));
}

template <class T>
T read_all(size_t size, const T* x, size_t repeats) {
  using V = Vector<T>;
  constexpr size_t W = V::width, N = 8;  // independent sums: two additions a cycle, each of which takes four
  typename V::Reg sums[N];
  GRU_FOR (j, 0, N) sums[j] = V::zero();
  for (size_t repeat = 0; repeat < repeats; ++repeat) {
    size_t i = 0;
    for (; i + N * W <= size; i += N * W)
      GRU_FOR (j, 0, N) sums[j] = V::add(sums[j], V::load(x + i + j * W));
    for (; i < size; i += W) sums[0] = V::add(sums[0], V::load_first(x + i, at_most(size - i, W)));
  }
  GRU_FOR (j, 1, N) sums[0] = V::add(sums[0], sums[j]);
  return sum_of_lanes<T>(sums[0]);
}

}  // namespace
}  // namespace gru
