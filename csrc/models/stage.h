// The layers of a model, as steps go through them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/views.h"

namespace gru {

// A part of what a stage keeps of a row: `size` values of the model's type, or one whole number of 64 bits.
struct StatePart {
  std::string name;
  size_t offset, size;  // in elements of the model's type, from the row's state on
  bool whole = false;

  size_t bytes(size_t value_bytes) const { return whole ? sizeof(int64_t) : size * value_bytes; }
  bool operator==(const StatePart&) const = default;
};

// Takes rows one step further. It belongs to one thread, and allocates nothing in a step.
template <class T>
class Stepper {
 public:
  virtual ~Stepper() = default;
  // y from x and states, which change in place: addresses of rows, at most as many as were asked for. y overlaps
  // nothing.
  virtual void step(size_t rows, const T* const* x, T* const* states, T* const* y) = 0;
};

// A layer of a model. What it keeps of a row from step to step is the row's state, zeros at first.
template <class T>
class Stage {
 public:
  Stage(size_t input, size_t output, size_t work_of_row, std::vector<StatePart> parts = {}, size_t state = 0)
      : input_size(input), output_size(output), work(work_of_row), state_parts(std::move(parts)), state_size(state) {}
  virtual ~Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  const size_t input_size, output_size;
  const size_t work;  // multiply-adds of a row, or what takes as long
  const std::vector<StatePart> state_parts;
  const size_t state_size;  // in elements

  virtual std::unique_ptr<Stepper<T>> stepper(size_t rows) const = 0;
  // All rows through some steps: x (T, B, input), y (T, B, output), states (B, state). The bits are those of single
  // steps. `threads` is an upper limit.
  virtual void run(size_t steps, size_t batch, const Sequence<const T>& x, const Rows<T>& states, const Sequence<T>& y,
                   int threads) const;
};

}  // namespace gru
