// AVX2 with FMA: 16 registers of 8 floats or 4 doubles.
#include <immintrin.h>

#include "table.h"

#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile this file with AVX2 and FMA"
#endif

namespace gru {
namespace {

template <class T>
struct Vector;

// The mask of the first n lanes starts n before the zeros.
alignas(32) constexpr int lanes32[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
alignas(32) constexpr long long lanes64[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

template <>
struct Vector<float> {
  using Element = float;
  using Reg = __m256;
  static constexpr size_t width = 8, zipped = 4, accumulators = 12;

  static __m256i mask(size_t n) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes32 + 8 - n)); }
  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg load_first(const float* p, size_t n) { return _mm256_maskload_ps(p, mask(n)); }
  static Reg first(Reg a, size_t n) { return _mm256_and_ps(a, _mm256_castsi256_ps(mask(n))); }
  static void store(float* p, Reg a) { _mm256_storeu_ps(p, a); }
  static void store_first(float* p, Reg a, size_t n) { _mm256_maskstore_ps(p, mask(n), a); }
  static Reg set(float a) { return _mm256_set1_ps(a); }
  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static Reg fms(Reg a, Reg b, Reg c) { return _mm256_fmsub_ps(a, b, c); }
  static Reg divide(Reg a, Reg b, Reg c) {
    const Reg inverse = _mm256_div_ps(set(1), b), quotient = mul(a, inverse);
    return fma(inverse, _mm256_fnmadd_ps(quotient, c, _mm256_fnmadd_ps(quotient, b, a)), quotient);
  }
  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg where_positive(Reg a, Reg b) { return _mm256_and_ps(_mm256_cmp_ps(a, zero(), _CMP_GT_OQ), b); }
  static Reg magnitude(Reg a) { return _mm256_andnot_ps(set(-0.0f), a); }
  static Reg negate_like(Reg a, Reg s) { return _mm256_xor_ps(a, _mm256_and_ps(s, set(-0.0f))); }
  static Reg exponent(Reg a) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a), 23)); }
  static Reg zip_low(Reg a, Reg b) { return _mm256_unpacklo_ps(a, b); }
  static Reg zip_high(Reg a, Reg b) { return _mm256_unpackhi_ps(a, b); }
  static Reg low_halves(Reg a, Reg b) { return _mm256_permute2f128_ps(a, b, 0x20); }
  static Reg high_halves(Reg a, Reg b) { return _mm256_permute2f128_ps(a, b, 0x31); }
};

template <>
struct Vector<double> {
  using Element = double;
  using Reg = __m256d;
  static constexpr size_t width = 4, zipped = 2, accumulators = 12;

  static __m256i mask(size_t n) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes64 + 4 - n)); }
  static Reg load(const double* p) { return _mm256_loadu_pd(p); }
  static Reg load_first(const double* p, size_t n) { return _mm256_maskload_pd(p, mask(n)); }
  static Reg first(Reg a, size_t n) { return _mm256_and_pd(a, _mm256_castsi256_pd(mask(n))); }
  static void store(double* p, Reg a) { _mm256_storeu_pd(p, a); }
  static void store_first(double* p, Reg a, size_t n) { _mm256_maskstore_pd(p, mask(n), a); }
  static Reg set(double a) { return _mm256_set1_pd(a); }
  static Reg zero() { return _mm256_setzero_pd(); }
  static Reg add(Reg a, Reg b) { return _mm256_add_pd(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_pd(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_pd(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_pd(a, b, c); }
  static Reg fms(Reg a, Reg b, Reg c) { return _mm256_fmsub_pd(a, b, c); }
  static Reg divide(Reg a, Reg b, Reg c) {
    const Reg inverse = _mm256_div_pd(set(1), b), quotient = mul(a, inverse);
    return fma(inverse, _mm256_fnmadd_pd(quotient, c, _mm256_fnmadd_pd(quotient, b, a)), quotient);
  }
  static Reg min(Reg a, Reg b) { return _mm256_min_pd(a, b); }
  static Reg max(Reg a, Reg b) { return _mm256_max_pd(a, b); }
  static Reg where_positive(Reg a, Reg b) { return _mm256_and_pd(_mm256_cmp_pd(a, zero(), _CMP_GT_OQ), b); }
  static Reg magnitude(Reg a) { return _mm256_andnot_pd(set(-0.0), a); }
  static Reg negate_like(Reg a, Reg s) { return _mm256_xor_pd(a, _mm256_and_pd(s, set(-0.0))); }
  static Reg exponent(Reg a) { return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(a), 52)); }
  static Reg zip_low(Reg a, Reg b) { return _mm256_unpacklo_pd(a, b); }
  static Reg zip_high(Reg a, Reg b) { return _mm256_unpackhi_pd(a, b); }
  static Reg low_halves(Reg a, Reg b) { return _mm256_permute2f128_pd(a, b, 0x20); }
  static Reg high_halves(Reg a, Reg b) { return _mm256_permute2f128_pd(a, b, 0x31); }
};

}  // namespace
}  // namespace gru

#include "kernels.inc.h"

namespace gru {
extern const Isa avx2;
const Isa avx2 = {"avx2", &kernels<float>, &kernels<double>};
}  // namespace gru
