#include "buffer.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace gru {

namespace {

// Smaller blocks are left to malloc, which keeps them itself.
constexpr size_t least_kept = size_t{1} << 20;
// A multiple of every page size in use; on x86-64 a huge page.
constexpr size_t page = size_t{1} << 21;

// Large blocks that nobody uses, oldest first. The system clears every page that it hands out, which can cost more than
// what a step computes with it. In use and kept together never exceed what once was in use at a time.
struct KeptBlocks {
  std::mutex mutex;
  std::vector<Block> blocks;
  size_t kept = 0, in_use = 0, most_in_use = 0;

  // The smallest block for so many bytes that does not waste more than it gives, or an empty one.
  Block take(size_t bytes) {
    auto best = blocks.end();
    for (auto block = blocks.begin(); block != blocks.end(); ++block)
      if (block->bytes >= bytes && block->bytes / 2 <= bytes && (best == blocks.end() || block->bytes < best->bytes))
        best = block;
    if (best == blocks.end()) return {};
    const Block found = *best;
    blocks.erase(best);
    kept -= found.bytes;
    in_use += found.bytes;
    return found;
  }

  void keep(const Block& block) {
    blocks.push_back(block);
    in_use -= block.bytes;
    kept += block.bytes;
  }

  void add_in_use(size_t bytes) {
    in_use += bytes;
    most_in_use = std::max(most_in_use, in_use);
    while (!blocks.empty() && kept + in_use > most_in_use) {
      std::free(blocks.front().data);
      kept -= blocks.front().bytes;
      blocks.erase(blocks.begin());
    }
  }
};

// Never destroyed: buffers may be freed while the process ends.
KeptBlocks& kept_blocks() {
  static auto* const blocks = new KeptBlocks;
  return *blocks;
}

// A fork waits for the lock, so that the child finds it free.
[[maybe_unused]] const int registered = pthread_atfork(
    [] { kept_blocks().mutex.lock(); }, [] { kept_blocks().mutex.unlock(); }, [] { kept_blocks().mutex.unlock(); });

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

Block fresh(size_t bytes, size_t alignment) {
  void* data = std::aligned_alloc(alignment, bytes);
  if (!data) throw std::bad_alloc();
  return {data, bytes};
}

}  // namespace

Block allocate(size_t bytes, size_t alignment) {
  if (bytes < least_kept) return fresh(round_up(bytes, alignment), alignment);
  bytes = round_up(bytes, page);
  KeptBlocks& blocks = kept_blocks();
  const std::scoped_lock lock(blocks.mutex);
  Block block = blocks.take(bytes);
  if (!block.data) {
    block = fresh(bytes, page);
    madvise(block.data, block.bytes, MADV_HUGEPAGE);
    blocks.add_in_use(bytes);
  }
  return block;
}

void release(const Block& block) {
  if (block.bytes < least_kept) return std::free(block.data);
  // The system may take these pages when memory gets scarce; until then they need no clearing.
  madvise(block.data, block.bytes, MADV_FREE);
  KeptBlocks& blocks = kept_blocks();
  const std::scoped_lock lock(blocks.mutex);
  blocks.keep(block);
}

}  // namespace gru
