// The compiled module: a table of contents.
#include "module.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The compiled core of gru_native; use gru_native.functional.";
  gru::bindings::bind_process(module);
  gru::bindings::bind_linear(module);
  gru::bindings::bind_elementwise(module);
  gru::bindings::bind_attention(module);
  gru::bindings::bind_decoder(module);
  gru::bindings::bind_optimizers(module);
}
