// Which instruction set is chosen.
#include "kernels/dispatch.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "check.h"
#include "isas.h"

using namespace gru;
using namespace gru::tests;

namespace {

bool is_refused(const char* name) {
  const UsedIsa use(name);
  try {
    active_isa();
  } catch (const std::invalid_argument&) {
    return true;
  }
  return false;
}

}  // namespace

TEST(the_highest_supported_set_is_chosen) {
  const UsedIsa use(nullptr);
  CHECK(active_isa().name == supported_isas().back());
  CHECK(lowest_isa().name == std::string("scalar"));
}

TEST(every_supported_set_can_be_chosen_and_no_other) {
  const auto built = built_isas(), supported = supported_isas();
  for (const std::string& name : built) {
    if (std::ranges::find(supported, name) == supported.end()) {
      CHECK(is_refused(name.c_str()));
    } else {
      const UsedIsa use(name.c_str());
      CHECK(active_isa().name == name);
    }
  }
  CHECK(is_refused("avx1024"));
  CHECK(!is_refused(""));
}

TEST(the_tables_of_a_set_are_whole) {
  for (const std::string& name : supported_isas()) {
    const UsedIsa use(name.c_str());
    const Isa& isa = active_isa();
    CHECK(isa.float32->vector >= isa.float64->vector);
    for (size_t kind = 0; kind < cell_kinds; ++kind) {
      const Cell<float>& cell = isa.float32->cells[kind];
      CHECK(cell.gates >= 1 && cell.gates <= 4);
      CHECK(cell.project && cell.step && cell.step_taped && cell.step_backward);
      CHECK(!cell.second == !cell.second_backward);
      CHECK(cell.gates == isa.float64->cells[kind].gates);
    }
    // Enough sums, whatever the layer.
    for (size_t gates = 1; gates <= 4; ++gates)
      for (size_t panels = 1; panels < 40; ++panels) CHECK(isa.float32->chains(panels, gates) * panels * gates >= 8);
  }
}
