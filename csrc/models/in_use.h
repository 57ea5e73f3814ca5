// What one thread uses at a time. Nobody waits for it: who comes second is refused.
#pragma once

#include <atomic>

#include "models/errors.h"

namespace gru {

class InUse {
 public:
  // Throws Busy.
  explicit InUse(std::atomic<bool>& flag, const char* what) : flag_(flag) {
    if (flag_.exchange(true, std::memory_order_acquire)) throw Busy(what);
  }
  ~InUse() { flag_.store(false, std::memory_order_release); }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;

 private:
  std::atomic<bool>& flag_;
};

}  // namespace gru
