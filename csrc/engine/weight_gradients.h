// The gradients of a layer's weights and biases: sums over the rows of all steps.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/gate_product.h"
#include "engine/recurrent.h"
#include "runtime/team.h"

namespace gru {

// The gradients of a chunk's outputs, where these are projections: rows of P elements, with zeros up to whole vectors.
template <class T>
class ProjectionGradients {
 public:
  ProjectionGradients(const RecurrentWeights<T>& weights, size_t rows)
      : stride_(weights.output_panels() * weights.kernels.vector), memory_(product(rows, stride_)) {
    std::fill_n(memory_.data(), memory_.size(), T(0));
    for (size_t i = 0; i < rows; ++i) rows_.push_back(row(i));
  }

  T* row(size_t i) const { return memory_.data() + i * stride_; }
  const T* const* rows() const { return rows_.data(); }
  ptrdiff_t stride() const { return static_cast<ptrdiff_t>(stride_); }

 private:
  size_t stride_;
  Buffer<T> memory_;
  std::vector<const T*> rows_;
};

// The tables of a backward call: the addresses of rows, and of gates that have become gradients.
template <class T>
struct GradientRows {
  const GateRows<T>& gates;
  const T* const* gate_rows;
  const T* const* x;
  const T* const* h;                         // what the hidden weights read of the states that the steps began with
  const ProjectionGradients<T>* projection;  // or null
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
  Operand<T> in_slot(ptrdiff_t slot) const;
  void add_projection();
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
