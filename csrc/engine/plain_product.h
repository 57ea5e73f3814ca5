// The product of two plain matrices that sums over their rows: the gradient of a linear layer's weights.
#pragma once

#include "engine/views.h"
#include "kernels/table.h"

namespace gru {

// out (O, I) contiguous = the sum over rows of left[row] (O) times right[row] (I). An element's bits depend on the rows
// alone: however the work is cut, the same number of them is summed at a time, in their order.
template <class T>
void product_over_rows(const Kernels<T>& kernels, size_t rows, size_t outputs, size_t inputs, Rows<const T> left,
                       Rows<const T> right, T* out, int threads);

}  // namespace gru
