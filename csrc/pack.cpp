#include "pack.h"

#include <algorithm>
#include <utility>

#include "kernels/dispatch.h"

namespace gru {

namespace {

// [panel][gate][vector] of value(gate, unit).
template <class T, class Value>
Buffer<T> make_bias(const Kernels<T>& kernels, size_t gates, size_t units, Value value) {
  const size_t width = kernels.vector, panels = (units + width - 1) / width;
  Buffer<T> bias(panels * gates * width);
  for (size_t i = 0; i < bias.size(); ++i) {
    const size_t unit = i / (gates * width) * width + i % width, gate = i / width % gates;
    bias.data()[i] = unit < units ? value(gate, unit) : T(0);
  }
  return bias;
}

// Rows of the gates' matrices, which stand one behind the other, each of H units.
template <class T>
auto rows_of(const T* weights, size_t hidden_size, size_t k_size) {
  return [=](size_t gate, size_t unit) { return weights + (gate * hidden_size + unit) * k_size; };
}

}  // namespace

template <class T>
RecurrentWeights<T>::RecurrentWeights(Cell cell_, size_t input_size_, size_t hidden_size_,
                                      const RecurrentParameters<const T>& parameters, std::shared_ptr<const void> owner,
                                      int threads)
    : cell(cell_),
      shape(shape_of(cell)),
      input_size(input_size_),
      hidden_size(hidden_size_),
      has_bias_ih(parameters.bias_ih != nullptr),
      has_bias_hh(parameters.bias_hh != nullptr),
      isa(active_isa()),
      kernels(kernels_of<T>(isa)),
      weight_ih_(parameters.weight_ih),
      weight_hh_(parameters.weight_hh),
      owner_(std::move(owner)) {
  const size_t H = hidden_size, I = input_size, G = shape.gates;
  const bool second = shape.hidden_gates < G;
  fill_biases(parameters);
  const auto input = rows_of(weight_ih_, H, I), hidden = rows_of(weight_hh_, H, H);
  const auto hidden_n = [&](size_t, size_t unit) { return hidden(2, unit); };
  forward_.input = empty_pack(kernels, G, H, I);
  forward_.hidden = empty_pack(kernels, shape.hidden_gates, H, H);
  if (second) forward_.hidden_n = empty_pack(kernels, 1, H, H);
  fill_in_team(G * H * (I + H), panels(), threads, [&](int member, int members) {
    const Part part = part_of(panels(), member, members);
    fill_pack(kernels, forward_.input, G, H, I, input, part);
    fill_pack(kernels, forward_.hidden, shape.hidden_gates, H, H, hidden, part);
    if (second) fill_pack(kernels, forward_.hidden_n, 1, H, H, hidden_n, part);
  });
}

template <class T>
void RecurrentWeights<T>::fill_biases(const RecurrentParameters<const T>& parameters) {
  const size_t H = hidden_size;
  const auto value = [&](const T* from, size_t gate, size_t unit) { return from ? from[gate * H + unit] : T(0); };
  // Reset after multiplies b_hn by r, so it cannot join the input's bias.
  const bool apart = cell == Cell::gru_reset_after || cell == Cell::gru_layer_norm;
  const auto joined = [&](size_t gate, size_t unit) {
    const T own = value(parameters.bias_ih, gate, unit);
    return gate == 2 && apart ? own : own + value(parameters.bias_hh, gate, unit);
  };
  const auto hidden_n = [&](size_t unit) { return value(parameters.bias_hh, 2, unit); };
  if (cell == Cell::gru_layer_norm) {
    // Nothing is added before the normalization.
    forward_.hidden_bias = make_bias(kernels, norm_vectors, H, [&](size_t which, size_t unit) {
      if (which < hidden_gain) return value(parameters.gamma_ih, which - input_gain, unit);
      if (which < bias_r) return value(parameters.gamma_hh, which - hidden_gain, unit);
      return which < bias_hn ? joined(which - bias_r, unit) : hidden_n(unit);
    });
    return;
  }
  forward_.input_bias = make_bias(kernels, shape.gates, H, joined);
  if (apart) forward_.hidden_bias = make_bias(kernels, 1, H, [&](size_t, size_t unit) { return hidden_n(unit); });
}

template <class T>
const typename RecurrentWeights<T>::Backward& RecurrentWeights<T>::backward(int threads) const {
  return backward_.get([this, threads] {
    const size_t H = hidden_size, I = input_size, V = kernels.vector, G = shape.gates;
    const bool second = shape.hidden_gates < G;
    const auto input = rows_of(weight_ih_, H, I), hidden = rows_of(weight_hh_, H, H);
    // Slots that flow from hn on are the gates from n on, cyclically.
    const auto flowing = [&](size_t slot, size_t unit) { return hidden(shape.flow < 0 ? (slot + 2) % 3 : slot, unit); };
    const auto hidden_n = [&](size_t, size_t unit) { return hidden(2, unit); };
    Backward packs;
    packs.hidden = empty_pack(kernels, 1, H, transposed_size(shape.hidden_gates, H, V));
    packs.input = empty_pack(kernels, 1, I, transposed_size(G, H, V));
    if (second) packs.hidden_n = empty_pack(kernels, 1, H, transposed_size(1, H, V));
    fill_in_team(
        G * H * (I + H), std::max(packs.hidden.panels, packs.input.panels), threads, [&](int member, int members) {
          const Part part = part_of(panels(), member, members);
          fill_transposed_pack(kernels, packs.hidden, shape.hidden_gates, H, H, V, flowing, part);
          if (second) fill_transposed_pack(kernels, packs.hidden_n, 1, H, H, V, hidden_n, part);
          fill_transposed_pack(kernels, packs.input, G, H, I, V, input, part_of(packs.input.panels, member, members));
        });
    return packs;
  });
}

template <class T>
LinearWeights<T>::LinearWeights(size_t input_size_, size_t output_size_, const T* weight, const T* bias,
                                std::shared_ptr<const void> owner, int threads)
    : input_size(input_size_),
      output_size(output_size_),
      has_bias(bias != nullptr),
      kernels(kernels_of<T>(active_isa())),
      weight_(weight),
      owner_(std::move(owner)) {
  const auto rows = rows_of(weight_, 0, input_size);
  forward_ = empty_pack(kernels, 1, output_size, input_size);
  fill_in_team(output_size * input_size, forward_.panels, threads, [&](int member, int members) {
    fill_pack(kernels, forward_, 1, output_size, input_size, rows, part_of(forward_.panels, member, members));
  });
  if (bias) bias_ = make_bias(kernels, 1, output_size, [&](size_t, size_t unit) { return bias[unit]; });
}

template <class T>
const Pack<T>& LinearWeights<T>::backward(int threads) const {
  return backward_.get([this, threads] {
    Pack<T> pack = empty_pack(kernels, 1, input_size, output_size);
    fill_in_team(output_size * input_size, pack.panels, threads, [&](int member, int members) {
      fill_transposed_pack(kernels, pack, 1, output_size, input_size, 1, rows_of(weight_, 0, input_size),
                           part_of(pack.panels, member, members));
    });
    return pack;
  });
}

template class RecurrentWeights<float>;
template class RecurrentWeights<double>;
template class LinearWeights<float>;
template class LinearWeights<double>;

}  // namespace gru
