// Compiled with the headers of MinGW, never run. There are no forks and no signals to keep from threads.
#include <malloc.h>
#include <windows.h>

#include "runtime/system.h"

namespace gru::system {

void* allocate(size_t bytes, size_t alignment) noexcept { return _aligned_malloc(bytes, alignment); }
void free(void* data) noexcept { _aligned_free(data); }
void prefer_large_pages(void*, size_t) noexcept {}
void may_take_back(void*, size_t) noexcept {}
void trim_heap() noexcept { _heapmin(); }

size_t memory_bytes() noexcept {
  MEMORYSTATUSEX status{};
  status.dwLength = sizeof status;
  return GlobalMemoryStatusEx(&status) ? static_cast<size_t>(status.ullTotalPhys) : 0;
}

Caches caches() noexcept {
  SYSTEM_LOGICAL_PROCESSOR_INFORMATION found[256];
  DWORD size = sizeof found;
  Caches caches{0, 0};
  if (!GetLogicalProcessorInformation(found, &size)) return caches;
  for (size_t i = 0; i < size / sizeof found[0]; ++i) {
    const CACHE_DESCRIPTOR& cache = found[i].Cache;
    if (found[i].Relationship != RelationCache || cache.Type == CacheInstruction) continue;
    if (cache.Level == 1) caches.first_level = cache.Size;
    if (cache.Level == 2) caches.second_level = cache.Size;
  }
  return caches;
}

SignalsBlocked::SignalsBlocked() noexcept : before_{} {}
SignalsBlocked::~SignalsBlocked() = default;

ThreadId this_thread() noexcept { return 0; }
int this_cpu() noexcept { return -1; }
bool keep_away(ThreadId, int, Cpus&) noexcept { return false; }
void allow(ThreadId, const Cpus&) noexcept {}

void at_fork(void (*)(), void (*)(), void (*)()) {}
bool is_forked_child() { return false; }
bool others_use(const void*, const void*) { return true; }

}  // namespace gru::system
