#include "engine/schedule.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "runtime/buffer.h"

namespace gru {

Schedule::Schedule(const Steps& call)
    : batch_(call.batch),
      times_(call.steps),
      steps_(call.steps),
      reverse_(call.reverse),
      ragged_(call.lengths && call.batch > 0) {
  const size_t all = product(call.steps, call.batch);
  if (ragged_) sort({call.lengths, call.lengths + call.batch});
  if (call.reset.data && all > 0) copy_resets(call.reset);
}

void Schedule::sort(std::vector<int64_t> lengths) {
  for (size_t b = 0; b < batch_; ++b)
    if (lengths[b] < 0 || static_cast<size_t>(lengths[b]) > times_)
      throw std::invalid_argument("lengths: expected 0 to " + std::to_string(times_) + ", got " +
                                  std::to_string(lengths[b]) + " at (" + std::to_string(b) + ",)");
  steps_ = static_cast<size_t>(*std::max_element(lengths.begin(), lengths.end()));
  // By counting the rows that are longer than a length; rows of one length keep their order.
  std::vector<size_t> rows_longer(steps_ + 1, 0);
  for (const int64_t length : lengths)
    if (length > 0) ++rows_longer[static_cast<size_t>(length) - 1];
  for (size_t length = steps_; length-- > 0;) rows_longer[length] += rows_longer[length + 1];
  begin_.assign(1, 0);
  begin_.reserve(steps_ + 1);
  for (size_t s = 0; s < steps_; ++s) begin_.push_back(begin_[s] + rows_longer[s]);
  row_.resize(batch_);
  length_.resize(batch_);
  for (size_t b = 0; b < batch_; ++b) {
    const auto length = static_cast<size_t>(lengths[b]);
    const size_t place = rows_longer[length]++;
    row_[place] = b;
    length_[place] = length;
  }
}

void Schedule::copy_resets(const Sequence<const bool>& reset) {
  if (product(times_, batch_) > reset_.max_size()) throw std::bad_alloc();
  reset_.resize(times_ * batch_);
  // As bytes: what somebody else wrote may be no bool.
  const Sequence<const unsigned char> from{reinterpret_cast<const unsigned char*>(reset.data), reset.step, reset.row};
  for (size_t t = 0; t < times_; ++t)
    for (size_t b = 0; b < batch_; ++b) reset_[t * batch_ + b] = *from.at(t, b) != 0;
}

Schedule Schedule::reversed() const {
  Schedule other = *this;
  other.reverse_ = !reverse_;
  return other;
}

Part Schedule::live(size_t step, const Part& places) const {
  const size_t alive = step < steps_ ? index(step + 1, 0) - index(step, 0) : 0;
  return {places.first, std::clamp(alive, places.first, places.last)};
}

bool Schedule::fresh(size_t step, size_t place) const {
  if (reset_.empty() || (reverse_ && step == 0)) return false;
  return reset_[(time(step, place) + (reverse_ ? 1 : 0)) * batch_ + row(place)];
}

}  // namespace gru
