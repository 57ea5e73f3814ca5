#include "schedule.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace gru {

Schedule::Schedule(const Steps& call)
    : batch_(call.batch),
      steps_(call.steps),
      reverse_(call.reverse),
      ragged_(call.lengths != nullptr),
      reset_(call.reset) {
  if (ragged_) arrange(call.lengths);
}

// The longest row first, each to the place with the least room that is enough.
void Schedule::arrange(const int64_t* lengths) {
  row_length_.assign(lengths, lengths + batch_);
  std::vector<size_t> rows(batch_);
  std::iota(rows.begin(), rows.end(), size_t{0});
  std::stable_sort(rows.begin(), rows.end(), [&](size_t a, size_t b) { return row_length_[a] > row_length_[b]; });
  steps_ = rows.empty() ? 0 : row_length_[rows.front()];

  struct Place {
    size_t length;
    std::vector<size_t> rows;
  };
  std::vector<Place> places;
  std::multimap<size_t, size_t> room;  // a place by its room
  start_.resize(batch_);
  for (const size_t row : rows) {
    const size_t length = row_length_[row];
    const auto found = length > 0 ? room.lower_bound(length) : room.end();
    size_t place = places.size();
    if (found == room.end()) {
      places.push_back({0, {}});
    } else {
      place = found->second;
      room.erase(found);
      shared_ = true;
    }
    start_[row] = places[place].length;
    places[place].length += length;
    places[place].rows.push_back(row);
    if (length > 0) room.emplace(steps_ - places[place].length, place);
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.length > b.length; });

  first_.push_back(0);
  for (const Place& place : places) {
    length_.push_back(place.length);
    order_.insert(order_.end(), place.rows.begin(), place.rows.end());
    first_.push_back(order_.size());
  }
  begin_.push_back(0);
  for (size_t s = 0, alive = places.size(); s < steps_; ++s) {
    while (length_[alive - 1] <= s) --alive;
    begin_.push_back(begin_.back() + alive);
  }
  row_.resize(begin_.back());
  for (size_t place = 0; place < places.size(); ++place)
    for (const size_t row : places[place].rows)
      for (size_t s = 0; s < row_length_[row]; ++s) row_[index(start_[row] + s, place)] = row;
}

size_t Schedule::places_on_average() const { return steps_ ? (size() + steps_ - 1) / steps_ : 0; }

Part Schedule::live(size_t step, const Part& places) const {
  const size_t alive = step < steps_ ? index(step + 1, 0) - index(step, 0) : 0;
  return {places.first, std::clamp(alive, places.first, places.last)};
}

bool Schedule::fresh(size_t step, size_t place) const {
  if (!reset_.data || (reverse_ && begins(step, place))) return false;
  return *reset_.at(time(step, place) + (reverse_ ? 1 : 0), row(step, place));
}

Part Schedule::part(int member, int members) const {
  if (!ragged_) return part_of(batch_, member, members);
  // A place of no steps counts too, so that all belong to someone.
  const auto end_of = [&](int who) {
    const auto share = static_cast<size_t>(who), all = static_cast<size_t>(members);
    size_t done = 0, place = 0;
    while (place < places() && done * all < share * (size() + places())) done += length_[place++] + 1;
    return place;
  };
  return {end_of(member), end_of(member + 1)};
}

size_t live_steps(const Steps& call) {
  const size_t most = product(call.steps, call.batch);
  if (!call.lengths) return most;
  return static_cast<size_t>(std::accumulate(call.lengths, call.lengths + call.batch, int64_t{0}));
}

}  // namespace gru
