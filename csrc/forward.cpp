#include <algorithm>
#include <utility>
#include <vector>

#include "carry.h"
#include "exchange.h"
#include "gru.h"
#include "schedule.h"
#include "team.h"
#include "zoneout.h"

namespace gru {

template <class T>
GateRows<T>::GateRows(const RecurrentWeights<T>& weights, size_t rows, T* memory)
    : lead_(static_cast<ptrdiff_t>(weights.cell.taped_lead * weights.kernels.vector)),
      row_stride_(static_cast<ptrdiff_t>(weights.cell.taped_slots * weights.kernels.vector)),
      // An odd number of rows to a panel: panels a power of two apart would share a few sets of the cache.
      panel_stride_(static_cast<ptrdiff_t>(rows | 1) * row_stride_),
      memory_(memory) {}

template <class T>
size_t GateRows<T>::size(const RecurrentWeights<T>& weights, size_t rows) {
  return product(product(rows | 1, weights.cell.taped_slots * weights.kernels.vector), weights.panels());
}

namespace {

template <class T>
size_t chunk_of(const RecurrentWeights<T>& weights, size_t times, size_t batch, Keep keep) {
  if (keep == Keep::gates) return std::max<size_t>(times, 1);
  const size_t H = weights.hidden_size, hidden_bytes = weights.cell.gates * H * H * sizeof(T);
  const size_t row_bytes = weights.panels() * weights.cell.taped_slots * weights.kernels.vector * sizeof(T);
  // Larger weights, larger chunks: each reads all of them. (200,32,512,512): 603 ms at a third of this, 592 with it.
  const size_t chunk = plan_chunk(times, product(row_bytes, batch), 3 * hidden_bytes);
  constexpr size_t least_with_c = 4;  // or what is kept of c would be worth mentioning
  return weights.cell.states == 2 ? std::max(chunk, least_with_c) : chunk;
}

}  // namespace

template <class T>
RecurrentTape<T>::RecurrentTape(const RecurrentWeights<T>& weights, const Schedule& schedule_, Keep keep_, T* memory)
    : schedule(schedule_),
      keep(keep_),
      chunk(chunk_of(weights, schedule.times(), schedule.batch(), keep)),
      gates(keep == Keep::gates ? GateRows<T>(weights, schedule.size() + 1, memory) : GateRows<T>()),
      c(keep == Keep::states && weights.cell.states == 2 ? memory : nullptr) {}

template <class T>
size_t RecurrentTape<T>::size(const RecurrentWeights<T>& weights, size_t times, size_t batch, size_t indices,
                              Keep keep) {
  if (keep == Keep::gates) return GateRows<T>::size(weights, indices + 1);
  if (weights.cell.states == 1) return 0;
  const size_t chunk = chunk_of(weights, times, batch, keep);
  return product(product(weights.panels(), weights.kernels.vector), product((times + chunk - 1) / chunk, batch));
}

namespace {

// A forward call, and its scratch: the addresses of the rows of a chunk of steps and, without a tape, the gates of the
// chunk, step after step. Each member that has rows of its own has a region of it, which serves one block of them after
// another; members that share all rows share one.
template <class T>
class ForwardRun {
 public:
  ForwardRun(const RecurrentWeights<T>& weights, const RecurrentForward<T>& call, const Schedule& schedule,
             RecurrentTape<T>* tape, int threads)
      : w_(weights),
        call_(call),
        schedule_(schedule),
        tape_(tape),
        gates_of_tape_(tape && tape->keep == Keep::gates ? &tape->gates : nullptr),
        packs_(weights.forward(), reads_once(schedule.steps(), schedule.batch())),
        panels_(weights.panels()) {
    const size_t H = w_.hidden_size, G = w_.cell.gates, hidden_bytes = G * H * H * sizeof(T);
    const size_t row_work = G * panels_ * w_.kernels.vector * (w_.input_size + H + activation_work);
    const size_t filled = packs_.filled();
    const size_t work =
        schedule.size() * row_work + (tape ? training_packing_work : packing_work) * (filled + packs_.unpacked());
    const int members =
        plan_members(work, std::max(schedule.batch(), panels_), threads, tape ? training_per_member : least_per_member);
    const size_t input_bytes = G * H * w_.input_size * sizeof(T);  // read once, for all steps together
    const size_t step_bytes = hidden_bytes + input_bytes / std::max<size_t>(schedule.steps(), 1);
    plan_ = plan_recurrence(schedule, {panels_, row_work, step_bytes, state_exchange * H, filled}, members);
    packs_.prepare(plan_.members);
    const size_t row_size = (gates_of_tape_ ? w_.cell.taped_slots : w_.cell.slots) * w_.kernels.vector;
    for (int member = 0; member < plan_.members; ++member)
      block_ = std::max(block_, std::min(slice_of(member).rows.size(), most_rows_in_block));
    chunk_ = plan_chunk(schedule.steps(), panels_ * block_ * row_size * sizeof(T), hidden_bytes);
    const size_t regions = plan_.by_panels ? 1 : static_cast<size_t>(plan_.members);
    const size_t rows = product(chunk_, regions * block_);
    if (gates_of_tape_) {
      panel_stride_ = gates_of_tape_->panel_stride();
    } else {
      panel_stride_ = static_cast<ptrdiff_t>(product(rows | 1, row_size));
      gates_ = Buffer<T>(product(static_cast<size_t>(panel_stride_), panels_));
    }
    // Memory for the tables is asked for once: that takes longer than many a call.
    read_.resize(product(rows, call.mask.data ? 3 : 2));
    written_.resize(product(rows, 2));
    x_rows_ = read_.data();
    h_rows_ = x_rows_ + rows;
    left_rows_ = h_rows_ + rows;
    output_rows_ = written_.data();
    gate_rows_ = output_rows_ + rows;
    if (!call.h_0.data || schedule.has_resets()) {
      zeros_ = Buffer<T>(H);
      std::fill_n(zeros_.data(), H, T(0));
    }
    if (has_c()) carry_ = Carry<T>(weights, schedule, 1);
    if (call.zoneout.p > 0) zoneout_ = ZoneoutRows<T>(weights, call.zoneout, schedule, plan_.members);
    if (call.mask.data) masked_ = Buffer<T>(product(product(2, schedule.batch()), H));
  }

  bool run() {
    Interruption interruption;
    Barrier barrier(plan_.members, interruption);
    auto work = [&](int member) {
      Progress progress(interruption, member);
      const Slice slice = slice_of(member);
      const size_t region = plan_.by_panels ? 0 : static_cast<size_t>(member);
      for_each_block(slice.rows,
                     [&](const Part& rows) { run_block(member, region, {rows, slice.panels}, barrier, progress); });
      zero_padding(static_cast<size_t>(member), progress);
    };
    return run_team(plan_.members, work);
  }

 private:
  Slice slice_of(int member) const { return plan_.slice(member, schedule_.batch(), panels_); }
  bool has_c() const { return w_.cell.states == 2; }

  void run_block(int member, size_t region, const Slice& slice, Barrier& barrier, Progress& progress) {
    // Slices of panels share all rows, so one member writes their addresses.
    const bool fills = !plan_.by_panels || slice.panels.first == 0;
    const size_t steps = schedule_.length(slice.rows.first);
    if (has_c()) carry_.load(slice, 0, call_.c_0);
    for (size_t first = 0; first < steps; first += chunk_) {
      const size_t last = std::min(first + chunk_, steps);
      if (fills) fill_tables(region, first, last, slice.rows);
      if (first == 0 && call_.mask.data) mask_states(slice, 0);
      meet(barrier, member);
      project(member, region, first, last, slice, progress);
      size_t row = begin(region);
      for (size_t s = first; s < last; ++s) {
        const Slice live{schedule_.live(s, slice.rows), slice.panels};
        if (has_c()) carry_.cut(live, s);
        if (tape_ && tape_->c && s % tape_->chunk == 0) carry_.save(live, tape_->c + s / tape_->chunk * carry_.size());
        step(member, row, s, live, barrier);
        progress.add(live.rows.size() * work_of_row(slice, w_.hidden_size));
        row += live.rows.size();
      }
    }
    finish(slice);
    if (has_c()) carry_.store(slice, 0, call_.c_n);
  }

  void meet(Barrier& barrier, int member) const {
    if (plan_.by_panels) barrier.wait(member);
  }

  // A pass that reads what all members of its rows have written.
  void run_pass(const PackReader<T>& pack, void (*function)(const Pass<T>&), Pass<T>& pass, int member) const {
    if (plan_.by_panels) fetch(pass.left, pass.rows);
    pack.run(function, pass, member);
  }

  // Where a region of the tables begins.
  size_t begin(size_t region) const { return region * block_ * chunk_; }

  void fill_tables(size_t region, size_t first, size_t last, const Part& places) {
    size_t i = begin(region);
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

  T* scratch_row(size_t i) const { return gates_.data() + (i * w_.cell.slots + w_.cell.lead) * w_.kernels.vector; }

  void project(int member, size_t region, size_t first, size_t last, const Slice& slice, Progress& progress) const {
    size_t rows = 0;
    for (size_t s = first; s < last; ++s) rows += schedule_.live(s, slice.rows).size();
    Pass<T> pass = pass_over(slice);
    pass.bias = w_.input_bias();
    const size_t work = work_of_row(slice, w_.input_size);
    in_portions(begin(region), begin(region) + rows, work, most_rows_in_block, progress, [&](size_t from, size_t to) {
      pass.rows = to - from;
      pass.left = plain_operand<T>(x_rows_ + from, w_.input_size);
      pass.gates.rows = gate_rows_ + from;
      packs_.input.run(w_.cell.project, pass, member);
    });
  }

  // Multiply-adds of a row that is multiplied by the weights of the slice's units.
  size_t work_of_row(const Slice& slice, size_t size) const {
    return w_.cell.gates * slice.panels.size() * w_.kernels.vector * size;
  }

  // Where the masked state stands that a step begins with: the one after next is written over it.
  T* masked_row(size_t s, size_t place) const {
    return masked_.data() + (s % 2 * schedule_.batch() + place) * w_.hidden_size;
  }

  // What a step of some rows begins with, masked, in the units of the slice.
  void mask_states(const Slice& slice, size_t s) const {
    const size_t width = w_.kernels.vector;
    const size_t first = slice.panels.first * width, last = std::min(slice.panels.last * width, w_.hidden_size);
    for (size_t place = slice.rows.first; place < slice.rows.last; ++place) {
      const T* const mask = call_.mask.at(schedule_.row(place));
      const T* const h = state_before<T>(schedule_, s, place, call_.h_0, call_.output, zeros_.data());
      T* const to = masked_row(s, place);
      for (size_t unit = first; unit < last; ++unit) to[unit] = mask[unit] * h[unit];
    }
  }

  // What the units of a slice keep of the state before.
  void zone_out(int member, size_t row, size_t s, const Slice& slice) const {
    const size_t width = w_.kernels.vector;
    const size_t first = slice.panels.first * width, last = std::min(slice.panels.last * width, w_.hidden_size);
    for (size_t place = slice.rows.first; place < slice.rows.last; ++place, ++row) {
      const T* const taken = zoneout_.taken(member, s, place, first, last);
      const T* const h = h_rows_[row];
      T* const to = output_rows_[row];
      for (size_t unit = first; unit < last; ++unit) to[unit] = zoneout_.mix(taken[unit], to[unit], h[unit]);
    }
  }

  // Step s of all rows of a slice, of which the tables hold the first one at `row`.
  void step(int member, size_t row, size_t s, const Slice& slice, Barrier& barrier) const {
    Pass<T> pass = pass_over(slice);
    pass.descending = s % 2 == 1;
    const T* const* const read = (call_.mask.data ? left_rows_ : h_rows_) + row;
    pass.left = plain_operand<T>(read, w_.hidden_size);
    pass.bias = w_.hidden_bias();
    pass.choices = w_.choices();
    // Reset before has r * h from its first pass, which the hidden weights read, and h' from its second.
    pass.h_previous = w_.cell.second ? read : h_rows_ + row;
    pass.output = output_rows_ + row;
    pass.gates.rows = gate_rows_ + row;
    if (has_c()) carry_.describe(pass, slice);
    run_pass(packs_.hidden, gates_of_tape_ ? w_.cell.step_taped : w_.cell.step, pass, member);
    if (w_.cell.second) {
      meet(barrier, member);
      const auto width = static_cast<ptrdiff_t>(w_.kernels.vector);
      pass.left = {pass.gates.rows, -width, w_.hidden_size, w_.kernels.vector, panel_stride_};
      pass.h_previous = h_rows_ + row;
      run_pass(packs_.hidden_n, w_.cell.second, pass, member);
    }
    if (zoneout_.active()) zone_out(member, row, s, slice);
    if (call_.mask.data) mask_states({schedule_.live(s + 1, slice.rows), slice.panels}, s + 1);
    meet(barrier, member);
  }

  Pass<T> pass_over(const Slice& slice) const {
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.units = w_.hidden_size;
    pass.gates.panel_stride = panel_stride_;
    return pass;
  }

  // The last states.
  void finish(const Slice& slice) const {
    const size_t width = w_.kernels.vector;
    const size_t first = slice.panels.first * width, last = std::min(slice.panels.last * width, w_.hidden_size);
    if (first >= last) return;
    for (size_t place = slice.rows.first; place < slice.rows.last; ++place) {
      const size_t b = schedule_.row(place), length = schedule_.length(place);
      const T* from = call_.h_0.data ? call_.h_0.at(b) : zeros_.data();
      if (length > 0) from = call_.output.at(schedule_.time(length - 1, place), b);
      if (from != call_.h_n.at(b)) std::copy(from + first, from + last, call_.h_n.at(b) + first);
    }
  }

  // Behind the rows, which members take by turns: those of short ones have more to do.
  void zero_padding(size_t member, Progress& progress) const {
    for (size_t place = member; place < schedule_.batch(); place += static_cast<size_t>(plan_.members))
      for (size_t t = schedule_.length(place); t < schedule_.times(); ++t) {
        std::fill_n(call_.output.at(t, schedule_.row(place)), w_.hidden_size, T(0));
        progress.add(w_.hidden_size);
      }
  }

  const RecurrentWeights<T>& w_;
  const RecurrentForward<T>& call_;
  const Schedule& schedule_;
  RecurrentTape<T>* tape_;
  const GateRows<T>* gates_of_tape_;  // null when there are none
  PackReaders<T> packs_;
  const size_t panels_;
  Plan plan_;
  size_t block_ = 0, chunk_;
  ptrdiff_t panel_stride_;
  Buffer<T> gates_, zeros_, masked_;
  Carry<T> carry_;  // c of the LSTM
  ZoneoutRows<T> zoneout_;
  std::vector<const T*> read_;  // the tables of the rows that are read
  std::vector<T*> written_;
  const T **x_rows_, **h_rows_, **left_rows_;  // the last with a mask
  T **output_rows_, **gate_rows_;
};

}  // namespace

template <class T>
void recurrent_forward(const RecurrentWeights<T>& weights, const Schedule& schedule, const RecurrentForward<T>& call,
                       RecurrentTape<T>* tape, int threads) {
  // Then there is nothing to compute, however many steps there are.
  if (schedule.batch() == 0 || weights.hidden_size == 0) return;
  const Call mark;
  if (!ForwardRun<T>(weights, call, schedule, tape, threads).run())
    ForwardRun<T>(weights, call, schedule, tape, 1).run();
}

template <class T>
void copy_gate(const RecurrentWeights<T>& weights, const RecurrentTape<T>& tape, size_t gate, const Sequence<T>& out) {
  const Schedule& schedule = tape.schedule;
  const size_t width = weights.kernels.vector, H = weights.hidden_size;
  for (size_t place = 0; place < schedule.batch(); ++place) {
    const size_t b = schedule.row(place), length = schedule.length(place);
    for (size_t s = 0; s < length; ++s) {
      const T* from = tape.gates.row(schedule.index(s, place)) + gate * width;
      T* to = out.at(schedule.time(s, place), b);
      for (size_t unit = 0; unit < H; unit += width, from += tape.gates.panel_stride())
        std::copy_n(from, std::min(width, H - unit), to + unit);
    }
    for (size_t t = length; t < schedule.times(); ++t) std::fill_n(out.at(t, b), H, T(0));
  }
}

template void copy_gate(const RecurrentWeights<float>&, const RecurrentTape<float>&, size_t, const Sequence<float>&);
template void copy_gate(const RecurrentWeights<double>&, const RecurrentTape<double>&, size_t, const Sequence<double>&);
template class GateRows<float>;
template class GateRows<double>;
template class RecurrentTape<float>;
template class RecurrentTape<double>;
template void recurrent_forward(const RecurrentWeights<float>&, const Schedule&, const RecurrentForward<float>&,
                                RecurrentTape<float>*, int);
template void recurrent_forward(const RecurrentWeights<double>&, const Schedule&, const RecurrentForward<double>&,
                                RecurrentTape<double>*, int);

}  // namespace gru
