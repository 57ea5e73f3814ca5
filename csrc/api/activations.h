// Functions that callers choose.
#pragma once

#include <cmath>
#include <cstdio>
#include <optional>
#include <string>

#include "guard.h"
#include "kernels/table.h"

namespace gru::api {

static_assert(static_cast<int>(Function::thresholded_relu) + 1 == GN_THRESHOLDED_RELU);

inline std::string shown(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

// GN_USUAL stands for `usual`, and is refused where there is none.
template <class T>
Activation<T> checked_activation(const gn_activation& given, const char* name, std::optional<Function> usual = {}) {
  if (given.function < (usual ? GN_USUAL : GN_SIGMOID) || given.function > GN_THRESHOLDED_RELU)
    refuse(name, "one of gn_function", std::to_string(given.function));
  for (const double value : {given.alpha, given.beta})
    if (!std::isfinite(static_cast<T>(value))) refuse(name, "alpha and beta that are finite in the type", shown(value));
  if (given.function == GN_USUAL) return {*usual, 0, 0};
  return {static_cast<Function>(given.function - 1), static_cast<T>(given.alpha), static_cast<T>(given.beta)};
}

}  // namespace gru::api
