// Who does what in a call: how many threads, and which rows or units each takes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "runtime/machine.h"

namespace gru {

class Schedule;

// The part of [0, total) that belongs to one of `members`; parts differ by one at most.
struct Part {
  size_t first, last;
  size_t size() const { return last - first; }
};
Part part_of(size_t total, int member, int members);

// Few enough rows that what a step reads and writes of them stays in the second-level cache until the next step.
constexpr size_t most_rows_in_block = 64;

// Calls work(part) for blocks of nearly equal size.
template <class Work>
void for_each_block(const Part& rows, Work work) {
  const size_t most = std::min(machine().rows_in_block, most_rows_in_block);
  const size_t blocks = (rows.size() + most - 1) / most;
  for (size_t i = 0; i < blocks; ++i) {
    const Part part = part_of(rows.size(), static_cast<int>(i), static_cast<int>(blocks));
    work(Part{rows.first + part.first, rows.first + part.last});
  }
}

// Rows and panels of one member.
struct Slice {
  Part rows, panels;
};

// How the recurrence of a call is cut. By rows, members run the whole sequence without meeting; by panels, each keeps
// its part of the weights in its own cache, and all meet after every pass of every step.
struct Plan {
  int members = 1;
  bool by_panels = false;
  std::vector<Part> rows = {};  // of each member, where rows are ragged
  double cost = 0;              // in multiply-adds of a member

  Slice slice(int member, size_t batch, size_t panels) const;
};

// Multiply-adds that take as long as packing a weight, and as an activation, or its gradient.
constexpr size_t packing_work = 16, activation_work = 20;

// And as an element that a step leaves for the others, who find it in another core's cache: of the state, and of the
// gates' gradients.
constexpr size_t state_exchange = 15, gradient_exchange = 50;

// In training packing counts twice, since what it leaves behind does not go from one core's cache to another's: see
// Machine::training_member.
constexpr size_t training_packing_work = 2 * packing_work;

// Members for `work` multiply-adds that can be cut into `parts` without meeting.
int plan_members(size_t work, size_t parts, int threads, size_t per_member = machine().member);

// A step of a recurrence: `row_work` is the multiply-adds of a row, `weight_bytes` what is read, `exchange` what
// it costs the others to read a row's results; `filled` are the weights that are packed as they are read.
struct Work {
  size_t panels, row_work, weight_bytes, exchange, filled;
};
// Of the slowest member, in multiply-adds: what plan_recurrence goes by.
double predicted_cost(const Plan& plan, const Schedule& schedule, const Work& work);
Plan plan_recurrence(const Schedule& schedule, const Work& work, int members);

// How directions of a layer are computed that differ in nothing but their weights: one after the other, each by as many
// members as `each` has, or two of them side by side, each by members of its own.
struct Plans {
  Plan each;
  bool side_by_side = false;
};
// For `all` multiply-adds in a direction.
Plans plan_directions(int directions, const Schedule& schedule, const Work& work, size_t all, int threads,
                      size_t per_member);

// Steps whose projections are computed ahead: few enough to stay in cache until the recurrence reads them.
size_t plan_chunk(size_t steps, size_t step_bytes, size_t weight_bytes);

}  // namespace gru
