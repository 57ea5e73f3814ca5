// Formats and tiles of every instruction set, each beside the plain loop that it stands for.
#include <cmath>
#include <limits>

#include "check.h"
#include "engine/operands.h"
#include "formats/format.h"
#include "isas.h"
#include "kernels/dispatch.h"
#include "problem.h"

using namespace gru;
using namespace gru::tests;

namespace {

// Sizes around the multiples of a width.
std::vector<size_t> around(size_t width) {
  std::vector<size_t> sizes{1};
  for (const size_t middle : {width, 2 * width, 3 * width})
    for (const size_t size : {middle - 1, middle, middle + 1})
      if (size > sizes.back()) sizes.push_back(size);
  return sizes;
}

// The matrices of `gates` gates out of four, from the third one on.
template <class T>
struct Matrices {
  Matrices(size_t gates, size_t units, size_t columns)
      : values(draw<T>(4 * units * columns, 1)), from{values.data(), 4, 2, gates, units, columns} {}

  // A weight, or what stands behind the last one.
  T at(size_t gate, size_t unit, size_t column) const {
    if (unit >= from.units || column >= from.columns) return T(0);
    return values[((from.first + gate) % 4 * from.units + unit) * from.columns + column];
  }

  std::vector<T> values;
  GateMatrices<T> from;
};

// All panels, from NaN, so that what is not written shows.
template <class T>
std::vector<T> filled(const Kernels<T>& kernels, const GateMatrices<T>& from, size_t left_width, size_t panels) {
  std::vector<T> to(panels * kernels.format.panel_size(from, left_width), std::numeric_limits<T>::quiet_NaN());
  kernels.format.fill(from, left_width, 0, panels, to.data());
  return to;
}

size_t panels_of(size_t units, size_t width) { return (units + width - 1) / width; }

template <class T>
void check_panels_of_units(const Kernels<T>& kernels, size_t gates, size_t units, size_t columns) {
  const Matrices<T> matrices(gates, units, columns);
  std::vector<T> expected;
  for (size_t panel = 0; panel < panels_of(units, kernels.vector); ++panel)
    for (size_t k = 0; k < columns; ++k)
      for (size_t gate = 0; gate < gates; ++gate)
        for (size_t lane = 0; lane < kernels.vector; ++lane)
          expected.push_back(matrices.at(gate, panel * kernels.vector + lane, k));
  CHECK(same_bits(filled(kernels, matrices.from, 0, panels_of(units, kernels.vector)), expected));
}

template <class T>
void check_panels_of_columns(const Kernels<T>& kernels, size_t gates, size_t units, size_t columns, size_t left_width) {
  const Matrices<T> matrices(gates, units, columns);
  std::vector<T> expected;
  for (size_t panel = 0; panel < panels_of(columns, kernels.vector); ++panel)
    for (size_t first = 0; first < units; first += left_width)
      for (size_t gate = 0; gate < gates; ++gate)
        for (size_t unit = first; unit < first + left_width; ++unit)
          for (size_t lane = 0; lane < kernels.vector; ++lane)
            expected.push_back(matrices.at(gate, unit, panel * kernels.vector + lane));
  CHECK(same_bits(filled(kernels, matrices.from, left_width, panels_of(columns, kernels.vector)), expected));
}

template <class T>
void check_formats() {
  const Kernels<T>& kernels = kernels_of<T>(active_isa());
  for (const size_t gates : {size_t{1}, size_t{3}})
    for (const size_t units : around(kernels.vector))
      for (const size_t columns : around(kernels.vector)) {
        check_panels_of_units(kernels, gates, units, columns);
        check_panels_of_columns(kernels, gates, units, columns, kernels.vector);
        if (gates == 1) check_panels_of_columns(kernels, gates, units, columns, 1);
      }
}

// The product of some rows with a matrix: within the rounding of each addition, and a row's bits whatever its company.
template <class T>
void check_tile(const Kernels<T>& kernels, size_t rows, size_t units, size_t k) {
  const Matrices<T> matrices(1, units, k);
  const size_t panels = panels_of(units, kernels.vector);
  const std::vector<T> weights = filled(kernels, matrices.from, 0, panels), left = draw<T>(rows * k, 2);
  std::vector<T> output(rows * units), alone(units);
  std::vector<const T*> left_rows;
  std::vector<T*> output_rows;
  for (size_t row = 0; row < rows; ++row) {
    left_rows.push_back(left.data() + row * k);
    output_rows.push_back(output.data() + row * units);
  }
  Pass<T> pass{};
  pass.rows = rows;
  pass.last_panel = panels;
  pass.units = units;
  pass.left = plain_operand(left_rows.data(), k);
  pass.right = {weights.data(), static_cast<ptrdiff_t>(kernels.format.panel_size(matrices.from, 0)),
                kernels.chains(panels, 1), 32, false};
  pass.output = output_rows.data();
  kernels.affine(pass);
  bool close = true;
  for (size_t row = 0; row < rows; ++row)
    for (size_t unit = 0; unit < units; ++unit) {
      double sum = 0;
      for (size_t i = 0; i < k; ++i)
        sum += static_cast<double>(left[row * k + i]) * static_cast<double>(matrices.at(0, unit, i));
      const double most = static_cast<double>(k * k + 1) * static_cast<double>(std::numeric_limits<T>::epsilon());
      close = close && std::abs(static_cast<double>(output[row * units + unit]) - sum) <= most;
    }
  CHECK(close);
  T* const alone_row = alone.data();
  pass.rows = 1;
  pass.left.rows = left_rows.data() + rows - 1;
  pass.output = &alone_row;
  pass.descending = true;
  kernels.affine(pass);
  CHECK(same_bits(alone, std::vector<T>(output.end() - static_cast<ptrdiff_t>(units), output.end())));
}

template <class T>
void check_tiles() {
  const Kernels<T>& kernels = kernels_of<T>(active_isa());
  for (const size_t units : around(kernels.vector))
    for (const size_t k : {size_t{0}, size_t{1}, size_t{7}, size_t{127}, size_t{128}, size_t{129}})
      for (size_t rows = 1; rows < 20; ++rows) check_tile(kernels, rows, units, k);
}

}  // namespace

TEST(formats_of_every_instruction_set) {
  for_every_isa([] {
    check_formats<float>();
    check_formats<double>();
  });
}

TEST(tiles_of_every_instruction_set) {
  for_every_isa([] {
    check_tiles<float>();
    check_tiles<double>();
  });
}
