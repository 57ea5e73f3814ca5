// A layer of one or two directions as the Cython module calls it: element types are known at run time only.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "export.h"

namespace gru {

// Lengths and resets are copied. Arrays have the weights' element type; (T, B, F) arrays are given by their data and,
// in elements, the strides of steps and rows, all others are contiguous. Null stands for none.
struct Layer {
  bool float64;
  int directions;          // 1 or 2: the second one runs from the last step to the first
  const void* weights[2];  // RecurrentWeights
  size_t steps, batch;
  const int64_t* lengths;  // (B), from 0 to T, or null
  const bool* reset;       // (T, B), or null
  ptrdiff_t reset_step, reset_row;
  const void* x;  // (T, B, I)
  ptrdiff_t x_step, x_row;
  const void *h_0, *c_0;  // (directions, B, H), or null; c is the LSTM's
  const void* mask;       // (directions, B, H), or null
  void* output;           // (T, B, directions * H), the directions side by side
  ptrdiff_t output_step, output_row;
  void *h_n, *c_n;  // (directions, B, H)
  double zoneout;   // see Zoneout; a key for each direction
  bool zoneout_random;
  uint64_t zoneout_keys[2];
};

// Of one direction: see RecurrentParameters.
struct LayerParameters {
  void *weight_ih, *weight_hh;
  void *bias_ih, *bias_hh;
  void *gamma_ih, *gamma_hh;
};

struct LayerGradients {
  const void* d_output;  // (T, B, directions * H), or null
  ptrdiff_t d_output_step, d_output_row;
  const void *d_h_n, *d_c_n;  // (directions, B, H), or null
  void* d_x;                  // (T, B, I)
  ptrdiff_t d_x_step, d_x_row;
  void *d_h_0, *d_c_0;  // (directions, B, H)
  LayerParameters parameters[2];
};

// What a layer must know of its RecurrentWeights.
struct LayerShape {
  int cell;
  size_t input_size, hidden_size, gates, states;
  bool bias, normalized;
  bool operator==(const LayerShape&) const = default;
};

// The tapes of both directions, which backward overwrites.
struct LayerTape {
  std::shared_ptr<void> of[2];  // RecurrentTape
  std::atomic<bool> used{false};
};

GRU_API LayerShape layer_shape(const void* weights, bool float64);
GRU_API void layer_forward(const Layer& layer, int threads);
// With `states` the tape keeps no gates: see Keep.
GRU_API void layer_forward_taped(const Layer& layer, LayerTape& tape, bool states, int threads);
// A gate of one direction over all steps, to (T, B, H) given by its data and strides; of a tape that keeps the gates.
GRU_API void layer_gate(const Layer& layer, const LayerTape& tape, int direction, size_t gate, void* to,
                        ptrdiff_t to_step, ptrdiff_t to_row);
GRU_API void layer_backward(const Layer& layer, const LayerGradients& gradients, LayerTape& tape, int threads);

}  // namespace gru
