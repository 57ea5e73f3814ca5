// Zoneout as passes beside the cell's own: what of a step is taken, and what stays.
#pragma once

#include <algorithm>
#include <cmath>

#include "gru.h"
#include "kernels/table.h"
#include "plan.h"
#include "schedule.h"

namespace gru {

// Units for the members of a team, which each need whole groups of random numbers: a scratch for each.
template <class T>
class ZoneoutRows {
 public:
  ZoneoutRows() = default;
  ZoneoutRows(const RecurrentWeights<T>& weights, const Zoneout& zoneout, const Schedule& schedule, int members)
      : kernels_(&weights.kernels),
        schedule_(&schedule),
        zoneout_(zoneout),
        groups_((weights.hidden_size + dropout_group - 1) / dropout_group),
        ones_(groups_ * dropout_group),
        taken_(product(static_cast<size_t>(members), ones_.size())) {
    std::fill_n(ones_.data(), ones_.size(), T(1));
    std::fill_n(taken_.data(), taken_.size(), static_cast<T>(1 - zoneout.p));
  }

  bool active() const { return zoneout_.p > 0; }

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

  // taken * a + (1 - taken) * b, without a rounding where it is random.
  static T mix(T taken, T a, T b) { return taken == T(1) ? a : taken == T(0) ? b : taken * a + (T(1) - taken) * b; }

 private:
  const Kernels<T>* kernels_ = nullptr;
  const Schedule* schedule_ = nullptr;
  Zoneout zoneout_{};
  size_t groups_ = 0;
  Buffer<T> ones_, taken_;
};

}  // namespace gru
