#include <atomic>
#include <memory>
#include <string>

#include "checks.h"
#include "engine/linear.h"
#include "kernels/dispatch.h"
#include "runtime/buffer.h"
#include "runtime/quota.h"

namespace gru::api {

namespace {

// The program's own team.
class Given final : public Executor {
 public:
  explicit Given(const gn_executor& given) : given_(given) {}
  int ready(int wanted) override { return std::clamp(given_.ready(given_.user, wanted), 1, wanted); }
  bool run(int members, void (*task)(void*, int), void* data) override {
    return given_.run(given_.user, members, task, data);
  }

 private:
  const gn_executor given_;
};

struct Watcher {
  bool (*asked)(void*);
  void* user;
};
std::atomic<const Watcher*> watcher{nullptr};

bool ask_watcher() {
  const Watcher* const own = watcher.load();
  return own->asked && own->asked(own->user);
}

// The team's executor, of a program's own the one that is made here.
Executor& executor_of(gn_team team, const gn_executor* given, std::unique_ptr<Given>& made) {
  if (team == GN_EXECUTOR) {
    gn_executor room;
    const gn_executor& own = taken(given, "executor", room);
    if (!own.ready || !own.run) refuse("executor", "both functions", "NULL");
    made = std::make_unique<Given>(own);
    return *made;
  }
  if (given) refuse("executor", "NULL for this team", "a structure");
  if (team == GN_OPENMP) return openmp_executor();
  if (team == GN_THREADS) return thread_executor();
  refuse("team", "one of gn_team", std::to_string(team));
}

// The name at a place of a list, or null behind its end. The list is made once, so that names stay.
template <class List>
const char* name_at(const List& names, size_t place) {
  return place < names.size() ? names[place].c_str() : nullptr;
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

struct gn_context {
  std::unique_ptr<Given> given;  // or null
  gru::Context own;
};

uint32_t gn_abi_version(void) { return GN_ABI_VERSION; }

gn_status gn_set_team(gn_team team, const gn_executor* executor, gn_error* error) {
  return guarded(error, [&] {
    std::unique_ptr<Given> made;
    gru::use_executor(executor_of(team, executor, made));
    made.release();  // calls that have begun may still use it when another one is chosen
  });
}

gn_team gn_get_team(void) {
  const gru::Executor* const current = &gru::current_executor();
  return current == &gru::openmp_executor() ? GN_OPENMP : current == &gru::thread_executor() ? GN_THREADS : GN_EXECUTOR;
}

gn_status gn_watch(bool (*asked)(void* user), void* user, gn_error* error) {
  return guarded(error, [&] {
    watcher.store(new Watcher{asked, user});  // as with executors
    gru::set_interruption(asked ? ask_watcher : nullptr);
  });
}

gn_status gn_context_create(const gn_context_options* options, gn_context** context, gn_error* error) {
  return guarded(error, [&] {
    gn_context_options room;
    const gn_context_options& own = taken(options, "options", room);
    if (!context) refuse("context", "where to put it", "NULL");
    auto made = std::make_unique<gn_context>();
    gru::Executor& executor = executor_of(own.team, own.executor, made->given);
    made->own = {&executor, own.asked, own.user};
    *context = made.release();
  });
}

void gn_context_destroy(gn_context* context) { delete context; }

void gn_use_context(const gn_context* context) { gru::use_context(context ? &context->own : nullptr); }

namespace {
thread_local int own_threads = 0;
}

int gn_default_threads(void) { return own_threads ? own_threads : std::min(gru::default_threads(), GN_MAX_THREADS); }

int gn_use_threads(int threads) {
  const int before = own_threads;
  if (threads >= 0 && threads <= GN_MAX_THREADS) own_threads = threads;
  return before;
}

int gn_cpu_quota(const char* root) { return gru::cpu_quota_under(root ? root : ""); }

void* gn_allocate(size_t bytes) {
  void* memory = nullptr;
  guarded(nullptr, [&] { memory = gru::allocate(bytes); });
  return memory;
}

void gn_release(void* memory, size_t bytes) {
  if (memory) gru::release(memory, bytes);
}

size_t gn_least_kept(void) { return gru::least_kept; }

size_t gn_release_kept(void) { return gru::release_kept(); }

gn_status gn_set_allocator(const gn_allocator* allocator, gn_error* error) {
  return guarded(error, [&] {
    gn_allocator room;
    const gn_allocator& own = taken(allocator, "allocator", room);
    if (!own.allocate || !own.release) refuse("allocator", "both functions", "NULL");
    if (!gru::use_allocator({own.allocate, own.release, own.user}))
      refuse("allocator", "to be set before memory is asked for", "it later");
  });
}

const char* gn_built_isa(size_t place) {
  static const auto names = gru::built_isas();
  return name_at(names, place);
}

const char* gn_supported_isa(size_t place) {
  static const auto names = gru::supported_isas();
  return name_at(names, place);
}

gn_status gn_active_isa(const char** name, gn_error* error) {
  return guarded(error, [&] {
    if (!name) refuse("name", "where to put it", "NULL");
    *name = gru::active_isa().name;
  });
}

gn_status gn_vector_width(gn_type type, size_t* width, gn_error* error) {
  return guarded(error, [&] {
    if (!width) refuse("width", "where to put it", "NULL");
    for_type(type, [&](auto zero) { *width = gru::kernels_of<decltype(zero)>(gru::active_isa()).vector; });
  });
}

const char* gn_blas(void) { return gru::blas_description(); }
