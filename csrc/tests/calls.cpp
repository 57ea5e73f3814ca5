// What is computed does not depend on the number of threads, nor on whose they are.
#include "check.h"
#include "executors.h"
#include "problem.h"

using namespace gru;
using namespace gru::tests;

namespace {

template <class T>
void check_threads(const Sizes& sizes, const Kind& kind) {
  const Problem<T> problem(sizes, kind);
  const std::vector<T> expected = problem.train(1);
  for (Executor* executor : all_executors()) {
    const Using use(*executor);
    for (int threads = 2; threads <= 4; ++threads) CHECK(same_bits(problem.train(threads), expected));
  }
}

}  // namespace

TEST(threads_of_every_cell) {
  const Kind kind{.ragged = true, .resets = true};
  for (const gn_cell cell :
       {GN_GRU_RESET_AFTER, GN_GRU_RESET_BEFORE, GN_GRU_LAYER_NORM, GN_LSTM, GN_RNN_TANH, GN_RNN_RELU}) {
    for (Sizes sizes : {by_rows, by_panels}) {
      sizes.cell = cell;
      check_threads<float>(sizes, kind);
    }
  }
}

TEST(threads_of_every_schedule) {
  for (const Sizes& sizes : {by_rows, by_panels}) {
    check_threads<double>(sizes, {});
    check_threads<float>(sizes, {.reverse = true});
    check_threads<float>(sizes, {.ragged = true, .reverse = true});
    check_threads<float>(sizes, {.resets = true, .reverse = true, .keep = GN_KEEP_STATES});
    check_threads<double>(sizes, {.ragged = true, .keep = GN_KEEP_STATES});
  }
}

TEST(threads_of_an_lstm_that_keeps_its_states) {
  for (Sizes sizes : {by_rows, by_panels}) {
    sizes.cell = GN_LSTM;
    check_threads<float>(sizes, {.ragged = true, .resets = true, .keep = GN_KEEP_STATES});
  }
}

namespace {

constexpr size_t rows = 300, inputs = 200, outputs = 333;

std::vector<float> linear(int threads) {
  const auto weight = draw<float>(outputs * inputs, 1), bias = draw<float>(outputs, 2);
  const auto x = draw<float>(rows * inputs, 3);
  gn_linear* weights = nullptr;
  must(gn_linear_create(GN_FLOAT32, inputs, outputs, weight.data(), bias.data(), &weights, error()));
  std::vector<float> results(rows * outputs + rows * inputs + outputs * inputs + outputs);
  float* const y = results.data();
  float* const d_x = y + rows * outputs;
  float* const d_weight = d_x + rows * inputs;
  must(gn_linear_forward(weights, rows, x.data(), inputs, y, outputs, threads, error()));
  float* const d_bias = d_weight + outputs * inputs;
  must(gn_linear_backward(weights, rows, x.data(), y, d_x, d_weight, d_bias, threads, error()));
  gn_linear_destroy(weights);
  return results;
}

std::vector<float> cross_entropy(int threads) {
  constexpr size_t classes = 2000;
  const auto logits = draw<float>(rows * classes, 1, 5);
  std::vector<int64_t> targets(rows);
  for (size_t row = 0; row < rows; ++row) targets[row] = row % 5 == 0 ? -1 : static_cast<int64_t>(row * 3 % classes);
  std::vector<double> losses(rows);
  std::vector<float> results(rows * classes);
  results.reserve(rows * (classes + 2));  // it stays where it is
  for (void* gradient : {static_cast<void*>(results.data()), static_cast<void*>(nullptr)}) {
    must(gn_cross_entropy(GN_FLOAT32, rows, classes, logits.data(), targets.data(), -1, 0.1, losses.data(), gradient,
                          threads, error()));
    for (const double loss : losses) results.push_back(static_cast<float>(loss));
  }
  return results;
}

std::vector<float> embedding(int threads) {
  constexpr size_t entries = 7, size = 500, indices = 20'000;
  const auto d_y = draw<float>(indices * size, 1);
  std::vector<int64_t> index(indices);
  for (size_t i = 0; i < indices; ++i) index[i] = static_cast<int64_t>(i * i % entries);
  std::vector<float> results(entries * size);
  must(gn_embedding_backward(GN_FLOAT32, indices, index.data(), d_y.data(), size, entries, size, 2, results.data(),
                             threads, error()));
  return results;
}

std::vector<float> noise(int threads) {
  constexpr size_t size = 500'000;
  const auto x = draw<float>(size, 1);
  std::vector<float> results(size);
  must(gn_dropout(GN_FLOAT32, size, x.data(), results.data(), 7, 0.3, threads, error()));
  return results;
}

}  // namespace

TEST(threads_of_other_functions) {
  for (const auto function : {linear, cross_entropy, embedding, noise}) {
    const std::vector<float> expected = function(1);
    for (Executor* executor : all_executors()) {
      const Using use(*executor);
      for (int threads = 2; threads <= 4; ++threads) CHECK(same_bits(function(threads), expected));
    }
  }
}
