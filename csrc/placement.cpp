#include "placement.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace gru {

#if defined(__linux__)

namespace {

// The id of a thread that has ended may be another process's.
bool is_ours(pid_t id) { return syscall(SYS_tgkill, getpid(), id, 0) == 0; }

}  // namespace

void Sleepers::begin(int members, bool may_sleep) {
  sleepers_.resize(static_cast<size_t>(members));
  const int here = may_sleep ? sched_getcpu() : -1;
  if (here < 0 || here >= CPU_SETSIZE) return;
  for (Sleeper& sleeper : sleepers_) {
    if (!sleeper.id || !is_ours(sleeper.id)) continue;
    if (sched_getaffinity(sleeper.id, sizeof(cpu_set_t), &sleeper.allowed) != 0) continue;
    cpu_set_t away = sleeper.allowed;
    CPU_CLR(static_cast<size_t>(here), &away);
    if (CPU_COUNT(&away) > 0) sleeper.is_away = sched_setaffinity(sleeper.id, sizeof away, &away) == 0;
  }
}

void Sleepers::settle(int member) {
  thread_local const auto own_id = static_cast<pid_t>(syscall(SYS_gettid));
  if (member == 0) return;
  Sleeper& own = sleepers_[static_cast<size_t>(member)];
  own.came = own_id;
  if (!own.is_away || own.id != own_id) return;
  sched_setaffinity(0, sizeof own.allowed, &own.allowed);
  own.is_away = false;
}

void Sleepers::end() {
  for (Sleeper& sleeper : sleepers_) {
    if (sleeper.is_away && is_ours(sleeper.id)) sched_setaffinity(sleeper.id, sizeof sleeper.allowed, &sleeper.allowed);
    sleeper.is_away = false;
    sleeper.id = sleeper.came;
  }
}

#else

void Sleepers::begin(int, bool) {}
void Sleepers::settle(int) {}
void Sleepers::end() {}

#endif

}  // namespace gru
