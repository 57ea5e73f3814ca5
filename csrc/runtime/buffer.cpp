#include "runtime/buffer.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <vector>

#include "runtime/system.h"

namespace gru {

namespace {

// A multiple of every page size in use; on x86-64 a huge page.
constexpr size_t huge_page = size_t{1} << 21;

struct Block {
  void* data;
  size_t bytes;
};

// Chosen once, at the latest when memory is first asked for; a look at `is_chosen` takes less than call_once.
std::once_flag chosen;
std::atomic<bool> is_chosen{false};
bool is_system = true;
Allocator source{[](void*, size_t bytes, size_t aligned_to) { return system::allocate(bytes, aligned_to); },
                 [](void*, void* data) { system::free(data); }, nullptr};

void give_back(void* data) { source.release(source.user, data); }

// Kept together, at the most.
size_t most_kept() {
  static const size_t quarter = system::memory_bytes() / 4;
  return quarter;
}

// Blocks that nobody uses, oldest first. The system clears every page that it hands out, which can cost more than what
// a call computes with it. In use and kept together never exceed what once was in use at a time.
struct KeptBlocks {
  std::mutex mutex;
  std::vector<Block> blocks;
  size_t kept = 0, in_use = 0, most_in_use = 0;

  // Room for all that is ever kept: keeping a block must not allocate.
  KeptBlocks() { blocks.reserve(4096); }

  void* take(size_t bytes) {
    const auto found =
        std::find_if(blocks.rbegin(), blocks.rend(), [&](const Block& block) { return block.bytes == bytes; });
    if (found == blocks.rend()) return nullptr;
    void* const data = found->data;
    blocks.erase(std::next(found).base());
    kept -= bytes;
    return data;
  }

  void keep(void* data, size_t bytes) {
    if (blocks.size() == blocks.capacity()) drop_oldest();
    blocks.push_back({data, bytes});
    kept += bytes;
    trim();
  }

  void add_in_use(size_t bytes) {
    in_use += bytes;
    most_in_use = std::max(most_in_use, in_use);
    trim();
  }

  void trim() {
    while (!blocks.empty() && kept > std::min(most_kept(), most_in_use - in_use)) drop_oldest();
  }

  void drop_oldest() {
    give_back(blocks.front().data);
    kept -= blocks.front().bytes;
    blocks.erase(blocks.begin());
  }
};

// Never destroyed, as buffers may be freed while the process ends; and made when the library is loaded, as it is looked
// into when there is no memory left.
KeptBlocks& kept_blocks = *new KeptBlocks;

// A fork waits for the lock, so that the child finds it free.
[[maybe_unused]] const bool registered =
    (system::at_fork([] { kept_blocks.mutex.lock(); },  //
                     [] { kept_blocks.mutex.unlock(); }, [] { kept_blocks.mutex.unlock(); }),
     true);

size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

// What is allocated for so many bytes: an eighth of them more at most, so that a block serves sizes near its own.
size_t block_size(size_t bytes) {
  if (bytes < least_kept) return round_up(bytes, granularity);
  size_t step = least_kept / 8;
  while (step * 16 < bytes) step *= 2;
  return round_up(bytes, bytes < huge_page ? step : std::max(step, huge_page));
}

// What of so many bytes lies in whole huge pages. The rest has small ones, so that what nobody asked for is not
// touched.
size_t in_huge_pages(size_t bytes) { return bytes / huge_page * huge_page; }

void* fresh(size_t bytes, size_t aligned_to) {
  if (!is_chosen.load(std::memory_order_acquire)) std::call_once(chosen, [] { is_chosen = true; });
  for (;;) {
    if (void* const data = source.allocate(source.user, bytes, aligned_to)) return data;
    if (release_kept() == 0) throw std::bad_alloc();
  }
}

// For what the core allocates by operator new, which the shared library has of its own. A program that links the static
// one had a handler, perhaps.
const std::new_handler former_handler = std::set_new_handler([] {
  if (release_kept() > 0) return;
  if (!former_handler) throw std::bad_alloc();
  former_handler();
});

void* fresh_block(size_t size, size_t bytes) {
  const size_t huge = in_huge_pages(bytes);
  void* const data = fresh(size, size >= huge_page ? huge_page : alignment);  // a later user may fill it
  if (huge > 0 && is_system) system::prefer_large_pages(data, huge);
  return data;
}

}  // namespace

bool use_allocator(const Allocator& allocator) {
  bool is_first = false;
  std::call_once(chosen, [&] {
    source = allocator;
    is_system = false;
    is_first = is_chosen = true;
  });
  return is_first;
}

void* allocate(size_t bytes) {
  if (bytes > PTRDIFF_MAX) throw std::bad_alloc();
  const size_t size = block_size(bytes);
  if (size < least_kept) return fresh(size, alignment);
  KeptBlocks& blocks = kept_blocks;
  std::unique_lock lock(blocks.mutex);
  void* const data = blocks.take(size);
  blocks.add_in_use(size);
  if (data) return data;
  lock.unlock();
  try {
    return fresh_block(size, bytes);
  } catch (const std::bad_alloc&) {
    lock.lock();
    blocks.in_use -= size;
    throw;
  }
}

void release(void* data, size_t bytes) noexcept {
  const size_t size = block_size(bytes);
  if (size < least_kept) return give_back(data);
  // The system may take huge pages when memory gets scarce; until then they need no clearing.
  if (in_huge_pages(bytes) > 0 && is_system) system::may_take_back(data, in_huge_pages(bytes));
  KeptBlocks& blocks = kept_blocks;
  const std::scoped_lock lock(blocks.mutex);
  blocks.in_use -= size;
  blocks.keep(data, size);
}

size_t release_kept() noexcept {
  KeptBlocks& blocks = kept_blocks;
  size_t released;
  {
    const std::scoped_lock lock(blocks.mutex);
    released = blocks.kept;
    while (!blocks.blocks.empty()) blocks.drop_oldest();
  }
  system::trim_heap();
  return released;
}

}  // namespace gru
