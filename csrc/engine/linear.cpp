#include <algorithm>
#include <vector>

#include "engine/blas.h"
#include "engine/linear.h"
#include "engine/operands.h"
#include "engine/plain_product.h"
#include "engine/plan.h"
#include "formats/bias.h"
#include "kernels/dispatch.h"
#include "runtime/team.h"

namespace gru {

namespace {

// output = left * right (+ bias), row by row through the tile, so that a row's bits do not depend on its batch.
template <class T>
void rowwise_product(const Kernels<T>& kernels, size_t rows, Rows<const T> left, size_t k_size, const Pack<T>& pack,
                     const T* bias, Rows<T> output, size_t units, int threads) {
  if (units == 0) return;  // however many rows an empty array has
  std::vector<const T*> left_rows(rows);
  std::vector<T*> output_rows(rows);
  PackReader<T> right(pack, reads_once(1, rows));
  int members = plan_members(rows * k_size * units, rows, threads);
  const Buffer<T> scratch(product(static_cast<size_t>(members), right.scratch_size()));
  right.prepare(members, scratch.data(), right.scratch_size());
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(rows, member, members);
    for (size_t row = part.first; row < part.last; ++row) {
      left_rows[row] = left.at(row);
      output_rows[row] = output.at(row);
    }
    Pass<T> pass{};
    pass.last_panel = pack.panels();
    pass.units = units;
    pass.bias = bias;
    in_portions(part.first, part.last, k_size * units, most_rows_in_block, progress, [&](size_t first, size_t last) {
      pass.rows = last - first;
      pass.left = plain_operand<T>(left_rows.data() + first, k_size);
      pass.output = output_rows.data() + first;
      right.run(kernels.affine, pass, member);
    });
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

template <class T>
void sum_of_rows(size_t rows, size_t size, Rows<const T> from, T* sums) {
  if (size == 0) return;
  Interruption interruption;
  Progress progress(interruption, 0);
  std::fill_n(sums, size, T(0));
  for (size_t row = 0; row < rows; ++row) {
    for (size_t i = 0; i < size; ++i) sums[i] += from.at(row)[i];
    progress.add(size);
  }
}

}  // namespace

template <class T>
LinearWeights<T>::LinearWeights(size_t input_size_, size_t output_size_, const T* weight, const T* bias)
    : input_size(input_size_),
      output_size(output_size_),
      has_bias(bias != nullptr),
      kernels(kernels_of<T>(active_isa())),
      forward_(kernels, {weight, 1, 0, 1, output_size, input_size}),
      backward_(kernels, {weight, 1, 0, 1, output_size, input_size}, 1) {
  if (bias) bias_ = make_bias(kernels, 1, output_size, [&](size_t, size_t unit) { return bias[unit]; });
}

template <class T>
void linear_forward(const LinearWeights<T>& weights, size_t rows, Rows<const T> x, Rows<T> y, int threads) {
  const Call mark;
  rowwise_product(weights.kernels, rows, x, weights.input_size, weights.forward(), weights.bias(), y,
                  weights.output_size, threads);
}

template <class T>
void linear_backward(const LinearWeights<T>& weights, size_t rows, Rows<const T> x, Rows<const T> d_y, Rows<T> d_x,
                     T* d_weight, T* d_bias, int threads) {
  const Call mark;
  if (d_x.data)
    rowwise_product<T>(weights.kernels, rows, d_y, weights.output_size, weights.backward(), nullptr, d_x,
                       weights.input_size, threads);
  if (d_weight && !product_by_blas(rows, weights.output_size, weights.input_size, d_y, x, d_weight, threads))
    product_over_rows(weights.kernels, rows, weights.output_size, weights.input_size, d_y, x, d_weight, threads);
  if (d_bias) sum_of_rows(rows, weights.output_size, d_y, d_bias);
}

template class LinearWeights<float>;
template class LinearWeights<double>;
template void linear_forward(const LinearWeights<float>&, size_t, Rows<const float>, Rows<float>, int);
template void linear_forward(const LinearWeights<double>&, size_t, Rows<const double>, Rows<double>, int);
template void linear_backward(const LinearWeights<float>&, size_t, Rows<const float>, Rows<const float>, Rows<float>,
                              float*, float*, int);
template void linear_backward(const LinearWeights<double>&, size_t, Rows<const double>, Rows<const double>,
                              Rows<double>, double*, double*, int);

}  // namespace gru
