// Zoneout as passes beside the cell's own: what of a step is taken, and what stays.
#pragma once

#include <algorithm>
#include <cmath>

#include "engine/carry.h"
#include "engine/plan.h"
#include "engine/recurrent.h"
#include "engine/schedule.h"
#include "kernels/table.h"

namespace gru {

// taken * a + (1 - taken) * b, without a rounding where it is random.
template <class T>
T zoneout_mix(T taken, T a, T b) {
  return taken == T(1) ? a : taken == T(0) ? b : taken * a + (T(1) - taken) * b;
}

// Units for the members of a team, which each need whole groups of random numbers: a scratch for each.
template <class T>
class ZoneoutRows {
 public:
  ZoneoutRows() = default;
  ZoneoutRows(const RecurrentWeights<T>& weights, const Zoneout& zoneout, const Schedule& schedule, int members)
      : kernels_(&weights.kernels),
        schedule_(&schedule),
        zoneout_(zoneout),
        units_(weights.hidden_size),
        groups_((weights.hidden_size + dropout_group - 1) / dropout_group),
        ones_(groups_ * dropout_group),
        taken_(product(static_cast<size_t>(members), ones_.size())) {
    std::fill_n(ones_.data(), ones_.size(), T(1));
    std::fill_n(taken_.data(), taken_.size(), static_cast<T>(1 - zoneout.p));
  }

  bool active() const { return zoneout_.p > 0; }

  // Forward: what the units of a slice keep of the states before. `h` and `to` are the rows of the slice.
  void mix_into(int member, const Slice& slice, size_t step, const T* const* h, T* const* to) const {
    const size_t width = kernels_->vector, last = std::min(slice.panels.last * width, units_);
    for (size_t place = slice.rows.first; place < slice.rows.last; ++place, ++h, ++to) {
      const T* const share = taken(member, step, place, slice.panels.first * width, last);
      for (size_t unit = slice.panels.first * width; unit < last; ++unit)
        (*to)[unit] = zoneout_mix(share[unit], (*to)[unit], (*h)[unit]);
    }
  }

  // Backward: shares the gradient of the states after a step out: to the step's own result (into the carry, from where
  // the step begins) and to the states before (aside).
  void share_out(int member, const Slice& slice, size_t step, const T* const* d_output, const Carry<T>& carry,
                 const Carry<T>& aside) const {
    const size_t width = kernels_->vector, first = slice.panels.first * width;
    const size_t last = std::min(slice.panels.last * width, units_);
    for (size_t place = slice.rows.first; place < slice.rows.last; ++place, ++d_output) {
      const T* const share = taken(member, step, place, first, last);
      for (size_t unit = first; unit < last; unit += width) {
        T *const own = carry.units(place, unit), *const kept = aside.units(place, unit);
        for (size_t i = 0; i < std::min(width, last - unit); ++i) {
          const T d = own[i] + (*d_output)[unit + i];
          own[i] = share[unit + i] * d;
          kept[i] = (T(1) - share[unit + i]) * d;
        }
      }
    }
  }

 private:
  // For the units of a row, from the first to the last one: how much of the step's own result is taken, 0 or 1 when it
  // is random. The address is that of unit 0.
  const T* taken(int member, size_t step, size_t place, size_t first, size_t last) const {
    T* const row = taken_.data() + static_cast<size_t>(member) * ones_.size();
    if (!zoneout_.random || zoneout_.p >= 1) return row;
    const size_t index = schedule_->time(step, place) * schedule_->batch() + schedule_->row(place);
    const size_t from = first / dropout_group, to = (last + dropout_group - 1) / dropout_group;
    const double threshold = std::min(std::ceil(zoneout_.p * 4294967296.0), 4294967295.0);
    kernels_->dropout((to - from) * dropout_group, ones_.data(), row + from * dropout_group, zoneout_.key,
                      index * groups_ + from, static_cast<uint32_t>(threshold), T(1));
    return row;
  }

  const Kernels<T>* kernels_ = nullptr;
  const Schedule* schedule_ = nullptr;
  Zoneout zoneout_{};
  size_t units_ = 0, groups_ = 0;
  Buffer<T> ones_, taken_;
};

}  // namespace gru
