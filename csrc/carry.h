// What goes from step to step of a recurrence beside h itself.
#pragma once

#include <algorithm>

#include "gru.h"
#include "plan.h"
#include "schedule.h"

namespace gru {

// [panel][place][which][vector], with zeros behind the last unit. Each member of a team touches its own slice only.
template <class T>
class Carry {
 public:
  Carry() = default;
  Carry(const RecurrentWeights<T>& weights, const Schedule& schedule, size_t vectors)
      : units_(weights.hidden_size),
        width_(weights.kernels.vector),
        row_(vectors * width_),
        panel_(product(schedule.places(), row_)),
        buffer_(product(weights.panels(), panel_)) {}

  // Takes the rows of (B, H) that row_of(place) names, or zeros when there is none.
  template <class RowOf>
  void load(const Slice& slice, size_t which, const Rows<const T>& from, RowOf row_of) {
    for_each_row(slice, which, [&](T* row, size_t place, size_t unit, size_t n) {
      if (!from.data) n = 0;
      if (n) std::copy_n(from.at(row_of(place)) + unit, n, row);
      std::fill(row + n, row + width_, T(0));
    });
  }
  void clear(const Slice& slice, size_t which) {
    load(slice, which, {}, [](size_t place) { return place; });
  }

  template <class RowOf>
  void store(const Slice& slice, size_t which, const Rows<T>& to, RowOf row_of) const {
    if (!to.data) return;
    for_each_row(slice, which, [&](const T* row, size_t place, size_t unit, size_t n) {
      std::copy_n(row, n, to.at(row_of(place)) + unit);
    });
  }

  // To and from memory of `size` elements, in this order.
  size_t size() const { return buffer_.size(); }
  void save(const Slice& slice, T* to) const {
    for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel)
      std::copy_n(at(panel, slice.rows.first), slice.rows.size() * row_, to + offset(panel, slice.rows.first));
  }
  void restore(const Slice& slice, const T* from) {
    for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel)
      std::copy_n(from + offset(panel, slice.rows.first), slice.rows.size() * row_, at(panel, slice.rows.first));
  }

  // h += mask * from(place, unit), where `from` gives the address of the units from there on, and row_of(place) the
  // mask's row; the mask may be none.
  template <class From, class RowOf>
  void add_masked(const Slice& slice, const Rows<const T>& mask, RowOf row_of, From from) {
    for_each_row(slice, 0, [&](T* row, size_t place, size_t unit, size_t n) {
      const T* const d = from(place, unit);
      const T* const m = mask.data ? mask.at(row_of(place)) + unit : nullptr;
      for (size_t i = 0; i < n; ++i) row[i] += m ? m[i] * d[i] : d[i];
    });
  }

  // The address of the first vector of a unit's panel.
  T* units(size_t place, size_t unit) const { return at(unit / width_, place); }

  void describe(Pass<T>& pass, const Slice& slice) const {
    pass.carry = at(0, slice.rows.first);
    pass.carry_panel = static_cast<ptrdiff_t>(panel_);
    pass.carry_row = static_cast<ptrdiff_t>(row_);
  }

 private:
  size_t offset(size_t panel, size_t place) const { return panel * panel_ + place * row_; }
  T* at(size_t panel, size_t place) const { return buffer_.data() + offset(panel, place); }

  template <class Function>
  void for_each_row(const Slice& slice, size_t which, Function function) const {
    for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel)
      for (size_t place = slice.rows.first; place < slice.rows.last; ++place)
        function(at(panel, place) + which * width_, place, panel * width_, std::min(width_, units_ - panel * width_));
  }

  size_t units_ = 0, width_ = 0, row_ = 0, panel_ = 0;
  Buffer<T> buffer_;
};

}  // namespace gru
