// The only file that knows OpenMP.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "runtime/placement.h"
#include "runtime/quota.h"
#include "runtime/system.h"
#include "runtime/team.h"

namespace gru {

namespace {

// Whether a library beside this one uses the same OpenMP, and so may have a team that nobody here knows of.
bool others_may_have_a_team() {
  return system::others_use(reinterpret_cast<const void*>(&others_may_have_a_team),
                            reinterpret_cast<const void*>(&omp_get_max_threads));
}

// Whether this process had a team at all, whether it may have had one when it forked, and whether this process is a
// child that was forked then, maybe before this library was loaded: its OpenMP would wait for threads that no longer
// exist.
std::atomic<bool> had_team{false}, forks_a_team{false},
    lost_team{system::is_forked_child() && others_may_have_a_team()};

[[maybe_unused]] const bool registered =
    (system::at_fork([] { forks_a_team.store(had_team.load() || others_may_have_a_team()); }, nullptr,
                     [] { lost_team.store(lost_team.load() || forks_a_team.load()); }),
     true);

// Whether the system gives so many threads: OpenMP ends the process when it gets fewer than it wants.
bool obtainable(int threads) {
  const auto wanted = static_cast<size_t>(threads);
  std::mutex all_made;
  std::vector<std::thread> made;
  made.reserve(wanted);
  try {
    const std::scoped_lock lock(all_made);
    while (made.size() < wanted) made.emplace_back([&] { const std::scoped_lock wait(all_made); });
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
  for (std::thread& thread : made) thread.join();
  return made.size() == wanted;
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
