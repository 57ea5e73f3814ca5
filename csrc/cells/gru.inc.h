// What the forms of the gated recurrent unit (Cho et al. 2014) have in common.
#pragma once

#include "../kernels/activations.inc.h"
#include "../kernels/epilogue.inc.h"
#include "../kernels/functions.inc.h"
#include "../kernels/tile.inc.h"

namespace gru {
namespace {

// The slots of one row in one panel. Behind n stand the slopes of r, z and n where the functions are chosen.
template <class T>
struct Slots {
  T* r_slot;
  static constexpr ptrdiff_t width = Vector<T>::width;
  GRU_INLINE T* hn() const { return r_slot - width; }
  GRU_INLINE T* r() const { return r_slot; }
  GRU_INLINE T* z() const { return r_slot + width; }
  GRU_INLINE T* n() const { return r_slot + 2 * width; }
  GRU_INLINE T* slope(size_t gate) const { return r_slot + (3 + static_cast<ptrdiff_t>(gate)) * width; }
};

template <class T>
GRU_INLINE Slots<T> slots_of(const Pass<T>& pass, size_t row, size_t panel) {
  return {gates_of(pass, row, panel)};
}

// (1 - z) * n + z * h: z = 1 keeps h to the bit.
template <class T>
GRU_INLINE typename Vector<T>::Reg mix(typename Vector<T>::Reg z, typename Vector<T>::Reg n,
                                       typename Vector<T>::Reg h) {
  using V = Vector<T>;
  return V::fma(z, h, V::mul(V::sub(V::set(1), z), n));
}

// h' of a place.
template <class T>
GRU_INLINE void store_mixed(const Pass<T>& pass, const Place& at, typename Vector<T>::Reg z,
                            typename Vector<T>::Reg n) {
  const size_t unit = at.panel * Vector<T>::width;
  const auto h = load_units<T>(pass.h_previous[at.row] + unit, at.units);
  store_units<T>(pass.output[at.row] + unit, mix<T>(z, n, h), at.units);
}

// r and z of N places, from the sums of the first two of G gates: of few places they overlap too.
template <class T, size_t N, size_t G>
GRU_INLINE void sigmoid_gates(const typename Vector<T>::Reg* sums, typename Vectors<T, N>::Reg& r,
                              typename Vectors<T, N>::Reg& z) {
  if constexpr (2 * N <= overlapping) {
    using Both = Vectors<T, 2 * N>;
    const auto both = sigmoid<Both>(Both::make([&](size_t i) GRU_LAMBDA_INLINE { return sums[i / 2 * G + i % 2]; }));
    GRU_FOR (i, 0, N) {
      r.of[i] = both.of[2 * i];
      z.of[i] = both.of[2 * i + 1];
    }
  } else {
    r = sigmoid<Vectors<T, N>>(sums_of<T, N, G>(0, sums));
    z = sigmoid<Vectors<T, N>>(sums_of<T, N, G>(1, sums));
  }
}

// The functions of a GRU's gates and of its candidate, among its choices.
constexpr size_t of_gates = 0, of_candidate = 1;

// One of them for a place, whose slope is kept.
template <class T>
GRU_INLINE typename Vector<T>::Reg gate_of(const Pass<T>& pass, const Slots<T>& slots, size_t gate, bool taped,
                                           typename Vector<T>::Reg sum) {
  const Applied<T> applied = apply(*pass.choices, gate < 2 ? of_gates : of_candidate, sum);
  if (taped) Vector<T>::store(slots.slope(gate), applied.slope);
  return applied.value;
}

// The gradient of what a gate's function takes, from that of what it gives, which is `value`.
template <class T, bool chosen>
GRU_INLINE typename Vector<T>::Reg times_slope(const Slots<T>& slots, size_t gate, typename Vector<T>::Reg d,
                                               typename Vector<T>::Reg value) {
  if constexpr (chosen) return Vector<T>::mul(d, Vector<T>::load(slots.slope(gate)));
  return gate < 2 ? times_sigmoid_slope<T>(d, value) : times_tanh_slope<T>(d, value);
}

template <class T, bool chosen>
struct GruBackward : BackwardPass<T> {
  using V = Vector<T>;

  // d_z and d_n before their functions from d_h, and the carry d_h z. Returns d_n.
  static GRU_INLINE typename V::Reg finish(const Pass<T>& pass, size_t row, size_t panel, size_t n,
                                           typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto h = load_units<T>(pass.h_previous[row] + panel * V::width, n);
    const auto d_h = sums[0], z = V::load(slots.z()), candidate = V::load(slots.n());
    const auto d_n = times_slope<T, chosen>(slots, 2, V::mul(d_h, V::sub(V::set(1), z)), candidate);
    store_padded<T>(slots.z(), times_slope<T, chosen>(slots, 1, V::mul(d_h, V::sub(h, candidate)), z), n);
    store_padded<T>(slots.n(), d_n, n);
    store_padded<T>(carry_of(pass, row, panel), V::mul(d_h, z), n);
    return d_n;
  }
};

// All of the above, and d_r and d_hn, which follow from d_n at once.
template <class T, bool chosen = false>
struct ResetAfterBackward : GruBackward<T, chosen> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const auto slots = slots_of(pass, row, panel);
    const auto reset = V::load(slots.r()), hn = V::load(slots.hn());
    const auto d_n = GruBackward<T, chosen>::finish(pass, row, panel, n, sums);
    store_padded<T>(slots.hn(), V::mul(d_n, reset), n);
    store_padded<T>(slots.r(), times_slope<T, chosen>(slots, 0, V::mul(d_n, hn), reset), n);
  }
};

}  // namespace
}  // namespace gru
