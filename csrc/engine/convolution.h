// Convolutions over time, as linear layers over windows of sequences.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/linear.h"
#include "engine/views.h"

namespace gru {

// Output step t of a row sees its steps t * stride + k * dilation - left for each k below `kernel`, and zeros where it
// has none. There is an output step as long as the window ends within `right` steps behind the row; of a row without a
// step there is none.
struct WindowShape {
  size_t kernel, stride, dilation, left, right;

  size_t reach() const { return (kernel - 1) * dilation; }
  size_t outputs(size_t steps) const {
    const size_t given = steps + left + right;
    return steps == 0 || given <= reach() ? 0 : (given - reach() - 1) / stride + 1;
  }
};

// The windows of a batch, row after row.
class Windows {
 public:
  // lengths (B), each 0 to `times`; null when all are that.
  Windows(const WindowShape& shape, size_t times, size_t batch, const int64_t* lengths);

  const WindowShape shape;
  const size_t batch, times, output_times;

  size_t length(size_t row) const { return lengths_.empty() ? times : lengths_[row]; }
  size_t outputs(size_t row) const { return begin_[row + 1] - begin_[row]; }
  size_t size() const { return begin_[batch]; }
  // Calls function(row, t) for the windows from `first` to `last`.
  template <class Function>
  void for_each(size_t first, size_t last, Function function) const;

 private:
  std::vector<size_t> lengths_;  // empty when all are `times`
  std::vector<size_t> begin_;    // of a row, and behind the last one
};

// y (T', B, O) from x (T, B, C): weights are of the steps of a window one behind the other, (O, kernel * C). Padding of
// x is not read; that of y is zeros.
template <class T>
void convolution_forward(const LinearWeights<T>& weights, const Windows& windows, const Sequence<const T>& x,
                         const Sequence<T>& y, int threads);

// d_x as x, zeros in padding; d_weight (O, kernel * C) and d_bias (O) contiguous. Each of the three may be null.
template <class T>
void convolution_backward(const LinearWeights<T>& weights, const Windows& windows, const Sequence<const T>& x,
                          const Sequence<const T>& d_y, const Sequence<T>& d_x, T* d_weight, T* d_bias, int threads);

}  // namespace gru
