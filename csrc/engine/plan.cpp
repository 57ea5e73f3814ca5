#include "engine/plan.h"

#include <algorithm>
#include <cmath>

#include "engine/schedule.h"
#include "runtime/machine.h"
#include "runtime/team.h"

namespace gru {

namespace {

// Of reading so many bytes. What exceeds a core's first-level cache comes from its second, and weights beyond that from
// farther away.
double reading_cost(double bytes) {
  const double near = std::min(bytes, static_cast<double>(machine().second_level));
  const double nearest = std::min(near, static_cast<double>(machine().first_level));
  return nearest * costs().first_level + (near - nearest) * costs().second_level + (bytes - near) * costs().far;
}

// Of a step of some rows by a member that has the given share of the weights. Reading and multiplying overlap, more so
// the longer one of them takes.
double step_cost(const Work& work, size_t rows, double share) {
  return std::hypot(share * static_cast<double>(rows * work.row_work + packing_work * work.filled),
                    reading_cost(share * static_cast<double>(work.weight_bytes)));
}

// Of all steps of some places, of which a step of n rows costs cost(n).
template <class Cost>
double cost_of(const Schedule& schedule, const Part& places, Cost cost) {
  double all = 0;
  for (size_t place = places.first; place < places.last; ++place) {
    const size_t next = place + 1 < places.last ? schedule.length(place + 1) : 0;
    const size_t steps = schedule.length(place) - next;  // that have the rows up to this one
    if (steps > 0) all += static_cast<double>(steps) * cost(place + 1 - places.first);
  }
  return all;
}

// Parts of ragged rows, where a step of n rows costs costs[n]: each costs `most` or less, or has one place.
std::vector<Part> parts_within(double most, const Schedule& schedule, const std::vector<double>& costs) {
  std::vector<Part> parts{{0, 0}};
  double cost = 0;
  for (size_t place = 0; place < schedule.batch(); ++place) {
    // No row before is shorter, so it is in as many steps as it has that a place makes a row longer.
    const auto steps = static_cast<double>(schedule.length(place));
    const size_t rows = parts.back().size();
    cost += steps * (costs[rows + 1] - costs[rows]);
    if (rows > 0 && cost > most) {
      parts.push_back({place, place});
      cost = steps * costs[1];
    }
    ++parts.back().last;
  }
  return parts;
}

// The parts of `members`, of which the dearest is as cheap as it can be, within a hundredth.
std::vector<Part> cheapest_parts(int members, const Schedule& schedule, const std::vector<double>& costs) {
  const auto cost = [&](size_t rows) { return costs[rows]; };
  double enough = cost_of(schedule, {0, schedule.batch()}, cost), too_little = 0;
  std::vector<Part> cheapest = parts_within(enough, schedule, costs);
  while (too_little < 0.99 * enough) {
    const double middle = (too_little + enough) / 2;
    std::vector<Part> parts = parts_within(middle, schedule, costs);
    if (parts.size() > static_cast<size_t>(members)) {
      too_little = middle;
    } else {
      enough = middle;
      cheapest = std::move(parts);
    }
  }
  cheapest.resize(static_cast<size_t>(members), {schedule.batch(), schedule.batch()});
  return cheapest;
}

}  // namespace

Part part_of(size_t total, int member, int members) {
  const auto m = static_cast<size_t>(member), n = static_cast<size_t>(members);
  const size_t share = total / n, rest = total % n;
  const size_t first = m * share + std::min(m, rest);
  return {first, first + share + (m < rest ? 1 : 0)};
}

Slice Plan::slice(int member, size_t batch, size_t panels) const {
  if (by_panels) return {{0, batch}, part_of(panels, member, members)};
  return {rows.empty() ? part_of(batch, member, members) : rows[static_cast<size_t>(member)], {0, panels}};
}

double predicted_cost(const Plan& plan, const Schedule& schedule, const Work& work) {
  const auto exchange_of = [&](size_t rows) { return static_cast<double>(rows * work.exchange); };
  if (plan.by_panels) {
    const size_t largest = part_of(work.panels, 0, plan.members).size();
    const double share = static_cast<double>(largest) / static_cast<double>(work.panels);
    return cost_of(schedule, {0, schedule.batch()},
                   [&](size_t rows) { return step_cost(work, rows, share) + costs().barrier + exchange_of(rows); });
  }
  // If one member takes all rows, the others have to fetch its results too, when the recurrence is over.
  const auto cost_of_rows = [&](size_t rows) {
    return step_cost(work, rows, 1) + (plan.members == 1 ? exchange_of(rows) : 0);
  };
  double dearest = 0;
  for (int member = 0; member < plan.members; ++member)
    dearest =
        std::max(dearest, cost_of(schedule, plan.slice(member, schedule.batch(), work.panels).rows, cost_of_rows));
  return dearest;
}

Plan plan_recurrence(const Schedule& schedule, const Work& work, int members) {
  const auto limited = [&](size_t parts) {
    return static_cast<int>(std::min(static_cast<size_t>(members), std::max<size_t>(parts, 1)));
  };
  Plan by_rows{limited(schedule.batch()), false}, by_panels{limited(work.panels), true};
  if (schedule.ragged() && by_rows.members > 1) {
    std::vector<double> of_rows(schedule.batch() + 1, 0);
    for (size_t rows = 1; rows < of_rows.size(); ++rows) of_rows[rows] = step_cost(work, rows, 1);
    by_rows.rows = cheapest_parts(by_rows.members, schedule, of_rows);
  }
  by_rows.cost = predicted_cost(by_rows, schedule, work);
  if (by_panels.members == 1) return by_rows;
  by_panels.cost = predicted_cost(by_panels, schedule, work);
  return by_panels.cost < by_rows.cost ? by_panels : by_rows;
}

Plans plan_directions(int directions, const Schedule& schedule, const Work& work, size_t all, int threads,
                      size_t per_member) {
  const size_t parts = std::max(schedule.batch(), work.panels);
  const int members = plan_members(all, parts, threads, per_member);
  const int both = directions > 1 ? plan_members(2 * all, 2 * parts, threads, per_member) : 1;
  if (members == 1 && both == 1) return {};
  Plan alone = plan_recurrence(schedule, work, members);
  if (both == 1) return {std::move(alone), false};
  Plan half = plan_recurrence(schedule, work, both / 2);
  const bool side_by_side = half.cost < 2 * alone.cost;
  return {std::move(side_by_side ? half : alone), side_by_side};
}

int plan_members(size_t work, size_t parts, int threads, size_t per_member) {
  if (work < machine().wake && !calls_follow()) return 1;
  const size_t useful = std::min(1 + work / per_member, std::max<size_t>(parts, 1));
  return usable_threads(static_cast<int>(std::min(static_cast<size_t>(threads), useful)));
}

size_t plan_chunk(size_t steps, size_t step_bytes, size_t weight_bytes) {
  const size_t budget = std::max(machine().chunk_bytes(), weight_bytes / 3);
  return std::clamp<size_t>(budget / std::max<size_t>(step_bytes, 1), 1, std::max<size_t>(steps, 1));
}

}  // namespace gru
