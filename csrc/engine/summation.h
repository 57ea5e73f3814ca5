// Where sums are cut. What stands here decides the order in which numbers are added, and so the bits of results: it is
// the same on every machine, whatever its caches and however many threads there are. Everything else that a plan
// chooses may differ from call to call.
//
// Besides, the order is part of each instruction set (kernels/tile.inc.h: chains_for; kernels/sums.inc.h) and of the
// BLAS and what it multiplies at once (blas.cpp).
#pragma once

#include <algorithm>
#include <cstddef>

namespace gru {

// Gradients of weights: rows whose products are summed in registers before they join the sums of the rows before.
constexpr size_t rows_at_a_time = 128;

// Windows of a convolution that are laid out at a time for the gradient of its weights.
constexpr size_t windows_at_a_time = 16 * rows_at_a_time;

// Blocks of k in a plain row. Where a row has several chains, element k goes to chain k mod chains of its block, so a
// block is a multiple of every number of chains.
constexpr size_t plain_block = 128;
static_assert(plain_block % 8 == 0);

// Steps that backward takes at a time where the tape keeps no gates: gradients of weights are sums over them first. Few
// enough that their gates stay in cache, and more where the weights are large, since each chunk reads all of them.
inline size_t chunk_of_tape(size_t steps, size_t step_bytes, size_t weight_bytes) {
  const size_t budget = std::max<size_t>(512 * 1024, weight_bytes);
  return std::clamp<size_t>(budget / std::max<size_t>(step_bytes, 1), 1, std::max<size_t>(steps, 1));
}

}  // namespace gru
