// Layer normalization in the backward pass, beside the cell's passes: scratch of the members of a team, and the sums
// that become the gradients of gains and biases.
#pragma once

#include <algorithm>

#include "carry.h"
#include "gru.h"
#include "plan.h"
#include "schedule.h"

namespace gru {

template <class T>
class NormalizationGradients {
 public:
  NormalizationGradients() = default;
  NormalizationGradients(const RecurrentWeights<T>& weights, const Schedule& schedule, int members)
      : units_(weights.hidden_size),
        width_(weights.kernels.vector),
        batch_(schedule.batch()),
        parameters_(weights.hidden_bias()),
        sums_(weights, schedule, norm_vectors),
        rows_(product(product(static_cast<size_t>(members), batch_), row_gradient_size)) {}

  bool active() const { return parameters_; }

  void clear(const Slice& slice) {
    for (size_t which = 0; which < norm_vectors; ++which) sums_.load(slice, which, {});
  }

  void describe(Pass<T>& pass, const Slice& slice, int member) const {
    pass.bias = parameters_;
    sums_.describe(pass, slice);
    pass.row_gradients = rows_.data() + static_cast<size_t>(member) * batch_ * row_gradient_size;
  }

  // Sums over the rows in their order, so that nothing depends on who computed them.
  void store(const Part& panels, const RecurrentParameters<T>& to) const {
    const size_t H = units_;
    const auto gate = [H](T* all, size_t i) { return all ? all + i * H : nullptr; };
    // In the order of Pass::bias. The biases of r and z have the same gradients on both sides.
    T* const to_one[norm_vectors] = {
        to.gamma_ih,          gate(to.gamma_ih, 1), gate(to.gamma_ih, 2), to.gamma_hh,         gate(to.gamma_hh, 1),
        gate(to.gamma_hh, 2), to.bias_ih,           gate(to.bias_ih, 1),  gate(to.bias_ih, 2), gate(to.bias_hh, 2)};
    T* const to_other[norm_vectors] = {
        nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, to.bias_hh, gate(to.bias_hh, 1), nullptr, nullptr};
    const size_t first = panels.first * width_, last = std::min(panels.last * width_, units_);
    for (size_t unit = first; unit < last; ++unit)
      for (size_t which = 0; which < norm_vectors; ++which) {
        T sum = 0;
        for (size_t place = 0; place < batch_; ++place) sum += sums_.units(place, unit)[which * width_ + unit % width_];
        for (T* const out : {to_one[which], to_other[which]})
          if (out) out[unit] = sum;
      }
  }

 private:
  size_t units_ = 0, width_ = 0, batch_ = 0;
  const T* parameters_ = nullptr;
  Carry<T> sums_;
  Buffer<T> rows_;
};

}  // namespace gru
