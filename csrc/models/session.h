// Some sequences that go through a model together, step by step.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/model.h"

namespace gru {

// Every function throws Busy when another thread is in one.
template <class T>
class Session {
 public:
  Session(std::shared_ptr<const Model<T>> model, size_t batch);

  const ModelShape& shape() const { return *shape_; }
  size_t batch() const { return state_rows_.size(); }

  // y (B, O) from x (B, I), or from indices (B). Throws std::invalid_argument for an index that there is not.
  void step(const void* x, T* y);
  // y (T, B, O) from x (T, B, I), or from indices (T, B), to the same bits. One that ends with an exception leaves the
  // states as they were.
  void run(size_t steps, const void* x, T* y, int threads);
  // The rows whose flag is set, or all; flags are bytes.
  void reset(const unsigned char* rows);
  // A part of the states, (B, size).
  void get_state(const StatePart& part, void* to);
  void set_state(const StatePart& part, const void* from);
  void snapshot(unsigned char* to);
  void restore(std::span<const unsigned char> from);
  // Goes on with another model, whose states are of the same sizes.
  void update(std::shared_ptr<const Model<T>> model);

 private:
  void run_pieces(size_t steps, const void* x, T* y, int threads);
  void run_piece(size_t steps, const T* x, T* y, int threads);

  std::atomic<bool> in_use_{false};
  const std::shared_ptr<const ModelShape> shape_;
  std::shared_ptr<const Model<T>> model_;
  ModelStepper<T> stepper_;
  Buffer<T> states_;
  std::vector<T*> state_rows_;
  std::vector<const T*> x_rows_;
  std::vector<T*> y_rows_;
};

}  // namespace gru
