#include <pybind11/stl.h>

#include "gru.h"
#include "kernels/dispatch.h"
#include "module.h"

namespace gru::bindings {

void bind_info(pybind11::module_& module) {
  module.def("built_isas", &built_isas);
  module.def("supported_isas", &supported_isas);
  module.def("active_isa", [] { return active_isa().name; });
  module.def("vector_width", [](bool float64) {
    const Isa& isa = active_isa();
    return float64 ? isa.float64->vector : isa.float32->vector;
  });
  module.def("default_threads", &default_threads);
  module.def("blas", &blas_description);
}

}  // namespace gru::bindings
