// The contract of the core: gated recurrent layers on CPUs, without Python.
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
#include <memory>
#include <optional>

#include "buffer.h"
#include "export.h"
#include "kernels/table.h"
#include "pack.h"
#include "schedule.h"
#include "views.h"

namespace gru {

// Plain rows as a left factor, in blocks at which a product may cut them.
template <class T>
Operand<T> plain_operand(const T* const* rows, size_t size) {
  constexpr size_t block = 128;
  return {rows, 0, size, block, block};
}

// The parameters of one recurrent layer in one direction, contiguous. G is the number of the cell's gates, in PyTorch's
// order.
template <class E>
struct RecurrentParameters {
  E *weight_ih, *weight_hh;  // (G H, I), (G H, H)
  E *bias_ih, *bias_hh;      // (G H), or null for none
  E *gamma_ih, *gamma_hh;    // (G H), of layer normalization only: the gains of both sides
  E* peephole;               // (3, H) of i, f, o, or null for none
};

// Such parameters as the kernels read them. The matrices are not copied: they may neither change nor go while this
// object lives.
template <class T>
class GRU_API RecurrentWeights {
 public:
  // Throws std::bad_alloc, and std::invalid_argument for a wrong GRU_NATIVE_ISA. Of the choices, which are null for the
  // usual cell, the peepholes are those of the parameters.
  RecurrentWeights(size_t kind, size_t input_size, size_t hidden_size, const RecurrentParameters<const T>& parameters,
                   const Choices<T>* choices);

  const size_t kind;  // of cell, its place in the table
  const size_t input_size, hidden_size;
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

  size_t panels() const { return (hidden_size + kernels.vector - 1) / kernels.vector; }

 private:
  // Matrices of all gates, and of some.
  GateMatrices<T> input(const RecurrentParameters<const T>& parameters) const;
  GateMatrices<T> hidden(const RecurrentParameters<const T>& parameters, size_t first, size_t gates) const;
  void fill_biases(const RecurrentParameters<const T>& parameters);

  Packs<T> forward_, backward_;
  Buffer<T> input_bias_, hidden_bias_, peephole_;
  std::optional<Choices<T>> choices_;
};

// Rows of gates as a tape holds them, [panel][row][slot][vector], in memory of somebody else's: see Gates.
template <class T>
class GRU_API GateRows {
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
class GRU_API RecurrentTape {
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

// One layer, one direction. Padding is not read; outputs and gradients there are zeros.
template <class T>
struct RecurrentForward {
  Sequence<const T> x;
  Rows<const T> h_0;   // (B, H), or none for zeros
  Rows<const T> mask;  // (B, H), or none: what h is multiplied by where the hidden weights read it, in every step
  Sequence<T> output;  // (T, B, H); may not overlap anything
  Rows<T> h_n;         // (B, H), the state after each row's last step; may be h_0's own rows
  Rows<const T> c_0;   // of the LSTM, as h_0
  Rows<T> c_n;         // of the LSTM, as h_n
  Zoneout zoneout;
};

// Computes output and the last states, and fills `tape`, made of the same schedule, unless it is null. `threads` is an
// upper limit.
template <class T>
GRU_API void recurrent_forward(const RecurrentWeights<T>& weights, const Schedule& schedule,
                               const RecurrentForward<T>& call, RecurrentTape<T>* tape, int threads);

// out (T, B, H) = a gate over all steps, from a tape that keeps the gates and no backward pass has used; zeros in
// padding.
template <class T>
GRU_API void copy_gate(const RecurrentWeights<T>& weights, const RecurrentTape<T>& tape, size_t gate,
                       const Sequence<T>& out);

template <class T>
struct RecurrentBackward {
  Sequence<const T> x;         // as in the forward call
  Rows<const T> h_0;           // as in the forward call
  Rows<const T> mask;          // as in the forward call
  Zoneout zoneout;             // as in the forward call
  Sequence<const T> output;    // what the forward call computed
  Sequence<const T> d_output;  // (T, B, H), or none for zeros
  Rows<const T> d_h_n, d_c_n;  // (B, H), or none for zeros
  Sequence<T> d_x;             // (T, B, I), or none when it is not wanted; may be x's own memory
  bool accumulate_d_x;         // whether to add to what d_x holds
  Rows<T> d_h_0, d_c_0;        // (B, H), or none when it is not wanted
  RecurrentParameters<T> gradients;
};

// Computes all gradients by back-propagation through time. The tape's gates are overwritten: it serves once.
template <class T>
GRU_API void recurrent_backward(const RecurrentWeights<T>& weights, const RecurrentBackward<T>& call,
                                RecurrentTape<T>& tape, int threads);

// The weights of y = x W^T + b. The matrix is not copied, as with RecurrentWeights.
template <class T>
class GRU_API LinearWeights {
 public:
  // weight (O, I) and bias (O), contiguous; bias may be null.
  LinearWeights(size_t input_size, size_t output_size, const T* weight, const T* bias);

  const size_t input_size, output_size;
  const bool has_bias;
  const Kernels<T>& kernels;

  const Pack<T>& forward() const { return forward_; }
  const T* bias() const { return bias_.data(); }  // [panel][vector], or null
  const Pack<T>& backward() const { return backward_; }

 private:
  Buffer<T> bias_;
  Pack<T> forward_, backward_;
};

// y (N, O) from x (N, I).
template <class T>
GRU_API void linear_forward(const LinearWeights<T>& weights, size_t rows, Rows<const T> x, Rows<T> y, int threads);

// d_x (N, I) and d_weight (O, I), d_bias (O) contiguous, from x (N, I) and d_y (N, O); each of the three may be null.
template <class T>
GRU_API void linear_backward(const LinearWeights<T>& weights, size_t rows, Rows<const T> x, Rows<const T> d_y,
                             Rows<T> d_x, T* d_weight, T* d_bias, int threads);

// d_weight (V, E) = 0, then d_weight[indices[i]] += d_y[i] in the order of i, for 0 <= indices[i] < V; rows of
// `padding` stay 0 (none when it is negative).
template <class T>
GRU_API void embedding_backward(size_t rows, const int64_t* indices, Rows<const T> d_y, size_t entries, size_t size,
                                int64_t padding, T* d_weight, int threads);

// Row by row: loss = -sum_c q_c log softmax(logits)_c, where q is 1 - smoothing at the target plus smoothing / C
// everywhere, and gradient = softmax(logits) - q. Ignored rows give zeros. `gradient` may be null, or logits' own rows.
template <class T>
GRU_API void softmax_cross_entropy(size_t rows, size_t classes, const T* logits, const int64_t* targets,
                                   int64_t ignore_index, double smoothing, double* losses, T* gradient, int threads);

// y = x / (1 - p) but for elements that are zeroed with probability p (0 to 1); which ones is a function of the key,
// their place and p alone. y may be x.
template <class T>
GRU_API void dropout(size_t size, const T* x, T* y, uint64_t key, double p, int threads);

template <class T>
GRU_API void sigmoid(size_t size, const T* x, T* y);
template <class T>
GRU_API void tanh(size_t size, const T* x, T* y);

// The number of threads that a call uses when none is given: OMP_NUM_THREADS, or the CPUs of this process within the
// quota of its control groups.
GRU_API int default_threads();

// What the BLAS behind the weight gradients of a linear layer says of itself.
GRU_API const char* blas_description();

}  // namespace gru
