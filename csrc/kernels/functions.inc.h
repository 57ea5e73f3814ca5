// The functions of gates that are chosen at run time.
#pragma once

#include "activations.inc.h"

namespace gru {
namespace {

template <class T>
struct Applied {
  typename Vector<T>::Reg value, slope;
};

// a where x > 0, b elsewhere.
template <class V>
GRU_INLINE typename V::Reg choose(typename V::Reg x, typename V::Reg a, typename V::Reg b) {
  return V::add(V::where_positive(x, a), V::sub(b, V::where_positive(x, b)));
}

// exp(x) - 1.
template <class V>
GRU_INLINE typename V::Reg exp_minus_1(typename V::Reg x) {
  using C = ExpConstants<typename V::Element>;
  const auto e = exp_parts<V, 1>(bounded<V>(x, C::lowest, C::highest));
  return V::fma(e.power, e.rest, V::sub(e.power, V::set(1)));
}

// log(1 + u) for u from 0 to 1: twice the inverse hyperbolic tangent of u / (2 + u), which is a third at most.
template <class V>
GRU_INLINE typename V::Reg log_1_plus(typename V::Reg u) {
  using T = typename V::Element;
  constexpr size_t terms = sizeof(T) == 4 ? 8 : 17;
  const auto sum = V::add(u, V::set(2)), s = V::divide(u, sum, V::sub(u, V::sub(sum, V::set(2))));
  const auto square = V::mul(s, s);
  auto series = V::set(T(1) / (2 * terms + 1));
  GRU_FOR (i, 0, terms) series = V::fma(series, square, V::set(T(1) / static_cast<T>(2 * (terms - i) - 1)));
  return V::mul(V::add(s, s), series);
}

template <class T>
Applied<T> value_and_slope(const Activation<T>& activation, typename Vector<T>::Reg x) {
  using V = Vector<T>;
  const auto zero = V::zero(), one = V::set(1), alpha = V::set(activation.alpha), beta = V::set(activation.beta);
  const auto above = V::max(zero, x), below = V::min(zero, x);
  switch (activation.function) {
    case Function::sigmoid: {
      const auto s = sigmoid<V>(x);
      return {s, V::mul(s, V::sub(one, s))};
    }
    case Function::tanh: {
      const auto t = tanh<V>(x);
      return {t, V::sub(one, V::mul(t, t))};
    }
    case Function::relu:
      return {above, V::where_positive(x, one)};
    case Function::linear:
      return {V::fma(alpha, x, beta), alpha};
    case Function::hard_sigmoid: {
      const auto line = V::fma(alpha, x, beta);
      return {bounded<V>(line, 0, 1), V::where_positive(line, V::where_positive(V::sub(one, line), alpha))};
    }
    case Function::leaky_relu:
      return {V::fma(alpha, below, above), choose<V>(x, one, alpha)};
    case Function::elu: {
      return {V::fma(alpha, exp_minus_1<V>(below), above), choose<V>(x, one, V::mul(alpha, exp<V>(below)))};
    }
    case Function::softsign: {
      const auto inverse = V::divide(one, V::add(one, V::magnitude(x)), zero);
      return {V::mul(x, inverse), V::mul(inverse, inverse)};
    }
    case Function::softplus:
      return {V::add(above, log_1_plus<V>(exp<V>(V::sub(zero, V::magnitude(x))))), sigmoid<V>(x)};
    case Function::scaled_tanh: {
      const auto t = tanh<V>(V::mul(beta, x));
      return {V::mul(alpha, t), V::mul(V::mul(alpha, beta), V::sub(one, V::mul(t, t)))};
    }
    case Function::thresholded_relu: {
      const auto over = V::sub(x, alpha), finite = bounded<V>(x, -1, 1);
      return {choose<V>(over, x, V::sub(finite, finite)), V::where_positive(over, one)};  // NaN stays NaN
    }
  }
  __builtin_unreachable();
}

// One of a cell's functions of x, and its slope there.
template <class T>
__attribute__((noinline)) Applied<T> apply(const Choices<T>& choices, size_t which, typename Vector<T>::Reg x) {
  using V = Vector<T>;
  Applied<T> applied = value_and_slope(choices.of[which], bounded<V>(x, -choices.clip, choices.clip));
  const auto beyond = V::sub(V::magnitude(x), V::set(choices.clip));
  applied.slope = choose<V>(beyond, V::zero(), applied.slope);
  return applied;
}

}  // namespace
}  // namespace gru
