// Teams: calls at once, calls that are given up, forks, other executors meanwhile.
#include "runtime/team.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "check.h"
#include "executors.h"
#include "problem.h"

using namespace gru;
using namespace gru::tests;

namespace {

// Runs work(i) for i below `count` at once, each in a thread of its own.
template <class Work>
void at_once(int count, Work work) {
  std::atomic<int> missing{count};
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i)
    threads.emplace_back([&, i] {
      missing.fetch_sub(1);
      while (missing.load() > 0) std::this_thread::yield();
      work(i);
    });
  for (std::thread& thread : threads) thread.join();
}

template <class T>
void check_calls_at_once(const Sizes& sizes, const Kind& kind) {
  const Problem<T> problem(sizes, kind);
  const std::vector<T> expected = problem.train(1);
  for (int repeats = 0; repeats < 3; ++repeats) {
    const Weights shared = problem.weights();
    at_once(4, [&](int i) { CHECK(same_bits(problem.train(shared, 1 + i % 3), expected)); });
  }
}

}  // namespace

TEST(calls_at_once_pack_new_weights_once) {
  for (Executor* executor : all_executors()) {
    const Using use(*executor);
    check_calls_at_once<float>(by_rows, {});
    check_calls_at_once<double>(by_panels, {.resets = true});
    check_calls_at_once<float>(by_rows, {.ragged = true, .resets = true, .reverse = true, .keep = GN_KEEP_STATES});
    check_calls_at_once<float>({GN_GRU_RESET_BEFORE, 1, 9, 300, 300}, {});  // packs as it reads
  }
}

TEST(threads_that_call_come_and_go) {
  const Problem<float> problem(by_panels);
  const Weights weights = problem.weights();
  const std::vector<float> expected = problem.train(weights, 1);
  for (Executor* executor : all_executors()) {
    const Using use(*executor);
    for (int i = 0; i < 5; ++i) at_once(2, [&](int) { CHECK(same_bits(problem.train(weights, 3), expected)); });
  }
}

TEST(another_executor_is_chosen_between_calls) {
  const Problem<float> problem(by_panels);
  const Weights weights = problem.weights();
  const std::vector<float> expected = problem.train(weights, 1);
  const Using use(thread_executor());
  std::atomic<bool> over{false};
  std::thread chooser([&] {
    for (size_t i = 0; !over.load(); ++i) {
      use_executor(*all_executors()[i % all_executors().size()]);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  at_once(2, [&](int) {
    for (int i = 0; i < 10; ++i) CHECK(same_bits(problem.train(weights, 3), expected));
  });
  over.store(true);
  chooser.join();
}

TEST(the_program_gives_fewer_threads) {
  // One that promises more than it runs, and one that has a single thread.
  class Few final : public Executor {
   public:
    explicit Few(int most) : most_(most) {}
    int ready(int wanted) override { return most_ < wanted ? most_ : wanted; }
    bool run(int, void (*)(void*, int), void*) override { return false; }

   private:
    const int most_;
  };
  for (const Sizes& sizes : {by_rows, by_panels}) {
    const Problem<float> problem(sizes, {.ragged = true});
    const std::vector<float> expected = problem.train(1);
    for (const int most : {1, 3}) {
      Few few(most);
      const Using use(few);
      CHECK(same_bits(problem.train(4), expected));
    }
  }
}

namespace {

std::atomic<bool> asked_to_stop{false};

// Whether a call of seconds is given up when another thread asks for it.
bool is_given_up(const Sizes& sizes, int threads) {
  const Problem<float> problem(sizes);
  const Weights weights = problem.weights();
  asked_to_stop.store(false);
  std::thread other([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    asked_to_stop.store(true);
  });
  bool given_up = false;
  try {
    problem.train(weights, threads);
  } catch (const Interrupted&) {
    given_up = true;
  }
  other.join();
  return given_up;
}

}  // namespace

TEST(another_thread_asks_to_give_up) {
  const Problem<float> small(by_rows);
  const std::vector<float> expected = small.train(1);
  for (Executor* executor : all_executors()) {
    const Using use(*executor);
    set_interruption([] { return asked_to_stop.load(); });
    for (const int threads : {1, 3}) {
      CHECK(is_given_up({GN_GRU_RESET_AFTER, 4000, 64, 64, 256}, threads));
      CHECK(is_given_up({GN_GRU_RESET_AFTER, 30'000, 1, 64, 256}, threads));
    }
    set_interruption(nullptr);
    CHECK(same_bits(small.train(3), expected));
  }
}

namespace {

// ThreadSanitizer takes a child's threads for those that the fork lost.
#if defined(__SANITIZE_THREAD__)
constexpr int threads_of_child = 1;
#else
constexpr int threads_of_child = 3;
#endif

// Whether a forked child, and a child of its own, have the same results in time.
bool right_in_child(const Problem<float>& problem, const std::vector<float>& expected, int generations) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    bool right = same_bits(problem.train(threads_of_child), expected);
    if (generations > 1) right = right_in_child(problem, expected, generations - 1) && right;
    _exit(right ? 0 : 1);
  }
  int status;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace

TEST(a_forked_child_computes) {
  for (Executor* executor : all_executors()) {
    const Using use(*executor);
    for (const Sizes& sizes : {by_rows, by_panels}) {
      const Problem<float> problem(sizes);
      const std::vector<float> expected = problem.train(3);
      CHECK(right_in_child(problem, expected, 2));
      CHECK(same_bits(problem.train(3), expected));
    }
  }
}

TEST(forks_beside_a_thread_that_computes) {
  const Problem<float> problem(by_rows);
  const std::vector<float> expected = problem.train(1);
  const Using use(thread_executor());
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over.load()) CHECK(same_bits(problem.train(2), expected));
  });
  for (int i = 0; i < 5; ++i) CHECK(right_in_child(problem, expected, 1));
  over.store(true);
  other.join();
}
