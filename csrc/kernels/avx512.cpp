// AVX-512 (F, BW, DQ, VL): 32 registers of 16 floats or 8 doubles.
#include <immintrin.h>

#include "table.h"

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "compile this file with AVX-512 F, BW, DQ and VL"
#endif

// GCC's own headers begin a masked intrinsic from a register that they leave undefined on purpose.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace gru {
namespace {

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using Element = float;
  using Reg = __m512;
  static constexpr size_t width = 16, zipped = 16, accumulators = 24;

  static __mmask16 mask(size_t n) { return static_cast<__mmask16>((1u << n) - 1); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg load_first(const float* p, size_t n) { return _mm512_maskz_loadu_ps(mask(n), p); }
  static Reg first(Reg a, size_t n) { return _mm512_maskz_mov_ps(mask(n), a); }
  static void store(float* p, Reg a) { _mm512_storeu_ps(p, a); }
  static void store_first(float* p, Reg a, size_t n) { _mm512_mask_storeu_ps(p, mask(n), a); }
  static Reg set(float a) { return _mm512_set1_ps(a); }
  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg fms(Reg a, Reg b, Reg c) { return _mm512_fmsub_ps(a, b, c); }
  // 14 bits and a step of Newton's are as good as a division, and take a third of its time.
  static Reg divide(Reg a, Reg b, Reg c) {
    const Reg rough = _mm512_rcp14_ps(b);
    const Reg inverse = fma(rough, _mm512_fnmadd_ps(rough, b, set(1)), rough);
    const Reg quotient = mul(a, inverse);
    return fma(inverse, _mm512_fnmadd_ps(quotient, c, _mm512_fnmadd_ps(quotient, b, a)), quotient);
  }
  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg where_positive(Reg a, Reg b) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, zero(), _CMP_GT_OQ), b); }
  static Reg magnitude(Reg a) { return _mm512_abs_ps(a); }
  static Reg negate_like(Reg a, Reg s) { return _mm512_xor_ps(a, _mm512_and_ps(s, set(-0.0f))); }
  static Reg exponent(Reg a) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a), 23)); }
  static Reg zip_low(Reg a, Reg b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), b);
  }
  static Reg zip_high(Reg a, Reg b) {
    return _mm512_permutex2var_ps(a, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31),
                                  b);
  }
};

template <>
struct Vector<double> {
  using Element = double;
  using Reg = __m512d;
  static constexpr size_t width = 8, zipped = 8, accumulators = 24;

  static __mmask8 mask(size_t n) { return static_cast<__mmask8>((1u << n) - 1); }
  static Reg load(const double* p) { return _mm512_loadu_pd(p); }
  static Reg load_first(const double* p, size_t n) { return _mm512_maskz_loadu_pd(mask(n), p); }
  static Reg first(Reg a, size_t n) { return _mm512_maskz_mov_pd(mask(n), a); }
  static void store(double* p, Reg a) { _mm512_storeu_pd(p, a); }
  static void store_first(double* p, Reg a, size_t n) { _mm512_mask_storeu_pd(p, mask(n), a); }
  static Reg set(double a) { return _mm512_set1_pd(a); }
  static Reg zero() { return _mm512_setzero_pd(); }
  static Reg add(Reg a, Reg b) { return _mm512_add_pd(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_pd(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_pd(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static Reg fms(Reg a, Reg b, Reg c) { return _mm512_fmsub_pd(a, b, c); }
  static Reg divide(Reg a, Reg b, Reg c) {
    const Reg rough = _mm512_rcp14_pd(b);
    const Reg better = fma(rough, _mm512_fnmadd_pd(rough, b, set(1)), rough);
    const Reg inverse = fma(better, _mm512_fnmadd_pd(better, b, set(1)), better);
    const Reg quotient = mul(a, inverse);
    return fma(inverse, _mm512_fnmadd_pd(quotient, c, _mm512_fnmadd_pd(quotient, b, a)), quotient);
  }
  static Reg min(Reg a, Reg b) { return _mm512_min_pd(a, b); }
  static Reg max(Reg a, Reg b) { return _mm512_max_pd(a, b); }
  static Reg where_positive(Reg a, Reg b) { return _mm512_maskz_mov_pd(_mm512_cmp_pd_mask(a, zero(), _CMP_GT_OQ), b); }
  static Reg magnitude(Reg a) { return _mm512_abs_pd(a); }
  static Reg negate_like(Reg a, Reg s) { return _mm512_xor_pd(a, _mm512_and_pd(s, set(-0.0))); }
  static Reg exponent(Reg a) { return _mm512_castsi512_pd(_mm512_slli_epi64(_mm512_castpd_si512(a), 52)); }
  static Reg zip_low(Reg a, Reg b) { return _mm512_permutex2var_pd(a, _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11), b); }
  static Reg zip_high(Reg a, Reg b) {
    return _mm512_permutex2var_pd(a, _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15), b);
  }
};

}  // namespace
}  // namespace gru

#include "kernels.inc.h"

namespace gru {
extern const Isa avx512;
const Isa avx512 = {"avx512", &kernels<float>, &kernels<double>};
}  // namespace gru
