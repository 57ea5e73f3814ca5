#include "linear.h"

namespace gru::api {

namespace {

template <class T>
void forward(const LinearWeights<T>& weights, size_t rows, const void* x, ptrdiff_t x_row, void* y, ptrdiff_t y_row,
             int threads) {
  const auto* const from = typed<const T>(x, "x", product(rows, weights.input_size) > 0);
  auto* const to = typed<T>(y, "y", product(rows, weights.output_size) > 0);
  linear_forward<T>(weights, rows, {from, x_row}, {to, y_row}, checked_threads(threads));
}

template <class T>
void backward(const LinearWeights<T>& weights, size_t rows, const void* x, const void* d_y, void* d_x, void* d_weight,
              void* d_bias, int threads) {
  const size_t I = weights.input_size, O = weights.output_size;
  const auto* const inputs = typed<const T>(x, "x", product(rows, I) > 0);
  const auto* const gradients = typed<const T>(d_y, "d_y", product(rows, O) > 0);
  linear_backward<T>(weights, rows, {inputs, static_cast<ptrdiff_t>(I)}, {gradients, static_cast<ptrdiff_t>(O)},
                     {typed<T>(d_x, "d_x", false), static_cast<ptrdiff_t>(I)}, typed<T>(d_weight, "d_weight", false),
                     typed<T>(d_bias, "d_bias", false), checked_threads(threads));
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_linear_create(gn_type type, size_t input_size, size_t output_size, const void* weight, const void* bias,
                           gn_linear** linear, gn_error* error) {
  return guarded(error, [&] {
    if (!linear) refuse("linear", "where to put it", "NULL");
    auto made = std::make_unique<gn_linear>();
    for_type(type, [&](auto zero) {
      using T = decltype(zero);
      const auto* const matrix = typed<const T>(weight, "weight", gru::product(input_size, output_size) > 0);
      made->of = std::make_unique<const gru::LinearWeights<T>>(input_size, output_size, matrix,
                                                               typed<const T>(bias, "bias", false));
    });
    *linear = made.release();
  });
}

void gn_linear_destroy(gn_linear* linear) { delete linear; }

gn_status gn_linear_forward(const gn_linear* linear, size_t rows, const void* x, ptrdiff_t x_row, void* y,
                            ptrdiff_t y_row, int threads, gn_error* error) {
  return guarded(error, [&] {
    std::visit([&](const auto& weights) { forward(*weights, rows, x, x_row, y, y_row, threads); }, checked(linear).of);
  });
}

gn_status gn_linear_backward(const gn_linear* linear, size_t rows, const void* x, const void* d_y, void* d_x,
                             void* d_weight, void* d_bias, int threads, gn_error* error) {
  return guarded(error, [&] {
    std::visit([&](const auto& weights) { backward(*weights, rows, x, d_y, d_x, d_weight, d_bias, threads); },
               checked(linear).of);
  });
}
