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
    .project = run<Project<T, 3>>,
    .step = run<ResetAfter<T, false>>,
    .step_taped = run<ResetAfter<T, true>>,
    .step_backward = run<ResetAfterBackward<T>>,
};

}  // namespace
}  // namespace gru
