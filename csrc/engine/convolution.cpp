#include "engine/convolution.h"

#include <algorithm>

#include "engine/blas.h"
#include "engine/operands.h"
#include "engine/plain_product.h"
#include "engine/plan.h"
#include "engine/summation.h"
#include "runtime/buffer.h"
#include "runtime/team.h"

namespace gru {

Windows::Windows(const WindowShape& own, size_t times_, size_t batch_, const int64_t* lengths)
    : shape(own), batch(batch_), times(times_), output_times(own.outputs(times_)), begin_(batch_ + 1) {
  if (lengths) lengths_.assign(lengths, lengths + batch);
  for (size_t row = 0; row < batch; ++row) begin_[row + 1] = begin_[row] + shape.outputs(length(row));
}

template <class Function>
void Windows::for_each(size_t first, size_t last, Function function) const {
  auto row = static_cast<size_t>(std::upper_bound(begin_.begin(), begin_.end(), first) - begin_.begin()) - 1;
  for (size_t i = first; i < last; ++i) {
    while (i == begin_[row + 1]) ++row;
    function(row, i - begin_[row]);
  }
}

namespace {

// What a window sees, one step behind the other.
template <class T>
void copy_window(const Windows& windows, const Sequence<const T>& x, size_t channels, size_t row, size_t t, T* to) {
  const auto& [kernel, stride, dilation, left, right] = windows.shape;
  const size_t begin = t * stride, end = left + windows.length(row);
  const size_t first = std::min(kernel, begin < left ? (left - begin + dilation - 1) / dilation : 0);
  const size_t last = std::max(first, std::min(kernel, begin < end ? (end - begin + dilation - 1) / dilation : 0));
  std::fill_n(to, first * channels, T(0));
  if (dilation == 1 && x.step == static_cast<ptrdiff_t>(channels)) {
    if (first < last) std::copy_n(x.at(begin + first - left, row), (last - first) * channels, to + first * channels);
  } else {
    for (size_t k = first; k < last; ++k)
      std::copy_n(x.at(begin + k * dilation - left, row), channels, to + k * channels);
  }
  std::fill_n(to + last * channels, (kernel - last) * channels, T(0));
}

// Some rows of a matrix that stand one behind the other, as a left factor.
template <class T>
class Block {
 public:
  Block(T* data, size_t size) : data_(data), size_(size) {
    for (size_t i = 0; i < most_rows_in_block; ++i) rows_[i] = data + i * size;
  }
  T* row(size_t i) const { return data_ + i * size_; }
  T* const* rows() const { return rows_; }

 private:
  T* data_;
  size_t size_;
  T* rows_[most_rows_in_block];
};

template <class T>
Pass<T> pass_to(const Panels<T>& right, size_t panels, size_t units, const T* bias) {
  Pass<T> pass{};
  pass.right = right;
  pass.last_panel = panels;
  pass.units = units;
  pass.bias = bias;
  return pass;
}

// d_x of the rows' steps, each the sum over the windows that see it in their order. A member computes the windows of
// its steps, those at its edges again as its neighbours do.
template <class T>
class InputGradient {
 public:
  InputGradient(const LinearWeights<T>& weights, const Windows& windows, const Sequence<const T>& d_y,
                const Sequence<T>& d_x, const Panels<T>& panels)
      : w_(weights),
        windows_(windows),
        d_y_(d_y),
        d_x_(d_x),
        panels_(panels),
        channels_(weights.input_size / windows.shape.kernel) {}

  void compute(const Part& steps, T* scratch, Progress& progress) const {
    for (size_t i = steps.first; i < steps.last;) {
      const size_t row = i / windows_.times, first = i % windows_.times;
      const size_t last = std::min(windows_.times, first + steps.last - i);
      for (size_t t = first; t < last; ++t) std::fill_n(d_x_.at(t, row), channels_, T(0));
      of_row(row, {first, std::min(last, windows_.length(row))}, Block<T>(scratch, w_.input_size), progress);
      i += last - first;
    }
  }

 private:
  void of_row(size_t row, const Part& steps, const Block<T>& block, Progress& progress) const {
    if (steps.first >= steps.last) return;
    const auto& [kernel, stride, dilation, left, right] = windows_.shape;
    const size_t reach = windows_.shape.reach(), begin = steps.first + left;
    const size_t end = std::min(windows_.outputs(row), (steps.last - 1 + left) / stride + 1);
    for (size_t t = begin > reach ? (begin - reach + stride - 1) / stride : 0; t < end; t += most_rows_in_block) {
      const size_t rows = std::min(most_rows_in_block, end - t);
      const T* from[most_rows_in_block];
      for (size_t i = 0; i < rows; ++i) from[i] = d_y_.at(t + i, row);
      Pass<T> pass = pass_to<T>(panels_, w_.backward().panels(), w_.input_size, nullptr);
      pass.rows = rows;
      pass.left = plain_operand<T>(from, w_.output_size);
      pass.output = block.rows();
      w_.kernels.affine(pass);
      for (size_t i = 0; i < rows; ++i) add((t + i) * stride, row, steps, block.row(i));
      progress.add(rows * w_.input_size * w_.output_size);
    }
  }

  void add(size_t begin, size_t row, const Part& steps, const T* window) const {
    const auto& [kernel, stride, dilation, left, right] = windows_.shape;
    for (size_t k = 0; k < kernel; ++k, window += channels_) {
      const size_t place = begin + k * dilation;
      if (place < steps.first + left || place >= steps.last + left) continue;
      T* const to = d_x_.at(place - left, row);
      for (size_t c = 0; c < channels_; ++c) to[c] += window[c];
    }
  }

  const LinearWeights<T>& w_;
  const Windows& windows_;
  const Sequence<const T> d_y_;
  const Sequence<T> d_x_;
  const Panels<T> panels_;
  const size_t channels_;
};

template <class T>
void input_gradient(const LinearWeights<T>& weights, const Windows& windows, const Sequence<const T>& d_y,
                    const Sequence<T>& d_x, int threads) {
  const size_t steps = product(windows.batch, windows.times);
  int members = plan_members(windows.size() * weights.input_size * weights.output_size, steps, threads);
  const InputGradient<T> gradient(weights, windows, d_y, d_x, weights.backward().whole(members));
  const size_t scratch_size = product(most_rows_in_block, weights.input_size);
  const Buffer<T> scratch(product(static_cast<size_t>(members), scratch_size));
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    gradient.compute(part_of(steps, member, members), scratch.data() + static_cast<size_t>(member) * scratch_size,
                     progress);
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

// The sums over all windows, of which some are laid out at a time.
template <class T>
void weight_gradient(const LinearWeights<T>& weights, const Windows& windows, const Sequence<const T>& x,
                     const Sequence<const T>& d_y, T* d_weight, int threads) {
  const size_t I = weights.input_size, O = weights.output_size, channels = I / windows.shape.kernel;
  const size_t most = std::clamp<size_t>(windows.size(), 1, windows_at_a_time);
  const Buffer<T> seen(product(most, I)), gradients(product(most, O)), sums(windows.size() > most ? product(I, O) : 0);
  for (size_t first = 0; first == 0 || first < windows.size(); first += most) {
    const size_t rows = std::min(most, windows.size() - first);
    int members = plan_members(rows * (I + O), rows, threads);
    auto lay_out = [&](int member) {
      const Part part = part_of(rows, member, members);
      size_t i = part.first;
      windows.for_each(first + part.first, first + part.last, [&](size_t row, size_t t) {
        copy_window(windows, x, channels, row, t, seen.data() + i * I);
        std::copy_n(d_y.at(t, row), O, gradients.data() + i * O);
        ++i;
      });
    };
    if (!run_team(members, lay_out)) run_team(members = 1, lay_out);
    const Rows<const T> left{gradients.data(), static_cast<ptrdiff_t>(O)},
        right{seen.data(), static_cast<ptrdiff_t>(I)};
    T* const to = first > 0 ? sums.data() : d_weight;
    if (!product_by_blas(rows, O, I, left, right, to, threads))
      product_over_rows(weights.kernels, rows, O, I, left, right, to, threads);
    if (first > 0)
      for (size_t i = 0; i < I * O; ++i) d_weight[i] += sums.data()[i];
  }
}

}  // namespace

template <class T>
void convolution_forward(const LinearWeights<T>& weights, const Windows& windows, const Sequence<const T>& x,
                         const Sequence<T>& y, int threads) {
  const Call mark;
  const size_t I = weights.input_size, O = weights.output_size, channels = I / windows.shape.kernel;
  if (O == 0) return;  // however many rows an empty array has
  int members = plan_members(windows.size() * I * O, std::max(windows.size(), windows.batch), threads);
  const Panels<T> panels = weights.forward().whole(members);
  const size_t scratch_size = product(most_rows_in_block, I);
  const Buffer<T> scratch(product(static_cast<size_t>(members), scratch_size));
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Block<T> block(scratch.data() + static_cast<size_t>(member) * scratch_size, I);
    const Part part = part_of(windows.size(), member, members);
    for (size_t first = part.first; first < part.last; first += most_rows_in_block) {
      const size_t last = std::min(part.last, first + most_rows_in_block);
      T* to[most_rows_in_block];
      size_t rows = 0;
      windows.for_each(first, last, [&](size_t row, size_t t) {
        copy_window(windows, x, channels, row, t, block.row(rows));
        to[rows++] = y.at(t, row);
      });
      Pass<T> pass = pass_to<T>(panels, weights.forward().panels(), O, weights.bias());
      pass.rows = rows;
      pass.left = plain_operand<T>(block.rows(), I);
      pass.output = to;
      weights.kernels.affine(pass);
      progress.add(rows * I * O);
    }
    const Part rows = part_of(windows.batch, member, members);
    for (size_t row = rows.first; row < rows.last; ++row)
      for (size_t t = windows.outputs(row); t < windows.output_times; ++t) std::fill_n(y.at(t, row), O, T(0));
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

template <class T>
void convolution_backward(const LinearWeights<T>& weights, const Windows& windows, const Sequence<const T>& x,
                          const Sequence<const T>& d_y, const Sequence<T>& d_x, T* d_weight, T* d_bias, int threads) {
  const Call mark;
  if (d_x.data) input_gradient(weights, windows, d_y, d_x, threads);
  if (d_weight) weight_gradient(weights, windows, x, d_y, d_weight, threads);
  if (!d_bias) return;
  std::fill_n(d_bias, weights.output_size, T(0));
  windows.for_each(0, windows.size(), [&](size_t row, size_t t) {
    const T* const from = d_y.at(t, row);
    for (size_t i = 0; i < weights.output_size; ++i) d_bias[i] += from[i];
  });
}

template void convolution_forward(const LinearWeights<float>&, const Windows&, const Sequence<const float>&,
                                  const Sequence<float>&, int);
template void convolution_forward(const LinearWeights<double>&, const Windows&, const Sequence<const double>&,
                                  const Sequence<double>&, int);
template void convolution_backward(const LinearWeights<float>&, const Windows&, const Sequence<const float>&,
                                   const Sequence<const float>&, const Sequence<float>&, float*, float*, int);
template void convolution_backward(const LinearWeights<double>&, const Windows&, const Sequence<const double>&,
                                   const Sequence<const double>&, const Sequence<double>&, double*, double*, int);

}  // namespace gru
