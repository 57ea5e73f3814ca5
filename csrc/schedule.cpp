#include "schedule.h"

#include <algorithm>
#include <numeric>

namespace gru {

Schedule::Schedule(const Steps& call)
    : batch_(call.batch),
      steps_(call.steps),
      reverse_(call.reverse),
      ragged_(call.lengths != nullptr),
      reset_(call.reset) {
  if (!ragged_) return;
  const size_t steps = call.steps, batch = call.batch;
  const int64_t* const lengths = call.lengths;
  // Sorted by counting the rows that are longer than a length; rows of one length keep their order.
  std::vector<size_t> rows_longer(steps + 1, 0);
  for (size_t b = 0; b < batch; ++b)
    if (lengths[b] > 0) ++rows_longer[static_cast<size_t>(lengths[b]) - 1];
  for (size_t length = steps; length-- > 0;) rows_longer[length] += rows_longer[length + 1];
  begin_.assign(1, 0);
  for (size_t s = 0; s < steps && rows_longer[s] > 0; ++s) begin_.push_back(begin_[s] + rows_longer[s]);
  steps_ = begin_.size() - 1;
  row_.resize(batch);
  length_.resize(batch);
  for (size_t b = 0; b < batch; ++b) {
    const auto length = static_cast<size_t>(lengths[b]);
    const size_t place = rows_longer[length]++;
    row_[place] = b;
    length_[place] = length;
  }
}

Part Schedule::live(size_t step, const Part& places) const {
  const size_t alive = step < steps_ ? index(step + 1, 0) - index(step, 0) : 0;
  return {places.first, std::clamp(alive, places.first, places.last)};
}

bool Schedule::fresh(size_t step, size_t place) const {
  if (!reset_.data || (reverse_ && step == 0)) return false;
  return *reset_.at(time(step, place) + (reverse_ ? 1 : 0), row(place));
}

size_t live_steps(const Steps& call) {
  const size_t most = product(call.steps, call.batch);
  if (!call.lengths) return most;
  return static_cast<size_t>(std::accumulate(call.lengths, call.lengths + call.batch, int64_t{0}));
}

}  // namespace gru
