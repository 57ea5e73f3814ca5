// A pool of threads for each thread that calls.
#include <algorithm>
#include <atomic>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

#include "runtime/clock.h"
#include "runtime/placement.h"
#include "runtime/system.h"
#include "runtime/team.h"

namespace gru {

namespace {

// A forked child has none of its parent's threads.
std::atomic<unsigned> forks{0};
[[maybe_unused]] const bool registered = (system::at_fork(nullptr, nullptr, [] { forks.fetch_add(1); }), true);

// Waits until a number is no longer `old`, awake for a while: the next call often comes soon.
void wait_for_change(const std::atomic<unsigned>& number, unsigned old) {
  const uint64_t begin = ticks();
  while (number.load(std::memory_order_acquire) == old) {
    if (ticks() - begin >= moment() / 2) return number.wait(old, std::memory_order_acquire);
    pause();
  }
}

class Pool {
 public:
  Pool() : forks_(forks.load()) {}

  ~Pool() {
    task_ = nullptr;
    for (const auto& worker : workers_) {
      start(*worker);
      worker->thread.join();
    }
  }

  bool lost() const { return forks_ != forks.load(std::memory_order_relaxed); }

  // The calling thread may come again within a task, when it asks whether to go on.
  int ready(int wanted) {
    if (busy_) return 1;
    const system::SignalsBlocked blocked;  // signals are for the program's own threads
    while (members() < wanted && add()) {
    }
    return std::min(members(), wanted);
  }

  bool run(int members, void (*task)(void*, int), void* data) {
    if (busy_ || members > this->members()) return false;
    busy_ = true;
    task_ = task;
    data_ = data;
    sleepers_.begin(members, !calls_follow());
    at_work_.store(static_cast<unsigned>(members - 1), std::memory_order_relaxed);
    for (int i = 1; i < members; ++i) start(*workers_[static_cast<size_t>(i - 1)]);
    task(data, 0);
    for (unsigned left; (left = at_work_.load(std::memory_order_acquire)) > 0;) wait_for_change(at_work_, left);
    sleepers_.end();
    busy_ = false;
    return true;
  }

 private:
  struct alignas(64) Worker {
    std::atomic<unsigned> starts{0};
    std::thread thread;
  };

  int members() const { return 1 + static_cast<int>(workers_.size()); }

  bool add() {
    try {
      workers_.reserve(workers_.size() + 1);
      auto worker = std::make_unique<Worker>();
      worker->thread = std::thread(&Pool::work, this, std::ref(*worker), members());
      workers_.push_back(std::move(worker));
      return true;
    } catch (const std::system_error&) {
      return false;
    } catch (const std::bad_alloc&) {
      return false;
    }
  }

  static void start(Worker& worker) {
    worker.starts.fetch_add(1, std::memory_order_release);
    worker.starts.notify_one();
  }

  void work(Worker& own, int member) {
    for (unsigned started = 0;; ++started) {
      wait_for_change(own.starts, started);
      if (!task_) return;
      sleepers_.settle(member);
      task_(data_, member);
      if (at_work_.fetch_sub(1, std::memory_order_acq_rel) == 1) at_work_.notify_one();
    }
  }

  const unsigned forks_;
  bool busy_ = false;
  void (*task_)(void*, int) = nullptr;
  void* data_ = nullptr;
  Sleepers sleepers_;
  std::vector<std::unique_ptr<Worker>> workers_;
  alignas(64) std::atomic<unsigned> at_work_{0};
};

// Of the calling thread. A pool whose threads a fork lost is left as it is: nobody could wait for them.
class OwnPool {
 public:
  ~OwnPool() { leave_lost(); }

  Pool& get() {
    leave_lost();
    if (!pool_) pool_ = std::make_unique<Pool>();
    return *pool_;
  }

 private:
  void leave_lost() {
    if (pool_ && pool_->lost()) static_cast<void>(pool_.release());
  }
  std::unique_ptr<Pool> pool_;
};

thread_local OwnPool own_pool;

class Threads final : public Executor {
 public:
  int ready(int wanted) override { return own_pool.get().ready(wanted); }
  bool run(int members, void (*task)(void*, int), void* data) override {
    return own_pool.get().run(members, task, data);
  }
};

}  // namespace

// Never destroyed: a thread may compute while the process ends.
Executor& thread_executor() {
  static auto* const executor = new Threads;
  return *executor;
}

}  // namespace gru
