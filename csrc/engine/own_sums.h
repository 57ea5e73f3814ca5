// The gradients of parameters that are no products: sums over the rows of all steps, which a cell's passes add up
// beside their own results.
#pragma once

#include <algorithm>

#include "engine/carry.h"
#include "engine/plan.h"
#include "engine/recurrent.h"
#include "engine/schedule.h"

namespace gru {

template <class T>
T* own_array(const RecurrentParameters<T>& all, Summed which) {
  T* const arrays[] = {nullptr, all.bias_ih, all.bias_hh, all.gamma_ih, all.gamma_hh, all.peephole};
  return arrays[static_cast<size_t>(which)];
}

template <class T>
class OwnSums {
 public:
  OwnSums() = default;
  // With scratch for the members of a team.
  OwnSums(const RecurrentWeights<T>& weights, const Schedule& schedule, int members)
      : cell_(&weights.cell),
        units_(weights.hidden_size),
        width_(weights.kernels.vector),
        batch_(schedule.batch()),
        sums_(weights, schedule, weights.cell.own_sums),
        rows_(product(product(static_cast<size_t>(members), batch_), row_gradient_size)) {}

  bool active() const { return cell_; }

  void clear(const Slice& slice) {
    for (size_t which = 0; which < cell_->own_sums; ++which) sums_.load(slice, which, {});
  }

  void describe(Pass<T>& pass, const Slice& slice, int member) const {
    pass.sums = sums_.units(slice.rows.first, 0);
    pass.sums_panel = sums_.panel_stride();
    pass.sums_row = sums_.row_stride();
    pass.row_gradients = rows_.data() + static_cast<size_t>(member) * batch_ * row_gradient_size;
  }

  // Sums over the rows in their order, so that nothing depends on who computed them.
  void store(const Part& panels, const RecurrentParameters<T>& to) const {
    const size_t first = panels.first * width_, last = std::min(panels.last * width_, units_);
    for (size_t unit = first; unit < last; ++unit)
      for (size_t which = 0; which < cell_->own_sums; ++which) {
        T sum = 0;
        for (size_t place = 0; place < batch_; ++place) sum += sums_.units(place, unit)[which * width_ + unit % width_];
        const OwnSum& own = cell_->own_sum[which];
        for (const Summed array : own.to)
          if (T* const out = own_array(to, array)) out[own.part * units_ + unit] = sum;
      }
  }

 private:
  const Cell<T>* cell_ = nullptr;
  size_t units_ = 0, width_ = 0, batch_ = 0;
  Carry<T> sums_;
  Buffer<T> rows_;
};

}  // namespace gru
