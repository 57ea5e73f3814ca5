#include "placement.h"

#include <algorithm>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gru {

#if defined(__linux__)

void Sleepers::keep_away(int members) {
  sleepers_.resize(std::max(sleepers_.size(), static_cast<size_t>(members)));
  const int here = sched_getcpu();
  if (here < 0 || here >= CPU_SETSIZE) return;
  for (size_t member = 1; member < static_cast<size_t>(members); ++member) {
    Sleeper& sleeper = sleepers_[member];
    if (!sleeper.id || sleeper.is_away) continue;
    if (sched_getaffinity(sleeper.id, sizeof(cpu_set_t), &sleeper.allowed) != 0) continue;
    cpu_set_t away = sleeper.allowed;
    CPU_CLR(static_cast<size_t>(here), &away);
    if (CPU_COUNT(&away) > 0) sleeper.is_away = sched_setaffinity(sleeper.id, sizeof away, &away) == 0;
  }
}

void Sleepers::settle(int member) {
  thread_local const auto own_id = static_cast<pid_t>(syscall(SYS_gettid));
  const auto index = static_cast<size_t>(member);
  if (index == 0 || index >= sleepers_.size()) return;
  Sleeper& own = sleepers_[index];
  if (own.is_away && own.id == own_id) sched_setaffinity(0, sizeof own.allowed, &own.allowed);
  own.is_away = false;
  own.id = own_id;
}

#else

void Sleepers::keep_away(int) {}
void Sleepers::settle(int) {}

#endif

}  // namespace gru
