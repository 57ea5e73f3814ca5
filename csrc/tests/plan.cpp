// Plans: what they cover, that more members are worth their while, and that no bit depends on them.
#include "engine/plan.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>

#include "check.h"
#include "engine/schedule.h"
#include "problem.h"
#include "runtime/machine.h"

using namespace gru;
using namespace gru::tests;

namespace {

// The machine that a test says, as long as it lives.
class Pretending {
 public:
  Pretending(const Machine& machine, const Costs& costs) : machine_(machine), costs_(costs) {
    pretend(&machine_, &costs_);
  }
  ~Pretending() { pretend(nullptr, nullptr); }

 private:
  const Machine machine_;
  const Costs costs_;
};

constexpr Costs of_a_server{24'500, 0.125, 0.7, 2.75};

Machine machine_of(size_t first_level, size_t second_level) {
  Machine machine = gru::machine();
  machine.first_level = first_level;
  machine.second_level = second_level;
  return machine;
}

Schedule schedule_of(size_t steps, const std::vector<int64_t>& lengths) {
  return Schedule({steps, lengths.size(), false, lengths.data(), {}});
}

std::vector<int64_t> ragged(size_t batch, size_t steps) {
  std::vector<int64_t> lengths;
  for (size_t b = 0; b < batch; ++b) lengths.push_back(static_cast<int64_t>((b * 7 + 3) % (steps + 1)));
  return lengths;
}

// Of a GRU's forward call, without what its input adds.
Work work_of(size_t hidden) { return {(hidden + 15) / 16, 3 * hidden * hidden, 12 * hidden * hidden, 15 * hidden, 0}; }

// Whether each (row, panel) belongs to one member.
bool covers(const Plan& plan, size_t batch, size_t panels) {
  std::vector<int> owners(batch * panels, 0);
  for (int member = 0; member < plan.members; ++member) {
    const Slice slice = plan.slice(member, batch, panels);
    for (size_t row = slice.rows.first; row < slice.rows.last; ++row)
      for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel) ++owners[row * panels + panel];
  }
  return std::ranges::all_of(owners, [](int owned) { return owned == 1; });
}

}  // namespace

TEST(parts_cover_a_range_and_are_nearly_equal) {
  for (const size_t total : {0u, 1u, 7u, 64u, 1000u})
    for (const int members : {1, 2, 3, 16, 64, 256}) {
      size_t next = 0;
      for (int member = 0; member < members; ++member) {
        const Part part = part_of(total, member, members);
        const size_t least = total / static_cast<size_t>(members);
        CHECK(part.first == next);
        CHECK(part.size() == least || part.size() == least + 1);
        next = part.last;
      }
      CHECK(next == total);
    }
}

TEST(plans_of_many_members_cover_everything_and_pay) {
  for (const Machine& machine : {machine_of(32 << 10, 512 << 10), machine_of(48 << 10, 2 << 20)}) {
    const Pretending as(machine, of_a_server);
    for (const size_t hidden : {16u, 64u, 256u, 1024u})
      for (const size_t batch : {1u, 3u, 32u, 257u})
        for (const bool is_ragged : {false, true}) {
          const auto lengths = is_ragged ? ragged(batch, 50) : std::vector<int64_t>(batch, 50);
          const Schedule schedule = schedule_of(50, lengths);
          const Work work = work_of(hidden);
          double before = predicted_cost(plan_recurrence(schedule, work, 1), schedule, work);
          for (const int members : {4, 16, 64}) {
            const Plan plan = plan_recurrence(schedule, work, members);
            CHECK(plan.members >= 1 && plan.members <= members);
            CHECK(covers(plan, batch, work.panels));
            const double cost = predicted_cost(plan, schedule, work);
            CHECK(cost <= 1.01 * before);  // ragged rows are cut to within a hundredth
            before = cost;
          }
        }
  }
}

TEST(large_layers_of_one_row_are_cut_by_panels_and_many_rows_by_rows) {
  const Pretending as(machine_of(32 << 10, 1 << 20), of_a_server);
  for (const int members : {4, 16, 64}) {
    CHECK(plan_recurrence(schedule_of(100, std::vector<int64_t>(1, 100)), work_of(1024), members).by_panels);
    const Plan plan = plan_recurrence(schedule_of(100, std::vector<int64_t>(256, 100)), work_of(64), members);
    CHECK(!plan.by_panels && plan.members == members);
    CHECK(plan_recurrence(schedule_of(100, std::vector<int64_t>(1, 100)), work_of(16), members).members == 1);
  }
}

TEST(small_work_stays_on_few_members) {
  // In a thread of its own, in which no call came before.
  std::thread([] {
    for (const int threads : {4, 16, 64}) {
      CHECK(plan_members(machine().wake - 1, 1000, threads) == 1);
      CHECK(plan_members(machine().wake, 1000, threads, machine().wake) <= 2);
      CHECK(plan_members(100 * machine().wake, 3, threads) <= 3);
    }
  }).join();
}

TEST(chunks_stay_in_cache_and_are_never_empty) {
  const Pretending as(machine_of(32 << 10, 1 << 20), of_a_server);
  CHECK(plan_chunk(100, 1 << 20, 0) == 1);
  CHECK(plan_chunk(100, 1 << 10, 0) == 100);
  CHECK(plan_chunk(1000, 1 << 10, 0) == 512);
  CHECK(plan_chunk(0, 0, 0) == 1);
}

TEST(the_machine_is_read_and_measured) {
  const Machine& own = machine();
  CHECK(own.first_level >= 16 << 10 && own.first_level < own.second_level);
  const Costs& measured = costs();
  CHECK(measured.barrier > 0 && measured.first_level > 0);
  CHECK(measured.first_level <= measured.second_level && measured.second_level <= measured.far);
}

namespace {

// A machine as there is none, for which calls are cut in other ways.
struct Imagined {
  Machine machine;
  Costs costs;

  explicit Imagined(unsigned seed) : machine(gru::machine()), costs{} {
    std::mt19937 generator(seed);
    const auto among = [&](double least, double most) {
      std::uniform_real_distribution<double> exponent(std::log(least), std::log(most));
      return std::exp(exponent(generator));
    };
    machine.first_level = static_cast<size_t>(among(256, 1 << 17));
    machine.second_level = static_cast<size_t>(among(1 << 10, 1 << 22));
    machine.rows_in_block = static_cast<size_t>(among(1, 65));
    machine.wake = 0;
    machine.member = machine.least_member = machine.training_member = static_cast<size_t>(among(1, 1e7));
    costs = {among(1, 1e6), among(0.01, 1), among(0.1, 10), among(0.1, 100)};
  }
};

template <class T>
void check_plans(const Sizes& sizes, const Kind& kind, unsigned seeds) {
  const Problem<T> problem(sizes, kind);
  const std::vector<T> expected = problem.train(1);
  for (unsigned seed = 0; seed < seeds; ++seed) {
    const Imagined imagined(seed);
    const Pretending as(imagined.machine, imagined.costs);
    CHECK(same_bits(problem.train(1 + static_cast<int>(seed % 4)), expected));
  }
}

}  // namespace

TEST(no_bit_depends_on_the_plan) {
  for (const gn_cell cell :
       {GN_GRU_RESET_AFTER, GN_GRU_RESET_BEFORE, GN_GRU_LAYER_NORM, GN_LSTM, GN_RNN_TANH, GN_RNN_RELU})
    for (const gn_keep keep : {GN_KEEP_GATES, GN_KEEP_STATES}) {
      check_plans<float>({cell, 21, 13, 35, 67}, {.ragged = true, .resets = true, .keep = keep}, 12);
      check_plans<double>({cell, 9, 70, 5, 140}, {.reverse = true, .keep = keep}, 6);
      check_plans<float>({cell, 40, 1, 20, 150}, {.keep = keep}, 6);
    }
}
