#include <algorithm>
#include <utility>

#include "engine/recurrent.h"
#include "formats/bias.h"
#include "kernels/dispatch.h"

namespace gru {

template <class T>
RecurrentWeights<T>::RecurrentWeights(size_t kind_, size_t input_size_, size_t hidden_size_, size_t output_size_,
                                      const RecurrentParameters<const T>& parameters, const Choices<T>* choices)
    : kind(kind_),
      input_size(input_size_),
      hidden_size(hidden_size_),
      output_size(output_size_),
      has_bias_ih(parameters.bias_ih != nullptr),
      has_bias_hh(parameters.bias_hh != nullptr),
      has_peepholes(parameters.peephole != nullptr),
      isa(active_isa()),
      kernels(kernels_of<T>(isa)),
      cell(choices ? kernels.chosen[kind] : kernels.cells[kind]),
      forward_{{kernels, hidden(parameters, 0, cell.hidden_gates)},
               {kernels, second(parameters)},
               {kernels, input(parameters)}},
      // Slots that flow from hn on are the gates from n on, cyclically. A projection's gradient is a plain row.
      backward_{{kernels, hidden(parameters, cell.flow < 0 ? 2 : 0, cell.hidden_gates), kernels.vector},
                {kernels, second(parameters), parameters.weight_hr ? 1 : kernels.vector},
                {kernels, input(parameters), kernels.vector}} {
  fill_biases(parameters);
  if (!choices) return;
  choices_ = *choices;
  if (!has_peepholes) return;
  peephole_ = make_bias(kernels, 3, hidden_size,
                        [&](size_t which, size_t unit) { return parameters.peephole[which * hidden_size + unit]; });
  choices_->peephole = peephole_.data();
}

template <class T>
GateMatrices<T> RecurrentWeights<T>::input(const RecurrentParameters<const T>& parameters) const {
  return {parameters.weight_ih, cell.gates, 0, cell.gates, hidden_size, input_size};
}

template <class T>
GateMatrices<T> RecurrentWeights<T>::hidden(const RecurrentParameters<const T>& parameters, size_t first,
                                            size_t gates) const {
  return {parameters.weight_hh, cell.gates, first, gates, hidden_size, output_size};
}

template <class T>
GateMatrices<T> RecurrentWeights<T>::second(const RecurrentParameters<const T>& parameters) const {
  if (parameters.weight_hr) return {parameters.weight_hr, 1, 0, 1, output_size, hidden_size};
  return hidden(parameters, 2, cell.gates - cell.hidden_gates);
}

template <class T>
void RecurrentWeights<T>::fill_biases(const RecurrentParameters<const T>& parameters) {
  const size_t H = hidden_size;
  const auto value = [&](const T* from, size_t gate, size_t unit) { return from ? from[gate * H + unit] : T(0); };
  // Of a gate that multiplies it by another one.
  const size_t apart = cell.hidden_bias_apart;
  const auto joined = [&](size_t gate, size_t unit) {
    const T own = value(parameters.bias_ih, gate, unit);
    return gate + 1 == apart ? own : own + value(parameters.bias_hh, gate, unit);
  };
  const auto hidden = [&](size_t unit) { return value(parameters.bias_hh, apart - 1, unit); };
  if (cell.normalized) {
    // Nothing is added before the normalization.
    hidden_bias_ = make_bias(kernels, norm_vectors, H, [&](size_t which, size_t unit) {
      if (which < hidden_gain) return value(parameters.gamma_ih, which - input_gain, unit);
      if (which < bias_r) return value(parameters.gamma_hh, which - hidden_gain, unit);
      return which < bias_hn ? joined(which - bias_r, unit) : hidden(unit);
    });
    return;
  }
  input_bias_ = make_bias(kernels, cell.gates, H, joined);
  if (apart > 0) hidden_bias_ = make_bias(kernels, 1, H, [&](size_t, size_t unit) { return hidden(unit); });
}

template class RecurrentWeights<float>;
template class RecurrentWeights<double>;

}  // namespace gru
