#pragma once

#include <pybind11/pybind11.h>

namespace gru::bindings {

void bind_process(pybind11::module_& module);
void bind_linear(pybind11::module_& module);
void bind_elementwise(pybind11::module_& module);
void bind_attention(pybind11::module_& module);
void bind_decoder(pybind11::module_& module);
void bind_optimizers(pybind11::module_& module);

}  // namespace gru::bindings
