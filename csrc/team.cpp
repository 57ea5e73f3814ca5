#include "team.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>

#include "gru.h"
#include "placement.h"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace gru {

namespace {

// Written before a team starts and by the only thread of a forked child.
std::atomic<bool> had_team{false}, lost_team{false};

[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] { lost_team.store(had_team.load()); });

// Subnormal operands and results are taken as zero: they would make the gates up to 87 times slower.
class FlushToZero {
 public:
#if defined(__x86_64__)
  FlushToZero() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }  // FTZ and DAZ
  ~FlushToZero() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#elif defined(__aarch64__)
  FlushToZero() {
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved_));
    __asm__ volatile("msr fpcr, %0" : : "r"(saved_ | (uint64_t{1} << 24)));  // FZ
  }
  ~FlushToZero() { __asm__ volatile("msr fpcr, %0" : : "r"(saved_)); }

 private:
  uint64_t saved_;
#endif
};

#if defined(__x86_64__)
inline void pause() { _mm_pause(); }
inline uint64_t ticks() { return __rdtsc(); }
inline uint64_t moment() { return 200'000; }  // some 80 microseconds
#elif defined(__aarch64__)
inline void pause() { __asm__ volatile("yield"); }
inline uint64_t ticks() {
  uint64_t now;
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
  return now;
}
inline uint64_t moment() {
  uint64_t a_second;
  __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(a_second));
  return a_second / 12'500;
}
#else
inline void pause() {}
inline uint64_t ticks() { return 0; }
inline uint64_t moment() { return 0; }
#endif

thread_local uint64_t last_end = 0;
thread_local bool follows = false;
thread_local Sleepers sleepers;

}  // namespace

int default_threads() { return std::max(1, omp_get_max_threads()); }

int usable_threads(int wanted) {
  if (lost_team.load(std::memory_order_relaxed) || omp_in_parallel()) return 1;
  return std::max(1, std::min(wanted, omp_get_thread_limit()));
}

Call::Call() { follows = ticks() - last_end < moment(); }
Call::~Call() { last_end = ticks(); }

bool calls_follow() { return follows; }

bool detail::run_team(int members, void (*work)(void*, int), void* context) {
  if (members == 1) {
    FlushToZero guard;
    work(context, 0);
    return true;
  }
  had_team.store(true, std::memory_order_relaxed);
  Sleepers& own = sleepers;  // the others would see theirs
  if (!follows) own.keep_away(members);
  bool complete = false;
#pragma omp parallel num_threads(members)
  {
    if (omp_get_num_threads() == members) {
      FlushToZero guard;
      const int member = omp_get_thread_num();
      own.settle(member);
      if (member == 0) complete = true;
      work(context, member);
    }
  }
  return complete;
}

void Barrier::wait(int member) {
  if (members_.empty()) return;
  Member& own = members_[static_cast<size_t>(member)];
  const unsigned arrivals = own.arrivals.load(std::memory_order_relaxed) + 1;
  own.arrivals.store(arrivals, std::memory_order_release);
  int spins = 0;
  for (const Member& other : members_) {
    // Who has passed this time may have come the next time already.
    while (static_cast<int>(other.arrivals.load(std::memory_order_acquire) - arrivals) < 0) {
      if (spins++ < own.patience)
        pause();
      else
        sched_yield();
    }
  }
  const int patience = spins > own.patience ? short_patience : long_patience;
  if (patience != own.patience) own.patience = patience;  // the others read the line, so writing has its price
}

}  // namespace gru
