#include <algorithm>
#include <vector>

#include "gru.h"
#include "plan.h"
#include "team.h"

namespace gru {

template <class T>
GruTape<T>::GruTape(const GruWeights<T>& weights, size_t steps_, size_t batch_)
    : steps(steps_), batch(batch_), vector_(weights.kernels.vector) {
  // An odd number of rows to a panel: panels a power of two apart would share a few sets of the cache.
  const size_t panel_size = product(product(steps, batch) | 1, 4 * vector_);
  buffer_ = Buffer<T>(product(panel_size, weights.panels()));
  panel_stride_ = static_cast<ptrdiff_t>(panel_size);
}

namespace {

// A forward call, and its scratch: the addresses of the rows of a chunk of steps and, without a tape, the gates of the
// chunk, step after step. Each member that has rows of its own has a region of it, which serves one block of them after
// another; members that share all rows share one.
template <class T>
class ForwardRun {
 public:
  ForwardRun(const GruWeights<T>& weights, const GruForward<T>& call, GruTape<T>* tape, int threads)
      : w_(weights), call_(call), tape_(tape), panels_(weights.panels()) {
    const size_t H = w_.hidden_size, hidden_bytes = 3 * H * H * sizeof(T);
    plan_ = plan_recurrence({call.steps, call.batch, panels_, 3 * H * (w_.input_size + H), hidden_bytes}, threads);
    slots_ = tape || w_.reset == Reset::before ? 4 : 3;
    const size_t row_size = slots_ * w_.kernels.vector;
    block_ = std::min(plan_.slice(0, call.batch, panels_).rows.size(), most_rows_in_block);  // the first is the largest
    chunk_ = plan_chunk(call.steps, panels_ * block_ * row_size * sizeof(T), hidden_bytes);
    const size_t regions = plan_.by_panels ? 1 : static_cast<size_t>(plan_.members);
    const size_t rows = product(chunk_, regions * block_);
    if (!tape) {
      panel_stride_ = static_cast<ptrdiff_t>(product(rows | 1, row_size));
      gates_ = Buffer<T>(product(static_cast<size_t>(panel_stride_), panels_));
    } else {
      panel_stride_ = tape->panel_stride();
    }
    x_rows_.resize(rows);
    gate_rows_.resize(rows);
    h_rows_.resize(rows + regions * block_);  // with the rows that the chunk continues from
    zeros_ = Buffer<T>(H);
    std::fill_n(zeros_.data(), H, T(0));
  }

  bool run() {
    Barrier barrier(plan_.members);
    auto work = [&](int member) {
      const Slice slice = plan_.slice(member, call_.batch, panels_);
      const size_t region = plan_.by_panels ? 0 : static_cast<size_t>(member);
      for_each_block(slice.rows, [&](const Part& rows) { run_block(region, {rows, slice.panels}, barrier); });
    };
    return run_team(plan_.members, work);
  }

 private:
  size_t time(size_t s) const { return call_.reverse ? call_.steps - 1 - s : s; }

  void run_block(size_t region, const Slice& slice, Barrier& barrier) {
    // Slices of panels share all rows, so one member writes their addresses.
    const bool fills = !plan_.by_panels || slice.panels.first == 0;
    for (size_t first = 0; first < call_.steps; first += chunk_) {
      const size_t steps = std::min(chunk_, call_.steps - first);
      if (fills) fill_tables(region, first, steps, slice.rows);
      meet(barrier);
      project(region, steps, slice);
      for (size_t s = 0; s < steps; ++s) step(region, s, (first + s) % 2 == 1, slice, barrier);
    }
    copy_h_n(slice);
  }

  void meet(Barrier& barrier) const {
    if (plan_.by_panels) barrier.wait();
  }

  // Where a region of the tables begins; of the table of states, which has one step more, `h_begin`.
  size_t begin(size_t region) const { return region * block_ * chunk_; }
  size_t h_begin(size_t region) const { return region * block_ * (chunk_ + 1); }

  void fill_tables(size_t region, size_t first, size_t steps, const Part& rows) {
    size_t i = begin(region), h = h_begin(region);
    for (size_t b = rows.first; b < rows.last; ++b)
      h_rows_[h++] = first == 0 ? initial_state(b) : call_.output.at(time(first - 1), b);
    for (size_t s = 0; s < steps; ++s) {
      const size_t t = time(first + s);
      for (size_t b = rows.first; b < rows.last; ++b, ++i) {
        x_rows_[i] = call_.x.at(t, b);
        h_rows_[h++] = call_.output.at(t, b);
        gate_rows_[i] = tape_ ? tape_->row(t, b) : scratch_row(i);
      }
    }
  }

  // The initial state is read through the table of states, and never written through it.
  T* initial_state(size_t b) const { return call_.h_0.data ? const_cast<T*>(call_.h_0.at(b)) : zeros_.data(); }

  T* scratch_row(size_t i) const {
    const size_t width = w_.kernels.vector;
    return gates_.data() + i * slots_ * width + (slots_ == 4 ? width : 0);
  }

  void project(size_t region, size_t steps, const Slice& slice) const {
    Pass<T> pass = pass_over(slice, w_.forward().input);
    pass.rows = steps * slice.rows.size();
    pass.bias = w_.forward().input_bias.data();
    pass.left = plain_operand<T>(x_rows_.data() + begin(region), w_.input_size);
    pass.gates.rows = gate_rows_.data() + begin(region);
    w_.kernels.project(pass);
  }

  // Step s of the chunk.
  void step(size_t region, size_t s, bool descending, const Slice& slice, Barrier& barrier) const {
    const auto& packs = w_.forward();
    const size_t H = w_.hidden_size, rows = slice.rows.size();
    T* const* h = h_rows_.data() + h_begin(region) + s * rows;
    T* const* gates = gate_rows_.data() + begin(region) + s * rows;
    Pass<T> pass = pass_over(slice, packs.hidden);
    pass.descending = descending;
    pass.left = plain_operand<T>(h, H);
    pass.bias = packs.hidden_bias.data();
    pass.h_previous = h;
    pass.output = h + rows;
    pass.gates.rows = gates;
    if (w_.reset == Reset::after) {
      (tape_ ? w_.kernels.reset_after_taped : w_.kernels.reset_after)(pass);
    } else {
      w_.kernels.reset_before_gates(pass);
      meet(barrier);
      const auto width = static_cast<ptrdiff_t>(w_.kernels.vector);
      pass.right = packs.hidden_n.view();
      pass.left = {gates, -width, H, w_.kernels.vector, panel_stride_};
      w_.kernels.reset_before_output(pass);
    }
    meet(barrier);
  }

  Pass<T> pass_over(const Slice& slice, const Pack<T>& pack) const {
    Pass<T> pass{};
    pass.rows = slice.rows.size();
    pass.first_panel = slice.panels.first;
    pass.last_panel = slice.panels.last;
    pass.units = w_.hidden_size;
    pass.right = pack.view();
    pass.gates.panel_stride = panel_stride_;
    return pass;
  }

  void copy_h_n(const Slice& slice) const {
    const size_t width = w_.kernels.vector;
    const size_t first = slice.panels.first * width, last = std::min(slice.panels.last * width, w_.hidden_size);
    if (first >= last) return;
    for (size_t b = slice.rows.first; b < slice.rows.last; ++b) {
      const T* from = call_.steps ? call_.output.at(time(call_.steps - 1), b) : initial_state(b);
      if (from != call_.h_n.at(b)) std::copy(from + first, from + last, call_.h_n.at(b) + first);
    }
  }

  const GruWeights<T>& w_;
  const GruForward<T>& call_;
  GruTape<T>* tape_;
  const size_t panels_;
  Plan plan_;
  size_t slots_, block_, chunk_;
  ptrdiff_t panel_stride_;
  Buffer<T> gates_, zeros_;
  std::vector<const T*> x_rows_;
  std::vector<T*> gate_rows_, h_rows_;
};

}  // namespace

template <class T>
void gru_forward(const GruWeights<T>& weights, const GruForward<T>& call, GruTape<T>* tape, int threads) {
  // Then there is nothing to compute, however many steps there are.
  if (call.batch == 0 || weights.hidden_size == 0) return;
  if (!ForwardRun<T>(weights, call, tape, threads).run()) ForwardRun<T>(weights, call, tape, 1).run();
}

template class GruTape<float>;
template class GruTape<double>;
template void gru_forward(const GruWeights<float>&, const GruForward<float>&, GruTape<float>*, int);
template void gru_forward(const GruWeights<double>&, const GruForward<double>&, GruTape<double>*, int);

}  // namespace gru
