// What the recurrences of forward and backward share: which rows and units a member computes, and passes over them.
#pragma once

#include <optional>

#include "engine/operands.h"
#include "engine/plan.h"
#include "engine/recurrent.h"
#include "engine/schedule.h"
#include "formats/pack.h"
#include "runtime/team.h"

namespace gru {

template <class T>
class Recurrence {
 protected:
  Recurrence(const RecurrentWeights<T>& weights, const Schedule& schedule)
      : w_(weights), schedule_(schedule), panels_(weights.panels()), width_(weights.kernels.vector) {}

  // Multiply-adds of a row in the whole recurrence, and in its part that goes step by step.
  size_t row_work() const { return step_work() + w_.cell.gates * panels_ * width_ * w_.input_size; }
  size_t step_work() const {
    const size_t units = panels_ * width_;
    return w_.cell.gates * units * (w_.output_size + activation_work) + (w_.projects() ? units * w_.output_size : 0);
  }
  // What a step reads of weights.
  size_t hidden_bytes() const {
    const size_t matrices = w_.cell.gates + (w_.projects() ? 1 : 0);
    return matrices * w_.hidden_size * w_.output_size * sizeof(T);
  }

  Slice slice_of(int member) const { return plan_.slice(member, schedule_.batch(), panels_); }
  // The same rows, and the panels of h, which are others where it is a projection.
  Slice states_of(const Slice& slice, int member) const {
    if (!w_.projects()) return slice;
    return {slice.rows, plan_.slice(member, schedule_.batch(), w_.output_panels()).panels};
  }
  // The units of some panels, of `size` units in all.
  Part units_of(const Part& panels, size_t size) const {
    return {std::min(panels.first * width_, size), std::min(panels.last * width_, size)};
  }
  // Multiply-adds of a row in products of so many columns with all gates of some panels.
  size_t work_of_row(const Part& panels, size_t columns) const {
    return w_.cell.gates * panels.size() * width_ * columns;
  }
  // In elements, of so many slots.
  ptrdiff_t of_slots(ptrdiff_t slots) const { return slots * static_cast<ptrdiff_t>(width_); }

  void begin(const Plan& plan, const Interruption& interruption) {
    plan_ = plan;
    barrier_.emplace(plan.members, interruption);
  }
  // Waits for the others who share the member's rows.
  void meet(int member) {
    if (plan_.by_panels) barrier_->wait(member);
  }

  Pass<T> pass_over(const Slice& slice, size_t units) const {
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.units = units;
    pass.choices = w_.choices();
    return pass;
  }
  // Runs a pass that reads what all members of its rows have written.
  void run_pass(const PackReader<T>& pack, void (*function)(const Pass<T>&), Pass<T>& pass, int member) const {
    if (plan_.by_panels) fetch(pass.left, pass.rows);
    pack.run(function, pass, member);
  }

  const RecurrentWeights<T>& w_;
  const Schedule& schedule_;
  const size_t panels_, width_;
  Plan plan_{};
  std::optional<Barrier> barrier_;
};

// Zeros in the padding behind rows of (T, B, size), which members take by turns: short rows have more of it.
template <class T>
void zero_padding(const Schedule& schedule, const Sequence<T>& of, size_t size, int member, int members,
                  Progress& progress) {
  for (auto place = static_cast<size_t>(member); place < schedule.batch(); place += static_cast<size_t>(members))
    for (size_t t = schedule.length(place); t < schedule.times(); ++t) {
      std::fill_n(of.at(t, schedule.row(place)), size, T(0));
      progress.add(size);
    }
}

// to[unit] = mask[unit] * h[unit].
template <class T>
void mask_state(const T* mask, const T* h, const Part& units, T* to) {
  for (size_t unit = units.first; unit < units.last; ++unit) to[unit] = mask[unit] * h[unit];
}

}  // namespace gru
