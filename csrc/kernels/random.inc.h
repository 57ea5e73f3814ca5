// Counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
#pragma once

#include "vocabulary.inc.h"

namespace gru {
namespace {

// Blocks of four words, side by side so that every compiler makes vectors of them.
constexpr size_t philox_blocks = 16;

// Words of 32 bits, each in 64: so the products need no conversions.
struct PhiloxWords {
  uint64_t word[4][philox_blocks];
};

GRU_INLINE void philox_round(PhiloxWords& c, uint64_t key_0, uint64_t key_1) {
  constexpr uint64_t low = 0xFFFFFFFF;
  for (size_t i = 0; i < philox_blocks; ++i) {
    const uint64_t a = 0xD2511F53 * c.word[0][i], b = 0xCD9E8D57 * c.word[2][i];
    c.word[0][i] = (b >> 32) ^ c.word[1][i] ^ (key_0 & low);
    c.word[1][i] = b & low;
    c.word[2][i] = (a >> 32) ^ c.word[3][i] ^ (key_1 & low);
    c.word[3][i] = a & low;
  }
}

// The blocks of the counters from philox_blocks * group on.
GRU_INLINE void philox(uint64_t key, uint64_t group, PhiloxWords& c) {
  for (size_t i = 0; i < philox_blocks; ++i) {
    const uint64_t counter = philox_blocks * group + i;
    c.word[0][i] = counter & 0xFFFFFFFF;
    c.word[1][i] = counter >> 32;
    c.word[2][i] = c.word[3][i] = 0;
  }
  for (uint64_t round = 0; round < 10; ++round)
    philox_round(c, key + round * 0x9E3779B9, (key >> 32) + round * 0xBB67AE85);
}

// Element i of the array belongs to word i / blocks % 4 of block i % blocks of group i / (4 * blocks).
template <class T>
void dropout(size_t size, const T* x, T* y, uint64_t key, uint64_t group, uint32_t threshold, T scale) {
  static_assert(dropout_group == 4 * philox_blocks);
  for (size_t i = 0; i < size; i += dropout_group, ++group) {
    PhiloxWords words;
    philox(key, group, words);
    const uint64_t* bits = words.word[0];
    const size_t n = at_most(size - i, dropout_group);
    for (size_t k = 0; k < n; ++k) {
      const T scaled = x[i + k] * scale;
      y[i + k] = bits[k] < threshold ? T(0) : scaled;
    }
  }
}

}  // namespace
}  // namespace gru
