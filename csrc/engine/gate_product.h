// The products that sum over rows: gradients of weights. The outputs are cut into blocks whose sizes do not depend on
// the number of threads, and each sums over its rows in their order, so the bits do not depend on it either.
#pragma once

#include "engine/operands.h"
#include "engine/plan.h"
#include "engine/views.h"
#include "runtime/buffer.h"
#include "runtime/team.h"

namespace gru {

// The gradients of one to four gates whose own gradients stand side by side in the rows of a tape:
// out[gate][unit][column] = sum over rows of left[row][column] * right[row][gate][unit].
template <class T>
struct GateProduct {
  Operand<T> left;
  const T* right;                     // the first gate in panel 0 of row 0
  ptrdiff_t right_row, panel_stride;  // from one row to the next, and from one panel to the next
  size_t gates, units;
  T* out[4];     // (units, left.size) contiguous, one for each gate
  T* totals[4];  // (units), the sums of the right rows alone; or null
};

// Cuts a product into blocks, (panel, block of columns), and computes any range of them. The rows may come in portions
// (all of them, or one after the other in the same tables), between which the sums stay in the scratch.
template <class T>
class GateProductRun {
 public:
  // For portions of so many rows at most.
  GateProductRun(const Kernels<T>& kernels, const GateProduct<T>& product, size_t rows, bool in_portions);

  size_t blocks() const { return panels_ * column_blocks_; }
  // Elements of scratch that so many blocks need.
  size_t scratch_size(size_t blocks) const;
  // Adds the first `rows` of the tables; the first portion begins the sums, the last one writes the results.
  void compute(Part blocks, size_t rows, bool first, bool last, T* scratch, Progress& progress) const;

 private:
  size_t packed_size() const { return product(chunk_, product_.left.size); }
  size_t sums_size() const { return (columns_ + 1) * product_.gates * kernels_.vector; }
  size_t columns_of(size_t block) const;
  void pack(Part rows, T* packed) const;
  void add_rows(size_t block, Part rows, bool begins, const T* packed, T* sums) const;
  void store(size_t block, const T* sums) const;

  const Kernels<T>& kernels_;
  GateProduct<T> product_;
  size_t panels_, column_blocks_;
  size_t columns_;  // of a block, except perhaps the last
  size_t chunk_;    // left rows that are packed at a time
  bool keeps_sums_;
};

}  // namespace gru
