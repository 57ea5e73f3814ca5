// Tests without a framework: TEST(name) { CHECK(...); } in any file, and main.cpp runs them all.
#pragma once

#include <vector>

namespace gru::tests {

struct Test {
  const char* name;
  void (*run)();
};

std::vector<Test>& all_tests();

struct Registration {
  Registration(const char* name, void (*run)()) { all_tests().push_back({name, run}); }
};

// Notes that a check did not hold. Any thread may call it.
void failed(const char* file, int line, const char* what);

}  // namespace gru::tests

#define TEST(name)                                                        \
  static void name();                                                     \
  static const gru::tests::Registration registration_##name(#name, name); \
  static void name()

#define CHECK(condition) ((condition) ? void() : gru::tests::failed(__FILE__, __LINE__, #condition))
