#include <dlfcn.h>
#include <link.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <new>
#include <sstream>
#include <string>

#include "runtime/system.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace gru::system {

void prefer_large_pages(void* data, size_t bytes) noexcept { madvise(data, bytes, MADV_HUGEPAGE); }
void may_take_back(void* data, size_t bytes) noexcept { madvise(data, bytes, MADV_FREE); }

void trim_heap() noexcept {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

namespace {

// As the kernel describes the first CPU's: a folder for each cache. Sizes end with K or M.
size_t cache_of_level(int wanted) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    int level = 0;
    std::string type;
    size_t size = 0;
    char unit = 0;
    std::ifstream(folder + "level") >> level;
    std::ifstream(folder + "type") >> type;
    if (level != wanted || type == "Instruction") continue;
    std::ifstream(folder + "size") >> size >> unit;
    return unit == 'K' ? size << 10 : unit == 'M' ? size << 20 : size;
  }
  return 0;
}

}  // namespace

Caches caches() noexcept {
  try {
    return {cache_of_level(1), cache_of_level(2)};
  } catch (...) {
    return {0, 0};
  }
}

namespace {

// The id of a thread that has ended may be another process's.
bool is_ours(ThreadId id) { return id != 0 && syscall(SYS_tgkill, getpid(), id, 0) == 0; }

}  // namespace

ThreadId this_thread() noexcept {
  thread_local const auto id = static_cast<ThreadId>(syscall(SYS_gettid));
  return id;
}

int this_cpu() noexcept { return sched_getcpu(); }

bool keep_away(ThreadId thread, int cpu, Cpus& before) noexcept {
  static_assert(sizeof(cpu_set_t) <= sizeof(before.of));
  if (cpu < 0 || cpu >= CPU_SETSIZE || !is_ours(thread)) return false;
  auto& allowed = *new (before.of) cpu_set_t;
  if (sched_getaffinity(thread, sizeof allowed, &allowed) != 0) return false;
  cpu_set_t away = allowed;
  CPU_CLR(static_cast<size_t>(cpu), &away);
  return CPU_COUNT(&away) > 0 && sched_setaffinity(thread, sizeof away, &away) == 0;
}

void allow(ThreadId thread, const Cpus& cpus) noexcept {
  if (is_ours(thread))
    sched_setaffinity(thread, sizeof(cpu_set_t), std::launder(reinterpret_cast<const cpu_set_t*>(cpus.of)));
}

bool is_forked_child() {
  constexpr unsigned long forked_without_exec = 0x40;  // PF_FORKNOEXEC
  std::string stat;
  std::getline(std::ifstream("/proc/self/stat"), stat);
  std::istringstream fields(stat.substr(stat.rfind(')') + 1));  // the name may hold spaces
  std::string skipped;
  for (int field = 3; field < 9; ++field) fields >> skipped;
  unsigned long flags = 0;
  return fields >> flags && (flags & forked_without_exec);
}

namespace {

// What the dynamic section of a loaded library says.
struct Library {
  ElfW(Addr) base;
  const ElfW(Dyn) * dynamic = nullptr;
  const char* strings = nullptr;

  explicit Library(const dl_phdr_info& info) : base(info.dlpi_addr) {
    for (int i = 0; i < info.dlpi_phnum; ++i)
      if (info.dlpi_phdr[i].p_type == PT_DYNAMIC)
        dynamic = reinterpret_cast<const ElfW(Dyn)*>(base + info.dlpi_phdr[i].p_vaddr);
    for_each(DT_STRTAB, [&](ElfW(Addr) value) {
      strings = reinterpret_cast<const char*>(value < base ? base + value : value);  // the loader moves most of them
    });
  }

  template <class Use>
  void for_each(ElfW(Sxword) tag, Use use) const {
    for (const ElfW(Dyn)* entry = dynamic; entry && entry->d_tag != DT_NULL; ++entry)
      if (entry->d_tag == tag) use(entry->d_un.d_val);
  }

  bool needs(const char* name) const {
    bool found = false;
    for_each(DT_NEEDED, [&](ElfW(Addr) value) { found |= strings && std::strcmp(strings + value, name) == 0; });
    return found;
  }
};

ElfW(Addr) base_of(const void* address) {
  Dl_info info;
  return dladdr(address, &info) ? reinterpret_cast<ElfW(Addr)>(info.dli_fbase) : 0;
}

}  // namespace

bool others_use(const void* own, const void* used) {
  struct Search {
    ElfW(Addr) own, used;
    const char* name = nullptr;
    bool found = false;
  } search{base_of(own), base_of(used)};
  const auto find_name = [](dl_phdr_info* info, size_t, void* data) {
    Search& s = *static_cast<Search*>(data);
    if (info->dlpi_addr != s.used) return 0;
    const Library library(*info);
    library.for_each(DT_SONAME, [&](ElfW(Addr) value) { s.name = library.strings + value; });
    return 1;
  };
  const auto find_user = [](dl_phdr_info* info, size_t, void* data) {
    Search& s = *static_cast<Search*>(data);
    s.found = info->dlpi_addr != s.own && Library(*info).needs(s.name);
    return s.found ? 1 : 0;
  };
  dl_iterate_phdr(find_name, &search);
  if (!search.name) return true;
  dl_iterate_phdr(find_user, &search);
  return search.found;
}

}  // namespace gru::system
