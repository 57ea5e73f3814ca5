// What stands behind a gn_weights.
#pragma once

#include <memory>
#include <variant>

#include "engine/recurrent.h"
#include "gru_native.h"

struct gn_weights {
  template <class T>
  using Owned = std::unique_ptr<const gru::RecurrentWeights<T>>;

  std::variant<Owned<float>, Owned<double>> of;

  gn_type type() const { return of.index() == 0 ? GN_FLOAT32 : GN_FLOAT64; }
  template <class T>
  const gru::RecurrentWeights<T>& as() const {
    return **std::get_if<Owned<T>>(&of);
  }
};
