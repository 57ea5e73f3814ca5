// Memory for vectors: aligned to a cache line, not initialised, freed with its owner.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>

namespace gru {

template <class T>
class Buffer {
 public:
  static constexpr size_t alignment = 64;

  Buffer() = default;
  // Throws std::bad_alloc, also when the size in bytes cannot be represented.
  explicit Buffer(size_t size) : size_(size) {
    if (size > (std::numeric_limits<size_t>::max() / 2 - alignment) / sizeof(T)) throw std::bad_alloc();
    if (size == 0) return;
    const size_t bytes = (size * sizeof(T) + alignment - 1) / alignment * alignment;
    data_.reset(static_cast<T*>(std::aligned_alloc(alignment, bytes)));
    if (!data_) throw std::bad_alloc();
  }

  T* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(T* data) const { std::free(data); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

// a * b; throws std::bad_alloc when the product cannot be represented: no such array fits into memory.
inline size_t product(size_t a, size_t b) {
  size_t result;
  if (__builtin_mul_overflow(a, b, &result)) throw std::bad_alloc();
  return result;
}

}  // namespace gru
