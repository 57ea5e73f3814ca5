// The contract of the engine: gated recurrent layers over sequences, forward and backward.
//
// Names are PyTorch's: T time steps, B batch rows, I input size, H hidden size; gates r, z, n in this order.
// Unless something else is said, pointers are borrowed for the call, arrays that are read and arrays that are written
// do not overlap, and strides are in elements. Every function may be called from many threads at once.
//
// What is promised about bits, on one machine and instruction set: a row's output, h_n, d_x and d_h_0 do not depend on
// the number of threads nor on the other rows of the batch; a sequence in pieces gives the bits of the sequence at
// once; weight gradients do not depend on the number of threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "engine/schedule.h"
#include "engine/views.h"
#include "formats/pack.h"
#include "kernels/table.h"
#include "runtime/buffer.h"

namespace gru {

// The parameters of one recurrent layer in one direction, contiguous. G is the number of the cell's gates, in PyTorch's
// order. P is the size of h: H, but where what the cell computes is projected.
template <class E>
struct RecurrentParameters {
  E *weight_ih, *weight_hh;  // (G H, I), (G H, P)
  E *bias_ih, *bias_hh;      // (G H), or null for none
  E *gamma_ih, *gamma_hh;    // (G H), of layer normalization only: the gains of both sides
  E* peephole;               // (3, H) of i, f, o, or null for none
  E* weight_hr;              // (P, H), of a projection of h
};

// Such parameters as the kernels read them. The matrices are not copied: they may neither change nor go while this
// object lives.
template <class T>
class RecurrentWeights {
 public:
  // Throws std::bad_alloc, and std::invalid_argument for a wrong GRU_NATIVE_ISA. Of the choices, which are null for the
  // usual cell, the peepholes are those of the parameters.
  RecurrentWeights(size_t kind, size_t input_size, size_t hidden_size, size_t output_size,
                   const RecurrentParameters<const T>& parameters, const Choices<T>* choices);

  const size_t kind;                                  // of cell, its place in the table
  const size_t input_size, hidden_size, output_size;  // I, H, P
  const bool has_bias_ih, has_bias_hh, has_peepholes;
  const Isa& isa;
  const Kernels<T>& kernels;
  const Cell<T>& cell;

  const Packs<T>& forward() const { return forward_; }
  const Packs<T>& backward() const { return backward_; }
  // [panel][gate][vector], with what can be added of the hidden side's bias.
  const T* input_bias() const { return input_bias_.data(); }
  // Reset after: b_hn, [panel][vector]. Layer normalization: its parameters, see there.
  const T* hidden_bias() const { return hidden_bias_.data(); }
  const Choices<T>* choices() const { return choices_ ? &*choices_ : nullptr; }
  bool projects() const { return choices_ && choices_->projects; }
  // Whether gradients are sums that the cell's passes add up.
  bool has_own_sums() const { return cell.normalized || has_peepholes; }

  size_t panels() const { return (hidden_size + kernels.vector - 1) / kernels.vector; }
  size_t output_panels() const { return (output_size + kernels.vector - 1) / kernels.vector; }

 private:
  // Matrices of all gates, of some, and of what comes second.
  GateMatrices<T> input(const RecurrentParameters<const T>& parameters) const;
  GateMatrices<T> second(const RecurrentParameters<const T>& parameters) const;
  GateMatrices<T> hidden(const RecurrentParameters<const T>& parameters, size_t first, size_t gates) const;
  void fill_biases(const RecurrentParameters<const T>& parameters);

  Packs<T> forward_, backward_;
  Buffer<T> input_bias_, hidden_bias_, peephole_;
  std::optional<Choices<T>> choices_;
};

// Rows of gates as a tape holds them, [panel][row][slot][vector], in memory of somebody else's: see Gates.
template <class T>
class GateRows {
 public:
  GateRows() = default;
  GateRows(const RecurrentWeights<T>& weights, size_t rows, T* memory);

  // The elements of so many rows.
  static size_t size(const RecurrentWeights<T>& weights, size_t rows);

  // The address of the first gate in panel 0.
  T* row(size_t i) const { return memory_ + static_cast<ptrdiff_t>(i) * row_stride_ + lead_; }
  ptrdiff_t lead() const { return lead_; }  // of what stands before the first gate
  ptrdiff_t row_stride() const { return row_stride_; }
  ptrdiff_t panel_stride() const { return panel_stride_; }

 private:
  ptrdiff_t lead_ = 0, row_stride_ = 0, panel_stride_ = 0;
  T* memory_ = nullptr;
};

// What a training forward keeps beside its arguments and its output: all gates, or (`Keep::states`) none of them. Then
// the backward pass computes them again from the states, a chunk of steps at a time, to the same bits.
enum class Keep { gates, states };

template <class T>
class RecurrentTape {
 public:
  // In memory of size(...) elements at a multiple of `alignment`.
  RecurrentTape(const RecurrentWeights<T>& weights, const Schedule& schedule, Keep keep, T* memory);

  // Of a schedule of so many times, places and indices.
  static size_t size(const RecurrentWeights<T>& weights, size_t times, size_t batch, size_t indices, Keep keep);

  const Schedule& schedule;
  const Keep keep;
  const size_t chunk;       // steps that backward takes at a time; with Keep::gates all
  const GateRows<T> gates;  // with Keep::gates, and one row more, which backward uses
  // With Keep::states and an LSTM, [chunk][panel][place][vector]: the c that each chunk begins with. Else null.
  T* const c;
};

// Zoneout (Krueger et al. 2017): a unit keeps its state of the step before with probability p; or, not random, its new
// state is p times the old one plus 1 - p times what the step computes. For cells without c.
struct Zoneout {
  double p;  // 0: none
  bool random;
  uint64_t key;
};

// One direction of a layer. Padding is not read; outputs and gradients there are zeros.
template <class T>
struct RecurrentForward {
  Sequence<const T> x;
  Rows<const T> h_0;   // (B, P), or none for zeros
  Rows<const T> mask;  // (B, P), or none: what h is multiplied by where the hidden weights read it, in every step
  Sequence<T> output;  // (T, B, P); may not overlap anything
  Rows<T> h_n;         // (B, P), the state after each row's last step; may be h_0's own rows
  Rows<const T> c_0;   // of the LSTM, (B, H), as h_0
  Rows<T> c_n;         // of the LSTM, as h_n
  Zoneout zoneout;
};

template <class T>
struct ForwardDirection {
  const RecurrentWeights<T>* weights;
  const Schedule* schedule;
  RecurrentForward<T> call;
  RecurrentTape<T>* tape;  // or null
};

// Computes output and the last states of each direction, and fills its tape, made of the same schedule. Directions have
// the same sizes; `threads` is an upper limit.
template <class T>
void recurrent_forward(std::span<const ForwardDirection<T>> directions, int threads);

// out (T, B, H) = a gate over all steps, from a tape that keeps the gates and no backward pass has used; zeros in
// padding.
template <class T>
void copy_gate(const RecurrentWeights<T>& weights, const RecurrentTape<T>& tape, size_t gate, const Sequence<T>& out);

template <class T>
struct RecurrentBackward {
  Sequence<const T> x;         // as in the forward call
  Rows<const T> h_0;           // as in the forward call
  Rows<const T> mask;          // as in the forward call
  Zoneout zoneout;             // as in the forward call
  Sequence<const T> output;    // what the forward call computed
  Sequence<const T> d_output;  // (T, B, P), or none for zeros
  Rows<const T> d_h_n, d_c_n;  // (B, P) and (B, H), or none for zeros
  Sequence<T> d_x;             // (T, B, I), or none when it is not wanted; may be x's own memory
  bool accumulate_d_x;         // whether to add to what d_x holds
  Rows<T> d_h_0, d_c_0;        // as those, or none when they are not wanted
  RecurrentParameters<T> gradients;
};

template <class T>
struct BackwardDirection {
  const RecurrentWeights<T>* weights;
  RecurrentBackward<T> call;
  RecurrentTape<T>* tape;
};

// Computes all gradients by back-propagation through time. The tapes' gates are overwritten: they serve once. A second
// direction adds to the d_x of the first.
template <class T>
void recurrent_backward(std::span<const BackwardDirection<T>> directions, int threads);

}  // namespace gru
