// What epilogues share, and those that belong to no cell.
//
//
// begin(pass, row, panel, n, sums) and finish(pass, row, panel, n, sums); n is the number of valid units in the panel.
// One with between(pass, row, panel, n, sums) has two products, that of x first.
// An epilogue of long chains of operations has finish<N>(pass, at, sums) instead, for N places whose chains overlap, at
// most `overlapping` of them.
#pragma once

#include "vocabulary.inc.h"

namespace gru {
namespace {

// One of the places of a tile: a row, a panel, and its valid units.
struct Place {
  size_t row, panel, units;
};

template <class T>
GRU_INLINE typename Vector<T>::Reg load_units(const T* from, size_t n) {
  return n == Vector<T>::width ? Vector<T>::load(from) : Vector<T>::load_first(from, n);
}

template <class T>
GRU_INLINE void store_units(T* to, typename Vector<T>::Reg value, size_t n) {
  if (n == Vector<T>::width)
    Vector<T>::store(to, value);
  else
    Vector<T>::store_first(to, value, n);
}

// A slot's valid units; zeros behind them, so that no gradient grows out of a panel's unused part.
template <class T>
GRU_INLINE void store_padded(T* to, typename Vector<T>::Reg value, size_t n) {
  using V = Vector<T>;
  V::store(to, n == V::width ? value : V::first(value, n));
}

// The slot of the first gate of one row in one panel; the other gates follow it.
template <class T>
GRU_INLINE T* gates_of(const Pass<T>& pass, size_t row, size_t panel) {
  return pass.gates.rows[row] + static_cast<ptrdiff_t>(panel) * pass.gates.panel_stride;
}

// Activations of one gate that overlap: more would leave the registers, of which AVX2 has too few even for these.
constexpr size_t overlapping = 4;

// The sums of one of G gates at N places.
template <class T, size_t N, size_t G>
GRU_INLINE typename Vectors<T, N>::Reg sums_of(size_t gate, const typename Vector<T>::Reg* sums) {
  return Vectors<T, N>::make([&](size_t i) GRU_LAMBDA_INLINE { return sums[i * G + gate]; });
}

// A line that is asked for when a product begins is there to be written when it ends.
template <class T>
GRU_INLINE void fetch_result(const T* to) {
  __builtin_prefetch(to, 1);
}

template <class T>
GRU_INLINE void fetch_output(const Pass<T>& pass, size_t row, size_t panel) {
  fetch_result(pass.output[row] + panel * Vector<T>::width);
}

template <class T>
GRU_INLINE T* carry_of(const Pass<T>& pass, size_t row, size_t panel) {
  return pass.carry[row] + static_cast<ptrdiff_t>(panel) * pass.carry_panel;
}

// Adds to what of a row goes into one of the cell's own sums.
template <class T>
GRU_INLINE void add_to_sum(const Pass<T>& pass, size_t row, size_t panel, size_t which, typename Vector<T>::Reg value) {
  using V = Vector<T>;
  T* const sum = pass.sums + static_cast<ptrdiff_t>(panel) * pass.sums_panel +
                 static_cast<ptrdiff_t>(row) * pass.sums_row + which * V::width;
  V::store(sum, V::add(V::load(sum), value));
}

template <class T, size_t G>
GRU_INLINE void begin_from(const T* bias, size_t panel, typename Vector<T>::Reg* sums) {
  using V = Vector<T>;
  GRU_FOR (g, 0, G) sums[g] = bias ? V::load(bias + (panel * G + g) * V::width) : V::zero();
}

template <class T, size_t G>
GRU_INLINE void begin_from_bias(const Pass<T>& pass, size_t panel, typename Vector<T>::Reg* sums) {
  begin_from<T, G>(pass.bias, panel, sums);
}

template <class T>
GRU_INLINE typename Vector<T>::Reg times_sigmoid_slope(typename Vector<T>::Reg value, typename Vector<T>::Reg s) {
  using V = Vector<T>;
  return V::mul(value, V::mul(s, V::sub(V::set(1), s)));
}

template <class T>
GRU_INLINE typename Vector<T>::Reg times_tanh_slope(typename Vector<T>::Reg value, typename Vector<T>::Reg t) {
  using V = Vector<T>;
  return V::mul(value, V::sub(V::set(1), V::mul(t, t)));
}

template <class T>
struct Affine {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    fetch_output(pass, row, panel);
    if (pass.accumulate)
      sums[0] = load_units<T>(pass.output[row] + panel * V::width, n);
    else
      begin_from_bias<T, gates>(pass, panel, sums);
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    store_units<T>(pass.output[row] + panel * V::width, sums[0], n);
  }
};

// The projections of G gates, into their slots.
template <class T, size_t G>
struct Project {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = G;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    const T* slots = gates_of(pass, row, panel);
    GRU_FOR (g, 0, G) fetch_result(slots + g * V::width);
    begin_from_bias<T, G>(pass, panel, sums);
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    T* slots = gates_of(pass, row, panel);
    GRU_FOR (g, 0, G) V::store(slots + g * V::width, sums[g]);
  }
};

// A step that projects x itself: its sums go on where those of the projections end.
template <class Step>
struct Whole : Step {
  using T = typename Step::Element;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename Vector<T>::Reg* sums) {
    fetch_output(pass, row, panel);
    begin_from<T, Step::gates>(pass.x_bias, panel, sums);
  }
  static GRU_INLINE void between(const Pass<T>&, size_t, size_t, size_t, typename Vector<T>::Reg*) {}
};

// How a backward pass begins: d_h, as far as it does not come through the product.
template <class T>
struct BackwardPass {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    sums[0] = V::add(V::load(carry_of(pass, row, panel)), load_units<T>(pass.d_output[row] + panel * V::width, n));
  }
};

template <class T>
struct StateBackward {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 1;

  static GRU_INLINE void begin(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    sums[0] = V::load(carry_of(pass, row, panel));
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    store_units<T>(pass.output[row] + panel * V::width, sums[0], n);
  }
};

}  // namespace
}  // namespace gru
