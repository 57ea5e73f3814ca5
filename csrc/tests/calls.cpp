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
  for (const Cell cell : {Cell::gru_reset_after, Cell::gru_reset_before, Cell::gru_layer_norm, Cell::lstm,
                          Cell::rnn_tanh, Cell::rnn_relu}) {
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
    check_threads<float>(sizes, {.resets = true, .reverse = true, .keep = Keep::states});
    check_threads<double>(sizes, {.ragged = true, .keep = Keep::states});
  }
}

TEST(threads_of_an_lstm_that_keeps_its_states) {
  for (Sizes sizes : {by_rows, by_panels}) {
    sizes.cell = Cell::lstm;
    check_threads<float>(sizes, {.ragged = true, .resets = true, .keep = Keep::states});
  }
}

namespace {

constexpr size_t rows = 300, inputs = 200, outputs = 333;

std::vector<float> linear(int threads) {
  const auto weight = draw<float>(outputs * inputs, 1), bias = draw<float>(outputs, 2);
  const auto x = draw<float>(rows * inputs, 3);
  const LinearWeights<float> weights(inputs, outputs, weight.data(), bias.data(), nullptr);
  std::vector<float> results(rows * outputs + rows * inputs + outputs * inputs + outputs);
  float* const y = results.data();
  float* const d_x = y + rows * outputs;
  float* const d_weight = d_x + rows * inputs;
  linear_forward(weights, rows, {x.data(), inputs}, {y, outputs}, threads);
  linear_backward(weights, rows, {x.data(), inputs}, {y, outputs}, {d_x, inputs}, d_weight, d_weight + outputs * inputs,
                  threads);
  return results;
}

std::vector<float> cross_entropy(int threads) {
  constexpr size_t classes = 2000;
  const auto logits = draw<float>(rows * classes, 1, 5);
  std::vector<int64_t> targets(rows);
  for (size_t row = 0; row < rows; ++row) targets[row] = row % 5 == 0 ? -1 : static_cast<int64_t>(row * 3 % classes);
  std::vector<double> losses(rows);
  std::vector<float> results(rows * classes);
  softmax_cross_entropy(rows, classes, logits.data(), targets.data(), -1, 0.1, losses.data(), results.data(), threads);
  for (const double loss : losses) results.push_back(static_cast<float>(loss));
  softmax_cross_entropy<float>(rows, classes, logits.data(), targets.data(), -1, 0.1, losses.data(), nullptr, threads);
  for (const double loss : losses) results.push_back(static_cast<float>(loss));
  return results;
}

std::vector<float> embedding(int threads) {
  constexpr size_t entries = 7, size = 500, indices = 20'000;
  const auto d_y = draw<float>(indices * size, 1);
  std::vector<int64_t> index(indices);
  for (size_t i = 0; i < indices; ++i) index[i] = static_cast<int64_t>(i * i % entries);
  std::vector<float> results(entries * size);
  embedding_backward<float>(indices, index.data(), {d_y.data(), size}, entries, size, 2, results.data(), threads);
  return results;
}

std::vector<float> noise(int threads) {
  constexpr size_t size = 500'000;
  const auto x = draw<float>(size, 1);
  std::vector<float> results(size);
  dropout(size, x.data(), results.data(), 7, 0.3, threads);
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
