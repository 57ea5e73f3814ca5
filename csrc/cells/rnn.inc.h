// The plain recurrent network (Elman 1990): h' = tanh or max(0, .) of W x + U h + b. A tape keeps h'.
#pragma once

#include "../kernels/activations.inc.h"
#include "../kernels/epilogue.inc.h"
#include "../kernels/functions.inc.h"
#include "../kernels/tile.inc.h"

namespace gru {
namespace {

template <class T>
struct Tanh {
  static constexpr Function function = Function::tanh;
  using Reg = typename Vector<T>::Reg;
  template <class V>
  static GRU_INLINE typename V::Reg value(typename V::Reg x) {
    return tanh<V>(x);
  }
  static GRU_INLINE Reg times_slope(Reg d, Reg value) { return times_tanh_slope<T>(d, value); }
};

template <class T>
struct Relu {
  static constexpr Function function = Function::relu;
  using Reg = typename Vector<T>::Reg;
  template <class V>
  static GRU_INLINE typename V::Reg value(typename V::Reg x) {
    return V::max(V::set(0), x);
  }
  static GRU_INLINE Reg times_slope(Reg d, Reg value) { return Vector<T>::where_positive(value, d); }
};

template <class T, template <class> class Activation, bool taped>
struct Rnn {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    fetch_output(pass, row, panel);
    sums[0] = V::load(gates_of(pass, row, panel));
  }
  template <size_t N>
  static GRU_INLINE void finish(const Pass<T>& pass, const Place (&at)[N], typename V::Reg* sums) {
    using Several = Vectors<T, N>;
    const auto h = Activation<T>::template value<Several>(sums_of<T, N, gates>(0, sums));
    GRU_FOR (i, 0, N) {
      store_units<T>(pass.output[at[i].row] + at[i].panel * V::width, h.of[i], at[i].units);
      if constexpr (taped) V::store(gates_of(pass, at[i].row, at[i].panel), h.of[i]);
    }
  }
};

// Behind h' stands the slope there.
template <class T, bool taped>
struct ChosenRnn : Rnn<T, Tanh, taped> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const Applied<T> h = apply(*pass.choices, 0, sums[0]);
    store_units<T>(pass.output[row] + panel * V::width, h.value, n);
    if constexpr (taped) {
      T* const slot = gates_of(pass, row, panel);
      V::store(slot, h.value);
      V::store(slot + V::width, h.slope);
    }
  }
};

template <class T>
struct ChosenRnnBackward : BackwardPass<T> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    T* const slot = gates_of(pass, row, panel);
    store_padded<T>(slot, V::mul(sums[0], V::load(slot + V::width)), n);
    V::store(carry_of(pass, row, panel), V::zero());
  }
};

// Nothing of d_h bypasses the product.
template <class T, template <class> class Activation>
struct RnnBackward : BackwardPass<T> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    T* slot = gates_of(pass, row, panel);
    store_padded<T>(slot, Activation<T>::times_slope(sums[0], V::load(slot)), n);
    V::store(carry_of(pass, row, panel), V::zero());
  }
};

template <class T, template <class> class Activation>
constexpr Cell<T> rnn = {
    .gates = 1,
    .slots = 1,
    .taped_slots = 1,
    .hidden_gates = 1,
    .hidden_gradients = {{.gates = 1}},
    .functions = 1,
    .usual = {Activation<T>::function},
    .project = run<Project<T, 1>>,
    .step = run<Rnn<T, Activation, false>>,
    .whole_step = run<Whole<Rnn<T, Activation, false>>>,
    .step_taped = run<Rnn<T, Activation, true>>,
    .step_backward = run<RnnBackward<T, Activation>>,
};

template <class T, template <class> class Activation>
constexpr Cell<T> rnn_chosen = [] {
  Cell<T> cell = rnn<T, Activation>;
  cell.taped_slots = 2;
  cell.step = run<ChosenRnn<T, false>>;
  cell.whole_step = run<Whole<ChosenRnn<T, false>>>;
  cell.step_taped = run<ChosenRnn<T, true>>;
  cell.step_backward = run<ChosenRnnBackward<T>>;
  return cell;
}();

}  // namespace
}  // namespace gru
