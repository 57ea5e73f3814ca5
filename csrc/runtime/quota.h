// What a container lets this process use.
#pragma once

#include <string>

namespace gru {

// The CPUs that the quota of this process's control groups comes to, rounded down, at least 1; INT_MAX without one.
int cpu_quota();

// The same, where /proc/self/cgroup and /sys/fs/cgroup stand under another root.
int cpu_quota_under(const std::string& root);

}  // namespace gru
