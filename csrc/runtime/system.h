// What systems do each in their own way; behind it stands one file for each of them, and system_posix.cpp for what
// Linux and macOS share.
#pragma once

#include <cstddef>

namespace gru::system {

// --- Memory ---

// So many bytes, a multiple of a power of two as which they are aligned; null when there are none.
void* allocate(size_t bytes, size_t alignment) noexcept;
void free(void* data) noexcept;
// Hints: whole large pages would serve these bytes well; the system may take these back until somebody writes to them;
// what the heap keeps for itself is not needed.
void prefer_large_pages(void* data, size_t bytes) noexcept;
void may_take_back(void* data, size_t bytes) noexcept;
void trim_heap() noexcept;
// Of the machine.
size_t memory_bytes() noexcept;
// A core's own caches for data, in bytes; 0 where nobody says.
struct Caches {
  size_t first_level, second_level;
};
Caches caches() noexcept;

// --- Threads ---

// While it lives, the calling thread and those that it starts take no signals.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept;
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;

 private:
  [[maybe_unused]] alignas(16) unsigned char before_[128];
};

using ThreadId = int;
struct Cpus {
  alignas(16) unsigned char of[128];
};

ThreadId this_thread() noexcept;  // 0 where nobody says
int this_cpu() noexcept;          // or -1
// Keeps a thread of this process from a CPU, and says where it was allowed before. False, with nothing done, for other
// threads, where there is no other CPU for it, and where the system has no such thing.
bool keep_away(ThreadId thread, int cpu, Cpus& before) noexcept;
// Undoes it; does nothing for a thread that has ended.
void allow(ThreadId thread, const Cpus& cpus) noexcept;

// --- Processes ---

// What is called around each fork, of which each may be null: before it in the parent, behind it in the parent and in
// the child.
void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)());
// Whether this process was forked, and is still the program that forked it; false where nobody says.
bool is_forked_child();
// Whether a library beside the one with the address `own` needs the one with the address `used`; true where nobody
// says.
bool others_use(const void* own, const void* used);

}  // namespace gru::system
