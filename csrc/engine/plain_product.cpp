#include "engine/plain_product.h"

#include <algorithm>
#include <iterator>

#include "engine/plan.h"
#include "engine/summation.h"
#include "runtime/buffer.h"
#include "runtime/team.h"

namespace gru {

namespace {

// What is computed of all rows before the next, so that such rows of the columns, and the sums, stay in the caches.
constexpr size_t most_columns = 256, most_units = 1024;

template <class T>
struct Matrix {
  Rows<const T> rows;
  size_t size;
};

constexpr size_t divide_up(size_t value, size_t by) { return (value + by - 1) / by; }

// Panels side by side: few that waste lanes, since all are multiplied; else many, since each row of a strip costs a
// load for every eight products of a panel.
template <class T>
size_t panels_of_strip(const Kernels<T>& kernels, size_t units) {
  const auto cost = [&](size_t panels) { return divide_up(units, panels * kernels.vector) * (8 * panels + 1); };
  size_t best = 1;
  for (size_t panels = 2; panels <= std::size(kernels.outer); ++panels)
    if (cost(panels) <= cost(best)) best = panels;
  return best;
}

// out[column][unit] or, transposed, out[unit][column]. The units are cut into strips, the columns into pieces; a strip
// of a piece is a block, which one member computes.
template <class T>
class PlainProduct {
 public:
  PlainProduct(const Kernels<T>& kernels, size_t rows, const Matrix<T>& columns, const Matrix<T>& units, T* out,
               bool transposed, int members)
      : kernels_(kernels),
        rows_(rows),
        columns_(columns),
        units_(units),
        out_(out),
        transposed_(transposed),
        panels_(panels_of_strip(kernels, units.size)),
        width_(panels_ * kernels.vector),
        strips_(divide_up(units.size, width_)),
        pieces_(std::max(divide_up(columns.size, most_columns),
                         std::min(columns.size, divide_up(static_cast<size_t>(members), strips_)))),
        piece_(piece(0).size()),
        strips_at_a_time_(std::min(std::max<size_t>(most_units / width_, 1), strips_)) {}

  size_t blocks() const { return pieces_ * strips_; }
  // Elements of scratch that a member needs.
  size_t scratch_size() const { return product(rows_at_a_time + strips_at_a_time_ * piece_, width_); }
  void compute(const Part& blocks, T* scratch, Progress& progress) const {
    for (size_t block = blocks.first; block < blocks.last;) {
      const size_t strip = block % strips_;
      const size_t last = std::min({strips_, strip + strips_at_a_time_, strip + blocks.last - block});
      compute(piece(block / strips_), {strip, last}, scratch, progress);
      block += last - strip;
    }
  }

 private:
  Part piece(size_t i) const { return part_of(columns_.size, static_cast<int>(i), static_cast<int>(pieces_)); }

  void compute(const Part& columns, const Part& strips, T* scratch, Progress& progress) const {
    T* const first_sums = scratch + rows_at_a_time * width_;
    for (size_t row = 0; row < rows_; row += rows_at_a_time) {
      Outer<T> job{};
      job.last_row = std::min(rows_at_a_time, rows_ - row);
      job.left = columns_.rows.at(row) + columns.first;
      job.left_row = columns_.rows.row;
      job.columns = columns.size();
      job.sums = first_sums;
      job.accumulate = row > 0;
      for (size_t strip = strips.first; strip < strips.last; ++strip, job.sums += piece_ * width_) {
        job.right = units_.rows.at(row) + strip * width_;
        job.right_row = units_.rows.row;
        if (units_of(strip) < width_) pad(strip, job, scratch);
        kernels_.outer[panels_ - 1](job);
        progress.add(job.last_row * columns.size() * width_);
      }
    }
    store(columns, strips, first_sums);
  }

  size_t units_of(size_t strip) const { return std::min(width_, units_.size - strip * width_); }

  // The last strip, where rows end within it: a copy, with zeros behind them.
  void pad(size_t strip, Outer<T>& job, T* copy) const {
    for (size_t unit = 0; unit < width_; unit += kernels_.vector) {
      const size_t begin = std::min(unit, units_of(strip)), n = std::min(kernels_.vector, units_of(strip) - begin);
      kernels_.copy_rows(job.last_row, n, job.right + begin, job.right_row, copy + unit,
                         static_cast<ptrdiff_t>(width_));
    }
    job.right = copy;
    job.right_row = static_cast<ptrdiff_t>(width_);
  }

  void store(const Part& columns, const Part& strips, const T* sums) const {
    const size_t strip_sums = piece_ * width_;
    if (transposed_) {
      for (size_t strip = strips.first; strip < strips.last; ++strip, sums += strip_sums)
        kernels_.transpose(columns.size(), units_of(strip), sums, static_cast<ptrdiff_t>(width_),
                           out_ + strip * width_ * columns_.size + columns.first,
                           static_cast<ptrdiff_t>(columns_.size));
    } else {
      for (size_t column = columns.first; column < columns.last; ++column, sums += width_)
        for (size_t strip = strips.first; strip < strips.last; ++strip)
          std::copy_n(sums + (strip - strips.first) * strip_sums, units_of(strip),
                      out_ + column * units_.size + strip * width_);
    }
  }

  const Kernels<T>& kernels_;
  const size_t rows_;
  const Matrix<T> columns_, units_;
  T* const out_;
  const bool transposed_;
  const size_t panels_, width_, strips_, pieces_;
  const size_t piece_;  // columns of the largest
  const size_t strips_at_a_time_;
};

}  // namespace

template <class T>
void product_over_rows(const Kernels<T>& kernels, size_t rows, size_t outputs, size_t inputs, Rows<const T> left,
                       Rows<const T> right, T* out, int threads) {
  if (outputs == 0 || inputs == 0) return;
  if (rows == 0) {
    std::fill_n(out, product(outputs, inputs), T(0));
    return;
  }
  const Matrix<T> own{left, outputs}, other{right, inputs};
  // A vector is of inputs, as the result has them side by side, unless outputs fill vectors much better.
  const auto lanes = [&](size_t size) { return divide_up(size, kernels.vector) * kernels.vector; };
  const bool transposed = 9 * lanes(outputs) * inputs < 8 * lanes(inputs) * outputs;
  int members = plan_members(rows * outputs * inputs, outputs * inputs, threads);
  const PlainProduct<T> whole(kernels, rows, transposed ? other : own, transposed ? own : other, out, transposed,
                              members);
  members = static_cast<int>(std::min<size_t>(static_cast<size_t>(members), whole.blocks()));
  const Buffer<T> scratch(product(static_cast<size_t>(members), whole.scratch_size()));
  Interruption interruption;
  auto work = [&](int member) {
    Progress progress(interruption, member);
    whole.compute(part_of(whole.blocks(), member, members),
                  scratch.data() + static_cast<size_t>(member) * whole.scratch_size(), progress);
  };
  if (!run_team(members, work)) run_team(members = 1, work);
}

template void product_over_rows(const Kernels<float>&, size_t, size_t, size_t, Rows<const float>, Rows<const float>,
                                float*, int);
template void product_over_rows(const Kernels<double>&, size_t, size_t, size_t, Rows<const double>, Rows<const double>,
                                double*, int);

}  // namespace gru
