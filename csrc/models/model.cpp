#include "models/model.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "models/builder.h"

namespace gru {

void check_same(const ModelShape& present, const ModelShape& next) {
  if (present != next)
    throw std::invalid_argument("model: expected one with the sizes and states of the present one, got another");
}

template <class T>
Model<T>::Model(const Safetensors& file) {
  Layers<T> layers = ModelBuilder<T>(file).build();
  stages_ = std::move(layers.stages);
  table_ = std::move(layers.table);
  digest_ = layers.digest;
  ModelShape shape;
  shape.value_bytes = sizeof(T);
  shape.input_size = stages_.front()->input_size;
  shape.output_size = stages_.back()->output_size;
  shape.indices = layers.indices;
  for (const auto& stage : stages_) {
    offsets_.push_back(shape.state_size);
    for (StatePart part : stage->state_parts) {
      part.offset += shape.state_size;
      shape.state_parts.push_back(std::move(part));
    }
    shape.state_size += stage->state_size;
    shape.work += stage->work;
  }
  shape_ = std::make_shared<const ModelShape>(std::move(shape));
}

template <class T>
const T* embedded(const Model<T>& model, int64_t index) {
  const size_t indices = model.shape()->indices;
  if (index < 0 || static_cast<size_t>(index) >= indices)
    throw std::invalid_argument("x: expected indices from 0 to " + std::to_string(indices - 1) + ", got " +
                                std::to_string(index));
  return model.table() + static_cast<size_t>(index) * model.shape()->input_size;
}

template <class T>
ModelStepper<T>::ModelStepper(std::shared_ptr<const Model<T>> model, size_t rows)
    : model_(std::move(model)), most_rows_(rows), state_rows_(rows) {
  size_t width = 0;
  for (const auto& stage : model_->stages()) {
    steppers_.push_back(stage->stepper(rows));
    width = std::max(width, stage->output_size);
  }
  between_ = Buffer<T>(product(product(2, rows), width));
  for (size_t i = 0; i < 2 * rows; ++i) rows_[i / rows].push_back(between_.data() + i * width);
}

template <class T>
void ModelStepper<T>::step(size_t rows, const T* const* x, T* const* states, T* const* y) {
  for (size_t i = 0; i < steppers_.size(); ++i) {
    const size_t offset = model_->state_offset(i);
    for (size_t row = 0; row < rows; ++row) state_rows_[row] = states[row] + offset;
    T* const* const to = i + 1 < steppers_.size() ? rows_[i % 2].data() : y;
    steppers_[i]->step(rows, x, state_rows_.data(), to);
    x = to;
  }
}

template class Model<float>;
template class Model<double>;
template const float* embedded(const Model<float>&, int64_t);
template const double* embedded(const Model<double>&, int64_t);
template class ModelStepper<float>;
template class ModelStepper<double>;

}  // namespace gru
