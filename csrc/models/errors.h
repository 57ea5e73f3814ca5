// What sessions and pools throw beside std::invalid_argument.
#pragma once

#include <stdexcept>

namespace gru {

// Another thread is using it.
struct Busy : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// There is no place left.
struct Full : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace gru
