// What the bodies of all kernels are written in.
//
// An instruction set's file defines, in an anonymous namespace, for T = float and double a `Vector<T>` with
//   Element, Reg                 T; the register type
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
//   zip_low, zip_high            the elements of a and b by turns, from their lower and from their upper halves: each
//                                group of `zipped` elements by itself
//   low_halves, high_halves      a half of a, then the same half of b; where a vector is twice `zipped` elements
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

// Makes the compiler keep a value in a register.
template <class Reg>
GRU_INLINE void hold(Reg& value) {
#if defined(__x86_64__)
  __asm__("" : "+v"(value));
#elif defined(__aarch64__)
  __asm__("" : "+w"(value));
#endif
}

// N vectors that go through each operation together: while one waits for its result, the others begin theirs.
template <class T, size_t N>
struct Vectors {
  using Element = T;
  using V = Vector<T>;
  struct Reg {
    typename V::Reg of[N];
  };

  template <class Function>
  static GRU_INLINE Reg make(Function function) {
    Reg result;
    GRU_FOR (i, 0, N) result.of[i] = function(i);
    return result;
  }
  static GRU_INLINE Reg set(T a) {
    return make([&](size_t) GRU_LAMBDA_INLINE { return V::set(a); });
  }
  static GRU_INLINE Reg magnitude(Reg a) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::magnitude(a.of[i]); });
  }
  static GRU_INLINE Reg exponent(Reg a) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::exponent(a.of[i]); });
  }
  static GRU_INLINE Reg add(Reg a, Reg b) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::add(a.of[i], b.of[i]); });
  }
  static GRU_INLINE Reg sub(Reg a, Reg b) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::sub(a.of[i], b.of[i]); });
  }
  static GRU_INLINE Reg mul(Reg a, Reg b) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::mul(a.of[i], b.of[i]); });
  }
  static GRU_INLINE Reg min(Reg a, Reg b) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::min(a.of[i], b.of[i]); });
  }
  static GRU_INLINE Reg max(Reg a, Reg b) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::max(a.of[i], b.of[i]); });
  }
  static GRU_INLINE Reg negate_like(Reg a, Reg b) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::negate_like(a.of[i], b.of[i]); });
  }
  static GRU_INLINE Reg fma(Reg a, Reg b, Reg c) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::fma(a.of[i], b.of[i], c.of[i]); });
  }
  static GRU_INLINE Reg fms(Reg a, Reg b, Reg c) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::fms(a.of[i], b.of[i], c.of[i]); });
  }
  static GRU_INLINE Reg divide(Reg a, Reg b, Reg c) {
    return make([&](size_t i) GRU_LAMBDA_INLINE { return V::divide(a.of[i], b.of[i], c.of[i]); });
  }
};

template <class T>
GRU_INLINE T sum_of_lanes(typename Vector<T>::Reg value) {
  T lanes[Vector<T>::width];
  Vector<T>::store(lanes, value);
  for (size_t lane = 1; lane < Vector<T>::width; ++lane) lanes[0] += lanes[lane];
  return lanes[0];
}

}  // namespace
}  // namespace gru
