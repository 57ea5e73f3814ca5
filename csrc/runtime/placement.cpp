#include "runtime/placement.h"

namespace gru {

void Sleepers::begin(int members, bool may_sleep) {
  sleepers_.resize(static_cast<size_t>(members));
  if (!may_sleep) return;
  const int here = system::this_cpu();
  for (Sleeper& sleeper : sleepers_)
    if (sleeper.id) sleeper.is_away = system::keep_away(sleeper.id, here, sleeper.allowed);
}

void Sleepers::settle(int member) {
  const system::ThreadId id = system::this_thread();
  if (member == 0) return;
  Sleeper& own = sleepers_[static_cast<size_t>(member)];
  own.came = id;
  if (!own.is_away || own.id != id) return;
  system::allow(id, own.allowed);
  own.is_away = false;
}

void Sleepers::end() {
  for (Sleeper& sleeper : sleepers_) {
    if (sleeper.is_away) system::allow(sleeper.id, sleeper.allowed);
    sleeper.is_away = false;
    sleeper.id = sleeper.came;
  }
}

}  // namespace gru
