// The passes of a forward step over some rows, which are addresses.
#pragma once

#include "engine/operands.h"
#include "engine/plan.h"
#include "engine/recurrent.h"
#include "formats/pack.h"

namespace gru {

// What a step finds and leaves of its rows.
template <class T>
struct StepRows {
  size_t count;
  const T* const* x;
  const T* const* h;     // the states before
  const T* const* read;  // what the hidden weights read of them: the same, or masked
  T* const* gates;       // as in Gates
  T* const* carry;       // c of the LSTM
  T* const* output;
};

// A step is project, hidden, second where the cell has it, and project_states where h is projected. Each reads what the
// one before has written of all panels.
template <class T>
class ForwardPasses {
 public:
  ForwardPasses(const RecurrentWeights<T>& weights, bool once) : w_(weights), packs_(weights.forward(), once) {}

  const PackReaders<T>& packs() const { return packs_; }

  // Must be called before the first pass. `team`: how many may pack weights. `shared`: whether others write a part of
  // what a pass reads.
  void begin(int team, bool taped, bool shared, ptrdiff_t gates_panel, ptrdiff_t carry_panel) {
    packs_.prepare(team);
    step_ = taped ? w_.cell.step_taped : w_.cell.step;
    shared_ = shared;
    gates_panel_ = gates_panel;
    carry_panel_ = carry_panel;
  }

  // The projections of x, into the gates.
  void project(const StepRows<T>& rows, const Part& panels, int member) const {
    Pass<T> pass = pass_over(rows, panels, w_.hidden_size);
    pass.bias = w_.input_bias();
    pass.left = plain_operand<T>(rows.x, w_.input_size);
    packs_.input.run(w_.cell.project, pass, member);
  }

  void hidden(const StepRows<T>& rows, const Part& panels, bool descending, int member) const {
    Pass<T> pass = pass_over(rows, panels, w_.hidden_size);
    pass.descending = descending;
    pass.left = plain_operand<T>(rows.read, w_.output_size);
    pass.bias = w_.hidden_bias();
    // Reset before has r * h from its first pass, which the hidden weights read, and h' from its second.
    if (w_.cell.second) pass.h_previous = rows.read;
    run(packs_.hidden, step_, pass, member);
  }

  // Projections and step in one pass, where the cell has that.
  bool has_whole() const { return w_.cell.whole_step; }
  void whole(const StepRows<T>& rows, const Part& panels, bool descending, int member) const {
    Pass<T> pass = pass_over(rows, panels, w_.hidden_size);
    pass.descending = descending;
    pass.x = {plain_operand<T>(rows.x, w_.input_size), packs_.input.panels()};
    pass.x_bias = w_.input_bias();
    pass.left = plain_operand<T>(rows.read, w_.output_size);
    pass.bias = w_.hidden_bias();
    packs_.hidden.run(w_.cell.whole_step, pass, member);
  }

  void second(const StepRows<T>& rows, const Part& panels, bool descending, int member) const {
    Pass<T> pass = pass_over(rows, panels, w_.hidden_size);
    pass.descending = descending;
    pass.bias = w_.hidden_bias();
    pass.left = {rows.gates, -width(), w_.hidden_size, w_.kernels.vector, gates_panel_};
    run(packs_.second, w_.cell.second, pass, member);
  }

  // The output, from what the cell has computed of h; panels are those of the output.
  void project_states(const StepRows<T>& rows, const Part& panels, int member) const {
    Pass<T> pass = pass_over(rows, panels, w_.output_size);
    pass.left = {rows.gates, w_.cell.projected * width(), w_.hidden_size, w_.kernels.vector, gates_panel_};
    run(packs_.second, w_.kernels.affine, pass, member);
  }

 private:
  ptrdiff_t width() const { return static_cast<ptrdiff_t>(w_.kernels.vector); }

  Pass<T> pass_over(const StepRows<T>& rows, const Part& panels, size_t units) const {
    Pass<T> pass{};
    pass.rows = rows.count;
    pass.first_panel = panels.first;
    pass.last_panel = panels.last;
    pass.units = units;
    pass.choices = w_.choices();
    pass.h_previous = rows.h;
    pass.output = rows.output;
    pass.gates = {rows.gates, gates_panel_};
    pass.carry = rows.carry;
    pass.carry_panel = carry_panel_;
    return pass;
  }

  void run(const PackReader<T>& pack, void (*function)(const Pass<T>&), Pass<T>& pass, int member) const {
    if (shared_) fetch(pass.left, pass.rows);
    pack.run(function, pass, member);
  }

  const RecurrentWeights<T>& w_;
  PackReaders<T> packs_;
  void (*step_)(const Pass<T>&) = nullptr;
  bool shared_ = false;
  ptrdiff_t gates_panel_ = 0, carry_panel_ = 0;
};

}  // namespace gru
