#include "engine/blas.h"

#include "engine/linear.h"

#ifdef GRU_BLAS_PREFIX

#include <cblas.h>

#include <algorithm>
#include <climits>

#include "engine/plan.h"
#include "runtime/team.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

// scipy-openblas32 puts a prefix before each symbol, a system BLAS does not.
#define GRU_BLAS_JOIN_(prefix, name) prefix##name
#define GRU_BLAS_JOIN(prefix, name) GRU_BLAS_JOIN_(prefix, name)
#define GRU_BLAS(name) GRU_BLAS_JOIN(GRU_BLAS_PREFIX, name)

namespace gru {

namespace {

// What BLAS multiplies at once: large enough for its own blocking, small enough to be shared out. It counts in int and
// cannot be given up: the rows are cut too.
constexpr size_t block_outputs = 128, block_inputs = 512, block_rows = size_t{1} << 14;

using Index = int;

void gemm(Index m, Index n, Index k, const float* a, Index lda, const float* b, Index ldb, float* c, Index ldc) {
  GRU_BLAS(cblas_sgemm)(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, k, 1.0f, a, lda, b, ldb, 1.0f, c, ldc);
}
void gemm(Index m, Index n, Index k, const double* a, Index lda, const double* b, Index ldb, double* c, Index ldc) {
  GRU_BLAS(cblas_dgemm)(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, k, 1.0, a, lda, b, ldb, 1.0, c, ldc);
}

// Our own team shares out the work: OpenBLAS gets no threads. Its kernels for Arm's SME give wrong products.
bool prepare() {
#if GRU_BLAS_IS_OPENBLAS
  GRU_BLAS(openblas_set_num_threads)(1);
#if defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long sme = 1ul << 23;  // HWCAP2_SME, which older headers lack
  return !(getauxval(AT_HWCAP2) & sme);
#endif
#endif
  return true;
}

}  // namespace

template <class T>
bool product_by_blas(size_t rows, size_t outputs, size_t inputs, Rows<const T> left, Rows<const T> right, T* out,
                     int threads) {
  static const bool right_here = prepare();
  if (!right_here || std::max(outputs, inputs) > INT_MAX) return false;
  std::fill_n(out, outputs * inputs, T(0));
  const size_t across = (inputs + block_inputs - 1) / block_inputs;
  const size_t blocks = (outputs + block_outputs - 1) / block_outputs * across;
  int members = plan_members(rows * outputs * inputs, blocks, threads);
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    const Part part = part_of(blocks, member, members);
    for (size_t block = part.first; block < part.last; ++block) {
      const size_t o = block / across * block_outputs, i = block % across * block_inputs;
      for (size_t row = 0; row < rows; row += block_rows) {
        gemm(static_cast<Index>(std::min(block_outputs, outputs - o)),
             static_cast<Index>(std::min(block_inputs, inputs - i)),
             static_cast<Index>(std::min(block_rows, rows - row)), left.at(row) + o, static_cast<Index>(left.row),
             right.at(row) + i, static_cast<Index>(right.row), out + o * inputs + i, static_cast<Index>(inputs));
        progress.add(std::min(block_rows, rows - row) * block_outputs * block_inputs);
      }
    }
  };
  if (!run_team(members, work)) run_team(members = 1, work);
  return true;
}

const char* blas_description() {
#if GRU_BLAS_IS_OPENBLAS
  return GRU_BLAS(openblas_get_config)();
#else
  return "system CBLAS";
#endif
}

#else

namespace gru {

template <class T>
bool product_by_blas(size_t, size_t, size_t, Rows<const T>, Rows<const T>, T*, int) {
  return false;
}

const char* blas_description() { return "none"; }

#endif

template bool product_by_blas(size_t, size_t, size_t, Rows<const float>, Rows<const float>, float*, int);
template bool product_by_blas(size_t, size_t, size_t, Rows<const double>, Rows<const double>, double*, int);

}  // namespace gru
