// When which rows of a batch are computed: lengths, direction and resets in one place.
#pragma once

#include <cstddef>
#include <vector>

#include "gru.h"
#include "plan.h"

namespace gru {

// Rows are computed at places. A step costs what reading the weights costs, even if it has one row; so rows that are
// shorter than the longest share a place, one after the other, where they fit into its steps. Places stand by the
// number of their steps, the longest first, so that those alive at a step are the first ones. What belongs to a step of
// a place has an index: all live places of step 0 come first, then those of step 1, and so on.
class Schedule {
 public:
  // Borrows lengths and resets.
  explicit Schedule(const Steps& call);

  size_t batch() const { return batch_; }
  size_t places() const { return ragged_ ? length_.size() : batch_; }
  size_t steps() const { return steps_; }           // of the longest place
  size_t size() const { return index(steps_, 0); }  // indices
  size_t places_on_average() const;                 // at a step, rounded up

  size_t index(size_t step, size_t place) const { return (ragged_ ? begin_[step] : step * batch_) + place; }
  size_t length(size_t place) const { return ragged_ ? length_[place] : steps_; }
  size_t row_length(size_t row) const { return ragged_ ? row_length_[row] : steps_; }

  // Of a step of a place: its row, and the time there.
  size_t row(size_t step, size_t place) const { return ragged_ ? row_[index(step, place)] : place; }
  size_t time(size_t step, size_t place) const {
    const size_t b = row(step, place), since = step - (ragged_ ? start_[b] : 0);
    return reverse_ ? row_length(b) - 1 - since : since;
  }
  // Calls work(row) for the rows of a place in their order. Rows of no steps have places of their own.
  template <class Work>
  void for_each_row(size_t place, Work work) const {
    if (!ragged_) return work(place);
    for (size_t i = first_[place]; i < first_[place + 1]; ++i) work(order_[i]);
  }
  size_t first_row(size_t place) const { return ragged_ ? order_[first_[place]] : place; }
  size_t last_row(size_t place) const { return ragged_ ? order_[first_[place + 1] - 1] : place; }

  // Those of some places that are alive at a step: the first ones, or none.
  Part live(size_t step, const Part& places) const;
  // Whether a step is the first of its row.
  bool begins(size_t step, size_t place) const { return step == (ragged_ ? start_[row(step, place)] : 0); }
  // Whether a reset stands before a step of a row: that of its time or, in reverse, of the time after.
  bool fresh(size_t step, size_t place) const;
  // Whether the state after the step before has no part in a step, and whether there may be such steps beside step 0.
  bool cut(size_t step, size_t place) const { return (step > 0 && begins(step, place)) || fresh(step, place); }
  bool has_cuts() const { return shared_ || reset_.data; }
  bool has_resets() const { return reset_.data; }
  // Places for one of `members`, with about as many indices as the others have.
  Part part(int member, int members) const;

 private:
  void arrange(const int64_t* lengths);

  const size_t batch_;
  size_t steps_;
  const bool reverse_, ragged_;
  bool shared_ = false;  // places hold more than one row
  const Sequence<const bool> reset_;
  std::vector<size_t> start_, row_length_;      // of a row: its first step at its place, its steps
  std::vector<size_t> length_, first_, order_;  // of a place: its steps, where its rows begin in `order_`
  std::vector<size_t> begin_, row_;             // of a step: its first index; of an index: its row
};

// The state that a step of a row begins with: of `output` (T, B, H), of `h_0`, which may be none, or H `zeros`.
template <class T, class Output>
const T* state_before(const Schedule& schedule, size_t step, size_t place, const Rows<const T>& h_0,
                      const Sequence<Output>& output, const T* zeros) {
  if (schedule.fresh(step, place)) return zeros;
  const size_t row = schedule.row(step, place);
  if (!schedule.begins(step, place)) return output.at(schedule.time(step - 1, place), row);
  return h_0.data ? h_0.at(row) : zeros;
}

}  // namespace gru
