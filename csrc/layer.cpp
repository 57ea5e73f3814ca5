#include "layer.h"

#include "gru.h"

namespace gru {

namespace {

// Part `direction` of (directions, B, H), or none.
template <class T, class Data>
Rows<T> states(Data* all, const Layer& layer, int direction, size_t hidden_size) {
  if (!all) return {};
  T* const first = static_cast<T*>(all);
  return {first + static_cast<size_t>(direction) * layer.batch * hidden_size, static_cast<ptrdiff_t>(hidden_size)};
}

// Part `direction` of (T, B, directions * H), or none.
template <class T, class Data>
Sequence<T> side(Data* all, ptrdiff_t step, ptrdiff_t row, int direction, size_t hidden_size) {
  if (!all) return {};
  T* const first = static_cast<T*>(all);
  return {first + static_cast<size_t>(direction) * hidden_size, step, row};
}

Steps steps_of(const Layer& layer) {
  return {layer.steps, layer.batch, false, layer.lengths, {layer.reset, layer.reset_step, layer.reset_row}};
}

template <class T>
RecurrentParameters<T> typed(const LayerParameters& all) {
  return {static_cast<T*>(all.weight_ih), static_cast<T*>(all.weight_hh), static_cast<T*>(all.bias_ih),
          static_cast<T*>(all.bias_hh),   static_cast<T*>(all.gamma_ih),  static_cast<T*>(all.gamma_hh)};
}

template <class T>
LayerShape shape_of(const void* weights) {
  const auto& own = *static_cast<const RecurrentWeights<T>*>(weights);
  return {static_cast<int>(own.cell),
          own.input_size,
          own.hidden_size,
          own.shape.gates,
          own.shape.states,
          own.has_bias_ih && own.has_bias_hh,
          own.cell == Cell::gru_layer_norm};
}

template <class T>
void forward(const Layer& layer, LayerTape* tape, Keep keep, int threads) {
  Schedule schedule(steps_of(layer));  // once, so that both directions see the same
  for (int d = 0; d < layer.directions; ++d) {
    const auto& weights = *static_cast<const RecurrentWeights<T>*>(layer.weights[d]);
    const size_t H = weights.hidden_size;
    RecurrentForward<T> call{};
    call.x = {static_cast<const T*>(layer.x), layer.x_step, layer.x_row};
    call.h_0 = states<const T>(layer.h_0, layer, d, H);
    call.mask = states<const T>(layer.mask, layer, d, H);
    call.zoneout = {layer.zoneout, layer.zoneout_random, layer.zoneout_keys[d]};
    call.c_0 = states<const T>(layer.c_0, layer, d, H);
    call.output = side<T>(layer.output, layer.output_step, layer.output_row, d, H);
    call.h_n = states<T>(layer.h_n, layer, d, H);
    call.c_n = states<T>(layer.c_n, layer, d, H);
    if (d == 1) schedule = schedule.reversed();
    RecurrentTape<T>* own = nullptr;
    if (tape) {
      const auto made = std::make_shared<RecurrentTape<T>>(weights, schedule, keep);
      own = made.get();
      tape->of[d] = made;
    }
    recurrent_forward(weights, schedule, call, own, threads);
  }
}

template <class T>
void backward(const Layer& layer, const LayerGradients& gradients, LayerTape& tape, int threads) {
  for (int d = 0; d < layer.directions; ++d) {
    const auto& weights = *static_cast<const RecurrentWeights<T>*>(layer.weights[d]);
    const size_t H = weights.hidden_size;
    RecurrentBackward<T> call{};
    call.x = {static_cast<const T*>(layer.x), layer.x_step, layer.x_row};
    call.h_0 = states<const T>(layer.h_0, layer, d, H);
    call.mask = states<const T>(layer.mask, layer, d, H);
    call.zoneout = {layer.zoneout, layer.zoneout_random, layer.zoneout_keys[d]};
    call.output = side<const T>(layer.output, layer.output_step, layer.output_row, d, H);
    call.d_output = side<const T>(gradients.d_output, gradients.d_output_step, gradients.d_output_row, d, H);
    call.d_h_n = states<const T>(gradients.d_h_n, layer, d, H);
    call.d_c_n = states<const T>(gradients.d_c_n, layer, d, H);
    call.d_x = {static_cast<T*>(gradients.d_x), gradients.d_x_step, gradients.d_x_row};
    call.accumulate_d_x = d == 1;
    call.d_h_0 = states<T>(gradients.d_h_0, layer, d, H);
    call.d_c_0 = states<T>(gradients.d_c_0, layer, d, H);
    call.gradients = typed<T>(gradients.parameters[d]);
    recurrent_backward(weights, call, *static_cast<RecurrentTape<T>*>(tape.of[d].get()), threads);
    tape.of[d].reset();
  }
}

template <class T>
void copy_gate_of(const Layer& layer, const LayerTape& tape, int direction, size_t gate, void* to, ptrdiff_t to_step,
                  ptrdiff_t to_row) {
  const auto& weights = *static_cast<const RecurrentWeights<T>*>(layer.weights[direction]);
  const auto& own = *static_cast<const RecurrentTape<T>*>(tape.of[direction].get());
  copy_gate<T>(weights, own, gate, {static_cast<T*>(to), to_step, to_row});
}

}  // namespace

LayerShape layer_shape(const void* weights, bool float64) {
  return float64 ? shape_of<double>(weights) : shape_of<float>(weights);
}

void layer_forward(const Layer& layer, int threads) {
  const Keep keep{};  // there is no tape
  layer.float64 ? forward<double>(layer, nullptr, keep, threads) : forward<float>(layer, nullptr, keep, threads);
}

void layer_forward_taped(const Layer& layer, LayerTape& tape, bool states, int threads) {
  const Keep keep = states ? Keep::states : Keep::gates;
  layer.float64 ? forward<double>(layer, &tape, keep, threads) : forward<float>(layer, &tape, keep, threads);
}

void layer_gate(const Layer& layer, const LayerTape& tape, int direction, size_t gate, void* to, ptrdiff_t to_step,
                ptrdiff_t to_row) {
  layer.float64 ? copy_gate_of<double>(layer, tape, direction, gate, to, to_step, to_row)
                : copy_gate_of<float>(layer, tape, direction, gate, to, to_step, to_row);
}

void layer_backward(const Layer& layer, const LayerGradients& gradients, LayerTape& tape, int threads) {
  layer.float64 ? backward<double>(layer, gradients, tape, threads) : backward<float>(layer, gradients, tape, threads);
}

}  // namespace gru
