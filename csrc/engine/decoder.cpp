#include "engine/decoder.h"

#include <algorithm>
#include <vector>

#include "engine/carry.h"
#include "engine/forward_passes.h"
#include "engine/operands.h"
#include "engine/plan.h"
#include "engine/recurrence.h"
#include "engine/weight_gradients.h"
#include "runtime/team.h"

namespace gru {

template <class T>
DecoderWeights<T>::DecoderWeights(size_t input_size_, size_t hidden_size_, size_t key_size_, size_t value_size_,
                                  size_t heads_, const DecoderParameters<const T>& parameters)
    : input_size(input_size_),
      hidden_size(hidden_size_),
      key_size(key_size_),
      value_size(value_size_),
      heads(heads_),
      has_score(parameters.score != nullptr),
      gru(0, input_size + hidden_size, hidden_size, hidden_size, parameters.gru, nullptr),
      query(parameters.query ? std::optional<LinearWeights<T>>(std::in_place, hidden_size, key_size, parameters.query,
                                                               parameters.query_bias)
                             : std::nullopt),
      combine(value_size + hidden_size, hidden_size, parameters.combine, nullptr),
      score_(parameters.score, parameters.score ? parameters.score + key_size : nullptr) {}

namespace {

// Of a part of a tape, whole lines.
template <class T>
size_t lines(size_t size) {
  constexpr size_t line = alignment / sizeof(T);
  return product((size + line - 1) / line, line);
}

}  // namespace

template <class T>
DecoderTape<T>::DecoderTape(const DecoderWeights<T>& weights, size_t rows_, size_t source, T* memory)
    : rows(rows_),
      input_size(weights.input_size + weights.hidden_size),
      joined_size(weights.value_size + weights.hidden_size),
      attention_size(weights.heads * source),
      gates(weights.gru, rows, memory),
      hidden_size_(weights.hidden_size),
      query_size_(weights.key_size) {
  const auto take = [&](size_t size) {
    T* const begin = memory;
    memory += lines<T>(size);
    return begin;
  };
  take(GateRows<T>::size(weights.gru, rows));
  inputs_ = take(rows * input_size);
  joined_ = take(rows * joined_size);
  queries_ = weights.query ? take(rows * query_size_) : nullptr;
  attention_ = take(rows * attention_size);
}

template <class T>
size_t DecoderTape<T>::size(const DecoderWeights<T>& weights, size_t rows, size_t source) {
  size_t all = lines<T>(GateRows<T>::size(weights.gru, rows));
  for (const size_t size : {weights.input_size + weights.hidden_size, weights.value_size + weights.hidden_size,
                            weights.query ? weights.key_size : 0, product(weights.heads, source)})
    all += lines<T>(product(rows, size));
  return all;
}

namespace {

// What the two directions in time share. Rows stand at places, the longest first; a member has some of them for good.
template <class T>
class Decoding {
 protected:
  Decoding(const DecoderWeights<T>& weights, const Schedule& schedule, const AttendedMemory<T>& memory,
           const DecoderTape<T>& tape)
      : w_(weights),
        schedule_(schedule),
        attention_(weights.gru.kernels, memory),
        tape_(tape),
        batch_(schedule.batch()),
        H_(weights.hidden_size) {}

  // Multiply-adds of a row in a step.
  size_t row_work() const {
    const size_t gates = 3 * H_ * (tape_.input_size + H_ + activation_work);
    return gates + H_ * tape_.joined_size + (w_.query ? H_ * w_.key_size : 0) + attention_.work();
  }

  // However many steps there are of no row.
  size_t steps() const { return batch_ > 0 ? schedule_.steps() : 0; }

  // The places of a member: about as many steps as the others have.
  Part places(int member, int members) const {
    const auto bound = [&](int before) {
      const size_t wanted = schedule_.size() * static_cast<size_t>(before) / static_cast<size_t>(members);
      size_t place = 0;
      for (size_t steps = 0; place < batch_ && steps < wanted; ++place) steps += schedule_.length(place);
      return before == members ? batch_ : place;
    };
    return {bound(member), bound(member + 1)};
  }

  const T* state_before(size_t s, size_t place, const T* h_0) const {
    if (s > 0) return tape_.state(schedule_.index(s - 1, place));
    return h_0 ? h_0 + schedule_.row(place) * H_ : zeros_.data();
  }
  // Of (T, B, H).
  size_t at(size_t s, size_t place) const { return schedule_.time(s, place) * batch_ + schedule_.row(place); }

  // output = rows of `left` times some weights; what `output` holds is added to where they `accumulate`.
  void multiply(const Part& rows, const Operand<T>& left, const Panels<T>& right, size_t units, T* const* output,
                const T* bias = nullptr, bool accumulate = false) const {
    Pass<T> pass{};
    pass.rows = rows.size();
    pass.last_panel = (units + w_.gru.kernels.vector - 1) / w_.gru.kernels.vector;
    pass.units = units;
    pass.left = left;
    pass.right = right;
    pass.bias = bias;
    pass.output = output + rows.first;
    pass.accumulate = accumulate;
    w_.gru.kernels.affine(pass);
  }

  const DecoderWeights<T>& w_;
  const Schedule& schedule_;
  const Attention<T> attention_;
  const DecoderTape<T>& tape_;
  const size_t batch_, H_;
  const std::vector<T> zeros_ = std::vector<T>(H_, T(0));
};

template <class T>
class ForwardDecoding : Decoding<T> {
  using Base = Decoding<T>;
  using Base::w_, Base::schedule_, Base::attention_, Base::tape_, Base::batch_, Base::H_, Base::at, Base::multiply;

 public:
  ForwardDecoding(const DecoderWeights<T>& weights, const Schedule& schedule, const AttendedMemory<T>& memory,
                  const DecoderForward<T>& call, const DecoderTape<T>& tape)
      : Base(weights, schedule, memory, tape), call_(call), passes_(weights.gru, false) {}

  void run(int threads) {
    int members = plan_members(schedule_.size() * this->row_work(), batch_, threads);
    passes_.begin(members, true, false, tape_.gates.panel_stride(), 0);
    if (w_.query) query_ = w_.query->forward().whole(members);
    combine_ = w_.combine.forward().whole(members);
    Interruption interruption;
    auto work = [&](int member) {
      Progress progress(interruption, member);
      const Part places = this->places(member, members);
      for (size_t s = 0; s < this->steps(); ++s) {
        const Part live = schedule_.live(s, places);
        if (live.size() > 0) step(s, live, member);
        progress.add(live.size() * this->row_work());
      }
      finish(places);
      zero_padding<T>(schedule_, sequence(call_.y, H_), H_, member, members, progress);
      if (call_.attention)
        zero_padding<T>(schedule_, sequence(call_.attention, tape_.attention_size), tape_.attention_size, member,
                        members, progress);
    };
    if (!run_team(members, work)) run_team(members = 1, work);
  }

 private:
  Sequence<T> sequence(T* data, size_t size) const {
    return {data, static_cast<ptrdiff_t>(batch_ * size), static_cast<ptrdiff_t>(size)};
  }

  void step(size_t s, const Part& live, int member) {
    for (size_t place = live.first; place < live.last; ++place) fill(s, place);
    const auto from = [&](auto& rows) { return rows.data() + live.first; };
    const StepRows<T> rows{live.size(), from(x_), from(h_), from(h_), from(gates_), nullptr, from(state_)};
    const Part panels{0, w_.gru.panels()};
    passes_.project(rows, panels, member);
    passes_.hidden(rows, panels, s % 2 == 1, member);
    if (w_.query)
      multiply(live, plain_operand<T>(from(state_), H_), query_, w_.key_size, queries_.data(), w_.query->bias());
    for (size_t place = live.first; place < live.last; ++place) {
      const size_t i = schedule_.index(s, place);
      attention_.attend(schedule_.row(place), tape_.query(i), tape_.attention(i), tape_.joined(i));
      if (call_.attention)
        std::copy_n(tape_.attention(i), tape_.attention_size, call_.attention + at(s, place) * tape_.attention_size);
    }
    multiply(live, plain_operand<T>(from(joined_), tape_.joined_size), combine_, H_, y_.data());
    for (size_t place = live.first; place < live.last; ++place) w_.gru.kernels.tanh(H_, y_[place], y_[place]);
  }

  void fill(size_t s, size_t place) {
    const size_t i = schedule_.index(s, place), row = schedule_.row(place);
    T* const input = tape_.input(i);
    std::copy_n(call_.x + at(s, place) * w_.input_size, w_.input_size, input);
    const T* const first = call_.y_0 ? call_.y_0 + row * H_ : this->zeros_.data();
    std::copy_n(s > 0 ? y_[place] : first, H_, input + w_.input_size);
    x_[place] = input;
    h_[place] = this->state_before(s, place, call_.h_0);
    gates_[place] = tape_.gates.row(i);
    joined_[place] = tape_.joined(i);
    state_[place] = tape_.state(i);
    queries_[place] = tape_.query(i);
    y_[place] = call_.y + at(s, place) * H_;
  }

  void finish(const Part& places) const {
    for (size_t place = places.first; call_.h_n && place < places.last; ++place)
      std::copy_n(this->state_before(schedule_.length(place), place, call_.h_0), H_,
                  call_.h_n + schedule_.row(place) * H_);
  }

  const DecoderForward<T>& call_;
  ForwardPasses<T> passes_;
  Panels<T> query_{}, combine_{};
  // By place, the rows of a step.
  std::vector<const T*> x_ = std::vector<const T*>(batch_), h_ = x_;
  std::vector<T*> gates_ = std::vector<T*>(batch_), state_ = gates_, joined_ = gates_, queries_ = gates_, y_ = gates_;
};

template <class T>
class BackwardDecoding : Decoding<T> {
  using Base = Decoding<T>;
  using Base::w_, Base::schedule_, Base::attention_, Base::tape_, Base::batch_, Base::H_, Base::at, Base::multiply;

 public:
  BackwardDecoding(const DecoderWeights<T>& weights, const Schedule& schedule, const AttendedMemory<T>& memory,
                   const DecoderBackward<T>& call, const DecoderTape<T>& tape)
      : Base(weights, schedule, memory, tape),
        call_(call),
        carry_(weights.gru, schedule, 1),
        d_inputs_(product(batch_, tape.input_size)),
        d_joined_(product(batch_, tape.joined_size)),
        d_before_(product(tape.rows, H_)),
        d_queries_(product(tape.rows, weights.key_size)),
        flows_(product(batch_, H_)),
        d_scores_(weights.has_score ? product(batch_, weights.key_size) : 0) {
    for (size_t i = 0; i < tape.rows; ++i) gate_rows_.push_back(tape.gates.row(i));
    for (size_t i = 0; i < tape.rows; ++i) x_rows_.push_back(tape.input(i));
    h_rows_.resize(tape.rows);
    for (size_t s = 0; s < this->steps(); ++s)
      for (size_t place = 0; place < schedule.live(s, {0, batch_}).last; ++place)
        h_rows_[schedule.index(s, place)] = this->state_before(s, place, call.h_0);
    for (size_t place = 0; place < batch_; ++place) {
      d_input_rows_.push_back(d_inputs_.data() + place * tape.input_size);
      d_joined_rows_.push_back(d_joined_.data() + place * tape.joined_size);
      d_state_rows_.push_back(d_joined_rows_.back() + weights.value_size);
      flow_rows_.push_back(flows_.data() + place * H_);
    }
    before_rows_.resize(batch_);
    query_rows_.resize(batch_);
  }

  void run(int threads) {
    int members = plan_members(2 * schedule_.size() * this->row_work(), batch_, threads);
    hidden_ = w_.gru.backward().hidden.whole(members);
    input_ = w_.gru.backward().input.whole(members);
    if (w_.query) query_ = w_.query->backward().whole(members);
    combine_ = w_.combine.backward().whole(members);
    const Buffer<T> room(product(static_cast<size_t>(members), memory().steps));
    Interruption interruption;
    auto recur = [&](int member) {
      Progress progress(interruption, member);
      const Part places = this->places(member, members);
      begin(places);
      for (size_t s = this->steps(); s-- > 0;) {
        const Part live = schedule_.live(s, places);
        if (live.size() > 0) step(s, live, room.data() + static_cast<size_t>(member) * memory().steps);
        progress.add(2 * live.size() * this->row_work());
      }
      if (call_.d_h_0) store_d_h_0(places);
      const Sequence<T> d_x{call_.d_x, static_cast<ptrdiff_t>(batch_ * w_.input_size),
                            static_cast<ptrdiff_t>(w_.input_size)};
      zero_padding(schedule_, d_x, w_.input_size, member, members, progress);
    };
    if (!run_team(members, recur)) run_team(members = 1, recur);
    sum_over_rows(threads);
  }

 private:
  const AttendedMemory<T>& memory() const { return attention_.memory(); }

  void begin(const Part& places) {
    const size_t S = memory().steps, A = w_.key_size, M = w_.value_size;
    carry_.load({places, {0, w_.gru.panels()}}, 0, {});
    for (size_t place = places.first; place < places.last; ++place) {
      const size_t row = schedule_.row(place);
      std::fill_n(flow_rows_[place], H_, T(0));
      std::fill_n(d_input_rows_[place], tape_.input_size, T(0));
      std::fill_n(call_.memory.keys + row * S * A, S * A, T(0));
      std::fill_n(call_.memory.values + row * S * M, S * M, T(0));
      if (w_.has_score) std::fill_n(d_scores_.data() + row * A, A, T(0));
    }
  }

  void step(size_t s, const Part& live, T* room) {
    const size_t width = w_.gru.kernels.vector, first = schedule_.index(s, live.first);
    const auto from = [&](auto& rows) { return rows.data() + live.first; };
    for (size_t place = live.first; place < live.last; ++place) before_tanh(s, place);
    multiply(live, plain_operand<T>(from(before_rows_), H_), combine_, tape_.joined_size, d_joined_rows_.data());
    for (size_t place = live.first; place < live.last; ++place) attend(s, place, room);
    if (w_.query)
      multiply(live, plain_operand<T>(from(query_rows_), w_.key_size), query_, H_, d_state_rows_.data(), nullptr, true);

    T* const* const gates = gate_rows_.data() + first;
    const ptrdiff_t panel_stride = tape_.gates.panel_stride();
    Pass<T> pass{};
    pass.rows = live.size();
    pass.last_panel = w_.gru.panels();
    pass.descending = s % 2 == 1;
    pass.units = H_;
    pass.left = {gates, 0, 0, 1, 0};
    pass.right = hidden_;
    pass.gates = {gates, panel_stride};
    pass.h_previous = h_rows_.data() + first;
    pass.d_output = from(d_state_rows_);
    carry_.describe(pass, {live, {0, w_.gru.panels()}});
    w_.gru.cell.step_backward(pass);

    const auto gradients = [&](ptrdiff_t slot, size_t count) {
      return Operand<T>{gates, slot * static_cast<ptrdiff_t>(width), w_.gru.panels() * count * width, count * width,
                        panel_stride};
    };
    multiply(live, gradients(w_.gru.cell.flow, w_.gru.cell.hidden_gates), hidden_, H_, flow_rows_.data());
    multiply(live, gradients(w_.gru.cell.input, w_.gru.cell.gates), input_, tape_.input_size, d_input_rows_.data());
    for (size_t place = live.first; place < live.last; ++place)
      std::copy_n(d_input_rows_[place], w_.input_size, call_.d_x + at(s, place) * w_.input_size);
  }

  // From the gradient of y to that of what its tanh takes.
  void before_tanh(size_t s, size_t place) {
    const size_t i = schedule_.index(s, place), where = at(s, place) * H_;
    const T *const fed = d_input_rows_[place] + w_.input_size, *const y = call_.y + where;
    const T* const d_y = call_.d_y + where;
    T* const to = before_rows_[place] = d_before_.data() + i * H_;
    for (size_t unit = 0; unit < H_; ++unit) to[unit] = (d_y[unit] + fed[unit]) * (1 - y[unit] * y[unit]);
  }

  void attend(size_t s, size_t place, T* room) {
    const size_t i = schedule_.index(s, place), row = schedule_.row(place), S = memory().steps;
    T* const d_query = query_rows_[place] = d_queries_.data() + i * w_.key_size;
    attention_.backward(row, tape_.query(i), tape_.attention(i), d_joined_rows_[place], d_query,
                        {call_.memory.keys + row * S * w_.key_size, call_.memory.values + row * S * w_.value_size,
                         w_.has_score ? d_scores_.data() + row * w_.key_size : nullptr},
                        room);
    T* const d_state = d_state_rows_[place];
    for (size_t unit = 0; unit < H_; ++unit) d_state[unit] += flow_rows_[place][unit];
    if (!w_.query)
      for (size_t unit = 0; unit < H_; ++unit) d_state[unit] += d_query[unit];
  }

  void store_d_h_0(const Part& places) const {
    const size_t width = w_.gru.kernels.vector;
    for (size_t place = places.first; place < places.last; ++place)
      for (size_t unit = 0; unit < H_; ++unit)
        call_.d_h_0[schedule_.row(place) * H_ + unit] =
            flow_rows_[place][unit] + carry_.units(place, unit)[unit % width];
  }

  // The gradients of weights.
  void sum_over_rows(int threads) {
    const size_t rows = tape_.rows;
    int members = plan_members(rows * this->row_work(), rows, threads);
    const GradientRows<T> tables{tape_.gates, gate_rows_.data(), x_rows_.data(), h_rows_.data(), nullptr};
    const WeightGradients<T> gradients(w_.gru, call_.gradients.gru, tables, rows, false, members);
    Interruption interruption;
    auto work = [&](int member) {
      Progress progress(interruption, member);
      gradients.compute(member, rows, true, true, progress);
    };
    // The parts are those of so many members.
    if (!run_team(members, work)) {
      auto all = [&](int) {
        for (int member = 0; member < members; ++member) work(member);
      };
      run_team(1, all);
    }
    const auto joined = static_cast<ptrdiff_t>(tape_.joined_size), units = static_cast<ptrdiff_t>(H_);
    linear_backward<T>(w_.combine, rows, {tape_.joined(0), joined}, {d_before_.data(), units}, {},
                       call_.gradients.combine, nullptr, threads);
    if (w_.query)
      linear_backward<T>(*w_.query, rows, {tape_.state(0), joined},
                         {d_queries_.data(), static_cast<ptrdiff_t>(w_.key_size)}, {}, call_.gradients.query,
                         call_.gradients.query_bias, threads);
    if (w_.has_score) sum_of_scores(memory(), d_scores_.data(), call_.memory.score);
  }

  const DecoderBackward<T>& call_;
  Panels<T> hidden_{}, input_{}, query_{}, combine_{};
  Carry<T> carry_;
  Buffer<T> d_inputs_, d_joined_;   // of a step, by place
  Buffer<T> d_before_, d_queries_;  // of all steps
  Buffer<T> flows_;                 // by place: what flows from the gates of a step into the state before it
  Buffer<T> d_scores_;              // by row
  std::vector<T*> gate_rows_;       // of all steps
  std::vector<const T*> x_rows_, h_rows_;
  std::vector<T*> d_input_rows_, d_joined_rows_, d_state_rows_, flow_rows_, before_rows_, query_rows_;  // by place
};

}  // namespace

template <class T>
void decoder_forward(const DecoderWeights<T>& weights, const Schedule& schedule, const AttendedMemory<T>& memory,
                     const DecoderForward<T>& call, const DecoderTape<T>& tape, int threads) {
  const Call mark;
  ForwardDecoding<T>(weights, schedule, memory, call, tape).run(threads);
}

template <class T>
void decoder_backward(const DecoderWeights<T>& weights, const Schedule& schedule, const AttendedMemory<T>& memory,
                      const DecoderBackward<T>& call, const DecoderTape<T>& tape, int threads) {
  const Call mark;
  BackwardDecoding<T>(weights, schedule, memory, call, tape).run(threads);
}

template class DecoderWeights<float>;
template class DecoderWeights<double>;
template class DecoderTape<float>;
template class DecoderTape<double>;
template void decoder_forward(const DecoderWeights<float>&, const Schedule&, const AttendedMemory<float>&,
                              const DecoderForward<float>&, const DecoderTape<float>&, int);
template void decoder_forward(const DecoderWeights<double>&, const Schedule&, const AttendedMemory<double>&,
                              const DecoderForward<double>&, const DecoderTape<double>&, int);
template void decoder_backward(const DecoderWeights<float>&, const Schedule&, const AttendedMemory<float>&,
                               const DecoderBackward<float>&, const DecoderTape<float>&, int);
template void decoder_backward(const DecoderWeights<double>&, const Schedule&, const AttendedMemory<double>&,
                               const DecoderBackward<double>&, const DecoderTape<double>&, int);

}  // namespace gru
