// Tests that run under every instruction set of this CPU.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

#include "gru_native.h"

namespace gru::tests {

// Makes new weights those of an instruction set, or with null of the highest one.
class UsedIsa {
 public:
  explicit UsedIsa(const char* name) {
    if (const char* const before = std::getenv(variable)) before_ = before;
    name ? setenv(variable, name, 1) : unsetenv(variable);
  }
  ~UsedIsa() { before_ ? setenv(variable, before_->c_str(), 1) : unsetenv(variable); }
  UsedIsa(const UsedIsa&) = delete;

 private:
  static constexpr const char* variable = "GRU_NATIVE_ISA";
  std::optional<std::string> before_;
};

// Calls test() under each.
template <class Test>
void for_every_isa(Test test) {
  for (size_t place = 0; const char* const isa = gn_supported_isa(place); ++place) {
    const UsedIsa use(isa);
    test();
  }
}

}  // namespace gru::tests
