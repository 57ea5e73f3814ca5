// Arrays of others, by address and strides.
#pragma once

#include <cstddef>

namespace gru {

// (T, B, F): element (t, b, f) is data[t * step + b * row + f]. Null data stands for "none" where that is allowed.
template <class E>
struct Sequence {
  E* data = nullptr;
  ptrdiff_t step = 0, row = 0;

  E* at(size_t t, size_t b) const { return data + static_cast<ptrdiff_t>(t) * step + static_cast<ptrdiff_t>(b) * row; }
};

// (B, F): element (b, f) is data[b * row + f].
template <class E>
struct Rows {
  E* data = nullptr;
  ptrdiff_t row = 0;

  E* at(size_t b) const { return data + static_cast<ptrdiff_t>(b) * row; }
};

}  // namespace gru
