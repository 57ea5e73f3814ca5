#include <pybind11/stl.h>

#include <string>

#include "buffer.h"
#include "interruption.h"
#include "module.h"
#include "quota.h"
#include "team.h"

namespace gru::bindings {

namespace {

void set_team(const std::string& name) {
  if (name == "openmp") return use_executor(openmp_executor());
  if (name == "threads") return use_executor(thread_executor());
  throw pybind11::value_error("team: expected 'openmp' or 'threads', got '" + name + "'");
}

}  // namespace

void bind_runtime(pybind11::module_& module) {
  pybind11::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const Interrupted&) {
      translate_exception();
    }
  });
  module.def("watch_signals", &watch_signals);
  module.def("set_team", &set_team);
  module.def("team", [] { return &current_executor() == &thread_executor() ? "threads" : "openmp"; });
  module.def("release_memory", &release_kept, pybind11::call_guard<pybind11::gil_scoped_release>());
  module.def("cpu_quota", &cpu_quota_under);
}

}  // namespace gru::bindings
