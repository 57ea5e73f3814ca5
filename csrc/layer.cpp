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

Steps steps_of(const Layer& layer, int direction) {
  return {layer.steps, layer.batch, direction == 1, layer.lengths, {layer.reset, layer.reset_step, layer.reset_row}};
}

template <class T>
void forward(const Layer& layer, LayerTape* tape, int threads) {
  for (int d = 0; d < layer.directions; ++d) {
    const auto& weights = *static_cast<const RecurrentWeights<T>*>(layer.weights[d]);
    const size_t H = weights.hidden_size;
    RecurrentForward<T> call{};
    static_cast<Steps&>(call) = steps_of(layer, d);
    call.x = {static_cast<const T*>(layer.x), layer.x_step, layer.x_row};
    call.h_0 = states<const T>(layer.h_0, layer, d, H);
    call.c_0 = states<const T>(layer.c_0, layer, d, H);
    call.output = side<T>(layer.output, layer.output_step, layer.output_row, d, H);
    call.h_n = states<T>(layer.h_n, layer, d, H);
    call.c_n = states<T>(layer.c_n, layer, d, H);
    RecurrentTape<T>* own = nullptr;
    if (tape) {
      const auto made = std::make_shared<RecurrentTape<T>>(weights, call);
      own = made.get();
      tape->of[d] = made;
    }
    recurrent_forward(weights, call, own, threads);
  }
}

template <class T>
void backward(const Layer& layer, const LayerGradients& gradients, LayerTape& tape, int threads) {
  for (int d = 0; d < layer.directions; ++d) {
    const auto& weights = *static_cast<const RecurrentWeights<T>*>(layer.weights[d]);
    const size_t H = weights.hidden_size;
    RecurrentBackward<T> call{};
    static_cast<Steps&>(call) = steps_of(layer, d);
    call.x = {static_cast<const T*>(layer.x), layer.x_step, layer.x_row};
    call.h_0 = states<const T>(layer.h_0, layer, d, H);
    call.output = side<const T>(layer.output, layer.output_step, layer.output_row, d, H);
    call.d_output = side<const T>(gradients.d_output, gradients.d_output_step, gradients.d_output_row, d, H);
    call.d_h_n = states<const T>(gradients.d_h_n, layer, d, H);
    call.d_c_n = states<const T>(gradients.d_c_n, layer, d, H);
    call.d_x = {static_cast<T*>(gradients.d_x), gradients.d_x_step, gradients.d_x_row};
    call.accumulate_d_x = d == 1;
    call.d_h_0 = states<T>(gradients.d_h_0, layer, d, H);
    call.d_c_0 = states<T>(gradients.d_c_0, layer, d, H);
    call.d_weight_ih = static_cast<T*>(gradients.d_weight_ih[d]);
    call.d_weight_hh = static_cast<T*>(gradients.d_weight_hh[d]);
    call.d_bias_ih = static_cast<T*>(gradients.d_bias_ih[d]);
    call.d_bias_hh = static_cast<T*>(gradients.d_bias_hh[d]);
    recurrent_backward(weights, call, *static_cast<RecurrentTape<T>*>(tape.of[d].get()), threads);
    tape.of[d].reset();
  }
}

}  // namespace

void layer_forward(const Layer& layer, int threads) {
  layer.float64 ? forward<double>(layer, nullptr, threads) : forward<float>(layer, nullptr, threads);
}

void layer_forward_taped(const Layer& layer, LayerTape& tape, int threads) {
  layer.float64 ? forward<double>(layer, &tape, threads) : forward<float>(layer, &tape, threads);
}

void layer_backward(const Layer& layer, const LayerGradients& gradients, LayerTape& tape, int threads) {
  layer.float64 ? backward<double>(layer, gradients, tape, threads) : backward<float>(layer, gradients, tape, threads);
}

}  // namespace gru
