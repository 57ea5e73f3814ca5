// The plain recurrent network (Elman 1990): h' = tanh or max(0, .) of W x + U h + b. A tape keeps h'.
#pragma once

#include "activations.inc.h"
#include "epilogue.inc.h"

namespace gru {
namespace {

template <class T>
struct Tanh {
  using Reg = typename Vector<T>::Reg;
  static GRU_INLINE Reg value(Reg x) { return tanh<T>(x); }
  static GRU_INLINE Reg times_slope(Reg d, Reg value) { return times_tanh_slope<T>(d, value); }
};

template <class T>
struct Relu {
  using V = Vector<T>;
  using Reg = typename V::Reg;
  static GRU_INLINE Reg value(Reg x) { return V::max(V::zero(), x); }
  static GRU_INLINE Reg times_slope(Reg d, Reg value) { return V::where_positive(value, d); }
};

template <class T, template <class> class Activation, bool taped>
struct Rnn {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    sums[0] = V::load(gates_of(pass, row, panel));
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto h = Activation<T>::value(sums[0]);
    store_units<T>(pass.output[row] + panel * V::width, h, n);
    if constexpr (taped) V::store(gates_of(pass, row, panel), h);
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

}  // namespace
}  // namespace gru
