// NEON of 64-bit ARM: 32 registers of 4 floats or 2 doubles.
#include <arm_neon.h>

#include "table.h"

#if !defined(__aarch64__)
#error "this file is for 64-bit ARM"
#endif

namespace gru {
namespace {

template <class T>
struct Vector;

template <>
struct Vector<float> {
  using Element = float;
  using Reg = float32x4_t;
  static constexpr size_t width = 4, zipped = 4, accumulators = 24;

  static Reg load(const float* p) { return vld1q_f32(p); }
  static Reg load_first(const float* p, size_t n) {
    Reg a = zero();
    __builtin_memcpy(&a, p, n * sizeof(float));
    return a;
  }
  static Reg first(Reg a, size_t n) {
    Reg b = zero();
    __builtin_memcpy(&b, &a, n * sizeof(float));
    return b;
  }
  static void store(float* p, Reg a) { vst1q_f32(p, a); }
  static void store_first(float* p, Reg a, size_t n) { __builtin_memcpy(p, &a, n * sizeof(float)); }
  static Reg set(float a) { return vdupq_n_f32(a); }
  static Reg zero() { return set(0); }
  static Reg add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static Reg sub(Reg a, Reg b) { return vsubq_f32(a, b); }
  static Reg mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  static Reg fms(Reg a, Reg b, Reg c) { return vnegq_f32(vfmsq_f32(c, a, b)); }
  static Reg divide(Reg a, Reg b, Reg c) {
    const Reg inverse = vdivq_f32(set(1), b), quotient = mul(a, inverse);
    return fma(inverse, vfmsq_f32(vfmsq_f32(a, quotient, b), quotient, c), quotient);
  }
  static Reg min(Reg a, Reg b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
  static Reg max(Reg a, Reg b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
  static Reg where_positive(Reg a, Reg b) {
    return vreinterpretq_f32_u32(vandq_u32(vcgtq_f32(a, zero()), vreinterpretq_u32_f32(b)));
  }
  static Reg magnitude(Reg a) { return vabsq_f32(a); }
  static Reg negate_like(Reg a, Reg s) {
    return vreinterpretq_f32_u32(
        veorq_u32(vreinterpretq_u32_f32(a), vandq_u32(vreinterpretq_u32_f32(s), vdupq_n_u32(0x80000000u))));
  }
  static Reg exponent(Reg a) { return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a), 23)); }
  static Reg zip_low(Reg a, Reg b) { return vzip1q_f32(a, b); }
  static Reg zip_high(Reg a, Reg b) { return vzip2q_f32(a, b); }
};

template <>
struct Vector<double> {
  using Element = double;
  using Reg = float64x2_t;
  static constexpr size_t width = 2, zipped = 2, accumulators = 24;

  static Reg load(const double* p) { return vld1q_f64(p); }
  static Reg load_first(const double* p, size_t n) {
    Reg a = zero();
    __builtin_memcpy(&a, p, n * sizeof(double));
    return a;
  }
  static Reg first(Reg a, size_t n) {
    Reg b = zero();
    __builtin_memcpy(&b, &a, n * sizeof(double));
    return b;
  }
  static void store(double* p, Reg a) { vst1q_f64(p, a); }
  static void store_first(double* p, Reg a, size_t n) { __builtin_memcpy(p, &a, n * sizeof(double)); }
  static Reg set(double a) { return vdupq_n_f64(a); }
  static Reg zero() { return set(0); }
  static Reg add(Reg a, Reg b) { return vaddq_f64(a, b); }
  static Reg sub(Reg a, Reg b) { return vsubq_f64(a, b); }
  static Reg mul(Reg a, Reg b) { return vmulq_f64(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return vfmaq_f64(c, a, b); }
  static Reg fms(Reg a, Reg b, Reg c) { return vnegq_f64(vfmsq_f64(c, a, b)); }
  static Reg divide(Reg a, Reg b, Reg c) {
    const Reg inverse = vdivq_f64(set(1), b), quotient = mul(a, inverse);
    return fma(inverse, vfmsq_f64(vfmsq_f64(a, quotient, b), quotient, c), quotient);
  }
  static Reg min(Reg a, Reg b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
  static Reg max(Reg a, Reg b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
  static Reg where_positive(Reg a, Reg b) {
    return vreinterpretq_f64_u64(vandq_u64(vcgtq_f64(a, zero()), vreinterpretq_u64_f64(b)));
  }
  static Reg magnitude(Reg a) { return vabsq_f64(a); }
  static Reg negate_like(Reg a, Reg s) {
    return vreinterpretq_f64_u64(
        veorq_u64(vreinterpretq_u64_f64(a), vandq_u64(vreinterpretq_u64_f64(s), vdupq_n_u64(0x8000000000000000u))));
  }
  static Reg exponent(Reg a) { return vreinterpretq_f64_u64(vshlq_n_u64(vreinterpretq_u64_f64(a), 52)); }
  static Reg zip_low(Reg a, Reg b) { return vzip1q_f64(a, b); }
  static Reg zip_high(Reg a, Reg b) { return vzip2q_f64(a, b); }
};

}  // namespace
}  // namespace gru

#include "kernels.inc.h"

namespace gru {
extern const Isa neon;
const Isa neon = {"neon", &kernels<float>, &kernels<double>};
}  // namespace gru
