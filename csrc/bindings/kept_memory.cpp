#include "kept_memory.h"

#include <numpy/ndarraytypes.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "gru_native.h"

namespace gru::bindings {

namespace {

// Before an array stands its size, which NumPy does not tell when it asks for another one.
constexpr size_t header = 64;

char* block_of(void* array) { return static_cast<char*>(array) - header; }

size_t size_of(void* array) {
  size_t bytes;
  std::memcpy(&bytes, block_of(array), sizeof bytes);
  return bytes;
}

void* new_array(void*, size_t bytes) {
  if (bytes > std::numeric_limits<size_t>::max() - 2 * header) return nullptr;
  char* const block = static_cast<char*>(gn_allocate(bytes + header));
  if (!block) return nullptr;
  std::memcpy(block, &bytes, sizeof bytes);
  return block + header;
}

void free_array(void*, void* array, size_t) {
  if (array) gn_release(block_of(array), size_of(array) + header);
}

void* new_zeros(void* context, size_t count, size_t item) {
  void* const array = new_array(context, count * item);
  if (array) std::memset(array, 0, count * item);
  return array;
}

void* resized(void* context, void* array, size_t bytes) {
  void* const moved = new_array(context, bytes);
  if (!moved || !array) return moved;
  std::memcpy(moved, array, std::min(bytes, size_of(array)));
  free_array(context, array, 0);
  return moved;
}

PyDataMem_Handler handler = {"gru_native", 1, {nullptr, new_array, new_zeros, resized, free_array}};

}  // namespace

PyObject* kept_memory() { return PyCapsule_New(&handler, "mem_handler", nullptr); }

}  // namespace gru::bindings
