// How fast threads read memory: what the benchmark holds the kernels against.
#pragma once

#include <cstddef>

namespace gru {

// The seconds in which every thread reads a buffer of its own of `bytes` bytes `repeats` times, all at the same time;
// the buffers were read once before. Throws std::bad_alloc, and std::runtime_error when there are fewer threads than
// that.
double read_seconds(size_t bytes, size_t repeats, int threads);

}  // namespace gru
