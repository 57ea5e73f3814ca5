// A team of threads for the length of one call, and how a long call is given up.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace gru {

// How the members of a team come to run. Its functions are called by many threads at once.
class Executor {
 public:
  virtual ~Executor();
  // How many members a team of the calling thread can have, from 1 to `wanted`. Makes ready what they need.
  virtual int ready(int wanted) = 0;
  // Runs task(data, member) for each member, all at the same time, the calling thread being member 0. Returns false,
  // with nothing done, when that cannot be. A task may meet the others and must not be run in turns.
  virtual bool run(int members, void (*task)(void* data, int member), void* data) = 0;
};

// OpenMP's threads; and threads of this library, which a forked child gets anew, and of which there are fewer when the
// system gives no more. Each calling thread has its own.
Executor& openmp_executor();
Executor& thread_executor();
// For all calls that begin later; it must live on. At first OpenMP's.
void use_executor(Executor& executor);
Executor& current_executor();

// What a call ends with that is given up.
struct Interrupted {};

// `asked` is called some times a second, by the thread that made a call and only within it: true gives the call up.
// Null is never asked, which is so at first. What the call would have written is then undefined.
void set_interruption(bool (*asked)());

// The number of threads that a call uses when none is given: OMP_NUM_THREADS, or the CPUs of this process within the
// quota of its control groups.
int default_threads();
// An executor and a question of some calls, in place of those of all. `asked` may be null.
struct Context {
  Executor* executor;
  bool (*asked)(void* user);
  void* user;
};
// For the calls that this thread makes from now on; null for those of all.
void use_context(const Context* context);

// How many threads a call that asks for `wanted` can have.
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

// What the members of a call ask now and then: whether it is given up.
class Interruption {
 public:
  Interruption();
  // Throws Interrupted if it is.
  void check(int member);
  bool happened() const { return happened_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> happened_{false};
  uint64_t asked_;  // when, by the clock of the calling thread
};

// A member's way through its part of a call.
class Progress {
 public:
  Progress(Interruption& interruption, int member) : interruption_(interruption), member_(member) {}
  // So many multiply-adds, or what takes as long, have been done.
  void add(size_t work) {
    done_ += work;
    if (done_ < often) return;
    done_ = 0;
    interruption_.check(member_);
  }

 private:
  static constexpr size_t often = size_t{1} << 24;

  Interruption& interruption_;
  const int member_;
  size_t done_ = 0;
};

// Calls work(first, last) for portions of some items, each of so much work: few enough to ask in between, and at least
// `least`, so that what is read for all of them is not read too often.
template <class Work>
void in_portions(size_t first, size_t last, size_t work_of_one, size_t least, Progress& progress, Work work) {
  constexpr size_t most_work = size_t{1} << 29;
  const size_t portion = most_work / (work_of_one > 0 ? work_of_one : 1);
  const size_t step = portion > least ? portion : least;
  for (size_t begin = first; begin < last;) {
    const size_t end = last - begin > step ? begin + step : last;
    work(begin, end);
    progress.add((end - begin) * work_of_one);
    begin = end;
  }
}

namespace detail {
bool run_team(int members, void (*work)(void*, int), void* context);
}

// Runs work(member) for each member of a team, flushing subnormal numbers to zero meanwhile. `work` may throw
// Interrupted, which then ends the call, and nothing else. Returns false, with nothing done, when there are fewer
// threads than that; one there always is.
template <class Work>
bool run_team(int members, Work& work) {
  return detail::run_team(members, [](void* context, int member) { (*static_cast<Work*>(context))(member); }, &work);
}

// Where all members of a team wait for each other, many times within a call: spins a while, then yields. Who had to
// yield soon does so the next time: members may share a CPU, as they do for some milliseconds when the system wakes a
// thread on its waker's, and then the one that spins keeps the other from coming.
class Barrier {
 public:
  Barrier(int members, const Interruption& interruption)
      : members_(members > 1 ? static_cast<size_t>(members) : 0), interruption_(interruption) {}
  // Throws Interrupted when the call is given up, since then not all will come.
  void wait(int member);

 private:
  static constexpr int long_patience = 2000, short_patience = 8;  // spins

  // Each writes a cache line of its own: telling the others need not wait for a line that one of them has.
  struct alignas(64) Member {
    std::atomic<unsigned> arrivals{0};
    int patience = long_patience;
  };
  std::vector<Member> members_;  // none where there is nobody to wait for
  const Interruption& interruption_;
};

}  // namespace gru
