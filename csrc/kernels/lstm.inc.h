// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), as in PyTorch:
// c' = f c + i g, h' = o tanh(c'). The state c goes along in the carry.
#pragma once

#include "activations.inc.h"
#include "epilogue.inc.h"

namespace gru {
namespace {

template <class T, bool taped>
struct Lstm {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 4;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    const T* slots = gates_of(pass, row, panel);
    GRU_FOR (g, 0, gates) sums[g] = V::load(slots + g * V::width);
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    T* carry = carry_of(pass, row, panel);
    const auto c_previous = V::load(carry);
    const auto i = sigmoid<T>(sums[0]), f = sigmoid<T>(sums[1]), g = tanh<T>(sums[2]), o = sigmoid<T>(sums[3]);
    const auto c = V::fma(f, c_previous, V::mul(i, g));
    V::store(carry, c);
    store_units<T>(pass.output[row] + panel * V::width, V::mul(o, tanh<T>(c)), n);
    if constexpr (taped) {
      T* slots = gates_of(pass, row, panel);
      V::store(slots, i);
      V::store(slots + V::width, f);
      V::store(slots + 2 * V::width, g);
      V::store(slots + 3 * V::width, o);
      V::store(slots + 4 * V::width, c_previous);
    }
  }
};

// The carry is d_h, of which nothing bypasses the product, and d_c.
template <class T>
struct LstmBackward : BackwardPass<T> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    T* slots = gates_of(pass, row, panel);
    T* carry = carry_of(pass, row, panel);
    const auto i = V::load(slots), f = V::load(slots + V::width), g = V::load(slots + 2 * V::width);
    const auto o = V::load(slots + 3 * V::width), c_previous = V::load(slots + 4 * V::width), d_h = sums[0];
    const auto t = tanh<T>(V::fma(f, c_previous, V::mul(i, g)));
    const auto d_c = V::add(V::load(carry + V::width), times_tanh_slope<T>(V::mul(d_h, o), t));
    store_padded<T>(slots, times_sigmoid_slope<T>(V::mul(d_c, g), i), n);
    store_padded<T>(slots + V::width, times_sigmoid_slope<T>(V::mul(d_c, c_previous), f), n);
    store_padded<T>(slots + 2 * V::width, times_tanh_slope<T>(V::mul(d_c, i), g), n);
    store_padded<T>(slots + 3 * V::width, times_sigmoid_slope<T>(V::mul(d_h, t), o), n);
    V::store(carry, V::zero());
    store_padded<T>(carry + V::width, V::mul(d_c, f), n);
  }
};

}  // namespace
}  // namespace gru
