#include "plan.h"

#include <algorithm>
#include <cmath>

#include "schedule.h"
#include "team.h"

namespace gru {

namespace {

// Multiply-adds that are worth waking a team for, which takes 50 microseconds and more.
constexpr size_t work_to_wake = 8'000'000;
// What else takes time, in multiply-adds: the barrier after a step; an element that the others wait for in their
// caches; and reading a byte of weights. What exceeds a core's first-level cache comes from its second, and weights
// beyond that from farther away.
constexpr double barrier_cost = 40'000, exchange_cost = 50;
constexpr double first_level_cost = 0.125, second_level_cost = 0.7, far_cost = 2.75;
constexpr double first_level_bytes = 48'000, second_level_bytes = 1'500'000;

size_t largest_part(size_t total, int members) {
  const auto n = static_cast<size_t>(members);
  return (total + n - 1) / n;
}

double reading_cost(double bytes) {
  const double near = std::min(bytes, second_level_bytes), nearest = std::min(near, first_level_bytes);
  return nearest * first_level_cost + (near - nearest) * second_level_cost + (bytes - near) * far_cost;
}

// Of a step of the slowest member, which has so many rows and the given share of the weights. Reading and multiplying
// overlap, more so the longer one of them takes.
double step_cost(const Work& work, size_t rows, double share) {
  return std::hypot(share * static_cast<double>(rows * work.row_work + packing_work * work.filled),
                    reading_cost(share * static_cast<double>(work.weight_bytes)));
}

}  // namespace

Part part_of(size_t total, int member, int members) {
  const auto m = static_cast<size_t>(member), n = static_cast<size_t>(members);
  const size_t share = total / n, rest = total % n;
  const size_t first = m * share + std::min(m, rest);
  return {first, first + share + (m < rest ? 1 : 0)};
}

Slice Plan::slice(int member, const Schedule& schedule, size_t panels) const {
  if (by_panels) return {{0, schedule.batch()}, part_of(panels, member, members)};
  return {schedule.part(member, members), {0, panels}};
}

Plan plan_recurrence(const Work& work, int members) {
  const auto limited = [&](size_t parts) {
    return static_cast<int>(std::min(static_cast<size_t>(members), std::max<size_t>(parts, 1)));
  };
  const int by_rows = limited(work.batch), by_panels = limited(work.panels);
  if (by_panels == 1) return {by_rows, false};
  const double share = static_cast<double>(largest_part(work.panels, by_panels)) / static_cast<double>(work.panels);
  const double rows_cost = step_cost(work, largest_part(work.batch, by_rows), 1);
  const double panels_cost = step_cost(work, work.batch, share) + barrier_cost +
                             exchange_cost * static_cast<double>(work.batch * work.exchanged);
  return panels_cost < rows_cost ? Plan{by_panels, true} : Plan{by_rows, false};
}

int plan_members(size_t work, size_t parts, int threads, size_t per_member) {
  if (work < work_to_wake && !calls_follow()) return 1;
  const size_t useful = std::min(1 + work / per_member, std::max<size_t>(parts, 1));
  return static_cast<int>(std::min<size_t>(static_cast<size_t>(usable_threads(threads)), useful));
}

size_t plan_chunk(size_t steps, size_t step_bytes, size_t weight_bytes) {
  const size_t budget = std::max<size_t>(512 * 1024, weight_bytes / 3);
  return std::clamp<size_t>(budget / std::max<size_t>(step_bytes, 1), 1, std::max<size_t>(steps, 1));
}

}  // namespace gru
