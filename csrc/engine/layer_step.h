// Single steps of one recurrent layer, with everything made beforehand.
#pragma once

#include <cstring>
#include <vector>

#include "engine/forward_passes.h"
#include "engine/plan.h"
#include "engine/recurrent.h"
#include "engine/zoneout.h"
#include "runtime/buffer.h"

namespace gru {

// Computes what `recurrent_forward` does in a step, to the same bits. It belongs to one thread, and allocates nothing
// in a step.
template <class T>
class LayerStep {
 public:
  // Of up to so many rows. `zoneout`: the share of h that a step keeps.
  LayerStep(const RecurrentWeights<T>& weights, size_t rows, double zoneout)
      : w_(weights),
        passes_(weights, false),
        panels_(weights.panels()),
        taken_(static_cast<T>(1 - zoneout)),
        row_(weights.cell.slots * weights.kernels.vector),
        gates_(product(panels_, product(rows | 1, row_))) {
    for (size_t i = 0; i < rows; ++i)
      gate_rows_.push_back(gates_.data() + i * row_ + weights.cell.lead * weights.kernels.vector);
    passes_.begin(1, false, false, static_cast<ptrdiff_t>((rows | 1) * row_),
                  static_cast<ptrdiff_t>(weights.kernels.vector));
  }

  // Elements of a row's c, of whole vectors: [panel][vector].
  static size_t carry_size(const RecurrentWeights<T>& weights) {
    return weights.cell.states == 2 ? weights.panels() * weights.kernels.vector : 0;
  }

  // `output` overlaps nothing; `carry`, the LSTM's c, changes in place.
  void step(size_t rows, const T* const* x, const T* const* h, T* const* carry, T* const* output) {
    const StepRows<T> all{rows, x, h, h, gate_rows_.data(), carry, output};
    const Part panels{0, panels_};
    // Every other step goes the other way, so that what it reads first is what the last one has left in cache.
    descending_ = !descending_;
    if (passes_.has_whole()) {
      passes_.whole(all, panels, descending_, 0);
    } else {
      passes_.project(all, panels, 0);
      passes_.hidden(all, panels, true, 0);
    }
    if (w_.cell.second) passes_.second(all, panels, false, 0);
    if (w_.projects()) passes_.project_states(all, {0, w_.output_panels()}, 0);
    if (taken_ < 1)
      for (size_t row = 0; row < rows; ++row)
        for (size_t unit = 0; unit < w_.hidden_size; ++unit)
          output[row][unit] = zoneout_mix(taken_, output[row][unit], h[row][unit]);
  }

 private:
  const RecurrentWeights<T>& w_;
  ForwardPasses<T> passes_;
  const size_t panels_;
  const T taken_;
  bool descending_ = false;
  const size_t row_;
  Buffer<T> gates_;
  std::vector<T*> gate_rows_;
};

}  // namespace gru
