#include <algorithm>
#include <initializer_list>
#include <vector>

#include "carry.h"
#include "gemm.h"
#include "gru.h"
#include "schedule.h"
#include "team.h"

namespace gru {

namespace {

// A backward call: the recurrence from the last step to the first, in which the tape's gates become their gradients in
// place, and then the products that need all of them. Tables hold the addresses of rows by index.
template <class T>
class BackwardRun {
 public:
  BackwardRun(const RecurrentWeights<T>& weights, const RecurrentBackward<T>& call, const Schedule& schedule,
              RecurrentTape<T>& tape, int threads)
      : w_(weights),
        packs_(weights.backward(threads)),
        call_(call),
        schedule_(schedule),
        tape_(tape),
        panels_(weights.panels()),
        rows_(schedule.size()),
        width_(static_cast<ptrdiff_t>(weights.kernels.vector)) {
    const size_t H = w_.hidden_size, G = w_.shape.gates, row_work = G * H * (w_.input_size + H);
    recurrence_ = plan_recurrence(
        {schedule.steps(), schedule.rows_on_average(), panels_, row_work, G * H * H * sizeof(T)}, threads);
    // Members who take no part in the recurrence wait for it, perhaps asleep: that must be worth more to them.
    const size_t products_work = 2 * rows_ * row_work / (recurrence_.members > 1 ? 1 : 16);
    members_ = std::max(recurrence_.members, plan_members(products_work, rows_, threads));
    carry_ = Carry<T>(weights, schedule, w_.shape.states);
    zeros_ = Buffer<T>(H);
    std::fill_n(zeros_.data(), H, T(0));
    gate_rows_.resize(rows_);
    x_rows_.resize(rows_);
    h_rows_.resize(rows_);
    d_output_rows_.resize(rows_);
    if (call.d_x.data) d_x_rows_.resize(rows_);
    if (call.d_h_0.data) d_h_0_rows_.resize(call.batch);
    if (schedule.has_resets()) flowing_rows_.resize(rows_);
    plan_weight_gradients();
  }

  bool run() {
    Barrier everyone(members_), recurrent(recurrence_.members);
    auto work = [&](int member) {
      fill_tables(part_of(schedule_.steps(), member, members_));
      if (member == 0) fill_d_h_0_rows();
      if (member == 0 && schedule_.has_resets()) zero_spare_row();
      everyone.wait();
      if (member < recurrence_.members) recur_in_blocks(recurrence_.slice(member, schedule_, panels_), recurrent);
      everyone.wait();
      weight_gradients(member);
      everyone.wait();
      input_gradient(part_of(rows_, member, members_));
      zero_padding(part_of(call_.batch, member, members_));
    };
    return run_team(members_, work);
  }

 private:
  void fill_tables(const Part& steps) {
    for (size_t s = steps.first; s < steps.last; ++s) {
      const Part live = schedule_.live(s, {0, call_.batch});
      for (size_t place = 0; place < live.last; ++place) {
        const size_t i = schedule_.index(s, place), t = schedule_.time(s, place), b = schedule_.row(place);
        gate_rows_[i] = tape_.row(i);
        x_rows_[i] = call_.x.at(t, b);
        h_rows_[i] = state_before<T>(schedule_, s, place, call_.h_0, call_.output, zeros_.data());
        d_output_rows_[i] = call_.d_output.data ? call_.d_output.at(t, b) : zeros_.data();
        if (call_.d_x.data) d_x_rows_[i] = call_.d_x.at(t, b);
        if (schedule_.has_resets()) flowing_rows_[i] = tape_.row(schedule_.fresh(s, place) ? rows_ : i);
      }
    }
  }

  void fill_d_h_0_rows() {
    for (size_t place = 0; place < d_h_0_rows_.size(); ++place)
      d_h_0_rows_[place] = call_.d_h_0.at(schedule_.row(place));
  }

  void zero_spare_row() {
    const ptrdiff_t lead = static_cast<ptrdiff_t>(w_.shape.taped_lead) * width_;
    for (size_t panel = 0; panel < panels_; ++panel)
      std::fill_n(tape_.row(rows_) + static_cast<ptrdiff_t>(panel) * tape_.panel_stride() - lead, tape_.row_stride(),
                  T(0));
  }

  // ---- The recurrence ----

  void recur_in_blocks(const Slice& slice, Barrier& barrier) {
    for_each_block(slice.rows, [&](const Part& rows) { recur({rows, slice.panels}, barrier); });
  }

  void recur(const Slice& slice, Barrier& barrier) {
    carry_.load(slice, 0, call_.d_h_n);
    if (w_.shape.states == 2) carry_.load(slice, 1, call_.d_c_n);
    for (size_t s = schedule_.length(slice.rows.first); s-- > 0;) {
      carry_.cut(slice, s + 1);
      step({schedule_.live(s, slice.rows), slice.panels}, s, barrier);
    }
    carry_.cut(slice, 0);
    if (call_.d_h_0.data) initial_state(slice);
    if (w_.shape.states == 2) carry_.store(slice, 1, call_.d_c_0);
  }

  void step(const Slice& slice, size_t s, Barrier& barrier) {
    for_each_flow(s + 1, slice, [&](const Slice& rows, const Operand<T>* gradients) {
      Pass<T> pass = pass_over(rows, packs_.hidden, s);
      if (gradients) pass.left = *gradients;
      w_.passes().step_backward(pass);
    });
    meet(barrier);
    if (!w_.passes().second_backward) return;
    Pass<T> pass = pass_over(slice, packs_.hidden_n, s);
    pass.left = {pass.gates.rows, 2 * width_, panels_ * w_.kernels.vector, w_.kernels.vector, tape_.panel_stride()};
    w_.passes().second_backward(pass);
    meet(barrier);
  }

  void initial_state(const Slice& slice) {
    for_each_flow(0, slice, [&](const Slice& rows, const Operand<T>* gradients) {
      Pass<T> pass = pass_over(rows, packs_.hidden, 0);
      pass.output = d_h_0_rows_.data() + rows.rows.first;
      pass.left = gradients ? *gradients : no_operand(pass.output);
      w_.kernels.state_backward(pass);
    });
  }

  // Calls work(rows, gradients) for those rows into whose last state gradients flow from step `next`, and without them
  // for those that end before it.
  template <class Work>
  void for_each_flow(size_t next, const Slice& slice, Work work) {
    const Part going_on = schedule_.live(next, slice.rows), ending{going_on.last, slice.rows.last};
    if (going_on.size() > 0) {
      const Operand<T> gradients = gradients_of(next, going_on.first);
      work(Slice{going_on, slice.panels}, &gradients);
    }
    if (ending.size() > 0) work(Slice{ending, slice.panels}, nullptr);
  }

  void meet(Barrier& barrier) const {
    if (recurrence_.by_panels) barrier.wait();
  }

  Pass<T> pass_over(const Slice& slice, const Pack<T>& pack, size_t s) {
    const size_t i = schedule_.index(s, slice.rows.first);
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.descending = s % 2 == 1;
    pass.units = w_.hidden_size;
    pass.right = pack.view();
    pass.gates = {gate_rows_.data() + i, tape_.panel_stride()};
    pass.left = no_operand(pass.gates.rows);
    pass.h_previous = h_rows_.data() + i;
    pass.d_output = d_output_rows_.data() + i;
    carry_.describe(pass, slice);
    return pass;
  }

  // A left factor of size zero, whose addresses are valid but not followed.
  static Operand<T> no_operand(const T* const* rows) { return {rows, 0, 0, 1, 0}; }

  // The gradients of a step, from a place on, that flow into the state before it.
  Operand<T> gradients_of(size_t s, size_t place) const {
    const size_t block = w_.shape.hidden_gates * w_.kernels.vector;
    const auto& rows = schedule_.has_resets() ? flowing_rows_ : gate_rows_;
    return {rows.data() + schedule_.index(s, place), w_.shape.flow * width_, panels_ * block, block,
            tape_.panel_stride()};
  }

  // ---- The products over all steps ----

  void input_gradient(const Part& rows) {
    if (call_.d_x.data) for_each_block(rows, [&](const Part& block) { input_gradient_of(block); });
  }

  void input_gradient_of(const Part& rows) {
    Pass<T> pass{};
    pass.rows = rows.size();
    pass.last_panel = packs_.input.panels;
    pass.units = w_.input_size;
    const size_t block = w_.shape.gates * w_.kernels.vector;
    pass.left = {gate_rows_.data() + rows.first, 0, panels_ * block, block, tape_.panel_stride()};
    pass.right = packs_.input.view();
    pass.output = d_x_rows_.data() + rows.first;
    pass.accumulate = call_.accumulate_d_x;
    w_.kernels.affine(pass);
  }

  void zero_padding(const Part& places) {
    if (!call_.d_x.data || call_.accumulate_d_x) return;
    for (size_t place = places.first; place < places.last; ++place)
      for (size_t t = schedule_.length(place); t < call_.steps; ++t)
        std::fill_n(call_.d_x.at(t, schedule_.row(place)), w_.input_size, T(0));
  }

  // The weight gradients: of the input's weights, and of the hidden ones, which with reset before are two products.
  void plan_weight_gradients() {
    using Gates = std::initializer_list<size_t>;
    const size_t H = w_.hidden_size, I = w_.input_size;
    const auto matrix = [](T* all, size_t gate, size_t size) { return all ? all + gate * size : nullptr; };
    // The gradients of some gates, which stand in slots from `slot` on.
    const auto add = [&](const Operand<T>& left, ptrdiff_t slot, Gates gates, T* out, T* bias) {
      const T* const right = tape_.row(0) + slot * width_;
      GateProduct<T> product{left, right, tape_.row_stride(), tape_.panel_stride(), 0, H, {}, {}};
      for (const size_t gate : gates) {
        product.out[product.gates] = matrix(out, gate, H * left.size);
        product.totals[product.gates++] = matrix(bias, gate, H);
      }
      products_.emplace_back(w_.kernels, product, rows_);
    };
    const auto of_input = [&](Gates gates) {
      add(plain_operand<T>(x_rows_.data(), I), 0, gates, call_.d_weight_ih, call_.d_bias_ih);
    };
    const Operand<T> h = plain_operand<T>(h_rows_.data(), H);
    const auto of_hidden = [&](const Operand<T>& left, ptrdiff_t slot, Gates gates) {
      add(left, slot, gates, call_.d_weight_hh, call_.d_bias_hh);
    };
    switch (w_.cell) {
      case Cell::gru_reset_after:
        of_input({0, 1, 2});
        of_hidden(h, -1, {2, 0, 1});
        break;
      case Cell::gru_reset_before:
        of_input({0, 1, 2});
        of_hidden(h, 0, {0, 1});
        // U_n multiplies r * h, which stands in the panels of slot hn.
        of_hidden({gate_rows_.data(), -width_, H, w_.kernels.vector, tape_.panel_stride()}, 2, {2});
        break;
      case Cell::lstm:
        of_input({0, 1, 2, 3});
        of_hidden(h, 0, {0, 1, 2, 3});
        break;
      default:
        of_input({0});
        of_hidden(h, 0, {0});
    }
    for (const auto& run : products_)  // the first member's part is the largest
      member_scratch_ = std::max(member_scratch_, run.scratch_size(part_of(run.blocks(), 0, members_).size()));
    scratch_ = Buffer<T>(product(static_cast<size_t>(members_), member_scratch_));
  }

  void weight_gradients(int member) {
    // Whoever has the smaller part of one product has the larger one of the next.
    int place = member;
    for (const auto& run : products_) {
      run.compute(part_of(run.blocks(), place, members_),
                  scratch_.data() + static_cast<size_t>(member) * member_scratch_);
      place = members_ - 1 - place;
    }
  }

  const RecurrentWeights<T>& w_;
  const typename RecurrentWeights<T>::Backward& packs_;
  const RecurrentBackward<T>& call_;
  const Schedule& schedule_;
  RecurrentTape<T>& tape_;
  const size_t panels_, rows_;
  const ptrdiff_t width_;
  Plan recurrence_;
  int members_;
  size_t member_scratch_ = 0;
  Buffer<T> zeros_, scratch_;
  Carry<T> carry_;
  std::vector<GateProductRun<T>> products_;
  std::vector<T*> gate_rows_, d_x_rows_, d_h_0_rows_;
  // With resets, the gates whose gradients flow into the step before: zeros for a row that a reset cuts off.
  std::vector<T*> flowing_rows_;
  std::vector<const T*> x_rows_, h_rows_, d_output_rows_;
};

// The gradients when there are no rows or no units, however many steps there are.
template <class T>
void zero_gradients(const RecurrentWeights<T>& weights, const RecurrentBackward<T>& call) {
  const size_t I = weights.input_size, gates = weights.shape.gates * weights.hidden_size;
  std::fill_n(call.d_weight_ih, gates * I, T(0));
  std::fill_n(call.d_weight_hh, gates * weights.hidden_size, T(0));
  for (T* bias : {call.d_bias_ih, call.d_bias_hh})
    if (bias) std::fill_n(bias, gates, T(0));
  if (!call.d_x.data || call.accumulate_d_x || call.batch == 0 || I == 0) return;
  for (size_t t = 0; t < call.steps; ++t)
    for (size_t b = 0; b < call.batch; ++b) std::fill_n(call.d_x.at(t, b), I, T(0));
}

}  // namespace

template <class T>
void recurrent_backward(const RecurrentWeights<T>& weights, const RecurrentBackward<T>& call, RecurrentTape<T>& tape,
                        int threads) {
  if (call.batch == 0 || weights.hidden_size == 0) return zero_gradients(weights, call);
  const Schedule schedule(call);
  if (!BackwardRun<T>(weights, call, schedule, tape, threads).run())
    BackwardRun<T>(weights, call, schedule, tape, 1).run();
}

template void recurrent_backward(const RecurrentWeights<float>&, const RecurrentBackward<float>&, RecurrentTape<float>&,
                                 int);
template void recurrent_backward(const RecurrentWeights<double>&, const RecurrentBackward<double>&,
                                 RecurrentTape<double>&, int);

}  // namespace gru
