// A team of threads for the length of one call.
#pragma once

#include <atomic>
#include <cstddef>
#include <vector>

namespace gru {

// How many threads a call that asks for `wanted` can have: one in a forked child whose parent had a team (its
// OpenMP run time waits for threads that no longer exist) and inside another parallel region.
int usable_threads(int wanted);

// Stands at the beginning of every function of the core that may use a team, and lasts as long as it.
class Call {
 public:
  Call();
  ~Call();
};
// Whether a call of this thread ended a moment before the present one began: then its team is awake, or worth waking
// for the calls that follow.
bool calls_follow();

namespace detail {
bool run_team(int members, void (*work)(void*, int), void* context);
}

// Runs work(member) for each member of a team, flushing subnormal numbers to zero meanwhile. `work` must not throw.
// Returns false, with nothing done, when the run time gives fewer threads than that; one it always gives.
template <class Work>
bool run_team(int members, Work& work) {
  return detail::run_team(members, [](void* context, int member) { (*static_cast<Work*>(context))(member); }, &work);
}

// Where all members of a team wait for each other, many times within a call: spins a while, then yields. Who had to
// yield soon does so the next time: members may share a CPU, as they do for some milliseconds when the system wakes a
// thread on its waker's, and then the one that spins keeps the other from coming.
class Barrier {
 public:
  explicit Barrier(int members) : members_(members > 1 ? static_cast<size_t>(members) : 0) {}
  void wait(int member);

 private:
  static constexpr int long_patience = 2000, short_patience = 8;  // spins

  // Each writes a cache line of its own: telling the others need not wait for a line that one of them has.
  struct alignas(64) Member {
    std::atomic<unsigned> arrivals{0};
    int patience = long_patience;
  };
  std::vector<Member> members_;  // none where there is nobody to wait for
};

}  // namespace gru
