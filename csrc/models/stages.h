// The layers that a model can have.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/linear.h"
#include "engine/recurrent.h"
#include "models/stage.h"

namespace gru {

// One recurrent layer that runs forward. Its state is h and, of an LSTM, c. `owner` keeps the weights.
template <class T>
class RecurrentStage : public Stage<T> {
 public:
  RecurrentStage(std::shared_ptr<const void> owner, const RecurrentWeights<T>& weights, double zoneout,
                 const std::string& name);
  std::unique_ptr<Stepper<T>> stepper(size_t rows) const override;
  void run(size_t steps, size_t batch, const Sequence<const T>& x, const Rows<T>& states, const Sequence<T>& y,
           int threads) const override;

 private:
  const std::shared_ptr<const void> owner_;
  const RecurrentWeights<T>& weights_;
  const double zoneout_;
};

// y = x W^T + b.
template <class T>
class LinearStage : public Stage<T> {
 public:
  LinearStage(std::shared_ptr<const void> owner, const LinearWeights<T>& weights);
  std::unique_ptr<Stepper<T>> stepper(size_t rows) const override;
  void run(size_t steps, size_t batch, const Sequence<const T>& x, const Rows<T>& states, const Sequence<T>& y,
           int threads) const override;

 private:
  const std::shared_ptr<const void> owner_;
  const LinearWeights<T>& weights_;
};

// A convolution whose windows end at the present step. Its state is what it sees of the steps before, the oldest first.
template <class T>
class ConvolutionStage : public Stage<T> {
 public:
  // The weights are of windows of `kernel` steps that stand `dilation` apart: see engine/convolution.h.
  ConvolutionStage(std::shared_ptr<const void> owner, const LinearWeights<T>& weights, size_t kernel, size_t dilation,
                   const std::string& name);
  std::unique_ptr<Stepper<T>> stepper(size_t rows) const override;

 private:
  const std::shared_ptr<const void> owner_;
  const LinearWeights<T>& weights_;
  const size_t kernel_, dilation_;
};

// y = (x - mean) * scale * weight + bias: mean and scale of each feature, or, without them, of each row.
template <class T>
class NormStage : public Stage<T> {
 public:
  struct Parameters {
    std::vector<T> mean, scale, weight, bias;  // of each feature, or empty
    double eps;
  };
  NormStage(size_t size, Parameters parameters);
  std::unique_ptr<Stepper<T>> stepper(size_t rows) const override;

 private:
  const Parameters parameters_;
};

// y = f(x), of each value.
template <class T>
class ActivationStage : public Stage<T> {
 public:
  ActivationStage(size_t size, const Activation<T>& f);
  std::unique_ptr<Stepper<T>> stepper(size_t rows) const override;

 private:
  const Activation<T> f_;
};

// y = exp(x) / sum of exp(x).
template <class T>
class SoftmaxStage : public Stage<T> {
 public:
  explicit SoftmaxStage(size_t size) : Stage<T>(size, size, size * activation_work) {}
  std::unique_ptr<Stepper<T>> stepper(size_t rows) const override;
};

// The mean of all steps up to the present one. Its state is their sum and their number.
template <class T>
class MeanStage : public Stage<T> {
 public:
  MeanStage(size_t size, const std::string& name);
  std::unique_ptr<Stepper<T>> stepper(size_t rows) const override;
};

}  // namespace gru
