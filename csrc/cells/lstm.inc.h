// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000), as in PyTorch:
// c' = f c + i g, h' = o tanh(c'). The state c goes along in the carry.
#pragma once

#include "../kernels/activations.inc.h"
#include "../kernels/epilogue.inc.h"
#include "../kernels/functions.inc.h"
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

// The LSTM with chosen functions, peepholes (Gers and Schmidhuber 2000), through which i and f see c and o sees c',
// f = 1 - i where that is chosen, and h in a slot behind o where it is projected (Sak et al. 2014). On a tape c and the
// slopes of i, f, g, o follow.
constexpr ptrdiff_t projected = 4;
constexpr size_t first_slope = 6;

template <class T>
struct Peepholes {
  using V = Vector<T>;
  const T* weights;  // of i, f, o in one panel, or null

  GRU_INLINE Peepholes(const Pass<T>& pass, size_t panel)
      : weights(pass.choices->peephole ? pass.choices->peephole + panel * 3 * V::width : nullptr) {}
  // sum + the weight of i, f or o times c.
  GRU_INLINE typename V::Reg add(size_t which, typename V::Reg c, typename V::Reg sum) const {
    return weights ? V::fma(V::load(weights + which * V::width), c, sum) : sum;
  }
};

template <class T, bool taped>
struct ChosenLstm : Lstm<T, taped> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const Choices<T>& choices = *pass.choices;
    const Peepholes<T> peepholes(pass, panel);
    T* const carry = carry_of(pass, row, panel);
    const auto c_previous = V::load(carry);
    const Applied<T> i = apply(choices, 0, peepholes.add(0, c_previous, sums[0]));
    Applied<T> f = apply(choices, 0, peepholes.add(1, c_previous, sums[1]));
    if (choices.input_forget) f = {V::sub(V::set(1), i.value), V::zero()};
    const Applied<T> g = apply(choices, 1, sums[2]);
    const auto c = V::fma(f.value, c_previous, V::mul(i.value, g.value));
    const Applied<T> o = apply(choices, 0, peepholes.add(2, c, sums[3]));
    V::store(carry, c);
    T* const slots = gates_of(pass, row, panel);
    const auto h = V::mul(o.value, apply(choices, 2, c).value);
    if (choices.projects)
      store_padded<T>(slots + projected * V::width, h, n);
    else
      store_units<T>(pass.output[row] + panel * V::width, h, n);
    if constexpr (taped) {
      const Applied<T> gates[] = {i, f, g, o};
      GRU_FOR (gate, 0, 4) {
        V::store(slots + gate * V::width, gates[gate].value);
        V::store(slots + (first_slope + gate) * V::width, gates[gate].slope);
      }
      V::store(slots + 5 * V::width, c_previous);
    }
  }
};

template <class T>
struct ChosenLstmBackward : BackwardPass<T> {
  using V = Vector<T>;

  static GRU_INLINE void finish(const Pass<T>& pass, size_t row, size_t panel, size_t n, typename V::Reg* sums) {
    const Choices<T>& choices = *pass.choices;
    const Peepholes<T> peepholes(pass, panel);
    T* const slots = gates_of(pass, row, panel);
    T* const carry = carry_of(pass, row, panel);
    const auto slot = [&](size_t which) GRU_LAMBDA_INLINE { return V::load(slots + which * V::width); };
    const auto slope = [&](size_t gate) GRU_LAMBDA_INLINE { return slot(first_slope + gate); };
    const auto i = slot(0), f = slot(1), g = slot(2), o = slot(3), c_previous = slot(5), d_h = sums[0];
    const auto c = V::fma(f, c_previous, V::mul(i, g));
    const Applied<T> t = apply(choices, 2, c);
    const auto d_o = V::mul(V::mul(d_h, t.value), slope(3));
    const auto through_h = V::fma(V::mul(d_h, o), t.slope, V::load(carry + V::width));
    const auto d_c = peepholes.add(2, d_o, through_h);
    auto of_i = V::mul(d_c, g);
    if (choices.input_forget) of_i = V::sub(of_i, V::mul(d_c, c_previous));
    const auto d_i = V::mul(of_i, slope(0)), d_f = V::mul(V::mul(d_c, c_previous), slope(1));
    const auto d_g = V::mul(V::mul(d_c, i), slope(2));
    store_padded<T>(slots, d_i, n);
    store_padded<T>(slots + V::width, d_f, n);
    store_padded<T>(slots + 2 * V::width, d_g, n);
    store_padded<T>(slots + 3 * V::width, d_o, n);
    V::store(carry, V::zero());
    store_padded<T>(carry + V::width, peepholes.add(0, d_i, peepholes.add(1, d_f, V::mul(d_c, f))), n);
    if (!peepholes.weights) return;
    add_to_sum(pass, row, panel, 0, V::mul(d_i, c_previous));
    add_to_sum(pass, row, panel, 1, V::mul(d_f, c_previous));
    add_to_sum(pass, row, panel, 2, V::mul(d_o, c));
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
    .functions = 3,
    .usual = {Function::sigmoid, Function::tanh, Function::tanh},
    .has_peepholes = true,
    .project = run<Project<T, 4>>,
    .step = run<Lstm<T, false>>,
    .whole_step = run<Whole<Lstm<T, false>>>,
    .step_taped = run<Lstm<T, true>>,
    .step_backward = run<LstmBackward<T>>,
};

template <class T>
constexpr Cell<T> lstm_chosen = [] {
  Cell<T> cell = lstm<T>;
  cell.slots = 5;
  cell.taped_slots = 10;
  cell.projected = projected;
  cell.own_sums = 3;
  for (size_t which = 0; which < 3; ++which) cell.own_sum[which] = {{Summed::peephole}, which};
  cell.step = run<ChosenLstm<T, false>>;
  cell.whole_step = run<Whole<ChosenLstm<T, false>>>;
  cell.step_taped = run<ChosenLstm<T, true>>;
  cell.step_backward = run<ChosenLstmBackward<T>>;
  return cell;
}();

}  // namespace
}  // namespace gru
