// When which rows are computed.
#include "engine/schedule.h"

#include <stdexcept>

#include "check.h"

using namespace gru;

namespace {

constexpr int64_t lengths[] = {2, 0, 4, 2};

Schedule ragged(bool reverse, Sequence<const bool> reset = {}) { return Schedule({4, 4, reverse, lengths, reset}); }

}  // namespace

TEST(rows_stand_longest_first_and_in_their_order) {
  const Schedule schedule = ragged(false);
  const size_t rows[] = {2, 0, 3, 1}, sorted[] = {4, 2, 2, 0};
  for (size_t place = 0; place < 4; ++place) {
    CHECK(schedule.row(place) == rows[place]);
    CHECK(schedule.length(place) == sorted[place]);
  }
  CHECK(schedule.steps() == 4 && schedule.times() == 4 && schedule.size() == 8);
}

TEST(live_rows_are_the_first_ones_and_indices_follow_them) {
  const Schedule schedule = ragged(false);
  const size_t alive[] = {3, 3, 1, 1};
  size_t index = 0;
  for (size_t step = 0; step < 4; ++step) {
    CHECK(schedule.live(step, {0, 4}).last == alive[step]);
    for (size_t place = 0; place < alive[step]; ++place) CHECK(schedule.index(step, place) == index++);
  }
  CHECK(schedule.live(4, {0, 4}).size() == 0);
  CHECK(schedule.live(0, {2, 4}).size() == 1);
  CHECK(schedule.live(2, {2, 4}).size() == 0);
}

TEST(rows_that_are_all_as_long_stand_where_they_are) {
  const Schedule schedule({3, 2, false, nullptr, {}});
  CHECK(!schedule.ragged() && schedule.size() == 6 && schedule.row(1) == 1 && schedule.index(2, 1) == 5);
  CHECK(schedule.live(2, {0, 2}).size() == 2 && schedule.live(3, {0, 2}).size() == 0);
}

TEST(in_reverse_a_row_begins_at_its_own_last_time) {
  const Schedule schedule = ragged(false).reversed();
  CHECK(schedule.time(0, 0) == 3 && schedule.time(3, 0) == 0);
  CHECK(schedule.time(0, 1) == 1 && schedule.time(1, 1) == 0);
}

TEST(a_reset_stands_between_two_times_in_both_directions) {
  bool reset[4][4] = {};
  reset[2][2] = true;  // between times 1 and 2 of row 2, which stands at place 0
  const Sequence<const bool> resets{&reset[0][0], 4, 1};
  const Schedule forward = ragged(false, resets), backward = ragged(true, resets);
  for (size_t step = 0; step < 4; ++step) {
    CHECK(forward.fresh(step, 0) == (step == 2));
    CHECK(backward.fresh(step, 0) == (step == 2));  // times 3, 2, and then 1
  }
  CHECK(!forward.fresh(0, 1) && !forward.fresh(1, 1));
}

TEST(wrong_lengths_are_refused) {
  for (const int64_t length : {int64_t{-1}, int64_t{5}}) {
    bool refused = false;
    try {
      Schedule({4, 1, false, &length, {}});
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    CHECK(refused);
  }
}
