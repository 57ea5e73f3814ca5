#include "runtime/team.h"

#include <thread>

#include "runtime/clock.h"
#include "runtime/numbers.h"

namespace gru {

namespace {

thread_local uint64_t last_end = 0;
thread_local bool follows = false;
thread_local const Context* own_context = nullptr;

std::atomic<Executor*> executor{&openmp_executor()};
std::atomic<bool (*)()> interruption_asked{nullptr};

struct Job {
  void (*work)(void*, int);
  void* context;
  bool interrupted = false;  // which the calling thread is whenever another member is
};

void run_member(void* data, int member) {
  Job& job = *static_cast<Job*>(data);
  const FlushToZero guard;
  try {
    job.work(job.context, member);
  } catch (const Interrupted&) {
    if (member == 0) job.interrupted = true;
  }
}

}  // namespace

Executor::~Executor() = default;

void use_executor(Executor& chosen) { executor.store(&chosen); }
Executor& current_executor() { return own_context ? *own_context->executor : *executor.load(); }

void use_context(const Context* context) { own_context = context; }

void set_interruption(bool (*asked)()) { interruption_asked.store(asked); }

int usable_threads(int wanted) { return wanted > 1 ? current_executor().ready(wanted) : 1; }

Call::Call() { follows = ticks() - last_end < moment(); }
Call::~Call() { last_end = ticks(); }

bool calls_follow() { return follows; }

namespace {

bool is_given_up() {
  if (own_context) return own_context->asked && own_context->asked(own_context->user);
  const auto asked = interruption_asked.load(std::memory_order_relaxed);
  return asked && asked();
}

}  // namespace

Interruption::Interruption() : asked_(ticks()) {}

void Interruption::check(int member) {
  constexpr uint64_t moments_between = 500;
  if (member == 0 && ticks() - asked_ > moments_between * moment()) {
    if (is_given_up()) happened_.store(true, std::memory_order_relaxed);
    asked_ = ticks();
  }
  if (happened()) throw Interrupted{};
}

bool detail::run_team(int members, void (*work)(void*, int), void* context) {
  Job job{work, context};
  if (members == 1)
    run_member(&job, 0);
  else if (!current_executor().run(members, run_member, &job))
    return false;
  if (job.interrupted) throw Interrupted{};
  return true;
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
      if (spins++ < own.patience) {
        pause();
      } else {
        if (interruption_.happened()) throw Interrupted{};
        std::this_thread::yield();
      }
    }
  }
  const int patience = spins > own.patience ? short_patience : long_patience;
  if (patience != own.patience) own.patience = patience;  // the others read the line, so writing has its price
}

}  // namespace gru
