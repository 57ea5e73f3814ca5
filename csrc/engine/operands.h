// Left factors of products.
#pragma once

#include <algorithm>

#include "engine/summation.h"
#include "kernels/table.h"

namespace gru {

// Plain rows as a left factor, in blocks at which a product may cut them.
template <class T>
Operand<T> plain_operand(const T* const* rows, size_t size) {
  return {rows, 0, size, plain_block, plain_block};
}

// Asks for a left factor at once. A product that comes upon its lines one after the other, in another core's cache,
// waits for each of them; with more than a few rows it has enough to do meanwhile.
template <class T>
void fetch(const Operand<T>& left, size_t rows) {
  constexpr size_t most_rows = 8, line = 64 / sizeof(T);
  for (size_t row = 0; row < std::min(rows, most_rows); ++row) {
    const T* block = left.rows[row] + left.offset;
    for (size_t k = 0; k < left.size; k += left.block_size, block += left.block_stride)
      for (size_t i = 0; i < std::min(left.block_size, left.size - k); i += line) __builtin_prefetch(block + i);
  }
}

}  // namespace gru
