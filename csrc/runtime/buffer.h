// Memory for vectors: aligned to a cache line, not initialised, freed with its owner.
#pragma once

#include <cstddef>
#include <limits>
#include <memory>
#include <new>

namespace gru {

constexpr size_t alignment = 64;
// Sizes are multiples of `granularity`. Blocks smaller than `least_kept` are left to malloc, which keeps them itself.
#if defined(__SANITIZE_ADDRESS__)  // which must see where each block ends, and when it is freed
constexpr size_t granularity = 1, least_kept = std::numeric_limits<size_t>::max();
#else
constexpr size_t granularity = alignment, least_kept = size_t{1} << 16;
#endif

// Where memory comes from, when it is not the system.
struct Allocator {
  void* (*allocate)(void* user, size_t bytes, size_t alignment);
  void (*release)(void* user, void* memory);
  void* user;
};
// Returns false, with nothing done, when memory was asked for before.
bool use_allocator(const Allocator& allocator);

// So many bytes; throws std::bad_alloc when there are none, even after what is kept was given back. What is released
// may be kept for later calls.
void* allocate(size_t bytes);
void release(void* data, size_t bytes) noexcept;
// Gives all that is kept back to the system, and returns its bytes.
size_t release_kept() noexcept;

template <class T>
class Buffer {
 public:
  Buffer() = default;
  // Throws std::bad_alloc, also when the size in bytes cannot be represented.
  explicit Buffer(size_t size) : size_(size) {
    if (size > std::numeric_limits<size_t>::max() / 4 / sizeof(T)) throw std::bad_alloc();
    if (size) data_ = {static_cast<T*>(allocate(size * sizeof(T))), Release{size * sizeof(T)}};
  }

  T* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Release {
    size_t bytes = 0;
    void operator()(T* data) const { release(data, bytes); }
  };
  std::unique_ptr<T, Release> data_;
  size_t size_ = 0;
};

// a * b; throws std::bad_alloc when the product cannot be represented: no such array fits into memory.
inline size_t product(size_t a, size_t b) {
  size_t result;
  if (__builtin_mul_overflow(a, b, &result)) throw std::bad_alloc();
  return result;
}

}  // namespace gru
