// Where a team's threads are woken.
#pragma once

#include <vector>

#include "runtime/system.h"

namespace gru {

// The threads of one caller's teams. The idle CPUs of a virtual machine can look busy to its system, which then wakes a
// thread on its waker's CPU, where it waits for milliseconds. So before a team that may sleep is woken, its members are
// kept from the caller's CPU, and they undo this as soon as they run.
class Sleepers {
 public:
  // By the caller, before a team begins; threads of a larger one may end now, and are forgotten.
  void begin(int members, bool may_sleep);
  // By each member, the caller being the first, when it has begun.
  void settle(int member);
  // By the caller, when all are done: undoes it for threads that did not come.
  void end();

 private:
  struct Sleeper {
    system::ThreadId id = 0, came = 0;  // of the last team's member, and of this one's
    bool is_away = false;
    system::Cpus allowed;  // when it is not
  };
  std::vector<Sleeper> sleepers_;
};

}  // namespace gru
