// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), as in PyTorch:
// c' = f c + i g, h' = o tanh(c'). The state c goes along in the carry.
#pragma once

#include "../kernels/activations.inc.h"
#include "../kernels/epilogue.inc.h"
#include "../kernels/tile.inc.h"

namespace gru {
namespace {

template <class T, bool taped>
struct Lstm {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 4;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    const T* slots = gates_of(pass, row, panel);
    fetch_output(pass, row, panel);
    GRU_FOR (g, 0, gates) sums[g] = V::load(slots + g * V::width);
  }
  template <size_t N>
  static GRU_INLINE void finish(const Pass<T>& pass, const Place (&at)[N], typename V::Reg* sums) {
    using Several = Vectors<T, N>;
    const auto sum = [&](size_t gate) GRU_LAMBDA_INLINE { return sums_of<T, N, gates>(gate, sums); };
    const auto c_previous =
        Several::make([&](size_t i) GRU_LAMBDA_INLINE { return V::load(carry_of(pass, at[i].row, at[i].panel)); });
    const auto i = sigmoid<Several>(sum(0)), f = sigmoid<Several>(sum(1)), g = tanh<Several>(sum(2));
    const auto o = sigmoid<Several>(sum(3)), c = Several::fma(f, c_previous, Several::mul(i, g));
    const auto h = Several::mul(o, tanh<Several>(c));
    GRU_FOR (k, 0, N) {
      V::store(carry_of(pass, at[k].row, at[k].panel), c.of[k]);
      store_units<T>(pass.output[at[k].row] + at[k].panel * V::width, h.of[k], at[k].units);
      if constexpr (taped) {
        T* slots = gates_of(pass, at[k].row, at[k].panel);
        V::store(slots, i.of[k]);
        V::store(slots + V::width, f.of[k]);
        V::store(slots + 2 * V::width, g.of[k]);
        V::store(slots + 3 * V::width, o.of[k]);
        V::store(slots + 4 * V::width, c_previous.of[k]);
      }
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
    const auto t = tanh<V>(V::fma(f, c_previous, V::mul(i, g)));
    const auto d_c = V::add(V::load(carry + V::width), times_tanh_slope<T>(V::mul(d_h, o), t));
    store_padded<T>(slots, times_sigmoid_slope<T>(V::mul(d_c, g), i), n);
    store_padded<T>(slots + V::width, times_sigmoid_slope<T>(V::mul(d_c, c_previous), f), n);
    store_padded<T>(slots + 2 * V::width, times_tanh_slope<T>(V::mul(d_c, i), g), n);
    store_padded<T>(slots + 3 * V::width, times_sigmoid_slope<T>(V::mul(d_h, t), o), n);
    V::store(carry, V::zero());
    store_padded<T>(carry + V::width, V::mul(d_c, f), n);
  }
};

template <class T>
constexpr Cell<T> lstm = {
    .gates = 4,
    .slots = 4,
    .taped_slots = 5,
    .hidden_gates = 4,
    .states = 2,
    .hidden_gradients = {{.gates = 4, .gate = {0, 1, 2, 3}}},
    .project = run<Project<T, 4>>,
    .step = run<Lstm<T, false>>,
    .step_taped = run<Lstm<T, true>>,
    .step_backward = run<LstmBackward<T>>,
};

}  // namespace
}  // namespace gru
