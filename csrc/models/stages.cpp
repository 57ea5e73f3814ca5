#include "models/stages.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "engine/elementwise.h"
#include "engine/layer_step.h"
#include "engine/operands.h"
#include "engine/schedule.h"
#include "kernels/dispatch.h"
#include "runtime/numbers.h"
#include "runtime/team.h"

namespace gru {

namespace {

template <class T, class Function>
class FunctionStepper : public Stepper<T> {
 public:
  explicit FunctionStepper(Function function) : function_(std::move(function)) {}
  void step(size_t rows, const T* const* x, T* const* states, T* const* y) override { function_(rows, x, states, y); }

 private:
  Function function_;
};

template <class T, class Function>
std::unique_ptr<Stepper<T>> stepper_of(Function function) {
  return std::make_unique<FunctionStepper<T, Function>>(std::move(function));
}

template <class T>
size_t padded(const RecurrentWeights<T>& weights) {
  const size_t width = weights.kernels.vector;
  return (weights.output_size + width - 1) / width * width;
}

template <class T>
std::vector<StatePart> parts_of(const RecurrentWeights<T>& weights, const std::string& name) {
  std::vector<StatePart> parts{{name + "h", 0, weights.output_size}};
  if (weights.cell.states == 2) parts.push_back({name + "c", padded(weights), weights.hidden_size});
  return parts;
}

// Elements of the steps that a window sees before the present one.
template <class T>
size_t seen(const LinearWeights<T>& weights, size_t kernel, size_t dilation) {
  return product(product(kernel - 1, dilation), weights.input_size / kernel);
}

}  // namespace

template <class T>
void Stage<T>::run(size_t steps, size_t batch, const Sequence<const T>& x, const Rows<T>& states, const Sequence<T>& y,
                   int) const {
  constexpr size_t most = most_rows_in_block;
  const auto own = stepper(std::min(batch, most));
  const T* x_rows[most];
  T *state_rows[most], *y_rows[most];
  Interruption interruption;
  auto compute = [&](int member) {
    Progress progress(interruption, member);
    for (size_t t = 0; t < steps; ++t)
      for (size_t first = 0; first < batch; first += most) {
        const size_t rows = std::min(most, batch - first);
        for (size_t i = 0; i < rows; ++i) {
          x_rows[i] = x.at(t, first + i);
          y_rows[i] = y.at(t, first + i);
          state_rows[i] = states.at(first + i);
        }
        own->step(rows, x_rows, state_rows, y_rows);
        progress.add(rows * input_size);
      }
  };
  run_team(1, compute);
}

template <class T>
RecurrentStage<T>::RecurrentStage(std::shared_ptr<const void> owner, const RecurrentWeights<T>& weights, double zoneout,
                                  const std::string& name)
    : Stage<T>(
          weights.input_size, weights.output_size,
          product(weights.cell.gates * weights.hidden_size, weights.input_size + weights.output_size + activation_work),
          parts_of(weights, name), padded(weights) + LayerStep<T>::carry_size(weights)),
      owner_(std::move(owner)),
      weights_(weights),
      zoneout_(zoneout) {}

template <class T>
std::unique_ptr<Stepper<T>> RecurrentStage<T>::stepper(size_t rows) const {
  auto layer = std::make_unique<LayerStep<T>>(weights_, rows, zoneout_);
  std::vector<T*> carry(weights_.cell.states == 2 ? rows : 0);
  return stepper_of<T>(
      [layer = std::move(layer), carry = std::move(carry), from = padded(weights_), size = weights_.output_size](
          size_t count, const T* const* x, T* const* states, T* const* y) mutable {
        if (!carry.empty())
          for (size_t i = 0; i < count; ++i) carry[i] = states[i] + from;
        layer->step(count, x, states, carry.data(), y);
        for (size_t i = 0; i < count; ++i) std::copy_n(y[i], size, states[i]);
      });
}

template <class T>
void RecurrentStage<T>::run(size_t steps, size_t batch, const Sequence<const T>& x, const Rows<T>& states,
                            const Sequence<T>& y, int threads) const {
  const Schedule schedule({steps, batch, false, nullptr, {}});
  const Rows<T> h = states, c = {states.data + padded(weights_), states.row};
  RecurrentForward<T> call{x, {h.data, h.row}, {}, y, h, {}, {}, {zoneout_, false, 0}};
  if (weights_.cell.states == 2) {
    call.c_0 = {c.data, c.row};
    call.c_n = c;
  }
  const ForwardDirection<T> direction{&weights_, &schedule, call, nullptr};
  recurrent_forward<T>(std::span(&direction, 1), threads);
}

template <class T>
LinearStage<T>::LinearStage(std::shared_ptr<const void> owner, const LinearWeights<T>& weights)
    : Stage<T>(weights.input_size, weights.output_size, weights.input_size * weights.output_size),
      owner_(std::move(owner)),
      weights_(weights) {}

template <class T>
std::unique_ptr<Stepper<T>> LinearStage<T>::stepper(size_t) const {
  return stepper_of<T>(
      [panels = weights_.forward().whole(1), this](size_t rows, const T* const* x, T* const*, T* const* y) {
        Pass<T> pass{};
        pass.rows = rows;
        pass.last_panel = weights_.forward().panels();
        pass.units = weights_.output_size;
        pass.bias = weights_.bias();
        pass.left = plain_operand<T>(x, weights_.input_size);
        pass.right = panels;
        pass.output = y;
        weights_.kernels.affine(pass);
      });
}

template <class T>
void LinearStage<T>::run(size_t steps, size_t batch, const Sequence<const T>& x, const Rows<T>&, const Sequence<T>& y,
                         int threads) const {
  for (size_t t = 0; t < steps; ++t)
    linear_forward<T>(weights_, batch, {x.at(t, 0), x.row}, {y.at(t, 0), y.row}, threads);
}

template <class T>
ConvolutionStage<T>::ConvolutionStage(std::shared_ptr<const void> owner, const LinearWeights<T>& weights, size_t kernel,
                                      size_t dilation, const std::string& name)
    : Stage<T>(weights.input_size / kernel, weights.output_size, weights.input_size * weights.output_size,
               kernel > 1 ? std::vector<StatePart>{{name + "x", 0, seen(weights, kernel, dilation)}}
                          : std::vector<StatePart>{},
               seen(weights, kernel, dilation)),
      owner_(std::move(owner)),
      weights_(weights),
      kernel_(kernel),
      dilation_(dilation) {}

template <class T>
std::unique_ptr<Stepper<T>> ConvolutionStage<T>::stepper(size_t most) const {
  Buffer<T> memory(product(most, weights_.input_size));
  std::vector<const T*> windows;
  for (size_t i = 0; i < most; ++i) windows.push_back(memory.data() + i * weights_.input_size);
  return stepper_of<T>([panels = weights_.forward().whole(1), memory = std::move(memory), windows = std::move(windows),
                        this](size_t rows, const T* const* x, T* const* states, T* const* y) {
    const size_t channels = this->input_size, apart = dilation_ * channels, before = this->state_size;
    for (size_t row = 0; row < rows; ++row) {
      T *const state = states[row], *const window = memory.data() + row * weights_.input_size;
      for (size_t k = 0; k + 1 < kernel_; ++k) std::copy_n(state + k * apart, channels, window + k * channels);
      std::copy_n(x[row], channels, window + (kernel_ - 1) * channels);
      if (before == 0) continue;
      std::copy(state + channels, state + before, state);
      std::copy_n(x[row], channels, state + before - channels);
    }
    Pass<T> pass{};
    pass.rows = rows;
    pass.last_panel = weights_.forward().panels();
    pass.units = weights_.output_size;
    pass.bias = weights_.bias();
    pass.left = plain_operand<T>(windows.data(), weights_.input_size);
    pass.right = panels;
    pass.output = y;
    weights_.kernels.affine(pass);
  });
}

template <class T>
NormStage<T>::NormStage(size_t size, Parameters parameters)
    : Stage<T>(size, size, size * activation_work), parameters_(std::move(parameters)) {}

template <class T>
std::unique_ptr<Stepper<T>> NormStage<T>::stepper(size_t) const {
  return stepper_of<T>([this](size_t rows, const T* const* x, T* const*, T* const* y) {
    const IeeeNumbers numbers;
    const auto& [mean, scale, weight, bias, eps] = parameters_;
    for (size_t row = 0; row < rows; ++row) {
      const T* const from = x[row];
      T* const to = y[row];
      if (mean.empty()) {
        const Moments own = moments(this->input_size, from);
        const auto middle = static_cast<T>(own.mean), spread = static_cast<T>(1 / std::sqrt(own.variance + eps));
        for (size_t i = 0; i < this->input_size; ++i) to[i] = (from[i] - middle) * spread;
      } else {
        for (size_t i = 0; i < this->input_size; ++i) to[i] = (from[i] - mean[i]) * scale[i];
      }
      for (size_t i = 0; i < weight.size(); ++i) to[i] *= weight[i];
      for (size_t i = 0; i < bias.size(); ++i) to[i] += bias[i];
    }
  });
}

template <class T>
ActivationStage<T>::ActivationStage(size_t size, const Activation<T>& f)
    : Stage<T>(size, size, size * activation_work), f_(f) {}

template <class T>
std::unique_ptr<Stepper<T>> ActivationStage<T>::stepper(size_t) const {
  return stepper_of<T>(
      [this, apply = kernels_of<T>(active_isa()).activate](size_t rows, const T* const* x, T* const*, T* const* y) {
        for (size_t row = 0; row < rows; ++row) apply(f_, this->input_size, x[row], y[row], nullptr);
      });
}

template <class T>
std::unique_ptr<Stepper<T>> SoftmaxStage<T>::stepper(size_t) const {
  return stepper_of<T>(
      [this, &kernels = kernels_of<T>(active_isa())](size_t rows, const T* const* x, T* const*, T* const* y) {
        for (size_t row = 0; row < rows; ++row) softmax_row(kernels, this->input_size, x[row], y[row]);
      });
}

template <class T>
MeanStage<T>::MeanStage(size_t size, const std::string& name)
    : Stage<T>(size, size, size, {{name + "sum", 0, size}, {name + "count", size, 1, true}},
               size + sizeof(int64_t) / sizeof(T)) {}

template <class T>
std::unique_ptr<Stepper<T>> MeanStage<T>::stepper(size_t) const {
  return stepper_of<T>([size = this->input_size](size_t rows, const T* const* x, T* const* states, T* const* y) {
    const IeeeNumbers numbers;
    for (size_t row = 0; row < rows; ++row) {
      T* const sum = states[row];
      uint64_t count;  // whoever sets states may give any
      std::memcpy(&count, sum + size, sizeof count);
      ++count;
      std::memcpy(sum + size, &count, sizeof count);
      for (size_t i = 0; i < size; ++i) {
        sum[i] += x[row][i];
        y[row][i] = sum[i] / static_cast<T>(count);
      }
    }
  });
}

template class Stage<float>;
template class Stage<double>;
template class RecurrentStage<float>;
template class RecurrentStage<double>;
template class LinearStage<float>;
template class LinearStage<double>;
template class ConvolutionStage<float>;
template class ConvolutionStage<double>;
template class NormStage<float>;
template class NormStage<double>;
template class ActivationStage<float>;
template class ActivationStage<double>;
template class SoftmaxStage<float>;
template class SoftmaxStage<double>;
template class MeanStage<float>;
template class MeanStage<double>;

}  // namespace gru
