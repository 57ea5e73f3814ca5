#include "buffer.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace gru {

namespace {

// A multiple of every page size in use; on x86-64 a huge page.
constexpr size_t huge_page = size_t{1} << 21;

struct Block {
  void* data;
  size_t bytes;
};

// Blocks that nobody uses, oldest first. The system clears every page that it hands out, which can cost more than what
// a call computes with it. In use and kept together never exceed what once was in use at a time.
struct KeptBlocks {
  std::mutex mutex;
  std::vector<Block> blocks;
  size_t kept = 0, in_use = 0, most_in_use = 0;

  void* take(size_t bytes) {
    const auto found =
        std::find_if(blocks.rbegin(), blocks.rend(), [&](const Block& block) { return block.bytes == bytes; });
    if (found == blocks.rend()) return nullptr;
    void* const data = found->data;
    blocks.erase(std::next(found).base());
    kept -= bytes;
    in_use += bytes;
    return data;
  }

  void keep(void* data, size_t bytes) {
    blocks.push_back({data, bytes});
    in_use -= bytes;
    kept += bytes;
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
[[maybe_unused]] const int registered =
    pthread_atfork([] { kept_blocks().mutex.lock(); },  //
                   [] { kept_blocks().mutex.unlock(); }, [] { kept_blocks().mutex.unlock(); });

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// What is allocated for so many bytes: an eighth of them more at most, so that a block serves sizes near its own.
size_t block_size(size_t bytes) {
  if (bytes < least_kept) return round_up(bytes, alignment);
  size_t step = least_kept / 8;
  while (step * 16 < bytes) step *= 2;
  return round_up(bytes, bytes < huge_page ? step : std::max(step, huge_page));
}

// What of so many bytes lies in whole huge pages. The rest has small ones, so that what nobody asked for is not
// touched.
size_t in_huge_pages(size_t bytes) { return bytes / huge_page * huge_page; }

void* fresh(size_t bytes, size_t aligned_to) {
  void* data = std::aligned_alloc(aligned_to, bytes);
  if (!data) throw std::bad_alloc();
  return data;
}

}  // namespace

void* allocate(size_t bytes) {
  const size_t size = block_size(bytes);
  if (size < least_kept) return fresh(size, alignment);
  KeptBlocks& blocks = kept_blocks();
  const std::scoped_lock lock(blocks.mutex);
  void* data = blocks.take(size);
  if (!data) {
    const size_t huge = in_huge_pages(bytes);
    data = fresh(size, size >= huge_page ? huge_page : alignment);  // a later user may fill it
    if (huge > 0) madvise(data, huge, MADV_HUGEPAGE);
    blocks.add_in_use(size);
  }
  return data;
}

void release(void* data, size_t bytes) {
  const size_t size = block_size(bytes);
  if (size < least_kept) return std::free(data);
  // The system may take huge pages when memory gets scarce; until then they need no clearing.
  if (in_huge_pages(bytes) > 0) madvise(data, in_huge_pages(bytes), MADV_FREE);
  KeptBlocks& blocks = kept_blocks();
  const std::scoped_lock lock(blocks.mutex);
  blocks.keep(data, size);
}

}  // namespace gru
