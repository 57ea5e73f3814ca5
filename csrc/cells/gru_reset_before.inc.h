// The gated recurrent unit as Cho et al. (2014) have it: r multiplies h before the weights do. So a step has two
// passes.
#pragma once

#include "gru.inc.h"

namespace gru {
namespace {

// n = tanh(W_n x + b_in + U_n (r h) + b_hn), first part (Cho et al. 2014).
template <class T>
struct ResetBeforeGates {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 2;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    sums[0] = V::load(slots.r());
    sums[1] = V::load(slots.z());
  }
  template <size_t N>
  static GRU_INLINE void finish(const Pass<T>& pass, const Place (&at)[N], typename V::Reg* sums) {
    using Several = Vectors<T, N>;
    typename Several::Reg r, z;
    sigmoid_gates<T, N, gates>(sums, r, z);
    GRU_FOR (i, 0, N) {
      const auto slots = slots_of(pass, at[i].row, at[i].panel);
      const auto h = load_units<T>(pass.h_previous[at[i].row] + at[i].panel * V::width, at[i].units);
      V::store(slots.hn(), V::mul(r.of[i], h));
      V::store(slots.r(), r.of[i]);
      V::store(slots.z(), z.of[i]);
    }
  }
};

template <class T>
struct ResetBeforeOutput {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    fetch_output(pass, row, panel);
    sums[0] = V::load(slots_of(pass, row, panel).n());
  }
  template <size_t N>
  static GRU_INLINE void finish(const Pass<T>& pass, const Place (&at)[N], typename V::Reg* sums) {
    const auto n = tanh<Vectors<T, N>>(sums_of<T, N, gates>(0, sums));
    GRU_FOR (i, 0, N) {
      const auto slots = slots_of(pass, at[i].row, at[i].panel);
      store_mixed(pass, at[i], V::load(slots.z()), n.of[i]);
      V::store(slots.n(), n.of[i]);
    }
  }
};

template <class T>
struct ChosenResetBeforeGates : ResetBeforeGates<T> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto r = gate_of(pass, slots, 0, true, sums[0]), z = gate_of(pass, slots, 1, true, sums[1]);
    V::store(slots.hn(), V::mul(r, load_units<T>(pass.h_previous[row] + panel * V::width, n)));
    V::store(slots.r(), r);
    V::store(slots.z(), z);
  }
};

template <class T>
struct ChosenResetBeforeOutput : ResetBeforeOutput<T> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto candidate = gate_of(pass, slots, 2, true, sums[0]);
    store_mixed(pass, {row, panel, n}, V::load(slots.z()), candidate);
    V::store(slots.n(), candidate);
  }
};

template <class T, bool chosen>
struct ResetBeforeBackwardGates {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>&, size_t, size_t, size_t, typename V::Reg* sums) { sums[0] = V::zero(); }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto h = load_units<T>(pass.h_previous[row] + panel * V::width, n);
    const auto reset = V::load(slots.r());
    T* carry = carry_of(pass, row, panel);
    store_padded<T>(slots.r(), times_slope<T, chosen>(slots, 0, V::mul(sums[0], h), reset), n);
    store_padded<T>(carry, V::fma(sums[0], reset, V::load(carry)), n);
  }
};

template <class T>
constexpr Cell<T> gru_reset_before = {
    .gates = 3,
    .lead = 1,
    .slots = 4,
    .taped_lead = 1,
    .taped_slots = 4,
    .hidden_gates = 2,
    // U_n multiplies r * h, which stands in the panels of slot hn.
    .hidden_gradients = {{.gates = 2, .gate = {0, 1}}, {.slot = 2, .gates = 1, .gate = {2}, .left_slot = -1}},
    .functions = 2,
    .usual = {Function::sigmoid, Function::tanh},
    .project = run<Project<T, 3>>,
    .step = run<ResetBeforeGates<T>>,
    .step_taped = run<ResetBeforeGates<T>>,
    .step_backward = run<GruBackward<T, false>>,
    .second = run<ResetBeforeOutput<T>>,
    .second_backward = run<ResetBeforeBackwardGates<T, false>>,
};

template <class T>
constexpr Cell<T> gru_reset_before_chosen = [] {
  Cell<T> cell = gru_reset_before<T>;
  cell.slots = cell.taped_slots = 7;
  cell.step = cell.step_taped = run<ChosenResetBeforeGates<T>>;
  cell.step_backward = run<GruBackward<T, true>>;
  cell.second = run<ChosenResetBeforeOutput<T>>;
  cell.second_backward = run<ResetBeforeBackwardGates<T, true>>;
  return cell;
}();

}  // namespace
}  // namespace gru
