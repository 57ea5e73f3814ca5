#include "gemm.h"

#include <algorithm>

#include "blas.h"
#include "team.h"

namespace gru {

template <class T>
size_t blocks_of(const Kernels<T>& kernels, const GateProduct<T>& product) {
  return (product.units + kernels.lanes - 1) / kernels.lanes;
}

template <class T>
void gate_product(const Kernels<T>& kernels, const GateProduct<T>& product, size_t rows, Part blocks) {
  // A block's lanes never cross a panel, because a panel is a multiple of them.
  const size_t width = kernels.vector, lanes = kernels.lanes;
  for (size_t unit = blocks.first * lanes; unit < std::min(blocks.last * lanes, product.units); ++unit)
    std::fill_n(product.out + unit * product.out_stride, product.columns, T(0));
  for (size_t row = 0; row < rows; row += rows_at_a_time)
    for (size_t block = blocks.first; block < blocks.last; ++block) {
      const size_t unit = block * lanes;
      Outer<T> job{};
      job.rows = std::min(rows_at_a_time, rows - row);
      job.left = product.left + row;
      job.left_offset = product.left_offset + static_cast<ptrdiff_t>(unit / width) * product.panel_stride +
                        static_cast<ptrdiff_t>(unit % width);
      job.lanes = std::min(lanes, product.units - unit);
      job.right = product.right + row;
      job.right_offset = product.right_offset;
      job.columns = product.columns;
      job.out = product.out + unit * product.out_stride;
      job.out_stride = static_cast<ptrdiff_t>(product.out_stride);
      kernels.outer(job);
    }
}

namespace {

// What BLAS multiplies at once: large enough for its own blocking, small enough to be shared out.
constexpr size_t block_outputs = 128, block_inputs = 512;

using Index = int;

void gemm(Index m, Index n, Index k, const float* a, Index lda, const float* b, Index ldb, float* c, Index ldc) {
  GRU_CBLAS(sgemm)(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, k, 1.0f, a, lda, b, ldb, 1.0f, c, ldc);
}
void gemm(Index m, Index n, Index k, const double* a, Index lda, const double* b, Index ldb, double* c, Index ldc) {
  GRU_CBLAS(dgemm)(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, k, 1.0, a, lda, b, ldb, 1.0, c, ldc);
}

}  // namespace

template <class T>
void product_over_rows(size_t rows, size_t outputs, size_t inputs, Rows<const T> left, Rows<const T> right, T* out,
                       int threads) {
  [[maybe_unused]] static const bool quiet = (blas::use_one_thread(), true);
  std::fill_n(out, outputs * inputs, T(0));
  const size_t across = (inputs + block_inputs - 1) / block_inputs;
  const size_t blocks = (outputs + block_outputs - 1) / block_outputs * across;
  int members = plan_members(rows * outputs * inputs, blocks, threads);
  auto work = [&](int member) {
    const Part part = part_of(blocks, member, members);
    for (size_t block = part.first; block < part.last; ++block) {
      const size_t o = block / across * block_outputs, i = block % across * block_inputs;
      // BLAS counts in int: the rows are cut too.
      constexpr size_t most_rows = size_t{1} << 20;
      for (size_t row = 0; row < rows; row += most_rows)
        gemm(static_cast<Index>(std::min(block_outputs, outputs - o)),
             static_cast<Index>(std::min(block_inputs, inputs - i)),
             static_cast<Index>(std::min(most_rows, rows - row)), left.at(row) + o, static_cast<Index>(left.row),
             right.at(row) + i, static_cast<Index>(right.row), out + o * inputs + i, static_cast<Index>(inputs));
    }
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

const char* blas_description() { return blas::description(); }

template size_t blocks_of(const Kernels<float>&, const GateProduct<float>&);
template size_t blocks_of(const Kernels<double>&, const GateProduct<double>&);
template void gate_product(const Kernels<float>&, const GateProduct<float>&, size_t, Part);
template void gate_product(const Kernels<double>&, const GateProduct<double>&, size_t, Part);
template void product_over_rows(size_t, size_t, size_t, Rows<const float>, Rows<const float>, float*, int);
template void product_over_rows(size_t, size_t, size_t, Rows<const double>, Rows<const double>, double*, int);

}  // namespace gru
