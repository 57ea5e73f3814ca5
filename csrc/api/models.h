// What stands behind the handles of files and models.
#pragma once

#include <memory>
#include <string>
#include <variant>

#include "checks.h"
#include "files/safetensors.h"
#include "gru_native.h"
#include "models/model.h"

struct gn_file {
  gru::Safetensors of;
};

struct gn_model {
  template <class T>
  using Shared = std::shared_ptr<const gru::Model<T>>;

  std::variant<Shared<float>, Shared<double>> of;
};

namespace gru::api {

const gn_model& checked_model(const gn_model* model);

// A model of a type.
template <class T>
std::shared_ptr<const Model<T>> model_of_type(const gn_model* model) {
  const auto* const found = std::get_if<gn_model::Shared<T>>(&checked_model(model).of);
  if (!found) refuse("model", "one of the present type", "one of another type");
  return *found;
}

inline const StatePart& checked_part(const ModelShape& shape, size_t place) {
  if (place >= shape.state_parts.size())
    refuse("place", "less than " + std::to_string(shape.state_parts.size()), std::to_string(place));
  return shape.state_parts[place];
}

// Rows of a model's input and output, which must be there when there are values in them.
template <class T>
const void* checked_x(const ModelShape& shape, size_t rows, const void* x) {
  if (shape.indices > 0) return typed<const int64_t>(x, "x", rows > 0);
  return typed<const T>(x, "x", product(rows, shape.input_size) > 0);
}

template <class T>
T* checked_y(const ModelShape& shape, size_t rows, void* y) {
  return typed<T>(y, "y", product(rows, shape.output_size) > 0);
}

}  // namespace gru::api
