// Weights in an instruction set's format: who packs them, and when.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>

#include "engine/plan.h"
#include "kernels/table.h"
#include "runtime/buffer.h"

namespace gru {

// The right factor of products with some matrices, packed when it is first needed.
template <class T>
class Pack {
 public:
  // Of a left factor with as many elements as the matrices have columns, into their units.
  Pack(const Kernels<T>& kernels, const GateMatrices<T>& from);
  // Of a left factor that is itself [panel][gate][vector] of the matrices' units, panels of `left_width`, into their
  // columns, as one gate. With a `left_width` of 1 the left factor is a plain row of them.
  Pack(const Kernels<T>& kernels, const GateMatrices<T>& from, size_t left_width);

  size_t panels() const { return panels_; }
  size_t panel_size() const { return panel_size_; }
  size_t weights() const { return from_.gates * from_.units * from_.columns; }
  // Panels that stand at `data`.
  Panels<T> view(const T* data) const;
  // All panels, packed by whoever comes first, on as many as `threads`.
  Panels<T> whole(int threads) const;
  bool packed() const { return state_.load(std::memory_order_acquire) == State::packed; }
  // Whether nobody has packed or even read them: then one call may do without packing.
  bool take_fresh() const;
  // Writes some panels, the first of them to `to`.
  void fill(const Part& panels, T* to) const;

 private:
  // All of a view but its data, of so many gates.
  Panels<T> shape_of(size_t gates) const;

  const Kernels<T>& kernels_;
  const GateMatrices<T> from_;
  const size_t left_width_;  // 0: not transposed
  const size_t panels_, panel_size_;
  const Panels<T> shape_;
  enum class State { fresh, read, packed };
  mutable std::atomic<State> state_{State::fresh};
  mutable std::mutex mutex_;
  mutable Buffer<T> buffer_;
};

// How the passes of a call read a pack. Packing writes the weights and reads them again, which takes longer than a call
// of one step computes: one that reads them once, of weights that are new, as in every training step, fills a few
// panels at a time, just before a pass reads them. Whoever comes after it packs.
template <class T>
class PackReader {
 public:
  // `once`: whether the call reads each panel once at most.
  PackReader(const Pack<T>& pack, bool once);

  // The weights that are filled as they are read, and that must be packed before.
  size_t filled() const { return at_a_time_ > 0 ? pack_.weights() : 0; }
  size_t unpacked() const { return at_a_time_ > 0 || pack_.packed() ? 0 : pack_.weights(); }
  // Elements of scratch that each member needs.
  size_t scratch_size() const { return at_a_time_ * pack_.panel_size(); }
  // Must be called before the first pass, with scratch of so many elements for each member.
  void prepare(int members, T* scratch, size_t size);
  // All of them, where none are filled.
  const Panels<T>& panels() const { return panels_; }
  // Runs a pass, whose right factor is the pack.
  void run(void (*function)(const Pass<T>&), Pass<T>& pass, int member) const;

 private:
  void fill_and_run(void (*function)(const Pass<T>&), Pass<T> pass, int member) const;

  const Pack<T>& pack_;
  size_t at_a_time_ = 0;  // panels that are filled; if none are, all are packed
  Panels<T> panels_;
  T* scratch_ = nullptr;
  size_t member_scratch_ = 0;
};

// The packs of a recurrent layer, for one of its passes through time.
template <class T>
struct Packs {
  Pack<T> hidden;  // forward: all gates, but of reset before r and z; backward: to d_h, over the slots that flow
  Pack<T> second;  // reset before: n; backward: to d(r h), over n. Or that of the projection of h. Or without weights.
  Pack<T> input;   // all gates; backward: to d_x
};

// How a call reads them: one after the other, so that they share their scratch.
template <class T>
struct PackReaders {
  PackReaders(const Packs<T>& packs, bool once)
      : hidden(packs.hidden, once), second(packs.second, once), input(packs.input, once) {}

  PackReader<T> hidden, second, input;

  // See PackReader.
  size_t filled() const { return hidden.filled() + second.filled() + input.filled(); }
  size_t unpacked() const { return hidden.unpacked() + second.unpacked() + input.unpacked(); }
  void prepare(int members);

 private:
  Buffer<T> scratch_;
};

// Whether so many steps of so many rows read weights only once.
inline bool reads_once(size_t steps, size_t rows) { return steps <= 1 && rows <= most_rows_in_block; }

}  // namespace gru
