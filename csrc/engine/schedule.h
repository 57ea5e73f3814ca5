// When which rows of a batch are computed: lengths, direction and resets in one place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/plan.h"
#include "engine/views.h"

namespace gru {

// The sequences of a call. With `reverse` the steps of each row run from its last to its first.
struct Steps {
  size_t steps, batch;
  bool reverse;
  const int64_t* lengths;      // (B), each from 0 to T; null when all are T. What is behind them is padding.
  Sequence<const bool> reset;  // (T, B), or none: whether no state passes between times t - 1 and t, in any direction
};

// Step s of a row is the s-th that is computed of it, whatever the direction. Rows stand at places, the longest first,
// so that those alive at a step are the first ones. What belongs to a step of a row has an index: all live places of
// step 0 come first, then those of step 1, and so on.
class Schedule {
 public:
  // Copies lengths and resets before it looks at them: they decide where memory is touched, and others may write to the
  // caller's. Throws std::invalid_argument for a length that is not 0 to T, and std::bad_alloc.
  explicit Schedule(const Steps& call);

  // The same sequences in the other direction.
  Schedule reversed() const;

  size_t batch() const { return batch_; }
  size_t times() const { return times_; }           // T of the arrays
  size_t steps() const { return steps_; }           // of the longest row
  size_t size() const { return index(steps_, 0); }  // indices
  bool ragged() const { return ragged_; }
  bool has_resets() const { return !reset_.empty(); }
  const std::vector<unsigned char>& resets() const { return reset_; }  // (T, B), or none

  size_t index(size_t step, size_t place) const { return (ragged_ ? begin_[step] : step * batch_) + place; }
  size_t row(size_t place) const { return ragged_ ? row_[place] : place; }
  size_t length(size_t place) const { return ragged_ ? length_[place] : steps_; }
  size_t time(size_t step, size_t place) const { return reverse_ ? length(place) - 1 - step : step; }

  // Those of some places that are alive at a step: the first ones, or none.
  Part live(size_t step, const Part& places) const;
  // Whether a reset stands before a step of a row: that of its time or, in reverse, of the time after.
  bool fresh(size_t step, size_t place) const;

 private:
  void sort(std::vector<int64_t> lengths);
  void copy_resets(const Sequence<const bool>& reset);

  size_t batch_, times_, steps_;
  bool reverse_, ragged_;
  std::vector<unsigned char> reset_;  // (T, B), or empty for none
  std::vector<size_t> row_, length_;  // by place
  std::vector<size_t> begin_;         // of a step: its first index
};

// The state that a step of a row begins with: of `output` (T, B, H), of `h_0`, which may be none, or H `zeros`.
template <class T, class Output>
const T* state_before(const Schedule& schedule, size_t step, size_t place, const Rows<const T>& h_0,
                      const Sequence<Output>& output, const T* zeros) {
  if (schedule.fresh(step, place)) return zeros;
  if (step > 0) return output.at(schedule.time(step - 1, place), schedule.row(place));
  return h_0.data ? h_0.at(schedule.row(place)) : zeros;
}

}  // namespace gru
