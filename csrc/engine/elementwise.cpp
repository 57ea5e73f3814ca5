#include <algorithm>
#include <cmath>

#include "engine/elementwise.h"

#include "engine/plan.h"
#include "kernels/dispatch.h"
#include "runtime/buffer.h"
#include "runtime/numbers.h"
#include "runtime/team.h"

namespace gru {

namespace {

// One row of the cross-entropy. With d_c = max(logits) - logits_c, -sum_c q_c log softmax(logits)_c is
// log sum exp(-d) + (1 - smoothing) d_target + smoothing mean(d): the size of the logits themselves does not matter.
template <class T>
double row_loss(const Kernels<T>& kernels, size_t classes, const T* logits, size_t target, double smoothing, T* scratch,
                T* gradient) {
  const T shift = kernels.max(classes, logits);
  const auto below_max = [&](size_t c) { return static_cast<double>(shift) - static_cast<double>(logits[c]); };
  const double at_target = below_max(target);
  double mean = 0;
  if (smoothing != 0) {
    for (size_t c = 0; c < classes; ++c) mean += below_max(c);
    mean /= static_cast<double>(classes);
  }
  const T sum = kernels.exp_sum(classes, logits, shift, scratch);
  if (gradient) {
    const T scale = T(1) / sum, spread = static_cast<T>(smoothing / static_cast<double>(classes));
    for (size_t c = 0; c < classes; ++c) gradient[c] = scratch[c] * scale - spread;
    gradient[target] -= static_cast<T>(1 - smoothing);
  }
  return std::log(static_cast<double>(sum)) + (1 - smoothing) * at_target + smoothing * mean;
}

}  // namespace

template <class T>
void softmax_cross_entropy(size_t rows, size_t classes, const T* logits, const int64_t* targets, int64_t ignore_index,
                           double smoothing, double* losses, T* gradient, int threads) {
  if (rows == 0) return;  // however many classes an empty array has
  const Kernels<T>& kernels = kernels_of<T>(active_isa());
  constexpr size_t work_of_an_exp = 20;
  const Call mark;
  int members = plan_members(rows * classes * work_of_an_exp, rows, threads);
  Buffer<T> scratch(gradient ? 0 : product(static_cast<size_t>(members), classes));
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(rows, member, members);
    for (size_t row = part.first; row < part.last; ++row) {
      progress.add(classes * work_of_an_exp);
      T* const d = gradient ? gradient + row * classes : nullptr;
      const int64_t target = targets[row];  // read once: another thread may write to it
      if (target == ignore_index || target < 0 || static_cast<size_t>(target) >= classes) {
        losses[row] = 0;
        if (d) std::fill_n(d, classes, T(0));
        continue;
      }
      T* const exponentials = d ? d : scratch.data() + static_cast<size_t>(member) * classes;
      losses[row] =
          row_loss(kernels, classes, logits + row * classes, static_cast<size_t>(target), smoothing, exponentials, d);
    }
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

template <class T>
void embedding_backward(size_t rows, const int64_t* indices, Rows<const T> d_y, size_t entries, size_t size,
                        int64_t padding, T* d_weight, int threads) {
  if (size == 0) return;  // however many entries an empty array has
  const Call mark;
  // Cut over columns: each element sums over the rows in their order, whoever computes it.
  int members = plan_members(rows * size, size / 16, threads);
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(size, member, members);
    for (size_t entry = 0; entry < entries; ++entry) {
      std::fill(d_weight + entry * size + part.first, d_weight + entry * size + part.last, T(0));
      progress.add(part.size());
    }
    for (size_t row = 0; row < rows; ++row) {
      progress.add(part.size());
      const int64_t index = indices[row];  // read once: another thread may write to it
      if (index == padding || index < 0 || static_cast<size_t>(index) >= entries) continue;
      T* to = d_weight + static_cast<size_t>(index) * size;
      const T* from = d_y.at(row);
      for (size_t i = part.first; i < part.last; ++i) to[i] += from[i];
    }
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

template <class T>
void dropout(size_t size, const T* x, T* y, uint64_t key, double p, int threads) {
  const Kernels<T>& kernels = kernels_of<T>(active_isa());
  const double threshold = std::ceil(p * 4294967296.0);
  if (threshold > 4294967295.0) return static_cast<void>(std::fill_n(y, size, T(0)));
  const auto bits = static_cast<uint32_t>(threshold);
  const T scale = static_cast<T>(1 / (1 - p));
  const size_t groups = (size + dropout_group - 1) / dropout_group;
  constexpr size_t work_of_an_element = 20;
  const Call mark;
  int members = plan_members(size * work_of_an_element, groups, threads);
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(groups, member, members);
    in_portions(part.first, part.last, dropout_group * work_of_an_element, 1, progress, [&](size_t from, size_t to) {
      const size_t first = from * dropout_group, last = std::min(to * dropout_group, size);
      kernels.dropout(last - first, x + first, y + first, key, from, bits, scale);
    });
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

namespace {

// The sum of some terms, in an order of its own: many sums do not wait for each other.
template <class Term>
double sum_of(size_t size, Term term) {
  constexpr size_t lanes = 8;
  double sums[lanes] = {};
  size_t i = 0;
  for (; i + lanes <= size; i += lanes)
    for (size_t lane = 0; lane < lanes; ++lane) sums[lane] += term(i + lane);
  for (size_t lane = 0; i < size; ++i, ++lane) sums[lane] += term(i);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

}  // namespace

template <class T>
Moments moments(size_t size, const T* x) {
  const IeeeNumbers numbers;
  const auto count = static_cast<double>(size);
  const double mean = sum_of(size, [&](size_t i) { return static_cast<double>(x[i]); }) / count;
  const double squares = sum_of(size, [&, middle = static_cast<T>(mean)](size_t i) {
    const T apart = x[i] - middle;
    return static_cast<double>(apart * apart);
  });
  return {mean, squares / count};
}

template <class T>
void row_moments(size_t rows, size_t size, const T* x, double* means, double* variances) {
  Interruption interruption;
  Progress progress(interruption, 0);
  for (size_t row = 0; row < rows; ++row) {
    const Moments own = moments(size, x + row * size);
    means[row] = own.mean;
    variances[row] = own.variance;
    progress.add(2 * size);
  }
}

namespace {

// Calls function(first, last) for all elements, on one thread.
template <class Function>
void in_turn(size_t size, Function function) {
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    in_portions(0, size, activation_work, most_rows_in_block, progress, function);
  };
  run_team(1, work);
}

}  // namespace

template <class T>
void sigmoid(size_t size, const T* x, T* y) {
  const auto function = kernels_of<T>(active_isa()).sigmoid;
  in_turn(size, [&](size_t first, size_t last) { function(last - first, x + first, y + first); });
}

template <class T>
void tanh(size_t size, const T* x, T* y) {
  const auto function = kernels_of<T>(active_isa()).tanh;
  in_turn(size, [&](size_t first, size_t last) { function(last - first, x + first, y + first); });
}

template <class T>
void activate(const Activation<T>& f, size_t size, const T* x, T* y, T* slope) {
  const auto function = kernels_of<T>(active_isa()).activate;
  in_turn(size, [&](size_t first, size_t last) {
    function(f, last - first, x + first, y + first, slope ? slope + first : nullptr);
  });
}

template <class T>
void softmax_row(const Kernels<T>& kernels, size_t size, const T* x, T* y) {
  const T scale = T(1) / kernels.exp_sum(size, x, kernels.max(size, x), y);
  for (size_t i = 0; i < size; ++i) y[i] *= scale;
}

template <class T>
void softmax(size_t rows, size_t size, const T* x, T* y, int threads) {
  const Kernels<T>& kernels = kernels_of<T>(active_isa());
  const Call mark;
  int members = plan_members(rows * size * activation_work, rows, threads);
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(rows, member, members);
    for (size_t row = part.first; row < part.last; ++row) {
      softmax_row(kernels, size, x + row * size, y + row * size);
      progress.add(size * activation_work);
    }
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

template void softmax_cross_entropy(size_t, size_t, const float*, const int64_t*, int64_t, double, double*, float*,
                                    int);
template void softmax_cross_entropy(size_t, size_t, const double*, const int64_t*, int64_t, double, double*, double*,
                                    int);
template void embedding_backward(size_t, const int64_t*, Rows<const float>, size_t, size_t, int64_t, float*, int);
template void embedding_backward(size_t, const int64_t*, Rows<const double>, size_t, size_t, int64_t, double*, int);
template void dropout(size_t, const float*, float*, uint64_t, double, int);
template void dropout(size_t, const double*, double*, uint64_t, double, int);
template Moments moments(size_t, const float*);
template Moments moments(size_t, const double*);
template void row_moments(size_t, size_t, const float*, double*, double*);
template void row_moments(size_t, size_t, const double*, double*, double*);
template void sigmoid(size_t, const float*, float*);
template void sigmoid(size_t, const double*, double*);
template void tanh(size_t, const float*, float*);
template void tanh(size_t, const double*, double*);
template void activate(const Activation<float>&, size_t, const float*, float*, float*);
template void activate(const Activation<double>&, size_t, const double*, double*, double*);
template void softmax(size_t, size_t, const float*, float*, int);
template void softmax(size_t, size_t, const double*, double*, int);
template void softmax_row(const Kernels<float>&, size_t, const float*, float*);
template void softmax_row(const Kernels<double>&, size_t, const double*, double*);

}  // namespace gru
