// Compiled with the headers of macOS, never run.
#include <malloc/malloc.h>
#include <sys/mman.h>
#include <sys/sysctl.h>

#include <cstdint>

#include "runtime/system.h"

namespace gru::system {

void prefer_large_pages(void*, size_t) noexcept {}
void may_take_back(void* data, size_t bytes) noexcept { madvise(data, bytes, MADV_FREE); }
void trim_heap() noexcept { malloc_zone_pressure_relief(nullptr, 0); }

namespace {

size_t number_of(const char* name) {
  int64_t value = 0;
  size_t size = sizeof value;
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value > 0 ? static_cast<size_t>(value) : 0;
}

}  // namespace

Caches caches() noexcept { return {number_of("hw.l1dcachesize"), number_of("hw.l2cachesize")}; }

// macOS has no say in where threads run.
ThreadId this_thread() noexcept { return 0; }
int this_cpu() noexcept { return -1; }
bool keep_away(ThreadId, int, Cpus&) noexcept { return false; }
void allow(ThreadId, const Cpus&) noexcept {}

bool is_forked_child() { return false; }
bool others_use(const void*, const void*) { return true; }

}  // namespace gru::system
