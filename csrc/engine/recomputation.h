// The gates of a chunk of steps, computed again from the states: to the same bits as in the forward pass.
#pragma once

#include <vector>

#include "engine/backward_tables.h"
#include "engine/carry.h"
#include "engine/recurrence.h"
#include "engine/recurrent.h"

namespace gru {

template <class T>
class Recomputation : Recurrence<T> {
  using Base = Recurrence<T>;
  using Base::w_, Base::schedule_, Base::panels_, Base::width_, Base::work_of_row, Base::of_slots;

 public:
  Recomputation(const RecurrentWeights<T>& weights, const RecurrentTape<T>& tape, const ChunkGates<T>& gates,
                const BackwardTables<T>& tables, int members)
      : Base(weights, tape.schedule),
        tape_(tape),
        gates_(gates.gates()),
        tables_(tables),
        members_(members),
        input_(weights.forward().input.whole(members)),
        hidden_(weights.forward().hidden.whole(members)),
        second_(w_.cell.second ? weights.forward().second.whole(members) : Panels<T>{}),
        unread_(product(static_cast<size_t>(members), w_.hidden_size)) {
    for (size_t i = 0; i < static_cast<size_t>(members) * most_rows_in_block; ++i)
      unread_rows_.push_back(unread_.data() + i / most_rows_in_block * w_.hidden_size);
    if (w_.cell.states == 2) c_ = Carry<T>(weights, schedule_, 1);
  }

  // All states are known, so nobody has to wait for a step: members share the rows of all steps. The c of an LSTM is
  // not: there they share the units, and go step by step.
  void run(const Chunk& chunk, int member, Progress& progress) {
    if (w_.cell.states == 2) return step_by_step(chunk, part_of(panels_, member, members_), member, progress);
    for_each_block(part_of(chunk.rows, member, members_), [&](const Part& rows) {
      progress.add(rows.size() * work_of_row({0, panels_}, w_.input_size + w_.hidden_size));
      project({rows, {0, panels_}}, member);
      Pass<T> pass = pass_over({rows, {0, panels_}}, member);
      w_.cell.step_taped(pass);
      if (!w_.cell.second) return;
      pass.right = second_;
      pass.left = {pass.gates.rows, -of_slots(1), w_.hidden_size, width_, gates_.panel_stride()};
      pass.h_previous = tables_.h + rows.first;
      w_.cell.second(pass);
    });
  }

 private:
  void step_by_step(const Chunk& chunk, const Part& panels, int member, Progress& progress) {
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
        Pass<T> pass = pass_over({{first, first + places.size()}, panels}, member);
        c_.describe(pass, {places, panels});
        w_.cell.step_taped(pass);
        progress.add(places.size() * work_of_row(panels, w_.output_size));
      });
    }
  }

  // The projections of x, for rows of the chunk.
  void project(const Slice& slice, int member) const {
    Pass<T> pass = pass_over(slice, member);
    pass.right = input_;
    pass.bias = w_.input_bias();
    pass.left = plain_operand<T>(tables_.x + slice.rows.first, w_.input_size);
    w_.cell.project(pass);
  }

  // The step of rows of the chunk.
  Pass<T> pass_over(const Slice& slice, int member) const {
    Pass<T> pass = Base::pass_over(slice, w_.hidden_size);
    pass.gates = {tables_.gate + slice.rows.first, gates_.panel_stride()};
    pass.right = hidden_;
    pass.bias = w_.hidden_bias();
    const T* const* const read = tables_.read + slice.rows.first;
    pass.left = plain_operand<T>(read, w_.output_size);
    pass.h_previous = w_.cell.second ? read : tables_.h + slice.rows.first;
    pass.output = unread_rows_.data() + static_cast<size_t>(member) * most_rows_in_block;  // the states are known
    return pass;
  }

  const RecurrentTape<T>& tape_;
  const GateRows<T>& gates_;
  const BackwardTables<T>& tables_;
  const int members_;
  const Panels<T> input_, hidden_, second_;
  Buffer<T> unread_;
  mutable std::vector<T*> unread_rows_;
  Carry<T> c_;
};

}  // namespace gru
