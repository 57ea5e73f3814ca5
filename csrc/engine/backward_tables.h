// The addresses of the rows that a backward pass works on, a chunk of steps at a time, in the schedule's order.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/recurrence.h"
#include "engine/recurrent.h"
#include "engine/schedule.h"

namespace gru {

// Some steps of a schedule: the index of the first of their rows, and how many there are.
struct Chunk {
  Part steps;
  size_t first_row, rows;
};

// The gates of a chunk: those of a tape, or, where it has none, memory to compute them in. Behind the rows stand, of
// the latter, the gradients of the step after the chunk, by place, and in both cases a row of zeros.
template <class T>
class ChunkGates {
 public:
  ChunkGates(const RecurrentWeights<T>& weights, const RecurrentTape<T>& tape)
      : rows_(std::min(product(tape.chunk, tape.schedule.batch()), tape.schedule.size())),
        panels_(weights.panels()),
        zeros_(tape.keep == Keep::states ? rows_ + tape.schedule.batch() : rows_),
        gates_(tape.gates) {
    if (tape.keep == Keep::gates) return;
    memory_ = Buffer<T>(GateRows<T>::size(weights, zeros_ + 1));
    gates_ = GateRows<T>(weights, zeros_ + 1, memory_.data());
  }

  size_t rows() const { return rows_; }  // of the largest chunk
  const GateRows<T>& gates() const { return gates_; }
  T* zero_row() const { return gates_.row(zeros_); }
  T* kept_row(size_t place) const { return gates_.row(rows_ + place); }

  void clear_zero_row() {
    for (size_t panel = 0; panel < panels_; ++panel) std::fill_n(slots(zeros_, panel), gates_.row_stride(), T(0));
  }
  // Keeps what stands in the row of a place of the chunk's first step.
  void keep(size_t place, const Part& panels) {
    for (size_t panel = panels.first; panel < panels.last; ++panel)
      std::copy_n(slots(place, panel), gates_.row_stride(), slots(rows_ + place, panel));
  }

 private:
  // All that belongs to a row in one panel.
  T* slots(size_t row, size_t panel) const {
    return gates_.row(row) + static_cast<ptrdiff_t>(panel) * gates_.panel_stride() - gates_.lead();
  }

  size_t rows_, panels_, zeros_;
  Buffer<T> memory_;
  GateRows<T> gates_;
};

template <class T>
class BackwardTables {
 public:
  BackwardTables(const RecurrentWeights<T>& weights, const RecurrentBackward<T>& call, const Schedule& schedule,
                 const ChunkGates<T>& gates)
      : call_(call), schedule_(schedule), gates_(gates), size_(weights.output_size), zeros_(weights.hidden_size) {
    std::fill_n(zeros_.data(), zeros_.size(), T(0));
    const size_t rows = gates.rows();
    // Memory is asked for once: that takes longer than many a call.
    read_.resize(product(rows, call.mask.data ? 4 : 3));
    written_.resize(product(rows, call.d_x.data ? 2 : 1));
    x = read_.data();
    h = x + rows;
    d_output = h + rows;
    read = call.mask.data ? d_output + rows : h;
    gate = written_.data();
    d_x = gate + rows;
    if (schedule.has_resets()) flowing_.resize(rows);
    flowing = schedule.has_resets() ? flowing_.data() : gate;
    if (call.mask.data) masked_ = Buffer<T>(product(rows, size_));
  }

  // Of some steps, counted from the first of the chunk.
  void fill(const Chunk& chunk, const Part& steps) {
    for (size_t s = chunk.steps.first + steps.first; s < chunk.steps.first + steps.last; ++s) {
      const Part live = schedule_.live(s, {0, schedule_.batch()});
      for (size_t place = 0; place < live.last; ++place)
        fill_row(schedule_.index(s, place) - chunk.first_row, s, place);
    }
  }

  const T* zeros() const { return zeros_.data(); }  // as many as there are units

  const T **x, **h, **d_output;
  const T** read;  // what the hidden weights read of h
  T **gate, **d_x;
  T** flowing;  // the gates whose gradients flow into the step before: zeros for a row that a reset cuts off

 private:
  void fill_row(size_t i, size_t s, size_t place) {
    const size_t t = schedule_.time(s, place), b = schedule_.row(place);
    gate[i] = gates_.gates().row(i);
    x[i] = call_.x.at(t, b);
    h[i] = state_before<T>(schedule_, s, place, call_.h_0, call_.output, zeros_.data());
    if (call_.mask.data) {
      T* const to = masked_.data() + i * size_;
      mask_state(call_.mask.at(b), h[i], {0, size_}, to);
      read[i] = to;
    }
    d_output[i] = call_.d_output.data ? call_.d_output.at(t, b) : zeros_.data();
    if (call_.d_x.data) d_x[i] = call_.d_x.at(t, b);
    if (schedule_.has_resets()) flowing[i] = schedule_.fresh(s, place) ? gates_.zero_row() : gate[i];
  }

  const RecurrentBackward<T>& call_;
  const Schedule& schedule_;
  const ChunkGates<T>& gates_;
  const size_t size_;
  Buffer<T> zeros_, masked_;
  std::vector<const T*> read_;
  std::vector<T*> written_, flowing_;
};

}  // namespace gru
