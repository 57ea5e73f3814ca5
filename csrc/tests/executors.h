// Those whose threads compute in the tests.
#pragma once

#include <system_error>
#include <thread>
#include <vector>

#include "runtime/team.h"

namespace gru::tests {

// As a program that embeds the core may give its own: here threads that are made for each call.
class OwnThreads final : public Executor {
 public:
  int ready(int wanted) override { return wanted; }
  bool run(int members, void (*task)(void*, int), void* data) override {
    std::vector<std::thread> threads;
    for (int member = 1; member < members; ++member) threads.emplace_back(task, data, member);
    task(data, 0);
    for (std::thread& thread : threads) thread.join();
    return true;
  }
};

inline OwnThreads own_threads;

// Under ThreadSanitizer without OpenMP: see main.cpp.
inline std::vector<Executor*> all_executors() {
#if defined(__SANITIZE_THREAD__)
  return {&thread_executor(), &own_threads};
#else
  return {&thread_executor(), &own_threads, &openmp_executor()};
#endif
}

// Uses an executor as long as it lives.
class Using {
 public:
  explicit Using(Executor& executor) : before_(current_executor()) { use_executor(executor); }
  ~Using() { use_executor(before_); }

 private:
  Executor& before_;
};

}  // namespace gru::tests
