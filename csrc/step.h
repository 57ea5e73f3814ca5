// One time step with carried state, as the Cython module calls it.
#pragma once

#include "gru.h"

namespace gru {

// h_1 (B, H) from x (B, I) and h_0 (B, H), all contiguous; h_1 overlaps neither. On the calling thread alone.
template <class T>
void gru_step(const GruWeights<T>* weights, size_t batch, const T* x, const T* h_0, T* h_1) {
  const auto input = static_cast<ptrdiff_t>(weights->input_size), hidden = static_cast<ptrdiff_t>(weights->hidden_size);
  gru_forward<T>(*weights, {1, batch, false, {x, 0, input}, {h_0, hidden}, {h_1, 0, hidden}, {h_1, hidden}}, nullptr,
                 1);
}

}  // namespace gru
