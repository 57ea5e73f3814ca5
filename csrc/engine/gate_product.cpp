#include "engine/gate_product.h"

#include <algorithm>

#include "engine/summation.h"
#include "runtime/machine.h"
#include "runtime/team.h"

namespace gru {

template <class T>
GateProductRun<T>::GateProductRun(const Kernels<T>& kernels, const GateProduct<T>& product, size_t rows,
                                  bool in_portions)
    : kernels_(kernels),
      product_(product),
      panels_((product.units + kernels.vector - 1) / kernels.vector),
      column_blocks_(std::max<size_t>((product.left.size + product.left.block_size - 1) / product.left.block_size, 1)),
      columns_(std::min(product.left.block_size, product.left.size)) {
  const size_t row_bytes = std::max<size_t>(product.left.size, 1) * sizeof(T);
  // A chunk of packed left rows stays in the second-level cache for all panels.
  const size_t most = std::max<size_t>(machine().chunk_bytes() / row_bytes / rows_at_a_time, 1) * rows_at_a_time;
  chunk_ = std::min(most, rows);
  keeps_sums_ = in_portions || rows > chunk_;
}

template <class T>
size_t GateProductRun<T>::scratch_size(size_t blocks) const {
  return packed_size() + product(blocks, sums_size());
}

template <class T>
void GateProductRun<T>::compute(Part blocks, size_t rows, bool first, bool last, T* scratch, Progress& progress) const {
  T* const packed = scratch;
  // Otherwise all blocks share their sums, which so stay in cache.
  const size_t sums_stride = keeps_sums_ ? sums_size() : 0;
  size_t begin = 0;
  do {
    const size_t end = std::min(begin + chunk_, rows);
    pack({begin, end}, packed);
    for (size_t block = blocks.first; block < blocks.last; ++block) {
      T* sums = scratch + packed_size() + (block - blocks.first) * sums_stride;
      add_rows(block, {begin, end}, first && begin == 0, packed, sums);
      if (last && end == rows) store(block, sums);
      progress.add((end - begin) * columns_ * product_.gates * kernels_.vector);
    }
    begin = end;
  } while (begin < rows);
}

template <class T>
size_t GateProductRun<T>::columns_of(size_t block) const {
  return std::min(columns_, product_.left.size - block % column_blocks_ * columns_);
}

template <class T>
void GateProductRun<T>::pack(Part rows, T* packed) const {
  const Operand<T>& left = product_.left;
  for (size_t block = 0; block < column_blocks_; ++block)
    kernels_.pack_outer[product_.gates - 1](rows.size(), left.rows + rows.first,
                                            left.offset + static_cast<ptrdiff_t>(block) * left.block_stride,
                                            columns_of(block), packed + block * columns_ * rows.size());
}

template <class T>
void GateProductRun<T>::add_rows(size_t block, Part rows, bool begins, const T* packed, T* sums) const {
  const auto panel = static_cast<ptrdiff_t>(block / column_blocks_), row = static_cast<ptrdiff_t>(rows.first);
  const size_t column_block = block % column_blocks_;
  Outer<T> job{};
  job.left = packed + column_block * columns_ * rows.size();
  job.packed_rows = rows.size();
  job.columns = columns_of(block);
  job.right = product_.right + panel * product_.panel_stride + row * product_.right_row;
  job.right_row = product_.right_row;
  job.sums = sums;
  job.totals = column_block == 0 ? sums + columns_ * product_.gates * kernels_.vector : nullptr;
  const T* const next_panel = column_block + 1 == column_blocks_ ? job.right + product_.panel_stride : nullptr;
  do {
    job.last_row = std::min(job.first_row + rows_at_a_time, rows.size());
    job.accumulate = !begins || job.first_row > 0;
    const auto next = static_cast<ptrdiff_t>(job.last_row);
    job.ahead = job.last_row < rows.size() ? job.right + next * job.right_row : next_panel;
    kernels_.outer[product_.gates - 1](job);
    job.first_row = job.last_row;
  } while (job.last_row < rows.size());
}

template <class T>
void GateProductRun<T>::store(size_t block, const T* sums) const {
  const size_t width = kernels_.vector, unit = block / column_blocks_ * width, gates = product_.gates;
  const size_t units = std::min(width, product_.units - unit), column = block % column_blocks_ * columns_;
  for (size_t gate = 0; gate < gates; ++gate) {
    const auto out_row = static_cast<ptrdiff_t>(product_.left.size);
    kernels_.transpose(columns_of(block), units, sums + gate * width, static_cast<ptrdiff_t>(gates * width),
                       product_.out[gate] + unit * product_.left.size + column, out_row);
    if (column == 0 && product_.totals[gate])
      std::copy_n(sums + (columns_ * gates + gate) * width, units, product_.totals[gate] + unit);
  }
}

template class GateProductRun<float>;
template class GateProductRun<double>;

}  // namespace gru
