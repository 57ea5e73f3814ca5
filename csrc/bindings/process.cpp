// What concerns the whole process: its team, its memory, its instruction sets, and Ctrl-C during a call.
#include <atomic>
#include <string>
#include <vector>

#include "arrays.h"
#include "module.h"

namespace gru::bindings {

namespace {

std::atomic<unsigned long> main_thread{0};

// Handlers run in the main thread only; others need not wait for the interpreter's lock.
bool signal_raised(void*) {
  if (PyThread_get_thread_ident() != main_thread.load(std::memory_order_relaxed)) return false;
  const PyGILState_STATE state = PyGILState_Ensure();
  const bool raised = PyErr_CheckSignals() != 0;  // the exception stays set
  PyGILState_Release(state);
  return raised;
}

void watch_signals(unsigned long thread) {
  main_thread.store(thread);
  run([](gn_error* error) { return gn_watch(signal_raised, nullptr, error); });
}

void set_team(const std::string& name) {
  if (name != "openmp" && name != "threads")
    throw py::value_error("team: expected 'openmp' or 'threads', got '" + name + "'");
  run([&](gn_error* error) { return gn_set_team(name == "openmp" ? GN_OPENMP : GN_THREADS, nullptr, error); });
}

std::vector<std::string> names(const char* (*at)(size_t)) {
  std::vector<std::string> found;
  for (const char* name; (name = at(found.size()));) found.emplace_back(name);
  return found;
}

std::string active_isa() {
  const char* name = nullptr;
  run([&](gn_error* error) { return gn_active_isa(&name, error); });
  return name;
}

size_t vector_width(bool float64) {
  size_t width = 0;
  run([&](gn_error* error) { return gn_vector_width(float64 ? GN_FLOAT64 : GN_FLOAT32, &width, error); });
  return width;
}

double read_seconds(size_t bytes, size_t repeats, int threads) {
  if (threads < 1) refuse("threads", "1 or more");
  double seconds = 0;
  run([&](gn_error* error) { return gn_read_seconds(bytes, repeats, threads, &seconds, error); });
  return seconds;
}

}  // namespace

void bind_process(py::module_& module) {
  module.def("watch_signals", &watch_signals);
  module.def("set_team", &set_team);
  module.def("team", [] { return gn_get_team() == GN_THREADS ? "threads" : "openmp"; });
  module.def("release_memory", &gn_release_kept, py::call_guard<py::gil_scoped_release>());
  module.def("cpu_quota", [](const std::string& root) { return gn_cpu_quota(root.c_str()); });
  module.def("default_threads", &gn_default_threads);
  module.def("use_threads", &gn_use_threads);
  module.def("built_isas", [] { return names(gn_built_isa); });
  module.def("supported_isas", [] { return names(gn_supported_isa); });
  module.def("active_isa", &active_isa);
  module.def("vector_width", &vector_width);
  module.def("blas", &gn_blas);
  module.def("read_seconds", &read_seconds, py::arg("bytes"), py::arg("repeats"), py::arg("threads"));
}

}  // namespace gru::bindings
