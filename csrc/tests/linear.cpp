// The gradient of a linear layer's weights, by whatever the build has for it.
#include <array>
#include <cmath>
#include <limits>

#include "check.h"
#include "problem.h"

using namespace gru::tests;

namespace {

template <class T>
std::vector<T> gradient(size_t rows, size_t inputs, size_t outputs, const std::vector<T>& x, const std::vector<T>& d_y,
                        int threads) {
  const std::vector<T> weight(outputs * inputs);
  const gn_type type = sizeof(T) == 4 ? GN_FLOAT32 : GN_FLOAT64;
  gn_linear* weights = nullptr;
  must(gn_linear_create(type, inputs, outputs, weight.data(), nullptr, &weights, error()));
  std::vector<T> d_weight(outputs * inputs, T(7));
  must(gn_linear_backward(weights, rows, x.data(), d_y.data(), nullptr, d_weight.data(), nullptr, threads, error()));
  gn_linear_destroy(weights);
  return d_weight;
}

// Each element beside a plain sum, within the rounding of each addition.
template <class T>
void check_gradient(size_t rows, size_t inputs, size_t outputs) {
  const auto x = draw<T>(rows * inputs, 1), d_y = draw<T>(rows * outputs, 2);
  const std::vector<T> found = gradient(rows, inputs, outputs, x, d_y, 1);
  bool close = true;
  for (size_t o = 0; o < outputs; ++o)
    for (size_t i = 0; i < inputs; ++i) {
      double sum = 0, magnitude = 0;
      for (size_t row = 0; row < rows; ++row) {
        const double term = static_cast<double>(x[row * inputs + i]) * static_cast<double>(d_y[row * outputs + o]);
        sum += term;
        magnitude += std::abs(term);
      }
      const double most =
          magnitude * static_cast<double>(rows) * static_cast<double>(std::numeric_limits<T>::epsilon());
      close = close && std::abs(static_cast<double>(found[o * inputs + i]) - sum) <= most;
    }
  CHECK(close);
  for (int threads = 2; threads <= 4; ++threads)
    CHECK(same_bits(gradient(rows, inputs, outputs, x, d_y, threads), found));
}

}  // namespace

TEST(gradients_of_linear_weights) {
  for (const auto& [rows, inputs, outputs] : {std::array<size_t, 3>{0, 3, 4},
                                              {1, 1, 1},
                                              {5, 7, 70},
                                              {129, 70, 7},
                                              {128, 64, 64},
                                              {300, 1100, 33},
                                              {40, 9, 1100},
                                              {260, 100, 530}}) {
    check_gradient<float>(rows, inputs, outputs);
    check_gradient<double>(rows, inputs, outputs);
  }
}
