#include "dispatch.h"

#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace gru {

extern const Isa scalar, avx2, avx512, neon;

namespace {

#if defined(__x86_64__)

// XCR0: the register states that the operating system saves. Asked for in assembly, because the intrinsic would need
// this file to be compiled for a CPU that has it.
uint64_t enabled_states() {
  uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

struct Cpu {
  bool avx2 = false, avx512 = false;

  Cpu() {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    const bool fma = c & bit_FMA, os_saves = c & bit_OSXSAVE;
    if (!fma || !os_saves || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    const uint64_t states = enabled_states();
    constexpr uint64_t ymm = 0x6, zmm = 0xe6;
    avx2 = (b & bit_AVX2) && (states & ymm) == ymm;
    constexpr unsigned needed = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    avx512 = avx2 && (b & needed) == needed && (states & zmm) == zmm;
  }
};

#endif

struct Candidate {
  const Isa* isa;
  bool supported;
};

// Lowest first: a new instruction set is one line here.
const std::vector<Candidate>& candidates() {
#if defined(__x86_64__)
  static const Cpu cpu;
#endif
  static const std::vector<Candidate> all = {
      {&scalar, true},
#if defined(GRU_HAVE_AVX2)
      {&avx2, cpu.avx2},
#endif
#if defined(GRU_HAVE_AVX512)
      {&avx512, cpu.avx512},
#endif
#if defined(GRU_HAVE_NEON)
      {&neon, true},
#endif
  };
  return all;
}

std::string joined(const std::vector<std::string>& names) {
  std::string all;
  for (const auto& name : names) all += (all.empty() ? "" : ", ") + name;
  return all;
}

const Isa& choose(const char* wanted) {
  const Isa* best = nullptr;
  for (const auto& candidate : candidates()) {
    if (candidate.supported) best = candidate.isa;
    if (wanted && std::string(wanted) == candidate.isa->name) {
      if (candidate.supported) return *candidate.isa;
      throw std::invalid_argument(std::string("GRU_NATIVE_ISA: this machine has no '") + wanted + "'; it supports " +
                                  joined(supported_isas()));
    }
  }
  if (wanted && *wanted)
    throw std::invalid_argument(std::string("GRU_NATIVE_ISA: unknown instruction set '") + wanted +
                                "'; this build has " + joined(built_isas()));
  return *best;
}

}  // namespace

const Isa& lowest_isa() { return *candidates().front().isa; }

std::vector<std::string> built_isas() {
  std::vector<std::string> names;
  for (const auto& candidate : candidates()) names.emplace_back(candidate.isa->name);
  return names;
}

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
  for (const auto& candidate : candidates())
    if (candidate.supported) names.emplace_back(candidate.isa->name);
  return names;
}

const Isa& active_isa() { return choose(std::getenv("GRU_NATIVE_ISA")); }

}  // namespace gru
