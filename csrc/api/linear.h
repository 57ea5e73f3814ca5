// The weights of linear layers behind their handle.
#pragma once

#include <memory>
#include <variant>

#include "checks.h"
#include "engine/linear.h"

// Of one of the two types.
struct gn_linear {
  std::variant<std::unique_ptr<const gru::LinearWeights<float>>, std::unique_ptr<const gru::LinearWeights<double>>> of;
};

namespace gru::api {

inline const gn_linear& checked(const gn_linear* linear) {
  if (!linear) refuse("linear", "what gn_linear_create made", "NULL");
  return *linear;
}

}  // namespace gru::api
