// A recurrent decoder with attention and input feeding (Luong et al. 2015).
//
// Step by step, from x_t and the output before it:
//   h_t = GRU([x_t; y_(t-1)], h_(t-1)),  c_t = attention of query(h_t),  y_t = tanh(combine [c_t; h_t])
#pragma once

#include <cstddef>
#include <optional>

#include "engine/attention.h"
#include "engine/linear.h"
#include "engine/recurrent.h"
#include "engine/schedule.h"

namespace gru {

// The arrays of a decoder, contiguous: E, H, A and M are the sizes of x, h, a query and what is attended to.
template <class E>
struct DecoderParameters {
  RecurrentParameters<E> gru;  // of E + H inputs
  E *query, *query_bias;       // (A, H) and (A), or null: then h is the query
  E* score;                    // (A), or null: see Attention
  E* combine;                  // (H, M + H)
};

// Matrices are not copied, as with RecurrentWeights.
template <class T>
class DecoderWeights {
 public:
  DecoderWeights(size_t input_size, size_t hidden_size, size_t key_size, size_t value_size, size_t heads,
                 const DecoderParameters<const T>& parameters);

  const size_t input_size, hidden_size, key_size, value_size, heads;
  const bool has_score;
  const RecurrentWeights<T> gru;
  const std::optional<LinearWeights<T>> query;
  const LinearWeights<T> combine;
  const T* score() const { return score_.empty() ? nullptr : score_.data(); }

 private:
  const std::vector<T> score_;
};

// What a step of each row leaves for the backward pass: in memory of somebody else's, in the schedule's order.
template <class T>
class DecoderTape {
 public:
  // In memory of size(...) elements at a multiple of `alignment`.
  DecoderTape(const DecoderWeights<T>& weights, size_t rows, size_t source, T* memory);
  static size_t size(const DecoderWeights<T>& weights, size_t rows, size_t source);

  T* input(size_t i) const { return inputs_ + i * input_size; }
  T* joined(size_t i) const { return joined_ + i * joined_size; }
  T* state(size_t i) const { return joined(i) + joined_size - hidden_size_; }
  T* query(size_t i) const { return queries_ ? queries_ + i * query_size_ : state(i); }
  T* attention(size_t i) const { return attention_ + i * attention_size; }

  const size_t rows;
  const size_t input_size, joined_size, attention_size;  // E + H, M + H, heads * S
  const GateRows<T> gates;

 private:
  size_t hidden_size_, query_size_;
  T *inputs_, *joined_, *queries_, *attention_;
};

// (T, B, E), (T, B, H) and (B, H), contiguous.
template <class T>
struct DecoderForward {
  const T* x;
  const T *h_0, *y_0;  // null for zeros
  T* y;
  T* h_n;        // null when it is not wanted
  T* attention;  // (T, B, heads, S), null when it is not wanted
};

template <class T>
void decoder_forward(const DecoderWeights<T>& weights, const Schedule& schedule, const AttendedMemory<T>& memory,
                     const DecoderForward<T>& call, const DecoderTape<T>& tape, int threads);

template <class T>
struct DecoderBackward {
  const T *h_0, *y;  // as in the forward call
  const T* d_y;
  T *d_x, *d_h_0;  // d_h_0 may be null
  MemoryGradients<T> memory;
  DecoderParameters<T> gradients;  // memory.score is the score's
};

// Back-propagation through time. The tape's gates are overwritten: it serves once.
template <class T>
void decoder_backward(const DecoderWeights<T>& weights, const Schedule& schedule, const AttendedMemory<T>& memory,
                      const DecoderBackward<T>& call, const DecoderTape<T>& tape, int threads);

}  // namespace gru
