// The BLAS that the build found, if any.
#pragma once

#include "engine/views.h"

namespace gru {

// Does what product_over_rows does. Returns false, with nothing done, where there is no BLAS, or none that is right.
template <class T>
bool product_by_blas(size_t rows, size_t outputs, size_t inputs, Rows<const T> left, Rows<const T> right, T* out,
                     int threads);

}  // namespace gru
