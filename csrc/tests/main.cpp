// gru_native_tests [NAME...] [-NAME...]: runs the tests whose names contain one of the words, or all; none of those
// with a word behind a dash.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "check.h"
#include "gru_native.h"

namespace gru::tests {

namespace {
std::atomic<int> failures{0};
}

std::vector<Test>& all_tests() {
  static std::vector<Test> tests;
  return tests;
}

void failed(const char* file, int line, const char* what) {
  failures.fetch_add(1);
  std::fprintf(stderr, "%s:%d: expected %s\n", file, line, what);
}

}  // namespace gru::tests

int main(int count, char** words) {
#if defined(__SANITIZE_THREAD__)
  // OpenMP's run time is not built to be watched: ThreadSanitizer would see races between its threads.
  gn_set_team(GN_THREADS, nullptr, nullptr);
#endif
  using namespace gru::tests;
  using Clock = std::chrono::steady_clock;
  std::vector<const char*> wanted, unwanted;
  for (char** word = words + 1; word < words + count; ++word)
    **word == '-' ? unwanted.push_back(*word + 1) : wanted.push_back(*word);
  int run = 0;
  for (const Test& test : all_tests()) {
    const auto named = [&](const char* word) { return std::strstr(test.name, word) != nullptr; };
    if (!wanted.empty() && std::ranges::none_of(wanted, named)) continue;
    if (std::ranges::any_of(unwanted, named)) continue;
    const int before = failures.load();
    const auto begin = Clock::now();
    test.run();
    const std::chrono::duration<double> seconds = Clock::now() - begin;
    std::printf("%-6s %6.2f s  %s\n", failures.load() == before ? "ok" : "FAILED", seconds.count(), test.name);
    std::fflush(stdout);
    ++run;
  }
  std::printf("%d tests, %d checks failed\n", run, failures.load());
  return run == 0 || failures.load() > 0;
}
