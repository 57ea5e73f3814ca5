#include "bandwidth.h"

#include "arrays.h"
#include "module.h"

namespace gru::bindings {

void bind_bandwidth(py::module_& module) {
  module.def(
      "read_seconds",
      [](size_t bytes, size_t repeats, int threads) {
        checked_threads(threads);
        py::gil_scoped_release release;
        return read_seconds(bytes, repeats, threads);
      },
      py::arg("bytes"), py::arg("repeats"), py::arg("threads"));
}

}  // namespace gru::bindings
