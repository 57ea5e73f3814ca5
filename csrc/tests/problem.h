// A recurrent layer in one direction, with everything that its calls read.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "gru_native.h"
#include "runtime/team.h"

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

// Throws what a status stands for.
inline gn_error* error() {
  thread_local gn_error error{sizeof(gn_error), "", ""};
  return &error;
}
inline void must(gn_status status) {
  if (status == GN_INTERRUPTED) throw Interrupted{};
  if (status == GN_NO_MEMORY) throw std::bad_alloc();
  if (status != GN_OK) throw std::runtime_error(error()->message);
}

struct Destroy {
  void operator()(gn_weights* weights) const { gn_weights_destroy(weights); }
};
using Weights = std::unique_ptr<gn_weights, Destroy>;

// So many bytes for a tape.
class Memory {
 public:
  explicit Memory(size_t size) : size_(size), data_(gn_allocate(size)) {
    if (!data_) throw std::bad_alloc();
  }
  ~Memory() { gn_release(data_, size_); }
  Memory(const Memory&) = delete;
  void* get() const { return data_; }

 private:
  const size_t size_;
  void* const data_;
};

struct Sizes {
  gn_cell cell;
  size_t steps, batch, inputs, hidden;
};

// Such as a call is cut over its rows, and over the panels of its units.
constexpr Sizes by_rows{GN_GRU_RESET_AFTER, 60, 17, 33, 65};
constexpr Sizes by_panels{GN_GRU_RESET_AFTER, 110, 1, 32, 256};

struct Kind {
  bool ragged = false, resets = false, reverse = false;
  gn_keep keep = GN_KEEP_GATES;
};

template <class T>
class Training;

template <class T>
class Problem {
 public:
  explicit Problem(const Sizes& sizes, const Kind& kind = {})
      : sizes_(sizes),
        kind_(kind),
        rows_(gn_cell_gates(sizes.cell) * sizes.hidden),
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
  Weights weights() const {
    const T* const gains = has_gains() ? bias_.data() : nullptr;
    gn_weights_options options{};
    options.size = sizeof options;
    options.cell = sizes_.cell;
    options.type = type;
    options.input_size = sizes_.inputs;
    options.hidden_size = sizes_.hidden;
    options.parameters = {
        weight_ih_.data(), weight_hh_.data(), bias_.data(), bias_.data(), gains, gains, nullptr, nullptr};
    gn_weights* made = nullptr;
    must(gn_weights_create(&options, &made, error()));
    return Weights(made);
  }

  // All results of a forward and a backward call, one behind the other.
  std::vector<T> train(const Weights& weights, int threads) const;
  std::vector<T> train(int threads) const { return train(weights(), threads); }

 private:
  friend class Training<T>;

  static constexpr gn_type type = std::is_same_v<T, float> ? GN_FLOAT32 : GN_FLOAT64;
  bool has_gains() const { return sizes_.cell == GN_GRU_LAYER_NORM; }

  const Sizes sizes_;
  const Kind kind_;
  const size_t rows_;  // of the weights
  const std::vector<T> weight_ih_, weight_hh_, bias_, x_, h_0_;
  std::vector<int64_t> lengths_;
  std::vector<unsigned char> reset_;
};

// A forward and a backward call of a problem, and all that they write. It stays where it is.
template <class T>
class Training {
 public:
  Training(const Problem<T>& problem, const Weights& weights, int threads) {
    const gn_cell cell = problem.sizes_.cell;
    const size_t steps = problem.sizes_.steps, batch = problem.sizes_.batch;  // clang 15 captures no bindings
    const size_t inputs = problem.sizes_.inputs, hidden = problem.sizes_.hidden;
    const size_t rows = problem.rows_, of_state = batch * hidden, of_output = steps * of_state;
    results.resize(steps * batch * inputs + of_output + 4 * of_state + rows * (inputs + hidden + 4));
    T* next = results.data();
    const auto take = [&next](size_t size) {
      T* const taken = next;
      next += size;
      return taken;
    };
    const auto stride = [](size_t elements) { return static_cast<ptrdiff_t>(elements); };
    const auto sequence = [&](size_t width) {
      return gn_output{take(steps * batch * width), {stride(batch * width), stride(width)}};
    };
    const auto state = [&] { return gn_output{take(of_state), {0, stride(hidden)}}; };
    const bool has_c = cell == GN_LSTM;
    const Kind& kind = problem.kind_;
    const gn_input first{problem.h_0_.data(), {0, stride(hidden)}};

    call.size = sizeof call;
    call.weights[0] = weights.get();
    call.reverse = kind.reverse;
    call.threads = threads;
    call.steps = steps;
    call.batch = batch;
    call.lengths = kind.ragged ? problem.lengths_.data() : nullptr;
    if (kind.resets) call.reset = {problem.reset_.data(), {stride(batch), 1}};
    call.x = {problem.x_.data(), {stride(batch * inputs), stride(inputs)}};
    call.h_0 = first;
    if (has_c) call.c_0 = first;
    call.output = sequence(hidden);
    call.h_n = state();
    if (has_c) call.c_n = state();
    call.keep = kind.keep;
    must(gn_tape_size(&call, &call.tape_size, error()));
    tape_.emplace(call.tape_size);
    call.tape = tape_->get();

    gradients_ = next;
    backward.size = sizeof backward;
    backward.forward = &call;
    backward.d_output = {call.output.data, {call.output.stride[0], call.output.stride[1]}};
    backward.d_h_n = first;
    if (has_c) backward.d_c_n = first;
    backward.d_x = sequence(inputs);
    backward.d_h_0 = state();
    if (has_c) backward.d_c_0 = state();
    gn_gradients& own = backward.gradients[0];
    own.weight_ih = take(rows * inputs);
    own.weight_hh = take(rows * hidden);
    own.bias_ih = take(rows);
    own.bias_hh = take(rows);
    if (problem.has_gains()) own.gamma_ih = take(rows);
    if (problem.has_gains()) own.gamma_hh = take(rows);
    results.resize(static_cast<size_t>(next - results.data()));
  }
  Training(const Training&) = delete;

  T* gradients() const { return gradients_; }  // where those of the results begin

  gn_call call{};
  gn_backward_call backward{};
  std::vector<T> results;

 private:
  std::optional<Memory> tape_;
  T* gradients_;
};

template <class T>
std::vector<T> Problem<T>::train(const Weights& weights, int threads) const {
  Training<T> training(*this, weights, threads);
  must(gn_forward(&training.call, error()));
  must(gn_backward(&training.backward, error()));
  return training.results;
}

}  // namespace gru::tests
