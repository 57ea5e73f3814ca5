// Compiled with the headers of macOS, never run.
#include <malloc/malloc.h>
#include <sys/mman.h>

#include "runtime/system.h"

namespace gru::system {

void prefer_large_pages(void*, size_t) noexcept {}
void may_take_back(void* data, size_t bytes) noexcept { madvise(data, bytes, MADV_FREE); }
void trim_heap() noexcept { malloc_zone_pressure_relief(nullptr, 0); }

// macOS has no say in where threads run.
ThreadId this_thread() noexcept { return 0; }
int this_cpu() noexcept { return -1; }
bool keep_away(ThreadId, int, Cpus&) noexcept { return false; }
void allow(ThreadId, const Cpus&) noexcept {}

bool is_forked_child() { return false; }
bool others_use(const void*, const void*) { return true; }

}  // namespace gru::system
