// Many sequences, of which any take a step together.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/model.h"
#include "runtime/buffer.h"

namespace gru {

// A part of a pool, which one thread uses at a time: states in chunks that stay where they are, and what a thread needs
// to step them.
template <class T>
class PoolShard {
 public:
  explicit PoolShard(std::shared_ptr<const Model<T>> model);

  std::atomic<bool> in_use{false};

  size_t open() const { return open_.load(std::memory_order_relaxed); }
  // Of states and what belongs to them. Any thread may ask, as with open().
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

  // A place whose state is zeros. Throws std::bad_alloc, and Full when no more can be told apart.
  uint32_t take(const ModelShape& shape);
  uint32_t generation(uint32_t place) const { return slot(place).generation; }
  void give_back(uint32_t place);
  // Whether a sequence of this generation is at a place.
  bool holds(uint32_t place, uint32_t generation) const {
    return place < places_ && slot(place).generation == generation && generation % 2 == 1;
  }
  T* state(const ModelShape& shape, uint32_t place) const {
    return chunk(place).states.data() + (place & mask()) * shape.state_size;
  }

  // What of a call belongs to this shard: added row by row, each place once, then stepped.
  void begin();
  bool add(uint32_t place, size_t row, const T* embedded);  // false when the place is there already
  void step(const ModelShape& shape, const T* x, T* y);
  void update(ModelStepper<T>&& stepper) { stepper_ = std::move(stepper); }

 private:
  struct Slot {
    uint32_t generation = 0;  // odd while it is open
    uint32_t call = 0;        // that it was added to last; of a free one: the next free one
  };
  struct Chunk {
    Buffer<T> states;
    std::vector<Slot> slots;
  };
  struct Row {
    uint32_t place, row;
  };
  uint32_t mask() const { return (uint32_t{1} << shift_) - 1; }
  const Chunk& chunk(uint32_t place) const { return chunks_[place >> shift_]; }
  const Slot& slot(uint32_t place) const { return chunk(place).slots[place & mask()]; }
  Slot& slot(uint32_t place) { return chunks_[place >> shift_].slots[place & mask()]; }

  static constexpr uint32_t none = 0xffffffff;

  std::vector<Chunk> chunks_;
  uint32_t shift_ = 0;  // a chunk has 2^shift_ places
  uint32_t places_ = 0, free_ = none, call_ = 0;
  std::atomic<size_t> open_{0}, bytes_{0};
  size_t rows_ = 0;
  std::vector<Row> of_call_;
  std::vector<const T*> embedded_;  // of the same rows, where they are indices
  ModelStepper<T> stepper_;
  std::vector<const T*> x_rows_;
  std::vector<T*> state_rows_, y_rows_;
};

// Sequences have identifiers; that of a closed one is never valid again. Functions throw Busy where a shard that they
// need is used by another thread, std::invalid_argument for identifiers of no open sequence, and Full.
template <class T>
class Pool {
 public:
  Pool(std::shared_ptr<const Model<T>> model, size_t capacity, size_t shards);

  const ModelShape& shape() const { return *shape_; }
  size_t capacity() const { return capacity_; }
  size_t shards() const { return shards_.size(); }
  size_t open() const { return open_; }
  size_t bytes() const;

  // In a shard, or, when it is negative, in the one with the fewest of those that no thread uses.
  uint64_t open_one(int shard);
  void close(uint64_t id);
  void reset(std::span<const uint64_t> ids);
  // y (n, O) from x (n, I), or from indices (n): a step of these sequences, each of them once.
  // When several shards are asked for, on as many threads as `threads` says, at most.
  void step(std::span<const uint64_t> ids, const void* x, T* y, int (*threads)());
  void snapshot(uint64_t id, unsigned char* to);
  uint64_t restore(std::span<const unsigned char> from, int shard);
  void grow(size_t capacity);
  void update(std::shared_ptr<const Model<T>> model);

 private:
  struct Place {
    size_t shard;
    uint32_t place, generation;
    bool alone;  // named by itself, not in a list
  };
  class Taken;  // the shards of a call
  Place place_of(uint64_t id, bool alone) const;
  uint64_t id_of(const Place& at) const;
  Place open_in(Taken& taken, int shard);
  void close_at(const Place& at);
  // The shard of an open sequence, which the calling thread uses.
  PoolShard<T>& checked(const Place& at) const;

  const std::shared_ptr<const ModelShape> shape_;
  std::shared_ptr<const Model<T>> model_;
  std::atomic<size_t> capacity_, open_{0};
  std::vector<std::unique_ptr<PoolShard<T>>> shards_;
};

}  // namespace gru
