// The CPU's own counter, which costs a few nanoseconds to read.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace gru {

#if defined(__x86_64__)
inline void pause() { _mm_pause(); }
inline uint64_t ticks() { return __rdtsc(); }
inline uint64_t moment() { return 200'000; }  // some 80 microseconds
#elif defined(__aarch64__)
inline void pause() { __asm__ volatile("yield"); }
inline uint64_t ticks() {
  uint64_t now;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
  return now;
}
inline uint64_t moment() {
  uint64_t a_second;
  __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(a_second));
  return a_second / 12'500;
}
#else
inline void pause() {}
inline uint64_t ticks() { return 0; }
inline uint64_t moment() { return 0; }
#endif

}  // namespace gru
