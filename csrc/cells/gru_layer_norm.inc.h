// The gated recurrent unit with layer normalization (Ba et al. 2016), in haste's form: the projections of x and of h,
// as rows of 3H each, have mean 0 and variance 1 over all gates before any gate is computed.
#pragma once

#include "gru.inc.h"

namespace gru {
namespace {

inline float square_root(float a) { return __builtin_sqrtf(a); }
inline double square_root(double a) { return __builtin_sqrt(a); }

// A projection as it comes from the weights, without a bias, into its slots.
template <class T, size_t slot>
struct Projection {
  using Element = T;
  using V = Vector<T>;
  static constexpr size_t gates = 3;

  static GRU_INLINE void begin(const Pass<T>&, size_t, size_t, size_t, typename V::Reg* sums) {
    GRU_FOR (g, 0, gates) sums[g] = V::zero();
  }
  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t, typename V::Reg* sums) {
    T* const slots = gates_of(pass, row, panel) + slot * V::width;
    GRU_FOR (g, 0, gates) V::store(slots + g * V::width, sums[g]);
  }
};

// A row of 3H elements: mean, and 1 over the root of variance + 1e-5.
template <class T>
struct Statistics {
  using V = Vector<T>;
  T mean, scale;

  // The elements of a vector in units of the spread, from the mean.
  GRU_INLINE typename V::Reg normalize(const T* from) const {
    return V::mul(V::sub(V::load(from), V::set(mean)), V::set(scale));
  }
};

// The same of the projection in three slots of a row, of all panels; behind the last unit they hold zeros.
template <class T>
Statistics<T> statistics_of(const Pass<T>& pass, size_t row, size_t slot) {
  using V = Vector<T>;
  const T share = T(1) / static_cast<T>(3 * pass.units);
  const auto sum = [&](auto term) GRU_LAMBDA_INLINE {
    typename V::Reg sums[3] = {V::zero(), V::zero(), V::zero()};
    for (size_t panel = 0, unit = 0; unit < pass.units; ++panel, unit += V::width) {
      const T* const slots = gates_of(pass, row, panel) + slot * V::width;
      GRU_FOR (g, 0, 3) sums[g] = term(V::load(slots + g * V::width), at_most(pass.units - unit, V::width), sums[g]);
    }
    return sum_of_lanes<T>(V::add(V::add(sums[0], sums[1]), sums[2]));
  };
  const T mean = share * sum([](auto value, size_t, auto total) GRU_LAMBDA_INLINE { return V::add(total, value); });
  const T variance = share * sum([&](auto value, size_t n, auto total) GRU_LAMBDA_INLINE {
                       const auto apart = V::first(V::sub(value, V::set(mean)), n);
                       return V::fma(apart, apart, total);
                     });
  return {mean, T(1) / square_root(variance + T(1e-5))};
}

// From both projections to h'. All gates are kept.
template <class T>
void normalized_step(const Pass<T>& pass) {
  using V = Vector<T>;
  for (size_t row = 0; row < pass.rows; ++row) {
    const auto input = statistics_of(pass, row, input_slot), hidden = statistics_of(pass, row, hidden_slot);
    for (size_t panel = pass.first_panel; panel < pass.last_panel; ++panel) {
      const T* const parameters = pass.bias + panel * norm_vectors * V::width;
      const auto slots = slots_of(pass, row, panel);
      const auto parameter = [&](size_t i) GRU_LAMBDA_INLINE { return V::load(parameters + i * V::width); };
      const auto of_input = [&](size_t gate, auto more) GRU_LAMBDA_INLINE {
        return V::fma(parameter(input_gain + gate), input.normalize(slots.r() + (input_slot + gate) * V::width), more);
      };
      const auto of_hidden = [&](size_t gate, auto more) GRU_LAMBDA_INLINE {
        return V::fma(parameter(hidden_gain + gate), hidden.normalize(slots.r() + (hidden_slot + gate) * V::width),
                      more);
      };
      const auto both = sigmoid<Vectors<T, 2>>(
          {of_input(0, of_hidden(0, parameter(bias_r))), of_input(1, of_hidden(1, parameter(bias_z)))});
      const auto reset = both.of[0], update = both.of[1];
      const auto hn = of_hidden(2, parameter(bias_hn));
      const auto candidate = tanh<V>(V::fma(reset, hn, of_input(2, parameter(bias_n))));
      const size_t n = at_most(pass.units - panel * V::width, V::width);
      store_mixed(pass, {row, panel, n}, update, candidate);
      V::store(slots.hn(), hn);
      V::store(slots.r(), reset);
      V::store(slots.z(), update);
      V::store(slots.n(), candidate);
    }
  }
}

// What the gradient of a projection needs of a whole row: its statistics and, with d for the gradient of what was
// normalized, the mean of d and the mean of d times the normalized value.
template <class T>
struct RowGradient {
  Statistics<T> statistics;
  T mean, slope;
};

// The gradients of the three gates of a side: those of the hidden side stand in r, z and hn, of the input side in r, z
// and n.
template <class T>
GRU_INLINE const T* gate_gradient(const Slots<T>& slots, size_t gate, size_t side) {
  return gate < 2 ? slots.r() + gate * Vector<T>::width : side == hidden_slot ? slots.hn() : slots.n();
}

template <class T>
RowGradient<T> row_gradient(const Pass<T>& pass, size_t row, size_t side, size_t gain) {
  using V = Vector<T>;
  const auto statistics = statistics_of(pass, row, side);
  auto mean = V::zero(), slope = V::zero();
  for (size_t panel = 0, unit = 0; unit < pass.units; ++panel, unit += V::width) {
    const auto slots = slots_of(pass, row, panel);
    const T* const gains = pass.bias + (panel * norm_vectors + gain) * V::width;
    GRU_FOR (g, 0, 3) {
      const auto d = V::mul(V::load(gains + g * V::width), V::load(gate_gradient(slots, g, side)));
      mean = V::add(mean, d);
      slope = V::fma(d, statistics.normalize(slots.r() + (side + g) * V::width), slope);
    }
  }
  const T share = T(1) / static_cast<T>(3 * pass.units);
  return {statistics, share * sum_of_lanes<T>(mean), share * sum_of_lanes<T>(slope)};
}

// Both sides of each row, to pass.row_gradients.
template <class T>
void normalized_row_gradients(const Pass<T>& pass) {
  for (size_t row = 0; row < pass.rows; ++row) {
    const RowGradient<T> both[2] = {row_gradient(pass, row, input_slot, input_gain),
                                    row_gradient(pass, row, hidden_slot, hidden_gain)};
    static_assert(sizeof(both) == row_gradient_size * sizeof(T), "pass.row_gradients has no room for them");
    __builtin_memcpy(pass.row_gradients + row * row_gradient_size, both, sizeof(both));
  }
}

// From the gradients of the gates to those of the projections, in whose slots they then stand; adds to pass.sums, of
// norm_vectors as in pass.bias, the gradients of gains and biases.
template <class T>
void normalized_step_backward(const Pass<T>& pass) {
  using V = Vector<T>;
  for (size_t row = 0; row < pass.rows; ++row) {
    RowGradient<T> both[2];
    __builtin_memcpy(both, pass.row_gradients + row * row_gradient_size, sizeof(both));
    for (size_t panel = pass.first_panel; panel < pass.last_panel; ++panel) {
      const T* const parameters = pass.bias + panel * norm_vectors * V::width;
      const auto slots = slots_of(pass, row, panel);
      const size_t n = at_most(pass.units - panel * V::width, V::width);
      const auto add = [&](size_t which, auto value) GRU_LAMBDA_INLINE { add_to_sum(pass, row, panel, which, value); };
      const auto side = [&](const RowGradient<T>& whole, size_t first, size_t gain) GRU_LAMBDA_INLINE {
        GRU_FOR (g, 0, 3) {
          T* const slot = slots.r() + (first + g) * V::width;
          const auto value = whole.statistics.normalize(slot), d = V::load(gate_gradient(slots, g, first));
          const auto weighted = V::mul(V::load(parameters + (gain + g) * V::width), d);
          const auto centred = V::sub(V::sub(weighted, V::set(whole.mean)), V::mul(value, V::set(whole.slope)));
          add(gain + g, V::mul(d, value));
          store_padded<T>(slot, V::mul(centred, V::set(whole.statistics.scale)), n);
        }
      };
      side(both[0], input_slot, input_gain);
      side(both[1], hidden_slot, hidden_gain);
      add(bias_r, V::load(slots.r()));
      add(bias_z, V::load(slots.z()));
      add(bias_n, V::load(slots.n()));
      add(bias_hn, V::load(slots.hn()));
    }
  }
}

template <class T>
constexpr Cell<T> gru_layer_norm = {
    .gates = 3,
    .lead = 1,
    .slots = 10,
    .taped_lead = 1,
    .taped_slots = 10,
    .hidden_gates = 3,
    .flow = hidden_slot,
    .input = input_slot,
    .hidden_bias_apart = 3,
    .normalized = true,
    .hidden_gradients = {{.slot = hidden_slot, .gates = 3, .gate = {0, 1, 2}}},
    // In the order of Pass::bias. The biases of r and z have the same gradients on both sides.
    .own_sums = norm_vectors,
    .own_sum = {{{Summed::gamma_ih}, 0},
                {{Summed::gamma_ih}, 1},
                {{Summed::gamma_ih}, 2},
                {{Summed::gamma_hh}, 0},
                {{Summed::gamma_hh}, 1},
                {{Summed::gamma_hh}, 2},
                {{Summed::bias_ih, Summed::bias_hh}, 0},
                {{Summed::bias_ih, Summed::bias_hh}, 1},
                {{Summed::bias_ih}, 2},
                {{Summed::bias_hh}, 2}},
    .functions = 2,
    .usual = {Function::sigmoid, Function::tanh},
    .project = run<Projection<T, input_slot>>,
    .step = run<Projection<T, hidden_slot>>,
    .step_taped = run<Projection<T, hidden_slot>>,
    .step_backward = run<ResetAfterBackward<T>>,
    .second = normalized_step<T>,
    .second_backward = normalized_step_backward<T>,
    .row_gradients = normalized_row_gradients<T>,
};

}  // namespace
}  // namespace gru
