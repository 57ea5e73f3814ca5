// What goes from step to step of a recurrence beside h itself.
#pragma once

#include <algorithm>

#include "engine/plan.h"
#include "engine/recurrent.h"
#include "engine/schedule.h"

namespace gru {

// [panel][place][which][vector], with zeros behind the last unit. Each member of a team touches its own slice only.
template <class T>
class Carry {
 public:
  Carry() = default;
  Carry(const RecurrentWeights<T>& weights, const Schedule& schedule, size_t vectors)
      : schedule_(&schedule),
        units_(weights.hidden_size),
        width_(weights.kernels.vector),
        row_(vectors * width_),
        panel_(product(schedule.batch(), row_)),
        size_(product(weights.panels(), panel_)),
        buffer_(product(schedule.batch() + alignment, sizeof(T*)) + product(size_, sizeof(T))),
        rows_(static_cast<T**>(static_cast<void*>(buffer_.data()))),
        values_(static_cast<T*>(static_cast<void*>(rows_ + (schedule.batch() + alignment) / alignment * alignment))) {
    for (size_t place = 0; place < schedule.batch(); ++place) rows_[place] = at(0, place);
  }

  // Takes (B, H), or zeros when there is none.
  void load(const Slice& slice, size_t which, const Rows<const T>& from) {
    for_each_row(slice, which, [&](T* row, size_t place, size_t unit, size_t n) {
      if (!from.data) n = 0;
      if (n) std::copy_n(from.at(schedule_->row(place)) + unit, n, row);
      std::fill(row + n, row + width_, T(0));
    });
  }

  void store(const Slice& slice, size_t which, const Rows<T>& to) const {
    if (!to.data) return;
    for_each_row(slice, which, [&](const T* row, size_t place, size_t unit, size_t n) {
      std::copy_n(row, n, to.at(schedule_->row(place)) + unit);
    });
  }

  // To and from memory of `size` elements, in this order.
  size_t size() const { return size_; }
  void save(const Slice& slice, T* to) const {
    for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel)
      std::copy_n(at(panel, slice.rows.first), slice.rows.size() * row_, to + offset(panel, slice.rows.first));
  }
  void restore(const Slice& slice, const T* from) {
    for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel)
      std::copy_n(from + offset(panel, slice.rows.first), slice.rows.size() * row_, at(panel, slice.rows.first));
  }

  // Zeros for the rows before whose step a reset stands.
  void cut(const Slice& slice, size_t step) {
    if (!schedule_->has_resets()) return;
    const Part live = schedule_->live(step, slice.rows);
    for (size_t place = live.first; place < live.last; ++place) {
      if (!schedule_->fresh(step, place)) continue;
      for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel)
        std::fill_n(at(panel, place), row_, T(0));
    }
  }

  // h += mask * from(place, unit), where `from` gives the address of the units from there on; the mask may be none.
  template <class From>
  void add_masked(const Slice& slice, const Rows<const T>& mask, From from) {
    for_each_row(slice, 0, [&](T* row, size_t place, size_t unit, size_t n) {
      const T* const d = from(place, unit);
      const T* const m = mask.data ? mask.at(schedule_->row(place)) + unit : nullptr;
      for (size_t i = 0; i < n; ++i) row[i] += m ? m[i] * d[i] : d[i];
    });
  }

  // The address of the first vector of a unit's panel.
  T* units(size_t place, size_t unit) const { return at(unit / width_, place); }

  void describe(Pass<T>& pass, const Slice& slice) const {
    pass.carry = rows(slice.rows.first);
    pass.carry_panel = panel_stride();
  }
  // The addresses of the rows from a place on.
  T* const* rows(size_t place) const { return rows_ + place; }
  ptrdiff_t panel_stride() const { return static_cast<ptrdiff_t>(panel_); }
  ptrdiff_t row_stride() const { return static_cast<ptrdiff_t>(row_); }

 private:
  size_t offset(size_t panel, size_t place) const { return panel * panel_ + place * row_; }
  T* at(size_t panel, size_t place) const { return values_ + offset(panel, place); }

  template <class Function>
  void for_each_row(const Slice& slice, size_t which, Function function) const {
    for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel)
      for (size_t place = slice.rows.first; place < slice.rows.last; ++place)
        function(at(panel, place) + which * width_, place, panel * width_, std::min(width_, units_ - panel * width_));
  }

  const Schedule* schedule_ = nullptr;
  size_t units_ = 0, width_ = 0, row_ = 0, panel_ = 0, size_ = 0;
  Buffer<std::byte> buffer_;  // the values, and before them the addresses of the rows
  T** rows_ = nullptr;
  T* values_ = nullptr;
};

}  // namespace gru
