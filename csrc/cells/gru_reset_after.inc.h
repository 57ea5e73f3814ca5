// The gated recurrent unit of PyTorch and cuDNN.
#pragma once

#include "gru.inc.h"

namespace gru {
namespace {

// n = tanh(W_n x + b_in + r (U_n h + b_hn)): PyTorch's and cuDNN's cell.
template <class T, bool taped>
struct ResetAfter {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 3;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    fetch_output(pass, row, panel);
    sums[0] = V::load(slots.r());
    sums[1] = V::load(slots.z());
    sums[2] = V::load(pass.bias + panel * V::width);
  }
  template <size_t N>
  static GRU_INLINE void finish(const Pass<T>& pass, const Place (&at)[N], typename V::Reg* sums) {
    using Several = Vectors<T, N>;
    const auto slots = [&](size_t i) GRU_LAMBDA_INLINE { return slots_of(pass, at[i].row, at[i].panel); };
    typename Several::Reg r, z;
    sigmoid_gates<T, N, gates>(sums, r, z);
    const auto hn = sums_of<T, N, gates>(2, sums);
    const auto projected = Several::make([&](size_t i) GRU_LAMBDA_INLINE { return V::load(slots(i).n()); });
    const auto n = tanh<Several>(Several::fma(r, hn, projected));
    GRU_FOR (i, 0, N) {
      store_mixed(pass, at[i], z.of[i], n.of[i]);
      if constexpr (taped) {
        V::store(slots(i).hn(), hn.of[i]);
        V::store(slots(i).r(), r.of[i]);
        V::store(slots(i).z(), z.of[i]);
        V::store(slots(i).n(), n.of[i]);
      }
    }
  }
};

// The two parts of n are sums apart.
template <class Step>
struct WholeResetAfter : Whole<Step> {
  using T = typename Step::Element;
  using V = Vector<T>;

  static GRU_INLINE void between(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    V::store(slots_of(pass, row, panel).n(), sums[2]);
    sums[2] = V::load(pass.bias + panel * V::width);
  }
};

template <class T, bool taped>
struct ChosenResetAfter : ResetAfter<T, taped> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto r = gate_of(pass, slots, 0, taped, sums[0]), z = gate_of(pass, slots, 1, taped, sums[1]);
    const auto candidate = gate_of(pass, slots, 2, taped, V::fma(r, sums[2], V::load(slots.n())));
    store_mixed(pass, {row, panel, n}, z, candidate);
    if constexpr (taped) {
      V::store(slots.hn(), sums[2]);
      V::store(slots.r(), r);
      V::store(slots.z(), z);
      V::store(slots.n(), candidate);
    }
  }
};

template <class T>
constexpr Cell<T> gru_reset_after = {
    .gates = 3,
    .slots = 3,
    .taped_lead = 1,
    .taped_slots = 4,
    .hidden_gates = 3,
    .flow = -1,
    .hidden_bias_apart = 3,
    .hidden_gradients = {{.slot = -1, .gates = 3, .gate = {2, 0, 1}}},
    .functions = 2,
    .usual = {Function::sigmoid, Function::tanh},
    .project = run<Project<T, 3>>,
    .step = run<ResetAfter<T, false>>,
    .whole_step = run<WholeResetAfter<ResetAfter<T, false>>>,
    .step_taped = run<ResetAfter<T, true>>,
    .step_backward = run<ResetAfterBackward<T>>,
};

template <class T>
constexpr Cell<T> gru_reset_after_chosen = [] {
  Cell<T> cell = gru_reset_after<T>;
  cell.taped_slots = 7;
  cell.step = run<ChosenResetAfter<T, false>>;
  cell.whole_step = run<WholeResetAfter<ChosenResetAfter<T, false>>>;
  cell.step_taped = run<ChosenResetAfter<T, true>>;
  cell.step_backward = run<ResetAfterBackward<T, true>>;
  return cell;
}();

}  // namespace
}  // namespace gru
