// What the CPU makes of subnormal numbers, for the lifetime of an object.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace gru {

template <bool flush>
class SubnormalNumbers {
 public:
#if defined(__x86_64__)
  SubnormalNumbers() : saved_(_mm_getcsr()) { _mm_setcsr(flush ? saved_ | bits : saved_ & ~bits); }
  ~SubnormalNumbers() { _mm_setcsr(saved_); }

 private:
  static constexpr unsigned bits = 0x8040;  // FTZ and DAZ
  const unsigned saved_;
#elif defined(__aarch64__)
  SubnormalNumbers() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(flush ? saved_ | bit : saved_ & ~bit));
  }
  ~SubnormalNumbers() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  static constexpr uint64_t bit = uint64_t{1} << 24;  // FZ
  uint64_t saved_;
#endif
 public:
  SubnormalNumbers(const SubnormalNumbers&) = delete;
  SubnormalNumbers& operator=(const SubnormalNumbers&) = delete;
};

// Operands and results are taken as zero: they would make the gates many times slower.
using FlushToZero = SubnormalNumbers<true>;
// As NumPy computes.
using IeeeNumbers = SubnormalNumbers<false>;

}  // namespace gru
