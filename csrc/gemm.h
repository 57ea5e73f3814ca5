// The products that sum over rows: gradients of weights. The outputs are cut into blocks whose sizes do not depend on
// the number of threads, and each sums over its rows in their order, so the bits do not depend on it either.
#pragma once

#include "gru.h"
#include "plan.h"

namespace gru {

// Rows that a block of outputs sums over at a time: what it reads of them stays in cache for the other blocks.
constexpr size_t rows_at_a_time = 256;

// A gate matrix's gradient, out[unit][column] = sum over rows of left[row][unit] * right[row][column], where the units
// of a left row stand in panels.
template <class T>
struct GateProduct {
  const T* const* left;   // rows
  ptrdiff_t left_offset;  // of unit 0
  ptrdiff_t panel_stride;
  const T* const* right;  // rows
  ptrdiff_t right_offset;
  size_t units, columns;
  T* out;
  size_t out_stride;
};

// The blocks of a gate product, and its part [first, last) of them.
template <class T>
size_t blocks_of(const Kernels<T>& kernels, const GateProduct<T>& product);
template <class T>
void gate_product(const Kernels<T>& kernels, const GateProduct<T>& product, size_t rows, Part blocks);

// out (O, I) contiguous = the sum over rows of left[row] (O) times right[row] (I); by BLAS, on as many as `threads`.
template <class T>
void product_over_rows(size_t rows, size_t outputs, size_t inputs, Rows<const T> left, Rows<const T> right, T* out,
                       int threads);

}  // namespace gru
