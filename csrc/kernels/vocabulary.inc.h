// What the bodies of all kernels are written in.
//
// An instruction set's file defines, in an anonymous namespace, for T = float and double a `Vector<T>` with
//   Reg                          the register type
//   width, accumulators          elements in a register; registers that a tile may use for its sums
//   load, store                  whole vectors, unaligned
//   load_first, store_first      the first n elements (loading zeros behind them)
//   first                        the first n elements of a register, zeros behind them
//   set, zero, add, sub, mul, fma(a, b, c) = a * b + c, fms(a, b, c) = a * b - c
//   divide(a, b, c)              a / (b + c), where c is within the rounding of b
//   min, max                     the second argument when either is NaN
//   where_positive(a, b)         b where a > 0, zero elsewhere
//   negate_like(a, s)            a with the sign of s flipped into it (a xor sign of s)
//   magnitude                    |a|
//   exponent                     the number whose exponent is the lowest bits of a: see ExpConstants' shifter
//   zip_low, zip_high            the elements of a and b by turns, from their lower and from their upper halves
#pragma once

#include "table.h"

#define GRU_UNROLL _Pragma("GCC unroll 64")
#define GRU_FOR(i, begin, end) \
  GRU_UNROLL                   \
  for (size_t i = begin; i < (end); ++i)
#define GRU_LAMBDA_INLINE __attribute__((always_inline))
#define GRU_INLINE inline __attribute__((always_inline))

namespace gru {
namespace {

constexpr size_t at_most(size_t value, size_t limit) { return value < limit ? value : limit; }
constexpr size_t at_least(size_t value, size_t limit) { return value > limit ? value : limit; }
constexpr size_t divide_up(size_t value, size_t by) { return (value + by - 1) / by; }

template <class T>
struct Vector;

template <class T>
GRU_INLINE T sum_of_lanes(typename Vector<T>::Reg value) {
  T lanes[Vector<T>::width];
  Vector<T>::store(lanes, value);
  for (size_t lane = 1; lane < Vector<T>::width; ++lane) lanes[0] += lanes[lane];
  return lanes[0];
}

}  // namespace
}  // namespace gru
