#include "runtime/quota.h"

#include <algorithm>
#include <climits>
#include <fstream>
#include <sstream>

namespace gru {

namespace {

// Of a group's folder: version 2 has both numbers in one file, version 1 in two. No file, "max" or -1: no quota.
int quota_of(const std::string& folder) {
  double quota = 0, period = 0;
  if (std::ifstream both(folder + "/cpu.max"); both) {
    both >> quota >> period;
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  if (!(quota > 0 && period > 0)) return INT_MAX;
  return static_cast<int>(std::clamp(quota / period, 1.0, double{INT_MAX}));
}

// Of a group and all that it is in.
int quota_along(const std::string& mount, std::string path) {
  int quota = INT_MAX;
  for (;;) {
    quota = std::min(quota, quota_of(mount + path));
    if (path.empty()) return quota;
    path.erase(path.rfind('/'));
  }
}

}  // namespace

int cpu_quota_under(const std::string& root) {
  const std::string mounts = root + "/sys/fs/cgroup";
  int quota = INT_MAX;
  std::ifstream groups(root + "/proc/self/cgroup");
  // Each line is number:controllers:path; version 2 has no controllers.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string path = line.substr(second + 1);
    if (path.empty() || path.front() != '/') continue;
    if (path == "/") path.clear();
    std::istringstream names(controllers);
    bool has_cpu = controllers.empty();
    for (std::string name; std::getline(names, name, ',');) has_cpu |= name == "cpu";
    if (!has_cpu) continue;
    // Where it is mounted, by either custom; a container may see its own group as the root.
    for (const std::string& mount : {mounts + "/" + controllers, mounts + "/cpu", mounts})
      quota = std::min(quota, quota_along(mount, path));
  }
  return quota;
}

int cpu_quota() {
  static const int quota = cpu_quota_under("");
  return quota;
}

}  // namespace gru
