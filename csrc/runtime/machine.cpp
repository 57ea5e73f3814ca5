#include "runtime/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <stdexcept>

#include "kernels/dispatch.h"
#include "runtime/buffer.h"
#include "runtime/system.h"

namespace gru {

namespace {

std::atomic<const Machine*> pretended_machine{nullptr};
std::atomic<const Costs*> pretended_costs{nullptr};

Machine read_machine() {
  const system::Caches caches = system::caches();
  Machine machine{};
  machine.first_level = std::clamp<size_t>(caches.first_level ? caches.first_level : 32 << 10, 16 << 10, 256 << 10);
  machine.second_level = std::clamp<size_t>(caches.second_level ? caches.second_level : 1 << 20, 256 << 10, 16 << 20);
  machine.rows_in_block = 64;
  machine.wake = 8'000'000;
  machine.member = 1'000'000;
  machine.least_member = 300'000;
  machine.training_member = 2'500'000;
  return machine;
}

// The least of some times, in seconds: others may have the CPU meanwhile.
template <class Work>
double fastest(int times, Work work) {
  using Clock = std::chrono::steady_clock;
  double least = 1;
  for (int i = 0; i < times; ++i) {
    const auto start = Clock::now();
    work();
    least = std::min(least, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return std::max(least, 1e-9);
}

// Multiply-adds in a second, of products of weights that lie in the first-level cache with as many rows as tall tiles
// have.
double rate(const Kernels<float>& kernels) {
  constexpr size_t rows = 24, k = 64, panels = 6;
  const size_t units = panels * kernels.vector;
  Buffer<float> left(rows * k), right(k * units), output(rows * units);
  std::fill_n(left.data(), left.size(), 1.0f);
  std::fill_n(right.data(), right.size(), 1.0f);
  const float* left_rows[rows];
  float* output_rows[rows];
  for (size_t row = 0; row < rows; ++row) {
    left_rows[row] = left.data() + row * k;
    output_rows[row] = output.data() + row * units;
  }
  Pass<float> pass{};
  pass.rows = rows;
  pass.last_panel = panels;
  pass.units = units;
  pass.left = {left_rows, 0, k, k, static_cast<ptrdiff_t>(k)};
  pass.right = {right.data(), static_cast<ptrdiff_t>(k * kernels.vector), kernels.chains(panels, 1), k, false};
  pass.output = output_rows;
  return static_cast<double>(rows * k * units) / fastest(20, [&] { kernels.affine(pass); });
}

// Seconds, of the machines in use: those of the barrier and of memory are of one size on all of them, and what a single
// thread measures of memory is not what members find who share it.
constexpr double barrier_seconds = 500e-9;
constexpr double first_level_seconds = 2.55e-12, second_level_seconds = 14.3e-12, far_seconds = 56e-12;
constexpr double usual_rate = 49e9;

double measured_rate() {
  try {
    return rate(*active_isa().float32);
  } catch (const std::bad_alloc&) {
  } catch (const std::invalid_argument&) {  // a wrong GRU_NATIVE_ISA, which others report
  }
  return usual_rate;
}

Costs measure() {
  const double each = measured_rate();
  return {each * barrier_seconds, each * first_level_seconds, each * second_level_seconds, each * far_seconds};
}

}  // namespace

const Machine& machine() {
  if (const Machine* const other = pretended_machine.load(std::memory_order_relaxed)) return *other;
  static const Machine own = read_machine();
  return own;
}

const Costs& costs() {
  if (const Costs* const other = pretended_costs.load(std::memory_order_relaxed)) return *other;
  static const Costs own = measure();
  return own;
}

void pretend(const Machine* machine, const Costs* costs) {
  pretended_machine.store(machine);
  pretended_costs.store(costs);
}

}  // namespace gru
