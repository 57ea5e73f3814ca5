// Steps neither allocate nor call the system: they are taken where whoever does so ends the process. This file is one
// of the first in the list: its children must not have called anything before.
#include "check.h"
#include "models.h"

#if defined(__has_feature)
#if __has_feature(realtime_sanitizer)
#define GRU_REALTIME [[clang::nonblocking]]
#endif
#endif

// Other sanitizers have the memory themselves, and call the system.
#if defined(__linux__) && defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <string>

using namespace gru::tests;

#if defined(GRU_REALTIME)

namespace {

// RealtimeSanitizer ends the process so when more is called than a step may call.
constexpr int allocated = 43;
void forbid() {}
bool is_strict() { return true; }
[[noreturn]] void leave(int status) { _exit(status); }

}  // namespace

#else

#define GRU_REALTIME

namespace {

constexpr int allocated = 2;

// While it is set, whoever asks for memory or gives it back ends the process.
std::atomic<bool> is_forbidden{false};

[[noreturn]] void leave(int status) {
  for (;;) syscall(SYS_exit, status);
}

void check_allowed() {
  if (!is_forbidden) return;
  constexpr char message[] = "a step asked for memory\n";
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message, sizeof message - 1);
  leave(allocated);
}

// Only read, write and the end are allowed to this thread from now on: the kernel ends who does more. Not so under
// qemu.
bool is_strict() { return prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0; }

void forbid() {
  is_strict();
  is_forbidden = true;
}

}  // namespace

// In place of the C library's, for all of the process: operator new comes here, too.
extern "C" {
void* __libc_malloc(size_t size) noexcept;
void* __libc_calloc(size_t count, size_t size) noexcept;
void* __libc_realloc(void* memory, size_t size) noexcept;
void* __libc_memalign(size_t alignment, size_t size) noexcept;
void __libc_free(void* memory) noexcept;

void* malloc(size_t size) noexcept { return check_allowed(), __libc_malloc(size); }
void* calloc(size_t count, size_t size) noexcept { return check_allowed(), __libc_calloc(count, size); }
void* realloc(void* memory, size_t size) noexcept { return check_allowed(), __libc_realloc(memory, size); }
void* memalign(size_t alignment, size_t size) noexcept { return check_allowed(), __libc_memalign(alignment, size); }
void* aligned_alloc(size_t alignment, size_t size) noexcept { return memalign(alignment, size); }
int posix_memalign(void** memory, size_t alignment, size_t size) noexcept {
  *memory = memalign(alignment, size);
  return *memory ? 0 : ENOMEM;
}
void free(void* memory) noexcept { check_allowed(), __libc_free(memory); }
}

#endif

namespace {

template <class Step>
bool go_well(Step& step) GRU_REALTIME {
  bool good = true;
  for (int i = 0; i < 1000; ++i) good = step() == GN_OK && good;
  return good;
}

template <class Step>
[[noreturn]] void step_and_leave(Step step) {
  forbid();
  leave(go_well(step) ? 0 : 1);
}

// How a child ended: its status, or minus the signal.
template <class Child>
int ended(Child child) {
  const pid_t id = fork();
  if (id == 0) {
    child();
    _exit(3);
  }
  int status = 0;
  if (waitpid(id, &status, 0) != id) return 4;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// In children: what a step needs is made there.
void check_steps(const std::string& content, size_t inputs, size_t batch) {
  const std::vector<double> x(batch * inputs);  // zeros of any type, or indices
  std::vector<double> y(batch * 512);
  CHECK(ended([&] {
          const ModelHandle model = model_of(content);
          const SessionHandle session = session_of(model, batch);
          step_and_leave([&] { return gn_session_step(session.get(), x.data(), y.data(), error()); });
        }) == 0);
  CHECK(ended([&] {
          const ModelHandle model = model_of(content);
          const PoolHandle pool = pool_of(model, batch, 1);
          std::vector<uint64_t> ids(batch);
          for (uint64_t& id : ids) must(gn_pool_open(pool.get(), 0, &id, error()));
          step_and_leave([&] { return gn_pool_step(pool.get(), batch, ids.data(), x.data(), y.data(), error()); });
        }) == 0);
}

}  // namespace

TEST(steps_neither_allocate_nor_call_the_system) {
  for (const size_t hidden : {size_t{16}, size_t{64}, size_t{512}}) {
    check_steps(ModelFile<float>(16).gru(hidden).content(), 16, 1);
    check_steps(ModelFile<float>(16).lstm(hidden).content(), 16, 1);
  }
  for (const size_t batch : {size_t{1}, size_t{3}, size_t{65}}) {
    check_steps(ModelFile<float>(16).gru(16).content(), 16, batch);
    check_steps(ModelFile<double>(16).linear(24).norm().gru(33).lstm(20).mean().linear(7).content(), 16, batch);
    check_steps(ModelFile<float>(16).linear(24).norm().content(), 16, batch);
    check_steps(ModelFile<float>(16, 10).gru(16).content(), 1, batch);
  }
}

TEST(who_allocates_or_calls_the_system_is_ended) {
  CHECK(ended([] {
          step_and_leave([] {
            void* volatile memory = std::malloc(10);
            return std::free(memory), GN_OK;
          });
        }) == allocated);
  const auto call_system = [] { return syscall(SYS_getppid) < 0 ? GN_FAILED : GN_OK; };
  CHECK(ended([&] { step_and_leave(call_system); }) != 0 || ended([] { leave(is_strict() ? 1 : 0); }) == 0);
  // A run begins with memory for what goes from layer to layer.
  CHECK(ended([] {
          const ModelHandle model = model_of(ModelFile<float>(16).gru(16).content());
          const SessionHandle session = session_of(model, 1);
          const std::vector<float> x(16);
          std::vector<float> y(16);
          step_and_leave([&] { return gn_session_run(session.get(), 1, x.data(), y.data(), 1, error()); });
        }) == allocated);
}

#endif
