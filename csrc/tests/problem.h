// A recurrent layer in one direction, with everything that its calls read.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "gru.h"

namespace gru::tests {

// Uniform in +-bound.
template <class T>
std::vector<T> draw(size_t size, unsigned seed, double bound = 1) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> uniform(-bound, bound);
  std::vector<T> numbers(size);
  for (T& number : numbers) number = static_cast<T>(uniform(generator));
  return numbers;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

struct Sizes {
  Cell cell;
  size_t steps, batch, inputs, hidden;
};

// Such as a call is cut over its rows, and over the panels of its units.
constexpr Sizes by_rows{Cell::gru_reset_after, 60, 17, 33, 65};
constexpr Sizes by_panels{Cell::gru_reset_after, 110, 1, 32, 256};

struct Kind {
  bool ragged = false, resets = false, reverse = false;
  Keep keep = Keep::gates;
};

template <class T>
class Problem {
 public:
  explicit Problem(const Sizes& sizes, const Kind& kind = {})
      : sizes_(sizes),
        kind_(kind),
        rows_(shape_of(sizes.cell).gates * sizes.hidden),
        weight_ih_(draw<T>(rows_ * sizes.inputs, 1, 0.1)),
        weight_hh_(draw<T>(rows_ * sizes.hidden, 2, 0.1)),
        bias_(draw<T>(rows_, 3, 0.1)),
        x_(draw<T>(sizes.steps * sizes.batch * sizes.inputs, 4)),
        h_0_(draw<T>(sizes.batch * sizes.hidden, 5)) {
    for (size_t b = 0; kind.ragged && b < sizes.batch; ++b)
      lengths_.push_back(static_cast<int64_t>((b * 7 + 3) % (sizes.steps + 1)));
    for (size_t i = 0; kind.resets && i < sizes.steps * sizes.batch; ++i) reset_.push_back(i % 11 == 0);
  }

  // As calls read them, and nothing of them packed. The problem must outlive them.
  RecurrentWeights<T> weights() const {
    const T* const gains = has_gains() ? bias_.data() : nullptr;
    return {sizes_.cell,
            sizes_.inputs,
            sizes_.hidden,
            {weight_ih_.data(), weight_hh_.data(), bias_.data(), bias_.data(), gains, gains},
            nullptr};
  }

  // All results of a forward and a backward call, one behind the other.
  std::vector<T> train(const RecurrentWeights<T>& weights, int threads) const {
    const auto [cell, steps, batch, inputs, hidden] = sizes_;
    const size_t of_state = batch * hidden, of_output = steps * of_state;
    std::vector<T> results(steps * batch * inputs + of_output + 4 * of_state + rows_ * (inputs + hidden + 4));
    T* next = results.data();
    const auto take = [&next](size_t size) {
      T* const taken = next;
      next += size;
      return taken;
    };
    const auto rows = [width = static_cast<ptrdiff_t>(hidden)](auto* data) { return Rows{data, width}; };
    const auto sequence = [n = batch](auto* data, size_t width) {
      return Sequence{data, static_cast<ptrdiff_t>(n * width), static_cast<ptrdiff_t>(width)};
    };
    const auto first = rows(h_0_.data()), no_first = rows(static_cast<const T*>(nullptr));
    const auto c_0 = weights.shape.states == 2 ? first : no_first;
    const auto new_c = [&] { return rows(weights.shape.states == 2 ? take(of_state) : nullptr); };

    const auto reset = sequence(reinterpret_cast<const bool*>(kind_.resets ? reset_.data() : nullptr), 1);
    const Schedule schedule({steps, batch, kind_.reverse, kind_.ragged ? lengths_.data() : nullptr, reset});
    RecurrentTape<T> tape(weights, schedule, kind_.keep);
    const auto x = sequence(x_.data(), inputs);
    const auto output = sequence(take(of_output), hidden);
    const Rows<T> h_n = rows(take(of_state)), c_n = new_c();
    recurrent_forward(weights, schedule, {x, first, no_first, output, h_n, c_0, c_n, {}}, &tape, threads);

    const Sequence<const T> d_output{output.data, output.step, output.row};
    const auto d_x = sequence(take(steps * batch * inputs), inputs);
    const Rows<T> d_h_0 = rows(take(of_state)), d_c_0 = new_c();
    T* const d_weight_ih = take(rows_ * inputs);
    T* const d_weight_hh = take(rows_ * hidden);
    T* const d_bias = take(2 * rows_);
    T* const d_gains = has_gains() ? take(2 * rows_) : nullptr;
    const RecurrentParameters<T> gradients{d_weight_ih,    d_weight_hh, d_bias,
                                           d_bias + rows_, d_gains,     d_gains ? d_gains + rows_ : nullptr};
    recurrent_backward(weights,
                       {x, first, no_first, {}, d_output, d_output, first, c_0, d_x, false, d_h_0, d_c_0, gradients},
                       tape, threads);
    return results;
  }

  std::vector<T> train(int threads) const { return train(weights(), threads); }

 private:
  bool has_gains() const { return sizes_.cell == Cell::gru_layer_norm; }

  const Sizes sizes_;
  const Kind kind_;
  const size_t rows_;  // of the weights
  const std::vector<T> weight_ih_, weight_hh_, bias_, x_, h_0_;
  std::vector<int64_t> lengths_;
  std::vector<unsigned char> reset_;
};

}  // namespace gru::tests
