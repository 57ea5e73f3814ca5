// One spelling for every CBLAS: scipy-openblas32 puts a prefix before each symbol, a system BLAS does not.
#pragma once

#include <cblas.h>

#define GRU_BLAS_JOIN_(prefix, name) prefix##name
#define GRU_BLAS_JOIN(prefix, name) GRU_BLAS_JOIN_(prefix, name)

// GRU_CBLAS(sgemm) is cblas_sgemm of the BLAS that the build found.
#define GRU_CBLAS(name) GRU_BLAS_JOIN(GRU_BLAS_PREFIX, cblas_##name)

namespace gru::blas {

// Turns off the threads of OpenBLAS, because our own team shares out the work. Other libraries are left as they are.
inline void use_one_thread() {
#if GRU_BLAS_IS_OPENBLAS
  GRU_BLAS_JOIN(GRU_BLAS_PREFIX, openblas_set_num_threads)(1);
#endif
}

// Name, version and chosen kernels, for people to read.
inline const char* description() {
#if GRU_BLAS_IS_OPENBLAS
  return GRU_BLAS_JOIN(GRU_BLAS_PREFIX, openblas_get_config)();
#else
  return "system CBLAS";
#endif
}

}  // namespace gru::blas
