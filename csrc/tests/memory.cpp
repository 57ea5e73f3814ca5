// Memory of the program's own. This file is the first one in the list: its child must not have asked for any.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "check.h"
#include "problem.h"

using namespace gru::tests;

namespace {

struct Counted {
  size_t blocks = 0, most = 0;
};

void* take(void* user, size_t bytes, size_t alignment) {
  auto& counted = *static_cast<Counted*>(user);
  counted.most = std::max(counted.most, ++counted.blocks);
  return std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

void give_back(void* user, void* memory) {
  --static_cast<Counted*>(user)->blocks;
  std::free(memory);
}

// Whether calls compute in memory that is given, and leave none behind.
bool computes_in_given_memory() {
  Counted counted;
  const gn_allocator given{sizeof given, take, give_back, &counted};
  if (gn_set_allocator(&given, error()) != GN_OK) return false;
  const Problem<float> problem({GN_GRU_RESET_AFTER, 20, 4, 64, 64});
  const std::vector<float> results = problem.train(1);
  gn_release_kept();
  return counted.most > 0 && counted.blocks == 0 && same_bits(results, problem.train(1)) &&
         gn_set_allocator(&given, error()) == GN_INVALID;
}

}  // namespace

TEST(a_program_gives_the_memory) {
  const pid_t child = fork();
  if (child == 0) _exit(computes_in_given_memory() ? 0 : 1);
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(gn_set_allocator(nullptr, error()) == GN_INVALID);
}
