// SHA-256 (FIPS 180-4): what names a model's weights, and what a snapshot's bytes are checked by.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace gru {

using Digest = std::array<unsigned char, 32>;

class Sha256 {
 public:
  Sha256& add(std::span<const unsigned char> bytes);
  // Ends the message.
  Digest digest();

 private:
  void compress(const unsigned char* block);

  std::array<uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<unsigned char, 64> block_{};
  uint64_t length_ = 0;  // in bytes
};

}  // namespace gru
