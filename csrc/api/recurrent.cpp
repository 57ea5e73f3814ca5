// The calls of a recurrent layer. All that is asked of their arguments is asked here and in the schedule.
#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "checks.h"
#include "tape.h"
#include "weights.h"

namespace gru::api {

namespace {

template <class E, class Array>
Sequence<E> view(const Array& array, const char* name, bool needed = false) {
  return {typed<E>(array.data, name, needed), array.stride[0], array.stride[1]};
}

// Of (D, B, H), the rows of a direction.
template <class E>
Rows<E> part(const Sequence<E>& states, int direction) {
  return {states.data ? states.data + direction * states.step : nullptr, states.row};
}

// Of (T, B, D P), the units of a direction.
template <class E>
Sequence<E> side(const Sequence<E>& all, int direction, size_t size) {
  return {all.data ? all.data + static_cast<size_t>(direction) * size : nullptr, all.step, all.row};
}

void check_weights(const gn_call& call) {
  const gn_weights *const first = call.weights[0], *const second = call.weights[1];
  if (!first) refuse("weights", "what gn_weights_create made", "NULL");
  if (!second) return;
  const auto alike = [](const auto& a, const auto& b) {
    return a.kind == b.kind && a.input_size == b.input_size && a.hidden_size == b.hidden_size &&
           a.output_size == b.output_size && &a.kernels == &b.kernels;
  };
  if (first->type() != second->type() ||
      !(first->type() == GN_FLOAT32 ? alike(first->as<float>(), second->as<float>())
                                    : alike(first->as<double>(), second->as<double>())))
    refuse("weights", "the same cell, type and sizes in both directions", "others");
  if (call.reverse) refuse("reverse", "false for a layer of both directions", "true");
}

Zoneout zoneout_of(const gn_call& call, int direction, size_t states) {
  if (!(call.zoneout >= 0 && call.zoneout <= 1)) refuse("zoneout", "0 to 1", std::to_string(call.zoneout));
  if (call.zoneout > 0 && states > 1) refuse("zoneout", "0 for a cell of two states", std::to_string(call.zoneout));
  return {call.zoneout, call.zoneout_is_random, call.zoneout_key[direction]};
}

Steps steps_of(const gn_call& call) {
  return {call.steps,
          call.batch,
          call.reverse,
          call.lengths,
          {static_cast<const bool*>(call.reset.data), call.reset.stride[0], call.reset.stride[1]}};
}

// c is the LSTM's alone.
template <class E, class Array>
Sequence<E> view_of_c(const Array& array, const char* name, size_t states, bool needed = false) {
  if (array.data && states < 2) refuse(name, "NULL for this cell", "an array");
  return view<E>(array, name, needed && states == 2);
}

// The views of a call, checked.
template <class T>
struct Views {
  explicit Views(const gn_call& call)
      : weights(call.weights[0]->as<T>()),
        cells(product(call.steps, call.batch)),
        x(view<const T>(call.x, "x", product(cells, weights.input_size) > 0)),
        h_0(view<const T>(call.h_0, "h_0")),
        c_0(view_of_c<const T>(call.c_0, "c_0", weights.cell.states)),
        mask(view<const T>(call.mask, "mask")),
        output(view<T>(call.output, "output", product(cells, 2 * weights.output_size) > 0)) {}

  const RecurrentWeights<T>& weights;
  const size_t cells;  // no array can be larger than a product with them
  const Sequence<const T> x, h_0, c_0, mask;
  const Sequence<T> output;
};

// What a direction keeps on the tape, or in a copy of it.
template <class T>
RecurrentTape<T> tape_of(const gn_call& call, const TapeLayout& layout, const Schedule& schedule, int d,
                         Buffer<T>* copy = nullptr) {
  auto* memory = reinterpret_cast<T*>(static_cast<unsigned char*>(call.tape) + layout.direction(d));
  if (copy) {
    *copy = Buffer<T>(layout.elements(d));
    std::copy_n(memory, layout.elements(d), copy->data());
    memory = copy->data();
  }
  const Keep keep = call.keep == GN_KEEP_STATES ? Keep::states : Keep::gates;
  return {call.weights[d]->as<T>(), schedule, keep, memory};
}

// Calls compute(all) with direction(d, schedule) of one direction or both.
template <class Direction, class Compute>
void of_directions(const gn_call& call, const Schedule& schedule, Direction direction, Compute compute) {
  if (!call.weights[1]) {
    const auto one = direction(0, schedule);
    return compute(std::span(&one, 1));
  }
  const Schedule reversed = schedule.reversed();
  const decltype(direction(0, schedule)) both[] = {direction(0, schedule), direction(1, reversed)};
  compute(std::span(both, 2));
}

template <class T>
void forward(const gn_call& call) {
  const Views<T> views(call);
  const size_t P = views.weights.output_size, states = views.weights.cell.states;
  const bool any = call.batch > 0 && views.weights.hidden_size > 0;
  const auto h_n = view<T>(call.h_n, "h_n", any), c_n = view_of_c<T>(call.c_n, "c_n", states, any);
  const int threads = checked_threads(call.threads);
  const Zoneout zoneouts[] = {zoneout_of(call, 0, states), zoneout_of(call, 1, states)};
  const Schedule schedule(steps_of(call));  // once, so that both directions see the same
  std::optional<TapeLayout> layout;
  if (call.keep != GN_KEEP_NOTHING) layout = begin_tape(call, schedule);
  std::optional<RecurrentTape<T>> tapes[2];
  const auto direction = [&](int d, const Schedule& own) -> ForwardDirection<T> {
    if (layout) tapes[d].emplace(tape_of<T>(call, *layout, own, d));
    return {&call.weights[d]->as<T>(),
            &own,
            {views.x, part(views.h_0, d), part(views.mask, d), side(views.output, d, P), part(h_n, d),
             part(views.c_0, d), part(c_n, d), zoneouts[d]},
            layout ? &*tapes[d] : nullptr};
  };
  of_directions(call, schedule, direction, [&](auto all) { recurrent_forward<T>(all, threads); });
}

template <class T>
RecurrentParameters<T> gradients_of(const gn_gradients& all, const RecurrentWeights<T>& weights) {
  const auto pointer = [&](void* data, const char* name, bool exists = true, bool has_columns = true) {
    if (data && !exists) refuse(name, "NULL, as the weights have none", "an array");
    return view<T>(gn_output{data, {0, 0}}, name, exists && has_columns && weights.hidden_size > 0).data;
  };
  const bool has_gains = weights.cell.normalized;
  return {pointer(all.weight_ih, "gradients.weight_ih", true, weights.input_size > 0),
          pointer(all.weight_hh, "gradients.weight_hh"),
          pointer(all.bias_ih, "gradients.bias_ih", weights.has_bias_ih),
          pointer(all.bias_hh, "gradients.bias_hh", weights.has_bias_hh),
          pointer(all.gamma_ih, "gradients.gamma_ih", has_gains),
          pointer(all.gamma_hh, "gradients.gamma_hh", has_gains),
          pointer(all.peephole, "gradients.peephole", weights.has_peepholes),
          pointer(all.weight_hr, "gradients.weight_hr", weights.projects())};
}

template <class T>
void backward(const gn_backward_call& call, const gn_call& forward) {
  const Views<T> views(forward);
  const size_t P = views.weights.output_size, states = views.weights.cell.states;
  const auto d_output = view<const T>(call.d_output, "d_output"), d_h_n = view<const T>(call.d_h_n, "d_h_n");
  const auto d_c_n = view_of_c<const T>(call.d_c_n, "d_c_n", states);
  const auto d_x = view<T>(call.d_x, "d_x"), d_h_0 = view<T>(call.d_h_0, "d_h_0");
  const auto d_c_0 = view_of_c<T>(call.d_c_0, "d_c_0", states);
  const int threads = checked_threads(forward.threads);
  const Zoneout zoneouts[] = {zoneout_of(forward, 0, states), zoneout_of(forward, 1, states)};
  RecurrentParameters<T> gradients[2];
  for (int d = 0; d < 2 && forward.weights[d]; ++d)
    gradients[d] = gradients_of(call.gradients[d], forward.weights[d]->as<T>());
  const Schedule schedule = schedule_of_tape(forward);
  const TapeLayout layout = layout_of_tape(forward, schedule);
  use_tape(forward, !call.keep_tape);
  const auto output = Sequence<const T>{views.output.data, views.output.step, views.output.row};
  const bool copied = call.keep_tape && forward.keep == GN_KEEP_GATES;
  Buffer<T> copies[2];
  std::optional<RecurrentTape<T>> tapes[2];
  const auto direction = [&](int d, const Schedule& own) -> BackwardDirection<T> {
    tapes[d].emplace(tape_of<T>(forward, layout, own, d, copied ? &copies[d] : nullptr));
    return {&forward.weights[d]->as<T>(),
            {views.x, part(views.h_0, d), part(views.mask, d), zoneouts[d], side(output, d, P), side(d_output, d, P),
             part(d_h_n, d), part(d_c_n, d), d_x, call.accumulate_d_x || d == 1, part(d_h_0, d), part(d_c_0, d),
             gradients[d]},
            &*tapes[d]};
  };
  of_directions(forward, schedule, direction, [&](auto all) { recurrent_backward<T>(all, threads); });
}

template <class T>
void copy_gate_of(const gn_call& call, int direction, size_t gate, const gn_output& out) {
  const RecurrentWeights<T>& weights = call.weights[direction]->as<T>();
  if (gate >= weights.cell.gates)
    refuse("gate", "0 to " + std::to_string(weights.cell.gates - 1), std::to_string(gate));
  const auto to = view<T>(out, "out", call.steps > 0 && call.batch > 0 && weights.hidden_size > 0);
  Schedule schedule = schedule_of_tape(call);
  const TapeLayout layout = layout_of_tape(call, schedule);
  use_tape(call, false);
  if (direction == 1) schedule = schedule.reversed();
  copy_gate(weights, tape_of<T>(call, layout, schedule, direction), gate, to);
}

void check(const gn_call& call) {
  check_weights(call);
  if (call.keep < GN_KEEP_NOTHING || call.keep > GN_KEEP_STATES)
    refuse("keep", "one of gn_keep", std::to_string(call.keep));
}

bool is_float(const gn_call& call) { return call.weights[0]->type() == GN_FLOAT32; }

size_t indices_of(const gn_call& call) {
  if (!call.lengths || call.batch == 0) return product(call.steps, call.batch);
  Steps steps = steps_of(call);
  steps.reset = {};
  return Schedule(steps).size();
}

}  // namespace

}  // namespace gru::api

using namespace gru::api;

gn_status gn_tape_size(const gn_call* call, size_t* bytes, gn_error* error) {
  return guarded(error, [&] {
    gn_call room;
    const gn_call& own = taken(call, "call", room);
    check(own);
    if (own.keep == GN_KEEP_NOTHING) refuse("keep", "gates or states", "nothing");
    if (!bytes) refuse("bytes", "where to put them", "NULL");
    const bool has_resets = own.reset.data && own.steps > 0 && own.batch > 0;
    *bytes = TapeLayout(own, own.lengths && own.batch > 0, has_resets, indices_of(own)).header().size;
  });
}

gn_status gn_forward(const gn_call* call, gn_error* error) {
  return guarded(error, [&] {
    gn_call room;
    const gn_call& own = taken(call, "call", room);
    check(own);
    is_float(own) ? forward<float>(own) : forward<double>(own);
  });
}

gn_status gn_backward(const gn_backward_call* call, gn_error* error) {
  return guarded(error, [&] {
    gn_backward_call room;
    const gn_backward_call& own = taken(call, "call", room);
    gn_call forward_room;
    const gn_call& before = taken(own.forward, "forward", forward_room);
    check(before);
    if (before.keep == GN_KEEP_NOTHING) refuse("keep", "gates or states", "nothing");
    is_float(before) ? backward<float>(own, before) : backward<double>(own, before);
  });
}

gn_status gn_copy_gate(const gn_call* call, int direction, size_t gate, const gn_output* out, gn_error* error) {
  return guarded(error, [&] {
    gn_call room;
    const gn_call& own = taken(call, "call", room);
    check(own);
    if (own.keep != GN_KEEP_GATES) refuse("keep", "gates", "something else");
    if (direction < 0 || direction > 1 || !own.weights[direction])
      refuse("direction", "one that the layer has", std::to_string(direction));
    if (!out) refuse("out", "an array", "NULL");
    is_float(own) ? copy_gate_of<float>(own, direction, gate, *out) : copy_gate_of<double>(own, direction, gate, *out);
  });
}
