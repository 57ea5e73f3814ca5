#include "plan.h"

#include <algorithm>

#include "team.h"

namespace gru {

namespace {

// Multiply-adds that are worth another thread: waking it costs some microseconds.
constexpr size_t work_per_member = 1'000'000;
// Multiply-adds of a step that are worth a barrier.
constexpr size_t work_per_barrier = 30'000;
// Weights that are read from a core's own second-level cache.
constexpr size_t cache_bytes = 1'500'000;

}  // namespace

Part part_of(size_t total, int member, int members) {
  const auto m = static_cast<size_t>(member), n = static_cast<size_t>(members);
  const size_t share = total / n, rest = total % n;
  const size_t first = m * share + std::min(m, rest);
  return {first, first + share + (m < rest ? 1 : 0)};
}

Slice Plan::slice(int member, size_t batch, size_t panels) const {
  if (by_panels) return {{0, batch}, part_of(panels, member, members)};
  return {part_of(batch, member, members), {0, panels}};
}

Plan plan_recurrence(const Work& work, int threads) {
  const size_t step_work = work.batch * work.row_work;
  const int wanted = plan_members(work.steps * step_work, std::max(work.batch, work.panels), threads);
  const auto parts = [&](size_t available) {
    return static_cast<int>(std::min<size_t>(static_cast<size_t>(wanted), available));
  };
  const int by_rows = parts(work.batch);
  // A barrier must be worth its time, and each thread needs panels of its own.
  const int by_panels = parts(std::min(work.panels, 1 + step_work / work_per_barrier));
  const bool too_large_for_one_cache = work.weight_bytes > cache_bytes;
  if (by_panels > by_rows || (too_large_for_one_cache && by_panels == by_rows)) return {by_panels, by_panels > 1};
  return {by_rows, false};
}

int plan_members(size_t work, size_t parts, int threads) {
  const size_t useful = std::min(1 + work / work_per_member, std::max<size_t>(parts, 1));
  return static_cast<int>(std::min<size_t>(static_cast<size_t>(usable_threads(threads)), useful));
}

size_t plan_chunk(size_t steps, size_t step_bytes, size_t weight_bytes) {
  const size_t budget = std::max<size_t>(512 * 1024, weight_bytes / 3);
  return std::clamp<size_t>(budget / std::max<size_t>(step_bytes, 1), 1, std::max<size_t>(steps, 1));
}

}  // namespace gru
