#include <algorithm>
#include <optional>
#include <vector>

#include "carry.h"
#include "exchange.h"
#include "gru.h"
#include "own_sums.h"
#include "schedule.h"
#include "team.h"
#include "weight_gradients.h"
#include "zoneout.h"

namespace gru {

namespace {

// A backward call: chunk by chunk of steps, the last one first, the recurrence, in which gates become their gradients
// in place, and then the products that need all gradients of the chunk. A tape that kept the gates is one chunk;
// without them they are computed again from the states. Tables hold the addresses of a chunk's rows, in the schedule's
// order.
template <class T>
class BackwardRun {
 public:
  BackwardRun(const RecurrentWeights<T>& weights, const RecurrentBackward<T>& call, const RecurrentTape<T>& tape,
              int threads)
      : w_(weights),
        call_(call),
        schedule_(tape.schedule),
        tape_(tape),
        panels_(weights.panels()),
        width_(static_cast<ptrdiff_t>(weights.kernels.vector)),
        recomputes_(tape.keep == Keep::states),
        packs_(weights.backward(), reads_once(tape.schedule.steps(), tape.schedule.batch())) {
    const Schedule& schedule = schedule_;
    const size_t H = w_.hidden_size, G = w_.cell.gates;
    const size_t units = panels_ * w_.kernels.vector, hidden_bytes = G * H * H * sizeof(T);
    const size_t row_work = G * units * (w_.input_size + H + activation_work);
    const size_t filled = packs_.filled();
    const size_t work = schedule.size() * row_work + training_packing_work * (filled + packs_.unpacked());
    const int members = plan_members(work, std::max(schedule.batch(), panels_), threads, training_per_member);
    recurrence_ = plan_recurrence(
        schedule, {panels_, G * units * (H + activation_work), hidden_bytes, gradient_exchange * G * H, filled},
        members);
    // Members who take no part in the recurrence wait for it, perhaps asleep: that must be worth more to them.
    const size_t products_work = 2 * schedule.size() * row_work / (recurrence_.members > 1 ? 1 : 16);
    members_ = std::max(recurrence_.members, plan_members(products_work, schedule.size(), threads));
    packs_.prepare(members_);
    rows_ = std::min(product(tape.chunk, schedule.batch()), schedule.size());
    // Behind the rows: the gradients of the step after a chunk, and a row of zeros.
    if (recomputes_) {
      const size_t rows = rows_ + schedule.batch() + 1;
      chunk_memory_ = Buffer<T>(GateRows<T>::size(weights, rows));
      chunk_gates_ = GateRows<T>(weights, rows, chunk_memory_.data());
    }
    carry_ = Carry<T>(weights, schedule, w_.cell.states);
    zeros_ = Buffer<T>(H);
    std::fill_n(zeros_.data(), H, T(0));
    // Memory for the tables is asked for once: that takes longer than many a call.
    read_.resize(product(rows_, call.mask.data ? 4 : 3));
    written_.resize(product(rows_, call.d_x.data ? 2 : 1));
    x_rows_ = read_.data();
    h_rows_ = x_rows_ + rows_;
    d_output_rows_ = h_rows_ + rows_;
    masked_rows_ = d_output_rows_ + rows_;
    gate_rows_ = written_.data();
    d_x_rows_ = gate_rows_ + rows_;
    if (call.d_h_0.data) d_h_0_rows_.resize(schedule.batch());
    if (schedule.has_resets()) flowing_rows_.resize(rows_);
    if (recomputes_) {
      forward_input_ = weights.forward().input.whole(members_);
      forward_hidden_ = weights.forward().hidden.whole(members_);
      forward_hidden_n_ = weights.forward().hidden_n.whole(members_);
      next_rows_.resize(schedule.batch());
      unread_ = Buffer<T>(product(static_cast<size_t>(members_), H));
      for (size_t i = 0; i < static_cast<size_t>(members_) * most_rows_in_block; ++i)
        unread_rows_.push_back(unread_.data() + i / most_rows_in_block * H);
      if (w_.cell.states == 2) c_ = Carry<T>(weights, schedule, 1);
    }
    if (call.mask.data) {
      masked_ = Buffer<T>(product(rows_, H));
      if (second_product()) second_carry_ = Carry<T>(weights, schedule, 1);
    }
    if (call.zoneout.p > 0) {
      zoneout_ = ZoneoutRows<T>(weights, call.zoneout, schedule, recurrence_.members);
      kept_ = Carry<T>(weights, schedule, 1);
      zero_rows_.assign(schedule.batch(), zeros_.data());
    }
    if (call.mask.data || zoneout_.active()) {
      flow_ = Buffer<T>(product(schedule.batch(), H));
      for (size_t place = 0; place < schedule.batch(); ++place) flow_rows_.push_back(flow_.data() + place * H);
    }
    const GradientRows<T> tables{gates(), gate_rows_, x_rows_, read_rows()};
    RecurrentParameters<T> gradients = call.gradients;
    if (w_.cell.own_sums > 0) own_sums_ = OwnSums<T>(weights, schedule, recurrence_.members);
    if (w_.cell.normalized) gradients.bias_ih = gradients.bias_hh = nullptr;  // no sums of what the products see
    weight_gradients_.emplace(weights, gradients, tables, rows_, recomputes_, members_);
  }

  bool run() {
    Interruption interruption;
    Barrier everyone(members_, interruption), recurrent(recurrence_.members, interruption);
    auto work = [&](int member) {
      Progress progress(interruption, member);
      if (member == 0) fill_d_h_0_rows();
      if (member == 0 && schedule_.has_resets()) zero_spare_row();
      size_t last = schedule_.steps();
      do {
        const size_t first = last > 0 ? (last - 1) / tape_.chunk * tape_.chunk : 0;
        run_chunk({{first, last}, schedule_.index(first, 0), schedule_.index(last, 0) - schedule_.index(first, 0)},
                  member, everyone, recurrent, progress);
        last = first;
      } while (last > 0);
      zero_padding(static_cast<size_t>(member), progress);
    };
    return run_team(members_, work);
  }

 private:
  // Some steps: the index of the first of their rows, and how many there are.
  struct Chunk {
    Part steps;
    size_t first_row, rows;
  };

  void run_chunk(const Chunk& chunk, int member, Barrier& everyone, Barrier& recurrent, Progress& progress) {
    const bool begins = chunk.steps.last == schedule_.steps(), ends = chunk.steps.first == 0;
    fill_tables(chunk, part_of(chunk.steps.size(), member, members_));
    everyone.wait(member);
    if (recomputes_) {
      compute_gates(chunk, member, progress);
      everyone.wait(member);
    }
    if (member < recurrence_.members) recur(chunk, member, recurrent, progress);
    everyone.wait(member);
    weight_gradients_->compute(member, chunk.rows, begins, ends, progress);
    if (ends && own_sums_.active()) own_sums_.store(part_of(panels_, member, members_), call_.gradients);
    everyone.wait(member);
    input_gradient(chunk.rows, member, progress);
    if (!ends) everyone.wait(member);
  }

  bool second_product() const { return w_.cell.hidden_gates < w_.cell.gates; }
  const GateRows<T>& gates() const { return recomputes_ ? chunk_gates_ : tape_.gates; }
  size_t spare_row() const { return recomputes_ ? rows_ + schedule_.batch() : rows_; }

  // Of some steps, counted from the first of the chunk.
  void fill_tables(const Chunk& chunk, const Part& steps) {
    for (size_t s = chunk.steps.first + steps.first; s < chunk.steps.first + steps.last; ++s) {
      const Part live = schedule_.live(s, {0, schedule_.batch()});
      for (size_t place = 0; place < live.last; ++place) {
        const size_t i = schedule_.index(s, place) - chunk.first_row;
        const size_t t = schedule_.time(s, place), b = schedule_.row(place);
        gate_rows_[i] = gates().row(i);
        x_rows_[i] = call_.x.at(t, b);
        h_rows_[i] = state_before<T>(schedule_, s, place, call_.h_0, call_.output, zeros_.data());
        if (call_.mask.data) fill_masked_row(i, b);
        d_output_rows_[i] = call_.d_output.data ? call_.d_output.at(t, b) : zeros_.data();
        if (call_.d_x.data) d_x_rows_[i] = call_.d_x.at(t, b);
        if (schedule_.has_resets()) flowing_rows_[i] = gates().row(schedule_.fresh(s, place) ? spare_row() : i);
      }
    }
  }

  // What the hidden weights read of the states.
  const T* const* read_rows() const { return call_.mask.data ? masked_rows_ : h_rows_; }

  void fill_masked_row(size_t i, size_t b) {
    T* const to = masked_.data() + i * w_.hidden_size;
    const T *const mask = call_.mask.at(b), *const h = h_rows_[i];
    for (size_t unit = 0; unit < w_.hidden_size; ++unit) to[unit] = mask[unit] * h[unit];
    masked_rows_[i] = to;
  }

  void fill_d_h_0_rows() {
    for (size_t place = 0; place < d_h_0_rows_.size(); ++place)
      d_h_0_rows_[place] = call_.d_h_0.at(schedule_.row(place));
  }

  void zero_spare_row() {
    for (size_t panel = 0; panel < panels_; ++panel) std::fill_n(slots(spare_row(), panel), gates().row_stride(), T(0));
  }

  // All that belongs to a row in one panel.
  T* slots(size_t row, size_t panel) const {
    return gates().row(row) + static_cast<ptrdiff_t>(panel) * gates().panel_stride() - gates().lead();
  }

  // ---- The gates of a chunk, from the states ----

  // All states are known, so nobody has to wait for a step: members share the rows of all steps. The c of an LSTM is
  // not: there they share the units, and go step by step.
  void compute_gates(const Chunk& chunk, int member, Progress& progress) {
    if (w_.cell.states == 2) return compute_gates_and_c(chunk, part_of(panels_, member, members_), member, progress);
    for_each_block(part_of(chunk.rows, member, members_), [&](const Part& rows) {
      progress.add(rows.size() * work_of_row({0, panels_}, w_.input_size + w_.hidden_size));
      project({rows, {0, panels_}}, member);
      Pass<T> pass = forward_pass({rows, {0, panels_}}, member);
      w_.cell.step_taped(pass);
      if (!w_.cell.second) return;
      pass.right = forward_hidden_n_;
      pass.left = {pass.gates.rows, -width_, w_.hidden_size, w_.kernels.vector, gates().panel_stride()};
      pass.h_previous = h_rows_ + rows.first;
      w_.cell.second(pass);
    });
  }

  void compute_gates_and_c(const Chunk& chunk, const Part& panels, int member, Progress& progress) {
    for_each_block({0, chunk.rows}, [&](const Part& rows) {
      project({rows, panels}, member);
      progress.add(rows.size() * work_of_row(panels, w_.input_size));
    });
    const Part beginning = schedule_.live(chunk.steps.first, {0, schedule_.batch()});
    c_.restore({beginning, panels}, tape_.c + chunk.steps.first / tape_.chunk * c_.size());
    for (size_t s = chunk.steps.first; s < chunk.steps.last; ++s) {
      const Part live = schedule_.live(s, {0, schedule_.batch()});
      c_.cut({live, panels}, s);
      for_each_block(live, [&](const Part& places) {
        const size_t first = schedule_.index(s, places.first) - chunk.first_row;
        Pass<T> pass = forward_pass({{first, first + places.size()}, panels}, member);
        c_.describe(pass, {places, panels});
        w_.cell.step_taped(pass);
        progress.add(places.size() * work_of_row(panels, w_.hidden_size));
      });
    }
  }

  // The projections of x, for rows of the chunk.
  void project(const Slice& slice, int member) const {
    Pass<T> pass = forward_pass(slice, member);
    pass.right = forward_input_;
    pass.bias = w_.input_bias();
    pass.left = plain_operand<T>(x_rows_ + slice.rows.first, w_.input_size);
    w_.cell.project(pass);
  }

  // The step of rows of the chunk.
  Pass<T> forward_pass(const Slice& slice, int member) const {
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.units = w_.hidden_size;
    pass.gates = {gate_rows_ + slice.rows.first, gates().panel_stride()};
    pass.right = forward_hidden_;
    pass.bias = w_.hidden_bias();
    pass.choices = w_.choices();
    const T* const* const read = read_rows() + slice.rows.first;
    pass.left = plain_operand<T>(read, w_.hidden_size);
    pass.h_previous = w_.cell.second ? read : h_rows_ + slice.rows.first;
    pass.output = unread_rows_.data() + static_cast<size_t>(member) * most_rows_in_block;  // the states are known
    return pass;
  }

  // ---- The recurrence ----

  void recur(const Chunk& chunk, int member, Barrier& barrier, Progress& progress) {
    const Slice slice = recurrence_.slice(member, schedule_.batch(), panels_);
    for_each_block(slice.rows,
                   [&](const Part& rows) { recur_block(chunk, member, {rows, slice.panels}, barrier, progress); });
  }

  void recur_block(const Chunk& chunk, int member, const Slice& slice, Barrier& barrier, Progress& progress) {
    if (chunk.steps.last == schedule_.steps()) {
      carry_.load(slice, 0, call_.d_h_n);
      if (w_.cell.states == 2) carry_.load(slice, 1, call_.d_c_n);
      if (own_sums_.active()) own_sums_.clear(slice);
    }
    for (size_t s = std::min(chunk.steps.last, schedule_.length(slice.rows.first)); s-- > chunk.steps.first;) {
      carry_.cut(slice, s + 1);
      const Slice live{schedule_.live(s, slice.rows), slice.panels};
      step(chunk, member, live, s, barrier);
      progress.add(live.rows.size() * work_of_row(live.panels, w_.hidden_size));
    }
    if (chunk.steps.first > 0) return keep_gradients(chunk, slice);
    carry_.cut(slice, 0);
    if (call_.d_h_0.data) initial_state(chunk, member, slice);
    if (w_.cell.states == 2) carry_.store(slice, 1, call_.d_c_0);
  }

  void step(const Chunk& chunk, int member, const Slice& slice, size_t s, Barrier& barrier) {
    for_each_flow(chunk, s + 1, slice, member, [&](const Slice& rows, const Operand<T>* gradients) {
      Pass<T> pass = pass_over(chunk, member, rows, s);
      if (gradients) pass.left = *gradients;
      if (zoneout_.active()) {
        zone_out(member, pass.d_output, rows, s);
        pass.d_output = zero_rows_.data();
      }
      run_pass(packs_.hidden, w_.cell.step_backward, pass, member);
    });
    if (zoneout_.active())
      carry_.add_masked(slice, {}, [&](size_t place, size_t unit) { return kept_.units(place, unit); });
    meet(barrier, member);
    if (w_.cell.normalized) normalize(chunk, member, slice, s, barrier);
    if (second_product()) backward_of_second(chunk, member, slice, s, barrier);
  }

  // Reset before: from d_n to d_r.
  void backward_of_second(const Chunk& chunk, int member, const Slice& slice, size_t s, Barrier& barrier) {
    Pass<T> pass = pass_over(chunk, member, slice, s);
    pass.left = {pass.gates.rows, 2 * width_, panels_ * w_.kernels.vector, w_.kernels.vector, gates().panel_stride()};
    pass.h_previous = read_rows() + (pass.h_previous - h_rows_);
    if (call_.mask.data) {
      // What flows through r * h is masked too: into a carry of its own first.
      second_carry_.load(slice, 0, {});
      second_carry_.describe(pass, slice);
    }
    run_pass(packs_.hidden_n, w_.cell.second_backward, pass, member);
    if (call_.mask.data)
      carry_.add_masked(slice, call_.mask, [&](size_t place, size_t unit) { return second_carry_.units(place, unit); });
    meet(barrier, member);
  }

  // From the gradients of the gates to those of the projections.
  void normalize(const Chunk& chunk, int member, const Slice& slice, size_t s, Barrier& barrier) {
    Pass<T> pass = pass_over(chunk, member, slice, s);
    pass.bias = w_.hidden_bias();
    w_.cell.row_gradients(pass);
    meet(barrier, member);
    w_.cell.second_backward(pass);
    meet(barrier, member);
  }

  void initial_state(const Chunk& chunk, int member, const Slice& slice) {
    for_each_flow(chunk, 0, slice, member, [&](const Slice& rows, const Operand<T>* gradients) {
      Pass<T> pass = pass_over(chunk, member, rows, 0);
      pass.output = d_h_0_rows_.data() + rows.rows.first;
      pass.left = gradients ? *gradients : no_operand(pass.output);
      run_pass(packs_.hidden, w_.kernels.state_backward, pass, member);
    });
  }

  // Calls work(rows, gradients) for those rows into whose last state gradients flow from step `next`, and without them
  // for those that end before it.
  template <class Work>
  void for_each_flow(const Chunk& chunk, size_t next, const Slice& slice, int member, Work work) {
    const Part going_on = schedule_.live(next, slice.rows), ending{going_on.last, slice.rows.last};
    if (call_.mask.data || zoneout_.active()) {
      if (going_on.size() > 0) flow_apart(chunk, next, {going_on, slice.panels}, member);
      if (slice.rows.size() > 0) work(slice, nullptr);
      return;
    }
    if (going_on.size() > 0) {
      const Operand<T> gradients = gradients_of(chunk, next, going_on.first);
      work(Slice{going_on, slice.panels}, &gradients);
    }
    if (ending.size() > 0) work(Slice{ending, slice.panels}, nullptr);
  }

  // With a mask or zoneout the product cannot go on from the carry: it is computed by itself, and added to the carry.
  void flow_apart(const Chunk& chunk, size_t next, const Slice& slice, int member) {
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.descending = next % 2 == 0;
    pass.units = w_.hidden_size;
    pass.left = gradients_of(chunk, next, slice.rows.first);
    pass.output = flow_rows_.data() + slice.rows.first;
    run_pass(packs_.hidden, w_.kernels.affine, pass, member);
    carry_.add_masked(slice, call_.mask, [&](size_t place, size_t unit) { return flow_rows_[place] + unit; });
  }

  // Shares the gradient of the states after step s out: to the step's own result (into the carry, from where the step
  // begins) and to the states before (aside).
  void zone_out(int member, const T* const* d_output, const Slice& slice, size_t s) {
    const size_t width = w_.kernels.vector;
    const size_t first = slice.panels.first * width, last = std::min(slice.panels.last * width, w_.hidden_size);
    for (size_t place = slice.rows.first; place < slice.rows.last; ++place, ++d_output) {
      const T* const taken = zoneout_.taken(member, s, place, first, last);
      for (size_t unit = first; unit < last; unit += width) {
        T *const carry = carry_.units(place, unit), *const kept = kept_.units(place, unit);
        for (size_t i = 0; i < std::min(width, last - unit); ++i) {
          const T d = carry[i] + (*d_output)[unit + i];
          carry[i] = taken[unit + i] * d;
          kept[i] = (T(1) - taken[unit + i]) * d;
        }
      }
    }
  }

  // The gradients of a step, from a place on, that flow into the state before it.
  Operand<T> gradients_of(const Chunk& chunk, size_t s, size_t place) const {
    const size_t block = w_.cell.hidden_gates * w_.kernels.vector;
    T* const* const rows = schedule_.has_resets() ? flowing_rows_.data() : gate_rows_;
    T* const* const first =
        s == chunk.steps.last ? next_rows_.data() + place : rows + schedule_.index(s, place) - chunk.first_row;
    return {first, w_.cell.flow * width_, panels_ * block, block, gates().panel_stride()};
  }

  // The gradients of a chunk's first step, for the chunk before it.
  void keep_gradients(const Chunk& chunk, const Slice& slice) {
    const Part live = schedule_.live(chunk.steps.first, slice.rows);
    for (size_t place = live.first; place < live.last; ++place) {
      const size_t to = schedule_.fresh(chunk.steps.first, place) ? spare_row() : rows_ + place;
      next_rows_[place] = gates().row(to);
      for (size_t panel = slice.panels.first; panel < slice.panels.last; ++panel)
        std::copy_n(slots(place, panel), gates().row_stride(), slots(rows_ + place, panel));
    }
  }

  void meet(Barrier& barrier, int member) const {
    if (recurrence_.by_panels) barrier.wait(member);
  }

  // A pass that reads what all members of its rows have written.
  void run_pass(const PackReader<T>& pack, void (*function)(const Pass<T>&), Pass<T>& pass, int member) const {
    if (recurrence_.by_panels) fetch(pass.left, pass.rows);
    pack.run(function, pass, member);
  }

  Pass<T> pass_over(const Chunk& chunk, int member, const Slice& slice, size_t s) {
    const size_t i = schedule_.index(s, slice.rows.first) - chunk.first_row;
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.descending = s % 2 == 1;
    pass.units = w_.hidden_size;
    pass.gates = {gate_rows_ + i, gates().panel_stride()};
    pass.left = no_operand(pass.gates.rows);
    pass.h_previous = h_rows_ + i;
    pass.d_output = d_output_rows_ + i;
    pass.choices = w_.choices();
    carry_.describe(pass, slice);
    if (own_sums_.active()) own_sums_.describe(pass, slice, member);
    return pass;
  }

  // A left factor of size zero, whose addresses are valid but not followed.
  static Operand<T> no_operand(const T* const* rows) { return {rows, 0, 0, 1, 0}; }

  // ---- The gradient of x ----

  void input_gradient(size_t rows, int member, Progress& progress) {
    if (!call_.d_x.data) return;
    const size_t panels = w_.backward().input.panels();
    // Where panels are filled as they are read, each by one member only.
    if (packs_.filled() > 0) return input_gradient_of({{0, rows}, part_of(panels, member, members_)}, member);
    for_each_block(part_of(rows, member, members_), [&](const Part& block) {
      input_gradient_of({block, {0, panels}}, member);
      progress.add(block.size() * work_of_row({0, panels_}, w_.input_size));
    });
  }

  void input_gradient_of(const Slice& slice, int member) {
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.units = w_.input_size;
    const size_t block = w_.cell.gates * w_.kernels.vector;
    pass.left = {gate_rows_ + slice.rows.first, w_.cell.input * width_, panels_ * block, block, gates().panel_stride()};
    pass.output = d_x_rows_ + slice.rows.first;
    pass.accumulate = call_.accumulate_d_x;
    packs_.input.run(w_.kernels.affine, pass, member);
  }

  // By turns: short rows have more of it.
  void zero_padding(size_t member, Progress& progress) {
    if (!call_.d_x.data || call_.accumulate_d_x) return;
    for (size_t place = member; place < schedule_.batch(); place += static_cast<size_t>(members_))
      for (size_t t = schedule_.length(place); t < schedule_.times(); ++t) {
        std::fill_n(call_.d_x.at(t, schedule_.row(place)), w_.input_size, T(0));
        progress.add(w_.input_size);
      }
  }

  // Multiply-adds of a row in products of so many columns with all gates of some panels.
  size_t work_of_row(const Part& panels, size_t columns) const {
    return w_.cell.gates * panels.size() * w_.kernels.vector * columns;
  }

  const RecurrentWeights<T>& w_;
  const RecurrentBackward<T>& call_;
  const Schedule& schedule_;
  const RecurrentTape<T>& tape_;
  const size_t panels_;
  const ptrdiff_t width_;
  const bool recomputes_;                                        // whether the gates have to be computed again
  Panels<T> forward_input_, forward_hidden_, forward_hidden_n_;  // if so
  PackReaders<T> packs_;
  Plan recurrence_;
  int members_;
  size_t rows_;  // of the largest chunk
  Buffer<T> chunk_memory_;
  GateRows<T> chunk_gates_;
  Buffer<T> zeros_, unread_;
  Buffer<T> masked_, flow_;  // with a mask: the states as the hidden weights read them, and what flows back from there
  Carry<T> carry_, second_carry_, kept_, c_;
  ZoneoutRows<T> zoneout_;
  OwnSums<T> own_sums_;
  std::optional<WeightGradients<T>> weight_gradients_;
  std::vector<T*> written_, d_h_0_rows_, unread_rows_;
  T **gate_rows_, **d_x_rows_;
  // With resets, the gates whose gradients flow into the step before: zeros for a row that a reset cuts off.
  std::vector<T*> flowing_rows_;
  std::vector<T*> next_rows_;               // the same of the step after the chunk, by place
  std::vector<T*> flow_rows_;               // by place
  std::vector<const T*> read_, zero_rows_;  // the first holds the tables of what is read
  const T **x_rows_, **h_rows_, **d_output_rows_, **masked_rows_;
};

// The gradients when there are no rows or no units, however many steps there are.
template <class T>
void zero_gradients(const RecurrentWeights<T>& weights, const Schedule& schedule, const RecurrentBackward<T>& call) {
  const size_t I = weights.input_size, gates = weights.cell.gates * weights.hidden_size;
  const RecurrentParameters<T>& d = call.gradients;
  std::fill_n(d.weight_ih, gates * I, T(0));
  std::fill_n(d.weight_hh, gates * weights.hidden_size, T(0));
  for (T* vector : {d.bias_ih, d.bias_hh, d.gamma_ih, d.gamma_hh})
    if (vector) std::fill_n(vector, gates, T(0));
  if (d.peephole) std::fill_n(d.peephole, 3 * weights.hidden_size, T(0));
  if (!call.d_x.data || call.accumulate_d_x || schedule.batch() == 0 || I == 0) return;
  for (size_t t = 0; t < schedule.times(); ++t)
    for (size_t b = 0; b < schedule.batch(); ++b) std::fill_n(call.d_x.at(t, b), I, T(0));
}

}  // namespace

template <class T>
void recurrent_backward(const RecurrentWeights<T>& weights, const RecurrentBackward<T>& call, RecurrentTape<T>& tape,
                        int threads) {
  const Schedule& schedule = tape.schedule;
  if (schedule.batch() == 0 || weights.hidden_size == 0) return zero_gradients(weights, schedule, call);
  const Call mark;
  if (!BackwardRun<T>(weights, call, tape, threads).run()) BackwardRun<T>(weights, call, tape, 1).run();
}

template void recurrent_backward(const RecurrentWeights<float>&, const RecurrentBackward<float>&, RecurrentTape<float>&,
                                 int);
template void recurrent_backward(const RecurrentWeights<double>&, const RecurrentBackward<double>&,
                                 RecurrentTape<double>&, int);

}  // namespace gru
