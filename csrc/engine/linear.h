// y = x W^T + b over rows.
#pragma once

#include <cstddef>

#include "engine/views.h"
#include "formats/pack.h"
#include "kernels/table.h"
#include "runtime/buffer.h"

namespace gru {

// The weights of y = x W^T + b. The matrix is not copied, as with RecurrentWeights.
template <class T>
class LinearWeights {
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
void linear_forward(const LinearWeights<T>& weights, size_t rows, Rows<const T> x, Rows<T> y, int threads);

// d_x (N, I) and d_weight (O, I), d_bias (O) contiguous, from x (N, I) and d_y (N, O); each of the three may be null.
template <class T>
void linear_backward(const LinearWeights<T>& weights, size_t rows, Rows<const T> x, Rows<const T> d_y, Rows<T> d_x,
                     T* d_weight, T* d_bias, int threads);

// What the BLAS behind the gradients of weights says of itself; "none" in a build without one.
const char* blas_description();

}  // namespace gru
