#include "pack.h"

#include <algorithm>

#include "kernels/dispatch.h"

namespace gru {

namespace {

template <class T>
Buffer<T> copied(const T* data, size_t size) {
  Buffer<T> copy(size);
  if (size) std::copy_n(data, size, copy.data());
  return copy;
}

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

}  // namespace

template <class T>
GruWeights<T>::GruWeights(size_t input_size_, size_t hidden_size_, Reset reset_, const T* weight_ih, const T* weight_hh,
                          const T* bias_ih, const T* bias_hh)
    : input_size(input_size_),
      hidden_size(hidden_size_),
      reset(reset_),
      has_bias_ih(bias_ih != nullptr),
      has_bias_hh(bias_hh != nullptr),
      isa(active_isa()),
      kernels(kernels_of<T>(isa)),
      weight_ih_(copied(weight_ih, product(product(3, hidden_size), input_size))),
      weight_hh_(copied(weight_hh, product(product(3, hidden_size), hidden_size))) {
  const size_t H = hidden_size, I = input_size;
  const auto input = [&](size_t gate, size_t unit) { return weight_ih_.data() + (gate * H + unit) * I; };
  const auto hidden = [&](size_t gate, size_t unit) { return weight_hh_.data() + (gate * H + unit) * H; };
  const auto bias = [&](const T* from, size_t gate, size_t unit) { return from ? from[gate * H + unit] : T(0); };

  forward_.input = make_pack(kernels, 3, H, I, input);
  if (reset == Reset::after) {
    forward_.hidden = make_pack(kernels, 3, H, H, hidden);
    forward_.hidden_bias = make_bias(kernels, 1, H, [&](size_t, size_t unit) { return bias(bias_hh, 2, unit); });
  } else {
    forward_.hidden = make_pack(kernels, 2, H, H, hidden);
    forward_.hidden_n = make_pack(kernels, 1, H, H, [&](size_t, size_t unit) { return hidden(2, unit); });
  }
  // Reset after multiplies b_hn by r, so it cannot join the input's bias.
  forward_.input_bias = make_bias(kernels, 3, H, [&](size_t gate, size_t unit) {
    const T own = bias(bias_ih, gate, unit);
    return gate == 2 && reset == Reset::after ? own : own + bias(bias_hh, gate, unit);
  });
}

template <class T>
const typename GruWeights<T>::Backward& GruWeights<T>::backward() const {
  return backward_.get([this] {
    const size_t H = hidden_size, I = input_size, V = kernels.vector;
    const auto input = [&](size_t gate, size_t unit) { return weight_ih_.data() + (gate * H + unit) * I; };
    const auto hidden = [&](size_t gate, size_t unit) { return weight_hh_.data() + (gate * H + unit) * H; };
    Backward packs;
    if (reset == Reset::after) {
      // The tape's slots are hn, r, z: the gates from n on, cyclically.
      const auto cyclic = [&](size_t slot, size_t unit) { return hidden((slot + 2) % 3, unit); };
      packs.hidden = make_transposed_pack(kernels, 3, H, H, V, cyclic);
    } else {
      packs.hidden = make_transposed_pack(kernels, 2, H, H, V, hidden);
      packs.hidden_n = make_transposed_pack(kernels, 1, H, H, V, [&](size_t, size_t unit) { return hidden(2, unit); });
    }
    packs.input = make_transposed_pack(kernels, 3, H, I, V, input);
    return packs;
  });
}

template <class T>
LinearWeights<T>::LinearWeights(size_t input_size_, size_t output_size_, const T* weight, const T* bias)
    : input_size(input_size_),
      output_size(output_size_),
      has_bias(bias != nullptr),
      kernels(kernels_of<T>(active_isa())),
      weight_(copied(weight, product(output_size, input_size))) {
  forward_ = make_pack(kernels, 1, output_size, input_size,
                       [this](size_t, size_t unit) { return weight_.data() + unit * input_size; });
  if (bias) bias_ = make_bias(kernels, 1, output_size, [&](size_t, size_t unit) { return bias[unit]; });
}

template <class T>
const Pack<T>& LinearWeights<T>::backward() const {
  return backward_.get([this] {
    return make_transposed_pack(kernels, 1, output_size, input_size, 1,
                                [this](size_t, size_t unit) { return weight_.data() + unit * input_size; });
  });
}

template class GruWeights<float>;
template class GruWeights<double>;
template class LinearWeights<float>;
template class LinearWeights<double>;

}  // namespace gru
