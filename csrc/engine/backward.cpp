#include <algorithm>
#include <optional>
#include <vector>

#include "engine/backward_tables.h"
#include "engine/carry.h"
#include "engine/own_sums.h"
#include "engine/recomputation.h"
#include "engine/recurrence.h"
#include "engine/recurrent.h"
#include "engine/weight_gradients.h"
#include "engine/zoneout.h"

namespace gru {

namespace {

// The recurrence of a backward call, in which gates become their gradients in place.
template <class T>
class BackwardRecurrence : Recurrence<T> {
  using Base = Recurrence<T>;
  using Base::meet, Base::run_pass, Base::slice_of, Base::states_of, Base::units_of, Base::work_of_row, Base::of_slots;
  using Base::w_, Base::schedule_, Base::panels_, Base::width_, Base::plan_;

 public:
  BackwardRecurrence(const RecurrentWeights<T>& weights, const RecurrentBackward<T>& call, const Schedule& schedule,
                     ChunkGates<T>& gates, const BackwardTables<T>& tables, const PackReaders<T>& packs)
      : Base(weights, schedule), call_(call), gates_(gates), tables_(tables), packs_(packs) {}

  using Base::row_work;
  Work work(size_t filled) const {
    return {panels_, this->step_work(), this->hidden_bytes(), gradient_exchange * w_.cell.gates * w_.hidden_size,
            filled};
  }

  void begin(const Plan& plan, const Interruption& interruption, const ProjectionGradients<T>* projection) {
    Base::begin(plan, interruption);
    projection_ = projection;
    const size_t batch = schedule_.batch(), P = w_.output_size;
    carry_ = Carry<T>(w_, schedule_, w_.cell.states);
    if (w_.has_own_sums()) own_sums_ = OwnSums<T>(w_, schedule_, plan.members);
    d_h_0_rows_.clear();
    for (size_t place = 0; call_.d_h_0.data && place < batch; ++place)
      d_h_0_rows_.push_back(call_.d_h_0.at(schedule_.row(place)));
    next_rows_.resize(batch);
    if (call_.mask.data && second_product()) second_carry_ = Carry<T>(w_, schedule_, 1);
    if (call_.zoneout.p > 0) {
      zoneout_ = ZoneoutRows<T>(w_, call_.zoneout, schedule_, plan.members);
      kept_ = Carry<T>(w_, schedule_, 1);
    }
    if (zoneout_.active() || w_.projects()) zero_rows_.assign(batch, tables_.zeros());
    if (flows_apart()) {
      flow_ = Buffer<T>(product(batch, P));
      flow_rows_.clear();
      for (size_t place = 0; place < batch; ++place) flow_rows_.push_back(flow_.data() + place * P);
    }
  }

  const OwnSums<T>& own_sums() const { return own_sums_; }

  void run(const Chunk& chunk, int member, Progress& progress) {
    const Slice slice = slice_of(member);
    for_each_block(slice.rows, [&](const Part& rows) { run_block(chunk, member, {rows, slice.panels}, progress); });
  }

 private:
  bool second_product() const { return w_.cell.hidden_gates < w_.cell.gates; }
  // Whether the product that flows back into a state is computed by itself, because it cannot go on from the carry.
  bool flows_apart() const { return call_.mask.data || zoneout_.active() || w_.projects(); }

  void run_block(const Chunk& chunk, int member, const Slice& slice, Progress& progress) {
    if (chunk.steps.last == schedule_.steps()) {
      carry_.load(slice, 0, w_.projects() ? Rows<const T>{} : call_.d_h_n);
      if (w_.cell.states == 2) carry_.load(slice, 1, call_.d_c_n);
      if (own_sums_.active()) own_sums_.clear(slice);
    }
    for (size_t s = std::min(chunk.steps.last, schedule_.length(slice.rows.first)); s-- > chunk.steps.first;) {
      carry_.cut(slice, s + 1);
      const Slice live{schedule_.live(s, slice.rows), slice.panels};
      step(chunk, member, live, s);
      progress.add(live.rows.size() * work_of_row(live.panels, w_.output_size));
    }
    if (chunk.steps.first > 0) return keep_gradients(chunk, slice);
    carry_.cut(slice, 0);
    if (call_.d_h_0.data) initial_state(chunk, member, slice);
    if (w_.cell.states == 2) carry_.store(slice, 1, call_.d_c_0);
  }

  void step(const Chunk& chunk, int member, const Slice& slice, size_t s) {
    if (w_.projects()) {
      gradient_of_projection(chunk, member, slice, s);
      Pass<T> pass = pass_over(chunk, member, slice, s);
      pass.left = plain_operand<T>(projection_->rows() + index(chunk, s, slice), w_.output_size);
      pass.d_output = zero_rows_.data();
      run_pass(packs_.second, w_.cell.step_backward, pass, member);
    } else {
      for_each_flow(chunk, s + 1, slice, member, [&](const Slice& rows, const Operand<T>* gradients) {
        Pass<T> pass = pass_over(chunk, member, rows, s);
        if (gradients) pass.left = *gradients;
        if (zoneout_.active()) {
          zoneout_.share_out(member, rows, s, pass.d_output, carry_, kept_);
          pass.d_output = zero_rows_.data();
        }
        run_pass(packs_.hidden, w_.cell.step_backward, pass, member);
      });
      if (zoneout_.active())
        carry_.add_masked(slice, {}, [&](size_t place, size_t unit) { return kept_.units(place, unit); });
    }
    meet(member);
    if (w_.cell.normalized) normalize(chunk, member, slice, s);
    if (second_product()) backward_of_second(chunk, member, slice, s);
  }

  // Reset before: from d_n to d_r.
  void backward_of_second(const Chunk& chunk, int member, const Slice& slice, size_t s) {
    Pass<T> pass = pass_over(chunk, member, slice, s);
    pass.left = {pass.gates.rows, of_slots(2), panels_ * width_, width_, gates_.gates().panel_stride()};
    pass.h_previous = tables_.read + index(chunk, s, slice);
    if (call_.mask.data) {
      // What flows through r * h is masked too: into a carry of its own first.
      second_carry_.load(slice, 0, {});
      second_carry_.describe(pass, slice);
    }
    run_pass(packs_.second, w_.cell.second_backward, pass, member);
    if (call_.mask.data)
      carry_.add_masked(slice, call_.mask, [&](size_t place, size_t unit) { return second_carry_.units(place, unit); });
    meet(member);
  }

  // From the gradients of the gates to those of the projections.
  void normalize(const Chunk& chunk, int member, const Slice& slice, size_t s) {
    Pass<T> pass = pass_over(chunk, member, slice, s);
    pass.bias = w_.hidden_bias();
    w_.cell.row_gradients(pass);
    meet(member);
    w_.cell.second_backward(pass);
    meet(member);
  }

  // The gradient of a step's output, which is a projection of what the cell computes.
  void gradient_of_projection(const Chunk& chunk, int member, const Slice& slice, size_t s) {
    const Slice states = states_of(slice, member);
    const size_t first = index(chunk, s, slice);
    state_gradient(chunk, s + 1, states, member, [&](size_t place) {
      return StateGradient{tables_.d_output[first + place - slice.rows.first],
                           projection_->row(first + place - slice.rows.first)};
    });
    meet(member);
  }

  void initial_state(const Chunk& chunk, int member, const Slice& slice) {
    if (w_.projects())
      return state_gradient(chunk, 0, states_of(slice, member), member,
                            [&](size_t place) { return StateGradient{tables_.zeros(), d_h_0_rows_[place]}; });
    for_each_flow(chunk, 0, slice, member, [&](const Slice& rows, const Operand<T>* gradients) {
      Pass<T> pass = pass_over(chunk, member, rows, 0);
      pass.output = d_h_0_rows_.data() + rows.rows.first;
      pass.left = gradients ? *gradients : no_operand(pass.output);
      run_pass(packs_.hidden, w_.kernels.state_backward, pass, member);
    });
  }

  // The gradient of a projected state: its output's, what flows back from the step `next`, and for a row's last one
  // that of the last state.
  struct StateGradient {
    const T* d_output;
    T* sum;
  };
  template <class Of>
  void state_gradient(const Chunk& chunk, size_t next, const Slice& states, int member, Of of) {
    const Part going_on = schedule_.live(next, states.rows), units = units_of(states.panels, w_.output_size);
    if (going_on.size() > 0) flow_apart(chunk, next, {going_on, states.panels}, member);
    for (size_t place = states.rows.first; place < states.rows.last; ++place) {
      const size_t b = schedule_.row(place);
      const StateGradient to = of(place);
      const T* const mask = call_.mask.data ? call_.mask.at(b) : nullptr;
      const T* const flow = place < going_on.last ? flow_rows_[place] : tables_.zeros();
      const T* const last = call_.d_h_n.data && schedule_.length(place) == next ? call_.d_h_n.at(b) : tables_.zeros();
      for (size_t unit = units.first; unit < units.last; ++unit)
        to.sum[unit] = to.d_output[unit] + last[unit] + (mask ? mask[unit] * flow[unit] : flow[unit]);
    }
  }

  // Calls work(rows, gradients) for those rows into whose last state gradients flow from step `next`, and without them
  // for those that end before it.
  template <class Work>
  void for_each_flow(const Chunk& chunk, size_t next, const Slice& slice, int member, Work work) {
    const Part going_on = schedule_.live(next, slice.rows), ending{going_on.last, slice.rows.last};
    if (flows_apart()) {
      if (going_on.size() > 0) {
        flow_apart(chunk, next, {going_on, slice.panels}, member);
        carry_.add_masked({going_on, slice.panels}, call_.mask,
                          [&](size_t place, size_t unit) { return flow_rows_[place] + unit; });
      }
      if (slice.rows.size() > 0) work(slice, nullptr);
      return;
    }
    if (going_on.size() > 0) {
      const Operand<T> gradients = gradients_of(chunk, next, going_on.first);
      work(Slice{going_on, slice.panels}, &gradients);
    }
    if (ending.size() > 0) work(Slice{ending, slice.panels}, nullptr);
  }

  void flow_apart(const Chunk& chunk, size_t next, const Slice& slice, int member) {
    Pass<T> pass = Base::pass_over(slice, w_.output_size);
    pass.descending = next % 2 == 0;
    pass.left = gradients_of(chunk, next, slice.rows.first);
    pass.output = flow_rows_.data() + slice.rows.first;
    run_pass(packs_.hidden, w_.kernels.affine, pass, member);
  }

  // The gradients of a step, from a place on, that flow into the state before it.
  Operand<T> gradients_of(const Chunk& chunk, size_t s, size_t place) const {
    const size_t block = w_.cell.hidden_gates * width_;
    T* const* const first = s == chunk.steps.last ? next_rows_.data() + place
                                                  : tables_.flowing + schedule_.index(s, place) - chunk.first_row;
    return {first, of_slots(w_.cell.flow), panels_ * block, block, gates_.gates().panel_stride()};
  }

  // The gradients of a chunk's first step, for the chunk before it.
  void keep_gradients(const Chunk& chunk, const Slice& slice) {
    const Part live = schedule_.live(chunk.steps.first, slice.rows);
    for (size_t place = live.first; place < live.last; ++place) {
      // Slices of panels share all rows, so one member writes their addresses.
      if (slice.panels.first == 0)
        next_rows_[place] = schedule_.fresh(chunk.steps.first, place) ? gates_.zero_row() : gates_.kept_row(place);
      gates_.keep(place, slice.panels);
    }
  }

  // Of the first row of a slice, in the tables.
  size_t index(const Chunk& chunk, size_t s, const Slice& slice) const {
    return schedule_.index(s, slice.rows.first) - chunk.first_row;
  }

  Pass<T> pass_over(const Chunk& chunk, int member, const Slice& slice, size_t s) {
    const size_t i = index(chunk, s, slice);
    Pass<T> pass = Base::pass_over(slice, w_.hidden_size);
    pass.descending = s % 2 == 1;
    pass.gates = {tables_.gate + i, gates_.gates().panel_stride()};
    pass.left = no_operand(pass.gates.rows);
    pass.h_previous = tables_.h + i;
    pass.d_output = tables_.d_output + i;
    carry_.describe(pass, slice);
    if (own_sums_.active()) own_sums_.describe(pass, slice, member);
    return pass;
  }

  // A left factor of size zero, whose addresses are valid but not followed.
  static Operand<T> no_operand(const T* const* rows) { return {rows, 0, 0, 1, 0}; }

  const RecurrentBackward<T>& call_;
  ChunkGates<T>& gates_;
  const BackwardTables<T>& tables_;
  const PackReaders<T>& packs_;
  const ProjectionGradients<T>* projection_ = nullptr;
  Buffer<T> flow_;  // by place: what flows back into the states
  Carry<T> carry_, second_carry_, kept_;
  ZoneoutRows<T> zoneout_;
  OwnSums<T> own_sums_;
  std::vector<T*> d_h_0_rows_, flow_rows_;
  std::vector<T*> next_rows_;  // as Tables::flowing, of the step after the chunk, by place
  std::vector<const T*> zero_rows_;
};

// A backward call of one direction: chunk by chunk of steps, the last one first, the recurrence, and then the products
// that need all gradients of the chunk. A tape that kept the gates is one chunk; without them they are computed again.
template <class T>
class BackwardRun {
 public:
  explicit BackwardRun(const BackwardDirection<T>& direction)
      : w_(*direction.weights),
        call_(direction.call),
        tape_(*direction.tape),
        schedule_(tape_.schedule),
        packs_(w_.backward(), reads_once(schedule_.steps(), schedule_.batch())),
        gates_(w_, tape_),
        tables_(w_, call_, schedule_, gates_),
        recurrence_(w_, call_, schedule_, gates_, tables_, packs_) {}

  // For this direction and, if there are two, one that is like it.
  Plans plan(int directions, int threads) const {
    const size_t packing = training_packing_work * (packs_.filled() + packs_.unpacked());
    // Of chunks only one can be computed beside the other direction's.
    return plan_directions(is_one_chunk() ? directions : 1, schedule_, recurrence_.work(packs_.filled()),
                           schedule_.size() * recurrence_.row_work() + packing, threads, machine().training_member);
  }
  // Members for the products after a recurrence of so many.
  int members(int recurrent, int directions, int threads) const {
    // Those who take no part in the recurrence wait for it, perhaps asleep: that must be worth more to them.
    const size_t work = 2 * schedule_.size() * recurrence_.row_work() * static_cast<size_t>(directions);
    return std::max(recurrent, plan_members(work / (recurrent > 1 ? 1 : 16), schedule_.size(), threads));
  }

  // Members from `first` on compute the recurrence.
  void begin(const Plan& plan, int first, int members, const Interruption& interruption) {
    plan_ = plan;
    first_ = first;
    members_ = members;
    packs_.prepare(members);
    if (w_.projects()) projection_.emplace(w_, gates_.rows());
    recurrence_.begin(plan, interruption, projection_ ? &*projection_ : nullptr);
    if (tape_.keep == Keep::states) recomputation_.emplace(w_, tape_, gates_, tables_, members);
    RecurrentParameters<T> gradients = call_.gradients;
    if (w_.cell.normalized) gradients.bias_ih = gradients.bias_hh = nullptr;  // no sums of what the products see
    const GradientRows<T> rows{gates_.gates(), tables_.gate, tables_.x, tables_.read,
                               projection_ ? &*projection_ : nullptr};
    weight_gradients_.emplace(w_, gradients, rows, gates_.rows(), !is_one_chunk(), members);
  }

  bool is_one_chunk() const { return tape_.keep == Keep::gates; }
  size_t steps() const { return schedule_.steps(); }

  // The chunk that ends before a step.
  Chunk chunk_before(size_t last) const {
    const size_t first = last > 0 ? (last - 1) / tape_.chunk * tape_.chunk : 0, row = schedule_.index(first, 0);
    return {{first, last}, row, schedule_.index(last, 0) - row};
  }

  // The parts of a chunk, between which all members meet.
  void fill_tables(const Chunk& chunk, int member) {
    if (member == first_ && chunk.steps.last == steps() && schedule_.has_resets()) gates_.clear_zero_row();
    tables_.fill(chunk, part_of(chunk.steps.size(), member, members_));
  }
  bool computes_gates() const { return recomputation_.has_value(); }
  void compute_gates(const Chunk& chunk, int member, Progress& progress) {
    recomputation_->run(chunk, member, progress);
  }
  void recur(const Chunk& chunk, int member, Progress& progress) {
    if (member >= first_ && member < first_ + plan_.members) recurrence_.run(chunk, member - first_, progress);
  }
  void weight_gradients(const Chunk& chunk, int member, Progress& progress) {
    const bool begins = chunk.steps.last == steps(), ends = chunk.steps.first == 0;
    weight_gradients_->compute(member, chunk.rows, begins, ends, progress);
    if (ends && recurrence_.own_sums().active())
      recurrence_.own_sums().store(part_of(w_.panels(), member, members_), call_.gradients);
  }
  void input_gradient(const Chunk& chunk, int member, Progress& progress) {
    if (!call_.d_x.data) return;
    const size_t panels = w_.backward().input.panels();
    // Where panels are filled as they are read, each by one member only.
    if (packs_.filled() > 0) return input_gradient_of({{0, chunk.rows}, part_of(panels, member, members_)}, member);
    for_each_block(part_of(chunk.rows, member, members_), [&](const Part& rows) {
      input_gradient_of({rows, {0, panels}}, member);
      progress.add(rows.size() * w_.cell.gates * w_.panels() * w_.kernels.vector * w_.input_size);
    });
  }
  void padding(int member, Progress& progress) {
    if (call_.d_x.data && !call_.accumulate_d_x)
      zero_padding(schedule_, call_.d_x, w_.input_size, member, members_, progress);
  }

 private:
  void input_gradient_of(const Slice& slice, int member) {
    const size_t width = w_.kernels.vector, block = w_.cell.gates * width;
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.units = w_.input_size;
    pass.left = {tables_.gate + slice.rows.first, w_.cell.input * static_cast<ptrdiff_t>(width), w_.panels() * block,
                 block, gates_.gates().panel_stride()};
    pass.output = tables_.d_x + slice.rows.first;
    pass.accumulate = call_.accumulate_d_x;
    packs_.input.run(w_.kernels.affine, pass, member);
  }

  const RecurrentWeights<T>& w_;
  const RecurrentBackward<T>& call_;
  const RecurrentTape<T>& tape_;
  const Schedule& schedule_;
  PackReaders<T> packs_;
  ChunkGates<T> gates_;
  BackwardTables<T> tables_;
  BackwardRecurrence<T> recurrence_;
  Plan plan_;
  int first_ = 0, members_ = 1;
  std::optional<ProjectionGradients<T>> projection_;
  std::optional<Recomputation<T>> recomputation_;
  std::optional<WeightGradients<T>> weight_gradients_;
};

// Some directions at the same time: of several, each is one chunk.
template <class T>
bool compute(std::initializer_list<BackwardRun<T>*> runs, const Plan& plan, int members) {
  Interruption interruption;
  Barrier everyone(members, interruption);
  int first = 0;
  for (BackwardRun<T>* run : runs) {
    run->begin(plan, first, members, interruption);
    first += plan.members;
  }
  auto work = [&](int member) {
    Progress progress(interruption, member);
    size_t last = (*runs.begin())->steps();
    do {
      const Chunk chunk = (*runs.begin())->chunk_before(last);
      const auto all = [&](auto part) {
        for (BackwardRun<T>* run : runs) part(*run);
        everyone.wait(member);
      };
      all([&](auto& run) { run.fill_tables(chunk, member); });
      if ((*runs.begin())->computes_gates()) all([&](auto& run) { run.compute_gates(chunk, member, progress); });
      all([&](auto& run) { run.recur(chunk, member, progress); });
      all([&](auto& run) { run.weight_gradients(chunk, member, progress); });
      last = chunk.steps.first;
      for (BackwardRun<T>* run : runs) {
        run->input_gradient(chunk, member, progress);
        // The next one adds to the same rows; or the next chunk's tables are written where these stand.
        if (last > 0 || run != *(runs.end() - 1)) everyone.wait(member);
      }
    } while (last > 0);
    for (BackwardRun<T>* run : runs) run->padding(member, progress);
  };
  return run_team(members, work);
}

// The gradients when there are no rows or no units, however many steps there are.
template <class T>
void zero_gradients(const RecurrentWeights<T>& weights, const Schedule& schedule, const RecurrentBackward<T>& call) {
  const size_t I = weights.input_size, gates = weights.cell.gates * weights.hidden_size;
  const RecurrentParameters<T>& d = call.gradients;
  std::fill_n(d.weight_ih, gates * I, T(0));
  std::fill_n(d.weight_hh, gates * weights.output_size, T(0));
  for (T* vector : {d.bias_ih, d.bias_hh, d.gamma_ih, d.gamma_hh})
    if (vector) std::fill_n(vector, gates, T(0));
  if (d.peephole) std::fill_n(d.peephole, 3 * weights.hidden_size, T(0));
  if (d.weight_hr) std::fill_n(d.weight_hr, weights.output_size * weights.hidden_size, T(0));
  if (!call.d_x.data || call.accumulate_d_x || schedule.batch() == 0 || I == 0) return;
  for (size_t t = 0; t < schedule.times(); ++t)
    for (size_t b = 0; b < schedule.batch(); ++b) std::fill_n(call.d_x.at(t, b), I, T(0));
}

}  // namespace

template <class T>
void recurrent_backward(std::span<const BackwardDirection<T>> directions, int threads) {
  const Schedule& schedule = directions[0].tape->schedule;
  if (schedule.batch() == 0 || directions[0].weights->hidden_size == 0) {
    for (const auto& own : directions) zero_gradients(*own.weights, schedule, own.call);
    return;
  }
  const Call mark;
  for (size_t d = 0; d < directions.size(); ++d) {
    BackwardRun<T> run(directions[d]);
    const Plans plans = run.plan(static_cast<int>(directions.size() - d), threads);
    if (plans.side_by_side) {
      BackwardRun<T> other(directions[d + 1]);
      if (compute<T>({&run, &other}, plans.each, run.members(2 * plans.each.members, 2, threads))) return;
    } else if (compute<T>({&run}, plans.each, run.members(plans.each.members, 1, threads))) {
      continue;
    }
    compute<T>({&run}, Plan{}, 1);
  }
}

template void recurrent_backward(std::span<const BackwardDirection<float>>, int);
template void recurrent_backward(std::span<const BackwardDirection<double>>, int);

}  // namespace gru
