// exp, sigmoid and tanh of a vector.
#pragma once

#include "vocabulary.inc.h"

namespace gru {
namespace {

// exp(x) = power * (1 + rest): power = 2^k with k = round(x / ln 2), rest = exp(x - k ln 2) - 1.
template <class T>
struct ExpConstants;

// The coefficients of q are a minimax fit of (exp(r) - 1 - r) / r^2 on |r| <= ln(2) / 2, weighted by |r|: its error is
// below 0.01 units in the last place of exp(r) - 1. ln 2 is split so that k * ln2_high is exact. A number added to
// `shifter` is rounded to an integer, which then stands in the lowest bits of the sum, biased as an exponent.
template <>
struct ExpConstants<float> {
  static constexpr float log2e = 1.44269504f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float shifter = 12582912.0f + 127.0f;
  static constexpr float q[] = {0.0001991421804f, 0.001394103656f, 0.008333272974f,
                                0.04166635439f,   0.1666666682f,   0.5000000046f};
  static constexpr float lowest = -88.0f, highest = 88.37f;  // exp is 0 at the one end, a normal number at the other
  static constexpr float tanh_one = 10.0f;                   // tanh rounds to 1 from here on
};
template <>
struct ExpConstants<double> {
  static constexpr double log2e = 1.4426950408889634074, ln2_high = 6.93147180369123816490e-01,
                          ln2_low = 1.90821492927058770002e-10;
  static constexpr double shifter = 6755399441055744.0 + 1023.0;
  static constexpr double q[] = {2.092447678357129303e-9, 2.510908291432076728e-8,   2.755724265538313453e-7,
                                 2.755724408506486157e-6, 0.00002480158736067180875, 0.0001984126988624117006,
                                 0.001388888888886678401, 0.008333333333321589338,   0.04166666666666670146,
                                 0.1666666666666667662,   0.4999999999999999999};
  static constexpr double lowest = -709.0, highest = 709.4;
  static constexpr double tanh_one = 20.0;
};

template <class V>
struct Exp {
  typename V::Reg power, rest;
};

// The parts of exp(sign * x), for sign * x between ExpConstants' lowest and highest, or NaN. The sign goes into the
// constants: with s = sign * r, rest = s + s^2 q(s) in powers of r.
template <class V, int sign>
GRU_INLINE Exp<V> exp_parts(typename V::Reg x) {
  using C = ExpConstants<typename V::Element>;
  constexpr size_t degree = sizeof(C::q) / sizeof(C::q[0]) - 1;
  const auto shifted = V::fma(x, V::set(sign * C::log2e), V::set(C::shifter));
  const auto k = V::sub(shifted, V::set(C::shifter));
  auto r = V::fma(k, V::set(-sign * C::ln2_high), x);
  r = V::fma(k, V::set(-sign * C::ln2_low), r);
  auto q = V::set(degree % 2 ? sign * C::q[0] : C::q[0]);
  GRU_FOR (i, 1, degree + 1) q = V::fma(q, r, V::set((degree - i) % 2 ? sign * C::q[i] : C::q[i]));
  const auto square = V::mul(r, r);
  return {V::exponent(shifted), sign > 0 ? V::fma(square, q, r) : V::fms(square, q, r)};
}

template <class V>
GRU_INLINE typename V::Reg bounded(typename V::Reg x, typename V::Element lowest, typename V::Element highest) {
  return V::max(V::set(lowest), V::min(V::set(highest), x));
}

template <class V>
GRU_INLINE typename V::Reg exp(typename V::Reg x) {
  using C = ExpConstants<typename V::Element>;
  const auto e = exp_parts<V, 1>(bounded<V>(x, C::lowest, C::highest));
  return V::fma(e.power, e.rest, e.power);
}

// 1 / (1 + exp(-x)). What the rounding of the sum lost is taken into the division: the error would else reach 2.5 units
// in the last place. The smallest results are subnormal and so, in a core call, zero.
template <class V>
GRU_INLINE typename V::Reg sigmoid(typename V::Reg x) {
  using C = ExpConstants<typename V::Element>;
  const auto one = V::set(1);
  const auto e = exp_parts<V, -1>(bounded<V>(x, -C::highest, -C::lowest));
  const auto power_1 = V::add(e.power, one);
  const auto sum = V::fma(e.power, e.rest, power_1);
  const auto lost = V::fma(e.power, e.rest, V::sub(power_1, sum));
  return V::divide(one, sum, lost);
}

// With m = exp(2 |x|) - 1, |tanh x| = m / (m + 2): accurate near zero too, because m is.
template <class V>
GRU_INLINE typename V::Reg tanh(typename V::Reg x) {
  const auto two = V::set(2);
  const auto size = V::min(V::set(ExpConstants<typename V::Element>::tanh_one), V::magnitude(x));
  const auto e = exp_parts<V, 1>(V::add(size, size));
  const auto m = V::fma(e.power, e.rest, V::sub(e.power, V::set(1)));
  const auto sum = V::add(m, two);
  const auto lost = V::sub(V::min(two, m), V::sub(sum, V::max(two, m)));
  return V::negate_like(V::divide(m, sum, lost), x);
}

}  // namespace
}  // namespace gru
