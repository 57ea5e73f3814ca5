// Attention: means of what a sequence holds, weighted by how its steps score with a query.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/table.h"

namespace gru {

// What is attended to. Features are cut into as many parts as there are heads, each of which has weights of its own.
template <class T>
struct AttendedMemory {
  size_t steps, batch, heads, key_size, value_size;  // S, B, A, M
  const T* keys;                                     // (B, S, A)
  const T* values;                                   // (B, S, M)
  const T* score;                                    // (A), or null: see Attention
  std::vector<size_t> lengths;                       // (B), or empty when all are S; what is behind them is not read
};

// The score of a step is score · tanh(key + query) (Bahdanau et al. 2015) or, without `score`, key · query (Luong et
// al. 2015). The weights are the softmax of the scores over the steps of a row; of no steps they are zeros.
template <class T>
class Attention {
 public:
  Attention(const Kernels<T>& kernels, const AttendedMemory<T>& memory) : kernels_(kernels), m_(memory) {}

  // Multiply-adds of a query, or what takes as long.
  size_t work() const;

  // weights (heads, S), zeros in padding, and context (M), from a query (A) to a row.
  void attend(size_t row, const T* query, T* weights, T* context) const;

  // Adds to the gradients of a row's keys (S, A), values (S, M) and of its share of the score's (A); d_query (A) is
  // written. `room` (S) is overwritten.
  struct RowGradients {
    T *keys, *values, *score;
  };
  void backward(size_t row, const T* query, const T* weights, const T* d_context, T* d_query, const RowGradients& add,
                T* room) const;

  const AttendedMemory<T>& memory() const { return m_; }

 private:
  size_t length(size_t row) const { return m_.lengths.empty() ? m_.steps : m_.lengths[row]; }
  // The part of a row's features that a head sees, from what all of them stand in.
  template <class E>
  RowBlock<E> part(E* all, size_t row, size_t head, size_t size) const;

  const Kernels<T>& kernels_;
  const AttendedMemory<T>& m_;
};

// The gradients of a whole memory, contiguous as it is.
template <class T>
struct MemoryGradients {
  T *keys, *values, *score;  // score: null when the memory has none
};

// What each row adds to the gradient of the score, and their sum in the order of the rows.
template <class T>
void sum_of_scores(const AttendedMemory<T>& memory, const T* of_rows, T* sum);

// weights (T, B, heads, S) and context (T, B, M) of queries (T, B, A).
template <class T>
void attention_forward(const AttendedMemory<T>& memory, size_t queries, const T* query, T* weights, T* context,
                       int threads);

// All gradients, from that of the context; `weights` are those of the forward call.
template <class T>
void attention_backward(const AttendedMemory<T>& memory, size_t queries, const T* query, const T* weights,
                        const T* d_context, T* d_query, const MemoryGradients<T>& gradients, int threads);

}  // namespace gru
