// A tape as it lies in memory of the caller's: a header, lengths and resets, and what each direction keeps.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/recurrent.h"
#include "gru_native.h"

namespace gru::api {

// What a tape has in common with the calls that it serves. It stands at the tape's beginning and points nowhere.
struct TapeHeader {
  uint64_t magic, size;  // of the whole, in bytes
  uint64_t steps, batch, input_size, hidden_size, output_size;
  uint64_t choices[2];  // of each direction: a hash of what is chosen
  uint32_t type, cell[2], keep, directions, vector, reverse;
  uint32_t has_lengths, has_resets;
  uint32_t used;  // by a backward pass that overwrote it
};

// How the tape of a call is laid out.
class TapeLayout {
 public:
  // `indices`: how many steps the rows have together.
  TapeLayout(const gn_call& call, bool has_lengths, bool has_resets, size_t indices);

  const TapeHeader& header() const { return header_; }
  size_t lengths() const { return lengths_; }
  size_t resets() const { return resets_; }
  size_t direction(int d) const { return directions_[d]; }
  size_t elements(int d) const { return elements_[d]; }  // that a direction keeps

 private:
  TapeHeader header_{};
  size_t lengths_, resets_, directions_[2], elements_[2] = {};
};

// Fills the call's tape but for what its directions keep. Throws std::invalid_argument when it has too little memory.
TapeLayout begin_tape(const gn_call& call, const Schedule& schedule);

// The schedule of a call whose tape was filled, from copies of what stands there. Throws std::invalid_argument for a
// tape of another call, or for none.
Schedule schedule_of_tape(const gn_call& call);
// And its layout.
TapeLayout layout_of_tape(const gn_call& call, const Schedule& schedule);

// Takes note that the tape is going to be overwritten, or makes sure that it was not. Throws UsedTape.
void use_tape(const gn_call& call, bool overwrite);

}  // namespace gru::api
