// The gradients of a layer's weights and biases: sums over the rows of all steps.
#pragma once

#include <vector>

#include "gemm.h"
#include "gru.h"
#include "team.h"

namespace gru {

// The tables of a backward call: the addresses of rows, and of gates that have become gradients.
template <class T>
struct GradientRows {
  const GateRows<T>& gates;
  const T* const* gate_rows;
  const T* const* x;
  const T* const* h;  // the states that the steps began with
};

template <class T>
class WeightGradients {
 public:
  // To arrays of `out`, for portions of so many rows at most.
  WeightGradients(const RecurrentWeights<T>& weights, const RecurrentParameters<T>& out, const GradientRows<T>& tables,
                  size_t rows, bool in_portions, int members);

  // A member's part; see GateProductRun.
  void compute(int member, size_t rows, bool first, bool last, Progress& progress) const;

 private:
  Operand<T> left_of(const HiddenGradients& own) const;
  void add(const Operand<T>& left, ptrdiff_t slot, const size_t* gates, size_t count, T* out, T* bias);

  const RecurrentWeights<T>& w_;
  const RecurrentParameters<T> out_;
  const GradientRows<T> tables_;
  const size_t rows_;
  const bool in_portions_;
  const int members_;
  std::vector<GateProductRun<T>> products_;
  std::vector<size_t> begin_;  // of each product's scratch
  size_t member_scratch_ = 0;
  Buffer<T> scratch_;
};

}  // namespace gru
