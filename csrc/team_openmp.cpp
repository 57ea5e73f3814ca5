// The only file that knows OpenMP.
#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "placement.h"
#include "quota.h"
#include "team.h"

#if defined(__linux__)
#include <dlfcn.h>
#include <link.h>
#endif

namespace gru {

namespace {

#if defined(__linux__)

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

// Whether a library beside this one uses the same OpenMP, and so may have a team that nobody here knows of.
bool others_may_have_a_team() {
  struct Search {
    ElfW(Addr) own, openmp;
    const char* name = nullptr;
    bool found = false;
  } search{base_of(reinterpret_cast<const void*>(&others_may_have_a_team)),
           base_of(reinterpret_cast<const void*>(&omp_get_max_threads))};
  const auto find_name = [](dl_phdr_info* info, size_t, void* data) {
    Search& s = *static_cast<Search*>(data);
    if (info->dlpi_addr != s.openmp) return 0;
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

// Whether this process was forked, and is still the program that forked it.
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

#else

bool others_may_have_a_team() { return true; }
bool is_forked_child() { return false; }  // nobody says

#endif

// Whether this process had a team at all, whether it may have had one when it forked, and whether this process is a
// child that was forked then, maybe before this library was loaded: its OpenMP would wait for threads that no longer
// exist.
std::atomic<bool> had_team{false}, forks_a_team{false}, lost_team{is_forked_child() && others_may_have_a_team()};

[[maybe_unused]] const int registered =
    pthread_atfork([] { forks_a_team.store(had_team.load() || others_may_have_a_team()); }, nullptr,
                   [] { lost_team.store(lost_team.load() || forks_a_team.load()); });

// Whether the system gives so many threads: OpenMP ends the process when it gets fewer than it wants.
bool obtainable(int threads) {
  pthread_mutex_t all_made = PTHREAD_MUTEX_INITIALIZER;
  std::vector<pthread_t> made;
  made.reserve(static_cast<size_t>(threads));
  const auto wait = [](void* data) -> void* {
    auto* const mutex = static_cast<pthread_mutex_t*>(data);
    pthread_mutex_lock(mutex);
    pthread_mutex_unlock(mutex);
    return nullptr;
  };
  pthread_mutex_lock(&all_made);
  pthread_t thread;
  while (made.size() < static_cast<size_t>(threads) && pthread_create(&thread, nullptr, wait, &all_made) == 0)
    made.push_back(thread);
  pthread_mutex_unlock(&all_made);
  for (const pthread_t each : made) pthread_join(each, nullptr);
  return made.size() == static_cast<size_t>(threads);
}

// Of the calling thread: the members of its last team, which OpenMP keeps, and where they sleep.
thread_local int kept_members = 1;
thread_local Sleepers sleepers;

class OpenMp final : public Executor {
 public:
  int ready(int wanted) override {
    if (lost_team.load(std::memory_order_relaxed) || omp_in_parallel()) return 1;
    return std::max(1, std::min(wanted, omp_get_thread_limit()));
  }

  bool run(int members, void (*task)(void*, int), void* data) override {
    if (members > kept_members && !obtainable(members - kept_members)) return false;
    had_team.store(true, std::memory_order_relaxed);
    Sleepers& own = sleepers;  // the others would see theirs
    own.begin(members, !calls_follow());
    bool complete = false;
#pragma omp parallel num_threads(members)
    {
      if (omp_get_num_threads() == members) {
        const int member = omp_get_thread_num();
        own.settle(member);
        if (member == 0) complete = true;
        task(data, member);
      }
    }
    own.end();
    kept_members = complete ? members : 1;
    return complete;
  }
};

}  // namespace

// Never destroyed: a thread may compute while the process ends.
Executor& openmp_executor() {
  static auto* const executor = new OpenMp;
  return *executor;
}

int default_threads() {
  static const bool chosen = std::getenv("OMP_NUM_THREADS") != nullptr;
  const int threads = std::max(1, omp_get_max_threads());
  return chosen ? threads : std::min(threads, cpu_quota());
}

}  // namespace gru
