#include <algorithm>
#include <cstddef>
#include <initializer_list>

#include "engine/carry.h"
#include "engine/forward_passes.h"
#include "engine/recurrence.h"
#include "engine/recurrent.h"
#include "engine/zoneout.h"

namespace gru {

namespace {

// A forward call of one direction, and its scratch: the addresses of the rows of a chunk of steps and, without a tape,
// the gates of the chunk, step after step. Each member that has rows of its own has a region of it, which serves one
// block of them after another; members that share all rows share one.
template <class T>
class ForwardRun : Recurrence<T> {
  using Base = Recurrence<T>;
  using Base::meet, Base::slice_of, Base::states_of, Base::units_of, Base::work_of_row;
  using Base::w_, Base::schedule_, Base::panels_, Base::width_, Base::plan_;

 public:
  explicit ForwardRun(const ForwardDirection<T>& direction)
      : Base(*direction.weights, *direction.schedule),
        call_(direction.call),
        tape_(direction.tape),
        gates_of_tape_(tape_ && tape_->keep == Keep::gates ? &tape_->gates : nullptr),
        passes_(w_, reads_once(schedule_.steps(), schedule_.batch())) {}

  // For this direction and, if there are two, one that is like it.
  Plans plan(int directions, int threads) const {
    const size_t filled = passes_.packs().filled();
    const size_t packing = (tape_ ? training_packing_work : packing_work) * (filled + passes_.packs().unpacked());
    const size_t input_bytes = w_.cell.gates * w_.hidden_size * w_.input_size * sizeof(T);  // read once for all steps
    const size_t step_bytes = this->hidden_bytes() + input_bytes / std::max<size_t>(schedule_.steps(), 1);
    const Work work{panels_, this->row_work(), step_bytes, state_exchange * w_.output_size, filled};
    return plan_directions(directions, schedule_, work, schedule_.size() * this->row_work() + packing, threads,
                           tape_ ? machine().training_member : machine().least_member);
  }

  // `team`: how many may pack weights.
  void begin(const Plan& plan, int team, const Interruption& interruption) {
    Base::begin(plan, interruption);
    const size_t row_size = (gates_of_tape_ ? w_.cell.taped_slots : w_.cell.slots) * width_;
    for (int member = 0; member < plan.members; ++member)
      block_ = std::max(block_, std::min(slice_of(member).rows.size(), most_rows_in_block));
    chunk_ = plan_chunk(schedule_.steps(), panels_ * block_ * row_size * sizeof(T), this->hidden_bytes());
    const size_t regions = plan.by_panels ? 1 : static_cast<size_t>(plan.members);
    const size_t rows = product(chunk_, regions * block_);
    panel_stride_ =
        gates_of_tape_ ? gates_of_tape_->panel_stride() : static_cast<ptrdiff_t>(product(rows | 1, row_size));
    const size_t gates = gates_of_tape_ ? 0 : product(static_cast<size_t>(panel_stride_), panels_);
    // Memory is asked for once: that takes longer than many a call.
    scratch_ = Buffer<std::byte>(product(gates, sizeof(T)) + product(rows, (call_.mask.data ? 5 : 4) * sizeof(T*)));
    gates_ = static_cast<T*>(static_cast<void*>(scratch_.data()));
    output_rows_ = static_cast<T**>(static_cast<void*>(gates_ + gates));
    gate_rows_ = output_rows_ + rows;
    x_rows_ = static_cast<const T**>(static_cast<void*>(gate_rows_ + rows));
    h_rows_ = x_rows_ + rows;
    left_rows_ = h_rows_ + rows;
    if (!call_.h_0.data || schedule_.has_resets()) {
      zeros_ = Buffer<T>(w_.output_size);
      std::fill_n(zeros_.data(), w_.output_size, T(0));
    }
    if (has_c()) carry_ = Carry<T>(w_, schedule_, 1);
    passes_.begin(team, gates_of_tape_, plan.by_panels, panel_stride_, carry_.panel_stride());
    if (call_.zoneout.p > 0) zoneout_ = ZoneoutRows<T>(w_, call_.zoneout, schedule_, plan.members);
    if (call_.mask.data) masked_ = Buffer<T>(product(product(2, schedule_.batch()), w_.output_size));
  }

  void run(int member, Progress& progress) {
    const Slice slice = slice_of(member);
    const size_t region = plan_.by_panels ? 0 : static_cast<size_t>(member);
    for_each_block(slice.rows, [&](const Part& rows) { run_block(member, region, {rows, slice.panels}, progress); });
    zero_padding(schedule_, call_.output, w_.output_size, member, plan_.members, progress);
  }

 private:
  bool has_c() const { return w_.cell.states == 2; }

  void run_block(int member, size_t region, const Slice& slice, Progress& progress) {
    // Slices of panels share all rows, so one member writes their addresses.
    const bool fills = !plan_.by_panels || member == 0;
    const size_t steps = schedule_.length(slice.rows.first);
    if (has_c()) carry_.load(slice, 0, call_.c_0);
    for (size_t first = 0; first < steps; first += chunk_) {
      const size_t last = std::min(first + chunk_, steps);
      if (fills) fill_tables(region, first, last, slice.rows);
      if (first == 0 && call_.mask.data) mask_states(states_of(slice, member), 0);
      meet(member);
      project(member, region, first, last, slice, progress);
      size_t row = begin_of(region);
      for (size_t s = first; s < last; ++s) {
        const Slice live{schedule_.live(s, slice.rows), slice.panels};
        if (has_c()) carry_.cut(live, s);
        if (tape_ && tape_->c && s % tape_->chunk == 0) carry_.save(live, tape_->c + s / tape_->chunk * carry_.size());
        step(member, row, s, live);
        progress.add(live.rows.size() * work_of_row(slice.panels, w_.output_size));
        row += live.rows.size();
      }
    }
    finish(states_of(slice, member));
    if (has_c()) carry_.store(slice, 0, call_.c_n);
  }

  // Where a region of the tables begins.
  size_t begin_of(size_t region) const { return region * block_ * chunk_; }

  void fill_tables(size_t region, size_t first, size_t last, const Part& places) {
    size_t i = begin_of(region);
    for (size_t s = first; s < last; ++s) {
      const Part live = schedule_.live(s, places);
      for (size_t place = live.first; place < live.last; ++place, ++i) {
        const size_t t = schedule_.time(s, place), b = schedule_.row(place);
        x_rows_[i] = call_.x.at(t, b);
        h_rows_[i] = state_before<T>(schedule_, s, place, call_.h_0, call_.output, zeros_.data());
        if (call_.mask.data) left_rows_[i] = masked_row(s, place);
        output_rows_[i] = call_.output.at(t, b);
        gate_rows_[i] = gates_of_tape_ ? gates_of_tape_->row(schedule_.index(s, place)) : scratch_row(i);
      }
    }
  }

  T* scratch_row(size_t i) const { return gates_ + (i * w_.cell.slots + w_.cell.lead) * width_; }

  // The projections of x.
  void project(int member, size_t region, size_t first, size_t last, const Slice& slice, Progress& progress) const {
    size_t rows = 0;
    for (size_t s = first; s < last; ++s) rows += schedule_.live(s, slice.rows).size();
    const size_t work = work_of_row(slice.panels, w_.input_size), begin = begin_of(region);
    in_portions(begin, begin + rows, work, most_rows_in_block, progress,
                [&](size_t from, size_t to) { passes_.project(rows_at(from, to - from), slice.panels, member); });
  }

  // Where the masked state stands that a step begins with: the one after next is written over it.
  T* masked_row(size_t s, size_t place) const {
    return masked_.data() + (s % 2 * schedule_.batch() + place) * w_.output_size;
  }

  // What a step of some rows begins with, masked, in the units of the slice.
  void mask_states(const Slice& slice, size_t s) const {
    for (size_t place = slice.rows.first; place < slice.rows.last; ++place)
      mask_state(call_.mask.at(schedule_.row(place)),
                 state_before<T>(schedule_, s, place, call_.h_0, call_.output, zeros_.data()),
                 units_of(slice.panels, w_.output_size), masked_row(s, place));
  }

  // Step s of all rows of a slice, of which the tables hold the first one at `row`.
  void step(int member, size_t row, size_t s, const Slice& slice) {
    const StepRows<T> rows = rows_at(row, slice.rows.size(), slice.rows.first);
    const bool descending = s % 2 == 1;
    passes_.hidden(rows, slice.panels, descending, member);
    if (w_.cell.second) {
      meet(member);
      passes_.second(rows, slice.panels, descending, member);
    }
    const Slice states = states_of(slice, member);
    if (w_.projects()) {
      meet(member);
      passes_.project_states(rows, states.panels, member);
    }
    if (zoneout_.active()) zoneout_.mix_into(member, slice, s, h_rows_ + row, output_rows_ + row);
    if (call_.mask.data) mask_states({schedule_.live(s + 1, slice.rows), states.panels}, s + 1);
    meet(member);
  }

  // Those of the tables from a place on, and the carry of the rows from `first` on.
  StepRows<T> rows_at(size_t row, size_t count, size_t first = 0) const {
    const T* const* const read = (call_.mask.data ? left_rows_ : h_rows_) + row;
    T* const* const carry = has_c() ? carry_.rows(first) : nullptr;
    return {count, x_rows_ + row, h_rows_ + row, read, gate_rows_ + row, carry, output_rows_ + row};
  }

  // The last states.
  void finish(const Slice& slice) const {
    const Part units = units_of(slice.panels, w_.output_size);
    if (units.size() == 0) return;
    for (size_t place = slice.rows.first; place < slice.rows.last; ++place) {
      const size_t b = schedule_.row(place), length = schedule_.length(place);
      const T* from = call_.h_0.data ? call_.h_0.at(b) : zeros_.data();
      if (length > 0) from = call_.output.at(schedule_.time(length - 1, place), b);
      if (from != call_.h_n.at(b)) std::copy(from + units.first, from + units.last, call_.h_n.at(b) + units.first);
    }
  }

  const RecurrentForward<T>& call_;
  RecurrentTape<T>* const tape_;
  const GateRows<T>* const gates_of_tape_;  // null when there are none
  ForwardPasses<T> passes_;
  size_t block_ = 0, chunk_ = 0;
  ptrdiff_t panel_stride_ = 0;
  Buffer<std::byte> scratch_;  // the gates and the tables below
  T* gates_ = nullptr;
  Buffer<T> zeros_, masked_;
  Carry<T> carry_;  // c of the LSTM
  ZoneoutRows<T> zoneout_;
  const T **x_rows_ = nullptr, **h_rows_ = nullptr, **left_rows_ = nullptr;  // the last with a mask
  T **output_rows_ = nullptr, **gate_rows_ = nullptr;
};

// Some directions, which are computed at the same time.
template <class T>
bool compute(std::initializer_list<ForwardRun<T>*> runs, const Plan& plan) {
  const int members = plan.members * static_cast<int>(runs.size());
  Interruption interruption;
  for (ForwardRun<T>* run : runs) run->begin(plan, members, interruption);
  auto work = [&](int member) {
    Progress progress(interruption, member);
    runs.begin()[member / plan.members]->run(member % plan.members, progress);
  };
  return run_team(members, work);
}

}  // namespace

template <class T>
void recurrent_forward(std::span<const ForwardDirection<T>> directions, int threads) {
  // Then there is nothing to compute, however many steps there are.
  if (directions[0].schedule->batch() == 0 || directions[0].weights->hidden_size == 0) return;
  const Call mark;
  for (size_t d = 0; d < directions.size(); ++d) {
    ForwardRun<T> run(directions[d]);
    const Plans plans = run.plan(static_cast<int>(directions.size() - d), threads);
    if (plans.side_by_side) {
      ForwardRun<T> other(directions[d + 1]);
      if (compute<T>({&run, &other}, plans.each)) return;
    } else if (compute<T>({&run}, plans.each)) {
      continue;
    }
    compute<T>({&run}, Plan{});
  }
}

template void recurrent_forward(std::span<const ForwardDirection<float>>, int);
template void recurrent_forward(std::span<const ForwardDirection<double>>, int);

}  // namespace gru
