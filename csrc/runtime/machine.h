// The machine as plans see it: caches are read from the system, how fast it multiplies is measured. Nothing here
// decides an order of summation: see summation.h.
#pragma once

#include <cstddef>

namespace gru {

struct Machine {
  // A core's own caches, in bytes.
  size_t first_level, second_level;
  // Rows that a member takes through all steps at a time.
  size_t rows_in_block;
  // Multiply-adds that are worth waking a team for; and another thread that is awake: in general; where each member
  // reads its own part of memory and little else, as in packing and in a recurrence at inference; and in training,
  // where what a call leaves behind for the next one has to go from one core's cache to another's.
  size_t wake, member, least_member, training_member;

  // Elements of k in a piece: its weights stay in the first-level cache while tiles take turns at them.
  size_t piece() const { return first_level / 256; }
  // What of its results a chunk of steps, or of rows that are summed, leaves in the second-level cache.
  size_t chunk_bytes() const { return second_level / 2; }
  // A few panels that are packed just before they are read.
  size_t fill_bytes() const { return second_level / 4; }
  // Weights of more bytes come from so far that fetching them ahead brings more than it costs.
  size_t near_bytes() const { return 2 * second_level; }
};

// What else takes time, in multiply-adds: the barrier after a step, and reading a byte of weights that lie in the
// first-level cache, in the second-level cache, and farther away.
struct Costs {
  double barrier, first_level, second_level, far;
};

const Machine& machine();
// Measured when first asked for, in a millisecond.
const Costs& costs();

// For tests: what the two functions say from now on, or, if null, what is so. No call may be under way.
void pretend(const Machine* machine, const Costs* costs);

}  // namespace gru
